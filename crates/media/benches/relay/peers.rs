//! The peers of a call, as far as a packet's cost depends on them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crosspoint_media::rtp::Header;
use crosspoint_media::srtp::{Context, Profile};
use dimpl::{Dtls, SrtpProfile};
use hmac::{Hmac, Mac};
use is::stun::{StunMessage, TransId};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Room for a packet of sound, its tag and index.
pub(crate) const SLOT: usize = 256;
const SOUND: usize = 160;

/// The packets that one party sends.
pub(crate) struct Flow {
    ssrc: u32,
    seq: u16,
}

impl Flow {
    pub(crate) fn new(party: usize) -> Self {
        Self { ssrc: 1000 + party as u32, seq: 1 }
    }

    pub(crate) fn next(&mut self, out: &mut [u8; SLOT]) -> usize {
        self.seq = self.seq.wrapping_add(1);
        let timestamp = u32::from(self.seq) * SOUND as u32;
        let mut head = Vec::with_capacity(12);
        Header::new(0, self.seq, timestamp, self.ssrc, false).write(&mut head);
        out[..12].copy_from_slice(&head);
        out[12..12 + SOUND].fill(self.seq as u8);
        12 + SOUND
    }
}

pub(crate) fn context(profile: Profile, key: &[u8]) -> Context {
    let (key, salt) = key.split_at(profile.key_len());
    Context::new(profile, key, salt).expect("key and salt of the right length")
}

pub(crate) fn phone(address: SocketAddr, keys: Option<(Profile, &[u8])>) -> String {
    let (ip, port) = (address.ip(), address.port());
    let profile = if keys.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let mut text = format!(
        "v=0\r\no=- 5 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    );
    if let Some((profile, key)) = keys {
        let (name, key) = (profile.sdes_name(), BASE64.encode(key));
        let _ = write!(text, "a=crypto:1 {name} inline:{key}\r\n");
    }
    text
}

/// A browser: ICE by one check, DTLS as client.
pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    dtls: Dtls,
    keys: Option<Vec<u8>>,
}

pub(crate) const UFRAG: &str = "peer";
const PASSWORD: &str = "the-password-of-the-peer";

impl Browser {
    pub(crate) fn new(
        now: Instant,
        address: SocketAddr,
        config: &Arc<dimpl::Config>,
        certificate: &dimpl::DtlsCertificate,
    ) -> Self {
        let mut dtls = Dtls::new_12(config.clone(), certificate.clone(), now);
        dtls.set_active(true);
        Self { address, dtls, keys: None }
    }

    pub(crate) fn offer(certificate: &dimpl::DtlsCertificate) -> String {
        let hash = Sha256::digest(&certificate.certificate);
        let hash: Vec<String> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        format!(
            "v=0\r\no=- 5 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
             a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\na=fingerprint:sha-256 {}\r\n\
             a=setup:active\r\na=rtcp-mux\r\na=sendrecv\r\na=rtpmap:0 PCMU/8000\r\n",
            hash.join(":")
        )
    }

    /// A check that nominates.
    pub(crate) fn check(ufrag: &str, password: &str) -> Vec<u8> {
        let username = format!("{ufrag}:{UFRAG}");
        let message =
            StunMessage::binding_request(&username, TransId::new(), true, 9, 1 << 24, true);
        let mut out = vec![0; 256];
        let sign = |key: &[u8], parts: &[&[u8]]| {
            let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(key).expect("any key");
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        };
        let len = message.to_bytes(Some(password.as_bytes()), &mut out, sign).expect("room");
        out.truncate(len);
        out
    }

    pub(crate) fn begin(&mut self, now: Instant) {
        self.dtls.handle_timeout(now).expect("a client that begins");
    }

    pub(crate) fn take(&mut self, packet: &[u8]) {
        self.dtls.handle_packet(packet).expect("a good record");
    }

    /// What it wants to send.
    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut out = vec![];
        let mut room = [0; 2048];
        loop {
            match self.dtls.poll_output(&mut room) {
                dimpl::Output::Packet(bytes) => out.push(bytes.to_vec()),
                dimpl::Output::KeyingMaterial(material, SrtpProfile::AEAD_AES_256_GCM) => {
                    self.keys = Some(material.to_vec());
                }
                dimpl::Output::Timeout(_) => return out,
                _ => {}
            }
        }
    }

    /// What it sends with: the client's key and salt (RFC 5764 §4.2).
    pub(crate) fn key(&self) -> Option<Vec<u8>> {
        let keys = self.keys.as_ref()?;
        Some([&keys[..32], &keys[64..76]].concat())
    }
}

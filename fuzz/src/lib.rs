//! What several targets need: a shard with a browser's leg joined to a phone's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_media::shard::{Output, Shard, ShardConfig, SocketId};
use crosspoint_sdp::Session;
use hmac::{Hmac, Mac};
use sha1::Sha1;

pub const BROWSER: LegId = LegId(1);
pub const PHONE: LegId = LegId(2);
/// Where the browser and the phone send from.
pub const BROWSER_ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 9], 6000);
pub const PHONE_ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 10], 7000);

/// See the module.
pub struct World {
    pub now: Instant,
    pub shard: Shard,
    /// The credentials that our side of ICE expects.
    pub ufrag: String,
    pub pwd: String,
    pub phone_socket: SocketId,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Two legs with descriptions exchanged and joined; nothing has been sent yet.
    #[must_use]
    pub fn new() -> Self {
        let ours = SocketAddr::from(([192, 0, 2, 1], 4000));
        let certificate = CERTIFICATE.with(Clone::clone);
        let config = ShardConfig {
            browser_addresses: vec![ours],
            browser_tcp_addresses: vec![],
            rtp_address: ours.ip(),
            rtp_bind: ours.ip(),
            rtp_ports: (10_000, 10_100),
            ice_lite: true,
            rtp_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(15),
            max_legs: 4,
            dtls: Arc::new(dimpl::Config::default()),
            certificate,
        };
        let shard = Shard::new(config, Rng::from_u64(1));
        let mut world = Self {
            now: Instant::now(),
            shard,
            ufrag: String::new(),
            pwd: String::new(),
            phone_socket: SocketId(0),
        };
        world.open(BROWSER, Profile::WebRtc, BROWSER_OFFER);
        world.open(PHONE, Profile::Rtp(SrtpPolicy::Off), PHONE_OFFER);
        world.shard.handle_command(world.now, Command::Bridge { a: BROWSER, b: PHONE });
        world.drain();
        world
    }

    fn open(&mut self, leg: LegId, profile: Profile, offer: &str) {
        let description = Session::parse(offer.as_bytes()).expect("a description");
        for command in [
            Command::Open { leg, profile },
            Command::Accept { leg, kind: SdpKind::Offer, description },
            Command::Describe { leg, kind: SdpKind::Answer, peer: None },
        ] {
            self.shard.handle_command(self.now, command);
        }
        self.drain();
    }

    /// Does what the shard asks for. Gives how many bytes it sent.
    pub fn drain(&mut self) -> usize {
        let mut sent = 0;
        loop {
            match self.shard.poll_output() {
                Output::Bind { socket, .. } => {
                    self.phone_socket = socket;
                    self.shard.handle_bound(self.now, socket, true);
                }
                Output::Event(Event::Described { leg: BROWSER, description }) => {
                    let audio = description.media().next().expect("an audio section");
                    self.ufrag = audio.ice_ufrag.clone().expect("a name");
                    self.pwd = audio.ice_pwd.clone().expect("a password");
                }
                Output::Transmit { bytes, .. } => sent += bytes.len(),
                Output::Handshake(work) => self.shard.handle_handshake(self.now, work.run()),
                Output::Timeout(_) => return sent,
                _ => {}
            }
        }
    }

    /// One datagram from the browser's address.
    pub fn from_browser(&mut self, bytes: &[u8]) {
        self.datagram(SocketId::BROWSER, BROWSER_ADDRESS.into(), bytes);
    }

    pub fn datagram(&mut self, socket: SocketId, source: SocketAddr, bytes: &[u8]) {
        let mut buffer = vec![0; bytes.len() + 64];
        buffer[..bytes.len()].copy_from_slice(bytes);
        let forward =
            self.shard.handle_datagram(self.now, socket, source, &mut buffer, bytes.len());
        assert!(forward.is_none_or(|f| f.len <= buffer.len()));
    }

    /// Lets time pass, with all that becomes due.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.shard.handle_timeout(self.now);
        self.drain();
    }

    /// A binding request with these further attributes, signed as the browser would sign it
    /// (RFC 8489 §14.5, §14.7).
    #[must_use]
    pub fn signed(&self, attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        message.extend([7; 12]);
        attribute(&mut message, 0x0006, format!("{}:theirs", self.ufrag).as_bytes());
        message.extend(attributes);
        message.resize(message.len().next_multiple_of(4), 0);
        set_length(&mut message, 24);
        let mut mac = Hmac::<Sha1>::new_from_slice(self.pwd.as_bytes()).expect("any key fits");
        mac.update(&message);
        let tag = mac.finalize().into_bytes();
        attribute(&mut message, 0x0008, &tag);
        set_length(&mut message, 8);
        let check = crc32fast::hash(&message) ^ 0x5354_554e;
        attribute(&mut message, 0x8028, &check.to_be_bytes());
        message
    }

    /// After this the shard takes DTLS and media from the browser's address.
    pub fn validate(&mut self) {
        let mut attributes = Vec::new();
        attribute(&mut attributes, 0x0024, &1_u32.to_be_bytes());
        attribute(&mut attributes, 0x802a, &9_u64.to_be_bytes());
        attribute(&mut attributes, 0x0025, &[]);
        let request = self.signed(&attributes);
        self.from_browser(&request);
        assert!(self.drain() > 0, "a right request is answered");
    }
}

/// Appends a STUN attribute with its padding.
pub fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend(u16::try_from(value.len()).expect("a short value").to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Writes the length with `more` bytes to come.
fn set_length(message: &mut [u8], more: usize) {
    let length = u16::try_from(message.len() - 20 + more).unwrap_or(u16::MAX);
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

thread_local! {
    static CERTIFICATE: dimpl::DtlsCertificate =
        dimpl::certificate::generate_self_signed_certificate().expect("a certificate");
}

const BROWSER_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0 101\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
    a=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=ice-ufrag:theirs\r\na=ice-pwd:pppppppppppppppppppppppp\r\n\
    a=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n";

const PHONE_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\n\
    t=0 0\r\nm=audio 7000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

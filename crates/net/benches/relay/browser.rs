//! A browser's media and a phone's, as the load of a relay: ICE, DTLS-SRTP, one stream each way.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_media::rtp::{Header, is_rtcp};
use crosspoint_media::srtp::{self, Context};
use crosspoint_sdp::Session;
use dimpl::{Dtls, DtlsCertificate, SrtpProfile};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds, Protocol};
use sha2::{Digest, Sha256};

use crate::Outcome;

/// Samples of PCMU in 20 ms.
const FRAME: usize = 160;

/// What all browsers of a run share.
pub(crate) struct Identity {
    config: Arc<dimpl::Config>,
    certificate: DtlsCertificate,
    fingerprint: String,
    /// Where they live, and where the server does.
    ip: Ipv4Addr,
    server: Ipv4Addr,
}

impl Identity {
    pub(crate) fn new(ip: Ipv4Addr, server: Ipv4Addr) -> Outcome<Self> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|e| format!("no certificate: {e:?}"))?;
        let hash = Sha256::digest(&certificate.certificate);
        let pairs: Vec<String> = hash.iter().map(|b| format!("{b:02X}")).collect();
        let config = Arc::new(dimpl::Config::default());
        Ok(Self { config, certificate, fingerprint: pairs.join(":"), ip, server })
    }
}

/// A stream as its sender numbers it.
struct Stream {
    seq: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Stream {
    fn packet(&mut self, out: &mut Vec<u8>) {
        self.seq = self.seq.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        out.clear();
        Header::new(0, self.seq, self.timestamp, self.ssrc, false).write(out);
        // Not silence, so that nothing is tempted to leave it out.
        out.extend((0..FRAME).map(|i| (i as u8).wrapping_mul(7) ^ self.seq as u8));
    }
}

/// One browser.
pub(crate) struct Browser {
    socket: UdpSocket,
    pub(crate) local: SocketAddr,
    server: Ipv4Addr,
    pub(crate) remote: SocketAddr,
    agent: IceAgent,
    dtls: Dtls,
    /// To send and to receive with.
    pub(crate) keys: Option<(Context, Context)>,
    pub(crate) profile: Option<SrtpProfile>,
    stream: Stream,
    pub(crate) received: u64,
    buffer: Vec<u8>,
    /// What waits to be sent.
    said: Vec<(Vec<u8>, SocketAddr)>,
}

impl Browser {
    pub(crate) fn new(identity: &Identity, number: u32) -> Outcome<Self> {
        let socket = open(identity.ip)?;
        let local = socket.local_addr()?;
        let creds = IceCreds { ufrag: format!("b{number:05}"), pass: format!("{number:024}") };
        let mut agent = IceAgent::new(creds);
        agent.set_controlling(true);
        agent.add_local_candidate(Candidate::host(local, "udp")?);
        let now = Instant::now();
        let mut dtls = Dtls::new_12(identity.config.clone(), identity.certificate.clone(), now);
        // The server of the handshake chooses the cipher: so it is the same for everybody.
        dtls.set_active(false);
        let stream = Stream { seq: 1, timestamp: 1, ssrc: 0x1000_0000 | number };
        let (keys, profile, server) = (None, None, identity.server);
        let (remote, buffer) = (local, Vec::with_capacity(2048));
        Ok(Self {
            socket,
            local,
            server,
            remote,
            agent,
            dtls,
            keys,
            profile,
            stream,
            received: 0,
            buffer,
            said: Vec::new(),
        })
    }

    /// Our description: an offer, or the answer to one.
    pub(crate) fn describe(&self, identity: &Identity, is_offer: bool) -> String {
        let IceCreds { ufrag, pass } = self.agent.local_credentials();
        let port = self.local.port();
        let setup = if is_offer { "actpass" } else { "passive" };
        let Identity { fingerprint, ip, .. } = identity;
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio {port} UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 {ip}\r\na=mid:0\r\n\
             a=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pass}\r\na=fingerprint:sha-256 {fingerprint}\r\n\
             a=setup:{setup}\r\na=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n\
             a=end-of-candidates\r\n"
        )
    }

    /// Takes the other side's description.
    pub(crate) fn accept(&mut self, description: &[u8]) -> Outcome<()> {
        let media = Session::parse(description)?.media().next().ok_or("no media")?;
        let (Some(ufrag), Some(pass)) = (media.ice_ufrag, media.ice_pwd) else {
            return Err("no ICE credentials".into());
        };
        self.agent.set_remote_credentials(IceCreds { ufrag, pass });
        let address = media
            .candidates
            .iter()
            .filter_map(crosspoint_sdp::Candidate::udp_address)
            .find(|a| a.ip() == self.server)
            .ok_or("no candidate where the server is")?;
        self.remote = address;
        self.agent.add_remote_candidate(Candidate::host(address, "udp")?);
        Ok(())
    }

    pub(crate) fn is_up(&self) -> bool {
        self.keys.is_some()
    }

    /// Reads all that came, and does what is due in ICE and DTLS.
    pub(crate) fn work(&mut self, now: Instant) -> Outcome<()> {
        self.think(now)?;
        self.say()
    }

    /// Sends what there is to say.
    pub(crate) fn say(&mut self) -> Outcome<()> {
        for (bytes, to) in self.said.drain(..) {
            self.socket.send_to(&bytes, to)?;
        }
        Ok(())
    }

    /// As `work`, but what there is to say waits.
    pub(crate) fn think(&mut self, now: Instant) -> Outcome<()> {
        let mut packet = [0; 2048];
        loop {
            match self.socket.recv_from(&mut packet) {
                Ok((len, source)) => self.hear(now, source, &mut packet[..len])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.agent.handle_timeout(now);
        while self.agent.poll_event().is_some() {}
        while let Some(transmit) = self.agent.poll_transmit() {
            let bytes: Vec<u8> = transmit.contents.into();
            self.said.push((bytes, transmit.destination));
        }
        if self.keys.is_none() {
            self.dtls.handle_timeout(now).map_err(|e| format!("DTLS: {e:?}"))?;
            self.drive_dtls()?;
        }
        Ok(())
    }

    fn hear(&mut self, now: Instant, source: SocketAddr, packet: &mut [u8]) -> Outcome<()> {
        match packet.first() {
            Some(0..=3) => {
                let Ok(message) = StunMessage::parse(packet) else { return Ok(()) };
                let destination = self.local;
                let proto = Protocol::Udp;
                self.agent.handle_packet(now, StunPacket { proto, source, destination, message });
            }
            Some(20..=63) => {
                self.dtls.handle_timeout(now).map_err(|e| format!("DTLS: {e:?}"))?;
                self.dtls.handle_packet(packet).map_err(|e| format!("DTLS: {e:?}"))?;
                self.drive_dtls()?;
            }
            _ => {
                if let Some((_, keys)) = &mut self.keys
                    && !is_rtcp(packet)
                    && keys.unprotect_rtp(packet).is_ok()
                {
                    self.received += 1;
                }
            }
        }
        Ok(())
    }

    fn drive_dtls(&mut self) -> Outcome<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                dimpl::Output::Packet(bytes) => {
                    self.said.push((bytes.to_vec(), self.remote));
                }
                dimpl::Output::KeyingMaterial(material, profile) => {
                    self.profile = Some(profile);
                    self.keys = Some(keys(&material, profile)?);
                }
                dimpl::Output::Timeout(_) => return Ok(()),
                _ => {}
            }
        }
    }

    /// Sends the next 20 ms of sound.
    pub(crate) fn speak(&mut self) -> Outcome<()> {
        let Some((keys, _)) = &mut self.keys else { return Ok(()) };
        self.stream.packet(&mut self.buffer);
        let len = self.buffer.len();
        self.buffer.resize(len + srtp::MAX_OVERHEAD, 0);
        let len = keys.protect_rtp(&mut self.buffer, len).map_err(|e| format!("{e:?}"))?;
        self.socket.send_to(&self.buffer[..len], self.remote)?;
        Ok(())
    }
}

/// One phone: plain RTP.
pub(crate) struct Phone {
    pub(crate) socket: UdpSocket,
    ip: Ipv4Addr,
    server: Ipv4Addr,
    pub(crate) remote: Option<SocketAddr>,
    /// To send with, where its description named some.
    pub(crate) keys: Option<Context>,
    stream: Stream,
    pub(crate) received: u64,
    buffer: Vec<u8>,
}

impl Phone {
    pub(crate) fn new(ip: Ipv4Addr, server: Ipv4Addr, number: u32) -> Outcome<Self> {
        let stream = Stream { seq: 1, timestamp: 1, ssrc: 0x2000_0000 | number };
        let buffer = Vec::with_capacity(256);
        let (socket, remote, keys) = (open(ip)?, None, None);
        Ok(Self { socket, ip, server, remote, keys, stream, received: 0, buffer })
    }

    pub(crate) fn describe(&self) -> Outcome<String> {
        let (ip, port) = (self.ip, self.socket.local_addr()?.port());
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n"
        ))
    }

    pub(crate) fn accept(&mut self, description: &[u8]) -> Outcome<()> {
        let media = Session::parse(description)?.media().next().ok_or("no media")?;
        self.remote = Some(SocketAddr::from((self.server, media.port)));
        Ok(())
    }

    pub(crate) fn speak(&mut self) -> Outcome<()> {
        let Some(remote) = self.remote else { return Ok(()) };
        self.stream.packet(&mut self.buffer);
        if let Some(keys) = &mut self.keys {
            let len = self.buffer.len();
            self.buffer.resize(len + srtp::MAX_OVERHEAD, 0);
            let len = keys.protect_rtp(&mut self.buffer, len).map_err(|e| format!("{e:?}"))?;
            self.buffer.truncate(len);
        }
        self.socket.send_to(&self.buffer, remote)?;
        Ok(())
    }

    pub(crate) fn work(&mut self) -> Outcome<()> {
        let mut packet = [0; 2048];
        loop {
            match self.socket.recv(&mut packet) {
                Ok(len) if Header::parse(&packet[..len]).is_some_and(|h| h.pt == 0) => {
                    self.received += 1;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How long a run without an answer may take.
pub(crate) const SETTLE: Duration = Duration::from_secs(30);

fn open(ip: Ipv4Addr) -> Outcome<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Keys to send and to receive with, as the server of the handshake (RFC 5764 §4.2).
fn keys(material: &[u8], profile: SrtpProfile) -> Outcome<(Context, Context)> {
    let profile = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => srtp::Profile::Aes128CmSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => srtp::Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => srtp::Profile::AeadAes256Gcm,
        _ => return Err("an SRTP profile that is new".into()),
    };
    let (key, salt) = (profile.key_len(), profile.salt_len());
    let part = |at: usize, len: usize| material.get(at..at + len).unwrap_or_default();
    let client = Context::new(profile, part(0, key), part(2 * key, salt));
    let server = Context::new(profile, part(key, key), part(2 * key + salt, salt));
    Ok((server.ok_or("short keys")?, client.ok_or("short keys")?))
}

//! A telephone: plain RTP, or SRTP with keys in the description.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crosspoint_media::rtcp::{Compound, SenderInfo, write_report};
use crosspoint_media::rtp::{Header, is_rtcp};
use crosspoint_media::srtp::{Context, MAX_OVERHEAD, Profile};
use crosspoint_sdp::Session;

use crate::sound::{Heard, Voice};
use crate::video::Lens;
use crate::world::Datagram;

const WORD: Duration = Duration::from_millis(20);

pub(crate) const SSRC: u32 = 0x5151_5151;

pub(crate) struct Phone {
    /// Where its RTP really comes from.
    pub(crate) address: SocketAddr,
    /// Where its descriptions say it is.
    pub(crate) signaled: SocketAddr,
    /// Where the gateway takes this phone's RTP.
    pub(crate) gateway: Option<SocketAddr>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) reports: Vec<Compound>,
    pub(crate) voice: Option<Voice>,
    pub(crate) is_silent: bool,
    pub(crate) has_reports: bool,
    /// What could not be decrypted.
    pub(crate) broken: u32,
    pub(crate) keys: Option<Keys>,
    /// The numbers of its formats, and lines about them.
    formats: (String, String),
    /// Of its digits: number and clock.
    pub(crate) event: (u8, u32),
    /// The gateway's last description.
    pub(crate) told: String,
    /// What it sees with, when it can.
    pub(crate) lens: Option<Lens>,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    /// How long its twenty milliseconds are.
    pub(crate) word: Duration,
    next_word: Option<Instant>,
    next_report: Option<Instant>,
    sent: Vec<Datagram>,
}

pub(crate) struct Keys {
    profile: Profile,
    /// Ours, key and salt.
    local: Vec<u8>,
    /// The gateway's.
    remote: Vec<u8>,
    outbound: Context,
    inbound: Option<Context>,
}

impl Keys {
    pub(crate) fn new(profile: Profile) -> Self {
        let local: Vec<u8> = (1..).take(profile.key_len() + profile.salt_len()).collect();
        let outbound = context(profile, &local);
        Self { profile, local, remote: vec![], outbound, inbound: None }
    }

    /// Takes another key for what it sends, and says so in its next description.
    pub(crate) fn renew(&mut self) {
        self.local = self.local.iter().map(|byte| byte ^ 0x3c).collect();
        self.outbound = context(self.profile, &self.local);
    }

    /// A packet as it goes over the wire.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = plain.to_vec();
        bytes.resize(plain.len() + MAX_OVERHEAD, 0);
        let len = self.outbound.protect_rtp(&mut bytes, plain.len()).expect("room");
        bytes.truncate(len);
        bytes
    }

    /// The same of a report.
    pub(crate) fn seal_report(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = plain.to_vec();
        bytes.resize(plain.len() + MAX_OVERHEAD, 0);
        let len = self.outbound.protect_rtcp(&mut bytes, plain.len()).expect("room");
        bytes.truncate(len);
        bytes
    }

    /// Sends with another key than it says.
    pub(crate) fn spoil(&mut self) {
        let wrong = vec![0x77; self.local.len()];
        self.outbound = context(self.profile, &wrong);
    }

    pub(crate) fn line(&self, tag: u32) -> String {
        let key = BASE64.encode(&self.local);
        format!("a=crypto:{tag} {} inline:{key}\r\n", self.profile.sdes_name())
    }

    /// What came over the wire, if it is whole.
    pub(crate) fn open(&mut self, bytes: &mut Vec<u8>) -> bool {
        let Some(inbound) = &mut self.inbound else { return false };
        let plain = match is_rtcp(bytes) {
            true => inbound.unprotect_rtcp(bytes),
            false => inbound.unprotect_rtp(bytes),
        };
        bytes.truncate(plain.unwrap_or(0));
        plain.is_ok()
    }

    pub(crate) fn take(&mut self, cryptos: &[crosspoint_sdp::Crypto]) -> u32 {
        let name = self.profile.sdes_name();
        let crypto = cryptos.iter().find(|c| c.suite == name).expect("the suite we speak");
        let key = BASE64.decode(&crypto.key).expect("a key");
        if self.remote != key {
            self.inbound = Some(context(self.profile, &key));
            self.remote = key;
        }
        crypto.tag
    }
}

fn context(profile: Profile, key: &[u8]) -> Context {
    let (key, salt) = key.split_at(profile.key_len());
    Context::new(profile, key, salt).expect("key and salt of the right length")
}

impl Phone {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            signaled: address,
            gateway: None,
            heard: vec![],
            reports: vec![],
            voice: None,
            is_silent: false,
            has_reports: true,
            broken: 0,
            keys: None,
            formats: ("0 101".to_owned(), String::new()),
            event: (101, 8000),
            told: String::new(),
            lens: None,
            seq: 100,
            timestamp: 50_000,
            word: WORD,
            next_word: None,
            next_report: None,
            sent: vec![],
        }
    }

    /// Other formats than PCMU and digits of 8 kHz.
    pub(crate) fn with(&mut self, numbers: &str, lines: &str) {
        self.formats = (numbers.to_owned(), lines.to_owned());
    }

    pub(crate) fn lives_at(&self, address: SocketAddr) -> bool {
        let sees = self.lens.as_ref().is_some_and(|lens| lens.lives_at(address));
        self.address == address || self.rtcp() == address || sees
    }

    fn rtcp(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    pub(crate) fn take_sent(&mut self) -> Vec<Datagram> {
        let seen = self.lens.as_mut().map(|lens| std::mem::take(&mut lens.sent));
        let mut sent = std::mem::take(&mut self.sent);
        sent.extend(seen.unwrap_or_default());
        sent
    }

    pub(crate) fn offer(&self) -> String {
        self.description(1)
    }

    /// Learns where the gateway is, out of its answer.
    pub(crate) fn take_answer(&mut self, answer: &str) {
        self.learn(answer);
    }

    pub(crate) fn answer(&mut self, offer: &str) -> String {
        let tag = self.learn(offer);
        self.description(tag)
    }

    fn learn(&mut self, description: &str) -> u32 {
        description.clone_into(&mut self.told);
        let session = Session::parse(description.as_bytes()).expect("a description");
        let audio = session.media().next().expect("a section of audio");
        let address = audio.address.expect("an address");
        self.gateway = Some(SocketAddr::new(address, audio.port));
        if let Some(lens) = &mut self.lens {
            lens.learn(&session);
        }
        self.keys.as_mut().map_or(1, |keys| keys.take(&audio.cryptos))
    }

    fn description(&self, tag: u32) -> String {
        let (ip, port) = (self.signaled.ip(), self.signaled.port());
        let ((numbers, lines), (event, clock)) = (&self.formats, self.event);
        let profile = if self.keys.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let mut text = format!(
            "v=0\r\no=- 5 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} {profile} {numbers}\r\na=rtpmap:0 PCMU/8000\r\n{lines}\
             a=rtpmap:{event} telephone-event/{clock}\r\na=sendrecv\r\n"
        );
        if let Some(keys) = &self.keys {
            let _ = write!(text, "{}", keys.line(tag));
        }
        if let Some(lens) = &self.lens {
            text += &lens.section(profile);
        }
        text
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        if self.is_silent {
            return;
        }
        let Some(gateway) = self.gateway else { return };
        if self.voice.is_none() {
            return;
        }
        let due = *self.next_word.get_or_insert(now);
        if now >= due {
            // After a silence it goes on, it does not catch up.
            let next = due + self.word;
            self.next_word = Some(if next + WORD < now { now + WORD } else { next });
            let bytes = self.speak();
            self.sent.push(Datagram { from: self.address, to: gateway, bytes });
        }
        let due = *self.next_report.get_or_insert(now + Duration::from_secs(2));
        if now >= due && self.has_reports {
            self.next_report = Some(due + Duration::from_secs(5));
            let bytes = self.report();
            let to = SocketAddr::new(gateway.ip(), gateway.port() + 1);
            self.sent.push(Datagram { from: self.rtcp(), to, bytes });
        }
    }

    /// Leaves numbers out, as loss does.
    pub(crate) fn skip(&mut self, numbers: u16) {
        self.seq = self.seq.wrapping_add(numbers);
        self.timestamp = self.timestamp.wrapping_add(u32::from(numbers) * 160);
    }

    /// The next packet of what it says.
    pub(crate) fn speak(&mut self) -> Vec<u8> {
        let voice = self.voice.as_mut().expect("a voice");
        // The time of a packet is that of its beginning.
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(voice.ticks());
        let payload = voice.next();
        self.seq = self.seq.wrapping_add(1);
        let mut plain = rtp(self.seq, timestamp, SSRC, &payload);
        plain[1] = voice.codec.default_pt();
        self.keys.as_mut().map_or(plain.clone(), |keys| keys.seal(&plain))
    }

    fn report(&mut self) -> Vec<u8> {
        let packets = self.voice.as_ref().map_or(0, |v| v.said.len());
        let info = SenderInfo {
            ntp: 99 << 32,
            rtp_timestamp: self.timestamp,
            packets: u32::try_from(packets).expect("a short story"),
            bytes: 0,
        };
        let mut bytes = Vec::new();
        write_report(&mut bytes, SSRC, "phone", Some(&info), None);
        if let Some(keys) = &mut self.keys {
            let len = bytes.len();
            bytes.resize(len + MAX_OVERHEAD, 0);
            let len = keys.outbound.protect_rtcp(&mut bytes, len).expect("room");
            bytes.truncate(len);
        }
        bytes
    }

    pub(crate) fn receive(&mut self, _now: Instant, datagram: &Datagram) {
        if let Some(lens) = self.lens.as_mut().filter(|lens| lens.lives_at(datagram.to)) {
            return lens.receive(datagram);
        }
        let mut bytes = datagram.bytes.clone();
        let is_report = is_rtcp(&bytes);
        if let Some(inbound) = self.keys.as_mut().and_then(|k| k.inbound.as_mut()) {
            let plain = if is_report {
                inbound.unprotect_rtcp(&mut bytes)
            } else {
                inbound.unprotect_rtp(&mut bytes)
            };
            let Ok(len) = plain else {
                self.broken += 1;
                return;
            };
            bytes.truncate(len);
        }
        if is_report {
            assert_eq!(datagram.to, self.rtcp(), "a report belongs on the port for reports");
            self.reports.push(Compound::parse(&bytes));
            return;
        }
        let header = Header::parse(&bytes).expect("an RTP packet");
        self.heard.push(Heard {
            pt: header.pt,
            seq: header.seq,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            marker: header.marker,
            payload: header.payload(&bytes).expect("a payload").to_vec(),
        });
    }
}

/// An RTP packet of PCMU.
pub(crate) fn rtp(seq: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header::new(0, seq, timestamp, ssrc, false).write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

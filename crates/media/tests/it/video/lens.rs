//! What a phone sees with: RTP of its own beside that of its sound.

use std::net::SocketAddr;

use crosspoint_media::rtcp::{Compound, write_report};
use crosspoint_media::rtp::{Header, is_rtcp};
use crosspoint_sdp::Session;
use str0m::format::Codec;

use crate::phone::Keys;
use crate::sound::Heard;
use crate::world::Datagram;

pub(crate) const PT: u8 = 99;
/// 35 ms: what a story lets pass between two pictures.
pub(crate) const PICTURE: u32 = 3150;

pub(crate) struct Lens {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Option<SocketAddr>,
    codec: Codec,
    /// What it says of feedback and limits.
    pub(crate) says: String,
    pub(crate) keys: Option<Keys>,
    /// It is described with port 0.
    pub(crate) is_refused: bool,
    pub(crate) seen: Vec<Heard>,
    pub(crate) reports: Vec<Compound>,
    pub(crate) broken: u32,
    pub(crate) ssrc: u32,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    tag: u32,
    pub(crate) sent: Vec<Datagram>,
}

impl Lens {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            address: SocketAddr::from(([198, 51, 100, 7], 7100)),
            gateway: None,
            codec,
            says: "a=rtcp-fb:* nack\r\na=rtcp-fb:* nack pli\r\n".to_owned(),
            keys: None,
            is_refused: false,
            seen: vec![],
            reports: vec![],
            broken: 0,
            ssrc: 0x6161_6161,
            seq: 65_530,
            timestamp: 70_000,
            tag: 1,
            sent: vec![],
        }
    }

    fn rtcp(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    pub(crate) fn lives_at(&self, address: SocketAddr) -> bool {
        self.address == address || self.rtcp() == address
    }

    pub(crate) fn learn(&mut self, session: &Session) {
        let Some(video) = session.media().find(|m| m.is_video() && m.port != 0) else { return };
        let address = video.address.expect("an address");
        self.gateway = Some(SocketAddr::new(address, video.port));
        if let Some(keys) = &mut self.keys {
            self.tag = keys.take(&video.cryptos);
        }
    }

    pub(crate) fn section(&self, profile: &str) -> String {
        let port = if self.is_refused { 0 } else { self.address.port() };
        let (bandwidth, says) = self.says.split_once('|').unwrap_or(("", &self.says));
        let format = match self.codec {
            Codec::H264 => "H264/90000\r\na=fmtp:99 profile-level-id=42e01f;packetization-mode=1",
            _ => "VP8/90000",
        };
        let key = self.keys.as_ref().map(|keys| keys.line(self.tag)).unwrap_or_default();
        format!("m=video {port} {profile} {PT}\r\n{bandwidth}a=rtpmap:{PT} {format}\r\n{says}{key}")
    }

    /// A picture in one packet.
    pub(crate) fn show(&mut self, payload: Vec<u8>) {
        self.seq = self.seq.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(PICTURE);
        let plain = rtp(self.seq, self.timestamp, self.ssrc, &payload);
        let bytes = self.keys.as_mut().map_or(plain.clone(), |keys| keys.seal(&plain));
        let to = self.gateway.expect("a port of the gateway");
        self.sent.push(Datagram { from: self.address, to, bytes });
    }

    /// Sends a report with this behind it.
    pub(crate) fn tell(&mut self, write: impl FnOnce(&mut Vec<u8>, u32)) {
        let mut bytes = Vec::new();
        write_report(&mut bytes, self.ssrc, "phone", None, None);
        write(&mut bytes, self.ssrc);
        self.tell_raw(bytes);
    }

    pub(crate) fn tell_raw(&mut self, plain: Vec<u8>) {
        let bytes = self.keys.as_mut().map_or(plain.clone(), |keys| keys.seal_report(&plain));
        let to = self.gateway.expect("a port of the gateway");
        let to = SocketAddr::new(to.ip(), to.port() + 1);
        self.sent.push(Datagram { from: self.rtcp(), to, bytes });
    }

    pub(crate) fn receive(&mut self, datagram: &Datagram) {
        let mut bytes = datagram.bytes.clone();
        if let Some(keys) = &mut self.keys
            && !keys.open(&mut bytes)
        {
            self.broken += 1;
            return;
        }
        if is_rtcp(&bytes) {
            assert_eq!(datagram.to, self.rtcp(), "a report belongs on the port for reports");
            self.reports.push(Compound::parse(&bytes));
            return;
        }
        let header = Header::parse(&bytes).expect("an RTP packet");
        assert_eq!(header.len, 12, "extensions mean nothing to a phone");
        self.seen.push(Heard {
            pt: header.pt,
            seq: header.seq,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            marker: header.marker,
            payload: header.payload(&bytes).expect("a payload").to_vec(),
        });
    }
}

pub(crate) fn rtp(seq: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header::new(PT, seq, timestamp, ssrc, true).write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

//! Packets of legs as they came, from the packet path to whoever keeps them for a capture file.
//!
//! Rings as those of [`crate::tap`], with more of each packet: between which addresses, the header,
//! and as much of the rest as the leg is captured with. What is written here is in the clear.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use crosspoint_base::LegId;

use crate::codec::Codec;
use crate::tap::{self, Reader, Writer};

/// Makes a ring for each media thread, and one reader of all.
#[must_use]
pub fn rings(count: usize, bytes: usize, epoch: Instant) -> (Vec<CaptureWriter>, CaptureReader) {
    let (writers, reader) = tap::word_rings(count, bytes, epoch);
    (writers.into_iter().map(CaptureWriter).collect(), CaptureReader(reader))
}

/// The packet path's end.
#[derive(Debug)]
pub struct CaptureWriter(Writer);

/// The other end.
#[derive(Debug)]
pub struct CaptureReader(Reader);

/// What a captured packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    Sound(Codec),
    /// Keys, with the clock of their times (RFC 4733).
    Events(u32),
    /// RFC 3389.
    Noise,
    /// Of a payload type that nobody agreed on.
    Unknown,
    Rtcp,
}

impl Meaning {
    /// As in `a=rtpmap` (RFC 8866 §6.6); nothing for what has none.
    #[must_use]
    pub fn rtpmap(self) -> Option<&'static str> {
        Some(match self {
            Self::Sound(Codec::Opus) => "opus/48000/2",
            Self::Sound(Codec::G722) => "G722/8000",
            Self::Sound(Codec::Pcmu) => "PCMU/8000",
            Self::Sound(Codec::Pcma) => "PCMA/8000",
            Self::Sound(Codec::L16Wide) => "L16/16000",
            Self::Sound(Codec::L16) => "L16/8000",
            Self::Sound(Codec::L16Cd) => "L16/44100",
            Self::Events(48_000) => "telephone-event/48000",
            Self::Events(16_000) => "telephone-event/16000",
            Self::Events(_) => "telephone-event/8000",
            Self::Noise => "CN/8000",
            Self::Unknown | Self::Rtcp => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Self::Sound(codec) => SOUND + tap::number_of(codec),
            Self::Events(48_000) => 1,
            Self::Events(16_000) => 2,
            Self::Events(_) => 3,
            Self::Noise => 4,
            Self::Rtcp => 5,
            Self::Unknown => 0,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Self::Events(48_000),
            2 => Self::Events(16_000),
            3 => Self::Events(8000),
            4 => Self::Noise,
            5 => Self::Rtcp,
            SOUND.. => Self::Sound(tap::codec_of(number - SOUND)),
            _ => Self::Unknown,
        }
    }
}

/// A packet that came to a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub leg: LegId,
    pub at: Instant,
    /// What the peer was told, and where the peer is.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub meaning: Meaning,
    /// It came by SRTP; here it is in the clear.
    pub was_encrypted: bool,
    /// In bytes, of the whole packet in the clear.
    pub length: usize,
    /// The packet, or its header.
    pub bytes: Vec<u8>,
}

/// Of a packet, besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) leg: LegId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) meaning: Meaning,
    pub(crate) was_encrypted: bool,
    pub(crate) length: usize,
}

impl CaptureWriter {
    /// Copies one packet, if there is room for it.
    pub(crate) fn write(&mut self, now: Instant, shape: &Shape, bytes: &[u8]) {
        let [local, remote] = [shape.local, shape.remote].map(|address| match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        });
        let ports = u64::from(shape.local.port()) << 16 | u64::from(shape.remote.port());
        let head = [
            shape.leg.0,
            self.0.since(now),
            (local >> 64) as u64,
            local as u64,
            (remote >> 64) as u64,
            remote as u64,
            ports,
        ];
        let length = shape.length.min(0xffff) as u32;
        let kind = u32::from(shape.meaning.number()) | u32::from(shape.was_encrypted) << 8;
        self.0.write(head, length << 16 | kind, bytes);
    }
}

impl CaptureReader {
    /// The next packet, if there is one. Those of one leg come in order.
    pub fn read(&mut self) -> Option<Captured> {
        let ([leg, since, local, local_low, remote, remote_low, ports], kind, bytes) =
            self.0.read()?;
        let address = |high: u64, low: u64, port: u64| {
            let ip = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
            SocketAddr::new(ip.to_canonical(), port as u16)
        };
        Some(Captured {
            leg: LegId(leg),
            at: self.0.at(since),
            local: address(local, local_low, ports >> 16),
            remote: address(remote, remote_low, ports),
            meaning: Meaning::of(kind as u8),
            was_encrypted: kind >> 8 & 1 == 1,
            length: (kind >> 16) as usize,
            bytes,
        })
    }

    /// Packets that did not fit, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost()
    }
}

const SOUND: u8 = 16;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some moment to begin at")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in() {
        let start = Instant::now();
        let (mut writers, mut reader) = rings(2, 8192, start);
        let meanings = Codec::KNOWN.into_iter().map(Meaning::Sound).chain([
            Meaning::Events(48_000),
            Meaning::Events(16_000),
            Meaning::Events(8000),
            Meaning::Noise,
            Meaning::Unknown,
            Meaning::Rtcp,
        ]);
        let meanings: Vec<Meaning> = meanings.collect();
        for n in 0..2000_u16 {
            let at = start + Duration::from_millis(20 * u64::from(n));
            let shape = Shape {
                leg: LegId(u64::from(n)),
                local: SocketAddr::from(([192, 0, 2, 1], n)),
                remote: SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 65_535 - n)),
                meaning: meanings[usize::from(n) % meanings.len()],
                was_encrypted: n % 2 == 0,
                length: usize::from(n) + 12,
            };
            let bytes: Vec<u8> = (0..n % 331).map(|b| (b ^ n) as u8).collect();
            writers[usize::from(n % 2)].write(at, &shape, &bytes);
            let Shape { leg, local, remote, meaning, was_encrypted, length } = shape;
            let expected =
                Captured { leg, at, local, remote, meaning, was_encrypted, length, bytes };
            assert_eq!(reader.read(), Some(expected));
            assert_eq!(reader.read(), None);
        }
        assert_eq!(reader.lost(), 0);
        let shape = Shape {
            leg: LegId(1),
            local: SocketAddr::from(([192, 0, 2, 1], 1)),
            remote: SocketAddr::from(([192, 0, 2, 1], 2)),
            meaning: Meaning::Noise,
            was_encrypted: false,
            length: 9000,
        };
        writers[0].write(start, &shape, &[0; 9000]);
        assert_eq!((reader.read(), reader.lost()), (None, 1));
    }
}

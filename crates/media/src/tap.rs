//! Copies of what legs say, from the packet path to whoever records or streams it.
//!
//! One ring of fixed size between each media thread and one reader (of atomic words). The packet path copies a packet's payload once and goes on: what does not fit is counted
//! and lost, nothing waits.

mod words;

use std::time::Instant;

use crosspoint_base::LegId;

use crate::codec::Codec;
use crate::rtp::Header;
pub(crate) use words::{Reader, Writer, rings as word_rings};

/// Makes a ring that holds so many bytes, rounded up to a power of two. `epoch` is what arrival
/// times count from.
#[must_use]
pub fn ring(bytes: usize, epoch: Instant) -> (TapWriter, TapReader) {
    let (writer, reader) = words::ring(bytes, epoch);
    (TapWriter(writer), TapReader(reader))
}

/// The same for several media threads: a ring for each, and one reader of all.
#[must_use]
pub fn rings(count: usize, bytes: usize, epoch: Instant) -> (Vec<TapWriter>, TapReader) {
    let (writers, reader) = words::rings(count, bytes, epoch);
    (writers.into_iter().map(TapWriter).collect(), TapReader(reader))
}

/// The packet path's end.
#[derive(Debug)]
pub struct TapWriter(Writer);

/// The other end.
#[derive(Debug)]
pub struct TapReader(Reader);

/// A packet of a leg, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    pub leg: LegId,
    pub at: Instant,
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub codec: Codec,
    pub payload: Vec<u8>,
}

impl TapWriter {
    /// Copies one packet, if there is room for it.
    pub fn write(
        &mut self,
        now: Instant,
        leg: LegId,
        codec: Codec,
        header: &Header,
        payload: &[u8],
    ) {
        let stamp = u64::from(header.ssrc) << 32 | u64::from(header.timestamp);
        let kind = u32::from(header.seq) << 8 | u32::from(number_of(codec));
        self.0.write([leg.0, self.0.since(now), stamp], kind, payload);
    }
}

impl TapReader {
    /// The next packet, if there is one. Those of one leg come in order.
    pub fn read(&mut self) -> Option<Tapped> {
        let ([leg, since, stamp], kind, payload) = self.0.read()?;
        Some(Tapped {
            leg: LegId(leg),
            at: self.0.at(since),
            ssrc: (stamp >> 32) as u32,
            seq: (kind >> 8) as u16,
            timestamp: stamp as u32,
            codec: codec_of(kind as u8),
            payload,
        })
    }

    /// Packets that did not fit, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost()
    }
}

pub(crate) fn number_of(codec: Codec) -> u8 {
    Codec::KNOWN.iter().position(|known| *known == codec).unwrap_or(0) as u8
}

pub(crate) fn codec_of(number: u8) -> Codec {
    Codec::KNOWN.get(usize::from(number)).copied().unwrap_or(Codec::Opus)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some moment to begin at")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn header(seq: u16) -> Header {
        Header::new(0, seq, 160 * u32::from(seq), 7, false)
    }

    #[test]
    fn packets_come_out_as_they_went_in_many_times_around() {
        let start = Instant::now();
        let (mut writer, mut reader) = ring(8192, start);
        for n in 0..5000_u16 {
            let at = start + Duration::from_millis(20 * u64::from(n));
            let payload: Vec<u8> = (0..n % 331).map(|b| (b ^ n) as u8).collect();
            let codec = Codec::KNOWN[usize::from(n) % Codec::KNOWN.len()];
            writer.write(at, LegId(u64::from(n)), codec, &header(n), &payload);
            let expected = Tapped {
                leg: LegId(u64::from(n)),
                at,
                ssrc: 7,
                seq: n,
                timestamp: 160 * u32::from(n),
                codec,
                payload,
            };
            assert_eq!(reader.read(), Some(expected));
            assert_eq!(reader.read(), None);
        }
        assert_eq!(reader.lost(), 0);
    }

    /// A reader that does not come costs packets, and never the writer's time or memory.
    #[test]
    fn what_does_not_fit_is_counted_and_the_rest_stays_whole() {
        let (mut writer, mut reader) = ring(8192, Instant::now());
        for n in 0..1000 {
            writer.write(Instant::now(), LegId(1), Codec::Pcmu, &header(n), &[n as u8; 160]);
        }
        let mut kept = 0;
        while let Some(packet) = reader.read() {
            assert_eq!((packet.seq, packet.payload.as_slice()), (kept, &[kept as u8; 160][..]));
            kept += 1;
        }
        assert_eq!(u64::from(kept) + reader.lost(), 1000);
        assert_eq!(kept, 8192 / 8 / 24);
        writer.write(Instant::now(), LegId(1), Codec::Pcmu, &header(9), &[0; 9000]);
        assert_eq!(reader.read(), None);
        writer.write(Instant::now(), LegId(1), Codec::Pcmu, &header(9), &[1; 1]);
        assert_eq!(reader.read().map(|p| p.payload), Some(vec![1]));
    }

    #[test]
    fn a_reader_on_another_thread_sees_whole_packets() {
        let (mut writer, mut reader) = ring(1 << 14, Instant::now());
        let reading = std::thread::spawn(move || {
            let mut seen = 0_u64;
            loop {
                let Some(packet) = reader.read() else {
                    std::thread::yield_now();
                    continue;
                };
                assert!(packet.payload.iter().all(|b| *b == packet.seq as u8));
                seen += 1;
                if packet.leg == LegId(2) {
                    return seen + reader.lost();
                }
            }
        });
        for n in 0..20_000_u32 {
            let seq = n as u16;
            writer.write(Instant::now(), LegId(1), Codec::Opus, &header(seq), &[seq as u8; 90]);
        }
        loop {
            let before = writer.0.lost();
            writer.write(Instant::now(), LegId(2), Codec::Opus, &header(3), &[3; 3]);
            if writer.0.lost() == before {
                break;
            }
            writer.0.forget_lost(before);
            std::thread::yield_now();
        }
        assert_eq!(reading.join().unwrap(), 20_001);
    }
}

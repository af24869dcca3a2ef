//! RTCP (RFC 3550 §6): what we say of a stream, and what the peer says of ours.

mod feedback;

pub use feedback::{
    Arrivals, FEEDBACK_INTERVAL, Feedback, write_fir, write_nack, write_pli, write_remb,
    write_tmmbn, write_tmmbr,
};

/// A report block about one source (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    pub ssrc: u32,
    pub fraction_lost: u8,
    /// Below zero when packets came twice; 24 bits on the wire.
    pub total_lost: i32,
    pub highest_seq: u32,
    pub jitter: u32,
    pub last_sr: u32,
    pub delay_since_last_sr: u32,
}

/// What a sender says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// 64-bit NTP time.
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub bytes: u32,
}

/// The parts of a compound packet that we use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compound {
    /// The last, where several speak at once.
    pub sender: Option<(u32, SenderInfo)>,
    /// All of them: sound and video of a browser, say.
    pub senders: Vec<(u32, SenderInfo)>,
    pub feedback: Vec<Feedback>,
    pub blocks: Vec<ReportBlock>,
    pub bye: bool,
}

impl Compound {
    /// Reads a compound packet as far as it makes sense; at most 31 blocks are kept.
    #[must_use]
    pub fn parse(mut packet: &[u8]) -> Self {
        let mut out = Self::default();
        while let Some(head) = packet.first_chunk::<4>() {
            if head[0] >> 6 != 2 {
                break;
            }
            let len = 4 * (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1);
            let Some((this, rest)) = packet.split_at_checked(len) else { break };
            let count = usize::from(head[0] & 0x1f);
            match head[1] {
                200 => {
                    out.sender = sender(this);
                    out.senders.extend(out.sender);
                    out.senders.truncate(31);
                    out.blocks.extend(blocks(this.get(28..).unwrap_or_default(), count));
                }
                201 => out.blocks.extend(blocks(this.get(8..).unwrap_or_default(), count)),
                203 => out.bye = true,
                205 | 206 => {
                    let room = MAX_FEEDBACK.saturating_sub(out.feedback.len());
                    feedback::parse(this, room, &mut out.feedback);
                }
                _ => {}
            }
            out.blocks.truncate(31);
            packet = rest;
        }
        out
    }
}

/// Messages of one compound packet that are looked at.
const MAX_FEEDBACK: usize = 32;

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    if let Some(slice) = bytes.get(at..at + 4) {
        out.copy_from_slice(slice);
    }
    u32::from_be_bytes(out)
}

fn sender(packet: &[u8]) -> Option<(u32, SenderInfo)> {
    if packet.len() < 28 {
        return None;
    }
    let info = SenderInfo {
        ntp: u64::from(word(packet, 8)) << 32 | u64::from(word(packet, 12)),
        rtp_timestamp: word(packet, 16),
        packets: word(packet, 20),
        bytes: word(packet, 24),
    };
    Some((word(packet, 4), info))
}

fn blocks(bytes: &[u8], count: usize) -> impl Iterator<Item = ReportBlock> + '_ {
    bytes.chunks_exact(24).take(count).map(|b| ReportBlock {
        ssrc: word(b, 0),
        fraction_lost: b[4],
        // The shift back carries the sign of the 24 bits.
        total_lost: (word(b, 4) << 8) as i32 >> 8,
        highest_seq: word(b, 8),
        jitter: word(b, 12),
        last_sr: word(b, 16),
        delay_since_last_sr: word(b, 20),
    })
}

/// Writes SR or RR, then SDES with the CNAME: the least compound packet (RFC 3550 §6.1).
pub fn write_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    cname: &str,
    sender: Option<&SenderInfo>,
    block: Option<&ReportBlock>,
) {
    let count = u8::from(block.is_some());
    let words = 1 + if sender.is_some() { 5 } else { 0 } + 6 * u16::from(count);
    out.extend([0x80 | count, if sender.is_some() { 200 } else { 201 }]);
    out.extend(words.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    if let Some(info) = sender {
        out.extend(info.ntp.to_be_bytes());
        out.extend(info.rtp_timestamp.to_be_bytes());
        out.extend(info.packets.to_be_bytes());
        out.extend(info.bytes.to_be_bytes());
    }
    if let Some(block) = block {
        out.extend(block.ssrc.to_be_bytes());
        let lost = block.total_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
        out.extend((u32::from(block.fraction_lost) << 24 | lost).to_be_bytes());
        for value in [block.highest_seq, block.jitter, block.last_sr, block.delay_since_last_sr] {
            out.extend(value.to_be_bytes());
        }
    }
    let name = &cname.as_bytes()[..cname.len().min(64)];
    // One chunk: source, CNAME item, a zero byte, padding to a word.
    let item = 4 + 2 + name.len() + 1;
    let padded = item.next_multiple_of(4);
    out.extend([0x81, 202]);
    out.extend(u16::try_from(padded / 4).unwrap_or(0).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend([1, u8::try_from(name.len()).unwrap_or(0)]);
    out.extend(name);
    out.extend(std::iter::repeat_n(0, 1 + padded - item));
}

/// Writes a BYE to go behind a report: the source is heard no more (RFC 3550 §6.6).
pub fn write_bye(out: &mut Vec<u8>, ssrc: u32) {
    out.extend([0x81, 203, 0, 1]);
    out.extend(ssrc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let info = SenderInfo { ntp: 1 << 40 | 5, rtp_timestamp: 6, packets: 7, bytes: 8 };
        let block = ReportBlock {
            ssrc: 1,
            fraction_lost: 2,
            total_lost: 3,
            highest_seq: 4,
            jitter: 5,
            last_sr: 6,
            delay_since_last_sr: 7,
        };
        for sender in [None, Some(&info)] {
            let mut out = Vec::new();
            write_report(&mut out, 9, "abc", sender, Some(&block));
            assert_eq!(out.len() % 4, 0);
            let read = Compound::parse(&out);
            assert_eq!(read.blocks, [block]);
            assert_eq!(read.sender, sender.map(|i| (9, *i)));
        }
    }

    #[test]
    fn lost_packets_have_a_sign_and_stay_in_their_24_bits() {
        for (told, read) in [
            (0, 0),
            (-3, -3),
            (0x7f_ffff, 0x7f_ffff),
            (0x80_0000, 0x7f_ffff),
            (i32::MIN, -0x80_0000),
        ] {
            let block = ReportBlock { fraction_lost: 9, total_lost: told, ..Default::default() };
            let mut out = Vec::new();
            write_report(&mut out, 9, "abc", None, Some(&block));
            let block = Compound::parse(&out).blocks[0];
            assert_eq!((block.fraction_lost, block.total_lost), (9, read));
        }
    }

    #[test]
    fn a_bye_goes_behind_a_report() {
        let mut out = Vec::new();
        write_report(&mut out, 9, "abc", None, None);
        assert!(!Compound::parse(&out).bye);
        write_bye(&mut out, 9);
        assert!(Compound::parse(&out).bye);
    }

    #[test]
    fn garbage_is_harmless() {
        let mut rng = crosspoint_base::Rng::from_u64(3);
        for _ in 0..20_000 {
            let mut packet = vec![0; rng.below(120) as usize];
            rng.fill(&mut packet);
            if let Some(first) = packet.first_mut() {
                *first = 0x80 | *first & 0x3f;
            }
            assert!(Compound::parse(&packet).blocks.len() <= 31);
        }
    }
}

//! Feedback messages: NACK and PLI (RFC 4585 §6), FIR and TMMBR (RFC 5104 §4), REMB
//! (draft-alvestrand-rmcat-remb) and transport-wide congestion control
//! (draft-holmer-rmcat-transport-wide-cc-extensions).

use std::time::{Duration, Instant};

/// What a receiver asks of a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feedback {
    /// These packets of a source are missing.
    Nack { ssrc: u32, lost: Vec<u16> },
    /// A picture of this source cannot be decoded.
    Pli { ssrc: u32 },
    /// A key frame is wanted; the same number again is the same question.
    Fir { ssrc: u32, number: u8 },
    /// The most that the receiver can take of all together, in bit/s.
    Remb { bits: u64 },
    /// The same of one source, with who asks.
    Tmmbr { by: u32, ssrc: u32, bits: u64 },
    /// A sender keeps to what this receiver asked.
    Tmmbn { by: u32, bits: u64 },
}

/// Adds what one packet of a compound asks; at most `room` messages.
pub(super) fn parse(packet: &[u8], room: usize, out: &mut Vec<Feedback>) {
    let Some((head, rest)) = packet.split_first_chunk::<12>() else { return };
    let ssrc = super::word(head, 8);
    let entries = rest.chunks_exact(8).take(room);
    match (head[1], head[0] & 0x1f) {
        (TRANSPORT, 1) => {
            let lost: Vec<u16> = rest.chunks_exact(4).take(MAX_NACKS).flat_map(numbers).collect();
            if !lost.is_empty() && room > 0 {
                out.push(Feedback::Nack { ssrc, lost });
            }
        }
        (TRANSPORT, 3) => {
            let by = super::word(head, 4);
            out.extend(entries.map(|e| Feedback::Tmmbr {
                by,
                ssrc: super::word(e, 0),
                bits: most(e),
            }));
        }
        (TRANSPORT, 4) => {
            out.extend(entries.map(|e| Feedback::Tmmbn { by: super::word(e, 0), bits: most(e) }));
        }
        (PAYLOAD, 1) if room > 0 => out.push(Feedback::Pli { ssrc }),
        (PAYLOAD, 4) => {
            out.extend(entries.map(|e| Feedback::Fir { ssrc: super::word(e, 0), number: e[4] }));
        }
        (PAYLOAD, 15) if room > 0 => {
            if let Some((b"REMB", value)) = rest.split_first_chunk::<4>()
                && let Some(value) = value.first_chunk::<4>()
            {
                let mantissa = u64::from(u32::from_be_bytes(*value) & 0x3_ffff);
                out.push(Feedback::Remb { bits: mantissa << (value[1] >> 2).min(40) });
            }
        }
        _ => {}
    }
}

/// The limit in an entry (RFC 5104 §4.2.1.1).
fn most(entry: &[u8]) -> u64 {
    u64::from(super::word(entry, 4) >> 9 & 0x1_ffff) << (entry[4] >> 2).min(40)
}

/// A number and the sixteen that follow it, by bits (RFC 4585 §6.2.1).
fn numbers(entry: &[u8]) -> impl Iterator<Item = u16> {
    let (first, bits) =
        (u16::from_be_bytes([entry[0], entry[1]]), u16::from_be_bytes([entry[2], entry[3]]));
    let rest = (0..16_u16).filter(move |bit| bits >> bit & 1 == 1);
    std::iter::once(first).chain(rest.map(move |bit| first.wrapping_add(bit + 1)))
}

/// Asks for packets, given in order.
pub fn write_nack(out: &mut Vec<u8>, sender: u32, ssrc: u32, lost: &[u16]) {
    let mut entries: Vec<(u16, u16)> = Vec::new();
    for seq in lost {
        match entries.last_mut() {
            Some((first, bits)) if (1..=16).contains(&seq.wrapping_sub(*first)) => {
                *bits |= 1 << (seq.wrapping_sub(*first) - 1);
            }
            _ => entries.push((*seq, 0)),
        }
    }
    entries.truncate(MAX_NACKS);
    head(out, 1, TRANSPORT, 4 * entries.len(), sender, ssrc);
    for (first, bits) in entries {
        out.extend(first.to_be_bytes());
        out.extend(bits.to_be_bytes());
    }
}

pub fn write_pli(out: &mut Vec<u8>, sender: u32, ssrc: u32) {
    head(out, 1, PAYLOAD, 0, sender, ssrc);
}

pub fn write_fir(out: &mut Vec<u8>, sender: u32, ssrc: u32, number: u8) {
    head(out, 4, PAYLOAD, 8, sender, 0);
    out.extend(ssrc.to_be_bytes());
    out.extend([number, 0, 0, 0]);
}

pub fn write_remb(out: &mut Vec<u8>, sender: u32, ssrc: u32, bits: u64) {
    head(out, 15, PAYLOAD, 12, sender, 0);
    let (exponent, mantissa) = scaled(bits, 18);
    out.extend(b"REMB");
    out.extend((1 << 24 | u32::from(exponent) << 18 | mantissa).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
}

/// Without overhead: the limit is of what we measure ourselves.
pub fn write_tmmbr(out: &mut Vec<u8>, sender: u32, ssrc: u32, bits: u64) {
    head(out, 3, TRANSPORT, 8, sender, 0);
    write_most(out, ssrc, bits);
}

/// Who asked for a limit with TMMBR repeats it until it hears this (RFC 5104 §4.2.2).
pub fn write_tmmbn(out: &mut Vec<u8>, sender: u32, by: u32, bits: u64) {
    head(out, 4, TRANSPORT, 8, sender, 0);
    write_most(out, by, bits);
}

fn write_most(out: &mut Vec<u8>, ssrc: u32, bits: u64) {
    let (exponent, mantissa) = scaled(bits, 17);
    out.extend(ssrc.to_be_bytes());
    out.extend((u32::from(exponent) << 26 | mantissa << 9).to_be_bytes());
}

/// As a number of so many bits, times a power of two; rounded down.
fn scaled(bits: u64, width: u32) -> (u8, u32) {
    let exponent = (64 - bits.leading_zeros()).saturating_sub(width);
    (u8::try_from(exponent).unwrap_or(0), u32::try_from(bits >> exponent).unwrap_or(0))
}

fn head(out: &mut Vec<u8>, format: u8, kind: u8, body: usize, sender: u32, ssrc: u32) {
    out.extend([0x80 | format, kind]);
    out.extend(u16::try_from(2 + body / 4).unwrap_or(0).to_be_bytes());
    out.extend(sender.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
}

/// When packets of a transport came, by their transport-wide numbers: what a sender's bandwidth
/// estimate lives on.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The number after the last that was told.
    next: Option<u16>,
    arrived: Vec<(u16, Instant)>,
    told: u8,
}

impl Arrivals {
    pub fn note(&mut self, now: Instant, number: u16) {
        let base = self.next.or(self.arrived.first().map(|(first, _)| *first));
        let ahead = base.map_or(0, |base| number.wrapping_sub(base));
        if ahead > MAX_SPAN {
            // Told as lost already, or a count that began anew.
            if ahead < 0x8000 {
                (self.next, self.arrived) = (None, vec![(number, now)]);
            }
            return;
        }
        if self.arrived.len() < MAX_ARRIVALS {
            self.arrived.push((number, now));
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.arrived.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Writes what came since the last time, if anything did. `started` is what time counts from.
    pub fn write(&mut self, out: &mut Vec<u8>, started: Instant, sender: u32, ssrc: u32) {
        let base = self.next.or(self.arrived.first().map(|(first, _)| *first));
        let Some(base) = base.filter(|_| !self.arrived.is_empty()) else { return };
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.sort_by_key(|(number, _)| number.wrapping_sub(base));
        arrived.dedup_by_key(|(number, _)| *number);
        let Some((last, first_at)) = arrived.last().map(|l| l.0).zip(arrived.first().map(|f| f.1))
        else {
            return;
        };
        let micros = |at: Instant| at.saturating_duration_since(started).as_micros() as i64;
        let reference = micros(first_at) / REFERENCE;
        let mut before = reference * REFERENCE;
        let count = last.wrapping_sub(base).wrapping_add(1);
        let mut symbols = vec![0_u8; usize::from(count)];
        let mut deltas = Vec::with_capacity(2 * arrived.len());
        for (number, at) in arrived {
            let ticks = (micros(at) - before) / TICK;
            let (symbol, delta) = match (u8::try_from(ticks), i16::try_from(ticks)) {
                (Ok(small), _) => (1, vec![small]),
                (_, Ok(large)) => (2, large.to_be_bytes().to_vec()),
                _ => continue,
            };
            before += ticks * TICK;
            deltas.extend(delta);
            if let Some(slot) = symbols.get_mut(usize::from(number.wrapping_sub(base))) {
                *slot = symbol;
            }
        }
        self.next = Some(last.wrapping_add(1));
        let mut body = Vec::with_capacity(16 + deltas.len());
        body.extend(base.to_be_bytes());
        body.extend(count.to_be_bytes());
        body.extend(&(reference as u32).to_be_bytes()[1..]);
        body.push(self.told);
        self.told = self.told.wrapping_add(1);
        chunks(&symbols, &mut body);
        body.extend(deltas);
        body.resize(body.len().next_multiple_of(4), 0);
        head(out, 15, TRANSPORT, body.len(), sender, ssrc);
        out.extend(body);
    }
}

/// Runs where they are long, else seven symbols in a chunk.
fn chunks(mut symbols: &[u8], out: &mut Vec<u8>) {
    while let Some(first) = symbols.first() {
        let run = symbols.iter().take_while(|s| *s == first).count().min(0x1fff);
        let (chunk, used) = if run >= 7 {
            (u16::from(*first) << 13 | run as u16, run)
        } else {
            let used = symbols.len().min(7);
            let shifted = |(at, s): (usize, &u8)| u16::from(*s) << (12 - 2 * at);
            (0xc000 | symbols.iter().take(7).enumerate().map(shifted).sum::<u16>(), used)
        };
        out.extend(chunk.to_be_bytes());
        symbols = &symbols[used..];
    }
}

const TRANSPORT: u8 = 205;
const PAYLOAD: u8 = 206;
/// Entries of one message: more packets than a receiver waits for.
const MAX_NACKS: usize = 64;
/// In microseconds.
const REFERENCE: i64 = 64_000;
const TICK: i64 = 250;
/// How far numbers may be apart in one message.
const MAX_SPAN: u16 = 2000;
const MAX_ARRIVALS: usize = 1000;
/// How often a sender is told; browsers tell each other as often.
pub const FEEDBACK_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::Compound;

    fn read(packet: &[u8]) -> Vec<Feedback> {
        assert_eq!(packet.len() % 4, 0);
        Compound::parse(packet).feedback
    }

    #[test]
    fn what_is_asked_is_understood() {
        let mut out = Vec::new();
        write_nack(&mut out, 1, 2, &[65_530, 65_531, 3, 40]);
        write_pli(&mut out, 1, 3);
        write_fir(&mut out, 1, 4, 9);
        write_remb(&mut out, 1, 5, 1_500_000);
        write_tmmbr(&mut out, 1, 6, 300_000);
        write_tmmbn(&mut out, 1, 7, 300_000);
        let asked = [
            Feedback::Nack { ssrc: 2, lost: vec![65_530, 65_531, 3, 40] },
            Feedback::Pli { ssrc: 3 },
            Feedback::Fir { ssrc: 4, number: 9 },
            Feedback::Remb { bits: 1_500_000 },
            Feedback::Tmmbr { by: 1, ssrc: 6, bits: 300_000 / 4 * 4 },
            Feedback::Tmmbn { by: 7, bits: 300_000 / 4 * 4 },
        ];
        assert_eq!(read(&out), asked);
    }

    #[test]
    fn limits_are_rounded_down_and_never_overflow() {
        for bits in [0, 1, 262_143, 262_145, u64::from(u32::MAX), 1 << 50] {
            let mut out = Vec::new();
            write_remb(&mut out, 1, 5, bits);
            let [Feedback::Remb { bits: told }] = read(&out)[..] else { panic!("{bits}") };
            assert!(told <= bits && told >= bits - bits / 1000, "{bits}: {told}");
        }
        let mut worst = Vec::new();
        write_remb(&mut worst, 1, 5, 7);
        worst[17] = 0xff;
        assert!(matches!(read(&worst)[..], [Feedback::Remb { .. }]));
    }

    #[test]
    fn no_compound_asks_for_more_than_a_bounded_number_of_things() {
        let mut out = Vec::new();
        for _ in 0..100 {
            write_pli(&mut out, 1, 3);
            write_nack(&mut out, 1, 3, &(0..2000).map(|n| n * 20).collect::<Vec<u16>>());
        }
        let asked = read(&out);
        assert_eq!(asked.len(), 32);
        let lost = |f: &Feedback| if let Feedback::Nack { lost, .. } = f { lost.len() } else { 0 };
        assert!(asked.iter().map(lost).max() <= Some(17 * 64));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    fn arrivals_are_told_once_with_their_times() {
        let started = Instant::now();
        let mut arrivals = Arrivals::default();
        let at = |ms| started + Duration::from_millis(ms);
        for (ms, number) in [(128, 65_534), (130, 65_535), (129, 2), (131, 1), (230, 20)] {
            arrivals.note(at(ms), number);
        }
        let mut out = Vec::new();
        arrivals.write(&mut out, started, 7, 8);
        assert_eq!(out.len() % 4, 0);
        // Base 65534, 23 packets, two of 64 ms, the first message.
        assert_eq!(out[12..20], [0xff, 0xfe, 0, 23, 0, 0, 2, 0]);
        // Received, received, lost, received, large and backwards, lost, lost.
        let symbols = [1, 1, 0, 1, 2, 0, 0_u16];
        let chunk = symbols.iter().fold(3, |chunk, s| chunk << 2 | s);
        assert_eq!(out[20..22], chunk.to_be_bytes());
        // Fifteen lost in a run, then the last in a chunk of its own: large.
        assert_eq!(out[22..26], [0, 15, 0xe0, 0]);
        // 0 ms, 2 ms, 1 ms later, 2 ms back, 101 ms later: more than a byte holds.
        assert_eq!(out[26..33], [0, 8, 4, 0xff, 0xf8, 0x01, 0x94]);
        assert!(arrivals.is_empty());
        let mut none = Vec::new();
        arrivals.write(&mut none, started, 7, 8);
        assert!(none.is_empty());
        // What was told as lost is not told again; what is new is.
        arrivals.note(at(240), 10);
        assert!(arrivals.is_empty());
        arrivals.note(at(241), 21);
        arrivals.write(&mut none, started, 7, 8);
        assert_eq!(none[12..16], [0, 21, 0, 1]);
        assert_eq!(none[19], 1, "the second message");
    }
}

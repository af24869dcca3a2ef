//! RTCP both ways: what we tell the peer of its stream, and what it tells of ours.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::{Shard, Timer};
use crate::rtcp::{Compound, ReportBlock, SenderInfo, write_report};

/// The recommended least interval (RFC 3550 §6.2); varied to half and one and a half of it.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

impl Shard {
    pub(super) fn report_due(&mut self, now: Instant, id: LegId) {
        let spread = u64::from(self.rng.below(5000));
        self.timers.set((id, Timer::Report), now + INTERVAL / 2 + Duration::from_millis(spread));
        let started = self.started;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let send = leg.stream.as_ref().and_then(|s| s.send);
        let clock = send.map_or(8000, |(codec, _)| codec.clock_rate());
        let sender = (leg.outgoing.packets > 0).then(|| SenderInfo {
            ntp: ntp(now, started),
            rtp_timestamp: leg.outgoing.timestamp_at(now, clock),
            packets: leg.outgoing.packets as u32,
            bytes: leg.outgoing.bytes as u32,
        });
        let block = leg.receiving.ssrc.map(|ssrc| {
            let receiving = &mut leg.receiving;
            let (expected, received) = (receiving.expected(), receiving.received());
            let expected_now = expected.saturating_sub(receiving.expected_prior);
            let received_now = received.saturating_sub(receiving.received_prior);
            (receiving.expected_prior, receiving.received_prior) = (expected, received);
            let lost_now = expected_now.saturating_sub(received_now);
            ReportBlock {
                ssrc,
                fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255)
                    as u8,
                total_lost: expected.saturating_sub(received).min(0x007f_ffff) as u32,
                highest_seq: receiving.highest_seq as u32,
                jitter: receiving.jitter_ticks(),
                last_sr: receiving.last_sr.map_or(0, |(_, sr)| sr),
                delay_since_last_sr: receiving
                    .last_sr
                    .map_or(0, |(then, _)| fraction(now.saturating_duration_since(then))),
            }
        });
        if sender.is_none() && block.is_none() {
            return;
        }
        let mut bytes = Vec::with_capacity(96);
        let ssrc = leg.outgoing.ssrc;
        write_report(&mut bytes, ssrc, leg.negotiator.cname(), sender.as_ref(), block.as_ref());
        self.send_rtcp(id, bytes);
    }

    pub(super) fn take_report(&mut self, now: Instant, id: LegId, report: &Compound) {
        let started = self.started;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.receiving.last_packet = Some(now);
        if let Some((_, info)) = &report.sender {
            leg.receiving.last_sr = Some((now, (info.ntp >> 16) as u32));
        }
        for block in report.blocks.iter().filter(|b| b.ssrc == leg.outgoing.ssrc) {
            if block.last_sr == 0 {
                continue;
            }
            // RFC 3550 §6.4.1: now - LSR - DLSR, in units of 1/65536 s.
            let middle = (ntp(now, started) >> 16) as u32;
            let trip = middle.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
            // A report that is nonsense shows as a huge or negative time.
            if trip < 10 << 16 {
                let micros = (u64::from(trip) * 1_000_000) >> 16;
                leg.receiving.round_trip = Some(Duration::from_micros(micros));
            }
        }
    }
}

/// Time since the shard started as an NTP timestamp: RTCP needs differences only.
fn ntp(now: Instant, started: Option<Instant>) -> u64 {
    let since = started.map_or(Duration::ZERO, |s| now.saturating_duration_since(s));
    let seconds = EPOCH + since.as_secs();
    (seconds << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

/// In seconds after 1900, some day of 2023. Interop: str0m keeps Unix time, so a report from
/// before 1970 comes back as zero and no round trip can be told.
const EPOCH: u64 = 3_900_000_000;

fn fraction(duration: Duration) -> u32 {
    (duration.as_micros() * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32
}

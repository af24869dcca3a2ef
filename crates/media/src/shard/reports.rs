//! RTCP both ways: what we tell the peer of its stream, and what it tells of ours.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::leg::Leg;
use super::packets::Receiving;
use super::{Shard, Timer};
use crate::rtcp::{Compound, ReportBlock, SenderInfo, write_bye, write_report};

/// The recommended least interval (RFC 3550 §6.2); varied to half and one and a half of it.
const INTERVAL: Duration = Duration::from_secs(5);

impl Leg {
    /// The next report (RFC 3550 §6.4): a sender's when we have sent lately, with a block when
    /// something has come since the last.
    /// `in_step` is the sender's own time, where it is passed on.
    fn report(&mut self, now: Instant, started: Option<Instant>, in_step: Option<u32>) -> Vec<u8> {
        self.has_reported = true;
        let send = self.stream.as_ref().and_then(|s| s.send);
        let clock = send.map_or(8000, |(codec, _)| codec.clock_rate());
        let outgoing = &mut self.outgoing;
        let sender = outgoing.report_as_sender().then(|| SenderInfo {
            ntp: ntp(now, started),
            rtp_timestamp: in_step.unwrap_or_else(|| outgoing.timestamp_at(now, clock)),
            packets: outgoing.packets as u32,
            bytes: outgoing.payload_bytes() as u32,
        });
        let block = self.receiving.report_block(now);
        let mut bytes = Vec::with_capacity(96);
        let (ssrc, cname) = (self.outgoing.ssrc, self.negotiator.cname());
        write_report(&mut bytes, ssrc, cname, sender.as_ref(), block.as_ref());
        bytes
    }
}

impl Receiving {
    /// What the peer is told of its stream; nothing when none of it has come since the last.
    pub(super) fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let ssrc = self.ssrc?;
        let (expected, received) = (self.expected(), self.received());
        if received == self.received_prior {
            return None;
        }
        let expected_now = expected.saturating_sub(self.expected_prior);
        let received_now = received.saturating_sub(self.received_prior);
        (self.expected_prior, self.received_prior) = (expected, received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255);
        // What comes twice counts as received twice, so this may be below zero.
        let total = expected.cast_signed().saturating_sub(received.cast_signed());
        let since_sr = |(then, _)| fraction_of(now.saturating_duration_since(then));
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction as u8,
            total_lost: total.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: self.highest_seq as u32,
            jitter: self.jitter_ticks(),
            last_sr: self.last_sr.map_or(0, |(_, sr)| sr),
            delay_since_last_sr: self.last_sr.map_or(0, since_sr),
        })
    }
}

impl Shard {
    /// When the first report of a leg is due: after half of an interval (RFC 3550 §6.2).
    pub(super) fn first_report(&mut self, now: Instant, id: LegId) {
        let spread = u64::from(self.rng.below(2500));
        self.timers.set((id, Timer::Report), now + INTERVAL / 4 + Duration::from_millis(spread));
    }

    pub(super) fn report_due(&mut self, now: Instant, id: LegId) {
        let spread = u64::from(self.rng.below(5000));
        self.timers.set((id, Timer::Report), now + INTERVAL / 2 + Duration::from_millis(spread));
        let (started, in_step) = (self.started, self.time_in_step(now, id, true));
        self.report_video(now, id, false);
        let Some(leg) = self.legs.figures_mut(&id).filter(|leg| leg.can_report()) else { return };
        let bytes = leg.report(now, started, in_step);
        self.send_rtcp(id, bytes);
    }

    /// Says goodbye on a leg that is about to be closed, where it has said anything before
    /// (RFC 3550 §6.3.7).
    pub(super) fn send_bye(&mut self, now: Instant, id: LegId) {
        let started = self.started;
        self.report_video(now, id, true);
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.can_report()) else { return };
        if leg.outgoing.packets == 0 && !leg.has_reported {
            return;
        }
        let mut bytes = leg.report(now, started, None);
        write_bye(&mut bytes, leg.outgoing.ssrc);
        self.send_rtcp(id, bytes);
    }

    pub(super) fn take_report(&mut self, now: Instant, id: LegId, report: &Compound) {
        let started = self.started;
        let Some(leg) = self.legs.figures_mut(&id) else { return };
        leg.receiving.last_packet = Some(now);
        // Before its first packet a lone report is that of the sound.
        let may_be_first = leg.video.is_none();
        if let Some((_, info)) = report
            .senders
            .iter()
            .rev()
            .find(|(ssrc, _)| leg.receiving.ssrc.map_or(may_be_first, |ours| ours == *ssrc))
        {
            leg.receiving.last_sr = Some((now, (info.ntp >> 16) as u32));
        }
        for block in report.blocks.iter().filter(|b| b.ssrc == leg.outgoing.ssrc) {
            leg.told_by_peer = Some(*block);
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
pub(super) fn ntp(now: Instant, started: Option<Instant>) -> u64 {
    let since = started.map_or(Duration::ZERO, |s| now.saturating_duration_since(s));
    let seconds = EPOCH + since.as_secs();
    (seconds << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

/// In seconds after 1900, some day of 2023. Interop: str0m keeps Unix time, so a report from
/// before 1970 comes back as zero and no round trip can be told.
const EPOCH: u64 = 3_900_000_000;

fn fraction_of(duration: Duration) -> u32 {
    (duration.as_micros() * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32
}

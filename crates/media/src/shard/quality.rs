//! How the legs do: a sample of each every five seconds, and who is not heard.
//!
//! Everything is read from what the packet path counts anyhow, once a second.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::leg::Leg;
use super::{Counters, Shard};
use crate::control::{AtPeer, Event, LegStats, QualitySample, Silence};
use crate::emodel::{self, Mos};

/// What is kept of a leg's quality.
#[derive(Debug, Default)]
pub(super) struct Quality {
    /// When the running sample began, and what was counted then.
    period: Option<(Instant, Counted)>,
    mos_sum: u64,
    samples: u64,
    mos_lowest: Option<Mos>,
    jitter_max: Duration,
    is_answered: bool,
    /// Since when nothing has come, and how much had.
    quiet: Option<(Instant, u64)>,
    is_silent: bool,
    silences: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    received: u64,
    sent: u64,
    lost: u64,
}

impl Quality {
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Adds to a leg's figures what the samples made of it.
    pub(super) fn complete(&self, stats: LegStats) -> LegStats {
        let mean = self.mos_sum.checked_div(self.samples);
        LegStats {
            mos: mean.map(|m| Mos::from_hundredths(u16::try_from(m).unwrap_or(0))),
            mos_lowest: self.mos_lowest,
            jitter_max: self.jitter_max.max(stats.jitter),
            silences: self.silences,
            ..stats
        }
    }

    /// Whether the leg has just fallen silent or is heard again.
    fn listen(&mut self, now: Instant, packets: u64, is_expected: bool) -> Option<Heard> {
        let (since, before) = *self.quiet.get_or_insert((now, packets));
        if packets != before {
            self.quiet = Some((now, packets));
            return std::mem::take(&mut self.is_silent).then_some(Heard::Again);
        }
        if !is_expected {
            self.quiet = Some((now, packets));
        } else if !self.is_silent && now.saturating_duration_since(since) + LATE >= QUIET {
            self.is_silent = true;
            self.silences += 1;
            let when = if packets == 0 { Silence::Start } else { Silence::Running };
            return Some(Heard::NoMore(when));
        }
        None
    }
}

enum Heard {
    NoMore(Silence),
    Again,
}

impl Leg {
    fn counted(&self) -> Counted {
        let receiving = &self.receiving;
        let (received, lost) = (receiving.packets, receiving.lost());
        Counted { received, sent: self.outgoing.packets, lost }
    }

    /// What the peer said last of what we send.
    pub(super) fn at_peer(&self) -> Option<AtPeer> {
        let block = self.told_by_peer?;
        let clock = self.stream.as_ref()?.send?.0.clock_rate();
        let micros = u64::from(block.jitter) * 1_000_000 / u64::from(clock);
        Some(AtPeer {
            loss: f32::from(block.fraction_lost) / 256.0,
            packets_lost: u64::try_from(block.total_lost).unwrap_or(0),
            jitter: Duration::from_micros(micros),
        })
    }

    /// The sample that is due, when media has run for long enough.
    fn sample(&mut self, now: Instant, least: Duration) -> Option<QualitySample> {
        let counted = self.counted();
        let jitter = self.receiving.jitter();
        let quality = &mut self.quality;
        quality.jitter_max = quality.jitter_max.max(jitter);
        let (began, before) = match quality.period {
            Some(period) => period,
            None if counted.received + counted.sent == 0 => return None,
            None => *quality.period.insert((now, Counted::default())),
        };
        if now.saturating_duration_since(began) < least {
            return None;
        }
        quality.period = Some((now, counted));
        let received = counted.received - before.received;
        if received == 0 && counted.sent == before.sent {
            return None;
        }
        let lost = counted.lost.saturating_sub(before.lost);
        let round_trip = self.receiving.round_trip;
        let codec = self.stream.as_ref()?.send?.0;
        let mos = (received > 0).then(|| {
            let loss = lost as f64 / (lost + received) as f64;
            let delay = emodel::delay(round_trip, jitter);
            Mos::from_rating(emodel::rating(codec, loss, delay))
        });
        if let Some(mos) = mos {
            quality.mos_sum += u64::from(mos.hundredths());
            quality.samples += 1;
            quality.mos_lowest = Some(quality.mos_lowest.map_or(mos, |m| m.min(mos)));
        }
        let at_peer = self.at_peer();
        let (packets_received, packets_lost) = (received, lost);
        let video = self.video.as_mut().and_then(|video| video.sample(now));
        Some(QualitySample {
            mos,
            packets_received,
            packets_lost,
            jitter,
            round_trip,
            at_peer,
            video,
        })
    }
}

impl Shard {
    /// The call runs: from now on this leg should be heard.
    pub(super) fn answered(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if !leg.quality.is_answered {
            leg.quality.is_answered = true;
            leg.quality.quiet = Some((now, leg.receiving.packets));
        }
    }

    /// Once a second.
    pub(super) fn observe(&mut self, now: Instant, id: LegId) {
        self.take_sample(now, id, PERIOD - LATE);
        let Some(leg) = self.legs.figures_mut(&id).filter(|leg| leg.quality.is_answered) else {
            return;
        };
        let is_expected = leg.expects_media() && !leg.receiving.is_paused;
        let Some(heard) = leg.quality.listen(now, leg.receiving.packets, is_expected) else {
            return;
        };
        let counters = self.counters.of_kind(leg.negotiator.is_webrtc());
        let event = match heard {
            Heard::Again => Event::Heard { leg: id },
            Heard::NoMore(when) => {
                match when {
                    Silence::Start => counters.silent_start += 1,
                    Silence::Running => counters.silent_running += 1,
                }
                Event::Silent { leg: id, when }
            }
        };
        self.event(event);
    }

    /// The last sample of a leg that closes: a short call has one, too.
    pub(super) fn last_sample(&mut self, now: Instant, id: LegId) {
        let has_one = self.legs.get(&id).is_some_and(|leg| leg.quality.samples > 0);
        self.take_sample(now, id, if has_one { LEAST } else { Duration::ZERO });
    }

    fn take_sample(&mut self, now: Instant, id: LegId, least: Duration) {
        let Some(leg) = self.legs.figures_mut(&id) else { return };
        let Some(sample) = leg.sample(now, least) else { return };
        self.counters.of_kind(leg.negotiator.is_webrtc()).add(&sample);
        self.event(Event::Quality { leg: id, sample });
    }
}

/// What the samples of one kind of leg said, and how often such legs were not heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LegCounters {
    /// Nothing came in the first seconds after the answer.
    pub silent_start: u64,
    /// Nothing came any more.
    pub silent_running: u64,
    pub mos: Histogram,
    pub loss: Histogram,
    pub jitter: Histogram,
    pub round_trip: Histogram,
}

impl std::ops::AddAssign for LegCounters {
    fn add_assign(&mut self, other: Self) {
        let Self { silent_start, silent_running, mos, loss, jitter, round_trip } = other;
        self.silent_start += silent_start;
        self.silent_running += silent_running;
        self.mos += mos;
        self.loss += loss;
        self.jitter += jitter;
        self.round_trip += round_trip;
    }
}

impl LegCounters {
    fn add(&mut self, sample: &QualitySample) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(mos) = sample.mos {
            self.mos.add(&MOS, u64::from(mos.hundredths()));
            let expected = sample.packets_received + sample.packets_lost;
            self.loss.add(&LOSS, 10_000 * sample.packets_lost / expected.max(1));
            self.jitter.add(&SECONDS, micros(sample.jitter));
        }
        if let Some(round_trip) = sample.round_trip {
            self.round_trip.add(&SECONDS, micros(round_trip));
        }
    }
}

impl Counters {
    fn of_kind(&mut self, is_webrtc: bool) -> &mut LegCounters {
        if is_webrtc { &mut self.webrtc } else { &mut self.rtp }
    }
}

/// How many values were up to each border; the last count is of those above all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    pub counts: [u64; BORDERS + 1],
    pub sum: u64,
}

impl std::ops::AddAssign for Histogram {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl Histogram {
    fn add(&mut self, scale: &Scale, value: u64) {
        let place = scale.borders.iter().position(|border| value <= *border);
        self.counts[place.unwrap_or(BORDERS)] += 1;
        self.sum = self.sum.saturating_add(value);
    }
}

/// The borders of a histogram, in parts of which `per_one` make one.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub borders: [u64; BORDERS],
    pub per_one: u32,
}

const BORDERS: usize = 8;
/// ITU-T G.107 annex B names those from 2.58 to 4.34.
pub const MOS: Scale = Scale { borders: [150, 200, 258, 310, 360, 402, 434, 440], per_one: 100 };
pub const LOSS: Scale = Scale { borders: [0, 10, 50, 100, 200, 500, 1000, 2500], per_one: 10_000 };
pub const SECONDS: Scale = Scale {
    borders: [1000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000],
    per_one: 1_000_000,
};

const PERIOD: Duration = Duration::from_secs(5);
/// A shorter rest says little.
const LEAST: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(3);
/// By how much a look may be late and the next still on time: nothing waits another second for that.
const LATE: Duration = Duration::from_millis(50);

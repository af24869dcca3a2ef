//! How much a way carries, by what its packets tell (draft-ietf-rmcat-gcc-02).
//!
//! A browser estimates the way to us by itself, from transport-wide feedback. [`Arriving`] is for
//! senders that do not: pictures that come ever later than their timestamps say fill a queue
//! somewhere. [`ByLoss`] is for both directions: what the receiver's reports say is lost.
//!
//! Neither limits anything until there is a sign that too much is sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The way of a stream of pictures to us (§5).
#[derive(Debug)]
pub(crate) struct Arriving {
    /// The picture that is coming: its timestamp, and when its last packet came.
    coming: Option<(u32, Instant)>,
    before: Option<(u32, Instant)>,
    started: Option<Instant>,
    /// How late pictures are by now against the first, in ms; as it is, and smoothed.
    late: f64,
    smoothed: f64,
    /// When (in ms) and how late the last ones were.
    points: VecDeque<(f64, f64)>,
    /// How many there were: of few one knows little.
    count: u32,
    trend: f64,
    threshold: f64,
    /// Since when, and over how many pictures, the trend is above the threshold.
    over: Option<(Instant, u32)>,
    rate: Rate,
    estimate: Option<f64>,
    stepped: Option<Instant>,
}

/// Bits in a second, over the last half second.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    since: Option<Instant>,
    bytes: u64,
    last: Option<u64>,
}

/// The way of a stream, by the share that does not arrive (§6).
#[derive(Debug, Default)]
pub(crate) struct ByLoss {
    limit: Option<f64>,
    told: Option<Instant>,
}

impl Default for Arriving {
    fn default() -> Self {
        Self {
            coming: None,
            before: None,
            started: None,
            late: 0.0,
            smoothed: 0.0,
            points: VecDeque::new(),
            count: 0,
            trend: 0.0,
            threshold: FIRST_THRESHOLD,
            over: None,
            rate: Rate::default(),
            estimate: None,
            stepped: None,
        }
    }
}

impl Arriving {
    /// A packet came in its order; `timestamp` has 90 kHz.
    pub(crate) fn arrived(&mut self, now: Instant, timestamp: u32, bytes: usize) {
        self.rate.count(now, bytes);
        let Some((coming, last)) = &mut self.coming else {
            self.coming = Some((timestamp, now));
            return;
        };
        let ahead = timestamp.wrapping_sub(*coming).cast_signed();
        match ahead {
            // More of it, or what belongs to one of before.
            0 => *last = now,
            ..0 => {}
            1.. => {
                let done = (*coming, *last);
                self.coming = Some((timestamp, now));
                self.complete(done);
            }
        }
    }

    /// A picture came as a whole, for the next one begins.
    fn complete(&mut self, done: (u32, Instant)) {
        let Some((timestamp, at)) = self.before.replace(done) else { return };
        let sent = f64::from(done.0.wrapping_sub(timestamp)) / 90.0;
        let came = done.1.saturating_duration_since(at);
        if came > PAUSE || sent > PAUSE.as_secs_f64() * 1000.0 {
            // A pause says nothing, and its end is a new beginning.
            self.begin_anew();
            return;
        }
        let since = done.1.saturating_duration_since(*self.started.get_or_insert(at));
        self.late += came.as_secs_f64() * 1000.0 - sent;
        self.smoothed += (self.late - self.smoothed) * SMOOTHING;
        self.count = (self.count + 1).min(COUNTED);
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back((since.as_secs_f64() * 1000.0, self.smoothed));
        if self.points.len() == POINTS {
            self.judge(done.1, came);
        }
    }

    fn begin_anew(&mut self) {
        let (rate, estimate) = (std::mem::take(&mut self.rate), self.estimate);
        let (coming, stepped) = (self.coming, self.stepped);
        *self = Self { coming, rate, estimate, stepped, ..Self::default() };
    }

    /// Whether a queue grows (§5.4).
    fn judge(&mut self, now: Instant, took: Duration) {
        let trend = slope(&self.points) * f64::from(self.count) * GAIN;
        let is_steeper = trend >= self.trend;
        self.trend = trend;
        if trend > self.threshold {
            let (since, count) = self.over.map_or((now, 0), |(since, count)| (since, count + 1));
            self.over = Some((since, count));
            let is_lasting = now.saturating_duration_since(since) >= LASTING;
            if is_lasting && count >= 2 && is_steeper {
                self.over = None;
                self.lower(now);
            }
        } else {
            self.over = None;
        }
        // It follows the trend, so that a rival that fills the queue is no reason to give way
        // for ever.
        if trend.abs() <= self.threshold + FAR_OFF {
            let gain = if trend.abs() < self.threshold { FALLING } else { RISING };
            let millis = took.min(STEP_MAX).as_secs_f64() * 1000.0;
            self.threshold += gain * (trend.abs() - self.threshold) * millis;
            self.threshold = self.threshold.clamp(6.0, 600.0);
        }
    }

    fn lower(&mut self, now: Instant) {
        let is_soon = |at: Instant| now.saturating_duration_since(at) < SETTLING;
        let Some(rate) = self.rate.last.filter(|_| !self.stepped.is_some_and(is_soon)) else {
            return;
        };
        let low = (rate as f64 * LOWERED).max(LEAST);
        self.estimate = Some(self.estimate.map_or(low, |before| before.min(low)));
        self.stepped = Some(now);
    }

    /// What comes, in bit/s.
    pub(crate) fn bits(&self) -> Option<u64> {
        self.rate.bits()
    }

    /// In bit/s, once there is a limit.
    pub(crate) fn estimate(&mut self, now: Instant) -> Option<u64> {
        let estimate = self.estimate.as_mut()?;
        let stepped = *self.stepped.get_or_insert(now);
        let elapsed = now.saturating_duration_since(stepped);
        let is_free = self.over.is_none() && self.trend > -self.threshold;
        if is_free && elapsed >= RAISING {
            // Not far above what comes: nobody knows whether more would get through.
            let most = self.rate.last.map_or(*estimate, |rate| 1.5 * rate as f64 + 10_000.0);
            let raised = *estimate * GROWTH.powf(elapsed.as_secs_f64().min(5.0));
            *estimate = raised.min(most.max(*estimate));
            self.stepped = Some(now);
        }
        Some(*estimate as u64)
    }
}

/// By least squares: ms of delay for each ms.
fn slope(points: &VecDeque<(f64, f64)>) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / count, y + p.1 / count));
    let (up, down) = points.iter().fold((0.0, 0.0), |(up, down), p| {
        (up + (p.0 - x) * (p.1 - y), down + (p.0 - x) * (p.0 - x))
    });
    if down > 0.0 { up / down } else { 0.0 }
}

impl Rate {
    pub(crate) fn count(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes as u64;
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= RATE_INTERVAL {
            let bits = u128::from(8 * self.bytes) * 1000;
            self.last = u64::try_from(bits / elapsed.as_millis().max(1)).ok();
            (self.since, self.bytes) = (Some(now), 0);
        }
    }

    /// In bit/s, once half a second has passed.
    pub(crate) fn bits(&self) -> Option<u64> {
        self.last
    }
}

impl ByLoss {
    /// The receiver tells which part of 256 got lost since its last report; `rate` is what was
    /// sent, in bit/s.
    pub(crate) fn told(&mut self, now: Instant, fraction_lost: u8, rate: Option<u64>) {
        let Some(rate) = rate else { return };
        let lost = f64::from(fraction_lost) / 256.0;
        let elapsed = self.told.map(|at| now.saturating_duration_since(at));
        if elapsed.is_some_and(|elapsed| elapsed < SETTLING) {
            // Of what was sent before it could change.
            return;
        }
        self.told = Some(now);
        if lost > MUCH {
            let base = self.limit.unwrap_or(f64::MAX).min(rate as f64);
            self.limit = Some((base * (1.0 - 0.5 * lost)).max(LEAST));
        } else if lost < LITTLE
            && let Some(limit) = self.limit
        {
            let seconds = elapsed.unwrap_or_default().as_secs_f64().min(5.0);
            let raised = limit * GROWTH.powf(seconds);
            self.limit = Some(raised).filter(|raised| *raised < MOST);
        }
    }

    /// In bit/s, once there is a limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit.map(|limit| limit as u64)
    }
}

/// The figures of §5.4 and §5.5, and of the estimator of browsers, which fits a line (it has
/// 20 points, a gain of 4 for each of up to 60 pictures, and smooths by a tenth).
const POINTS: usize = 20;
const COUNTED: u32 = 60;
const GAIN: f64 = 4.0;
const SMOOTHING: f64 = 0.1;
const FIRST_THRESHOLD: f64 = 12.5;
const FAR_OFF: f64 = 15.0;
const RISING: f64 = 0.0087;
const FALLING: f64 = 0.039;
const STEP_MAX: Duration = Duration::from_millis(100);
const LASTING: Duration = Duration::from_millis(10);
const LOWERED: f64 = 0.85;
/// In a second.
const GROWTH: f64 = 1.08;
/// A step has to show before the next one.
const SETTLING: Duration = Duration::from_millis(500);
const RAISING: Duration = Duration::from_millis(500);
/// Pictures further apart than this are of a camera that was off, or on hold.
const PAUSE: Duration = Duration::from_secs(1);
const RATE_INTERVAL: Duration = Duration::from_millis(500);
/// §6: from here on less is sent, and up to here more.
const MUCH: f64 = 0.1;
const LITTLE: f64 = 0.02;
/// Below this there is no picture to speak of, and above nobody sends.
const LEAST: f64 = 50_000.0;
const MOST: f64 = 10_000_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A camera of 30 pictures a second, whose packets of 1000 bytes go through a queue.
    struct Camera {
        way: Arriving,
        start: Instant,
        at: Duration,
        /// Until when the line is busy.
        busy: Duration,
        timestamp: u32,
        /// What it would like to send, in bit/s.
        bits: f64,
    }

    impl Camera {
        fn new(bits: f64) -> Self {
            #[expect(clippy::disallowed_methods, reason = "time has to begin somewhere")]
            let start = Instant::now();
            let (at, busy) = (Duration::ZERO, Duration::ZERO);
            Self { way: Arriving::default(), start, at, busy, timestamp: u32::MAX - 90_000, bits }
        }

        /// Lets `carried` bit/s through, and heeds what is estimated: that after so many seconds.
        fn films(&mut self, seconds: u32, carried: f64) -> Option<u64> {
            let mut estimate = self.way.estimate(self.start + self.busy);
            for number in 0..30 * seconds {
                // Not all pictures are alike.
                let size = 1.0 + 0.3 * f64::from(number % 7) / 3.0 - 0.3;
                let bits = estimate.map_or(self.bits, |most| self.bits.min(most as f64));
                let packets = ((bits / 30.0 / 8000.0) * size).round().max(1.0) as u32;
                for _ in 0..packets {
                    self.busy = self.busy.max(self.at) + Duration::from_secs_f64(8000.0 / carried);
                    self.way.arrived(self.start + self.busy, self.timestamp, 1000);
                }
                self.at += Duration::from_micros(33_333);
                self.timestamp = self.timestamp.wrapping_add(3000);
                estimate = self.way.estimate(self.start + self.busy);
            }
            estimate
        }

        fn waits(&self) -> Duration {
            self.busy.saturating_sub(self.at)
        }
    }

    #[test]
    fn a_way_that_carries_it_is_no_limit() {
        let mut camera = Camera::new(900_000.0);
        assert_eq!(camera.films(60, 1_500_000.0), None);
    }

    #[test]
    fn a_narrow_way_is_found_out_and_its_queue_drained() {
        for carried in [300_000.0, 500_000.0, 800_000.0] {
            let mut camera = Camera::new(1_000_000.0);
            camera.films(10, carried);
            for second in 10..60 {
                let estimate = camera.films(1, carried).expect("a limit") as f64;
                let is_fair = (0.5 * carried..1.3 * carried).contains(&estimate);
                assert!(is_fair, "{estimate} of {carried} after {second} s");
                assert!(camera.waits() < Duration::from_millis(400), "{:?}", camera.waits());
            }
        }
    }

    #[test]
    fn a_way_that_becomes_wide_again_is_used_again() {
        let mut camera = Camera::new(1_000_000.0);
        let narrow = camera.films(20, 300_000.0).expect("a limit");
        let wide = camera.films(40, 2_000_000.0).expect("a limit");
        assert!(wide > 2 * narrow && wide > 900_000, "{narrow} and {wide}");
    }

    #[test]
    fn a_pause_or_another_clock_is_no_queue() {
        let mut camera = Camera::new(600_000.0);
        camera.films(5, 2_000_000.0);
        camera.at += Duration::from_secs(20);
        camera.films(5, 2_000_000.0);
        camera.timestamp = camera.timestamp.wrapping_add(0x7000_0000);
        assert_eq!(camera.films(5, 2_000_000.0), None);
        camera.timestamp = camera.timestamp.wrapping_sub(900_000);
        assert_eq!(camera.films(30, 2_000_000.0), None);
    }

    #[test]
    fn losses_lower_a_limit_by_half_their_share_and_it_grows_back() {
        #[expect(clippy::disallowed_methods, reason = "time has to begin somewhere")]
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut way = ByLoss::default();
        way.told(at(0), 0, Some(1_000_000));
        way.told(at(1), 20, Some(1_000_000));
        assert_eq!(way.limit(), None, "eight of a hundred are repaired");
        way.told(at(2), 128, Some(1_000_000));
        assert_eq!(way.limit(), Some(750_000));
        way.told(at(2), 128, Some(1_000_000));
        assert_eq!(way.limit(), Some(750_000), "of the same packets");
        way.told(at(3), 13, Some(750_000));
        assert_eq!(way.limit(), Some(750_000), "neither much nor little");
        way.told(at(4), 0, Some(750_000));
        assert_eq!(way.limit(), Some(810_000));
        for second in 5..60 {
            way.told(at(second), 0, Some(750_000));
        }
        assert_eq!(way.limit(), None, "more than anybody sends is no limit");
        for second in 60..200 {
            way.told(at(second), 255, Some(1_000_000));
        }
        assert_eq!(way.limit(), Some(50_000));
        way.told(at(300), 255, None);
    }
}

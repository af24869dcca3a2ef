//! Between the machines' clock, which only counts, and the clock on the wall.

use std::time::{Duration, Instant};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    instant: Instant,
    since_epoch: Duration,
}

impl WallClock {
    /// A clock that showed `since_epoch`, counted from the Unix epoch, at `instant`. It goes on at
    /// the pace of instants, whatever happens to the system's clock.
    #[must_use]
    pub fn new(instant: Instant, since_epoch: Duration) -> Self {
        Self { instant, since_epoch }
    }

    /// The instant at which it was set.
    #[must_use]
    pub fn set_at(&self) -> Instant {
        self.instant
    }

    /// The time since the Unix epoch; zero before it.
    #[must_use]
    pub fn since_epoch(&self, at: Instant) -> Duration {
        let later = at.saturating_duration_since(self.instant);
        let earlier = self.instant.saturating_duration_since(at);
        (self.since_epoch + later).saturating_sub(earlier)
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn millis(&self, at: Instant) -> i64 {
        i64::try_from(self.since_epoch(at).as_millis()).unwrap_or(i64::MAX)
    }

    /// Unix seconds.
    #[must_use]
    pub fn seconds(&self, at: Instant) -> i64 {
        self.millis(at) / 1000
    }

    /// When a Unix second is, if it is not before the clock was set.
    #[must_use]
    pub fn instant(&self, unix_seconds: i64) -> Option<Instant> {
        let at = Duration::from_secs(u64::try_from(unix_seconds).ok()?);
        self.instant.checked_add(at.checked_sub(self.since_epoch)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: u64 = 1_800_000_000_600;

    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    fn clock() -> WallClock {
        WallClock::new(Instant::now(), Duration::from_millis(MILLIS))
    }

    #[test]
    fn tells_the_time_before_and_after_it_was_set() {
        let clock = clock();
        let later = clock.set_at() + Duration::from_millis(90_400);
        assert_eq!(clock.millis(later), 1_800_000_091_000);
        assert_eq!(clock.seconds(later), 1_800_000_091);
        let earlier = clock.set_at() - Duration::from_millis(601);
        assert_eq!(clock.millis(earlier), 1_799_999_999_999);
        assert_eq!(clock.seconds(earlier), 1_799_999_999);
    }

    #[test]
    fn finds_the_instant_of_a_second_to_come() {
        let clock = clock();
        let at = clock.instant(1_800_000_090).unwrap();
        assert_eq!(at - clock.set_at(), Duration::from_millis(89_400));
        assert_eq!(clock.instant(1_800_000_000), None);
        assert_eq!(clock.instant(0), None);
        assert_eq!(clock.instant(-1), None);
    }
}

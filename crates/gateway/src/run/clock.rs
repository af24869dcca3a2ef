//! Between the machines' clock, which only counts, and the wall clock of records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    since_epoch: Duration,
}

impl Clock {
    pub(super) fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), since_epoch }
    }

    /// The time since the Unix epoch.
    pub(crate) fn since_epoch(&self, at: Instant) -> Duration {
        let later = at.saturating_duration_since(self.instant);
        let earlier = self.instant.saturating_duration_since(at);
        (self.since_epoch + later).saturating_sub(earlier)
    }

    /// Unix milliseconds.
    pub(crate) fn millis(&self, at: Instant) -> i64 {
        i64::try_from(self.since_epoch(at).as_millis()).unwrap_or(i64::MAX)
    }

    /// Unix seconds.
    pub(super) fn seconds(&self, at: Instant) -> i64 {
        self.millis(at) / 1000
    }

    /// When a Unix second is, if it is still to come.
    pub(super) fn instant(&self, unix_seconds: i64) -> Option<Instant> {
        let at = Duration::from_secs(u64::try_from(unix_seconds).ok()?);
        self.instant.checked_add(at.checked_sub(self.since_epoch)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translates_both_ways() {
        let clock = Clock::now();
        let later = clock.instant + Duration::from_secs(90);
        let seconds = clock.seconds(later);
        let back = clock.instant(seconds).unwrap();
        assert!(later.saturating_duration_since(back) <= Duration::from_secs(1));
        assert!(clock.millis(later) - clock.millis(clock.instant) == 90_000);
        assert_eq!(clock.instant(0), None);
        assert_eq!(clock.instant(-1), None);
    }
}

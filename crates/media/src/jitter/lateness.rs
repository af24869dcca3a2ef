//! How late packets come, compared with the earliest: what delay would have been enough.

use std::time::Instant;

/// Follows the lateness of the latest packets: up at once, down slowly.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// Arrival, timestamp and transit of the last packet, in ms after that of the first.
    last: Option<(Instant, u32, f64)>,
    /// The transit of the earliest packets.
    earliest: f64,
    level: f64,
}

impl Lateness {
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    /// Takes note of one packet.
    pub(super) fn note(&mut self, now: Instant, timestamp: u32, clock_rate: u32) {
        let Some((then, before, transit)) = self.last else {
            self.earliest = 0.0;
            self.last = Some((now, timestamp, 0.0));
            return;
        };
        let arrived = now.saturating_duration_since(then).as_secs_f64() * 1000.0;
        let ticks = f64::from(timestamp.wrapping_sub(before).cast_signed());
        let change = arrived - ticks * 1000.0 / f64::from(clock_rate);
        if change.abs() > BREAK {
            // The sender paused its clock or began a new one: nothing to compare with.
            self.last = None;
            return self.note(now, timestamp, clock_rate);
        }
        let transit = transit + change;
        // The earliest creeps up, as clocks differ and paths change.
        self.earliest = (self.earliest + arrived * CREEP).min(transit);
        let late = transit - self.earliest;
        self.level = if late > self.level {
            late
        } else {
            self.level - (self.level - late) * (arrived / DECAY).min(1.0)
        };
        self.last = Some((now, timestamp, transit));
    }

    /// In milliseconds.
    pub(super) fn level(&self) -> f64 {
        self.level
    }
}

/// Milliseconds in which lateness is forgotten.
const DECAY: f64 = 8000.0;
/// Milliseconds a millisecond: clocks that differ by less than a five-hundredth are followed.
const CREEP: f64 = 0.002;
/// Milliseconds; a greater change is no jitter.
const BREAK: f64 = 2000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    fn the_level_rises_at_once_and_falls_slowly() {
        let (start, mut lateness) = (Instant::now(), Lateness::default());
        let mut note = |n: u64, late: u64| {
            lateness.note(start + Duration::from_millis(20 * n + late), 160 * n as u32, 8000);
            lateness.level()
        };
        (0..50).for_each(|n| assert!(note(n, 0) < 0.2));
        assert!(note(50, 90) > 89.0);
        (51..55).for_each(|n| assert!(note(n, 20 * (55 - n)) > 80.0));
        let after = (55..101).map(|n| note(n, 0)).last();
        assert!(after > Some(70.0), "a second later: {after:?}");
        let after = (101..2500).map(|n| note(n, 0)).last();
        assert!(after < Some(2.0), "much later: {after:?}");
        // An hour of pause is no jitter.
        assert!(note(180_000, 0) < 2.0);
    }
}

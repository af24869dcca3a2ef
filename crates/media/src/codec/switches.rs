//! How often a sender may change its codec: each change costs a decoder and a buffer.

use std::time::{Duration, Instant};

/// Some changes at once, and from then on one every half a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switches {
    /// When all that were made would be made good again.
    settled: Option<Instant>,
}

impl Switches {
    /// Whether one more may be made now; then it counts.
    pub fn allow(&mut self, now: Instant) -> bool {
        let settled = self.settled.map_or(now, |settled| settled.max(now));
        let is_allowed = settled.saturating_duration_since(now) <= PERIOD * (AT_ONCE - 1);
        if is_allowed {
            self.settled = Some(settled + PERIOD);
        }
        is_allowed
    }
}

const PERIOD: Duration = Duration::from_millis(500);
const AT_ONCE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test needs some moment to begin at")]
    fn some_at_once_and_then_two_a_second() {
        let begin = Instant::now();
        let mut switches = Switches::default();
        let allowed = |switches: &mut Switches, at: Duration| switches.allow(begin + at);
        let at_once = (0..100).filter(|_| allowed(&mut switches, Duration::ZERO)).count();
        assert_eq!(at_once, 4);
        let later = (0..10_000).filter(|n| allowed(&mut switches, Duration::from_millis(*n)));
        assert!((19..=20).contains(&later.count()));
        let rested = Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| allowed(&mut switches, rested)).count(), 4);
    }
}

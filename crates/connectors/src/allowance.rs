//! How many messages a peer may still send.

use std::time::Instant;

/// Fills up with time.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u32,
    filled: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant, burst: u32) -> Self {
        Self { left: burst, filled: now }
    }

    /// Whether one more may come, at `rate` a second and `burst` at once.
    pub(crate) fn take(&mut self, now: Instant, rate: u32, burst: u32) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_millis();
        let gained = elapsed.saturating_mul(u128::from(rate)) / 1000;
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(burst);
            self.left = self.left.saturating_add(gained).min(burst);
            self.filled = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

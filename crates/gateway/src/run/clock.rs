//! The clock on the wall, as the system tells it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crosspoint_base::WallClock;

pub(crate) fn now() -> WallClock {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallClock::new(Instant::now(), since_epoch)
}

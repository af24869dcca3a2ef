//! Which call a message of an app or terminal is about, for who keeps what was said.

use crosspoint_base::{Gcid, LegId};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    Leg(LegId),
    /// A call that is refused before it has a leg, and its id if it came with one.
    Refused(Option<Gcid>),
}

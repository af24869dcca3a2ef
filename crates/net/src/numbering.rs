//! The numbers of connections: one sequence for the process, whatever a connection speaks.

use std::sync::atomic::{AtomicU64, Ordering};

use crosspoint_base::ConnectionId;

/// A number that no connection has had. SIP transports and app sockets draw from here alike, so
/// an id names one connection without saying of which kind.
#[must_use]
pub fn next_connection() -> ConnectionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed))
}

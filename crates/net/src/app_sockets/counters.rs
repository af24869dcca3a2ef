//! What app sockets count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Of all app sockets together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppCounters {
    /// Open now.
    pub open: u64,
    pub opened: u64,
    /// Texts received.
    pub received: u64,
    /// Texts queued for sending.
    pub sent: u64,
    /// Closed because a message was too long, no text, or no WebSocket at all.
    pub malformed: u64,
    /// Cut because the peer did not read.
    pub cut_unread: u64,
    /// Cut because the peer answered no pings.
    pub cut_silent: u64,
    /// Defects of ours that ended one socket.
    pub panics: u64,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
    Opened,
    Received,
    Sent,
    Malformed,
    CutUnread,
    CutSilent,
    Panic,
}

#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; 7]);

impl Counters {
    pub(super) fn count(&self, happening: Happening) {
        if let Some(counter) = self.0.get(happening as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn snapshot(&self, open: usize) -> AppCounters {
        let of = |happening: Happening| {
            self.0.get(happening as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        AppCounters {
            open: open as u64,
            opened: of(Happening::Opened),
            received: of(Happening::Received),
            sent: of(Happening::Sent),
            malformed: of(Happening::Malformed),
            cut_unread: of(Happening::CutUnread),
            cut_silent: of(Happening::CutSilent),
            panics: of(Happening::Panic),
        }
    }
}

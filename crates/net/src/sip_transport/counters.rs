//! What the transport counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crosspoint_base::Transport;

/// Per transport in the order of [`Transport::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportCounters {
    pub received: [u64; 5],
    pub sent: [u64; 5],
    /// Connections open now; zero for UDP.
    pub open: [u64; 5],
    /// Messages that broke the grammar.
    pub malformed: u64,
    /// Datagrams dropped because the node had no time for them.
    pub overflow: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    received: [AtomicU64; 5],
    sent: [AtomicU64; 5],
    malformed: AtomicU64,
    overflow: AtomicU64,
}

impl Counters {
    pub(super) fn received(&self, transport: Transport) {
        self.received[index(transport)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, transport: Transport) {
        self.sent[index(transport)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn overflow(&self) {
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, open: [u64; 5]) -> TransportCounters {
        let load =
            |counters: &[AtomicU64; 5]| counters.each_ref().map(|c| c.load(Ordering::Relaxed));
        TransportCounters {
            received: load(&self.received),
            sent: load(&self.sent),
            open,
            malformed: self.malformed.load(Ordering::Relaxed),
            overflow: self.overflow.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn index(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    }
}

//! What the transport counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crosspoint_base::Transport;

/// Arrays are per transport in the order of [`Transport::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportCounters {
    pub received: [u64; 5],
    pub sent: [u64; 5],
    /// Connections open now; zero for UDP.
    pub open: [u64; 5],
    /// Connections that got through their handshakes, and those we opened.
    pub connected: [u64; 5],
    /// Messages that broke the grammar.
    pub malformed: u64,
    /// Datagrams dropped because the node had no time for them.
    pub overflow: u64,
    /// Datagrams not sent because too many waited for the network.
    pub unsent: u64,
    /// Messages dropped or held back because their source sent too many.
    pub limited: u64,
    /// Keep-alives answered: STUN and double line ends.
    pub keep_alives: u64,
    /// Connections closed at once because there were too many.
    pub refused: u64,
    /// TLS and WebSocket handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Connections to peers that could not be opened.
    pub connects_failed: u64,
    /// Connections cut because the peer did not read.
    pub cut_unread: u64,
    /// Connections cut because the peer said nothing whole for too long.
    pub cut_silent: u64,
    /// Defects of ours that ended one message or one connection.
    pub panics: u64,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
    Malformed,
    Overflow,
    Unsent,
    Limited,
    KeepAlive,
    Refused,
    HandshakeFailed,
    ConnectFailed,
    CutUnread,
    CutSilent,
    Panic,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    received: [AtomicU64; 5],
    sent: [AtomicU64; 5],
    connected: [AtomicU64; 5],
    happenings: [AtomicU64; 11],
}

impl Counters {
    pub(super) fn received(&self, transport: Transport) {
        add(self.received.get(index(transport)));
    }

    pub(super) fn sent(&self, transport: Transport) {
        add(self.sent.get(index(transport)));
    }

    pub(super) fn connected(&self, transport: Transport) {
        add(self.connected.get(index(transport)));
    }

    pub(super) fn count(&self, happening: Happening) {
        add(self.happenings.get(happening as usize));
    }

    pub(super) fn snapshot(&self, open: [u64; 5]) -> TransportCounters {
        let load =
            |counters: &[AtomicU64; 5]| counters.each_ref().map(|c| c.load(Ordering::Relaxed));
        let of = |happening: Happening| {
            self.happenings.get(happening as usize).map_or(0, |c| c.load(Ordering::Relaxed))
        };
        TransportCounters {
            received: load(&self.received),
            sent: load(&self.sent),
            open,
            connected: load(&self.connected),
            malformed: of(Happening::Malformed),
            overflow: of(Happening::Overflow),
            unsent: of(Happening::Unsent),
            limited: of(Happening::Limited),
            keep_alives: of(Happening::KeepAlive),
            refused: of(Happening::Refused),
            handshakes_failed: of(Happening::HandshakeFailed),
            connects_failed: of(Happening::ConnectFailed),
            cut_unread: of(Happening::CutUnread),
            cut_silent: of(Happening::CutSilent),
            panics: of(Happening::Panic),
        }
    }
}

fn add(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
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

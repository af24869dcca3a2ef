//! The streams that are open, between their tasks and the node.
//!
//! Towards the node everything goes into one bounded queue, for each stream in the order of
//! [`TerminalInput`], so a busy node slows its clients down. Towards a client nothing ever waits: one that does not read loses its own stream.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crosspoint_base::{ConnectionId, Secret};
use crosspoint_connectors::webterminal::{Closing, Message, Opening, StreamEnd};
use crosspoint_net::next_connection;
use crosspoint_node::TerminalInput;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::wire;
use super::wire::pb::WebTerminalMessage;

/// What a stream is told when the node has taken it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) resume: Secret<String>,
    pub(super) is_resumed: bool,
}

/// A handle on all of them; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct TerminalStreams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    open: Mutex<BTreeMap<ConnectionId, Outlet>>,
    inputs: mpsc::Sender<TerminalInput>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    refused: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    unread: AtomicU64,
}

/// How the streams are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamCounters {
    pub(crate) open: u64,
    pub(crate) opened: u64,
    /// For their tokens, mostly.
    pub(crate) refused: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Cut because nobody read what was sent.
    pub(crate) unread: u64,
}

type Outgoing = mpsc::Sender<Result<WebTerminalMessage, Status>>;

/// Where what the node says goes.
#[derive(Debug)]
struct Outlet {
    opening: Option<oneshot::Sender<Result<Opened, Closing>>>,
    messages: Outgoing,
    is_cut: Arc<AtomicBool>,
}

/// The client's half of a stream that has just begun.
pub(super) struct Begun {
    pub(super) connection: ConnectionId,
    pub(super) taken: oneshot::Receiver<Result<Opened, Closing>>,
    pub(super) messages: mpsc::Receiver<Result<WebTerminalMessage, Status>>,
    /// True when it ends because the client did not read.
    pub(super) is_cut: Arc<AtomicBool>,
}

impl TerminalStreams {
    /// With what they tell the node, of which so much may wait.
    pub(crate) fn new(waiting: usize) -> (Self, mpsc::Receiver<TerminalInput>) {
        let (inputs, told) = mpsc::channel(waiting);
        let counters = Counters::default();
        (Self(Arc::new(Shared { open: Mutex::default(), inputs, counters })), told)
    }

    /// Tells the node of a stream; it waits while the node is busy.
    pub(super) async fn begin(&self, opening: Opening) -> Begun {
        let connection = next_connection();
        let (taking, taken) = oneshot::channel();
        let (messages, outgoing) = mpsc::channel(WAITING_MESSAGES);
        let is_cut = Arc::new(AtomicBool::new(false));
        let outlet = Outlet { opening: Some(taking), messages, is_cut: is_cut.clone() };
        self.open().insert(connection, outlet);
        self.0.counters.opened.fetch_add(1, Ordering::Relaxed);
        let opening = Box::new(opening);
        self.tell(TerminalInput::Opened { connection, opening }).await;
        Begun { connection, taken, messages: outgoing, is_cut }
    }

    pub(super) async fn said(&self, connection: ConnectionId, message: Message) {
        self.0.counters.received.fetch_add(1, Ordering::Relaxed);
        self.tell(TerminalInput::Said { connection, message: Box::new(message) }).await;
    }

    pub(super) async fn half_closed(&self, connection: ConnectionId) {
        self.tell(TerminalInput::HalfClosed(connection)).await;
    }

    pub(super) async fn closed(&self, connection: ConnectionId, end: StreamEnd) {
        self.open().remove(&connection);
        self.tell(TerminalInput::Closed { connection, end }).await;
    }

    pub(super) fn refused(&self) {
        self.0.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// It fails only when the node is gone.
    async fn tell(&self, input: TerminalInput) {
        let _ = self.0.inputs.send(input).await;
    }

    // What the node says.

    pub(crate) fn opened(&self, connection: ConnectionId, resume: Secret<String>, resumed: bool) {
        if let Some(outlet) = self.open().get_mut(&connection)
            && let Some(opening) = outlet.opening.take()
        {
            // Whoever opened it may have given up.
            let _ = opening.send(Ok(Opened { resume, is_resumed: resumed }));
        }
    }

    pub(crate) fn send(&self, connection: ConnectionId, message: Message) {
        let mut open = self.open();
        let Some(outlet) = open.get(&connection) else { return };
        if outlet.messages.try_send(Ok(wire::write(message))).is_ok() {
            self.0.counters.sent.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Its task sees that, and tells the node.
        outlet.is_cut.store(true, Ordering::Relaxed);
        self.0.counters.unread.fetch_add(1, Ordering::Relaxed);
        open.remove(&connection);
    }

    pub(crate) fn close(&self, connection: ConnectionId, why: Closing) {
        let Some(outlet) = self.open().remove(&connection) else { return };
        if let Some(opening) = outlet.opening {
            let _ = opening.send(Err(why));
        } else if let Some(status) = status_of(why) {
            let _ = outlet.messages.try_send(Err(status));
        }
    }

    /// Ends all of them: the process stops.
    pub(crate) fn close_all(&self) {
        let all: Vec<ConnectionId> = self.open().keys().copied().collect();
        for connection in all {
            self.close(connection, Closing::Shutdown);
        }
    }

    pub(crate) fn counters(&self) -> StreamCounters {
        let counters = &self.0.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamCounters {
            open: self.open().len() as u64,
            opened: count(&counters.opened),
            refused: count(&counters.refused),
            received: count(&counters.received),
            sent: count(&counters.sent),
            unread: count(&counters.unread),
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Outlet>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status that ends a stream; none for a good end.
pub(super) fn status_of(why: Closing) -> Option<Status> {
    Some(match why {
        Closing::Over => return None,
        Closing::Replaced => Status::aborted("a newer stream is the terminal's"),
        Closing::Overload => Status::resource_exhausted("there are too many terminals"),
        Closing::Expired => Status::unauthenticated("the token has expired"),
        Closing::Revoked => Status::unauthenticated("the session was ended"),
        Closing::Shutdown => Status::unavailable("this server is about to stop"),
    })
}

/// Of one stream.
const WAITING_MESSAGES: usize = 256;

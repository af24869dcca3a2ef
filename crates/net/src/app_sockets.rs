//! WebSockets that carry one JSON text in each message, for apps (`docs/protocols/rtcengine.md`).
//!
//! Whole texts go to one bounded queue, in number by its capacity and in bytes by a budget that
//! all sockets share: while it is used up, sockets are not read, so peers have to wait. Sending
//! never waits: a peer that does not read loses its own socket and nobody else's.
//!
//! Not here: the handshake (the gateway's HTTP server), and what a text says.

mod counters;
mod queue;
mod socket;
mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crosspoint_base::ConnectionId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};

pub use counters::AppCounters;
use counters::{Counters, Happening};
use queue::{Queue, Queued};
pub use text::AppText;

use crate::numbering::next_connection;

/// What app sockets tell, for each socket in this order.
#[derive(Debug)]
pub enum AppArrival {
    /// A handshake is done. The origin is what the page's browser said, unless it is no page.
    Opened {
        connection: ConnectionId,
        origin: Option<String>,
    },
    Text {
        connection: ConnectionId,
        text: AppText,
    },
    /// The socket is gone, whoever closed it. Told exactly once for each that was opened.
    Closed(ConnectionId),
}

/// Limits of each socket.
#[derive(Debug, Clone, Copy)]
pub struct AppSocketConfig {
    /// Bytes of one message; a longer one closes its socket with 1009.
    pub max_message: usize,
    /// Between pings; two without an answer end the socket.
    pub ping_period: Duration,
    /// For writing one message, and for the peer to take leave.
    pub write: Duration,
}

impl Default for AppSocketConfig {
    fn default() -> Self {
        Self {
            max_message: 256 * 1024,
            ping_period: Duration::from_secs(25),
            write: Duration::from_secs(10),
        }
    }
}

/// A handle on all of them; clones share it.
#[derive(Debug, Clone)]
pub struct AppSockets(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: AppSocketConfig,
    open: Mutex<BTreeMap<ConnectionId, Arc<Queue>>>,
    arrivals: mpsc::Sender<AppArrival>,
    /// Bytes of texts that may wait in `arrivals`.
    room: Arc<Semaphore>,
    counters: Counters,
}

impl AppSockets {
    #[must_use]
    pub fn new(config: AppSocketConfig, arrivals: mpsc::Sender<AppArrival>) -> Self {
        // A text takes room for its length at most once, so all of a message fits an empty queue.
        let room = Arc::new(Semaphore::new(WAITING_TEXT.max(config.max_message)));
        Self(Arc::new(Shared {
            config,
            open: Mutex::default(),
            arrivals,
            room,
            counters: Counters::default(),
        }))
    }

    /// Serves a connection whose WebSocket handshake is done. Must be called within a tokio
    /// runtime.
    pub fn adopt(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: Option<String>,
    ) {
        let id = next_connection();
        let queue = Arc::new(Queue::default());
        self.0.open().insert(id, queue.clone());
        let open = OpenSocket { sockets: self.clone(), id, queue, is_told: false };
        tokio::spawn(socket::serve(open, io, origin));
    }

    /// Sends a text, without ever waiting. To a socket that is gone or closing it goes nowhere.
    pub fn send(&self, connection: ConnectionId, text: String) {
        let mut open = self.0.open();
        let Some(queue) = open.get(&connection) else { return };
        match queue.push(text.into()) {
            Queued::Yes => self.count(Happening::Sent),
            Queued::Closing => {}
            Queued::Full => {
                queue.cut();
                open.remove(&connection);
                self.count(Happening::CutUnread);
            }
        }
    }

    /// Closes a socket once everything sent before has left. [`AppArrival::Closed`] follows.
    pub fn close(&self, connection: ConnectionId, code: u16, reason: &'static str) {
        if let Some(queue) = self.0.open().get(&connection) {
            queue.close(code, reason);
        }
    }

    #[must_use]
    pub fn counters(&self) -> AppCounters {
        self.0.counters.snapshot(self.len())
    }

    /// Sockets that are open now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.open().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn count(&self, happening: Happening) {
        self.0.counters.count(happening);
    }

    /// Tells the node, also when its queue is full at the moment.
    fn report(&self, arrival: AppArrival) {
        if let Err(mpsc::error::TrySendError::Full(arrival)) = self.0.arrivals.try_send(arrival)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let arrivals = self.0.arrivals.clone();
            runtime.spawn(async move { arrivals.send(arrival).await });
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Arc<Queue>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket's entry in the table. However its task ends, also by a panic, the entry goes and the
/// node is told.
#[derive(Debug)]
struct OpenSocket {
    sockets: AppSockets,
    id: ConnectionId,
    queue: Arc<Queue>,
    /// Whether the node knows of it, and still takes it for open.
    is_told: bool,
}

impl OpenSocket {
    async fn opened(&mut self, origin: Option<String>) {
        let arrival = AppArrival::Opened { connection: self.id, origin };
        self.is_told = self.sockets.0.arrivals.send(arrival).await.is_ok();
        self.count(Happening::Opened);
    }

    /// Hands on what the peer sent; waits while the node is busy, so that the peer has to.
    async fn deliver(&self, text: tokio_tungstenite::tungstenite::Utf8Bytes) {
        self.count(Happening::Received);
        let text = AppText::new(text, &self.sockets.0.room).await;
        let arrival = AppArrival::Text { connection: self.id, text };
        let _ = self.sockets.0.arrivals.send(arrival).await;
    }

    /// From now on nobody sends to it.
    fn ended(&mut self) {
        self.sockets.0.open().remove(&self.id);
        if std::mem::take(&mut self.is_told) {
            self.sockets.report(AppArrival::Closed(self.id));
        }
    }

    fn config(&self) -> AppSocketConfig {
        self.sockets.0.config
    }

    fn count(&self, happening: Happening) {
        self.sockets.count(happening);
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.count(Happening::Panic);
        }
        self.ended();
    }
}

/// Bytes of texts that wait for the node, of all sockets together.
const WAITING_TEXT: usize = 32 * 1024 * 1024;

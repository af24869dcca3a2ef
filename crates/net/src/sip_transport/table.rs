//! Which connections are open, and the queue of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Transport};
use tokio::sync::{Notify, mpsc};

use super::counters::index;

/// One open connection, as senders see it.
#[derive(Debug)]
pub(super) struct Link {
    transport: Transport,
    remote: SocketAddr,
    queue: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

/// The same connection, as its own task sees it.
#[derive(Debug)]
pub(super) struct Outbound {
    queue: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

/// What became of a message for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    /// There is no such connection any more.
    Gone,
    /// The peer does not read, and has just lost its connection.
    Cut,
}

impl Link {
    pub(super) fn new(transport: Transport, remote: SocketAddr) -> (Self, Outbound) {
        let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let cut = Arc::new(Notify::new());
        let outbound = Outbound { queue: receiver, waiting: waiting.clone(), cut: cut.clone() };
        (Self { transport, remote, queue: sender, waiting, cut }, outbound)
    }

    fn queue(&self, bytes: Bytes) -> bool {
        let length = bytes.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        // A first message always fits, whatever its length.
        let fits = waiting == 0 || waiting.saturating_add(length) <= WAITING_BYTES;
        fits && self.queue.try_send(bytes).is_ok()
    }
}

impl Outbound {
    /// The next message to write; `None` when the connection is to end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let bytes = self.queue.recv().await?;
        self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        Some(bytes)
    }

    /// Notified when the connection has to end at once, even in the middle of a write.
    pub(super) fn cut(&self) -> Arc<Notify> {
        self.cut.clone()
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    links: BTreeMap<ConnectionId, Link>,
    by_remote: BTreeMap<(Transport, SocketAddr), ConnectionId>,
}

impl Table {
    pub(super) fn insert(&mut self, id: ConnectionId, link: Link) {
        self.by_remote.insert((link.transport, link.remote), id);
        self.links.insert(id, link);
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(link) = self.links.remove(&id) else { return false };
        let key = (link.transport, link.remote);
        if self.by_remote.get(&key) == Some(&id) {
            self.by_remote.remove(&key);
        }
        link.cut.notify_one();
        true
    }

    /// An open connection to `remote`.
    pub(super) fn to(&self, transport: Transport, remote: SocketAddr) -> Option<ConnectionId> {
        self.by_remote.get(&(transport, remote)).copied()
    }

    /// Queues a message. A peer whose queue is full does not read: its connection is cut.
    pub(super) fn send(&mut self, id: ConnectionId, bytes: Bytes) -> Queued {
        let Some(link) = self.links.get(&id) else { return Queued::Gone };
        if link.queue(bytes) {
            return Queued::Yes;
        }
        self.remove(id);
        Queued::Cut
    }

    pub(super) fn open_by_transport(&self) -> [u64; 5] {
        let mut open = [0; 5];
        for link in self.links.values() {
            open[index(link.transport)] += 1;
        }
        open
    }
}

/// Messages waiting for a peer that does not read, by number and by size.
const WAITING_MESSAGES: usize = 256;
const WAITING_BYTES: usize = 512 * 1024;

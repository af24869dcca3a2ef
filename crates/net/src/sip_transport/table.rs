//! Which connections are open, and the queue of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Transport};
use tokio::sync::mpsc;

use super::counters::index;

/// One open connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) transport: Transport,
    pub(super) remote: SocketAddr,
    pub(super) queue: mpsc::Sender<Bytes>,
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

    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(link) = self.links.remove(&id) else { return };
        let key = (link.transport, link.remote);
        if self.by_remote.get(&key) == Some(&id) {
            self.by_remote.remove(&key);
        }
    }

    /// An open connection to `remote`.
    pub(super) fn to(&self, transport: Transport, remote: SocketAddr) -> Option<ConnectionId> {
        self.by_remote.get(&(transport, remote)).copied()
    }

    /// Queues a message. A peer whose queue is full does not read: its connection is closed.
    pub(super) fn send(&mut self, id: ConnectionId, bytes: Bytes) -> bool {
        let Some(link) = self.links.get(&id) else { return false };
        let sent = link.queue.try_send(bytes).is_ok();
        if !sent {
            self.remove(id);
        }
        sent
    }

    pub(super) fn open_by_transport(&self) -> [u64; 5] {
        let mut open = [0; 5];
        for link in self.links.values() {
            open[index(link.transport)] += 1;
        }
        open
    }
}

//! Ways to browsers besides UDP: packets that come to the media thread in memory and leave it so.
//!
//! Whoever serves a connection or a relay opens a [`Link`], delivers what comes, and reads what
//! the shard sends from a queue. All queues have a bound, each link one of its own towards the
//! thread: what exceeds it is lost, as in the network. Dropping a link is its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crosspoint_media::shard::{Forward, Frame, SocketId, shard_of};
use tokio::sync::mpsc;

use super::queues::{Mail, Mailbox};
use crate::packet_io::Waker;

/// Opens links to media threads.
#[derive(Debug, Clone)]
pub struct MediaLinks {
    threads: Arc<[LinksToThread]>,
    next: Arc<AtomicU64>,
}

/// The near end of all links of one thread.
#[derive(Debug, Clone)]
pub(super) struct LinksToThread {
    mail: Arc<Mail<Letter>>,
    waker: Waker,
}

/// One way to a browser.
#[derive(Debug)]
pub struct Link {
    socket: SocketId,
    end: LinkEnd,
    threads: Arc<[LinksToThread]>,
    /// Which of them; the first check that comes says it.
    thread: OnceLock<usize>,
    waiting: Arc<AtomicUsize>,
}

/// A packet that the shard sends over a link.
#[derive(Debug)]
pub struct ToLink {
    pub socket: SocketId,
    pub bytes: Vec<u8>,
    pub at: Instant,
}

/// The other end of a link: a queue, and how many packets it had no room for.
#[derive(Debug, Clone)]
pub struct LinkEnd {
    pub queue: mpsc::Sender<ToLink>,
    pub lost: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(super) enum Letter {
    Opened(SocketId, LinkEnd),
    Packet { socket: SocketId, source: SocketAddr, len: usize, buffer: Vec<u8>, _place: Place },
    Closed(SocketId),
}

/// A packet's place among those of its link.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Both ends of all links of one thread.
pub(super) fn of_thread(waker: Waker) -> (LinksToThread, LinksOfThread) {
    let (mail, mailbox) = Mail::new();
    (LinksToThread { mail, waker }, LinksOfThread { mailbox, open: BTreeMap::new() })
}

impl MediaLinks {
    /// For threads whose shards are numbered so.
    pub(super) fn new(threads: Vec<LinksToThread>) -> Self {
        Self { threads: threads.into(), next: Arc::default() }
    }

    /// A connection of ICE-TCP; what the shard sends there comes to `end`.
    #[must_use]
    pub fn connection(&self, end: LinkEnd) -> Link {
        self.open(SocketId::connection(self.next.fetch_add(1, Ordering::Relaxed)), end)
    }

    /// A relay of the TURN server, which numbers them.
    #[must_use]
    pub fn relay(&self, number: u64, end: LinkEnd) -> Link {
        self.open(SocketId::relay(number), end)
    }

    fn open(&self, socket: SocketId, end: LinkEnd) -> Link {
        let threads = self.threads.clone();
        Link { socket, end, threads, thread: OnceLock::new(), waiting: Arc::default() }
    }
}

impl Link {
    /// Gives the shard a packet; false when it is lost, because too many wait already or nothing
    /// has said yet which shard it is for.
    pub fn deliver(&self, source: SocketAddr, packet: &[u8]) -> bool {
        let Some(thread) = self.thread(packet) else { return false };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let mut buffer = Vec::with_capacity(packet.len() + ROOM);
        buffer.extend_from_slice(packet);
        buffer.resize(packet.len() + ROOM, 0);
        let (socket, len, place) = (self.socket, packet.len(), Place(self.waiting.clone()));
        thread.post(Letter::Packet { socket, source, len, buffer, _place: place });
        true
    }

    /// Whose this link is, as of this packet.
    fn thread(&self, packet: &[u8]) -> Option<&LinksToThread> {
        if self.thread.get().is_none() {
            let number = shard_of(packet).map(usize::from)?;
            let thread = self.threads.get(number)?;
            // Who waits here posts after the letter that opens the link.
            self.thread.get_or_init(|| {
                thread.post(Letter::Opened(self.socket, self.end.clone()));
                number
            });
        }
        self.threads.get(*self.thread.get()?)
    }
}

impl LinksToThread {
    fn post(&self, letter: Letter) {
        if self.mail.post(letter) {
            self.waker.wake();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.get().and_then(|thread| self.threads.get(*thread)) {
            thread.post(Letter::Closed(self.socket));
        }
    }
}

/// The media thread's end of all links.
pub(super) struct LinksOfThread {
    mailbox: Mailbox<Letter>,
    open: BTreeMap<SocketId, LinkEnd>,
}

impl LinksOfThread {
    /// The next letter, in the order they were posted.
    pub(super) fn next(&mut self) -> Option<Letter> {
        self.mailbox.next()
    }

    /// Whether there is more to be done at once.
    pub(super) fn has_more(&self) -> bool {
        self.mailbox.has_more()
    }

    pub(super) fn add(&mut self, socket: SocketId, end: LinkEnd) {
        self.open.insert(socket, end);
    }

    pub(super) fn remove(&mut self, socket: SocketId) {
        self.open.remove(&socket);
    }

    /// Sends over a link. What its other end has no room for is lost.
    pub(super) fn send(&self, at: Instant, socket: SocketId, bytes: Vec<u8>) {
        if let Some(end) = self.open.get(&socket)
            && end.queue.try_send(ToLink { socket, bytes, at }).is_err()
        {
            end.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes out, and sends, what goes over links.
    pub(super) fn divert(&self, at: Instant, forwards: &mut Vec<Forward>, frames: &[Frame<'_>]) {
        if !forwards.iter().any(|forward| forward.socket.is_link()) {
            return;
        }
        forwards.retain(|forward| {
            let is_link = forward.socket.is_link();
            let bytes = frames.get(forward.frame).and_then(|f| f.buffer.get(..forward.len));
            if let Some(bytes) = bytes.filter(|_| is_link) {
                self.send(at, forward.socket, bytes.to_vec());
            }
            !is_link
        });
    }
}

/// Packets of one link that wait for the media thread: a burst of video.
const WAITING: usize = 128;
/// Behind a packet, for SRTP's tag and index.
const ROOM: usize = 256;

//! ICE-TCP (RFC 6544): connections of browsers whose networks let out no UDP. Datagrams come and
//! go as frames with a length before them (RFC 4571), and the media shard takes them as from any
//! other socket.
//!
//! Anybody can connect, so a connection has to show a check that the shard believes: it has
//! answered when it sends something back. Before that only so many bytes, so much time and nothing
//! but STUN are taken; after it, the connection lives for as long as the shard speaks to it.
//! Packets that a slow reader does not take are dropped, late ones too: sound has no use for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::media_pool::{Link, LinkEnd, MediaLinks, ToLink};
use crate::within;

/// Serves connections of ICE-TCP; clones share the counts.
#[derive(Debug, Clone)]
pub struct IceTcp(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    links: MediaLinks,
    open: AtomicU64,
    /// Packets for connections whose queues were full.
    lost: Arc<AtomicU64>,
    counts: [AtomicU64; Count::ALL.len()],
}

/// What is counted of these connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Connections that the shard has answered.
    Validated,
    /// Ended without: too many bytes, too much time, or a frame that is no STUN.
    Unvalidated,
    /// Ended for a frame that is none of a datagram.
    BadFrame,
    /// Ended because the shard has nothing to say to it any more.
    Silent,
    /// Ended because the other side does not read.
    Stalled,
    /// Ended by the other side.
    Left,
    /// Packets from it that the shard had no time for.
    DroppedIn,
    /// Packets for it that came too late to be sent.
    DroppedOut,
}

impl Count {
    pub const ALL: [Self; 8] = [
        Self::Validated,
        Self::Unvalidated,
        Self::BadFrame,
        Self::Silent,
        Self::Stalled,
        Self::Left,
        Self::DroppedIn,
        Self::DroppedOut,
    ];
}

impl IceTcp {
    #[must_use]
    pub fn new(links: MediaLinks) -> Self {
        Self(Arc::new(Shared {
            links,
            open: AtomicU64::new(0),
            lost: Arc::default(),
            counts: Default::default(),
        }))
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn count(&self, count: Count) -> u64 {
        let lost = match count {
            Count::DroppedOut => self.0.lost.load(Ordering::Relaxed),
            _ => 0,
        };
        self.0.counts[count as usize].load(Ordering::Relaxed) + lost
    }

    /// Serves one connection until it ends.
    pub(crate) async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send,
        remote: SocketAddr,
    ) {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        let (reader, writer) = tokio::io::split(stream);
        let (queue, queued) = mpsc::channel(WAITING);
        let connection = Connection {
            ice: self,
            link: self.0.links.connection(LinkEnd { queue, lost: self.0.lost.clone() }),
            remote,
            begun: Instant::now(),
            spoken: AtomicU64::new(NEVER),
        };
        let why = tokio::select! {
            why = connection.read(reader) => why,
            why = connection.write(queued, writer) => why,
        };
        let why =
            if why == Count::Left && !connection.is_validated() { Count::Unvalidated } else { why };
        self.note(why);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn note(&self, count: Count) {
        self.0.counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }
}

struct Connection<'i> {
    ice: &'i IceTcp,
    link: Link,
    remote: SocketAddr,
    begun: Instant,
    /// When the shard last sent something here, in milliseconds since it began.
    spoken: AtomicU64,
}

impl Connection<'_> {
    fn is_validated(&self) -> bool {
        self.spoken.load(Ordering::Relaxed) != NEVER
    }

    /// Until when it lives if nothing else happens.
    fn deadline(&self) -> Instant {
        match self.spoken.load(Ordering::Relaxed) {
            NEVER => self.begun + UNVALIDATED_TIME,
            at => self.begun + Duration::from_millis(at) + SILENCE,
        }
    }

    async fn read(&self, mut reader: impl AsyncRead + Unpin) -> Count {
        let mut buffer = vec![0; PREFIX + MAX_DATAGRAM];
        let (mut filled, mut taken) = (0, 0);
        loop {
            let reading = reader.read(&mut buffer[filled..]);
            match tokio::time::timeout_at(self.deadline(), reading).await {
                Ok(Ok(length @ 1..)) => {
                    filled += length;
                    taken += length;
                }
                Ok(_) => return Count::Left,
                Err(_) if self.deadline() > Instant::now() => continue,
                Err(_) if self.is_validated() => return Count::Silent,
                Err(_) => return Count::Unvalidated,
            }
            // Bytes that come drop by drop do not make the time longer either.
            if self.deadline() <= Instant::now()
                || (taken > UNVALIDATED_BYTES && !self.is_validated())
            {
                return if self.is_validated() { Count::Silent } else { Count::Unvalidated };
            }
            let mut done = 0;
            while let Some((datagram, next)) = match first_frame(&buffer[done..filled]) {
                Framed::Whole(datagram) => Some((datagram, done + PREFIX + datagram.len())),
                Framed::Partial => None,
                Framed::Broken => return Count::BadFrame,
            } {
                if !self.is_validated() && !is_stun(datagram) {
                    return Count::Unvalidated;
                }
                if !datagram.is_empty() && !self.link.deliver(self.remote, datagram) {
                    self.ice.note(Count::DroppedIn);
                }
                done = next;
            }
            buffer.copy_within(done..filled, 0);
            filled -= done;
        }
    }

    async fn write(
        &self,
        mut queued: mpsc::Receiver<ToLink>,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Count {
        let mut out = Vec::with_capacity(2 * MAX_DATAGRAM);
        while let Some(packet) = queued.recv().await {
            out.clear();
            self.frame(&packet, &mut out);
            while out.len() < MAX_DATAGRAM
                && let Ok(packet) = queued.try_recv()
            {
                self.frame(&packet, &mut out);
            }
            let writing = async {
                writer.write_all(&out).await?;
                writer.flush().await
            };
            match within(WRITE_TIME, writing).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Count::Stalled,
                Err(_) => return Count::Left,
            }
        }
        Count::Left
    }

    fn frame(&self, packet: &ToLink, out: &mut Vec<u8>) {
        if !self.is_validated() {
            self.ice.note(Count::Validated);
        }
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.spoken.store(now, Ordering::Relaxed);
        let is_media = packet.bytes.first().is_some_and(|byte| *byte >= 128);
        let Ok(length) = u16::try_from(packet.bytes.len()) else { return };
        if is_media && packet.at.elapsed() > STALE {
            self.ice.note(Count::DroppedOut);
            return;
        }
        out.extend(length.to_be_bytes());
        out.extend(&packet.bytes);
    }
}

enum Framed<'b> {
    Whole(&'b [u8]),
    Partial,
    Broken,
}

/// RFC 4571 §2.
fn first_frame(bytes: &[u8]) -> Framed<'_> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else { return Framed::Partial };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length > MAX_DATAGRAM {
        return Framed::Broken;
    }
    rest.get(..length).map_or(Framed::Partial, Framed::Whole)
}

fn is_stun(datagram: &[u8]) -> bool {
    datagram.is_empty() || (datagram.len() >= 20 && datagram[0] < 4)
}

const PREFIX: usize = 2;
/// As over UDP.
const MAX_DATAGRAM: usize = 2048;
/// Packets that wait for the other side to read: half a second of a call.
const WAITING: usize = 64;
/// Sound that is older is of no use: a jitter buffer would throw it away.
const STALE: Duration = Duration::from_millis(400);
/// For a check that the shard believes. The peer's description may still be on its way.
const UNVALIDATED_TIME: Duration = Duration::from_secs(30);
/// Checks of some hundred bytes each, for as long.
const UNVALIDATED_BYTES: usize = 16 * 1024;
/// The shard answers checks, which come every few seconds; then its consent runs out as well.
const SILENCE: Duration = Duration::from_secs(30);
const WRITE_TIME: Duration = Duration::from_secs(10);
const NEVER: u64 = u64::MAX;

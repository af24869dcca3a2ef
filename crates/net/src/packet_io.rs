//! Packet I/O of a media thread, behind one trait with several back ends.
//!
//! - `sockets`: a socket for each phone's port. Works everywhere; the others do the same faster,
//!   and are tested against it.
//! - `steered`: a BPF program gives all phones' ports to one socket (`sk_lookup`), and packets
//!   leave in batches below the IP stack (`AF_PACKET`), to the next hop that the kernel's tables
//!   name. What cannot leave that way goes through sockets.
//! - `xdp`: the same without the IP stack on the way in, and without the kernel's buffers where
//!   the driver can do that (`AF_XDP`).
//!
//! Not here: what packets mean. Frames go to the shard, and forwards come back.

mod bpf;
mod epoll;
mod header;
mod injector;
pub(crate) mod mmsg;
mod next_hop;
mod sockets;
mod steered;
mod umem;
mod xdp;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crosspoint_media::shard::{Forward, Frame, SocketId};

pub use epoll::{Poller, Ready, Waker};
pub use injector::Injector;
use sockets::SocketIo;
use steered::SteeredIo;
use xdp::XdpIo;

use crate::socket;

/// What a media thread reads from and writes to.
pub trait PacketIo: Send {
    /// Waits for packets, apart from the rest: whoever waits keeps nobody from opening ports.
    fn poller(&self) -> Poller;

    /// Adds what has come, at most [`BATCH`](crosspoint_media::shard::BATCH) frames, without
    /// waiting. `ready` is what the last waiting found; what is left over ends the next at once.
    fn receive<'f>(&'f mut self, ready: &Ready, frames: &mut Vec<Frame<'f>>);

    /// Sends from the buffers of the frames that were received last. What does not fit is lost,
    /// as it would be in the network.
    fn forward(&mut self, now: Instant, forwards: &[Forward]);

    /// Sends a datagram of our own.
    fn transmit(&mut self, now: Instant, socket: SocketId, destination: SocketAddr, bytes: &[u8]);

    /// Opens RTP on `address` and RTCP on the next port, or neither.
    fn open_pair(&mut self, socket: SocketId, address: SocketAddr) -> bool;

    fn close_pair(&mut self, socket: SocketId);

    /// Nobody but `remote` counts on this socket any more; with `None`, anybody does. A back end
    /// may go on telling of others.
    fn connect(&mut self, socket: SocketId, remote: Option<SocketAddr>);

    /// From here on browsers' frames say how long they waited, where the kernel tells.
    fn time_browsers(&mut self);
}

/// Has packets that come one close to the next wait for each other: woken for each, a thread would
/// spend more on waking up than on the packets.
#[derive(Debug, Default)]
pub struct Gathering {
    last: Option<Instant>,
}

impl Gathering {
    /// To be called after a batch with how many frames it had. It takes [`GATHER`] where the next
    /// batch would otherwise be a small one, and no time where packets are rare or many wait.
    pub fn pause(&mut self, now: Instant, frames: usize) {
        if frames == 0 {
            return;
        }
        let last = self.last.replace(now);
        let is_dense = last.is_some_and(|last| now.saturating_duration_since(last) < 2 * GATHER);
        if is_dense && frames < ENOUGH {
            std::thread::sleep(GATHER);
        }
    }
}

/// How long packets may wait for others; the system rounds it up by some 50 µs.
pub const GATHER: Duration = Duration::from_micros(150);
/// So many at once are worth a turn; the rest of a full batch is often still to be read.
const ENOUGH: usize = 24;

/// Where packets come and go.
#[derive(Debug, Clone)]
pub struct IoConfig {
    /// The one socket of all browsers.
    pub browser_listen: SocketAddr,
    /// What phones' ports are bound to.
    pub rtp_bind: IpAddr,
    /// What peers are told to send to.
    pub addresses: Vec<IpAddr>,
    /// What to use; `None` takes the fastest that the host allows.
    pub kind: Option<IoKind>,
}

/// The back ends, the fastest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IoKind {
    Sockets,
    SkLookup,
    Xdp,
}

impl IoKind {
    /// The fastest first.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::SkLookup, Self::Sockets];

    /// As it is called in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::SkLookup => "sk_lookup",
            Self::Xdp => "xdp",
        }
    }
}

/// A back end, ready to be run on a thread.
pub struct OpenIo {
    pub io: Box<dyn PacketIo>,
    pub kind: IoKind,
    /// What would have been preferred, and why it could not be had.
    pub refused: Vec<(IoKind, String)>,
    pub poller: Poller,
    /// Where browsers' packets are heard.
    pub browser_address: SocketAddr,
}

impl fmt::Debug for OpenIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenIo").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Opens the back end that is wanted, or the next one that the host allows.
///
/// # Errors
/// When the browsers' address cannot be had, or no socket at all.
pub fn open(config: &IoConfig) -> io::Result<OpenIo> {
    // Opened once, so that no attempt has to wait for the one before it to let go.
    let browser = socket::udp(config.browser_listen, BROWSER_BUFFER)?;
    let browser_address = browser.local_addr()?;
    let mut refused = Vec::new();
    for kind in IoKind::ALL.into_iter().filter(|kind| config.kind.is_none_or(|k| *kind <= k)) {
        match open_kind(kind, config, browser.try_clone()?) {
            Ok(io) => {
                let poller = io.poller();
                return Ok(OpenIo { io, kind, refused, poller, browser_address });
            }
            Err(Unavailable(reason)) => refused.push((kind, reason)),
        }
    }
    Err(io::Error::other(refused.pop().map_or_else(String::new, |(_, reason)| reason)))
}

/// Whether each back end could be opened now, the fastest first, or why not. Nothing is left
/// behind, and no packet of anybody else takes another way meanwhile.
#[must_use]
pub fn probe(config: &IoConfig) -> Vec<(IoKind, Result<(), String>)> {
    // Nobody is told this address, so that a gateway that runs is in nobody's way.
    let listen = SocketAddr::new(config.browser_listen.ip(), 0);
    let attempt = |kind| {
        let browser = socket::udp(listen, BROWSER_BUFFER).map_err(|e| e.to_string())?;
        let outcome = match kind {
            IoKind::Xdp => XdpIo::probe(config, browser),
            IoKind::SkLookup | IoKind::Sockets => open_kind(kind, config, browser).map(drop),
        };
        outcome.map_err(|Unavailable(reason)| reason)
    };
    IoKind::ALL.into_iter().map(|kind| (kind, attempt(kind))).collect()
}

fn open_kind(
    kind: IoKind,
    config: &IoConfig,
    browser: UdpSocket,
) -> Result<Box<dyn PacketIo>, Unavailable> {
    Ok(match kind {
        IoKind::Sockets => {
            Box::new(SocketIo::open(browser).map_err(Unavailable::to("wait", "descriptors"))?)
        }
        IoKind::SkLookup => Box::new(SteeredIo::open(config, browser)?),
        IoKind::Xdp => Box::new(XdpIo::open(config, browser)?),
    })
}

/// Why a back end cannot be had.
#[derive(Debug)]
struct Unavailable(String);

impl Unavailable {
    fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// What could not be done, and what it takes.
    fn to(what: &'static str, need: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self(format!("cannot {what}: {error} (needs {need})"))
    }
}

/// Every browser sends here; a burst of thousands of packets has to fit.
const BROWSER_BUFFER: usize = 4 * 1024 * 1024;
/// Seconds of one phone's packets.
const PHONE_BUFFER: usize = 256 * 1024;

//! The UDP sockets of one media thread.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use crosspoint_media::shard::SocketId;
use mio::net::UdpSocket;
use mio::{Interest, Poll, Registry, Token, Waker};

use crate::socket;

/// Sockets by the shard's names, which are the poll's tokens as well.
#[derive(Debug)]
pub(super) struct Sockets {
    registry: Registry,
    sockets: BTreeMap<SocketId, Open>,
}

#[derive(Debug)]
struct Open {
    socket: UdpSocket,
    /// Whether it waits for its turn to be read.
    is_unread: bool,
}

impl Sockets {
    pub(super) fn new(poll: &Poll) -> io::Result<(Self, Waker)> {
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKE_UP)?;
        Ok((Self { registry, sockets: BTreeMap::new() }, waker))
    }

    pub(super) fn open_browser_socket(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.open(SocketId::BROWSER, address)
    }

    /// Opens RTP on `address` and RTCP on the next port, or neither.
    pub(super) fn open_pair(&mut self, socket: SocketId, address: SocketAddr) -> bool {
        let Some(rtcp_port) = address.port().checked_add(1) else { return false };
        if self.open(socket, address).is_err() {
            return false;
        }
        let is_whole = self.open(socket.rtcp(), SocketAddr::new(address.ip(), rtcp_port)).is_ok();
        if !is_whole {
            self.close(socket);
        }
        is_whole
    }

    pub(super) fn close_pair(&mut self, socket: SocketId) {
        self.close(socket);
        self.close(socket.rtcp());
    }

    pub(super) fn find(&self, socket: SocketId) -> Option<&UdpSocket> {
        self.sockets.get(&socket).map(|open| &open.socket)
    }

    /// Notes that a socket has packets; true when that is news.
    pub(super) fn mark_unread(&mut self, socket: SocketId) -> bool {
        self.sockets
            .get_mut(&socket)
            .is_some_and(|open| !std::mem::replace(&mut open.is_unread, true))
    }

    pub(super) fn mark_read(&mut self, socket: SocketId) {
        if let Some(open) = self.sockets.get_mut(&socket) {
            open.is_unread = false;
        }
    }

    /// Sends what fits now. A full socket buffer loses packets, as the network would.
    pub(super) fn send(&self, socket: SocketId, destination: SocketAddr, bytes: &[u8]) {
        if let Some(socket) = self.find(socket) {
            let _ = socket.send_to(bytes, destination);
        }
    }

    fn open(&mut self, id: SocketId, address: SocketAddr) -> io::Result<SocketAddr> {
        let buffer = if id == SocketId::BROWSER { BROWSER_BUFFER } else { PHONE_BUFFER };
        let mut socket = UdpSocket::from_std(socket::udp(address, buffer)?);
        let local = socket.local_addr()?;
        self.registry.register(&mut socket, token_of(id), Interest::READABLE)?;
        self.sockets.insert(id, Open { socket, is_unread: false });
        Ok(local)
    }

    fn close(&mut self, id: SocketId) {
        if let Some(mut open) = self.sockets.remove(&id) {
            let _ = self.registry.deregister(&mut open.socket);
        }
    }
}

/// Shards count sockets from zero, so no socket ever has this one.
pub(super) const WAKE_UP: Token = Token(usize::MAX);

fn token_of(id: SocketId) -> Token {
    Token(usize::try_from(id.0).expect("sockets are fewer than addresses"))
}

pub(super) fn id_of(token: Token) -> SocketId {
    SocketId(token.0 as u64)
}

/// Every browser sends here; a burst of thousands of packets has to fit.
const BROWSER_BUFFER: usize = 4 * 1024 * 1024;
/// Seconds of one phone's packets.
const PHONE_BUFFER: usize = 256 * 1024;

//! A UDP socket for each port: what works everywhere.
//!
//! All browsers share one socket, which is read and written in batches. A phone's socket is read
//! once when it is ready. Once its phone is known for certain it is connected: the kernel then
//! looks up neither route nor address, and drops strangers itself.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crosspoint_media::shard::{BATCH, Forward, Frame, SocketId};

use super::epoll::{Epoll, Poller, Ready, WAKE_UP};
use super::mmsg::{self, Buffer, HEADROOM, MAX_PACKET, Mmsg, Outgoing};
use super::{PHONE_BUFFER, PacketIo};
use crate::socket;

pub(super) struct SocketIo {
    epoll: Epoll,
    browser: UdpSocket,
    mmsg: Mmsg,
    buffers: Box<[Buffer]>,
    /// Phones' sockets; the place of each is its token.
    phones: Vec<Option<Open>>,
    free: Vec<usize>,
    places: SocketMap<usize>,
}

struct Open {
    id: SocketId,
    socket: UdpSocket,
    /// What it is bound to, which may be any address.
    bound: IpAddr,
    /// Where its packets are sent to, as far as that is known.
    local: Option<IpAddr>,
    /// What it is connected to.
    remote: Option<SocketAddr>,
}

impl SocketIo {
    pub(super) fn open(browser: UdpSocket) -> io::Result<Self> {
        // Half of a batch for phones, so that there is always room for browsers.
        let epoll = Epoll::new(BATCH / 2)?;
        epoll.add(browser.as_fd(), BROWSER)?;
        Ok(Self {
            epoll,
            browser,
            mmsg: Mmsg::new(),
            buffers: mmsg::buffers(),
            phones: Vec::new(),
            free: Vec::new(),
            places: SocketMap::default(),
        })
    }

    fn open_phone(&mut self, id: SocketId, address: SocketAddr) -> io::Result<()> {
        let socket = socket::udp(address, PHONE_BUFFER)?;
        let place = self.free.last().copied().unwrap_or(self.phones.len());
        self.epoll.add(socket.as_fd(), place as u64)?;
        let bound = address.ip();
        let local = Some(bound).filter(|ip| !ip.is_unspecified());
        let open = Open { id, socket, bound, local, remote: None };
        open.tell(true);
        let open = Some(open);
        match self.phones.get_mut(place) {
            Some(free) => {
                *free = open;
                self.free.pop();
            }
            None => self.phones.push(open),
        }
        self.places.insert(id, place);
        Ok(())
    }

    fn close_phone(&mut self, id: SocketId) {
        if let Some(place) = self.places.remove(&id) {
            if let Some(open) = self.phones.get_mut(place) {
                *open = None;
            }
            self.free.push(place);
        }
    }

    fn phone(&self, id: SocketId) -> Option<&Open> {
        self.phones.get(*self.places.get(&id)?)?.as_ref()
    }
}

impl Open {
    fn receive(&mut self, mmsg: &mut Mmsg, buffer: &mut Buffer) -> Option<(usize, SocketAddr)> {
        if let Some(remote) = self.remote {
            let room = buffer.get_mut(HEADROOM..HEADROOM + MAX_PACKET)?;
            return Some((self.socket.recv(room).ok()?, remote));
        }
        mmsg.receive(self.socket.as_fd(), std::slice::from_mut(buffer)).ok()?;
        self.local = mmsg.local(0).map(|local| IpAddr::V4(*local.ip())).or(self.local);
        mmsg.received(0)
    }

    /// A full socket buffer loses packets, as the network would.
    fn send(&self, destination: SocketAddr, bytes: &[u8]) {
        if self.remote == Some(destination) {
            let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
            if self.socket.send(bytes).is_err_and(refused) {
                // That was the answer to an earlier packet; this one has not been sent.
                let _ = self.socket.send(bytes);
            }
        } else {
            let _ = self.socket.send_to(bytes, destination);
        }
    }

    /// A connected socket hears only what is sent to the address that the kernel would answer
    /// from. Where the peer sends to another, it stays as it is.
    fn connect(&mut self, remote: SocketAddr) -> io::Result<()> {
        let local = self.local.ok_or(io::ErrorKind::NotFound)?;
        self.socket.connect(remote)?;
        if self.socket.local_addr()?.ip() != local {
            mmsg::disconnect(self.socket.as_fd())?;
            return Ok(());
        }
        self.tell(false);
        self.remote = Some(remote);
        Ok(())
    }

    fn disconnect(&mut self) -> io::Result<()> {
        self.remote = None;
        self.tell(true);
        mmsg::disconnect(self.socket.as_fd())
    }

    /// Whether to be told where packets were sent to, of a socket that hears more than one
    /// address.
    fn tell(&self, tell: bool) {
        if self.bound.is_unspecified() && self.bound.is_ipv4() {
            let _ = mmsg::tell_destinations(self.socket.as_fd(), tell);
        }
    }
}

impl PacketIo for SocketIo {
    fn poller(&self) -> Poller {
        self.epoll.poller()
    }

    fn receive<'f>(&'f mut self, ready: &Ready, frames: &mut Vec<Frame<'f>>) {
        let Self { browser, mmsg, buffers, phones, .. } = self;
        let mut rest = &mut buffers[..];
        let mut has_browsers = false;
        for token in ready.tokens().filter(|token| *token != WAKE_UP) {
            if token == BROWSER {
                has_browsers = true;
                continue;
            }
            let place = usize::try_from(token).unwrap_or(usize::MAX);
            let Some(open) = phones.get_mut(place).and_then(Option::as_mut) else { continue };
            let Some(buffer) = rest.first_mut() else { break };
            let Some((len, source)) = open.receive(mmsg, buffer) else { continue };
            let Some((buffer, others)) = std::mem::take(&mut rest).split_first_mut() else { break };
            rest = others;
            let buffer = buffer.get_mut(HEADROOM..).unwrap_or_default();
            let waited = Duration::ZERO;
            frames.push(Frame { socket: open.id, source, buffer, len, waited });
        }
        if has_browsers {
            let count = mmsg.receive(browser.as_fd(), rest).unwrap_or(0);
            mmsg.add_frames(count, rest, frames, |_| Some(SocketId::BROWSER));
        }
    }

    fn forward(&mut self, _now: Instant, forwards: &[Forward]) {
        let mut going: [Outgoing<'_>; BATCH] = [Outgoing::default(); BATCH];
        let mut count = 0;
        for Forward { frame, socket, destination, len } in forwards {
            let buffer = self.buffers.get(*frame).and_then(|b| b.get(HEADROOM..HEADROOM + len));
            let Some(bytes) = buffer else { continue };
            if *socket == SocketId::BROWSER {
                if let Some(place) = going.get_mut(count) {
                    *place = Outgoing { bytes, destination: (*destination).into() };
                    count += 1;
                }
            } else if let Some(open) = self.phone(*socket) {
                open.send(*destination, bytes);
            }
        }
        self.mmsg.send(self.browser.as_fd(), going.get(..count).unwrap_or_default());
    }

    fn transmit(&mut self, _now: Instant, socket: SocketId, destination: SocketAddr, bytes: &[u8]) {
        if socket == SocketId::BROWSER {
            let _ = self.browser.send_to(bytes, destination);
        } else if let Some(open) = self.phone(socket) {
            open.send(destination, bytes);
        }
    }

    fn open_pair(&mut self, socket: SocketId, address: SocketAddr) -> bool {
        let Some(rtcp_port) = address.port().checked_add(1) else { return false };
        if self.open_phone(socket, address).is_err() {
            return false;
        }
        let rtcp = SocketAddr::new(address.ip(), rtcp_port);
        let is_whole = self.open_phone(socket.rtcp(), rtcp).is_ok();
        if !is_whole {
            self.close_phone(socket);
        }
        is_whole
    }

    fn close_pair(&mut self, socket: SocketId) {
        self.close_phone(socket);
        self.close_phone(socket.rtcp());
    }

    fn connect(&mut self, socket: SocketId, remote: Option<SocketAddr>) {
        let Some(place) = self.places.get(&socket) else { return };
        let Some(open) = self.phones.get_mut(*place).and_then(Option::as_mut) else { return };
        // One that cannot be connected goes on with an address for each packet.
        let _ = match remote {
            Some(remote) => open.connect(remote),
            None => open.disconnect(),
        };
    }

    fn time_browsers(&mut self) {
        let _ = mmsg::tell_times(self.browser.as_fd(), true);
    }
}

/// The shard counts sockets up, so nobody can choose names that collide.
pub(super) type SocketMap<T> = HashMap<SocketId, T, BuildHasherDefault<Counted>>;

/// Spreads numbers that were counted up.
#[derive(Default)]
pub(super) struct Counted(u64);

impl Hasher for Counted {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The multiplier of Fibonacci hashing: the golden ratio of 2^64.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// Shards count sockets from zero, and places are fewer still.
pub(super) const BROWSER: u64 = WAKE_UP - 1;

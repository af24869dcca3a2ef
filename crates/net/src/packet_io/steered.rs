//! All phones' ports on one socket, and sending below the IP stack.
//!
//! A BPF program (`sk_lookup`) gives the whole port range to one socket, which is read in batches
//! as the browsers' is. What is to be sent gets its headers here and leaves in batches by a packet
//! socket, with whatever lies between the IP stack and the driver left out: no netfilter rule and
//! no queueing discipline sees it. Destinations that the tables of the kernel do not answer for,
//! and packets that would have to be fragmented, go through sockets.
//!
//! Phones by IPv4 only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::Instant;

use crosspoint_media::shard::{BATCH, Forward, Frame, SocketId};
use socket2::{Domain, SockRef, Socket, Type};

use super::bpf::{self, Attached, Ports};
use super::epoll::{Epoll, Poller, Ready};
use super::header::{self, HEADERS, Link};
use super::mmsg::{self, Buffer, HEADROOM, Mmsg, Name, Outgoing};
use super::next_hop::NextHops;
use super::sockets::{BROWSER, SocketMap};
use super::{BROWSER_BUFFER, IoConfig, PacketIo, Unavailable};
use crate::socket;

pub(super) struct SteeredIo {
    pub(super) epoll: Epoll,
    browser: UdpSocket,
    /// Hears all phones' ports.
    phones: UdpSocket,
    _steering: Attached,
    /// What the kernel's program looks at.
    pub(super) ports: Ports,
    /// Sends frames by any interface.
    raw: Socket,
    hops: NextHops,
    bind: Ipv4Addr,
    browser_address: SocketAddr,
    mmsg: Mmsg,
    buffers: Box<[Buffer]>,
    /// The socket that each port is to the shard.
    ids: Box<[Option<SocketId>]>,
    places: SocketMap<Phone>,
    kept: KeptPorts,
}

struct Phone {
    port: u16,
    /// Keeps the port ours, and sends what has to go through the kernel. Nothing is read here.
    socket: UdpSocket,
}

/// Ports that stay ours between calls: binding and giving back two for each side is a good part of
/// what a short call costs. Nothing is read from their sockets, so nothing of one call reaches the
/// next.
struct KeptPorts {
    sockets: Box<[Option<UdpSocket>]>,
    kept: usize,
    most: usize,
}

impl KeptPorts {
    fn new() -> Self {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        Self::with_room(most / KEPT_SHARE)
    }

    fn with_room(most: usize) -> Self {
        Self { sockets: (0..=u16::MAX).map(|_| None).collect(), kept: 0, most }
    }

    fn open(&mut self, bind: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
        if let Some(socket) = self.sockets.get_mut(usize::from(port)).and_then(Option::take) {
            self.kept -= 1;
            return Ok(socket);
        }
        let address = SocketAddr::from((bind, port));
        let socket = socket::udp_port(address).or_else(|error| {
            // A call comes before those that may come.
            if error.raw_os_error() != Some(libc::EMFILE) || self.kept == 0 {
                return Err(error);
            }
            *self = Self::with_room(self.most);
            socket::udp_port(address)
        })?;
        // Between calls the kernel must not hold what strangers send here.
        let _ = SockRef::from(&socket).set_recv_buffer_size(0);
        Ok(socket)
    }

    fn keep(&mut self, port: u16, socket: UdpSocket) {
        let has_room = self.kept < self.most;
        if let Some(place) = self.sockets.get_mut(usize::from(port)).filter(|_| has_room) {
            *place = Some(socket);
            self.kept += 1;
        }
    }
}

/// How a datagram leaves past the IP stack.
pub(super) struct Way {
    pub(super) link: Link,
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
}

impl SteeredIo {
    pub(super) fn open(config: &IoConfig, browser: UdpSocket) -> Result<Self, Unavailable> {
        let IpAddr::V4(bind) = config.rtp_bind else {
            return Err(Unavailable::because("media.listen is not an IPv4 address"));
        };
        let raw = Socket::new(Domain::PACKET, Type::RAW, None)
            .map_err(Unavailable::to("open a packet socket", "CAP_NET_RAW"))?;
        // A queueing discipline would only delay; the system may not know the option.
        let _ = mmsg::set_option(raw.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1);
        let _ = raw.set_send_buffer_size(BROWSER_BUFFER);
        let plain = |error| Unavailable::because(format!("sockets cannot be opened: {error}"));
        let phones = socket::udp(SocketAddr::from((bind, 0)), BROWSER_BUFFER).map_err(plain)?;
        mmsg::tell_destinations(phones.as_fd(), true).map_err(plain)?;
        // Whoever may attach programs may also have more than the system's usual limit, which holds
        // some 250 packets.
        let size = libc::c_int::try_from(BROWSER_BUFFER).unwrap_or(libc::c_int::MAX);
        for socket in [phones.as_fd(), browser.as_fd()] {
            let _ = mmsg::set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size);
        }
        let need = "CAP_BPF and CAP_NET_ADMIN";
        let ports = Ports::new().map_err(Unavailable::to("make a BPF map", need))?;
        let steering = bpf::steer(&ports, phones.as_fd(), bind)
            .map_err(Unavailable::to("attach a sk_lookup program", need))?;
        let hops = NextHops::new().map_err(Unavailable::to("ask for routes", "rtnetlink"))?;
        let browser_address = browser.local_addr().map_err(plain)?;
        let epoll = Epoll::new(TOKENS).map_err(plain)?;
        for (fd, token) in
            [(browser.as_fd(), BROWSER), (phones.as_fd(), PHONES), (hops.changes(), CHANGES)]
        {
            epoll.add(fd, token).map_err(plain)?;
        }
        Ok(Self {
            epoll,
            browser,
            phones,
            _steering: steering,
            ports,
            raw,
            hops,
            bind,
            browser_address,
            mmsg: Mmsg::new(),
            buffers: mmsg::buffers(),
            ids: vec![None; 1 << 16].into_boxed_slice(),
            places: SocketMap::default(),
            kept: KeptPorts::new(),
        })
    }

    pub(super) fn browser_address(&self) -> SocketAddr {
        self.browser_address
    }

    /// The shard's socket at this port.
    pub(super) fn id_of(&self, port: u16) -> Option<SocketId> {
        if port == self.browser_address.port() {
            return Some(SocketId::BROWSER);
        }
        self.ids.get(usize::from(port)).copied().flatten()
    }

    /// How a datagram can leave past the IP stack; `None` when it has to take a socket.
    pub(super) fn way(
        &mut self,
        now: Instant,
        socket: SocketId,
        destination: SocketAddr,
        len: usize,
    ) -> Option<Way> {
        let SocketAddr::V4(destination) = destination else { return None };
        let (bound, port) = if socket == SocketId::BROWSER {
            let IpAddr::V4(bound) = self.browser_address.ip() else { return None };
            (bound, self.browser_address.port())
        } else {
            (self.bind, self.places.get(&socket)?.port)
        };
        let link = self.hops.find(now, *destination.ip())?;
        let is_whole = len + HEADERS - ETHERNET <= link.mtu;
        let source = if bound.is_unspecified() { link.source } else { bound };
        let source = SocketAddrV4::new(source, port);
        is_whole.then_some(Way { link, source, destination })
    }

    /// Interfaces and the IPv4 addresses on them.
    pub(super) fn addresses(&mut self) -> Vec<(u32, Ipv4Addr)> {
        self.hops.addresses()
    }

    /// The interface that strangers are reached by.
    pub(super) fn default_interface(&mut self) -> Option<u32> {
        self.hops.default_interface()
    }

    pub(super) fn send_plain(&self, socket: SocketId, destination: SocketAddr, bytes: &[u8]) {
        plain(&self.browser, &self.places, socket, destination, bytes);
    }

    /// Sends frames with all their headers.
    pub(super) fn send_raw(&mut self, frames: &[Outgoing<'_>]) {
        self.mmsg.send(self.raw.as_fd(), frames);
    }

    /// Adds what came through the kernel, as far as a batch has room. The first of them lies in
    /// the first of our buffers.
    pub(super) fn receive_rest<'f>(&'f mut self, ready: &Ready, frames: &mut Vec<Frame<'f>>) {
        let has = |token| ready.tokens().any(|t| t == token);
        if has(CHANGES) {
            self.hops.handle_changes(Instant::now());
        }
        let Self { browser, browser_address, phones, mmsg, buffers, ids, .. } = self;
        let browser_port = browser_address.port();
        let room = BATCH.saturating_sub(frames.len()).min(buffers.len());
        let mut rest = buffers.get_mut(..room).unwrap_or_default();
        if has(PHONES) {
            // Half of the room, so that there is always some for browsers.
            let half = rest.len().div_ceil(2);
            let some = rest.get_mut(..half).unwrap_or_default();
            let count = mmsg.receive(phones.as_fd(), some).unwrap_or(0);
            rest = mmsg.add_frames(count, rest, frames, |index| {
                let port = mmsg.local(index)?.port();
                // With XDP the browsers' port is steered here as well.
                if port == browser_port {
                    return Some(SocketId::BROWSER);
                }
                *ids.get(usize::from(port))?
            });
        }
        if has(BROWSER) {
            let count = mmsg.receive(browser.as_fd(), rest).unwrap_or(0);
            mmsg.add_frames(count, rest, frames, |_| Some(SocketId::BROWSER));
        }
    }

    /// Sends from our buffers; `first` is the number of the frame in the first of them, and those
    /// before it are not ours.
    pub(super) fn forward_from(&mut self, now: Instant, first: usize, forwards: &[Forward]) {
        let mut ways = [(0, 0, 0); BATCH];
        let mut count = 0;
        for Forward { frame, socket, destination, len } in forwards {
            let Some(place) = frame.checked_sub(first) else { continue };
            let way = self.way(now, *socket, *destination, *len);
            let Some(buffer) = self.buffers.get_mut(place) else { continue };
            let headers = HEADROOM - HEADERS;
            match (way, ways.get_mut(count)) {
                (Some(Way { link, source, destination }), Some(free)) => {
                    let Some(bytes) = buffer.get_mut(headers..HEADROOM + len) else { continue };
                    header::write(bytes, &link, source, destination);
                    *free = (place, bytes.len(), link.interface);
                    count += 1;
                }
                _ => {
                    let Some(bytes) = buffer.get(HEADROOM..HEADROOM + len) else { continue };
                    plain(&self.browser, &self.places, *socket, *destination, bytes);
                }
            }
        }
        let Self { mmsg, raw, buffers, .. } = self;
        let mut going = [Outgoing::default(); BATCH];
        for (place, (buffer, len, interface)) in going.iter_mut().zip(ways.iter().take(count)) {
            let start = HEADROOM - HEADERS;
            let bytes = buffers.get(*buffer).and_then(|b| b.get(start..start + len));
            let destination = Name::interface(*interface);
            *place = Outgoing { bytes: bytes.unwrap_or_default(), destination };
        }
        mmsg.send(raw.as_fd(), going.get(..count).unwrap_or_default());
    }
}

/// Sends a datagram through the kernel.
fn plain(
    browser: &UdpSocket,
    places: &SocketMap<Phone>,
    socket: SocketId,
    destination: SocketAddr,
    bytes: &[u8],
) {
    let socket = if socket == SocketId::BROWSER {
        browser
    } else {
        let Some(phone) = places.get(&socket) else { return };
        &phone.socket
    };
    // A full buffer loses packets, as the network would.
    let _ = socket.send_to(bytes, destination);
}

impl PacketIo for SteeredIo {
    fn poller(&self) -> Poller {
        self.epoll.poller()
    }

    fn receive<'f>(&'f mut self, ready: &Ready, frames: &mut Vec<Frame<'f>>) {
        self.receive_rest(ready, frames);
    }

    fn forward(&mut self, now: Instant, forwards: &[Forward]) {
        self.forward_from(now, 0, forwards);
    }

    fn transmit(&mut self, _now: Instant, socket: SocketId, destination: SocketAddr, bytes: &[u8]) {
        plain(&self.browser, &self.places, socket, destination, bytes);
    }

    fn open_pair(&mut self, socket: SocketId, address: SocketAddr) -> bool {
        let Some(rtcp_port) = address.port().checked_add(1) else { return false };
        let Ok(rtp) = self.kept.open(self.bind, address.port()) else { return false };
        let Ok(rtcp) = self.kept.open(self.bind, rtcp_port) else {
            self.kept.keep(address.port(), rtp);
            return false;
        };
        let pair = [(socket, address.port(), rtp), (socket.rtcp(), rtcp_port, rtcp)];
        for (id, port, socket) in pair {
            if let Some(place) = self.ids.get_mut(usize::from(port)) {
                *place = Some(id);
            }
            self.places.insert(id, Phone { port, socket });
            self.ports.set(port, true);
        }
        true
    }

    fn close_pair(&mut self, socket: SocketId) {
        for id in [socket, socket.rtcp()] {
            let Some(Phone { port, socket }) = self.places.remove(&id) else { continue };
            self.ports.set(port, false);
            self.kept.keep(port, socket);
            if let Some(place) = self.ids.get_mut(usize::from(port)) {
                *place = None;
            }
        }
    }

    /// The one socket goes on hearing everybody; the shard drops strangers.
    fn connect(&mut self, _socket: SocketId, _remote: Option<SocketAddr>) {}

    fn time_browsers(&mut self) {
        let _ = mmsg::tell_times(self.browser.as_fd(), true);
    }
}

const PHONES: u64 = BROWSER - 1;
const CHANGES: u64 = BROWSER - 2;
/// With those of `AF_XDP` sockets, one for each queue.
const TOKENS: usize = 64;
const ETHERNET: usize = 14;
/// Of the descriptors that we may have, one in so many keeps a port at most.
const KEPT_SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stays_ours_between_calls_as_far_as_there_is_room() {
        // Where no other test gets a port that is free again.
        let here = Ipv4Addr::new(127, 0, 0, 14);
        let mut ports = KeptPorts::with_room(1);
        let mut open = || {
            let socket = ports.open(here, 0).unwrap();
            (socket.local_addr().unwrap().port(), socket)
        };
        let [(first, a), (second, b)] = [open(), open()];
        ports.keep(first, a);
        ports.keep(second, b);
        let is_free = |port| UdpSocket::bind((here, port)).is_ok();
        assert!(!is_free(first), "it is kept");
        assert!(is_free(second), "there is no room for it");
        let again = ports.open(here, first).unwrap();
        assert_eq!(again.local_addr().unwrap().port(), first);
        assert_eq!(ports.kept, 0);
    }
}

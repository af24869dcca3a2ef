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
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::time::Instant;

use crosspoint_media::shard::{BATCH, Forward, Frame, SocketId};
use socket2::{Domain, Socket, Type};

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
    /// Where a single packet gets its headers.
    scratch: Box<[u8; SCRATCH]>,
    phone_ports: PhonePorts,
}

struct Phone {
    port: u16,
    /// Sends what has to go through the kernel, from the first of it on. Nothing is read here.
    socket: Option<UdpSocket>,
}

/// Which ports are ours. A call takes four, and binding and giving back each of them would be a
/// good part of what a short call costs; all that comes to them is steered past their sockets.
struct PhonePorts {
    bind: Ipv4Addr,
    /// What was free when it was first wanted.
    found_free: Box<[bool]>,
    /// What the kernel gives to whoever asks for any port: nobody may get one that a call has.
    anybodys: RangeInclusive<u16>,
}

impl PhonePorts {
    fn new(bind: Ipv4Addr, anybodys: RangeInclusive<u16>) -> Self {
        Self { bind, found_free: vec![false; 1 << 16].into_boxed_slice(), anybodys }
    }

    /// Takes a port; fails when somebody else has it.
    fn open(&mut self, port: u16) -> io::Result<Phone> {
        let found_free = self.found_free.get_mut(usize::from(port));
        if found_free.as_deref() == Some(&true) {
            return Ok(Phone { port, socket: None });
        }
        let socket = socket::udp_port(SocketAddr::from((self.bind, port)))?;
        if self.anybodys.contains(&port) {
            return Ok(Phone { port, socket: Some(socket) });
        }
        if let Some(found_free) = found_free {
            *found_free = true;
        }
        Ok(Phone { port, socket: None })
    }
}

/// The ports that the kernel gives to whoever asks for any; all of them where it does not tell.
fn anybodys_ports() -> RangeInclusive<u16> {
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    told.ok().as_deref().and_then(port_range).unwrap_or(0..=u16::MAX)
}

fn port_range(told: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = told.split_ascii_whitespace().map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(first), Ok(last)) => Some(first..=last),
        _ => None,
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
            phone_ports: PhonePorts::new(bind, anybodys_ports()),
            scratch: Box::new([0; SCRATCH]),
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

    pub(super) fn send_plain(&mut self, socket: SocketId, destination: SocketAddr, bytes: &[u8]) {
        let from = (&self.browser, &mut self.places, self.bind);
        plain(from, socket, destination, bytes);
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
                    let from = (&self.browser, &mut self.places, self.bind);
                    plain(from, *socket, *destination, bytes);
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

/// Sends a datagram through the kernel, from the socket of its port, which is opened when it is
/// first needed.
fn plain(
    (browser, places, bind): (&UdpSocket, &mut SocketMap<Phone>, Ipv4Addr),
    socket: SocketId,
    destination: SocketAddr,
    bytes: &[u8],
) {
    let socket = if socket == SocketId::BROWSER {
        browser
    } else {
        let Some(Phone { port, socket }) = places.get_mut(&socket) else { return };
        if socket.is_none() {
            *socket = socket::udp_port(SocketAddr::from((bind, *port))).ok();
        }
        // Where no descriptor is left, packets are lost until there is.
        let Some(socket) = socket else { return };
        socket
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

    fn transmit(&mut self, now: Instant, socket: SocketId, destination: SocketAddr, bytes: &[u8]) {
        // A phone's port needs no socket of its own where reports leave past the IP stack as well.
        let is_phones = socket != SocketId::BROWSER;
        let way = is_phones.then(|| self.way(now, socket, destination, bytes.len())).flatten();
        let frame = self.scratch.get_mut(..HEADERS + bytes.len());
        match (way, frame) {
            (Some(Way { link, source, destination }), Some(frame)) => {
                if let Some(payload) = frame.get_mut(HEADERS..) {
                    payload.copy_from_slice(bytes);
                }
                header::write(frame, &link, source, destination);
                let destination = Name::interface(link.interface);
                self.mmsg.send(self.raw.as_fd(), &[Outgoing { bytes: frame, destination }]);
            }
            _ => self.send_plain(socket, destination, bytes),
        }
    }

    fn open_pair(&mut self, socket: SocketId, address: SocketAddr) -> bool {
        let Some(rtcp_port) = address.port().checked_add(1) else { return false };
        let Ok(rtp) = self.phone_ports.open(address.port()) else { return false };
        let Ok(rtcp) = self.phone_ports.open(rtcp_port) else { return false };
        for (id, phone) in [(socket, rtp), (socket.rtcp(), rtcp)] {
            if let Some(place) = self.ids.get_mut(usize::from(phone.port)) {
                *place = Some(id);
            }
            self.ports.set(phone.port, true);
            self.places.insert(id, phone);
        }
        true
    }

    fn close_pair(&mut self, socket: SocketId) {
        for id in [socket, socket.rtcp()] {
            let Some(Phone { port, socket }) = self.places.remove(&id) else { continue };
            // Nothing is steered past a port that is anybody's again.
            self.ports.set(port, false);
            drop(socket);
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
/// The longest packet that is not fragmented on a usual link, and then some.
const SCRATCH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that is free at an address that no other test has.
    fn free_port(here: Ipv4Addr) -> u16 {
        UdpSocket::bind((here, 0)).unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_port_takes_no_socket() {
        let here = Ipv4Addr::new(127, 0, 0, 14);
        let mut ports = PhonePorts::new(here, 0..=0);
        let port = free_port(here);
        for _ in 0..2 {
            assert!(ports.open(port).unwrap().socket.is_none());
        }
        let others = UdpSocket::bind((here, 0)).unwrap();
        assert!(ports.open(others.local_addr().unwrap().port()).is_err());
    }

    #[test]
    fn a_port_that_the_kernel_gives_away_is_held() {
        let here = Ipv4Addr::new(127, 0, 0, 15);
        let port = free_port(here);
        let mut ports = PhonePorts::new(here, port..=port);
        for _ in 0..2 {
            let phone = ports.open(port).unwrap();
            assert!(phone.socket.is_some());
            assert!(UdpSocket::bind((here, port)).is_err(), "it is ours");
        }
        assert!(UdpSocket::bind((here, port)).is_ok());
    }

    #[test]
    fn which_ports_the_kernel_gives_away_is_read() {
        assert_eq!(port_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(port_range("32768"), None);
        assert_eq!(port_range("32768 70000"), None);
        assert!(anybodys_ports().contains(&free_port(Ipv4Addr::new(127, 0, 0, 16))));
    }
}

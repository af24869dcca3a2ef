//! Where a packet goes next, by the kernel's own tables (rtnetlink).
//!
//! A destination's route and its next hop's link address are asked for once and kept until the
//! kernel tells of a change. What the tables do not answer (a neighbour that is not resolved, this
//! host, a tunnel) goes through a socket, and so does one packet every few seconds for each hop,
//! so that the kernel goes on checking that the neighbour is there.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::header::Link;
use super::mmsg;

/// The next hops of one media thread.
pub(super) struct NextHops {
    questions: Socket,
    /// Tells of changes of links, addresses, routes and neighbours.
    changes: Socket,
    destinations: HashMap<Ipv4Addr, Destination>,
    hops: Vec<Hop>,
    /// Where each hop stands, by interface and address.
    places: HashMap<(u32, Ipv4Addr), usize>,
    buffer: Box<[u8]>,
}

#[derive(Debug, Clone, Copy)]
struct Destination {
    /// The interface and the place of the hop; nothing when the kernel has to send.
    way: Option<(Interface, Ipv4Addr, usize)>,
    /// When an answer that was none is asked for again.
    again: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    index: u32,
    mac: [u8; 6],
    mtu: usize,
}

#[derive(Debug, Clone, Copy)]
struct Hop {
    address: Ipv4Addr,
    mac: Option<[u8; 6]>,
    /// When it is asked for again, because it is not known or has changed.
    again: Instant,
    /// When a packet goes through the kernel for the neighbour's sake.
    check: Instant,
}

/// How a destination is reached, as far as the IP layer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    interface: u32,
    hop: Ipv4Addr,
    source: Ipv4Addr,
}

impl NextHops {
    pub(super) fn new() -> io::Result<Self> {
        let changes = netlink()?;
        for group in GROUPS {
            mmsg::set_option(
                changes.as_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_ADD_MEMBERSHIP,
                group,
            )?;
        }
        Ok(Self {
            questions: netlink()?,
            changes,
            destinations: HashMap::new(),
            hops: Vec::new(),
            places: HashMap::new(),
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
        })
    }

    /// Readable when something has changed.
    pub(super) fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Forgets what has changed.
    pub(super) fn handle_changes(&mut self, now: Instant) {
        loop {
            match (&self.changes).read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(read) => match self.buffer.get(..read).and_then(neighbour_in) {
                    Some(neighbour) => {
                        let place = self.places.get(&neighbour);
                        if let Some(hop) = place.and_then(|place| self.hops.get_mut(*place)) {
                            (hop.mac, hop.again) = (None, now);
                        }
                    }
                    None => self.forget(),
                },
                // So much has changed that not all of it was told.
                Err(_) => self.forget(),
            }
        }
    }

    fn forget(&mut self) {
        self.destinations.clear();
        self.hops.clear();
        self.places.clear();
    }

    /// The link to send on; `None` when it is for the kernel to send.
    pub(super) fn find(&mut self, now: Instant, to: Ipv4Addr) -> Option<Link> {
        let found = match self.destinations.get(&to) {
            Some(found) if found.way.is_some() || now < found.again => *found,
            _ => self.ask_way(now, to),
        };
        let (interface, source, place) = found.way?;
        let hop = self.hops.get_mut(place)?;
        if now >= hop.check {
            hop.check = now + CHECK;
            return None;
        }
        if hop.mac.is_none() && now >= hop.again {
            let address = hop.address;
            let mac = self.neighbour(interface.index, address);
            let hop = self.hops.get_mut(place)?;
            (hop.mac, hop.again) = (mac, now + RETRY);
        }
        let mac = self.hops.get(place)?.mac?;
        let Interface { index, mac: own_mac, mtu } = interface;
        Some(Link { interface: index, own_mac, mac, source, mtu })
    }

    /// Interfaces and the IPv4 addresses on them.
    pub(super) fn addresses(&mut self) -> Vec<(u32, Ipv4Addr)> {
        // struct ifaddrmsg: the family.
        let mut fixed = [0; 8];
        fixed[0] = libc::AF_INET as u8;
        let mut out = Vec::new();
        let mut read = self.ask(RTM_GETADDR, NLM_F_DUMP, &fixed, &[]);
        // The kernel puts several messages into one answer, and gives several answers.
        while let Some(len) = read.filter(|len| *len > 0) {
            let mut rest = self.buffer.get(..len).unwrap_or_default();
            while let Some(first) = rest.first_chunk::<4>() {
                let len = usize::try_from(u32::from_ne_bytes(*first)).unwrap_or(usize::MAX);
                let Some(body) = Message(rest).body(RTM_NEWADDR) else { return out };
                out.extend(address_of(body));
                rest = rest.get(len.max(16).next_multiple_of(4)..).unwrap_or_default();
            }
            read = (&self.questions).read(&mut self.buffer).ok();
        }
        out
    }

    /// The interface that strangers are reached by.
    pub(super) fn default_interface(&mut self) -> Option<u32> {
        // An address that is nobody's (RFC 5737).
        let route = self.route(Ipv4Addr::new(192, 0, 2, 1))?;
        self.interface(route.interface).map(|interface| interface.index)
    }

    fn ask_way(&mut self, now: Instant, to: Ipv4Addr) -> Destination {
        if self.destinations.len() >= MAX_DESTINATIONS {
            // Whoever is still sent to is asked for once more.
            self.forget();
        }
        let route = self.route(to);
        let interface = route.and_then(|route| self.interface(route.interface));
        let way = route.zip(interface).map(|(route, interface)| {
            let (hops, address) = (&mut self.hops, route.hop);
            let place = *self.places.entry((interface.index, address)).or_insert_with(|| {
                hops.push(Hop { address, mac: None, again: now, check: now + CHECK });
                hops.len() - 1
            });
            (interface, route.source, place)
        });
        let found = Destination { way, again: now + RETRY };
        self.destinations.insert(to, found);
        found
    }

    fn route(&mut self, to: Ipv4Addr) -> Option<Route> {
        if to.is_loopback() || to.is_multicast() || to.is_broadcast() || to.is_unspecified() {
            return None;
        }
        // struct rtmsg: family and length of the destination; the rest is for answers.
        let mut fixed = [0; 12];
        fixed[..2].copy_from_slice(&[libc::AF_INET as u8, 32]);
        let answer = self.question(RTM_GETROUTE, &fixed, &[(RTA_DST, &to.octets())])?;
        route_of(answer.body(RTM_NEWROUTE)?, to)
    }

    /// An interface, if it is Ethernet.
    fn interface(&mut self, index: u32) -> Option<Interface> {
        // struct ifinfomsg: the index is the second word.
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        let answer = self.question(RTM_GETLINK, &fixed, &[])?;
        let (mac, mtu) = interface_of(answer.body(RTM_NEWLINK)?)?;
        Some(Interface { index, mac, mtu })
    }

    /// The link address of a neighbour, if it is known.
    fn neighbour(&mut self, interface: u32, address: Ipv4Addr) -> Option<[u8; 6]> {
        // struct ndmsg: family, then the index as the second word.
        let mut fixed = [0; 12];
        fixed[0] = libc::AF_INET as u8;
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        let answer = self.question(RTM_GETNEIGH, &fixed, &[(NDA_DST, &address.octets())])?;
        neighbour_of(answer.body(RTM_NEWNEIGH)?)
    }

    fn question(
        &mut self,
        kind: u16,
        fixed: &[u8],
        attributes: &[(u16, &[u8])],
    ) -> Option<Message<'_>> {
        let read = self.ask(kind, 0, fixed, attributes)?;
        Some(Message(self.buffer.get(..read)?))
    }

    /// Asks, and gives how much of the answer is in the buffer: the kernel answers before the
    /// sending returns.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: &[(u16, &[u8])],
    ) -> Option<usize> {
        let mut message = vec![0; 16];
        message.extend_from_slice(fixed);
        for (kind, value) in attributes {
            let len = (4 + value.len()) as u16;
            message.extend_from_slice(&len.to_ne_bytes());
            message.extend_from_slice(&kind.to_ne_bytes());
            message.extend_from_slice(value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let len = (message.len() as u32).to_ne_bytes();
        // struct nlmsghdr: length, type, flags; sequence and port may be zero.
        message[..4].copy_from_slice(&len);
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        (&self.questions).write_all(&message).ok()?;
        (&self.questions).read(&mut self.buffer).ok()
    }
}

/// A netlink message as it was received.
struct Message<'b>(&'b [u8]);

impl<'b> Message<'b> {
    /// What follows the header, if the message is of this type.
    fn body(&self, kind: u16) -> Option<&'b [u8]> {
        let len = usize::try_from(u32::from_ne_bytes(*self.0.first_chunk()?)).ok()?;
        let is_it = u16::from_ne_bytes(*self.0.get(4..)?.first_chunk()?) == kind;
        self.0.get(16..len).filter(|_| is_it)
    }
}

fn route_of(body: &[u8], to: Ipv4Addr) -> Option<Route> {
    // struct rtmsg: the type is the eighth byte.
    let is_unicast = *body.get(7)? == libc::RTN_UNICAST;
    let attribute = |kind| attribute(body.get(12..)?, kind);
    let interface = u32::from_ne_bytes(*attribute(RTA_OIF)?.first_chunk()?);
    let source = Ipv4Addr::from(*attribute(RTA_PREFSRC)?.first_chunk::<4>()?);
    let hop = match attribute(RTA_GATEWAY) {
        Some(gateway) => Ipv4Addr::from(*gateway.first_chunk::<4>()?),
        None => to,
    };
    // A gateway of the other family has a neighbour that we do not ask for.
    let is_plain = attribute(RTA_VIA).is_none() && attribute(RTA_ENCAP).is_none();
    (is_unicast && is_plain).then_some(Route { interface, hop, source })
}

fn interface_of(body: &[u8]) -> Option<([u8; 6], usize)> {
    // struct ifinfomsg: the type of device is the second half of the first word.
    let device = u16::from_ne_bytes(*body.get(2..)?.first_chunk()?);
    let flags = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let attribute = |kind| attribute(body.get(16..)?, kind);
    let mac: [u8; 6] = attribute(IFLA_ADDRESS)?.try_into().ok()?;
    let mtu = u32::from_ne_bytes(*attribute(IFLA_MTU)?.first_chunk()?);
    let no_headers = (libc::IFF_LOOPBACK | libc::IFF_NOARP | libc::IFF_POINTOPOINT).cast_unsigned();
    (device == libc::ARPHRD_ETHER && flags & no_headers == 0)
        .then_some((mac, usize::try_from(mtu).ok()?))
}

fn neighbour_of(body: &[u8]) -> Option<[u8; 6]> {
    // struct ndmsg: the state is the third word.
    let state = u16::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    (state & NUD_VALID != 0).then_some(())?;
    attribute(body.get(12..)?, NDA_LLADDR)?.try_into().ok()
}

/// Which neighbour a message of changes is about, if it is about one.
fn neighbour_in(message: &[u8]) -> Option<(u32, Ipv4Addr)> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    (kind == RTM_NEWNEIGH || kind == RTM_DELNEIGH).then_some(())?;
    let body = message.get(16..)?;
    let interface = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    // One of the other family is about nobody that is kept here.
    let address = attribute(body.get(12..)?, NDA_DST)?.first_chunk::<4>()?;
    Some((interface, Ipv4Addr::from(*address)))
}

fn address_of(body: &[u8]) -> Option<(u32, Ipv4Addr)> {
    // struct ifaddrmsg: the index is the second word.
    let interface = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let address = attribute(body.get(8..)?, IFA_LOCAL)?.first_chunk::<4>()?;
    Some((interface, Ipv4Addr::from(*address)))
}

/// The value of the first attribute of this kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & 0x3fff;
        let value = bytes.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

fn netlink() -> io::Result<Socket> {
    let domain = Domain::from(libc::AF_NETLINK);
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_LOCAL: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const RTM_DELNEIGH: u16 = 29;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// Reachable, stale, delay, probe, no ARP, permanent: the link address may be used.
const NUD_VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
/// Links, neighbours, IPv4 addresses, IPv4 routes, IPv4 rules.
const GROUPS: [libc::c_int; 5] = [1, 3, 5, 7, 8];

const MAX_DESTINATIONS: usize = 65_536;
/// How soon a destination that had no answer is asked for again.
const RETRY: Duration = Duration::from_millis(200);
/// The kernel looks after a neighbour that it sends to itself.
const CHECK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_and_groups_are_left_to_the_kernel() {
        let mut hops = NextHops::new().unwrap();
        for to in ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"] {
            assert_eq!(hops.find(Instant::now(), to.parse().unwrap()), None, "{to}");
        }
    }

    #[test]
    fn loopback_is_an_interface_without_a_link_address_of_use() {
        let mut hops = NextHops::new().unwrap();
        let mut fixed = [0; 16];
        fixed[4] = 1;
        let answer = hops.question(RTM_GETLINK, &fixed, &[]).unwrap();
        assert_eq!(interface_of(answer.body(RTM_NEWLINK).unwrap()), None);
    }

    #[test]
    fn attributes_that_lie_about_their_length_are_none() {
        let mut bytes = Vec::new();
        for (len, kind) in [(8_u16, 4_u16), (6, 7)] {
            bytes.extend(len.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([1, 2, 3, 4]);
        }
        assert_eq!(attribute(&bytes, 4), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(&bytes, 7), Some(&[1, 2][..]));
        assert_eq!(attribute(&bytes, 5), None);
        for len in [0_u16, 3, 200] {
            bytes[..2].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(attribute(&bytes, 7), None, "{len}");
        }
    }
}

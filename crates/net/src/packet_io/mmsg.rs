//! Many datagrams in one system call: `recvmmsg` and `sendmmsg`.
//!
//! Every pointer handed to the kernel is made in the call that uses it, from memory that outlives
//! the call.

#![allow(unsafe_code, reason = "the standard library has no call for several datagrams")]

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, SystemTime};

use crosspoint_media::shard::{BATCH, Frame, SocketId};

/// Room in front of a datagram for Ethernet, IP and UDP headers.
pub(super) const HEADROOM: usize = 64;
/// Nothing larger comes over a path without jumbo frames; longer datagrams are cut and fail.
pub(super) const MAX_PACKET: usize = 2048;
/// Room behind a datagram for SRTP's tag and index.
const TAILROOM: usize = 256;

/// A datagram with room on both sides.
pub(super) type Buffer = [u8; HEADROOM + MAX_PACKET + TAILROOM];

pub(super) fn buffers() -> Box<[Buffer]> {
    vec![[0; size_of::<Buffer>()]; BATCH].into_boxed_slice()
}

/// A datagram to be sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outgoing<'b> {
    pub(crate) bytes: &'b [u8],
    pub(crate) destination: Name,
}

/// What the kernel reads and writes besides the datagrams. Kept, so that nothing is allocated.
pub(crate) struct Mmsg {
    headers: Box<[libc::mmsghdr; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    names: Box<[Name; BATCH]>,
    controls: Box<[Control; BATCH]>,
}

impl std::fmt::Debug for Mmsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mmsg")
    }
}

// SAFETY: the pointers in the headers and vectors are written anew by each call and mean nothing
// between calls.
unsafe impl Send for Mmsg {}

impl Mmsg {
    pub(crate) fn new() -> Self {
        // SAFETY: a C structure of numbers and pointers, for which zero is valid.
        let header = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            headers: Box::new([header; BATCH]),
            vectors: Box::new([vector; BATCH]),
            names: Box::new([Name::default(); BATCH]),
            controls: Box::new([Control::default(); BATCH]),
        }
    }

    /// Fills buffers from the front, behind their headroom, with one datagram each; gives how
    /// many, without waiting.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        buffers: &mut [Buffer],
    ) -> io::Result<usize> {
        let room = |buffer| <[u8]>::get_mut(buffer, HEADROOM..HEADROOM + MAX_PACKET);
        let rooms = buffers.iter_mut().map(|buffer| room(buffer).unwrap_or_default());
        self.receive_into(socket, rooms)
    }

    /// Fills each room with one datagram; gives how many were filled, without waiting. What is
    /// longer than its room is cut.
    pub(crate) fn receive_into<'r>(
        &mut self,
        socket: BorrowedFd<'_>,
        rooms: impl Iterator<Item = &'r mut [u8]>,
    ) -> io::Result<usize> {
        let Self { headers, vectors, names, controls } = self;
        let mut count = 0;
        let parts = rooms.zip(vectors.iter_mut());
        let parts = parts.zip(names.iter_mut().zip(controls.iter_mut()));
        for (header, ((room, vector), (name, control))) in headers.iter_mut().zip(parts) {
            vector.iov_base = room.as_mut_ptr().cast();
            vector.iov_len = room.len();
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = NAME_LEN;
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::from_mut(control).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>();
            header.msg_len = 0;
            count += 1;
        }
        // SAFETY: the first `count` headers point to vectors, names and controls of this
        // structure, each with its true size, and through the vectors to as many distinct rooms,
        // each with its true length. All of them are borrowed for longer than the call (`'r`
        // outlives the iterator), and nothing else refers to them.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// Length and source of the datagram at `index` of the last receiving.
    pub(crate) fn received(&self, index: usize) -> Option<(usize, SocketAddr)> {
        let length = usize::try_from(self.headers.get(index)?.msg_len).ok()?;
        Some((length.min(self.vectors.get(index)?.iov_len), self.names.get(index)?.address()?))
    }

    /// Where this datagram was sent to, if the socket was asked to tell.
    pub(super) fn local(&self, index: usize) -> Option<SocketAddrV4> {
        let [_, _, high, low, a, b, c, d, ..] =
            self.control(index, libc::SOL_IP, libc::IP_RECVORIGDSTADDR)?;
        Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
    }

    /// When this datagram came, if the socket was asked to tell.
    fn came(&self, index: usize) -> Option<SystemTime> {
        let told = self.control(index, libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)?;
        let (seconds, nanos) = told.split_first_chunk::<8>()?;
        let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
        let nanos = u64::try_from(i64::from_ne_bytes(nanos.try_into().ok()?)).ok()?;
        let since = Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos))?;
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    /// What the one control message of a datagram says, if it is this one.
    fn control(&self, index: usize, level: libc::c_int, kind: libc::c_int) -> Option<[u8; 16]> {
        let control = self.controls.get(index)?;
        let is_there = self.headers.get(index)?.msg_hdr.msg_controllen >= size_of::<Control>();
        (is_there && (control.level, control.kind) == (level, kind)).then_some(control.data)
    }

    /// Adds the datagrams of the last receiving, which went into `buffers`, and gives the buffers
    /// that were not needed. `socket` names the socket of each.
    pub(super) fn add_frames<'f>(
        &self,
        count: usize,
        buffers: &'f mut [Buffer],
        frames: &mut Vec<Frame<'f>>,
        socket: impl Fn(usize) -> Option<SocketId>,
    ) -> &'f mut [Buffer] {
        let (filled, rest) = buffers.split_at_mut(count.min(buffers.len()));
        let mut now = None;
        for (index, buffer) in filled.iter_mut().enumerate() {
            let buffer = buffer.get_mut(HEADROOM..).unwrap_or_default();
            // Each buffer has its frame, so that the shard's numbers are ours.
            let found = self.received(index).zip(socket(index));
            let waited = self.came(index).map_or(Duration::ZERO, |came| {
                let now = *now.get_or_insert_with(SystemTime::now);
                // Somebody may have set the clock meanwhile.
                now.duration_since(came).unwrap_or_default().min(MAX_WAIT)
            });
            frames.push(found.map_or_else(Frame::empty, |((len, source), socket)| Frame {
                socket,
                source,
                buffer,
                len,
                waited,
            }));
        }
        rest
    }

    /// Sends datagrams in order, without waiting. A full socket buffer loses the rest, as the
    /// network would; one that cannot be sent does not hold up the others.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, mut rest: &[Outgoing<'_>]) {
        while !rest.is_empty() {
            let sent = match self.send_once(socket, rest) {
                Ok(sent) => sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => 1,
            };
            rest = rest.get(sent..).unwrap_or_default();
        }
    }

    /// Sends as many as the kernel takes at once, from the front; gives how many. An error is the
    /// first one's.
    pub(crate) fn send_once(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: &[Outgoing<'_>],
    ) -> io::Result<usize> {
        let Self { headers, vectors, .. } = self;
        let mut count = 0;
        let parts = datagrams.iter().zip(vectors.iter_mut());
        for (header, (datagram, vector)) in headers.iter_mut().zip(parts) {
            vector.iov_base = datagram.bytes.as_ptr().cast_mut().cast();
            vector.iov_len = datagram.bytes.len();
            header.msg_hdr.msg_name = ptr::from_ref(&datagram.destination).cast_mut().cast();
            header.msg_hdr.msg_namelen = datagram.destination.len();
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            count += 1;
        }
        // SAFETY: the first `count` headers point to vectors of this structure, to names in
        // `datagrams` and, through the vectors, to bytes with their true lengths. All are borrowed
        // for longer than the call, which only reads what the vectors and names point to.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// An address as the kernel wants it: IPv4, IPv6 or a link's.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    link: libc::sockaddr_ll,
}

impl Default for Name {
    fn default() -> Self {
        // SAFETY: zero is valid for all of the union's structures of numbers.
        unsafe { std::mem::zeroed() }
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Name").field(&self.address()).finish()
    }
}

impl Name {
    /// Out of the interface with this index, as the frame's own header says.
    pub(super) fn interface(index: u32) -> Self {
        let mut name = Self::default();
        // SAFETY: all bytes of the union are initialised, and any are valid for numbers.
        let link = unsafe { &mut name.link };
        link.sll_family = libc::AF_PACKET as u16;
        link.sll_ifindex = index.cast_signed();
        name
    }

    fn family(&self) -> libc::c_int {
        // SAFETY: each structure of the union begins with its family, and zero is valid.
        unsafe { self.family }.into()
    }

    fn len(&self) -> libc::socklen_t {
        match self.family() {
            libc::AF_INET => size_of::<libc::sockaddr_in>() as libc::socklen_t,
            libc::AF_PACKET => size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            _ => NAME_LEN,
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the family says which structure this is; any bytes are valid in it.
                let name = unsafe { &self.v4 };
                let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                Some(SocketAddr::from((ip, u16::from_be(name.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let name = unsafe { &self.v6 };
                let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                let port = u16::from_be(name.sin6_port);
                let (flow, scope) = (name.sin6_flowinfo, name.sin6_scope_id);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)))
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut out = Self::default();
        match address {
            SocketAddr::V4(address) => {
                // SAFETY: all bytes of the union are initialised, and any are valid for numbers.
                let name = unsafe { &mut out.v4 };
                name.sin_family = libc::AF_INET as u16;
                name.sin_port = address.port().to_be();
                name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            }
            SocketAddr::V6(address) => {
                // SAFETY: as above.
                let name = unsafe { &mut out.v6 };
                name.sin6_family = libc::AF_INET6 as u16;
                name.sin6_port = address.port().to_be();
                name.sin6_flowinfo = address.flowinfo();
                name.sin6_addr.s6_addr = address.ip().octets();
                name.sin6_scope_id = address.scope_id();
            }
        }
        out
    }
}

/// The one control message that a socket is asked for: where a datagram was sent to (IPv4), or
/// when it came.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(8))]
struct Control {
    len: usize,
    level: libc::c_int,
    kind: libc::c_int,
    /// `struct sockaddr_in`, or `struct timespec` with its two numbers of 64 bits.
    data: [u8; 16],
}

const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
const _: () = assert!(size_of::<Name>() == size_of::<libc::sockaddr_in6>());

/// Whether the kernel tells with each datagram where it was sent to (IPv4).
pub(super) fn tell_destinations(socket: BorrowedFd<'_>, tell: bool) -> io::Result<()> {
    set_option(socket, libc::SOL_IP, libc::IP_RECVORIGDSTADDR, tell.into())
}

/// Whether the kernel tells with each datagram when it came. Not together with where it was sent
/// to: there is room for one.
pub(super) fn tell_times(socket: BorrowedFd<'_>, tell: bool) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, tell.into())
}

/// Nothing that is still to be heard waits longer.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Sets an option that is one number.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let (fd, value) = (socket.as_raw_fd(), ptr::from_ref(&value).cast());
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value has the length that is told, and is only read during the call.
    let done = unsafe { libc::setsockopt(fd, level, option, value, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Undoes the connecting of a UDP socket, so that it hears everybody again.
pub(super) fn disconnect(socket: BorrowedFd<'_>) -> io::Result<()> {
    // The family of zero is AF_UNSPEC.
    let name = Name::default();
    // SAFETY: the name has the length that is told, and is only read during the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), ptr::from_ref(&name).cast(), NAME_LEN) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Instant;

    use super::*;

    fn socket(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(address).unwrap();
        let local = socket.local_addr().unwrap();
        (socket, local)
    }

    /// Returns once what was sent before is there: where others keep it busy, even the kernel's
    /// loopback is late.
    fn settle(from: &UdpSocket, address: &str) {
        let (witness, to) = socket(address);
        witness.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        from.send_to(b"x", to).unwrap();
        witness.recv_from(&mut [0]).unwrap();
    }

    fn carry(address: &str) {
        let ((a, from), (b, to)) = (socket(address), socket(address));
        let bytes: Vec<Vec<u8>> = (1..=80).map(|n| vec![n; n.into()]).collect();
        let destination = Name::from(to);
        let outgoing: Vec<Outgoing> =
            bytes.iter().map(|bytes| Outgoing { bytes, destination }).collect();
        let mut mmsg = Mmsg::new();
        mmsg.send(a.as_fd(), &outgoing);
        settle(&a, address);
        let mut buffers = buffers();
        let mut heard = Vec::new();
        for expected in [64, 16] {
            assert_eq!(mmsg.receive(b.as_fd(), &mut buffers).unwrap(), expected);
            for (index, buffer) in buffers.iter().enumerate().take(expected) {
                let (length, source) = mmsg.received(index).unwrap();
                assert_eq!(source, from);
                heard.push(buffer[HEADROOM..HEADROOM + length].to_vec());
            }
        }
        assert_eq!(heard, bytes);
        let error = mmsg.receive(b.as_fd(), &mut buffers).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn carries_more_than_a_batch_in_order_over_both_families() {
        carry("127.0.0.1:0");
        carry("[::1]:0");
    }

    #[test]
    fn one_datagram_that_cannot_be_sent_does_not_hold_up_the_others() {
        let ((a, _), (b, to)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut mmsg = Mmsg::new();
        let unreachable = "[2001:db8::1]:9".parse().unwrap();
        let outgoing = [unreachable, to]
            .map(|to: SocketAddr| Outgoing { bytes: &[7; 5], destination: to.into() });
        mmsg.send(a.as_fd(), &outgoing);
        settle(&a, "127.0.0.1:0");
        assert_eq!(mmsg.receive(b.as_fd(), &mut buffers()).unwrap(), 1);
        assert_eq!(mmsg.received(0).unwrap().0, 5);
    }

    #[test]
    fn tells_where_a_datagram_was_sent_to() {
        let ((a, _), (b, to)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        tell_destinations(b.as_fd(), true).unwrap();
        a.send_to(b"x", to).unwrap();
        settle(&a, "127.0.0.1:0");
        let mut mmsg = Mmsg::new();
        assert_eq!(mmsg.receive(b.as_fd(), &mut buffers()).unwrap(), 1);
        assert_eq!(mmsg.local(0).map(SocketAddr::V4), Some(to));
        a.send_to(b"x", to).unwrap();
        let mut mmsg = Mmsg::new();
        let (c, to) = socket("127.0.0.1:0");
        a.send_to(b"x", to).unwrap();
        settle(&a, "127.0.0.1:0");
        assert_eq!(mmsg.receive(c.as_fd(), &mut buffers()).unwrap(), 1);
        assert_eq!(mmsg.local(0), None, "not asked for");
    }

    #[test]
    fn tells_how_long_a_datagram_waited() {
        let ((a, _), (b, to)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        tell_times(b.as_fd(), true).unwrap();
        let waited = |mmsg: &mut Mmsg| {
            a.send_to(b"x", to).unwrap();
            settle(&a, "127.0.0.1:0");
            let there = Instant::now();
            settle(&a, "127.0.0.1:0");
            let mut buffers = buffers();
            let count = mmsg.receive(b.as_fd(), &mut buffers).unwrap();
            let least = there.elapsed();
            let mut frames = Vec::new();
            mmsg.add_frames(count, &mut buffers, &mut frames, |_| Some(SocketId::BROWSER));
            (least, frames[0].waited)
        };
        let mut mmsg = Mmsg::new();
        // The kernel begins to note times a little after it is first asked to.
        let begun = Instant::now();
        loop {
            let (least, waited) = waited(&mut mmsg);
            assert!(waited <= begun.elapsed());
            if waited >= least {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{waited:?} of {least:?}");
        }
        tell_times(b.as_fd(), false).unwrap();
        assert_eq!(waited(&mut Mmsg::new()).1, Duration::ZERO);
    }
}

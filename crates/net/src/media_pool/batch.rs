//! Many datagrams in one system call: `recvmmsg` and `sendmmsg`.
//!
//! The only unsafe code of this crate. Every pointer handed to the kernel is made in the call that
//! uses it, from memory that outlives the call.

#![allow(unsafe_code, reason = "the standard library has no call for several datagrams")]

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use mio::net::UdpSocket;
use socket2::SockAddr;

/// Nothing larger comes over a path without jumbo frames; longer datagrams are cut and fail.
pub(super) const MAX_PACKET: usize = 2048;
/// Datagrams in one call.
pub(super) const BATCH: usize = 32;

/// A datagram with room behind it for SRTP's tag and index.
pub(super) type Buffer = [u8; MAX_PACKET + 256];

/// A datagram to be sent from a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) buffer: usize,
    pub(super) len: usize,
    pub(super) destination: SocketAddr,
}

/// What the kernel reads and writes besides the datagrams. Kept, so that nothing is allocated.
pub(super) struct Batch {
    headers: Box<[libc::mmsghdr; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    sources: Box<[libc::sockaddr_storage; BATCH]>,
    destinations: Vec<SockAddr>,
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: these are plain C structures of numbers and pointers, for which zero is valid.
        let (header, source) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            headers: Box::new([header; BATCH]),
            vectors: Box::new([vector; BATCH]),
            sources: Box::new([source; BATCH]),
            destinations: Vec::with_capacity(BATCH),
        }
    }

    /// Fills buffers from the front, one datagram each; gives how many, without waiting.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        buffers: &mut [Buffer],
    ) -> io::Result<usize> {
        let Self { headers, vectors, sources, .. } = self;
        let mut count = 0;
        let parts = buffers.iter_mut().zip(vectors.iter_mut()).zip(sources.iter_mut());
        for (header, ((buffer, vector), source)) in headers.iter_mut().zip(parts) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = MAX_PACKET;
            header.msg_hdr.msg_name = ptr::from_mut(source).cast();
            header.msg_hdr.msg_namelen = socklen(size_of::<libc::sockaddr_storage>());
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_len = 0;
            count += 1;
        }
        // SAFETY: the first `count` headers point to vectors and addresses of this structure and,
        // through the vectors, to at least `MAX_PACKET` bytes of as many distinct buffers. All of
        // them are borrowed for longer than the call, and nothing else refers to them.
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

    /// Length and source of the datagram in the buffer at `index` of the last receiving.
    pub(super) fn received(&self, index: usize) -> Option<(usize, SocketAddr)> {
        let length = usize::try_from(self.headers.get(index)?.msg_len).ok()?;
        Some((length.min(MAX_PACKET), address_of(self.sources.get(index)?)?))
    }

    /// Sends datagrams in order, without waiting. A full socket buffer loses the rest, as the
    /// network would; one that cannot be sent does not hold up the others.
    pub(super) fn send(&mut self, socket: &UdpSocket, mut rest: &[Outgoing], buffers: &[Buffer]) {
        while !rest.is_empty() {
            let sent = match self.send_once(socket, rest, buffers) {
                Ok(sent) => sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => 1,
            };
            rest = rest.get(sent..).unwrap_or_default();
        }
    }

    fn send_once(
        &mut self,
        socket: &UdpSocket,
        datagrams: &[Outgoing],
        buffers: &[Buffer],
    ) -> io::Result<usize> {
        let Self { headers, vectors, destinations, .. } = self;
        destinations.clear();
        destinations.extend(datagrams.iter().take(BATCH).map(|d| SockAddr::from(d.destination)));
        let mut count = 0;
        let parts = datagrams.iter().zip(destinations.iter()).zip(vectors.iter_mut());
        for (header, ((datagram, destination), vector)) in headers.iter_mut().zip(parts) {
            let bytes = buffers.get(datagram.buffer).and_then(|b| b.get(..datagram.len));
            let bytes = bytes.unwrap_or_default();
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            header.msg_hdr.msg_name = destination.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = destination.len();
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` headers point to vectors and addresses of this structure and,
        // through the vectors, to slices of `buffers` with their true lengths. All are borrowed
        // for longer than the call, which only reads what the vectors and addresses point to.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote this structure; the storage is large
            // enough and aligned for it, and any bytes are valid in its fields.
            let name = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(name.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn socklen(size: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size).expect("a socket address has some hundred bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(address.parse().unwrap()).unwrap();
        let local = socket.local_addr().unwrap();
        (socket, local)
    }

    /// Loopback delivers at once.
    fn carry(address: &str) {
        let ((a, from), (b, to)) = (socket(address), socket(address));
        let mut buffers = vec![[0; MAX_PACKET + 256]; BATCH];
        let mut batch = Batch::new();
        let outgoing: Vec<Outgoing> = (0..40)
            .map(|n| {
                buffers[n % BATCH][0] = u8::try_from(n % BATCH).unwrap();
                Outgoing { buffer: n % BATCH, len: 1 + n, destination: to }
            })
            .collect();
        batch.send(&a, &outgoing, &buffers);
        let mut lengths = Vec::new();
        for expected in [32, 8] {
            assert_eq!(batch.receive(&b, &mut buffers).unwrap(), expected);
            for (index, buffer) in buffers.iter().enumerate().take(expected) {
                let (length, source) = batch.received(index).unwrap();
                assert_eq!((source, usize::from(buffer[0])), (from, (length - 1) % BATCH));
                lengths.push(length);
            }
        }
        assert_eq!(lengths, (1..=40).collect::<Vec<_>>());
        let error = batch.receive(&b, &mut buffers).unwrap_err();
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
        let mut buffers = vec![[7; MAX_PACKET + 256]; 2];
        let mut batch = Batch::new();
        let unreachable = "[2001:db8::1]:9".parse().unwrap();
        let outgoing =
            [unreachable, to].map(|destination| Outgoing { buffer: 0, len: 5, destination });
        batch.send(&a, &outgoing, &buffers);
        assert_eq!(batch.receive(&b, &mut buffers).unwrap(), 1);
        assert_eq!(batch.received(0).unwrap().0, 5);
    }
}

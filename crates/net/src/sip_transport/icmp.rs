//! ICMP errors of datagrams that we sent (RFC 3261 §18.4): a peer whose port is closed is known
//! within a round trip, not after as long as an answer may take.
//!
//! The kernel keeps them in a queue of the socket, with what the ICMP message quotes of the
//! datagram. Whether that is one of ours the endpoint finds out: anybody can forge the rest.

#![allow(unsafe_code, reason = "the standard library has no such option")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use bytes::Bytes;
use socket2::{MaybeUninitSlice, MsgHdrMut, SockAddr, SockRef};
use tokio::io::Interest;

use super::udp::Reading;
use super::{Arrival, SipTransport};

/// Asks for errors. Where the system has none to give, timers do as ever.
pub(super) fn ask_for(socket: BorrowedFd<'_>, is_ipv4: bool) -> io::Result<()> {
    let (level, option) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: the descriptor is open, and the kernel reads the `length` bytes of `on` during the
    // call only.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads errors for as long as the process lives.
pub(super) async fn serve(transport: SipTransport, socket: Arc<Reading>) {
    loop {
        let next = socket.async_io(Interest::ERROR, |socket| next(SockRef::from(socket)));
        match next.await {
            Ok(Some((remote, quoted))) => {
                // Whoever is too busy to hear it has its timers.
                let _ = transport.0.arrivals.try_send(Arrival::Unreachable { remote, quoted });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "an ICMP error could not be read");
                tokio::time::sleep(super::udp::ERROR_PAUSE).await;
            }
        }
    }
}

/// The next error: where the datagram went, and what is quoted of it; none for one that means
/// nothing.
fn next(socket: SockRef<'_>) -> io::Result<Option<(SocketAddr, Bytes)>> {
    let mut data = [MaybeUninit::<u8>::uninit(); MAX_QUOTE];
    let mut control = [MaybeUninit::<u8>::uninit(); MAX_CONTROL];
    // SAFETY: the address is written by the kernel in the call below, or stays empty.
    let ((), mut address) = unsafe { SockAddr::try_init(|_, _| Ok(())) }?;
    let mut buffers = [MaybeUninitSlice::new(&mut data)];
    let mut message = MsgHdrMut::new()
        .with_addr(&mut address)
        .with_buffers(&mut buffers)
        .with_control(&mut control);
    let length = socket.recvmsg(&mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)?;
    let control_length = message.control_len();
    // SAFETY: the kernel has written so many bytes.
    let (quoted, control) = unsafe {
        (written(&data, length.min(MAX_QUOTE)), written(&control, control_length.min(MAX_CONTROL)))
    };
    let remote = address.as_socket();
    Ok(remote.filter(|_| is_final(control)).map(|at| (at, Bytes::copy_from_slice(quoted))))
}

/// # Safety
/// The first `length` bytes must have been written.
unsafe fn written(bytes: &[MaybeUninit<u8>], length: usize) -> &[u8] {
    let bytes = bytes.get(..length).unwrap_or_default();
    // SAFETY: initialised, as the caller knows; of the same size and for as long.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

/// Whether control data tell of a destination that cannot be reached. What is too long, or was on
/// its way for too long, says nothing about the peer (RFC 3261 §18.4).
fn is_final(control: &[u8]) -> bool {
    // `struct cmsghdr`: its length, level and kind; then `struct sock_extended_err`.
    const HEAD: usize = size_of::<usize>() + 8;
    let byte = |at: usize| control.get(HEAD + at).copied();
    let number = |at: usize| {
        let bytes = control.get(at..at + 4)?;
        Some(libc::c_int::from_ne_bytes(bytes.try_into().ok()?))
    };
    let (level, kind) = (number(size_of::<usize>()), number(size_of::<usize>() + 4));
    let is_told = matches!(
        (level, kind),
        (Some(libc::IPPROTO_IP), Some(libc::IP_RECVERR))
            | (Some(libc::IPPROTO_IPV6), Some(libc::IPV6_RECVERR))
    );
    // Behind the number of the error: origin, type and code.
    match (is_told, byte(4), byte(5), byte(6)) {
        (true, Some(libc::SO_EE_ORIGIN_ICMP), Some(UNREACHABLE), Some(code)) => code != TOO_LONG,
        (true, Some(libc::SO_EE_ORIGIN_ICMP6), Some(UNREACHABLE_V6), _) => true,
        _ => false,
    }
}

/// RFC 792.
const UNREACHABLE: u8 = 3;
const TOO_LONG: u8 = 4;
/// RFC 4443 §3.1.
const UNREACHABLE_V6: u8 = 1;
/// As much as an ICMP message quotes (RFC 1812 §4.3.2.3).
const MAX_QUOTE: usize = 1280;
const MAX_CONTROL: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: libc::c_int, kind: libc::c_int, origin: u8, what: u8, code: u8) -> Vec<u8> {
        let mut bytes = 48_usize.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(111_u32.to_ne_bytes());
        bytes.extend([origin, what, code, 0]);
        bytes.extend([0; 24]);
        bytes
    }

    #[test]
    fn only_what_says_that_nobody_is_there_counts() {
        let v4 = |origin, what, code| {
            is_final(&control(libc::IPPROTO_IP, libc::IP_RECVERR, origin, what, code))
        };
        assert!(v4(libc::SO_EE_ORIGIN_ICMP, 3, 3), "port unreachable");
        assert!(v4(libc::SO_EE_ORIGIN_ICMP, 3, 1), "host unreachable");
        assert!(!v4(libc::SO_EE_ORIGIN_ICMP, 3, 4), "fragmentation needed");
        assert!(!v4(libc::SO_EE_ORIGIN_ICMP, 11, 0), "time exceeded");
        assert!(!v4(libc::SO_EE_ORIGIN_LOCAL, 3, 3), "an error of this host");
        let v6 = |origin, what| {
            is_final(&control(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, origin, what, 4))
        };
        assert!(v6(libc::SO_EE_ORIGIN_ICMP6, 1));
        assert!(!v6(libc::SO_EE_ORIGIN_ICMP6, 2), "packet too big");
        assert!(!is_final(&control(1, 1, libc::SO_EE_ORIGIN_ICMP, 3, 3)));
        assert!(!is_final(&[]) && !is_final(&[0; 20]));
    }
}

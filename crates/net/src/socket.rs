//! Sockets with the options that a gateway needs, which the standard ones lack.
//!
//! An IPv6 socket carries IPv6 only, so that both families can listen on one port and no peer is
//! ever called by an IPv4-mapped address.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// A UDP socket that holds a burst while its reader is busy.
pub(crate) fn udp(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system may grant less; fewer packets then survive a burst.
    let _ = socket.set_recv_buffer_size(buffer);
    let _ = socket.set_send_buffer_size(buffer);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A UDP socket that never waits, with as few calls of the kernel as it takes: calls open and close
/// several.
pub(crate) fn udp_port(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

pub(crate) fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of the process before this one must not keep us from listening.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// For a connection that carries messages: each leaves at once, and a dead host is noticed.
pub(crate) fn prepare(stream: &tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE_AFTER)
        .with_interval(KEEP_ALIVE_PERIOD)
        .with_retries(KEEP_ALIVE_TRIES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&alive);
}

/// For a connection that carries sound: what waits in the kernel comes too late.
pub(crate) fn keep_queue_short(stream: &tokio::net::TcpStream) {
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

/// A tenth of a second of video, half a second of sound.
const UNSENT: u32 = 16 * 1024;
const BACKLOG: i32 = 1024;
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TRIES: u32 = 3;

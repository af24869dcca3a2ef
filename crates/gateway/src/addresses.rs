//! Which of this host's addresses peers can use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses this host talks to the world from, IPv4 first; loopback when it is alone.
pub(crate) fn of_this_host() -> Vec<IpAddr> {
    let found: Vec<IpAddr> = [TOWARDS_V4, TOWARDS_V6].into_iter().filter_map(source_for).collect();
    if found.is_empty() { vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { found }
}

/// What to tell peers about a socket bound to `bound`.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let same_family = |ip: &IpAddr| ip.is_ipv4() == bound.is_ipv4();
    let ip = of_this_host().into_iter().find(same_family).unwrap_or(match bound.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    });
    SocketAddr::new(ip, bound.port())
}

/// The source address the system would choose. Connecting a UDP socket sends nothing.
fn source_for(destination: SocketAddr) -> Option<IpAddr> {
    let any = match destination.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(destination).ok()?;
    socket.local_addr().ok().map(|local| local.ip()).filter(|ip| !ip.is_loopback())
}

/// Addresses for documentation (RFC 5737, RFC 3849): nobody has them, so they are reached by the
/// default route.
const TOWARDS_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const TOWARDS_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

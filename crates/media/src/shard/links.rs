//! Ways to a browser besides the one UDP port: connections of ICE-TCP (RFC 6544), and relays of
//! our own TURN server, which hands packets over in memory.
//!
//! Each is a socket of its own to the shard, so that a path is known by socket and address. The
//! host carries datagrams to and from it in both cases; framing is not seen here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use is::Protocol;

use super::{Shard, SocketId};

/// Who is heard, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Remote {
    pub(super) socket: SocketId,
    pub(super) address: SocketAddr,
}

impl Remote {
    pub(super) fn protocol(self) -> Protocol {
        if self.socket.is_connection() { Protocol::Tcp } else { Protocol::Udp }
    }
}

impl SocketId {
    /// A connection of ICE-TCP. The host never gives a number twice.
    #[must_use]
    pub fn connection(number: u64) -> Self {
        Self(LINK | CONNECTION | number)
    }

    /// A relay of our TURN server.
    #[must_use]
    pub fn relay(number: u64) -> Self {
        Self(LINK | number)
    }

    /// Whether the host reaches it otherwise than over a UDP socket.
    #[must_use]
    pub fn is_link(self) -> bool {
        self.0 & LINK != 0
    }

    /// What a link was numbered.
    #[must_use]
    pub fn link_number(self) -> u64 {
        self.0 & !(LINK | CONNECTION)
    }

    fn is_connection(self) -> bool {
        self.0 & CONNECTION != 0
    }

    /// Whether browsers are heard here: over the one port or over a link.
    pub(super) fn is_browsers(self) -> bool {
        self == Self::BROWSER || self.is_link()
    }
}

impl Shard {
    /// A link is gone: nothing more comes from it, and nothing is sent there.
    pub fn handle_closed(&mut self, now: Instant, socket: SocketId) {
        let [first, last] = [FIRST, LAST].map(|address| Remote { socket, address });
        for remote in self.by_browser.on_link(first..=last) {
            let Some(leg) = self.by_browser.remove(&remote) else { continue };
            if let Some(browser) = self.legs.get_mut(&leg).and_then(|l| l.browser.as_mut()) {
                browser.paths.forget(now, remote);
            }
        }
    }
}

/// Sockets for phones are counted from the other end.
const LINK: u64 = 1 << 63;
const CONNECTION: u64 = 1 << 62;
/// The ends of the order of addresses.
const FIRST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const LAST: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(!0, !0, !0, !0, !0, !0, !0, !0)), u16::MAX);

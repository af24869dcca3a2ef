//! Which of our addresses a peer sees, when a socket is bound to all of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// Asks the routing table, and remembers.
#[derive(Debug, Default)]
pub(crate) struct LocalAddresses(Mutex<BTreeMap<IpAddr, IpAddr>>);

impl LocalAddresses {
    /// `bound` as `remote` sees it.
    pub(crate) fn towards(&self, bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
        if !bound.ip().is_unspecified() {
            return bound;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ip) = known.get(&remote.ip()) {
            return SocketAddr::new(*ip, bound.port());
        }
        let ip = source_for(bound, remote).unwrap_or_else(|| bound.ip());
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(remote.ip(), ip);
        SocketAddr::new(ip, bound.port())
    }
}

/// The source address the system would choose. Connecting a UDP socket sends nothing.
fn source_for(bound: SocketAddr, remote: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((bound.ip(), 0)).ok()?;
    socket.connect((remote.ip(), 9)).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

/// Peers remembered; a flood of new ones only costs asking again.
const MAX_KNOWN: usize = 4096;

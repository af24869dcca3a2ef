//! SIP in datagrams.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Flow, Transport};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TrySendError;

use super::counters::Happening;
use super::{Arrival, SipTransport, stun};
use crate::socket;

#[derive(Debug)]
pub(super) struct UdpListener {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) local: SocketAddr,
}

impl UdpListener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket::udp(address, BUFFER)?)?;
        let local = socket.local_addr()?;
        Ok(Self { socket: Arc::new(socket), local })
    }
}

/// The socket that a flow's local address belongs to.
pub(super) fn listener_for(listeners: &[UdpListener], local: SocketAddr) -> Option<&UdpListener> {
    let is_same_family = |l: &&UdpListener| l.local.is_ipv4() == local.is_ipv4();
    let family = || listeners.iter().filter(is_same_family);
    family()
        .find(|l| l.local == local)
        .or_else(|| family().find(|l| l.local.port() == local.port()))
        .or_else(|| family().next())
}

pub(super) async fn serve(transport: SipTransport, socket: Arc<UdpSocket>, bound: SocketAddr) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let (length, remote) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a datagram could not be read");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        if is_keep_alive(datagram) {
            continue;
        }
        if stun::is_stun(datagram) {
            if let Some(answer) = stun::answer(datagram, remote)
                && socket.try_send_to(&answer, remote).is_ok()
            {
                transport.count(Happening::KeepAlive);
            }
            continue;
        }
        let local = transport.told(bound, remote);
        let flow = Flow { transport: Transport::Udp, connection: None, local, remote };
        let Some(message) = transport.parse(flow, Bytes::copy_from_slice(datagram)) else {
            continue;
        };
        // The network would lose datagrams as well; the peer sends again.
        match transport.0.arrivals.try_send(Arrival::Message { flow, message }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => transport.count(Happening::Overflow),
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

/// Phones keep NAT bindings open with empty lines and zero bytes.
fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.len() <= 4 && datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0 | b' '))
}

const MAX_DATAGRAM: usize = 65_535;
/// A burst of thousands of messages waits here while the reader is busy.
const BUFFER: usize = 4 * 1024 * 1024;
const ERROR_PAUSE: Duration = Duration::from_millis(10);

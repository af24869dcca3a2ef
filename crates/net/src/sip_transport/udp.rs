//! SIP in datagrams.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Flow, Transmit, Transport};
use crosspoint_media::shard::BATCH;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::error::TrySendError;

use super::counters::Happening;
use super::{Arrival, SipTransport, stun};
use crate::packet_io::mmsg::{Mmsg, Outgoing};
use crate::socket;

#[derive(Debug)]
pub(super) struct UdpListener {
    pub(super) socket: Arc<Reading>,
    pub(super) local: SocketAddr,
}

/// A socket that is waited for only to read: with tokio's own, each datagram that has left wakes
/// us up to say that there is room for another.
pub(super) type Reading = AsyncFd<UdpSocket>;

impl UdpListener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket::udp(address, BUFFER)?;
        let local = socket.local_addr()?;
        let socket = waited_for(socket, Interest::READABLE)?;
        Ok(Self { socket: Arc::new(socket), local })
    }
}

#[allow(unsafe_code, reason = "the library asks for a promise about the descriptor")]
fn waited_for(socket: UdpSocket, interest: Interest) -> io::Result<Reading> {
    // SAFETY: a socket owns its descriptor, and has the same one for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
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

/// Takes datagrams in batches: one call of the kernel and one turn of the node for all that wait.
pub(super) async fn serve(transport: SipTransport, socket: Arc<Reading>, bound: SocketAddr) {
    let mut mmsg = Mmsg::new();
    // Only what is used of it takes memory.
    let mut buffer = vec![0; BATCH * MAX_DATAGRAM];
    loop {
        let mut waiting = match socket.readable().await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::debug!(%error, "a socket cannot be waited for");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let mut count = 0;
        let received = waiting.try_io(|socket| {
            let rooms = buffer.chunks_mut(MAX_DATAGRAM);
            count = mmsg.receive_into(socket.get_ref().as_fd(), rooms)?;
            // Nothing is left, which saves asking again.
            if count < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        // What is about a datagram that was sent is read from the queue of errors.
        if let Ok(Err(error)) = received
            && !is_of_another(&error)
        {
            tracing::debug!(%error, "a datagram could not be read");
            tokio::time::sleep(ERROR_PAUSE).await;
        }
        for (index, room) in buffer.chunks(MAX_DATAGRAM).enumerate().take(count) {
            let Some((length, remote)) = mmsg.received(index) else { continue };
            let datagram = room.get(..length).unwrap_or_default();
            if !take(&transport, &socket, (bound, remote), datagram) {
                return;
            }
        }
    }
}

/// Hands a datagram on; false when nobody listens any more.
fn take(
    transport: &SipTransport,
    socket: &Reading,
    (bound, remote): (SocketAddr, SocketAddr),
    datagram: &[u8],
) -> bool {
    if is_keep_alive(datagram) || !transport.0.admission.bans().hears(remote) {
        return true;
    }
    if stun::is_stun(datagram) {
        if let Some(answer) = stun::answer(datagram, remote)
            && socket.get_ref().send_to(&answer, remote).is_ok()
        {
            transport.count(Happening::KeepAlive);
        }
        return true;
    }
    if !is_response(datagram) && transport.is_too_fast(remote.ip()).is_some() {
        return true;
    }
    let local = transport.told(bound, remote);
    let flow = Flow { transport: Transport::Udp, connection: None, local, remote };
    let Some(message) = transport.parse(flow, Bytes::copy_from_slice(datagram)) else {
        return true;
    };
    // The network would lose datagrams as well; the peer sends again.
    match transport.0.arrivals.try_send(Arrival::Message { flow, message }) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => {
            transport.count(Happening::Overflow);
            true
        }
        Err(TrySendError::Closed(_)) => false,
    }
}

/// Sends datagrams in order with as few calls of the kernel as it takes; `one_by_one` gets those
/// that do not leave at once.
pub(super) fn send_batch(
    mmsg: &mut Mmsg,
    listener: &UdpListener,
    transmits: &[Transmit],
    mut one_by_one: impl FnMut(&Transmit),
) {
    for batch in transmits.chunks(BATCH) {
        let mut going = [Outgoing::default(); BATCH];
        for (place, transmit) in going.iter_mut().zip(batch) {
            let destination = transmit.flow.remote.into();
            *place = Outgoing { bytes: &transmit.bytes, destination };
        }
        let mut at = 0;
        while let Some(rest) = going.get(at..batch.len()).filter(|rest| !rest.is_empty()) {
            match mmsg.send_once(listener.socket.get_ref().as_fd(), rest) {
                Ok(sent) if sent > 0 => at += sent,
                Ok(_) | Err(_) => {
                    batch.get(at).into_iter().for_each(&mut one_by_one);
                    at += 1;
                }
            }
        }
    }
}

/// Sends without waiting. What the network said of an earlier datagram is told by the next call,
/// whatever that is for: then it is tried again.
pub(super) fn send(socket: &UdpSocket, bytes: &[u8], remote: SocketAddr) -> io::Result<()> {
    let mut sent = socket.send_to(bytes, remote);
    for _ in 0..SEND_TRIES {
        match &sent {
            Err(error) if is_of_another(error) => sent = socket.send_to(bytes, remote),
            _ => break,
        }
    }
    sent.map(drop)
}

/// Waits until there is room, then sends.
pub(super) async fn send_late(
    socket: &Reading,
    bytes: &[u8],
    remote: SocketAddr,
) -> io::Result<()> {
    let socket = waited_for(socket.get_ref().try_clone()?, Interest::WRITABLE)?;
    socket.async_io(Interest::WRITABLE, |socket| send(socket, bytes, remote)).await
}

/// What ICMP messages about earlier datagrams look like.
fn is_of_another(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, InvalidInput, NetworkUnreachable, PermissionDenied,
    };
    // Some have no name: a protocol that nobody takes, a message that is too long for the path.
    let codes = [libc::ENOPROTOOPT, libc::EPROTO, libc::EMSGSIZE, libc::EOPNOTSUPP];
    let kinds = [ConnectionRefused, HostUnreachable, NetworkUnreachable, PermissionDenied];
    error.kind() != InvalidInput
        && (kinds.contains(&error.kind())
            || error.raw_os_error().is_some_and(|code| codes.contains(&code)))
}

/// Of these come no more than we asked for.
fn is_response(datagram: &[u8]) -> bool {
    datagram.starts_with(b"SIP/2.0 ")
}

/// Phones keep NAT bindings open with empty lines and zero bytes.
fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.len() <= 4 && datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0 | b' '))
}

/// Errors of others come one at a time; one of its own comes each time.
const SEND_TRIES: usize = 3;
const MAX_DATAGRAM: usize = 65_535;
/// A burst of thousands of messages waits here while the reader is busy.
const BUFFER: usize = 4 * 1024 * 1024;
pub(super) const ERROR_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_to_wait_leaves_while_others_read() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let [ours, theirs] = [(); 2].map(|()| UdpListener::bind(any).unwrap());
        let reader = tokio::spawn({
            let socket = ours.socket.clone();
            async move { drop(socket.readable().await.unwrap()) }
        });
        send_late(&ours.socket, b"late", theirs.local).await.unwrap();
        drop(theirs.socket.readable().await.unwrap());
        let mut buffer = [0; 8];
        let (length, from) = theirs.socket.get_ref().recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"late"[..], ours.local));
        send(theirs.socket.get_ref(), b"x", ours.local).unwrap();
        reader.await.unwrap();
    }
}

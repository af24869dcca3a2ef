//! Where media servers tell of digits: a datagram for each, with a JSON object.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// What was told.
#[derive(Debug)]
pub(super) struct Told {
    /// The servers that it can have come from, by their place.
    pub(super) servers: Vec<usize>,
    pub(super) json: Vec<u8>,
}

/// Listens at `asked`, or at a port that is free, and gives for each server what address it is to
/// tell digits to. `sockets` are those by which servers are asked, in their order; `stranger` is
/// called for each datagram of somebody else.
///
/// Servers do not tell from the address where they listen, so their IP address has to do. What
/// they tell names a call by an id that nobody else knows.
pub(super) async fn listen(
    asked: Option<SocketAddr>,
    sockets: &[Arc<UdpSocket>],
    digits: mpsc::Sender<Told>,
    stranger: impl Fn() + Clone + Send + 'static,
) -> io::Result<Vec<(usize, SocketAddr)>> {
    let mut ways = Vec::with_capacity(sockets.len());
    for (place, socket) in sockets.iter().enumerate() {
        ways.push((place, socket.local_addr()?.ip(), socket.peer_addr()?.ip()));
    }
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let binds = match asked {
        Some(address) => vec![address],
        None => any.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect(),
    };
    let mut told = Vec::with_capacity(ways.len());
    for bind in binds {
        let here: Vec<_> = ways
            .iter()
            .copied()
            .filter(|(_, _, server)| server.is_ipv4() == bind.is_ipv4())
            .collect();
        if here.is_empty() {
            continue;
        }
        let socket = UdpSocket::bind(bind).await?;
        let bound = socket.local_addr()?;
        for (place, ours, _) in &here {
            let ip = if bound.ip().is_unspecified() { *ours } else { bound.ip() };
            told.push((*place, SocketAddr::new(ip, bound.port())));
        }
        let known = here.into_iter().map(|(place, _, server)| (place, server)).collect();
        tokio::spawn(read(socket, known, digits.clone(), stranger.clone()));
    }
    Ok(told)
}

async fn read(
    socket: UdpSocket,
    known: Vec<(usize, IpAddr)>,
    digits: mpsc::Sender<Told>,
    stranger: impl Fn(),
) {
    let mut buffer = [0; LONGEST];
    loop {
        // There is no other end whose refusal could be an error here.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let is_from = |(_, server): &&(usize, IpAddr)| *server == from.ip().to_canonical();
        let servers: Vec<usize> = known.iter().filter(is_from).map(|(place, _)| *place).collect();
        let json = buffer.get(..length).unwrap_or_default().to_vec();
        if servers.is_empty() {
            stranger();
        } else if digits.send(Told { servers, json }).await.is_err() {
            return;
        }
    }
}

/// Those of rtpengine have 300 bytes.
const LONGEST: usize = 4096;

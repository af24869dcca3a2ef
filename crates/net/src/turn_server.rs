//! The sockets of the TURN server: one for clients over UDP, connections over TCP and TLS, and a
//! UDP socket for each relayed port. Packets between a client and our own media plane, or another
//! relay of ours, are handed over in memory.
//!
//! All of them share one machine behind a lock, which is held for as long as a packet is looked
//! at. A client that does not read its connection loses packets, as over a full network.
//!
//! Not here: who may relay what, and where to; [`crosspoint_media::turn`] says it.

mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_base::{Conduct, Offence, Rng};
use crosspoint_media::shard::SocketId;
use crosspoint_media::turn;
use crosspoint_media::turn::{Client, Destination, Output, RelayId, ToPeer, TurnConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::media_pool::{Link, LinkEnd, ToLink};
use crate::{Admission, MediaLinks, socket};

/// What to open.
pub struct TurnServerConfig {
    /// UDP and TCP.
    pub listen: SocketAddr,
    pub tls_listen: Option<SocketAddr>,
    pub tls_server: Arc<ServerConfig>,
    /// What relayed ports are bound to, when it is of their family.
    pub relay_bind: IpAddr,
    pub relay_ports: (u16, u16),
    /// Shared with other connections.
    pub admission: Admission,
    /// To our own media plane, when it is in this process.
    pub media: Option<MediaLinks>,
    pub turn: TurnConfig,
}

/// A handle on the running server.
#[derive(Clone)]
pub struct TurnServer(Arc<Shared>);

/// How the server is doing.
#[derive(Debug, Clone, Copy, Default)]
pub struct TurnReport {
    pub allocations: u64,
    pub connections: u64,
    /// Packets that a socket or a client that does not read had no room for.
    pub unsent: u64,
    /// Packets handed to our media plane and by it, without a socket between.
    pub handed_over: u64,
    /// Defects of ours that were caught.
    pub defects: u64,
    pub counters: turn::Counters,
}

struct Shared {
    udp: UdpSocket,
    listeners: Vec<(&'static str, SocketAddr)>,
    relay_bind: IpAddr,
    relay_ports: (u16, u16),
    admission: Admission,
    media: Option<ToMedia>,
    state: Mutex<State>,
}

/// The way to the media plane and back.
struct ToMedia {
    links: MediaLinks,
    back: LinkEnd,
}

struct State {
    machine: turn::TurnServer,
    relays: BTreeMap<RelayId, Relay>,
    streams: BTreeMap<Client, mpsc::Sender<Vec<u8>>>,
    rng: Rng,
    unsent: u64,
    handed_over: u64,
    defects: u64,
    /// What another relay's client gets; kept, so that nothing is allocated.
    hairpin: Vec<u8>,
}

/// A relayed port; its reader ends with it.
struct Relay {
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
    /// To the media plane, by the address of ours that the client names.
    links: BTreeMap<usize, Link>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl TurnServer {
    /// Opens the listeners and serves them. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address that cannot be opened.
    pub fn bind(config: TurnServerConfig, mut rng: Rng) -> Result<Self, (SocketAddr, io::Error)> {
        let bad = |address| move |error| (address, error);
        let listen = config.listen;
        let udp = socket::udp(listen, BUFFER).and_then(UdpSocket::from_std).map_err(bad(listen))?;
        let open = |address| {
            let listener = socket::tcp_listener(address).and_then(TcpListener::from_std);
            listener.and_then(|l| Ok((l.local_addr()?, l))).map_err(bad(address))
        };
        let (tcp_address, tcp) = open(listen)?;
        let mut listeners = vec![("turn-udp", udp.local_addr().map_err(bad(listen))?)];
        listeners.push(("turn-tcp", tcp_address));
        let tls = config.tls_listen.map(open).transpose()?;
        listeners.extend(tls.iter().map(|(address, _)| ("turn-tls", *address)));
        let state = State {
            machine: turn::TurnServer::new(config.turn, rng.fork()),
            relays: BTreeMap::new(),
            streams: BTreeMap::new(),
            rng,
            unsent: 0,
            handed_over: 0,
            defects: 0,
            hairpin: Vec::with_capacity(turn::MAX_FRAME),
        };
        let (queue, from_media) = mpsc::channel(FROM_MEDIA);
        let media = config
            .media
            .map(|links| ToMedia { links, back: LinkEnd { queue, lost: Arc::default() } });
        let server = Self(Arc::new(Shared {
            udp,
            listeners,
            relay_bind: config.relay_bind,
            relay_ports: config.relay_ports,
            admission: config.admission,
            media,
            state: Mutex::new(state),
        }));
        tokio::spawn(serve_udp(server.clone()));
        tokio::spawn(keep_time(server.clone()));
        tokio::spawn(serve_media(server.clone(), from_media));
        tokio::spawn(stream::accept(server.clone(), TCP, tcp, None));
        if let Some((_, tls)) = tls {
            let acceptor = TlsAcceptor::from(config.tls_server);
            tokio::spawn(stream::accept(server.clone(), TLS, tls, Some(acceptor)));
        }
        Ok(server)
    }

    /// What was opened, each with its kind.
    #[must_use]
    pub fn listeners(&self) -> &[(&'static str, SocketAddr)] {
        &self.0.listeners
    }

    #[must_use]
    pub fn report(&self) -> TurnReport {
        let state = self.state();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        TurnReport {
            allocations: count(state.machine.allocations()),
            connections: count(state.streams.len()),
            unsent: state.unsent + self.lost(),
            handed_over: state.handed_over,
            defects: state.defects,
            counters: state.machine.counters(),
        }
    }

    /// Packets of our media plane that came faster than they could be framed.
    fn lost(&self) -> u64 {
        self.0.media.as_ref().map_or(0, |media| media.back.lost.load(Ordering::Relaxed))
    }

    /// Serves a client whose connection came over a port that others share.
    pub(crate) async fn adopt(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        remote: SocketAddr,
    ) {
        let client = Client { listener: SHARED, is_stream: true, remote };
        stream::serve(self.clone(), client, stream).await;
    }

    /// A datagram or a frame of a client.
    fn take(&self, client: Client, bytes: &[u8]) {
        self.run(|state| {
            if let Some(packet) = state.machine.handle_client(Instant::now(), client, bytes) {
                self.pass_on(state, &packet);
            }
        });
    }

    fn pass_on(&self, state: &mut State, packet: &ToPeer<'_>) {
        let is_sent = match packet.to {
            Destination::Relay(other) => {
                let (now, from, data) = (Instant::now(), packet.relayed, packet.data);
                let mut out = std::mem::take(&mut state.hairpin);
                // Its policy may be another; then it is dropped there, and counted.
                let client = state.machine.handle_relayed(now, other, from, data, &mut out);
                if let Some(client) = client {
                    self.reply(state, client, &out);
                }
                state.hairpin = out;
                return;
            }
            Destination::Media { own, port } => match self.link(state, packet.relay, own) {
                Some(link) => {
                    let is_delivered = link.deliver(packet.relayed, packet.data);
                    state.handed_over += u64::from(is_delivered);
                    is_delivered
                }
                None => send(state, packet.relay, packet.data, port),
            },
            Destination::Peer(peer) => send(state, packet.relay, packet.data, peer),
        };
        state.unsent += u64::from(!is_sent);
    }

    /// The link of a relay to one of the media plane's addresses, opened when it is first used.
    fn link<'s>(&self, state: &'s mut State, relay: RelayId, own: usize) -> Option<&'s Link> {
        let media = self.0.media.as_ref()?;
        let number = number_of(relay, own)?;
        let links = &mut state.relays.get_mut(&relay)?.links;
        let open = || media.links.relay(number, media.back.clone());
        Some(links.entry(own).or_insert_with(open))
    }

    /// Works on the state, then does what the machine asks for.
    fn run<T>(&self, work: impl FnOnce(&mut State) -> T) -> Option<T> {
        let mut state = self.state();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let value = work(&mut state);
            self.drain(&mut state);
            value
        }));
        if outcome.is_err() {
            state.defects += 1;
        }
        outcome.ok()
    }

    fn drain(&self, state: &mut State) {
        loop {
            match state.machine.poll_output() {
                Output::Reply { client, bytes } => self.reply(state, client, &bytes),
                Output::WrongPassword { client } => {
                    let conduct = Conduct::Offended(Offence::Password);
                    let bans = self.0.admission.bans();
                    if bans.note(client.remote, !client.is_stream, conduct) {
                        // Its reader and writer end.
                        state.streams.remove(&client);
                    }
                }
                Output::Open { relay, address } => {
                    let port = self.open_relay(state, relay, address);
                    state.machine.handle_opened(Instant::now(), relay, port);
                }
                Output::Close { relay } => drop(state.relays.remove(&relay)),
                Output::Timeout(_) => return,
            }
        }
    }

    fn reply(&self, state: &mut State, client: Client, bytes: &[u8]) {
        let is_sent = if client.is_stream {
            let queue = state.streams.get(&client);
            queue.is_some_and(|queue| queue.try_send(bytes.to_vec()).is_ok())
        } else {
            self.0.udp.try_send_to(bytes, client.remote).is_ok()
        };
        state.unsent += u64::from(!is_sent);
    }

    /// Opens a relayed port and reads it; gives its number.
    fn open_relay(&self, state: &mut State, relay: RelayId, address: IpAddr) -> Option<u16> {
        let bind = match (self.0.relay_bind, address) {
            (bind, address) if bind.is_ipv4() == address.is_ipv4() => bind,
            (_, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (_, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (low, high) = self.0.relay_ports;
        let count = u32::from(high.saturating_sub(low)) + 1;
        // Which port comes next is not for others to know (RFC 8656 §7.2).
        let socket = (0..PORT_TRIES).find_map(|_| {
            let port = low + u16::try_from(state.rng.below(count)).unwrap_or(0);
            socket::udp(SocketAddr::new(bind, port), BUFFER).ok()
        })?;
        let socket = Arc::new(UdpSocket::from_std(socket).ok()?);
        let port = socket.local_addr().ok()?.port();
        let reader = tokio::spawn(serve_relay(self.clone(), relay, socket.clone())).abort_handle();
        state.relays.insert(relay, Relay { socket, reader, links: BTreeMap::new() });
        Some(port)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve_udp(server: TurnServer) {
    let mut buffer = vec![0; turn::MAX_FRAME];
    loop {
        // An error is an ICMP message about some earlier packet.
        if let Ok((length, remote)) = server.0.udp.recv_from(&mut buffer).await {
            let client = Client { listener: UDP, is_stream: false, remote };
            // Whoever has a relay already keeps it.
            if server.0.admission.bans().hears(remote) || server.is_known(client) {
                server.take(client, &buffer[..length]);
            }
        }
    }
}

async fn serve_relay(server: TurnServer, relay: RelayId, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; turn::MAX_FRAME];
    let mut out = Vec::with_capacity(turn::MAX_FRAME);
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        server.run(|state| {
            let (now, data) = (Instant::now(), &buffer[..length]);
            if let Some(client) = state.machine.handle_peer(now, relay, from, data, &mut out) {
                server.reply(state, client, &out);
            }
        });
    }
}

/// Takes what the media plane sends to relays' clients.
async fn serve_media(server: TurnServer, mut from_media: mpsc::Receiver<ToLink>) {
    let mut out = Vec::with_capacity(turn::MAX_FRAME);
    while let Some(packet) = from_media.recv().await {
        server.run(|state| {
            let (now, (relay, own)) = (Instant::now(), relay_of(packet.socket));
            let machine = &mut state.machine;
            if let Some(client) = machine.handle_media(now, relay, own, &packet.bytes, &mut out) {
                state.handed_over += 1;
                server.reply(state, client, &out);
            }
        });
    }
}

fn send(state: &State, relay: RelayId, data: &[u8], peer: SocketAddr) -> bool {
    let relay = state.relays.get(&relay);
    relay.is_some_and(|relay| relay.socket.try_send_to(data, peer).is_ok())
}

/// Names a relay and an address of ours in one; none for an address too many.
fn number_of(relay: RelayId, own: usize) -> Option<u64> {
    let own = u64::try_from(own).ok().filter(|own| *own < OWN_ADDRESSES)?;
    Some(relay.0 * OWN_ADDRESSES + own)
}

fn relay_of(socket: SocketId) -> (RelayId, usize) {
    let number = socket.link_number();
    let own = usize::try_from(number % OWN_ADDRESSES).unwrap_or(0);
    (RelayId(number / OWN_ADDRESSES), own)
}

async fn keep_time(server: TurnServer) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        server.run(|state| state.machine.handle_timeout(Instant::now()));
    }
}

impl std::fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnServer").field("listeners", &self.0.listeners).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TurnServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnServerConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

const UDP: u16 = 0;
const TCP: u16 = 1;
const TLS: u16 = 2;
/// The port that HTTPS and others share.
const SHARED: u16 = 3;
/// Packets of the media plane that wait for their clients' frames: a burst of all calls.
const FROM_MEDIA: usize = 4096;
/// A host has a handful, each with a port of every media thread.
const OWN_ADDRESSES: u64 = 1024;
const BUFFER: usize = 512 * 1024;
/// In a range that is half full one try in two finds a port.
const PORT_TRIES: usize = 64;

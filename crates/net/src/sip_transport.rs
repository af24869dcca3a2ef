//! SIP over UDP, TCP, TLS, WS and WSS (RFC 3261 §18, RFC 7118), for any number of listeners.
//!
//! Whole, parsed messages go to one bounded queue, each with the flow it came over. Sending never
//! waits: a flow whose peer does not read is closed and reported. Messages that break the grammar
//! are counted and answered with 400 where they say enough for that.
//!
//! Not here: which flow an answer takes (the endpoint), and names (DNS).

mod config;
mod counters;
mod icmp;
mod rate;
mod stream;
mod stun;
mod table;
mod udp;
mod websocket;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Conduct, ConnectionId, Flow, Offence, Transmit, Transport};
use crosspoint_sip::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

pub use config::{
    BindError, Certificate, CertificateReader, ConnectionLimits, OriginCheck, SipTransportConfig,
};
pub use counters::TransportCounters;
use counters::{Counters, Happening};
use rate::Rate;
use table::{Link, Outbound, Queued, Table};
use udp::UdpListener;

use crate::local_address::LocalAddresses;
use crate::numbering::next_connection;
use crate::packet_io::mmsg::Mmsg;
use crate::{Admission, Bans, Permit, socket};

/// What the transport tells.
#[derive(Debug)]
pub enum Arrival {
    Message {
        flow: Flow,
        message: Message,
    },
    /// A connection is gone, whoever closed it.
    Closed(ConnectionId),
    /// The peer of a TLS connection has proved who it is; before its first message.
    Certified {
        connection: ConnectionId,
        certificate: Certificate,
    },
    /// What was sent over this flow did not leave.
    Failed(Flow),
    /// An ICMP message says that a datagram did not arrive, and quotes how it began.
    Unreachable {
        remote: SocketAddr,
        quoted: Bytes,
    },
}

/// A handle on all of it; clones share it.
#[derive(Debug, Clone)]
pub struct SipTransport(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listeners: Vec<(Transport, SocketAddr)>,
    udp: Vec<UdpListener>,
    links: Mutex<Table>,
    arrivals: mpsc::Sender<Arrival>,
    counters: Counters,
    /// None when flows keep the wildcard.
    locals: Option<LocalAddresses>,
    tls_server: RwLock<Arc<ServerConfig>>,
    tls_client: Option<Arc<ClientConfig>>,
    /// Whom to expect at the addresses of TLS peers.
    tls_peers: Mutex<BTreeMap<SocketAddr, TlsPeer>>,
    certificates: RwLock<Option<CertificateReader>>,
    admission: Admission,
    origins: OriginCheck,
    limits: ConnectionLimits,
    /// What the kernel needs to take several datagrams at once.
    mmsg: Mutex<Mmsg>,
    rate: Mutex<Rate>,
    /// Places for datagrams that wait for the network.
    waiting_datagrams: Arc<Semaphore>,
}

/// Whom to expect at an address.
#[derive(Debug, Clone)]
struct TlsPeer {
    host: String,
    config: Option<Arc<ClientConfig>>,
}

impl SipTransport {
    /// Opens every listener and starts serving it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The first listener that cannot be opened.
    pub async fn bind(
        config: SipTransportConfig,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Result<Self, BindError> {
        let mut udp = Vec::new();
        let mut streams = Vec::new();
        let mut listeners = Vec::new();
        for (transport, address) in config.listeners {
            let bad = |source| BindError { transport, address, source };
            let bound = if transport == Transport::Udp {
                let listener = UdpListener::bind(address).map_err(bad)?;
                let local = listener.local;
                udp.push(listener);
                local
            } else {
                let listener = socket::tcp_listener(address).map_err(bad)?;
                let listener = TcpListener::from_std(listener).map_err(bad)?;
                let local = listener.local_addr().map_err(bad)?;
                streams.push((transport, listener));
                local
            };
            listeners.push((transport, bound));
        }
        let sockets: Vec<(Arc<udp::Reading>, SocketAddr)> =
            udp.iter().map(|l: &UdpListener| (l.socket.clone(), l.local)).collect();
        let transport = Self(Arc::new(Shared {
            listeners,
            udp,
            links: Mutex::default(),
            arrivals,
            counters: Counters::default(),
            locals: config.tell_local_address.then(LocalAddresses::default),
            tls_server: RwLock::new(config.tls_server),
            tls_client: config.tls_client,
            tls_peers: Mutex::default(),
            certificates: RwLock::new(config.certificates),
            admission: config.admission,
            origins: config.origins,
            limits: config.limits,
            mmsg: Mutex::new(Mmsg::new()),
            rate: Mutex::new(Rate::new(config.limits.messages_per_second)),
            waiting_datagrams: Arc::new(Semaphore::new(WAITING_DATAGRAMS)),
        }));
        for (socket, local) in sockets {
            match icmp::ask_for(std::os::fd::AsFd::as_fd(socket.get_ref()), local.is_ipv4()) {
                Ok(()) => drop(tokio::spawn(icmp::serve(transport.clone(), socket.clone()))),
                Err(error) => tracing::debug!(%error, "ICMP errors are not told"),
            }
            tokio::spawn(udp::serve(transport.clone(), socket, local));
        }
        for (kind, listener) in streams {
            tokio::spawn(stream::accept(transport.clone(), kind, listener));
        }
        Ok(transport)
    }

    /// Every listener with the address it really has.
    #[must_use]
    pub fn listeners(&self) -> &[(Transport, SocketAddr)] {
        &self.0.listeners
    }

    /// Who is not listened to.
    #[must_use]
    pub fn bans(&self) -> &Bans {
        self.0.admission.bans()
    }

    #[must_use]
    pub fn counters(&self) -> TransportCounters {
        let open = self.0.links().open_by_transport();
        self.0.counters.snapshot(open)
    }

    /// Handshakes from now on use this certificate; open connections stay.
    pub fn replace_certificate(&self, config: Arc<ServerConfig>) {
        *self.0.tls_server.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// From now on certificates of TLS peers are read so.
    pub fn read_certificates(&self, reader: Option<CertificateReader>) {
        *self.0.certificates.write().unwrap_or_else(PoisonError::into_inner) = reader;
    }

    /// Another limit of messages from one address in a second.
    pub fn set_messages_per_second(&self, most: u32) {
        self.0.rate.lock().unwrap_or_else(PoisonError::into_inner).set(most);
    }

    /// Says whose certificate a TLS peer at `remote` has to show, and with what we come there:
    /// the usual where nothing else is given.
    pub fn expect_peer(&self, remote: SocketAddr, host: &str, config: Option<Arc<ClientConfig>>) {
        let mut peers = self.0.tls_peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS && !peers.contains_key(&remote) {
            peers.pop_first();
        }
        peers.insert(remote, TlsPeer { host: host.to_owned(), config });
    }

    /// Sends a message, without ever waiting. What fails is told by [`Arrival::Failed`].
    pub fn send(&self, transmit: Transmit) {
        let Transmit { flow, bytes } = transmit;
        self.0.counters.sent(flow.transport);
        if flow.transport == Transport::Udp {
            self.send_datagram(flow, bytes);
        } else {
            self.send_on_connection(flow, bytes);
        }
    }

    /// Sends messages in order, as [`Self::send`] does, and empties the list. Datagrams that follow
    /// each other leave together.
    pub fn send_all(&self, transmits: &mut Vec<Transmit>) {
        let key = |transmit: &Transmit| {
            let flow = transmit.flow;
            (flow.transport == Transport::Udp).then_some(flow.local)
        };
        for run in transmits.chunk_by(|a, b| key(a).is_some() && key(a) == key(b)) {
            let listener = match run {
                [first, _, ..] => key(first).and_then(|l| udp::listener_for(&self.0.udp, l)),
                _ => None,
            };
            let Some(listener) = listener else {
                run.iter().for_each(|transmit| self.send(transmit.clone()));
                continue;
            };
            let mut mmsg = self.0.mmsg.lock().unwrap_or_else(PoisonError::into_inner);
            udp::send_batch(&mut mmsg, listener, run, |late| {
                self.send_datagram(late.flow, late.bytes.clone());
            });
            run.iter().for_each(|_| self.0.counters.sent(Transport::Udp));
        }
        transmits.clear();
    }

    /// Ends a connection; [`Arrival::Closed`] follows.
    pub fn close(&self, connection: ConnectionId) {
        self.0.links().remove(connection);
    }

    /// Serves a connection whose WebSocket handshake is done.
    pub fn adopt_websocket(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        local: SocketAddr,
        remote: SocketAddr,
        transport: Transport,
    ) {
        let (open, outbound) = self.register(transport, local, remote);
        tokio::spawn(async move { websocket::converse(&open, io, outbound).await });
    }

    /// Serves a TCP or TLS connection until it ends, in a task of its own: what the handshake
    /// needed takes no room any more.
    fn serve_stream(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        (transport, local, remote): (Transport, SocketAddr, SocketAddr),
        certificate: Option<Certificate>,
        permit: Permit,
    ) {
        let (open, outbound) = self.register(transport, local, remote);
        tokio::spawn(async move {
            let _permit = permit;
            open.certified(certificate).await;
            stream::converse(&open, io, outbound).await;
        });
    }

    /// The local address of a flow from `remote` over a socket bound to `bound`.
    fn told(&self, bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.0.locals.as_ref().map_or(bound, |locals| locals.towards(bound, remote))
    }

    fn send_datagram(&self, flow: Flow, bytes: Bytes) {
        let Some(listener) = udp::listener_for(&self.0.udp, flow.local) else {
            return self.report(Arrival::Failed(flow));
        };
        match udp::send(listener.socket.get_ref(), &bytes, flow.remote) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let Ok(place) = self.0.waiting_datagrams.clone().try_acquire_owned() else {
                    // The network is full; SIP sends again.
                    return self.count(Happening::Unsent);
                };
                let (socket, this) = (listener.socket.clone(), self.clone());
                tokio::spawn(async move {
                    let _place = place;
                    if udp::send_late(&socket, &bytes, flow.remote).await.is_err() {
                        this.report(Arrival::Failed(flow));
                    }
                });
            }
            Err(_) => self.report(Arrival::Failed(flow)),
        }
    }

    fn send_on_connection(&self, flow: Flow, bytes: Bytes) {
        let mut links = self.0.links();
        let id = flow.connection.or_else(|| links.to(flow.transport, flow.remote));
        let queued = id.map(|id| links.send(id, bytes.clone()));
        drop(links);
        match queued {
            Some(Queued::Yes) => {}
            Some(Queued::Gone) => self.report(Arrival::Failed(flow)),
            Some(Queued::Cut) => {
                self.count(Happening::CutUnread);
                self.report(Arrival::Failed(flow));
            }
            None => self.open(flow, bytes),
        }
    }

    /// Opens a connection for a flow that has none yet.
    fn open(&self, flow: Flow, first: Bytes) {
        let is_possible = matches!(flow.transport, Transport::Tcp | Transport::Tls);
        let Some(permit) = self.0.admission.admit(flow.remote.ip()).filter(|_| is_possible) else {
            return self.report(Arrival::Failed(flow));
        };
        let (open, outbound) = self.register(flow.transport, flow.local, flow.remote);
        if let Some(id) = open.flow.connection {
            self.0.links().send(id, first);
        }
        tokio::spawn(async move {
            let _permit = permit;
            if !stream::connect(&open, outbound).await {
                open.transport.count(Happening::ConnectFailed);
                open.transport.report(Arrival::Failed(flow));
            }
        });
    }

    fn register(
        &self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> (OpenConnection, Outbound) {
        let id = next_connection();
        let flow = Flow { transport, connection: Some(id), local, remote };
        let (link, outbound) = Link::new(transport, remote);
        self.0.links().insert(id, link);
        (OpenConnection { transport: self.clone(), flow }, outbound)
    }

    fn parse(&self, flow: Flow, bytes: Bytes) -> Option<Message> {
        self.0.counters.received(flow.transport);
        // A defect in the parser must cost one message, not the listener.
        let Ok(parsed) = catch_unwind(AssertUnwindSafe(|| Message::parse(bytes))) else {
            self.count(Happening::Panic);
            return None;
        };
        match parsed {
            Ok(message) => Some(message),
            Err(error) => {
                self.count(Happening::Malformed);
                tracing::debug!(%error, transport = %flow.transport, "a message is malformed");
                if self.offended(&flow) {
                    return None;
                }
                if let Some(answer) = error.answer {
                    self.send(Transmit { flow, bytes: answer.print() });
                }
                None
            }
        }
    }

    /// For how long nothing more of a source is taken, if it has sent too much.
    fn is_too_fast(&self, address: IpAddr) -> Option<Duration> {
        let mut rate = self.0.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = rate.take(Instant::now(), address).err()?;
        drop(rate);
        if self.bans().is_exempt(address) {
            return None;
        }
        self.count(Happening::Limited);
        Some(wait)
    }

    /// Counts rubbish against who sends it over a connection; true when that is closed for it.
    fn offended(&self, flow: &Flow) -> bool {
        let Some(connection) = flow.connection else { return false };
        let conduct = Conduct::Offended(Offence::Malformed);
        let is_banned = self.0.admission.bans().note(flow.remote, false, conduct);
        if is_banned {
            self.close(connection);
        }
        is_banned
    }

    /// Tells the node, also when its queue is full at the moment.
    fn report(&self, arrival: Arrival) {
        if let Err(mpsc::error::TrySendError::Full(arrival)) = self.0.arrivals.try_send(arrival)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let arrivals = self.0.arrivals.clone();
            runtime.spawn(async move { arrivals.send(arrival).await });
        }
    }

    fn count(&self, happening: Happening) {
        self.0.counters.count(happening);
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Table> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn certificate(&self, chain: Option<&[CertificateDer<'static>]>) -> Option<Certificate> {
        let chain = chain.filter(|chain| !chain.is_empty())?;
        let reader = self.certificates.read().unwrap_or_else(PoisonError::into_inner).clone();
        reader?.read(chain)
    }

    fn tls_acceptor(&self) -> TlsAcceptor {
        self.tls_server.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

/// A connection's entry in the table. However its task ends, also by a panic, the entry goes and
/// the node is told.
#[derive(Debug)]
struct OpenConnection {
    transport: SipTransport,
    flow: Flow,
}

impl OpenConnection {
    /// Hands on what the peer sent; waits while the node is busy, so that the peer has to.
    async fn deliver(&self, bytes: Bytes) {
        while let Some(wait) = self.transport.is_too_fast(self.flow.remote.ip()) {
            tokio::time::sleep(wait).await;
        }
        if let Some(message) = self.transport.parse(self.flow, bytes) {
            let arrival = Arrival::Message { flow: self.flow, message };
            let _ = self.transport.0.arrivals.send(arrival).await;
        }
    }

    /// Tells who the peer is, before anything that it says.
    async fn certified(&self, certificate: Option<Certificate>) {
        if let (Some(connection), Some(certificate)) = (self.flow.connection, certificate) {
            let arrival = Arrival::Certified { connection, certificate };
            let _ = self.transport.0.arrivals.send(arrival).await;
        }
    }

    fn count(&self, happening: Happening) {
        self.transport.count(happening);
    }

    fn count_connected(&self) {
        self.transport.0.counters.connected(self.flow.transport);
    }

    fn limits(&self) -> ConnectionLimits {
        self.transport.0.limits
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.count(Happening::Panic);
        }
        if let Some(id) = self.flow.connection {
            self.transport.0.links().remove(id);
            self.transport.report(Arrival::Closed(id));
        }
    }
}

/// Datagrams that wait while the network takes no more.
const WAITING_DATAGRAMS: usize = 1024;
/// TLS peers remembered.
const MAX_PEERS: usize = 4096;

//! SIP over UDP, TCP, TLS, WS and WSS (RFC 3261 §18, RFC 7118), for any number of listeners.
//!
//! Whole, parsed messages go to one bounded queue, each with the flow it came over. Sending never
//! waits: a flow whose peer does not read is closed and reported. Messages that break the grammar
//! are counted and answered with 400 where they say enough for that.
//!
//! Not here: which flow an answer takes (the endpoint), and names (DNS).

mod counters;
mod stream;
mod table;
mod udp;
mod websocket;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, Transmit, Transport};
use crosspoint_sip::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use counters::Counters;
pub use counters::TransportCounters;
use table::{Link, Table};
use udp::UdpListener;

use crate::local_address::LocalAddresses;
use crate::{Admission, Permit};

/// What the transport tells.
#[derive(Debug)]
pub enum Arrival {
    Message {
        flow: Flow,
        message: Message,
    },
    /// A connection is gone, whoever closed it.
    Closed(ConnectionId),
    /// What was sent over this flow did not leave.
    Failed(Flow),
}

/// What to listen on, and with what.
#[derive(Debug)]
pub struct SipTransportConfig {
    pub listeners: Vec<(Transport, SocketAddr)>,
    /// For TLS and WSS listeners.
    pub tls_server: Arc<ServerConfig>,
    /// For connections that we open to TLS peers; without it none are opened.
    pub tls_client: Option<Arc<ClientConfig>>,
    pub admission: Admission,
    /// Flows tell which of our addresses the peer sees. Without it they tell what the listener
    /// was given, a wildcard mostly: for a gateway behind NAT, whose own addresses lead nowhere.
    pub tell_local_address: bool,
}

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{transport} {address} cannot be opened: {source}")]
pub struct BindError {
    pub transport: Transport,
    pub address: SocketAddr,
    pub source: io::Error,
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
    locals: Option<LocalAddresses>,
    tls_client: Option<Arc<ClientConfig>>,
    /// Host names of TLS peers by address, for checking their certificates.
    tls_names: Mutex<BTreeMap<SocketAddr, String>>,
    next_connection: AtomicU64,
    admission: Admission,
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
                let listener = UdpListener::bind(address).await.map_err(bad)?;
                let local = listener.local;
                udp.push(listener);
                local
            } else {
                let listener = TcpListener::bind(address).await.map_err(bad)?;
                let local = listener.local_addr().map_err(bad)?;
                streams.push((transport, listener));
                local
            };
            listeners.push((transport, bound));
        }
        let sockets: Vec<(Arc<UdpSocket>, SocketAddr)> =
            udp.iter().map(|l: &UdpListener| (l.socket.clone(), l.local)).collect();
        let transport = Self(Arc::new(Shared {
            listeners,
            udp,
            links: Mutex::default(),
            arrivals,
            counters: Counters::default(),
            locals: config.tell_local_address.then(LocalAddresses::default),
            tls_client: config.tls_client,
            tls_names: Mutex::default(),
            next_connection: AtomicU64::new(1),
            admission: config.admission,
        }));
        for (socket, local) in sockets {
            tokio::spawn(udp::serve(transport.clone(), socket, local));
        }
        for (kind, listener) in streams {
            let tls = TlsAcceptor::from(config.tls_server.clone());
            tokio::spawn(stream::accept(transport.clone(), kind, listener, tls));
        }
        Ok(transport)
    }

    /// Every listener with the address it really has.
    #[must_use]
    pub fn listeners(&self) -> &[(Transport, SocketAddr)] {
        &self.0.listeners
    }

    #[must_use]
    pub fn counters(&self) -> TransportCounters {
        let open = self.0.links().open_by_transport();
        self.0.counters.snapshot(open)
    }

    /// Says whose certificate a TLS peer at `remote` has to show.
    pub fn expect_name(&self, remote: SocketAddr, host: &str) {
        let mut names = self.0.tls_names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(remote, host.to_owned());
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

    /// Serves a connection whose WebSocket handshake is done.
    pub fn adopt_websocket(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        local: SocketAddr,
        remote: SocketAddr,
        transport: Transport,
    ) {
        let (id, flow, outbound) = self.register(transport, local, remote);
        let this = self.clone();
        tokio::spawn(async move {
            websocket::converse(&this, io, flow, outbound).await;
            this.unregister(id).await;
        });
    }

    /// Serves a TCP or TLS connection until it ends.
    async fn serve_stream(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        (transport, local, remote): (Transport, SocketAddr, SocketAddr),
        _permit: Permit,
    ) {
        let (id, flow, outbound) = self.register(transport, local, remote);
        stream::converse(self, io, flow, outbound).await;
        self.unregister(id).await;
    }

    fn send_datagram(&self, flow: Flow, bytes: Bytes) {
        let Some(listener) = udp::listener_for(&self.0.udp, flow.local) else {
            return self.report(Arrival::Failed(flow));
        };
        match listener.socket.try_send_to(&bytes, flow.remote) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let (socket, this) = (listener.socket.clone(), self.clone());
                tokio::spawn(async move {
                    if socket.send_to(&bytes, flow.remote).await.is_err() {
                        this.report(Arrival::Failed(flow));
                    }
                });
            }
            Err(_) => self.report(Arrival::Failed(flow)),
        }
    }

    fn send_on_connection(&self, flow: Flow, bytes: Bytes) {
        let mut links = self.0.links();
        let id = match flow.connection {
            Some(id) => Some(id),
            None => links.to(flow.transport, flow.remote),
        };
        let sent = id.map(|id| links.send(id, bytes.clone()));
        drop(links);
        match sent {
            Some(true) => {}
            Some(false) => self.report(Arrival::Failed(flow)),
            None => self.open(flow, bytes),
        }
    }

    /// Opens a connection for a flow that has none yet.
    fn open(&self, flow: Flow, first: Bytes) {
        let is_possible = matches!(flow.transport, Transport::Tcp | Transport::Tls);
        let Some(permit) = self.0.admission.admit(flow.remote.ip()).filter(|_| is_possible) else {
            return self.report(Arrival::Failed(flow));
        };
        let (id, link_flow, outbound) = self.register(flow.transport, flow.local, flow.remote);
        self.0.links().send(id, first);
        let this = self.clone();
        tokio::spawn(async move {
            let connecting = stream::connect(&this, link_flow, outbound, permit);
            if !connecting.await {
                this.report(Arrival::Failed(flow));
            }
            this.unregister(id).await;
        });
    }

    fn register(
        &self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> (ConnectionId, Flow, mpsc::Receiver<Bytes>) {
        let id = ConnectionId(self.0.next_connection.fetch_add(1, Ordering::Relaxed));
        let flow =
            Flow { transport, connection: Some(id), local: self.told(local, remote), remote };
        let (queue, outbound) = mpsc::channel(WAITING_MESSAGES);
        self.0.links().insert(id, Link { transport, remote, queue });
        (id, flow, outbound)
    }

    /// Our address in a flow.
    fn told(&self, local: SocketAddr, remote: SocketAddr) -> SocketAddr {
        match (&self.0.locals, local) {
            (Some(locals), _) => locals.towards(local, remote),
            (None, SocketAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, local.port()).into(),
            (None, SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, local.port()).into(),
        }
    }

    async fn unregister(&self, id: ConnectionId) {
        self.0.links().remove(id);
        let _ = self.0.arrivals.send(Arrival::Closed(id)).await;
    }

    /// Hands on what a connection brought; waits while the node is busy, so that the peer has to.
    async fn deliver(&self, flow: Flow, bytes: Bytes) {
        if let Some(message) = self.parse(flow, bytes) {
            let _ = self.0.arrivals.send(Arrival::Message { flow, message }).await;
        }
    }

    fn parse(&self, flow: Flow, bytes: Bytes) -> Option<Message> {
        self.0.counters.received(flow.transport);
        match Message::parse(bytes) {
            Ok(message) => Some(message),
            Err(error) => {
                self.0.counters.malformed();
                tracing::debug!(%error, transport = %flow.transport, "a message is malformed");
                if let Some(answer) = error.answer {
                    self.send(Transmit { flow, bytes: answer.print() });
                }
                None
            }
        }
    }

    /// Tells the node, also when its queue is full at the moment.
    fn report(&self, arrival: Arrival) {
        if let Err(mpsc::error::TrySendError::Full(arrival)) = self.0.arrivals.try_send(arrival) {
            let arrivals = self.0.arrivals.clone();
            tokio::spawn(async move { arrivals.send(arrival).await });
        }
    }
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, Table> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn prepare(stream: &TcpStream) {
    // A message is written in one piece; waiting for more only costs time.
    let _ = stream.set_nodelay(true);
}

/// Messages waiting for a peer that does not read.
const WAITING_MESSAGES: usize = 256;

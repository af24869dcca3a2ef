//! What a transport is opened with.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::Transport;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::Admission;

/// What to listen on, and with what.
#[derive(Debug)]
pub struct SipTransportConfig {
    pub listeners: Vec<(Transport, SocketAddr)>,
    /// For TLS and WSS listeners; [`super::SipTransport::replace_certificate`] changes it.
    pub tls_server: Arc<ServerConfig>,
    /// For connections that we open to TLS peers; without it none are opened.
    pub tls_client: Option<Arc<ClientConfig>>,
    pub admission: Admission,
    /// Whether datagrams to a socket bound to all addresses are given the address of ours that
    /// their sender sees, or the wildcard: then what is advertised is configured.
    pub tell_local_address: bool,
    /// Which pages may open a WebSocket on a listener of our own.
    pub origins: OriginCheck,
    pub limits: ConnectionLimits,
    /// What the certificates of TLS peers say; none are asked for where nobody reads them.
    pub certificates: Option<CertificateReader>,
}

/// How long a connection may take for what it does.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// For each of connecting, TLS and WebSocket handshakes.
    pub handshake: Duration,
    /// Until the first whole message or keep-alive.
    pub first_message: Duration,
    /// From the first byte of a message to its last.
    pub message: Duration,
    /// Between messages. Phones without keep-alives are only heard when they register.
    pub idle: Duration,
    /// For writing one message.
    pub write: Duration,
    /// Between pings on a WebSocket; two without an answer end it.
    pub ping_period: Duration,
    /// Messages of one source in a second, and twice as many at once: more datagrams are dropped
    /// unread, and connections are read more slowly. Trunks and who is never banned have no limit.
    pub messages_per_second: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_message: Duration::from_secs(30),
            message: Duration::from_secs(15),
            idle: Duration::from_secs(2 * 3600),
            write: Duration::from_secs(10),
            ping_period: Duration::from_secs(25),
            messages_per_second: 1000,
        }
    }
}

/// What a peer's certificate proves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The names that it is for, in lower case.
    pub names: Vec<String>,
    /// Which of the known authorities have signed it.
    pub authorities: Vec<usize>,
}

/// Reads a peer's chain, its own certificate first; none where no authority has signed it.
#[derive(Clone)]
pub struct CertificateReader(Arc<Reader>);

type Reader = dyn Fn(&[CertificateDer<'static>]) -> Option<Certificate> + Send + Sync;

impl CertificateReader {
    pub fn new(
        read: impl Fn(&[CertificateDer<'static>]) -> Option<Certificate> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(read))
    }

    pub(super) fn read(&self, chain: &[CertificateDer<'static>]) -> Option<Certificate> {
        (self.0)(chain)
    }
}

impl fmt::Debug for CertificateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateReader")
    }
}

/// Decides by a handshake's `Origin` and `Host` (RFC 6455 §10.2).
#[derive(Clone)]
pub struct OriginCheck(Arc<Check>);

type Check = dyn Fn(Option<&str>, Option<&str>) -> bool + Send + Sync;

impl OriginCheck {
    pub fn new(check: impl Fn(Option<&str>, Option<&str>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(super) fn is_allowed(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        (self.0)(origin, host)
    }
}

/// Only pages that came from the same host and port, and programs that are no browsers.
impl Default for OriginCheck {
    fn default() -> Self {
        Self::new(|origin, host| match (origin, host) {
            (None, _) => true,
            (Some(origin), Some(host)) => {
                origin.split_once("://").is_some_and(|(_, page)| page.eq_ignore_ascii_case(host))
            }
            (Some(_), None) => false,
        })
    }
}

impl fmt::Debug for OriginCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginCheck")
    }
}

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{transport} {address} cannot be opened: {source}")]
pub struct BindError {
    pub transport: Transport,
    pub address: SocketAddr,
    pub source: io::Error,
}

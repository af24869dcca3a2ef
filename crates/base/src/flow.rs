//! How a message reached us and how an answer gets back: transports, flows and datagrams.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::ConnectionId;

/// The transport a message travels over, as named in a SIP `Via` (RFC 3261 §20.42, RFC 7118 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    /// Every transport, for tables and metrics.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// True when the transport delivers each message once and in order, so nothing is re-sent.
    #[must_use]
    pub fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// True for the two WebSocket transports: their peers are browsers.
    #[must_use]
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// True when the bytes are encrypted on the way.
    #[must_use]
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The upper-case token used in `Via`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One path between us and a peer (RFC 5626 §3.2): a connection, or a pair of UDP addresses.
///
/// With `connection` set, only that connection may carry the message; when it has closed the send
/// fails. Without it, UDP sends from `local`, and a stream transport reuses a connection to
/// `remote` that we opened or opens one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub transport: Transport,
    pub connection: Option<ConnectionId>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// A message to be sent over a flow.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    pub flow: Flow,
    pub bytes: Bytes,
}

/// Shows the size only: a message carries names, numbers and credentials.
impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit")
            .field("flow", &self.flow)
            .field("len", &self.bytes.len())
            .finish()
    }
}

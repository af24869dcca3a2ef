//! What a session token grants: accounts, each on a network. The shell looks it up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{ConnectionId, Secret};
use crosspoint_call::MediaPath;

/// Asked of the shell: what does this token grant to a page of this origin?
#[derive(Debug)]
pub struct Lookup {
    /// The socket that waits for the answer.
    pub connection: ConnectionId,
    pub token: Secret<String>,
    /// The `Origin` of the socket's handshake, when it had one.
    pub origin: Option<String>,
}

/// A valid token.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Of the session: an id that may be logged.
    pub session: Arc<str>,
    /// When the token loses its worth for new sockets.
    pub expires: Instant,
    /// By the key of `session.validated`.
    pub accounts: BTreeMap<String, AccountGrant>,
    /// Where its apps find a relay; empty when there is none.
    pub ice_servers: Vec<IceServer>,
}

/// STUN or TURN, as browsers take it (`RTCIceServer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    pub urls: Vec<String>,
    pub username: String,
    pub credential: Secret<String>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AccountGrant {
    /// Of the account, unique over all sessions: the part of its target that names it.
    pub id: Arc<str>,
    /// As the app sees it: `sip:alice@gateway.example`, or a bare name.
    pub identifier: String,
    /// The tag of its network.
    pub network: String,
    pub service: Service,
}

/// Names of people never show.
impl fmt::Debug for AccountGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountGrant")
            .field("id", &self.id)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// What is behind an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// One of our own users, whose password or sign-in was checked.
    Local { user: Arc<str> },
    /// A SIP account at a registrar elsewhere.
    Remote(Box<RemoteAccount>),
    /// Apps among themselves; `network` tells networks of the same tag apart.
    Apps { network: Arc<str>, name: String, path: MediaPath },
    /// The password is wrong, or the user is gone.
    Unauthorized,
    /// The network's connector does not exist here yet; the prefix of its targets.
    NotAvailable { connector: &'static str },
}

/// Where and how to sign in as a SIP client.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteAccount {
    /// User part of the address of record.
    pub user: String,
    /// Domain of the address of record and of requests.
    pub domain: String,
    /// Host of the registrar or its outbound proxy, to be resolved by the shell.
    pub host: String,
    pub port: Option<u16>,
    pub transport: crosspoint_base::Transport,
    /// For challenges; the user part when absent.
    pub auth_user: Option<String>,
    pub password: Secret<String>,
    pub expires: Duration,
}

/// Names, numbers and passwords never show.
impl fmt::Debug for RemoteAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAccount")
            .field("domain", &self.domain)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("transport", &self.transport)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why a token grants nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    InvalidToken,
    ExpiredToken,
    /// The page is not of the app's domain.
    OriginDenied,
    Internal,
}

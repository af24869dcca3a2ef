//! The configuration: one TOML file, parsed into a value that cannot be wrong later.
//!
//! An empty text is a complete configuration. [`Config::parse`] reports every problem of a file at
//! once, each with line, key and remedy. `docs/configuration.md` lists every option; a test
//! compares.

mod error;
mod login;
mod reader;
mod rtcengine;
mod sections;
mod trunk;
mod turn;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crosspoint_base::{Secret, Transport};
use crosspoint_call::router::Rewrite;
use crosspoint_call::{Playback, SrtpPolicy};
use crosspoint_media::turn::{Network, Peers};
use toml::de::DeTable;

pub use error::{ConfigError, Problem};
pub use login::Login;
use reader::{Document, Section};
pub(crate) use sections::is_host;

/// Everything an operator may choose.
#[derive(Debug)]
pub struct Config {
    pub general: General,
    pub log: Log,
    pub listeners: Vec<Listener>,
    /// Absent: a self-signed certificate in the data folder.
    pub tls: Option<TlsFiles>,
    pub http: Http,
    pub media: Media,
    /// Absent: no relay.
    pub turn: Option<Turn>,
    pub trunks: Vec<Trunk>,
    /// Numbers that we answer ourselves.
    pub numbers: BTreeMap<String, Service>,
    pub rtcengine: RtcEngine,
    pub timers: Timers,
    pub limits: Limits,
}

/// What a number of ours does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Play(Playback),
    /// Takes over the caller's call from another device.
    Pull,
}

#[derive(Debug)]
pub struct General {
    /// What users sign in to: part of what their passwords are kept as.
    pub realm: String,
    /// Names of ours in SIP addresses, besides our IP addresses.
    pub domains: Vec<String>,
    /// The data folder, when the file names one.
    pub data: Option<PathBuf>,
}

#[derive(Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Where SIP is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub transport: Transport,
    pub address: SocketAddr,
}

/// A certificate chain and its key in PEM, already found to be readable.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug)]
pub struct Http {
    pub listen: SocketAddr,
    /// False serves plain HTTP and WS, for a proxy in front that does the TLS.
    pub tls: bool,
    pub allowed_origins: Origins,
}

/// Which web pages may open a WebSocket to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Pages from the host the browser connects to, and programs that are no browsers.
    Same,
    /// Those and these.
    Listed(Vec<String>),
    Any,
}

#[derive(Debug)]
pub struct Media {
    /// What peers are told to send to, for SIP as well. Empty: found out at start.
    pub addresses: Vec<IpAddr>,
    /// The address that sockets for phones are bound to.
    pub listen: IpAddr,
    /// The one socket of all browsers.
    pub browser_listen: SocketAddr,
    pub rtp_ports: RangeInclusive<u16>,
    pub ice: Ice,
    /// A call without any media for this long is over.
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ice {
    /// We answer connectivity checks (RFC 8445 §2.5).
    Lite,
    /// We make them as well.
    Full,
}

/// The relay for browsers that reach nothing but its port.
#[derive(Debug)]
pub struct Turn {
    /// UDP and TCP.
    pub listen: SocketAddr,
    pub tls_listen: Option<SocketAddr>,
    /// What browsers are told; absent: our name or address.
    pub host: Option<String>,
    pub relay_ports: RangeInclusive<u16>,
    /// What credentials are made with; absent: drawn at start.
    pub secret: Option<Secret<String>>,
    pub credential_lifetime: Duration,
    pub peers: Peers,
    /// Networks that may be reached although they are not public.
    pub allow: Vec<Network>,
    pub allocations: usize,
    pub allocations_per_user: usize,
    pub kbits_per_user: u64,
}

/// A SIP peer by configuration: a carrier or a PBX.
#[derive(Debug)]
pub struct Trunk {
    pub name: String,
    pub host: String,
    /// Absent: by DNS, or the transport's usual one.
    pub port: Option<u16>,
    pub transport: Transport,
    pub credentials: Option<Login>,
    pub srtp: SrtpPolicy,
    /// Numbers that start with one of these go out here; empty: all.
    pub prefixes: Vec<String>,
    pub rewrite: Rewrite,
}

/// Apps that speak JSON over WebSocket.
#[derive(Debug)]
pub struct RtcEngine {
    /// How long a client's calls wait for it to come back.
    pub resume_window: Duration,
    /// How long a session's token is good.
    pub token_lifetime: Duration,
    /// What provisioning signs in with; without it there is none.
    pub provisioning: Option<Login>,
}

#[derive(Debug)]
pub struct Timers {
    /// How long a called device rings.
    pub ring: Duration,
    /// How long a graceful stop may take.
    pub shutdown: Duration,
    pub registration_min: Duration,
    pub registration_max: Duration,
}

#[derive(Debug)]
pub struct Limits {
    pub calls: usize,
    /// Devices one user may sign in with.
    pub contacts_per_user: usize,
    /// Connections of all kinds at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// SIP transactions at once.
    pub transactions: usize,
}

impl Config {
    /// Reads a configuration. `file` names it in errors, and the files it mentions are looked for
    /// beside it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let document = Document::new(text);
        let name = file.display().to_string();
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let message = format!("this is not TOML: {}", error.message().replace('\n', ", "));
                let remedy = "fix the syntax; text values need quotes".to_owned();
                document.complain(at, String::new(), message, remedy);
                return Err(document.into_error(&name));
            }
        };
        let folder = file.parent().unwrap_or(Path::new(""));
        let config = sections::read(Section::root(&document, &table), folder);
        if document.is_clean() { Ok(config) } else { Err(document.into_error(&name)) }
    }

    /// What an empty file means.
    #[must_use]
    pub fn with_defaults() -> Self {
        Self::parse("", Path::new("")).expect("an empty configuration is complete")
    }
}

impl Origins {
    /// Whether a page of `origin` may open a WebSocket on `host`. A page of another site must
    /// not use a visitor's place in our network (RFC 6455 §10.2); programs that are no browsers
    /// send no origin.
    #[must_use]
    pub fn allow(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let page = origin.split_once("://").map(|(_, host)| host);
        let is_ours = matches!((page, host), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b));
        match self {
            Self::Any => true,
            Self::Same => is_ours,
            Self::Listed(listed) => {
                is_ours || listed.iter().any(|o| o.eq_ignore_ascii_case(origin))
            }
        }
    }
}

impl LogLevel {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The port a transport uses when none is written (RFC 3261 §19.1.2, RFC 7118 §5.2.2).
#[must_use]
pub fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
        Transport::Ws => 80,
        Transport::Wss => 443,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_only_the_right_pages_in() {
        let check = |origins: &Origins, origin: Option<&str>, fine| {
            assert_eq!(origins.allow(origin, Some("gw:8443")), fine, "{origins:?} {origin:?}");
        };
        let listed = Origins::Listed(vec!["https://app.example.com".to_owned()]);
        check(&Origins::Same, None, true);
        check(&Origins::Same, Some("https://gw:8443"), true);
        check(&Origins::Same, Some("https://gw"), false);
        check(&Origins::Same, Some("null"), false);
        check(&listed, Some("https://gw:8443"), true);
        check(&listed, Some("https://App.example.com"), true);
        check(&listed, Some("https://evil.example.com"), false);
        check(&Origins::Any, Some("https://evil.example.com"), true);
    }
}

//! The configuration: one TOML file, parsed into a value that cannot be wrong later.
//!
//! An empty text is a complete configuration. [`Config::parse`] reports every problem of a file at
//! once, each with line, key and remedy. `docs/configuration.md` lists every option; a test
//! compares.

mod acme;
mod admin;
mod ban;
mod cdr;
mod console;
mod error;
mod features;
mod forwarding;
mod grpc;
mod ladder;
mod login;
mod ng;
mod oidc;
mod parking;
mod reader;
mod recording;
mod routing;
mod rtcengine;
mod sections;
mod sound;
mod stir;
mod stream;
mod trunk;
mod turn;
mod webhook;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::{GuardConfig, Secret, Transport};
use crosspoint_call::Playback;
use crosspoint_call::router::{Features, Forwarding, RecordRules};
use crosspoint_ladder::LadderConfig;
use crosspoint_media::control::Place;
use crosspoint_media::recording::Format;
use crosspoint_media::turn::{Network, Peers};
use crosspoint_net::packet_io::IoKind;
use crosspoint_state::PostgresConfig;
use crosspoint_stir::{Anchors, Attestation, Signer};
use tokio_rustls::rustls::ClientConfig;
use toml::de::DeTable;

pub use error::{ConfigError, Problem};
pub use ladder::Hep;
pub use login::Login;
pub use oidc::{Oidc, OidcRoles};
use reader::{Document, Section};
pub use routing::Routing;
pub(crate) use sections::is_host;
pub use trunk::{Destination, Trunk, TrunkSources, TrunkTls};
pub use webhook::Webhook;

/// Everything an operator may choose.
#[derive(Debug)]
pub struct Config {
    pub general: General,
    pub log: Log,
    pub listeners: Vec<Listener>,
    /// Absent: a self-signed certificate in the data folder.
    pub tls: Option<TlsFiles>,
    /// Absent: nobody is asked for one.
    pub acme: Option<Acme>,
    pub http: Http,
    pub media: Media,
    /// Media of phones that are signed in here may go past us.
    pub direct_phones: bool,
    /// Absent: no relay.
    pub turn: Option<Turn>,
    /// How `crosspoint media` is reached.
    pub ng: Ng,
    /// Media servers that carry calls in our media plane's place.
    pub media_servers: Vec<MediaServer>,
    pub trunks: Vec<Trunk>,
    /// Where calls go.
    pub routing: Routing,
    /// Numbers that we answer ourselves.
    pub numbers: BTreeMap<String, Service>,
    pub rtcengine: RtcEngine,
    pub call_api: CallApi,
    /// What operators sign in with over HTTP; without it they cannot.
    pub admin_token: Option<Secret<String>>,
    pub console: Console,
    /// Absent: nothing is recorded.
    pub recording: Option<Recording>,
    pub features: Features,
    /// Where users' calls go that have not set it themselves.
    pub forwards: BTreeMap<Arc<str>, Forwarding>,
    pub sound: Sound,
    /// Absent: no service hears calls.
    pub stream: Option<Stream>,
    /// Absent: nothing is signed, and nobody is asked for a signature.
    pub stir: Option<Stir>,
    /// Absent: call records stay in the data folder.
    pub cdr: Option<PostgresConfig>,
    pub webhooks: Vec<Webhook>,
    /// What is kept of what was said in calls.
    pub ladder: LadderConfig,
    /// Absent: nobody else is told of it.
    pub hep: Option<Hep>,
    pub timers: Timers,
    pub drain: Drain,
    pub limits: Limits,
    /// Who is not listened to for a while.
    pub ban: GuardConfig,
}

/// A media server that speaks the ng protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaServer {
    pub address: SocketAddr,
    /// Its share of the calls, beside the others'.
    pub weight: u32,
}

/// How SIP proxies reach the media server.
#[derive(Debug, Clone)]
pub struct Ng {
    /// UDP and TCP.
    pub listen: SocketAddr,
    /// HTTP and WebSocket; absent: neither.
    pub http_listen: Option<SocketAddr>,
    /// A call of which nothing comes for this long is over.
    pub timeout: Duration,
    /// Who is told of digits; absent: nobody.
    pub dtmf_log: Option<SocketAddr>,
    /// The service that calls are streamed to when a request names none.
    pub forward_to: Option<String>,
    /// By name, the first for who names none; empty: all media is where `[media]` says.
    pub interfaces: Vec<(String, Place)>,
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

/// An authority that gives certificates by itself (RFC 8555).
#[derive(Debug, Clone)]
pub struct Acme {
    pub directory: String,
    pub domains: Vec<String>,
    /// With `mailto:`.
    pub contact: Vec<String>,
    pub tls: Option<Arc<ClientConfig>>,
}

#[derive(Debug)]
pub struct Http {
    pub listen: SocketAddr,
    /// False serves plain HTTP and WS, for a proxy in front that does the TLS.
    pub tls: bool,
    /// What browsers are told of the port, when it is another from outside.
    pub advertised_port: Option<u16>,
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
    /// How packets come and go; `None` takes the fastest way that the host allows.
    pub io: Option<IoKind>,
    /// How many threads relay packets.
    pub threads: usize,
    pub ice: Ice,
    /// Whether media is taken over connections to the port of HTTPS, too (RFC 6544).
    pub ice_tcp: bool,
    /// A call without any media for this long is over.
    pub timeout: Duration,
    /// Threads that translate sound; with none it is done between packets.
    pub codec_threads: usize,
    /// How much encoding Opus may cost, from 0 to 10.
    pub opus_complexity: u8,
    /// Processors do not sleep.
    pub keep_awake: bool,
    /// Where media servers tell of digits; a free port if it is not said.
    pub dtmf_listen: Option<SocketAddr>,
    /// Media threads are of the real-time class.
    pub realtime: bool,
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
    /// Whether the port of HTTPS is one of TURN, too.
    pub share_http: bool,
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

/// How operators sign in at the console.
#[derive(Debug, Clone)]
pub struct Console {
    /// Who does nothing for so long is signed out.
    pub idle: Duration,
    /// And so is everybody after this time.
    pub lifetime: Duration,
    /// For how long it is kept who changed what.
    pub audit_keep: Duration,
    /// Absent: nobody else vouches for operators.
    pub oidc: Option<Oidc>,
}

/// Which calls are recorded, how, and for how long that is kept.
#[derive(Debug)]
pub struct Recording {
    /// Absent: in the data folder.
    pub folder: Option<PathBuf>,
    pub format: Format,
    pub rules: RecordRules,
    /// Bytes; with less nothing is recorded.
    pub min_free: u64,
    pub keep: Option<Duration>,
    pub keep_bytes: Option<u64>,
    pub at_once: usize,
    /// How often both sides are reminded by a tone; absent: never.
    pub consent_tone: Option<Duration>,
}

/// What is played to parties.
#[derive(Debug)]
pub struct Sound {
    /// Where operators' prompts are; absent: nowhere.
    pub prompts: Option<PathBuf>,
    pub music_on_hold: Music,
}

/// What a held party hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Music {
    Off,
    /// Of our own making.
    Tones,
    File(PathBuf),
}

/// Services that may hear calls.
#[derive(Debug, Clone)]
pub struct Stream {
    /// How their addresses begin.
    pub allow: Vec<String>,
    pub token: Option<Secret<String>>,
    /// Whose certificates are believed, instead of the system's authorities.
    pub ca_file: Option<PathBuf>,
}

/// Whose tokens open streams of the call API, besides those that signing in here gives.
#[derive(Debug, Clone)]
pub struct CallApi {
    pub tokens: Vec<FixedToken>,
    /// Whose signed tokens are good.
    pub issuer: Option<Issuer>,
    /// Who is asked about tokens that nobody here knows.
    pub introspection: Option<Introspection>,
    /// What a token of an issuer must allow.
    pub scope: Option<String>,
    /// The claim that binds a token to a number.
    pub number_claim: String,
    /// Clients whose tokens may name any number.
    pub clients: Vec<String>,
    /// Networks with issuers that are not public.
    pub allow: Vec<Network>,
}

#[derive(Debug, Clone)]
pub struct FixedToken {
    pub token: Secret<String>,
    /// Absent: whoever has it names the number.
    pub number: Option<String>,
}

/// An issuer of signed tokens (RFC 9068).
#[derive(Debug, Clone)]
pub struct Issuer {
    pub name: String,
    pub audience: String,
    pub keys: IssuerKeys,
}

/// Where an issuer's keys are (RFC 7517).
#[derive(Debug, Clone)]
pub enum IssuerKeys {
    At(String),
    Known(jsonwebtoken::jwk::JwkSet),
}

/// RFC 7662.
#[derive(Debug, Clone)]
pub struct Introspection {
    pub address: String,
    pub client: String,
    pub secret: Secret<String>,
}

/// Signatures of who calls.
#[derive(Debug)]
pub struct Stir {
    /// Absent: calls leave unsigned.
    pub signer: Option<Arc<Signer>>,
    /// How well we know our own users.
    pub attestation: Attestation,
    /// Whom to trust; absent: nobody is asked for a signature.
    pub anchors: Option<Anchors>,
    /// Calls that nobody vouches for are refused.
    pub is_demanded: bool,
    /// How old a signature may be.
    pub freshness: Duration,
    /// Where certificates may lie; anywhere when empty.
    pub hosts: Vec<String>,
    /// Networks with certificates that are not public.
    pub allow: Vec<Network>,
    /// The trunks that this is about; all when empty.
    pub trunks: Vec<String>,
}

#[derive(Debug)]
pub struct Timers {
    /// How long a called device rings.
    pub ring: Duration,
    /// How long a graceful stop may take.
    pub shutdown: Duration,
    pub registration_min: Duration,
    pub registration_max: Duration,
    /// How long a trunk may say nothing to a call while there is another one.
    pub trunk_silence: Duration,
}

/// How calls come to their end before the process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long running calls may go on after a signal to stop.
    pub time: Duration,
    /// When callers who are refused are to try again.
    pub retry_after: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// SIP messages from one address in a second.
    pub messages_per_address: u32,
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

    /// Whether an address is in a network of a trunk.
    #[must_use]
    pub fn is_trunk_network(&self, address: IpAddr) -> bool {
        let mut networks = self.trunks.iter().flat_map(|trunk| &trunk.sources.networks);
        networks.any(|network| network.contains(address))
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

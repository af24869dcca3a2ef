//! The RTC:engine JSON protocol over WebSocket (`docs/protocols/rtcengine.md`).
//!
//! Translates between `call.*` messages and leg signals. A token grants a session with accounts;
//! a client is one page or app that uses it and outlives its sockets; a leg is a call of one
//! client. What a token grants is asked of the shell, sign-ins elsewhere of the node.

mod grant;
mod remote;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crosspoint_base::{BindingId, ConnectionId, Gcid, LegId, Maker, RegistrationId, Rng};
use crosspoint_call::{Identity, LegCommand, LegEvent};

pub use grant::{AccountGrant, Denial, Grant, Lookup, RemoteAccount, Service};
pub use remote::{RemoteFailure, RemoteState};

/// Marks the legs and bindings of this connector.
pub const MAKER: Maker = Maker(1);

/// What the connector is made with.
#[derive(Debug, Clone)]
pub struct RtcEngineConfig {
    /// The domain our users live in.
    pub domain: String,
    /// An instant, and its time of day in Unix seconds.
    pub epoch: (Instant, i64),
    /// How long a client may be without a socket.
    pub resume_window: Duration,
    /// Sockets, and clients in their resume window too.
    pub max_clients: usize,
    pub max_clients_per_session: usize,
    pub max_accounts: usize,
    pub max_calls_per_client: usize,
    /// Addresses in one `call.start`.
    pub max_forks: usize,
    /// Messages kept for a client that may resume, and their bytes.
    pub max_waiting: usize,
    pub max_waiting_bytes: usize,
    /// Messages of one socket in a second, and at once.
    pub rate: u32,
    pub burst: u32,
}

impl RtcEngineConfig {
    /// The limits of `docs/protocols/rtcengine.md`.
    #[must_use]
    pub fn new(domain: impl Into<String>, epoch: (Instant, i64)) -> Self {
        Self {
            domain: domain.into(),
            epoch,
            resume_window: Duration::from_secs(30),
            max_clients: 100_000,
            max_clients_per_session: 64,
            max_accounts: 64,
            max_calls_per_client: 32,
            max_forks: 8,
            max_waiting: 512,
            max_waiting_bytes: 1024 * 1024,
            rate: 100,
            burst: 400,
        }
    }
}

/// What the connector wants done.
pub enum Output {
    Send { connection: ConnectionId, text: String },
    /// Close after what was sent.
    Close { connection: ConnectionId, code: u16, reason: &'static str },
    Leg(LegId, Box<LegEvent>),
    /// Answered by `handle_lookup`.
    Lookup(Lookup),
    /// Sign in there; `handle_registration` tells how it goes.
    Register(RegistrationId, Box<RemoteAccount>),
    Unregister(RegistrationId),
    Timeout(Option<Instant>),
}

/// Messages carry tokens, names and descriptions, so only their size shows.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { connection, text } => {
                write!(f, "Send({connection}, {} bytes)", text.len())
            }
            Self::Close { connection, code, reason } => {
                write!(f, "Close({connection}, {code} {reason})")
            }
            Self::Leg(leg, event) => f.debug_tuple("Leg").field(leg).field(event).finish(),
            Self::Lookup(lookup) => f.debug_tuple("Lookup").field(lookup).finish(),
            Self::Register(id, account) => {
                f.debug_tuple("Register").field(id).field(account).finish()
            }
            Self::Unregister(id) => f.debug_tuple("Unregister").field(id).finish(),
            Self::Timeout(at) => f.debug_tuple("Timeout").field(at).finish(),
        }
    }
}

/// A call that a user has on one device, for the user's other devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCall {
    pub leg: LegId,
    pub gcid: Gcid,
    pub peer: Identity,
    pub is_outgoing: bool,
    /// Answered.
    pub is_active: bool,
    pub since_unix: i64,
    pub device: DeviceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Browser,
    Phone,
    App,
}

/// What the connector has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// New clients.
    pub opened: u64,
    /// Clients that came back within their window and missed nothing.
    pub resumed: u64,
    /// Clients whose window passed.
    pub expired: u64,
    /// Tokens that granted nothing.
    pub denied: u64,
    pub bad_messages: u64,
    pub no_session: u64,
    pub invalid_token: u64,
    pub unknown_method: u64,
    pub unknown_recipient: u64,
    pub rate_limited: u64,
    /// Calls refused for a limit of ours.
    pub refused_calls: u64,
    /// Messages that a client may have missed.
    pub dropped: u64,
}

/// See the module.
#[derive(Debug)]
pub struct RtcEngine {
    config: RtcEngineConfig,
    rng: Rng,
    next_leg: u64,
    outputs: VecDeque<Output>,
    counters: Counters,
    is_draining: bool,
}

impl RtcEngine {
    #[must_use]
    pub fn new(config: RtcEngineConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            next_leg: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            is_draining: false,
        }
    }

    /// A socket is open; `origin` is that of its handshake.
    pub fn handle_open(&mut self, now: Instant, connection: ConnectionId, origin: Option<String>) {
        let _ = (now, connection, origin);
    }

    pub fn handle_text(&mut self, now: Instant, connection: ConnectionId, text: &str) {
        let _ = (now, connection, text);
    }

    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) {
        let _ = (now, connection);
    }

    /// The answer to `Output::Lookup`.
    pub fn handle_lookup(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        answer: Result<Grant, Denial>,
    ) {
        let _ = (now, connection, answer);
    }

    /// What became of `Output::Register`, at every change.
    pub fn handle_registration(&mut self, now: Instant, id: RegistrationId, state: RemoteState) {
        let _ = (now, id, state);
    }

    pub fn handle_command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        let _ = (now, leg, command);
    }

    /// Every call that a user has anywhere, at every change: told to the user's other devices.
    pub fn handle_user_calls(&mut self, now: Instant, user: &str, calls: &[UserCall]) {
        let _ = (now, user, calls);
    }

    /// The session is no more: its clients end.
    pub fn revoke(&mut self, now: Instant, session: &str) {
        let _ = (now, session);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// From now on new calls are refused.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// A fresh leg id, for back legs too.
    pub fn next_leg_id(&mut self) -> LegId {
        self.next_leg += 1;
        MAKER.leg(self.next_leg)
    }

    /// Where a user is signed in.
    pub fn devices_of(&self, user: &str) -> impl Iterator<Item = BindingId> {
        let _ = user;
        std::iter::empty()
    }

    /// The apps signed in to a network under a name.
    pub fn members_of(&self, network: &str, name: &str) -> impl Iterator<Item = BindingId> {
        let _ = (network, name);
        std::iter::empty()
    }

    /// The apps that calls at a sign-in elsewhere are for.
    pub fn owners_of(&self, registration: RegistrationId) -> impl Iterator<Item = BindingId> {
        let _ = registration;
        std::iter::empty()
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    #[must_use]
    pub fn clients(&self) -> usize {
        0
    }

    #[must_use]
    pub fn legs(&self) -> usize {
        0
    }

    /// True when nothing is left of any call or client.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        true
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(None))
    }
}

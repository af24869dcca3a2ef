//! The RTC:engine JSON protocol over WebSocket (`docs/protocols/rtcengine.md`).
//!
//! Translates between `call.*` messages and leg signals. A token grants a session with accounts;
//! a client is one page or app that uses it and outlives its sockets; a leg is a call of one
//! client. What a token grants is asked of the shell, sign-ins elsewhere of the node.

mod accounts;
mod address;
mod calls;
mod candidates;
mod change;
mod client;
mod commands;
mod grant;
mod message;
mod opening;
mod outbox;
mod reasons;
mod remote;
mod socket;
mod starting;
mod texts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{
    BindingId, ConnectionId, Gcid, LegId, Maker, RegistrationId, Rng, TimerTable, WallClock, hex,
};
use crosspoint_call::{Identity, LegCommand, LegEvent, Text};

pub use grant::{AccountGrant, Denial, Grant, IceServer, Lookup, RemoteAccount, Service};
pub use remote::{RemoteFailure, RemoteState};
pub use texts::TextTicket;

pub use crate::about::About;

pub(crate) use address::dialled;

use accounts::Bound;
use calls::ClientCall;
use client::{Client, ClientSession};
use remote::Registration;
use socket::Socket;

/// Marks the legs and bindings of this connector.
pub const MAKER: Maker = Maker(1);

/// Calls of one user that are worth telling; the rest is left out.
pub const MOST_USER_CALLS: usize = 128;

/// What the connector is made with.
#[derive(Debug, Clone)]
pub struct RtcEngineConfig {
    /// The domain our users live in.
    pub domain: String,
    pub clock: WallClock,
    /// How long a client may be without a socket.
    pub resume_window: Duration,
    /// Sockets, and clients in their resume window too.
    pub max_clients: usize,
    pub max_clients_per_session: usize,
    pub max_accounts: usize,
    pub max_calls_per_client: usize,
    /// Clients that have one user, name or account connected; the oldest gives way to a newer.
    pub max_devices: usize,
    /// Addresses in one `call.start`.
    pub max_forks: usize,
    /// Messages kept for a client that may resume, and their bytes: a quarter while it is there.
    pub max_waiting: usize,
    pub max_waiting_bytes: usize,
    /// Messages of one socket in a second, and at once.
    pub rate: u32,
    pub burst: u32,
}

impl RtcEngineConfig {
    /// The limits of `docs/protocols/rtcengine.md`.
    #[must_use]
    pub fn new(domain: impl Into<String>, clock: WallClock) -> Self {
        Self {
            domain: domain.into(),
            clock,
            resume_window: Duration::from_secs(30),
            max_clients: 100_000,
            max_clients_per_session: 64,
            max_accounts: 64,
            max_calls_per_client: 32,
            max_devices: 32,
            max_forks: 8,
            max_waiting: 512,
            max_waiting_bytes: 256 * 1024,
            rate: 100,
            burst: 400,
        }
    }
}

/// What the connector wants done.
pub enum Output {
    /// `leg` is the one that it is about, if any.
    Send {
        connection: ConnectionId,
        leg: Option<LegId>,
        text: String,
    },
    /// Close after what was sent.
    Close {
        connection: ConnectionId,
        code: u16,
        reason: &'static str,
    },
    Leg(LegId, Box<LegEvent>),
    /// The client of this leg was away for too long.
    Away(LegId),
    /// Answered by `handle_lookup`.
    Lookup(Lookup),
    /// Sign in there; `handle_registration` tells how it goes.
    Register(RegistrationId, Box<RemoteAccount>),
    Unregister(RegistrationId),
    /// An app writes to somebody: to be answered with `text_taken`.
    Text(Box<TextTicket>, Box<Text>),
    Timeout(Option<Instant>),
}

/// Messages carry tokens, names and descriptions, so only their size shows.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { connection, text, .. } => {
                write!(f, "Send({connection}, {} bytes)", text.len())
            }
            Self::Close { connection, code, reason } => {
                write!(f, "Close({connection}, {code} {reason})")
            }
            Self::Leg(leg, event) => f.debug_tuple("Leg").field(leg).field(event).finish(),
            Self::Away(leg) => f.debug_tuple("Away").field(leg).finish(),
            Self::Lookup(lookup) => f.debug_tuple("Lookup").field(lookup).finish(),
            Self::Register(id, account) => {
                f.debug_tuple("Register").field(id).field(account).finish()
            }
            Self::Unregister(id) => f.debug_tuple("Unregister").field(id).finish(),
            Self::Text(..) => f.write_str("Text"),
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

/// One client, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClientKey(u64);

impl ClientKey {
    /// What stands in `from` and `to` for it.
    fn address(self) -> String {
        format!("browser:c{}", self.0)
    }
}

/// One call of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CallKey(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A session must be opened on a socket.
    Open(ConnectionId),
    /// A client without a socket must come back.
    Resume(ClientKey),
    /// A called client must answer.
    Ring(CallKey),
    /// Our answer must be acknowledged.
    Ack(CallKey),
    /// A change of media must go on.
    Change(CallKey),
    /// Our own change of media is tried again.
    Retry(CallKey),
}

/// The bindings of each name in one network.
type Names = BTreeMap<Box<str>, BTreeSet<BindingId>>;

/// See the module.
#[derive(Debug)]
pub struct RtcEngine {
    config: RtcEngineConfig,
    rng: Rng,
    sockets: BTreeMap<ConnectionId, Socket>,
    /// By the id of their grant.
    sessions: BTreeMap<Arc<str>, ClientSession>,
    clients: BTreeMap<ClientKey, Client>,
    calls: BTreeMap<CallKey, ClientCall>,
    legs: BTreeMap<LegId, CallKey>,
    /// Accounts that are connected, and where each kind of them is looked for.
    bindings: BTreeMap<BindingId, Bound>,
    users: BTreeMap<Arc<str>, BTreeSet<BindingId>>,
    members: BTreeMap<Arc<str>, Names>,
    registrations: BTreeMap<RegistrationId, Registration>,
    /// By the id of the account.
    registration_of: BTreeMap<Arc<str>, RegistrationId>,
    /// What each user has running, as far as we were told.
    user_calls: BTreeMap<Box<str>, Box<[UserCall]>>,
    /// Users whose first app has just come.
    newly_watched: Vec<Arc<str>>,
    came: Vec<Arc<str>>,
    /// What the message that is being heard is about.
    heard: Option<About>,
    timers: TimerTable<Timer>,
    next_leg: u64,
    next_call: u64,
    next_client: u64,
    next_binding: u64,
    next_registration: u64,
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
            sockets: BTreeMap::new(),
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            bindings: BTreeMap::new(),
            users: BTreeMap::new(),
            members: BTreeMap::new(),
            registrations: BTreeMap::new(),
            registration_of: BTreeMap::new(),
            user_calls: BTreeMap::new(),
            newly_watched: Vec::new(),
            came: Vec::new(),
            heard: None,
            timers: TimerTable::new(),
            next_leg: 0,
            next_call: 0,
            next_client: 0,
            next_binding: 0,
            next_registration: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            is_draining: false,
        }
    }

    /// A socket is open; `origin` is that of its handshake.
    pub fn handle_open(&mut self, now: Instant, connection: ConnectionId, origin: Option<String>) {
        self.open_socket(now, connection, origin);
    }

    pub fn handle_text(&mut self, now: Instant, connection: ConnectionId, text: &str) {
        self.hear(now, connection, text);
    }

    /// What the last message that was heard is about, asked once.
    pub fn take_heard(&mut self) -> Option<About> {
        self.heard.take()
    }

    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.socket_closed(now, connection);
    }

    /// The answer to `Output::Lookup`.
    pub fn handle_lookup(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        answer: Result<Grant, Denial>,
    ) {
        self.looked_up(now, connection, answer);
    }

    /// What became of `Output::Register`, at every change.
    pub fn handle_registration(&mut self, now: Instant, id: RegistrationId, state: RemoteState) {
        let _ = now;
        self.registration_changed(id, state);
    }

    pub fn handle_command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        self.command(now, leg, command);
    }

    /// Every call that a user has anywhere, at every change: told to the user's other devices.
    ///
    /// Worth saying of a user whom an app [watches](Self::is_watched); at most
    /// [`MOST_USER_CALLS`] are listed.
    pub fn handle_user_calls(&mut self, now: Instant, user: &str, calls: &[UserCall]) {
        let _ = now;
        self.set_user_calls(user, calls);
    }

    /// Whether an app of this user is connected, which hears of the calls elsewhere.
    #[must_use]
    pub fn is_watched(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Users whose calls have become worth telling since this was last asked.
    pub fn take_newly_watched(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.newly_watched)
    }

    /// The session is no more: its clients end.
    pub fn revoke(&mut self, now: Instant, session: &str) {
        self.revoke_session(now, session);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Open(connection) => self.opening_late(connection),
                Timer::Resume(client) => self.expire(now, client),
                Timer::Ring(call) => self.rang_long(now, call),
                Timer::Ack(call) => self.ack_missing(now, call),
                Timer::Change(call) => self.change_late(call),
                Timer::Retry(call) => self.retry_due(now, call),
            }
        }
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
        self.users.get(user).into_iter().flatten().copied()
    }

    /// The apps signed in to a network under a name.
    pub fn members_of(&self, network: &str, name: &str) -> impl Iterator<Item = BindingId> {
        let names = self.members.get(network);
        names.and_then(|names| names.get(name)).into_iter().flatten().copied()
    }

    /// The apps that calls at a sign-in elsewhere are for.
    pub fn owners_of(&self, registration: RegistrationId) -> impl Iterator<Item = BindingId> {
        let registration = self.registrations.get(&registration);
        registration.into_iter().flat_map(|r| r.bindings.iter().copied())
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Clients, those in their resume window included.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// True when nothing is left of any call or client; sockets may be open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
            && self.clients.is_empty()
            && self.calls.is_empty()
            && self.legs.is_empty()
            && self.bindings.is_empty()
            && self.users.is_empty()
            && self.members.is_empty()
            && self.registrations.is_empty()
            && self.registration_of.is_empty()
            && self.timers.len() <= self.sockets.len()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    fn is_leg_of(&self, leg: LegId, client: ClientKey) -> bool {
        let call = self.legs.get(&leg).and_then(|call| self.calls.get(call));
        call.is_some_and(|call| call.client == client)
    }

    /// A random UUID (RFC 9562 §5.4).
    fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex(&bytes);
        let part = |range| hex.get(range).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }
}

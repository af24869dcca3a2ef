//! The `wgtwo.webterminal.v0` call protocol (`docs/protocols/webterminal.md`).
//!
//! Translates between `WebTerminalMessage`s and leg signals. A stream that opens makes its
//! subscriber reachable; what speaks over it is a terminal, which outlives a stream that broke.
//! Who may open one is decided before; how messages are written on the wire is the shell's.

mod calls;
mod commands;
mod elsewhere;
mod message;
mod number;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{BindingId, ConnectionId, LegId, Maker, Rng, Secret, TimerTable, WallClock};
use crosspoint_call::{LegCommand, LegEvent};

use crate::rtcengine::UserCall;

pub use crate::about::About;
pub use message::{Body, Fault, Message, Mode};
pub use number::shown;

use calls::TerminalCall;
use streams::Terminal;

/// Marks the legs and bindings of this connector.
pub const MAKER: Maker = Maker(2);

/// What the connector is made with.
#[derive(Debug, Clone)]
pub struct WebTerminalConfig {
    /// How long a terminal may be without a stream.
    pub resume_window: Duration,
    /// Terminals in their resume window too.
    pub max_terminals: usize,
    /// Terminals of one user; the one that was away or silent for longest gives way to a newer.
    pub max_devices: usize,
    pub max_calls_per_terminal: usize,
    /// Messages of one stream in a second, and at once. Empty ones are not counted.
    pub rate: u32,
    pub burst: u32,
}

impl Default for WebTerminalConfig {
    /// The limits of `docs/protocols/webterminal.md`.
    fn default() -> Self {
        Self {
            resume_window: Duration::from_secs(30),
            max_terminals: 100_000,
            max_devices: 32,
            max_calls_per_terminal: 32,
            rate: 50,
            burst: 200,
        }
    }
}

/// Whose calls a stream is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    pub user: Arc<str>,
    /// What those who are called see.
    pub number: String,
}

/// A stream as it was opened, and allowed.
#[derive(Debug)]
pub struct Opening {
    pub subscriber: Subscriber,
    pub mode: Mode,
    /// What `Output::Opened` gave a terminal whose stream broke.
    pub resume: Option<Secret<String>>,
    /// The session whose token allowed it, if it was one: it ends when that is revoked.
    pub session: Option<Arc<str>>,
    /// From then on nothing new may begin.
    pub expires: Option<Instant>,
    /// A browser's: it says everything at once, and what comes later on further streams.
    pub is_half_duplex: bool,
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The client cancelled it: the terminal is gone.
    Cancelled,
    /// The connection is lost: the terminal may come back.
    Broken,
}

/// What the connector wants done.
#[derive(Debug)]
pub enum Output {
    /// The stream is a terminal's. `resume` is for its next stream, should this one break.
    Opened {
        connection: ConnectionId,
        resume: Secret<String>,
        is_resumed: bool,
    },
    /// `leg` is the one that it is about, if any.
    Send {
        connection: ConnectionId,
        leg: Option<LegId>,
        message: Message,
    },
    /// Close after what was sent.
    Close {
        connection: ConnectionId,
        why: Closing,
    },
    Leg(LegId, Box<LegEvent>),
    /// The terminal of this leg was away for too long.
    Away(LegId),
    Timeout(Option<Instant>),
}

/// Why we close a stream; the shell knows the status of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The client said all it had to, and its calls are over.
    Over,
    /// A newer stream is the terminal's.
    Replaced,
    /// There are too many.
    Overload,
    /// Its token is worth nothing any more.
    Expired,
    /// The session whose token opened it was ended.
    Revoked,
    /// We are about to stop.
    Shutdown,
}

/// What the connector has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// New terminals.
    pub opened: u64,
    /// Terminals that came back within their window.
    pub resumed: u64,
    /// Terminals whose window passed.
    pub expired: u64,
    /// Messages of clients that were not empty.
    pub messages: u64,
    /// Errors told to clients.
    pub faults: u64,
    pub rate_limited: u64,
    /// Calls refused for a limit of ours.
    pub refused_calls: u64,
}

/// One terminal, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TerminalKey(u64);

/// One call of one terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CallKey(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A terminal without a stream must come back.
    Resume(TerminalKey),
    /// Its permission ends.
    Expire(TerminalKey),
    /// A called terminal must answer.
    Ring(CallKey),
    /// Our new offer must be answered.
    Change(CallKey),
}

/// See the module.
#[derive(Debug)]
pub struct WebTerminals {
    config: WebTerminalConfig,
    clock: WallClock,
    rng: Rng,
    streams: BTreeMap<ConnectionId, TerminalKey>,
    terminals: BTreeMap<TerminalKey, Terminal>,
    bindings: BTreeMap<BindingId, TerminalKey>,
    users: BTreeMap<Arc<str>, BTreeSet<TerminalKey>>,
    calls: BTreeMap<CallKey, TerminalCall>,
    legs: BTreeMap<LegId, CallKey>,
    /// What each user has running anywhere, as far as we were told.
    user_calls: BTreeMap<Arc<str>, Box<[UserCall]>>,
    /// Users whose first terminal has just come.
    newly_watched: Vec<Arc<str>>,
    /// What the message that is being heard is about.
    heard: Option<About>,
    timers: TimerTable<Timer>,
    next: u64,
    outputs: VecDeque<Output>,
    counters: Counters,
    is_draining: bool,
    /// New terminals are sent elsewhere.
    turns_away: bool,
}

impl WebTerminals {
    #[must_use]
    pub fn new(config: WebTerminalConfig, clock: WallClock, rng: Rng) -> Self {
        Self {
            config,
            clock,
            rng,
            streams: BTreeMap::new(),
            terminals: BTreeMap::new(),
            bindings: BTreeMap::new(),
            users: BTreeMap::new(),
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            user_calls: BTreeMap::new(),
            newly_watched: Vec::new(),
            heard: None,
            timers: TimerTable::new(),
            next: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            is_draining: false,
            turns_away: false,
        }
    }

    /// A stream is open, and its subscriber allowed.
    pub fn handle_open(&mut self, now: Instant, connection: ConnectionId, opening: Opening) {
        self.open_stream(now, connection, opening);
    }

    pub fn handle_message(&mut self, now: Instant, connection: ConnectionId, message: Message) {
        self.hear(now, connection, message);
    }

    /// What the last message that was heard is about, asked once.
    pub fn take_heard(&mut self) -> Option<About> {
        self.heard.take()
    }

    /// The client has no more to say, and still listens.
    pub fn handle_half_closed(&mut self, connection: ConnectionId) {
        self.half_closed(connection);
    }

    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId, end: StreamEnd) {
        self.stream_closed(now, connection, end);
    }

    pub fn handle_command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        self.command(now, leg, command);
    }

    /// Every call that a user has anywhere, at every change.
    pub fn handle_user_calls(&mut self, user: &str, calls: &[UserCall]) {
        self.set_user_calls(user, calls);
    }

    /// Whether a terminal of this user is there, which hears of the calls elsewhere.
    #[must_use]
    pub fn is_watched(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Users whose calls have become worth telling since this was last asked.
    pub fn take_newly_watched(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.newly_watched)
    }

    /// Ends every terminal of users who are no more.
    pub fn keep_users(&mut self, is_known: impl Fn(&str) -> bool) {
        let gone = self.users.iter().filter(|(user, _)| !is_known(user));
        for key in gone.flat_map(|(_, keys)| keys.iter().copied()).collect::<Vec<_>>() {
            self.end_terminal(key, Closing::Expired);
        }
    }

    /// Ends every terminal that a session's token opened, and its calls.
    pub fn revoke(&mut self, session: &str) {
        let opened = self.terminals.iter();
        let opened = opened.filter(|(_, t)| t.session.as_deref() == Some(session));
        for key in opened.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.end_terminal(key, Closing::Revoked);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Resume(terminal) => self.window_passed(terminal),
                Timer::Expire(terminal) => self.permission_ends(terminal),
                Timer::Ring(call) => self.rang_long(call),
                Timer::Change(call) => self.change_late(call),
            }
        }
    }

    /// From now on new calls are refused.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// While this is so, new streams are sent elsewhere; those of terminals that are here resume.
    pub fn set_turning_away(&mut self, turns_away: bool) {
        self.turns_away = turns_away;
    }

    /// A fresh leg id, for back legs too.
    pub fn next_leg_id(&mut self) -> LegId {
        MAKER.leg(self.number())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Where a user can be called. A terminal whose stream broke is not rung.
    pub fn devices_of(&self, user: &str) -> impl Iterator<Item = BindingId> {
        let terminals = self.users.get(user).into_iter().flatten();
        let terminals = terminals.filter_map(|key| self.terminals.get(key));
        terminals.filter(|t| t.is_reachable()).map(|t| t.binding)
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Terminals, those in their resume window included.
    #[must_use]
    pub fn terminals(&self) -> usize {
        self.terminals.len()
    }

    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// True when nothing is left of any call or terminal.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.legs.is_empty()
            && self.terminals.is_empty()
            && self.users.is_empty()
            && self.user_calls.is_empty()
            && self.timers.is_empty()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    fn tell(&mut self, leg: LegId, event: LegEvent) {
        self.outputs.push_back(Output::Leg(leg, Box::new(event)));
    }

    /// Sends a message if the terminal has a stream.
    fn send(&mut self, key: TerminalKey, call: &str, body: Body) {
        let Some(terminal) = self.terminals.get(&key) else { return };
        let Some(connection) = terminal.stream else { return };
        if let Body::Error(_) = body {
            self.counters.faults += 1;
        }
        let leg = terminal.calls.get(call).and_then(|call| self.calls.get(call)).map(|c| c.leg);
        let message = Message { call: call.to_owned(), body };
        self.outputs.push_back(Output::Send { connection, leg, message });
    }

    fn fault(&mut self, key: TerminalKey, call: &str, fault: Fault) {
        self.send(key, call, Body::Error(fault));
    }
}

//! Streams and the terminals behind them: opening, breaking, coming back, ending.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{BindingId, ConnectionId, Gcid, Secret, is_same_secret};
use crosspoint_call::Cause;

use crate::allowance::Allowance;

use super::calls::Phase;
use super::{
    Body, CallKey, Closing, MAKER, Mode, Opening, Output, StreamEnd, Subscriber, TerminalKey,
    Timer, WebTerminals,
};

/// What speaks over a stream.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) subscriber: Subscriber,
    pub(super) mode: Mode,
    pub(super) binding: BindingId,
    pub(super) stream: Option<ConnectionId>,
    pub(super) resume: Secret<String>,
    pub(super) session: Option<Arc<str>>,
    /// By the id that the terminal knows: of a `Pipe` there is one at most.
    pub(super) calls: BTreeMap<Box<str>, CallKey>,
    /// Calls that ended while it was away: it hears of them when it comes back.
    pub(super) missed: BTreeSet<Box<str>>,
    /// Calls elsewhere that it was told of, by their ids.
    pub(super) told: BTreeMap<Box<str>, Gcid>,
    /// Calls elsewhere that ran when a `MultiPipe` opened: nothing is said of them.
    pub(super) known_before: BTreeSet<Gcid>,
    /// A `Pipe` has to be told how its subscriber is, whatever that is.
    pub(super) owes_state: bool,
    pub(super) allowance: Allowance,
    pub(super) is_half_closed: bool,
    pub(super) is_half_duplex: bool,
    /// It was opened to say something of a call that another stream has.
    pub(super) is_errand: bool,
    pub(super) is_expired: bool,
}

impl Terminal {
    pub(super) fn is_reachable(&self) -> bool {
        self.stream.is_some() && !self.is_half_closed && !self.is_expired
    }
}

impl WebTerminals {
    pub(super) fn open_stream(&mut self, now: Instant, connection: ConnectionId, opening: Opening) {
        if let Some(key) = self.resumable(&opening) {
            return self.resume(now, connection, key, opening);
        }
        let why = match () {
            () if self.is_draining || self.turns_away => Some(Closing::Shutdown),
            () if self.terminals.len() >= self.config.max_terminals => Some(Closing::Overload),
            () => None,
        };
        if let Some(why) = why {
            self.outputs.push_back(Output::Close { connection, why });
            return;
        }
        self.make_room(&opening.subscriber);
        let key = TerminalKey(self.number());
        let resume = Secret::new(self.rng.hex(16));
        let user = opening.subscriber.user.clone();
        let terminal = Terminal {
            subscriber: opening.subscriber,
            mode: opening.mode,
            binding: MAKER.binding(key.0),
            stream: Some(connection),
            resume: resume.clone(),
            session: opening.session,
            calls: BTreeMap::new(),
            missed: BTreeSet::new(),
            told: BTreeMap::new(),
            known_before: BTreeSet::new(),
            owes_state: opening.mode == Mode::Pipe,
            allowance: Allowance::new(now, self.config.burst),
            is_half_closed: false,
            is_half_duplex: opening.is_half_duplex,
            is_errand: false,
            is_expired: false,
        };
        self.bindings.insert(terminal.binding, key);
        self.terminals.insert(key, terminal);
        self.streams.insert(connection, key);
        self.counters.opened += 1;
        if let Some(at) = opening.expires {
            self.timers.set(Timer::Expire(key), at);
        }
        self.outputs.push_back(Output::Opened { connection, resume, is_resumed: false });
        let terminals = self.users.entry(user.clone()).or_default();
        let is_first = terminals.is_empty();
        terminals.insert(key);
        if is_first {
            // What it has elsewhere comes with the next word of the node.
            self.newly_watched.push(user);
        } else {
            self.know_what_runs(key);
        }
    }

    /// The terminal that a stream says it is, if it is the same subscriber's.
    fn resumable(&self, opening: &Opening) -> Option<TerminalKey> {
        let resume = opening.resume.as_ref()?;
        let keys = self.users.get(&opening.subscriber.user)?;
        keys.iter().copied().find(|key| {
            self.terminals.get(key).is_some_and(|t| {
                t.subscriber == opening.subscriber
                    && t.mode == opening.mode
                    && is_same_secret(t.resume.expose().as_bytes(), resume.expose().as_bytes())
            })
        })
    }

    fn resume(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        key: TerminalKey,
        opening: Opening,
    ) {
        // Who has read one key must not find it good for ever.
        let resume = Secret::new(self.rng.hex(16));
        let burst = self.config.burst;
        let Some(terminal) = self.terminals.get_mut(&key) else { return };
        terminal.resume = resume.clone();
        terminal.session = opening.session;
        terminal.is_half_closed = false;
        terminal.is_expired = false;
        terminal.allowance = Allowance::new(now, burst);
        let before = terminal.stream.replace(connection);
        if let Some(before) = before {
            self.streams.remove(&before);
            self.outputs.push_back(Output::Close { connection: before, why: Closing::Replaced });
        }
        self.streams.insert(connection, key);
        self.timers.cancel(&Timer::Resume(key));
        match opening.expires {
            Some(at) => self.timers.set(Timer::Expire(key), at),
            None => drop(self.timers.cancel(&Timer::Expire(key))),
        }
        self.counters.resumed += 1;
        self.outputs.push_back(Output::Opened { connection, resume, is_resumed: true });
        self.tell_what_was_missed(key);
    }

    /// Streams have no acknowledgements: what may have been lost is said again.
    fn tell_what_was_missed(&mut self, key: TerminalKey) {
        let Some(terminal) = self.terminals.get_mut(&key) else { return };
        let missed = std::mem::take(&mut terminal.missed);
        terminal.owes_state = terminal.mode == Mode::Pipe;
        let calls: Vec<CallKey> = terminal.calls.values().copied().collect();
        for id in missed {
            self.send(key, &id, Body::Bye);
        }
        for call in calls {
            self.repeat(call);
        }
        self.tell_of_elsewhere(key);
    }

    /// One more terminal may be there: who is away gives way first, then the oldest.
    fn make_room(&mut self, subscriber: &Subscriber) {
        let Some(keys) = self.users.get(&subscriber.user) else { return };
        if keys.len() < self.config.max_devices {
            return;
        }
        let rank = |key: &&TerminalKey| {
            let is_there = self.terminals.get(*key).is_some_and(|t| t.stream.is_some());
            (is_there, **key)
        };
        if let Some(oldest) = keys.iter().min_by_key(rank).copied() {
            self.end_terminal(oldest, Closing::Overload);
        }
    }

    pub(super) fn half_closed(&mut self, connection: ConnectionId) {
        let Some(key) = self.streams.get(&connection).copied() else { return };
        if let Some(terminal) = self.terminals.get_mut(&key) {
            terminal.is_half_closed = !terminal.is_half_duplex || terminal.is_errand;
        }
        self.close_if_over(key);
    }

    /// A terminal that can say no more, or may not, is there as long as its calls.
    pub(super) fn close_if_over(&mut self, key: TerminalKey) {
        let Some(terminal) = self.terminals.get(&key) else { return };
        if !terminal.calls.is_empty() {
            return;
        }
        let why = match () {
            () if terminal.is_expired => Closing::Expired,
            // Who was told of a call elsewhere, or sent one there, waits for its end.
            () if terminal.is_half_closed && (terminal.is_errand || terminal.told.is_empty()) => {
                Closing::Over
            }
            () => return,
        };
        if let Some(connection) = terminal.stream {
            self.outputs.push_back(Output::Close { connection, why });
        }
        self.forget_terminal(key);
    }

    pub(super) fn stream_closed(&mut self, now: Instant, connection: ConnectionId, end: StreamEnd) {
        let Some(key) = self.streams.remove(&connection) else { return };
        let Some(terminal) = self.terminals.get_mut(&key) else { return };
        terminal.stream = None;
        let may_come_back = end == StreamEnd::Broken
            && !terminal.calls.is_empty()
            && !terminal.is_expired
            && !self.config.resume_window.is_zero();
        if may_come_back {
            self.timers.set(Timer::Resume(key), now + self.config.resume_window);
        } else {
            self.end_calls(key, end);
            self.forget_terminal(key);
        }
    }

    pub(super) fn window_passed(&mut self, key: TerminalKey) {
        self.counters.expired += 1;
        let calls = self.terminals.get(&key).into_iter().flat_map(|t| t.calls.values());
        let legs = calls.filter_map(|call| self.calls.get(call)).map(|call| call.leg);
        self.outputs.extend(legs.map(Output::Away));
        self.end_calls(key, StreamEnd::Broken);
        self.forget_terminal(key);
    }

    /// What runs goes on; nothing new may begin.
    pub(super) fn permission_ends(&mut self, key: TerminalKey) {
        let Some(terminal) = self.terminals.get_mut(&key) else { return };
        terminal.is_expired = true;
        let waiting =
            terminal.calls.values().copied().filter(|call| {
                self.calls.get(call).is_some_and(|call| call.phase != Phase::Active)
            });
        for call in waiting.collect::<Vec<_>>() {
            self.end_call(call, Cause::Unauthorized);
        }
        self.close_if_over(key);
    }

    pub(super) fn end_terminal(&mut self, key: TerminalKey, why: Closing) {
        self.end_calls(key, StreamEnd::Broken);
        if let Some(connection) = self.terminals.get(&key).and_then(|t| t.stream) {
            self.outputs.push_back(Output::Close { connection, why });
        }
        self.forget_terminal(key);
    }

    /// Whoever left: a call that only rang here goes on ringing elsewhere.
    fn end_calls(&mut self, key: TerminalKey, end: StreamEnd) {
        let calls = self.terminals.get(&key).map(|t| t.calls.values().copied().collect::<Vec<_>>());
        for call in calls.into_iter().flatten() {
            let Some(this) = self.calls.get(&call) else { continue };
            let cause = match (this.phase, this.is_outgoing, end) {
                (Phase::Active, _, StreamEnd::Cancelled) => Cause::Normal,
                (Phase::Active, _, StreamEnd::Broken) => Cause::SignalingLost,
                (Phase::Starting | Phase::Ringing, true, _) => Cause::Cancelled,
                (Phase::Starting | Phase::Ringing, false, _) => Cause::Unavailable,
            };
            self.end_call(call, cause);
        }
    }

    fn forget_terminal(&mut self, key: TerminalKey) {
        let Some(terminal) = self.terminals.remove(&key) else { return };
        self.bindings.remove(&terminal.binding);
        self.timers.cancel(&Timer::Resume(key));
        self.timers.cancel(&Timer::Expire(key));
        if let Some(connection) = terminal.stream {
            self.streams.remove(&connection);
        }
        let user = terminal.subscriber.user;
        if let Some(keys) = self.users.get_mut(&user) {
            keys.remove(&key);
            if keys.is_empty() {
                self.users.remove(&user);
                self.user_calls.remove(&user);
            }
        }
    }
}

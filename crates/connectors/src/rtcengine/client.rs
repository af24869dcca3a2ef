//! Sessions and their clients: who is there, what it was sent, and how it ends.
//!
//! A client outlives its sockets by the resume window. Without a socket its accounts stay
//! connected, its calls stay up, and its messages wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{ConnectionId, LegId, Secret};
use crosspoint_call::Cause;
use serde_json::Value;

use super::accounts::{Account, Known};
use super::calls::ClientCall;
use super::grant::IceServer;
use super::message::Envelope;
use super::outbox::Outbox;
use super::{CallKey, ClientKey, Output, RtcEngine, Timer};

/// A token with its accounts.
#[derive(Debug)]
pub(super) struct ClientSession {
    pub(super) token: Secret<Box<str>>,
    /// As they were granted last.
    pub(super) accounts: Vec<Arc<Known>>,
    pub(super) ice_servers: Vec<IceServer>,
    pub(super) clients: BTreeSet<ClientKey>,
}

/// One page or app that uses a session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: Arc<str>,
    /// Drawn by the client itself; one without can only be adopted.
    pub(super) name: Option<Box<str>>,
    pub(super) socket: Option<ConnectionId>,
    pub(super) accounts: Box<[Account]>,
    /// By the client's id for them.
    pub(super) calls: BTreeMap<Box<str>, CallKey>,
    /// Ids that late messages may still name.
    pub(super) past: VecDeque<PastCall>,
    pub(super) outbox: Outbox,
}

/// A call that is over.
#[derive(Debug)]
pub(super) struct PastCall {
    pub(super) id: Box<str>,
    pub(super) ended: Instant,
    /// Of its `call.start`.
    pub(super) fingerprint: u64,
}

impl Client {
    pub(super) fn account_at(&self, target: &str) -> Option<&Account> {
        self.accounts.iter().find(|a| a.known.target == target)
    }

    pub(super) fn account_named(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|a| a.known.name == name)
    }

    /// A call that ended so lately that its messages may still be under way.
    pub(super) fn past_call(&mut self, now: Instant, id: &str) -> Option<&PastCall> {
        self.forget(now);
        self.past.iter().find(|p| *p.id == *id)
    }

    fn forget(&mut self, now: Instant) {
        while self.past.front().is_some_and(|p| p.ended + REMEMBERED <= now) {
            self.past.pop_front();
        }
    }

    pub(super) fn remember(&mut self, now: Instant, id: Box<str>, fingerprint: u64) {
        self.forget(now);
        if self.past.len() >= MAX_PAST {
            self.past.pop_front();
        }
        self.past.push_back(PastCall { id, ended: now, fingerprint });
    }
}

impl RtcEngine {
    /// A numbered message: kept until the client has it, and sent at once if it has a socket.
    pub(super) fn send(&mut self, key: ClientKey, method: &str, from: &str, body: &Value) {
        self.send_of(key, None, (method, from), body);
    }

    /// The same, about a leg.
    pub(super) fn send_of(
        &mut self,
        key: ClientKey,
        leg: Option<LegId>,
        (method, from): (&str, &str),
        body: &Value,
    ) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(session) = self.sessions.get(&client.session) else { return };
        let envelope = Envelope {
            method,
            from,
            to: &key.address(),
            session: session.token.expose(),
            seq: Some(client.outbox.next()),
        };
        let text = envelope.print(body);
        // Who has a socket has most of it already, whether it says so or not.
        let share = if client.socket.is_some() { 4 } else { 1 };
        let max_bytes = self.config.max_waiting_bytes / share;
        let dropped = client.outbox.push(&text, self.config.max_waiting, max_bytes);
        match client.socket {
            Some(connection) => self.outputs.push_back(Output::Send { connection, leg, text }),
            None => self.counters.dropped += dropped,
        }
    }

    /// The client has lost its socket and may come back.
    pub(super) fn orphan(&mut self, now: Instant, key: ClientKey) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.socket = None;
        self.timers.set(Timer::Resume(key), now + self.config.resume_window);
    }

    /// The resume window has passed.
    pub(super) fn expire(&mut self, now: Instant, key: ClientKey) {
        self.counters.expired += 1;
        let calls = self.clients.get(&key).into_iter().flat_map(|client| client.calls.values());
        let calls = calls.filter_map(|call| self.calls.get(call));
        let legs = calls.flat_map(|call| call.legs.iter().map(|(leg, _)| *leg));
        self.outputs.extend(legs.map(Output::Away));
        self.end_client(now, key, Cause::SignalingLost);
    }

    /// Ends a client with its calls and accounts.
    pub(super) fn end_client(&mut self, now: Instant, key: ClientKey, cause: Cause) {
        let Some(client) = self.clients.get(&key) else { return };
        let calls: Vec<CallKey> = client.calls.values().copied().collect();
        let bindings: Vec<_> = client.accounts.iter().filter_map(|a| a.binding).collect();
        for call in calls {
            // Who calls need not know why this device does not take it.
            let rings = self.calls.get(&call).is_some_and(ClientCall::rings_here);
            self.end_call(now, call, if rings { Cause::Unavailable } else { cause });
        }
        for binding in bindings {
            self.unbind(binding);
        }
        self.timers.cancel(&Timer::Resume(key));
        let Some(client) = self.clients.remove(&key) else { return };
        if let Some(session) = self.sessions.get_mut(&client.session) {
            session.clients.remove(&key);
            if session.clients.is_empty() {
                self.sessions.remove(&client.session);
            }
        }
    }

    /// `session.close`: the client is done.
    pub(super) fn close_client(&mut self, now: Instant, key: ClientKey) {
        let socket = self.clients.get(&key).and_then(|c| c.socket);
        self.end_client(now, key, Cause::Normal);
        if let Some(connection) = socket {
            self.close(connection, 1000, "closed");
        }
    }

    /// The session is no more.
    pub(super) fn revoke_session(&mut self, now: Instant, session: &str) {
        let Some(session) = self.sessions.get(session) else { return };
        for key in session.clients.clone() {
            let socket = self.clients.get(&key).and_then(|c| c.socket);
            self.end_client(now, key, Cause::Unauthorized);
            if let Some(connection) = socket {
                self.close(connection, 4401, "session ended");
            }
        }
    }
}

/// Messages of a call that is over are expected for this long.
const REMEMBERED: Duration = Duration::from_secs(30);
const MAX_PAST: usize = 256;

//! Sockets: what may be said on one, how fast, and whose it becomes.

use std::time::{Duration, Instant};

use crosspoint_base::{ConnectionId, Secret};
use serde_json::{Value, json};

use crate::allowance::Allowance;

use super::message::{Envelope, Message, Method, SessionMethod};
use super::{ClientKey, Lookup, Output, RtcEngine, Timer};

#[derive(Debug)]
pub(super) struct Socket {
    /// Of the handshake, until it was looked up.
    origin: Option<String>,
    stage: Stage,
    allowance: Allowance,
    /// Frames that were no message, since the first of them.
    faults: u8,
    faulty_since: Instant,
}

#[derive(Debug)]
enum Stage {
    Fresh,
    /// Its token is being looked up.
    Opening(Box<Opening>),
    Open(ClientKey),
}

/// What a `session.open` asks for.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) token: Secret<Box<str>>,
    /// The client's name for itself.
    pub(super) client: Option<Box<str>>,
    /// The last message that it has.
    pub(super) received: Option<u64>,
}

impl Opening {
    /// `None` when the client's name is none.
    fn of(message: &Message) -> Option<Self> {
        let token = message.body.get("credentials").and_then(|c| c.get("userSession"));
        let token = token.and_then(Value::as_str).unwrap_or(&message.session);
        let client = match message.body.get("client") {
            None | Some(Value::Null) => None,
            Some(_) => Some(message.id("client")?.into()),
        };
        let received = message.body.get("received").and_then(Value::as_u64);
        Some(Self { token: Secret::new(token.into()), client, received })
    }
}

/// Why a message is answered with `core.error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    BadMessage,
    NoSession,
    InvalidToken,
    UnknownMethod,
    UnknownRecipient,
    RateLimited,
}

impl Fault {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::BadMessage => ("badMessage", "not a message of this protocol"),
            Self::NoSession => ("noSession", "session.open comes first"),
            Self::InvalidToken => ("invalidToken", "not the token of this socket"),
            Self::UnknownMethod => ("unknownMethod", "no such method"),
            Self::UnknownRecipient => ("unknownRecipient", "not a target of this session"),
            Self::RateLimited => ("rateLimited", "too many messages"),
        }
    }
}

impl RtcEngine {
    pub(super) fn open_socket(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        origin: Option<String>,
    ) {
        if self.sockets.len() >= self.config.max_clients.saturating_mul(2) {
            self.outputs.push_back(Output::Close { connection, code: 1013, reason: "overload" });
            return;
        }
        let socket = Socket {
            origin,
            stage: Stage::Fresh,
            allowance: Allowance::new(now, self.config.burst),
            faults: 0,
            faulty_since: now,
        };
        self.sockets.insert(connection, socket);
        self.timers.set(Timer::Open(connection), now + OPENING);
    }

    /// Closes a socket. Its client, if it has one yet, is another's business.
    pub(super) fn close(&mut self, connection: ConnectionId, code: u16, reason: &'static str) {
        if self.sockets.remove(&connection).is_some() {
            self.timers.cancel(&Timer::Open(connection));
            self.outputs.push_back(Output::Close { connection, code, reason });
        }
    }

    /// Closes a socket whose client may come back.
    fn cut_off(&mut self, now: Instant, connection: ConnectionId, code: u16, why: &'static str) {
        let client = self.client_at(connection);
        self.close(connection, code, why);
        if let Some(key) = client {
            self.orphan(now, key);
        }
    }

    pub(super) fn socket_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.timers.cancel(&Timer::Open(connection));
        let client = self.client_at(connection);
        self.sockets.remove(&connection);
        if let Some(key) = client {
            self.orphan(now, key);
        }
    }

    /// No session was opened on it in time.
    pub(super) fn opening_late(&mut self, connection: ConnectionId) {
        self.close(connection, 4408, "no session was opened");
    }

    pub(super) fn client_at(&self, connection: ConnectionId) -> Option<ClientKey> {
        match self.sockets.get(&connection)?.stage {
            Stage::Open(key) => Some(key),
            Stage::Fresh | Stage::Opening(_) => None,
        }
    }

    pub(super) fn hear(&mut self, now: Instant, connection: ConnectionId, text: &str) {
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        if !socket.allowance.take(now, self.config.rate, self.config.burst) {
            self.fault(connection, Fault::RateLimited, None);
            self.cut_off(now, connection, 4429, "too many messages");
            return;
        }
        let Some(message) = Message::parse(text) else {
            self.no_message(now, connection);
            return;
        };
        let Some(method) = Method::parse(&message.method) else {
            let is_open = self.client_at(connection).is_some();
            let fault = if is_open { Fault::UnknownMethod } else { Fault::NoSession };
            self.fault(connection, fault, Some(&message));
            return;
        };
        match (self.client_at(connection), method) {
            (None, Method::Session(SessionMethod::Open)) => {
                self.open_session(connection, &message);
            }
            (None, _) => self.fault(connection, Fault::NoSession, Some(&message)),
            (Some(key), method) => self.client_message(now, connection, key, method, &message),
        }
    }

    fn no_message(&mut self, now: Instant, connection: ConnectionId) {
        self.fault(connection, Fault::BadMessage, None);
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        if socket.faults == 0 || now >= socket.faulty_since + FAULT_WINDOW {
            socket.faults = 0;
            socket.faulty_since = now;
        }
        socket.faults += 1;
        if socket.faults >= MAX_FAULTS {
            self.cut_off(now, connection, 4400, "not this protocol");
        }
    }

    fn open_session(&mut self, connection: ConnectionId, message: &Message) {
        let Some(opening) = Opening::of(message) else {
            self.fault(connection, Fault::BadMessage, Some(message));
            return;
        };
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        if matches!(socket.stage, Stage::Opening(_)) {
            // The answer to the first is on its way.
            return;
        }
        if opening.token.expose().is_empty() || opening.token.expose().len() > MAX_TOKEN {
            self.deny(connection, super::Denial::InvalidToken, opening.token.expose());
            return;
        }
        let token = Secret::new(opening.token.expose().to_string());
        let origin = socket.origin.clone();
        socket.stage = Stage::Opening(Box::new(opening));
        self.outputs.push_back(Output::Lookup(Lookup { connection, token, origin }));
    }

    /// What a socket waits for, when the answer to its lookup is here.
    pub(super) fn take_opening(&mut self, connection: ConnectionId) -> Option<Opening> {
        let socket = self.sockets.get_mut(&connection)?;
        match std::mem::replace(&mut socket.stage, Stage::Fresh) {
            Stage::Opening(opening) => Some(*opening),
            stage @ (Stage::Fresh | Stage::Open(_)) => {
                socket.stage = stage;
                None
            }
        }
    }

    /// The socket is the client's now.
    pub(super) fn give_socket(&mut self, connection: ConnectionId, key: ClientKey) {
        if let Some(socket) = self.sockets.get_mut(&connection) {
            socket.stage = Stage::Open(key);
            socket.origin = None;
            self.timers.cancel(&Timer::Open(connection));
        }
    }

    fn client_message(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        key: ClientKey,
        method: Method,
        message: &Message,
    ) {
        if method == Method::Session(SessionMethod::Open) {
            self.open_again(connection, key, message);
            return;
        }
        let session = self.clients.get(&key).and_then(|c| self.sessions.get(&c.session));
        if session.is_none_or(|s| **s.token.expose() != *message.session) {
            self.fault(connection, Fault::InvalidToken, Some(message));
            return;
        }
        match method {
            Method::Session(SessionMethod::Open | SessionMethod::Ack) => {
                let received = message.body.get("received").and_then(Value::as_u64);
                if let (Some(client), Some(received)) = (self.clients.get_mut(&key), received) {
                    client.outbox.acknowledge(received);
                }
            }
            Method::Session(SessionMethod::Close) => self.close_client(now, key),
            Method::Account(method) => {
                self.account_message(key, method, message);
            }
            Method::Call(method) => self.call_message(now, key, method, message),
        }
    }

    /// A second `session.open` on a socket that has its client: answered again, without effect.
    fn open_again(&mut self, connection: ConnectionId, key: ClientKey, message: &Message) {
        let opening = Opening::of(message);
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(session) = self.sessions.get(&client.session) else { return };
        let fault = match &opening {
            Some(opening) if opening.token != session.token => Fault::InvalidToken,
            Some(opening) if opening.client.is_none() || opening.client == client.name => {
                client.outbox.acknowledge(opening.received.unwrap_or_default());
                self.send_validated(key, true);
                return;
            }
            // One socket is one client.
            Some(_) | None => Fault::BadMessage,
        };
        self.fault(connection, fault, Some(message));
    }

    pub(super) fn unknown_recipient(&mut self, key: ClientKey, message: &Message) {
        self.client_fault(key, Fault::UnknownRecipient, message);
    }

    pub(super) fn client_fault(&mut self, key: ClientKey, fault: Fault, message: &Message) {
        if let Some(connection) = self.clients.get(&key).and_then(|c| c.socket) {
            self.fault(connection, fault, Some(message));
        }
    }

    /// Answers what cannot be done with `core.error`.
    pub(super) fn fault(
        &mut self,
        connection: ConnectionId,
        fault: Fault,
        message: Option<&Message>,
    ) {
        let counters = &mut self.counters;
        *match fault {
            Fault::BadMessage => &mut counters.bad_messages,
            Fault::NoSession => &mut counters.no_session,
            Fault::InvalidToken => &mut counters.invalid_token,
            Fault::UnknownMethod => &mut counters.unknown_method,
            Fault::UnknownRecipient => &mut counters.unknown_recipient,
            Fault::RateLimited => &mut counters.rate_limited,
        } += 1;
        let (kind, text) = fault.words();
        let mut body = json!({ "type": kind, "message": text });
        if let Some(message) = message {
            let method: String = message.method.chars().take(MAX_ECHO).collect();
            body["request"] = json!({ "method": method });
            if let Some(id) = message.id("id") {
                body["request"]["id"] = Value::from(id);
            }
        }
        self.send_to_socket(connection, "core.error", &body);
    }

    /// A message without a number: it belongs to the socket, not to the client.
    pub(super) fn send_to_socket(&mut self, connection: ConnectionId, method: &str, body: &Value) {
        let client = self.client_at(connection);
        let session = client
            .and_then(|key| self.clients.get(&key))
            .and_then(|client| self.sessions.get(&client.session));
        let to = client.map_or_else(|| "browser".to_owned(), ClientKey::address);
        let token = session.map(|s| &**s.token.expose()).unwrap_or_default();
        let envelope = Envelope { method, from: "core", to: &to, session: token, seq: None };
        let text = envelope.print(body);
        self.outputs.push_back(Output::Send { connection, leg: None, text });
    }
}

/// A socket must open its session within this time.
const OPENING: Duration = Duration::from_secs(30);
const FAULT_WINDOW: Duration = Duration::from_secs(60);
const MAX_FAULTS: u8 = 3;
const MAX_TOKEN: usize = 1024;
/// Characters of an unknown method that an answer repeats.
const MAX_ECHO: usize = 64;

//! A gate to test the connector at: apps speak JSON on sockets, and a call is played by hand.
//!
//! Time is moved by hand. What the connector sends and tells is queued in order, and a story
//! takes it from there piece by piece, so that nothing unexpected stays unseen.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crosspoint_base::{
    BindingId, ConnectionId, Gcid, LegId, Private, RegistrationId, Rng, Secret, Transport,
};
use crosspoint_call::{
    Cause, Identity, IncomingOffer, LegCommand, LegEvent, MediaPath, OutgoingOffer, Reach, Text,
};
use crosspoint_connectors::rtcengine::{
    AccountGrant, Denial, Grant, Output, RemoteAccount, RemoteState, RtcEngine, RtcEngineConfig,
    Service, TextTicket,
};
use serde_json::{Value, json};

use crate::harness::{sdp, secs, wall_clock};

/// A browser's description without candidates.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789012345678901\r\na=rtpmap:111 opus/48000/2\r\n";
/// What the call gives the connector to send.
pub(crate) const OURS: &str = "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n\
m=audio 6000 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\n\
a=rtpmap:111 opus/48000/2\r\n";
/// One of its candidates.
pub(crate) const CANDIDATE: &str = "candidate:1 1 udp 2122260223 192.0.2.77 5000 typ host";

/// The start of the clock.
pub(crate) const EPOCH: i64 = 1_700_000_000;

pub(crate) const SIP: &str = "sip-connector:b2bua-alice-sip";
pub(crate) const CARRIER: &str = "sip-connector:b2bua-alice-carrier";
pub(crate) const WEB: &str = "webrtc:b2bua-alice-web";
pub(crate) const CHAT: &str = "xmpp-connector:b2bua-alice-chat";
pub(crate) const LOCKED: &str = "sip-connector:b2bua-alice-locked";

/// What stands in the registry for the carrier's account.
pub(crate) fn carrier() -> RemoteAccount {
    RemoteAccount {
        user: "4711".to_owned(),
        domain: "carrier.test".to_owned(),
        host: "carrier.test".to_owned(),
        port: None,
        transport: Transport::Udp,
        auth_user: None,
        password: Secret::new("hush".to_owned()),
        expires: secs(600),
    }
}

/// What the token of a user grants: an account of every kind.
pub(crate) fn grant(user: &str) -> Grant {
    let account = |kind: &str, identifier: String, service| {
        let id = format!("{user}-{kind}").into();
        (kind.to_owned(), AccountGrant { id, identifier, network: kind.to_owned(), service })
    };
    let address = format!("sip:{user}@gateway.test");
    let accounts = [
        account("sip", address.clone(), Service::Local { user: user.into() }),
        account("carrier", "sip:4711@carrier.test".to_owned(), Service::Remote(carrier().into())),
        account(
            "web",
            user.to_owned(),
            Service::Apps {
                network: "net-1".into(),
                name: user.to_owned(),
                path: MediaPath::Direct,
            },
        ),
        account("chat", user.to_owned(), Service::NotAvailable { connector: "xmpp-connector" }),
        account("locked", address, Service::Unauthorized),
    ];
    Grant {
        session: format!("session-of-{user}").into(),
        expires: far_future(),
        accounts: accounts.into_iter().collect(),
        ice_servers: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a story needs some instant to count from")]
fn some_instant() -> Instant {
    Instant::now()
}

fn far_future() -> Instant {
    some_instant() + secs(1_000_000)
}

/// The connector, everything that came out of it, and the shell's answers to what it asks.
pub(crate) struct Gate {
    pub(crate) engine: RtcEngine,
    pub(crate) now: Instant,
    deadline: Option<Instant>,
    /// By token.
    pub(crate) grants: BTreeMap<String, Result<Grant, Denial>>,
    sent: BTreeMap<u64, VecDeque<Value>>,
    closed: BTreeMap<u64, u16>,
    pub(crate) origins: Vec<Option<String>>,
    events: VecDeque<(LegId, LegEvent)>,
    pub(crate) registered: Vec<(RegistrationId, RemoteAccount)>,
    pub(crate) unregistered: Vec<RegistrationId>,
    pub(crate) texts: VecDeque<(TextTicket, Text)>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut RtcEngineConfig)) -> Self {
        let now = some_instant();
        let mut config = RtcEngineConfig::new("gateway.test", wall_clock(now, EPOCH));
        adjust(&mut config);
        let grants = ["alice", "bob"].map(|user| (format!("{user}-token"), Ok(grant(user))));
        Self {
            engine: RtcEngine::new(config, Rng::from_u64(1)),
            now,
            deadline: None,
            grants: grants.into(),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            origins: vec![],
            events: VecDeque::new(),
            registered: vec![],
            unregistered: vec![],
            texts: VecDeque::new(),
        }
    }

    pub(crate) fn drain(&mut self) {
        loop {
            match self.engine.poll_output() {
                Output::Send { connection, text, .. } => {
                    let message: Value = serde_json::from_str(&text).expect("we send JSON");
                    assert!(!self.closed.contains_key(&connection.0), "sent after the close");
                    self.sent.entry(connection.0).or_default().push_back(message);
                }
                Output::Close { connection, code, .. } => {
                    assert_eq!(self.closed.insert(connection.0, code), None, "closed twice");
                }
                Output::Away(_) => {}
                Output::Leg(leg, event) => self.events.push_back((leg, *event)),
                Output::Lookup(lookup) => {
                    self.origins.push(lookup.origin.clone());
                    let answer = self.grants.get(lookup.token.expose()).cloned();
                    let answer = answer.unwrap_or(Err(Denial::InvalidToken));
                    self.engine.handle_lookup(self.now, lookup.connection, answer);
                }
                Output::Register(id, account) => self.registered.push((id, *account)),
                Output::Unregister(id) => self.unregistered.push(id),
                Output::Text(ticket, text) => self.texts.push_back((*ticket, *text)),
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
            }
        }
    }

    pub(crate) fn open(&mut self, socket: u64) {
        let origin = Some("https://app.test".to_owned());
        self.engine.handle_open(self.now, ConnectionId(socket), origin);
        self.drain();
    }

    pub(crate) fn text(&mut self, socket: u64, text: &str) {
        self.engine.handle_text(self.now, ConnectionId(socket), text);
        self.drain();
    }

    pub(crate) fn message(&mut self, socket: u64, message: &Value) {
        self.text(socket, &message.to_string());
    }

    /// The network drops the socket.
    pub(crate) fn lose(&mut self, socket: u64) {
        self.engine.handle_closed(self.now, ConnectionId(socket));
        self.drain();
    }

    pub(crate) fn registration(&mut self, id: RegistrationId, state: RemoteState) {
        self.engine.handle_registration(self.now, id, state);
        self.drain();
    }

    pub(crate) fn command(&mut self, leg: LegId, command: LegCommand) {
        self.engine.handle_command(self.now, leg, command);
        self.drain();
    }

    /// Lets time pass, every timer at its own instant.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            match self.deadline.filter(|at| *at <= end) {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.engine.handle_timeout(self.now);
                    self.drain();
                }
                None => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("the timers never come to rest");
    }

    // What a socket hears.

    #[track_caller]
    pub(crate) fn next(&mut self, socket: u64) -> Value {
        self.sent.get_mut(&socket).and_then(VecDeque::pop_front).expect("nothing was sent")
    }

    /// The next message's body, which must be of this method.
    #[track_caller]
    pub(crate) fn hears(&mut self, socket: u64, method: &str) -> Value {
        let message = self.next(socket);
        assert_eq!(message["method"], method, "{message}");
        message["body"].clone()
    }

    /// The type of the next message, which must be a `core.error`.
    #[track_caller]
    pub(crate) fn fault(&mut self, socket: u64) -> String {
        let body = self.hears(socket, "core.error");
        body["type"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn nothing(&mut self, socket: u64) {
        let rest: Vec<Value> = self.sent.remove(&socket).into_iter().flatten().collect();
        assert!(rest.is_empty(), "sent nevertheless: {rest:?}");
    }

    pub(crate) fn all(&mut self, socket: u64) -> Vec<Value> {
        self.sent.remove(&socket).into_iter().flatten().collect()
    }

    /// The code that the socket was closed with.
    pub(crate) fn code(&mut self, socket: u64) -> Option<u16> {
        self.closed.get(&socket).copied()
    }

    // What the call is told.

    #[track_caller]
    pub(crate) fn event(&mut self) -> (LegId, LegEvent) {
        self.events.pop_front().expect("the call was told nothing")
    }

    pub(crate) fn events(&mut self) -> Vec<(LegId, LegEvent)> {
        self.events.drain(..).collect()
    }

    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        let rest: Vec<_> = self.events.drain(..).collect();
        assert!(rest.is_empty(), "the call was told {rest:?}");
    }

    #[track_caller]
    pub(crate) fn ended(&mut self, leg: LegId, cause: Cause) {
        match self.event() {
            (id, LegEvent::Ended(found)) => assert_eq!((id, found), (leg, cause)),
            other => panic!("not ended but {other:?}"),
        }
    }

    /// The next event, which must be a new call and the promise to wait for its media.
    #[track_caller]
    pub(crate) fn offered(&mut self) -> (LegId, IncomingOffer) {
        let (leg, event) = self.event();
        let LegEvent::Offer(offer) = event else { panic!("no offer but {event:?}") };
        match self.event() {
            (other, LegEvent::MediaGrace(grace)) => assert_eq!((other, grace), (leg, secs(30))),
            other => panic!("no grace but {other:?}"),
        }
        (leg, *offer)
    }

    /// After a story nothing may be left, once all waiting times are over.
    #[track_caller]
    pub(crate) fn leaves_nothing(&mut self, apps: &[&App]) {
        for app in apps {
            if self.code(app.socket).is_none() {
                app.say(self, "session.close", "", json!({}));
                assert_eq!(self.code(app.socket), Some(1000));
            }
        }
        self.pass(secs(300));
        assert_eq!((self.engine.clients(), self.engine.legs()), (0, 0), "clients and legs");
        assert!(self.engine.is_idle(), "something is left of a client");
        assert_eq!(self.registered.len(), self.unregistered.len(), "registrations");
    }

    // Beginnings that many stories share.

    /// A page that opened its session and has connected its own account.
    #[track_caller]
    pub(crate) fn app(&mut self, socket: u64, user: &str) -> App {
        let app = self.page(socket, user);
        app.connect(self, "sip");
        app
    }

    /// A page that opened its session.
    #[track_caller]
    pub(crate) fn page(&mut self, socket: u64, user: &str) -> App {
        let app = App::new(socket, user);
        self.open(socket);
        let body = app.open(self, json!({}));
        assert_eq!(body["result"], true, "{body}");
        app
    }

    /// The binding of a user's only device.
    #[track_caller]
    pub(crate) fn device(&self, user: &str) -> BindingId {
        let devices: Vec<BindingId> = self.engine.devices_of(user).collect();
        assert_eq!(devices.len(), 1, "devices of {user}");
        devices[0]
    }

    /// A call for a binding.
    pub(crate) fn call(&mut self, binding: BindingId) -> LegId {
        self.call_at(Reach::Binding(binding))
    }

    pub(crate) fn call_at(&mut self, reach: Reach) -> LegId {
        let leg = self.engine.next_leg_id();
        let offer = OutgoingOffer {
            is_emergency: false,
            reach,
            from: Identity {
                address: Private("carol".to_owned()),
                display_name: Some(Private("Carol".to_owned())),
                user: Some("carol".into()),
                ..Identity::default()
            },
            to: Private("alice".to_owned()),
            description: sdp(OURS),
            gcid: Gcid::from_peer("gcid-in").unwrap(),
            ring_timeout: secs(60),
            referred_by: None,
            joins: None,
            diverted: vec![],
            auto_answer: false,
            location: None,
        };
        self.command(leg, LegCommand::Offer(Box::new(offer)));
        leg
    }

    /// A call that rings at an app; its leg and the `call.start`.
    #[track_caller]
    pub(crate) fn ringing(&mut self, app: &App) -> (LegId, Value) {
        let binding = self.device(app.user);
        let leg = self.call(binding);
        let start = self.hears(app.socket, "call.start");
        assert!(matches!(self.event(), (id, LegEvent::Trying) if id == leg));
        assert!(matches!(self.event(), (id, LegEvent::MediaGrace(_)) if id == leg));
        (leg, start)
    }

    /// A call that an app took; its leg and id.
    #[track_caller]
    pub(crate) fn incoming_up(&mut self, app: &App) -> (LegId, String) {
        let (leg, start) = self.ringing(app);
        let id = start["id"].as_str().unwrap().to_owned();
        app.in_call(self, "call.accept", &id, json!({ "sdp": OFFER }));
        assert!(matches!(self.event(), (_, LegEvent::Answer(Some(_)))));
        self.hears(app.socket, "call.ack.accept");
        (leg, id)
    }

    /// A call that an app made and that was answered.
    #[track_caller]
    pub(crate) fn outgoing_up(&mut self, app: &App, id: &str) -> LegId {
        app.start(self, id, json!({}));
        self.hears(app.socket, "call.alive");
        let (leg, _) = self.offered();
        self.command(leg, LegCommand::Answer(sdp(OURS)));
        self.hears(app.socket, "call.accept");
        app.in_call(self, "call.ack.accept", id, json!({}));
        assert!(matches!(self.event(), (_, LegEvent::Confirm(None))));
        leg
    }
}

/// One page: a socket, and what it says on it.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) socket: u64,
    pub(crate) user: &'static str,
    pub(crate) token: String,
    pub(crate) client: Option<String>,
}

impl App {
    pub(crate) fn new(socket: u64, user: &str) -> Self {
        let user = if user == "alice" { "alice" } else { "bob" };
        let client = Some(format!("client-{socket}"));
        Self { socket, user, token: format!("{user}-token"), client }
    }

    /// The same page with another socket.
    pub(crate) fn at(&self, socket: u64) -> Self {
        Self { socket, ..self.clone() }
    }

    pub(crate) fn say(&self, gate: &mut Gate, method: &str, to: &str, body: Value) {
        let message = json!({
            "method": method, "from": "browser:c1", "to": to, "session": self.token, "body": body,
        });
        gate.message(self.socket, &message);
    }

    /// Opens the session; the body of the answer.
    #[track_caller]
    pub(crate) fn open(&self, gate: &mut Gate, more: Value) -> Value {
        let mut body = json!({ "credentials": { "userSession": self.token } });
        if let Some(client) = &self.client {
            body["client"] = json!(client);
        }
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        self.say(gate, "session.open", "", body);
        gate.hears(self.socket, "session.validated")
    }

    /// Comes back on another socket, having handled everything up to `received`.
    #[track_caller]
    pub(crate) fn resume(&self, gate: &mut Gate, socket: u64, received: u64) -> (Self, Value) {
        let again = self.at(socket);
        gate.open(socket);
        let body = again.open(gate, json!({ "received": received }));
        (again, body)
    }

    /// The target of one of its accounts.
    pub(crate) fn target(&self, account: &str) -> String {
        let connector = match account {
            "web" => "webrtc",
            "chat" => "xmpp-connector",
            _ => "sip-connector",
        };
        format!("{connector}:b2bua-{}-{account}", self.user)
    }

    /// Connects an account; the state that it is told.
    #[track_caller]
    pub(crate) fn connect(&self, gate: &mut Gate, account: &str) -> (String, String) {
        self.say(gate, "account.connect", &self.target(account), json!({ "id": account }));
        self.state(gate, account)
    }

    /// The next message, which must be the state of an account.
    #[track_caller]
    pub(crate) fn state(&self, gate: &mut Gate, account: &str) -> (String, String) {
        let body = gate.hears(self.socket, "account.state");
        assert_eq!(body["id"], account);
        let word = |name: &str| body[name].as_str().unwrap().to_owned();
        (word("state"), word("reason"))
    }

    /// Starts a call over the account `sip`, unless `more` says otherwise.
    pub(crate) fn start(&self, gate: &mut Gate, id: &str, more: Value) {
        self.start_at(gate, &json!(self.target("sip")), id, more);
    }

    pub(crate) fn start_at(&self, gate: &mut Gate, to: &Value, id: &str, more: Value) {
        let mut body = json!({
            "id": id, "gcid": format!("gcid-{id}"), "account": "sip", "target": "sip:bob@gateway.test",
            "sdp": OFFER, "trickle": true, "replace": false,
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        let message = json!({
            "method": "call.start", "from": "", "to": to, "session": self.token, "body": body,
        });
        gate.message(self.socket, &message);
    }

    /// A message of a call.
    pub(crate) fn in_call(&self, gate: &mut Gate, method: &str, id: &str, more: Value) {
        let mut body = json!({ "id": id });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        self.say(gate, method, &self.target("sip"), body);
    }
}

/// The reason of a `call.end`, which must be for this id.
#[track_caller]
pub(crate) fn reason(body: &Value, id: &str) -> String {
    assert_eq!(body["id"], id, "{body}");
    body["reason"].as_str().unwrap().to_owned()
}

//! The RTC:engine connector between apps, the network and calls that do what they like, in any
//! order and at any time. Every leg begins with its offer and ends once, everything we send is
//! JSON, and once all are gone nothing is left. Each step is three bytes and as much text as the
//! third says.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crosspoint_base::{
    ConnectionId, Gcid, LegId, Private, RegistrationId, Rng, Secret, Transport, WallClock,
};
use crosspoint_call::{
    Candidate, Cause, Digit, Identity, LegCommand, LegEvent, MediaPath, OutgoingOffer, Reach,
    TransferProgress,
};
use crosspoint_connectors::rtcengine::{
    AccountGrant, Denial, DeviceKind, Grant, Output, RemoteAccount, RemoteFailure, RemoteState,
    RtcEngine, RtcEngineConfig, Service, UserCall,
};
use crosspoint_sdp::Session;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    let mut rest = bytes;
    for _ in 0..300 {
        let Some(([what, a, len], more)) = rest.split_first_chunk() else { break };
        let (text, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        world.step(*what, *a, text);
    }
    world.finish();
});

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
a=rtpmap:111 opus/48000/2\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";

const METHODS: [&str; 22] = [
    "session.open",
    "session.ack",
    "session.close",
    "account.connect",
    "account.disconnect",
    "call.start",
    "call.alive",
    "call.ringing",
    "call.accept",
    "call.ack.accept",
    "call.candidate",
    "call.fullsdp",
    "call.change.lock",
    "call.change.lock.ok",
    "call.change.lock.reset",
    "call.change.offer",
    "call.change.answer",
    "call.dtmf",
    "call.transfer",
    "call.end",
    "call.ack.end",
    "call.unknown",
];
const ACCOUNTS: [&str; 4] = ["sip", "carrier", "web", "chat"];

struct World {
    now: Instant,
    engine: RtcEngine,
    deadline: Option<Instant>,
    /// The last is the newest.
    sockets: Vec<u64>,
    registered: BTreeSet<RegistrationId>,
    live: BTreeSet<LegId>,
    ended: BTreeMap<LegId, Cause>,
    /// Ids that we drew.
    ids: Vec<String>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut config = RtcEngineConfig::new("gateway.test", WallClock::new(now, Duration::ZERO));
        config.max_clients = 6;
        config.max_clients_per_session = 4;
        config.max_calls_per_client = 4;
        config.max_waiting = 8;
        Self {
            now,
            engine: RtcEngine::new(config, Rng::from_u64(1)),
            deadline: None,
            sockets: vec![],
            registered: BTreeSet::new(),
            live: BTreeSet::new(),
            ended: BTreeMap::new(),
            ids: vec![],
        }
    }

    fn step(&mut self, what: u8, a: u8, text: &[u8]) {
        match what % 10 {
            0 => self.open(a),
            1 => {
                if let Some(connection) = self.socket(a) {
                    self.engine.handle_closed(self.now, connection);
                }
            }
            2 => {
                let text = String::from_utf8_lossy(text);
                if let Some(connection) = self.socket(a) {
                    self.engine.handle_text(self.now, connection, &text);
                }
            }
            3..=5 => self.say(what, a, text),
            6 => self.call(a),
            7 => self.command(a, text.first().copied().unwrap_or_default()),
            8 => self.network(a),
            _ => self.pass(Duration::from_millis(u64::from(a) * u64::from(a))),
        }
        self.drain();
        let clients = self.engine.clients();
        assert!(clients <= 6 && self.engine.legs() <= clients * 4 * 8);
    }

    fn socket(&self, a: u8) -> Option<ConnectionId> {
        let back = usize::from(a >> 6).min(self.sockets.len().checked_sub(1)?);
        self.sockets.get(self.sockets.len() - 1 - back).copied().map(ConnectionId)
    }

    fn open(&mut self, a: u8) {
        let id = self.sockets.last().map_or(1, |last| last + 1);
        self.sockets.push(id);
        self.engine.handle_open(self.now, ConnectionId(id), None);
        let mut body = json!({ "credentials": { "userSession": token(a) }, "received": a >> 4 });
        if a & 2 != 0 {
            body["client"] = json!(format!("client-{}", a & 4));
        }
        let message = json!({ "method": "session.open", "body": body });
        self.engine.handle_text(self.now, ConnectionId(id), &message.to_string());
    }

    fn say(&mut self, what: u8, a: u8, text: &[u8]) {
        let Some(connection) = self.socket(what) else { return };
        let text = String::from_utf8_lossy(text);
        let method = METHODS[usize::from(a) % METHODS.len()];
        let account = ACCOUNTS[usize::from(what >> 4) % 4];
        let id = match self.ids.last() {
            Some(id) if a >= 0x80 => id.clone(),
            _ => format!("id-{}", what >> 5),
        };
        let id = if method.starts_with("account") { account.to_owned() } else { id };
        let targets = ACCOUNTS.map(|name| target(a, name));
        let to = match what % 10 {
            3 if method == "call.start" => json!(targets),
            _ => json!(target(a, account)),
        };
        let message = json!({
            "method": method, "to": to, "session": token(a),
            "body": {
                "id": id, "sdp": if text.starts_with('v') { &text } else { SDP },
                "target": text, "dtmf": text, "reason": text, "replace": what & 8 != 0,
                "received": text.len(), "candidate": { "payload": text },
            },
        });
        self.engine.handle_text(self.now, connection, &message.to_string());
    }

    fn call(&mut self, a: u8) {
        let engine = &self.engine;
        let devices = engine.devices_of("alice").chain(engine.devices_of("bob"));
        let members = engine.members_of("net", "alice").chain(engine.members_of("net", "bob"));
        let owners = self.registered.iter().flat_map(|id| engine.owners_of(*id));
        let bindings: Vec<_> = devices.chain(members).chain(owners).collect();
        let Some(binding) = bindings.get(usize::from(a) % bindings.len().max(1)) else { return };
        let binding = *binding;
        let leg = self.engine.next_leg_id();
        self.live.insert(leg);
        let offer = OutgoingOffer {
            is_emergency: false,
            reach: Reach::Binding(binding),
            from: Identity { address: Private("carol".to_owned()), ..Identity::default() },
            to: Private("alice".to_owned()),
            description: session(),
            gcid: Gcid::from_peer("gcid").expect("a good id"),
            ring_timeout: Duration::from_secs(60),
            referred_by: None,
            location: None,
            diverted: vec![],
            auto_answer: false,
            joins: None,
        };
        self.engine.handle_command(self.now, leg, LegCommand::Offer(Box::new(offer)));
    }

    fn command(&mut self, a: u8, b: u8) {
        let Some(leg) = self.live.iter().nth(usize::from(b) % self.live.len().max(1)) else {
            return;
        };
        let digit = Digit::new('1').expect("a digit");
        let command = match a % 13 {
            0 => LegCommand::Ringing,
            1 => LegCommand::EarlyMedia(session()),
            2 => LegCommand::Answer(session()),
            3 => LegCommand::Reoffer(session()),
            4 => LegCommand::Reanswer(session()),
            5 => LegCommand::RejectReoffer(Cause::NoCommonCodec),
            6 => LegCommand::Dtmf(digit, Duration::from_millis(100)),
            7 => LegCommand::TransferProgress(TransferProgress::Trying),
            8 => LegCommand::Candidate(Candidate {
                text: "candidate:1 1 udp 1 192.0.2.1 5 typ host".to_owned(),
                mid: None,
                ufrag: None,
            }),
            9 => LegCommand::EndOfCandidates,
            10 => LegCommand::End(Cause::Declined),
            11 => LegCommand::End(Cause::Busy),
            _ => LegCommand::End(Cause::Normal),
        };
        self.engine.handle_command(self.now, *leg, command);
    }

    fn network(&mut self, a: u8) {
        let registration = self.registered.last().copied();
        match (a % 8, registration) {
            (0..=3, Some(id)) => {
                let state = match a % 4 {
                    0 => RemoteState::Connected,
                    1 => RemoteState::Retrying(RemoteFailure::Network),
                    2 => RemoteState::Failed(RemoteFailure::Unauthorized),
                    _ => RemoteState::Disconnected,
                };
                self.engine.handle_registration(self.now, id, state);
            }
            (4, _) if a >= 0xe0 => self.engine.revoke(self.now, "session-0"),
            (5, _) => {
                let call = |leg: &LegId| UserCall {
                    leg: *leg,
                    gcid: Gcid::from_peer("gcid").expect("a good id"),
                    peer: Identity::default(),
                    is_outgoing: a & 16 != 0,
                    is_active: a & 32 != 0,
                    since_unix: 0,
                    device: DeviceKind::Phone,
                };
                let calls: Vec<UserCall> = self.live.iter().map(call).collect();
                self.engine.handle_user_calls(self.now, "alice", &calls);
            }
            _ => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.deadline.filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            self.drain();
            assert!(self.deadline.is_none_or(|next| next > self.now), "a timer that never ends");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        loop {
            match self.engine.poll_output() {
                Output::Send { text, .. } => self.hear(&text),
                Output::Close { .. } => {}
                Output::Away(_) => {}
                Output::Leg(leg, event) => self.told(leg, &event),
                Output::Lookup(lookup) => {
                    let answer = grant(lookup.token.expose(), self.now);
                    self.engine.handle_lookup(self.now, lookup.connection, answer);
                }
                Output::Register(id, _) => assert!(self.registered.insert(id)),
                Output::Unregister(id) => assert!(self.registered.remove(&id)),
                Output::Text(ticket, _) => self.engine.text_taken(&ticket, Ok(())),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }

    fn hear(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).expect("what we send parses");
        if message["method"] == "call.start" {
            let id = message["body"]["id"].as_str().expect("an id");
            self.ids.push(id.to_owned());
        }
    }

    fn told(&mut self, leg: LegId, event: &LegEvent) {
        assert!(!self.ended.contains_key(&leg), "a leg spoke after its end");
        match event {
            LegEvent::Offer(_) => assert!(self.live.insert(leg), "a leg was offered twice"),
            LegEvent::Ended(cause) => {
                assert!(self.live.remove(&leg), "a leg ended that never began");
                self.ended.insert(leg, *cause);
            }
            _ => assert!(self.live.contains(&leg), "a leg did not begin with its offer"),
        }
    }

    /// Everybody leaves.
    fn finish(mut self) {
        for id in self.sockets.clone() {
            self.engine.handle_closed(self.now, ConnectionId(id));
        }
        self.drain();
        self.pass(Duration::from_secs(600));
        assert!(self.live.is_empty() && self.registered.is_empty());
        assert!(self.engine.is_idle() && self.engine.sockets() == 0);
    }
}

fn session() -> Session {
    Session::parse(SDP.as_bytes()).expect("a good description")
}

/// The users are alice, bob, and one whose token is worth nothing.
fn token(a: u8) -> String {
    format!("token-{}", (a >> 3) % 3)
}

fn target(a: u8, account: &str) -> String {
    let connector = match account {
        "web" => "webrtc",
        "chat" => "xmpp-connector",
        _ => "sip-connector",
    };
    format!("{connector}:b2bua-{}-{account}", (a >> 3) % 3)
}

fn grant(token: &str, now: Instant) -> Result<Grant, Denial> {
    let (user, number) = match token {
        "token-0" => ("alice", 0),
        "token-1" => ("bob", 1),
        _ => return Err(Denial::InvalidToken),
    };
    let account = |name: &str, service| {
        let grant = AccountGrant {
            id: format!("{number}-{name}").into(),
            identifier: format!("sip:{user}@gateway.test"),
            network: name.to_owned(),
            service,
        };
        (name.to_owned(), grant)
    };
    let remote = RemoteAccount {
        user: user.to_owned(),
        domain: "carrier.test".to_owned(),
        host: "carrier.test".to_owned(),
        port: None,
        transport: Transport::Udp,
        auth_user: None,
        password: Secret::new("secret".to_owned()),
        expires: Duration::from_secs(600),
    };
    let network =
        Service::Apps { network: "net".into(), name: user.to_owned(), path: MediaPath::Direct };
    let accounts = [
        account("sip", Service::Local { user: user.into() }),
        account("carrier", Service::Remote(Box::new(remote))),
        account("web", network),
        account("chat", Service::NotAvailable { connector: "xmpp-connector" }),
    ];
    Ok(Grant {
        ice_servers: Vec::new(),
        session: format!("session-{number}").into(),
        expires: now + Duration::from_secs(100_000),
        accounts: accounts.into(),
    })
}

//! A desk to test the connector at: messages go in as text, and out as text with their time.
//!
//! Time is moved by hand. What the connector sends and tells is queued in order, and a story
//! takes it from there piece by piece, so that nothing unexpected stays unseen.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{
    Conduct, ConnectionId, Flow, Gcid, LegId, Private, RegistrationId, Rng, Transport, WallClock,
};
use crosspoint_call::{Cause, Identity, LegCommand, LegEvent, OutgoingOffer, Reach};
use crosspoint_connectors::sip_ua::{
    Hop, Output, RegistrationConfig, RegistrationState, SipUa, SipUaConfig, TrunkConfig, TrunkNews,
    Unproved, VerificationId,
};
use crosspoint_sdp::Session;
use crosspoint_sip::digest::UserHa1;
use crosspoint_sip::registrar::Change;
use crosspoint_sip::{HeaderName, Message};
use crosspoint_stir::{Claim, Proof};

/// A description as a phone writes it.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\n\
t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
/// Another one, with the user on hold.
pub(crate) const HOLD: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\n\
t=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly\r\n";
/// One of ours, as the call gives it to the connector.
pub(crate) const OURS: &str = "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n\
t=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";

pub(crate) const T1: Duration = Duration::from_millis(500);

/// A clock that showed these Unix seconds at `instant`.
pub(crate) fn wall_clock(instant: Instant, unix_seconds: i64) -> WallClock {
    WallClock::new(instant, secs(unix_seconds.try_into().unwrap()))
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn sdp(text: &str) -> Session {
    Session::parse(text.as_bytes()).unwrap()
}

pub(crate) fn number(text: &str) -> Private<String> {
    Private(text.to_owned())
}

/// A destination of a trunk.
pub(crate) fn hop(at: &str, priority: u32) -> Hop {
    let flow = Flow { remote: address(at), ..trunk() };
    Hop { flow, host: "carrier.test:5060".to_owned(), priority, weight: 0 }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The way to the trunk, whose requests need no password.
pub(crate) fn trunk() -> Flow {
    Flow {
        transport: Transport::Udp,
        connection: None,
        local: address("192.0.2.1:5060"),
        remote: address("192.0.2.9:5060"),
    }
}

/// The way to a phone somewhere else.
pub(crate) fn phone(at: &str) -> Flow {
    Flow { remote: address(at), ..trunk() }
}

/// A browser's WebSocket.
pub(crate) fn browser(connection: u64) -> Flow {
    Flow {
        transport: Transport::Wss,
        connection: Some(ConnectionId(connection)),
        local: address("192.0.2.1:8443"),
        remote: address("198.51.100.7:41000"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a story needs some instant to count from")]
pub(crate) fn some_instant() -> Instant {
    Instant::now()
}

/// A message that the connector sent.
#[derive(Clone)]
pub(crate) struct Sent {
    /// Since the story began.
    pub(crate) at: Duration,
    pub(crate) flow: Flow,
    pub(crate) text: String,
    message: Message,
}

impl Sent {
    /// The method, or the status code.
    pub(crate) fn what(&self) -> String {
        match &self.message {
            Message::Request(request) => request.method.to_string(),
            Message::Response(response) => response.status.to_string(),
        }
    }

    pub(crate) fn start(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The first value of a header; the story fails without one.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> String {
        self.maybe(name).unwrap_or_else(|| panic!("no {name} in\n{}", self.text))
    }

    pub(crate) fn maybe(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let name = HeaderName::parse(Bytes::copy_from_slice(name.as_bytes())).unwrap();
        let values = self.message.headers().all(&name);
        values.map(|v| String::from_utf8_lossy(v).into_owned()).collect()
    }

    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(crate) fn tag(&self, name: &str) -> String {
        tag_of(&self.header(name))
    }

    /// The URI of our Contact.
    pub(crate) fn target(&self) -> String {
        self.header("Contact").trim_start_matches('<').split('>').next().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn is(&self, what: &str) -> &Self {
        assert_eq!(self.what(), what, "\n{}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn has(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.header(name), value, "{name} of\n{}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn lacks(&self, name: &str) -> &Self {
        assert_eq!(self.maybe(name), None, "{name} of\n{}", self.text);
        self
    }
}

pub(crate) fn tag_of(value: &str) -> String {
    value.split(";tag=").nth(1).unwrap_or_default().split(';').next().unwrap().to_owned()
}

/// The connector and everything that came out of it.
pub(crate) struct Desk {
    pub(crate) ua: SipUa,
    pub(crate) now: Instant,
    start: Instant,
    deadline: Option<Instant>,
    sent: VecDeque<Sent>,
    events: VecDeque<(LegId, LegEvent)>,
    /// What was told outside of calls.
    pub(crate) others: VecDeque<Output>,
    pub(crate) changes: Vec<Change>,
    pub(crate) registrations: VecDeque<(RegistrationId, RegistrationState)>,
    pub(crate) news: VecDeque<TrunkNews>,
    pub(crate) questions: VecDeque<(VerificationId, Box<Claim>)>,
    /// What the connector says of peers' conduct.
    pub(crate) conducts: Vec<(Flow, Conduct)>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut SipUaConfig)) -> Self {
        let mut config = SipUaConfig {
            realm: "gateway.test".to_owned(),
            domain: "gateway.test".to_owned(),
            advertised: "192.0.2.1".parse().unwrap(),
            trunks: vec![TrunkConfig::new(
                "carrier",
                "carrier.test",
                vec![hop("192.0.2.9:5060", 0)],
            )],
            endpoint: Default::default(),
            registrar: Default::default(),
            max_legs: 100,
            max_registrations: 3,
            resume_window: secs(30),
            user_agent: "Crosspoint".to_owned(),
            stir: None,
        };
        adjust(&mut config);
        let mut ua = SipUa::new(config, Rng::from_u64(1));
        let ha1 = |user: &str| UserHa1::new(user, "gateway.test", &format!("{user}-secret"));
        let users = ["alice", "bob"].map(|user| (Arc::from(user), ha1(user)));
        ua.set_users(BTreeMap::from(users));
        let now = some_instant();
        Self {
            ua,
            now,
            start: now,
            deadline: None,
            sent: VecDeque::new(),
            events: VecDeque::new(),
            others: VecDeque::new(),
            changes: Vec::new(),
            registrations: VecDeque::new(),
            news: VecDeque::new(),
            questions: VecDeque::new(),
            conducts: Vec::new(),
        }
    }

    fn drain(&mut self) {
        loop {
            match self.ua.poll_output() {
                Output::Transmit(transmit) => {
                    let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
                    let message = Message::parse(transmit.bytes).expect("what we send parses");
                    let at = self.now - self.start;
                    self.sent.push_back(Sent { at, flow: transmit.flow, text, message });
                }
                Output::Leg(leg, event) => self.events.push_back((leg, *event)),
                Output::Binding(change) => self.changes.push(*change),
                Output::Registration(id, state) => self.registrations.push_back((id, state)),
                Output::Trunk(news) => self.news.push_back(*news),
                Output::Conduct(flow, conduct) => self.conducts.push((flow, conduct)),
                Output::Verify(id, claim) => self.questions.push_back((id, claim)),
                other @ (Output::Text(..)
                | Output::TextSent(..)
                | Output::Watch { .. }
                | Output::Published(_)
                | Output::Mailbox(..)) => self.others.push_back(other),
                // For who looks on.
                Output::Rang(..) => {}
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
            }
        }
    }

    /// A message comes in. Lines may end in LF; the `Content-Length` is filled in.
    pub(crate) fn hear(&mut self, flow: &Flow, text: &str) {
        self.hear_bytes(flow, &complete(text));
    }

    /// Bytes come in as they are.
    pub(crate) fn hear_bytes(&mut self, flow: &Flow, bytes: &[u8]) {
        match Message::parse(Bytes::copy_from_slice(bytes)) {
            Ok(message) => self.ua.handle_message(self.now, *flow, message),
            Err(error) => self.ua.handle_malformed(*flow, error.answer.as_deref()),
        }
        self.drain();
    }

    /// Trunks begin what they do by themselves.
    pub(crate) fn start(&mut self) {
        self.ua.start(self.now);
        self.drain();
    }

    pub(crate) fn close(&mut self, connection: u64) {
        self.ua.handle_connection_closed(self.now, ConnectionId(connection));
        self.drain();
    }

    pub(crate) fn register(&mut self, id: RegistrationId, config: RegistrationConfig) {
        self.ua.register(self.now, id, config);
        self.drain();
    }

    pub(crate) fn unregister(&mut self, id: RegistrationId) {
        self.ua.unregister(self.now, id);
        self.drain();
    }

    /// The host has looked at a signature.
    pub(crate) fn verified(&mut self, id: VerificationId, outcome: Result<Proof, Unproved>) {
        self.ua.handle_verified(self.now, id, outcome);
        self.drain();
    }

    /// What was sent there did not leave.
    pub(crate) fn unreachable(&mut self, flow: &Flow) {
        self.ua.handle_transport_error(self.now, flow);
        self.drain();
    }

    /// Does something else with the connector.
    pub(crate) fn act(&mut self, what: impl FnOnce(&mut SipUa, Instant)) {
        what(&mut self.ua, self.now);
        self.drain();
    }

    pub(crate) fn command(&mut self, leg: LegId, command: LegCommand) {
        self.ua.handle_command(self.now, leg, command);
        self.drain();
    }

    /// Lets time pass, every timer at its own instant.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            match self.deadline.filter(|at| *at <= end) {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.ua.handle_timeout(self.now);
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

    /// The next message that was sent.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Sent {
        self.sent.pop_front().expect("nothing was sent")
    }

    /// Lets time pass until something is sent, and gives that.
    #[track_caller]
    pub(crate) fn within(&mut self, time: Duration) -> Sent {
        let end = self.now + time;
        while self.sent.is_empty() {
            let next = self.deadline.filter(|at| *at <= end).expect("nothing is sent in time");
            self.pass(next.saturating_duration_since(self.now));
        }
        self.next()
    }

    #[track_caller]
    pub(crate) fn nothing(&mut self) {
        let rest: Vec<String> = self.sent.drain(..).map(|s| s.text).collect();
        assert!(rest.is_empty(), "sent nevertheless:\n{}", rest.join("\n"));
    }

    pub(crate) fn all(&mut self) -> Vec<Sent> {
        self.sent.drain(..).collect()
    }

    /// The next thing the call was told.
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

    /// After a story nothing may be left, once all waiting times are over.
    #[track_caller]
    pub(crate) fn leaves_nothing(&mut self) {
        self.pass(secs(300));
        assert_eq!((self.ua.legs(), self.ua.transactions()), (0, 0), "legs and transactions");
        assert!(self.ua.is_idle(), "something is left of a call");
    }

    // Beginnings that many stories share.

    /// The trunk calls; the leg that the call heard of.
    #[track_caller]
    pub(crate) fn incoming(&mut self, peer: &mut Peer, extra: &str, body: &str) -> LegId {
        let invite = peer.invite(extra, body);
        self.hear(&peer.flow, &invite);
        match self.event() {
            (leg, LegEvent::Offer(_)) => leg,
            other => panic!("no offer but {other:?}"),
        }
    }

    /// An incoming call up to its ACK.
    #[track_caller]
    pub(crate) fn incoming_up(&mut self, peer: &mut Peer, extra: &str) -> (LegId, Sent) {
        let leg = self.incoming(peer, extra, OFFER);
        self.command(leg, LegCommand::Answer(sdp(OURS)));
        let answer = self.next();
        answer.is("200");
        peer.joins(&answer);
        let ack = peer.ack("");
        self.hear(&peer.flow, &ack);
        assert!(matches!(self.event(), (_, LegEvent::Confirm(None))));
        (leg, answer)
    }

    /// We call over the trunk; the leg and the INVITE.
    #[track_caller]
    pub(crate) fn call_out(&mut self) -> (LegId, Sent) {
        self.call(Reach::Trunk { name: "carrier".into(), number: Private("4711".to_owned()) })
    }

    #[track_caller]
    pub(crate) fn call(&mut self, reach: Reach) -> (LegId, Sent) {
        let leg = self.try_call(reach);
        let invite = self.next();
        invite.is("INVITE");
        (leg, invite)
    }

    /// The INVITE of a call by this caller.
    #[track_caller]
    pub(crate) fn call_from(&mut self, reach: Reach, from: Identity) -> Sent {
        let offer = OutgoingOffer { from, ..self.offer(reach) };
        self.begin(offer);
        let invite = self.next();
        invite.is("INVITE");
        invite
    }

    /// A call that may fail at once.
    pub(crate) fn try_call(&mut self, reach: Reach) -> LegId {
        self.begin(self.offer(reach))
    }

    pub(crate) fn begin(&mut self, offer: OutgoingOffer) -> LegId {
        let leg = self.ua.next_leg_id();
        self.command(leg, LegCommand::Offer(Box::new(offer)));
        leg
    }

    /// What a call that goes there brings along.
    pub(crate) fn offer(&self, reach: Reach) -> OutgoingOffer {
        OutgoingOffer {
            is_emergency: false,
            reach,
            from: Identity { address: Private("alice".to_owned()), ..Identity::default() },
            to: Private("4711".to_owned()),
            description: sdp(OURS),
            gcid: Gcid::from_peer("story").unwrap(),
            ring_timeout: secs(60),
            referred_by: None,
            joins: None,
            diverted: vec![],
            auto_answer: false,
            location: None,
        }
    }

    /// An outgoing call up to our ACK.
    #[track_caller]
    pub(crate) fn outgoing_up(&mut self, extra: &str) -> (LegId, Peer) {
        let (leg, invite) = self.call_out();
        let answer = reply(&invite, "200 OK", "callee", extra, OFFER);
        self.hear(&trunk(), &answer);
        self.next().is("ACK");
        assert!(matches!(self.event(), (_, LegEvent::Answer(Some(_)))));
        (leg, Peer::called_by(&invite, "callee"))
    }
}

/// Line ends as on the wire, and the right `Content-Length` where none is given.
fn complete(text: &str) -> Vec<u8> {
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let head = head.trim_end();
    let has_length = head.to_ascii_lowercase().contains("\r\ncontent-length:");
    let length = format!("\r\nContent-Length: {}", body.len());
    let length = if has_length { "" } else { &length };
    format!("{head}{length}\r\n\r\n{body}").into_bytes()
}

fn with_body(extra: &str, body: &str) -> String {
    let extra = extra.trim();
    let extra = if extra.is_empty() { String::new() } else { format!("{extra}\n") };
    let has_type = body.is_empty() || extra.contains("Content-Type:");
    let kind = if has_type { "" } else { "Content-Type: application/sdp\n" };
    format!("{extra}{kind}\n{body}")
}

/// A peer's side of one dialog.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) flow: Flow,
    pub(crate) call_id: String,
    /// Its From or To value, with its tag.
    pub(crate) local: String,
    /// Ours, with our tag once known.
    pub(crate) remote: String,
    /// The URI its requests go to.
    pub(crate) target: String,
    pub(crate) cseq: u32,
    /// Of its last INVITE.
    pub(crate) invite_cseq: u32,
    pub(crate) contact: String,
    pub(crate) branches: u32,
}

impl Peer {
    /// The trunk as a caller.
    pub(crate) fn caller() -> Self {
        Self {
            flow: trunk(),
            call_id: "caller-1@192.0.2.9".to_owned(),
            local: "<sip:+4930@carrier.test>;tag=caller".to_owned(),
            remote: "<sip:4711@gateway.test>".to_owned(),
            target: "sip:4711@gateway.test".to_owned(),
            cseq: 0,
            invite_cseq: 0,
            contact: "<sip:carrier@192.0.2.9>".to_owned(),
            branches: 0,
        }
    }

    /// The side that an INVITE of ours called, after it answered with this tag.
    pub(crate) fn called_by(invite: &Sent, tag: &str) -> Self {
        Self {
            flow: invite.flow,
            call_id: invite.header("Call-ID"),
            local: format!("{};tag={tag}", invite.header("To")),
            remote: invite.header("From"),
            target: invite.target(),
            cseq: 100,
            invite_cseq: 0,
            contact: "<sip:carrier@192.0.2.9>".to_owned(),
            branches: 1000,
        }
    }

    /// Learns our tag and target from a response.
    pub(crate) fn joins(&mut self, response: &Sent) {
        self.remote = response.header("To");
        self.target = response.target();
    }

    pub(crate) fn request(&mut self, method: &str, extra: &str, body: &str) -> String {
        self.cseq += 1;
        if method == "INVITE" {
            self.invite_cseq = self.cseq;
        }
        self.numbered(method, self.cseq, extra, body)
    }

    /// A request with a CSeq of the story's choice, in a transaction of its own.
    pub(crate) fn numbered(&mut self, method: &str, cseq: u32, extra: &str, body: &str) -> String {
        self.branches += 1;
        let Self { call_id, local, remote, target, contact, branches, flow, .. } = self;
        let tag = tag_of(local);
        let (transport, sent_by) = (flow.transport, flow.remote);
        let rest = with_body(extra, body);
        format!(
            "{method} {target} SIP/2.0\n\
             Via: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{tag}{branches}\n\
             Max-Forwards: 70\nFrom: {local}\nTo: {remote}\nCall-ID: {call_id}\n\
             CSeq: {cseq} {method}\nContact: {contact}\n{rest}"
        )
    }

    pub(crate) fn invite(&mut self, extra: &str, body: &str) -> String {
        self.request("INVITE", extra, body)
    }

    /// The ACK of the 2xx to the last INVITE.
    pub(crate) fn ack(&mut self, body: &str) -> String {
        self.numbered("ACK", self.invite_cseq, "", body)
    }

    /// The ACK of a failure, or a CANCEL: in the transaction of the INVITE.
    pub(crate) fn in_transaction(invite: &str, method: &str, to: &str) -> String {
        let mut out = String::new();
        for line in invite.lines().take_while(|l| !l.is_empty()) {
            if let Some(rest) = line.strip_prefix("INVITE ") {
                out += &format!("{method} {rest}\n");
            } else if line.starts_with("CSeq:") {
                out += &line.replace("INVITE", method);
                out += "\n";
            } else if line.starts_with("To:") {
                out += &format!("To: {to}\n");
            } else if ["Via", "From", "Call-ID", "Max-F"].iter().any(|n| line.starts_with(n)) {
                out += line;
                out += "\n";
            }
        }
        out + "\n"
    }
}

/// A peer's response to a request of ours. An empty tag leaves the To as it is.
pub(crate) fn reply(request: &Sent, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let mut to = request.header("To");
    if !tag.is_empty() && !to.contains(";tag=") {
        to += &format!(";tag={tag}");
    }
    let (via, from) = (request.header("Via"), request.header("From"));
    let (call_id, cseq) = (request.header("Call-ID"), request.header("CSeq"));
    let contact = if extra.contains("Contact:") || status.starts_with(['3', '4', '5', '6']) {
        ""
    } else {
        "Contact: <sip:carrier@192.0.2.9>\n"
    };
    let rest = with_body(extra, body);
    format!(
        "SIP/2.0 {status}\nVia: {via}\nFrom: {from}\nTo: {to}\nCall-ID: {call_id}\n\
         CSeq: {cseq}\n{contact}{rest}"
    )
}

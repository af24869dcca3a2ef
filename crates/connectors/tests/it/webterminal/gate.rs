//! A gate to test the connector at: terminals say messages on streams, a call is played by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{BindingId, ConnectionId, Gcid, LegId, Private, Rng, Secret};
use crosspoint_call::{Cause, Identity, IncomingOffer, LegCommand, LegEvent, OutgoingOffer, Reach};
use crosspoint_connectors::rtcengine::{DeviceKind, UserCall};
use crosspoint_connectors::webterminal::{
    Body, Closing, Fault, Message, Mode, Opening, Output, StreamEnd, Subscriber, WebTerminalConfig,
    WebTerminals,
};

use crate::harness::{sdp, secs, wall_clock};
use crate::rtcengine::app::{OFFER, OURS};

/// Ids that terminals choose.
pub(crate) const ID: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const OTHER: &str = "22222222-2222-4222-8222-222222222222";
pub(crate) const NUMBER: &str = "+4799000001";
pub(crate) const PEER: &str = "+4799000002";

#[expect(clippy::disallowed_methods, reason = "a story needs some instant to count from")]
fn some_instant() -> Instant {
    Instant::now()
}

pub(crate) struct Gate {
    pub(crate) engine: WebTerminals,
    pub(crate) now: Instant,
    /// Streams are opened by pages.
    pub(crate) is_page: bool,
    /// Whose token opens streams, if it is a session's.
    pub(crate) session: Option<Arc<str>>,
    deadline: Option<Instant>,
    sent: BTreeMap<u64, VecDeque<Message>>,
    closed: BTreeMap<u64, Closing>,
    /// What a terminal shows when it comes back, by stream.
    keys: BTreeMap<u64, (Secret<String>, bool)>,
    events: VecDeque<(LegId, LegEvent)>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut WebTerminalConfig)) -> Self {
        let mut config = WebTerminalConfig::default();
        adjust(&mut config);
        let now = some_instant();
        Self {
            engine: WebTerminals::new(config, wall_clock(now, 0), Rng::from_u64(1)),
            now,
            is_page: false,
            session: None,
            deadline: None,
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            keys: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn drain(&mut self) {
        loop {
            match self.engine.poll_output() {
                Output::Opened { connection, resume, is_resumed } => {
                    self.keys.insert(connection.0, (resume, is_resumed));
                }
                Output::Send { connection, message, .. } => {
                    assert!(!self.closed.contains_key(&connection.0), "sent after the close");
                    self.sent.entry(connection.0).or_default().push_back(message);
                }
                Output::Close { connection, why } => {
                    assert_eq!(self.closed.insert(connection.0, why), None, "closed twice");
                }
                Output::Away(_) => {}
                Output::Leg(leg, event) => self.events.push_back((leg, *event)),
                Output::Timeout(at) => {
                    self.deadline = at;
                    // What the node does: users who have come are told of at once.
                    let watched = self.engine.take_newly_watched();
                    if watched.is_empty() {
                        return;
                    }
                    watched.iter().for_each(|user| self.engine.handle_user_calls(user, &[]));
                }
            }
        }
    }

    pub(crate) fn open(&mut self, stream: u64, mode: Mode) {
        self.open_with(stream, mode, None, None);
    }

    pub(crate) fn open_with(
        &mut self,
        stream: u64,
        mode: Mode,
        resume: Option<Secret<String>>,
        expires: Option<Instant>,
    ) {
        let subscriber = Subscriber { user: "alice".into(), number: NUMBER.to_owned() };
        let session = self.session.clone();
        let is_half_duplex = self.is_page;
        let opening = Opening { subscriber, mode, resume, session, expires, is_half_duplex };
        self.engine.handle_open(self.now, ConnectionId(stream), opening);
        self.drain();
    }

    pub(crate) fn key(&self, stream: u64) -> Secret<String> {
        self.keys[&stream].0.clone()
    }

    pub(crate) fn is_resumed(&self, stream: u64) -> bool {
        self.keys[&stream].1
    }

    pub(crate) fn say(&mut self, stream: u64, call: &str, body: Body) {
        let message = Message { call: call.to_owned(), body };
        self.engine.handle_message(self.now, ConnectionId(stream), message);
        self.drain();
    }

    pub(crate) fn half_close(&mut self, stream: u64) {
        self.engine.handle_half_closed(ConnectionId(stream));
        self.drain();
    }

    pub(crate) fn end(&mut self, stream: u64, end: StreamEnd) {
        self.engine.handle_closed(self.now, ConnectionId(stream), end);
        self.drain();
    }

    pub(crate) fn closed(&self, stream: u64) -> Option<Closing> {
        self.closed.get(&stream).copied()
    }

    /// The next message on a stream.
    pub(crate) fn hears(&mut self, stream: u64) -> Message {
        self.sent.get_mut(&stream).and_then(VecDeque::pop_front).expect("a message")
    }

    /// The same, which must be this.
    pub(crate) fn hears_this(&mut self, stream: u64, call: &str, body: &Body) {
        let heard = self.hears(stream);
        assert_eq!((heard.call.as_str(), &heard.body), (call, body));
    }

    /// Nobody was told anything that the story did not take.
    pub(crate) fn is_silent(&self) {
        for (stream, messages) in &self.sent {
            assert!(messages.is_empty(), "stream {stream} heard {messages:?}");
        }
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    pub(crate) fn event(&mut self) -> (LegId, LegEvent) {
        self.events.pop_front().expect("an event")
    }

    /// The next event, which is about this leg and says this.
    pub(crate) fn tells(&mut self, leg: LegId, what: &str) -> LegEvent {
        let (about, event) = self.event();
        let words = format!("{event:?}");
        assert_eq!(about, leg, "{words}");
        assert!(words.starts_with(what), "{words}, not {what}");
        event
    }

    pub(crate) fn command(&mut self, leg: LegId, command: LegCommand) {
        self.engine.handle_command(self.now, leg, command);
        self.drain();
    }

    pub(crate) fn user_calls(&mut self, calls: &[UserCall]) {
        self.engine.handle_user_calls("alice", calls);
        self.drain();
    }

    /// Lets time pass, every timer at its own instant.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.deadline.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The offer that a call began with, and its leg.
    pub(crate) fn began(&mut self) -> (LegId, Box<IncomingOffer>) {
        let (leg, event) = self.event();
        let LegEvent::Offer(offer) = event else { panic!("{event:?}") };
        self.tells(leg, "MediaGrace");
        (leg, offer)
    }

    /// A terminal calls and is answered; the leg.
    pub(crate) fn talking(&mut self, stream: u64, id: &str) -> LegId {
        self.say(stream, id, offer(Some(PEER)));
        let (leg, _) = self.began();
        self.command(leg, LegCommand::Answer(sdp(OURS)));
        self.hears_this(stream, id, &answer(OURS));
        self.tells(leg, "Confirm");
        leg
    }

    /// Somebody calls alice at one of her devices; the leg.
    pub(crate) fn call(&mut self, binding: BindingId, gcid: &str) -> LegId {
        let leg = self.engine.next_leg_id();
        let from = Identity { address: Private(PEER.to_owned()), ..Identity::default() };
        self.command(
            leg,
            LegCommand::Offer(Box::new(OutgoingOffer {
                is_emergency: false,
                reach: Reach::Binding(binding),
                from,
                to: Private("alice".to_owned()),
                description: sdp(OURS),
                gcid: Gcid::from_peer(gcid).expect("an id"),
                ring_timeout: secs(120),
                referred_by: None,
                location: None,
                diverted: vec![],
                auto_answer: false,
                joins: None,
            })),
        );
        leg
    }

    pub(crate) fn device(&self) -> BindingId {
        self.engine.devices_of("alice").next().expect("a device")
    }
}

pub(crate) fn offer(number: Option<&str>) -> Body {
    let number = number.map(|number| Private(number.to_owned()));
    Body::Offer { sdp: Private(OFFER.to_owned()), number }
}

/// What a terminal hears when it is called.
pub(crate) fn ours(number: Option<&str>) -> Body {
    let number = number.map(|number| Private(number.to_owned()));
    Body::Offer { sdp: Private(sdp(OURS).to_string()), number }
}

pub(crate) fn answer(text: &str) -> Body {
    Body::Answer { sdp: Private(sdp(text).to_string()) }
}

pub(crate) fn in_call() -> Body {
    Body::InCall { number: Private(PEER.to_owned()) }
}

pub(crate) fn error(fault: Fault) -> Body {
    Body::Error(fault)
}

/// A call that alice has on another device.
pub(crate) fn user_call(leg: LegId, gcid: &str) -> UserCall {
    UserCall {
        leg,
        gcid: Gcid::from_peer(gcid).expect("an id"),
        peer: Identity { address: Private(PEER.to_owned()), ..Identity::default() },
        is_outgoing: false,
        is_active: true,
        since_unix: 0,
        device: DeviceKind::Phone,
    }
}

pub(crate) fn cause_of(event: &LegEvent) -> Cause {
    let LegEvent::Ended(cause) = event else { panic!("{event:?}") };
    *cause
}

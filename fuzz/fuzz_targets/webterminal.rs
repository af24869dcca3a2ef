//! The call API between terminals, streams and calls that do what they like, in any order and at
//! any time, with messages as they are on the wire. Every leg begins with its offer and ends once,
//! what we send reads back, and once all are gone nothing is left. Each step is three bytes and as
//! much text as the third says.
#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crosspoint_base::{ConnectionId, Gcid, LegId, Private, Rng, Secret, WallClock};
use crosspoint_call::{
    Cause, Digit, Identity, LegCommand, LegEvent, OutgoingOffer, Reach, TransferProgress,
};
use crosspoint_connectors::rtcengine::{DeviceKind, UserCall};
use crosspoint_connectors::webterminal::{
    Body, Fault, Message, Mode, Opening, Output, StreamEnd, Subscriber, WebTerminalConfig,
    WebTerminals,
};
use crosspoint_gateway::{read_terminal_message, written_terminal_message};
use crosspoint_sdp::Session;
use libfuzzer_sys::fuzz_target;

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

const IDS: [&str; 4] =
    ["", "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "no uuid"];
const DEVICES: usize = 3;
const CALLS: usize = 4;

struct World {
    now: Instant,
    engine: WebTerminals,
    deadline: Option<Instant>,
    next: u64,
    streams: BTreeSet<u64>,
    keys: Vec<Secret<String>>,
    live: BTreeSet<LegId>,
    ended: BTreeSet<LegId>,
    /// Ids that we drew.
    ids: Vec<String>,
}

impl World {
    fn new() -> Self {
        let config = WebTerminalConfig {
            max_terminals: 6,
            max_devices: DEVICES,
            max_calls_per_terminal: CALLS,
            ..WebTerminalConfig::default()
        };
        let now = Instant::now();
        Self {
            now,
            engine: WebTerminals::new(
                config,
                WallClock::new(now, Duration::ZERO),
                Rng::from_u64(1),
            ),
            deadline: None,
            next: 0,
            streams: BTreeSet::new(),
            keys: vec![Secret::new("none".to_owned())],
            live: BTreeSet::new(),
            ended: BTreeSet::new(),
            ids: vec![],
        }
    }

    fn step(&mut self, what: u8, a: u8, text: &[u8]) {
        match what % 9 {
            0 => self.open(a),
            1 => self.close(a),
            // As it is on the wire.
            2 => {
                if let Some(message) = read_terminal_message(text) {
                    self.hear(a, message);
                }
            }
            3 | 4 => self.say(what, a, text),
            5 => self.call(a),
            6 => self.command(a, text.first().copied().unwrap_or_default()),
            7 => self.elsewhere(a),
            _ => self.pass(Duration::from_millis(u64::from(a) * u64::from(a))),
        }
        self.drain();
        assert!(self.engine.terminals() <= 6, "more terminals than may be");
        assert!(self.engine.legs() <= 6 * CALLS, "more legs than may be");
    }

    fn stream(&self, a: u8) -> Option<ConnectionId> {
        let at = usize::from(a >> 5) % self.streams.len().max(1);
        self.streams.iter().nth(at).copied().map(ConnectionId)
    }

    fn open(&mut self, a: u8) {
        self.next += 1;
        self.streams.insert(self.next);
        let bit = |n: u8| a >> n & 1 == 1;
        let user = if bit(0) { "alice" } else { "bob" };
        let key = &self.keys[usize::from(a >> 5) % self.keys.len()];
        let opening = Opening {
            subscriber: Subscriber { user: user.into(), number: "+4799000001".to_owned() },
            mode: if bit(1) { Mode::Pipe } else { Mode::MultiPipe },
            resume: bit(2).then(|| key.clone()),
            session: bit(5).then(|| "session".into()),
            expires: bit(3).then(|| self.now + Duration::from_secs(20)),
            is_half_duplex: bit(4),
        };
        self.engine.handle_open(self.now, ConnectionId(self.next), opening);
    }

    fn close(&mut self, a: u8) {
        if a == 0xff {
            return self.engine.revoke("session");
        }
        let Some(stream) = self.stream(a) else { return };
        if a % 3 == 0 {
            return self.engine.handle_half_closed(stream);
        }
        self.streams.remove(&stream.0);
        let end = if a % 3 == 1 { StreamEnd::Cancelled } else { StreamEnd::Broken };
        self.engine.handle_closed(self.now, stream, end);
    }

    fn hear(&mut self, a: u8, message: Message) {
        if let Some(stream) = self.stream(a) {
            self.engine.handle_message(self.now, stream, message);
        }
    }

    fn say(&mut self, what: u8, a: u8, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        let id = match self.ids.last() {
            Some(id) if what >= 0x80 => id.clone(),
            _ => IDS[usize::from(what >> 5) % IDS.len()].to_owned(),
        };
        let sdp = Private(if text.starts_with('v') { text.clone() } else { SDP.to_owned() });
        let number = Private(if text.starts_with('v') { "+4799000002".to_owned() } else { text });
        let body = match a % 10 {
            0..=2 => Body::Offer { sdp, number: (a & 16 == 0).then_some(number) },
            3 => Body::Answer { sdp },
            4 => Body::Ringing,
            5 => Body::Bye,
            6 => Body::ToPhone,
            7 => Body::InCall { number },
            8 => Body::Error(Fault::TryAgain),
            _ => Body::Empty,
        };
        self.hear(a, Message { call: id, body });
    }

    fn call(&mut self, a: u8) {
        let devices: Vec<_> =
            ["alice", "bob"].iter().flat_map(|user| self.engine.devices_of(user)).collect();
        let Some(binding) = devices.get(usize::from(a) % devices.len().max(1)).copied() else {
            return;
        };
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
            auto_answer: a & 128 != 0,
            joins: None,
        };
        self.engine.handle_command(self.now, leg, LegCommand::Offer(Box::new(offer)));
    }

    fn command(&mut self, a: u8, b: u8) {
        let Some(leg) = self.live.iter().nth(usize::from(b) % self.live.len().max(1)) else {
            return;
        };
        let digit = Digit::new('1').expect("a digit");
        let command = match a % 11 {
            0 => LegCommand::Ringing,
            1 => LegCommand::EarlyMedia(session()),
            2 => LegCommand::Answer(session()),
            3 => LegCommand::Reoffer(session()),
            4 => LegCommand::Reanswer(session()),
            5 => LegCommand::RejectReoffer(Cause::NoCommonCodec),
            6 => LegCommand::Dtmf(digit, Duration::from_millis(100)),
            7 => LegCommand::TransferProgress(TransferProgress::Trying),
            8 => LegCommand::End(Cause::Declined),
            9 => LegCommand::End(Cause::Busy),
            _ => LegCommand::End(Cause::Normal),
        };
        self.engine.handle_command(self.now, *leg, command);
    }

    fn elsewhere(&mut self, a: u8) {
        let call = |leg: &LegId| UserCall {
            leg: *leg,
            gcid: Gcid::from_peer("gcid").expect("a good id"),
            peer: Identity::default(),
            is_outgoing: a & 16 != 0,
            is_active: a & 32 != 0,
            since_unix: 0,
            device: DeviceKind::Phone,
        };
        let calls: Vec<UserCall> = self.live.iter().take(usize::from(a % 4)).map(call).collect();
        let user = if a & 64 == 0 { "alice" } else { "bob" };
        self.engine.handle_user_calls(user, &calls);
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
                Output::Opened { resume, .. } => self.keys.push(resume),
                Output::Send { message, .. } => {
                    if let Body::Offer { .. } = message.body {
                        self.ids.push(message.call.clone());
                    }
                    let read = read_terminal_message(&written_terminal_message(message.clone()));
                    assert_eq!(read, Some(message), "what we send reads back");
                }
                Output::Close { connection, .. } => drop(self.streams.remove(&connection.0)),
                Output::Away(leg) => {
                    assert!(!self.ended.contains(&leg), "a leg went after its end")
                }
                Output::Leg(leg, event) => self.heard(leg, &event),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }

    fn heard(&mut self, leg: LegId, event: &LegEvent) {
        assert!(!self.ended.contains(&leg), "a leg spoke after its end");
        match event {
            LegEvent::Offer(_) => assert!(self.live.insert(leg), "a leg was offered twice"),
            LegEvent::Ended(_) => {
                assert!(self.live.remove(&leg), "a leg ended that never began");
                self.ended.insert(leg);
            }
            _ => assert!(self.live.contains(&leg), "a leg did not begin with its offer"),
        }
    }

    /// Everybody leaves.
    fn finish(mut self) {
        for stream in std::mem::take(&mut self.streams) {
            self.engine.handle_closed(self.now, ConnectionId(stream), StreamEnd::Broken);
        }
        self.drain();
        for leg in self.live.clone() {
            self.engine.handle_command(self.now, leg, LegCommand::End(Cause::Normal));
        }
        self.drain();
        self.pass(Duration::from_secs(600));
        assert!(self.live.is_empty(), "legs are left");
        assert!(self.engine.is_idle(), "something is left");
    }
}

fn session() -> Session {
    Session::parse(SDP.as_bytes()).expect("a good description")
}

//! Whatever terminals, streams and calls do in whatever order: nothing is left behind, and every
//! leg ends exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::{ConnectionId, Gcid, LegId, Private, Rng, Secret};
use crosspoint_call::{
    Cause, Identity, LegCommand, LegEvent, OutgoingOffer, Reach, TransferProgress,
};
use crosspoint_connectors::webterminal::{
    Body, Fault, Message, Mode, Opening, Output, StreamEnd, Subscriber, WebTerminalConfig,
    WebTerminals,
};

use super::gate::user_call;
use crate::harness::{sdp, secs, wall_clock};
use crate::rtcengine::app::{OFFER, OURS};

#[test]
fn nothing_is_left_of_any_storm() {
    for seed in 0..300 {
        Storm::new(seed).run();
    }
}

struct Storm {
    engine: WebTerminals,
    rng: Rng,
    now: std::time::Instant,
    streams: BTreeSet<u64>,
    keys: Vec<Secret<String>>,
    ids: Vec<String>,
    legs: BTreeMap<LegId, bool>,
}

impl Storm {
    #[expect(clippy::disallowed_methods, reason = "a story needs some instant to count from")]
    fn new(seed: u64) -> Self {
        let config = WebTerminalConfig { max_devices: 3, ..WebTerminalConfig::default() };
        let now = std::time::Instant::now();
        Self {
            engine: WebTerminals::new(config, wall_clock(now, 0), Rng::from_u64(seed)),
            rng: Rng::from_u64(seed + 1000),
            now,
            streams: BTreeSet::new(),
            keys: vec![Secret::new("none".to_owned())],
            ids: vec![
                String::new(),
                "11111111-1111-4111-8111-111111111111".to_owned(),
                "22222222-2222-4222-8222-222222222222".to_owned(),
            ],
            legs: BTreeMap::new(),
        }
    }

    fn run(mut self) {
        for next in 0..120 {
            self.step(next);
            self.drain();
        }
        for stream in std::mem::take(&mut self.streams) {
            self.engine.handle_closed(self.now, ConnectionId(stream), StreamEnd::Broken);
        }
        for leg in self.legs.keys().copied().collect::<Vec<_>>() {
            self.engine.handle_command(self.now, leg, LegCommand::End(Cause::Normal));
        }
        self.drain();
        self.now += secs(200);
        self.engine.handle_timeout(self.now);
        self.drain();
        assert!(self.legs.values().all(|over| *over), "{:?}", self.legs);
        assert!(self.engine.is_idle(), "{:#?}", self.engine);
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(u32::try_from(count).expect("small"))).expect("small")
    }

    fn step(&mut self, next: u64) {
        match self.pick(9) {
            0 => self.open(next),
            1 => self.close(),
            2 => self.call(next),
            3 | 4 => self.command(),
            5 => {
                self.now += Duration::from_secs(u64::from(self.rng.below(15)));
                self.engine.handle_timeout(self.now);
            }
            6 => {
                let leg = self.legs.keys().next().copied().unwrap_or(LegId(5));
                let calls = [user_call(leg, "a"), user_call(LegId(9), "b")];
                let count = self.pick(3);
                let user = ["alice", "bob"][self.pick(2)];
                self.engine.handle_user_calls(user, &calls[..count]);
            }
            7 if self.pick(4) == 0 => self.engine.revoke("s1"),
            _ => self.say(),
        }
    }

    fn open(&mut self, stream: u64) {
        let user = ["alice", "bob"][self.pick(2)];
        let subscriber = Subscriber { user: user.into(), number: "+4799000001".to_owned() };
        let mode = [Mode::Pipe, Mode::MultiPipe][self.pick(2)];
        let at = self.pick(self.keys.len());
        let resume = (self.pick(2) == 0).then(|| self.keys[at].clone());
        let expires = (self.pick(4) == 0).then(|| self.now + secs(20));
        self.streams.insert(stream);
        let is_half_duplex = self.pick(4) == 0;
        let session = (self.pick(2) == 0).then(|| Arc::from(["s1", "s2"][self.pick(2)]));
        let opening = Opening { subscriber, mode, resume, session, expires, is_half_duplex };
        self.engine.handle_open(self.now, ConnectionId(stream), opening);
    }

    fn close(&mut self) {
        let Some(stream) = self.streams.first().copied() else { return };
        match self.pick(3) {
            0 => self.engine.handle_half_closed(ConnectionId(stream)),
            end => {
                self.streams.remove(&stream);
                let end = [StreamEnd::Cancelled, StreamEnd::Broken][end - 1];
                self.engine.handle_closed(self.now, ConnectionId(stream), end);
            }
        }
    }

    fn call(&mut self, next: u64) {
        let Some(binding) = self.engine.devices_of("alice").last() else { return };
        let leg = self.engine.next_leg_id();
        self.legs.insert(leg, false);
        let offer = OutgoingOffer {
            is_emergency: false,
            reach: Reach::Binding(binding),
            from: Identity::default(),
            to: Private("alice".to_owned()),
            description: sdp(OURS),
            gcid: Gcid::from_peer(["a", "b"][usize::from(next.is_multiple_of(2))]).expect("an id"),
            ring_timeout: secs(20),
            referred_by: None,
            location: None,
            diverted: vec![],
            auto_answer: false,
            joins: None,
        };
        self.engine.handle_command(self.now, leg, LegCommand::Offer(Box::new(offer)));
    }

    fn command(&mut self) {
        let running: Vec<LegId> = self.legs.iter().filter(|(_, o)| !**o).map(|(l, _)| *l).collect();
        if running.is_empty() {
            return;
        }
        let leg = running[self.pick(running.len())];
        let progress = [TransferProgress::Done, TransferProgress::Failed(Cause::Busy)];
        let command = match self.pick(8) {
            0 => LegCommand::Ringing,
            1 => LegCommand::EarlyMedia(sdp(OURS)),
            2 => LegCommand::Answer(sdp(OURS)),
            3 => LegCommand::Reoffer(sdp(OURS)),
            4 => LegCommand::Reanswer(sdp(OURS)),
            5 => LegCommand::RejectReoffer(Cause::Forbidden),
            6 => LegCommand::TransferProgress(progress[self.pick(2)]),
            _ => LegCommand::End(Cause::Normal),
        };
        self.engine.handle_command(self.now, leg, command);
    }

    fn say(&mut self) {
        let streams: Vec<u64> = self.streams.iter().copied().collect();
        if streams.is_empty() {
            return;
        }
        let stream = streams[self.pick(streams.len())];
        let at = self.pick(self.ids.len());
        let call = self.ids[at].clone();
        let number = (self.pick(2) == 0).then(|| Private("+4799000002".to_owned()));
        let print = format!("{OFFER}a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"));
        let text = [OFFER, "nonsense", &print][self.pick(3)].to_owned();
        let body = match self.pick(8) {
            0 | 1 => Body::Offer { sdp: Private(text), number },
            2 | 3 => Body::Answer { sdp: Private(text) },
            4 => Body::Ringing,
            5 => Body::Bye,
            6 => Body::ToPhone,
            _ => Body::Error(Fault::Unknown),
        };
        self.engine.handle_message(self.now, ConnectionId(stream), Message { call, body });
    }

    fn drain(&mut self) {
        loop {
            match self.engine.poll_output() {
                Output::Opened { resume, .. } => self.keys.push(resume),
                Output::Send { message, .. } => {
                    if !self.ids.contains(&message.call) {
                        self.ids.push(message.call);
                    }
                }
                Output::Close { connection, .. } => {
                    self.streams.remove(&connection.0);
                }
                Output::Away(leg) => {
                    assert_eq!(self.legs.get(&leg), Some(&false), "{leg} is over");
                }
                Output::Leg(leg, event) => match *event {
                    LegEvent::Offer(_) => {
                        assert_eq!(self.legs.insert(leg, false), None, "{leg} began twice");
                    }
                    LegEvent::Ended(_) => {
                        assert_eq!(self.legs.insert(leg, true), Some(false), "{leg} ended twice");
                    }
                    _ => assert_eq!(self.legs.get(&leg), Some(&false), "{leg} is over"),
                },
                Output::Timeout(_) => {
                    let watched = self.engine.take_newly_watched();
                    if watched.is_empty() {
                        return;
                    }
                    watched.iter().for_each(|user| self.engine.handle_user_calls(user, &[]));
                }
            }
        }
    }
}

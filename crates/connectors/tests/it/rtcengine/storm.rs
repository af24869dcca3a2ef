//! Apps and calls that do anything at any time: nothing panics, every leg begins with its offer
//! and ends once, and nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use crosspoint_base::{BindingId, LegId, Rng};
use crosspoint_call::{Candidate, Cause, Digit, LegCommand, LegEvent, Reach, TransferProgress};
use crosspoint_connectors::rtcengine::{RemoteFailure, RemoteState};
use serde_json::json;

use super::app::{App, CANDIDATE, Gate, OFFER, OURS};
use crate::harness::{millis, sdp, secs};

struct Storm {
    gate: Gate,
    rng: Rng,
    next_socket: u64,
    apps: Vec<App>,
    live: BTreeSet<LegId>,
    ended: BTreeMap<LegId, u32>,
    /// Calls that apps have heard of, by socket: id and gcid.
    calls: Vec<(u64, String, String)>,
    received: u64,
}

fn one<'t, T: ?Sized>(rng: &mut Rng, of: &[&'t T]) -> &'t T {
    of[rng.below(u32::try_from(of.len()).unwrap()) as usize]
}

const METHODS: [&str; 22] = [
    "session.open",
    "session.ack",
    "session.close",
    "account.connect",
    "account.connect",
    "account.disconnect",
    "call.start",
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
];
const ACCOUNTS: [&str; 5] = ["sip", "carrier", "web", "chat", "locked"];

impl Storm {
    fn new(seed: u64) -> Self {
        let gate = Gate::with(|config| {
            config.max_clients_per_session = 4;
            config.max_calls_per_client = 6;
            config.max_waiting = 20;
        });
        Self {
            gate,
            rng: Rng::from_u64(seed),
            next_socket: 0,
            apps: vec![],
            live: BTreeSet::new(),
            ended: BTreeMap::new(),
            calls: vec![],
            received: 0,
        }
    }

    /// Takes what came out, and checks that an ended leg stays silent.
    fn watch(&mut self) {
        for (leg, event) in self.gate.events() {
            assert!(!self.ended.contains_key(&leg), "{leg} says {event:?} after its end");
            match event {
                LegEvent::Offer(_) => assert!(self.live.insert(leg), "{leg} is offered twice"),
                LegEvent::Ended(_) => {
                    assert!(self.live.remove(&leg), "{leg} ends without a beginning");
                    self.ended.insert(leg, 1);
                }
                event => assert!(self.live.contains(&leg), "{leg} begins with {event:?}"),
            }
        }
        for socket in 1..=self.next_socket {
            for message in self.gate.all(socket) {
                let text = |name: &str| message["body"][name].as_str().map(str::to_owned);
                if let (Some(id), Some(gcid)) = (text("id"), text("gcid")) {
                    self.calls.retain(|(s, i, _)| (*s, i) != (socket, &id));
                    self.calls.push((socket, id, gcid));
                }
                self.received = message["seq"].as_u64().unwrap_or(self.received);
            }
        }
        let clients = self.gate.engine.clients();
        assert!(clients <= 8 && self.gate.engine.legs() <= clients * 6 * 2);
    }

    fn step(&mut self) {
        match self.rng.below(40) {
            0 | 1 => self.open(),
            2 => {
                if let Some(app) = self.some_app() {
                    self.gate.lose(app.socket);
                    self.apps.retain(|a| a.socket != app.socket);
                }
            }
            3..=19 => self.say(),
            20 => self.call(),
            21..=34 => self.command(),
            35 => self.registration(),
            _ => {
                let time = one(
                    &mut self.rng,
                    &[&1_u64, &1, &100, &100, &100, &1000, &3000, &11_000, &40_000],
                );
                self.gate.pass(millis(*time));
            }
        }
        self.watch();
    }

    fn open(&mut self) {
        self.next_socket += 1;
        let user = one(&mut self.rng, &["alice", "bob"]);
        let mut app = App::new(self.next_socket, user);
        app.client = match self.rng.below(3) {
            0 => None,
            n => Some(format!("client-{n}")),
        };
        self.gate.open(app.socket);
        let mut body = json!({ "credentials": { "userSession": app.token } });
        if let Some(client) = &app.client {
            body["client"] = json!(client);
        }
        if self.rng.below(2) == 0 {
            body["received"] = json!(self.received);
        }
        app.say(&mut self.gate, "session.open", "", body);
        for account in ["sip", "web", "carrier"] {
            if self.rng.below(3) != 0 {
                let target = app.target(account);
                app.say(&mut self.gate, "account.connect", &target, json!({ "id": account }));
            }
        }
        self.apps.push(app);
    }

    fn some_app(&mut self) -> Option<App> {
        let Self { gate, apps, .. } = self;
        apps.retain(|app| gate.code(app.socket).is_none());
        let count = u32::try_from(self.apps.len()).ok().filter(|count| *count > 0)?;
        Some(self.apps[self.rng.below(count) as usize].clone())
    }

    fn say(&mut self) {
        let Some(app) = self.some_app() else { return };
        let method = one(&mut self.rng, &METHODS);
        if self.rng.below(100) == 0 {
            self.gate.text(app.socket, "nonsense");
            return;
        }
        let is_farewell = matches!(method, "session.close" | "account.disconnect" | "call.end");
        if is_farewell && self.rng.below(8) != 0 {
            return;
        }
        let (id, gcid) = self.some_call(app.socket, method);
        let sdp = one(&mut self.rng, &[OFFER, OFFER, OFFER, OFFER, OFFER, OFFER, OURS, "broken"]);
        let account = one(&mut self.rng, &ACCOUNTS);
        let target = app.target(account);
        let body = json!({
            "id": if method.starts_with("account") { account.to_owned() } else { id.clone() },
            "gcid": gcid, "sdp": sdp, "trickle": true, "target": "bob",
            "replace": self.rng.below(4) == 0, "dtmf": "12#", "received": self.received,
            "reason": one(&mut self.rng, &["busy", "normal", "declined"]),
            "candidate": { "payload": one(&mut self.rng, &[CANDIDATE, "", "{}", "x"]) },
        });
        if method == "call.start" && self.rng.below(3) == 0 {
            let to = json!([target, app.target("web"), app.target("sip")]);
            app.start_at(&mut self.gate, &to, &id, body);
        } else {
            app.say(&mut self.gate, method, &target, body);
        }
    }

    /// A call of the app most of the time, or any other.
    fn some_call(&mut self, socket: u64, method: &str) -> (String, String) {
        let own: Vec<_> = self.calls.iter().rev().filter(|(s, ..)| *s == socket).take(4).collect();
        let count = u32::try_from(own.len()).unwrap();
        if count == 0 || method == "call.start" || self.rng.below(8) == 0 {
            let n = self.rng.below(1000);
            return (format!("id-{n}"), format!("gcid-{n}"));
        }
        let (_, id, gcid) = own[self.rng.below(count) as usize];
        (id.clone(), gcid.clone())
    }

    fn bindings(&self) -> Vec<BindingId> {
        let engine = &self.gate.engine;
        let devices = ["alice", "bob"].into_iter().flat_map(|user| engine.devices_of(user));
        let members = ["alice", "bob"].into_iter().flat_map(|n| engine.members_of("net-1", n));
        let owners = self.gate.registered.iter().flat_map(|(id, _)| engine.owners_of(*id));
        devices.chain(members).chain(owners).collect()
    }

    fn call(&mut self) {
        let bindings = self.bindings();
        let Some(count) = u32::try_from(bindings.len()).ok().filter(|c| *c > 0) else { return };
        let binding = bindings[self.rng.below(count) as usize];
        let before = self.gate.engine.next_leg_id();
        // The leg that the call is about to open is the next.
        self.live.insert(LegId(before.0 + 1));
        let leg = self.gate.call_at(Reach::Binding(binding));
        assert_eq!(leg.0, before.0 + 1);
    }

    fn command(&mut self) {
        let legs: Vec<LegId> = self.live.iter().copied().collect();
        if legs.is_empty() {
            return;
        }
        let leg = legs[self.rng.below(u32::try_from(legs.len()).unwrap()) as usize];
        let session = sdp(one(&mut self.rng, &[OURS, OFFER]));
        let candidate = Candidate { text: CANDIDATE.to_owned(), mid: None, ufrag: None };
        let digit = Digit::new('1').unwrap();
        let command = match self.rng.below(14) {
            0 => LegCommand::Ringing,
            1 => LegCommand::EarlyMedia(session),
            2 | 3 => LegCommand::Answer(session),
            4 | 13 => LegCommand::Reoffer(session),
            5 => LegCommand::Reanswer(session),
            6 => LegCommand::RejectReoffer(Cause::NoCommonCodec),
            7 => LegCommand::Dtmf(digit, millis(100)),
            8 => LegCommand::DtmfShown(digit, millis(100)),
            9 => LegCommand::TransferProgress(TransferProgress::Trying),
            10 => LegCommand::Candidate(candidate),
            11 => LegCommand::EndOfCandidates,
            _ if self.rng.below(4) != 0 => LegCommand::Reoffer(session),
            _ => {
                let causes = [Cause::Normal, Cause::Busy, Cause::Replaced, Cause::Declined];
                LegCommand::End(causes[self.rng.below(4) as usize])
            }
        };
        self.gate.command(leg, command);
    }

    fn registration(&mut self) {
        let Some((id, _)) = self.gate.registered.last().cloned() else { return };
        let state = *one(
            &mut self.rng,
            &[
                &RemoteState::Connected,
                &RemoteState::Connected,
                &RemoteState::Retrying(RemoteFailure::Timeout),
                &RemoteState::Failed(RemoteFailure::NotFound),
                &RemoteState::Disconnected,
            ],
        );
        self.gate.registration(id, state);
    }

    /// Ends what lives, and lets all waiting times pass.
    fn calm(mut self) {
        if self.rng.below(2) == 0 {
            self.gate.engine.revoke(self.gate.now, "session-of-alice");
            self.gate.drain();
        }
        for leg in self.live.clone() {
            self.gate.command(leg, LegCommand::End(Cause::Normal));
        }
        self.watch();
        assert!(self.live.is_empty(), "live legs");
        for socket in 1..=self.next_socket {
            self.gate.lose(socket);
        }
        self.gate.pass(secs(600));
        self.watch();
        assert!(self.gate.engine.is_idle(), "something is left of a client");
        assert_eq!(self.gate.engine.sockets(), 0);
        assert_eq!(self.gate.registered.len(), self.gate.unregistered.len());
    }
}

#[test]
fn whatever_happens_every_leg_ends_once_and_nothing_is_left() {
    for seed in 0..150 {
        let outcome = std::panic::catch_unwind(|| {
            let mut storm = Storm::new(seed);
            for _ in 0..600 {
                storm.step();
            }
            storm.calm();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

//! Peers and calls that do anything at any time: nothing panics, every leg ends once, and nothing
//! is left.

use std::collections::{BTreeMap, BTreeSet};

use crosspoint_base::{Flow, LegId, RegistrationId, Rng, Secret};
use crosspoint_call::{Cause, Digit, LegCommand, LegEvent, Reach, TransferProgress};
use crosspoint_connectors::sip_ua::{RegistrationConfig, RegistrationState};
use crosspoint_sip::digest::Credentials;

use crate::harness::{
    Desk, HOLD, OFFER, OURS, Peer, Sent, browser, millis, reply, sdp, secs, trunk,
};
use crate::phones::Phone;

struct Storm {
    desk: Desk,
    rng: Rng,
    live: BTreeSet<LegId>,
    ended: BTreeMap<LegId, u32>,
    /// Everything we sent, for peers to answer.
    requests: Vec<Sent>,
    invites: Vec<(String, Peer)>,
    peers: Vec<Peer>,
    calls: u32,
    /// Browsers of both libraries, and the last connection of any.
    webs: [Phone; 2],
    connections: u64,
}

fn one<'t, T: ?Sized>(rng: &mut Rng, of: &[&'t T]) -> &'t T {
    of[rng.below(u32::try_from(of.len()).unwrap()) as usize]
}

const EXTRAS: [&str; 8] = [
    "",
    "",
    "Supported: 100rel, timer\nAllow: UPDATE",
    "Require: 100rel",
    "Supported: timer\nSession-Expires: 90;refresher=uas",
    "Session-Expires: 90;refresher=uac\nRequire: timer",
    "Require: teleport",
    "Refer-To: <sip:bob@gateway.test>",
];
const BODIES: [&str; 5] = ["", "", OFFER, HOLD, "broken"];

impl Storm {
    fn new(seed: u64) -> Self {
        Self {
            desk: Desk::with(|config| {
                config.trunks[0].credentials = Some(Credentials {
                    user: "us".to_owned(),
                    password: Secret::new("secret".to_owned()),
                    realm: None,
                });
            }),
            rng: Rng::from_u64(seed),
            live: BTreeSet::new(),
            ended: BTreeMap::new(),
            requests: vec![],
            invites: vec![],
            peers: vec![],
            calls: 0,
            webs: [
                Phone::browser("alice", browser(1)),
                Phone::browser("bob", browser(2)).with_agent("JsSIP 3.13.8"),
            ],
            connections: 2,
        }
    }

    /// Takes what came out, and checks that an ended leg stays silent.
    fn watch(&mut self) {
        for (leg, event) in self.desk.events() {
            assert!(!self.ended.contains_key(&leg), "{leg} says {event:?} after its end");
            match event {
                LegEvent::Ended(_) => {
                    self.live.remove(&leg);
                    self.ended.insert(leg, 1);
                }
                _ => drop(self.live.insert(leg)),
            }
        }
        for sent in self.desk.all() {
            if sent.what().parse::<u16>().is_err() {
                if sent.what() == "INVITE" && sent.maybe("X-Crosspoint-Gcid").is_some() {
                    self.peers.push(Peer::called_by(&sent, "a"));
                }
                self.requests.push(sent);
            } else if let Some(tag) = sent.maybe("Contact").map(|_| sent.header("To")) {
                let id = sent.header("Call-ID");
                for peer in self.peers.iter_mut().filter(|p| p.call_id == id) {
                    peer.remote.clone_from(&tag);
                }
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(18) {
            0 => self.call_in(),
            1 => self.call_out(),
            2..=4 => self.command(),
            5..=6 => self.peer_asks(),
            7..=9 => self.peer_answers(),
            10 => self.peer_gives_up(),
            11 => self.web_signs_in(),
            12 => self.web_is_called(),
            13 => self.web_calls(),
            14 | 15 => self.connection_breaks(),
            16 => self.account_changes(),
            _ => {
                let time = one(&mut self.rng, &[&1_u64, &10, &600, &5000, &40_000]);
                self.desk.pass(millis(*time));
            }
        }
        self.watch();
    }

    fn call_in(&mut self) {
        self.calls += 1;
        let mut peer = Peer::caller();
        peer.call_id = format!("storm-{}", self.calls);
        let (extra, body) = (one(&mut self.rng, &EXTRAS), one(&mut self.rng, &BODIES));
        let invite = peer.invite(extra, body);
        self.desk.hear(&trunk(), &invite);
        self.invites.push((invite, peer.clone()));
        self.peers.push(peer);
    }

    fn call_out(&mut self) {
        let (leg, invite) = self.desk.call_out();
        self.live.insert(leg);
        self.peers.push(Peer::called_by(&invite, "a"));
        self.requests.push(invite);
    }

    /// A browser signs in, over a connection of its own or the one it has.
    fn web_signs_in(&mut self) {
        let is_new = self.rng.below(3) > 0;
        let web = &mut self.webs[self.rng.below(2) as usize];
        if is_new {
            self.connections += 1;
            web.flow = browser(self.connections);
        }
        let extra = one(&mut self.rng, &["Expires: 600", "Expires: 600", "Expires: 0"]);
        web.sign_in(&mut self.desk, extra);
    }

    fn web_is_called(&mut self) {
        let web = &self.webs[self.rng.below(2) as usize];
        let binding = self.desk.ua.bindings_of(web.user).next();
        if let Some((binding, _)) = binding {
            let leg = self.desk.try_call(Reach::Binding(binding));
            self.live.insert(leg);
        }
    }

    fn web_calls(&mut self) {
        self.calls += 1;
        let web = &mut self.webs[self.rng.below(2) as usize];
        let mut peer = Peer::caller();
        peer.flow = web.flow;
        peer.call_id = format!("web-{}", self.calls);
        peer.local = format!("<sip:{}@gateway.test>;tag=web{}", web.user, self.calls);
        peer.contact = format!("<sip:{}-web@k3j2h1.invalid;transport=ws>", web.user);
        let extra = web.agent_line();
        let first = peer.invite(&extra, OFFER);
        self.desk.hear(&peer.flow, &first);
        let refusal = self.desk.next();
        if refusal.what() == "407" {
            web.challenged(&refusal);
            let value = web.authorization("INVITE", &peer.target);
            // It was for the call: a REGISTER wants a challenge of its own.
            web.challenge = None;
            let invite = peer.invite(&format!("{extra}{value}"), OFFER);
            self.desk.hear(&peer.flow, &invite);
            self.invites.push((invite, peer.clone()));
        }
        self.peers.push(peer);
    }

    fn connection_breaks(&mut self) {
        let recent = self.connections.min(4);
        let back = self.rng.below(u32::try_from(recent).unwrap());
        self.desk.close(self.connections - u64::from(back));
    }

    /// An account elsewhere comes, changes or goes; the trunk is its registrar.
    fn account_changes(&mut self) {
        let id = RegistrationId(u64::from(self.rng.below(2)));
        if self.rng.below(3) == 0 {
            self.desk.unregister(id);
            return;
        }
        let config = RegistrationConfig {
            user: "carol".to_owned(),
            domain: "carrier.test".to_owned(),
            flow: trunk(),
            auth_user: None,
            password: Secret::new("secret".to_owned()),
            expires: secs(600),
        };
        self.desk.register(id, config);
    }

    /// Where a peer that was at `flow` speaks from.
    fn from(&mut self, flow: Flow) -> Flow {
        let is_web = flow.connection.is_some();
        if is_web && self.rng.below(2) == 0 { browser(self.connections) } else { flow }
    }

    fn command(&mut self) {
        let legs: Vec<LegId> = self.live.iter().copied().collect();
        if legs.is_empty() {
            return;
        }
        let leg = legs[self.rng.below(u32::try_from(legs.len()).unwrap()) as usize];
        let session = sdp(one(&mut self.rng, &[OURS, HOLD]));
        let command = match self.rng.below(10) {
            0 => LegCommand::Ringing,
            1 => LegCommand::EarlyMedia(session),
            2 | 3 => LegCommand::Answer(session),
            4 => LegCommand::Reoffer(session),
            5 => LegCommand::Reanswer(session),
            6 => LegCommand::RejectReoffer(Cause::NoCommonCodec),
            7 => LegCommand::Dtmf(Digit::new('1').unwrap(), millis(100)),
            8 => LegCommand::TransferProgress(TransferProgress::Trying),
            _ => LegCommand::End(Cause::Normal),
        };
        self.desk.command(leg, command);
    }

    fn peer_asks(&mut self) {
        let Some(count) = u32::try_from(self.peers.len()).ok().filter(|c| *c > 0) else { return };
        let at = self.rng.below(count) as usize;
        let method = one(
            &mut self.rng,
            &["ACK", "ACK", "BYE", "INVITE", "UPDATE", "INFO", "PRACK", "REFER", "OPTIONS"],
        );
        let (extra, body) = (one(&mut self.rng, &EXTRAS), one(&mut self.rng, &BODIES));
        let peer = &mut self.peers[at];
        let text = match method {
            "ACK" => peer.ack(body),
            "PRACK" => {
                let rseq = self.requests.len();
                peer.request("PRACK", &format!("RAck: {rseq} 1 INVITE"), body)
            }
            _ if self.rng.below(8) == 0 => peer.numbered(method, 1, extra, body),
            _ => peer.request(method, extra, body),
        };
        let flow = peer.flow;
        let flow = self.from(flow);
        self.desk.hear(&flow, &text);
    }

    fn peer_answers(&mut self) {
        let Some(count) = u32::try_from(self.requests.len()).ok().filter(|c| *c > 0) else {
            return;
        };
        // The newest most of the time.
        let back = if self.rng.below(3) == 0 { self.rng.below(count) } else { 0 };
        let request = self.requests[(count - 1 - back) as usize].clone();
        let status = one(
            &mut self.rng,
            &[
                "100 Trying",
                "180 Ringing",
                "183 Session Progress",
                "200 OK",
                "200 OK",
                "202 Accepted",
                "407 Proxy Authentication Required",
                "422 Session Interval Too Small",
                "481 Call/Transaction Does Not Exist",
                "486 Busy Here",
                "491 Request Pending",
            ],
        );
        let extra = one(
            &mut self.rng,
            &[
                "",
                "Allow: UPDATE\nSession-Expires: 90;refresher=uac",
                "Require: 100rel\nRSeq: 1",
                "Require: 100rel\nRSeq: 2",
                "Min-SE: 2000",
                "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", stale=true",
            ],
        );
        let (tag, body) = (one(&mut self.rng, &["a", "a", "b"]), one(&mut self.rng, &BODIES));
        let flow = self.from(request.flow);
        self.desk.hear(&flow, &reply(&request, status, tag, extra, body));
    }

    fn peer_gives_up(&mut self) {
        let Some(count) = u32::try_from(self.invites.len()).ok().filter(|c| *c > 0) else {
            return;
        };
        let (invite, peer) = self.invites[self.rng.below(count) as usize].clone();
        let method = one(&mut self.rng, &["CANCEL", "ACK"]);
        let flow = self.from(peer.flow);
        self.desk.hear(&flow, &Peer::in_transaction(&invite, method, &peer.remote));
    }

    /// Ends what lives, and lets all waiting times pass.
    fn calm(mut self) {
        for leg in self.live.clone() {
            self.desk.command(leg, LegCommand::End(Cause::Normal));
        }
        for id in 0..2 {
            self.desk.unregister(RegistrationId(id));
        }
        self.watch();
        self.desk.pass(secs(600));
        self.watch();
        let last = self.desk.registrations.iter().rev();
        let mut last = last.filter(|(id, _)| id.0 == 0).map(|(_, state)| *state);
        assert_eq!(last.next(), Some(RegistrationState::Ended), "the account");
        assert_eq!(self.live.len(), 0, "live legs");
        assert!(self.desk.ua.is_idle(), "something is left of a call");
    }
}

#[test]
fn whatever_happens_every_leg_ends_once_and_nothing_is_left() {
    for seed in 0..300 {
        let outcome = std::panic::catch_unwind(|| {
            let mut storm = Storm::new(seed);
            for _ in 0..150 {
                storm.step();
            }
            storm.calm();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

//! Peers and calls that do anything at any time: nothing panics, every leg ends once, and nothing
//! is left.

use std::collections::{BTreeMap, BTreeSet};

use crosspoint_base::{LegId, Rng, Secret};
use crosspoint_call::{Cause, Digit, LegCommand, LegEvent, TransferProgress};
use crosspoint_sip::digest::Credentials;

use crate::harness::{Desk, HOLD, OFFER, OURS, Peer, Sent, millis, reply, sdp, secs, trunk};

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
        match self.rng.below(12) {
            0 => self.call_in(),
            1 => self.call_out(),
            2..=4 => self.command(),
            5..=6 => self.peer_asks(),
            7..=9 => self.peer_answers(),
            10 => self.peer_gives_up(),
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
        self.desk.hear(&trunk(), &text);
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
        self.desk.hear(&trunk(), &reply(&request, status, tag, extra, body));
    }

    fn peer_gives_up(&mut self) {
        let Some(count) = u32::try_from(self.invites.len()).ok().filter(|c| *c > 0) else {
            return;
        };
        let (invite, peer) = &self.invites[self.rng.below(count) as usize];
        let method = one(&mut self.rng, &["CANCEL", "ACK"]);
        self.desk.hear(&trunk(), &Peer::in_transaction(invite, method, &peer.remote));
    }

    /// Ends what lives, and lets all waiting times pass.
    fn calm(mut self) {
        for leg in self.live.clone() {
            self.desk.command(leg, LegCommand::End(Cause::Normal));
        }
        self.watch();
        self.desk.pass(secs(600));
        self.watch();
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

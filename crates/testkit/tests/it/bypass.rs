//! Media past us: phones are told of each other, until somebody needs the media here.

use std::collections::BTreeSet;
use std::time::Duration;

use crosspoint_call::router::{Destination, Forwarding, Plan, Route, RouteTable, TrunkRoute};
use crosspoint_call::{Playback, Profile, SrtpPolicy};
use crosspoint_testkit::{CallState, Link, Manner, PhoneId, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64) -> Sim {
    let mut sim = Sim::new(seed);
    sim.rule(|plan| plan.bypass_phones = true);
    sim
}

fn phones<const N: usize>(sim: &mut Sim, users: [&str; N]) -> [PhoneId; N] {
    let phones = users.map(|user| sim.add_registered_phone(user));
    phones.iter().for_each(|id| sim.listen_in(*id));
    phones
}

fn is_up(sim: &Sim, phones: &[PhoneId]) -> bool {
    phones.iter().all(|id| sim.state(*id) == CallState::Up)
}

#[track_caller]
fn in_call(sim: &mut Sim, from: PhoneId, to: PhoneId, number: &str) {
    sim.invite(from, number);
    sim.run_until(|sim| is_up(sim, &[from, to]));
    sim.run_for(SECOND);
}

/// A description that a phone heard: where its sound is wanted, and the session with its version.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    at: String,
    session: String,
    version: u64,
}

fn told(sim: &Sim, id: PhoneId) -> Vec<Told> {
    let line = |text: &str, start: &str| {
        let found = text.lines().rev().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_default().to_owned()
    };
    let read = |text: &str| {
        let origin = line(text, "o=");
        let words: Vec<&str> = origin.split(' ').collect();
        Told {
            at: line(text, "c=IN IP4 "),
            session: format!("{} {}", words[0], words[1]),
            version: words[2].parse().expect("the version is a number"),
        }
    };
    let bodies = sim.heard(id).split("v=0\r\n").skip(1);
    bodies.map(|body| read(body.split("SIP/2.0").next().unwrap_or_default())).collect()
}

#[track_caller]
fn hears(sim: &Sim, id: PhoneId, whom: Option<PhoneId>) {
    let at = whom.map_or("10.0.0.1".to_owned(), |whom| sim.address(whom).ip().to_string());
    let told = told(sim, id);
    assert_eq!(told.last().map(|t| t.at.as_str()), Some(at.as_str()), "{}", sim.story());
    is_one_session(&told, sim);
}

/// RFC 3264 §8: one session for the whole dialog, and another version with each change.
#[track_caller]
fn is_one_session(told: &[Told], sim: &Sim) {
    for pair in told.windows(2) {
        let [old, new] = pair else { continue };
        assert_eq!(old.session, new.session, "{}", sim.story());
        let step = new.version - old.version;
        let is_same = old.at == new.at;
        assert!(step > 0 || is_same && step == 0, "{pair:?} {}", sim.story());
    }
}

fn over(mut sim: Sim, by: PhoneId) {
    sim.hang_up(by);
    sim.run_to_idle();
}

#[test]
fn phones_are_told_of_each_other_and_change_what_they_want() {
    let mut sim = world(81);
    let [alice, bob] = phones(&mut sim, ["alice", "bob"]);
    in_call(&mut sim, alice, bob, "bob");
    hears(&sim, alice, Some(bob));
    hears(&sim, bob, Some(alice));
    assert!(told(&sim, bob)[0].session.starts_with("crosspoint "), "nobody's own name is told");
    for (from, to) in [(alice, bob), (bob, alice)] {
        sim.reoffer(from, "sendonly");
        sim.run_for(SECOND);
        assert_eq!(sim.asked_direction(to), Some("sendonly"));
        sim.reoffer(from, "sendrecv");
        sim.run_for(SECOND);
        assert_eq!(sim.asked_direction(to), Some("sendrecv"));
        sim.press(from, '5');
        sim.run_for(SECOND);
        assert_eq!(sim.digits(to), "5", "digits go by signalling where they came so");
    }
    hears(&sim, alice, Some(bob));
    hears(&sim, bob, Some(alice));
    sim.reoffer_saying(bob, "m=image 7000 udptl t38\r\n");
    sim.run_for(SECOND);
    assert_eq!(sim.reanswers(bob).last(), Some(&(488, "")));
    sim.reoffer(bob, "sendonly");
    sim.run_for(SECOND);
    assert_eq!(
        sim.reanswers(bob).last(),
        Some(&(200, "audio")),
        "what was refused changed nothing"
    );
    over(sim, alice);
}

/// An hour of it: no media is missed where none is to be seen.
#[test]
fn a_call_past_us_lasts() {
    let mut sim = world(82);
    let [alice, bob] = phones(&mut sim, ["alice", "bob"]);
    in_call(&mut sim, alice, bob, "bob");
    sim.run_for(3600 * SECOND);
    assert!(is_up(&sim, &[alice, bob]), "{}", sim.story());
    over(sim, bob);
}

#[test]
fn a_transfer_brings_media_here() {
    for (asks, stays) in [(0, 1), (1, 0)] {
        let mut sim = world(83);
        let [alice, bob, carol] = phones(&mut sim, ["alice", "bob", "carol"]);
        let pair = [alice, bob];
        let (asks, stays) = (pair[asks], pair[stays]);
        in_call(&mut sim, alice, bob, "bob");
        sim.refer(asks, "carol");
        sim.run_until(|sim| sim.state(carol) == CallState::Up);
        sim.run_for(SECOND);
        assert!(is_up(&sim, &[stays, carol]), "{}", sim.story());
        assert_eq!(sim.state(asks), CallState::Over(200));
        hears(&sim, stays, None);
        hears(&sim, carol, None);
        over(sim, carol);
    }
}

/// To sound of ours, and to nobody: then the call goes on, with its media here.
#[test]
fn a_transfer_to_an_echo_and_one_that_fails() {
    for (target, remains) in [("600", false), ("999", true)] {
        let mut sim = world(84);
        let [alice, bob] = phones(&mut sim, ["alice", "bob"]);
        in_call(&mut sim, alice, bob, "bob");
        sim.refer(bob, target);
        sim.run_for(3 * SECOND);
        assert_eq!(sim.state(bob) == CallState::Up, remains, "{}", sim.story());
        hears(&sim, alice, None);
        if remains {
            hears(&sim, bob, None);
            sim.reoffer(bob, "sendonly");
            sim.run_for(SECOND);
            assert_eq!(sim.asked_direction(alice), Some("sendonly"));
        }
        over(sim, alice);
    }
}

#[test]
fn an_attended_transfer_joins_two_that_went_past_us() {
    let mut sim = world(85);
    let [alice, bob, carol] = phones(&mut sim, ["alice", "bob", "carol"]);
    in_call(&mut sim, alice, bob, "bob");
    let second = sim.add_registered_phone("bob");
    sim.invite(second, "carol");
    sim.run_until(|sim| is_up(sim, &[second, carol]));
    sim.run_for(SECOND);
    hears(&sim, carol, Some(second));
    sim.refer_joining(bob, second);
    sim.run_for(5 * SECOND);
    assert!(is_up(&sim, &[alice, carol]), "{}", sim.story());
    hears(&sim, alice, None);
    hears(&sim, carol, None);
    sim.reoffer(alice, "sendonly");
    sim.run_for(SECOND);
    assert_eq!(sim.asked_direction(carol), Some("sendonly"));
    over(sim, alice);
}

/// A leg that rings was told the caller's address; who takes the call in its place comes here, too.
#[test]
fn a_pick_up_and_a_call_that_goes_on_to_an_announcement_come_here() {
    let mut sim = world(86);
    let [alice, bob, carol] = phones(&mut sim, ["alice", "bob", "carol"]);
    sim.set_manner(bob, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_for(SECOND);
    sim.invite(carol, "**bob");
    sim.run_until(|sim| is_up(sim, &[alice, carol]));
    sim.run_for(SECOND);
    hears(&sim, alice, None);
    hears(&sim, carol, None);
    over(sim, alice);

    let mut sim = world(87);
    let [alice, bob] = phones(&mut sim, ["alice", "bob"]);
    sim.set_manner(bob, Manner::Busy);
    sim.rule(|plan| {
        let to = vec![Destination::User("bob".into()), Destination::Builtin(Playback::Echo)];
        plan.routes = RouteTable::new([(Route::plain("r", to), vec![("7".to_owned(), None)])]);
    });
    sim.invite(alice, "7");
    sim.run_until(|sim| sim.state(alice) == CallState::Up);
    hears(&sim, alice, None);
    over(sim, alice);
}

/// Sent on by the called phone, or by its user's wish, to somebody else: still past us.
#[test]
fn who_is_called_in_the_end_is_who_is_told() {
    let mut sim = world(88);
    let [alice, bob, carol] = phones(&mut sim, ["alice", "bob", "carol"]);
    sim.set_manner(bob, Manner::Busy);
    sim.rule(|plan| {
        let busy = Some("carol".to_owned());
        plan.forwards.insert("bob".into(), Forwarding { busy, ..Forwarding::default() });
    });
    sim.invite(alice, "bob");
    sim.run_until(|sim| is_up(sim, &[alice, carol]));
    sim.run_for(SECOND);
    hears(&sim, alice, Some(carol));
    hears(&sim, carol, Some(alice));
    assert_eq!(sim.state(bob), CallState::Over(486));
    over(sim, alice);
}

/// The caller took the early description of one for the answer, and another one answers.
#[test]
fn a_caller_that_heard_somebody_else_first_is_told_anew() {
    let mut sim = world(89);
    let [alice, first, second] = phones(&mut sim, ["alice", "bob", "bob"]);
    sim.set_manner(first, Manner::EarlyThenRing);
    sim.set_manner(second, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_for(SECOND);
    hears(&sim, alice, Some(first));
    sim.pick_up(second);
    sim.run_until(|sim| is_up(sim, &[alice, second]));
    sim.run_for(SECOND);
    hears(&sim, alice, Some(second));
    assert_eq!(sim.offered(alice), "audio", "by an offer, because an early answer stands");
    over(sim, alice);
}

/// What one side may not have, or cannot reach, is not passed on to it.
#[test]
fn what_does_not_fit_comes_through_us() {
    let secure = "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw\r\n";
    let elsewhere = "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 203.0.113.9\r\n";
    let named = "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 phone.example\r\n";
    for says in [secure, elsewhere, named] {
        let mut sim = world(90);
        let [alice, bob] = phones(&mut sim, ["alice", "bob"]);
        sim.invite_saying(alice, "bob", says);
        sim.run_until(|sim| is_up(sim, &[alice, bob]));
        sim.run_for(SECOND);
        hears(&sim, alice, None);
        hears(&sim, bob, None);
        over(sim, alice);
    }
    let mut sim = world(91);
    let [alice, bob] = phones(&mut sim, ["alice", "bob"]);
    sim.invite_without_offer(alice, "bob");
    sim.run_until(|sim| is_up(sim, &[alice, bob]));
    hears(&sim, alice, None);
    over(sim, alice);
}

/// Codecs that we do not know pass, and then nothing can be done here that needs them.
#[test]
fn sound_that_we_do_not_know_passes_and_cannot_be_brought_here() {
    let mut sim = world(92);
    let [alice, bob, carol] = phones(&mut sim, ["alice", "bob", "carol"]);
    let says = "m=audio 4000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n";
    sim.invite_saying(alice, "bob", says);
    sim.run_until(|sim| is_up(sim, &[alice, bob]));
    sim.run_for(SECOND);
    hears(&sim, bob, Some(alice));
    sim.refer(bob, "carol");
    sim.run_for(3 * SECOND);
    assert!(is_up(&sim, &[alice, bob]), "{}", sim.story());
    assert_eq!(sim.state(carol), CallState::Idle);
    hears(&sim, bob, Some(alice));
    over(sim, alice);
}

/// Trunks say it each for itself.
#[test]
fn media_goes_past_us_between_trunks_that_both_allow_it() {
    let trunk = |plan: &mut Plan, name: &str, change: &dyn Fn(&mut TrunkRoute)| {
        plan.trunks.iter_mut().filter(|t| *t.name == *name).for_each(change);
    };
    const SRTP: Profile = Profile::Rtp(SrtpPolicy::Required);
    type Change = fn(&mut TrunkRoute);
    let cases: [(Change, Change, bool); 5] = [
        (|t| t.bypass = true, |t| t.bypass = true, true),
        (|t| t.bypass = true, |_| {}, false),
        (|_| {}, |t| t.bypass = true, false),
        (|t| t.bypass = true, |t| (t.bypass, t.profile) = (true, SRTP), false),
        (|_| {}, |_| {}, false),
    ];
    for (of_in, of_out, is_past) in cases {
        let mut sim = Sim::with_trunks(93, &["in", "out"]);
        sim.rule(|plan| {
            trunk(plan, "in", &of_in);
            trunk(plan, "out", &of_out);
            let route = Route {
                from_trunks: BTreeSet::from(["in".to_owned()]),
                ..Route::plain("r", vec![Destination::Trunk("out".into())])
            };
            plan.routes = RouteTable::new([(route, vec![(String::new(), None)])]);
        });
        let (from, to) = (sim.trunk("in"), sim.trunk("out"));
        [from, to].iter().for_each(|id| sim.listen_in(*id));
        sim.invite(from, "493012345");
        sim.run_for(5 * SECOND);
        let past = |whom: PhoneId| is_past.then_some(whom);
        hears(&sim, to, past(from));
        if is_up(&sim, &[from, to]) {
            hears(&sim, from, past(to));
            sim.hang_up(from);
        }
        sim.run_to_idle();
    }
}

/// Whatever the network does to it while media comes here, everything ends, once.
#[test]
fn transfers_of_calls_past_us_end_cleanly_on_a_bad_network() {
    for seed in 0..30 {
        let mut sim = world(3000 + seed);
        let [alice, bob, carol] = phones(&mut sim, ["alice", "bob", "carol"]);
        sim.set_link(Link::BAD);
        sim.invite(alice, "bob");
        sim.run_for(Duration::from_secs(10 + seed));
        if is_up(&sim, &[alice, bob]) {
            sim.refer(if seed % 2 == 0 { alice } else { bob }, "carol");
            sim.run_for(Duration::from_millis(500 * seed));
            sim.reoffer(if seed % 3 == 0 { alice } else { bob }, "sendonly");
            sim.run_for(Duration::from_secs(20));
        }
        sim.set_link(Link::GOOD);
        sim.run_for(Duration::from_secs(60));
        for phone in [alice, bob, carol] {
            if sim.state(phone) == CallState::Up {
                sim.hang_up(phone);
                sim.run_for(SECOND);
            }
        }
        sim.run_to_idle();
    }
}

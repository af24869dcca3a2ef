//! Calls that are sent on before they are answered: by the called device (302), and by what a user
//! wants (RFC 5359 §2.7 to §2.9).

use std::time::Duration;

use crosspoint_call::router::{Country, Forwarding, Permission, Refusal};
use crosspoint_call::{Cause, Party};
use crosspoint_testkit::{CallState, Manner, PhoneId, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn up(sim: &Sim, phones: &[PhoneId]) -> bool {
    phones.iter().all(|id| sim.state(*id) == CallState::Up)
}

fn forward(sim: &mut Sim, user: &str, forwarding: Forwarding) {
    sim.rule(|plan| {
        plan.forwards.insert(user.into(), forwarding);
    });
}

fn always(to: &str) -> Forwarding {
    Forwarding { always: Some(to.to_owned()), ..Forwarding::default() }
}

/// Alice calls bob, and somebody else answers, who hears of the way.
fn answered_by(sim: &mut Sim, alice: PhoneId, other: PhoneId, way: &[&str], told: &str) {
    sim.invite(alice, "bob");
    sim.run_until(|sim| up(sim, &[alice, other]));
    assert_eq!(sim.diversions(other), way);
    sim.run_for(SECOND);
    sim.hang_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Front, Cause::Normal)]);
    assert_eq!(sim.ways(), [told]);
}

/// By bob's own phone; and once more from carol's to dave's.
#[test]
fn a_phone_sends_calls_on() {
    let mut sim = Sim::new(32);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    let (carol, dave) = (sim.add_registered_phone("carol"), sim.add_registered_phone("dave"));
    sim.set_manner(bob, Manner::SendOn("carol"));
    sim.set_manner(carol, Manner::SendOn("dave"));
    let way =
        ["<sip:carol@gateway.test>;reason=deflection", "<sip:bob@gateway.test>;reason=deflection"];
    answered_by(&mut sim, alice, dave, &way, "bob deflection, carol deflection");
}

/// The app of a user who is called sends the caller on before it answers, and one is called so.
#[test]
fn an_app_sends_calls_on() {
    let mut sim = Sim::new(34);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_app("bob"));
    let carol = sim.add_app("carol");
    sim.set_app_manner(bob, Manner::SendOn("carol"));
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.app_is_up(carol) && up(sim, &[alice]));
    sim.hang_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.ways(), ["bob deflection"]);
}

/// Two phones that send on to each other, and one that sends on to nowhere.
#[test]
fn phones_that_send_calls_in_a_circle() {
    for (target, status) in [("bob", 480), ("nobody", 404)] {
        let mut sim = Sim::new(33);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        let carol = sim.add_registered_phone("carol");
        sim.set_manner(bob, Manner::SendOn("carol"));
        sim.set_manner(carol, Manner::SendOn(target));
        sim.invite(alice, "bob");
        sim.run_to_idle();
        assert_eq!(sim.state(alice), CallState::Over(status), "{target}");
        assert_eq!(sim.endings().len(), 1);
    }
}

/// While one device of bob names carol, the other rings on; whoever answers first has the call.
#[test]
fn another_device_rings_on_while_one_sends_on() {
    let mut sim = Sim::new(35);
    let (alice, desk) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    let (mobile, carol) = (sim.add_registered_phone("bob"), sim.add_registered_phone("carol"));
    sim.set_manner(desk, Manner::SendOn("carol"));
    sim.set_manner(mobile, Manner::Ring);
    sim.set_manner(carol, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_until(|sim| [mobile, carol].iter().all(|id| sim.state(*id) == CallState::Ringing));
    sim.pick_up(mobile);
    sim.run_until(|sim| up(sim, &[alice, mobile]));
    sim.run_for(SECOND);
    assert_eq!(sim.state(carol), CallState::Over(487));
    sim.hang_up(mobile);
    sim.run_to_idle();
    assert_eq!(sim.ways(), [""], "who answered was called directly");
}

/// A call over a trunk is sent on by who was called there: not out again at our cost.
#[test]
fn a_trunk_does_not_send_calls_out() {
    let mut sim = Sim::with_trunks(36, &["carrier"]);
    let (carrier, alice) = (sim.trunk("carrier"), sim.add_registered_phone("alice"));
    sim.rule(|plan| plan.trunks[0].is_default = true);
    let bob = sim.add_registered_phone("bob");
    sim.set_manner(carrier, Manner::SendOn("4711"));
    sim.invite(alice, "4712");
    sim.run_to_idle();
    assert_eq!(sim.state(alice), CallState::Over(404));
    sim.set_manner(carrier, Manner::SendOn("bob"));
    sim.invite(alice, "4712");
    sim.run_until(|sim| up(sim, &[alice, bob]));
    sim.hang_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.ways().last().map(String::as_str), Some("4712 deflection"));
}

#[test]
fn all_calls_of_a_user_go_elsewhere() {
    let mut sim = Sim::new(37);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    let carol = sim.add_registered_phone("carol");
    forward(&mut sim, "bob", always("carol"));
    let way = ["<sip:bob@gateway.test>;reason=unconditional"];
    answered_by(&mut sim, alice, carol, &way, "bob unconditional");
    assert_eq!(sim.state(bob), CallState::Idle);
}

#[test]
fn calls_that_find_a_user_busy_declining_silent_or_away_go_elsewhere() {
    let to = |target: &str| Some(target.to_owned());
    for (manner, word) in [
        (Some(Manner::Busy), "busy"),
        (Some(Manner::Decline), "busy"),
        (Some(Manner::Ring), "no_answer"),
        (None, "unavailable"),
    ] {
        let mut sim = Sim::new(38);
        let (alice, carol) = (sim.add_registered_phone("alice"), sim.add_registered_phone("carol"));
        let bob = sim.add_phone("bob");
        if let Some(manner) = manner {
            sim.sign_in(bob);
            sim.run_for(SECOND);
            sim.set_manner(bob, manner);
        }
        let after = Duration::from_secs(12);
        let usual = Forwarding { no_answer_after: after, ..Forwarding::default() };
        let forwarding = match word {
            "busy" => Forwarding { busy: to("carol"), ..usual },
            "no_answer" => Forwarding { no_answer: to("carol"), ..usual },
            _ => Forwarding { away: to("carol"), ..usual },
        };
        forward(&mut sim, "bob", forwarding);
        if word == "no_answer" {
            sim.set_manner(carol, Manner::Ring);
            sim.invite(alice, "bob");
            sim.run_for(after - SECOND);
            assert_eq!(sim.state(carol), CallState::Idle);
            sim.run_for(2 * SECOND);
            assert_eq!(sim.state(carol), CallState::Ringing);
            sim.cancel(alice);
            sim.run_to_idle();
            assert_eq!(sim.ways(), ["bob no_answer"]);
            continue;
        }
        let said = word.replace("busy", "user-busy");
        let way = [format!("<sip:bob@gateway.test>;reason={said}")];
        let way: Vec<&str> = way.iter().map(String::as_str).collect();
        answered_by(&mut sim, alice, carol, &way, &format!("bob {word}"));
    }
}

/// Users who forward to each other, and a chain that is too long.
#[test]
fn users_that_send_calls_in_a_circle() {
    let mut sim = Sim::new(39);
    let alice = sim.add_registered_phone("alice");
    let names = ["u0", "u1", "u2", "u3", "u4", "u5", "u6"];
    for (name, next) in names.iter().zip(names.iter().skip(1)) {
        sim.add_registered_phone(name);
        forward(&mut sim, name, always(next));
    }
    let last = sim.add_registered_phone("u6");
    for (target, reaches) in [("u0", false), ("u1", true)] {
        sim.invite(alice, target);
        sim.run_for(SECOND);
        assert_eq!(up(&sim, &[alice, last]), reaches, "{target}");
        if reaches {
            sim.hang_up(alice);
        }
        sim.run_to_idle();
    }
    forward(&mut sim, "u2", always("u1"));
    sim.invite(alice, "u1");
    sim.run_to_idle();
    assert_eq!(sim.state(alice), CallState::Over(480));
    assert_eq!(sim.refusals(), [Refusal::SentOnTooOften; 2]);
}

/// What is sent on is bob's call outside: bob's permission, bob's caps, whoever calls. The called
/// side sees the caller, and on whose behalf.
#[test]
fn a_call_sent_outside_is_its_users() {
    let mut sim = Sim::with_trunks(40, &["carrier", "home"]);
    let (carrier, home) = (sim.trunk("carrier"), sim.trunk("home"));
    sim.add_registered_phone("bob");
    let alice = sim.add_registered_phone("alice");
    sim.rule(|plan| {
        plan.country = Country::find("de");
        plan.outside_numbers.insert("bob".into(), "+4930100".to_owned());
        plan.trunks[0].is_default = true;
        let users = ["bob".to_owned()].into();
        let bobs = Permission { name: "bobs".into(), users, calls: 1, ..Permission::usual() };
        plan.permissions = vec![bobs, Permission { calls: 0, ..Permission::usual() }];
    });
    forward(&mut sim, "bob", always("0301234567"));
    sim.invite(home, "bob");
    sim.run_until(|sim| up(sim, &[home, carrier]));
    assert_eq!(sim.diversions(carrier), ["<sip:+4930100@10.0.1.1>;reason=unconditional"]);
    sim.invite(alice, "bob");
    sim.run_for(SECOND);
    assert_eq!(sim.state(alice), CallState::Over(403), "bob has a call outside already");
    sim.hang_up(home);
    sim.run_to_idle();
    forward(&mut sim, "bob", always("0900123456"));
    sim.invite(home, "bob");
    sim.run_to_idle();
    assert_eq!(sim.refusals(), [Refusal::CallerCalls, Refusal::HighRisk]);
    assert_eq!(sim.explained(), 2);
}

/// Nobody's forwarding calls for help.
#[test]
fn a_call_is_not_sent_on_for_help() {
    let mut sim = Sim::with_trunks(41, &["carrier"]);
    let alice = sim.add_registered_phone("alice");
    sim.add_registered_phone("bob");
    sim.rule(|plan| {
        plan.trunks[0].is_default = true;
        plan.emergency.numbers.insert("112".to_owned());
        plan.permissions = vec![Permission { calls: 0, ..Permission::usual() }];
    });
    forward(&mut sim, "bob", always("112"));
    sim.invite(alice, "bob");
    sim.run_to_idle();
    assert_eq!(
        (sim.state(alice), sim.refusals()),
        (CallState::Over(403), vec![Refusal::CallerCalls])
    );
}

/// Alice transfers carol to bob, whose phone is busy, and whose calls then go to dave.
#[test]
fn a_transfer_is_sent_on_too() {
    for by_phone in [true, false] {
        let mut sim = Sim::new(42);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        let (carol, dave) = (sim.add_registered_phone("carol"), sim.add_registered_phone("dave"));
        if by_phone {
            sim.set_manner(bob, Manner::SendOn("dave"));
        } else {
            sim.set_manner(bob, Manner::Busy);
            let busy = Some("dave".to_owned());
            forward(&mut sim, "bob", Forwarding { busy, ..Forwarding::default() });
        }
        sim.invite(alice, "carol");
        sim.run_until(|sim| up(sim, &[alice, carol]));
        sim.run_for(SECOND);
        sim.refer(alice, "bob");
        sim.run_until(|sim| up(sim, &[carol, dave]));
        sim.run_for(SECOND);
        sim.hang_up(dave);
        sim.run_to_idle();
        assert_eq!(sim.ways(), [if by_phone { "bob deflection" } else { "bob busy" }]);
    }
}

//! Changes of media: lock, offer, answer, refusal, and both sides at once.

use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_call::{Cause, LegCommand, LegEvent, ReofferFailure};
use serde_json::json;

use super::app::{App, Gate, OFFER, OURS, reason};
use crate::harness::{millis, sdp, secs};

const LOCK: &str = "call.change.lock";
const OK: &str = "call.change.lock.ok";
const RESET: &str = "call.change.lock.reset";
const OFFERS: &str = "call.change.offer";
const ANSWERS: &str = "call.change.answer";

/// An app in a call that it made.
fn up() -> (Gate, App, LegId) {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    (gate, app, leg)
}

fn over(mut gate: Gate, app: &App, leg: LegId) {
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.ended(leg, Cause::Normal);
    gate.leaves_nothing(&[app]);
}

fn says(gate: &mut Gate, app: &App, method: &str) {
    app.in_call(gate, method, "id-1", json!({ "gcid": "gcid-id-1", "sdp": OFFER }));
}

#[track_caller]
fn failed(gate: &mut Gate, expected: ReofferFailure) {
    match gate.event() {
        (_, LegEvent::ReofferFailed(failure)) => assert_eq!(failure, expected),
        other => panic!("not failed but {other:?}"),
    }
}

/// Lets time pass until the app hears something; how long that took.
#[track_caller]
fn until_heard(gate: &mut Gate, method: &str) -> Duration {
    let start = gate.now;
    for _ in 0..10_000 {
        if let Some(message) = gate.all(1).first() {
            assert_eq!(message["method"], method);
            return gate.now - start;
        }
        gate.pass(millis(1));
    }
    panic!("{method} is never said");
}

#[test]
fn a_client_locks_offers_and_is_answered() {
    let (mut gate, app, leg) = up();
    says(&mut gate, &app, LOCK);
    assert_eq!(gate.hears(1, OK), json!({ "id": "id-1", "gcid": "gcid-id-1" }));
    gate.quiet();
    says(&mut gate, &app, OFFERS);
    let (_, LegEvent::Reoffer(Some(offer))) = gate.event() else { panic!("no offer") };
    assert_eq!(offer, sdp(OFFER));
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    let answer = gate.hears(1, ANSWERS);
    assert_eq!(sdp(answer["sdp"].as_str().unwrap()), sdp(OURS));
    assert_eq!(answer["trickle"], false);
    // The lock ended with the answer.
    says(&mut gate, &app, OFFERS);
    gate.hears(1, RESET);
    gate.quiet();
    gate.pass(secs(60));
    gate.nothing(1);
    over(gate, &app, leg);
}

#[test]
fn an_offer_without_a_lock_is_refused() {
    let (mut gate, app, leg) = up();
    says(&mut gate, &app, OFFERS);
    gate.hears(1, RESET);
    for method in [OK, RESET, ANSWERS] {
        says(&mut gate, &app, method);
    }
    gate.nothing(1);
    gate.quiet();
    over(gate, &app, leg);
}

#[test]
fn the_call_refuses_an_offer() {
    let (mut gate, app, leg) = up();
    says(&mut gate, &app, LOCK);
    says(&mut gate, &app, OFFERS);
    gate.all(1);
    gate.events();
    gate.command(leg, LegCommand::RejectReoffer(Cause::NoCommonCodec));
    gate.hears(1, RESET);
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    gate.command(leg, LegCommand::RejectReoffer(Cause::NoCommonCodec));
    gate.nothing(1);
    over(gate, &app, leg);
}

#[test]
fn an_offer_that_cannot_be_read_is_refused_and_the_call_goes_on() {
    let (mut gate, app, leg) = up();
    says(&mut gate, &app, LOCK);
    gate.hears(1, OK);
    app.in_call(&mut gate, OFFERS, "id-1", json!({ "sdp": "hello" }));
    gate.hears(1, RESET);
    gate.quiet();
    over(gate, &app, leg);
}

#[test]
fn while_an_offer_is_with_the_far_side_there_is_no_other_lock() {
    let (mut gate, app, leg) = up();
    says(&mut gate, &app, LOCK);
    says(&mut gate, &app, LOCK);
    assert_eq!(gate.all(1).len(), 2, "asked twice, granted twice");
    says(&mut gate, &app, OFFERS);
    gate.events();
    says(&mut gate, &app, LOCK);
    gate.hears(1, RESET);
    says(&mut gate, &app, OFFERS);
    gate.hears(1, RESET);
    says(&mut gate, &app, RESET);
    gate.quiet();
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    gate.hears(1, ANSWERS);
    over(gate, &app, leg);
}

#[test]
fn a_lock_that_leads_nowhere_is_taken_back() {
    let (mut gate, app, leg) = up();
    says(&mut gate, &app, LOCK);
    gate.hears(1, OK);
    gate.pass(secs(9));
    gate.nothing(1);
    gate.pass(secs(2));
    gate.hears(1, RESET);
    says(&mut gate, &app, OFFERS);
    gate.hears(1, RESET);
    // Given back in time, nothing more is said.
    says(&mut gate, &app, LOCK);
    gate.hears(1, OK);
    says(&mut gate, &app, RESET);
    gate.pass(secs(20));
    gate.nothing(1);
    gate.quiet();
    over(gate, &app, leg);
}

#[test]
fn before_the_answer_there_is_nothing_to_change() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    gate.hears(1, "call.alive");
    let (leg, _) = gate.offered();
    says(&mut gate, &app, LOCK);
    gate.hears(1, RESET);
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    failed(&mut gate, ReofferFailure::Refused);
    over(gate, &app, leg);
}

#[test]
fn the_far_side_changes() {
    let (mut gate, app, leg) = up();
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    assert_eq!(gate.hears(1, LOCK), json!({ "id": "id-1", "gcid": "gcid-id-1" }));
    says(&mut gate, &app, OK);
    let offer = gate.hears(1, OFFERS);
    assert_eq!(sdp(offer["sdp"].as_str().unwrap()), sdp(OURS));
    assert_eq!(offer["trickle"], false);
    says(&mut gate, &app, LOCK);
    gate.hears(1, RESET);
    says(&mut gate, &app, ANSWERS);
    let (_, LegEvent::Reanswer(answer)) = gate.event() else { panic!("no answer") };
    assert_eq!(answer, sdp(OFFER));
    says(&mut gate, &app, ANSWERS);
    gate.pass(secs(60));
    gate.quiet();
    gate.nothing(1);
    over(gate, &app, leg);
}

#[test]
fn the_client_refuses_a_change_of_the_far_side() {
    let (mut gate, app, leg) = up();
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    says(&mut gate, &app, OK);
    says(&mut gate, &app, RESET);
    failed(&mut gate, ReofferFailure::Refused);
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    says(&mut gate, &app, OK);
    app.in_call(&mut gate, ANSWERS, "id-1", json!({ "sdp": "hello" }));
    failed(&mut gate, ReofferFailure::Refused);
    gate.all(1);
    over(gate, &app, leg);
}

#[test]
fn a_client_that_says_nothing_is_not_waited_for() {
    let (mut gate, app, leg) = up();
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.hears(1, LOCK);
    gate.pass(secs(11));
    gate.hears(1, RESET);
    failed(&mut gate, ReofferFailure::Refused);
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    says(&mut gate, &app, OK);
    gate.all(1);
    gate.pass(secs(11));
    gate.hears(1, RESET);
    failed(&mut gate, ReofferFailure::Refused);
    // Its answer comes too late.
    says(&mut gate, &app, ANSWERS);
    gate.quiet();
    over(gate, &app, leg);
}

#[test]
fn both_at_once_give_way_and_the_called_side_comes_back_first() {
    let (mut gate, app, leg) = up();
    // The client called, so we are the called side: within two seconds.
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.hears(1, LOCK);
    says(&mut gate, &app, LOCK);
    gate.hears(1, RESET);
    says(&mut gate, &app, RESET);
    let waited = until_heard(&mut gate, LOCK);
    assert!(waited <= secs(2), "{waited:?}");
    says(&mut gate, &app, OK);
    gate.hears(1, OFFERS);
    says(&mut gate, &app, ANSWERS);
    assert!(matches!(gate.event(), (_, LegEvent::Reanswer(_))));
    over(gate, &app, leg);
}

#[test]
fn who_called_waits_longer() {
    for seed in 0..20 {
        let mut gate = Gate::new();
        let app = gate.app(1, "alice");
        // Each draws another delay.
        for _ in 0..seed {
            let (leg, _) = gate.ringing(&app);
            gate.command(leg, LegCommand::End(Cause::Normal));
            gate.events();
            gate.all(1);
        }
        let (leg, id) = gate.incoming_up(&app);
        gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
        gate.hears(1, LOCK);
        app.in_call(&mut gate, RESET, &id, json!({}));
        let waited = until_heard(&mut gate, LOCK);
        assert!(waited >= millis(2100) && waited <= secs(4), "{waited:?}");
        over(gate, &app, leg);
    }
}

#[test]
fn the_clients_offer_overtakes_ours() {
    let (mut gate, app, leg) = up();
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    says(&mut gate, &app, LOCK);
    says(&mut gate, &app, LOCK);
    let said: Vec<_> = gate.all(1).iter().map(|m| m["method"].clone()).collect();
    assert_eq!(said, [LOCK, RESET, OK]);
    says(&mut gate, &app, OFFERS);
    failed(&mut gate, ReofferFailure::Glare);
    assert!(matches!(gate.event(), (_, LegEvent::Reoffer(Some(_)))));
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    gate.hears(1, ANSWERS);
    gate.pass(secs(60));
    gate.nothing(1);
    over(gate, &app, leg);
}

#[test]
fn a_lock_that_the_client_gives_back_lets_ours_go_on() {
    let (mut gate, app, leg) = up();
    says(&mut gate, &app, LOCK);
    gate.hears(1, OK);
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    // One at a time.
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    failed(&mut gate, ReofferFailure::Refused);
    gate.nothing(1);
    says(&mut gate, &app, RESET);
    until_heard(&mut gate, LOCK);
    says(&mut gate, &app, OK);
    gate.hears(1, OFFERS);
    says(&mut gate, &app, ANSWERS);
    assert!(matches!(gate.event(), (_, LegEvent::Reanswer(_))));
    over(gate, &app, leg);
}

#[test]
fn a_client_that_never_grants_a_lock_is_given_up() {
    let (mut gate, app, leg) = up();
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.hears(1, LOCK);
    for _ in 0..4 {
        says(&mut gate, &app, RESET);
        until_heard(&mut gate, LOCK);
    }
    says(&mut gate, &app, RESET);
    failed(&mut gate, ReofferFailure::Glare);
    gate.pass(secs(60));
    gate.nothing(1);
    over(gate, &app, leg);
}

#[test]
fn a_change_that_a_lost_socket_carried_begins_again() {
    for steps in [vec![], vec![OK]] {
        let (mut gate, app, leg) = up();
        gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
        for step in steps {
            says(&mut gate, &app, step);
        }
        let received = gate.all(1).last().unwrap()["seq"].as_u64().unwrap();
        gate.lose(1);
        let (app, body) = app.resume(&mut gate, 1, received);
        assert_eq!(body["resumed"], true);
        until_heard(&mut gate, LOCK);
        says(&mut gate, &app, OK);
        gate.hears(1, OFFERS);
        says(&mut gate, &app, ANSWERS);
        assert!(matches!(gate.event(), (_, LegEvent::Reanswer(_))));
        gate.pass(secs(60));
        gate.quiet();
        over(gate, &app, leg);
    }
}

#[test]
fn a_call_that_ends_takes_its_changes_with_it() {
    for steps in [vec![LOCK], vec![LOCK, OFFERS]] {
        let (mut gate, app, leg) = up();
        for step in steps {
            says(&mut gate, &app, step);
        }
        gate.all(1);
        gate.events();
        gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
        gate.command(leg, LegCommand::End(Cause::Normal));
        gate.ended(leg, Cause::Normal);
        assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "normal");
        says(&mut gate, &app, OFFERS);
        gate.pass(secs(60));
        gate.nothing(1);
        gate.leaves_nothing(&[&app]);
    }
}

//! One `call.start` to several addresses: the first answer has the call.

use crosspoint_base::LegId;
use crosspoint_call::{Candidate, Cause, LegCommand, LegEvent, Scope};
use serde_json::json;

use super::app::{App, CANDIDATE, CARRIER, CHAT, Gate, OURS, SIP, WEB, reason};
use crate::harness::sdp;

/// A call that is forked to our own users and to the app's network.
fn forked() -> (Gate, App, LegId, LegId) {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.connect(&mut gate, "web");
    app.start_at(&mut gate, &json!([SIP, WEB, SIP]), "id-1", json!({ "target": "bob" }));
    gate.hears(1, "call.alive");
    let (first, offer) = gate.offered();
    assert_eq!(offer.scope, Scope::Everywhere);
    let (second, offer) = gate.offered();
    assert_eq!(offer.scope, Scope::Network("net-1".into()));
    gate.quiet();
    (gate, app, first, second)
}

#[test]
fn the_first_answer_wins_and_the_client_sees_one_call() {
    let (mut gate, app, first, second) = forked();
    gate.command(second, LegCommand::Ringing);
    assert_eq!(gate.hears(1, "call.ringing")["id"], "id-1");
    gate.command(first, LegCommand::Ringing);
    gate.nothing(1);
    gate.command(second, LegCommand::Answer(sdp(OURS)));
    gate.ended(first, Cause::AnsweredElsewhere);
    let accept = gate.hears(1, "call.accept");
    assert_eq!((&accept["id"], &accept["account"]), (&json!("id-1"), &json!("web")));
    // The loser is silent, whatever its call still says.
    gate.command(first, LegCommand::Answer(sdp(OURS)));
    gate.command(first, LegCommand::End(Cause::AnsweredElsewhere));
    gate.nothing(1);
    gate.quiet();
    app.in_call(&mut gate, "call.ack.accept", "id-1", json!({}));
    assert!(matches!(gate.event(), (leg, LegEvent::Confirm(None)) if leg == second));
    app.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.ended(second, Cause::Normal);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn the_worthiest_failure_is_told_when_all_fail() {
    let (mut gate, app, first, second) = forked();
    gate.command(first, LegCommand::End(Cause::Busy));
    gate.ended(first, Cause::Busy);
    gate.nothing(1);
    gate.command(second, LegCommand::End(Cause::Unavailable));
    assert!(matches!(gate.event(), (leg, LegEvent::Ended(_)) if leg == second));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "busy");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_persons_no_stops_the_others() {
    let (mut gate, app, first, second) = forked();
    gate.command(second, LegCommand::End(Cause::Declined));
    gate.ended(first, Cause::Declined);
    gate.ended(second, Cause::Declined);
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "declined");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn what_the_client_says_before_the_answer_is_for_all() {
    let (mut gate, app, first, second) = forked();
    let candidate = json!({ "candidate": { "payload": CANDIDATE } });
    app.in_call(&mut gate, "call.candidate", "id-1", candidate);
    for leg in [first, second] {
        assert!(matches!(gate.event(), (l, LegEvent::Candidate(_)) if l == leg));
    }
    // And what only one of them says waits until it is known who answers.
    gate.command(second, LegCommand::EarlyMedia(sdp(OURS)));
    assert!(gate.hears(1, "call.ringing").get("sdp").is_none());
    let far = Candidate { text: CANDIDATE.to_owned(), mid: None, ufrag: None };
    gate.command(second, LegCommand::Candidate(far));
    gate.command(second, LegCommand::EndOfCandidates);
    gate.nothing(1);
    app.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.ended(first, Cause::Cancelled);
    gate.ended(second, Cause::Cancelled);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn only_connected_accounts_are_tried() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start_at(&mut gate, &json!([CHAT, CARRIER, WEB, SIP]), "id-1", json!({}));
    gate.hears(1, "call.alive");
    let (leg, offer) = gate.offered();
    assert_eq!(offer.scope, Scope::Everywhere);
    gate.quiet();
    gate.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    assert!(gate.hears(1, "call.ringing")["sdp"].is_string());
    app.start_at(&mut gate, &json!([CHAT, WEB]), "id-2", json!({}));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-2"), "unavailable");
    // An address that is not the session's is no address.
    let foreign = json!(["sip-connector:b2bua-bob-sip", SIP]);
    app.start_at(&mut gate, &foreign, "id-3", json!({}));
    assert_eq!(gate.fault(1), "unknownRecipient");
    gate.hears(1, "call.alive");
    gate.offered();
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

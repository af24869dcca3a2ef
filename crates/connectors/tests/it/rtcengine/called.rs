//! Calls that come to an app.

use crosspoint_base::{Private, RegistrationId};
use crosspoint_call::{Cause, LegCommand, LegEvent, Reach};
use crosspoint_connectors::rtcengine::{MAKER, RemoteState};
use serde_json::json;

use super::app::{CARRIER, Gate, OFFER, OURS, SIP, WEB, reason};
use crate::harness::{sdp, secs};

#[test]
fn a_call_rings_is_taken_and_ended_by_the_far_side() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, start) = gate.ringing(&app);
    let id = start["id"].as_str().unwrap().to_owned();
    let expected = json!({
        "id": id, "gcid": "gcid-in", "account": "sip", "target": "alice",
        "sdp": sdp(OURS).to_string(), "trickle": false, "replace": false,
        "peer": { "identifier": "sip:carol@gateway.test", "displayName": "Carol" },
        "source": "sip:carol@gateway.test",
    });
    assert_eq!(start, expected);
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    app.in_call(&mut gate, "call.ringing", &id, json!({ "gcid": "gcid-in", "account": null }));
    assert!(matches!(gate.event(), (l, LegEvent::Ringing) if l == leg));
    app.in_call(&mut gate, "call.ringing", &id, json!({}));
    gate.quiet();
    app.in_call(&mut gate, "call.accept", &id, json!({ "sdp": OFFER, "trickle": true }));
    let (_, LegEvent::Answer(Some(answer))) = gate.event() else { panic!("no answer") };
    assert_eq!(answer, sdp(OFFER));
    assert_eq!(gate.hears(1, "call.ack.accept"), json!({ "id": id, "gcid": "gcid-in" }));
    // Said twice, it is acknowledged twice.
    app.in_call(&mut gate, "call.accept", &id, json!({ "sdp": OFFER }));
    gate.hears(1, "call.ack.accept");
    gate.pass(secs(100));
    gate.quiet();
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.ended(leg, Cause::Normal);
    assert_eq!(reason(&gate.hears(1, "call.end"), &id), "normal");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_person_declines_and_a_device_is_busy() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    for (body, cause) in [
        (json!({ "reason": "declined" }), Cause::Declined),
        (json!({}), Cause::Declined),
        (json!({ "reason": null }), Cause::Declined),
        (json!({ "reason": "normal" }), Cause::Declined),
        (json!({ "reason": "busy" }), Cause::Busy),
        (json!({ "reason": "mediaError" }), Cause::MediaFailed),
        (json!({ "reason": "notAcceptable" }), Cause::NoCommonCodec),
        (json!({ "reason": "unavailable" }), Cause::Unavailable),
    ] {
        let (leg, start) = gate.ringing(&app);
        let id = start["id"].as_str().unwrap();
        app.in_call(&mut gate, "call.end", id, body);
        gate.ended(leg, cause);
        gate.hears(1, "call.ack.end");
    }
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_running_call_that_breaks_says_so() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    for (word, cause) in [
        ("normal", Cause::Normal),
        ("declined", Cause::Normal),
        ("mediaError", Cause::MediaFailed),
        ("networkError", Cause::SignalingLost),
    ] {
        let (leg, id) = gate.incoming_up(&app);
        app.in_call(&mut gate, "call.end", &id, json!({ "reason": word }));
        gate.ended(leg, cause);
        gate.hears(1, "call.ack.end");
    }
    gate.leaves_nothing(&[&app]);
}

#[test]
fn nobody_answers() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, start) = gate.ringing(&app);
    gate.pass(secs(59));
    gate.quiet();
    gate.pass(secs(2));
    gate.ended(leg, Cause::NoAnswer);
    let id = start["id"].as_str().unwrap();
    assert_eq!(reason(&gate.hears(1, "call.end"), id), "noAnswer");
    // It is too late.
    app.in_call(&mut gate, "call.accept", id, json!({ "sdp": OFFER }));
    gate.nothing(1);
    gate.quiet();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn another_device_answers() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, start) = gate.ringing(&app);
    gate.command(leg, LegCommand::End(Cause::AnsweredElsewhere));
    gate.ended(leg, Cause::AnsweredElsewhere);
    let id = start["id"].as_str().unwrap();
    assert_eq!(reason(&gate.hears(1, "call.end"), id), "answeredElsewhere");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn an_answer_that_cannot_be_read_ends_the_call() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, start) = gate.ringing(&app);
    let id = start["id"].as_str().unwrap();
    app.in_call(&mut gate, "call.accept", id, json!({ "sdp": 7 }));
    gate.ended(leg, Cause::BadDescription);
    assert_eq!(reason(&gate.hears(1, "call.end"), id), "notAcceptable");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_call_waits_for_a_page_that_is_away() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let binding = gate.device("alice");
    gate.lose(1);
    let leg = gate.call(binding);
    assert!(matches!(gate.event(), (_, LegEvent::Trying)));
    assert!(matches!(gate.event(), (_, LegEvent::MediaGrace(_))));
    gate.pass(secs(3));
    let (app, body) = app.resume(&mut gate, 2, 1);
    assert_eq!(body["resumed"], true);
    let start = gate.hears(2, "call.start");
    let id = start["id"].as_str().unwrap();
    app.in_call(&mut gate, "call.accept", id, json!({ "sdp": OFFER }));
    assert!(matches!(gate.event(), (l, LegEvent::Answer(Some(_))) if l == leg));
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.events();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_place_that_is_gone_or_another_connectors_is_unavailable() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let binding = gate.device("alice");
    app.say(&mut gate, "account.disconnect", SIP, json!({ "id": "sip" }));
    for reach in [
        Reach::Binding(binding),
        Reach::Binding(MAKER.binding(99)),
        Reach::Trunk { name: "carrier".into(), number: Private("1".to_owned()) },
        Reach::Registration { id: RegistrationId(1), number: Private("1".to_owned()) },
    ] {
        let leg = gate.call_at(reach);
        gate.ended(leg, Cause::Unavailable);
        // The call's own end comes too late to be told.
        gate.command(leg, LegCommand::End(Cause::Unavailable));
        gate.quiet();
    }
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_client_with_too_many_calls_is_busy() {
    let mut gate = Gate::with(|config| config.max_calls_per_client = 2);
    let app = gate.app(1, "alice");
    gate.incoming_up(&app);
    gate.ringing(&app);
    let binding = gate.device("alice");
    let leg = gate.call(binding);
    gate.ended(leg, Cause::Busy);
    gate.nothing(1);
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

#[test]
fn each_kind_of_account_shows_the_caller_its_own_way() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    app.connect(&mut gate, "carrier");
    app.connect(&mut gate, "web");
    let id = gate.registered[0].0;
    gate.registration(id, RemoteState::Connected);
    gate.all(1);
    let owner = gate.engine.owners_of(id).next().unwrap();
    gate.call(owner);
    let start = gate.next(1);
    assert_eq!((&start["from"], &start["body"]["account"]), (&json!(CARRIER), &json!("carrier")));
    assert_eq!(start["body"]["source"], "sip:carol@carrier.test");
    assert_eq!(start["body"]["trickle"], false);
    let member = gate.engine.members_of("net-1", "alice").next().unwrap();
    gate.call(member);
    let start = gate.next(1);
    assert_eq!((&start["from"], &start["body"]["account"]), (&json!(WEB), &json!("web")));
    assert_eq!(start["body"]["source"], "carol");
    assert_eq!(start["body"]["trickle"], true);
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

#[test]
fn a_called_app_cannot_play_the_caller() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    for method in ["call.accept", "call.ringing", "call.alive", "call.ack.accept", "call.ack.end"] {
        app.in_call(&mut gate, method, "id-1", json!({ "sdp": OFFER }));
    }
    gate.nothing(1);
    gate.quiet();
    let (ringing, start) = gate.ringing(&app);
    let id = start["id"].as_str().unwrap();
    app.in_call(&mut gate, "call.ack.accept", id, json!({}));
    // A call cannot make it answer, either.
    gate.command(ringing, LegCommand::Answer(sdp(OURS)));
    gate.command(ringing, LegCommand::Ringing);
    gate.command(ringing, LegCommand::EarlyMedia(sdp(OURS)));
    gate.nothing(1);
    gate.quiet();
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.command(ringing, LegCommand::End(Cause::Normal));
    gate.events();
    gate.leaves_nothing(&[&app]);
}

//! Calls that an app makes, from `call.start` to the end.

use crosspoint_call::{Cause, LegCommand, LegEvent, MediaPath, Profile, Scope};
use crosspoint_connectors::rtcengine::{MAKER, RemoteState};
use serde_json::json;

use super::app::{App, CARRIER, CHAT, Gate, LOCKED, OFFER, OURS, SIP, WEB, reason};
use crate::harness::{sdp, secs};

#[test]
fn a_call_is_made_answered_and_ended() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    let alive = gate.hears(1, "call.alive");
    assert_eq!(alive, json!({ "id": "id-1", "gcid": "gcid-id-1" }));
    let (leg, offer) = gate.offered();
    assert_eq!(leg.maker(), MAKER);
    assert_eq!(offer.from.address.expose(), "alice");
    assert_eq!(offer.from.user.as_deref(), Some("alice"));
    assert_eq!(offer.to.expose(), "bob");
    assert_eq!(offer.gcid.unwrap().as_str(), "gcid-id-1");
    assert_eq!(offer.description.unwrap(), sdp(OFFER));
    assert!(offer.trickle && offer.trunk.is_none() && offer.replaces.is_none());
    assert_eq!(offer.profile, Profile::WebRtc);
    assert_eq!((offer.scope, offer.path), (Scope::Everywhere, MediaPath::Anchored));
    gate.command(leg, LegCommand::Ringing);
    let ringing = gate.hears(1, "call.ringing");
    assert_eq!((&ringing["account"], &ringing["id"]), (&json!("sip"), &json!("id-1")));
    assert!(ringing.get("sdp").is_none());
    gate.command(leg, LegCommand::Ringing);
    gate.nothing(1);
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    let accept = gate.hears(1, "call.accept");
    assert_eq!((&accept["trickle"], &accept["account"]), (&json!(false), &json!("sip")));
    assert_eq!(sdp(accept["sdp"].as_str().unwrap()), sdp(OURS));
    app.in_call(&mut gate, "call.ack.accept", "id-1", json!({ "gcid": "gcid-id-1" }));
    assert!(matches!(gate.event(), (_, LegEvent::Confirm(None))));
    app.in_call(&mut gate, "call.ack.accept", "id-1", json!({}));
    gate.pass(secs(60));
    gate.quiet();
    app.in_call(&mut gate, "call.end", "id-1", json!({ "reason": "normal" }));
    assert_eq!(gate.hears(1, "call.ack.end"), json!({ "id": "id-1", "gcid": "gcid-id-1" }));
    gate.ended(leg, Cause::Normal);
    gate.nothing(1);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn what_the_network_plays_before_the_answer_comes_with_the_ringing() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    gate.hears(1, "call.alive");
    let (leg, _) = gate.offered();
    gate.command(leg, LegCommand::Ringing);
    assert!(gate.hears(1, "call.ringing").get("sdp").is_none());
    gate.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    assert!(gate.hears(1, "call.ringing")["sdp"].is_string());
    gate.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    gate.command(leg, LegCommand::Ringing);
    gate.nothing(1);
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    assert!(gate.hears(1, "call.accept")["sdp"].is_string());
    app.say(&mut gate, "session.close", "", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.leaves_nothing(&[]);
}

#[test]
fn each_kind_of_account_leads_elsewhere() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.connect(&mut gate, "carrier");
    app.connect(&mut gate, "web");
    let id = gate.registered[0].0;
    gate.registration(id, RemoteState::Connected);
    app.start_at(&mut gate, &json!(CARRIER), "id-1", json!({ "target": "+49 (30) 12-34" }));
    let (_, offer) = gate.offered();
    assert_eq!(offer.scope, Scope::Out(id));
    assert_eq!(
        (offer.to.expose().as_str(), offer.from.address.expose().as_str()),
        ("+49301234", "4711")
    );
    assert_eq!((offer.from.user, offer.path), (None, MediaPath::Anchored));
    app.start_at(&mut gate, &json!(WEB), "id-2", json!({ "target": "bob" }));
    let (leg, offer) = gate.offered();
    assert_eq!(offer.scope, Scope::Network("net-1".into()));
    assert_eq!(
        (offer.to.expose().as_str(), offer.from.address.expose().as_str()),
        ("bob", "alice")
    );
    assert_eq!((offer.from.user, offer.path), (None, MediaPath::Direct));
    // The answer is the other browser's, whose candidates follow.
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    let accept = gate.all(1).pop().unwrap();
    assert_eq!((&accept["method"], &accept["from"]), (&json!("call.accept"), &json!(WEB)));
    assert_eq!(accept["body"]["trickle"], true);
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

#[test]
fn a_call_that_cannot_begin_is_ended_with_the_reason() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    let refused = |gate: &mut Gate, to: &str, id: &str, more, expected: &str| {
        app.start_at(gate, &json!(to), id, more);
        let end = gate.hears(1, "call.end");
        assert_eq!(reason(&end, id), expected, "{id}");
        assert_eq!(end["gcid"], format!("gcid-{id}"));
        gate.quiet();
    };
    refused(&mut gate, SIP, "not-connected", json!({}), "unavailable");
    refused(&mut gate, CHAT, "not-there", json!({}), "unavailable");
    refused(&mut gate, LOCKED, "locked", json!({}), "unavailable");
    app.connect(&mut gate, "carrier");
    refused(&mut gate, CARRIER, "connecting", json!({}), "unavailable");
    app.connect(&mut gate, "sip");
    refused(&mut gate, SIP, "no-sdp", json!({ "sdp": null }), "notAcceptable");
    refused(&mut gate, SIP, "bad-sdp", json!({ "sdp": "hello" }), "notAcceptable");
    let empty = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    refused(&mut gate, SIP, "empty-sdp", json!({ "sdp": empty }), "notAcceptable");
    refused(&mut gate, SIP, "no-target", json!({ "target": null }), "notFound");
    refused(&mut gate, SIP, "bad-target", json!({ "target": "a\r\nVia: x" }), "notFound");
    // What follows for such a call is not worth an answer.
    app.in_call(&mut gate, "call.candidate", "no-sdp", json!({ "candidate": { "payload": "" } }));
    gate.nothing(1);
    app.in_call(&mut gate, "call.end", "no-sdp", json!({}));
    gate.hears(1, "call.ack.end");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_start_that_names_nothing_is_no_call() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    for more in [json!({ "id": null }), json!({ "id": "" }), json!({ "gcid": "a b" })] {
        app.start(&mut gate, "id-1", more);
        assert_eq!(gate.fault(1), "badMessage");
    }
    let to: Vec<&str> = vec![SIP; 9];
    app.start_at(&mut gate, &json!(to), "id-1", json!({}));
    assert_eq!(gate.fault(1), "badMessage");
    gate.quiet();
    // Without a gcid it gets one.
    app.start(&mut gate, "id-1", json!({ "gcid": null }));
    let gcid = gate.hears(1, "call.alive")["gcid"].as_str().unwrap().to_owned();
    assert_eq!(gate.offered().1.gcid.unwrap().as_str(), gcid);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn the_caller_gives_up() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    gate.hears(1, "call.alive");
    let (leg, _) = gate.offered();
    app.in_call(&mut gate, "call.end", "id-1", json!({ "reason": "busy" }));
    gate.hears(1, "call.ack.end");
    gate.ended(leg, Cause::Cancelled);
    // The call hears of it later, and says what it has to say.
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.command(leg, LegCommand::End(Cause::Cancelled));
    gate.nothing(1);
    gate.quiet();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn the_far_side_ends() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    for (n, (cause, word)) in [
        (Cause::Busy, "busy"),
        (Cause::NotFound, "notFound"),
        (Cause::InvalidNumber, "notFound"),
        (Cause::Forbidden, "unauthorized"),
        (Cause::NoCommonCodec, "notAcceptable"),
        (Cause::Shutdown, "unavailable"),
        (Cause::Internal, "internalError"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("id-{n}");
        app.start(&mut gate, &id, json!({}));
        gate.hears(1, "call.alive");
        let (leg, _) = gate.offered();
        gate.command(leg, LegCommand::End(cause));
        gate.ended(leg, cause);
        assert_eq!(reason(&gate.hears(1, "call.end"), &id), word);
        app.in_call(&mut gate, "call.ack.end", &id, json!({}));
        gate.nothing(1);
    }
    gate.leaves_nothing(&[&app]);
}

#[test]
fn an_answer_that_is_not_acknowledged_ends_the_call() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    let (leg, _) = gate.offered();
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.all(1);
    gate.pass(secs(9));
    gate.quiet();
    gate.pass(secs(2));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "networkError");
    gate.ended(leg, Cause::SignalingLost);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_repeated_start_is_ignored_and_a_used_id_is_not() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    gate.hears(1, "call.alive");
    let (leg, _) = gate.offered();
    app.start(&mut gate, "id-1", json!({}));
    gate.nothing(1);
    gate.quiet();
    app.start(&mut gate, "id-1", json!({ "target": "carol" }));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "internalError");
    gate.ended(leg, Cause::Cancelled);
    // Also when the call is over, for a while.
    app.start(&mut gate, "id-1", json!({}));
    gate.nothing(1);
    app.start(&mut gate, "id-1", json!({ "sdp": OURS }));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "internalError");
    gate.quiet();
    gate.pass(secs(31));
    app.start(&mut gate, "id-1", json!({}));
    gate.hears(1, "call.alive");
    gate.offered();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn messages_of_a_call_that_is_over_are_passed_over_and_of_none_refused() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    app.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.hears(1, "call.ack.end");
    app.in_call(&mut gate, "call.dtmf", "id-1", json!({ "dtmf": "1" }));
    gate.nothing(1);
    app.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.hears(1, "call.ack.end");
    gate.pass(secs(31));
    app.in_call(&mut gate, "call.dtmf", "id-1", json!({ "dtmf": "1" }));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "notFound");
    app.in_call(&mut gate, "call.end", "id-1", json!({ "gcid": "g" }));
    assert_eq!(gate.hears(1, "call.ack.end"), json!({ "id": "id-1", "gcid": "g" }));
    app.in_call(&mut gate, "call.ack.end", "never", json!({}));
    gate.nothing(1);
    app.say(&mut gate, "call.dtmf", SIP, json!({ "dtmf": "1" }));
    assert_eq!(gate.fault(1), "badMessage");
    gate.quiet();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn there_are_only_so_many_calls_and_none_while_we_stop() {
    let mut gate = Gate::with(|config| config.max_calls_per_client = 2);
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    gate.outgoing_up(&app, "id-2");
    app.start(&mut gate, "id-3", json!({}));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-3"), "unavailable");
    gate.quiet();
    app.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.hears(1, "call.ack.end");
    gate.engine.drain();
    app.start(&mut gate, "id-4", json!({}));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-4"), "unavailable");
    assert_eq!(gate.engine.counters().refused_calls, 2);
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

#[test]
fn a_thousand_short_calls_leave_no_more_than_their_latest_ids() {
    let mut gate = Gate::new();
    let app: App = gate.app(1, "alice");
    for n in 0..1000 {
        gate.pass(secs(1) / 20);
        let id = format!("id-{n}");
        app.start(&mut gate, &id, json!({ "sdp": "bad" }));
        assert_eq!(reason(&gate.hears(1, "call.end"), &id), "notAcceptable");
    }
    gate.leaves_nothing(&[&app]);
}

//! Clients outlive their sockets: what waits, what is said again, and when it is too late.

use crosspoint_call::{Cause, LegCommand, LegEvent};
use serde_json::{Value, json};

use super::app::{App, EPOCH, Gate, OURS, SIP};
use crate::harness::{sdp, secs};

fn seqs(messages: &[Value]) -> Vec<(u64, &str)> {
    messages.iter().map(|m| (m["seq"].as_u64().unwrap(), m["method"].as_str().unwrap())).collect()
}

#[test]
fn what_was_missed_is_said_again_with_its_numbers() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    let (leg, _) = gate.offered();
    assert_eq!(seqs(&gate.all(1)), [(2, "call.alive")]);
    // It is sent and never arrives.
    gate.command(leg, LegCommand::Ringing);
    let lost = gate.all(1);
    gate.lose(1);
    gate.pass(secs(5));
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    let (app, body) = app.resume(&mut gate, 2, 2);
    assert_eq!(body["resumed"], true);
    assert_eq!(body["calls"][0]["state"], "active");
    let missed = gate.all(2);
    assert_eq!(missed[0], lost[0]);
    assert_eq!(seqs(&missed), [(3, "call.ringing"), (4, "call.accept")]);
    gate.quiet();
    assert_eq!(gate.engine.counters().resumed, 1);
    app.in_call(&mut gate, "call.ack.accept", "id-1", json!({}));
    assert!(matches!(gate.event(), (_, LegEvent::Confirm(None))));
    gate.pass(secs(100));
    gate.nothing(2);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn after_the_window_calls_and_accounts_end() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.connect(&mut gate, "carrier");
    let leg = gate.outgoing_up(&app, "id-1");
    let binding = gate.device("alice");
    let ringing = gate.call(binding);
    gate.events();
    gate.lose(1);
    gate.pass(secs(29));
    gate.quiet();
    assert_eq!(gate.engine.devices_of("alice").count(), 1);
    gate.pass(secs(2));
    gate.ended(ringing, Cause::Unavailable);
    gate.ended(leg, Cause::SignalingLost);
    assert_eq!(gate.engine.devices_of("alice").count(), 0);
    assert_eq!(gate.unregistered.len(), 1);
    assert_eq!(gate.engine.counters().expired, 1);
    // It is another client now, though it has the same name.
    let (app, body) = app.resume(&mut gate, 2, 4);
    assert_eq!((&body["resumed"], &body["calls"]), (&json!(false), &json!([])));
    app.connect(&mut gate, "sip");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn the_window_begins_again_with_every_loss() {
    let mut gate = Gate::new();
    let mut app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    for socket in 2..6 {
        gate.lose(app.socket);
        gate.pass(secs(20));
        app = app.resume(&mut gate, socket, 3).0;
    }
    gate.quiet();
    app.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_page_that_remembers_nothing_is_shown_what_runs() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    gate.outgoing_up(&app, "id-1");
    gate.pass(secs(7));
    let (ringing, start) = gate.ringing(&app);
    app.start(&mut gate, "id-2", json!({ "target": "+49 30 1" }));
    gate.offered();
    gate.lose(1);
    let (app, body) = app.resume(&mut gate, 2, 0);
    assert_eq!(body["resumed"], true, "everything was kept");
    gate.all(2);
    app.say(&mut gate, "session.ack", "", json!({ "received": 4 }));
    gate.lose(2);
    let (app, body) = app.resume(&mut gate, 3, 0);
    assert_eq!(body["resumed"], false);
    let mut calls = body["calls"].as_array().unwrap().clone();
    calls.sort_by_key(|c| c["peer"]["identifier"].as_str().map(str::to_owned));
    let expected = [
        json!({
            "id": "id-2", "gcid": "gcid-id-2", "account": "sip", "direction": "outgoing",
            "state": "starting", "peer": { "identifier": "sip:+49301@gateway.test" },
            "since": EPOCH + 7,
        }),
        json!({
            "id": "id-1", "gcid": "gcid-id-1", "account": "sip", "direction": "outgoing",
            "state": "active", "peer": { "identifier": "sip:bob@gateway.test" }, "since": EPOCH,
        }),
        json!({
            "id": start["id"], "gcid": "gcid-in", "account": "sip", "direction": "incoming",
            "state": "starting",
            "peer": { "identifier": "sip:carol@gateway.test", "displayName": "Carol" },
            "since": EPOCH + 7,
        }),
    ];
    assert_eq!(calls, expected);
    // What rings is offered again, as it was.
    assert_eq!(gate.hears(3, "call.start"), start);
    gate.nothing(3);
    gate.quiet();
    let id = start["id"].as_str().unwrap();
    app.in_call(&mut gate, "call.end", id, json!({ "reason": "busy" }));
    gate.ended(ringing, Cause::Busy);
    gate.hears(3, "call.ack.end");
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

#[test]
fn an_answer_that_was_missed_is_given_again() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    let (leg, _) = gate.offered();
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.lose(1);
    // No acknowledgement can come without a socket.
    gate.pass(secs(20));
    gate.quiet();
    let (app, body) = app.resume(&mut gate, 2, 99);
    assert_eq!(body["resumed"], false);
    assert_eq!(gate.hears(2, "call.accept")["id"], "id-1");
    app.start(&mut gate, "id-1", json!({}));
    assert_eq!(gate.hears(2, "call.accept")["id"], "id-1");
    // With a socket it is due.
    gate.pass(secs(9));
    gate.quiet();
    gate.pass(secs(2));
    gate.ended(leg, Cause::SignalingLost);
    assert_eq!(gate.hears(2, "call.end")["reason"], "networkError");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn only_so_much_waits_for_who_is_away() {
    let mut gate = Gate::with(|config| config.max_waiting = 10);
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    gate.lose(1);
    let digit = || LegCommand::Dtmf(crosspoint_call::Digit::new('1').unwrap(), secs(1));
    for _ in 0..10 {
        gate.command(leg, digit());
    }
    let (app, body) = app.resume(&mut gate, 2, 3);
    assert_eq!(body["resumed"], true);
    assert_eq!(gate.all(2).len(), 10);
    gate.lose(2);
    gate.command(leg, digit());
    let (app, body) = app.resume(&mut gate, 3, 3);
    assert_eq!(body["resumed"], false, "one of eleven is gone");
    gate.nothing(3);
    assert!(gate.engine.counters().dropped > 0);
    app.say(&mut gate, "session.close", "", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.leaves_nothing(&[]);
}

#[test]
fn the_bytes_that_wait_have_a_bound_too() {
    let mut gate = Gate::with(|config| config.max_waiting_bytes = 2000);
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    gate.lose(1);
    for _ in 0..20 {
        let digit = crosspoint_call::Digit::new('1').unwrap();
        gate.command(leg, LegCommand::Dtmf(digit, secs(1)));
    }
    let (_, body) = app.resume(&mut gate, 2, 3);
    assert_eq!(body["resumed"], false);
}

#[test]
fn a_client_that_never_acknowledges_costs_little_while_it_is_there() {
    let mut gate = Gate::with(|config| config.max_waiting_bytes = 8000);
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    let digits = |gate: &mut Gate, count| {
        for _ in 0..count {
            let digit = crosspoint_call::Digit::new('1').unwrap();
            gate.command(leg, LegCommand::Dtmf(digit, secs(1)));
        }
    };
    digits(&mut gate, 40);
    gate.lose(1);
    // The latest are there still, and room for what comes now.
    digits(&mut gate, 20);
    let (app, body) = app.resume(&mut gate, 2, 40);
    assert_eq!(body["resumed"], true);
    assert_eq!(gate.all(2).len(), 23);
    digits(&mut gate, 40);
    gate.lose(2);
    let (_, body) = app.resume(&mut gate, 3, 70);
    assert_eq!(body["resumed"], false);
}

#[test]
fn a_client_without_a_name_is_adopted() {
    let mut gate = Gate::new();
    let app = App { client: None, ..App::new(1, "alice") };
    gate.open(1);
    let body = app.open(&mut gate, json!({}));
    assert!(body.get("client").is_none());
    app.connect(&mut gate, "sip");
    let leg = gate.outgoing_up(&app, "id-1");
    // While it has a socket, another is another.
    let (second, body) = app.resume(&mut gate, 2, 0);
    assert_eq!(body["calls"], json!([]));
    gate.lose(1);
    let named = App::new(3, "alice");
    gate.open(3);
    assert_eq!(named.open(&mut gate, json!({}))["calls"], json!([]));
    // It says nothing of what it has, so nothing is said again.
    let again = app.at(4);
    gate.open(4);
    let body = again.open(&mut gate, json!({}));
    assert_eq!((&body["resumed"], &body["calls"][0]["id"]), (&json!(false), &json!("id-1")));
    gate.nothing(4);
    gate.quiet();
    again.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.leaves_nothing(&[&second, &named, &again]);
}

#[test]
fn two_clients_of_a_session_do_not_see_each_others_calls() {
    let mut gate = Gate::new();
    let (one, two) = (gate.app(1, "alice"), gate.app(2, "alice"));
    let leg = gate.outgoing_up(&one, "id-1");
    for method in ["call.end", "call.dtmf", "call.change.lock", "call.accept", "call.transfer"] {
        two.in_call(
            &mut gate,
            method,
            "id-1",
            json!({ "gcid": "gcid-id-1", "dtmf": "1", "sdp": OURS, "target": "bob" }),
        );
        gate.quiet();
    }
    assert!(
        gate.all(2)
            .iter()
            .all(|m| { m["method"] == "call.ack.end" || m["body"]["reason"] == "notFound" })
    );
    // The same id is another call there.
    two.start(&mut gate, "id-1", json!({}));
    let (other, _) = gate.offered();
    assert_ne!(other, leg);
    one.in_call(&mut gate, "call.end", "id-1", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.quiet();
    assert_eq!(gate.hears(2, "call.alive")["id"], "id-1");
    two.say(&mut gate, "session.close", "", json!({}));
    gate.ended(other, Cause::Normal);
    gate.leaves_nothing(&[&one]);
}

#[test]
fn accounts_that_were_granted_anew_are_seen_on_the_way_back() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.connect(&mut gate, "carrier");
    let mut grant = super::app::grant("alice");
    grant.accounts.remove("carrier");
    let mut renamed = grant.accounts["sip"].clone();
    grant.accounts.insert("second".to_owned(), {
        renamed.id = "alice-second".into();
        renamed
    });
    gate.grants.insert("alice-token".to_owned(), Ok(grant));
    let (app, body) = app.resume(&mut gate, 2, 2);
    assert_eq!(body["accounts"]["sip"]["state"], "connected");
    assert_eq!(body["accounts"]["second"]["state"], "disconnected");
    assert!(body["accounts"].get("carrier").is_none());
    assert_eq!(gate.unregistered.len(), 1);
    assert_eq!(gate.engine.devices_of("alice").count(), 1);
    app.say(&mut gate, "account.connect", SIP, json!({ "id": "sip" }));
    assert_eq!(app.state(&mut gate, "sip"), ("connected".to_owned(), String::new()));
    assert_eq!(gate.engine.devices_of("alice").count(), 1);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn who_acknowledges_costs_no_memory() {
    let mut gate = Gate::with(|config| config.max_waiting = 10);
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    for n in 0..40 {
        let digit = crosspoint_call::Digit::new('1').unwrap();
        gate.command(leg, LegCommand::Dtmf(digit, secs(1)));
        app.say(&mut gate, "session.ack", "", json!({ "received": 4 + n }));
    }
    gate.lose(1);
    let (app, body) = app.resume(&mut gate, 2, 43);
    assert_eq!(body["resumed"], true);
    gate.nothing(2);
    assert_eq!(gate.engine.counters().dropped, 0);
    app.say(&mut gate, "session.close", "", json!({}));
    gate.ended(leg, Cause::Normal);
    gate.leaves_nothing(&[]);
}

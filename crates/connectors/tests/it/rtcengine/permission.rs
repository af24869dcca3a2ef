//! What a client may not do: everything foreign is answered like something that is not there.

use crosspoint_call::LegCommand;
use serde_json::{Value, json};

use super::app::{App, Gate, OFFER, SIP, reason};
use crate::harness::sdp;

const BOBS: &str = "sip-connector:b2bua-bob-sip";

#[test]
fn a_foreign_target_is_like_one_that_does_not_exist() {
    let mut gate = Gate::new();
    let (app, bob) = (gate.app(1, "alice"), gate.app(2, "bob"));
    let mut answers: Vec<Vec<Value>> = vec![];
    for target in [BOBS, "sip-connector:b2bua-nobody", "browser:c2", "mail:x", "x"] {
        app.say(&mut gate, "account.connect", target, json!({ "id": "sip" }));
        app.say(&mut gate, "call.dtmf", target, json!({ "id": "id-9", "dtmf": "1" }));
        app.start_at(&mut gate, &json!(target), "id-9", json!({}));
        let mut heard = gate.all(1);
        for message in &mut heard {
            message["seq"] = Value::Null;
        }
        answers.push(heard);
        gate.quiet();
        gate.pass(crate::harness::secs(31));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let types: Vec<&Value> = answers[0].iter().map(|m| &m["body"]["type"]).collect();
    assert_eq!(types[..3], ["unknownRecipient"; 3]);
    let end = &answers[0][3];
    assert_eq!((&end["method"], &end["from"]), (&json!("call.end"), &json!("core")));
    assert_eq!(reason(&end["body"], "id-9"), "notFound");
    gate.nothing(2);
    assert_eq!(gate.engine.counters().unknown_recipient, 15);
    gate.leaves_nothing(&[&app, &bob]);
}

#[test]
fn a_foreign_call_is_like_one_that_does_not_exist() {
    let mut gate = Gate::new();
    let (alice, bob) = (gate.app(1, "alice"), gate.app(2, "bob"));
    let leg = gate.outgoing_up(&bob, "id-of-bob");
    gate.all(2);
    for method in [
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
        "call.ack.end",
    ] {
        let body = |id: &str| json!({ "id": id, "gcid": "gcid-id-of-bob", "sdp": OFFER, "dtmf": "1", "target": "x" });
        alice.say(&mut gate, method, SIP, body("id-of-bob"));
        let foreign = gate.all(1);
        alice.say(&mut gate, method, SIP, body("id-of-nobody"));
        let unknown = gate.all(1);
        let plain = |messages: Vec<Value>| {
            let text =
                json!(messages.iter().map(|m| (&m["method"], &m["body"])).collect::<Vec<_>>());
            text.to_string().replace("id-of-nobody", "id-of-bob")
        };
        assert_eq!(plain(foreign), plain(unknown), "{method}");
        gate.quiet();
        gate.nothing(2);
    }
    gate.command(leg, LegCommand::End(crosspoint_call::Cause::Normal));
    gate.events();
    gate.leaves_nothing(&[&alice, &bob]);
}

#[test]
fn the_right_id_with_a_wrong_gcid_is_no_call() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    app.in_call(&mut gate, "call.dtmf", "id-1", json!({ "gcid": "guess", "dtmf": "1" }));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "notFound");
    gate.quiet();
    app.in_call(&mut gate, "call.end", "id-1", json!({ "gcid": "guess" }));
    gate.hears(1, "call.ack.end");
    gate.quiet();
    gate.command(leg, LegCommand::Answer(sdp(OFFER)));
    gate.command(leg, LegCommand::End(crosspoint_call::Cause::Normal));
    gate.events();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn from_is_never_believed() {
    let mut gate = Gate::new();
    let (alice, bob) = (gate.app(1, "alice"), gate.app(2, "bob"));
    let message = json!({
        "method": "call.start", "from": "browser:c2", "to": SIP, "session": "alice-token",
        "body": { "id": "id-1", "gcid": "g", "target": "carol", "sdp": OFFER, "account": "bob-sip" },
    });
    gate.message(1, &message);
    assert_eq!(gate.next(1)["to"], "browser:c1");
    let (_, offer) = gate.offered();
    assert_eq!(offer.from.user.as_deref(), Some("alice"));
    gate.nothing(2);
    gate.leaves_nothing(&[&alice, &bob]);
}

#[test]
fn another_sessions_client_name_opens_another_client() {
    let mut gate = Gate::new();
    let alice = gate.app(1, "alice");
    gate.outgoing_up(&alice, "id-1");
    let mallory = App { client: alice.client.clone(), ..App::new(2, "bob") };
    gate.open(2);
    let body = mallory.open(&mut gate, json!({ "received": 0 }));
    assert_eq!((&body["resumed"], &body["calls"]), (&json!(false), &json!([])));
    assert_eq!(gate.code(1), None);
    assert_eq!(gate.engine.clients(), 2);
}

#[test]
fn nothing_private_shows_when_the_connector_is_printed() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.connect(&mut gate, "carrier");
    gate.ringing(&app);
    app.start(&mut gate, "id-1", json!({ "target": "4913371337" }));
    let events = gate.events();
    let shown = format!("{:?} {events:?} {:?}", gate.engine, gate.registered);
    for secret in ["alice-token", "hush", "4913371337", "0123456789012345678901", "Carol"] {
        assert!(!shown.contains(secret), "{secret} shows");
    }
}

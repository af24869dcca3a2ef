//! Texts to and from apps.

use crosspoint_base::Private;
use crosspoint_call::{Cause, Identity, Text};
use serde_json::json;

use super::app::{Gate, SIP};

fn text() -> Text {
    Text {
        from: Identity { address: Private("bob".to_owned()), ..Identity::default() },
        to: Private("alice".to_owned()),
        kind: "text/plain".into(),
        body: Private("Lunch?".to_owned()),
        is_fleeting: false,
    }
}

#[test]
fn a_text_reaches_a_client_that_is_there() {
    let mut gate = Gate::new();
    gate.app(1, "alice");
    assert_eq!(gate.engine.take_came(), ["alice".into()], "what waits can be sent");
    let device = gate.device("alice");
    assert!(gate.engine.send_text(device, &text()));
    gate.drain();
    let expected = json!({
        "id": "sip", "kind": "text/plain", "text": "Lunch?",
        "peer": { "identifier": "sip:bob@gateway.test" },
    });
    assert_eq!(gate.hears(1, "account.text"), expected);
    gate.lose(1);
    assert!(!gate.engine.send_text(device, &text()), "it waits for somebody who is there");
}

#[test]
fn an_app_writes_as_its_user_and_hears_the_outcome() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    for (taken, state, reason) in
        [(Ok(()), "accepted", ""), (Err(Cause::NotFound), "failed", "notFound")]
    {
        let body =
            json!({ "id": "sip", "ref": "7", "target": "sip:bob@gateway.test", "text": "Hi" });
        app.say(&mut gate, "account.text", SIP, body);
        let (ticket, text) = gate.texts.pop_front().expect("a text");
        assert_eq!((text.from.user.as_deref(), text.to.expose().as_str()), (Some("alice"), "bob"));
        assert_eq!((&*text.kind, text.body.expose().as_str()), ("text/plain", "Hi"));
        gate.engine.text_taken(&ticket, taken);
        gate.drain();
        let expected = json!({ "id": "sip", "ref": "7", "state": state, "reason": reason });
        assert_eq!(gate.hears(1, "account.text.state"), expected);
    }
    gate.leaves_nothing(&[&app]);
}

#[test]
fn texts_of_apps_that_cannot_be_are_refused() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let long = "x".repeat(17 * 1024);
    for body in [
        json!({ "id": "sip", "target": "", "text": "Hi" }),
        json!({ "id": "sip", "target": "bob", "text": long }),
        json!({ "id": "sip", "target": "bob", "text": "Hi", "kind": "a\u{1}" }),
    ] {
        app.say(&mut gate, "account.text", SIP, body);
        assert_eq!(gate.hears(1, "account.text.state")["state"], "failed");
    }
    // An account that is not connected, and one that is no user of ours.
    for name in ["carrier", "web"] {
        let body = json!({ "id": name, "target": "bob", "text": "Hi" });
        app.say(&mut gate, "account.text", "core", body);
        assert_eq!(gate.hears(1, "account.text.state")["state"], "failed");
    }
    assert!(gate.texts.is_empty());
    gate.leaves_nothing(&[&app]);
}

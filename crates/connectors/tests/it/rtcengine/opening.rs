//! Sockets and sessions: who may speak, and what is answered to those who may not.

use crosspoint_base::Secret;
use crosspoint_connectors::rtcengine::{Denial, IceServer};
use serde_json::json;

use super::app::{App, Gate, SIP, grant};
use crate::harness::{millis, secs};

/// A page behind a wall needs them before its first call, and fresh ones with every socket.
#[test]
fn a_session_is_told_where_its_relay_is() {
    let mut gate = Gate::new();
    for (connection, password) in [(1, "first"), (2, "second")] {
        let mut grant = grant("alice");
        grant.ice_servers = vec![IceServer {
            urls: vec!["turn:gateway.test:3478?transport=udp".to_owned()],
            username: "17:a1b2".to_owned(),
            credential: Secret::new(password.to_owned()),
        }];
        assert!(!format!("{grant:?}").contains(password));
        gate.grants.insert("alice-token".to_owned(), Ok(grant));
        gate.open(connection);
        let credentials = json!({ "credentials": { "userSession": "alice-token" } });
        App::new(connection, "alice").say(&mut gate, "session.open", "", credentials);
        let expected = json!([{
            "urls": ["turn:gateway.test:3478?transport=udp"],
            "username": "17:a1b2", "credential": password,
        }]);
        assert_eq!(gate.next(connection)["body"]["iceServers"], expected);
    }
    gate.open(3);
    let credentials = json!({ "credentials": { "userSession": "bob-token" } });
    App::new(3, "bob").say(&mut gate, "session.open", "", credentials);
    assert!(gate.next(3)["body"].get("iceServers").is_none());
}

#[test]
fn a_token_shows_its_accounts_and_where_to_send_for_them() {
    let mut gate = Gate::new();
    gate.open(1);
    let app = App::new(1, "alice");
    app.say(
        &mut gate,
        "session.open",
        "",
        json!({ "credentials": { "userSession": "alice-token" } }),
    );
    let message = gate.next(1);
    assert_eq!(message["method"], "session.validated");
    assert_eq!(message["from"], "core");
    assert_eq!(message["to"], "browser:c1");
    assert_eq!(message["session"], "alice-token");
    assert!(message["seq"].is_null());
    let body = &message["body"];
    assert_eq!(body["result"], true);
    assert_eq!(body["resumed"], false);
    assert_eq!(body["window"], 30);
    assert_eq!(body["calls"], json!([]));
    let shown = &body["accounts"]["sip"];
    assert_eq!(
        *shown,
        json!({
            "identifier": "sip:alice@gateway.test", "target": SIP, "network": { "tag": "sip" },
            "state": "disconnected",
        })
    );
    assert_eq!(body["accounts"]["web"]["target"], "webrtc:b2bua-alice-web");
    assert_eq!(body["accounts"]["chat"]["target"], "xmpp-connector:b2bua-alice-chat");
    assert_eq!(gate.origins, [Some("https://app.test".to_owned())]);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn the_envelope_alone_may_carry_the_token() {
    let mut gate = Gate::new();
    gate.open(1);
    gate.text(1, r#"{"method":"session.open","session":"alice-token"}"#);
    assert_eq!(gate.hears(1, "session.validated")["result"], true);
}

#[test]
fn a_token_that_grants_nothing_is_told_so_and_the_socket_closed() {
    let mut gate = Gate::new();
    for (socket, denial, word) in [
        (1, Denial::InvalidToken, "invalidToken"),
        (2, Denial::ExpiredToken, "expiredToken"),
        (3, Denial::OriginDenied, "originDenied"),
        (4, Denial::Internal, "internalError"),
    ] {
        gate.grants.insert("alice-token".to_owned(), Err(denial));
        gate.open(socket);
        let body = App::new(socket, "alice").open(&mut gate, json!({}));
        assert_eq!(body["result"], false);
        assert_eq!(body["reason"]["type"], word);
        assert!(body.get("accounts").is_none());
        assert_eq!(gate.code(socket), Some(4401));
    }
    assert_eq!(gate.engine.counters().denied, 4);
    assert_eq!(gate.engine.sockets(), 0);
}

#[test]
fn a_grant_that_is_over_or_too_large_opens_nothing() {
    let mut gate = Gate::with(|config| config.max_accounts = 4);
    gate.open(1);
    let body = App::new(1, "alice").open(&mut gate, json!({}));
    assert_eq!(body["reason"]["type"], "internalError");
    let mut gate = Gate::new();
    let over = gate.now;
    gate.grants.insert("alice-token".to_owned(), Ok(grant("alice")));
    if let Some(Ok(grant)) = gate.grants.get_mut("alice-token") {
        grant.expires = over;
    }
    gate.open(1);
    let body = App::new(1, "alice").open(&mut gate, json!({}));
    assert_eq!(body["reason"]["type"], "expiredToken");
    assert!(gate.engine.is_idle());
}

#[test]
fn an_empty_or_endless_token_is_not_even_looked_up() {
    let mut gate = Gate::new();
    for (socket, token) in [(1, String::new()), (2, "x".repeat(5000))] {
        gate.open(socket);
        let app = App { token, ..App::new(socket, "alice") };
        assert_eq!(app.open(&mut gate, json!({}))["reason"]["type"], "invalidToken");
        assert_eq!(gate.code(socket), Some(4401));
    }
    assert!(gate.origins.is_empty());
}

#[test]
fn nothing_is_served_before_the_session_is_open() {
    let mut gate = Gate::new();
    gate.open(1);
    let app = App::new(1, "alice");
    for method in ["account.connect", "call.start", "session.ack", "session.close", "x.y"] {
        app.say(&mut gate, method, SIP, json!({ "id": "i" }));
        let body = gate.hears(1, "core.error");
        assert_eq!(body["type"], "noSession");
        assert_eq!(body["request"], json!({ "method": method, "id": "i" }));
    }
    assert_eq!(gate.engine.counters().no_session, 5);
    gate.quiet();
}

#[test]
fn another_token_on_the_same_socket_is_not_believed() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let forged = App { token: "bob-token".to_owned(), ..app.clone() };
    forged.start(&mut gate, "id-1", json!({}));
    assert_eq!(gate.fault(1), "invalidToken");
    forged.say(&mut gate, "session.open", "", json!({}));
    assert_eq!(gate.fault(1), "invalidToken");
    gate.quiet();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn opening_again_is_answered_again_and_changes_nothing() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    let body = app.open(&mut gate, json!({ "received": 3 }));
    assert_eq!(body["resumed"], true);
    assert_eq!(body["calls"][0]["id"], "id-1");
    assert_eq!(body["accounts"]["sip"]["state"], "connected");
    gate.nothing(1);
    gate.quiet();
    assert_eq!((gate.engine.clients(), gate.engine.legs()), (1, 1));
    // A socket is one client's.
    let other = App { client: Some("another".to_owned()), ..app.clone() };
    other.say(
        &mut gate,
        "session.open",
        "",
        json!({ "credentials": { "userSession": "alice-token" }, "client": "another" }),
    );
    assert_eq!(gate.fault(1), "badMessage");
    app.say(&mut gate, "session.close", "", json!({}));
    gate.ended(leg, crosspoint_call::Cause::Normal);
    gate.leaves_nothing(&[]);
}

#[test]
fn messages_of_a_client_are_numbered_and_others_not() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    app.say(&mut gate, "account.connect", SIP, json!({ "id": "sip" }));
    assert_eq!(gate.next(1)["seq"], 1);
    app.say(&mut gate, "no.such", "", json!({}));
    assert!(gate.next(1)["seq"].is_null());
    app.start(&mut gate, "id-1", json!({}));
    let alive = gate.next(1);
    assert_eq!((&alive["seq"], &alive["from"]), (&json!(2), &json!(SIP)));
    assert_eq!(alive["to"], "browser:c1");
}

#[test]
fn what_is_no_message_is_refused_and_three_in_a_minute_close_the_socket() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    gate.text(1, "hello");
    gate.text(1, "{\"method\":");
    gate.pass(secs(61));
    gate.text(1, "[]");
    gate.text(1, "{\"no\":\"method\"}");
    for _ in 0..4 {
        assert_eq!(gate.fault(1), "badMessage");
    }
    assert_eq!(gate.code(1), None);
    gate.text(1, "null");
    assert_eq!(gate.fault(1), "badMessage");
    assert_eq!(gate.code(1), Some(4400));
    assert_eq!(gate.engine.counters().bad_messages, 5);
    // The client may come back.
    assert_eq!(gate.engine.clients(), 1);
    let (app, body) = app.resume(&mut gate, 2, 1);
    assert_eq!(body["resumed"], true);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn unknown_methods_are_named_in_the_answer_and_not_at_length() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    app.say(&mut gate, &"x".repeat(3000), "", json!({ "id": "i".repeat(3000) }));
    let body = gate.hears(1, "core.error");
    assert_eq!(body["type"], "unknownMethod");
    assert_eq!(body["request"], json!({ "method": "x".repeat(64) }));
    for method in ["call", "call.", "chat.send", "conference.join", "call.transfer.progress"] {
        app.say(&mut gate, method, "", json!({}));
        assert_eq!(gate.fault(1), "unknownMethod");
    }
}

#[test]
fn a_flood_is_cut_off_and_a_brisk_client_is_not() {
    let mut gate = Gate::new();
    let brisk = gate.page(1, "alice");
    for _ in 0..3000 {
        gate.pass(millis(10));
        brisk.say(&mut gate, "session.ack", "", json!({ "received": 0 }));
    }
    gate.nothing(1);
    let flood = gate.page(2, "bob");
    for _ in 0..399 {
        flood.say(&mut gate, "session.ack", "", json!({ "received": 0 }));
    }
    gate.nothing(2);
    flood.say(&mut gate, "session.ack", "", json!({ "received": 0 }));
    assert_eq!(gate.fault(2), "rateLimited");
    assert_eq!(gate.code(2), Some(4429));
    assert_eq!(gate.engine.counters().rate_limited, 1);
}

#[test]
fn a_socket_that_opens_nothing_is_closed() {
    let mut gate = Gate::new();
    gate.open(1);
    gate.pass(secs(29));
    assert_eq!(gate.code(1), None);
    gate.pass(secs(2));
    assert_eq!(gate.code(1), Some(4408));
    assert_eq!(gate.engine.sockets(), 0);
}

#[test]
fn an_answer_to_a_lookup_that_nobody_waits_for_is_dropped() {
    let mut gate = Gate::new();
    gate.open(1);
    let connection = crosspoint_base::ConnectionId(1);
    gate.engine.handle_lookup(gate.now, connection, Ok(grant("alice")));
    gate.engine.handle_lookup(gate.now, crosspoint_base::ConnectionId(9), Ok(grant("alice")));
    gate.drain();
    gate.nothing(1);
    assert_eq!(gate.engine.clients(), 0);
}

#[test]
fn the_second_socket_of_a_client_replaces_the_first() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (again, body) = app.resume(&mut gate, 2, 1);
    assert_eq!(body["resumed"], true);
    assert_eq!(gate.code(1), Some(4409));
    // What the first still has to say is too late.
    app.start(&mut gate, "id-1", json!({}));
    gate.lose(1);
    gate.quiet();
    again.start(&mut gate, "id-2", json!({}));
    gate.hears(2, "call.alive");
    assert_eq!(gate.engine.clients(), 1);
    gate.offered();
    gate.leaves_nothing(&[&again]);
}

#[test]
fn a_session_that_is_deleted_ends_its_clients() {
    let mut gate = Gate::new();
    let (alice, bob) = (gate.app(1, "alice"), gate.app(2, "bob"));
    let leg = gate.outgoing_up(&alice, "id-1");
    gate.engine.revoke(gate.now, "session-of-alice");
    gate.engine.revoke(gate.now, "session-of-nobody");
    gate.drain();
    gate.ended(leg, crosspoint_call::Cause::Unauthorized);
    assert_eq!(gate.hears(1, "call.end")["reason"], "unauthorized");
    assert_eq!(gate.code(1), Some(4401));
    assert_eq!(gate.code(2), None);
    assert_eq!(gate.engine.devices_of("alice").count(), 0);
    gate.leaves_nothing(&[&bob]);
}

#[test]
fn closing_ends_calls_and_accounts_at_once() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let up = gate.outgoing_up(&app, "id-1");
    app.start(&mut gate, "id-2", json!({}));
    let (trying, _) = gate.offered();
    let binding = gate.device("alice");
    let ringing = gate.call(binding);
    gate.events();
    app.say(&mut gate, "session.close", "core", json!({}));
    let mut ended: Vec<_> =
        gate.events().into_iter().map(|(leg, e)| (leg, format!("{e:?}"))).collect();
    ended.sort();
    let mut expected = vec![
        (up, "Ended(Normal)".to_owned()),
        (trying, "Ended(Normal)".to_owned()),
        (ringing, "Ended(Unavailable)".to_owned()),
    ];
    expected.sort();
    assert_eq!(ended, expected);
    assert_eq!(gate.code(1), Some(1000));
    gate.leaves_nothing(&[]);
}

#[test]
fn there_are_only_so_many_clients() {
    let mut gate =
        Gate::with(|config| (config.max_clients, config.max_clients_per_session) = (3, 2));
    gate.page(1, "alice");
    gate.page(2, "alice");
    gate.open(3);
    let body = App::new(3, "alice").open(&mut gate, json!({}));
    assert_eq!(body["reason"]["type"], "internalError");
    gate.page(4, "bob");
    gate.open(5);
    let body = App::new(5, "bob").open(&mut gate, json!({}));
    assert_eq!(body["reason"]["type"], "internalError");
    // Who is known already may come back.
    let (_, body) = App::new(1, "alice").resume(&mut gate, 6, 0);
    assert_eq!(body["resumed"], true);
    // Sockets without clients have a bound too.
    for socket in 10..13 {
        gate.open(socket);
    }
    assert_eq!(gate.code(12), None);
    gate.open(13);
    assert_eq!(gate.code(13), Some(1013));
}

#[test]
fn a_name_that_is_none_opens_nothing() {
    let mut gate = Gate::new();
    gate.open(1);
    let app = App::new(1, "alice");
    for client in [json!(""), json!(7), json!("a b"), json!("x".repeat(200))] {
        let body = json!({ "credentials": { "userSession": "alice-token" }, "client": client });
        app.say(&mut gate, "session.open", "", body);
        assert_eq!(gate.fault(1), "badMessage");
    }
    assert!(gate.origins.is_empty());
}

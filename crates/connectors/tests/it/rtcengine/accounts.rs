//! Accounts: what they connect to, who hears of it, and where calls find them.

use crosspoint_base::{Gcid, LegId, Private};
use crosspoint_call::Identity;
use crosspoint_connectors::rtcengine::{
    DeviceKind, MAKER, RemoteFailure, RemoteState, Service, UserCall,
};
use serde_json::{Value, json};

use super::app::{App, CARRIER, EPOCH, Gate, SIP, carrier, grant};

fn said(state: &str, reason: &str) -> (String, String) {
    (state.to_owned(), reason.to_owned())
}

#[test]
fn a_user_of_ours_is_reachable_while_connected() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    assert_eq!(gate.engine.devices_of("alice").count(), 0);
    assert_eq!(app.connect(&mut gate, "sip"), said("connected", ""));
    let binding = gate.device("alice");
    assert_eq!(binding.maker(), MAKER);
    // Asking again is harmless.
    assert_eq!(app.connect(&mut gate, "sip"), said("connected", ""));
    assert_eq!(gate.device("alice"), binding);
    let second = gate.app(2, "alice");
    assert_eq!(gate.engine.devices_of("alice").count(), 2);
    app.say(&mut gate, "account.disconnect", SIP, json!({ "id": "sip" }));
    assert_eq!(app.state(&mut gate, "sip"), said("disconnected", ""));
    assert_ne!(gate.device("alice"), binding);
    assert_eq!(gate.engine.devices_of("bob").count(), 0);
    gate.leaves_nothing(&[&app, &second]);
}

#[test]
fn apps_of_a_network_find_each_other_by_name() {
    let mut gate = Gate::new();
    let (alice, bob) = (gate.page(1, "alice"), gate.page(2, "bob"));
    assert_eq!(alice.connect(&mut gate, "web"), said("connected", ""));
    assert_eq!(bob.connect(&mut gate, "web"), said("connected", ""));
    let members = |gate: &Gate, network: &str, name: &str| {
        gate.engine.members_of(network, name).collect::<Vec<_>>()
    };
    assert_eq!(members(&gate, "net-1", "alice").len(), 1);
    assert_eq!(members(&gate, "net-1", "bob").len(), 1);
    assert_ne!(members(&gate, "net-1", "alice"), members(&gate, "net-1", "bob"));
    assert!(members(&gate, "net-2", "alice").is_empty());
    assert!(members(&gate, "net-1", "carol").is_empty());
    // It makes nobody a user's device.
    assert_eq!(gate.engine.devices_of("alice").count(), 0);
    gate.leaves_nothing(&[&alice, &bob]);
}

#[test]
fn an_account_elsewhere_tells_every_change_of_its_sign_in() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    assert_eq!(app.connect(&mut gate, "carrier"), said("connecting", ""));
    let (id, account) = gate.registered[0].clone();
    assert_eq!(account, carrier());
    for (state, expected) in [
        (RemoteState::Connected, said("connected", "")),
        (RemoteState::Retrying(RemoteFailure::Timeout), said("connecting", "timeout")),
        (RemoteState::Retrying(RemoteFailure::Network), said("connecting", "networkError")),
        (RemoteState::Connecting, said("connecting", "")),
        (RemoteState::Connected, said("connected", "")),
        (RemoteState::Disconnected, said("disconnected", "")),
        (RemoteState::Failed(RemoteFailure::Unauthorized), said("failed", "unauthorized")),
    ] {
        gate.registration(id, state);
        assert_eq!(app.state(&mut gate, "carrier"), expected);
        gate.registration(id, state);
        gate.nothing(1);
    }
    // What failed for good is tried anew when it is asked for.
    assert_eq!(app.connect(&mut gate, "carrier"), said("connecting", ""));
    gate.nothing(1);
    assert_eq!((gate.registered.len(), gate.unregistered.as_slice()), (2, &[id][..]));
    let (second, _) = gate.registered[1];
    // The old one has nothing to say any more.
    gate.registration(id, RemoteState::Connected);
    gate.nothing(1);
    gate.registration(second, RemoteState::Failed(RemoteFailure::NotFound));
    assert_eq!(app.state(&mut gate, "carrier"), said("failed", "notFound"));
    gate.leaves_nothing(&[&app]);
}

#[test]
fn all_clients_of_an_account_share_one_sign_in() {
    let mut gate = Gate::new();
    let (one, two) = (gate.page(1, "alice"), gate.page(2, "alice"));
    one.connect(&mut gate, "carrier");
    two.connect(&mut gate, "carrier");
    assert_eq!(gate.registered.len(), 1);
    let id = gate.registered[0].0;
    gate.registration(id, RemoteState::Connected);
    assert_eq!(one.state(&mut gate, "carrier"), said("connected", ""));
    assert_eq!(two.state(&mut gate, "carrier"), said("connected", ""));
    assert_eq!(gate.engine.owners_of(id).count(), 2);
    one.say(&mut gate, "account.disconnect", CARRIER, json!({ "id": "carrier" }));
    assert_eq!(one.state(&mut gate, "carrier"), said("disconnected", ""));
    assert_eq!((gate.engine.owners_of(id).count(), gate.unregistered.len()), (1, 0));
    // A third that comes later knows at once.
    let three = gate.page(3, "alice");
    assert_eq!(three.connect(&mut gate, "carrier"), said("connected", ""));
    two.say(&mut gate, "session.close", "", json!({}));
    three.say(&mut gate, "session.close", "", json!({}));
    assert_eq!(gate.unregistered, [id]);
    assert_eq!(gate.engine.owners_of(id).count(), 0);
    gate.leaves_nothing(&[&one]);
}

#[test]
fn a_new_password_signs_in_anew() {
    let mut gate = Gate::new();
    let one = gate.page(1, "alice");
    one.connect(&mut gate, "carrier");
    let first = gate.registered[0].0;
    let mut changed = grant("alice");
    if let Some(account) = changed.accounts.get_mut("carrier") {
        let mut remote = carrier();
        remote.password = crosspoint_base::Secret::new("new".to_owned());
        account.service = Service::Remote(remote.into());
    }
    gate.grants.insert("alice-token".to_owned(), Ok(changed));
    let two = gate.page(2, "alice");
    two.connect(&mut gate, "carrier");
    assert_eq!((gate.registered.len(), gate.unregistered.as_slice()), (2, &[first][..]));
    let second = gate.registered[1].0;
    assert_eq!(gate.engine.owners_of(second).count(), 2);
    assert_eq!(one.state(&mut gate, "carrier"), said("connecting", ""));
    gate.registration(second, RemoteState::Connected);
    assert_eq!(one.state(&mut gate, "carrier"), said("connected", ""));
    assert_eq!(two.state(&mut gate, "carrier"), said("connected", ""));
    gate.leaves_nothing(&[&one, &two]);
}

#[test]
fn what_cannot_be_connected_says_why() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    assert_eq!(app.connect(&mut gate, "chat"), said("failed", "notAvailable"));
    assert_eq!(app.connect(&mut gate, "locked"), said("failed", "unauthorized"));
    assert_eq!(gate.engine.devices_of("alice").count(), 0);
    for (to, id) in [(SIP, "carrier"), (SIP, "nobody"), ("", "nobody"), ("core", "")] {
        app.say(&mut gate, "account.connect", to, json!({ "id": id }));
        assert_eq!(app.state(&mut gate, id), said("failed", "invalidAccount"), "{to} {id}");
    }
    app.say(&mut gate, "account.connect", "", json!({ "id": "x".repeat(5000) }));
    let body = gate.hears(1, "account.state");
    assert_eq!(body["id"], "x".repeat(128));
    gate.leaves_nothing(&[&app]);
}

#[test]
fn an_account_may_be_named_by_its_target_or_its_id() {
    let mut gate = Gate::new();
    let app = gate.page(1, "alice");
    app.say(&mut gate, "account.connect", SIP, json!({}));
    assert_eq!(app.state(&mut gate, "sip"), said("connected", ""));
    app.say(&mut gate, "account.disconnect", "", json!({ "id": "sip" }));
    assert_eq!(app.state(&mut gate, "sip"), said("disconnected", ""));
    app.say(&mut gate, "account.disconnect", "", json!({ "id": "sip" }));
    assert_eq!(app.state(&mut gate, "sip"), said("disconnected", ""));
    gate.leaves_nothing(&[&app]);
}

#[test]
fn only_so_many_devices_of_one_user_are_connected() {
    let mut gate = Gate::with(|config| config.max_devices = 2);
    let (one, two) = (gate.page(1, "alice"), gate.page(2, "alice"));
    for account in ["sip", "carrier", "web"] {
        one.connect(&mut gate, account);
        two.connect(&mut gate, account);
    }
    // Who is away gives way first, then who was there first.
    gate.lose(2);
    let (three, four) = (gate.page(3, "alice"), gate.page(4, "alice"));
    for account in ["sip", "carrier", "web"] {
        three.connect(&mut gate, account);
        gate.nothing(1);
        four.connect(&mut gate, account);
        assert_eq!(one.state(&mut gate, account), said("disconnected", "replaced"));
    }
    assert_eq!(gate.engine.devices_of("alice").count(), 2);
    assert_eq!(gate.engine.members_of("net-1", "alice").count(), 2);
    assert_eq!(gate.registered.len(), 1);
    assert_eq!(gate.engine.owners_of(gate.registered[0].0).count(), 2);
    gate.lose(1);
    gate.leaves_nothing(&[&three, &four]);
}

fn call(leg: LegId, is_active: bool) -> UserCall {
    UserCall {
        leg,
        gcid: Gcid::from_peer("gcid-x").unwrap(),
        peer: Identity { address: Private("carol".to_owned()), ..Identity::default() },
        is_outgoing: false,
        is_active,
        since_unix: EPOCH,
        device: DeviceKind::Phone,
    }
}

#[test]
fn calls_on_other_devices_are_told_when_they_change() {
    let mut gate = Gate::new();
    let (alice, bob) = (gate.app(1, "alice"), gate.app(2, "bob"));
    let tell = |gate: &mut Gate, calls: &[UserCall]| {
        gate.engine.handle_user_calls(gate.now, "alice", calls);
        gate.drain();
    };
    tell(&mut gate, &[]);
    gate.nothing(1);
    let ringing = call(LegId(7), false);
    tell(&mut gate, std::slice::from_ref(&ringing));
    let expected = json!({ "id": "sip", "calls": [{
        "gcid": "gcid-x", "peer": { "identifier": "sip:carol@gateway.test" },
        "direction": "incoming", "state": "ringing", "device": "phone", "since": EPOCH,
    }] });
    assert_eq!(gate.hears(1, "account.calls"), expected);
    tell(&mut gate, &[ringing]);
    gate.nothing(1);
    gate.nothing(2);
    tell(&mut gate, &[call(LegId(7), true)]);
    assert_eq!(gate.hears(1, "account.calls")["calls"][0]["state"], "active");
    // A page that comes later, or comes back with nothing, hears it at once.
    let late = gate.app(3, "alice");
    assert_eq!(gate.hears(3, "account.calls")["calls"][0]["state"], "active");
    let (late, _) = late.resume(&mut gate, 4, 77);
    assert_eq!(gate.hears(4, "account.calls")["calls"][0]["state"], "active");
    tell(&mut gate, &[]);
    assert_eq!(gate.hears(1, "account.calls")["calls"], json!([]));
    assert_eq!(gate.hears(4, "account.calls")["calls"], json!([]));
    gate.leaves_nothing(&[&alice, &bob, &late]);
}

#[test]
fn a_clients_own_calls_are_not_elsewhere() {
    let mut gate = Gate::new();
    let (one, two) = (gate.app(1, "alice"), gate.app(2, "alice"));
    let leg = gate.outgoing_up(&one, "id-1");
    let own = UserCall { device: DeviceKind::App, is_outgoing: true, ..call(leg, true) };
    gate.engine.handle_user_calls(gate.now, "alice", &[own]);
    gate.drain();
    gate.nothing(1);
    let calls: Value = gate.hears(2, "account.calls");
    assert_eq!(calls["calls"][0]["device"], "app");
    assert_eq!(calls["calls"][0]["direction"], "outgoing");
    one.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[&two]);
}

#[test]
fn a_list_of_calls_has_an_end() {
    let mut gate = Gate::new();
    let app: App = gate.app(1, "alice");
    let calls: Vec<UserCall> = (0..500).map(|n| call(LegId(n), true)).collect();
    gate.engine.handle_user_calls(gate.now, "alice", &calls);
    gate.drain();
    assert_eq!(gate.hears(1, "account.calls")["calls"].as_array().map(Vec::len), Some(64));
    gate.leaves_nothing(&[&app]);
}

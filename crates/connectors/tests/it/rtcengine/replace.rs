//! Taking a running call over: after a reload, or from another device.

use crosspoint_base::{Gcid, Private};
use crosspoint_call::{Cause, Identity, LegCommand, Replaces};
use crosspoint_connectors::rtcengine::{DeviceKind, RemoteState, UserCall};
use serde_json::json;

use super::app::{CARRIER, EPOCH, Gate, OURS, WEB, reason};
use crate::harness::{sdp, secs};

#[test]
fn a_page_takes_its_own_call_back() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    gate.lose(1);
    let (app, body) = app.resume(&mut gate, 2, 99);
    assert_eq!(body["calls"][0]["gcid"], "gcid-id-1");
    let again = json!({ "gcid": "gcid-id-1", "replace": true, "target": "" });
    app.start(&mut gate, "id-2", again);
    gate.hears(2, "call.alive");
    let (new, offer) = gate.offered();
    assert_eq!(offer.replaces, Some(Replaces::Leg(leg)));
    assert_eq!((offer.to.expose().as_str(), offer.gcid.unwrap().as_str()), ("", "gcid-id-1"));
    gate.command(new, LegCommand::Answer(sdp(OURS)));
    assert_eq!(gate.hears(2, "call.accept")["id"], "id-2");
    gate.command(leg, LegCommand::End(Cause::Replaced));
    gate.ended(leg, Cause::Replaced);
    assert_eq!(reason(&gate.hears(2, "call.end"), "id-1"), "replaced");
    app.in_call(&mut gate, "call.end", "id-2", json!({}));
    gate.ended(new, Cause::Normal);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn who_takes_a_call_over_knows_whom_it_is_with() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, _) = gate.incoming_up(&app);
    gate.pass(secs(100));
    app.start(&mut gate, "id-2", json!({ "gcid": "gcid-in", "replace": true, "target": "" }));
    let (new, _) = gate.offered();
    gate.command(new, LegCommand::Answer(sdp(OURS)));
    gate.command(leg, LegCommand::End(Cause::Replaced));
    let (app, body) = app.resume(&mut gate, 2, 99);
    let expected = json!([{
        "id": "id-2", "gcid": "gcid-in", "account": "sip", "direction": "incoming",
        "state": "active", "since": EPOCH,
        "peer": { "identifier": "sip:carol@gateway.test", "displayName": "Carol" },
    }]);
    assert_eq!(body["calls"], expected);
    // And so does another device of hers.
    let call = UserCall {
        leg: new,
        gcid: Gcid::from_peer("gcid-in").unwrap(),
        peer: Identity { address: Private("carol".to_owned()), ..Identity::default() },
        is_outgoing: false,
        is_active: true,
        since_unix: EPOCH,
        device: DeviceKind::App,
    };
    gate.engine.handle_user_calls(gate.now, "alice", &[call]);
    let other = gate.app(3, "alice");
    other.start(&mut gate, "id-3", json!({ "gcid": "gcid-in", "replace": true, "target": "" }));
    let (other, body) = other.resume(&mut gate, 4, 99);
    assert_eq!(body["calls"][0]["peer"]["identifier"], "sip:carol@gateway.test");
    assert_eq!(body["calls"][0]["direction"], "incoming");
    assert_eq!(body["calls"][0]["since"], EPOCH);
    for app in [&app, &other] {
        app.say(&mut gate, "session.close", "", json!({}));
    }
    gate.events();
    gate.leaves_nothing(&[]);
}

#[test]
fn another_device_of_the_user_pulls_the_call() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let more = json!({ "gcid": "gcid-elsewhere", "replace": true, "target": null });
    app.start(&mut gate, "id-1", more);
    gate.hears(1, "call.alive");
    let (leg, offer) = gate.offered();
    let Some(Replaces::Own(gcid)) = offer.replaces else { panic!("{:?}", offer.replaces) };
    assert_eq!((gcid.as_str(), offer.from.user.as_deref()), ("gcid-elsewhere", Some("alice")));
    // The call finds that it is not hers.
    gate.command(leg, LegCommand::End(Cause::NotFound));
    gate.ended(leg, Cause::NotFound);
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "notFound");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn what_is_not_ours_cannot_be_taken() {
    let mut gate = Gate::new();
    let (one, two) = (gate.app(1, "alice"), gate.app(2, "alice"));
    one.connect(&mut gate, "web");
    two.connect(&mut gate, "carrier");
    two.connect(&mut gate, "web");
    let id = gate.registered[0].0;
    gate.registration(id, RemoteState::Connected);
    gate.all(2);
    one.start_at(&mut gate, &json!(WEB), "id-1", json!({ "target": "bob" }));
    let (leg, _) = gate.offered();
    // Apps and accounts elsewhere have no user, so a gcid is only a guess.
    for (n, to) in [CARRIER, WEB].into_iter().enumerate() {
        let id = format!("id-{n}");
        let more = json!({ "gcid": "gcid-id-1", "replace": true });
        two.start_at(&mut gate, &json!(to), &id, more);
        assert_eq!(reason(&gate.hears(2, "call.end"), &id), "notFound");
        gate.quiet();
    }
    // In its own client the call is known.
    one.start_at(&mut gate, &json!(WEB), "id-2", json!({ "gcid": "gcid-id-1", "replace": true }));
    assert_eq!(gate.offered().1.replaces, Some(Replaces::Leg(leg)));
    one.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[&two]);
}

#[test]
fn without_replace_a_gcid_is_only_a_name() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    gate.outgoing_up(&app, "id-1");
    for (id, replace) in [("id-2", json!(false)), ("id-3", json!(null)), ("id-4", json!("true"))] {
        app.start(&mut gate, id, json!({ "gcid": "gcid-id-1", "replace": replace }));
        assert_eq!(gate.offered().1.replaces, None);
    }
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

//! Digits and transfers.

use crosspoint_call::{
    About, Cause, Digit, Grade, GradeChange, LegCommand, LegEvent, Quality, TransferProgress,
    TransferTarget,
};
use serde_json::json;

use super::app::{Gate, SIP};
use crate::harness::millis;

#[test]
fn digits_go_both_ways() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    app.in_call(&mut gate, "call.dtmf", "id-1", json!({ "dtmf": "1*a", "account": null }));
    for expected in ['1', '*', 'A'] {
        match gate.event() {
            (l, LegEvent::Dtmf(digit, length)) => {
                assert_eq!((l, digit.as_char(), length), (leg, expected, millis(160)));
            }
            other => panic!("no digit but {other:?}"),
        }
    }
    let longest = "0".repeat(32);
    app.in_call(&mut gate, "call.dtmf", "id-1", json!({ "dtmf": longest }));
    assert_eq!(gate.events().len(), 32);
    for bad in [json!(""), json!("12x"), json!(5), json!("0".repeat(33)), json!("9".repeat(9999))] {
        app.in_call(&mut gate, "call.dtmf", "id-1", json!({ "dtmf": bad }));
        assert_eq!(gate.fault(1), "badMessage");
    }
    gate.quiet();
    gate.command(leg, LegCommand::Dtmf(Digit::new('#').unwrap(), millis(100)));
    let expected = json!({ "id": "id-1", "gcid": "gcid-id-1", "dtmf": "#" });
    assert_eq!(gate.hears(1, "call.dtmf"), expected);
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.events();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_blind_transfer_tells_how_it_goes() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, id) = gate.incoming_up(&app);
    app.in_call(&mut gate, "call.transfer", &id, json!({ "target": "sip:dave@gateway.test" }));
    match gate.event() {
        (l, LegEvent::Transfer(TransferTarget::Blind(to))) => {
            assert_eq!((l, to.expose().as_str()), (leg, "dave"));
        }
        other => panic!("no transfer but {other:?}"),
    }
    for (progress, state, reason) in [
        (TransferProgress::Trying, "trying", ""),
        (TransferProgress::Ringing, "ringing", ""),
        (TransferProgress::Failed(Cause::Busy), "failed", "busy"),
        (TransferProgress::Done, "done", ""),
    ] {
        gate.command(leg, LegCommand::TransferProgress(progress));
        let expected = json!({ "id": id, "gcid": "gcid-in", "state": state, "reason": reason });
        assert_eq!(gate.hears(1, "call.transfer.progress"), expected);
    }
    gate.command(leg, LegCommand::End(Cause::Transferred));
    gate.ended(leg, Cause::Transferred);
    assert_eq!(gate.hears(1, "call.end")["reason"], "transferred");
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_transfer_that_cannot_be_fails_at_once() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, start) = gate.ringing(&app);
    let id = start["id"].as_str().unwrap();
    let nobody = json!({ "target": "" });
    app.in_call(&mut gate, "call.transfer", id, nobody);
    assert_eq!(gate.hears(1, "call.transfer.progress")["reason"], "notFound");
    // Before the answer it has the caller call somebody else.
    app.in_call(&mut gate, "call.transfer", id, json!({ "target": "dave" }));
    let (of, LegEvent::Redirected(named)) = gate.event() else { panic!("not sent on") };
    assert_eq!((of, named[0].expose().as_str(), named.len()), (leg, "dave", 1));
    gate.ended(leg, Cause::Unavailable);
    assert_eq!(gate.hears(1, "call.end")["reason"], "transferred");
    let leg = gate.outgoing_up(&app, "id-1");
    for target in [json!(null), json!(""), json!("a\nb")] {
        app.in_call(&mut gate, "call.transfer", "id-1", json!({ "target": target }));
        let progress = gate.hears(1, "call.transfer.progress");
        assert_eq!(
            (&progress["state"], &progress["reason"]),
            (&json!("failed"), &json!("notFound"))
        );
    }
    gate.quiet();
    // To the core it may be said as well.
    app.say(&mut gate, "call.transfer", "core", json!({ "id": "id-1", "target": "dave" }));
    assert!(matches!(gate.event(), (_, LegEvent::Transfer(_))));
    app.say(&mut gate, "call.end", SIP, json!({ "id": "id-1" }));
    gate.ended(leg, Cause::Normal);
    gate.leaves_nothing(&[&app]);
}

/// A display is told how both sides do, in shares and milliseconds.
#[test]
fn a_change_of_quality_is_told() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, id) = gate.incoming_up(&app);
    let quality = Quality {
        mos: Some(250),
        loss: 1250,
        jitter: millis(12),
        round_trip: Some(millis(80)),
        loss_at_leg: None,
        video: None,
    };
    let change = GradeChange { about: About::Far, grade: Grade::Poor, quality: Some(quality) };
    gate.command(leg, LegCommand::Grade(change));
    let expected = json!({
        "id": id, "gcid": "gcid-in", "about": "far", "grade": "poor",
        "mos": 2.5, "loss": 0.125, "lossOut": null, "jitter": 12.0, "roundTrip": 80.0,
    });
    assert_eq!(gate.hears(1, "call.quality"), expected);
    let change = GradeChange { about: About::Near, grade: Grade::Silent, quality: None };
    gate.command(leg, LegCommand::Grade(change));
    let expected = json!({ "id": id, "gcid": "gcid-in", "about": "near", "grade": "silent" });
    assert_eq!(gate.hears(1, "call.quality"), expected);
}

//! Candidates one by one, both ways, and the description that has them all.

use crosspoint_call::{Candidate, LegCommand, LegEvent};
use serde_json::{Value, json};

use super::app::{App, CANDIDATE, Gate, OFFER, OURS, reason};
use crate::harness::sdp;

fn trickle(app: &App, gate: &mut Gate, id: &str, payload: Value) {
    let candidate = json!({ "candidate": { "type": "WEBRTC_LEGACY", "payload": payload } });
    app.in_call(gate, "call.candidate", id, candidate);
}

fn with(candidates: &[&str]) -> String {
    let lines = candidates.iter().map(|c| format!("a={c}\r\n"));
    format!("{OFFER}{}", lines.collect::<String>())
}

#[track_caller]
fn candidate(gate: &mut Gate) -> Candidate {
    match gate.event() {
        (_, LegEvent::Candidate(candidate)) => candidate,
        other => panic!("no candidate but {other:?}"),
    }
}

const SECOND: &str = "candidate:2 1 udp 1 192.0.2.78 5000 typ host";
const THIRD: &str = "candidate:3 1 tcp 1 192.0.2.78 9 typ host tcptype active";

#[test]
fn a_browsers_candidates_reach_the_call_in_every_form() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    gate.hears(1, "call.alive");
    gate.offered();
    let object = json!({ "candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "abcd" });
    trickle(&app, &mut gate, "id-1", json!(object.to_string()));
    let first = candidate(&mut gate);
    assert_eq!((first.text.as_str(), first.mid.as_deref()), (CANDIDATE, Some("0")));
    assert_eq!(first.ufrag.as_deref(), Some("abcd"));
    trickle(&app, &mut gate, "id-1", json!(SECOND));
    assert_eq!(candidate(&mut gate).text, SECOND);
    trickle(&app, &mut gate, "id-1", json!({ "candidate": THIRD }));
    assert_eq!(candidate(&mut gate).text, THIRD);
    // Each counts once.
    trickle(&app, &mut gate, "id-1", object);
    gate.quiet();
    trickle(&app, &mut gate, "id-1", json!(""));
    assert!(matches!(gate.event(), (_, LegEvent::EndOfCandidates)));
    trickle(&app, &mut gate, "id-1", json!("nonsense"));
    assert_eq!(gate.fault(1), "badMessage");
    gate.quiet();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn the_full_description_brings_what_was_not_heard_yet() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({ "sdp": with(&[CANDIDATE]) }));
    gate.hears(1, "call.alive");
    gate.offered();
    trickle(&app, &mut gate, "id-1", json!(SECOND));
    candidate(&mut gate);
    let full = json!({ "sdp": with(&[CANDIDATE, SECOND, THIRD]) });
    app.in_call(&mut gate, "call.fullsdp", "id-1", full.clone());
    let third = candidate(&mut gate);
    assert_eq!((third.text.as_str(), third.mid.as_deref()), (THIRD, Some("0")));
    assert_eq!(third.ufrag.as_deref(), Some("abcd"));
    assert!(matches!(gate.event(), (_, LegEvent::EndOfCandidates)));
    app.in_call(&mut gate, "call.fullsdp", "id-1", full);
    assert!(matches!(gate.event(), (_, LegEvent::EndOfCandidates)));
    gate.quiet();
    app.in_call(&mut gate, "call.fullsdp", "id-1", json!({ "sdp": "" }));
    assert_eq!(reason(&gate.hears(1, "call.end"), "id-1"), "notAcceptable");
    gate.events();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_called_browser_trickles_too() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (_, start) = gate.ringing(&app);
    let id = start["id"].as_str().unwrap();
    let accept = json!({ "sdp": with(&[SECOND]), "trickle": true });
    app.in_call(&mut gate, "call.accept", id, accept);
    assert!(matches!(gate.event(), (_, LegEvent::Answer(_))));
    trickle(&app, &mut gate, id, json!(CANDIDATE));
    assert_eq!(candidate(&mut gate).text, CANDIDATE);
    app.in_call(&mut gate, "call.fullsdp", id, json!({ "sdp": with(&[CANDIDATE, SECOND]) }));
    assert!(matches!(gate.event(), (_, LegEvent::EndOfCandidates)));
    gate.quiet();
    app.say(&mut gate, "session.close", "", json!({}));
    gate.events();
    gate.leaves_nothing(&[]);
}

#[test]
fn a_flood_of_candidates_ends_somewhere() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    app.start(&mut gate, "id-1", json!({}));
    gate.offered();
    let many: Vec<String> =
        (0..300).map(|n| format!("candidate:{n} 1 udp 1 192.0.2.1 5 typ host")).collect();
    for text in &many {
        trickle(&app, &mut gate, "id-1", json!(text));
    }
    assert_eq!(gate.events().len(), 128);
    gate.leaves_nothing(&[&app]);
}

#[test]
fn candidates_of_the_far_side_are_passed_on() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let (leg, id) = gate.incoming_up(&app);
    let far = Candidate {
        text: CANDIDATE.to_owned(),
        mid: Some("0".to_owned()),
        ufrag: Some("wxyz".to_owned()),
    };
    gate.command(leg, LegCommand::Candidate(far));
    let body = gate.hears(1, "call.candidate");
    assert_eq!((&body["id"], &body["candidate"]["type"]), (&json!(id), &json!("WEBRTC_LEGACY")));
    let payload: Value =
        serde_json::from_str(body["candidate"]["payload"].as_str().unwrap()).unwrap();
    let expected = json!({ "candidate": CANDIDATE, "sdpMid": "0", "usernameFragment": "wxyz" });
    assert_eq!(payload, expected);
    gate.command(leg, LegCommand::EndOfCandidates);
    let body = gate.hears(1, "call.candidate");
    assert_eq!(body["candidate"]["payload"], "{\"candidate\":\"\"}");
    gate.command(leg, LegCommand::End(crosspoint_call::Cause::Normal));
    gate.events();
    gate.leaves_nothing(&[&app]);
}

#[test]
fn a_new_description_has_candidates_of_its_own() {
    let mut gate = Gate::new();
    let app = gate.app(1, "alice");
    let leg = gate.outgoing_up(&app, "id-1");
    trickle(&app, &mut gate, "id-1", json!(CANDIDATE));
    candidate(&mut gate);
    app.in_call(&mut gate, "call.change.lock", "id-1", json!({}));
    app.in_call(&mut gate, "call.change.offer", "id-1", json!({ "sdp": OFFER }));
    assert!(matches!(gate.event(), (_, LegEvent::Reoffer(Some(_)))));
    trickle(&app, &mut gate, "id-1", json!(CANDIDATE));
    assert_eq!(candidate(&mut gate).text, CANDIDATE);
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    gate.command(leg, LegCommand::End(crosspoint_call::Cause::Normal));
    gate.events();
    gate.leaves_nothing(&[&app]);
}

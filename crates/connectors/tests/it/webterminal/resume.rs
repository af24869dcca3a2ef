//! Streams that break, and terminals that come back.

use crosspoint_base::{Private, Secret};
use crosspoint_call::{Cause, LegCommand, Replaces};
use crosspoint_connectors::webterminal::{Body, Closing, Mode, StreamEnd};

use super::gate::{Gate, ID, PEER, answer, cause_of, offer, ours};
use crate::harness::{sdp, secs};
use crate::rtcengine::app::{OFFER, OURS};

const GCID: &str = "0123456789abcdef0123456789abcdef";
const GCID_AS_ID: &str = "01234567-89ab-cdef-0123-456789abcdef";

#[test]
fn a_terminal_that_comes_back_in_time_keeps_its_call_and_hears_what_it_missed() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, offer(Some(PEER)));
    let (leg, _) = gate.began();
    let key = gate.key(1);
    gate.end(1, StreamEnd::Broken);
    assert_eq!(gate.engine.devices_of("alice").count(), 0, "nobody rings what is not there");
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.tells(leg, "Confirm");
    gate.pass(secs(29));
    gate.open_with(2, Mode::MultiPipe, Some(key), None);
    assert!(gate.is_resumed(2));
    gate.hears_this(2, ID, &answer(OURS));
    gate.say(2, ID, Body::Bye);
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Normal);
    gate.is_silent();
}

#[test]
fn a_call_that_ended_meanwhile_is_told() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    let key = gate.key(1);
    gate.end(1, StreamEnd::Broken);
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.tells(leg, "Ended");
    gate.open_with(2, Mode::MultiPipe, Some(key), None);
    gate.hears_this(2, ID, &Body::Bye);
    gate.is_silent();
}

#[test]
fn what_rings_rings_again_at_the_new_stream() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.call(gate.device(), GCID);
    gate.hears(1);
    let key = gate.key(1);
    // The network noticed nothing yet: the new stream takes the old one's place.
    gate.open_with(2, Mode::MultiPipe, Some(key), None);
    assert_eq!(gate.closed(1), Some(Closing::Replaced));
    gate.hears_this(2, GCID_AS_ID, &ours(Some(PEER)));
    gate.end(1, StreamEnd::Cancelled);
    gate.say(2, GCID_AS_ID, answer(OURS));
    assert_eq!(gate.engine.legs(), 1);
}

#[test]
fn a_client_that_knows_no_keys_goes_on_under_the_calls_id() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    gate.end(1, StreamEnd::Broken);
    gate.open(2, Mode::MultiPipe);
    assert!(!gate.is_resumed(2));
    gate.say(2, ID, offer(None));
    gate.tells(leg, "Reoffer(");
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    gate.hears_this(2, ID, &answer(OURS));
    // What is left of the first is nothing, and takes nothing along.
    gate.pass(secs(31));
    gate.is_silent();
    gate.say(2, ID, Body::Bye);
    gate.tells(leg, "Ended");
}

/// Its process was started again: its media is another's.
#[test]
fn a_terminal_with_new_media_gets_a_new_leg_in_the_place_of_the_old_one() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let old = gate.talking(1, ID);
    gate.end(1, StreamEnd::Broken);
    gate.open(2, Mode::MultiPipe);
    let with = |fingerprint: &str| Body::Offer {
        sdp: Private(format!("{OFFER}a=fingerprint:sha-256 {fingerprint}\r\n")),
        number: None,
    };
    let print = ["AB"; 32].join(":");
    gate.say(2, ID, with(&print));
    let (new, offer) = gate.began();
    assert_eq!(offer.replaces, Some(Replaces::Leg(old)));
    gate.command(old, LegCommand::Reoffer(sdp(OURS)));
    gate.command(old, LegCommand::End(Cause::Replaced));
    assert_eq!(cause_of(&gate.tells(old, "Ended")), Cause::Replaced);
    gate.command(new, LegCommand::Answer(sdp(OURS)));
    gate.hears_this(2, ID, &answer(OURS));
    gate.tells(new, "Confirm");
    // The same media again is a change of it.
    gate.say(2, ID, with(&print));
    gate.tells(new, "Reoffer(");
    gate.say(2, ID, Body::Bye);
    gate.tells(new, "Ended");
    gate.is_silent();
}

#[test]
fn new_media_that_is_not_to_be_had_ends_the_call() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let old = gate.talking(1, ID);
    let print = ["AB"; 32].join(":");
    let sdp = Private(format!("{OFFER}a=fingerprint:sha-256 {print}\r\n"));
    gate.say(1, ID, Body::Offer { sdp, number: None });
    let (new, _) = gate.began();
    gate.command(new, LegCommand::End(Cause::NoCommonCodec));
    gate.hears_this(1, ID, &Body::Bye);
    assert_eq!(cause_of(&gate.tells(old, "Ended")), Cause::NoCommonCodec);
    assert_eq!(cause_of(&gate.tells(new, "Ended")), Cause::NoCommonCodec);
    gate.is_silent();
}

#[test]
fn who_stays_away_too_long_loses_its_calls() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    let key = gate.key(1);
    gate.end(1, StreamEnd::Broken);
    gate.pass(secs(31));
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::SignalingLost);
    assert!(gate.engine.is_idle());
    gate.open_with(2, Mode::MultiPipe, Some(key), None);
    assert!(!gate.is_resumed(2));
    gate.is_silent();
}

#[test]
fn who_cancels_is_gone_at_once() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    gate.end(1, StreamEnd::Cancelled);
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Normal);
    assert!(gate.engine.is_idle());
}

#[test]
fn a_key_is_good_once_and_for_its_own_kind() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    let key = gate.key(1);
    gate.end(1, StreamEnd::Broken);
    let open = |gate: &mut Gate, stream, mode, key: &Secret<String>| {
        gate.open_with(stream, mode, Some(key.clone()), None);
        gate.is_resumed(stream)
    };
    assert!(!open(&mut gate, 2, Mode::MultiPipe, &Secret::new("0".repeat(32))));
    assert!(!open(&mut gate, 3, Mode::MultiPipe, &Secret::new(String::new())));
    assert!(!open(&mut gate, 4, Mode::Pipe, &key));
    assert!(open(&mut gate, 5, Mode::MultiPipe, &key));
    gate.end(5, StreamEnd::Broken);
    assert!(!open(&mut gate, 6, Mode::MultiPipe, &key));
    assert_eq!(gate.engine.legs(), 1, "{leg} is there all the time");
}

#[test]
fn who_has_said_all_it_had_to_is_heard_out() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, offer(Some(PEER)));
    gate.half_close(1);
    let (leg, _) = gate.began();
    assert_eq!(gate.engine.devices_of("alice").count(), 0, "it could not answer");
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.hears_this(1, ID, &answer(OURS));
    gate.tells(leg, "Confirm");
    assert_eq!(gate.closed(1), None);
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.hears_this(1, ID, &Body::Bye);
    assert_eq!(gate.closed(1), Some(Closing::Over));
    gate.tells(leg, "Ended");
    gate.open(2, Mode::MultiPipe);
    gate.half_close(2);
    assert_eq!(gate.closed(2), Some(Closing::Over));
    assert!(gate.engine.is_idle());
}

//! Calls that the subscriber has on other devices.

use crosspoint_base::{Gcid, LegId};
use crosspoint_call::{LegCommand, Replaces};
use crosspoint_connectors::webterminal::{Body, Fault, Mode};

use super::gate::{Gate, ID, OTHER, PEER, answer, error, in_call, offer, user_call};
use crate::harness::sdp;
use crate::rtcengine::app::OURS;

const GCID: &str = "0123456789abcdef0123456789abcdef";
const GCID_AS_ID: &str = "01234567-89ab-cdef-0123-456789abcdef";
/// Of the desk phone.
const PHONE: LegId = LegId(77);

fn own(gcid: &str) -> Option<Replaces> {
    Some(Replaces::Own(Gcid::from_peer(gcid).expect("an id")))
}

#[test]
fn a_pipe_hears_at_once_and_then_whenever_it_changes() {
    let mut gate = Gate::new();
    gate.open(1, Mode::Pipe);
    gate.hears_this(1, "", &Body::Idle);
    gate.user_calls(&[user_call(PHONE, GCID)]);
    gate.hears_this(1, "", &in_call());
    gate.user_calls(&[user_call(PHONE, GCID)]);
    // One that comes while the call runs.
    gate.open(2, Mode::Pipe);
    gate.hears_this(2, "", &in_call());
    gate.user_calls(&[]);
    gate.hears_this(1, "", &Body::Idle);
    gate.hears_this(2, "", &Body::Idle);
    gate.is_silent();
}

#[test]
fn what_only_rings_elsewhere_is_no_call_yet() {
    let mut gate = Gate::new();
    gate.open(1, Mode::Pipe);
    gate.hears(1);
    let mut ringing = user_call(PHONE, GCID);
    ringing.is_active = false;
    gate.user_calls(&[ringing]);
    gate.is_silent();
}

#[test]
fn a_multi_pipe_hears_of_what_is_established_after_it_came() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.user_calls(&[user_call(PHONE, GCID)]);
    gate.hears_this(1, GCID_AS_ID, &in_call());
    gate.open(2, Mode::MultiPipe);
    gate.user_calls(&[]);
    gate.hears_this(1, GCID_AS_ID, &Body::Idle);
    gate.is_silent();
}

#[test]
fn other_terminals_know_a_call_by_the_id_that_its_terminal_chose() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.open(2, Mode::MultiPipe);
    gate.say(1, ID, offer(Some(PEER)));
    let (leg, began) = gate.began();
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.hears_this(1, ID, &answer(OURS));
    gate.tells(leg, "Confirm");
    let gcid = began.gcid.expect("an id").as_str().to_owned();
    gate.user_calls(&[user_call(leg, &gcid)]);
    // The one that has it is told nothing.
    gate.hears_this(2, ID, &in_call());
    gate.is_silent();
    // The other takes it over by that id.
    gate.say(2, ID, offer(None));
    let (new, pull) = gate.began();
    assert_eq!(pull.replaces, own(&gcid));
    assert_ne!(new, leg);
    gate.command(new, LegCommand::Answer(sdp(OURS)));
    gate.hears_this(2, ID, &answer(OURS));
}

#[test]
fn a_call_is_pulled_from_the_desk_phone() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, GCID_AS_ID, offer(None));
    gate.hears_this(1, GCID_AS_ID, &error(Fault::InvalidCallId));
    gate.user_calls(&[user_call(PHONE, GCID)]);
    gate.hears(1);
    gate.say(1, GCID_AS_ID, offer(None));
    let (_, pull) = gate.began();
    assert_eq!(pull.replaces, own(GCID));
    // A fresh id is a fresh call, whatever runs elsewhere.
    gate.say(1, OTHER, offer(Some(PEER)));
    assert_eq!(gate.began().1.replaces, None);
}

#[test]
fn a_pipe_pulls_without_an_id() {
    let mut gate = Gate::new();
    gate.open(1, Mode::Pipe);
    gate.hears(1);
    gate.say(1, "", offer(None));
    gate.hears_this(1, "", &error(Fault::NotInCall));
    gate.user_calls(&[user_call(PHONE, GCID)]);
    gate.hears(1);
    gate.say(1, "", offer(None));
    let (leg, pull) = gate.began();
    assert_eq!(pull.replaces, own(GCID));
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    assert_eq!(gate.hears(1).body, answer(OURS));
    // The phone's leg is gone, and the call is the terminal's own: nothing to tell.
    gate.user_calls(&[user_call(leg, GCID)]);
    gate.tells(leg, "Confirm");
    gate.is_silent();
}

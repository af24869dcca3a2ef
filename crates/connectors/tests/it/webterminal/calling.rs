//! Calls that terminals make and take.

use crosspoint_base::LegId;
use crosspoint_call::{Cause, LegCommand, LegEvent, Profile, Scope, TransferProgress};
use crosspoint_connectors::webterminal::{Body, Closing, Fault, Mode, StreamEnd};

use super::gate::{
    Gate, ID, NUMBER, OTHER, PEER, answer, cause_of, error, in_call, offer, ours, user_call,
};
use crate::harness::{sdp, secs};
use crate::rtcengine::app::OURS;

const GCID: &str = "0123456789abcdef0123456789abcdef";
const GCID_AS_ID: &str = "01234567-89ab-cdef-0123-456789abcdef";

#[test]
fn a_call_rings_is_answered_and_ended_by_the_terminal() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, offer(Some("4799000002")));
    let (leg, offer) = gate.began();
    assert_eq!(offer.to.expose(), PEER, "a whole number gets its plus");
    assert_eq!(offer.from.address.expose(), NUMBER);
    assert_eq!(offer.from.user.as_deref(), Some("alice"));
    assert_eq!((offer.profile, offer.scope), (Profile::WebRtc, Scope::Everywhere));
    gate.command(leg, LegCommand::Ringing);
    gate.hears_this(1, ID, &Body::Ringing);
    gate.command(leg, LegCommand::Ringing);
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.hears_this(1, ID, &answer(OURS));
    gate.tells(leg, "Confirm");
    gate.say(1, ID, Body::Bye);
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Normal);
    gate.is_silent();
    gate.end(1, StreamEnd::Cancelled);
    assert!(gate.engine.is_idle());
}

#[test]
fn what_is_heard_before_the_answer_comes_with_an_answer_that_is_not_repeated() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, offer(Some(PEER)));
    let (leg, _) = gate.began();
    gate.command(leg, LegCommand::EarlyMedia(sdp(OURS)));
    gate.hears_this(1, ID, &Body::Ringing);
    gate.hears_this(1, ID, &answer(OURS));
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.tells(leg, "Confirm");
    gate.is_silent();
    gate.say(1, ID, Body::Bye);
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Normal);
}

#[test]
fn a_refused_call_ends_with_bye_and_one_given_up_is_cancelled() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, offer(Some(PEER)));
    let (leg, _) = gate.began();
    gate.command(leg, LegCommand::End(Cause::Busy));
    gate.hears_this(1, ID, &Body::Bye);
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Busy);
    // The same id may be used again for a call that is over.
    gate.say(1, ID, offer(Some(PEER)));
    let (leg, _) = gate.began();
    gate.say(1, ID, Body::Bye);
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Cancelled);
    gate.say(1, ID, Body::Bye);
    gate.is_silent();
}

#[test]
fn a_called_terminal_rings_and_answers() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.call(gate.device(), GCID);
    gate.hears_this(1, GCID_AS_ID, &ours(Some(PEER)));
    gate.tells(leg, "Trying");
    gate.tells(leg, "MediaGrace");
    gate.say(1, GCID_AS_ID, Body::Ringing);
    gate.tells(leg, "Ringing");
    gate.say(1, GCID_AS_ID, Body::Ringing);
    gate.say(1, GCID_AS_ID, answer(OURS));
    gate.tells(leg, "Answer");
    gate.command(leg, LegCommand::End(Cause::Normal));
    gate.hears_this(1, GCID_AS_ID, &Body::Bye);
    gate.tells(leg, "Ended");
    gate.is_silent();
}

#[test]
fn a_called_terminal_that_says_bye_declines_and_one_that_says_nothing_is_not_there() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.call(gate.device(), GCID);
    gate.say(1, GCID_AS_ID, Body::Bye);
    let took = |gate: &mut Gate, leg: LegId| {
        gate.tells(leg, "Trying");
        gate.tells(leg, "MediaGrace");
        cause_of(&gate.tells(leg, "Ended"))
    };
    assert_eq!(took(&mut gate, leg), Cause::Declined);
    let leg = gate.call(gate.device(), "another");
    gate.pass(secs(121));
    assert_eq!(took(&mut gate, leg), Cause::NoAnswer);
}

#[test]
fn all_terminals_of_a_subscriber_know_a_call_by_one_id() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.open(2, Mode::MultiPipe);
    let devices: Vec<_> = gate.engine.devices_of("alice").collect();
    for binding in devices {
        gate.call(binding, GCID);
    }
    let (first, second) = (gate.hears(1), gate.hears(2));
    assert_eq!(first.call, second.call);
}

#[test]
fn a_pipe_has_one_call_and_nobody_looks_at_its_id() {
    let mut gate = Gate::new();
    gate.open(1, Mode::Pipe);
    gate.hears_this(1, "", &Body::Idle);
    gate.say(1, "anything", offer(Some(PEER)));
    let (leg, _) = gate.began();
    gate.command(leg, LegCommand::Ringing);
    assert_eq!(gate.hears(1).body, Body::Ringing);
    // A second one has to wait, from either side.
    gate.say(1, "", offer(Some("+4799000003")));
    assert_eq!(gate.hears(1).body, error(Fault::TryAgain));
    let second = gate.call(gate.device(), GCID);
    assert_eq!(cause_of(&gate.tells(second, "Ended")), Cause::Busy);
    gate.say(1, "nothing of the kind", Body::Bye);
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Cancelled);
    gate.is_silent();
}

#[test]
fn either_side_offers_anew_in_a_running_call() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.hears_this(1, ID, &ours(None));
    gate.say(1, ID, answer(OURS));
    gate.tells(leg, "Reanswer");
    gate.say(1, ID, offer(None));
    gate.tells(leg, "Reoffer(");
    // Its own comes first; another while it waits is too much.
    gate.say(1, ID, offer(None));
    gate.hears_this(1, ID, &error(Fault::TryAgain));
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    gate.hears_this(1, ID, &answer(OURS));
    gate.say(1, ID, offer(None));
    gate.tells(leg, "Reoffer(");
    gate.command(leg, LegCommand::RejectReoffer(Cause::NoCommonCodec));
    gate.hears_this(1, ID, &error(Fault::TryAgain));
    gate.is_silent();
}

/// A page listens on one stream, and says each thing on another.
#[test]
fn a_page_calls_and_is_called_over_several_streams() {
    for mode in [Mode::Pipe, Mode::MultiPipe] {
        let mut gate = Gate::new();
        gate.is_page = true;
        gate.open(1, mode);
        gate.half_close(1);
        assert_eq!(gate.closed(1), None, "it goes on listening");
        if mode == Mode::Pipe {
            gate.hears_this(1, "", &Body::Idle);
        }
        let leg = gate.call(gate.device(), GCID);
        let id = gate.hears(1).call;
        gate.tells(leg, "Trying");
        gate.tells(leg, "MediaGrace");
        gate.open(2, mode);
        if mode == Mode::Pipe {
            gate.hears_this(2, "", &Body::Idle);
        }
        gate.say(2, &id, answer(OURS));
        // That it is answered may be told before the page's half is over.
        gate.user_calls(&[user_call(leg, GCID)]);
        gate.half_close(2);
        assert_eq!(gate.closed(2), Some(Closing::Over), "it was no place to ring");
        gate.tells(leg, "Answer");
        gate.user_calls(&[]);
        gate.command(leg, LegCommand::End(Cause::Normal));
        gate.hears_this(1, &id, &Body::Bye);
        gate.tells(leg, "Ended");
        gate.is_silent();
    }
}

#[test]
fn when_both_offer_at_once_the_terminal_goes_first() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.hears(1);
    gate.say(1, ID, offer(None));
    gate.tells(leg, "ReofferFailed(Glare)");
    gate.tells(leg, "Reoffer(");
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.tells(leg, "ReofferFailed(Glare)");
    gate.command(leg, LegCommand::Reanswer(sdp(OURS)));
    gate.hears_this(1, ID, &answer(OURS));
    gate.is_silent();
}

#[test]
fn an_offer_that_the_terminal_never_answers_is_given_up() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.hears(1);
    gate.pass(secs(11));
    gate.tells(leg, "ReofferFailed(Refused)");
    gate.command(leg, LegCommand::Reoffer(sdp(OURS)));
    gate.hears_this(1, ID, &ours(None));
}

#[test]
fn a_call_goes_on_at_the_phone() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, Body::ToPhone);
    gate.hears_this(1, ID, &error(Fault::NotInCall));
    gate.say(1, ID, offer(Some(PEER)));
    let (leg, began) = gate.began();
    let gcid = began.gcid.expect("an id").as_str().to_owned();
    gate.command(leg, LegCommand::Answer(sdp(OURS)));
    gate.hears_this(1, ID, &answer(OURS));
    gate.tells(leg, "Confirm");
    gate.say(1, OTHER, Body::ToPhone);
    gate.hears_this(1, OTHER, &error(Fault::InvalidCallId));
    // It fails once, and is asked for again.
    gate.say(1, ID, Body::ToPhone);
    let LegEvent::Transfer(target) = gate.tells(leg, "Transfer(OwnPhone") else { unreachable!() };
    assert!(!format!("{target:?}").contains(NUMBER), "numbers are private");
    gate.say(1, ID, Body::ToPhone);
    gate.hears_this(1, ID, &error(Fault::TryAgain));
    gate.command(leg, LegCommand::TransferProgress(TransferProgress::Failed(Cause::NoAnswer)));
    gate.hears_this(1, ID, &error(Fault::TryAgain));
    gate.say(1, ID, Body::ToPhone);
    gate.tells(leg, "Transfer(OwnPhone");
    gate.command(leg, LegCommand::TransferProgress(TransferProgress::Ringing));
    // The phone has it before the terminal hears that.
    gate.user_calls(&[user_call(leg, &gcid), user_call(LegId(7), &gcid)]);
    gate.command(leg, LegCommand::TransferProgress(TransferProgress::Done));
    gate.hears_this(1, ID, &in_call());
    gate.command(leg, LegCommand::End(Cause::Transferred));
    gate.tells(leg, "Ended");
    // Not `Bye`: it runs. It is over when the phone hangs up.
    gate.user_calls(&[user_call(LegId(7), &gcid)]);
    gate.is_silent();
    gate.user_calls(&[]);
    gate.hears_this(1, ID, &Body::Idle);
    gate.is_silent();
}

//! What terminals may not do, and how much of what they may.

use crosspoint_base::{ConnectionId, Private};
use crosspoint_call::Cause;
use crosspoint_connectors::webterminal::{Body, Closing, Fault, Mode, StreamEnd};

use super::gate::{Gate, ID, OTHER, PEER, answer, cause_of, error, offer};
use crate::harness::secs;
use crate::rtcengine::app::OURS;

#[test]
fn an_id_that_is_none_is_told_so_and_not_repeated_at_length() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    for id in ["", "a", "11111111-1111-4111-8111-11111111111g", "11111111111111111111111111111111"]
    {
        gate.say(1, id, offer(Some(PEER)));
        gate.hears_this(1, id, &error(Fault::InvalidCallId));
    }
    gate.say(1, &"ü".repeat(1000), offer(Some(PEER)));
    assert!(gate.hears(1).call.len() <= 64);
    // The letters of an id are the same in both sizes.
    gate.say(1, "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA", offer(Some(PEER)));
    let (leg, _) = gate.began();
    gate.say(1, "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", Body::Bye);
    gate.tells(leg, "Ended");
    gate.is_silent();
}

#[test]
fn what_belongs_to_no_call_is_told_and_a_late_bye_is_not() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, answer(OURS));
    gate.hears_this(1, ID, &error(Fault::InvalidCallId));
    gate.say(1, ID, Body::Ringing);
    gate.hears_this(1, ID, &error(Fault::InvalidCallId));
    gate.say(1, ID, offer(None));
    gate.hears_this(1, ID, &error(Fault::InvalidCallId));
    for body in [Body::Bye, Body::Idle, error(Fault::Unknown), Body::Empty] {
        gate.say(1, ID, body);
    }
    gate.is_silent();
}

#[test]
fn a_description_or_number_that_is_none_ends_the_call_before_it_began() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let number = || Some(Private(PEER.to_owned()));
    for sdp in ["", "v=0\r\n", "nonsense"] {
        gate.say(1, ID, Body::Offer { sdp: Private(sdp.to_owned()), number: number() });
        gate.hears_this(1, ID, &error(Fault::Unknown));
        gate.hears_this(1, ID, &Body::Bye);
    }
    gate.say(1, ID, offer(Some("1\r\nX: y")));
    gate.hears_this(1, ID, &error(Fault::Unknown));
    gate.hears_this(1, ID, &Body::Bye);
    gate.is_silent();
}

#[test]
fn empty_messages_cost_nothing_and_others_are_counted() {
    let mut gate = Gate::with(|config| (config.rate, config.burst) = (1, 3));
    gate.open(1, Mode::MultiPipe);
    for _ in 0..10_000 {
        gate.say(1, "", Body::Empty);
    }
    gate.is_silent();
    for _ in 0..3 {
        gate.say(1, ID, Body::Bye);
    }
    gate.is_silent();
    gate.say(1, ID, offer(Some(PEER)));
    gate.hears_this(1, ID, &error(Fault::RateLimitHit));
    gate.pass(secs(1));
    gate.say(1, ID, offer(Some(PEER)));
    gate.began();
    assert_eq!(gate.engine.counters().rate_limited, 1);
}

#[test]
fn a_terminal_has_so_many_calls_and_a_subscriber_so_many_terminals() {
    let mut gate = Gate::with(|config| {
        config.max_calls_per_terminal = 1;
        config.max_devices = 2;
    });
    gate.open(1, Mode::MultiPipe);
    gate.say(1, ID, offer(Some(PEER)));
    let (leg, _) = gate.began();
    gate.say(1, OTHER, offer(Some(PEER)));
    gate.hears_this(1, OTHER, &error(Fault::RateLimitHit));
    gate.open(2, Mode::MultiPipe);
    gate.open(3, Mode::MultiPipe);
    // The oldest gives way, and its call ends.
    gate.hears_this(1, ID, &Body::Bye);
    assert_eq!(gate.closed(1), Some(Closing::Overload));
    assert_eq!(cause_of(&gate.tells(leg, "Ended")), Cause::Cancelled);
    assert_eq!(gate.engine.terminals(), 2);
}

#[test]
fn there_are_so_many_terminals() {
    let mut gate = Gate::with(|config| config.max_terminals = 1);
    gate.open(1, Mode::MultiPipe);
    gate.open(2, Mode::MultiPipe);
    assert_eq!(gate.closed(2), Some(Closing::Overload));
}

#[test]
fn a_token_that_has_expired_begins_nothing_and_ends_nothing_that_runs() {
    let mut gate = Gate::new();
    let soon = gate.now + secs(10);
    gate.open_with(1, Mode::MultiPipe, None, Some(soon));
    gate.open_with(2, Mode::MultiPipe, None, Some(soon));
    let leg = gate.talking(1, ID);
    gate.pass(secs(11));
    assert_eq!((gate.closed(1), gate.closed(2)), (None, Some(Closing::Expired)));
    assert_eq!(gate.engine.devices_of("alice").count(), 0);
    gate.say(1, OTHER, offer(Some(PEER)));
    gate.hears_this(1, OTHER, &error(Fault::TryAgain));
    gate.say(1, ID, Body::Bye);
    gate.tells(leg, "Ended");
    assert_eq!(gate.closed(1), Some(Closing::Expired));
    assert!(gate.engine.is_idle());
}

#[test]
fn who_is_about_to_stop_takes_no_new_calls() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    gate.engine.drain();
    gate.say(1, ID, offer(Some(PEER)));
    gate.hears_this(1, ID, &error(Fault::TryAgain));
    gate.open(2, Mode::MultiPipe);
    assert_eq!(gate.closed(2), Some(Closing::Shutdown));
}

#[test]
fn a_session_that_is_ended_takes_its_terminals_and_their_calls_along() {
    let mut gate = Gate::new();
    gate.session = Some("first".into());
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    gate.open(2, Mode::MultiPipe);
    gate.end(2, StreamEnd::Cancelled);
    gate.session = Some("second".into());
    gate.open(3, Mode::MultiPipe);
    gate.session = None;
    gate.open(4, Mode::MultiPipe);

    gate.engine.revoke("first");
    gate.drain();
    gate.hears_this(1, ID, &Body::Bye);
    assert_eq!(gate.closed(1), Some(Closing::Revoked));
    gate.tells(leg, "Ended");
    assert_eq!((gate.closed(3), gate.closed(4)), (None, None));
    // Its key died with it.
    let key = gate.key(1);
    gate.open_with(5, Mode::MultiPipe, Some(key), None);
    assert!(!gate.is_resumed(5));
}

#[test]
fn who_comes_back_with_another_sessions_token_is_of_that_session() {
    let mut gate = Gate::new();
    gate.session = Some("first".into());
    gate.open(1, Mode::MultiPipe);
    gate.talking(1, ID);
    gate.end(1, StreamEnd::Broken);
    gate.session = Some("second".into());
    let key = gate.key(1);
    gate.open_with(2, Mode::MultiPipe, Some(key), None);
    gate.engine.revoke("first");
    gate.drain();
    assert_eq!(gate.closed(2), None);
    gate.engine.revoke("second");
    gate.drain();
    assert_eq!(gate.closed(2), Some(Closing::Revoked));
}

#[test]
fn a_user_who_is_no_more_has_no_terminals() {
    let mut gate = Gate::new();
    gate.open(1, Mode::MultiPipe);
    let leg = gate.talking(1, ID);
    gate.engine.keep_users(|user| user == "alice");
    gate.drain();
    gate.is_silent();
    gate.engine.keep_users(|user| user == "bob");
    gate.drain();
    gate.hears_this(1, ID, &Body::Bye);
    assert_eq!(gate.closed(1), Some(Closing::Expired));
    gate.tells(leg, "Ended");
    assert!(gate.engine.is_idle());
    gate.engine.handle_message(
        gate.now,
        ConnectionId(1),
        crosspoint_connectors::webterminal::Message { call: ID.to_owned(), body: Body::Bye },
    );
    gate.drain();
    gate.is_silent();
}

//! One call at a time.

use std::time::Duration;

use crosspoint_call::{Cause, Party};
use crosspoint_testkit::{CallState, Manner, Sim};

#[test]
fn a_call_is_answered_and_ended_by_either_side() {
    for caller_ends in [true, false] {
        let mut sim = Sim::new(1);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        sim.invite(alice, "bob");
        sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
        sim.run_for(Duration::from_secs(60));
        sim.hang_up(if caller_ends { alice } else { bob });
        sim.run_to_idle();
        let by = if caller_ends { Party::Front } else { Party::Back };
        assert_eq!(sim.endings(), [(by, Cause::Normal)]);
    }
}

/// The phones here say nothing: that counts from the answer on, and not while a call rings.
#[test]
fn legs_that_are_not_heard_are_noted_from_the_answer_on() {
    for (seconds, silences) in [(1, 0), (10, 1)] {
        let mut sim = Sim::new(1);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        sim.set_manner(bob, Manner::Ring);
        sim.invite(alice, "bob");
        sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
        sim.run_for(Duration::from_secs(20));
        sim.pick_up(bob);
        sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
        sim.run_for(Duration::from_secs(seconds));
        sim.hang_up(alice);
        sim.run_to_idle();
        assert_eq!(sim.silences(), [[silences, silences]]);
    }
}

#[test]
fn cancel_while_ringing_stops_the_phone_and_answers_487() {
    let mut sim = Sim::new(2);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
    sim.cancel(alice);
    sim.run_to_idle();
    assert_eq!(sim.state(alice), CallState::Over(487));
    assert_eq!(sim.state(bob), CallState::Over(487));
    assert_eq!(sim.endings(), [(Party::Front, Cause::Cancelled)]);
}

#[test]
fn refusals_reach_the_caller_as_they_are() {
    for (manner, status, cause) in
        [(Manner::Busy, 486, Cause::Busy), (Manner::Decline, 603, Cause::Declined)]
    {
        let mut sim = Sim::new(3);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        sim.set_manner(bob, manner);
        sim.invite(alice, "bob");
        sim.run_to_idle();
        assert_eq!(sim.state(alice), CallState::Over(status));
        assert_eq!(sim.endings(), [(Party::Back, cause)]);
    }
}

#[test]
fn nobody_answers_and_ringing_ends_by_itself() {
    let mut sim = Sim::new(4);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_to_idle();
    assert_eq!(sim.state(alice), CallState::Over(480));
    assert_eq!(sim.endings(), [(Party::Back, Cause::NoAnswer)]);
}

#[test]
fn a_phone_that_says_nothing_is_given_up() {
    let mut sim = Sim::new(5);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, Manner::Ignore);
    sim.invite(alice, "bob");
    sim.run_until(|sim| !sim.endings().is_empty());
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.state(alice), CallState::Over(480));
}

#[test]
fn an_unknown_number_and_an_absent_user_have_their_own_answers() {
    let mut sim = Sim::new(6);
    let alice = sim.add_registered_phone("alice");
    sim.add_phone("bob");
    for (target, status) in [("nobody", 404), ("bob", 480)] {
        sim.invite(alice, target);
        sim.run_to_idle();
        assert_eq!(sim.state(alice), CallState::Over(status));
        sim.add_registered_phone("alice");
    }
}

#[test]
fn a_stranger_does_not_get_through() {
    let mut sim = Sim::new(7);
    let alice = sim.add_registered_phone("alice");
    sim.invite(alice, "600");
    sim.run_until(|sim| sim.state(alice) == CallState::Up);
    sim.hang_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.endings().len(), 1);
}

#[test]
fn hold_and_resume_reach_the_other_side() {
    let mut sim = Sim::new(8);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.run_for(Duration::from_secs(1));
    for direction in ["sendonly", "sendrecv", "inactive", "sendrecv"] {
        sim.reoffer(alice, direction);
        sim.run_for(Duration::from_secs(2));
        assert_eq!(sim.asked_direction(bob), Some(direction));
    }
    sim.hang_up(bob);
    sim.run_to_idle();
}

#[test]
fn two_holds_at_once_settle() {
    let mut sim = Sim::new(9);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.run_for(Duration::from_secs(1));
    sim.reoffer(alice, "sendonly");
    sim.reoffer(bob, "sendonly");
    sim.run_for(Duration::from_secs(30));
    sim.hang_up(alice);
    sim.run_to_idle();
}

#[test]
fn a_late_offer_is_answered_with_an_offer() {
    let mut sim = Sim::new(10);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.invite_without_offer(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.run_for(Duration::from_secs(5));
    sim.hang_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Front, Cause::Normal)]);
}

#[test]
fn early_media_then_an_answer() {
    let mut sim = Sim::new(11);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, Manner::EarlyThenAnswer);
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up);
    sim.hang_up(alice);
    sim.run_to_idle();
}

#[test]
fn digits_by_info_reach_a_phone_without_events() {
    let mut sim = Sim::new(12);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    for digit in ['1', '#'] {
        sim.press(alice, digit);
        sim.run_for(Duration::from_secs(1));
    }
    assert_eq!(sim.digits(bob), "1#");
    sim.hang_up(bob);
    sim.run_to_idle();
}

#[test]
fn a_blind_transfer_is_carried_out_and_told() {
    let mut sim = Sim::new(13);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    let carol = sim.add_registered_phone("carol");
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.run_for(Duration::from_secs(1));
    sim.refer(bob, "carol");
    sim.run_until(|sim| sim.state(carol) == CallState::Up);
    sim.run_for(Duration::from_secs(2));
    assert_eq!(sim.state(bob), CallState::Over(200));
    assert!(sim.notified(bob).iter().any(|n| n.contains("200 OK")), "{:?}", sim.notified(bob));
    assert_eq!(sim.state(alice), CallState::Up);
    sim.hang_up(carol);
    sim.run_to_idle();
    assert_eq!(sim.state(alice), CallState::Over(200));
}

#[test]
fn stopping_says_bye_to_everybody_once() {
    let mut sim = Sim::new(14);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.shut_down();
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Gateway, Cause::Shutdown)]);
    assert_eq!((sim.state(alice), sim.state(bob)), (CallState::Over(200), CallState::Over(200)));
}

#[test]
fn a_session_is_refreshed_for_a_phone_without_update() {
    let mut sim = Sim::new(15);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, Manner::AnswerWithTimer);
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.run_for(Duration::from_secs(40));
    assert_eq!(sim.asked_direction(bob), None);
    sim.run_for(Duration::from_secs(10));
    assert_eq!(sim.asked_direction(bob), Some("sendrecv"));
    sim.hang_up(alice);
    sim.run_to_idle();
}

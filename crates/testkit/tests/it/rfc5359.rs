//! The call flows of RFC 5359 that we take part in, named after its sections.

use std::time::Duration;

use crosspoint_call::{Cause, Party};
use crosspoint_testkit::{CallState, Manner, PhoneId, Sim};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn up(sim: &Sim, phones: &[PhoneId]) -> bool {
    phones.iter().all(|id| sim.state(*id) == CallState::Up)
}

/// Everybody a transfer needs: bob in a call with alice's first line, carol with her second.
struct Consultation {
    sim: Sim,
    lines: [PhoneId; 2],
    bob: PhoneId,
    carol: PhoneId,
}

impl Consultation {
    /// `bob_called`: who called in the first call; the second is always alice's.
    fn new(seed: u64, bob_called: bool) -> Self {
        let mut sim = Sim::new(seed);
        let bob = sim.add_registered_phone("bob");
        let carol = sim.add_registered_phone("carol");
        let first = sim.add_registered_phone("alice");
        if bob_called {
            sim.invite(bob, "alice");
        } else {
            sim.invite(first, "bob");
        }
        sim.run_until(|sim| up(sim, &[first, bob]));
        sim.run_for(SECOND);
        sim.reoffer(first, "sendonly");
        sim.run_for(SECOND);
        assert_eq!(sim.asked_direction(bob), Some("sendonly"));
        let second = sim.add_registered_phone("alice");
        Self { sim, lines: [first, second], bob, carol }
    }

    fn consult(&mut self) {
        self.sim.invite(self.lines[1], "carol");
    }

    /// Alice is out of it, and the others talk.
    fn is_carried_out(&self) -> bool {
        let left = self.lines.iter().all(|id| matches!(self.sim.state(*id), CallState::Over(_)));
        left && up(&self.sim, &[self.bob, self.carol])
    }
}

/// RFC 5359 §2.1.
#[test]
fn call_hold() {
    let mut sim = Sim::new(21);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.invite(alice, "bob");
    sim.run_until(|sim| up(sim, &[alice, bob]));
    sim.run_for(SECOND);
    for direction in ["sendonly", "sendrecv"] {
        sim.reoffer(bob, direction);
        sim.run_for(SECOND);
        assert_eq!(sim.asked_direction(alice), Some(direction));
    }
    sim.hang_up(bob);
    sim.run_to_idle();
}

/// RFC 5359 §2.2.
#[test]
fn consultation_hold() {
    let mut story = Consultation::new(22, true);
    story.consult();
    story.sim.run_until(|sim| up(sim, &[story.lines[1], story.carol]));
    story.sim.hang_up(story.lines[1]);
    story.sim.run_for(SECOND);
    story.sim.reoffer(story.lines[0], "sendrecv");
    story.sim.run_for(SECOND);
    assert_eq!(story.sim.asked_direction(story.bob), Some("sendrecv"));
    story.sim.hang_up(story.bob);
    story.sim.run_to_idle();
    assert_eq!(story.sim.endings().len(), 2);
}

/// RFC 5359 §2.4.
#[test]
fn transfer_unattended() {
    let mut story = Consultation::new(23, true);
    story.sim.refer(story.lines[0], "carol");
    story.sim.run_until(|sim| up(sim, &[story.bob, story.carol]));
    story.sim.run_for(2 * SECOND);
    assert_eq!(story.sim.state(story.lines[0]), CallState::Over(200));
    let told = story.sim.notified(story.lines[0]);
    assert!(told.first().is_some_and(|n| n.contains("100 Trying")), "{told:?}");
    assert!(told.last().is_some_and(|n| n.contains("200 OK")), "{told:?}");
    assert_eq!(story.sim.asked_direction(story.bob), Some("sendrecv"), "it was on hold");
    story.sim.hang_up(story.carol);
    story.sim.run_to_idle();
}

/// RFC 5589 §6.1: who is busy costs nobody the call.
#[test]
fn transfer_unattended_to_somebody_busy_goes_back_to_the_held_call() {
    let mut story = Consultation::new(24, false);
    story.sim.set_manner(story.carol, Manner::Busy);
    story.sim.refer(story.lines[0], "carol");
    story.sim.run_for(5 * SECOND);
    let told = story.sim.notified(story.lines[0]);
    assert!(told.last().is_some_and(|n| n.contains("486 Busy Here")), "{told:?}");
    story.sim.reoffer(story.lines[0], "sendrecv");
    story.sim.run_for(SECOND);
    assert_eq!(story.sim.asked_direction(story.bob), Some("sendrecv"));
    assert!(up(&story.sim, &[story.lines[0], story.bob]));
    story.sim.hang_up(story.bob);
    story.sim.run_to_idle();
    assert_eq!(story.sim.endings(), [(Party::Back, Cause::Normal)]);
}

/// RFC 5359 §2.5, whoever of the two called.
#[test]
fn transfer_attended() {
    for bob_called in [true, false] {
        let mut story = Consultation::new(25, bob_called);
        story.consult();
        story.sim.run_until(|sim| up(sim, &[story.lines[1], story.carol]));
        // She holds carol, too, before she joins the two.
        story.sim.reoffer(story.lines[1], "sendonly");
        story.sim.run_for(SECOND);
        story.sim.refer_joining(story.lines[0], story.lines[1]);
        story.sim.run_for(2 * SECOND);
        assert!(story.is_carried_out(), "{}", story.sim.story());
        assert_eq!(story.sim.notified(story.lines[0]), ["SIP/2.0 200 OK"]);
        for party in [story.bob, story.carol] {
            assert_eq!(story.sim.asked_direction(party), Some("sendrecv"));
        }
        story.sim.run_for(60 * SECOND);
        story.sim.hang_up(story.carol);
        story.sim.run_to_idle();
        let by = if bob_called { Party::Front } else { Party::Back };
        assert_eq!(story.sim.state(story.bob), CallState::Over(200));
        let endings = story.sim.endings();
        assert_eq!(endings[0], (Party::Front, Cause::Transferred), "the consultation");
        assert_eq!((endings.len(), endings[1].1), (2, Cause::Normal), "{by:?} {endings:?}");
    }
}

/// RFC 5589 §7.6: she does not wait for carol's answer.
#[test]
fn transfer_attended_while_the_target_rings() {
    for answers in [true, false] {
        let mut story = Consultation::new(26, true);
        story.sim.set_manner(story.carol, Manner::Ring);
        story.consult();
        story.sim.run_until(|sim| sim.state(story.carol) == CallState::Ringing);
        let named = story.lines[1];
        story.sim.run_for(SECOND);
        story.sim.refer_joining(story.lines[0], named);
        story.sim.run_for(SECOND);
        assert_eq!(story.sim.state(story.carol), CallState::Ringing, "it rings on");
        if answers {
            story.sim.pick_up(story.carol);
            story.sim.run_for(2 * SECOND);
            assert!(story.is_carried_out());
            story.sim.hang_up(story.bob);
        } else {
            // Nobody is there: alice has bob still.
            story.sim.run_for(120 * SECOND);
            let told = story.sim.notified(story.lines[0]);
            assert!(told.last().is_some_and(|n| n.contains("480")), "{told:?}");
            assert!(up(&story.sim, &[story.lines[0], story.bob]));
            story.sim.hang_up(story.lines[0]);
        }
        story.sim.run_to_idle();
    }
}

/// The party that is to be joined leaves a moment before.
#[test]
fn transfer_attended_to_somebody_who_has_left() {
    let mut story = Consultation::new(27, true);
    story.consult();
    story.sim.run_until(|sim| up(sim, &[story.lines[1], story.carol]));
    let (first, second) = (story.lines[0], story.lines[1]);
    story.sim.hang_up(story.carol);
    story.sim.run_for(SECOND / 100);
    story.sim.refer_joining(first, second);
    story.sim.run_for(2 * SECOND);
    assert!(up(&story.sim, &[first, story.bob]), "{}", story.sim.story());
    let gone = "SIP/2.0 481 Call/Transaction Does Not Exist";
    assert_eq!(story.sim.notified(first), [gone]);
    story.sim.hang_up(first);
    story.sim.run_to_idle();
}

/// Nobody has the calls of others joined.
#[test]
fn transfer_attended_with_a_call_of_somebody_else() {
    let mut story = Consultation::new(28, true);
    let dave = story.sim.add_registered_phone("dave");
    story.sim.invite(dave, "carol");
    story.sim.run_until(|sim| up(sim, &[dave, story.carol]));
    story.sim.refer_joining(story.lines[0], dave);
    story.sim.run_for(2 * SECOND);
    assert!(up(&story.sim, &[story.lines[0], story.bob, dave, story.carol]));
    let told = story.sim.notified(story.lines[0]);
    assert_eq!(told, ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    story.sim.hang_up(dave);
    story.sim.hang_up(story.bob);
    story.sim.run_to_idle();
}

/// An app joins a phone and another app; a party may also be sound of ours.
#[test]
fn transfer_attended_by_an_app() {
    for target in ["carol", "600"] {
        let mut sim = Sim::new(29);
        let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
        let carol = sim.add_app("carol");
        sim.invite(bob, "alice");
        sim.run_until(|sim| sim.app_is_up(alice) && sim.state(bob) == CallState::Up);
        sim.app_calls(alice, target);
        sim.run_for(2 * SECOND);
        let live = sim.app_live(alice);
        let [(first, gcid), (second, _)] = live.as_slice() else { panic!("{live:?}") };
        let wrong = json!({ "id": first, "gcid": gcid, "with": first });
        sim.app_says(alice, "call.transfer", wrong);
        sim.run_for(SECOND);
        assert_eq!(sim.app_live(alice).len(), 2, "a call is not joined with itself");
        let joined = json!({ "id": first, "gcid": gcid, "with": second });
        sim.app_says(alice, "call.transfer", joined);
        sim.run_for(2 * SECOND);
        assert!(sim.app_live(alice).is_empty());
        assert_eq!(sim.state(bob), CallState::Up);
        assert_eq!(sim.app_is_up(carol), target == "carol");
        sim.hang_up(bob);
        sim.run_to_idle();
        assert_eq!(sim.endings()[0], (Party::Front, Cause::Transferred));
    }
}

/// RFC 5359 §2.16, by dialling: what rings at bob is answered by carol, directly and by group.
#[test]
fn call_pickup() {
    for number in ["**bob", "*8"] {
        let mut sim = Sim::new(30);
        let (dave, bob) = (sim.add_registered_phone("dave"), sim.add_registered_phone("bob"));
        let carol = sim.add_registered_phone("carol");
        sim.set_manner(bob, Manner::Ring);
        sim.invite(dave, "bob");
        sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
        sim.run_for(SECOND);
        sim.invite(carol, number);
        sim.run_until(|sim| up(sim, &[dave, carol]));
        sim.run_for(SECOND);
        assert_eq!(sim.state(bob), CallState::Over(487));
        sim.hang_up(carol);
        sim.run_to_idle();
        assert_eq!(sim.endings(), [(Party::Back, Cause::Normal)]);
    }
}

/// Who is in no group with bob, and who finds nothing ringing, is told the same.
#[test]
fn call_pickup_by_somebody_who_may_not() {
    let mut sim = Sim::new(31);
    let (dave, bob) = (sim.add_registered_phone("dave"), sim.add_registered_phone("bob"));
    let (erin, carol) = (sim.add_registered_phone("erin"), sim.add_registered_phone("carol"));
    sim.invite(carol, "**bob");
    sim.run_for(SECOND);
    assert_eq!(sim.state(carol), CallState::Over(404), "nothing rings");
    sim.set_manner(bob, Manner::Ring);
    sim.invite(dave, "bob");
    sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
    for number in ["**bob", "*8", "**nobody"] {
        sim.invite(erin, number);
        sim.run_for(SECOND);
        assert_eq!(sim.state(erin), CallState::Over(404), "{number}");
    }
    assert_eq!(sim.state(bob), CallState::Ringing);
    sim.cancel(dave);
    sim.run_to_idle();
}

//! Calls that wait until somebody takes them up.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_call::router::ParkingLot;
use crosspoint_call::{Cause, Party};
use crosspoint_testkit::{CallState, Manner, PhoneId, Sim};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(60);

fn up(sim: &Sim, phones: &[PhoneId]) -> bool {
    phones.iter().all(|id| sim.state(*id) == CallState::Up)
}

fn lot(name: &str, users: &[&str]) -> ParkingLot {
    ParkingLot {
        name: name.into(),
        orbit: Some("700".to_owned()),
        slots: 701..=702,
        timeout: TIMEOUT,
        users: users.iter().map(|user| Arc::from(*user)).collect(),
    }
}

/// Alice in a call with bob, who is about to be parked.
struct Office {
    sim: Sim,
    alice: PhoneId,
    bob: PhoneId,
    carol: PhoneId,
}

impl Office {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        let carol = sim.add_registered_phone("carol");
        sim.rule(|plan| plan.features.parking = vec![lot("office", &["alice", "carol"])]);
        sim.invite(bob, "alice");
        sim.run_until(|sim| up(sim, &[alice, bob]));
        sim.run_for(SECOND);
        Self { sim, alice, bob, carol }
    }

    fn park(&mut self, at: &str) {
        self.sim.refer(self.alice, at);
        let alice = self.alice;
        self.sim.run_until(|sim| matches!(sim.state(alice), CallState::Over(_)));
        assert_eq!(self.sim.state(self.bob), CallState::Up);
    }

    fn ended(&mut self, parked: &str) {
        self.sim.run_to_idle();
        assert_eq!(self.sim.parked(), [parked]);
    }
}

#[test]
fn a_parked_call_is_taken_up_by_another_phone() {
    for at in ["700", "702"] {
        let mut office = Office::new(50);
        let lamp = office.sim.add_registered_phone("carol");
        office.sim.subscribe(lamp, "dialog", "702", 600);
        office.sim.run_for(SECOND);
        office.park(at);
        let slot = if at == "700" { "701" } else { "702" };
        let told = format!("SIP/2.0 200 Parked at {slot}");
        // Over UDP the words may overtake each other.
        office.sim.run_for(SECOND);
        assert!(office.sim.notified(office.alice).contains(&told));
        office.sim.run_for(TIMEOUT / 2);
        let carol = office.carol;
        office.sim.invite(carol, slot);
        let bob = office.bob;
        office.sim.run_until(|sim| up(sim, &[bob, carol]));
        office.sim.run_for(SECOND);
        office.sim.press(bob, '7');
        office.sim.run_for(SECOND);
        assert_eq!(office.sim.digits(carol), "7", "they hear each other");
        let states: Vec<bool> =
            office.sim.notified(lamp).iter().map(|b| b.contains("<state>confirmed")).collect();
        let lit: &[bool] = if at == "702" { &[false, true, false] } else { &[false] };
        assert_eq!(states, lit, "{:#?}", office.sim.notified(lamp));
        office.sim.hang_up(carol);
        office.ended(&format!("{slot} by alice, taken up by carol"));
        assert_eq!(office.sim.endings(), [(Party::Back, Cause::Normal)]);
    }
}

/// Who was put on hold first is told to talk again.
#[test]
fn a_party_that_was_held_is_parked() {
    let mut office = Office::new(51);
    office.sim.reoffer(office.alice, "sendonly");
    office.sim.run_for(SECOND);
    assert_eq!(office.sim.asked_direction(office.bob), Some("sendonly"));
    office.park("700");
    let (bob, carol) = (office.bob, office.carol);
    office.sim.run_for(SECOND);
    office.sim.invite(carol, "701");
    office.sim.run_until(|sim| up(sim, &[bob, carol]));
    office.sim.run_until(|sim| sim.asked_direction(bob) == Some("sendrecv"));
    office.sim.hang_up(bob);
    office.ended("701 by alice, taken up by carol");
}

#[test]
fn a_parked_call_goes_back_to_who_parked_it() {
    let mut office = Office::new(52);
    office.park("700");
    let (alice, bob) = (office.alice, office.bob);
    office.sim.set_manner(alice, Manner::Answer);
    office.sim.run_for(TIMEOUT - 5 * SECOND);
    assert!(matches!(office.sim.state(alice), CallState::Over(_)));
    office.sim.run_until(|sim| up(sim, &[alice, bob]));
    office.sim.run_for(SECOND);
    office.sim.hang_up(bob);
    office.ended("701 by alice, back");
}

/// While it rings at alice again, carol takes it up.
#[test]
fn a_call_that_goes_back_can_still_be_taken_up() {
    let mut office = Office::new(53);
    office.park("700");
    let (alice, bob, carol) = (office.alice, office.bob, office.carol);
    office.sim.set_manner(alice, Manner::Ring);
    office.sim.run_until(|sim| sim.state(alice) == CallState::Ringing);
    office.sim.invite(carol, "701");
    office.sim.run_until(|sim| up(sim, &[bob, carol]));
    office.sim.run_for(SECOND);
    assert_eq!(office.sim.state(alice), CallState::Over(487));
    office.sim.hang_up(carol);
    office.ended("701 by alice, taken up by carol");
}

/// Alice is not there any more: it waits on, three times in all.
#[test]
fn a_parked_call_does_not_wait_for_ever() {
    let mut office = Office::new(54);
    office.park("701");
    office.sim.set_manner(office.alice, Manner::Busy);
    office.sim.run_for(TIMEOUT * 2 + SECOND);
    assert_eq!(office.sim.state(office.bob), CallState::Up);
    office.ended("701 by alice, left");
    assert_eq!(office.sim.endings(), [(Party::Gateway, Cause::NoAnswer)]);
}

#[test]
fn who_is_parked_may_leave_and_frees_the_slot() {
    let mut office = Office::new(55);
    office.park("701");
    office.sim.hang_up(office.bob);
    office.sim.run_for(SECOND);
    office.sim.invite(office.carol, "701");
    office.sim.run_for(SECOND);
    assert_eq!(office.sim.state(office.carol), CallState::Over(404), "nobody is there");
    let (alice, bob) = (office.alice, office.bob);
    office.sim.add_registered_phone("bob");
    office.sim.invite(bob, "alice");
    office.sim.run_until(|sim| up(sim, &[alice, bob]));
    office.park("701");
    office.sim.hang_up(office.bob);
    office.sim.run_to_idle();
    let told = "701 by alice, left";
    assert_eq!(office.sim.parked(), [told, "", told]);
}

/// Bob is no user of the lot: to him its numbers are like any that nobody has. And dave's lot has
/// the same numbers.
#[test]
fn lots_are_kept_apart() {
    let mut office = Office::new(56);
    let (dave, erin) =
        (office.sim.add_registered_phone("dave"), office.sim.add_registered_phone("erin"));
    office.sim.rule(|plan| plan.features.parking.push(lot("other", &["dave"])));
    office.sim.refer(office.bob, "700");
    office.sim.run_for(2 * SECOND);
    assert!(up(&office.sim, &[office.alice, office.bob]), "bob parks nobody");
    assert!(office.sim.notified(office.bob).iter().any(|told| told == "SIP/2.0 404 Not Found"));
    office.park("700");
    office.sim.invite(dave, "erin");
    office.sim.run_until(|sim| up(sim, &[dave, erin]));
    office.sim.refer(dave, "701");
    office.sim.run_until(|sim| matches!(sim.state(dave), CallState::Over(_)));
    assert!(up(&office.sim, &[erin, office.bob]), "the same slot of two lots");
    office.sim.invite(office.carol, "702");
    office.sim.run_for(SECOND);
    assert_eq!(office.sim.state(office.carol), CallState::Over(404));
    let eve = office.sim.add_registered_phone("eve");
    office.sim.subscribe(eve, "dialog", "701", 600);
    office.sim.subscribe(dave, "dialog", "office/701", 600);
    office.sim.invite(eve, "701");
    office.sim.run_for(SECOND);
    assert_eq!(
        (office.sim.state(eve), office.sim.outcomes(eve)),
        (CallState::Over(404), &[404][..])
    );
    assert_eq!(office.sim.outcomes(dave), [404], "nor does a key open another's lot");
    let also_dave = office.sim.add_registered_phone("dave");
    office.sim.invite(also_dave, "701");
    office.sim.run_until(|sim| up(sim, &[also_dave, erin]));
    office.sim.hang_up(erin);
    office.sim.hang_up(office.bob);
    office.sim.run_to_idle();
}

#[test]
fn a_full_lot_takes_nobody() {
    let mut office = Office::new(57);
    office.sim.rule(|plan| plan.features.parking[0].slots = 701..=701);
    office.park("701");
    let (also_alice, dave) =
        (office.sim.add_registered_phone("alice"), office.sim.add_registered_phone("dave"));
    for at in ["700", "701"] {
        office.sim.invite(also_alice, "dave");
        office.sim.run_until(|sim| up(sim, &[also_alice, dave]));
        office.sim.refer(also_alice, at);
        office.sim.run_for(2 * SECOND);
        let told = office.sim.notified(also_alice);
        assert!(told.iter().any(|told| told == "SIP/2.0 486 Busy Here"), "{told:?}");
        assert!(up(&office.sim, &[also_alice, dave]));
        office.sim.hang_up(dave);
        office.sim.run_for(SECOND);
    }
    office.sim.hang_up(office.bob);
    office.sim.run_to_idle();
}

/// An app parks a phone, and another app takes it up.
#[test]
fn apps_park_and_take_up() {
    let mut sim = Sim::new(58);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    let carol = sim.add_app("carol");
    sim.rule(|plan| plan.features.parking = vec![lot("office", &[])]);
    sim.app_calls(alice, "bob");
    sim.run_until(|sim| sim.app_is_up(alice) && up(sim, &[bob]));
    sim.run_for(SECOND);
    sim.app_transfers(alice, "700");
    sim.run_for(2 * SECOND);
    assert!(sim.app_live(alice).is_empty() && up(&sim, &[bob]));
    sim.app_calls(carol, "701");
    sim.run_until(|sim| sim.app_is_up(carol));
    sim.press(bob, '3');
    sim.run_for(SECOND);
    assert_eq!(sim.app_digits(carol), "3");
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.parked(), ["701 by alice, taken up by carol"]);
}

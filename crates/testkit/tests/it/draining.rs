//! A gateway that takes no new calls for a while.

use std::time::Duration;

use crosspoint_testkit::{CallState, Manner, Sim};

#[test]
fn running_calls_go_on_and_new_ones_are_sent_elsewhere_until_that_is_undone() {
    let mut sim = Sim::new(1);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    let (carol, dave) = (sim.add_registered_phone("carol"), sim.add_registered_phone("dave"));
    let erin = sim.add_registered_phone("erin");
    sim.rule(|plan| {
        plan.emergency.numbers.insert("dave".to_owned());
    });
    sim.set_manner(bob, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
    sim.drain(Some(Duration::from_secs(30)));
    // What rings may be answered.
    sim.pick_up(bob);
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(bob) == CallState::Up);
    sim.invite(carol, "erin");
    sim.run_until(|sim| sim.state(carol) == CallState::Over(503));
    // A call for help has no time to look elsewhere.
    sim.invite(erin, "dave");
    sim.run_for(Duration::from_secs(1));
    assert_ne!(sim.state(erin), CallState::Over(503));
    sim.hang_up(erin);
    sim.run_for(Duration::from_secs(60));
    assert_eq!((sim.state(alice), sim.state(bob)), (CallState::Up, CallState::Up));
    sim.drain(None);
    sim.invite(carol, "erin");
    sim.run_until(|sim| sim.state(carol) == CallState::Up && sim.state(erin) == CallState::Up);
    sim.hang_up(carol);
    sim.hang_up(alice);
    sim.run_to_idle();
    let _ = dave;
}

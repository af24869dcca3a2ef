//! Who guesses is not listened to, and calls of others go on.

use std::time::Duration;

use crosspoint_testkit::{CallState, Sim};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_guesser_falls_silent_while_others_talk() {
    let mut sim = Sim::new(51);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(bob) == CallState::Up);
    let mallory = sim.add_phone("mallory");
    sim.mistype(mallory);
    for _ in 0..40 {
        sim.sign_in(mallory);
        sim.run_for(SECOND);
    }
    assert_eq!(sim.banned(), 1, "{}", sim.story());
    sim.hang_up(alice);
    sim.run_until(|sim| matches!(sim.state(bob), CallState::Over(_) | CallState::Idle));
    sim.run_to_idle();
}

/// A phone whose password was changed elsewhere tries again and again, as they do.
#[test]
fn a_phone_with_an_old_password_is_not_banned() {
    let mut sim = Sim::new(52);
    let alice = sim.add_phone("alice");
    sim.mistype(alice);
    for _ in 0..200 {
        sim.sign_in(alice);
        sim.run_for(60 * SECOND);
    }
    assert_eq!(sim.banned(), 0);
    sim.run_to_idle();
}

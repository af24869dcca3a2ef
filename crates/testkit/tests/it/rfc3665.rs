//! The basic call flows of RFC 3665 that a gateway takes part in, named after its sections. We
//! stand where the RFC has its proxies, as a back-to-back user agent: each side has a dialog of
//! its own with us.

use std::time::Duration;

use crosspoint_call::{Cause, Party};
use crosspoint_testkit::{CallState, Manner, PhoneId, Sim};

fn phones(seed: u64) -> (Sim, PhoneId, PhoneId) {
    let mut sim = Sim::new(seed);
    let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    (sim, alice, bob)
}

/// §2.1, §3.1 to §3.3: both sign in after a challenge, alice calls after another, bob hangs up.
#[test]
fn successful_session() {
    let (mut sim, alice, bob) = phones(1);
    sim.set_manner(bob, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Ringing);
    sim.pick_up(bob);
    sim.run_until(|sim| sim.state(alice) == CallState::Up);
    sim.run_for(Duration::from_secs(10));
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!([sim.state(alice), sim.state(bob)], [CallState::Over(200); 2]);
    assert_eq!(sim.endings(), [(Party::Back, Cause::Normal)]);
}

/// §3.8: bob does not answer, alice gives up: CANCEL, its 200, and 487 for the INVITE.
#[test]
fn unsuccessful_no_answer() {
    let (mut sim, alice, bob) = phones(2);
    sim.set_manner(bob, Manner::Ring);
    sim.invite(alice, "bob");
    sim.run_until(|sim| sim.state(alice) == CallState::Ringing);
    sim.run_for(Duration::from_secs(10));
    sim.cancel(alice);
    sim.run_to_idle();
    assert_eq!([sim.state(alice), sim.state(bob)], [CallState::Over(487); 2]);
    assert_eq!(sim.endings(), [(Party::Front, Cause::Cancelled)]);
}

/// §3.9.
#[test]
fn unsuccessful_busy() {
    let (mut sim, alice, bob) = phones(3);
    sim.set_manner(bob, Manner::Busy);
    sim.invite(alice, "bob");
    sim.run_to_idle();
    assert_eq!(sim.state(alice), CallState::Over(486));
    assert_eq!(sim.endings(), [(Party::Back, Cause::Busy)]);
}

/// §3.10: bob's user agent says nothing; his INVITE is repeated until it is given up.
#[test]
fn unsuccessful_no_response_from_user_agent() {
    let (mut sim, alice, bob) = phones(4);
    sim.set_manner(bob, Manner::Ignore);
    sim.invite(alice, "bob");
    sim.run_to_idle();
    assert!(matches!(sim.state(alice), CallState::Over(400..600)), "{:?}", sim.state(alice));
    assert_ne!(sim.state(bob), CallState::Up);
}

/// §3.11: nobody is signed in as bob.
#[test]
fn unsuccessful_temporarily_unavailable() {
    let mut sim = Sim::new(5);
    let alice = sim.add_registered_phone("alice");
    sim.add_phone("bob");
    sim.invite(alice, "bob");
    sim.run_to_idle();
    assert_eq!(sim.state(alice), CallState::Over(480));
}

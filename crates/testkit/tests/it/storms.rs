//! The same stories over networks that lose, repeat and reorder.

use std::time::Duration;

use crosspoint_testkit::{CallState, Link, Manner, Sim};

/// Whatever the network does, everything ends, once, with nothing left.
#[test]
fn calls_end_cleanly_on_a_bad_network() {
    for seed in 0..40 {
        let mut sim = Sim::new(1000 + seed);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        sim.set_link(Link::BAD);
        sim.invite(alice, "bob");
        sim.run_for(Duration::from_secs(20 + seed));
        if sim.state(alice) == CallState::Up {
            sim.reoffer(alice, "sendonly");
            sim.run_for(Duration::from_secs(8));
            sim.hang_up(if seed % 2 == 0 { alice } else { bob });
        }
        sim.set_link(Link::GOOD);
        sim.run_for(Duration::from_secs(60));
        if sim.state(alice) == CallState::Up {
            sim.hang_up(alice);
        }
        if sim.state(bob) == CallState::Up {
            sim.hang_up(bob);
        }
        sim.run_to_idle();
    }
}

/// A CANCEL sent at any moment of call set-up, also when it crosses the answer.
#[test]
fn a_cancel_at_any_moment_leaves_nothing() {
    for seed in 0..40 {
        let mut sim = Sim::new(2000 + seed);
        let (alice, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
        sim.set_manner(bob, if seed % 2 == 0 { Manner::Answer } else { Manner::Ring });
        sim.set_link(Link { loss_percent: 0, repeat_percent: 5, delay: Duration::from_millis(40) });
        sim.invite(alice, "bob");
        sim.run_for(Duration::from_millis(seed * 7));
        sim.cancel(alice);
        sim.run_for(Duration::from_secs(40));
        for phone in [alice, bob] {
            if sim.state(phone) == CallState::Up {
                sim.hang_up(phone);
            }
        }
        sim.run_to_idle();
    }
}

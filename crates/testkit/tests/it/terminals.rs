//! Terminals of the call API with phones, apps and each other.

use std::time::Duration;

use crosspoint_call::{Cause, Party};
use crosspoint_connectors::webterminal::{Fault, Mode, StreamEnd};
use crosspoint_testkit::{CallState, Manner, PhoneId, Sim, TerminalCall, TerminalId};

const ALICE: &str = "+4799000001";
const BOB: &str = "+4799000002";
const ID: &str = "11111111-1111-4111-8111-111111111111";

/// A terminal in a call with a phone.
fn in_call(seed: u64, mode: Mode) -> (Sim, TerminalId, PhoneId) {
    let mut sim = Sim::new(seed);
    let (alice, bob) = (sim.add_terminal("alice", ALICE, mode), sim.add_registered_phone("bob"));
    sim.terminal_offers(alice, ID, Some("bob"));
    sim.run_until(|sim| sim.terminal_is_up(alice) && sim.state(bob) == CallState::Up);
    (sim, alice, bob)
}

#[test]
fn a_terminal_calls_a_phone_and_either_ends_it() {
    for mode in [Mode::Pipe, Mode::MultiPipe] {
        for terminal_ends in [true, false] {
            let (mut sim, alice, bob) = in_call(1, mode);
            sim.run_for(Duration::from_secs(60));
            if terminal_ends {
                sim.terminal_hangs_up(alice)
            } else {
                sim.hang_up(bob)
            }
            sim.run_to_idle();
            let by = if terminal_ends { Party::Front } else { Party::Back };
            assert_eq!(sim.endings(), [(by, Cause::Normal)]);
            assert_eq!(sim.terminal_calls(alice), [TerminalCall::Over]);
        }
    }
}

#[test]
fn a_phone_calls_the_number_of_a_terminal() {
    let mut sim = Sim::new(2);
    let alice = sim.add_terminal("alice", ALICE, Mode::MultiPipe);
    let bob = sim.add_registered_phone("bob");
    sim.invite(bob, ALICE);
    sim.run_until(|sim| sim.terminal_is_up(alice) && sim.state(bob) == CallState::Up);
    assert_eq!(sim.terminal_callers(alice), ["bob"]);
    // The phone holds: the terminal is asked anew, and answers.
    sim.reoffer(bob, "sendonly");
    sim.run_for(Duration::from_secs(2));
    assert_eq!(sim.state(bob), CallState::Up);
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Front, Cause::Normal)]);
}

#[test]
fn terminals_and_apps_call_each_other() {
    let mut sim = Sim::new(3);
    let alice = sim.add_terminal("alice", ALICE, Mode::MultiPipe);
    let carol = sim.add_app("carol");
    sim.terminal_offers(alice, ID, Some("carol"));
    sim.run_until(|sim| sim.terminal_is_up(alice) && sim.app_is_up(carol));
    sim.app_hangs_up(carol);
    sim.run_until(|sim| !sim.terminal_is_up(alice));
    sim.app_calls(carol, ALICE);
    sim.run_until(|sim| sim.terminal_is_up(alice) && sim.app_is_up(carol));
    sim.terminal_hangs_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Back, Cause::Normal), (Party::Back, Cause::Normal)]);
}

#[test]
fn two_terminals_call_each_other() {
    let mut sim = Sim::new(4);
    let alice = sim.add_terminal("alice", ALICE, Mode::MultiPipe);
    let bob = sim.add_terminal("bob", BOB, Mode::Pipe);
    sim.terminal_offers(alice, ID, Some("4799000002"));
    sim.run_until(|sim| sim.terminal_is_up(alice) && sim.terminal_is_up(bob));
    assert_eq!(sim.terminal_callers(bob), [ALICE]);
    sim.terminal_hangs_up(bob);
    sim.run_to_idle();
}

#[test]
fn all_terminals_of_a_number_ring_and_the_first_answer_wins() {
    let mut sim = Sim::new(5);
    let first = sim.add_terminal("alice", ALICE, Mode::MultiPipe);
    let second = sim.add_terminal("alice", ALICE, Mode::MultiPipe);
    let bob = sim.add_registered_phone("bob");
    for terminal in [first, second] {
        sim.set_terminal_manner(terminal, Manner::Ring);
    }
    sim.invite(bob, ALICE);
    sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
    sim.run_for(Duration::from_secs(1));
    sim.terminal_answers(second);
    sim.run_until(|sim| sim.state(bob) == CallState::Up);
    assert_eq!(sim.terminal_calls(first), [TerminalCall::Over]);
    // It hears that the call is on another terminal now, by the id under which it rang.
    let told = sim.terminal_told(first).to_vec();
    assert!(matches!(&told[..], [(_, true)]), "{told:?}");
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.terminal_told(first), [told[0].clone(), (told[0].0.clone(), false)]);
}

#[test]
fn refusals_cross_in_both_directions() {
    let mut sim = Sim::new(6);
    let alice = sim.add_terminal("alice", ALICE, Mode::MultiPipe);
    let bob = sim.add_registered_phone("bob");
    sim.set_terminal_manner(alice, Manner::Decline);
    sim.invite(bob, ALICE);
    sim.run_to_idle();
    assert_eq!(sim.state(bob), CallState::Over(603));
    sim.set_manner(bob, Manner::Busy);
    sim.terminal_offers(alice, ID, Some("bob"));
    sim.run_to_idle();
    assert!(sim.terminal_calls(alice).iter().all(|call| *call == TerminalCall::Over));
}

/// The call moves to the desk phone and back, and the far party stays in it.
#[test]
fn a_call_goes_to_the_desk_phone_and_back() {
    let (mut sim, alice, bob) = in_call(7, Mode::MultiPipe);
    let desk = sim.add_registered_phone("alice");
    sim.terminal_pushes(alice);
    sim.run_until(|sim| sim.state(desk) == CallState::Up);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.terminal_calls(alice), [TerminalCall::Moved]);
    assert_eq!(sim.terminal_told(alice), [(ID.to_owned(), true)]);
    assert_eq!(sim.state(bob), CallState::Up);
    sim.terminal_offers(alice, ID, None);
    sim.run_until(|sim| sim.terminal_is_up(alice));
    sim.run_for(Duration::from_secs(1));
    assert!(matches!(sim.state(desk), CallState::Over(_)));
    assert_eq!(sim.state(bob), CallState::Up);
    sim.terminal_hangs_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.terminal_faults(alice), []);
}

#[test]
fn a_call_that_went_to_the_desk_phone_ends_there() {
    let (mut sim, alice, bob) = in_call(8, Mode::MultiPipe);
    let desk = sim.add_registered_phone("alice");
    sim.terminal_pushes(alice);
    sim.run_until(|sim| sim.terminal_calls(alice) == [TerminalCall::Moved]);
    assert_eq!(sim.state(desk), CallState::Up);
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.terminal_told(alice), [(ID.to_owned(), true), (ID.to_owned(), false)]);
}

/// Without a desk phone the call goes to the number itself: a mobile, over a trunk.
#[test]
fn a_call_goes_to_the_mobile_over_a_trunk() {
    let mut sim = Sim::with_trunks(9, &["mobile"]);
    sim.rule(|plan| plan.trunks[0].is_default = true);
    let alice = sim.add_terminal("alice", ALICE, Mode::MultiPipe);
    let (bob, mobile) = (sim.add_registered_phone("bob"), sim.trunk("mobile"));
    sim.set_manner(mobile, Manner::Ring);
    sim.terminal_offers(alice, ID, Some("bob"));
    sim.run_until(|sim| sim.terminal_is_up(alice) && sim.state(bob) == CallState::Up);
    sim.terminal_pushes(alice);
    sim.run_until(|sim| sim.state(mobile) == CallState::Ringing);
    assert!(sim.terminal_is_up(alice), "it talks on until the mobile answers");
    sim.pick_up(mobile);
    sim.run_until(|sim| sim.state(mobile) == CallState::Up);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.terminal_calls(alice), [TerminalCall::Moved]);
    assert_eq!(sim.terminal_told(alice), [(ID.to_owned(), true)], "it runs");
    sim.hang_up(mobile);
    sim.run_to_idle();
    assert_eq!(sim.terminal_told(alice), [(ID.to_owned(), true), (ID.to_owned(), false)]);
}

#[test]
fn a_call_that_nobody_takes_at_the_phone_stays_where_it_is() {
    let (mut sim, alice, bob) = in_call(10, Mode::MultiPipe);
    let desk = sim.add_registered_phone("alice");
    sim.set_manner(desk, Manner::Decline);
    sim.terminal_pushes(alice);
    sim.run_for(Duration::from_secs(5));
    assert_eq!(sim.terminal_faults(alice), [Fault::TryAgain]);
    assert!(sim.terminal_is_up(alice) && sim.state(bob) == CallState::Up);
    sim.terminal_hangs_up(alice);
    sim.run_to_idle();
}

#[test]
fn a_stream_that_breaks_costs_no_call_for_thirty_seconds() {
    let (mut sim, alice, bob) = in_call(11, Mode::MultiPipe);
    sim.terminal_leaves(alice, StreamEnd::Broken);
    sim.run_for(Duration::from_secs(29));
    sim.terminal_opens(alice, true);
    assert!(sim.terminal_is_resumed(alice));
    sim.run_for(Duration::from_secs(60));
    assert_eq!(sim.state(bob), CallState::Up);
    sim.terminal_leaves(alice, StreamEnd::Broken);
    sim.run_for(Duration::from_secs(31));
    assert!(matches!(sim.state(bob), CallState::Over(_)), "the phone hears BYE");
    sim.terminal_hangs_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Front, Cause::SignalingLost)]);
}

#[test]
fn a_terminal_that_cancels_its_stream_hangs_up() {
    let (mut sim, alice, bob) = in_call(12, Mode::MultiPipe);
    sim.terminal_leaves(alice, StreamEnd::Cancelled);
    sim.terminal_hangs_up(alice);
    sim.run_to_idle();
    assert!(matches!(sim.state(bob), CallState::Over(_)));
    assert_eq!(sim.endings(), [(Party::Front, Cause::Normal)]);
}

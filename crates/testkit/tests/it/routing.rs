//! Where calls go: trunks that fail over, groups, caps, and the reasons of refusals.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_call::router::{
    Country, Destination, Group, Permission, Plan, Refusal, Route, RouteTable, Strategy,
};
use crosspoint_call::{Cause, Party};
use crosspoint_testkit::{CallState, Manner, PhoneId, Sim};

/// Numbers abroad and at home go to the first trunk, then to the second.
fn two_carriers() -> (Sim, PhoneId, PhoneId) {
    let mut sim = Sim::with_trunks(77, &["cheap", "good"]);
    let (cheap, good) = (sim.trunk("cheap"), sim.trunk("good"));
    sim.rule(|plan| {
        plan.country = Country::find("de");
        plan.routes = routes(plan);
        plan.emergency.numbers.insert("112".to_owned());
    });
    (sim, cheap, good)
}

fn routes(plan: &Plan) -> RouteTable {
    let to = plan.trunks.iter().map(|trunk| Destination::Trunk(trunk.name.clone())).collect();
    let out = Route::plain("out", to);
    let did = Route::plain("did", vec![Destination::Group("sales".into())]);
    RouteTable::new([
        (out, vec![("+".to_owned(), None)]),
        (did, vec![("+4930700".to_owned(), None)]),
    ])
}

fn group(members: &[&str], strategy: Strategy) -> Arc<Group> {
    Arc::new(Group {
        name: "sales".into(),
        members: members.iter().map(|member| Arc::from(*member)).collect(),
        strategy,
        member_ring: Duration::from_secs(15),
        ring: Duration::from_secs(60),
        call_busy: false,
        overflow: None,
    })
}

#[test]
fn a_trunk_that_fails_or_says_nothing_is_followed_by_the_next() {
    for manner in [Manner::Fail, Manner::Ignore] {
        let (mut sim, cheap, good) = two_carriers();
        let alice = sim.add_registered_phone("alice");
        sim.set_manner(cheap, manner);
        sim.invite(alice, "030123456");
        sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(good) == CallState::Up);
        sim.run_for(Duration::from_secs(1));
        sim.hang_up(alice);
        // Whoever says nothing never says that it is over either.
        sim.run_until(|sim| !sim.endings().is_empty());
        assert_eq!(sim.endings(), [(Party::Front, Cause::Normal)]);
        assert_eq!(sim.attempts(), [2]);
    }
}

#[test]
fn a_busy_line_behind_a_trunk_is_the_answer() {
    let (mut sim, cheap, good) = two_carriers();
    let alice = sim.add_registered_phone("alice");
    sim.set_manner(cheap, Manner::Busy);
    sim.invite(alice, "030123456");
    sim.run_to_idle();
    assert_eq!((sim.state(alice), sim.state(good)), (CallState::Over(486), CallState::Idle));
    assert_eq!(sim.attempts(), [1]);
}

#[test]
fn a_call_for_help_takes_whatever_trunk_takes_it() {
    let (mut sim, cheap, good) = two_carriers();
    let alice = sim.add_registered_phone("alice");
    sim.rule(|plan| plan.permissions = vec![Permission { calls: 0, ..Permission::usual() }]);
    sim.set_manner(cheap, Manner::Busy);
    sim.invite(alice, "112");
    sim.run_until(|sim| sim.state(alice) == CallState::Up && sim.state(good) == CallState::Up);
    sim.hang_up(alice);
    sim.run_to_idle();
    sim.invite(alice, "030123456");
    sim.run_to_idle();
    assert_eq!(sim.refusals(), [Refusal::CallerCalls], "every other call is capped");
}

/// Each record has the reasons that `route-test` gives: the simulator compares every one.
#[test]
fn every_refusal_is_explained_as_route_test_explains_it() {
    let (mut sim, cheap, _) = two_carriers();
    let alice = sim.add_registered_phone("alice");
    sim.add_phone("bob");
    sim.rule(|plan| {
        plan.groups = [(Arc::from("sales"), group(&["bob"], Strategy::Hunt))].into();
        plan.group_numbers = [("700".to_owned(), Arc::from("sales"))].into();
        plan.permissions = vec![Permission { international: false, ..Permission::usual() }];
    });
    for (caller, target, status) in [
        (alice, "nobody", 404),
        (alice, "bob", 480),
        (alice, "700", 480),
        (alice, "00441632960001", 403),
        (alice, "0900123456", 403),
        (cheap, "030123456", 404),
    ] {
        sim.invite(caller, target);
        sim.run_to_idle();
        assert_eq!(sim.state(caller), CallState::Over(status), "{target}");
        sim.add_registered_phone("alice");
    }
    use Refusal::{HighRisk, NoDevice, NoRoute, Permission as Permitted, TrunkToTrunk};
    assert_eq!(sim.refusals(), [NoRoute, NoDevice, NoDevice, Permitted, HighRisk, TrunkToTrunk]);
    assert_eq!(sim.explained(), 6);
}

#[test]
fn a_caller_has_no_more_calls_outside_than_it_may() {
    let (mut sim, _, _) = two_carriers();
    let one = Permission { calls: 1, ..Permission::usual() };
    sim.rule(|plan| plan.permissions = vec![one]);
    let (alice, again) = (sim.add_registered_phone("alice"), sim.add_registered_phone("alice"));
    sim.invite(alice, "030123456");
    sim.run_until(|sim| sim.state(alice) == CallState::Up);
    sim.invite(again, "030123457");
    sim.run_until(|sim| sim.state(again) == CallState::Over(403));
    sim.hang_up(alice);
    sim.run_to_idle();
    sim.add_registered_phone("alice");
    assert_eq!(sim.refusals(), [Refusal::CallerCalls]);
    // The first is over: another may begin.
    sim.invite(again, "030123457");
    sim.run_until(|sim| sim.state(again) == CallState::Up);
    sim.hang_up(again);
    sim.run_to_idle();
}

#[test]
fn a_hunt_goes_from_member_to_member_and_a_call_of_all_ends_for_the_others() {
    for strategy in [Strategy::Hunt, Strategy::RingAll] {
        let (mut sim, cheap, _) = two_carriers();
        sim.rule(|plan| {
            let group = group(&["bob", "carol", "dave"], strategy);
            plan.groups = [(Arc::from("sales"), group)].into();
        });
        let [bob, carol, dave] = ["bob", "carol", "dave"].map(|u| sim.add_registered_phone(u));
        sim.set_manner(bob, Manner::Ring);
        sim.set_manner(carol, Manner::Busy);
        sim.set_manner(dave, Manner::Ring);
        sim.invite(cheap, "004930700");
        sim.run_until(|sim| sim.state(dave) == CallState::Ringing);
        if strategy == Strategy::Hunt {
            assert_ne!(sim.state(bob), CallState::Ringing, "one at a time");
        }
        sim.pick_up(dave);
        sim.run_until(|sim| sim.state(cheap) == CallState::Up && sim.state(dave) == CallState::Up);
        sim.run_for(Duration::from_secs(1));
        sim.hang_up(dave);
        sim.run_to_idle();
        assert_eq!(sim.endings(), [(Party::Back, Cause::Normal)], "{strategy:?}");
    }
}

/// Who has been without a call for longest is called first.
#[test]
fn calls_of_a_group_are_shared_out() {
    let mut sim = Sim::new(78);
    let [bob, carol] = ["bob", "carol"].map(|user| sim.add_registered_phone(user));
    sim.rule(|plan| {
        let group = group(&["bob", "carol"], Strategy::LongestIdle);
        plan.groups = [(Arc::from("sales"), group)].into();
        plan.group_numbers = [("700".to_owned(), Arc::from("sales"))].into();
    });
    let alice = sim.add_registered_phone("alice");
    for expected in [bob, carol, bob, carol] {
        sim.invite(alice, "700");
        sim.run_until(|sim| sim.state(alice) == CallState::Up);
        let other = if expected == bob { carol } else { bob };
        sim.run_until(|sim| sim.state(expected) == CallState::Up);
        assert_ne!(sim.state(other), CallState::Up);
        sim.run_for(Duration::from_secs(2));
        sim.hang_up(alice);
        sim.run_for(Duration::from_secs(2));
    }
    sim.run_to_idle();
}

//! Apps that speak RTC:engine, among themselves and with phones.

use std::time::Duration;

use crosspoint_call::{Cause, MediaPath, Party};
use crosspoint_testkit::{AppCall, AppId, CallState, Manner, PhoneId, Sim};
use serde_json::json;

/// An app in a call with a phone.
fn in_call(seed: u64) -> (Sim, AppId, PhoneId, String) {
    let mut sim = Sim::new(seed);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    let gcid = sim.app_calls(alice, "sip:bob@gateway.test");
    sim.run_until(|sim| sim.app_is_up(alice) && sim.state(bob) == CallState::Up);
    (sim, alice, bob, gcid)
}

fn over(reason: &str) -> AppCall {
    AppCall::Over(reason.to_owned())
}

#[test]
fn an_app_calls_a_phone_and_either_ends_it() {
    for app_ends in [true, false] {
        let (mut sim, alice, bob, _) = in_call(1);
        sim.run_for(Duration::from_secs(60));
        if app_ends {
            sim.app_hangs_up(alice)
        } else {
            sim.hang_up(bob)
        }
        sim.run_to_idle();
        let by = if app_ends { Party::Front } else { Party::Back };
        assert_eq!(sim.endings(), [(by, Cause::Normal)]);
        assert_eq!(sim.app_states(alice), [over("normal")]);
    }
}

#[test]
fn a_phone_calls_an_app() {
    let mut sim = Sim::new(2);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    sim.invite(bob, "alice");
    sim.run_until(|sim| sim.app_is_up(alice) && sim.state(bob) == CallState::Up);
    sim.press(bob, '5');
    sim.run_for(Duration::from_secs(2));
    assert_eq!(sim.app_digits(alice), "5");
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Front, Cause::Normal)]);
}

#[test]
fn refusals_cross_in_both_directions() {
    for (manner, status, reason) in
        [(Manner::Busy, 486, "busy"), (Manner::Decline, 603, "declined")]
    {
        let mut sim = Sim::new(3);
        let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
        sim.set_app_manner(alice, manner);
        sim.invite(bob, "alice");
        sim.run_to_idle();
        assert_eq!(sim.state(bob), CallState::Over(status));

        sim.set_manner(bob, manner);
        sim.app_calls(alice, "bob");
        sim.run_to_idle();
        assert_eq!(sim.app_states(alice).last(), Some(&over(reason)));
    }
}

/// What happened while the socket was gone is told when it is back, each thing once.
#[test]
fn a_page_that_lost_its_socket_hears_what_it_missed() {
    let (mut sim, alice, bob, _) = in_call(4);
    sim.app_loses_socket(alice);
    sim.run_for(Duration::from_secs(5));
    sim.press(bob, '7');
    sim.run_for(Duration::from_secs(1));
    sim.hang_up(bob);
    sim.run_for(Duration::from_secs(5));
    assert!(sim.app_is_up(alice), "it has heard nothing");
    sim.app_reopens(alice);
    assert_eq!(sim.app_is_resumed(alice), Some(true));
    assert_eq!(sim.app_digits(alice), "7");
    assert_eq!(sim.app_states(alice), [over("normal")]);
    sim.run_to_idle();
}

#[test]
fn a_page_that_comes_back_in_time_keeps_its_call() {
    let (mut sim, alice, bob, _) = in_call(5);
    for _ in 0..3 {
        sim.app_loses_socket(alice);
        sim.run_for(Duration::from_secs(29));
        sim.app_reopens(alice);
    }
    sim.run_for(Duration::from_secs(60));
    assert!(sim.app_is_up(alice) && sim.state(bob) == CallState::Up);
    sim.app_hangs_up(alice);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Front, Cause::Normal)]);
}

#[test]
fn a_page_that_does_not_come_back_ends_its_call() {
    let (mut sim, alice, bob, _) = in_call(6);
    sim.app_loses_socket(alice);
    sim.run_for(Duration::from_secs(29));
    assert_eq!(sim.state(bob), CallState::Up);
    sim.run_for(Duration::from_secs(2));
    assert!(matches!(sim.state(bob), CallState::Over(_)), "the phone hears BYE");
    sim.app_reopens(alice);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Front, Cause::SignalingLost)]);
}

/// The page is new, and so are its media and its leg; the phone is told nothing.
#[test]
fn a_reload_takes_the_call_back_unnoticed() {
    let (mut sim, alice, bob, gcid) = in_call(7);
    let asked = sim.asked_direction(bob).map(str::to_owned);
    sim.app_reloads(alice);
    sim.run_until(|sim| sim.app_is_up(alice));
    assert_eq!(sim.app_live(alice)[0].1, gcid);
    assert_eq!(sim.asked_direction(bob).map(str::to_owned), asked);
    sim.run_for(Duration::from_secs(60));
    assert_eq!(sim.state(bob), CallState::Up);
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Back, Cause::Normal)]);
}

/// The same while it rings, on either side.
#[test]
fn a_reload_while_it_rings_goes_on_ringing() {
    let mut sim = Sim::new(8);
    let (alice, bob) = (sim.add_app("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(bob, Manner::Ring);
    sim.app_calls(alice, "bob");
    sim.run_until(|sim| sim.state(bob) == CallState::Ringing);
    sim.app_reloads(alice);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.app_states(alice), [AppCall::RingingThere]);
    sim.pick_up(bob);
    sim.run_until(|sim| sim.app_is_up(alice));
    sim.app_hangs_up(alice);
    sim.run_to_idle();

    sim.set_app_manner(alice, Manner::Ring);
    sim.invite(bob, "alice");
    sim.run_for(Duration::from_secs(1));
    sim.app_reloads(alice);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.app_states(alice), [AppCall::RingingHere], "it is offered again");
    sim.app_answers(alice);
    sim.run_until(|sim| sim.state(bob) == CallState::Up);
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.endings().len(), 2);
}

/// Signed in everywhere: all ring, the first answer wins, the others learn it.
#[test]
fn a_user_is_reached_everywhere_and_answers_once() {
    for app_answers in [true, false] {
        let mut sim = Sim::new(9);
        let caller = sim.add_registered_phone("bob");
        let (page, other) = (sim.add_app("alice"), sim.add_app("alice"));
        let desk = sim.add_registered_phone("alice");
        for app in [page, other] {
            sim.set_app_manner(app, Manner::Ring);
        }
        sim.set_manner(desk, Manner::Ring);
        sim.invite(caller, "alice");
        sim.run_until(|sim| sim.state(desk) == CallState::Ringing);
        if app_answers {
            sim.app_answers(page)
        } else {
            sim.pick_up(desk)
        }
        sim.run_until(|sim| sim.state(caller) == CallState::Up);
        sim.run_for(Duration::from_secs(2));
        assert_eq!(sim.app_states(other), [over("answeredElsewhere")]);
        if app_answers {
            assert!(matches!(sim.state(desk), CallState::Over(487)));
        } else {
            assert_eq!(sim.app_states(page), [over("answeredElsewhere")]);
        }
        sim.hang_up(caller);
        sim.run_to_idle();
    }
}

/// A call moves from the desk phone to the page and back to the phone.
#[test]
fn a_call_is_pulled_from_one_device_to_another() {
    let mut sim = Sim::new(10);
    let (desk, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    let page = sim.add_app("alice");
    sim.invite(desk, "bob");
    sim.run_until(|sim| sim.state(desk) == CallState::Up && sim.state(bob) == CallState::Up);
    let seen = sim.app_elsewhere(page)[0].clone();
    assert_eq!((seen["device"].as_str(), seen["state"].as_str()), (Some("phone"), Some("active")));
    sim.app_takes_over(page, seen["gcid"].as_str().unwrap_or_default());
    sim.run_until(|sim| sim.app_is_up(page));
    sim.run_for(Duration::from_secs(2));
    assert!(matches!(sim.state(desk), CallState::Over(_)), "the desk phone is free");
    assert_eq!(sim.state(bob), CallState::Up);
    assert!(sim.app_elsewhere(page).is_empty());

    // The number for pulling, dialled at the desk.
    sim.invite(desk, "601");
    sim.run_until(|sim| sim.state(desk) == CallState::Up);
    sim.run_for(Duration::from_secs(2));
    assert_eq!(sim.app_states(page), [over("replaced")]);
    assert_eq!(sim.state(bob), CallState::Up);
    sim.hang_up(bob);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Back, Cause::Normal)]);
}

/// What rings at the desk is picked up by the page.
#[test]
fn what_rings_at_one_device_is_answered_by_another() {
    let mut sim = Sim::new(11);
    let (desk, bob) = (sim.add_registered_phone("alice"), sim.add_registered_phone("bob"));
    sim.set_manner(desk, Manner::Ring);
    sim.invite(bob, "alice");
    sim.run_until(|sim| sim.state(desk) == CallState::Ringing);
    let page = sim.add_app("alice");
    let gcid = sim.app_elsewhere(page)[0]["gcid"].as_str().unwrap_or_default().to_owned();
    sim.app_takes_over(page, &gcid);
    sim.run_until(|sim| sim.app_is_up(page) && sim.state(bob) == CallState::Up);
    sim.app_hangs_up(page);
    sim.run_to_idle();
    assert_eq!(sim.endings(), [(Party::Back, Cause::Normal)]);
}

#[test]
fn a_transfer_from_an_app_joins_who_remains() {
    let (mut sim, alice, bob, _) = in_call(12);
    let carol = sim.add_registered_phone("carol");
    sim.app_transfers(alice, "carol");
    sim.run_until(|sim| sim.state(carol) == CallState::Up);
    sim.run_for(Duration::from_secs(2));
    assert_eq!(sim.app_states(alice), [over("transferred")]);
    assert_eq!(sim.state(bob), CallState::Up);
    sim.hang_up(carol);
    sim.run_to_idle();
}

/// Two pages of one network: what one says reaches the other as it is.
#[test]
fn direct_media_passes_descriptions_and_candidates() {
    let mut sim = Sim::new(13);
    let alice = sim.add_member("home", "alice", MediaPath::Direct);
    let bob = sim.add_member("home", "bob", MediaPath::Direct);
    let stranger = sim.add_member("elsewhere", "carol", MediaPath::Direct);
    sim.app_calls(alice, "bob");
    sim.run_until(|sim| sim.app_is_up(alice) && sim.app_is_up(bob));
    for app in [alice, bob] {
        let remote = sim.app_remote(app).unwrap_or_default();
        assert!(remote.contains("a=ice-ufrag:u"), "the peer's own words: {remote}");
    }
    sim.app_trickles(alice, "candidate:1 1 udp 1 192.0.2.1 9 typ host");
    assert!(sim.app_candidates(bob)[0].contains("192.0.2.1"), "{:?}", sim.app_candidates(bob));
    let before = sim.app_remote(bob).map(str::to_owned);
    sim.app_changes(alice);
    sim.run_for(Duration::from_secs(1));
    assert_ne!(sim.app_remote(bob).map(str::to_owned), before, "the change went across");

    // A page that was loaded again brings a new description; the other side takes it.
    let before = sim.app_remote(bob).map(str::to_owned);
    sim.app_reloads(alice);
    sim.run_until(|sim| sim.app_is_up(alice));
    sim.run_for(Duration::from_secs(1));
    assert_ne!(sim.app_remote(bob).map(str::to_owned), before);
    sim.app_presses(bob, "12");
    assert_eq!(sim.app_digits(alice), "12");
    sim.app_hangs_up(bob);
    sim.run_to_idle();

    sim.app_calls(stranger, "bob");
    sim.run_to_idle();
    assert_eq!(sim.app_states(stranger), [over("unavailable")]);
}

/// Nobody touches what is another's, however well it is guessed.
#[test]
fn foreign_calls_cannot_be_addressed() {
    let (mut sim, alice, bob, gcid) = in_call(14);
    let thief = sim.add_app("mallory");
    let id = sim.app_live(alice)[0].0.clone();
    let own = json!({ "id": id, "gcid": gcid });
    for method in ["call.end", "call.dtmf", "call.transfer", "call.change.lock", "call.fullsdp"] {
        let mut body = own.clone();
        for (key, value) in [("dtmf", "1"), ("target", "mallory"), ("sdp", "v=0"), ("reason", "x")]
        {
            body[key] = json!(value);
        }
        sim.app_says(thief, method, body);
    }
    sim.app_takes_over(thief, &gcid);
    sim.run_for(Duration::from_secs(5));
    assert_eq!(sim.app_states(thief), [over("notFound")]);
    assert!(sim.app_is_up(alice) && sim.state(bob) == CallState::Up);
    assert!(sim.app_elsewhere(thief).is_empty());
    sim.app_hangs_up(alice);
    sim.run_to_idle();
}

/// Sockets that die and pages that are loaded again at any moment: everything ends, once.
#[test]
fn pages_that_come_and_go_leave_nothing() {
    for seed in 0..60 {
        let mut sim = Sim::new(3000 + seed);
        let (alice, bob) = (sim.add_app("alice"), sim.add_app("bob"));
        let desk = sim.add_registered_phone("carol");
        let target = ["bob", "carol"][usize::from(seed % 2 == 0)];
        let mut state = seed;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        sim.app_calls(alice, target);
        for _ in 0..12 {
            sim.run_for(Duration::from_millis(draw(4000)));
            let app = if draw(2) == 0 { alice } else { bob };
            match draw(8) {
                0 | 1 => sim.app_loses_socket(app),
                2 | 3 => sim.app_reopens(app),
                4 => sim.app_reloads(app),
                5 => sim.app_changes(app),
                6 => sim.app_presses(app, "1"),
                _ => sim.run_for(Duration::from_secs(draw(35))),
            }
        }
        sim.app_reopens(alice);
        sim.app_reopens(bob);
        sim.run_for(Duration::from_secs(5));
        sim.app_hangs_up(alice);
        sim.app_hangs_up(bob);
        if sim.state(desk) == CallState::Up {
            sim.hang_up(desk);
        }
        sim.run_to_idle();
    }
}

/// Bob's app rings, and answers by itself only for who may have it so; not in another's place.
#[test]
fn an_intercom_is_answered_where_its_user_may() {
    for (may, is_sent_on) in [(true, false), (false, false), (true, true)] {
        let mut sim = Sim::new(59);
        let (alice, bob) = (sim.add_app("alice"), sim.add_app("bob"));
        let desk = sim.add_registered_phone("carol");
        sim.set_app_manner(bob, Manner::Ring);
        sim.set_manner(desk, Manner::SendOn("bob"));
        sim.make_intercom(alice);
        sim.rule(|plan| {
            if may {
                plan.features.auto_answer.insert("alice".to_owned());
            }
        });
        sim.app_calls(alice, if is_sent_on { "carol" } else { "bob" });
        sim.run_for(Duration::from_secs(2));
        assert_eq!(sim.app_is_up(bob), may && !is_sent_on, "{may} {is_sent_on}");
        sim.app_hangs_up(alice);
        sim.run_to_idle();
    }
}

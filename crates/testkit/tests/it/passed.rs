//! Fax and text between phones: what each side is offered and answered when a call becomes a fax
//! (ITU-T T.38 annex D, RFC 3264 §8.3.3), and when it cannot.

use std::time::Duration;

use crosspoint_testkit::{CallState, Link, PhoneId, Sim};

const SECOND: Duration = Duration::from_secs(1);
const FAX: &str = "m=image 7000 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n";
const SOUND: &str = "m=audio 4000 RTP/AVP 0\r\n";
/// The other way to say it: sound is refused, fax has a section of its own.
const BESIDE: &str = "m=audio 0 RTP/AVP 0\r\nm=image 7000 udptl t38\r\na=T38FaxVersion:0\r\n";

fn in_call(seed: u64) -> (Sim, [PhoneId; 2]) {
    let mut sim = Sim::new(seed);
    let phones = ["alice", "bob"].map(|user| sim.add_registered_phone(user));
    sim.invite(phones[0], "bob");
    sim.run_until(|sim| phones.iter().all(|id| sim.state(*id) == CallState::Up));
    sim.run_for(SECOND);
    (sim, phones)
}

fn over(mut sim: Sim, by: PhoneId) {
    sim.hang_up(by);
    sim.run_to_idle();
}

#[test]
fn a_call_becomes_a_fax_and_a_call_again_from_either_side() {
    for (offers, says) in [(0, FAX), (1, FAX), (0, BESIDE), (1, BESIDE)] {
        let (mut sim, phones) = in_call(71);
        let (from, to) = (phones[offers], phones[1 - offers]);
        sim.take_fax(to, FAX);
        sim.reoffer_saying(from, says);
        sim.run_for(SECOND);
        assert_eq!(sim.offered(to), "image");
        assert_eq!(sim.reanswers(from), [(200, "image")]);
        let back =
            if says == FAX { SOUND } else { "m=audio 4000 RTP/AVP 0\r\nm=image 0 udptl t38\r\n" };
        sim.reoffer_saying(from, back);
        sim.run_for(SECOND);
        assert_eq!(sim.offered(to), "audio");
        assert_eq!(sim.reanswers(from), [(200, "image"), (200, "audio")]);
        // The other one ends its fax, too.
        sim.reoffer_saying(from, says);
        sim.run_for(SECOND);
        sim.reoffer(to, "sendrecv");
        sim.run_for(SECOND);
        assert_eq!((sim.offered(from), sim.reanswers(to).last()), ("audio", Some(&(200, "audio"))));
        over(sim, from);
    }
}

/// It goes on as it was: a hold still reaches the far side.
#[test]
fn a_fax_that_is_refused_leaves_the_call_as_it_was() {
    let (mut sim, [alice, bob]) = in_call(72);
    sim.reoffer_saying(bob, FAX);
    sim.run_for(SECOND);
    assert_eq!(sim.offered(alice), "image");
    assert_eq!(sim.reanswers(bob), [(488, "")]);
    sim.reoffer(bob, "sendonly");
    sim.run_for(SECOND);
    assert_eq!(sim.asked_direction(alice), Some("sendonly"));
    assert_eq!(sim.reanswers(bob), [(488, ""), (200, "audio")]);
    over(sim, bob);
}

/// The far side says yes, and takes nothing: it is offered sound once more.
#[test]
fn a_fax_that_is_answered_with_nothing_is_refused_and_sound_is_offered_again() {
    let (mut sim, [alice, bob]) = in_call(73);
    sim.take_fax(alice, "m=image 0 udptl t38\r\n");
    sim.reoffer_saying(bob, FAX);
    sim.run_for(SECOND);
    assert_eq!(sim.reanswers(bob), [(488, "")]);
    assert_eq!(sim.offered(alice), "audio");
    over(sim, bob);
}

#[test]
fn fax_beside_sound_is_refused_by_itself() {
    let (mut sim, [alice, bob]) = in_call(74);
    sim.reoffer_saying(bob, &format!("{SOUND}{FAX}"));
    sim.run_for(SECOND);
    assert_eq!(sim.offered(alice), "audio image");
    assert_eq!(sim.reanswers(bob), [(200, "audio")]);
    over(sim, bob);
}

/// A browser or an app has no fax: it is not asked, and hears nothing of it.
#[test]
fn an_app_is_not_asked_for_fax() {
    let mut sim = Sim::new(75);
    let bob = sim.add_registered_phone("bob");
    let app = sim.add_app("alice");
    sim.app_calls(app, "bob");
    sim.run_until(|sim| sim.state(bob) == CallState::Up);
    sim.run_for(SECOND);
    for says in [FAX, BESIDE] {
        sim.reoffer_saying(bob, says);
        sim.run_for(SECOND);
    }
    assert_eq!(sim.reanswers(bob), [(488, ""), (488, "")]);
    over(sim, bob);
}

/// Both machines hear the other's tone and ask at once: neither is refused for good.
#[test]
fn two_faxes_that_ask_at_once_are_both_told_to_ask_again() {
    let (mut sim, [alice, bob]) = in_call(76);
    for phone in [alice, bob] {
        sim.take_fax(phone, FAX);
    }
    sim.reoffer_saying(alice, FAX);
    sim.reoffer_saying(bob, FAX);
    sim.run_for(5 * SECOND);
    for phone in [alice, bob] {
        let statuses: Vec<u16> = sim.reanswers(phone).iter().map(|(status, _)| *status).collect();
        assert!(statuses.iter().all(|s| [200, 491].contains(s)), "{statuses:?}");
    }
    sim.reoffer_saying(bob, FAX);
    sim.run_for(SECOND);
    assert_eq!(sim.reanswers(bob).last(), Some(&(200, "image")));
    over(sim, bob);
}

#[test]
fn a_call_may_begin_as_a_fax() {
    let mut sim = Sim::new(77);
    let [alice, bob] = ["alice", "bob"].map(|user| sim.add_registered_phone(user));
    sim.take_fax(bob, FAX);
    sim.invite_saying(alice, "bob", FAX);
    sim.run_until(|sim| sim.state(bob) == CallState::Up && sim.state(alice) == CallState::Up);
    assert_eq!(sim.offered(bob), "image");
    sim.run_for(SECOND);
    over(sim, bob);
}

/// Nobody there knows fax: a tone of ours, and an app.
#[test]
fn a_fax_to_who_has_none_is_refused() {
    let mut sim = Sim::new(78);
    let alice = sim.add_registered_phone("alice");
    sim.add_app("carol");
    for target in ["600", "carol"] {
        sim.invite_saying(alice, target, FAX);
        sim.run_until(|sim| matches!(sim.state(alice), CallState::Over(_)));
        assert_eq!(sim.state(alice), CallState::Over(488), "{target}");
    }
    sim.run_to_idle();
}

#[test]
fn text_is_offered_beside_sound_and_refused_by_itself() {
    let text = "m=text 4002 RTP/AVP 100 98\r\na=rtpmap:98 t140/1000\r\na=rtpmap:100 red/1000\r\n";
    let (mut sim, [alice, bob]) = in_call(79);
    sim.reoffer_saying(bob, &format!("{SOUND}{text}"));
    sim.run_for(SECOND);
    assert_eq!(sim.offered(alice), "audio text");
    assert_eq!(sim.reanswers(bob), [(200, "audio")]);
    over(sim, bob);
}

/// The network loses, repeats and reorders what both say.
#[test]
fn faxes_end_cleanly_on_a_bad_network() {
    for seed in 0..20 {
        let (mut sim, [alice, bob]) = in_call(7900 + seed);
        sim.set_link(Link::BAD);
        for phone in [alice, bob] {
            sim.take_fax(phone, FAX);
        }
        sim.reoffer_saying(alice, FAX);
        sim.run_for(SECOND);
        sim.reoffer_saying(bob, SOUND);
        sim.run_for(SECOND);
        sim.reoffer_saying(alice, FAX);
        sim.run_for(40 * SECOND);
        sim.hang_up(alice);
        sim.run_for(40 * SECOND);
        sim.hang_up(bob);
        sim.run_to_idle();
    }
}

/// An attended transfer joins who sends fax with somebody who speaks: it is called back to sound.
#[test]
fn who_sends_fax_is_called_back_to_sound_by_a_transfer() {
    let (mut sim, [alice, bob]) = in_call(80);
    let carol = sim.add_registered_phone("carol");
    sim.take_fax(bob, FAX);
    sim.reoffer_saying(alice, FAX);
    sim.run_for(SECOND);
    assert_eq!(sim.reanswers(alice), [(200, "image")]);
    let second = sim.add_registered_phone("alice");
    sim.invite(second, "carol");
    sim.run_until(|sim| sim.state(carol) == CallState::Up);
    sim.run_for(SECOND);
    sim.refer_joining(second, alice);
    sim.run_until(|sim| matches!(sim.state(second), CallState::Over(_)));
    sim.run_for(SECOND);
    assert_eq!((sim.offered(bob), sim.state(bob)), ("audio", CallState::Up));
    over(sim, bob);
}

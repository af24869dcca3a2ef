//! Peers that fall silent, and peers that go on from somewhere else.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Loss, SdpKind};

use crate::browser::birthplace;
use crate::world::{BROWSER, Datagram, PHONE, Setup, World};

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 77], 6200))
}

fn call(ice_lite: bool) -> World {
    let mut world = World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world
}

#[test]
fn a_browser_that_is_gone_is_told_of_in_the_configured_time() {
    for (ice_lite, seconds) in [(true, 15), (false, 15), (true, 6), (false, 30)] {
        let consent_timeout = Duration::from_secs(seconds);
        let setup = Setup { ice_lite, consent_timeout, ..Setup::default() };
        let mut world = World::with_peers(setup, Codec::Pcmu);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        world.run(Duration::from_secs(60));
        assert!(!world.is_lost(BROWSER), "consent is renewed while it lives");
        world.browser().is_cut = true;
        let cut = world.now;
        world.run(Duration::from_secs(60));
        let losses = world.losses(BROWSER);
        assert_eq!(losses.len(), 1, "told once");
        let (at, loss) = losses[0];
        assert_eq!(loss, Loss::ConsentExpired);
        // Its last check was some seconds before the cut; we look once a second.
        let after = at - cut;
        assert!(after <= consent_timeout + Duration::from_secs(1), "{after:?}");
        assert!(after + Duration::from_secs(5) >= consent_timeout, "{after:?}");
        assert!(!world.is_lost(PHONE));
    }
}

/// RFC 7675 §5.1: without consent nothing more is sent, whatever still comes.
#[test]
fn nothing_is_sent_to_a_browser_whose_consent_expired() {
    let mut world = call(true);
    world.set_wire(|datagram| {
        let is_check = datagram.bytes[0] < 4;
        if is_check { vec![] } else { vec![datagram] }
    });
    world.run_until("consent expires", |w| w.is_lost(BROWSER));
    world.run(Duration::from_secs(1));
    world.log = Some(vec![]);
    world.run(Duration::from_secs(10));
    let log = world.log.take().expect("a log");
    let sent: Vec<&Datagram> = log.iter().filter(|d| d.to == birthplace()).collect();
    assert_eq!(sent, [] as [&Datagram; 0]);
    assert_eq!(world.losses(BROWSER).len(), 1);
}

#[test]
fn a_phone_that_is_gone_is_told_of_in_the_configured_time() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(60));
    world.phone().is_silent = true;
    let cut = world.now;
    world.run(Duration::from_secs(90));
    let losses = world.losses(PHONE);
    assert_eq!(losses.len(), 1, "told once");
    let (at, loss) = losses[0];
    assert_eq!(loss, Loss::Silent);
    assert!((30..=31).contains(&(at - cut).as_secs()), "{:?}", at - cut);
    assert!(!world.is_lost(BROWSER));
}

#[test]
fn a_phone_on_hold_may_be_silent_and_must_speak_again_after() {
    let mut world = World::in_call();
    let offer = |world: &mut World, version: u32, direction: &str| {
        let offer = world.phone().offer().replace("o=- 5 1", &format!("o=- 5 {version}"));
        world.accept(PHONE, SdpKind::Offer, &offer.replace("a=sendrecv", direction));
        world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
    };
    offer(&mut world, 2, "a=inactive");
    world.phone().is_silent = true;
    world.run(Duration::from_secs(300));
    assert!(!world.is_lost(PHONE));
    offer(&mut world, 3, "a=sendrecv");
    let resumed = world.now;
    world.run(Duration::from_secs(60));
    let losses = world.losses(PHONE);
    assert_eq!(losses.len(), 1);
    assert!((30..=31).contains(&(losses[0].0 - resumed).as_secs()));
}

/// A NAT that forgot: the same browser, another address, and nobody is told.
#[test]
fn media_follows_a_browser_to_a_new_address() {
    for ice_lite in [true, false] {
        let mut world = call(ice_lite);
        world.run(Duration::from_secs(20));
        world.browser().move_behind(elsewhere());
        let heard = world.browser().heard.len();
        let moved = world.now;
        world.run_until("the browser hears again", |w| w.browser().heard.len() > heard + 10);
        let gap = world.now - moved;
        // A full agent waits until the old place is no longer nominated.
        let bound = Duration::from_secs(if ice_lite { 6 } else { 10 });
        assert!(gap < bound, "lite {ice_lite}: silent for {gap:?}");
        let spoken = world.phone().heard.len();
        world.strays.clear();
        world.run(Duration::from_secs(30));
        assert!(world.phone().heard.len() >= spoken + 1499, "and is heard");
        let is_sound = |d: &&Datagram| d.bytes[0] >= 128;
        assert_eq!(world.strays.iter().filter(is_sound).count(), 0, "the old place gets nothing");
        assert!(world.losses(BROWSER).is_empty());
        world.assert_own_words();
        world.close();
    }
}

#[test]
fn media_follows_a_browser_that_restarts_ice_from_a_new_address() {
    for ice_lite in [true, false] {
        let mut world = call(ice_lite);
        let offer = world.browser().offer_restart();
        world.browser().move_behind(elsewhere());
        world.accept(BROWSER, SdpKind::Offer, &offer);
        let answer = world.describe(BROWSER, SdpKind::Answer, Some(PHONE));
        world.browser().take_answer(&answer);
        let (heard, moved) = (world.browser().heard.len(), world.now);
        world.run_until("the browser hears again", |w| w.browser().heard.len() > heard + 10);
        let gap = world.now - moved;
        assert!(gap < Duration::from_secs(2), "lite {ice_lite}: silent for {gap:?}");
        world.strays.clear();
        world.run(Duration::from_secs(30));
        let is_sound = |d: &&Datagram| d.bytes[0] >= 128;
        assert_eq!(world.strays.iter().filter(is_sound).count(), 0, "the old place gets nothing");
        world.assert_undisturbed();
        world.close();
    }
}

/// As above, but it stays where it is: not a word is lost.
#[test]
fn a_restart_without_a_move_costs_nothing() {
    for ice_lite in [true, false] {
        let mut world = call(ice_lite);
        for _ in 0..3 {
            let (said, heard) = (world.phone().seq, world.browser().heard.len());
            let offer = world.browser().offer_restart();
            world.accept(BROWSER, SdpKind::Offer, &offer);
            let answer = world.describe(BROWSER, SdpKind::Answer, Some(PHONE));
            world.run(Duration::from_millis(100));
            world.browser().take_answer(&answer);
            world.run(Duration::from_secs(20));
            let said = usize::from(world.phone().seq.wrapping_sub(said));
            let heard = world.browser().heard.len() - heard;
            assert!(heard + 1 >= said, "lite {ice_lite}: {heard} of {said}");
        }
        world.assert_undisturbed();
        world.close();
    }
}

/// A laptop that slept: consent ran out, and the page comes back with an ICE restart.
#[test]
fn a_browser_that_was_lost_comes_back_with_an_ice_restart() {
    for ice_lite in [true, false] {
        let mut world = call(ice_lite);
        world.browser().is_cut = true;
        world.run_until("consent expires", |w| w.is_lost(BROWSER));
        world.run(Duration::from_secs(5));

        world.browser().is_cut = false;
        let offer = world.browser().offer_restart();
        world.browser().move_behind(elsewhere());
        world.accept(BROWSER, SdpKind::Offer, &offer);
        let answer = world.describe(BROWSER, SdpKind::Answer, Some(PHONE));
        world.browser().take_answer(&answer);
        let (heard, connected) = (world.browser().heard.len(), world.connections(BROWSER));
        let back = world.now;
        world.run_until("the browser hears again", |w| w.browser().heard.len() > heard + 10);
        assert!(world.now - back < Duration::from_secs(2), "{:?}", world.now - back);
        assert_eq!(world.connections(BROWSER), connected + 1, "the call is told");
        let spoken = world.phone().heard.len();
        world.run(Duration::from_secs(30));
        assert!(world.phone().heard.len() >= spoken + 1400, "and is heard");
        assert_eq!(world.losses(BROWSER).len(), 1);
        world.close();
    }
}

/// A page that does not know that it should: we begin ICE again, and it answers from where it is.
#[test]
fn our_offer_makes_a_browser_begin_again() {
    for ice_lite in [true, false] {
        let mut world = call(ice_lite);
        world.browser().move_behind(elsewhere());
        world.command(Command::RestartIce { leg: BROWSER });
        let offer = world.describe(BROWSER, SdpKind::Offer, Some(PHONE));
        let answer = world.browser().answer(&offer);
        world.accept(BROWSER, SdpKind::Answer, &answer);
        let (heard, moved) = (world.browser().heard.len(), world.now);
        world.run_until("the browser hears again", |w| w.browser().heard.len() > heard + 10);
        let gap = world.now - moved;
        assert!(gap < Duration::from_secs(2), "lite {ice_lite}: silent for {gap:?}");
        world.run(Duration::from_secs(30));
        assert!(world.losses(BROWSER).is_empty());
        world.close();
    }
}

/// It may refuse: then nothing has changed.
#[test]
fn an_offer_that_is_refused_leaves_the_path_as_it_was() {
    let mut world = call(true);
    world.command(Command::RestartIce { leg: BROWSER });
    world.describe(BROWSER, SdpKind::Offer, Some(PHONE));
    world.run(Duration::from_secs(5));
    world.command(Command::Rollback { leg: BROWSER });
    let heard = world.browser().heard.len();
    world.run(Duration::from_secs(60));
    assert!(world.browser().heard.len() >= heard + 2900);
    assert!(world.losses(BROWSER).is_empty());
    world.close();
}

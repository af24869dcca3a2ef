//! Browsers that are reached over connections of ICE-TCP (RFC 6544) and over relays of our own.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Profile, SdpKind};
use crosspoint_media::shard::SocketId;

use crate::browser::{Browser, birthplace};
use crate::sound::{assert_continuous, assert_tone};
use crate::story::{BROWSER_TONE, PHONE_TONE};
use crate::stun::{Stun, is_request};
use crate::world::{BROWSER, PHONE, Setup, World, ours};

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 77], 6200))
}

/// Nothing has been said yet.
fn peers(link: SocketId, ice_lite: bool) -> World {
    let setup = Setup { ice_lite, tcp: true, ..Setup::default() };
    let mut world = World::with_peers(setup, Codec::Pcmu);
    if link == connection() {
        world.browser = Some(Browser::over_tcp(world.now, birthplace(), Codec::Pcmu));
    }
    world.links.insert(birthplace(), link);
    world
}

fn call(link: SocketId, ice_lite: bool) -> World {
    let mut world = peers(link, ice_lite);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world
}

fn connection() -> SocketId {
    SocketId::connection(1)
}

fn every_way() -> impl Iterator<Item = (SocketId, bool)> {
    let links = [connection(), SocketId::relay(1)];
    links.into_iter().flat_map(|link| [(link, true), (link, false)])
}

#[test]
fn a_call_over_a_link_sounds_as_any_other() {
    for (link, ice_lite) in every_way() {
        let mut world = call(link, ice_lite);
        world.run(Duration::from_secs(4));
        let heard = world.browser().heard.clone();
        assert_continuous(&heard, 160);
        assert_tone(&heard, Codec::Pcmu, PHONE_TONE);
        assert_tone(&world.phone().heard.clone(), Codec::Pcmu, BROWSER_TONE);
        world.run(Duration::from_secs(60));
        world.assert_undisturbed();
        assert!(world.sent_over[&link] > 3000, "{:?}", world.sent_over);
        // A full agent's first check of a relay's address goes to the relay's own port.
        let past = world.sent_over.get(&SocketId::BROWSER).copied().unwrap_or(0);
        assert!(past == 0 || (past < 5 && !ice_lite && link != connection()), "{past}");
        world.close();
    }
}

#[test]
fn tcp_is_offered_when_something_listens_there() {
    for tcp in [true, false] {
        let mut world = World::new(Setup { tcp, ..Setup::default() });
        world.open(BROWSER, Profile::WebRtc);
        let offer = world.describe(BROWSER, SdpKind::Offer, None);
        let line = "a=candidate:2 1 tcp 1520435199 192.0.2.1 4000 typ host tcptype passive";
        assert_eq!(offer.lines().any(|l| l == line), tcp, "{offer}");
        let udp = "a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host";
        assert!(offer.lines().any(|l| l == udp), "{offer}");
    }
}

/// A path is a socket and an address: who has the same address on another socket is somebody else.
#[test]
fn the_address_of_a_connection_is_worth_nothing_elsewhere() {
    for ice_lite in [true, false] {
        let mut world = peers(connection(), ice_lite);
        world.log = Some(vec![]);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let log = world.log.take().expect("a log");
        let from_browser = log.iter().filter(|d| d.from == birthplace() && d.to == ours());
        let seen: Vec<Vec<u8>> = from_browser.map(|d| d.bytes.clone()).collect();
        let others = [SocketId::BROWSER, SocketId::connection(2), SocketId::relay(1)];
        for bytes in &seen {
            for socket in others {
                let before = world.counters();
                let sent = world.sent_over.get(&socket).copied();
                world.inject_over(socket, birthplace(), ours(), bytes);
                assert_eq!(world.sent_over.get(&socket).copied(), sent, "{socket:?} is answered");
                let now = world.counters();
                let refused = now.stun_refused + now.dtls_before_ice + now.dropped_unknown_source;
                let known =
                    before.stun_refused + before.dtls_before_ice + before.dropped_unknown_source;
                assert_eq!(refused, known + 1, "{socket:?}: {:?}", bytes.first());
            }
        }
        world.assert_undisturbed();
        world.close();
    }
}

#[test]
fn a_dead_connection_is_a_dead_path() {
    for (link, ice_lite) in every_way() {
        let mut world = call(link, ice_lite);
        world.browser().is_cut = true;
        world.links.clear();
        world.shard.handle_closed(world.now, link);
        // What is sent over a link that is gone fails the test.
        world.run_until("consent expires", |w| w.is_lost(BROWSER));
        world.close();
    }
}

#[test]
fn media_goes_on_over_another_connection_of_the_same_browser() {
    for (link, next) in
        [(connection(), SocketId::connection(2)), (SocketId::relay(1), SocketId::relay(2))]
    {
        for restart in [false, true] {
            let mut world = call(link, true);
            world.links.clear();
            world.shard.handle_closed(world.now, link);
            world.links.insert(elsewhere(), next);
            world.browser().move_behind(elsewhere());
            if restart {
                let offer = world.browser().offer_restart();
                world.accept(BROWSER, SdpKind::Offer, &offer);
                let answer = world.describe(BROWSER, SdpKind::Answer, Some(PHONE));
                world.browser().take_answer(&answer);
            }
            let heard = world.browser().heard.len();
            world.run_until("the browser hears again", |w| w.browser().heard.len() > heard + 10);
            world.assert_undisturbed();
            assert!(world.sent_over[&next] > 50);
            world.close();
        }
    }
}

/// A browser with two connections goes back to the one that it named before, without a gap.
#[test]
fn the_other_path_takes_over_when_a_connection_dies() {
    let mut world = call(connection(), true);
    let name = world.browser().username();
    let password = world.browser().gateway_password.clone();
    // It nominates the second.
    let check = Stun::check(77, &name);
    world.links.insert(elsewhere(), SocketId::connection(2));
    world.inject(elsewhere(), ours(), &check.signed(&password));
    world.browser().is_cut = true;
    world.run(Duration::from_millis(50));
    let before = world.sent_over[&SocketId::connection(2)];
    world.run(Duration::from_millis(500));
    assert!(world.sent_over[&SocketId::connection(2)] >= before + 24, "media follows");
    world.links.remove(&elsewhere());
    world.shard.handle_closed(world.now, SocketId::connection(2));
    let before = world.sent_over[&connection()];
    world.run(Duration::from_millis(500));
    assert!(world.sent_over[&connection()] >= before + 24, "and comes back");
    world.command(Command::Close { leg: BROWSER });
    world.command(Command::Close { leg: PHONE });
}

/// No number of connections that show nothing makes the shard keep anything.
#[test]
fn connections_that_prove_nothing_leave_no_trace() {
    let mut world = call(connection(), true);
    let held = world.shard.held();
    let forged = Stun::check(5, "nobody:nobody").signed("nothing");
    assert!(is_request(&forged));
    for n in 100..1100 {
        let link = SocketId::connection(n);
        for bytes in [&forged[..], &[0; 20], &[0x80; 40], &[22, 254, 253, 0], b"GET / HTTP/1.1"] {
            world.inject_over(link, elsewhere(), ours(), bytes);
        }
        world.shard.handle_closed(world.now, link);
    }
    assert!(world.shard.held() <= held + 1, "{} of {held}", world.shard.held());
    world.assert_undisturbed();
    world.close();
}

//! The ways in which browsers tell, or do not tell, where they are.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Candidate, Command, Profile, SdpKind, SrtpPolicy};

use crate::browser::{Browser, birthplace};
use crate::story::desk;
use crate::world::{BROWSER, PHONE, Setup, World};

/// The description without its addresses.
fn without_candidates(description: &str) -> String {
    let keeps = |line: &&str| !line.starts_with("a=candidate") && !line.starts_with("a=end-of");
    let lines: Vec<&str> = description.lines().filter(keeps).collect();
    lines.join("\r\n") + "\r\n"
}

fn worlds() -> impl Iterator<Item = (bool, World)> {
    [true, false].into_iter().map(|ice_lite| {
        (ice_lite, World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu))
    })
}

fn assert_works(mut world: World) {
    world.talk(Codec::Pcmu);
    world.assert_undisturbed();
    // A minute later consent still holds.
    world.run(Duration::from_secs(60));
    world.assert_undisturbed();
    world.close();
}

/// Chrome puts names ending in `.local` in the place of addresses; its checks show where it is.
#[test]
fn a_browser_behind_mdns_is_found_by_its_checks() {
    for (_, mut world) in worlds() {
        world.browser_calls(|offer| {
            let ip = birthplace().ip().to_string();
            let hidden = offer.replace(&format!(" {ip} 6000 typ"), " 4e3a.local 6000 typ");
            assert_ne!(hidden, offer);
            hidden
        });
        assert_works(world);
    }
}

#[test]
fn a_browser_without_candidates_is_found_by_its_checks() {
    for (_, mut world) in worlds() {
        world.browser_calls(|offer| without_candidates(&offer));
        assert_works(world);
    }
}

#[test]
fn candidates_may_come_after_the_description() {
    for (_, mut world) in worlds() {
        world.browser_calls(|offer| without_candidates(&offer));
        for (ip, port) in [("192.0.2.200", 9), ("192.0.2.9", 6000)] {
            let text = format!("candidate:1 1 udp 2122260223 {ip} {port} typ host");
            let candidate = Candidate { text, mid: Some("0".to_owned()), ufrag: None };
            world.command(Command::Candidate { leg: BROWSER, candidate });
        }
        assert_works(world);
    }
}

/// TCP, names, what belongs to an ICE session that is over, and nonsense.
#[test]
fn candidates_that_help_nobody_are_counted() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.browser_calls(|offer| offer);
    let texts = [
        ("candidate:1 1 tcp 1518280447 192.0.2.9 9 typ host tcptype active", None),
        ("candidate:1 1 udp 2122260223 4e3a.local 6000 typ host", None),
        ("candidate:1 1 udp 2122260223 192.0.2.9 6001 typ host", Some("stale")),
        ("candidate:1 1 udp 2122260223 192.0.2.9 99999 typ host", None),
        ("candidate:", None),
        ("", None),
    ];
    for (text, ufrag) in texts {
        let ufrag = ufrag.map(str::to_owned);
        let candidate = Candidate { text: text.to_owned(), mid: None, ufrag };
        world.command(Command::Candidate { leg: BROWSER, candidate });
    }
    assert_eq!(world.counters().candidates_ignored, 6);
    assert_works(world);
}

/// Another gateway, say: it checks nothing, so we do.
#[test]
fn a_lite_peer_is_checked_by_us() {
    for browser_calls in [true, false] {
        let mut world = World::new(Setup { ice_lite: false, ..Setup::default() });
        let peer =
            Browser::with(world.now, birthplace(), Codec::Pcmu, |config| config.set_ice_lite(true));
        world.browser = Some(peer);
        world.phone = Some(crate::phone::Phone::new(desk()));
        if browser_calls {
            world.browser_calls(|offer| offer);
        } else {
            world.phone_calls(|offer| offer);
        }
        world.talk(Codec::Pcmu);
        world.run(Duration::from_secs(60));
        world.assert_undisturbed();
        world.browser().is_cut = true;
        let cut = world.now;
        world.run(Duration::from_secs(40));
        let losses = world.losses(BROWSER);
        assert_eq!(losses.len(), 1);
        assert!(losses[0].0 - cut <= Duration::from_secs(16));
    }
}

/// Two ways to the same browser: it uses one, and the other may come and go.
#[test]
fn a_second_way_changes_nothing_unless_it_is_wanted() {
    for (ice_lite, mut world) in worlds() {
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let second = SocketAddr::from(([192, 0, 2, 10], 6100));
        let (name, password) =
            (world.browser().username(), world.browser().gateway_password.clone());
        for id in 1..20 {
            let mut check = crate::stun::Stun::check(id, &name);
            check.attributes.retain(|(kind, _)| *kind != crate::stun::USE_CANDIDATE);
            world.inject(second, crate::world::ours(), &check.signed(&password));
            world.assert_undisturbed();
        }
        let is_sound = |d: &&crate::world::Datagram| d.bytes[0] >= 128;
        assert_eq!(world.strays.iter().filter(is_sound).count(), 0, "lite {ice_lite}");
        assert!(world.strays.len() >= 19, "its checks are answered");
        world.close();
    }
}

/// Signalling is slower than media: the browser has our offer and checks, and its answer is
/// still on the way.
#[test]
fn checks_may_come_before_the_answer() {
    for (_, mut world) in worlds() {
        world.open(PHONE, Profile::Rtp(SrtpPolicy::Off));
        let offer = world.phone().offer();
        world.accept(PHONE, SdpKind::Offer, &offer);
        world.open(BROWSER, Profile::WebRtc);
        let offer = world.describe(BROWSER, SdpKind::Offer, Some(PHONE));
        let answer = world.browser().answer(&offer);
        world.run(Duration::from_secs(3));
        assert!(!world.is_connected(BROWSER));
        world.accept(BROWSER, SdpKind::Answer, &answer);
        world.bridge();
        let answer = world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
        world.phone().take_answer(&answer);
        assert_works(world);
    }
}

//! Ten thousand of everything, from strangers and under the names of peers: nothing grows
//! beyond its bound, nothing panics, and the call goes on.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_base::Rng;
use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Candidate, Command, Profile, SdpKind};

use crate::browser::birthplace;
use crate::sound::{Voice, assert_tone};
use crate::story::desk;
use crate::stun::{Stun, is_request};
use crate::world::{BROWSER, PHONE, Setup, World, ours};

const FLOOD: u32 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    Anything,
}

const KINDS: [Kind; 5] = [Kind::Stun, Kind::Dtls, Kind::Rtp, Kind::Rtcp, Kind::Anything];

impl Kind {
    /// Random bytes behind a beginning that passes for it.
    fn packet(self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = vec![0; 1 + rng.below(300) as usize];
        rng.fill(&mut bytes);
        let len = bytes.len();
        let head: Vec<u8> = match self {
            Self::Stun => {
                let kind = [0, 1, 1, 0x11][rng.below(4) as usize];
                let size = if rng.below(2) == 0 { len.saturating_sub(20) as u16 } else { 8 };
                let [high, low] = (size & !3).to_be_bytes();
                vec![rng.below(2) as u8, kind, high, low, 0x21, 0x12, 0xa4, 0x42]
            }
            Self::Dtls => {
                let kind = 20 + rng.below(6) as u8;
                let [high, low] = (len.saturating_sub(13) as u16).to_be_bytes();
                let epoch = rng.below(3) as u8;
                vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, rng.below(256) as u8, high, low]
            }
            Self::Rtp => {
                let first = if rng.below(2) == 0 { 0x80 } else { 0x80 | rng.below(64) as u8 };
                vec![first, [0, 111, 101, 9][rng.below(4) as usize]]
            }
            Self::Rtcp => {
                let [high, low] = (len as u16 / 4).wrapping_sub(1).to_be_bytes();
                vec![0x80 | rng.below(32) as u8, 200 + rng.below(8) as u8, high, low]
            }
            Self::Anything => vec![],
        };
        for (to, from) in bytes.iter_mut().zip(head) {
            *to = from;
        }
        bytes
    }
}

/// Sends all kinds from everywhere to a socket; gives how much more is kept at the most.
fn flood(world: &mut World, to: SocketAddr, mut from: impl FnMut(u32) -> SocketAddr) -> usize {
    let mut rng = Rng::from_u64(11);
    let before = world.shard.held();
    let mut most = before;
    for kind in KINDS {
        for n in 0..FLOOD {
            let packet = kind.packet(&mut rng);
            world.inject(from(n), to, &packet);
            most = most.max(world.shard.held());
        }
    }
    most - before
}

fn anywhere(n: u32) -> SocketAddr {
    let [_, a, b, c] = n.to_be_bytes();
    SocketAddr::from(([203, a, b, c], 1024 + (n % 50_000) as u16))
}

#[test]
fn strangers_leave_nothing_behind() {
    let mut world = World::in_call();
    let gateway = world.phone().gateway.expect("a port of ours");
    let beside = SocketAddr::new(gateway.ip(), gateway.port() + 1);
    for to in [ours(), gateway, beside] {
        assert_eq!(flood(&mut world, to, anywhere), 0, "{to}");
    }
    let counters = world.counters();
    assert!(counters.stun_refused >= u64::from(FLOOD));
    assert!(counters.dtls_before_ice >= u64::from(FLOOD));
    assert!(counters.dropped_unknown_source >= u64::from(FLOOD) * 10);
    assert_eq!(world.strays, [], "nobody is answered");
    world.assert_undisturbed();
    world.close();
}

#[test]
fn garbage_under_the_browsers_address_leaves_nothing_behind() {
    let mut world = World::in_call();
    let grown = flood(&mut world, ours(), |_| birthplace());
    assert_eq!(grown, 0);
    let counters = world.counters();
    assert!(counters.dropped_bad_tag > 5000, "{counters:?}");
    assert!(counters.stun_refused >= u64::from(FLOOD));
    world.assert_undisturbed();
    world.close();
}

/// Plain RTP cannot tell its own from what comes under its address, but it outlives it.
#[test]
fn garbage_under_a_phones_address_leaves_nothing_behind() {
    for codec in [Codec::Pcmu, Codec::Opus] {
        let mut world = World::with_peers(Setup::default(), codec);
        world.browser_calls(|offer| offer);
        world.talk(codec);
        let gateway = world.phone().gateway.expect("a port of ours");
        let beside = SocketAddr::new(gateway.ip(), gateway.port() + 1);
        for to in [gateway, beside] {
            let grown = flood(&mut world, to, |_| desk());
            // Some of it passes for keys, which wait to be played to the browser.
            assert!(grown <= 64 + 4, "{grown} things more are kept");
        }
        world.run(Duration::from_secs(1));
        let heard = world.browser().heard.len();
        world.run(Duration::from_secs(2));
        assert!(world.browser().heard.len() >= heard + 95, "{codec}");
        assert!(!world.is_lost(BROWSER) && !world.is_lost(PHONE));
        world.close();
    }
}

/// Before anything is agreed, in the middle of ICE and of DTLS.
#[test]
fn garbage_at_any_time_of_a_call_that_begins_leaves_nothing_behind() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.open(BROWSER, Profile::WebRtc);
    assert_eq!(flood(&mut world, ours(), anywhere), 0);
    world.command(Command::Close { leg: BROWSER });
    let mut rng = Rng::from_u64(3);
    for _ in 0..3 {
        let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
        world.browser_calls(|offer| offer);
        let gateway = world.phone().gateway.expect("a port of ours");
        while !world.browser().is_connected {
            for n in 0..200 {
                for kind in [Kind::Stun, Kind::Rtp, Kind::Rtcp, Kind::Anything] {
                    world.inject(birthplace(), ours(), &kind.packet(&mut rng));
                    world.inject(anywhere(n), gateway, &kind.packet(&mut rng));
                }
                world.inject(anywhere(n), ours(), &Kind::Dtls.packet(&mut rng));
            }
            world.run(Duration::from_millis(5));
            assert!(world.shard.held() < 40, "{} things", world.shard.held());
        }
        world.talk(Codec::Pcmu);
        world.assert_undisturbed();
        world.close();
    }
}

/// A browser that signs its checks may be as hostile as any other peer.
#[test]
fn a_browser_with_ten_thousand_addresses_has_room_for_a_few() {
    for ice_lite in [true, false] {
        let mut world = World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let before = world.shard.held();
        let (username, password) =
            (world.browser().username(), world.browser().gateway_password.clone());
        let refused = world.counters().stun_refused;
        let mut most = 0;
        for n in 0..FLOOD {
            let mut check = Stun::check(u64::from(n) + 1, &username);
            if !ice_lite {
                check.attributes.pop();
            }
            world.inject(anywhere(n), ours(), &check.signed(&password));
            most = most.max(world.shard.held());
            if n % 100 == 0 {
                world.run(Duration::from_millis(5));
            }
        }
        // Candidates, validated addresses with their entries, checks of both sides.
        assert!(most - before <= 64 + 2 * 8 + 64 + 128 + 8, "{} things more", most - before);
        assert!(world.counters().stun_refused >= refused + u64::from(FLOOD) - 64);
        assert!(world.counters().stun_refused < refused + u64::from(FLOOD), "the first are taken");
        // With its next check the browser itself is served again.
        world.run(Duration::from_secs(20));
        world.assert_undisturbed();
        world.close();
    }
}

/// The same before it has answered, when we know no name of its own yet.
#[test]
fn a_browser_that_does_not_answer_has_room_for_a_few_addresses() {
    for ice_lite in [true, false] {
        let mut world = World::new(Setup { ice_lite, ..Setup::default() });
        world.open(BROWSER, Profile::WebRtc);
        let offer = world.describe(BROWSER, SdpKind::Offer, None);
        let value = |start: &str| {
            let line = offer.lines().find_map(|line| line.strip_prefix(start));
            line.expect("a line").to_owned()
        };
        let (username, password) = (format!("{}:it", value("a=ice-ufrag:")), value("a=ice-pwd:"));
        for n in 0..FLOOD {
            let check = Stun::check(u64::from(n) + 1, &username);
            world.inject(anywhere(n), ours(), &check.signed(&password));
            assert!(world.shard.held() < 200);
        }
        assert!(world.counters().stun_refused >= u64::from(FLOOD) - 64);
        world.command(Command::Close { leg: BROWSER });
        assert!(world.shard.is_empty());
    }
}

#[test]
fn ten_thousand_trickled_candidates_find_room_for_a_few() {
    for ice_lite in [true, false] {
        let mut world = World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let before = world.shard.held();
        for n in 0..FLOOD {
            let address = anywhere(n);
            let (ip, port) = (address.ip(), address.port());
            let text = format!("candidate:{n} 1 udp 2122260223 {ip} {port} typ host");
            let candidate = Candidate { text, mid: None, ufrag: None };
            world.command(Command::Candidate { leg: BROWSER, candidate });
        }
        // Candidates, and checks of ours.
        assert!(world.shard.held() - before <= 64 + 128, "{}", world.shard.held() - before);
        assert!(world.counters().candidates_ignored >= u64::from(FLOOD) - 64);
        world.strays.clear();
        world.run(Duration::from_secs(10));
        assert!(world.strays.len() < 64 * 10, "{} checks to strangers", world.strays.len());
        world.assert_undisturbed();
        world.close();
    }
}

/// Who can forge an address cannot take it from a living call with a check of his own.
#[test]
fn the_address_of_a_living_call_is_not_given_to_another_leg() {
    use crosspoint_base::LegId;

    let mut world = World::in_call();
    world.log = Some(vec![]);
    let thief = LegId(9);
    world.open(thief, Profile::WebRtc);
    let offer = world.describe(thief, SdpKind::Offer, None);
    let value = |start: &str| {
        let line = offer.lines().find_map(|line| line.strip_prefix(start));
        line.expect("a line").to_owned()
    };
    let check = Stun::check(1, &format!("{}:thief", value("a=ice-ufrag:")));
    let password = value("a=ice-pwd:");
    let refused = world.counters().stun_refused;
    world.inject(birthplace(), ours(), &check.signed(&password));
    assert_eq!(world.counters().stun_refused, refused + 1);
    world.assert_undisturbed();

    // When that browser is gone for long, its NAT may give the address to another.
    world.browser().is_cut = true;
    world.run(Duration::from_secs(14));
    let check = Stun::check(2, &format!("{}:thief", value("a=ice-ufrag:")));
    world.inject(birthplace(), ours(), &check.signed(&password));
    assert_eq!(world.counters().stun_refused, refused + 1);
    let log = world.log.take().expect("a log");
    assert!(log.iter().any(|d| d.from == birthplace() && is_request(&d.bytes)));
    world.command(Command::Close { leg: thief });
    world.close();
}

/// Every packet in another codec: a decoder for each would be the most that a phone can cost.
#[test]
fn a_phone_that_changes_its_codec_with_every_packet_costs_few_decoders() {
    let mut world = World::with_peers(Setup::default(), Codec::Opus);
    world.phone().with("0 8 101", "a=rtpmap:8 PCMA/8000\r\n");
    world.browser_calls(|offer| offer);
    world.talk(Codec::Opus);
    world.run(Duration::from_secs(1));
    assert_eq!(world.counters().codec_changes, 0);
    // One change is made at once, and heard.
    world.phone().voice = Some(Voice::new(Codec::Pcma, 660.0));
    world.browser().heard.clear();
    world.run(Duration::from_secs(2));
    assert_eq!((world.counters().codec_changes, world.counters().dropped_codec_change), (1, 0));
    let heard = world.browser().heard.clone();
    assert_tone(&heard, Codec::Opus, 660.0);
    for n in 0..250 {
        let codec = if n % 2 == 0 { Codec::Pcmu } else { Codec::Pcma };
        world.phone().voice = Some(Voice::new(codec, 660.0));
        world.run(Duration::from_millis(20));
    }
    let counters = world.counters();
    assert!(counters.codec_changes <= 15, "{} in five seconds", counters.codec_changes);
    assert!(counters.dropped_codec_change > 100, "{}", counters.dropped_codec_change);
    // Whoever comes to rest is heard again.
    world.phone().voice = Some(Voice::new(Codec::Pcmu, 990.0));
    world.run(Duration::from_secs(2));
    world.browser().heard.clear();
    world.run(Duration::from_secs(2));
    let heard = world.browser().heard.clone();
    assert_tone(&heard, Codec::Opus, 990.0);
    world.close();
}

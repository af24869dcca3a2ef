//! Telephones with keys in the description (RFC 4568): each suite, and those without the key.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::SdpKind;
use crosspoint_media::rtcp::{ReportBlock, write_report};
use crosspoint_media::shard::Counters;
use crosspoint_media::srtp::Profile;

use crate::phone::{Keys, SSRC, rtp};
use crate::sound::{Voice, assert_continuous};
use crate::story::{BROWSER_TONE, PHONE_TONE, desk};
use crate::world::{BROWSER, Datagram, PHONE, Setup, World};

fn attacker() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 6666))
}

fn with_keys(profile: Profile) -> World {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.phone().keys = Some(Keys::new(profile));
    world
}

/// Every suite, and whether we offer it: the one with short tags is only taken.
const SUITES: [(Profile, bool); 4] = [
    (Profile::Aes128CmSha1_80, true),
    (Profile::Aes128CmSha1_32, false),
    (Profile::AeadAes128Gcm, true),
    (Profile::AeadAes256Gcm, true),
];

#[test]
fn every_suite_carries_sound_and_reports_both_ways() {
    for (profile, is_offered) in SUITES {
        for phone_calls in [true, false] {
            if !phone_calls && !is_offered {
                continue;
            }
            let mut world = with_keys(profile);
            world.log = Some(vec![]);
            if phone_calls {
                world.phone_calls(|offer| offer);
            } else {
                world.browser_calls(|offer| offer);
            }
            world.talk(Codec::Pcmu);
            world.run(Duration::from_secs(20));
            world.assert_own_words();
            let heard = world.phone().heard.clone();
            assert!(heard.len() > 900, "{profile:?}: {}", heard.len());
            assert_continuous(&heard, 160);
            assert!(world.browser().heard.len() > 900);
            assert_eq!(world.phone().broken, 0, "{profile:?}");
            let reports = std::mem::take(&mut world.phone().reports);
            assert!(reports.len() > 2 && reports.iter().any(|r| !r.blocks.is_empty()));
            assert_secret(&mut world);
            world.assert_undisturbed();
            world.close();
        }
    }
}

/// Nothing that was said is on the wire as it was said.
fn assert_secret(world: &mut World) {
    let log = world.log.take().expect("a log");
    let to_phone: Vec<&Datagram> = log.iter().filter(|d| d.to == desk()).collect();
    let said = &world.browser().voice.as_ref().expect("a voice").said;
    assert!(to_phone.len() > 500);
    let is_open = |d: &&&Datagram| said.iter().any(|word| d.bytes[12..].starts_with(&word[..20]));
    assert_eq!(to_phone.iter().filter(is_open).count(), 0);
}

#[test]
fn a_phone_with_a_wrong_key_is_not_heard() {
    for (profile, _) in SUITES {
        let mut world = with_keys(profile);
        world.phone_calls(|offer| offer);
        world.phone().keys.as_mut().expect("keys").spoil();
        world.run_until("DTLS connects", |w| w.is_connected(BROWSER) && w.browser().is_connected);
        world.browser().voice = Some(Voice::new(Codec::Pcmu, BROWSER_TONE));
        world.phone().voice = Some(Voice::new(Codec::Pcmu, PHONE_TONE));
        world.run(Duration::from_secs(2));
        assert!(world.browser().heard.is_empty(), "{profile:?}");
        assert!(!world.is_connected(PHONE));
        assert!(world.counters().dropped_bad_tag >= 99, "{:?}", world.counters());
        // Ours is right.
        assert!(world.phone().heard.len() > 90 && world.phone().broken == 0);
        world.run_until("it counts as silent", |w| w.is_lost(PHONE));
        world.close();
    }
}

#[test]
fn plain_or_foreign_packets_do_not_enter_an_encrypted_leg() {
    for (profile, _) in SUITES {
        let mut world = with_keys(profile);
        world.phone_calls(|offer| offer);
        let gateway = world.phone().gateway.expect("a port of ours");
        let mut evil = Voice::new(Codec::Pcmu, 300.0);
        let mut stranger = Keys::new(profile);
        stranger.spoil();
        let mut seq = 0;
        let mut spray = |world: &mut World, from: SocketAddr| {
            for _ in 0..30 {
                seq += 1;
                let plain = rtp(seq, u32::from(seq) * 160, SSRC, &evil.next());
                let sealed = stranger.seal(&plain);
                world.inject(from, gateway, &plain);
                world.inject(from, gateway, &sealed);
                world.run(Duration::from_millis(20));
            }
        };
        spray(&mut world, attacker());
        assert_eq!(world.counters().dropped_unknown_source, 60, "{profile:?}");
        spray(&mut world, desk());
        assert_eq!(world.counters().dropped_bad_tag, 60, "{profile:?}");
        world.talk(Codec::Pcmu);
        spray(&mut world, attacker());
        spray(&mut world, desk());
        let counters = world.counters();
        let dropped = counters.dropped_bad_tag + counters.dropped_replayed;
        assert_eq!((counters.dropped_unknown_source, dropped), (120, 120), "{profile:?}");
        assert_eq!(world.strays, []);
        world.assert_undisturbed();
        world.close();
    }
}

/// Before, at and after the first packet: reports that say all is lost, or goodbye.
#[test]
fn plain_or_foreign_reports_do_not_enter_an_encrypted_leg() {
    for (profile, _) in SUITES {
        let mut world = with_keys(profile);
        world.phone_calls(|offer| offer);
        let gateway = world.phone().gateway.expect("a port of ours");
        let beside = SocketAddr::new(gateway.ip(), gateway.port() + 1);
        let mut stranger = Keys::new(profile);
        stranger.spoil();
        let mut spray = |world: &mut World, from: SocketAddr| {
            let ssrc = world.phone().heard.first().map_or(7, |h| h.ssrc);
            let block = ReportBlock { ssrc, fraction_lost: 255, last_sr: 1, ..Default::default() };
            let mut plain = Vec::new();
            write_report(&mut plain, SSRC, "evil", None, Some(&block));
            plain.extend([0x81, 203, 0, 1]);
            plain.extend(SSRC.to_be_bytes());
            for _ in 0..10 {
                let sealed = stranger.seal_report(&plain);
                for to in [gateway, beside] {
                    world.inject(from, to, &plain);
                    world.inject(from, to, &sealed);
                }
                world.run(Duration::from_millis(20));
            }
        };
        let refused = |c: Counters| {
            c.dropped_unknown_source + c.dropped_bad_tag + c.dropped_replayed + c.dropped_malformed
        };
        for from in [attacker(), desk(), SocketAddr::new(desk().ip(), desk().port() + 1)] {
            spray(&mut world, from);
        }
        world.talk(Codec::Pcmu);
        for from in [attacker(), desk(), SocketAddr::new(desk().ip(), desk().port() + 1)] {
            spray(&mut world, from);
        }
        assert_eq!(refused(world.counters()), 6 * 40, "{profile:?}");
        assert_eq!(world.strays, []);
        world.assert_undisturbed();
        let stats = crate::leg_quality::stats(&mut world, PHONE);
        assert_eq!(stats.lost_at_peer, None, "{profile:?}: no lie was believed");
    }
}

#[test]
fn a_phone_behind_a_nat_is_known_by_its_first_good_packet_and_not_by_a_copy() {
    for (profile, _) in SUITES {
        let private = SocketAddr::from(([10, 0, 0, 5], 7000));
        let mut world = with_keys(profile);
        world.phone().signaled = private;
        world.log = Some(vec![]);
        world.phone_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let gateway = world.phone().gateway.expect("a port of ours");
        let log = world.log.take().expect("a log");
        let words = log.iter().filter(|d| d.from == desk() && d.to == gateway);
        let dropped = world.counters().dropped_unknown_source;
        for (word, n) in words.zip(1..) {
            world.inject(attacker(), gateway, &word.bytes);
            assert_eq!(world.counters().dropped_unknown_source, dropped + n);
        }
        world.strays.retain(|d| d.to.ip() != private.ip());
        assert_eq!(world.strays, []);
        world.assert_undisturbed();
        world.close();
    }
}

/// A re-INVITE that repeats the key goes on under the same counters; a new key is taken.
#[test]
fn a_key_may_stay_or_change_in_the_call() {
    for (profile, _) in SUITES {
        let mut world = with_keys(profile);
        world.phone_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        for version in 2..5 {
            if version == 4 {
                world.phone().keys.as_mut().expect("keys").renew();
            }
            let offer = world.phone().offer().replace("o=- 5 1", &format!("o=- 5 {version}"));
            world.accept(PHONE, SdpKind::Offer, &offer);
            let answer = world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
            world.phone().take_answer(&answer);
            world.assert_undisturbed();
        }
        let heard = world.phone().heard.clone();
        assert_continuous(&heard, 160);
        assert_eq!(world.phone().broken, 0, "{profile:?}");
        world.close();
    }
}

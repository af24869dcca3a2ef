//! A million of what is wrong, and role conflicts without end: what is kept stays as it is, what
//! is answered is bounded, and the call goes on.

use crosspoint_media::codec::Codec;
use crosspoint_media::shard::{Output, SocketId};

use crate::browser::birthplace;
use crate::stun::{ICE_CONTROLLING, PRIORITY, Stun, USE_CANDIDATE};
use crate::world::{BROWSER, Datagram, Setup, World, ours};

/// FreeSWITCH hung up after a hundred (CVE-2021-41105).
#[test]
fn a_million_bad_srtp_packets_cost_nothing_but_their_check() {
    const MILLION: u32 = 1_000_000;
    let mut world = World::in_call();
    world.log = Some(vec![]);
    world.run(std::time::Duration::from_secs(6));
    let log = world.log.take().expect("a log");
    let from_browser = |is_report: bool| {
        let is_it = |d: &&Datagram| {
            d.from == birthplace() && d.bytes[0] >= 128 && (d.bytes[1] >= 200) == is_report
        };
        log.iter().rfind(is_it).expect("a packet").bytes.clone()
    };
    let (sound, report) = (from_browser(false), from_browser(true));
    let (held, before) = (world.shard.held(), world.counters());
    let mut buffer = vec![0; 2048];
    for n in 0..MILLION {
        let mut packet = if n % 8 == 7 { report.clone() } else { sound.clone() };
        let fresh = u16::from_be_bytes([sound[2], sound[3]]).wrapping_add((n % 3000) as u16 + 1);
        match n % 8 {
            // Another number, another source, another time, a few bytes, the same again.
            0 | 1 => packet[2..4].copy_from_slice(&fresh.to_be_bytes()),
            2 | 3 => packet[8..12].copy_from_slice(&n.to_be_bytes()),
            4 => packet[4] ^= 1 + (n % 250) as u8,
            5 => packet.truncate(12 + (n % 40) as usize),
            6 => {}
            _ => packet[8 + (n % 16) as usize] ^= 1 + (n % 250) as u8,
        }
        let len = packet.len();
        buffer[..len].copy_from_slice(&packet);
        let now = world.now;
        let shard = &mut world.shard;
        let sent = shard.handle_datagram(now, SocketId::BROWSER, birthplace(), &mut buffer, len);
        assert!(sent.is_none(), "packet {n} was passed on");
        if n % 10_000 == 0 {
            assert!(matches!(shard.poll_output(), Output::Timeout(_)), "nothing is answered");
            assert_eq!(shard.held(), held, "after {n}");
        }
    }
    let after = world.counters();
    let refused = |c: crosspoint_media::shard::Counters| {
        c.dropped_bad_tag + c.dropped_replayed + c.dropped_malformed
    };
    assert_eq!(refused(after) - refused(before), u64::from(MILLION));
    assert_eq!(after.packets_forwarded, before.packets_forwarded);
    world.assert_undisturbed();
    world.close();
}

/// RFC 8445 §7.3.1.1: who holds the same role is told so. A peer that goes on and on about it
/// gets an answer to each and moves nothing.
#[test]
fn a_storm_of_role_conflicts_moves_nothing() {
    const ICE_CONTROLLED: u16 = 0x8029;
    for ice_lite in [true, false] {
        let mut world = World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        world.log = Some(vec![]);
        let (username, password) =
            (world.browser().username(), world.browser().gateway_password.clone());
        let held = world.shard.held();
        for n in 0..10_000_u64 {
            let mut check = Stun::check(n + 1, &username);
            check.attributes.retain(|(name, _)| ![ICE_CONTROLLING, USE_CANDIDATE].contains(name));
            assert!(check.attributes.iter().any(|(name, _)| *name == PRIORITY));
            let role = if n % 3 == 0 { ICE_CONTROLLING } else { ICE_CONTROLLED };
            let tie = if n % 2 == 0 { 0 } else { u64::MAX - n };
            check.attributes.push((role, tie.to_be_bytes().to_vec()));
            world.inject(birthplace(), ours(), &check.signed(&password));
            let grown = world.shard.held().saturating_sub(held);
            assert!(grown <= 64, "{grown} things more after {n}");
        }
        let log = world.log.take().expect("a log");
        let answers = log.iter().filter(|d| d.from == ours() && d.bytes[0] < 4).count();
        assert!(answers <= 11_000, "{answers} answers and checks");
        assert_eq!(world.losses(BROWSER), []);
        world.run(std::time::Duration::from_secs(1));
        world.assert_undisturbed();
        assert_eq!(world.strays, []);
        world.close();
    }
}

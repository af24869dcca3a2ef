//! What strangers send to the browser socket: nothing of it is answered, believed or kept, and
//! the call goes on. Each kind has its counter.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::shard::Counters;

use crate::browser::birthplace;
use crate::dtls_records::is_dtls;
use crate::stun::{BINDING_SUCCESS, Stun, is_request, is_stun};
use crate::world::{BROWSER, Datagram, Setup, World, ours};

fn attacker() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 6666))
}

/// A running call, and what was on the wire of it so far.
fn tapped() -> (World, Vec<Datagram>) {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.log = Some(vec![]);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world.run(Duration::from_secs(5));
    let log = world.log.take().expect("a log");
    (world, log)
}

fn from_browser(log: &[Datagram], is_it: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let wanted = log.iter().filter(|d| d.from == birthplace() && is_it(&d.bytes));
    wanted.map(|d| d.bytes.clone()).collect()
}

fn is_rtp(bytes: &[u8]) -> bool {
    bytes[0] >> 6 == 2 && !(192..224).contains(&bytes[1])
}

fn is_rtcp(bytes: &[u8]) -> bool {
    bytes[0] >> 6 == 2 && (192..224).contains(&bytes[1])
}

/// Every packet is dropped under `counter`, nothing is answered, nothing kept.
fn assert_refused(
    world: &mut World,
    from: SocketAddr,
    packets: &[Vec<u8>],
    counter: impl Fn(Counters) -> u64,
) {
    assert!(!packets.is_empty());
    let held = world.shard.held();
    for packet in packets {
        let before = counter(world.counters());
        world.log = Some(vec![]);
        world.inject(from, ours(), packet);
        let log = world.log.take().expect("a log");
        assert_eq!(log.len(), 1, "no answer to anybody: {log:?}");
        assert_eq!(counter(world.counters()), before + 1, "counted once");
    }
    assert_eq!(world.shard.held(), held, "nothing is kept of it");
}

fn assert_call_goes_on(world: &mut World) {
    world.assert_undisturbed();
    assert_eq!(world.strays, []);
    world.close();
}

#[test]
fn a_foreign_client_hello_changes_nothing_before_during_and_after_the_handshake() {
    let (_, log) = tapped();
    let flights = from_browser(&log, is_dtls);
    let refused = |world: &mut World| {
        for from in [attacker(), SocketAddr::new(birthplace().ip(), 6001)] {
            assert_refused(world, from, &flights, |c| c.dtls_before_ice);
        }
    };
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.browser_calls(|offer| offer);
    refused(&mut world);
    for _ in 0..20 {
        world.run(Duration::from_millis(5));
        refused(&mut world);
    }
    world.talk(Codec::Pcmu);
    refused(&mut world);
    assert_call_goes_on(&mut world);
}

/// Its ClientHello from the browser's own address comes before any check of that address.
#[test]
fn a_client_hello_from_the_right_address_waits_for_ice() {
    let (_, log) = tapped();
    let flights = from_browser(&log, is_dtls);
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.browser_calls(|offer| offer);
    assert_refused(&mut world, birthplace(), &flights[..1], |c| c.dtls_before_ice);
    world.talk(Codec::Pcmu);
    assert_call_goes_on(&mut world);
}

/// What anybody can make of a check he has seen.
fn forgeries(seen: &Stun) -> Vec<Vec<u8>> {
    let mut rightly = seen.clone();
    rightly.id = [7; 12];
    let mut flipped = rightly.signed("not the password, which is secret");
    let at = flipped.len() - 10;
    flipped[at] ^= 1;
    let name = seen.username();
    let (local, remote) = name.split_once(':').expect("two names");
    let named = |name: String| Stun::check(1, &name).signed("not the password");
    let mut answer = Stun::parse(&seen.unsigned());
    answer.kind = BINDING_SUCCESS;
    vec![
        rightly.unsigned(),
        rightly.signed(""),
        rightly.signed("not the password, which is secret"),
        flipped,
        named(format!("{local}:{remote}")),
        named(format!("{remote}:{local}")),
        named(format!("{local}:nobody")),
        named(format!("nobody:{remote}")),
        named(local.to_owned()),
        answer.unsigned(),
        answer.signed("not the password"),
    ]
}

#[test]
fn a_check_without_the_right_signature_moves_nothing() {
    for ice_lite in [true, false] {
        let mut world = World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu);
        world.log = Some(vec![]);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let log = world.log.take().expect("a log");
        let seen = Stun::parse(&from_browser(&log, is_request)[0]);
        for from in [attacker(), birthplace(), SocketAddr::new(birthplace().ip(), 6001)] {
            assert_refused(&mut world, from, &forgeries(&seen), |c| c.stun_refused);
        }
        assert_call_goes_on(&mut world);
    }
}

#[test]
fn a_check_without_the_right_signature_begins_nothing() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.log = Some(vec![]);
    world.browser_calls(|offer| offer);
    world.set_wire(|_| vec![]);
    world.run(Duration::from_millis(500));
    // Nothing of the browser has arrived yet.
    let username = world.browser().username();
    let seen = Stun::check(1, &username);
    assert_refused(&mut world, attacker(), &forgeries(&seen), |c| c.stun_refused);
    world.set_wire(|datagram| vec![datagram]);
    world.talk(Codec::Pcmu);
    assert_call_goes_on(&mut world);
}

/// A check's signature does not cover the address it came from: whoever sees one can send it
/// again from anywhere.
#[test]
fn a_check_that_was_seen_before_moves_nothing() {
    for ice_lite in [true, false] {
        let mut world = World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu);
        world.log = Some(vec![]);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        world.run(Duration::from_secs(10));
        let log = world.log.take().expect("a log");
        let seen = from_browser(&log, is_stun);
        assert!(seen.iter().filter(|bytes| is_request(bytes)).count() >= 3);
        assert_refused(&mut world, attacker(), &seen, |c| c.stun_refused);
        assert_call_goes_on(&mut world);
    }
}

/// Who sees an answer can be quicker with a copy than the one who gave it.
#[test]
fn an_answer_from_where_nobody_was_asked_is_not_believed() {
    let mut world = World::with_peers(Setup { ice_lite: false, ..Setup::default() }, Codec::Pcmu);
    let copies = Rc::new(Cell::new(0));
    let count = copies.clone();
    world.set_wire(move |datagram| {
        let is_answer = is_stun(&datagram.bytes) && datagram.bytes[..2] == [1, 1];
        if !is_answer {
            return vec![datagram];
        }
        count.set(count.get() + 1);
        vec![Datagram { from: attacker(), ..datagram.clone() }, datagram]
    });
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world.run(Duration::from_secs(10));
    assert!(copies.get() >= 3);
    assert_eq!(world.counters().stun_refused, copies.get());
    let hello = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_refused(&mut world, attacker(), &[hello.to_vec()], |c| c.dtls_before_ice);
    assert_call_goes_on(&mut world);
}

#[test]
fn srtp_that_is_garbage_or_repeated_is_dropped_and_counted() {
    let (mut world, log) = tapped();
    let sound = from_browser(&log, is_rtp);
    let reports = from_browser(&log, is_rtcp);
    assert!(sound.len() > 100 && !reports.is_empty());
    let last: Vec<Vec<u8>> = sound[sound.len() - 100..].to_vec();
    assert_refused(&mut world, birthplace(), &last, |c| c.dropped_replayed);
    assert_refused(&mut world, birthplace(), &reports, |c| c.dropped_replayed);
    assert_refused(&mut world, attacker(), &last, |c| c.dropped_unknown_source);
    assert_refused(&mut world, attacker(), &reports, |c| c.dropped_unknown_source);

    let newest = sound.last().expect("sound");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = newest.clone();
        let seq = u16::from_be_bytes([packet[2], packet[3]]).wrapping_add(40);
        packet[2..4].copy_from_slice(&seq.to_be_bytes());
        change(&mut packet);
        packet
    };
    let spoiled = [
        with(&|_| {}),
        with(&|p| p[20] ^= 1),
        with(&|p| *p.last_mut().unwrap() ^= 1),
        with(&|p| p.truncate(40)),
        with(&|p| p[8] ^= 0x55),
    ];
    assert_refused(&mut world, birthplace(), &spoiled, |c| c.dropped_bad_tag);
    let mut report = reports[0].clone();
    let len = report.len();
    report[4] ^= 1;
    assert_refused(&mut world, birthplace(), &[report.clone()], |c| c.dropped_bad_tag);
    report[4] ^= 1;
    report[len - 5] ^= 1;
    let either = |c: Counters| c.dropped_bad_tag + c.dropped_replayed;
    assert_refused(&mut world, birthplace(), &[report], either);
    assert_call_goes_on(&mut world);
}

/// FreeSWITCH hung up after a hundred of them (CVE-2021-41105).
#[test]
fn ten_thousand_bad_packets_hang_nothing_up() {
    let (mut world, log) = tapped();
    let newest = from_browser(&log, is_rtp).pop().expect("sound");
    for n in 0..10_000_u32 {
        let mut packet = newest.clone();
        let seq = u16::from_be_bytes([packet[2], packet[3]]).wrapping_add((n % 3000) as u16 + 1);
        packet[2..4].copy_from_slice(&seq.to_be_bytes());
        packet[8..12].copy_from_slice(&(n / 3).to_be_bytes());
        world.inject(birthplace(), ours(), &packet);
    }
    assert_eq!(world.counters().dropped_bad_tag, 10_000);
    assert!(!world.is_lost(BROWSER));
    assert_call_goes_on(&mut world);
}

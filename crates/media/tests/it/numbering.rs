//! Phones that count as they like: what a browser gets is one stream, each number once, because
//! a number used twice under one key gives the cipher away (RFC 3711 §9.1).

use std::collections::BTreeSet;
use std::time::Duration;

use crosspoint_media::codec::Codec;

use crate::browser::birthplace;
use crate::phone::rtp;
use crate::sound::Voice;
use crate::world::{Datagram, World};

/// Lets the call go on for a second after a change; `lost` words may be missing.
fn goes_on(world: &mut World, lost: usize) {
    let (said, heard) = (said(world), world.browser().heard.len());
    world.run(Duration::from_secs(1));
    let said = self::said(world) - said;
    let heard = world.browser().heard.len() - heard;
    assert!(heard + lost + 1 >= said, "{heard} of {said} words");
    world.assert_own_words();
}

fn said(world: &mut World) -> usize {
    world.phone().voice.as_ref().expect("a voice").said.len()
}

/// One source, and never a number twice.
fn assert_one_stream(world: &mut World) {
    let log = world.log.take().expect("a log");
    let is_sound =
        |d: &&Datagram| d.to == birthplace() && d.bytes[0] == 0x80 && d.bytes[1] & 0x7f == 0;
    let mut indices = BTreeSet::new();
    let mut sources = BTreeSet::new();
    let mut highest = 0_i64;
    for packet in log.iter().filter(is_sound) {
        let seq = u16::from_be_bytes([packet.bytes[2], packet.bytes[3]]);
        let step = i64::from(seq.wrapping_sub(highest as u16) as i16);
        let index = if indices.is_empty() { i64::from(seq) } else { highest + step };
        highest = highest.max(index);
        assert!(indices.insert(index), "number {index} was used before");
        sources.insert(packet.bytes[8..12].to_vec());
    }
    assert_eq!(sources.len(), 1);
    assert!(indices.len() > 100);
}

fn call() -> World {
    let mut world = World::in_call();
    world.log = Some(vec![]);
    world.run(Duration::from_secs(1));
    world
}

/// Eleven minutes of hold are more than half of all numbers; some phones count on meanwhile.
#[test]
fn a_phone_that_counted_on_during_a_long_hold_is_heard_again() {
    let mut world = call();
    for _ in 0..6 {
        world.phone().is_silent = true;
        world.run(Duration::from_secs(20));
        let phone = world.phone();
        phone.seq = phone.seq.wrapping_add(33_000);
        phone.timestamp = phone.timestamp.wrapping_add(33_000 * 160);
        phone.is_silent = false;
        goes_on(&mut world, 2);
    }
    assert_one_stream(&mut world);
}

#[test]
fn a_phone_that_starts_to_count_anew_is_heard_again() {
    let mut world = call();
    for back in [1000, 20_000, 40_000, 5000] {
        let phone = world.phone();
        phone.seq = phone.seq.wrapping_sub(back);
        phone.timestamp = phone.timestamp.wrapping_sub(77_777);
        goes_on(&mut world, 2);
    }
    assert_one_stream(&mut world);
}

#[test]
fn packets_that_come_late_or_twice_pass_at_most_once() {
    let mut world = call();
    let gateway = world.phone().gateway.expect("a port of ours");
    let address = world.phone().address;
    world.phone().is_silent = true;
    world.run(Duration::from_secs(1));
    for _ in 0..20 {
        let mut words: Vec<Vec<u8>> = (0..10).map(|_| world.phone().speak()).collect();
        words.swap(3, 5);
        words.swap(0, 1);
        words.extend_from_within(2..8);
        for word in words {
            world.inject(address, gateway, &word);
        }
        world.run(Duration::from_millis(200));
    }
    let heard: BTreeSet<Vec<u8>> =
        world.browser().heard.iter().map(|h| h.payload.clone()).collect();
    assert!(heard.len() >= 200, "{}", heard.len());
    assert_eq!(heard.len(), world.browser().heard.len(), "each word once");
    assert_one_stream(&mut world);
}

/// Other sound under the number of sound that went before.
#[test]
fn a_number_is_not_used_twice_whatever_a_phone_sends() {
    let mut world = call();
    let gateway = world.phone().gateway.expect("a port of ours");
    let address = world.phone().address;
    world.phone().is_silent = true;
    world.run(Duration::from_millis(100));
    let mut rng = crosspoint_base::Rng::from_u64(5);
    let mut evil = Voice::new(Codec::Pcmu, 300.0);
    for round in 0..3000_u32 {
        let seq = match round % 5 {
            0 => rng.next_u32() as u16,
            _ => 4000 + rng.below(600) as u16 + (round / 100) as u16 * 700,
        };
        let ssrc = 1 + rng.below(3);
        let packet = rtp(seq, rng.next_u32(), ssrc, &evil.next());
        world.inject(address, gateway, &packet);
    }
    world.run(Duration::from_millis(100));
    assert_one_stream(&mut world);
    world.phone().is_silent = false;
    goes_on_somehow(&mut world);
}

fn goes_on_somehow(world: &mut World) {
    let heard = world.browser().heard.len();
    world.run(Duration::from_secs(1));
    assert!(world.browser().heard.len() >= heard + 47);
}

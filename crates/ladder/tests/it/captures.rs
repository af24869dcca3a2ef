//! Captured packets: no more of them than there may be, and what the file says of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::LegId;
use crosspoint_ladder::{LadderConfig, Packet, pcap};

use crate::bounds::{SMALL, World};

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

const OURS: [u8; 4] = [192, 0, 2, 1];
const THEIRS: [u8; 4] = [192, 0, 2, 2];

fn rtp(now: Instant, pt: u8, payload: &[u8]) -> Packet {
    let mut bytes = vec![0x80, pt, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    bytes.extend(payload);
    Packet {
        at: now,
        line: 99,
        local: at(OURS, 30_000),
        remote: at(THEIRS, 40_000),
        length: bytes.len(),
        bytes: bytes.into(),
        rtpmap: (pt == 111).then_some("opus/48000/2"),
        was_encrypted: pt == 111,
    }
}

fn headers_of(packet: Packet) -> Packet {
    Packet { bytes: packet.bytes.slice(..12), ..packet }
}

/// A record of a file: its time, its bytes, and how many there were.
struct Record {
    at: Duration,
    bytes: Vec<u8>,
    length: usize,
}

impl Record {
    fn ports(&self) -> (u16, u16) {
        let word = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        (word(20), word(22))
    }

    fn udp_length(&self) -> usize {
        usize::from(u16::from_be_bytes([self.bytes[24], self.bytes[25]]))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[28..]).into_owned()
    }
}

fn file_of(world: &World, gcid: &str, began: Instant, with_sound: bool) -> Vec<Record> {
    let ladder = world.ladders.of(gcid).expect("it is kept");
    let file = pcap::write(&ladder, with_sound, |at| at - began);
    let mut records = vec![];
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let word =
            |n: usize| u32::from_le_bytes(rest[4 * n..4 * n + 4].try_into().expect("four bytes"));
        let at = Duration::new(u64::from(word(0)), word(1) * 1000);
        let [here, length] = [word(2), word(3)].map(|n| n as usize);
        records.push(Record { at, bytes: rest[16..16 + here].to_vec(), length });
        rest = &rest[16 + here..];
    }
    records
}

#[test]
fn packets_stand_among_the_messages_with_their_addresses_and_lengths() {
    let mut world = World::new(SMALL);
    let began = world.now;
    let gcid = world.call(1);
    // Of two media threads, one is behind.
    let later = rtp(began + Duration::from_secs(3), 0, &[0x55; 160]);
    world.ladders.packet(LegId(1), later.clone());
    world.ladders.packet(LegId(1), headers_of(rtp(began + Duration::from_secs(1), 0, &[1; 160])));
    world.now = began + Duration::from_secs(2);
    world.comes("call-1", "BYE sip:bob@here SIP/2.0", false);
    let file = file_of(&world, &gcid, began, true);
    let kinds: Vec<&str> = file
        .iter()
        .map(|record| if record.ports() == (40_000, 30_000) { "rtp" } else { "sip" })
        .collect();
    assert_eq!(kinds, ["sip", "rtp", "sip", "rtp"]);
    assert!(file.is_sorted_by_key(|record| record.at));
    let (cut, whole) = (&file[1], &file[3]);
    assert_eq!((cut.bytes.len(), cut.length, cut.udp_length()), (40, 200, 180));
    assert_eq!((whole.bytes.len(), whole.length, whole.udp_length()), (200, 200, 180));
    assert_eq!(whole.bytes[28..], later.bytes[..]);
    assert_eq!((&whole.bytes[12..16], &whole.bytes[16..20]), (&THEIRS[..], &OURS[..]));
    let silent = file_of(&world, &gcid, began, false);
    assert_eq!((silent[3].bytes.len(), silent[3].length), (40, 200), "for who may not listen");
    let line = |n: usize| world.ladders.of(&gcid).unwrap().packets[n].line;
    assert_eq!((line(0), line(1)), (0, 0), "whose they are is found by the leg");
}

/// Where signalling names SRTP, a reader is told that these packets are in the clear, again after
/// each description.
#[test]
fn what_was_encrypted_is_announced_as_what_it_is_here() {
    let mut world = World::new(SMALL);
    let began = world.now;
    let gcid = world.call(1);
    let comes = |world: &mut World, pt| {
        world.now += Duration::from_millis(20);
        world.ladders.packet(LegId(1), rtp(world.now, pt, &[1; 20]));
    };
    comes(&mut world, 111);
    comes(&mut world, 111);
    comes(&mut world, 77);
    let crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^20";
    let answer = format!("SIP/2.0 200 OK\r\n\r\nm=audio 30000 RTP/SAVP 111\r\n{crypto}\r\n");
    world.comes("call-1", &answer, false);
    comes(&mut world, 111);
    let file = file_of(&world, &gcid, began, true);
    let ports: Vec<(u16, u16)> = file.iter().map(Record::ports).collect();
    let (sip, sap, media) = ((9, 5060), (9875, 9875), (40_000, 30_000));
    assert_eq!(ports, [sip, sap, media, media, media, sip, sap, media]);
    let text = file[1].text();
    assert!(text.contains("application/sdp\0v=0\r\n"), "{text}");
    assert!(text.contains("c=IN IP4 192.0.2.1\r\n"), "{text}");
    assert!(
        text.ends_with("m=audio 30000 RTP/AVP 77 111\r\na=rtpmap:111 opus/48000/2\r\n"),
        "{text}"
    );
    let said = file[5].text();
    assert!(said.contains("_80 hidden:********|2^20"), "keys are hidden, and no base64: {said}");
}

#[test]
fn packets_stay_within_their_own_bounds_and_go_with_their_call() {
    let mut world = World::new(SMALL);
    let quarter = SMALL.capture_bytes / 4;
    let first = world.call(1);
    let before = world.ladders.counters().bytes;
    for _ in 0..10_000 {
        world.ladders.packet(LegId(1), rtp(world.now, 0, &[0; 160]));
    }
    let counters = world.ladders.counters();
    assert!((quarter / 2..=quarter).contains(&counters.packet_bytes), "{counters:?}");
    assert_eq!(counters.packets + counters.packets_dropped, 10_000);
    assert_eq!(counters.bytes, before, "no message gives way to them");
    for number in 2..=90 {
        world.call(number);
        for _ in 0..40 {
            world.ladders.packet(LegId(number), rtp(world.now, 0, &[0; 160]));
        }
        assert!(world.ladders.counters().packet_bytes <= SMALL.capture_bytes);
    }
    let oldest = world.ladders.of(&first).expect("the call itself stays");
    assert!(oldest.packets.is_empty(), "the oldest give way");
    let kept: Vec<String> = world.ladders.recent(100).iter().map(|c| c.gcid.to_string()).collect();
    let with_packets =
        kept.iter().filter(|gcid| !world.ladders.of(gcid).unwrap().packets.is_empty()).count();
    assert!((3..=40).contains(&with_packets), "{with_packets}");
    assert!(!world.ladders.of(&kept[0]).unwrap().packets.is_empty(), "the newest has its own");
    for number in 91..=400 {
        world.call(number);
    }
    let counters = world.ladders.counters();
    assert_eq!(counters.packet_bytes, 0, "they go with their calls");
    world.ladders.packet(LegId(1), rtp(world.now, 0, &[0; 160]));
    assert_eq!(world.ladders.counters(), counters, "of a call that is not kept nothing is");
}

#[test]
fn without_room_for_packets_none_are_kept() {
    let mut world = World::new(LadderConfig { capture_bytes: 0, ..SMALL });
    let gcid = world.call(1);
    world.ladders.packet(LegId(1), Packet { bytes: Bytes::new(), ..rtp(world.now, 0, &[]) });
    assert!(world.ladders.of(&gcid).unwrap().packets.is_empty());
    assert_eq!(world.ladders.counters().packets_dropped, 1);
}

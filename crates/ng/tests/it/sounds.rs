//! Prompts and digits that a proxy has played.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_media::clip::Clip;
use crosspoint_ng::Dictionary;

use crate::world::*;

fn ok(world: &mut World, request: &Dictionary) -> Dictionary {
    let reply = world.ask(request);
    assert_eq!(reply.text("result").as_deref(), Some("ok"), "{}", show(&reply));
    reply
}

fn reason(world: &mut World, request: &Dictionary) -> String {
    world.ask(request).text("error-reason").unwrap_or_default()
}

/// A world with a call and a prompt of 200 ms.
fn prompted() -> (World, u16, u16) {
    let mut world = World::new();
    let clip = Clip::tone(700.0, Duration::from_millis(200), 0.3);
    world.prompts.insert("hello.wav".to_owned(), Arc::new(clip));
    let (a_port, b_port) = call_between(&mut world, "0 101", EVENTS);
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160]));
    world.packet("192.0.2.8:6000", b_port, &rtp(0, 1, &[1; 160]));
    world.sent.clear();
    (world, a_port, b_port)
}

/// Packets of sound to a party.
fn frames(world: &mut World, to: &str) -> usize {
    let of_party = |(at, packet): &(std::net::SocketAddr, Vec<u8>)| {
        at.to_string() == to && packet[1] & 0x7f == 0 && packet.len() == 172
    };
    let count = world.sent.iter().filter(|sent| of_party(sent)).count();
    world.sent.clear();
    count
}

const A: &str = "192.0.2.7:5000";
const B: &str = "192.0.2.8:6000";

fn play(from: &str) -> Dictionary {
    request("play media").with("from-tag", from).with("file", "hello.wav")
}

/// The party that is named hears the prompt and not the other; then the call goes on.
#[test]
fn a_prompt_is_heard_by_the_party_it_is_played_to() {
    let (mut world, a_port, b_port) = prompted();
    let reply = ok(&mut world, &play("a"));
    assert_eq!(reply.integer("duration"), Some(200));
    world.play(Duration::from_millis(100));
    assert!(world.packet(B, b_port, &rtp(0, 2, &[1; 160])).is_none(), "it is not heard now");
    assert!(world.packet(A, a_port, &rtp(0, 2, &[1; 160])).is_some());
    world.play(Duration::from_millis(300));
    assert_eq!(frames(&mut world, A), 10);
    assert!(world.packet(B, b_port, &rtp(0, 3, &[1; 160])).is_some(), "the call goes on");
}

#[test]
fn prompts_repeat_begin_further_in_and_end() {
    let (mut world, ..) = prompted();
    ok(&mut world, &play("b").with("repeat-times", 3_i64));
    world.play(Duration::from_secs(2));
    assert_eq!(frames(&mut world, B), 30);
    ok(&mut world, &play("b").with("repeat-times", "2").with("start-pos", 100_i64));
    world.play(Duration::from_secs(2));
    assert_eq!(frames(&mut world, B), 15);
    ok(&mut world, &play("b").with("repeat-duration", 500_i64));
    world.play(Duration::from_secs(2));
    assert_eq!(frames(&mut world, B), 25);
    ok(&mut world, &play("b").with("repeat-times", 1_000_000_i64));
    world.play(Duration::from_millis(400));
    ok(&mut world, &request("stop media").with("from-tag", "b"));
    world.play(Duration::from_secs(1));
    let count = frames(&mut world, B);
    assert!((18..=22).contains(&count), "{count}");
    ok(&mut world, &play("nobody").with("flags", words(&["all"])));
    world.play(Duration::from_secs(1));
    let both = world.sent.iter().filter(|(_, p)| p.len() == 172).count();
    assert_eq!(both, 20, "both hear it");
}

#[test]
fn a_prompt_may_come_with_the_request() {
    let (mut world, ..) = prompted();
    let mut wav = b"RIFF\x64\x06\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\
        \x02\0\x10\0data\x40\x06\0\0"
        .to_vec();
    wav.extend([0, 16].repeat(800));
    let blob = crosspoint_ng::Value::Text(wav);
    let reply = ok(&mut world, &request("play media").with("from-tag", "a").with("blob", blob));
    assert_eq!(reply.integer("duration"), Some(100));
    let coded = request("play media").with("from-tag", "a").with("blob64", "UklGRg==");
    assert_eq!(reason(&mut world, &coded), "Failed to start media playback from blob");
}

#[test]
fn what_cannot_be_played_is_said() {
    let (mut world, ..) = prompted();
    let base = || request("play media");
    for (request, expected) in [
        (base(), "No participant party specified"),
        (base().with("from-tag", "a"), "No media file specified"),
        (base().with("from-tag", "z"), "From-tag given, but no such tag exists"),
        (base().with("label", "x"), "No monologue matching the given label"),
        (base().with("address", "192.0.2.99"), "Failed to match address to any tag"),
        (
            base().with("from-tag", "a").with("file", "none.wav"),
            "Failed to start media playback from file",
        ),
        (
            base().with("from-tag", "a").with("db-id", 5_i64),
            "Failed to start media playback from database",
        ),
    ] {
        assert_eq!(reason(&mut world, &request), expected, "{}", show(&request));
    }
    let mut world = World::new();
    assert_eq!(reason(&mut world, &play("a")), "Unknown call-ID");
    call_between(&mut world, "18", "");
    assert_eq!(reason(&mut world, &play("a")), "No codec of the participant can be encoded");
}

#[test]
fn a_digit_is_played_to_the_other_side() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0 101", EVENTS);
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160]));
    world.packet("192.0.2.8:6000", b_port, &rtp(0, 1, &[1; 160]));
    let play =
        |code: &str| request("play DTMF").with("from-tag", "a").with("code", code.to_owned());
    ok(&mut world, &play("5"));
    world.pass(Duration::from_secs(2));
    let digits = world.sent.iter().filter(|(_, p)| p[1] & 0x7f == 101);
    let to: Vec<_> = digits.map(|(to, packet)| (to.to_string(), packet[12])).collect();
    assert!(!to.is_empty() && to.iter().all(|t| *t == ("192.0.2.8:6000".to_owned(), 5)), "{to:?}");
    for code in ["16", "x", "", "-1"] {
        let reply = world.ask(&play(code));
        assert_eq!(reply.text("error-reason").as_deref(), Some("Out of range 'code' specified"));
    }
}

/// Who takes no events hears the two tones of the key.
#[test]
fn without_events_a_digit_is_a_sound() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0", "");
    world.packet(A, a_port, &rtp(0, 1, &[1; 160]));
    world.packet(B, b_port, &rtp(0, 1, &[1; 160]));
    world.sent.clear();
    ok(&mut world, &request("play DTMF").with("from-tag", "a").with("code", "#"));
    world.play(Duration::from_secs(1));
    assert_eq!(frames(&mut world, B), 13);
    call_between_again(&mut world);
    let refused = Dictionary::new()
        .with("command", "play DTMF")
        .with("call-id", "g729")
        .with("from-tag", "a")
        .with("code", "5");
    assert_eq!(reason(&mut world, &refused), "Monologue has no media capable of DTMF injection");
}

fn call_between_again(world: &mut World) {
    for (command, host, port) in [("offer", 7, 5002), ("answer", 8, 6002)] {
        let request = Dictionary::new()
            .with("command", command)
            .with("call-id", "g729")
            .with("from-tag", "a")
            .with("to-tag", "b")
            .with("sdp", phone(host, port, "18", ""));
        ok(world, &request);
    }
}

#[test]
fn digits_are_told() {
    let (mut world, a_port, _) = prompted();
    for seq in 10..13 {
        let end = if seq == 12 { 0x80 } else { 0 };
        let mut packet = rtp(101, seq, &[9, end, 3, 0x20]);
        packet[4..8].copy_from_slice(&1600_u32.to_be_bytes());
        world.packet(A, a_port, &packet);
    }
    assert_eq!(world.notes.len(), 1, "{:?}", world.notes);
    let (to, told) = &world.notes[0];
    assert_eq!(*to, None);
    for part in [
        "\"callid\":\"call\"",
        "\"source_tag\":\"a\"",
        "\"tags\":[\"a\",\"b\"]",
        "\"type\":\"DTMF\"",
        "\"timestamp\":1700000000",
        "\"source_ip\":\"192.0.2.7\"",
        "\"event\":9",
        "\"duration\":100",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn digits_are_told_to_where_the_call_wants_it() {
    for flag in ["DTMF-log-dest", "dtmf-log-destination"] {
        let mut world = World::new();
        let events = "a=rtpmap:101 telephone-event/8000\r\n";
        let wish = offer(&phone(7, 5000, "0 101", events)).with(flag, "192.0.2.99:2226");
        let to_b = world.sdp(&wish);
        world.sdp(&answer(&phone(8, 6000, "0 101", events)));
        world.packet(B, port(&to_b), &rtp(101, 1, &[9, 0x80, 3, 0x20]));
        let [(to, told)] = &world.notes[..] else { panic!("{:?}", world.notes) };
        assert_eq!(*to, Some("192.0.2.99:2226".parse().unwrap()));
        assert!(told.contains("\"source_tag\":\"b\""), "{told}");
    }
}

/// Who offered more than was taken hears the prompt in what was taken.
#[test]
fn a_prompt_is_in_the_codec_that_was_agreed() {
    let mut world = World::new();
    let clip = Clip::tone(700.0, Duration::from_millis(200), 0.3);
    world.prompts.insert("hello.wav".to_owned(), Arc::new(clip));
    let more = "a=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n";
    let to_b = world.sdp(&offer(&phone(7, 5000, "111 0 110", more)));
    let to_a = world.sdp(&answer(&phone(8, 6000, "0", "")));
    world.packet(A, port(&to_a), &rtp(0, 1, &[1; 160]));
    world.packet(B, port(&to_b), &rtp(0, 1, &[1; 160]));
    world.sent.clear();
    for (party, address) in [("a", A), ("b", B)] {
        ok(&mut world, &play(party));
        world.play(Duration::from_secs(1));
        assert_eq!(frames(&mut world, address), 10, "{party}");
    }
}

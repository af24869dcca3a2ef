//! Parties that only listen, parties that only speak, and parties that are connected.

use std::time::Duration;

use crosspoint_ng::Dictionary;

use crate::world::*;

fn subscribe(world: &mut World, request: Dictionary) -> (String, Dictionary) {
    let reply = world.ask(&request);
    assert_eq!(reply.text("result").as_deref(), Some("ok"), "{}", show(&reply));
    (reply.text("sdp").expect("an offer"), reply)
}

fn take(world: &mut World, tag: &str, sdp: &str) {
    let reply = world.ask(&request("subscribe answer").with("to-tag", tag).with("sdp", sdp));
    assert_eq!(reply.text("result").as_deref(), Some("ok"), "{}", show(&reply));
}

/// The ports of all sections.
fn ports(sdp: &str) -> Vec<u16> {
    let sections = sdp.lines().filter_map(|line| line.strip_prefix("m="));
    sections.map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

/// Packets that the shard made itself and sent there.
fn heard(world: &World, at: &str) -> Vec<Vec<u8>> {
    let at = at.parse().unwrap();
    world
        .sent
        .iter()
        .filter(|(to, b)| *to == at && b[0] == 0x80 && !(72..=76).contains(&(b[1] & 0x7f)))
        .map(|(_, b)| b.clone())
        .collect()
}

#[test]
fn who_subscribes_hears_one_party_and_is_not_heard() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0 101", EVENTS);
    let wish = request("subscribe request").with("from-tag", "a").with("to-tag", "ear");
    let (offer, reply) = subscribe(&mut world, wish);
    assert_eq!(reply.text("to-tag").as_deref(), Some("ear"));
    assert_eq!(reply.text("from-tag").as_deref(), Some("a"));
    assert!(offer.contains("a=sendonly\r\n") && !offer.contains("a=sendrecv"), "{offer}");
    assert!(offer.contains("RTP/AVP 0 101\r\n"), "what the party says, and no more: {offer}");
    // Before the answer nothing goes anywhere.
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160])).expect("b hears a");
    assert!(heard(&world, "192.0.2.9:7000").is_empty());
    take(&mut world, "ear", &phone(9, 7000, "0 101", &format!("{EVENTS}a=recvonly\r\n")));
    for seq in 2..5 {
        let (to, _) =
            world.packet("192.0.2.7:5000", a_port, &rtp(0, seq, &[seq as u8; 160])).unwrap();
        assert_eq!(to.to_string(), "192.0.2.8:6000");
        world.packet("192.0.2.8:6000", b_port, &rtp(0, seq, &[9; 160])).expect("a hears b");
    }
    // A digit goes along, under its number.
    world.packet("192.0.2.7:5000", a_port, &rtp(101, 5, &[5, 10, 0, 160])).expect("b hears a");
    let copies = heard(&world, "192.0.2.9:7000");
    let payloads: Vec<&[u8]> = copies.iter().map(|packet| &packet[12..]).collect();
    assert_eq!(payloads, [&[2; 160][..], &[3; 160], &[4; 160], &[5, 10, 0, 160]]);
    assert_eq!(copies[3][1] & 0x7f, 101);
    let numbers: Vec<u16> = copies.iter().map(|p| u16::from_be_bytes([p[2], p[3]])).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
    // Whatever the listener says goes to nobody.
    let ear = port(&offer);
    assert!(world.packet("192.0.2.9:7000", ear, &rtp(0, 1, &[7; 160])).is_none());
    let report = show(&world.ask(&request("query")));
    assert!(report.contains("\"type\":\"pub/sub\""), "{report}");
    // It leaves, and nothing is left of it.
    let leave = request("unsubscribe").with("to-tag", "ear");
    assert_eq!(world.ask(&leave).text("result").as_deref(), Some("ok"));
    let before = heard(&world, "192.0.2.9:7000").len();
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 6, &[6; 160])).expect("b hears a");
    assert_eq!(heard(&world, "192.0.2.9:7000").len(), before);
    assert_eq!(world.ask(&leave).text("result").as_deref(), Some("ok"), "nothing is left to do");
    world.ask(&request("delete").with("delete delay", 0_i64));
    assert!(world.server.is_empty() && world.shard.is_empty() && world.sockets.is_empty());
}

#[test]
fn who_subscribes_to_all_hears_each_in_a_section_of_its_own() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0", "");
    let wish = request("subscribe request").with("flags", words(&["all"]));
    let (offer, reply) = subscribe(&mut world, wish);
    let [of_a, of_b] = ports(&offer)[..] else { panic!("{offer}") };
    assert!(of_a != of_b && of_a != 0 && of_b != 0);
    let tag = reply.text("to-tag").unwrap();
    assert_eq!((tag.len(), tag.bytes().all(|b| b.is_ascii_hexdigit())), (64, true), "{tag}");
    let sdp = phone(9, 7000, "0", "a=recvonly\r\nm=audio 7002 RTP/AVP 0\r\na=recvonly\r\n");
    take(&mut world, &tag, &sdp);
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160]));
    world.packet("192.0.2.8:6000", b_port, &rtp(0, 1, &[2; 160]));
    assert!(
        reply.text("from-tag").is_none() && show(&reply).contains("\"from-tags\":[\"a\",\"b\"]")
    );
    let payload = |at| heard(&world, at).iter().map(|p| p[12]).collect::<Vec<_>>();
    assert_eq!((payload("192.0.2.9:7000"), payload("192.0.2.9:7002")), (vec![1], vec![2]));
}

#[test]
fn who_cannot_hear_the_codec_hears_it_translated() {
    let mut world = World::new();
    let (a_port, _) = call_between(&mut world, "9", "");
    let codec =
        Dictionary::new().with("transcode", words(&["PCMU"])).with("strip", words(&["G722"]));
    let wish = request("subscribe request").with("from-tag", "a").with("to-tag", "ear");
    let (offer, _) = subscribe(&mut world, wish.with("codec", codec));
    assert!(offer.contains("RTP/AVP 0\r\n"), "{offer}");
    take(&mut world, "ear", &phone(9, 7000, "0", "a=recvonly\r\n"));
    for seq in 0..25 {
        let (to, packet) =
            world.packet("192.0.2.7:5000", a_port, &rtp(9, seq, &[0xfa; 160])).unwrap();
        assert_eq!((to.to_string().as_str(), packet[1] & 0x7f), ("192.0.2.8:6000", 9));
        world.play(Duration::from_millis(20));
    }
    let copies = heard(&world, "192.0.2.9:7000");
    assert!((20..=25).contains(&copies.len()), "{}", copies.len());
    assert!(copies.iter().all(|packet| packet[1] & 0x7f == 0 && packet.len() == 172));
}

#[test]
fn who_publishes_is_heard_by_subscribers_alone() {
    let mut world = World::new();
    let sdp = phone(7, 5000, "0 8", "a=sendonly\r\n");
    let reply = world.ask(&request("publish").with("from-tag", "a").with("sdp", sdp.as_str()));
    let answer = reply.text("sdp").expect("an answer");
    assert!(answer.contains("a=recvonly\r\n"), "{answer}");
    assert_eq!(reply.text("from-tag").as_deref(), Some("a"));
    for (tag, host) in [("x", 9), ("y", 10)] {
        let wish = request("subscribe request").with("from-tag", "a").with("to-tag", tag);
        subscribe(&mut world, wish);
        take(&mut world, tag, &phone(host, 7000, "0", "a=recvonly\r\n"));
    }
    let none = world.packet("192.0.2.7:5000", port(&answer), &rtp(0, 1, &[3; 160]));
    assert!(none.is_none(), "there is no other side");
    for at in ["192.0.2.9:7000", "192.0.2.10:7000"] {
        assert_eq!(heard(&world, at).len(), 1, "{at}");
    }
    // A call of which nobody says anything any more is over, whoever listens.
    world.pass(Duration::from_secs(70));
    assert!(world.server.is_empty() && world.shard.is_empty() && world.sockets.is_empty());
}

#[test]
fn who_is_blocked_or_silenced_is_not_heard_by_subscribers_either() {
    let mut world = World::new();
    let (a_port, _) = call_between(&mut world, "0", "");
    let wish = request("subscribe request").with("from-tag", "a").with("to-tag", "ear");
    subscribe(&mut world, wish);
    take(&mut world, "ear", &phone(9, 7000, "0", "a=recvonly\r\n"));
    for (command, seq) in [("block media", 1), ("silence media", 2)] {
        world.ask(&request(command));
        world.packet("192.0.2.7:5000", a_port, &rtp(0, seq, &[1; 160]));
        assert!(heard(&world, "192.0.2.9:7000").is_empty(), "{command}");
        world.ask(&request(&format!("un{command}")));
    }
    world.packet("192.0.2.7:5000", a_port, &rtp(0, 3, &[1; 160]));
    assert_eq!(heard(&world, "192.0.2.9:7000").len(), 1);
}

#[test]
fn subscriptions_name_a_call_a_party_and_a_subscriber() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    let sdp = phone(9, 7000, "0", "a=recvonly\r\n");
    let other = |command: &str| Dictionary::new().with("command", command).with("call-id", "x");
    for (asked, reason) in [
        (other("subscribe request").with("from-tag", "a"), "Unknown call-ID"),
        (request("subscribe request"), "No monologues matched"),
        (
            request("subscribe request").with("from-tag", "z"),
            "From-tag given, but no such tag exists",
        ),
        (
            request("subscribe request").with("from-tag", "a").with("to-tag", "b"),
            "The to-tag is no subscriber's",
        ),
        (
            request("subscribe answer").with("to-tag", "b").with("sdp", sdp.as_str()),
            "The to-tag is no subscriber's",
        ),
        (
            request("subscribe answer").with("to-tag", "z").with("sdp", sdp.as_str()),
            "To-tag not found",
        ),
        (request("subscribe answer").with("to-tag", "b"), "No SDP body in message"),
        (request("unsubscribe").with("to-tag", "b"), "The to-tag is no subscriber's"),
        (request("unsubscribe"), "No to-tag in message"),
        (request("publish").with("from-tag", "p"), "No SDP body in message"),
        (request("connect").with("from-tag", "a").with("to-tag", "z"), "To-tag not found"),
        (request("connect").with("from-tag", "a"), "No to-tag in message"),
        (
            request("connect").with("from-tag", "a").with("to-tag", "b").with("to-call-id", "x"),
            "Parties of different calls are not connected",
        ),
    ] {
        let reply = world.ask(&asked);
        assert_eq!(reply.text("error-reason").as_deref(), Some(reason), "{}", show(&asked));
    }
}

/// RTP bleed (class 1 of the attacks): a listener is silent, so nobody who speaks is it.
#[test]
fn spraying_the_port_of_a_subscriber_wins_nothing_of_what_it_hears() {
    for listener in ["192.0.2.9", "10.0.0.9"] {
        let mut world = World::new();
        let (a_port, _) = call_between(&mut world, "0", "");
        let wish = request("subscribe request").with("from-tag", "a").with("to-tag", "ear");
        let (offer, _) = subscribe(&mut world, wish);
        let sdp = phone(9, 7000, "0", "a=recvonly\r\n").replace("192.0.2.9", listener);
        take(&mut world, "ear", &sdp);
        for seq in 0..50 {
            assert!(
                world.packet("203.0.113.66:4000", port(&offer), &rtp(0, seq, &[7; 160])).is_none()
            );
            world.packet("192.0.2.7:5000", a_port, &rtp(0, seq, &[1; 160]));
            world.play(Duration::from_millis(20));
        }
        assert!(heard(&world, "203.0.113.66:4000").is_empty());
        assert_eq!(heard(&world, &format!("{listener}:7000")).len(), 50, "whom signalling named");
    }
}

#[test]
fn subscribers_have_a_bound() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    let mut taken = 0;
    for n in 0..100 {
        let tag = format!("ear{n}");
        let wish = request("subscribe request").with("from-tag", "a").with("to-tag", tag.as_str());
        taken += usize::from(world.ask(&wish).text("result").as_deref() == Some("ok"));
    }
    assert_eq!(taken, 30, "32 parties in all");
    assert!(world.sockets.len() <= 32);
    world.ask(&request("delete").with("delete delay", 0_i64));
    assert!(world.server.is_empty() && world.shard.is_empty() && world.sockets.is_empty());
}

/// Two calls of one call-id that an announcement machine put up; a proxy joins what it likes.
#[test]
fn two_parties_are_connected_that_never_exchanged_descriptions() {
    let mut world = World::new();
    let (a_port, _) = call_between(&mut world, "0", "");
    let later = request("offer").with("from-tag", "c").with("sdp", phone(11, 8000, "8", ""));
    let to_d = world.sdp(&later);
    let back = request("answer").with("from-tag", "c").with("to-tag", "d");
    let to_c = world.sdp(&back.with("sdp", phone(12, 9000, "8", "").as_str()));
    assert!(port(&to_c) != 0 && port(&to_d) != 0);
    let join = request("connect").with("from-tag", "a").with("to-tag", "d");
    assert_eq!(world.ask(&join).text("result").as_deref(), Some("ok"));
    // One speaks PCMU and the other PCMA.
    for seq in 0..25 {
        assert!(world.packet("192.0.2.7:5000", a_port, &rtp(0, seq, &[0x55; 160])).is_none());
        world.play(Duration::from_millis(20));
    }
    let copies = heard(&world, "192.0.2.12:9000");
    assert!((20..=25).contains(&copies.len()), "{}", copies.len());
    assert!(copies.iter().all(|packet| packet[1] & 0x7f == 8));
    assert!(heard(&world, "192.0.2.8:6000").is_empty(), "b hears nobody any more");
}

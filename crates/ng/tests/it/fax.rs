//! Fax: sections that pass as they are, beside sound or in its place.

use std::time::Duration;

use crate::world::*;

const T38: &str =
    "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";

fn fax(host: u8, port: u16, before: &str) -> String {
    format!(
        "v=0\r\no=phone 1 2 IN IP4 192.0.2.{host}\r\ns=a call\r\nc=IN IP4 192.0.2.{host}\r\n\
         t=0 0\r\n{before}m=image {port} udptl t38\r\n{T38}"
    )
}

fn again(from: &str, to: &str, command: &str, sdp: String) -> crosspoint_ng::Dictionary {
    request(command).with("from-tag", from).with("to-tag", to).with("sdp", sdp)
}

/// The port of the image section.
fn image(sdp: &str) -> u16 {
    let line = sdp.lines().find(|l| l.starts_with("m=image ")).expect("a section for fax");
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_call_becomes_a_fax_and_a_call_again() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0", "");
    let to_a = world.sdp(&again("b", "a", "offer", fax(8, 7000, "")));
    for line in T38.lines() {
        assert!(to_a.contains(line), "{line} in {to_a}");
    }
    assert!(to_a.contains("c=IN IP4 192.0.2.1\r\n") && !to_a.contains("192.0.2.8\r\nt="), "{to_a}");
    assert!(!to_a.contains("m=audio"), "{to_a}");
    let to_b = world.sdp(&again("b", "a", "answer", fax(7, 7002, "")));
    let (a_fax, b_fax) = (image(&to_b), image(&to_a));
    // Whatever the bytes are: these would be RTP, STUN or DTLS elsewhere.
    for bytes in [&[0x80, 0, 1, 2][..], &[0, 1, 2], &[22, 3, 1], &[0xff; 300]] {
        let (to, sent) = world.packet("192.0.2.8:7000", a_fax, bytes).expect("it passes");
        assert_eq!((to.to_string().as_str(), &sent[..]), ("192.0.2.7:7002", bytes));
        let (to, _) = world.packet("192.0.2.7:7002", b_fax, bytes).expect("it passes");
        assert_eq!(to.to_string(), "192.0.2.8:7000");
    }
    assert!(world.packet("192.0.2.9:7000", a_fax, &[1]).is_none(), "a stranger is not heard");
    assert!(world.packet("192.0.2.8:7009", a_fax, &[1]).is_none(), "nor another port, later");
    let totals = world.ask(&request("query"));
    assert!(show(totals.dictionary("totals").unwrap()).contains("\"packets\":8"), "{totals:?}");
    // Sound is not missed while there is fax.
    for _ in 0..3 {
        world.pass(Duration::from_secs(50));
        assert!(world.packet("192.0.2.8:7000", a_fax, &[7; 50]).is_some());
        world.packet("192.0.2.7:7002", b_fax, &[7; 50]);
    }
    world.sdp(&again("a", "b", "offer", phone(7, 5000, "0", "")));
    world.sdp(&again("a", "b", "answer", phone(8, 6000, "0", "")));
    assert!(world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160])).is_some());
    assert!(world.packet("192.0.2.8:6000", b_port, &rtp(0, 1, &[1; 160])).is_some());
    let end = request("delete").with("from-tag", "a").with("delete delay", 0_i64);
    assert_eq!(world.ask(&end).text("result").as_deref(), Some("ok"));
    assert!(world.server.is_empty() && world.shard.is_empty() && world.sockets.is_empty());
}

#[test]
fn fax_beside_sound_is_taken_or_refused_by_itself() {
    let mut world = World::new();
    let sound = |port| format!("m=audio {port} RTP/AVP 0\r\n");
    let to_b = world.sdp(&offer(&fax(7, 7000, &sound(5000))));
    assert!(port(&to_b) != 0 && image(&to_b) != 0, "{to_b}");
    let to_a = world.sdp(&answer(&fax(8, 0, &sound(6000))));
    assert!(port(&to_a) != 0 && image(&to_a) == 0, "{to_a}");
    let mut world = World::new();
    world.sdp(&offer(&fax(7, 7000, &sound(5000))));
    let to_a = world.sdp(&answer(&fax(8, 7002, &sound(6000))));
    assert!(port(&to_a) != 0 && image(&to_a) != 0, "{to_a}");
    let (to, _) = world.packet("192.0.2.7:7000", image(&to_a), &[1, 2, 3]).expect("it passes");
    assert_eq!(to.to_string(), "192.0.2.8:7002");
}

/// Text as it is typed (RFC 4103), beside sound.
#[test]
fn text_passes_both_ways_with_its_reports_and_from_nobody_else() {
    let mut world = World::new();
    let typed = |port: u16| {
        let names = "a=rtpmap:98 t140/1000\r\na=rtpmap:100 red/1000\r\na=fmtp:100 98/98/98\r\n";
        format!("m=text {port} RTP/AVP 100 98\r\n{names}")
    };
    let to_b = world.sdp(&offer(&phone(7, 5000, "0", &typed(7000))));
    let to_a = world.sdp(&answer(&phone(8, 6000, "0", &typed(7002))));
    let at = |sdp: &str| {
        let line = sdp.lines().find(|l| l.starts_with("m=text ")).expect("a section for text");
        line.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert!(to_b.contains("a=fmtp:100 98/98/98\r\n"), "{to_b}");
    for (from, port, to) in [
        ("192.0.2.7:7000", at(&to_a), "192.0.2.8:7002"),
        ("192.0.2.8:7002", at(&to_b), "192.0.2.7:7000"),
    ] {
        let packet = rtp(100, 1, b"\x62\x00\x00\x00hi");
        let (sent, bytes) = world.packet(from, port, &packet).expect("it passes");
        assert_eq!((sent.to_string().as_str(), bytes), (to, packet));
        assert!(world.packet("192.0.2.9:7000", port, &rtp(100, 2, b"x")).is_none());
    }
    let wrong = world.packet("192.0.2.9:7002", at(&to_a), &rtp(3, 2, b"x"));
    assert!(wrong.is_none(), "what no party named");
    world.ask(&request("delete").with("delete delay", 0_i64));
    assert!(world.server.is_empty() && world.shard.is_empty() && world.sockets.is_empty());
}

#[test]
fn a_fax_that_stops_ends_its_call_in_time() {
    let mut world = World::new();
    world.sdp(&offer(&fax(7, 7000, "")));
    world.sdp(&answer(&fax(8, 7002, "")));
    world.pass(Duration::from_secs(50));
    assert!(!world.server.is_empty());
    world.pass(Duration::from_secs(20));
    assert!(world.server.is_empty() && world.shard.is_empty());
}

#[test]
fn a_fax_without_a_port_leaves_nothing() {
    let mut world = World::new();
    world.is_full = true;
    let reply = world.ask(&offer(&fax(7, 7000, "")));
    assert_eq!(reply.text("error-reason").as_deref(), Some("Ran out of ports"));
    assert!(world.server.is_empty() && world.shard.is_empty());
}

/// Whatever number of sections is sent, each party keeps a handful of ports.
#[test]
fn sections_for_fax_have_a_bound() {
    let mut world = World::new();
    let many = "m=image 9000 udptl t38\r\n".repeat(12);
    world.sdp(&offer(&fax(7, 7000, &many)));
    assert!(world.sockets.len() <= 8, "{}", world.sockets.len());
}

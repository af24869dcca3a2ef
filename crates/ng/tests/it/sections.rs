//! A second section of sound: a stream of its own through the call.

use std::time::Duration;

use crate::world::*;

fn two(host: u8, first: u16, second: u16, formats: &str) -> String {
    phone(host, first, "0", &format!("m=audio {second} RTP/AVP {formats}\r\na=label:2\r\n"))
}

fn ports(sdp: &str) -> Vec<u16> {
    let sections = sdp.lines().filter_map(|line| line.strip_prefix("m="));
    sections.map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn a_second_sound_is_a_stream_of_its_own() {
    let mut world = World::new();
    let to_b = world.sdp(&offer(&two(7, 5000, 5002, "8 0")));
    assert!(to_b.contains("RTP/AVP 8 0\r\n") && to_b.contains("a=label:2\r\n"), "{to_b}");
    let to_a = world.sdp(&answer(&two(8, 6000, 6002, "8")));
    let ([a1, a2], [b1, b2]) =
        (ports(&to_a)[..].try_into().unwrap(), ports(&to_b)[..].try_into().unwrap());
    let four = std::collections::BTreeSet::from([a1, a2, b1, b2]);
    assert!(four.len() == 4 && !four.contains(&0), "{to_a}{to_b}");
    for (from, at, pt, to) in [
        ("192.0.2.7:5000", a1, 0, "192.0.2.8:6000"),
        ("192.0.2.7:5002", a2, 8, "192.0.2.8:6002"),
        ("192.0.2.8:6000", b1, 0, "192.0.2.7:5000"),
        ("192.0.2.8:6002", b2, 8, "192.0.2.7:5002"),
    ] {
        let (sent, packet) = world.packet(from, at, &rtp(pt, 1, &[pt; 160])).expect(from);
        assert_eq!((sent.to_string().as_str(), packet[1] & 0x7f), (to, pt));
    }
    assert!(world.packet("192.0.2.7:5000", a2, &rtp(8, 9, &[1; 160])).is_none(), "not its source");
    // What blocks a party blocks all that it says.
    world.ask(&request("block media").with("from-tag", "a").with("flags", words(&["directional"])));
    assert!(world.packet("192.0.2.7:5002", a2, &rtp(8, 2, &[1; 160])).is_none());
    assert!(world.packet("192.0.2.8:6002", b2, &rtp(8, 2, &[1; 160])).is_some());
    let report = show(&world.ask(&request("query")));
    assert!(report.contains("\"packets\":6}}"), "{report}");
    world.ask(&request("delete").with("delete delay", 0_i64));
    assert!(world.server.is_empty() && world.shard.is_empty() && world.sockets.is_empty());
}

#[test]
fn a_second_sound_that_is_refused_or_ends_leaves_the_first_alone() {
    let mut world = World::new();
    world.sdp(&offer(&two(7, 5000, 5002, "0")));
    let to_a = world.sdp(&answer(&two(8, 6000, 0, "0")));
    let [first, second] = ports(&to_a)[..] else { panic!("{to_a}") };
    assert!(first != 0 && second == 0, "{to_a}");
    assert_eq!(world.sockets.len(), 2, "the ports of the second are given back");
    assert!(world.packet("192.0.2.7:5000", first, &rtp(0, 1, &[1; 160])).is_some());
    // Later it is wanted after all, and later it ends.
    let again = |from: &str, to: &str, command: &str, sdp: String| {
        request(command).with("from-tag", from).with("to-tag", to).with("sdp", sdp)
    };
    world.sdp(&again("a", "b", "offer", two(7, 5000, 5002, "0")));
    let to_a = world.sdp(&again("a", "b", "answer", two(8, 6000, 6002, "0")));
    let [_, second] = ports(&to_a)[..] else { panic!("{to_a}") };
    assert!(world.packet("192.0.2.7:5002", second, &rtp(0, 1, &[1; 160])).is_some());
    let to_a = world.sdp(&again("b", "a", "offer", two(8, 6000, 0, "0")));
    assert_eq!(ports(&to_a)[1], 0);
    assert_eq!(world.sockets.len(), 2);
}

#[test]
fn who_subscribes_hears_every_sound_of_a_party() {
    let mut world = World::new();
    world.sdp(&offer(&two(7, 5000, 5002, "8")));
    let to_a = world.sdp(&answer(&two(8, 6000, 6002, "8")));
    let wish = request("subscribe request").with("from-tag", "a").with("to-tag", "ear");
    let to_ear = world.sdp(&wish);
    assert_eq!(ports(&to_ear).len(), 2, "{to_ear}");
    let taken = request("subscribe answer").with("to-tag", "ear");
    let sdp = two(9, 7000, 7002, "8").replace("a=label:2", "a=recvonly");
    world.ask(&taken.with("sdp", sdp));
    let [first, second] = ports(&to_a)[..] else { panic!("{to_a}") };
    world.packet("192.0.2.7:5000", first, &rtp(0, 1, &[1; 160]));
    world.packet("192.0.2.7:5002", second, &rtp(8, 1, &[2; 160]));
    let heard = |at: &str| {
        let at = at.parse().unwrap();
        world.sent.iter().any(|(to, packet)| *to == at && packet.len() == 172)
    };
    assert!(heard("192.0.2.9:7000") && heard("192.0.2.9:7002"));
}

#[test]
fn a_call_whose_sounds_all_stop_is_over_in_time() {
    let mut world = World::new();
    world.sdp(&offer(&two(7, 5000, 5002, "0")));
    let to_a = world.sdp(&answer(&two(8, 6000, 6002, "0")));
    let second = ports(&to_a)[1];
    for seq in 0..3 {
        world.pass(Duration::from_secs(40));
        assert!(world.packet("192.0.2.7:5002", second, &rtp(0, seq, &[1; 160])).is_some());
    }
    assert!(!world.server.is_empty(), "one of them goes on");
    world.pass(Duration::from_secs(70));
    assert!(world.server.is_empty() && world.shard.is_empty());
}

/// Whatever number of sections is sent, each party keeps a handful of ports.
#[test]
fn sections_of_sound_have_a_bound() {
    let mut world = World::new();
    let many = "m=audio 9000 RTP/AVP 0\r\n".repeat(20);
    let to_b = world.sdp(&offer(&phone(7, 5000, "0", &many)));
    assert_eq!(ports(&to_b).len(), 21);
    assert!(world.sockets.len() <= 10, "{}", world.sockets.len());
    // What a browser bundles has one way and one sound.
    let mut world = World::new();
    let browser = BROWSER.replace("BUNDLE 0", "BUNDLE 0 1");
    let second = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=rtcp-mux\r\n";
    let to_b =
        world.sdp(&offer(&format!("{browser}{second}")).with("transport-protocol", "RTP/AVP"));
    assert_eq!(ports(&to_b)[1], 0, "{to_b}");
}

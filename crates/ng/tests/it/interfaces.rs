//! Several interfaces: each side of a call on its own, and what OpenSIPS sends.

use crosspoint_media::control::Place;
use crosspoint_ng::{Dictionary, Value};

use crate::world::*;

fn two() -> World {
    let place = |bind: &str, address: &str| Place {
        bind: bind.parse().unwrap(),
        address: address.parse().unwrap(),
    };
    let internal = ("internal".to_owned(), place("10.0.0.1", "10.0.0.1"));
    let external = ("external".to_owned(), place("192.168.1.2", "203.0.113.5"));
    World::with(10, vec![internal, external])
}

fn bound(world: &World) -> Vec<String> {
    let mut all: Vec<String> = world.sockets.values().map(|a| a.ip().to_string()).collect();
    all.sort();
    all
}

#[test]
fn each_side_is_on_the_interface_that_is_named_for_it() {
    for (key, value) in [
        ("direction", words(&["internal", "external"])),
        ("rtpp-flags", "direction=[internal external]".into()),
        ("interface", "external".into()),
    ] {
        let mut world = two();
        let to_b = world.sdp(&offer(&phone(7, 5000, "0", "")).with(key, value));
        assert!(to_b.contains("c=IN IP4 203.0.113.5\r\n"), "{key}: {to_b}");
        let to_a = world.sdp(&answer(&phone(8, 6000, "0", "")));
        assert!(to_a.contains("c=IN IP4 10.0.0.1\r\n"), "{key}: {to_a}");
        assert_eq!(bound(&world), ["10.0.0.1", "192.168.1.2"]);
    }
}

#[test]
fn whoever_names_none_or_one_that_is_not_there_gets_the_first() {
    let mut world = two();
    let named = offer(&phone(7, 5000, "0", "")).with("direction", words(&["x", "y"]));
    let to_b = world.sdp(&named);
    assert!(to_b.contains("c=IN IP4 10.0.0.1\r\n"), "{to_b}");
}

#[test]
fn a_browser_is_told_of_its_interface_too() {
    let mut world = two();
    let flags = offer(&phone(7, 5000, "0", ""))
        .with("direction", words(&["internal", "external"]))
        .with("ICE", "force")
        .with("transport-protocol", "UDP/TLS/RTP/SAVPF");
    let to_b = world.sdp(&flags);
    let candidates: Vec<&str> = to_b.lines().filter(|l| l.starts_with("a=candidate")).collect();
    assert_eq!(candidates, ["a=candidate:1 1 udp 2130706431 203.0.113.5 4000 typ host"]);
}

/// The keys in the order in which OpenSIPS' module (3.x) writes them, for
/// `rtpengine_offer("in-iface=internal out-iface=external ICE=force DTLS=passive SDES-off
/// replace-origin UDP/TLS/RTP/SAVPF rtcp-mux-require trust-address")` and what follows.
#[test]
fn the_requests_of_opensips_are_understood() {
    let mut world = two();
    let from = words(&["IP4", "192.0.2.7"]);
    let offer = Dictionary::new()
        .with("sdp", phone(7, 5000, "0 101", EVENTS))
        .with("ICE", "force")
        .with("DTLS", "passive")
        .with("direction", words(&["internal", "external"]))
        .with("flags", words(&["SDES-off", "trust-address"]))
        .with("replace", words(&["origin", "session-connection"]))
        .with("transport-protocol", "UDP/TLS/RTP/SAVPF")
        .with("rtcp-mux", words(&["require"]))
        .with("call-id", "call")
        .with("via-branch", "z9hG4bK1")
        .with("received-from", from.clone())
        .with("from-tag", "a")
        .with("command", "offer");
    let to_b = world.sdp(&offer);
    assert!(to_b.contains("UDP/TLS/RTP/SAVPF") && !to_b.contains("a=crypto"), "{to_b}");
    assert!(to_b.contains("203.0.113.5") && to_b.contains("a=rtcp-mux"), "{to_b}");
    let ask = |command: &str, more: &[(&str, Value)]| {
        let mut request = Dictionary::new().with("call-id", "call");
        more.iter().for_each(|(key, value)| request.push(key, value.clone()));
        request.with("received-from", from.clone()).with("from-tag", "a").with("command", command)
    };
    let sdp = BROWSER.replace("111 0 110 126", "0 126").replace("actpass", "active");
    let answer = ask("answer", &[("sdp", sdp.into()), ("ICE", "remove".into())]);
    let to_a = world.sdp(&answer.with("to-tag", "b"));
    assert!(to_a.contains("m=audio") && to_a.contains("c=IN IP4 10.0.0.1"), "{to_a}");
    for (command, more) in [
        ("start recording", vec![]),
        ("block DTMF", vec![("flags", words(&["directional"]))]),
        ("unblock DTMF", vec![]),
        ("stop recording", vec![]),
        ("query", vec![("to-tag", "b".into())]),
        ("delete", vec![("delete-delay", Value::from(1_i64))]),
    ] {
        let reply = world.ask(&ask(command, &more));
        assert_eq!(reply.text("result").as_deref(), Some("ok"), "{command}: {}", show(&reply));
        if command == "query" {
            // Its variables read these.
            assert!(reply.dictionary("totals").is_some() && reply.dictionary("ssrc").is_some());
        }
    }
}

//! Calls that go well.

use std::time::Duration;

use crosspoint_ng::Dictionary;

use crate::world::*;

fn delete(delay: i64) -> Dictionary {
    request("delete").with("from-tag", "a").with("delete delay", delay)
}

#[test]
fn a_ping_is_answered_as_by_the_original_and_our_own_client_is_told_more() {
    let mut world = World::new();
    world.say(1, b"5_1 d7:command4:pinge");
    world.say(1, b"5_2 d6:client10:crosspoint7:command4:pinge");
    world.say(1, b"5_3 d6:client9:rtpengine7:command4:pinge");
    let expected: [(u32, Vec<u8>); 3] = [
        (1, b"5_1 d6:result4:ponge".to_vec()),
        (1, b"5_2 d6:result4:pong6:server10:crosspointe".to_vec()),
        (1, b"5_3 d6:result4:ponge".to_vec()),
    ];
    assert_eq!(world.replies, expected);
}

#[test]
fn what_a_phone_said_goes_on_with_our_address_in_it() {
    let mut world = World::new();
    let rest = format!("{EVENTS}a=ptime:20\r\na=x-unknown:kept\r\na=sendrecv\r\n");
    let sdp = world.sdp(&offer(&phone(7, 5000, "18 0 101", &rest)));
    let ours = port(&sdp);
    for line in [
        "o=phone 1 1 IN IP4 192.0.2.7",
        "s=a call",
        "c=IN IP4 192.0.2.1",
        "b=AS:64",
        "a=tool:phone",
        &format!("m=audio {ours} RTP/AVP 18 0 101"),
        "a=rtpmap:101 telephone-event/8000",
        "a=x-unknown:kept",
        &format!("a=rtcp:{}", ours + 1),
    ] {
        assert!(sdp.lines().any(|l| l == line), "{line} in\n{sdp}");
    }
    assert!(!sdp.contains("192.0.2.7\r\nb=") && !sdp.contains("rtcp-mux") && !sdp.contains("mid"));
    let again = world.sdp(&offer(&phone(7, 5000, "18 0 101", &rest)));
    assert_eq!(port(&again), ours, "a repeated offer keeps its ports");
    let replaced = offer(&phone(7, 5000, "0", "")).with("replace", words(&["origin", "username"]));
    assert!(world.sdp(&replaced).contains("o=crosspoint 1 1 IN IP4 192.0.2.1\r\n"));
}

#[test]
fn a_codec_that_we_cannot_decode_is_relayed_untouched() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "18 101", EVENTS);
    for seq in 1..5 {
        let (to, packet) =
            world.packet("192.0.2.7:5000", a_port, &rtp(18, seq, &[9; 20])).expect("it goes on");
        assert_eq!(to, "192.0.2.8:6000".parse().unwrap());
        assert_eq!((packet[1] & 0x7f, &packet[12..]), (18, &[9; 20][..]));
        let back = world.packet("192.0.2.8:6000", b_port, &rtp(18, seq, &[8; 20]));
        assert_eq!(back.map(|(to, _)| to), Some("192.0.2.7:5000".parse().unwrap()));
    }
    // Nobody else gets anything in.
    assert!(world.packet("203.0.113.9:5000", a_port, &rtp(18, 6, &[9; 20])).is_none());
    let reply = world.ask(&request("query"));
    let totals = reply.dictionary("totals").and_then(|t| t.dictionary("rtp")).unwrap();
    assert_eq!(totals.integer("packets"), Some(8));
}

#[test]
fn a_browser_and_a_phone_each_get_what_they_understand() {
    let mut world = World::new();
    let to_phone = world.sdp(
        &offer(BROWSER)
            .with("ICE", "remove")
            .with("transport-protocol", "RTP/AVP")
            .with("rtcp-mux", words(&["demux"])),
    );
    for foreign in ["ice", "fingerprint", "setup", "BUNDLE", "ssrc", "extmap", "rtcp-fb", "mid"] {
        assert!(!to_phone.contains(foreign), "{foreign} in\n{to_phone}");
    }
    assert!(to_phone.contains("RTP/AVP 111 0 110 126\r\n"), "{to_phone}");
    let to_browser =
        world.sdp(&answer(&phone(8, 6000, "0 126", "a=rtpmap:126 telephone-event/8000\r\n")));
    for line in ["a=mid:0", "a=group:BUNDLE 0", "a=rtcp-mux", "a=setup:passive", "a=ice-lite"] {
        assert!(to_browser.lines().any(|l| l == line), "{line} in\n{to_browser}");
    }
    assert!(to_browser.contains("m=audio 4000 UDP/TLS/RTP/SAVPF 0 126\r\n"), "{to_browser}");
    assert!(to_browser.contains("a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host"));
}

#[test]
fn a_browser_that_is_called_is_offered_all_it_insists_on() {
    let mut world = World::new();
    let flags = ["ICE-force", "DTLS=passive", "SDES-off", "RTP/SAVPF", "replace-origin"];
    let sdp = world.sdp(&offer(&phone(7, 5000, "8 101", EVENTS)).with("flags", words(&flags)));
    for part in ["RTP/SAVPF 8 101\r\n", "a=rtcp-mux", "a=mid:", "a=setup:actpass", "a=ice-ufrag:"] {
        assert!(sdp.contains(part), "{part} in\n{sdp}");
    }
    assert!(!sdp.contains("crypto"));
}

#[test]
fn sides_without_a_common_codec_are_translated() {
    let mut world = World::new();
    let opus = BROWSER.replace("111 0 110", "111 110");
    let rules =
        Dictionary::new().with("transcode", words(&["PCMA"])).with("strip", words(&["opus"]));
    let to_phone = world.sdp(
        &offer(&opus)
            .with("ICE", "remove")
            .with("transport-protocol", "RTP/AVP")
            .with("codec", rules),
    );
    assert!(to_phone.contains("RTP/AVP 110 126 8\r\n"), "{to_phone}");
    let to_browser = world.sdp(&answer(&phone(8, 6000, "8", "")));
    assert!(to_browser.contains("SAVPF 111\r\n"), "{to_browser}");
}

#[test]
fn keys_in_descriptions_are_ours_on_each_side() {
    let mut world = World::new();
    let key =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let secure = phone(7, 5000, "0", key).replace("RTP/AVP", "RTP/SAVP");
    let only = words(&["only-AES_CM_128_HMAC_SHA1_80"]);
    let sdp = world.sdp(&offer(&secure).with("SDES", only));
    let cryptos: Vec<&str> = sdp.lines().filter(|l| l.starts_with("a=crypto")).collect();
    assert!(sdp.contains("RTP/SAVP 0\r\n") && cryptos.len() == 1, "{sdp}");
    assert!(!sdp.contains("WVNfX19z"));
    let mut world = World::new();
    let plain = world.sdp(&offer(&secure).with("transport-protocol", "RTP/AVP"));
    assert!(plain.contains("RTP/AVP 0\r\n") && !plain.contains("crypto"), "{plain}");
}

#[test]
fn either_side_changes_a_running_call_and_ports_stay() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0 101", EVENTS);
    let held = phone(8, 6000, "0 101", &format!("{EVENTS}a=sendonly\r\n"));
    let from_b = request("offer").with("from-tag", "b").with("to-tag", "a").with("sdp", held);
    let to_a = world.sdp(&from_b);
    assert!(port(&to_a) == a_port && to_a.contains("a=sendonly\r\n"), "{to_a}");
    let back = phone(7, 5000, "0 101", &format!("{EVENTS}a=recvonly\r\n"));
    let from_a = request("answer").with("from-tag", "b").with("to-tag", "a").with("sdp", back);
    let to_b = world.sdp(&from_a);
    assert!(port(&to_b) == b_port && to_b.contains("a=recvonly\r\n"), "{to_b}");
    assert!(world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160])).is_none());
    assert!(world.packet("192.0.2.8:6000", b_port, &rtp(0, 1, &[1; 160])).is_some());
}

#[test]
fn each_fork_has_ports_of_its_own_and_the_one_that_answers_is_heard() {
    let mut world = World::new();
    let caller = phone(7, 5000, "0", "");
    let one = world.sdp(&offer(&caller).with("via-branch", "one"));
    let two = world.sdp(&offer(&caller).with("via-branch", "two"));
    assert_ne!(port(&one), port(&two));
    let early = answer(&phone(8, 6000, "0", "")).with("via-branch", "one");
    let to_a = world.sdp(&early);
    let other =
        request("answer").with("from-tag", "a").with("to-tag", "c").with("via-branch", "two");
    let again = world.sdp(&other.with("sdp", phone(9, 7000, "0", "")));
    assert_eq!(port(&to_a), port(&again));
    let heard = world.packet("192.0.2.7:5000", port(&to_a), &rtp(0, 1, &[1; 160]));
    assert_eq!(heard.unwrap().0, "192.0.2.9:7000".parse().unwrap());
    let lost = request("delete").with("from-tag", "a").with("via-branch", "one");
    assert_eq!(world.ask(&lost).text("result").as_deref(), Some("ok"));
    assert_eq!(world.shard.legs(), 2, "the branch that lost is gone at once");
    assert!(world.packet("192.0.2.7:5000", port(&to_a), &rtp(0, 2, &[1; 160])).is_some());
}

#[test]
fn a_call_that_refused_one_way_is_offered_another() {
    let mut world = World::new();
    let caller = phone(7, 5000, "0", "");
    let secure = offer(&caller).with("transport-protocol", "RTP/SAVPF").with("ICE", "force");
    assert!(world.sdp(&secure).contains("fingerprint"));
    let plain = world.sdp(&offer(&caller));
    assert!(!plain.contains("fingerprint") && plain.contains("RTP/AVP 0\r\n"));
    world.sdp(&answer(&phone(8, 6000, "0", "")));
    assert_eq!(world.shard.legs(), 2);
}

#[test]
fn a_deleted_call_keeps_its_ports_for_the_delay() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    let reply = world.ask(&request("delete").with("from-tag", "a"));
    assert!(reply.dictionary("totals").is_some(), "{}", show(&reply));
    assert_eq!(world.shard.legs(), 2);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.shard.legs(), 2);
    world.pass(Duration::from_secs(2));
    assert!(world.server.is_empty() && world.shard.is_empty());
    call_between(&mut world, "0", "");
    world.ask(&delete(0));
    assert!(world.server.is_empty() && world.shard.is_empty() && world.sockets.is_empty());
}

#[test]
fn a_call_without_media_and_an_offer_without_answer_end_by_themselves() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    world.pass(Duration::from_secs(70));
    assert!(world.server.is_empty() && world.shard.is_empty());
    world.sdp(&offer(&phone(7, 5000, "0", "")));
    world.pass(Duration::from_secs(3500));
    assert!(!world.server.is_empty());
    world.pass(Duration::from_secs(200));
    assert!(world.server.is_empty() && world.shard.is_empty());
    assert_eq!(world.server.counters().calls_timed_out, 2);
}

#[test]
fn the_address_that_the_proxy_saw_counts_when_told_so() {
    let mut world = World::new();
    let behind_nat = phone(7, 5000, "0", "").replace("192.0.2.7", "10.0.0.7");
    let seen = words(&["IP4", "203.0.113.5"]);
    let request = offer(&behind_nat)
        .with("flags", words(&["SIP-source-address"]))
        .with("received-from", seen);
    world.sdp(&request);
    let to_a = world.sdp(&answer(&phone(8, 6000, "0", "")));
    let heard = world.packet("203.0.113.5:5000", port(&to_a), &rtp(0, 1, &[1; 160]));
    assert!(heard.is_some());
}

#[test]
fn candidates_come_after_their_description() {
    let mut world = World::new();
    world.sdp(&offer(BROWSER).with("ICE", "remove").with("transport-protocol", "RTP/AVP"));
    let body = "a=ice-ufrag:abcd\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.9 6000 typ host\r\n";
    let fragment = offer(body).with("flags", words(&["fragment"]));
    let reply = world.ask(&fragment);
    assert_eq!((reply.text("result").as_deref(), reply.text("sdp")), (Some("ok"), None));
}

#[test]
fn lists_and_statistics_tell_of_calls() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    let list = world.ask(&Dictionary::new().with("command", "list"));
    assert_eq!(list.words("calls"), ["call"]);
    let list = world.ask(&Dictionary::new().with("command", "list").with("limit", "0"));
    assert_eq!(list.words("calls"), [] as [String; 0]);
    let reply = world.ask(&Dictionary::new().with("command", "statistics"));
    let current = reply.dictionary("statistics").and_then(|s| s.dictionary("currentstatistics"));
    assert_eq!(current.unwrap().integer("sessionsown"), Some(1));
    // A call that was rated is part of the mean once it is over.
    let (a_port, _) = call_between(&mut world, "0", "");
    for seq in 1..300 {
        world.packet("192.0.2.7:5000", a_port, &rtp(0, seq, &[1; 160]));
        world.play(std::time::Duration::from_millis(20));
    }
    world.ask(&request("delete").with("from-tag", "a").with("delete delay", 0_i64));
    let reply = world.ask(&Dictionary::new().with("command", "statistics"));
    let statistics = reply.dictionary("statistics").unwrap();
    let mos = statistics.dictionary("mos").unwrap();
    assert_eq!(mos.integer("mos-samples-total"), Some(1), "{}", show(mos));
    assert!(mos.text("mos-average").unwrap().starts_with("4."), "{}", show(mos));
    let total = statistics.dictionary("totalstatistics").unwrap();
    assert_eq!(total.text("uptime").as_deref(), Some("5"));
}

#[test]
fn a_query_tells_who_talks_to_whom_and_where() {
    let mut world = World::new();
    let (a_port, _) = call_between(&mut world, "0", "");
    let reply = world.ask(&request("query"));
    assert_eq!(reply.integer("created"), Some(1_700_000_000));
    let a = reply.dictionary("tags").and_then(|t| t.dictionary("a")).unwrap();
    let text = show(a);
    assert!(text.contains(&format!("\"local port\":{a_port}")), "{text}");
    assert!(text.contains("\"address\":\"192.0.2.7\"") && text.contains("\"tag\":\"b\""), "{text}");
}

//! What proxies get wrong, and what strangers try: an error that says which, and nothing kept.

use crosspoint_ng::{Dictionary, Format};

use crate::world::*;

fn reason(reply: &Dictionary) -> String {
    assert_eq!(reply.text("result").as_deref(), Some("error"), "{}", show(reply));
    reply.text("error-reason").expect("a reason")
}

#[test]
fn every_mistake_has_its_text() {
    let mut world = World::new();
    let mut check = |payload: &str, reply: &str| {
        let from = u32::try_from(world.replies.len()).unwrap();
        world.say(from, format!("c{from} {payload}").as_bytes());
        let (_, bytes) = world.replies.last().expect("a reply");
        let text = String::from_utf8_lossy(bytes);
        let expected = format!("c{from} d6:result5:error12:error-reason{}:{reply}e", reply.len());
        let in_json = format!("c{from} {{\"error-reason\":\"{reply}\",\"result\":\"error\"}}");
        assert!(text == expected || text == in_json, "{payload}: {text}");
    };
    check("", "Invalid data (no payload)");
    check("x", "Invalid NG data format");
    check("d", "Could not decode bencode dictionary");
    check("{", "Failed to parse JSON document");
    check("de", "Dictionary contains no key \"command\"");
    check("d7:command4:Pinge", "Unrecognized command");
    check("d7:command5:offere", "No SDP body in message");
    check("d7:command5:offer3:sdp1:xe", "No call-id in message");
    check("d7:command5:offer3:sdp1:x7:call-id1:xe", "No from-tag in message");
    check("d7:command5:offer7:call-id1:x8:from-tag1:a3:sdp1:xe", "Failed to parse SDP");
    check("d7:command6:answer7:call-id1:x8:from-tag1:a3:sdp1:xe", "No to-tag in message");
    check("d7:command5:query7:call-id1:xe", "Unknown call-id");
    check("d7:command4:list5:limiti-1ee", "invalid limit, must be >= 0");
    check("{\"command\":\"block media\",\"call-id\":\"x\"}", "Unknown call-ID");
    assert!(world.server.is_empty());
}

/// Without a cookie nobody knows who asks.
#[test]
fn a_message_without_cookie_gets_no_answer() {
    let mut world = World::new();
    for bytes in [&b""[..], b" d7:command4:pinge", b"d7:command4:pinge", &[b'x'; 1000]] {
        world.say(1, bytes);
    }
    assert!(world.replies.is_empty());
    assert_eq!(world.server.counters().dropped, 4);
}

#[test]
fn answers_without_their_offers_are_refused() {
    let mut world = World::new();
    let sdp = phone(8, 6000, "0", "");
    assert_eq!(reason(&world.ask(&answer(&sdp))), "Unknown call-id");
    world.sdp(&offer(&phone(7, 5000, "0", "")));
    let other = request("answer").with("from-tag", "z").with("to-tag", "b").with("sdp", sdp);
    assert_eq!(reason(&world.ask(&other)), "Invalid dialogue association");
}

#[test]
fn an_unknown_call_is_deleted_with_a_warning_or_an_error() {
    let mut world = World::new();
    let delete = request("delete").with("from-tag", "a");
    let reply = world.ask(&delete);
    let warning = "Call-ID not found or tags didn't match";
    assert_eq!(reply.text("result").as_deref(), Some("ok"));
    assert_eq!(reply.text("warning").as_deref(), Some(warning));
    assert_eq!(reason(&world.ask(&delete.with("flags", words(&["fatal"])))), warning);
}

#[test]
fn descriptions_that_cannot_work_leave_nothing() {
    let mut world = World::new();
    for sdp in [
        "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\n".to_owned(),
        phone(7, 5000, "0", "").replace("m=audio", "m=video"),
        phone(7, 5000, "0", "").replace("RTP/AVP", "RTP/SAVP"),
        phone(7, 5000, "0", "").replace("RTP/AVP 0", "udptl t38"),
    ] {
        let reply = world.ask(&offer(&sdp));
        reason(&reply);
        assert!(world.server.is_empty() && world.shard.is_empty(), "{sdp}");
    }
}

#[test]
fn no_port_is_told_in_the_words_that_make_a_proxy_try_the_next() {
    let mut world = World::new();
    world.is_full = true;
    assert_eq!(reason(&world.ask(&offer(&phone(7, 5000, "0", "")))), "Ran out of ports");
    assert!(world.server.is_empty() && world.shard.is_empty());
}

#[test]
fn new_calls_are_refused_at_the_limit_and_running_ones_go_on() {
    let mut world = World::with_calls(1);
    world.sdp(&offer(&phone(7, 5000, "0", "")));
    let other = Dictionary::new()
        .with("command", "offer")
        .with("call-id", "other")
        .with("from-tag", "a")
        .with("sdp", phone(9, 5000, "0", ""));
    assert_eq!(reason(&world.ask(&other)), "Parallel session limit reached");
    let reply = world.ask(&other.with("supports", words(&["load limit"])));
    assert_eq!(reply.text("result").as_deref(), Some("load limit"));
    assert_eq!(reply.text("message").as_deref(), Some("Parallel session limit reached"));
    world.sdp(&answer(&phone(8, 6000, "0", "")));
}

#[test]
fn forks_and_tags_of_one_call_have_bounds() {
    let mut world = World::new();
    let mut refused = 0;
    for n in 0..100 {
        let branch = format!("branch{n}");
        let reply = world.ask(&offer(&phone(7, 5000, "0", "")).with("via-branch", branch));
        refused += usize::from(reply.text("result").as_deref() == Some("error"));
    }
    assert!(refused > 60 && world.shard.legs() <= 32, "{refused}");
    for n in 0..1000 {
        let tag = format!("tag{n}");
        let answer = request("answer").with("from-tag", "a").with("to-tag", tag);
        world.ask(&answer.with("sdp", phone(8, 6000, "0", "")));
    }
    let reply = world.ask(&request("query")).encode(Format::Bencode);
    assert!(reply.len() < 60_000);
    world.ask(&request("delete").with("from-tag", "a").with("delete delay", 0_i64));
    assert!(world.server.is_empty() && world.shard.is_empty());
}

//! `start forwarding`: what parties say goes to a service.

use crosspoint_ng::ForwardOrder;

use crate::world::*;

/// Who is listened to, by the last word about each leg.
fn sides(world: &World) -> Vec<usize> {
    let mut heard = std::collections::BTreeMap::new();
    for order in &world.streams {
        if let ForwardOrder::Listen { leg, to } = order {
            heard.insert(*leg, to.map(|(_, side)| side));
        }
    }
    heard.into_values().flatten().collect()
}

#[test]
fn a_call_is_forwarded_to_an_allowed_service_until_it_is_stopped() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    let start = request("start forwarding").with("from-tag", "a").with("forward-to", "wss://a/");
    let start = start.with("metadata", "x=\"1\"");
    assert_eq!(world.ask(&start).text("result").as_deref(), Some("ok"));
    let ForwardOrder::Open { hello, url, stream } = &world.streams[0] else { panic!() };
    assert_eq!(url.as_deref(), Some("wss://a/"));
    for part in [
        "\"event\":\"start\"",
        "\"gcid\":\"call\"",
        "\"from\":\"a\"",
        "\"to\":\"b\"",
        "\"sides\":[\"caller\",\"called\"]",
        "\"rate\":16000",
        "\"metadata\":\"x=\\\"1\\\"\"",
    ] {
        assert!(hello.contains(part), "{part} in {hello}");
    }
    let stream = *stream;
    assert_eq!(sides(&world), [0, 1]);
    // Asked again, it goes on.
    world.ask(&start);
    assert_eq!(world.streams.iter().filter(|o| matches!(o, ForwardOrder::Open { .. })).count(), 1);
    let stop = request("stop forwarding").with("from-tag", "a");
    assert_eq!(world.ask(&stop).text("result").as_deref(), Some("ok"));
    assert_eq!(world.streams.last(), Some(&ForwardOrder::Close { stream }));
    assert!(sides(&world).is_empty());
    // The end of the call ends it as well.
    world.ask(&start);
    world.ask(&request("delete").with("delete delay", 0_i64));
    assert!(matches!(world.streams.last(), Some(ForwardOrder::Close { .. })));
    assert!(sides(&world).is_empty() && world.server.is_empty() && world.shard.is_empty());
}

#[test]
fn one_party_is_forwarded_if_only_one_is_named() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    let start = request("start forwarding").with("from-tag", "b").with("forward-to", "wss://a/");
    world.ask(&start.with("flags", words(&["directional"])));
    assert_eq!(sides(&world), [1]);
    let ForwardOrder::Open { hello, stream, .. } = &world.streams[0] else { panic!() };
    assert!(hello.contains("\"sides\":[\"called\"]"), "{hello}");
    // The service hangs up.
    let stream = *stream;
    world.server.handle_forward_over(stream);
    world.settle();
    assert!(sides(&world).is_empty());
}

#[test]
fn nothing_goes_where_it_may_not() {
    let mut world = World::new();
    call_between(&mut world, "0", "");
    for (url, reason) in [
        (Some("wss://b/"), "No address that may be forwarded to"),
        (Some(""), "No address that may be forwarded to"),
        (None, "No address to forward to"),
    ] {
        let start = request("start forwarding");
        let start = match url {
            Some(url) => start.with("forward-to", url),
            None => start,
        };
        let reply = world.ask(&start);
        assert_eq!(reply.text("error-reason").as_deref(), Some(reason));
        assert!(sides(&world).is_empty());
    }
    let unknown = world.ask(
        &crosspoint_ng::Dictionary::new().with("command", "start forwarding").with("call-id", "x"),
    );
    assert_eq!(unknown.text("error-reason").as_deref(), Some("Unknown call-ID"));
}

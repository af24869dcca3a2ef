//! Orders about running media.

use crate::world::*;

fn ok(world: &mut World, request: &crosspoint_ng::Dictionary) {
    let reply = world.ask(request);
    assert_eq!(reply.text("result").as_deref(), Some("ok"), "{}", show(&reply));
}

#[test]
fn blocked_media_stays_out_until_it_is_let_in() {
    let mut world = World::new();
    let (a_port, b_port) = call_between(&mut world, "0 101", EVENTS);
    let mut seq = 0;
    let mut passes = |world: &mut World, pt| {
        seq += 1;
        let a = world.packet("192.0.2.7:5000", a_port, &rtp(pt, seq, &[1; 160])).is_some();
        let b = world.packet("192.0.2.8:6000", b_port, &rtp(pt, seq, &[1; 160])).is_some();
        (a, b)
    };
    assert_eq!(passes(&mut world, 0), (true, true));
    ok(&mut world, &request("block media").with("from-tag", "a"));
    assert_eq!(passes(&mut world, 0), (false, false), "a tag alone selects nobody");
    ok(&mut world, &request("unblock media"));
    assert_eq!(passes(&mut world, 0), (true, true));
    let one = request("block media").with("from-tag", "a").with("flags", words(&["directional"]));
    ok(&mut world, &one);
    assert_eq!(passes(&mut world, 0), (false, true));
    ok(&mut world, &request("unblock media"));
    ok(&mut world, &request("block DTMF"));
    assert_eq!((passes(&mut world, 101), passes(&mut world, 0)), ((false, false), (true, true)));
    let stranger =
        request("block media").with("from-tag", "z").with("flags", words(&["directional"]));
    let reply = world.ask(&stranger);
    assert_eq!(
        reply.text("error-reason").as_deref(),
        Some("From-tag given, but no such tag exists")
    );
}

#[test]
fn silenced_media_goes_on_as_silence() {
    let mut world = World::new();
    let (a_port, _) = call_between(&mut world, "0 8", "");
    ok(&mut world, &request("silence media"));
    let (_, packet) = world.packet("192.0.2.7:5000", a_port, &rtp(0, 1, &[1; 160])).unwrap();
    assert_eq!(packet[12..], [0xff; 160]);
    let (_, packet) = world.packet("192.0.2.7:5000", a_port, &rtp(8, 2, &[1; 160])).unwrap();
    assert_eq!(packet[12..], [0xd5; 160]);
    ok(&mut world, &request("unsilence media"));
    let (_, packet) = world.packet("192.0.2.7:5000", a_port, &rtp(0, 3, &[1; 160])).unwrap();
    assert_eq!(packet[12..], [1; 160]);
}

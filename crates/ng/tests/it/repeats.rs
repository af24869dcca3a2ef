//! Requests that come again: a proxy repeats what is not answered in a second.

use crosspoint_ng::{Format, Output};

use crate::world::*;

#[test]
fn a_repeat_gets_the_bytes_of_the_first_reply_whatever_it_carries() {
    let mut world = World::new();
    let body = offer(&phone(7, 5000, "0", "")).encode(Format::Bencode);
    let message = [b"5_1 ", &body[..]].concat();
    world.say(1, &message);
    world.say(2, &message);
    world.say(3, b"5_1 d7:command4:pinge");
    let [(1, first), (2, second), (3, third)] = &world.replies[..] else { panic!("three replies") };
    assert!(first == second && second == third && first.starts_with(b"5_1 d3:sdp"));
    assert_eq!((world.shard.legs(), world.server.counters().repeats), (2, 2));
}

/// The media plane is slow: the repeat is not worked on again, and both are answered.
#[test]
fn a_repeat_in_flight_waits_for_the_first() {
    let mut world = World::new();
    let body = offer(&phone(7, 5000, "0", "")).encode(Format::Json);
    let message = [b"5_1 ", &body[..]].concat();
    world.server.handle_message(world.now, 1, &message);
    world.server.handle_message(world.now, 2, &message);
    let mut commands = Vec::new();
    while let Output::Media(command) = world.server.poll_output() {
        commands.push(command);
    }
    assert!(world.replies.is_empty() && commands.len() == 6, "{commands:?}");
    for command in commands {
        world.shard.handle_command(world.now, *command);
    }
    world.pass(std::time::Duration::from_secs(1));
    let mut replies = std::mem::take(&mut world.replies);
    replies.sort();
    let [(1, first), (2, second)] = &replies[..] else { panic!("two replies: {}", replies.len()) };
    assert!(first == second && first.starts_with(b"5_1 {\"result\":\"ok\",\"sdp\":"));
}

/// A call that is deleted while an offer is worked on still answers both.
#[test]
fn what_is_under_way_when_its_call_ends_is_answered() {
    let mut world = World::new();
    world.sdp(&offer(&phone(7, 5000, "0", "")));
    let again = [b"x1 ", &offer(&phone(7, 5000, "0", "")).encode(Format::Bencode)[..]].concat();
    let delete = request("delete").with("from-tag", "a").with("delete delay", 0_i64);
    let delete = [b"x2 ", &delete.encode(Format::Bencode)[..]].concat();
    world.server.handle_message(world.now, 70, &again);
    world.server.handle_message(world.now, 71, &delete);
    world.settle();
    for who in [70, 71] {
        assert_eq!(world.replies.iter().filter(|(to, _)| *to == who).count(), 1, "{who}");
    }
    assert!(world.server.is_empty() && world.shard.is_empty());
}

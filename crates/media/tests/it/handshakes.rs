//! DTLS that a busy host works on only later.

use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::Command;
use crosspoint_media::shard::HandshakeDone;

use crate::browser::birthplace;
use crate::world::{BROWSER, Setup, World, ours};

fn slow(time: Duration) -> World {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.handshakes_take = time;
    world.browser_calls(|offer| offer);
    world
}

#[test]
fn a_handshake_that_takes_long_ends_well() {
    for millis in [5, 100, 900] {
        let mut world = slow(Duration::from_millis(millis));
        world.talk(Codec::Pcmu);
        world.assert_undisturbed();
        world.close();
    }
}

#[test]
fn there_is_one_piece_of_work_for_a_leg_however_much_comes() {
    let mut world = slow(Duration::from_secs(30));
    world.run_until("there is work", |w| !w.handshakes.is_empty());
    world.run(Duration::from_secs(1));
    let before = world.shard.held();
    let hello = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 12, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0];
    for _ in 0..1000 {
        world.inject(birthplace(), ours(), &hello);
    }
    assert_eq!(world.handshakes.len(), 1);
    assert!(world.shard.held() <= before + 16, "{} of {before}", world.shard.held());
    assert!(world.counters().dropped_not_ready > 900);
}

#[test]
fn work_for_a_leg_that_is_gone_changes_nothing() {
    let mut world = slow(Duration::from_millis(50));
    world.run_until("there is work", |w| !w.handshakes.is_empty());
    world.command(Command::Close { leg: BROWSER });
    let told = world.events.len();
    world.run(Duration::from_secs(1));
    assert!(world.handshakes.is_empty() && world.events.len() == told);
    world.close();
}

#[test]
fn work_that_breaks_down_ends_its_connection() {
    let mut world = slow(Duration::from_secs(30));
    world.run_until("there is work", |w| !w.handshakes.is_empty());
    let (_, work) = world.handshakes.pop_front().expect("work");
    world.shard.handle_handshake(world.now, HandshakeDone::failed(work.leg()));
    world.run(Duration::from_secs(1));
    assert!(world.is_lost(BROWSER));
    assert_eq!(world.counters().dtls_failed, 1);
    world.close();
}

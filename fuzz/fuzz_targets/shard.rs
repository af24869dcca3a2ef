//! A call whose two peers send whatever they like, from right and wrong addresses, with time
//! passing: no panic, and closing the legs leaves nothing. Each packet is a byte of choice, a
//! length and the bytes.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_fuzz::{BROWSER, BROWSER_ADDRESS, PHONE, PHONE_ADDRESS, World};
use crosspoint_media::control::{Command, Playback};
use crosspoint_media::shard::SocketId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    world.validate();
    let mut rest = bytes;
    for _ in 0..64 {
        let Some(([choice, len], more)) = rest.split_first_chunk() else { break };
        let (packet, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        step(&mut world, *choice, packet);
    }
    for leg in [BROWSER, PHONE] {
        world.shard.handle_command(world.now, Command::Close { leg });
    }
    world.drain();
    assert!(world.shard.is_empty());
});

fn step(world: &mut World, choice: u8, packet: &[u8]) {
    let stranger = SocketAddr::from(([198, 51, 100, 1], 9));
    let (browser, phone) = (SocketAddr::from(BROWSER_ADDRESS), SocketAddr::from(PHONE_ADDRESS));
    let rtcp = SocketAddr::from((PHONE_ADDRESS.0, PHONE_ADDRESS.1 + 1));
    let socket = world.phone_socket;
    match choice % 9 {
        0 => world.datagram(SocketId::BROWSER, browser, packet),
        1 => world.datagram(SocketId::BROWSER, stranger, packet),
        2 => world.datagram(socket, phone, packet),
        3 => world.datagram(socket, stranger, packet),
        4 => world.datagram(socket.rtcp(), rtcp, packet),
        5 => world.pass(Duration::from_millis(20)),
        6 => world.pass(Duration::from_secs(u64::from(choice))),
        7 => {
            let playback = [Playback::Echo, Playback::Tone][usize::from(choice & 1)];
            world.shard.handle_command(world.now, Command::Play { leg: PHONE, playback });
        }
        _ => {
            let digit = packet.first().map_or('1', |b| char::from(*b));
            let duration = Duration::from_millis(u64::from(choice) * 4);
            let command = Command::SendDtmf { leg: PHONE, digit, duration };
            world.shard.handle_command(world.now, command);
        }
    }
    world.drain();
}

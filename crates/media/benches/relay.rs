//! What a packet costs in the shard itself, without sockets: nanoseconds per relayed packet,
//! beside the same ciphers with no logic; handshakes per second; memory per call.
//!
//! `cargo bench -p crosspoint-media --bench relay [-- WHAT [CALLS…]]`, where WHAT is one of
//! `packets`, `handshakes`, or the name of a relay, such as `sdes`.

mod relay {
    pub(crate) mod allocator;
    pub(crate) mod limit;
    pub(crate) mod peers;
    pub(crate) mod world;
}

use std::time::Duration;

use relay::world::{Kind, World};

fn main() {
    let mut wanted = std::env::args().skip(1).filter(|a| a != "--bench");
    let what = wanted.next().unwrap_or_default();
    let calls: Vec<usize> = wanted.filter_map(|n| n.parse().ok()).collect();
    let calls = if calls.is_empty() { vec![10, 512, 4096, 12_288] } else { calls };
    if what.is_empty() || what == "handshakes" {
        handshakes();
    }
    println!(
        "| relay | calls | ns a packet | the ciphers alone | ratio | timers, ns a call and second | bytes a call |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for kind in Kind::ALL {
        if what.is_empty() || what == "packets" || what == kind.name() {
            for calls in &calls {
                relayed(kind, *calls);
            }
        }
    }
}

fn relayed(kind: Kind, calls: usize) {
    let mut world = World::new();
    let bytes = world.set_up(kind, calls);
    // As many packets for few calls as for many.
    let rounds = (120_000 / calls).clamp(12, 2000);
    let figures = world.relay(rounds);
    let limit = relay::limit::of_ciphers(kind, calls, rounds);
    let ratio = figures.packet / limit.max(0.1);
    println!(
        "| {} | {calls} | {:.0} | {limit:.0} | {ratio:.2} | {:.0} | {bytes} |",
        kind.name(),
        figures.packet,
        figures.timers,
    );
}

fn handshakes() {
    let mut world = World::new();
    world.set_up(Kind::Gcm, 50);
    let before = world.in_dtls;
    let count = 1000;
    world.set_up(Kind::Gcm, count);
    let each = (world.in_dtls - before) / u32::try_from(count).expect("a thousand");
    let rate = Duration::from_secs(1).as_nanos() / each.as_nanos().max(1);
    println!("DTLS handshakes per second and core: {rate} ({} us each)\n", each.as_micros());
}

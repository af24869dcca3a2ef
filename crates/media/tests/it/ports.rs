//! Ports of phones on a host where others have theirs in the same range, and how many legs there
//! may be.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, Refusal, SdpKind, SrtpPolicy};
use crosspoint_media::shard::{Output, Shard, ShardConfig};

use crate::world::ours;

#[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn shard(max_legs: usize, seed: u64) -> Shard {
    let config = ShardConfig {
        browser_addresses: vec![ours()],
        browser_tcp_addresses: vec![],
        rtp_address: ours().ip(),
        rtp_bind: ours().ip(),
        rtp_ports: (10_000, 19_999),
        ice_lite: true,
        rtp_timeout: Duration::from_secs(30),
        consent_timeout: Duration::from_secs(15),
        max_legs,
        dtls: Arc::new(dimpl::Config::default()),
        certificate: dimpl::certificate::generate_self_signed_certificate().expect("a certificate"),
    };
    Shard::new(config, Rng::from_u64(seed))
}

/// What becomes of a phone's offer when others have these ports, and the ports that were tried.
fn offer(shard: &mut Shard, leg: LegId, others: Range<u16>) -> (Event, Vec<u16>) {
    let now = start();
    shard.handle_command(now, Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
    shard.handle_command(now, Command::Describe { leg, kind: SdpKind::Offer, peer: None });
    let mut tried = vec![];
    loop {
        match shard.poll_output() {
            Output::Bind { socket, address } => {
                assert!((10_000..=19_998).contains(&address.port()) && address.port() % 2 == 0);
                tried.push(address.port());
                shard.handle_bound(now, socket, !others.contains(&address.port()));
            }
            Output::Event(event) => return (event, tried),
            Output::Timeout(_) => panic!("nothing came of the offer"),
            _ => {}
        }
    }
}

/// Another gateway has been here before us and keeps the ports of its last calls.
#[test]
fn a_long_run_of_ports_that_others_have_does_not_refuse_a_call() {
    for seed in 0..50 {
        let (event, tried) = offer(&mut shard(50, seed), LegId(1), 10_000..18_000);
        assert!(matches!(event, Event::Described { .. }), "{event:?} after {tried:?}");
    }
}

#[test]
fn gateways_of_one_host_begin_at_different_ports() {
    let firsts: BTreeSet<u16> =
        (0..50).map(|seed| offer(&mut shard(50, seed), LegId(1), 0..0).1[0]).collect();
    assert!(firsts.len() > 40, "{firsts:?}");
}

#[test]
fn when_others_have_all_of_them_the_offer_is_refused() {
    let (event, tried) = offer(&mut shard(50, 1), LegId(1), 10_000..20_000);
    let is_exhausted = matches!(event, Event::Refused { refusal: Refusal::Exhausted, .. });
    assert!(is_exhausted && tried.len() <= 200, "{event:?} after {tried:?}");
}

#[test]
fn a_higher_limit_takes_the_leg_that_was_too_many() {
    let mut shard = shard(1, 1);
    let is_taken = |shard: &mut Shard, leg| {
        matches!(offer(shard, LegId(leg), 0..0).0, Event::Described { .. })
    };
    assert!(is_taken(&mut shard, 1) && !is_taken(&mut shard, 2));
    shard.set_max_legs(2);
    assert!(is_taken(&mut shard, 3) && !is_taken(&mut shard, 4));
}

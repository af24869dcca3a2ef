//! The media thread with real sockets: opens a leg, describes it, closes it.

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_net::{MediaError, MediaPool, MediaPoolConfig};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(20);

fn config() -> MediaPoolConfig {
    MediaPoolConfig {
        browser_listen: (LOOPBACK, 0).into(),
        addresses: vec![LOOPBACK],
        rtp_bind: LOOPBACK,
        rtp_ports: (20_000, 29_999),
        ice_lite: true,
        timeout: Duration::from_secs(30),
        max_legs: 10,
    }
}

#[test]
fn a_leg_gets_ports_a_description_and_an_end() {
    let (sender, events) = mpsc::channel();
    let pool = MediaPool::start(&config(), Rng::from_u64(1), move |event| {
        let _ = sender.send(event);
    })
    .unwrap();
    for (number, profile) in [(1, Profile::Rtp(SrtpPolicy::Off)), (2, Profile::WebRtc)] {
        let leg = LegId(number);
        pool.send(Command::Open { leg, profile });
        pool.send(Command::Describe { leg, kind: SdpKind::Offer, peer: None });
        let described = events.recv_timeout(PATIENCE).unwrap();
        let Event::Described { description, .. } = described else { panic!("{described:?}") };
        assert!(description.to_string().contains("127.0.0.1"), "{description}");
        pool.send(Command::Close { leg });
        let closed = events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(closed, Event::Closed { leg: l, .. } if l == leg), "{closed:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_with_its_address() {
    let taken = std::net::UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let config = MediaPoolConfig { browser_listen: address, ..config() };
    let refused = MediaPool::start(&config, Rng::from_u64(1), |_| {}).unwrap_err();
    assert!(matches!(refused, MediaError::Bind { address: a, .. } if a == address));
}

//! The media thread with real sockets: legs from open to close, and what they carry.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_net::{MediaError, MediaPool, MediaPoolConfig};
use crosspoint_sdp::Session;

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

/// What a phone says that wants PCMU at `address`.
fn description(address: SocketAddr) -> Session {
    let text = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n",
        address.port()
    );
    Session::parse(text.as_bytes()).unwrap()
}

fn rtp_address(description: &Session) -> SocketAddr {
    let text = description.to_string();
    let line = text.lines().find(|line| line.starts_with("m=audio ")).unwrap();
    let port = line.split(' ').nth(1).unwrap();
    SocketAddr::new(LOOPBACK, port.parse().unwrap())
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.extend([0xff; 160]);
    packet
}

#[test]
fn packets_of_one_phone_reach_the_other_in_order() {
    let (sender, events) = mpsc::channel();
    let pool = MediaPool::start(&config(), Rng::from_u64(1), move |event| {
        let _ = sender.send(event);
    })
    .unwrap();
    let phones = [1, 2].map(|number| {
        let phone = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        (LegId(number), phone)
    });
    let mut ours = Vec::new();
    for (leg, phone) in &phones {
        let (leg, offer) = (*leg, description(phone.local_addr().unwrap()));
        pool.send(Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
        pool.send(Command::Accept { leg, kind: SdpKind::Offer, description: offer });
        pool.send(Command::Describe { leg, kind: SdpKind::Answer, peer: None });
        let accepted = events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(accepted, Event::Accepted { .. }), "{accepted:?}");
        let described = events.recv_timeout(PATIENCE).unwrap();
        let Event::Described { description, .. } = described else { panic!("{described:?}") };
        ours.push(rtp_address(&description));
    }
    pool.send(Command::Bridge { a: phones[0].0, b: phones[1].0 });
    let (a, b) = (&phones[0].1, &phones[1].1);
    let mut buffer = [0; 2048];
    for n in 100..200 {
        a.send_to(&rtp(n), ours[0]).unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 100 {
        let (length, source) = b.recv_from(&mut buffer).unwrap();
        let packet = &buffer[..length];
        // Reports share the description's port plus one, so only media comes here.
        assert_eq!((source, length, packet[1] & 0x7f), (ours[1], 172, 0));
        heard.push(u16::from_be_bytes([packet[2], packet[3]]));
    }
    assert!(heard.is_sorted(), "{heard:?}");
}

#[test]
fn a_port_that_is_taken_is_an_error_with_its_address() {
    let taken = std::net::UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let config = MediaPoolConfig { browser_listen: address, ..config() };
    let refused = MediaPool::start(&config, Rng::from_u64(1), |_| {}).unwrap_err();
    assert!(matches!(refused, MediaError::Bind { address: a, .. } if a == address));
}

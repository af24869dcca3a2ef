//! Every way that packets come and go carries the same story: what leaves is, byte for byte, what
//! leaves by sockets.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_net::packet_io::{IoConfig, IoKind, OpenIo, open, probe};
use crosspoint_net::{MediaPool, MediaPoolConfig};

use crate::media_pool::{description, rtp, rtp_address};
use crate::namespaces::Namespaces;

const OURS: IpAddr = IpAddr::V4(Namespaces::OURS);
const PATIENCE: Duration = Duration::from_secs(20);

fn config(io: Option<IoKind>) -> MediaPoolConfig {
    MediaPoolConfig {
        browser_listen: (OURS, 8443).into(),
        addresses: vec![OURS],
        tcp_addresses: Vec::new(),
        rtp_bind: OURS,
        rtp_ports: (20_000, 29_999),
        io,
        ice_lite: true,
        timeout: Duration::from_secs(30),
        max_legs: 10,
        threads: 1,
        codec_threads: 1,
        opus_complexity: 5,
        keep_awake: false,
        realtime: false,
    }
}

/// A sender's estimate of its way lives on when its packets came, not on when we looked.
#[test]
fn browsers_frames_say_how_long_they_waited() {
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = |kind| IoConfig {
        browser_listen: here,
        rtp_bind: here.ip(),
        addresses: vec![here.ip()],
        kind: Some(kind),
    };
    for kind in [IoKind::Sockets, IoKind::SkLookup] {
        // Where the host does not allow it, this is the same once more.
        let OpenIo { mut io, poller, browser_address, .. } = open(&config(kind)).unwrap();
        let browser = UdpSocket::bind(here).unwrap();
        let mut waited = |is_timed: bool| {
            if is_timed {
                io.time_browsers();
            }
            browser.send_to(b"x", browser_address).unwrap();
            let mut ready = poller.room();
            // News of routes may come first.
            loop {
                poller.wait(PATIENCE, &mut ready).unwrap();
                let there = Instant::now();
                // As long as a call of the kernel takes, it waits for us.
                poller.wait(Duration::ZERO, &mut ready).unwrap();
                let least = there.elapsed();
                let mut frames = Vec::new();
                io.receive(&ready, &mut frames);
                if let [frame] = &frames[..] {
                    break (least, frame.waited);
                }
            }
        };
        assert_eq!(waited(false).1, Duration::ZERO, "{kind:?}: nobody asked");
        let begun = Instant::now();
        loop {
            let (least, waited) = waited(true);
            if waited >= least {
                break;
            }
            // The kernel begins a little after it is first asked to.
            assert!(begun.elapsed() < PATIENCE, "{kind:?}: {waited:?} of {least:?}");
        }
    }
}

fn probed(config: &MediaPoolConfig) -> Vec<(IoKind, Result<(), String>)> {
    probe(&IoConfig {
        browser_listen: config.browser_listen,
        rtp_bind: config.rtp_bind,
        addresses: config.addresses.clone(),
        kind: None,
    })
}

/// A media thread in our namespace, and the events of its legs.
struct Host {
    pool: MediaPool,
    events: mpsc::Receiver<Event>,
}

impl Host {
    fn start(namespaces: &Namespaces, io: Option<IoKind>) -> Self {
        Self::of_threads(1, namespaces, io)
    }

    fn of_threads(threads: usize, namespaces: &Namespaces, io: Option<IoKind>) -> Self {
        let (sender, events) = mpsc::channel();
        let config = MediaPoolConfig { threads, ..config(io) };
        let start = || {
            MediaPool::start(&config, Rng::from_u64(1), move |event| {
                let _ = sender.send(event);
            })
        };
        let pool = namespaces.in_ours(start).unwrap();
        Self { pool, events }
    }

    /// A phone's offer is answered; gives where it is to send.
    fn answer(&self, leg: LegId, phone: &UdpSocket) -> SocketAddr {
        let offer = description(phone.local_addr().unwrap());
        self.pool.send(Command::Accept { leg, kind: SdpKind::Offer, description: offer });
        self.pool.send(Command::Describe { leg, kind: SdpKind::Answer, peer: None });
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                Event::Described { description, .. } => return rtp_address(OURS, &description),
                Event::Accepted { .. } | Event::Connected { .. } | Event::Quality { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns once all that was commanded is done: a description is told before its sockets are
    /// what it says.
    fn settle(&self) {
        self.pool.send(Command::Close { leg: LegId(99) });
        self.await_end(LegId(99));
    }

    fn await_end(&self, leg: LegId) {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap();
            if matches!(event, Event::Closed { leg: l, .. } if l == leg) {
                return;
            }
        }
    }
}

/// A phone with a port for RTP and one for RTCP.
fn phone(namespaces: &Namespaces, port: u16) -> UdpSocket {
    let phone = namespaces.in_peers(|| UdpSocket::bind((Namespaces::PEERS, port)).unwrap());
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone
}

/// A packet, and where it came from.
type Heard = (SocketAddr, Vec<u8>);

/// The next so many packets that a phone hears.
fn heard(phone: &UdpSocket, count: usize) -> Vec<Heard> {
    let mut buffer = [0; 2048];
    let mut next = || {
        let (length, source) = phone.recv_from(&mut buffer).expect("a packet");
        (source, buffer[..length].to_vec())
    };
    (0..count).map(|_| next()).collect()
}

/// Two phones speak, one of them moves, strangers try their luck; gives all that was heard.
fn story(io: Option<IoKind>) -> Option<(IoKind, Vec<Heard>)> {
    let namespaces = Namespaces::new()?;
    let host = Host::start(&namespaces, io);
    let [a, b, elsewhere] = [40_000, 40_010, 40_020].map(|port| phone(&namespaces, port));
    let [to_us, from_us] = [(1, &a), (2, &b)].map(|(number, phone)| {
        host.pool
            .send(Command::Open { leg: LegId(number), profile: Profile::Rtp(SrtpPolicy::Off) });
        host.answer(LegId(number), phone)
    });
    host.pool.send(Command::Bridge { a: LegId(1), b: LegId(2) });
    let mut out = Vec::new();
    // More than a batch, and less than a small socket buffer.
    for start in [0, 70] {
        for n in start..start + 70 {
            a.send_to(&rtp(n), to_us).unwrap();
        }
        out.extend(heard(&b, 70));
    }
    b.send_to(&rtp(7), from_us).unwrap();
    out.extend(heard(&a, 1));
    // Somebody else knows the port; then the phone is there by a new description.
    elsewhere.send_to(&rtp(140), to_us).unwrap();
    a.send_to(&rtp(141), to_us).unwrap();
    out.extend(heard(&b, 1));
    assert_eq!(host.answer(LegId(1), &elsewhere), to_us);
    host.settle();
    elsewhere.send_to(&rtp(142), to_us).unwrap();
    out.extend(heard(&b, 1));
    b.send_to(&rtp(8), from_us).unwrap();
    out.extend(heard(&elsewhere, 1));
    // A packet that fills its link to the last byte, and one that does not fit any more.
    for len in [1460, 1461, 1600] {
        let mut packet = rtp(9 + len);
        packet.resize(12 + usize::from(len), 0x55);
        b.send_to(&packet, from_us).unwrap();
        out.extend(heard(&elsewhere, 1));
    }
    let used = host.pool.io();
    for leg in [LegId(1), LegId(2)] {
        host.pool.send(Command::Close { leg });
        host.await_end(leg);
    }
    Some((used, out))
}

#[test]
fn every_way_carries_what_sockets_carry() {
    let Some((used, by_sockets)) = story(Some(IoKind::Sockets)) else {
        return eprintln!("not tested: this user may not make network namespaces");
    };
    assert_eq!((used, by_sockets.len()), (IoKind::Sockets, 147));
    for io in [IoKind::SkLookup, IoKind::Xdp] {
        let (used, carried) = story(Some(io)).expect("namespaces, as before");
        assert_eq!(used, io, "it can be had here");
        for (number, (expected, carried)) in by_sockets.iter().zip(&carried).enumerate() {
            assert_eq!(expected, carried, "packet {number} by {io:?}");
        }
    }
}

/// A leg on each thread, and both joined: packets pass every socket that two threads have.
#[test]
fn two_threads_share_a_host_by_every_way() {
    for io in IoKind::ALL {
        let Some(namespaces) = Namespaces::new() else {
            return eprintln!("not tested: this user may not make network namespaces");
        };
        let host = Host::of_threads(2, &namespaces, Some(io));
        assert_eq!(host.pool.io(), io, "it can be had here");
        let [a, b] = [40_000, 40_010].map(|port| phone(&namespaces, port));
        let [to_us, from_us] = [(1, &a), (2, &b)].map(|(number, phone)| {
            let (leg, profile) = (LegId(number), Profile::Rtp(SrtpPolicy::Off));
            host.pool.send(Command::Open { leg, profile });
            host.answer(leg, phone)
        });
        assert!(to_us.port() < 25_000 && from_us.port() >= 25_000, "{to_us} {from_us}");
        host.pool.send(Command::Bridge { a: LegId(1), b: LegId(2) });
        for ((speaker, to), listener) in [((&a, to_us), &b), ((&b, from_us), &a)] {
            // Until the two threads have agreed, nobody is heard.
            listener.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut tries = (0..500).map(|n| {
                speaker.send_to(&rtp(n), to).unwrap();
                listener.recv_from(&mut [0; 2048])
            });
            assert!(tries.any(|heard| heard.is_ok()), "by {io:?}");
        }
    }
}

/// What XDP programs are attached in our namespace.
fn programs(namespaces: &Namespaces) -> String {
    let show = || std::process::Command::new("ip").args(["link", "show", "media0"]).output();
    let text = String::from_utf8(namespaces.in_ours(show).unwrap().stdout).unwrap();
    text.split_whitespace().filter(|word| word.contains("xdp")).collect()
}

/// The fastest is taken where nothing is asked for, and nothing stays in the kernel.
#[test]
fn the_fastest_way_is_found_and_leaves_nothing_behind() {
    let Some(namespaces) = Namespaces::new() else {
        return eprintln!("not tested: this user may not make network namespaces");
    };
    let host = Host::start(&namespaces, None);
    assert_eq!(host.pool.io(), IoKind::Xdp);
    assert_ne!(programs(&namespaces), "", "a program is attached");
    // A second gateway on the same interface has to do without, and says why.
    let other = namespaces.in_ours(|| {
        let config = MediaPoolConfig { browser_listen: (OURS, 8444).into(), ..config(None) };
        MediaPool::start(&config, Rng::from_u64(2), |_| {}).unwrap()
    });
    assert_eq!(other.io(), IoKind::SkLookup);
    // The thread ends with its last handle, and then closes its events.
    drop(host.pool);
    while host.events.recv().is_ok() {}
    let free = || programs(&namespaces).is_empty();
    while !free() {
        std::thread::yield_now();
    }
}

/// What cannot be had is told with the reason, and what is there is used.
#[test]
fn what_cannot_be_had_falls_back_with_a_reason() {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let config = MediaPoolConfig {
        browser_listen: (loopback, 0).into(),
        addresses: vec![loopback],
        rtp_bind: IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ..config(Some(IoKind::SkLookup))
    };
    let found = probed(&config);
    let reasons: Vec<_> = found.iter().map(|(kind, outcome)| (*kind, outcome.clone())).collect();
    let reason = "media.listen is not an IPv4 address".to_owned();
    assert_eq!(
        reasons,
        [
            (IoKind::Xdp, Err(reason.clone())),
            (IoKind::SkLookup, Err(reason)),
            (IoKind::Sockets, Ok(()))
        ]
    );
    let pool = MediaPool::start(&config, Rng::from_u64(1), |_| {}).unwrap();
    assert_eq!(pool.io(), IoKind::Sockets);
}

//! The media thread with real sockets: legs from open to close, and what they carry.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_net::packet_io::IoKind;
use crosspoint_net::{MediaError, MediaPool, MediaPoolConfig};
use crosspoint_sdp::Session;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(20);

fn config() -> MediaPoolConfig {
    MediaPoolConfig {
        browser_listen: (LOOPBACK, 0).into(),
        addresses: vec![LOOPBACK],
        tcp_addresses: vec![],
        rtp_bind: LOOPBACK,
        rtp_ports: (20_000, 29_999),
        io: Some(IoKind::Sockets),
        ice_lite: true,
        timeout: Duration::from_secs(30),
        max_legs: 10,
        threads: 1,
        codec_threads: 2,
        opus_complexity: 5,
        keep_awake: false,
        realtime: false,
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

/// Whoever has commands does not wait for the thread, and hears events in their order: first
/// those that the thread has told, then what the commands cause.
#[test]
fn what_is_commanded_now_is_done_at_once_and_told_in_order() {
    let (sender, events) = mpsc::channel();
    let pool = MediaPool::start(&config(), Rng::from_u64(1), move |event| {
        let _ = sender.send(event);
    })
    .unwrap();
    let leg = LegId(1);
    let (mut told, mut done_at_once) = (Vec::new(), 0);
    let mut now = |commands: Vec<Command>| {
        let before = told.len();
        let mut is_now = false;
        pool.send_all_now(commands.into_iter(), |event| match event {
            Some(event) => told.push(event),
            None => {
                is_now = true;
                told.extend(events.try_iter());
            }
        });
        done_at_once += usize::from(is_now);
        // The thread was at work.
        while told.len() == before {
            told.push(events.recv_timeout(PATIENCE).unwrap());
        }
    };
    for _ in 0..20 {
        let profile = Profile::Rtp(SrtpPolicy::Off);
        let describe = Command::Describe { leg, kind: SdpKind::Offer, peer: None };
        now(vec![Command::Open { leg, profile }, describe]);
        pool.send(Command::Report { leg });
        now(vec![Command::Close { leg }]);
    }
    while told.len() < 60 {
        told.push(events.recv_timeout(PATIENCE).unwrap());
    }
    assert!(done_at_once > 0, "the thread had nothing else to do");
    for call in told.chunks(3) {
        let [Event::Described { .. }, Event::Figures { .. }, Event::Closed { .. }] = call else {
            panic!("{call:?}")
        };
    }
}

/// What a phone says that wants PCMU at `address`.
pub(crate) fn description(address: SocketAddr) -> Session {
    let text = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 {}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n",
        address.ip(),
        address.port()
    );
    Session::parse(text.as_bytes()).unwrap()
}

pub(crate) fn rtp_address(ip: IpAddr, description: &Session) -> SocketAddr {
    let text = description.to_string();
    let line = text.lines().find(|line| line.starts_with("m=audio ")).unwrap();
    let port = line.split(' ').nth(1).unwrap();
    SocketAddr::new(ip, port.parse().unwrap())
}

pub(crate) fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.extend([0xff; 160]);
    packet
}

/// A media thread and the events of its legs.
struct Host {
    pool: MediaPool,
    events: mpsc::Receiver<Event>,
}

impl Host {
    fn start() -> Self {
        Self::of_threads(1)
    }

    fn of_threads(threads: usize) -> Self {
        Self::of(MediaPoolConfig { threads, ..config() })
    }

    fn of(config: MediaPoolConfig) -> Self {
        let (sender, events) = mpsc::channel();
        let pool = MediaPool::start(&config, Rng::from_u64(1), move |event| {
            let _ = sender.send(event);
        });
        Self { pool: pool.unwrap(), events }
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    /// What this leg's party is told, by where it is to send.
    fn described(&self, wanted: LegId) -> SocketAddr {
        loop {
            match self.next() {
                Event::Described { leg, description } if leg == wanted => {
                    return rtp_address(LOOPBACK, &description);
                }
                Event::Accepted { .. } | Event::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// A phone's offer is answered; gives where it is to send.
    fn answer(&self, leg: LegId, phone: &UdpSocket) -> SocketAddr {
        self.answer_to(leg, description(phone.local_addr().unwrap()))
    }

    fn answer_to(&self, leg: LegId, offer: Session) -> SocketAddr {
        self.pool.send(Command::Accept { leg, kind: SdpKind::Offer, description: offer });
        self.pool.send(Command::Describe { leg, kind: SdpKind::Answer, peer: None });
        loop {
            match self.next() {
                Event::Described { description, .. } => return rtp_address(LOOPBACK, &description),
                Event::Accepted { .. } | Event::Connected { .. } | Event::Quality { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn phone() -> UdpSocket {
    let phone = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone
}

/// The next packets that a phone hears, by their numbers. Reports go to a port of their own.
fn heard(phone: &UdpSocket, from: SocketAddr, count: usize) -> Vec<u16> {
    let mut buffer = [0; 2048];
    let mut next = || {
        let (length, source) = phone.recv_from(&mut buffer).unwrap();
        assert_eq!((source, length, buffer[1] & 0x7f), (from, 172, 0));
        u16::from_be_bytes([buffer[2], buffer[3]])
    };
    (0..count).map(|_| next()).collect()
}

/// Two phones on legs 1 and 2, and where each is to send.
fn joined(host: &Host) -> [(UdpSocket, SocketAddr); 2] {
    let phones = [1, 2].map(|number| {
        let leg = LegId(number);
        host.pool.send(Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
        let phone = phone();
        let ours = host.answer(leg, &phone);
        (phone, ours)
    });
    host.pool.send(Command::Bridge { a: LegId(1), b: LegId(2) });
    phones
}

#[test]
fn packets_of_one_phone_reach_the_other_in_order() {
    let host = Host::start();
    let [(a, to_us), (b, from_us)] = joined(&host);
    for n in 100..200 {
        a.send_to(&rtp(n), to_us).unwrap();
    }
    let heard = heard(&b, from_us, 100);
    assert!(heard.is_sorted(), "{heard:?}");
}

/// One phone speaks PCMU, the other PCMA: frames are made on threads for codecs, and come in order.
#[test]
fn translated_sound_comes_in_order() {
    translates_in_order(&Host::start());
}

/// A thread before all others waits for what those do, and comes to no end where it interrupts them.
#[test]
fn sound_is_translated_for_a_realtime_thread() {
    translates_in_order(&Host::of(MediaPoolConfig { realtime: true, ..config() }));
}

fn translates_in_order(host: &Host) {
    let [(a, to_us), (b, from_us)] = [(1, 0), (2, 8)].map(|(number, pt)| {
        let leg = LegId(number);
        host.pool.send(Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) });
        let phone = phone();
        let codec = if pt == 8 { "AVP 8\r\na=rtpmap:8 PCMA" } else { "AVP 0\r\na=rtpmap:0 PCMU" };
        let text = description(phone.local_addr().unwrap()).to_string();
        let offer = text.replace("AVP 0\r\na=rtpmap:0 PCMU", codec);
        assert!(offer.contains(codec));
        let description = Session::parse(offer.as_bytes()).unwrap();
        (phone, host.answer_to(leg, description))
    });
    host.pool.send(Command::Bridge { a: LegId(1), b: LegId(2) });
    let (mut buffer, mut loud) = ([0; 2048], 0);
    let mut numbers = Vec::new();
    // Each frame that is heard is answered by the next word, so both keep pace.
    for n in 0..60 {
        let mut packet = rtp(n);
        packet[12..].fill(if n % 2 == 0 { 0x10 } else { 0x90 });
        a.send_to(&packet, to_us).unwrap();
        let (length, source) = b.recv_from(&mut buffer).unwrap();
        assert_eq!((source, length, buffer[1] & 0x7f), (from_us, 172, 8));
        numbers.push(u16::from_be_bytes([buffer[2], buffer[3]]));
        loud += u32::from(buffer[12..172].iter().any(|byte| byte & 0x7f != 0x55));
    }
    let follows = |pair: &[u16]| pair[1] == pair[0].wrapping_add(1);
    assert!(numbers.windows(2).all(follows), "{numbers:?}");
    assert!(loud > 30, "{loud} frames are not silent");
}

/// Once its phone is known the socket hears nobody else, until a new description says that the
/// phone is somewhere else.
#[test]
fn a_phone_that_moves_by_a_new_description_is_heard_there() {
    let host = Host::start();
    let [(a, to_us), (b, from_us)] = joined(&host);
    for n in 0..3 {
        a.send_to(&rtp(n), to_us).unwrap();
        heard(&b, from_us, 1);
    }
    let elsewhere = phone();
    elsewhere.send_to(&rtp(3), to_us).unwrap();
    a.send_to(&rtp(4), to_us).unwrap();
    let first = heard(&b, from_us, 1)[0];
    assert_eq!(host.answer(LegId(1), &elsewhere), to_us, "our own port stays");
    // The description is told before the socket is what it says.
    host.pool.send(Command::Close { leg: LegId(99) });
    while !matches!(host.next(), Event::Closed { .. }) {}
    elsewhere.send_to(&rtp(5), to_us).unwrap();
    assert_eq!(heard(&b, from_us, 1), [first + 1], "the stranger's packet was not among them");
    b.send_to(&rtp(0), from_us).unwrap();
    assert_eq!(heard(&elsewhere, to_us, 1).len(), 1);
}

/// A phone calls another: the second leg is described for the first.
fn called(host: &Host, call: u64) -> [(UdpSocket, SocketAddr); 2] {
    let [a, b] = [LegId(2 * call), LegId(2 * call + 1)];
    let phones = [phone(), phone()];
    let [from, to] = [0, 1].map(|n: usize| description(phones[n].local_addr().unwrap()));
    let profile = Profile::Rtp(SrtpPolicy::Off);
    host.pool.send(Command::Open { leg: a, profile });
    host.pool.send(Command::Accept { leg: a, kind: SdpKind::Offer, description: from });
    host.pool.send(Command::Open { leg: b, profile });
    host.pool.send(Command::Describe { leg: b, kind: SdpKind::Offer, peer: Some(a) });
    let for_b = host.described(b);
    host.pool.send(Command::Accept { leg: b, kind: SdpKind::Answer, description: to });
    host.pool.send(Command::Bridge { a, b });
    host.pool.send(Command::Describe { leg: a, kind: SdpKind::Answer, peer: Some(b) });
    let for_a = host.described(a);
    let [from, to] = phones;
    [(from, for_a), (to, for_b)]
}

#[test]
fn two_threads_carry_calls_of_their_own() {
    let host = Host::of_threads(2);
    let calls: Vec<_> = (1..=4).map(|call| called(&host, call)).collect();
    // The first half of the ports is the first thread's.
    let threads = calls.iter().map(|[(_, a), (_, b)]| [a, b].map(|a| a.port() >= 25_000));
    let threads: Vec<[bool; 2]> = threads.collect();
    assert_eq!(threads, [[false; 2], [true; 2], [false; 2], [true; 2]]);
    for [(a, to_us), (b, from_us)] in &calls {
        for n in 10..20 {
            a.send_to(&rtp(n), to_us).unwrap();
            heard(b, *from_us, 1);
            b.send_to(&rtp(n), from_us).unwrap();
            heard(a, *to_us, 1);
        }
    }
    for leg in 2..=9 {
        host.pool.send(Command::Close { leg: LegId(leg) });
    }
    let closed = (2..=9).map(|_| {
        loop {
            if let Event::Closed { leg, .. } = host.next() {
                break leg.0;
            }
        }
    });
    assert_eq!(closed.collect::<BTreeSet<_>>(), (2..=9).collect());
}

/// As after a transfer: each leg had a call of its own before.
#[test]
fn legs_on_two_threads_that_are_joined_hear_each_other() {
    let host = Host::of_threads(2);
    let [(a, to_us), (b, from_us)] = joined(&host);
    assert!(to_us.port() < 25_000 && from_us.port() >= 25_000, "{to_us} {from_us}");
    for ((speaker, to), listener) in [((&a, to_us), &b), ((&b, from_us), &a)] {
        // Until the two threads have agreed, nobody is heard.
        listener.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut tries = (0..500).map(|n| {
            speaker.send_to(&rtp(n), to).unwrap();
            listener.recv_from(&mut [0; 2048])
        });
        assert!(tries.any(|heard| heard.is_ok()));
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    host.pool.send(Command::Close { leg: LegId(1) });
    loop {
        match host.next() {
            Event::Closed { leg, .. } => break assert_eq!(leg, LegId(1)),
            event => assert!(event.leg().0 <= 2, "{event:?} is of none of the call's legs"),
        }
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

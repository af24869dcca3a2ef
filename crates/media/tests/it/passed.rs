//! Fax and text between two phones: datagrams that pass as they are, from those who may send them.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};

use crate::phone::rtp;
use crate::world::{BROWSER as CALLER, PHONE as CALLED, Setup, World};

const T38: &str = "a=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";
const T140: &str = "a=rtpmap:98 t140/1000\r\na=rtpmap:100 red/1000\r\na=fmtp:100 98/98/98\r\n";

fn said(host: &str, sections: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n{sections}")
}

fn sound(port: u16) -> String {
    format!("m=audio {port} RTP/AVP 0\r\n")
}

fn fax(port: u16) -> String {
    format!("m=image {port} udptl t38\r\n{T38}")
}

fn text(port: u16) -> String {
    format!("{}m=text {} RTP/AVP 100 98\r\n{T140}", sound(port), port + 2)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Where the first and the last section of a description of ours are.
fn places(description: &str) -> [SocketAddr; 2] {
    let lines = description.lines().filter(|line| line.starts_with("m="));
    let ports: Vec<u16> = lines.filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
    [ports[0], ports[ports.len() - 1]].map(|port| SocketAddr::new(crate::world::ours().ip(), port))
}

/// A datagram of UDPTL with this number.
fn udptl(number: u16, rest: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), rest].concat()
}

/// One offers, the other answers; gives where each is told to send its first and last section.
fn exchange(
    world: &mut World,
    (from, offer): (LegId, &str),
    (to, answer): (LegId, &str),
) -> [[SocketAddr; 2]; 2] {
    world.accept(from, SdpKind::Offer, offer);
    let told = world.describe(to, SdpKind::Offer, Some(from));
    world.accept(to, SdpKind::Answer, answer);
    world.bridge();
    let answered = world.describe(from, SdpKind::Answer, Some(to));
    [places(&answered), places(&told)]
}

fn between_phones(offer: &str, answer: &str) -> (World, [[SocketAddr; 2]; 2]) {
    let mut world = World::new(Setup::default());
    for leg in [CALLER, CALLED] {
        world.open(leg, Profile::Rtp(SrtpPolicy::Off));
    }
    let ports = exchange(&mut world, (CALLER, offer), (CALLED, answer));
    (world, ports)
}

impl World {
    /// What comes out of us for a datagram: where to, and whether it is the same.
    fn comes_out(&mut self, from: &str, to: SocketAddr, bytes: &[u8]) -> Option<String> {
        self.run(crate::world::STEP);
        self.strays.clear();
        self.inject(address(from), to, bytes);
        self.run(2 * crate::world::STEP);
        let passed = self.strays.iter().find(|stray| stray.bytes == bytes);
        passed.map(|stray| stray.to.to_string())
    }
}

#[test]
fn a_call_becomes_a_fax_whose_datagrams_pass_untouched_and_a_call_again() {
    let (mut world, [[a_sound, _], [b_sound, _]]) =
        between_phones(&said("192.0.2.7", &sound(5000)), &said("192.0.2.8", &sound(6000)));
    let word = rtp(1, 160, 7, &[1; 160]);
    world.inject(address("192.0.2.7:5000"), a_sound, &word);
    let offer = said("192.0.2.8", &fax(8000));
    let [[b_fax, _], [a_fax, _]] =
        exchange(&mut world, (CALLED, &offer), (CALLER, &said("192.0.2.7", &fax(7000))));
    // Whatever the bytes are: these would be RTP, STUN or DTLS elsewhere.
    for bytes in [&[0x80, 0, 1, 2][..], &[0, 1, 2], &[22, 3, 1], &[0xff; 300]] {
        assert_eq!(
            world.comes_out("192.0.2.8:8000", b_fax, bytes).as_deref(),
            Some("192.0.2.7:7000")
        );
        assert_eq!(
            world.comes_out("192.0.2.7:7000", a_fax, bytes).as_deref(),
            Some("192.0.2.8:8000")
        );
    }
    // A page takes minutes, in which one side may be silent and nobody speaks.
    for number in 0..100 {
        world.run(Duration::from_secs(3));
        assert!(world.comes_out("192.0.2.7:7000", a_fax, &udptl(number, &[7; 40])).is_some());
    }
    assert!(!world.is_lost(CALLER) && !world.is_lost(CALLED));
    assert!(world.comes_out("192.0.2.7:5000", a_sound, &word).is_none(), "there is no sound");
    exchange(
        &mut world,
        (CALLER, &said("192.0.2.7", &sound(5000))),
        (CALLED, &said("192.0.2.8", &sound(6000))),
    );
    world.strays.clear();
    for (from, to, goes) in [
        ("192.0.2.7:5000", a_sound, "192.0.2.8:6000"),
        ("192.0.2.8:6000", b_sound, "192.0.2.7:5000"),
    ] {
        world.inject(address(from), to, &rtp(9, 1600, 7, &[1; 160]));
        world.run(2 * crate::world::STEP);
        assert!(world.strays.iter().any(|s| s.to == address(goes)), "{:?}", world.strays);
    }
    assert!(world.comes_out("192.0.2.7:7000", a_fax, &[1, 2, 3]).is_none(), "there is no fax");
    world.close();
    let mut figures = world.events.iter().filter_map(|(_, event)| match event {
        Event::Closed { leg: CALLER, stats } => stats.fax,
        _ => None,
    });
    let figures = figures.next_back().expect("figures of the fax");
    assert_eq!((figures.packets_received, figures.packets_sent), (104, 4));
}

#[test]
fn a_fax_of_which_nothing_comes_any_more_is_lost() {
    let (mut world, [[a_fax, _], _]) =
        between_phones(&said("192.0.2.7", &fax(7000)), &said("192.0.2.8", &fax(8000)));
    world.run(Duration::from_secs(20));
    assert!(world.comes_out("192.0.2.7:7000", a_fax, &udptl(1, &[1])).is_some());
    world.run(Duration::from_secs(25));
    assert!(!world.is_lost(CALLER) && !world.is_lost(CALLED));
    world.run(Duration::from_secs(10));
    assert!(world.is_lost(CALLER) && world.is_lost(CALLED));
}

/// RTP bleed, where nothing but numbers tells a stream: whoever sprays our ports is not heard, and
/// nothing goes to him.
#[test]
fn spraying_a_fax_wins_nothing() {
    let evil = "203.0.113.66:6666";
    for beside in [evil, "192.0.2.8:8010"] {
        let (mut world, [[a_fax, _], [b_fax, _]]) =
            between_phones(&said("192.0.2.7", &fax(7000)), &said("192.0.2.8", &fax(8000)));
        for number in [1, 2, 9, 4] {
            assert_eq!(world.comes_out(beside, b_fax, &udptl(number, b"evil")), None);
        }
        for number in 0..60 {
            assert_eq!(world.comes_out(evil, b_fax, &udptl(number, b"evil")), None, "{number}");
        }
        for number in 0..5 {
            let (a, b) = ("192.0.2.7:7000", "192.0.2.8:8000");
            assert_eq!(world.comes_out(b, b_fax, &udptl(number, b"b")).as_deref(), Some(a));
            assert_eq!(world.comes_out(a, a_fax, &udptl(number, b"a")).as_deref(), Some(b));
            assert_eq!(world.comes_out(beside, b_fax, &udptl(number + 5, b"evil")), None);
        }
        for number in 0..60 {
            assert_eq!(world.comes_out(beside, b_fax, &udptl(number, b"evil")), None, "{number}");
        }
    }
}

/// A fax machine behind a NAT, which signals an address that nobody reaches.
#[test]
fn a_fax_behind_a_nat_proves_itself_by_its_numbers() {
    let (mut world, [[a_fax, _], [b_fax, _]]) =
        between_phones(&said("192.0.2.7", &fax(7000)), &said("10.0.0.8", &fax(8000)));
    let outside = "198.51.100.8:40001";
    for number in 0..60 {
        world.run(Duration::from_millis(20));
        world.comes_out(outside, b_fax, &udptl(number, b"b"));
    }
    assert_eq!(world.comes_out("192.0.2.7:7000", a_fax, b"to it").as_deref(), Some(outside));
    assert_eq!(world.comes_out("203.0.113.66:1", b_fax, &udptl(61, b"evil")), None);
}

#[test]
fn text_passes_beside_sound_and_its_reports_do() {
    let (mut world, [[a_sound, a_text], [b_sound, b_text]]) =
        between_phones(&said("192.0.2.7", &text(5000)), &said("192.0.2.8", &text(6000)));
    let typed = |seq| {
        let mut packet = rtp(seq, u32::from(seq) * 300, 99, b"hello");
        packet[1] = 100;
        packet
    };
    let (a, b) = ("192.0.2.7:5002", "192.0.2.8:6002");
    assert_eq!(world.comes_out(a, a_text, &typed(1)).as_deref(), Some(b));
    assert_eq!(world.comes_out(b, b_text, &typed(1)).as_deref(), Some(a));
    let beside = |port: SocketAddr| SocketAddr::new(port.ip(), port.port() + 1);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    assert_eq!(
        world.comes_out("192.0.2.7:5003", beside(a_text), &report).as_deref(),
        Some("192.0.2.8:6003")
    );
    assert_eq!(world.comes_out("203.0.113.66:5002", a_text, &typed(2)), None);
    assert_eq!(world.comes_out("203.0.113.66:5003", beside(a_text), &report), None);
    // Who types nothing is not gone.
    for seq in 2..30 {
        world.run(Duration::from_secs(2));
        for (from, to) in [("192.0.2.7:5000", a_sound), ("192.0.2.8:6000", b_sound)] {
            world.inject(address(from), to, &rtp(seq, u32::from(seq) * 160, 7, &[1; 160]));
        }
    }
    assert!(!world.is_lost(CALLER) && !world.is_lost(CALLED));
    assert_eq!(world.comes_out(a, a_text, &typed(2)).as_deref(), Some(b));
    world.command(Command::Close { leg: CALLER });
    let typed = world.events.iter().find_map(|(_, event)| match event {
        Event::Closed { leg: CALLER, stats } => stats.text,
        _ => None,
    });
    assert_eq!(typed.map(|t| (t.packets_received, t.packets_sent)), Some((3, 1)));
}

/// Behind a NAT sound proves itself first, and text is believed from the same host.
#[test]
fn text_is_believed_from_the_host_whose_sound_has_proved_itself() {
    let (mut world, [[_, a_text], [b_sound, b_text]]) =
        between_phones(&said("192.0.2.7", &text(5000)), &said("10.0.0.8", &text(6000)));
    let mut typed = rtp(1, 300, 99, b"hello");
    typed[1] = 100;
    assert_eq!(
        world.comes_out("198.51.100.8:40002", b_text, &typed),
        None,
        "nothing is proved yet"
    );
    for seq in 0..60 {
        world.run(Duration::from_millis(20));
        let word = rtp(seq, u32::from(seq) * 160, 7, &[1; 160]);
        world.inject(address("198.51.100.8:40000"), b_sound, &word);
    }
    assert_eq!(world.comes_out("203.0.113.66:40002", b_text, &typed), None);
    let a = "192.0.2.7:5002";
    assert_eq!(world.comes_out("198.51.100.8:40002", b_text, &typed).as_deref(), Some(a));
    assert_eq!(world.comes_out(a, a_text, &typed).as_deref(), Some("198.51.100.8:40002"));
}

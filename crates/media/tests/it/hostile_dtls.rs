//! Peers that abuse the handshake (class 15 of the attacks): certificates that are none, records
//! of a few bytes, and a handshake begun again in a running call.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crosspoint_media::codec::Codec;

use crate::browser::birthplace;
use crate::dtls_records::{CLIENT_HELLO, SERVER_HELLO, is_dtls, messages, sent_to};
use crate::phone::SSRC;
use crate::sound::Voice;
use crate::story::desk;
use crate::world::{BROWSER, Datagram, Setup, World, ours};

const CERTIFICATE: u8 = 11;
/// Of a record and of a handshake message.
const HEAD: usize = 13 + 12;

/// Where the body of the browser's certificate message lies in a datagram.
fn certificate(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(record) = bytes.get(at..at + HEAD) {
        let len = usize::from(u16::from_be_bytes([record[11], record[12]]));
        if record[0] == 22 && record[3..5] == [0, 0] && record[13] == CERTIFICATE {
            return Some((at + HEAD, (len - 12).min(bytes.len() - at - HEAD)));
        }
        at += 13 + len;
    }
    None
}

/// Every way of being broken ends in no connection, and in nothing worse.
#[test]
fn hostile_certificates_open_nothing() {
    let lies: [&[u8]; 6] = [
        &[0, 0, 0],
        &[0xff, 0xff, 0xff],
        &[0, 0, 3, 0, 0, 0],
        &[0, 1, 0, 0xff, 0xff, 0xff],
        &[0, 0, 9, 0, 0, 6, 0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[0, 0, 9, 0, 0, 6, 0x30, 0x80, 0x30, 0x80, 0x30, 0x80],
    ];
    for variant in 0..36_usize {
        let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
        let changed = Rc::new(Cell::new(0));
        let seen = changed.clone();
        world.set_wire(move |mut datagram| {
            if is_dtls(&datagram.bytes)
                && datagram.from == birthplace()
                && let Some((at, len)) = certificate(&datagram.bytes)
            {
                seen.set(seen.get() + 1);
                let body = &mut datagram.bytes[at..at + len];
                match lies.get(variant) {
                    Some(lie) => body[..lie.len()].copy_from_slice(lie),
                    // Lengths, dates, names, the key, the signature: a byte of each.
                    None => body[(variant - lies.len()) * len / 30] ^= 0x81,
                }
            }
            vec![datagram]
        });
        world.browser_calls(|offer| offer.replace("a=setup:actpass", "a=setup:active"));
        world.phone().voice = Some(Voice::new(Codec::Pcmu, 1000.0));
        world.run(Duration::from_secs(3));
        assert!(changed.get() > 0, "a certificate was on its way");
        assert!(!world.is_connected(BROWSER), "variant {variant}");
        assert!(world.browser().heard.is_empty() && world.phone().heard.is_empty());
        world.close();
    }
}

/// Records of nothing, of a byte, and of a message that never ends, from the checked address.
#[test]
fn tiny_records_stop_no_handshake_and_no_call() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.log = Some(vec![]);
    let is_held = Rc::new(Cell::new(true));
    let held = is_held.clone();
    world.set_wire(move |d| if held.get() && is_dtls(&d.bytes) { vec![] } else { vec![d] });
    world.browser_calls(|offer| offer);
    world.run(Duration::from_secs(1));
    let record = |kind: u8, number: u16, body: &[u8]| {
        let [high, low] = number.to_be_bytes();
        let mut out = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, high, low];
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(body);
        out
    };
    let storm = |world: &mut World, from: u16| {
        let before = world.shard.held();
        for n in 0..2000_u16 {
            let number = from + n;
            world.inject(birthplace(), ours(), &record(22, number, &[]));
            world.inject(birthplace(), ours(), &record(22, number, &[1]));
            world.inject(birthplace(), ours(), &record(23, number, &[7]));
            world.inject(birthplace(), ours(), &record(20, number, &[1]));
            world.inject(birthplace(), ours(), &record(21, number, &[1]));
            // A byte of a message of a megabyte.
            let [high, low] = n.to_be_bytes();
            let piece = [1, 0x0f, 0xff, 0xff, 0, 9, 0, high, low, 0, 0, 1, 0x5a];
            world.inject(birthplace(), ours(), &record(22, number, &piece));
        }
        let grown = world.shard.held().saturating_sub(before);
        assert!(grown <= 4, "{grown} things more are kept");
    };
    storm(&mut world, 10_000);
    let log = world.log.take().expect("a log");
    let answered: usize = sent_to(&log, birthplace()).iter().map(|d| d.bytes.len()).sum();
    assert!(answered < 4096, "{answered} bytes for nothing");
    is_held.set(false);
    world.talk(Codec::Pcmu);
    storm(&mut world, 20_000);
    world.assert_undisturbed();
    world.close();
}

/// RFC 5746 asks for more than a new handshake; we take none at all.
#[test]
fn nothing_is_negotiated_anew_in_a_running_call() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.log = Some(vec![]);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    let log = world.log.replace(vec![]).expect("a log");
    let of_browser = |d: &&Datagram| d.from == birthplace() && is_dtls(&d.bytes);
    let flights: Vec<Vec<u8>> = log.iter().filter(of_browser).map(|d| d.bytes.clone()).collect();
    let hello = flights.iter().flat_map(|f| messages(f)).find(|m| m.kind == CLIENT_HELLO);
    let mut hello = hello.expect("a ClientHello");
    let mut attempts = flights;
    for seq in 0..8 {
        hello.seq = seq;
        attempts.extend(hello.pieces(1, 100 + u64::from(seq)));
        // The same as a record of the running epoch, which it is not sealed for.
        let mut sealed = hello.pieces(1, 200 + u64::from(seq)).remove(0);
        sealed[4] = 1;
        attempts.push(sealed);
        // HelloRequest, which only a server may send.
        attempts.push(vec![
            22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 3, seq as u8, 0, 12, 0, 0, 0, 0, 0, seq as u8, 0, 0,
            0, 0, 0, 0,
        ]);
    }
    for bytes in &attempts {
        world.inject(birthplace(), ours(), bytes);
    }
    world.assert_undisturbed();
    let log = world.log.take().expect("a log");
    let answers = sent_to(&log, birthplace());
    let anew = answers.iter().flat_map(|d| messages(&d.bytes)).any(|m| m.kind == SERVER_HELLO);
    assert!(!anew, "a second handshake was begun");
    world.close();
}

/// Where there is no ICE there is no DTLS: a telephone's ports do not know it, whoever sends it
/// and whenever.
#[test]
fn a_client_hello_at_a_phones_port_changes_nothing() {
    let mut seen = World::with_peers(Setup::default(), Codec::Pcmu);
    seen.log = Some(vec![]);
    seen.browser_calls(|offer| offer);
    seen.talk(Codec::Pcmu);
    let log = seen.log.take().expect("a log");
    let of_browser = |d: &&Datagram| d.from == birthplace() && is_dtls(&d.bytes);
    let flights: Vec<Vec<u8>> = log.iter().filter(of_browser).map(|d| d.bytes.clone()).collect();

    let attacker = std::net::SocketAddr::from(([203, 0, 113, 66], 6666));
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.browser_calls(|offer| offer);
    world.run_until("DTLS connects", |w| w.is_connected(BROWSER) && w.browser().is_connected);
    world.log = Some(vec![]);
    let spray = |world: &mut World| {
        let gateway = world.phone().gateway.expect("a port of ours");
        let beside = std::net::SocketAddr::new(gateway.ip(), gateway.port() + 1);
        for flight in &flights {
            for to in [gateway, beside] {
                world.inject(attacker, to, flight);
                world.inject(desk(), to, flight);
            }
        }
    };
    spray(&mut world);
    world.talk(Codec::Pcmu);
    spray(&mut world);
    world.assert_undisturbed();
    let log = world.log.take().expect("a log");
    let is_answer = |d: &&Datagram| d.to == attacker || (d.to == desk() && is_dtls(&d.bytes));
    assert_eq!(log.iter().filter(is_answer).count(), 0);
    assert!(world.browser().heard.iter().all(|h| h.payload.len() == 160), "only the phone's words");
    assert!(world.phone().heard.iter().all(|h| h.ssrc != SSRC));
    assert_eq!(world.strays, []);
    world.close();
}

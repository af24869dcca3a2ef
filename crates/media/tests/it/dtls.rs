//! DTLS over a network that cuts, reorders, repeats and delays, and with the wrong peer.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Loss, Profile, SdpKind, Step};

use crate::browser::birthplace;
use crate::dtls_records::{
    CLIENT_HELLO, HELLO_VERIFY_REQUEST, Message, SERVER_HELLO, is_dtls, messages, sent_to,
};
use crate::sound::Voice;
use crate::world::{BROWSER, Datagram, Setup, World, ours};

/// A call whose browser opens DTLS, with a network that does `cut` to each ClientHello: the
/// datagrams it makes of it, given the number its first record may have.
fn call(cut: impl FnMut(&Message, u64) -> Vec<Vec<u8>> + 'static) -> (World, Rc<Cell<u32>>) {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.log = Some(vec![]);
    let hellos = Rc::new(Cell::new(0));
    let (seen, mut cut, mut number) = (hellos.clone(), cut, 0);
    world.set_wire(move |datagram| {
        let whole = messages(&datagram.bytes);
        let Some(hello) = whole.first().filter(|m| m.kind == CLIENT_HELLO) else {
            return vec![datagram];
        };
        seen.set(seen.get() + 1);
        let Datagram { from, to, .. } = datagram;
        let out = cut(hello, number);
        number += 16;
        out.into_iter().map(|bytes| Datagram { from, to, bytes }).collect()
    });
    world.browser_calls(|offer| offer);
    (world, hellos)
}

fn assert_talk(mut world: World, hellos: &Rc<Cell<u32>>) {
    world.talk(Codec::Pcmu);
    assert!(hellos.get() >= 1, "there was a ClientHello to cut");
    world.assert_undisturbed();
    world.close();
}

#[test]
fn a_client_hello_in_three_pieces_is_put_together() {
    let (world, hellos) = call(|hello, number| hello.pieces(3, number));
    assert_talk(world, &hellos);
}

#[test]
fn a_client_hello_in_many_small_pieces_is_put_together() {
    let (world, hellos) = call(|hello, number| hello.pieces(12, number));
    assert_talk(world, &hellos);
}

#[test]
fn pieces_of_a_client_hello_may_come_in_any_order() {
    for turn in 0..3 {
        let (world, hellos) = call(move |hello, number| {
            let mut pieces = hello.pieces(3, number);
            pieces.reverse();
            pieces.rotate_left(turn);
            pieces
        });
        assert_talk(world, &hellos);
    }
}

#[test]
fn pieces_of_a_client_hello_may_come_again() {
    let (world, hellos) = call(|hello, number| {
        let pieces = hello.pieces(3, number);
        let again = hello.pieces(3, number + 8);
        [&pieces[2..], &pieces[..1], &pieces[..1], &again[2..], &again[1..2], &pieces[..]].concat()
    });
    assert_talk(world, &hellos);
}

#[test]
fn pieces_of_a_client_hello_may_share_a_datagram() {
    let (world, hellos) = call(|hello, number| vec![hello.pieces(3, number).concat()]);
    assert_talk(world, &hellos);
}

#[test]
fn a_lost_piece_of_a_client_hello_comes_with_the_next_try() {
    let mut tries = 0;
    let (world, hellos) = call(move |hello, number| {
        tries += 1;
        let mut pieces = hello.pieces(3, number);
        if tries == 1 {
            pieces.remove(1);
        }
        pieces
    });
    assert_talk(world, &hellos);
}

/// Chrome's hybrid key share takes 1216 bytes: its ClientHello fits no datagram. What the
/// network adds here the client does not know of, so we see only that the server goes on.
#[test]
fn a_client_hello_of_post_quantum_size_is_answered() {
    let (mut world, _) = call(|hello, number| {
        let mut key_share = vec![0x04, 0xc4, 0x11, 0xec, 0x04, 0xc0];
        key_share.extend(vec![0x5a; 1216]);
        let hello = hello.clone().with_extension(51, &key_share);
        assert!(hello.body.len() > 1300);
        let mut pieces = hello.pieces(2, number);
        pieces.reverse();
        pieces
    });
    world.run(Duration::from_secs(2));
    let log = world.log.take().expect("a log");
    let answers: Vec<u8> = sent_to(&log, birthplace())
        .iter()
        .flat_map(|d| messages(&d.bytes))
        .map(|m| m.kind)
        .collect();
    assert!(answers.contains(&HELLO_VERIFY_REQUEST) || answers.contains(&SERVER_HELLO));
    assert!(answers.contains(&SERVER_HELLO), "{answers:?}");
    assert!(!world.is_lost(BROWSER));
}

/// A slow peer: the time it takes to begin is not part of the handshake.
#[test]
fn a_handshake_may_begin_long_after_the_address_was_checked() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.log = Some(vec![]);
    let is_held = Rc::new(Cell::new(true));
    let held = is_held.clone();
    world.set_wire(move |d| if held.get() && is_dtls(&d.bytes) { vec![] } else { vec![d] });
    world.browser_calls(|offer| offer);
    world.run(Duration::from_secs(10));
    assert!(!world.is_connected(BROWSER));
    is_held.set(false);
    world.log = Some(vec![]);
    world.talk(Codec::Pcmu);
    let log = world.log.take().expect("a log");
    let hellos = sent_to(&log, birthplace())
        .iter()
        .flat_map(|d| messages(&d.bytes))
        .filter(|m| m.kind == SERVER_HELLO)
        .count();
    assert_eq!(hellos, 1, "nothing was sent again, as nothing was late");
    world.close();
}

/// What a DTLS datagram begins with: kind of record, epoch, and the handshake message.
fn beginning(datagram: &Datagram) -> Vec<u8> {
    let bytes = &datagram.bytes;
    let in_clear = bytes[3..5] == [0, 0] && bytes.len() > 18;
    let message = if in_clear { &bytes[13..19] } else { &bytes[..1] };
    [&bytes[..1], &bytes[3..5], message].concat()
}

fn worlds_with_roles() -> impl Iterator<Item = (&'static str, World)> {
    ["active", "passive"]
        .into_iter()
        .map(|role| (role, World::with_peers(Setup::default(), Codec::Pcmu)))
}

fn calls_as(world: &mut World, role: &str) {
    world.browser_calls(|offer| offer.replace("a=setup:actpass", &format!("a=setup:{role}")));
}

/// A browser that comes here from a media server was told of another end than ours: what we answer to
/// its words of then nobody hears, and in its answer to our offer it keeps the part that it had.
#[test]
fn a_browser_that_turns_out_to_wait_is_begun_with() {
    for (role, mut world) in worlds_with_roles() {
        world.open(BROWSER, Profile::WebRtc);
        let then = world.browser().offer();
        world.accept(BROWSER, SdpKind::Offer, &then);
        let unheard = world.describe(BROWSER, SdpKind::Answer, None);
        assert!(unheard.contains("a=setup:passive"), "{unheard}");
        let offer = world.describe(BROWSER, SdpKind::Offer, None);
        assert!(offer.contains("a=setup:actpass"), "{offer}");
        let answer =
            world.browser().answer(&offer.replace("setup:actpass", &format!("setup:{role}")));
        let taken = if role == "active" { "passive" } else { "active" };
        assert!(answer.contains(&format!("a=setup:{taken}")), "{answer}");
        // Its answer is on the way, and before it comes the farewell of the connection it had over there.
        world.run(Duration::from_millis(100));
        let before = world.counters();
        let farewell = [&[21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 26][..], &[7; 26]].concat();
        world.inject(birthplace(), ours(), &farewell);
        let after = world.counters();
        assert_eq!(after.dtls_before_ice, before.dtls_before_ice, "the way is known already");
        let is_begun = u64::from(taken == "active");
        assert_eq!(after.dropped_not_ready, before.dropped_not_ready + 1 - is_begun);
        world.accept(BROWSER, SdpKind::Answer, &answer);
        world.run_until("DTLS connects", |w| w.is_connected(BROWSER) && w.browser().is_connected);
        world.close();
    }
}

#[test]
fn a_handshake_survives_the_loss_of_every_message_once() {
    for (role, mut world) in worlds_with_roles() {
        let lost = Rc::new(Cell::new(0));
        let losing = |lost: Rc<Cell<u32>>| {
            let mut seen = BTreeSet::new();
            move |datagram: Datagram| {
                let is_first = is_dtls(&datagram.bytes) && seen.insert(beginning(&datagram));
                lost.set(lost.get() + u32::from(is_first));
                if is_first { vec![] } else { vec![datagram] }
            }
        };
        world.set_wire(losing(lost.clone()));
        world.set_outward_wire(losing(lost.clone()));
        calls_as(&mut world, role);
        world.talk(Codec::Pcmu);
        assert!(lost.get() >= 4, "{role}: {}", lost.get());
        world.assert_undisturbed();
        world.close();
    }
}

#[test]
fn a_handshake_survives_everything_coming_twice_and_late() {
    for (role, mut world) in worlds_with_roles() {
        let twice = || {
            let mut before: Option<Datagram> = None;
            move |datagram: Datagram| {
                if !is_dtls(&datagram.bytes) {
                    return vec![datagram];
                }
                // The one before again, behind this one.
                let again = before.replace(datagram.clone());
                [datagram.clone(), datagram].into_iter().chain(again).collect()
            }
        };
        world.set_wire(twice());
        world.set_outward_wire(twice());
        calls_as(&mut world, role);
        world.talk(Codec::Pcmu);
        world.assert_undisturbed();
        world.close();
    }
}

/// Somebody between us and the browser: the certificate is not the one that signalling named.
#[test]
fn a_wrong_certificate_ends_the_leg_and_nothing_passes() {
    for role in ["active", "passive"] {
        let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
        world.log = Some(vec![]);
        world.browser_calls(|offer| {
            let wrong = with_other_fingerprint(&offer);
            wrong.replace("a=setup:actpass", &format!("a=setup:{role}"))
        });
        world.phone().voice = Some(Voice::new(Codec::Pcmu, 1000.0));
        world.run_until("the browser believes in the connection", |w| w.browser().is_connected);
        world.browser().voice = Some(Voice::new(Codec::Pcmu, 440.0));
        world.run(Duration::from_secs(2));
        let losses: Vec<Loss> = world.losses(BROWSER).iter().map(|(_, loss)| *loss).collect();
        assert_eq!(losses, [Loss::WrongCertificate], "{role}");
        let wrong = Step::Certificate { is_right: false };
        assert_eq!(world.steps(BROWSER).last(), Some(&wrong), "{role}");
        assert!(!world.is_connected(BROWSER), "{role}");
        assert_eq!(world.counters().dtls_failed, 1);
        assert!(world.counters().dropped_not_ready > 50, "what the browser says is not taken");
        assert!(world.phone().heard.is_empty() && world.browser().heard.is_empty());
        let log = world.log.take().expect("a log");
        let is_sound = |d: &&Datagram| d.to == birthplace() && d.bytes[0] >= 128;
        assert_eq!(log.iter().filter(is_sound).count(), 0, "no packet, encrypted or not");
        world.close();
    }
}

/// Changes one digit of the certificate's hash.
fn with_other_fingerprint(offer: &str) -> String {
    let line = "a=fingerprint:sha-256 ";
    let at = offer.find(line).expect("a fingerprint") + line.len();
    let digit = if offer[at..].starts_with('0') { "1" } else { "0" };
    format!("{}{digit}{}", &offer[..at], &offer[at + 1..])
}

#[test]
fn a_browser_that_closes_its_connection_is_told_of_at_once() {
    let mut world = World::in_call();
    let at = world.now;
    world.browser().hang_up();
    world.run(Duration::from_secs(1));
    let losses = world.losses(BROWSER);
    assert_eq!(losses.len(), 1);
    let (told, loss) = losses[0];
    assert_eq!(loss, Loss::PeerClosed);
    assert!(told - at <= Duration::from_millis(20));
    assert_eq!(world.counters().dtls_failed, 0, "nothing failed");
}

/// Alerts in the clear prove nothing: anybody who knows two addresses can send one.
#[test]
fn forged_alerts_end_no_call() {
    let mut world = World::in_call();
    for alert in forged_alerts() {
        world.inject(birthplace(), ours(), &alert);
    }
    world.assert_undisturbed();
}

#[test]
fn forged_alerts_stop_no_handshake() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.set_wire(|datagram| {
        if !is_dtls(&datagram.bytes) {
            return vec![datagram];
        }
        let forged = forged_alerts().map(|bytes| Datagram { bytes, ..datagram.clone() });
        forged.chain([datagram.clone()]).collect()
    });
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world.assert_undisturbed();
}

fn forged_alerts() -> impl Iterator<Item = Vec<u8>> {
    let alerts = [(1, 0), (2, 0), (2, 40), (2, 80), (1, 100)];
    let numbers = [0, 1, 2, 3, 9, 200];
    let each = alerts.into_iter().flat_map(move |alert| numbers.map(|number| (alert, number)));
    each.flat_map(|((level, kind), number)| {
        [0, 1].map(|epoch| vec![21, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, number, 0, 2, level, kind])
    })
}

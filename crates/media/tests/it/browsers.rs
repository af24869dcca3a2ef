//! Two browsers in one call: each has keys of its own, and we hold both.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Loss, Profile, SdpKind, Step};

use crate::browser::{Browser, birthplace};
use crate::sound::{Voice, assert_continuous, assert_tone, worst_share_of};
use crate::world::{BROWSER, CALLEE, Setup, World, ours};

const CALLER_TONE: f64 = 440.0;
const CALLEE_TONE: f64 = 1000.0;

fn other_place() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 19], 6800))
}

fn call(ice_lite: bool, caller: Codec, callee: Codec) -> World {
    let mut world = World::new(Setup { ice_lite, ..Setup::default() });
    world.log = Some(vec![]);
    world.browser = Some(Browser::new(world.now, birthplace(), caller));
    world.callee = Some(Browser::new(world.now, other_place(), callee));
    world.open(BROWSER, Profile::WebRtc);
    let offer = world.browser().offer();
    world.accept(BROWSER, SdpKind::Offer, &offer);
    world.open(CALLEE, Profile::WebRtc);
    let offer = world.describe(CALLEE, SdpKind::Offer, Some(BROWSER));
    let answer = world.callee().answer(&offer);
    world.accept(CALLEE, SdpKind::Answer, &answer);
    world.command(Command::Bridge { a: BROWSER, b: CALLEE });
    let answer = world.describe(BROWSER, SdpKind::Answer, Some(CALLEE));
    world.browser().take_answer(&answer);
    world.run_until("both connect", |w| {
        w.browser().is_connected && w.callee().is_connected && w.is_connected(CALLEE)
    });
    world.browser().voice = Some(Voice::new(caller, CALLER_TONE));
    world.callee().voice = Some(Voice::new(callee, CALLEE_TONE));
    world.run(Duration::from_secs(4));
    world
}

/// A connection with what it would remember is not there for those who never speak.
#[test]
fn where_the_browser_is_to_begin_dtls_nothing_is_begun_before_it_has() {
    let mut world = World::new(Setup::default());
    world.browser = Some(Browser::new(world.now, birthplace(), Codec::Pcmu));
    world.open(BROWSER, Profile::WebRtc);
    let offer = world.browser().offer();
    world.accept(BROWSER, SdpKind::Offer, &offer);
    let answer = world.describe(BROWSER, SdpKind::Answer, None);
    assert!(answer.contains("a=setup:passive"));
    world.run(Duration::from_secs(2));
    assert_eq!(world.steps(BROWSER), []);
    world.browser().take_answer(&answer);
    world.run_until("it connects", |w| w.browser().is_connected && w.is_connected(BROWSER));
    let steps = world.steps(BROWSER);
    let begun = steps.iter().filter(|step| matches!(step, Step::DtlsStarted { is_client: false }));
    assert_eq!(begun.count(), 1, "{steps:?}");
    world.close();
}

#[test]
fn two_browsers_hear_each_other_and_nobody_else_hears_them() {
    for ice_lite in [true, false] {
        for codec in [Codec::Opus, Codec::Pcmu] {
            let mut world = call(ice_lite, codec, codec);
            let steps = world.steps(BROWSER);
            // A handshake may be waited for before a pair is chosen.
            let started = |step: &Step| matches!(step, Step::DtlsStarted { .. });
            let chosen = |step: &Step| matches!(step, Step::Pair { transport: "udp", .. });
            assert!(steps[..2].iter().any(started) && steps[..2].iter().any(chosen), "{steps:?}");
            assert_eq!(steps[2], Step::Certificate { is_right: true });
            assert!(matches!(steps[3..], [Step::Keys { .. }]), "{steps:?}");
            let ticks = codec.clock_rate() / 50;
            let said = world.browser().voice.take().expect("a voice").said;
            let heard = world.callee().heard.clone();
            assert!(heard.len() > 150 && heard.iter().all(|h| said.contains(&h.payload)));
            assert_continuous(&heard, ticks);
            assert_tone(&heard, codec, CALLER_TONE);
            let answered = world.callee().voice.take().expect("a voice").said;
            let heard = world.browser().heard.clone();
            assert!(heard.len() > 150 && heard.iter().all(|h| answered.contains(&h.payload)));
            assert_continuous(&heard, ticks);
            assert_tone(&heard, codec, CALLEE_TONE);
            assert_eq!(world.counters().packets_transcoded, 0);
            let log = world.log.take().expect("a log");
            let is_open = |bytes: &[u8]| {
                bytes[0] >= 128 && said.iter().any(|word| bytes[12..].starts_with(&word[..10]))
            };
            assert!(!log.iter().any(|d| is_open(&d.bytes)), "nothing is on the wire in the clear");
            world.close();
        }
    }
}

#[test]
fn two_browsers_without_a_common_codec_are_translated_for() {
    let mut world = call(true, Codec::Opus, Codec::Pcmu);
    world.run(Duration::from_secs(2));
    let heard = world.callee().heard.clone();
    assert!(worst_share_of(&heard[20..], Codec::Pcmu, CALLER_TONE) > 0.8);
    let heard = world.browser().heard.clone();
    assert!(worst_share_of(&heard[20..], Codec::Opus, CALLEE_TONE) > 0.8);
    world.close();
}

/// What one browser sent is nothing under the other's address: its key is another.
#[test]
fn packets_of_one_leg_prove_nothing_on_another() {
    let mut world = call(true, Codec::Pcmu, Codec::Pcmu);
    let log = world.log.take().expect("a log");
    let bad = world.counters().dropped_bad_tag;
    let mut crossed = 0;
    for datagram in log.iter().filter(|d| d.to == ours() && d.bytes[0] >= 128) {
        let other = if datagram.from == birthplace() { other_place() } else { birthplace() };
        world.inject(other, ours(), &datagram.bytes);
        crossed += 1;
    }
    let log = log.iter().filter(|d| d.to == ours() && d.bytes[0] < 4 && d.bytes[1] == 1);
    let refused = world.counters().stun_refused;
    let mut checks = 0;
    for datagram in log {
        let other = if datagram.from == birthplace() { other_place() } else { birthplace() };
        world.inject(other, ours(), &datagram.bytes);
        checks += 1;
    }
    assert!(crossed > 300 && checks > 3);
    assert_eq!(world.counters().dropped_bad_tag, bad + crossed);
    assert!(world.counters().stun_refused >= refused + 3);
    let heard = (world.browser().heard.len(), world.callee().heard.len());
    world.run(Duration::from_secs(1));
    assert!(world.browser().heard.len() >= heard.0 + 49);
    assert!(world.callee().heard.len() >= heard.1 + 49);
    world.close();
}

#[test]
fn the_leg_that_is_gone_is_told_and_not_the_other() {
    let mut world = call(true, Codec::Opus, Codec::Opus);
    world.callee().is_cut = true;
    world.run(Duration::from_secs(30));
    let losses: Vec<Loss> = world.losses(CALLEE).iter().map(|(_, loss)| *loss).collect();
    assert_eq!(losses, [Loss::ConsentExpired]);
    assert!(!world.is_lost(BROWSER));
    world.close();
}

//! How well each leg is heard: samples every five seconds, and legs that are not heard at all.

use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Event, LegStats, QualitySample, SdpKind, Silence};

use crate::browser::birthplace;
use crate::story::desk;
use crate::world::{BROWSER, Datagram, PHONE, Setup, World};

fn samples(world: &World, wanted: LegId) -> Vec<QualitySample> {
    let sample = |(_, event): &(_, Event)| match event {
        Event::Quality { leg, sample } if *leg == wanted => Some(*sample),
        _ => None,
    };
    world.events.iter().filter_map(sample).collect()
}

/// What was told of whether a leg is heard.
fn silences(world: &World, wanted: LegId) -> Vec<Option<Silence>> {
    let told = |(_, event): &(_, Event)| match event {
        Event::Silent { leg, when } if *leg == wanted => Some(Some(*when)),
        Event::Heard { leg } if *leg == wanted => Some(None),
        _ => None,
    };
    world.events.iter().filter_map(told).collect()
}

pub(crate) fn stats(world: &mut World, wanted: LegId) -> LegStats {
    world.command(Command::Close { leg: wanted });
    let closed = world.events.iter().find_map(|(_, event)| match event {
        Event::Closed { leg, stats } if *leg == wanted => Some(*stats),
        _ => None,
    });
    closed.expect("a leg that was closed")
}

/// Loses each tenth packet of sound between these two.
fn losing(from: std::net::SocketAddr) -> impl FnMut(Datagram) -> Vec<Datagram> {
    let mut count = 0;
    move |datagram| {
        count += u32::from(datagram.from == from);
        if datagram.from == from && count % 10 == 0 { vec![] } else { vec![datagram] }
    }
}

fn answered(world: &mut World) {
    for leg in [BROWSER, PHONE] {
        world.command(Command::Answered { leg });
    }
}

#[test]
fn a_call_is_sampled_every_five_seconds_and_at_its_end() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(32));
    for leg in [BROWSER, PHONE] {
        let all = samples(&world, leg);
        assert!((5..=6).contains(&all.len()), "{leg:?}: {}", all.len());
        for sample in &all {
            assert_eq!(sample.packets_lost, 0, "{sample:?}");
            assert!(sample.mos.is_some_and(|mos| mos.hundredths() >= 435), "{sample:?}");
        }
        for sample in &all[1..] {
            assert!((248..=252).contains(&sample.packets_received), "{sample:?}");
        }
        let before = all.len();
        let stats = stats(&mut world, leg);
        assert_eq!(samples(&world, leg).len(), before + 1, "the rest");
        assert!(stats.mos_lowest.is_some() && stats.mos >= stats.mos_lowest, "{stats:?}");
        assert!(stats.jitter_max >= stats.jitter);
    }
    let last = samples(&world, BROWSER).pop().and_then(|sample| sample.at_peer);
    let at_peer = last.expect("str0m reports on what it hears");
    assert_eq!(at_peer.packets_lost, 0);
    let all = [world.counters().webrtc, world.counters().rtp];
    for kind in all {
        let count = |h: crosspoint_media::shard::Histogram| h.counts.iter().sum::<u64>();
        assert!((6..=7).contains(&count(kind.mos)), "{kind:?}");
        assert_eq!(count(kind.mos), count(kind.loss));
        assert_eq!(kind.loss.counts[0], count(kind.loss), "none was lost");
    }
}

/// A tenth of the phone's packets: R is 93.2 - 1.5 by delay - 27.1 by loss.
#[test]
fn loss_lowers_the_score_of_the_leg_that_it_is_on() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(1));
    world.set_wire(losing(desk()));
    world.run(Duration::from_secs(21));
    let phone = stats(&mut world, PHONE);
    let mos = phone.mos_lowest.expect("a score").hundredths();
    assert!((315..=345).contains(&mos), "{mos}");
    assert!(phone.mos > phone.mos_lowest, "the beginning was better");
    let browser = stats(&mut world, BROWSER);
    assert!(browser.mos_lowest.is_some_and(|m| m.hundredths() > 430), "{browser:?}");
}

/// What gets lost behind us only the peer can tell.
#[test]
fn a_peer_tells_what_it_does_not_hear() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(1));
    let mut lose = losing(crate::world::ours());
    world.set_outward_wire(move |d| if d.to == birthplace() { lose(d) } else { vec![d] });
    world.run(Duration::from_secs(20));
    let all = samples(&world, BROWSER);
    let at_peer = all.last().and_then(|s| s.at_peer).expect("what the browser hears");
    assert!((0.05..0.2).contains(&at_peer.loss), "{at_peer:?}");
    let stats = stats(&mut world, BROWSER);
    assert!(stats.lost_at_peer.is_some_and(|lost| lost > 40), "{stats:?}");
    assert_eq!(stats.packets_lost, 0);
}

#[test]
fn a_call_of_two_seconds_has_a_score() {
    let mut world = World::in_call();
    world.run(Duration::from_secs(2));
    assert!(samples(&world, PHONE).is_empty());
    assert!(stats(&mut world, PHONE).mos.is_some());
}

#[test]
fn a_call_without_media_has_no_score() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.browser_calls(|offer| offer);
    world.run(Duration::from_secs(12));
    let stats = stats(&mut world, PHONE);
    assert_eq!((stats.mos, stats.mos_lowest, stats.silences), (None, None, 0));
    assert!(samples(&world, PHONE).is_empty());
}

#[test]
fn nobody_is_missed_before_the_answer() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.browser_calls(|offer| offer);
    world.run(Duration::from_secs(20));
    assert_eq!(silences(&world, PHONE), []);
    answered(&mut world);
    world.run(Duration::from_millis(2900));
    assert_eq!(silences(&world, PHONE), []);
    world.run(Duration::from_millis(1200));
    for leg in [BROWSER, PHONE] {
        assert_eq!(silences(&world, leg), [Some(Silence::Start)]);
    }
    // Told once, however long it lasts.
    world.run(Duration::from_secs(5));
    assert_eq!(silences(&world, PHONE), [Some(Silence::Start)]);
    world.talk(Codec::Pcmu);
    world.run(Duration::from_secs(2));
    assert_eq!(silences(&world, PHONE), [Some(Silence::Start), None]);
    let counters = world.counters();
    assert_eq!((counters.webrtc.silent_start, counters.rtp.silent_start), (1, 1));
    assert_eq!((counters.webrtc.silent_running, counters.rtp.silent_running), (0, 0));
    assert_eq!(stats(&mut world, PHONE).silences, 1);
}

#[test]
fn a_phone_that_falls_silent_is_told_of_each_time() {
    let mut world = World::in_call();
    answered(&mut world);
    world.run(Duration::from_secs(5));
    for _ in 0..2 {
        world.phone().is_silent = true;
        world.run(Duration::from_secs(8));
        world.phone().is_silent = false;
        world.run(Duration::from_secs(8));
    }
    let running = Some(Silence::Running);
    assert_eq!(silences(&world, PHONE), [running, None, running, None]);
    assert_eq!(silences(&world, BROWSER), []);
    assert_eq!(world.counters().rtp.silent_running, 2);
    assert_eq!(stats(&mut world, PHONE).silences, 2);
    assert_eq!(stats(&mut world, BROWSER).silences, 0);
}

#[test]
fn a_phone_on_hold_may_be_silent_and_not_for_longer() {
    let mut world = World::in_call();
    answered(&mut world);
    let offer = world.phone().offer().replace("a=sendrecv", "a=inactive");
    world.accept(PHONE, SdpKind::Offer, &offer.replace("o=- 5 1", "o=- 5 2"));
    world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
    world.phone().is_silent = true;
    world.run(Duration::from_secs(20));
    assert_eq!(silences(&world, PHONE), []);
    let offer = world.phone().offer();
    world.accept(PHONE, SdpKind::Offer, &offer.replace("o=- 5 1", "o=- 5 3"));
    world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
    world.run(Duration::from_secs(2));
    assert_eq!(silences(&world, PHONE), [], "it has its three seconds");
    world.run(Duration::from_secs(3));
    assert_eq!(silences(&world, PHONE), [Some(Silence::Running)]);
}

/// Reports of a peer are no sound.
#[test]
fn who_joins_an_answered_leg_is_to_be_heard() {
    let mut world = World::in_call();
    world.command(Command::Answered { leg: BROWSER });
    world.bridge();
    world.run(Duration::from_secs(1));
    world.phone().voice = None;
    world.run(Duration::from_secs(5));
    assert_eq!(silences(&world, PHONE), [Some(Silence::Running)]);
}

//! Sound over a network that loses, delays and turns around, between clocks that differ.

use std::time::Duration;

use crosspoint_base::Rng;
use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Event, LegStats, SdpKind};

use crate::sound::{Voice, assert_continuous, share_of, worst_share_of};
use crate::story::{BROWSER_TONE, PHONE_TONE};
use crate::world::{BROWSER, Datagram, PHONE, Setup, World};

fn call(codec: Codec) -> World {
    let mut world = World::with_peers(Setup::default(), codec);
    world.browser_calls(|offer| offer);
    world.talk(codec);
    world
}

fn is_sound(datagram: &Datagram) -> bool {
    datagram.bytes[0] >= 128 && !(192..224).contains(&datagram.bytes[1])
}

fn stats(world: &mut World, wanted: crosspoint_base::LegId) -> LegStats {
    world.close();
    let closed = world.events.iter().find_map(|(_, event)| match event {
        Event::Closed { leg, stats } if *leg == wanted => Some(*stats),
        _ => None,
    });
    closed.expect("a leg that was closed")
}

/// One packet in twenty is lost on its way to us, each way.
fn lossy() -> impl FnMut(Datagram) -> Vec<Datagram> {
    let mut rng = Rng::from_u64(8);
    move |datagram| {
        let is_lost = is_sound(&datagram) && rng.below(20) == 0;
        if is_lost { vec![] } else { vec![datagram] }
    }
}

/// Every fourth packet changes places with the next.
fn turning() -> impl FnMut(Datagram) -> Vec<Datagram> {
    let mut held: Vec<Datagram> = vec![];
    let mut count = 0;
    move |datagram| {
        if !is_sound(&datagram) {
            return vec![datagram];
        }
        count += 1;
        let same = held.iter().position(|d| d.from == datagram.from);
        match same {
            Some(index) => vec![datagram, held.swap_remove(index)],
            None if count % 4 == 0 => {
                held.push(datagram);
                vec![]
            }
            None => vec![datagram],
        }
    }
}

#[test]
fn lost_packets_are_made_up_for_where_sound_is_translated() {
    let mut world = call(Codec::Opus);
    world.set_wire(lossy());
    world.run(Duration::from_secs(20));
    for (heard, codec, tone) in [
        (world.browser().heard.clone(), Codec::Opus, PHONE_TONE),
        (world.phone().heard.clone(), Codec::Pcmu, BROWSER_TONE),
    ] {
        assert_continuous(&heard[20..], codec.clock_rate() / 50);
        let share = worst_share_of(&heard, codec, tone);
        assert!(share > 0.6, "{share:.2} of the sound is at {tone} Hz");
    }
}

#[test]
fn lost_packets_are_told_of_where_sound_passes_through() {
    let mut world = call(Codec::Pcmu);
    world.run(Duration::from_secs(1));
    world.set_wire(lossy());
    world.run(Duration::from_secs(60));
    world.assert_own_words();
    world.phone().reports.clear();
    world.run(Duration::from_secs(10));
    let reports = std::mem::take(&mut world.phone().reports);
    let block = reports.last().and_then(|r| r.blocks.first()).copied().expect("a report");
    // A twentieth of 3500 packets, and of 256.
    assert!((120..=240).contains(&block.total_lost), "{block:?}");
    assert!((3..=26).contains(&block.fraction_lost), "{block:?}");
    let lost = stats(&mut world, PHONE).packets_lost;
    assert!((120..=240).contains(&lost), "{lost}");
}

#[test]
fn packets_out_of_order_are_put_in_order_where_sound_is_translated() {
    let mut world = call(Codec::Opus);
    world.set_wire(turning());
    world.run(Duration::from_secs(20));
    for (heard, codec, tone) in [
        (world.browser().heard.clone(), Codec::Opus, PHONE_TONE),
        (world.phone().heard.clone(), Codec::Pcmu, BROWSER_TONE),
    ] {
        let share = worst_share_of(&heard, codec, tone);
        assert!(share > 0.7, "{share:.2} of the sound is at {tone} Hz");
    }
    assert_eq!(stats(&mut world, BROWSER).packets_lost, 0);
}

/// A phone whose crystal is wrong by a thousandth is still heard after some minutes, and no
/// later than at the beginning.
#[test]
fn clocks_that_differ_neither_starve_nor_flood() {
    for word in [19_980, 20_020] {
        let mut world = call(Codec::Opus);
        world.phone().word = Duration::from_micros(word);
        world.run(Duration::from_secs(240));
        let heard = world.browser().heard.clone();
        assert_continuous(&heard[20..], 960);
        let share = worst_share_of(&heard, Codec::Opus, PHONE_TONE);
        assert!(share > 0.6, "{word}: {share:.2} of the sound is the phone's");
        // Silence comes through as fast as sound did: nothing has piled up.
        world.phone().is_silent = true;
        world.run(Duration::from_millis(400));
        let heard = world.browser().heard.len();
        world.run(Duration::from_secs(1));
        let silence = &world.browser().heard[heard..];
        assert!(silence.len() >= 40 && share_of(silence, Codec::Opus, PHONE_TONE) < 0.2);
    }
}

/// Hours of numbers in two minutes, by gaps as great as pass for loss.
#[test]
fn numbers_turn_over_again_and_again() {
    let mut world = call(Codec::Pcmu);
    for _ in 0..100 {
        world.phone().skip(2900);
        world.browser().skip(2900);
        let (browser, phone) = (world.browser().heard.len(), world.phone().heard.len());
        world.run(Duration::from_secs(1));
        assert!(world.browser().heard.len() >= browser + 49);
        assert!(world.phone().heard.len() >= phone + 49);
    }
    for heard in [world.browser().heard.clone(), world.phone().heard.clone()] {
        let turns = heard.windows(2).filter(|w| w[1].seq < w[0].seq).count();
        assert!(turns >= 4, "{turns}");
    }
    world.assert_own_words();
    let counters = world.counters();
    assert_eq!((counters.dropped_bad_tag, counters.dropped_out_of_order), (0, 0));
}

#[test]
fn packets_of_any_length_are_translated() {
    for milliseconds in [10, 30, 40, 60] {
        for codec in [Codec::Pcmu, Codec::G722] {
            let mut world = call(Codec::Opus);
            if codec == Codec::G722 {
                let offer = world.phone().offer().replace("o=- 5 1", "o=- 5 2");
                let offer = offer.replace(" 0 101", " 9 101").replace("0 PCMU", "9 G722");
                world.accept(PHONE, SdpKind::Offer, &offer);
                world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
            }
            world.phone().voice = Some(Voice::new(codec, PHONE_TONE).cut(milliseconds));
            world.phone().word = Duration::from_millis(u64::from(milliseconds));
            world.run(Duration::from_secs(10));
            let heard = world.browser().heard.clone();
            assert_continuous(&heard[20..], 960);
            let share = worst_share_of(&heard[100..], Codec::Opus, PHONE_TONE);
            assert!(share > 0.75, "{share:.2} of {milliseconds} ms of {codec}");
        }
    }
}

/// What we encode for a phone comes in packets as long as it wants, in time with the clock.
#[test]
fn packets_are_as_long_as_the_phone_wants() {
    for (lines, milliseconds) in [
        ("a=ptime:10\r\n", 10),
        ("", 20),
        ("a=ptime:30\r\n", 30),
        ("a=ptime:60\r\na=maxptime:40\r\n", 40),
        ("a=ptime:60\r\n", 60),
    ] {
        for codec in [Codec::Pcmu, Codec::G722] {
            let mut world = call(Codec::Opus);
            let offer = world.phone().offer().replace("o=- 5 1", "o=- 5 2") + lines;
            let offer = match codec {
                Codec::G722 => offer.replace(" 0 101", " 9 101").replace("0 PCMU", "9 G722"),
                _ => offer,
            };
            world.accept(PHONE, SdpKind::Offer, &offer);
            world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
            world.run(Duration::from_millis(200));
            world.phone().heard.clear();
            world.run(Duration::from_secs(6));
            let heard = world.phone().heard.clone();
            assert!(heard.len() >= 5900 / milliseconds, "{} of {codec}", heard.len());
            assert_continuous(&heard, 8 * milliseconds as u32);
            assert!(heard.iter().all(|h| h.payload.len() == 8 * milliseconds), "{lines}");
            let share = worst_share_of(&heard, codec, BROWSER_TONE);
            assert!(share > 0.75, "{share:.2} of {milliseconds} ms of {codec}");
        }
    }
}

/// A digit in the midst of sound takes as much time as it lasts, whatever the packets.
#[test]
fn time_goes_on_while_a_digit_is_sent() {
    for milliseconds in [10, 20, 60] {
        let mut world = call(Codec::Opus);
        let line = format!("a=ptime:{milliseconds}\r\n");
        let offer = world.phone().offer().replace("o=- 5 1", "o=- 5 2") + &line;
        world.accept(PHONE, SdpKind::Offer, &offer);
        world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
        world.run(Duration::from_millis(500));
        world.phone().heard.clear();
        world.run(Duration::from_millis(200));
        let (digit, duration) = ('5', Duration::from_millis(160));
        world.command(Command::SendDtmf { leg: PHONE, digit, duration });
        world.run(Duration::from_secs(2));
        let heard = world.phone().heard.clone();
        let (first, last) = (heard.first().expect("sound"), heard.last().expect("sound"));
        let said = last.timestamp.wrapping_sub(first.timestamp) / 8;
        assert!((2080..=2260).contains(&said), "{said} ms of {milliseconds}");
        let sound: Vec<_> = heard.iter().filter(|h| h.pt == 0).collect();
        let after = sound.iter().position(|h| h.marker).expect("sound after the digit");
        let gap = sound[after].timestamp.wrapping_sub(sound[after - 1].timestamp) / 8;
        assert!((180..=320).contains(&gap), "{gap} ms of {milliseconds}");
    }
}

//! Digits as RTP events (RFC 4733) between a browser and a phone, whatever their codecs and
//! clocks, and with some of their packets lost. Each is heard once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Event, SdpKind};
use crosspoint_media::dtmf::EventPayload;

use crate::browser::{EVENT_8, EVENT_48};
use crate::phone::SSRC;
use crate::sound::{Heard, Voice};
use crate::story::{BROWSER_TONE, PHONE_TONE};
use crate::world::{BROWSER, PHONE, Setup, World};

const PHONE_EVENT: u8 = 101;
const WORD: Duration = Duration::from_millis(20);

/// A key's payloads: ten of them, the last three times.
fn key(event: u8, clock: u32) -> Vec<Vec<u8>> {
    let payload = |n: u32, end| {
        let duration = u16::try_from(n * clock / 50).expect("a short key");
        EventPayload { event, end, duration }.encode().to_vec()
    };
    let mut out: Vec<Vec<u8>> = (1..10).map(|n| payload(n, false)).collect();
    out.extend((0..3).map(|_| payload(10, true)));
    out
}

/// What keys somebody heard: event and length in milliseconds.
fn keys(heard: &[Heard], pt: u8, clock: u32) -> Vec<(u8, u32)> {
    let mut out: Vec<(u32, EventPayload)> = vec![];
    for packet in heard.iter().filter(|h| h.pt == pt) {
        let payload = EventPayload::parse(&packet.payload).expect("an event");
        match out.last_mut() {
            Some((timestamp, last)) if *timestamp == packet.timestamp => *last = payload,
            _ => {
                assert!(packet.marker, "the first packet of a key is marked");
                out.push((packet.timestamp, payload));
            }
        }
    }
    assert!(out.iter().all(|(_, payload)| payload.end), "every key comes to its end");
    out.iter().map(|(_, p)| (p.event, u32::from(p.duration) * 1000 / clock)).collect()
}

impl World {
    fn call_with(codec: Codec) -> Self {
        let mut world = Self::with_peers(Setup::default(), codec);
        world.browser_calls(|offer| offer);
        world.talk(codec);
        world
    }

    /// The browser presses a key; packets whose number is in `lost` do not arrive.
    fn browser_presses(&mut self, event: u8, codec: Codec, lost: &[usize]) {
        let (pt, clock) = browser_event(codec);
        let voice = self.browser().voice.take();
        self.browser().skip_time(clock / 50);
        for (n, payload) in key(event, clock).into_iter().enumerate() {
            if lost.contains(&n) {
                self.browser().skip_number();
            } else {
                let now = self.now;
                self.browser().write(now, pt, payload, n == 0);
            }
            self.run(WORD);
        }
        self.browser().voice = voice;
        self.run(Duration::from_millis(300));
    }

    fn phone_presses(&mut self, event: u8, lost: &[usize]) {
        self.phone().is_silent = true;
        let gateway = self.phone().gateway.expect("a port of ours");
        let address = self.phone().address;
        let ticks = self.phone().voice.as_ref().expect("a voice").ticks();
        let timestamp = self.phone().timestamp.wrapping_add(ticks);
        let (pt, clock) = self.phone().event;
        for (n, payload) in key(event, clock).into_iter().enumerate() {
            let phone = self.phone();
            phone.seq = phone.seq.wrapping_add(1);
            let mut packet = crate::phone::rtp(phone.seq, timestamp, SSRC, &payload);
            packet[1] = pt | if n == 0 { 0x80 } else { 0 };
            if !lost.contains(&n) {
                self.inject(address, gateway, &packet);
            }
            self.run(WORD);
        }
        self.phone().timestamp = timestamp.wrapping_add(12 * ticks);
        self.phone().is_silent = false;
        self.run(Duration::from_millis(300));
    }

    /// The digits that were told of a leg, and whether each goes on by itself.
    fn told_digits(&self, wanted: crosspoint_base::LegId) -> Vec<(char, u128, bool)> {
        let digit = |(_, event): &(std::time::Instant, Event)| match event {
            Event::Dtmf { leg, digit, duration, relayed } if *leg == wanted => {
                Some((*digit, duration.as_millis(), *relayed))
            }
            _ => None,
        };
        self.events.iter().filter_map(digit).collect()
    }
}

fn browser_event(codec: Codec) -> (u8, u32) {
    if codec == Codec::Opus { (EVENT_48, 48_000) } else { (EVENT_8, 8000) }
}

#[test]
fn a_browsers_keys_reach_the_phone_once_each() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = World::call_with(codec);
        for event in [5, 5, 11, 0] {
            world.browser_presses(event, codec, &[]);
        }
        let all = [('5', 200, true), ('5', 200, true), ('#', 200, true), ('0', 200, true)];
        assert_eq!(world.told_digits(BROWSER), all, "{codec}");
        let heard = keys(&world.phone().heard, PHONE_EVENT, 8000);
        assert_eq!(heard, [(5, 200), (5, 200), (11, 200), (0, 200)], "{codec}");
    }
}

#[test]
fn a_phones_keys_reach_the_browser_once_each() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = World::call_with(codec);
        for event in [1, 1, 10, 9] {
            world.phone_presses(event, &[]);
        }
        let all = [('1', 200, true), ('1', 200, true), ('*', 200, true), ('9', 200, true)];
        assert_eq!(world.told_digits(PHONE), all, "{codec}");
        let (pt, clock) = browser_event(codec);
        let heard = keys(&world.browser().heard, pt, clock);
        assert_eq!(heard, [(1, 200), (1, 200), (10, 200), (9, 200)], "{codec}");
    }
}

/// Sound that passes through and sound that is translated, digits of the sound's clock and of
/// another: each key comes once, as long as it was pressed.
#[test]
fn keys_go_both_ways_through_every_pair_of_codecs_and_clocks() {
    let phones = [(Codec::Pcmu, "0"), (Codec::G722, "9"), (Codec::Opus, "111")];
    for browser in [Codec::Opus, Codec::Pcmu] {
        for (phone, numbers) in phones {
            for (number, clock) in [(PHONE_EVENT, 8000), (110, 48_000)] {
                let pair = format!("{browser} to {phone} with digits at {clock}");
                let mut world = World::with_peers(Setup::default(), browser);
                world.phone().with(&format!("{numbers} {number}"), "a=rtpmap:111 opus/48000/2\r\n");
                world.phone().event = (number, clock);
                world.browser_calls(|offer| offer);
                world.run_until("DTLS connects", |w| w.browser().is_connected);
                world.browser().voice = Some(Voice::new(browser, BROWSER_TONE));
                world.phone().voice = Some(Voice::new(phone, PHONE_TONE));
                world.run(Duration::from_millis(400));
                for event in [5, 11] {
                    world.browser_presses(event, browser, &[]);
                    world.phone_presses(event, &[]);
                }
                let told = [('5', 200, true), ('#', 200, true)];
                assert_eq!(world.told_digits(BROWSER), told, "{pair}");
                assert_eq!(world.told_digits(PHONE), told, "{pair}");
                let expected = [(5, 200), (11, 200)];
                assert_eq!(keys(&world.phone().heard, number, clock), expected, "{pair}");
                let (pt, theirs) = browser_event(browser);
                assert_eq!(keys(&world.browser().heard, pt, theirs), expected, "{pair}");
            }
        }
    }
}

/// The ends of a key are lost, or its beginning, or all but one packet.
#[test]
fn a_key_is_heard_once_though_packets_of_it_are_lost() {
    for lost in [vec![9, 10, 11], vec![0, 1, 2], (0..11).collect(), (1..12).collect()] {
        let mut world = World::call_with(Codec::Opus);
        world.browser_presses(7, Codec::Opus, &lost);
        world.phone_presses(8, &lost);
        let digits = |world: &World, leg| -> Vec<char> {
            world.told_digits(leg).iter().map(|(digit, ..)| *digit).collect()
        };
        assert_eq!(digits(&world, BROWSER), ['7'], "{lost:?}");
        assert_eq!(digits(&world, PHONE), ['8'], "{lost:?}");
        let events =
            |keys: Vec<(u8, u32)>| keys.iter().map(|(event, _)| *event).collect::<Vec<_>>();
        assert_eq!(events(keys(&world.phone().heard, PHONE_EVENT, 8000)), [7], "{lost:?}");
        assert_eq!(events(keys(&world.browser().heard, EVENT_48, 48_000)), [8], "{lost:?}");
    }
}

#[test]
fn sound_goes_on_after_keys_without_a_gap_in_its_numbers() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = World::call_with(codec);
        world.browser_presses(3, codec, &[]);
        world.phone_presses(4, &[]);
        world.run(Duration::from_secs(1));
        for heard in [world.browser().heard.clone(), world.phone().heard.clone()] {
            for pair in heard.windows(2) {
                assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1), "{codec}");
                let ahead = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
                assert!(ahead < codec.clock_rate(), "{codec}: {ahead} ticks");
            }
        }
        let last = world.phone().heard.last().expect("sound").pt;
        assert_eq!(last, 0, "it is sound again");
    }
}

#[test]
fn keys_by_signaling_become_events() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = World::call_with(codec);
        for leg in [BROWSER, PHONE] {
            for digit in ['1', '*', 'D'] {
                let duration = Duration::from_millis(100);
                world.command(Command::SendDtmf { leg, digit, duration });
            }
        }
        world.run(Duration::from_secs(2));
        let (pt, clock) = browser_event(codec);
        let expected = [(1, 100), (10, 100), (15, 100)];
        assert_eq!(keys(&world.browser().heard, pt, clock), expected, "{codec}");
        assert_eq!(keys(&world.phone().heard, PHONE_EVENT, 8000), expected, "{codec}");
        // We do not hear ourselves.
        assert!(world.told_digits(BROWSER).is_empty() && world.told_digits(PHONE).is_empty());
    }
}

/// A phone presses a key as soon as it is answered, while the browser's keys are still being made.
#[test]
fn keys_by_signaling_wait_for_dtls_but_not_for_ever() {
    let key = |digit| {
        let duration = Duration::from_millis(100);
        Command::SendDtmf { leg: BROWSER, digit, duration }
    };
    let cut = Rc::new(Cell::new(true));
    let mut world = World::with_peers(Setup::default(), Codec::Opus);
    let is_cut = cut.clone();
    world.set_wire(move |datagram| if is_cut.get() { vec![] } else { vec![datagram] });
    world.browser_calls(|offer| offer);
    world.command(key('1'));
    world.run(Duration::from_secs(4));
    world.command(key('2'));
    world.run(Duration::from_millis(1500));
    assert!(!world.is_connected(BROWSER));
    cut.set(false);
    world.talk(Codec::Opus);
    world.run(Duration::from_secs(1));
    assert_eq!(keys(&world.browser().heard, EVENT_48, 48_000), [(2, 100)]);
}

/// A phone that knows no events: the call has to tell the digit by signalling.
#[test]
fn keys_that_the_other_side_cannot_take_are_told_as_such() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    let offer = world.phone().offer().replace("o=- 5 1", "o=- 5 2").replace(" 0 101", " 0");
    let offer: Vec<&str> = offer.lines().filter(|l| !l.contains("telephone-event")).collect();
    world.accept(PHONE, SdpKind::Offer, &(offer.join("\r\n") + "\r\n"));
    world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
    let heard = world.phone().heard.len();
    world.browser_presses(6, Codec::Pcmu, &[]);
    assert_eq!(world.told_digits(BROWSER), [('6', 200, false)]);
    assert!(world.phone().heard[heard..].iter().all(|h| h.pt == 0), "no event to the phone");
}

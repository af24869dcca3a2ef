//! Copies of what legs say, and the recording that comes of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::capture::{self, CaptureReader, Captured, Meaning};
use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, SdpKind, Tap};
use crosspoint_media::recording::{Channel, RATE, Recording};
use crosspoint_media::rtp::Header;
use crosspoint_media::srtp::Profile;
use crosspoint_media::tap::{self, TapReader};

use crate::phone::{Keys, SSRC};
use crate::sound::share;
use crate::story::{BROWSER_TONE, PHONE_TONE};
use crate::world::{BROWSER, PHONE, Setup, World, ours};

/// A browser in one codec and a phone in another, recorded while they hear each other.
#[test]
fn a_recorded_call_has_each_side_in_its_channel() {
    let mut world = World::with_peers(Setup::default(), Codec::Opus);
    let (writer, mut reader) = tap::ring(1 << 20, world.now);
    world.shard.set_taps(Some(writer), None);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Opus);
    world.run(Duration::from_secs(1));
    assert_eq!(reader.read(), None, "nobody asked for copies");

    let mut recording = Recording::new(world.now);
    for leg in [BROWSER, PHONE] {
        world.command(Command::Tap { leg, tap: Tap::Record, is_on: true });
        world.command(Command::Tap { leg, tap: Tap::Stream, is_on: true });
    }
    let mut stereo = Vec::new();
    for _ in 0..30 {
        world.run(Duration::from_millis(100));
        while let Some(packet) = reader.read() {
            let channel = if packet.leg == BROWSER { Channel::Caller } else { Channel::Called };
            recording.handle_packet(channel, packet);
        }
        stereo.extend_from_slice(recording.advance(world.now));
    }
    for leg in [BROWSER, PHONE] {
        world.command(Command::Tap { leg, tap: Tap::Record, is_on: false });
    }
    world.run(Duration::from_millis(100));
    assert_eq!(reader.read(), None, "nobody asks for copies any more");
    assert_eq!(reader.lost(), 0);
    stereo.extend_from_slice(recording.finish(world.now));
    let side = |n: usize| -> Vec<i16> {
        let samples = stereo.iter().skip(n).step_by(2);
        samples.skip(RATE as usize / 2).take(2 * RATE as usize).copied().collect()
    };
    let (left, right) = (side(0), side(1));
    for (side, own, other) in
        [(&left, BROWSER_TONE, PHONE_TONE), (&right, PHONE_TONE, BROWSER_TONE)]
    {
        let window = RATE as usize / 10;
        let shares = |hz| {
            side.chunks_exact(window).map(move |part| share(part, hz * 8000.0 / f64::from(RATE)))
        };
        let least = shares(own).fold(1.0, f64::min);
        let most = shares(other).fold(0.0, f64::max);
        assert!(least > 0.8 && most < 0.05, "{own} Hz: {least} {most}");
    }
    world.close();
}

/// A recording of the call, and what it has written.
struct Tape {
    reader: TapReader,
    recording: Recording,
    stereo: Vec<i16>,
}

impl Tape {
    fn begin(world: &mut World, reader: TapReader) -> Self {
        for leg in [BROWSER, PHONE] {
            world.command(Command::Tap { leg, tap: Tap::Record, is_on: true });
        }
        Self { reader, recording: Recording::new(world.now), stereo: vec![] }
    }

    fn run(&mut self, world: &mut World, time: Duration) {
        let until = world.now + time;
        while world.now < until {
            world.run(Duration::from_millis(50));
            self.listen(world.now);
        }
    }

    fn listen(&mut self, now: Instant) {
        while let Some(packet) = self.reader.read() {
            let is_caller = packet.leg == BROWSER;
            let channel = if is_caller { Channel::Caller } else { Channel::Called };
            self.recording.handle_packet(channel, packet);
        }
        self.stereo.extend_from_slice(self.recording.advance(now));
    }

    /// Which twentieths of a second of a side are its tone, from the beginning on.
    fn sings(&self, side: usize, hertz: f64) -> Vec<bool> {
        let samples: Vec<i16> = self.stereo.iter().skip(side).step_by(2).copied().collect();
        let parts = samples.chunks_exact(RATE as usize / 20);
        parts.map(|part| share(part, hertz * 8000.0 / f64::from(RATE)) > 0.8).collect()
    }
}

/// A laptop that leaves its dock, or a page that begins ICE again where it is: the record holds
/// each side at its time, and misses of the browser what never reached us.
#[test]
fn a_record_goes_on_through_a_restart_of_ice_with_right_times() {
    for moves in [false, true] {
        let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
        let (writer, reader) = tap::ring(1 << 20, world.now);
        world.shard.set_taps(Some(writer), None);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let begun = world.now;
        let mut tape = Tape::begin(&mut world, reader);
        tape.run(&mut world, Duration::from_secs(3));

        let moved = world.now;
        let offer = world.browser().offer_restart();
        if moves {
            world.browser().move_behind(SocketAddr::from(([198, 51, 100, 99], 4321)));
            // The signalling takes a moment.
            tape.run(&mut world, Duration::from_millis(300));
        }
        let heard = world.phone().heard.len();
        world.accept(BROWSER, SdpKind::Offer, &offer);
        let answer = world.describe(BROWSER, SdpKind::Answer, Some(PHONE));
        world.browser().take_answer(&answer);
        world.run_until("the phone hears the browser", |w| w.phone().heard.len() > heard);
        let back = world.now;
        tape.run(&mut world, Duration::from_secs(4));
        let quiet = world.now;
        (world.browser().voice, world.phone().voice) = (None, None);
        tape.run(&mut world, Duration::from_secs(2));
        let rest = tape.recording.finish(world.now).to_vec();
        tape.stereo.extend(rest);

        let elapsed = (world.now - begun).as_micros() as usize * RATE as usize / 1_000_000;
        assert!(tape.stereo.len() / 2 == elapsed, "{} of {elapsed}", tape.stereo.len() / 2);
        let part = |at: Instant| (at - begun).as_millis() as usize / 50;
        let (caller, called) = (tape.sings(0, BROWSER_TONE), tape.sings(1, PHONE_TONE));
        // Each side ends when it did, whatever came before.
        for side in [&caller, &called] {
            let last = side.iter().rposition(|sings| *sings).expect("somebody is heard");
            assert!(last.abs_diff(part(quiet)) <= 2, "{last}, not {}", part(quiet));
        }
        let first = 3;
        assert!(called[first..part(quiet) - 1].iter().all(|sings| *sings), "the phone says on");
        assert!(caller[first..part(moved)].iter().all(|sings| *sings), "before");
        assert!(caller[part(back) + 1..part(quiet) - 1].iter().all(|sings| *sings), "and after");
        let gap = (first..part(quiet) - 1).filter(|n| !caller[*n]).count();
        let switch = part(back) - part(moved) + 1;
        if moves {
            assert!((5..=switch).contains(&gap), "{gap} of {switch}");
        } else {
            assert_eq!(gap, 0, "who stays where it is loses nothing");
        }
        world.close();
    }
}

/// A call of which the headers of the first ten packets of each leg are captured.
fn captured(codec: Codec) -> (World, CaptureReader) {
    let mut world = World::with_peers(Setup::default(), codec);
    let (writers, reader) = capture::rings(1, 1 << 20, world.now);
    world.shard.set_capture(writers.into_iter().next(), 10);
    (world, reader)
}

/// What has come from a leg, without reports.
fn sound_of(leg: LegId, all: &[Captured]) -> Vec<(&Captured, Header)> {
    let of_leg = all.iter().filter(|c| c.leg == leg && c.meaning != Meaning::Rtcp);
    of_leg.map(|c| (c, Header::parse(&c.bytes).expect("a header"))).collect()
}

fn read_all(reader: &mut CaptureReader) -> Vec<Captured> {
    std::iter::from_fn(|| reader.read()).collect()
}

#[test]
fn the_first_packets_of_each_leg_leave_their_headers_and_nothing_that_was_said() {
    let (mut world, mut reader) = captured(Codec::Opus);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Opus);
    world.run(Duration::from_secs(12));
    let all = read_all(&mut reader);
    let places = [world.browser().address, world.phone().address];
    for (leg, remote, meaning, was_encrypted) in [
        (BROWSER, places[0], Meaning::Sound(Codec::Opus), true),
        (PHONE, places[1], Meaning::Sound(Codec::Pcmu), false),
    ] {
        let came = sound_of(leg, &all);
        assert_eq!(came.len(), 10);
        for ((packet, header), (_, first)) in came.iter().zip(std::iter::repeat(&came[0])) {
            assert_eq!(packet.bytes.len(), header.len, "no payload");
            assert!(packet.length > header.len, "but how long it was");
            assert_eq!((packet.meaning, packet.was_encrypted), (meaning, was_encrypted));
            assert_eq!((packet.remote, header.ssrc, header.pt), (remote, first.ssrc, first.pt));
            assert_eq!(packet.local.ip(), ours().ip());
        }
        let numbers: Vec<u16> =
            came.iter().map(|(_, h)| h.seq.wrapping_sub(came[0].1.seq)).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<u16>>());
    }
    assert_eq!(sound_of(BROWSER, &all)[0].0.local, ours());
    assert_eq!(Some(sound_of(PHONE, &all)[0].0.local), world.phone().gateway);
    assert_eq!(sound_of(PHONE, &all)[0].1.ssrc, SSRC);
    assert_eq!(reader.lost(), 0);
    world.close();
}

#[test]
fn packets_are_captured_whole_when_asked_for_and_as_many_as_asked_for() {
    let (mut world, mut reader) = captured(Codec::Pcmu);
    world.phone().keys = Some(Keys::new(Profile::Aes128CmSha1_80));
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world.run(Duration::from_secs(1));
    read_all(&mut reader);
    for leg in [BROWSER, PHONE] {
        world.command(Command::Capture { leg, packets: 100 });
    }
    world.run(Duration::from_secs(12));
    let all = read_all(&mut reader);
    for (leg, tone) in [(BROWSER, BROWSER_TONE), (PHONE, PHONE_TONE)] {
        let came = sound_of(leg, &all);
        assert_eq!(came.len(), 100);
        let samples: Vec<i16> = came
            .iter()
            .flat_map(|(packet, header)| {
                assert_eq!(packet.length, packet.bytes.len());
                assert!(packet.was_encrypted);
                header.payload(&packet.bytes).expect("a payload").iter().map(|b| linear(*b))
            })
            .collect();
        let share = share(&samples, tone);
        assert!(share > 0.9, "{leg}: {share}");
    }
    // A report comes every few seconds.
    let reports: Vec<&Captured> = all.iter().filter(|c| c.meaning == Meaning::Rtcp).collect();
    assert!(reports.iter().all(|c| c.bytes.len() == c.length && c.length >= 8));

    world.command(Command::Capture { leg: PHONE, packets: 1_000_000 });
    world.run(Duration::from_millis(200));
    world.command(Command::Capture { leg: PHONE, packets: 0 });
    let some = sound_of(PHONE, &read_all(&mut reader)).len();
    assert!((5..=15).contains(&some), "{some}");
    world.run(Duration::from_secs(12));
    assert_eq!(read_all(&mut reader), vec![], "nobody asks any more");
    world.close();
}

/// A payload type that nobody agreed on reaches nobody, but whoever looks sees it.
#[test]
fn what_nobody_understands_is_captured_too() {
    let (mut world, mut reader) = captured(Codec::Pcmu);
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world.run(Duration::from_secs(1));
    read_all(&mut reader);
    world.command(Command::Capture { leg: PHONE, packets: 1000 });
    let (from, to) = (world.phone().address, world.phone().gateway.expect("an address of ours"));
    let mut foreign = crate::phone::rtp(7, 7, SSRC, &[1, 2, 3]);
    foreign[1] = 77;
    world.inject(from, to, &foreign);
    world.run(Duration::from_millis(50));
    let all = read_all(&mut reader);
    let found = all.iter().find(|packet| packet.meaning == Meaning::Unknown).expect("it is there");
    assert_eq!((&found.bytes, found.remote), (&foreign, from));
    world.close();
}

/// G.711 µ-law.
fn linear(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((i16::from(byte & 0x0f) << 3) + 132) << (byte >> 4 & 7);
    if byte & 0x80 != 0 { 132 - magnitude } else { magnitude - 132 }
}

//! What a recording holds of calls whose packets come in every way.

#![allow(clippy::disallowed_methods, reason = "a test needs some moment to begin at")]

use std::io::Cursor;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::{Channel, Format, Mode, RATE, Recording, Sink};
use crate::codec::{Codec, Decoder, Encoder, samples};
use crate::tap::Tapped;

/// Somebody who says a tone.
struct Speaker {
    channel: Channel,
    codec: Codec,
    frequency: f64,
    encoder: Encoder,
    rate: u32,
    ptime: Duration,
    /// Packets said so far, as the sender counts and as time goes.
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    position: usize,
}

impl Speaker {
    fn new(channel: Channel, codec: Codec, frequency: f64) -> Self {
        let rate = codec.common_rate(codec);
        Self {
            channel,
            codec,
            frequency,
            encoder: Encoder::new(codec, rate),
            rate,
            ptime: Duration::from_millis(20),
            seq: 65_500,
            timestamp: u32::MAX - 5000,
            ssrc: frequency as u32,
            position: 0,
        }
    }

    /// The packet whose sound ends at `end`; `is_loud` or silent.
    fn packet(&mut self, end: Instant, is_loud: bool) -> Tapped {
        let count = samples(self.rate, self.ptime);
        let step = std::f64::consts::TAU * self.frequency / f64::from(self.rate);
        let level = if is_loud { 12_000.0 } else { 0.0 };
        let pcm: Vec<i16> = (self.position..self.position + count)
            .map(|i| (level * (step * i as f64).sin()) as i16)
            .collect();
        self.position += count;
        let mut payload = Vec::new();
        self.encoder.encode(&pcm, &mut payload);
        let packet = Tapped {
            leg: LegId(1),
            at: end,
            ssrc: self.ssrc,
            seq: self.seq,
            timestamp: self.timestamp,
            codec: self.codec,
            payload,
        };
        self.seq = self.seq.wrapping_add(1);
        self.pass(self.ptime);
        packet
    }

    /// Its clock goes on without a packet.
    fn pass(&mut self, time: Duration) {
        let ticks = samples(self.codec.clock_rate(), time) as u32;
        self.timestamp = self.timestamp.wrapping_add(ticks);
    }
}

/// A recording and what it has written.
struct Story {
    start: Instant,
    recording: Recording,
    out: Vec<i16>,
}

impl Story {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, recording: Recording::new(start), out: Vec::new() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Takes packets in the order of their arrival.
    fn play(&mut self, mut packets: Vec<(Channel, Tapped)>) {
        packets.sort_by_key(|(_, packet)| packet.at);
        for (channel, packet) in packets {
            self.out.extend_from_slice(self.recording.advance(packet.at));
            self.recording.handle_packet(channel, packet);
        }
    }

    fn finish(mut self, ms: u64) -> [Vec<i16>; 2] {
        let end = self.at(ms);
        self.out.extend_from_slice(self.recording.advance(end));
        self.out.extend_from_slice(self.recording.finish(end));
        [0, 1].map(|side| self.out.iter().skip(side).step_by(2).copied().collect())
    }
}

/// The share of energy at a frequency (Goertzel).
fn share(pcm: &[i16], frequency: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * frequency / f64::from(RATE)).cos();
    let (mut before, mut last, mut energy) = (0.0, 0.0, 0.0);
    for sample in pcm.iter().map(|s| f64::from(*s)) {
        let next = sample + coefficient * last - before;
        before = last;
        last = next;
        energy += sample * sample;
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power / (pcm.len() as f64 * f64::max(energy, 1.0))
}

fn between(side: &[i16], from_ms: usize, to_ms: usize) -> &[i16] {
    let per_ms = RATE as usize / 1000;
    &side[from_ms * per_ms..to_ms * per_ms]
}

fn loudest(side: &[i16]) -> u16 {
    side.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0)
}

/// Where the first loud sample after `from_ms` is, in milliseconds.
fn onset(side: &[i16], from_ms: usize) -> f64 {
    let from = from_ms * RATE as usize / 1000;
    let at = side[from..].iter().position(|s| s.unsigned_abs() > 3000);
    (from + at.expect("something is heard")) as f64 * 1000.0 / f64::from(RATE)
}

/// Both say something at the same moment, in other codecs, packet times and with jitter: the file
/// has it at the same place.
#[test]
fn sides_stand_together_in_time_to_20_ms() {
    let pairs = [
        (Codec::Opus, 20, Codec::Pcmu, 20),
        (Codec::G722, 60, Codec::Pcma, 10),
        (Codec::L16Wide, 20, Codec::Opus, 40),
    ];
    for (left, left_ms, right, right_ms) in pairs {
        let mut story = Story::new();
        let mut packets = Vec::new();
        let speakers = [
            (Speaker::new(Channel::Caller, left, 440.0), left_ms, 0),
            // Begins later, and its network shakes.
            (Speaker::new(Channel::Called, right, 1000.0), right_ms, 25),
        ];
        for (mut speaker, ptime, jitter) in speakers {
            speaker.ptime = Duration::from_millis(ptime);
            for n in 1..=(6000 / ptime) {
                let end = n * ptime;
                let is_loud = end > 3000;
                let late = if jitter == 0 { 0 } else { (n * 7919) % jitter };
                let packet = speaker.packet(story.at(end + late), is_loud);
                packets.push((speaker.channel, packet));
            }
        }
        story.play(packets);
        let [l, r] = story.finish(6000);
        let (first, second) = (onset(&l, 500), onset(&r, 500));
        let what = format!("{left} {left_ms} ms and {right} {right_ms} ms: {first} {second}");
        assert!((first - 3000.0).abs() < 20.0 && (second - 3000.0).abs() < 20.0, "{what}");
        assert!((first - second).abs() < 20.0, "{what}");
        // A place in time that is found step by step moves the phase, so not all at once.
        let windows = || (3500..5500).step_by(100);
        let all = |side: &[i16], hz| {
            windows().map(|at| share(between(side, at, at + 100), hz)).fold(1.0, f64::min)
        };
        let found = (all(&l, 440.0), all(&r, 1000.0));
        assert!(found.0 > 0.9 && found.1 > 0.9, "{what}: {found:?}");
        assert!(share(between(&r, 3500, 5500), 440.0) < 0.01, "{what}");
    }
}

#[test]
fn what_was_lost_is_silence_of_its_length() {
    let mut story = Story::new();
    let mut speaker = Speaker::new(Channel::Caller, Codec::Pcmu, 440.0);
    let mut packets = Vec::new();
    for n in 1..=200 {
        let packet = speaker.packet(story.at(20 * n), true);
        if !(100..110).contains(&n) {
            packets.push((Channel::Caller, packet));
        }
    }
    story.play(packets);
    let [left, right] = story.finish(4000);
    assert_eq!((left.len(), loudest(&right)), (64_000, 0));
    assert!(loudest(between(&left, 1990, 2175)) < 200, "the gap is silent");
    assert!(share(between(&left, 1000, 1970), 440.0) > 0.9);
    assert!(share(between(&left, 2200, 3900), 440.0) > 0.9);
}

/// A telephone that sends nothing while its user is silent, and one whose clock stands still
/// meanwhile: both are heard again at the right time.
#[test]
fn pauses_of_the_sender_take_their_time() {
    for clock_goes_on in [true, false] {
        let mut story = Story::new();
        let mut speaker = Speaker::new(Channel::Called, Codec::Opus, 440.0);
        let mut packets = Vec::new();
        for n in 1..=300 {
            if (100..200).contains(&n) {
                if clock_goes_on {
                    speaker.pass(Duration::from_millis(20));
                }
                continue;
            }
            packets.push((Channel::Called, speaker.packet(story.at(20 * n), true)));
        }
        story.play(packets);
        let [_, right] = story.finish(6000);
        assert!(loudest(between(&right, 2050, 3950)) < 500, "{clock_goes_on}");
        let again = onset(&right, 2100);
        assert!((again - 3980.0).abs() < 25.0, "{clock_goes_on}: {again}");
    }
}

#[test]
fn another_codec_in_mid_call_leaves_no_hole() {
    let mut story = Story::new();
    let mut packets = Vec::new();
    let mut first = Speaker::new(Channel::Caller, Codec::Pcmu, 440.0);
    let mut second = Speaker::new(Channel::Caller, Codec::Opus, 440.0);
    // The same source goes on in the other codec.
    (second.ssrc, second.seq) = (first.ssrc, first.seq.wrapping_add(100));
    for n in 1..=200 {
        let speaker = if n <= 100 { &mut first } else { &mut second };
        packets.push((Channel::Caller, speaker.packet(story.at(20 * n), true)));
    }
    story.play(packets);
    let [left, _] = story.finish(4000);
    for from in (100..3900).step_by(50) {
        let found = share(between(&left, from, from + 50), 440.0);
        let is_seam = (1940..2060).contains(&from);
        assert!(found > if is_seam { 0.4 } else { 0.9 }, "at {from} ms: {found}");
    }
}

/// A clock that is half a per mille fast or slow stays in place.
#[test]
fn clocks_that_differ_are_followed() {
    for parts in [500_i64, -500] {
        let mut story = Story::new();
        let mut speaker = Speaker::new(Channel::Caller, Codec::Pcma, 440.0);
        let mut packets = Vec::new();
        for n in 1..=3000_u64 {
            let micros = 20_000 * n as i64 * (1_000_000 + parts) / 1_000_000;
            let at = story.start + Duration::from_micros(micros as u64);
            packets.push((Channel::Caller, speaker.packet(at, n > 2900)));
        }
        story.play(packets);
        let expected = 58_000.0 * (1.0 + parts as f64 / 1e6);
        let [left, _] = story.finish(60_100);
        let found = onset(&left, 1000);
        assert!((found - expected).abs() < 8.0, "{found} instead of {expected}");
    }
}

#[test]
fn packets_out_of_order_and_twice_are_put_right() {
    let mut story = Story::new();
    let mut speaker = Speaker::new(Channel::Caller, Codec::G722, 440.0);
    let mut packets = Vec::new();
    for n in 1..=200_u64 {
        let late = if n % 5 == 0 { 55 } else { 0 };
        let packet = speaker.packet(story.at(20 * n + late), true);
        packets.push((Channel::Caller, packet.clone()));
        if n % 7 == 0 {
            packets.push((Channel::Caller, packet));
        }
    }
    story.play(packets);
    let [left, _] = story.finish(4000);
    let found = share(between(&left, 500, 3500), 440.0);
    assert!(found > 0.95, "{found}");
}

#[test]
fn a_pause_is_cut_out_and_a_mask_is_silence() {
    let mut story = Story::new();
    let mut speaker = Speaker::new(Channel::Caller, Codec::Pcmu, 440.0);
    let mut all = Vec::new();
    for n in 1..=500 {
        all.push((Channel::Caller, speaker.packet(story.at(20 * n), true)));
    }
    let changes =
        [(2000, Mode::Masked), (4000, Mode::Running), (6000, Mode::Paused), (9000, Mode::Running)];
    for (ms, mode) in changes {
        let later = all.iter().position(|(_, p)| p.at > story.at(ms)).unwrap();
        let rest = all.split_off(later);
        story.play(std::mem::replace(&mut all, rest));
        let now = story.at(ms);
        story.recording.set_mode(now, mode);
    }
    story.play(all);
    let length = story.start + Duration::from_secs(10);
    let [left, _] = {
        story.out.extend_from_slice(story.recording.finish(length));
        assert_eq!(story.recording.length(), Duration::from_secs(7));
        story.finish(10_000)
    };
    assert_eq!(left.len(), 7 * RATE as usize);
    assert_eq!(loudest(between(&left, 2000, 4000)), 0);
    assert!(loudest(between(&left, 1900, 2000)) > 5000);
    assert!(loudest(between(&left, 4000, 4100)) > 5000);
    assert!(share(between(&left, 4100, 6900), 440.0) > 0.9);
}

/// A stream that jumps about in its numbers and times costs nothing but its own sound.
#[test]
fn nonsense_stays_bounded() {
    let mut story = Story::new();
    let mut random = 12_345_u64;
    for n in 0..20_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let packet = Tapped {
            leg: LegId(1),
            at: story.at(n),
            ssrc: (random >> 60) as u32,
            seq: (random >> 20) as u16,
            timestamp: (random >> 30) as u32,
            codec: Codec::KNOWN[(random >> 50) as usize % Codec::KNOWN.len()],
            payload: vec![random as u8; (random >> 40) as usize % 400],
        };
        story.recording.handle_packet(Channel::Caller, packet);
        story.out.extend_from_slice(story.recording.advance(story.at(n)));
    }
    let [left, right] = story.finish(20_000);
    assert_eq!((left.len(), right.len()), (320_000, 320_000));
}

fn two_tones(seconds: usize) -> Vec<i16> {
    let tone = |n: usize, hz: f64| {
        (9000.0 * (std::f64::consts::TAU * hz * n as f64 / f64::from(RATE)).sin()) as i16
    };
    (0..seconds * RATE as usize).flat_map(|n| [tone(n, 440.0), tone(n, 1000.0)]).collect()
}

fn check_sides(pcm: &[i16], what: &str) {
    let side = |n: usize| -> Vec<i16> { pcm.iter().skip(n).step_by(2).copied().collect() };
    let (left, right) = (side(0), side(1));
    let middle = |side: &[i16]| side[side.len() / 4..side.len() * 3 / 4].to_vec();
    let (left, right) = (middle(&left), middle(&right));
    assert!(share(&left, 440.0) > 0.95 && share(&right, 1000.0) > 0.95, "{what}");
    assert!(share(&left, 1000.0) < 1e-3 && share(&right, 440.0) < 1e-3, "{what}");
}

/// Both formats, whole and cut off after the last flush, as a crash leaves them.
#[test]
fn files_play_whole_and_cut_off() {
    let pcm = two_tones(4);
    let read_wav = |bytes: &[u8]| -> Vec<i16> {
        let reader = hound::WavReader::new(Cursor::new(bytes)).unwrap();
        assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, RATE));
        reader.into_samples().map_while(Result::ok).collect()
    };
    for format in [Format::Wav, Format::Opus] {
        let read = |bytes: &[u8]| match format {
            Format::Wav => read_wav(bytes),
            Format::Opus => decode_ogg(bytes),
        };
        let mut whole = Cursor::new(Vec::new());
        let mut sink = Sink::new(format, &mut whole, 77).unwrap();
        sink.write(&pcm[..2 * RATE as usize * 3]).unwrap();
        sink.flush().unwrap();
        sink.write(&pcm[2 * RATE as usize * 3..]).unwrap();
        sink.finish().unwrap();
        let whole = whole.into_inner();
        let found = read(&whole);
        assert_eq!(found.len(), pcm.len(), "{format:?}");
        check_sides(&found, "whole");

        let mut cut = Cursor::new(Vec::new());
        let mut sink = Sink::new(format, &mut cut, 77).unwrap();
        sink.write(&pcm[..2 * RATE as usize * 3]).unwrap();
        sink.flush().unwrap();
        // Nobody closes the file, and half a page may follow.
        std::mem::forget(sink);
        let mut bytes = cut.into_inner();
        bytes.extend_from_slice(b"OggS\0\0\x12\x34");
        let found = read(&bytes);
        assert!(found.len() >= 2 * RATE as usize * 29 / 10, "{format:?}: {}", found.len());
        check_sides(&found, "cut");
    }
}

/// What a player does with our Ogg files.
fn decode_ogg(bytes: &[u8]) -> Vec<i16> {
    let mut reader = ogg::PacketReader::new(Cursor::new(bytes));
    let head = reader.read_packet().unwrap().unwrap().data;
    assert_eq!(head[..10], *b"OpusHead\x01\x02");
    assert_eq!(head[18..], [1, 2, 0, 0, 1], "two streams, not coupled");
    let skip = usize::from(u16::from_le_bytes([head[10], head[11]])) / 3;
    assert!(reader.read_packet().unwrap().unwrap().data.starts_with(b"OpusTags"));
    let mut decoders = [Decoder::new(Codec::Opus, RATE), Decoder::new(Codec::Opus, RATE)];
    let (mut stereo, mut end) = (Vec::new(), 0);
    while let Ok(Some(packet)) = reader.read_packet() {
        end = packet.absgp_page() as usize / 3;
        let data = packet.data;
        let (length, begin) = match usize::from(data[1]) {
            short @ ..252 => (short, 2),
            first => (first + 4 * usize::from(data[2]), 3),
        };
        let left = [&data[..1], &data[begin..begin + length]].concat();
        let mut sides = [Vec::new(), Vec::new()];
        for ((decoder, side), coded) in
            decoders.iter_mut().zip(&mut sides).zip([&left[..], &data[begin + length..]])
        {
            decoder.decode(coded, side);
        }
        stereo.extend(sides[0].iter().zip(&sides[1]).flat_map(|(l, r)| [*l, *r]));
    }
    stereo.truncate(2 * end);
    stereo.drain(..2 * skip);
    stereo
}

//! What translated sound costs: processor milliseconds for a second of sound, each way, and the
//! calls that one core carries.
//!
//! `cargo bench -p crosspoint-media --bench transcode [-- COMPLEXITY…]`

use std::time::{Duration, Instant};

use crosspoint_media::codec::{Codec, Encoder, EncoderOptions, Resampler};
use crosspoint_media::jitter::JitterBuffer;

const PAIRS: [(Codec, Codec); 4] = [
    (Codec::Opus, Codec::Pcmu),
    (Codec::Opus, Codec::G722),
    (Codec::Pcmu, Codec::G722),
    (Codec::Opus, Codec::L16Cd),
];
const SECONDS: usize = 120;
const ROUNDS: usize = 5;

fn main() {
    let wanted = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let mut complexities: Vec<u8> = wanted.collect();
    if complexities.is_empty() {
        complexities = vec![0, 5, 10];
    }
    println!("| translated | complexity | there, ms/s | back, ms/s | calls per core |");
    println!("|---|---:|---:|---:|---:|");
    for (a, b) in PAIRS {
        for complexity in &complexities {
            let there = cost(a, b, *complexity);
            let back = cost(b, a, *complexity);
            let calls = 1000.0 / (there + back);
            println!("| {a} and {b} | {complexity} | {there:.2} | {back:.2} | {calls:.0} |");
            if a != Codec::Opus {
                break;
            }
        }
    }
    println!("\n| rates | µs/s |\n|---|---:|");
    for (from, to) in [(8000, 16_000), (16_000, 8000), (44_100, 8000), (44_100, 48_000)] {
        println!("| {from} to {to} | {:.0} |", conversion(from, to));
    }
}

/// Microseconds of the processor for a second of sound through a converter of rates alone.
fn conversion(from: u32, to: u32) -> f64 {
    let pcm: Vec<i16> = (0..from / 50).map(|n| (n * 7919 % 20_000) as i16 - 10_000).collect();
    let mut resampler = Resampler::new(from, to);
    let mut out = Vec::new();
    let before = processor_time();
    for _ in 0..SECONDS * 50 * 10 {
        out.clear();
        resampler.process(&pcm, &mut out);
        assert!(!out.is_empty());
    }
    (processor_time() - before).as_secs_f64() * 1e6 / (SECONDS * 10) as f64
}

/// Milliseconds of the processor for a second of sound from one codec to another: through the
/// jitter buffer, decoded, brought to the rate of the other, encoded. The middle of some rounds.
fn cost(from: Codec, to: Codec, complexity: u8) -> f64 {
    let packets = said(from);
    let mut rounds: Vec<f64> =
        (0..ROUNDS).map(|_| translate(from, to, complexity, &packets)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

#[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
fn translate(from: Codec, to: Codec, complexity: u8, packets: &[Vec<u8>]) -> f64 {
    let rate = from.common_rate(to);
    let mut buffer = JitterBuffer::new(from, rate);
    let options = EncoderOptions { complexity, ..EncoderOptions::default() };
    let mut encoder = Encoder::with(to, rate, options);
    encoder.set_loss(0);
    let (mut pcm, mut payload) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    let before = processor_time();
    let length = from.packet_time(Duration::from_millis(20));
    let each = Duration::from_millis(20).as_micros() / length.as_micros();
    let ticks = u128::from(from.clock_rate()) * length.as_micros() / 1_000_000;
    let to_length = to.packet_time(Duration::from_millis(20));
    buffer.set_frame(to_length);
    for (n, packet) in packets.iter().enumerate() {
        let at = begin + length * n as u32;
        buffer.push(at, 1, n as u16, n as u32 * ticks as u32, packet);
        if n as u128 % each == each - 1 {
            for _ in 0..Duration::from_millis(20).as_micros() / to_length.as_micros() {
                buffer.pull(&mut pcm);
                encoder.encode(&pcm, &mut payload);
                assert!(!payload.is_empty());
            }
        }
    }
    let spent = processor_time() - before;
    spent.as_secs_f64() * 1000.0 / SECONDS as f64
}

/// Something with the spectrum and the pauses of speech.
fn said(codec: Codec) -> Vec<Vec<u8>> {
    let rate = codec.common_rate(codec);
    let mut encoder = Encoder::new(codec, rate);
    let length = codec.packet_time(Duration::from_millis(20));
    let frame = crosspoint_media::codec::samples(rate, length);
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(u32::MAX) - 0.5
    };
    let sample = |n: usize, noise: &mut dyn FnMut() -> f64| {
        let time = n as f64 / f64::from(rate);
        let syllable = (time * 4.0) as u32;
        let envelope = (std::f64::consts::PI * (time * 4.0).fract()).sin();
        let pitch = 110.0 + 15.0 * f64::from(syllable % 5);
        let voice: f64 = (1..20)
            .map(|k| (std::f64::consts::TAU * pitch * f64::from(k) * time).sin() / f64::from(k))
            .sum();
        let hiss = if syllable % 6 == 2 { 1.0 } else { 0.05 };
        let loud = if syllable % 8 == 7 { 0.0 } else { 4000.0 };
        (loud * envelope * (voice + hiss * noise())) as i16
    };
    let pcm: Vec<i16> = (0..rate as usize * SECONDS).map(|n| sample(n, &mut noise)).collect();
    let packets = pcm.chunks_exact(frame).map(|piece| {
        let mut payload = Vec::new();
        encoder.encode(piece, &mut payload);
        payload
    });
    packets.collect()
}

/// Of this thread, so that others on the machine do not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds");
    Duration::from_nanos(nanos)
}

//! Sound through every pair of codecs and over bad networks, judged by measures with a floor.

mod measure;
mod path;
mod speech;

use std::time::Duration;

use crosspoint_media::codec::{Codec, Decoder};
use crosspoint_media::jitter::JitterBuffer;

use measure::{Verdict, judge};
use path::{Network, said, translate};

/// What sound must reach at least: signal-to-noise ratio, and at most: distance, both in dB.
#[derive(Debug, Clone, Copy)]
struct Floor {
    snr: f64,
    distance: f64,
}

impl Floor {
    fn holds(self, verdict: Verdict) -> bool {
        verdict.snr >= self.snr && verdict.distance <= self.distance
    }
}

/// Sound of one codec translated to another, and judged.
fn heard(from: Codec, to: Codec, network: &Network) -> Verdict {
    judge(&translate(from, to, network), from.common_rate(to))
}

/// Opus keeps the sound rather than the waveform; the others are as good as their bits allow.
fn floor(from: Codec, to: Codec) -> Floor {
    let (snr, distance) = match (from, to) {
        (Codec::Opus, Codec::Opus) => (10.5, 1.7),
        (Codec::Opus, _) => (14.0, 1.3),
        (Codec::G722, Codec::Opus) => (13.0, 1.6),
        (_, Codec::Opus) => (8.5, 2.2),
        (Codec::G722, Codec::G722) => (30.0, 0.6),
        (_, Codec::G722) => (24.5, 0.8),
        (Codec::G722, _) => (27.5, 0.7),
        (Codec::L16Wide | Codec::L16Cd, _) | (_, Codec::L16Wide | Codec::L16Cd) => (29.0, 0.6),
        _ => (31.5, 0.6),
    };
    Floor { snr, distance }
}

#[test]
fn every_pair_of_codecs_keeps_the_sound() {
    for from in Codec::KNOWN {
        for to in Codec::KNOWN {
            let verdict = heard(from, to, &Network::GOOD);
            assert!(floor(from, to).holds(verdict), "{from} to {to}: {verdict:?}");
            assert!(verdict.delay < 0.1, "{from} to {to}: {verdict:?}");
        }
    }
}

/// What a lossy network leaves, by percent of loss.
fn floor_at(loss: u32, codec: Codec) -> Floor {
    let (snr, distance) = match (codec, loss) {
        (Codec::Opus, 0) => (14.0, 1.3),
        (Codec::Opus, 1) => (13.0, 1.6),
        (Codec::Opus, 5) => (10.5, 2.1),
        (Codec::Opus, _) => (5.5, 4.2),
        (Codec::G722, 0) => (27.5, 0.7),
        (Codec::G722, 1) => (26.0, 0.9),
        (Codec::G722, 5) => (21.5, 1.2),
        (Codec::G722, _) => (16.0, 2.3),
        (_, 0) => (31.5, 0.5),
        (_, 1) => (31.5, 0.6),
        (_, 5) => (28.5, 0.7),
        _ => (22.0, 1.4),
    };
    Floor { snr, distance }
}

#[test]
fn sound_survives_loss_and_packets_out_of_order() {
    for loss in [0, 1, 5, 10] {
        for from in Codec::ALL {
            let network = Network { loss, jitter: 30, ..Network::GOOD };
            let verdict = heard(from, Codec::Pcmu, &network);
            let floor = floor_at(loss, from);
            assert!(floor.holds(verdict), "{from} with {loss} % lost: {verdict:?}");
        }
    }
}

/// Nothing in place of what was lost is worse than what is made up for it.
#[test]
fn gaps_fail_the_floor_of_loss() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let network = Network { loss: 10, jitter: 30, mutes_gaps: true, ..Network::GOOD };
        let verdict = heard(codec, Codec::Pcmu, &network);
        assert!(!floor_at(10, codec).holds(verdict), "{codec}: {verdict:?}");
    }
}

/// The measures see what ears would hear.
#[test]
fn broken_sound_fails_the_floor() {
    let sound = translate(Codec::Pcmu, Codec::Pcmu, &Network::GOOD);
    let floor = floor(Codec::Pcmu, Codec::Pcmu);
    assert!(floor.holds(judge(&sound, 8000)));
    let fails = |name: &str, broken: Vec<i16>| {
        let verdict = judge(&broken, 8000);
        assert!(!floor.holds(verdict), "{name}: {verdict:?}");
    };
    let by_frames = |change: fn(usize, &[i16]) -> Vec<i16>| -> Vec<i16> {
        sound.chunks(160).enumerate().flat_map(|(n, frame)| change(n, frame)).collect()
    };
    fails(
        "a frame in twenty is silent",
        by_frames(|n, f| if n % 20 == 0 { vec![0; f.len()] } else { f.to_vec() }),
    );
    fails(
        "a frame in twenty comes twice",
        by_frames(|n, f| f.repeat(1 + usize::from(n % 20 == 0))),
    );
    fails(
        "half of each frame is in the wrong order",
        by_frames(|_, f| [&f[f.len() / 2..], &f[..f.len() / 2]].concat()),
    );
    fails("loud sound is clipped", sound.iter().map(|s| (*s).clamp(-3000, 3000)).collect());
    fails("every second sample is left out", sound.chunks(2).flat_map(|s| [s[0]; 2]).collect());
    fails("eight bits are left", sound.iter().map(|s| s & !255).collect());
    let mut decoder = Decoder::new(Codec::Pcma, 8000);
    let mut wrong = Vec::new();
    for payload in said(Codec::Pcmu, &Network::GOOD) {
        decoder.decode(&payload, &mut wrong);
    }
    fails("it is decoded by the other law", wrong);
}

/// An encoder that was told of loss adds redundancy, and a lost packet comes out of the next.
#[test]
fn redundancy_of_opus_is_worth_it() {
    let at = |told| {
        let network = Network { loss: 10, told: Some(told), ..Network::GOOD };
        heard(Codec::Opus, Codec::Pcmu, &network)
    };
    let (without, with) = (at(0), at(15));
    assert!(with.distance < 0.95 * without.distance, "{with:?}, without {without:?}");
    assert!(with.snr > without.snr + 1.5, "{with:?}, without {without:?}");
}

/// A browser in stereo, who is silent without sending: both sides are heard as one, and the
/// pauses are silence and not loss.
#[test]
fn stereo_is_mixed_and_pauses_of_opus_are_silence() {
    use opusic_c::{Application, Channels, Encoder, SampleRate};
    let mut encoder =
        Encoder::new(Channels::Stereo, SampleRate::Hz48000, Application::Voip).expect("an encoder");
    encoder.set_dtx(true).expect("opus can");
    let mut buffer = JitterBuffer::new(Codec::Opus, 16_000);
    let (start, mut seq, mut sent) = (path::beginning(), 0, 0);
    let (mut frame, mut loud, mut quiet) = (vec![], 0, 0);
    for n in 0..500u32 {
        let is_speech = n / 100 % 2 == 0;
        // A tone on the left only.
        let sample = |k: u32| {
            let phase = f64::from(n * 960 + k) / 48_000.0 * 440.0 * std::f64::consts::TAU;
            if is_speech { (8000.0 * phase.sin()) as i16 } else { 0 }
        };
        let pcm: Vec<u16> = (0..960).flat_map(|k| [sample(k).cast_unsigned(), 0]).collect();
        let mut payload = vec![0; 1000];
        let length = encoder.encode_to_slice(&pcm, &mut payload).expect("a payload");
        let now = start + Duration::from_millis(20 * u64::from(n));
        // RFC 7587 §3.1.3: what has two bytes at most is not sent.
        if length > 2 {
            buffer.push(now, 1, seq, n * 960, &payload[..length]);
            (seq, sent) = (seq + 1, sent + 1);
        }
        buffer.pull(&mut frame);
        let level = frame.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        match n % 100 {
            10..90 if is_speech => loud += u32::from(level > 2500),
            40..90 => quiet += u32::from(level < 200),
            _ => {}
        }
    }
    assert!(sent < 420, "{sent} packets were sent, so nothing paused");
    assert!(loud >= 238, "{loud} of 240 frames have the left side's tone");
    assert_eq!(quiet, 100, "frames of pauses are silent");
    assert_eq!((buffer.counts().missed, buffer.counts().late), (0, 0));
}

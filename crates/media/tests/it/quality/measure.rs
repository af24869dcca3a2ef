//! How much of what was said is in what was heard: segmental signal-to-noise ratio for codecs
//! that keep the waveform, and a distance of loudness in bands for all.

use std::f64::consts::TAU;

use super::speech::spoken;

/// How good sound is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    /// Segmental signal-to-noise ratio in dB, over frames of 20 ms with sound.
    pub(super) snr: f64,
    /// Difference of the loudness of bands, in dB, root of mean square.
    pub(super) distance: f64,
    /// Where sound began, in seconds.
    pub(super) delay: f64,
}

/// Judges what was heard of [`super::speech::speech`], whatever its delay, which may drift.
pub(super) fn judge(heard: &[i16], rate: u32) -> Verdict {
    let heard: Vec<f64> = heard.iter().map(|s| f64::from(*s)).collect();
    let second = rate as usize;
    let reference = spoken(rate, 0.0, heard.len());
    let delay =
        best_lag(&reference, &heard, second, second * 2, 0, (MAX_DELAY * second as f64) as usize);
    let (mut ratios, mut distances) = (Vec::new(), Vec::new());
    let window = second / 2;
    let mut at = second;
    // The delay of each half second is found anew: a jitter buffer may stretch and shorten.
    while at + window + second / 2 < heard.len() {
        let (low, high) = (delay.saturating_sub(second / 16), delay + second / 16);
        let lag = best_lag(&reference, &heard, at - delay, at - delay + window, low, high);
        let piece = &heard[at - delay + lag..][..window];
        let begin = (at - delay) as f64 / f64::from(rate);
        let said = aligned(piece, begin, rate);
        ratios.extend(ratios_of(&said, piece, second / 50));
        distances.extend(distances_of(&said, piece, rate));
        at += window;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    assert!(ratios.len() > 100 && distances.len() > 50, "too little to judge");
    Verdict {
        snr: mean(&ratios),
        distance: mean(&distances),
        delay: delay as f64 / f64::from(rate),
    }
}

/// The delay at which heard is most like said, in samples.
fn best_lag(said: &[f64], heard: &[f64], from: usize, to: usize, low: usize, high: usize) -> usize {
    // About three thousand samples tell it.
    let step = ((to - from) / 3000).max(1);
    let like = |lag: usize| {
        let (mut product, mut energy) = (0.0, 1.0);
        for n in (from..to).step_by(step) {
            let sample = heard.get(n + lag).copied().unwrap_or(0.0);
            product += said[n] * sample;
            energy += sample * sample;
        }
        product / energy.sqrt()
    };
    (low..=high).map(|lag| (lag, like(lag))).max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |b| b.0)
}

/// What was said, moved by parts of a sample and as loud as it was heard, so that neither a
/// filter's delay nor its gain counts as noise.
fn aligned(heard: &[f64], begin: f64, rate: u32) -> Vec<f64> {
    let candidate = |moved: f64| {
        let said = spoken(rate, begin + moved / f64::from(rate), heard.len());
        let product: f64 = said.iter().zip(heard).map(|(s, h)| s * h).sum();
        let energy: f64 = said.iter().map(|s| s * s).sum();
        (product / energy.max(1.0).sqrt(), product / energy.max(1.0), said, moved)
    };
    let coarse = (-4..=4).map(|step| candidate(f64::from(step) / 8.0));
    let mut best = coarse.max_by(|a, b| a.0.total_cmp(&b.0)).expect("nine candidates");
    // A filter between rates of no common measure delays by any part of a sample.
    for step in [1.0 / 16.0, 1.0 / 32.0, 1.0 / 64.0] {
        let near = [best.3 - step, best.3 + step].map(candidate);
        best = near.into_iter().fold(best, |a, b| if b.0 > a.0 { b } else { a });
    }
    let (_, gain, said, _) = best;
    let gain = gain.clamp(0.8, 1.25);
    said.iter().map(|s| s * gain).collect()
}

fn ratios_of(said: &[f64], heard: &[f64], frame: usize) -> Vec<f64> {
    let frames = said.chunks_exact(frame).zip(heard.chunks_exact(frame));
    let ratio = |(said, heard): (&[f64], &[f64])| {
        let signal: f64 = said.iter().map(|s| s * s).sum();
        let noise: f64 = said.iter().zip(heard).map(|(s, h)| (s - h).powi(2)).sum();
        (signal / frame as f64 > QUIET).then(|| 10.0 * (signal / noise.max(1.0)).log10())
    };
    frames.filter_map(ratio).map(|r| r.clamp(-10.0, 40.0)).collect()
}

fn distances_of(said: &[f64], heard: &[f64], rate: u32) -> Vec<f64> {
    let size = rate as usize * 32 / 1000;
    let frames = said.chunks_exact(size).zip(heard.chunks_exact(size));
    let distance = |(said, heard): (&[f64], &[f64])| {
        let energy: f64 = said.iter().map(|s| s * s).sum();
        if energy / (size as f64) < QUIET {
            return None;
        }
        let (said, heard) = (bands(said, rate), bands(heard, rate));
        // What is 35 dB below the loudest is not heard beside it.
        let floor = said.iter().copied().fold(0.0, f64::max) / 3000.0;
        let square = |(s, h): (&f64, &f64)| (10.0 * ((s + floor) / (h + floor)).log10()).powi(2);
        let sum: f64 = said.iter().zip(&heard).map(square).sum();
        Some((sum / said.len() as f64).sqrt())
    };
    frames.filter_map(distance).collect()
}

/// Energy in bands that grow with frequency, from 200 Hz to 3.4 kHz, as ears have them.
fn bands(samples: &[f64], rate: u32) -> Vec<f64> {
    let size = samples.len();
    let bin = f64::from(rate) / size as f64;
    let shaped: Vec<f64> = samples
        .iter()
        .enumerate()
        .map(|(n, s)| s * (0.5 - 0.5 * (TAU * n as f64 / size as f64).cos()))
        .collect();
    let edges = EDGES.windows(2);
    edges
        .map(|edge| {
            let (low, high) = ((edge[0] / bin) as usize, (edge[1] / bin) as usize);
            (low..high).map(|k| power(&shaped, k)).sum::<f64>() / size as f64
        })
        .collect()
}

/// The power of one bin (Goertzel).
fn power(samples: &[f64], bin: usize) -> f64 {
    let coefficient = 2.0 * (TAU * bin as f64 / samples.len() as f64).cos();
    let (mut before, mut last) = (0.0, 0.0);
    for sample in samples {
        (before, last) = (last, sample + coefficient * last - before);
    }
    last * last + before * before - coefficient * last * before
}

const EDGES: [f64; 15] = [
    200.0, 312.5, 406.25, 500.0, 625.0, 750.0, 906.25, 1093.75, 1281.25, 1500.0, 1750.0, 2031.25,
    2375.0, 2812.5, 3406.25,
];
/// Mean square below which nobody speaks.
const QUIET: f64 = 10_000.0;
/// Seconds.
const MAX_DELAY: f64 = 0.4;

//! From one sample rate to another: a polyphase low-pass by a Kaiser window, whole up to 85 % of
//! the lower rate's band and 60 dB down at its end, so that nothing folds back to be heard.

/// Turns samples of one rate into those of another.
#[derive(Debug, Clone)]
pub struct Resampler {
    up: usize,
    down: usize,
    /// Taps of each of `up` filters, in Q14, for the oldest sample first.
    filters: Vec<i16>,
    taps: usize,
    /// What was and what is to come, as far as filters still need it.
    samples: Vec<i16>,
    /// The next output's place from the beginning of `samples`, in parts of `1 / up`.
    at: usize,
}

impl Resampler {
    /// # Panics
    /// When a rate is nothing.
    #[must_use]
    pub fn new(from: u32, to: u32) -> Self {
        assert!(from > 0 && to > 0, "rates are of codecs that we know");
        let common = common_divisor(from, to);
        let (up, down) = ((to / common) as usize, (from / common) as usize);
        let (lower, input) = (f64::from(from.min(to)), f64::from(from));
        // Kaiser's estimate: 60 dB take 3.62 / width taps, with the width in parts of the rate.
        let taps = (3.62 / (0.075 * lower / input)).ceil() as usize + 1;
        // The middle of the falling slope, in parts of the rate between the samples.
        let middle = 0.925 * 0.5 * lower / (input * up as f64);
        let filters = filters(up, taps, middle);
        // Whole lanes: those that are added count nothing, and are of the oldest samples.
        let taps = taps.next_multiple_of(LANES);
        Self { up, down, filters, taps, samples: vec![0; taps - 1], at: 0 }
    }

    /// Appends what the samples become.
    pub fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        self.samples.extend_from_slice(pcm);
        loop {
            let (begin, phase) = (self.at / self.up, self.at % self.up);
            let Some(samples) = self.samples.get(begin..begin + self.taps) else { break };
            let filter = &self.filters[phase * self.taps..][..self.taps];
            let sum = product(samples, filter);
            let value = ((sum + (1 << 13)) >> 14).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
            out.push(value as i16);
            self.at += self.down;
        }
        let done = (self.at / self.up).min(self.samples.len());
        self.samples.drain(..done);
        self.at -= done * self.up;
    }
}

/// The sum of products, lane by lane, so that it becomes vector instructions without a rest. No
/// lane overflows: the filter's parts are little more than one in all.
///
/// Never inlined: within the loop of its caller the compiler takes the lanes apart again, which
/// costs five times as much.
#[inline(never)]
fn product(samples: &[i16], filter: &[i16]) -> i32 {
    let mut sums = [0_i32; LANES];
    let ((samples, _), (filter, _)) = (samples.as_chunks::<LANES>(), filter.as_chunks::<LANES>());
    for (samples, filter) in samples.iter().zip(filter) {
        for ((sum, sample), part) in sums.iter_mut().zip(samples).zip(filter) {
            *sum += i32::from(*sample) * i32::from(*part);
        }
    }
    sums.iter().sum()
}

/// A windowed sinc cut into one filter for each place between two samples.
fn filters(up: usize, taps: usize, middle: f64) -> Vec<i16> {
    let length = taps * up;
    let centre = (length - 1) as f64 / 2.0;
    let value = |n: usize| {
        let x = n as f64 - centre;
        let angle = std::f64::consts::TAU * middle * x;
        let sinc = if x == 0.0 { 1.0 } else { angle.sin() / angle };
        let edge = 1.0 - (x / centre).powi(2);
        sinc * bessel(BETA * edge.max(0.0).sqrt())
    };
    let mut out = Vec::with_capacity(length);
    for phase in 0..up {
        let filter: Vec<f64> = (0..taps).rev().map(|k| value(phase + k * up)).collect();
        let sum: f64 = filter.iter().sum();
        out.extend(std::iter::repeat_n(0, taps.next_multiple_of(LANES) - taps));
        out.extend(filter.iter().map(|f| (f / sum * 16_384.0).round() as i16));
    }
    out
}

/// The modified Bessel function of the first kind and order zero, by its series.
fn bessel(x: f64) -> f64 {
    let term = |state: &mut f64, k: u32| {
        *state *= (x / 2.0 / f64::from(k)).powi(2);
        Some(*state)
    };
    1.0 + (1..30).scan(1.0, term).sum::<f64>()
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

const LANES: usize = 16;
/// Of the window, for 60 dB.
const BETA: f64 = 5.65;

#[cfg(test)]
mod tests {
    use super::*;

    /// The level of a tone behind the converter, in dB.
    fn gain(from: u32, to: u32, hertz: f64) -> f64 {
        let mut resampler = Resampler::new(from, to);
        let step = std::f64::consts::TAU * hertz / f64::from(from);
        let tone: Vec<i16> =
            (0..from / 4).map(|n| (16_000.0 * (step * f64::from(n)).sin()) as i16).collect();
        let mut out = Vec::new();
        for piece in tone.chunks(from as usize / 50) {
            resampler.process(piece, &mut out);
        }
        let settled = &out[out.len() / 4..];
        let power =
            |pcm: &[i16]| pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / pcm.len() as f64;
        10.0 * (power(settled) / power(&tone)).log10()
    }

    const PAIRS: [(u32, u32); 8] = [
        (16_000, 8000),
        (8000, 16_000),
        (44_100, 8000),
        (44_100, 16_000),
        (44_100, 48_000),
        (8000, 44_100),
        (16_000, 44_100),
        (48_000, 44_100),
    ];

    #[test]
    fn speech_passes_whole() {
        for (from, to) in PAIRS {
            for share in [0.05, 0.2, 0.5, 0.7, 0.84] {
                let hertz = share * f64::from(from.min(to)) / 2.0;
                let gain = gain(from, to, hertz);
                assert!(gain.abs() < 0.1, "{hertz} Hz from {from} to {to}: {gain:.2} dB");
            }
        }
    }

    #[test]
    fn nothing_folds_back() {
        for (from, to) in PAIRS {
            for share in [1.01, 1.1, 1.3, 1.6, 1.9] {
                let hertz = share * f64::from(to) / 2.0;
                if hertz < f64::from(from) / 2.0 {
                    let gain = gain(from, to, hertz);
                    assert!(gain < -50.0, "{hertz} Hz from {from} to {to}: {gain:.2} dB");
                }
            }
        }
    }

    /// Going up, a tone has no image above the old band.
    #[test]
    fn no_image_appears() {
        let mut resampler = Resampler::new(8000, 16_000);
        let (hertz, mut out) = (3000.0, Vec::new());
        let step = std::f64::consts::TAU * hertz / 8000.0;
        let tone: Vec<i16> =
            (0..4000).map(|n| (16_000.0 * (step * f64::from(n)).sin()) as i16).collect();
        resampler.process(&tone, &mut out);
        let level = |hertz: f64| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, sample) in out[4000..7200].iter().enumerate() {
                let phase = std::f64::consts::TAU * hertz / 16_000.0 * n as f64;
                re += f64::from(*sample) * phase.cos();
                im += f64::from(*sample) * phase.sin();
            }
            10.0 * (re * re + im * im).log10()
        };
        assert!(level(5000.0) < level(3000.0) - 50.0);
    }

    #[test]
    fn every_frame_gives_its_share_and_the_loudest_sound_is_no_danger() {
        for (from, to) in [(16_000, 8000), (8000, 16_000), (44_100, 16_000), (16_000, 44_100)] {
            let mut resampler = Resampler::new(from, to);
            let mut out = Vec::new();
            for n in 1..=50usize {
                let extreme = if n % 3 == 0 { i16::MIN } else { i16::MAX };
                resampler.process(&vec![extreme; from as usize / 100], &mut out);
                assert!(out.len().abs_diff(n * to as usize / 100) <= 1, "{from} to {to}");
            }
        }
    }
}

//! Comfort noise (RFC 3389): what a line sounds like while nobody speaks, told in a few bytes
//! and made anew at the other end.
//!
//! The level is that of the noise in -dBov, the spectrum an all-pole model by its reflection
//! coefficients. Only the format of 8 kHz is spoken (payload type 13), which goes with all codecs
//! of that clock.

use crate::codec::Resampler;

/// The clock of the format, and the rate that its spectrum is of.
pub const CLOCK: u32 = 8000;
/// RFC 3551 §6.
pub const PAYLOAD_TYPE: u8 = 13;

/// Noise as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    /// In -dBov: 0 is as loud as can be, 127 is silence.
    pub level: u8,
    coefficients: [u8; ORDER],
    order: usize,
}

impl Noise {
    /// Noise without a shape.
    #[must_use]
    pub fn white(level: u8) -> Self {
        Self { level: level.min(QUIETEST), coefficients: [MIDDLE; ORDER], order: 0 }
    }

    /// Coefficients beyond those that we use are left out, as §3.2 allows.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (level, coefficients) = payload.split_first()?;
        let mut noise = Self::white(level & 0x7f);
        noise.order = coefficients.len().min(ORDER);
        for (to, from) in noise.coefficients.iter_mut().zip(coefficients) {
            *to = *from;
        }
        Some(noise)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(self.level);
        out.extend_from_slice(&self.coefficients[..self.order]);
    }

    /// What sound of so many samples a second is as noise. The shape is told of 8 kHz only.
    #[must_use]
    pub fn measure(pcm: &[i16], rate: u32) -> Self {
        let power =
            pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / pcm.len().max(1) as f64;
        if power < 1.0 {
            return Self::white(QUIETEST);
        }
        let below = -10.0 * (power / FULL.powi(2)).log10();
        let mut noise = Self::white(below.round().clamp(0.0, f64::from(QUIETEST)) as u8);
        if rate == CLOCK && pcm.len() > 4 * ORDER {
            let reflections = reflections(pcm);
            noise.order = ORDER;
            for (to, k) in noise.coefficients.iter_mut().zip(reflections) {
                *to = (k * 127.0 + 127.0).round().clamp(0.0, 254.0) as u8;
            }
        }
        noise
    }

    /// Whether somebody would hear the difference.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let shape = |n: &Self| n.coefficients.map(|c| i32::from(c) - i32::from(MIDDLE));
        let distance: i32 =
            shape(self).iter().zip(shape(other)).take(2).map(|(a, b)| (a - b).abs()).sum();
        self.level.abs_diff(other.level) <= 3 && distance < 40
    }

    /// RFC 3389 §3.2; kept from the edge, where the filter would ring for ever.
    fn reflection(&self, index: usize) -> f64 {
        let value = (f64::from(self.coefficients[index]) - 127.0) / 127.0;
        value.clamp(-0.98, 0.98)
    }
}

/// Levinson's recursion over the autocorrelation of a window.
fn reflections(pcm: &[i16]) -> [f64; ORDER] {
    let n = pcm.len() as f64;
    let shaped: Vec<f64> = pcm
        .iter()
        .enumerate()
        .map(|(at, s)| {
            let angle = std::f64::consts::TAU * (at as f64 + 0.5) / n;
            f64::from(*s) * (0.5 - 0.5 * angle.cos())
        })
        .collect();
    let correlation =
        |lag: usize| -> f64 { shaped.iter().zip(&shaped[lag..]).map(|(a, b)| a * b).sum::<f64>() };
    let mut error = correlation(0) * 1.001 + 1.0;
    let correlations: [f64; ORDER] = std::array::from_fn(|lag| correlation(lag + 1));
    let (mut out, mut model) = ([0.0; ORDER], [0.0; ORDER]);
    for m in 0..ORDER {
        let known: f64 = (0..m).map(|i| model[i] * correlations[m - 1 - i]).sum();
        let k = -(correlations[m] + known) / error;
        if !(-0.999..=0.999).contains(&k) {
            break;
        }
        let before = model;
        for i in 0..m {
            model[i] = before[i] + k * before[m - 1 - i];
        }
        model[m] = k;
        out[m] = k;
        error *= 1.0 - k * k;
    }
    out
}

/// Makes noise, without end.
#[derive(Debug)]
pub struct NoiseMaker {
    noise: Noise,
    /// Of the excitation, moving to what the noise wants.
    gain: f64,
    lattice: [f64; ORDER],
    state: u32,
    convert: Option<Resampler>,
    plain: Vec<i16>,
    ready: Vec<i16>,
}

impl NoiseMaker {
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            noise: Noise::white(QUIETEST),
            gain: 0.0,
            lattice: [0.0; ORDER],
            state: 0x2545_f491,
            convert: (rate != CLOCK).then(|| Resampler::new(CLOCK, rate)),
            plain: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// What is told last is made from now on.
    pub fn set(&mut self, noise: Noise) {
        self.noise = noise;
    }

    #[must_use]
    pub fn noise(&self) -> Noise {
        self.noise
    }

    /// Appends so many samples.
    pub fn fill(&mut self, count: usize, out: &mut Vec<i16>) {
        while self.ready.len() < count {
            self.plain.clear();
            self.make(PIECE);
            match &mut self.convert {
                Some(convert) => convert.process(&self.plain, &mut self.ready),
                None => self.ready.extend_from_slice(&self.plain),
            }
        }
        out.extend(self.ready.drain(..count));
    }

    fn make(&mut self, count: usize) {
        let order = self.noise.order;
        let reflections: [f64; ORDER] = std::array::from_fn(|i| self.noise.reflection(i));
        let level = FULL * 10f64.powf(-f64::from(self.noise.level) / 20.0);
        // What the filter adds in power, the excitation has less.
        let share: f64 = reflections[..order].iter().map(|k| 1.0 - k * k).product();
        let wanted = if self.noise.level >= QUIETEST { 0.0 } else { level * share.sqrt() };
        for _ in 0..count {
            // Over about 20 ms, so that a change is no click.
            self.gain += (wanted - self.gain) / 64.0;
            let mut value = self.gain * self.random();
            for i in (0..order).rev() {
                value -= reflections[i] * self.lattice[i];
                if i + 1 < ORDER {
                    self.lattice[i + 1] = self.lattice[i] + reflections[i] * value;
                }
            }
            self.lattice[0] = value;
            self.plain.push(value.clamp(-FULL, FULL) as i16);
        }
    }

    /// Evenly spread, with a power of one. Nobody gains by knowing what comes, so a generator of
    /// three shifts does (Marsaglia).
    fn random(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        (f64::from(self.state) / f64::from(u32::MAX) - 0.5) * 12f64.sqrt()
    }
}

/// Coefficients that we use; G.711 Appendix II calls ten enough.
const ORDER: usize = 10;
const MIDDLE: u8 = 127;
const QUIETEST: u8 = 127;
const FULL: f64 = 32_767.0;
const PIECE: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn made(noise: Noise, rate: u32, seconds: u32) -> Vec<i16> {
        let mut maker = NoiseMaker::new(rate);
        maker.set(noise);
        let mut out = Vec::new();
        for _ in 0..seconds * 50 {
            maker.fill(rate as usize / 50, &mut out);
        }
        out.split_off(rate as usize / 2)
    }

    #[test]
    fn noise_is_as_loud_as_told_at_every_rate() {
        for level in [20, 40, 60] {
            for rate in [8000, 16_000, 48_000] {
                let heard = Noise::measure(&made(Noise::white(level), rate, 3), rate);
                assert!(heard.level.abs_diff(level) <= 1, "{level} at {rate}: {}", heard.level);
            }
        }
        assert!(made(Noise::white(127), 8000, 1).iter().all(|s| *s == 0));
    }

    /// Told and made again and again, it keeps level and shape.
    #[test]
    fn noise_keeps_its_shape() {
        let dark = Noise {
            level: 35,
            coefficients: [20, 200, 127, 140, 120, 127, 127, 127, 127, 127],
            order: 6,
        };
        let bright = Noise {
            level: 50,
            coefficients: [220, 160, 127, 127, 127, 127, 127, 127, 127, 127],
            order: 2,
        };
        for noise in [dark, bright] {
            let mut payload = Vec::new();
            noise.encode(&mut payload);
            let heard =
                Noise::measure(&made(Noise::decode(&payload).expect("noise"), 8000, 4), 8000);
            assert!(heard.level.abs_diff(noise.level) <= 1, "{noise:?}: {heard:?}");
            for (a, b) in heard.coefficients.iter().zip(noise.coefficients) {
                assert!(a.abs_diff(b) <= 12, "{noise:?}: {heard:?}");
            }
            assert!(heard.is_like(&noise));
        }
        assert!(!dark.is_like(&bright));
    }

    #[test]
    fn whatever_is_told_is_noise_and_never_too_loud() {
        assert_eq!(Noise::decode(&[]), None);
        for first in [0, 127, 255] {
            for rest in [&[][..], &[0; 40], &[255; 40], &[254, 0, 254, 0, 254, 0, 254, 0, 254, 0]] {
                let noise = Noise::decode(&[&[first][..], rest].concat()).expect("noise");
                let pcm = made(noise, 8000, 2);
                assert_eq!(pcm.len(), 12_000);
            }
        }
    }
}

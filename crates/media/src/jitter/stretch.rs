//! Sound made longer and shorter by whole periods of the voice, so that nothing clicks.

/// Sound made up in place of what is missing: the last period of the voice again and again,
/// fading out.
#[derive(Debug, Default)]
pub(super) struct Substitute {
    period: Vec<i16>,
    /// Samples made up so far.
    made: usize,
}

impl Substitute {
    pub(super) fn is_on(&self) -> bool {
        self.made > 0
    }

    /// Appends so many samples that go on after `history`.
    pub(super) fn extend(&mut self, history: &[i16], rate: u32, count: usize, out: &mut Vec<i16>) {
        if self.made == 0 {
            let lag = pitch(history, rate).map_or(longest(rate), |(lag, _)| lag);
            self.period.clear();
            self.period.extend_from_slice(&history[history.len().saturating_sub(lag)..]);
        }
        for _ in 0..count {
            let value = self.value(rate);
            out.push(value);
            self.made += 1;
        }
    }

    /// Real sound is back: blends what is made up into the first of it.
    pub(super) fn blend(&mut self, rate: u32, sound: &mut [i16]) {
        let blend = (rate as usize / 200).min(sound.len());
        for (n, sample) in sound[..blend].iter_mut().enumerate() {
            let made_up = self.value(rate);
            self.made += 1;
            *sample = mix(made_up, *sample, n, blend);
        }
        self.made = 0;
    }

    pub(super) fn stop(&mut self) {
        self.made = 0;
    }

    fn value(&self, rate: u32) -> i16 {
        let Some(sample) = self.period.get(self.made % self.period.len().max(1)) else { return 0 };
        // Whole for 20 ms, then down to nothing at 100 ms.
        let per_ms = rate as usize / 1000;
        let (begin, end) = (20 * per_ms, 100 * per_ms);
        let left = end.saturating_sub(self.made.max(begin));
        (i32::from(*sample) * left as i32 / (end - begin) as i32) as i16
    }
}

/// Takes one period of the voice out of the beginning, or as much of near silence; tells how many
/// samples are gone. Sound without a period stays as it is.
pub(super) fn shorten(pcm: &mut Vec<i16>, rate: u32) -> usize {
    let longest = longest(rate);
    if pcm.len() < 2 * longest {
        return 0;
    }
    let lag = match pitch(&pcm[..2 * longest], rate) {
        _ if is_quiet(&pcm[..2 * longest]) => longest,
        Some((lag, likeness)) if likeness > 0.75 => lag,
        _ => return 0,
    };
    for n in 0..lag {
        pcm[n] = mix(pcm[n], pcm[n + lag], n, lag);
    }
    pcm.drain(lag..2 * lag);
    lag
}

/// Samples needed to shorten sound by any period.
pub(super) fn needed(rate: u32) -> usize {
    2 * longest(rate)
}

/// The lag at which the end of a piece is most like what was before, and how like from 0 to 1.
fn pitch(pcm: &[i16], rate: u32) -> Option<(usize, f32)> {
    let longest = longest(rate);
    let window = longest.min(pcm.len().checked_sub(longest)?);
    let end = &pcm[pcm.len() - window..];
    let shortest = rate as usize / 400;
    let likeness = |lag: usize| {
        let before = &pcm[pcm.len() - window - lag..pcm.len() - lag];
        let (mut product, mut energy) = (0.0f32, 1.0f32);
        for (a, b) in end.iter().zip(before) {
            let (a, b) = (f32::from(*a), f32::from(*b));
            product += a * b;
            energy += b * b;
        }
        (product, energy)
    };
    let own: f32 = end.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() + 1.0;
    (shortest..=longest)
        .map(|lag| {
            let (product, energy) = likeness(lag);
            (lag, product / (energy * own).sqrt())
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn is_quiet(pcm: &[i16]) -> bool {
    pcm.iter().all(|s| s.unsigned_abs() < QUIET)
}

/// From one to the other, at `n` of `length`.
fn mix(from: i16, to: i16, n: usize, length: usize) -> i16 {
    let (n, length) = (n as i32, length as i32);
    ((i32::from(from) * (length - n) + i32::from(to) * n) / length) as i16
}

/// The longest period: 12.5 ms, a voice of 80 Hz.
fn longest(rate: u32) -> usize {
    rate as usize / 80
}

const QUIET: u16 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(count: usize) -> Vec<i16> {
        let sample = |n: usize| {
            let phase = n as f64 * 125.0 / 8000.0 * std::f64::consts::TAU;
            (4000.0 * phase.sin() + 2000.0 * (3.0 * phase).sin()) as i16
        };
        (0..count).map(sample).collect()
    }

    /// The greatest step from one sample to the next.
    fn steepest(pcm: &[i16]) -> u16 {
        pcm.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap_or(0)
    }

    #[test]
    fn a_period_goes_without_a_click() {
        let mut pcm = voice(800);
        let before = steepest(&pcm);
        // 125 Hz has a period of 64 samples.
        assert_eq!(shorten(&mut pcm, 8000), 64);
        assert_eq!(pcm.len(), 736);
        assert!(steepest(&pcm) <= before + 20, "{} after {before}", steepest(&pcm));
    }

    #[test]
    fn noise_is_not_shortened_and_silence_is() {
        let mut rng = crosspoint_base::Rng::from_u64(3);
        let mut noise: Vec<i16> = (0..400).map(|_| rng.next_u32() as i16 / 4).collect();
        assert_eq!((shorten(&mut noise, 8000), noise.len()), (0, 400));
        let mut silence = vec![3; 400];
        assert_eq!((shorten(&mut silence, 8000), silence.len()), (100, 300));
        assert_eq!(shorten(&mut vec![0; 10], 8000), 0);
    }

    #[test]
    fn a_gap_in_a_voice_is_filled_without_a_click() {
        let whole = voice(1600);
        let (mut out, mut substitute) = (whole[..800].to_vec(), Substitute::default());
        substitute.extend(&whole[..800], 8000, 160, &mut out);
        let mut rest = whole[960..].to_vec();
        substitute.blend(8000, &mut rest);
        out.extend(rest);
        assert!(steepest(&out) <= steepest(&whole) + 20, "{}", steepest(&out));
        let off = out.iter().zip(&whole).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off < Some(300), "{off:?}");
    }

    #[test]
    fn a_long_gap_fades_out_and_nothing_gives_nothing() {
        let (mut out, mut substitute) = (vec![], Substitute::default());
        substitute.extend(&voice(800), 8000, 1600, &mut out);
        assert!(out[..160].iter().any(|s| *s > 4000));
        assert!(out[800..].iter().all(|s| *s == 0));
        let (mut out, mut substitute) = (vec![], Substitute::default());
        substitute.extend(&[], 16_000, 320, &mut out);
        assert_eq!(out, vec![0; 320]);
    }
}

//! Something like speech, as a function of time: exact at every sample rate and every delay.

use std::f64::consts::TAU;

/// Syllables of a quarter of a second, voiced and hissed in turn, with a pause after each fifth
/// and a rising chirp instead of each seventh.
pub(super) fn speech(time: f64) -> f64 {
    if time < 0.0 {
        return 0.0;
    }
    let syllable = (time / SYLLABLE) as u32;
    let within = time - f64::from(syllable) * SYLLABLE;
    let envelope = (std::f64::consts::PI * within / SYLLABLE).sin().powi(2);
    let level = 0.3 + 0.1 * f64::from(syllable % 3);
    let value = match syllable % 7 {
        4 => 0.0,
        2 => hiss(time),
        6 => chirp(within),
        _ => vowel(syllable, within),
    };
    9000.0 * level * envelope * value
}

/// Harmonics of a gliding pitch, louder near two formants that differ with the syllable.
fn vowel(syllable: u32, within: f64) -> f64 {
    let pitch = 105.0 + 17.0 * f64::from(syllable % 4);
    let glide = 40.0;
    let phase = TAU * (pitch * within + glide * within * within / 2.0);
    let first = 400.0 + 120.0 * f64::from(syllable % 5);
    let second = 1200.0 + 310.0 * f64::from(syllable % 6);
    let near = |hertz: f64, formant: f64| (-((hertz - formant) / 180.0).powi(2)).exp();
    (2..30)
        .map(|n| {
            let n = f64::from(n);
            let hertz = n * pitch;
            let gain = near(hertz, first) + 0.6 * near(hertz, second) + 0.05;
            gain * (n * phase + n * n).sin()
        })
        .sum()
}

/// Many tones of no common measure, between 1 and 3.2 kHz.
fn hiss(time: f64) -> f64 {
    (0..24)
        .map(|n| {
            let n = f64::from(n);
            let hertz = 1000.0 + 91.7 * n + 37.0 * (n * 1.618).fract();
            0.3 * (TAU * hertz * time + 7.3 * n * n).sin()
        })
        .sum()
}

fn chirp(within: f64) -> f64 {
    1.5 * (TAU * (300.0 * within + 2600.0 / SYLLABLE * within * within / 2.0)).sin()
}

/// So many samples of it, beginning at a time.
pub(super) fn spoken(rate: u32, from: f64, count: usize) -> Vec<f64> {
    (0..count).map(|n| speech(from + n as f64 / f64::from(rate))).collect()
}

const SYLLABLE: f64 = 0.25;

//! Sound of our own making: a tone and an announcement, computed when played.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::codec::samples;
use crate::control::Playback;

/// A source of sound at one sample rate.
#[derive(Debug)]
pub struct Source {
    kind: Playback,
    rate: u32,
    /// Samples that are played at a time.
    frame: u64,
    position: u64,
}

impl Source {
    #[must_use]
    pub fn new(kind: Playback, rate: u32) -> Self {
        Self { kind, rate, frame: u64::from(rate / 50), position: 0 }
    }

    /// Sets how much is played at a time: 20 ms, unless told otherwise.
    pub fn set_frame(&mut self, length: Duration) {
        self.frame = samples(self.rate, length) as u64;
    }

    /// Fills `out` with the next frame; `false` when the sound is over.
    pub fn pull(&mut self, out: &mut Vec<i16>) -> bool {
        out.clear();
        for at in self.position..self.position + self.frame {
            let time = at as f64 / f64::from(self.rate);
            out.push((self.value(time) * 32_767.0) as i16);
        }
        self.position += self.frame;
        let time = self.position as f64 / f64::from(self.rate);
        self.kind != Playback::Announcement || time < ANNOUNCEMENT_SECONDS
    }

    fn value(&self, time: f64) -> f64 {
        match self.kind {
            Playback::Tone => 0.4 * (TAU * TONE_HZ * time).sin(),
            Playback::Announcement => announcement(time),
            // An echo has no source of its own, and music is laid over.
            Playback::Echo | Playback::Music => 0.0,
        }
    }
}

/// Three rising chimes, twice: notes that ring out, each with two overtones.
fn announcement(time: f64) -> f64 {
    let phrase = time % 1.8;
    let mut value = 0.0;
    for (index, note) in [523.25, 659.25, 783.99].into_iter().enumerate() {
        let since = phrase - 0.4 * index as f64;
        if since < 0.0 {
            continue;
        }
        let attack = (since / 0.01).min(1.0);
        let ring = attack * (-since * 4.0).exp();
        let tone = (TAU * note * since).sin()
            + 0.3 * (TAU * 2.0 * note * since).sin()
            + 0.1 * (TAU * 3.0 * note * since).sin();
        value += 0.22 * ring * tone;
    }
    value
}

/// The pitch of the tone number.
pub const TONE_HZ: f64 = 440.0;
const ANNOUNCEMENT_SECONDS: f64 = 3.6;

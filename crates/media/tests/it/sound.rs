//! Voices that sing one tone, and ears that tell which.

use crosspoint_media::codec::{Codec, Decoder, Encoder};

use std::f64::consts::TAU;

/// A tone in a codec, packet by packet.
pub(crate) struct Voice {
    pub(crate) codec: Codec,
    encoder: Encoder,
    frequency: f64,
    rate: u32,
    /// Samples in a packet.
    frame: u32,
    samples: u32,
    /// Every payload so far.
    pub(crate) said: Vec<Vec<u8>>,
}

impl Voice {
    pub(crate) fn new(codec: Codec, frequency: f64) -> Self {
        let rate = codec.common_rate(codec);
        let encoder = Encoder::new(codec, rate);
        Self { codec, encoder, frequency, rate, frame: rate / 50, samples: 0, said: vec![] }
    }

    /// One that says nothing, at length.
    pub(crate) fn silent(codec: Codec) -> Self {
        Self::new(codec, 0.0)
    }

    /// In packets of so many milliseconds.
    pub(crate) fn cut(mut self, milliseconds: u32) -> Self {
        self.frame = self.rate / 1000 * milliseconds;
        self
    }

    /// Ticks of the RTP clock in a packet.
    pub(crate) fn ticks(&self) -> u32 {
        self.codec.clock_rate() / 1000 * (self.frame * 1000 / self.rate)
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        let frame = self.frame;
        let sample = |n: u32| {
            let phase = f64::from(n) * self.frequency / f64::from(self.rate) * TAU;
            (phase.sin() * 8000.0) as i16
        };
        let pcm: Vec<i16> = (self.samples..self.samples + frame).map(sample).collect();
        self.samples += frame;
        let mut payload = Vec::new();
        self.encoder.encode(&pcm, &mut payload);
        if self.codec == Codec::Pcmu && self.frequency > 0.0 {
            // Numbered, so that no two packets are alike: four quiet samples of four bits each.
            for (n, byte) in payload.iter_mut().take(4).enumerate() {
                *byte = 0xf0 | (self.said.len() >> (4 * n) & 15) as u8;
            }
        }
        self.said.push(payload.clone());
        payload
    }
}

/// An RTP packet that somebody heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) pt: u8,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
}

/// One source, no number left out or twice, and time going on by one packet each.
pub(crate) fn assert_continuous(heard: &[Heard], ticks: u32) {
    for (before, after) in heard.iter().zip(&heard[1..]) {
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.seq, before.seq.wrapping_add(1));
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(ticks), "at {}", after.seq);
    }
}

/// The energy of a frequency in the last half second of what was heard, as a share of all
/// (1.0: nothing else).
pub(crate) fn share_of(heard: &[Heard], codec: Codec, frequency: f64) -> f64 {
    *shares_of(heard, codec, frequency).last().expect("half a second of sound")
}

/// The least such share in any half second, but the first.
pub(crate) fn worst_share_of(heard: &[Heard], codec: Codec, frequency: f64) -> f64 {
    let shares = shares_of(heard, codec, frequency);
    assert!(shares.len() > 2, "more than a second of sound is needed");
    shares[1..].iter().copied().fold(1.0, f64::min)
}

fn shares_of(heard: &[Heard], codec: Codec, frequency: f64) -> Vec<f64> {
    let mut decoder = Decoder::new(codec, RATE);
    let mut pcm = Vec::new();
    for packet in heard {
        decoder.decode(&packet.payload, &mut pcm);
    }
    // Counted from the end, so that the last words are in.
    pcm.drain(..pcm.len() % WINDOW);
    pcm.chunks_exact(WINDOW).map(|window| share(window, frequency)).collect()
}

/// The share of energy at a frequency, in sound at 8 kHz.
pub(crate) fn share(pcm: &[i16], frequency: f64) -> f64 {
    let (mut real, mut imaginary, mut all) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let phase = TAU * frequency * n as f64 / f64::from(RATE);
        let sample = f64::from(*sample);
        real += sample * phase.cos();
        imaginary += sample * phase.sin();
        all += sample * sample;
    }
    // By Parseval: a pure tone of amplitude a has n·a²/2 energy, and |X|² = (n·a/2)².
    2.0 * (real * real + imaginary * imaginary) / (pcm.len() as f64 * all.max(1.0))
}

const RATE: u32 = 8000;
const WINDOW: usize = 4000;

pub(crate) fn assert_tone(heard: &[Heard], codec: Codec, frequency: f64) {
    let share = share_of(heard, codec, frequency);
    assert!(share > 0.8, "only {share:.2} of the sound is at {frequency} Hz");
}

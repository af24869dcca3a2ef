//! Sound that is laid over what a leg hears: prompts, tones, music, and what services send.

use std::f64::consts::TAU;
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicI16, AtomicU64, Ordering};
use std::time::Duration;

use crate::codec::{Resampler, samples};

/// A piece of sound at both rates that legs work at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    narrow: Vec<i16>,
    wide: Vec<i16>,
}

/// Why a file cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    #[error("it is no WAV file: {0}")]
    Wav(#[from] hound::Error),
    #[error("its sample rate of {0} Hz is not between 8 and 48 kHz")]
    Rate(u32),
    #[error("it is empty, or longer than {} minutes", MAX_LENGTH.as_secs() / 60)]
    Length,
}

impl Clip {
    /// From samples at a rate between 8 and 48 kHz.
    #[must_use]
    pub fn new(pcm: &[i16], rate: u32) -> Self {
        let at = |to: u32| {
            if to == rate {
                return pcm.to_vec();
            }
            let mut out = Vec::with_capacity(pcm.len() * to as usize / rate.max(1) as usize + 1);
            Resampler::new(rate, to).process(pcm, &mut out);
            out
        };
        Self { narrow: at(8000), wide: at(16_000) }
    }

    /// Reads a WAV file; of several channels the mean.
    ///
    /// # Errors
    /// When it is no WAV file, too long, or of a rate that no sound of ours has.
    pub fn read_wav(file: impl Read) -> Result<Self, ClipError> {
        let mut reader = hound::WavReader::new(file)?;
        let spec = reader.spec();
        if !(8000..=48_000).contains(&spec.sample_rate) {
            return Err(ClipError::Rate(spec.sample_rate));
        }
        if reader.duration() == 0
            || reader.duration() > MAX_LENGTH.as_secs() as u32 * spec.sample_rate
        {
            return Err(ClipError::Length);
        }
        let all: Vec<i16> = match spec.sample_format {
            hound::SampleFormat::Float => {
                let whole = |s: f32| (s.clamp(-1.0, 1.0) * 32_767.0) as i16;
                reader.samples::<f32>().map(|s| s.map(whole)).collect::<Result<_, _>>()?
            }
            hound::SampleFormat::Int => {
                let bits = u32::from(spec.bits_per_sample.clamp(1, 32));
                let whole = |s: i32| (i64::from(s) << 16 >> bits) as i16;
                reader.samples::<i32>().map(|s| s.map(whole)).collect::<Result<_, _>>()?
            }
        };
        let channels = usize::from(spec.channels.max(1));
        let mean = |frame: &[i16]| {
            (frame.iter().map(|s| i64::from(*s)).sum::<i64>() / channels as i64) as i16
        };
        let mono: Vec<i16> = all.chunks_exact(channels).map(mean).collect();
        Ok(Self::new(&mono, spec.sample_rate))
    }

    /// A steady tone that fades in and out.
    #[must_use]
    pub fn tone(hertz: f64, length: Duration, level: f64) -> Self {
        let count = samples(16_000, length.min(MAX_LENGTH));
        let edge = count.clamp(1, 160) as f64;
        let value = |n: usize| {
            let fade = (n as f64).min((count - n) as f64) / edge;
            let sample = (TAU * hertz * n as f64 / 16_000.0).sin();
            (32_767.0 * level * fade.min(1.0) * sample) as i16
        };
        Self::new(&(0..count).map(value).collect::<Vec<_>>(), 16_000)
    }

    /// A key as telephones sound it (ITU-T Q.23), for who hears no events; `None` when it is
    /// no key.
    #[must_use]
    pub fn key(key: char, length: Duration) -> Option<Self> {
        const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];
        const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
        const HIGH: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
        let places = || {
            KEYS.iter()
                .zip(LOW)
                .flat_map(|(row, low)| row.chars().zip(HIGH).map(move |(k, high)| (k, low, high)))
        };
        let (_, low, high) = places().find(|(k, ..)| *k == key)?;
        let count = samples(16_000, length.min(MAX_LENGTH));
        let edge = count.clamp(1, 80) as f64;
        let value = |n: usize| {
            let fade = ((n as f64).min((count - n) as f64) / edge).min(1.0);
            let time = n as f64 / 16_000.0;
            let both = (TAU * low * time).sin() + (TAU * high * time).sin();
            (32_767.0 * 0.2 * fade * both) as i16
        };
        Some(Self::new(&(0..count).map(value).collect::<Vec<_>>(), 16_000))
    }

    /// Music for who waits, of our own making: soft notes of a pentatonic scale, one after the
    /// other, that come round in sixteen seconds.
    #[must_use]
    pub fn music() -> Self {
        let beat = samples(16_000, Duration::from_millis(500));
        let mut pcm = vec![0.0_f64; 32 * beat];
        for (index, note) in MELODY.into_iter().enumerate() {
            let hertz = 261.63 * 2_f64.powf(f64::from(note) / 12.0);
            for n in 0..4 * beat {
                let since = n as f64 / 16_000.0;
                let attack = (since / 0.03).min(1.0);
                let ring = attack * (-since * 2.2).exp();
                let tone = (TAU * hertz * since).sin() + 0.2 * (TAU * 2.0 * hertz * since).sin();
                // What still rings at the end is heard at the beginning, so there is no seam.
                let at = (index * beat + n) % pcm.len();
                pcm[at] += 0.06 * ring * tone;
            }
        }
        let whole = |s: &f64| (32_767.0 * s.clamp(-1.0, 1.0)) as i16;
        Self::new(&pcm.iter().map(whole).collect::<Vec<_>>(), 16_000)
    }

    /// The samples at 8 or at 16 kHz.
    #[must_use]
    pub fn at(&self, rate: u32) -> &[i16] {
        if rate == 8000 { &self.narrow } else { &self.wide }
    }

    /// A WAV file of it, at 8 kHz.
    #[must_use]
    pub fn to_wav(&self) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut out = Cursor::new(Vec::new());
        let written = hound::WavWriter::new(&mut out, spec).and_then(|mut writer| {
            self.narrow.iter().try_for_each(|sample| writer.write_sample(*sample))?;
            writer.finalize()
        });
        // Memory takes everything, and no clip is as long as a WAV file may be.
        debug_assert!(written.is_ok());
        out.into_inner()
    }

    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_micros(self.wide.len() as u64 * 1_000_000 / 16_000)
    }
}

/// Sound at 16 kHz on its way from a service to a leg. One side puts in, the other takes out;
/// neither waits.
#[derive(Debug)]
pub struct SoundQueue {
    samples: Box<[AtomicI16]>,
    written: AtomicU64,
    read: AtomicU64,
    /// What is before this is not to be played any more.
    cleared: AtomicU64,
}

impl SoundQueue {
    /// With room for about half a minute.
    #[must_use]
    pub fn new() -> Self {
        Self {
            samples: (0..QUEUE).map(|_| AtomicI16::new(0)).collect(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
        }
    }

    /// Puts in what there is room for; gives how much that was.
    pub fn push(&self, pcm: &[i16]) -> usize {
        let written = self.written.load(Ordering::Relaxed);
        let used = written - self.read.load(Ordering::Acquire);
        let room = QUEUE.saturating_sub(used as usize).min(pcm.len());
        for (at, sample) in (written..).zip(&pcm[..room]) {
            self.samples[at as usize & (QUEUE - 1)].store(*sample, Ordering::Relaxed);
        }
        self.written.store(written + room as u64, Ordering::Release);
        room
    }

    /// Appends up to `count` samples; gives how many there were.
    pub fn pull(&self, count: usize, out: &mut Vec<i16>) -> usize {
        let written = self.written.load(Ordering::Acquire);
        let read = self.read.load(Ordering::Relaxed).max(self.cleared.load(Ordering::Acquire));
        let count = (written.saturating_sub(read) as usize).min(count);
        let at = |n: u64| self.samples[n as usize & (QUEUE - 1)].load(Ordering::Relaxed);
        out.extend((read..read + count as u64).map(at));
        self.read.store(read + count as u64, Ordering::Release);
        count
    }

    /// Forgets what waits: only for the side that puts in.
    pub fn clear(&self) {
        self.cleared.store(self.written.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Samples ever put in and, of these, played or forgotten.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let read = self.read.load(Ordering::Acquire);
        (self.written.load(Ordering::Acquire), read.max(self.cleared.load(Ordering::Acquire)))
    }
}

impl Default for SoundQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Half tones above middle C.
const MELODY: [i32; 32] = [
    0, 4, 7, 9, 12, 9, 7, 4, 2, 7, 9, 14, 12, 9, 7, 2, 0, 7, 9, 4, 2, 4, 7, 0, 9, 12, 7, 9, 4, 7,
    2, 4,
];
const MAX_LENGTH: Duration = Duration::from_secs(600);
/// 32 s.
const QUEUE: usize = 1 << 19;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn wav(
        spec: hound::WavSpec,
        write: impl Fn(&mut hound::WavWriter<&mut Cursor<Vec<u8>>>),
    ) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        write(&mut writer);
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn files_of_usual_kinds_are_read() {
        let kinds = [
            (8000, 1, 16, hound::SampleFormat::Int),
            (44_100, 2, 16, hound::SampleFormat::Int),
            (48_000, 1, 24, hound::SampleFormat::Int),
            (16_000, 2, 32, hound::SampleFormat::Float),
        ];
        for (sample_rate, channels, bits_per_sample, sample_format) in kinds {
            let spec = hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format };
            let bytes = wav(spec, |writer| {
                for n in 0..sample_rate * u32::from(channels) {
                    let angle = TAU * 440.0 * f64::from(n / u32::from(channels));
                    let value = 0.5 * (angle / f64::from(sample_rate)).sin();
                    if sample_format == hound::SampleFormat::Float {
                        writer.write_sample(value as f32).unwrap();
                    } else {
                        let full = f64::from(1 << (bits_per_sample - 1));
                        writer.write_sample((value * full) as i32).unwrap();
                    }
                }
            });
            let clip = Clip::read_wav(Cursor::new(bytes)).unwrap();
            let off = clip.length().abs_diff(Duration::from_secs(1));
            assert!(off < Duration::from_millis(10), "{sample_rate}: {:?}", clip.length());
            for rate in [8000, 16_000] {
                let loudest = clip.at(rate).iter().map(|s| s.unsigned_abs()).max().unwrap();
                assert!((15_000..18_000).contains(&loudest), "{sample_rate} {rate}: {loudest}");
            }
        }
        assert!(matches!(Clip::read_wav(&b"RIFF\0\0"[..]), Err(ClipError::Wav(_))));
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        assert!(matches!(Clip::read_wav(&wav(spec, |_| {})[..]), Err(ClipError::Length)));
    }

    #[test]
    fn music_is_soft_and_has_no_seam() {
        let music = Clip::music();
        let pcm = music.at(16_000);
        assert_eq!(music.length(), Duration::from_secs(16));
        let loudest = pcm.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((2000..12_000).contains(&loudest), "{loudest}");
        let around = pcm.iter().cycle().skip(pcm.len() - 100).take(200);
        let steps = around.clone().zip(around.skip(1)).map(|(a, b)| a.abs_diff(*b));
        assert!(steps.max().unwrap() < 1500);
    }

    #[test]
    fn a_queue_holds_half_a_minute_and_can_be_emptied() {
        let queue = SoundQueue::new();
        assert_eq!(queue.push(&vec![1; QUEUE + 5]), QUEUE);
        assert_eq!(queue.push(&[2]), 0);
        let mut out = Vec::new();
        assert_eq!(queue.pull(100, &mut out), 100);
        assert_eq!(queue.push(&[2; 100]), 100);
        queue.clear();
        assert_eq!(queue.push(&[3; 10]), 0, "what was forgotten is not read yet");
        assert_eq!(queue.pull(100, &mut out), 0);
        assert_eq!(queue.push(&[3; 10]), 10);
        out.clear();
        assert_eq!(queue.pull(100, &mut out), 10);
        assert_eq!(out, [3; 10]);
        let all = QUEUE as u64 + 110;
        assert_eq!(queue.progress(), (all, all));
    }
}

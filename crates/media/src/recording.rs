//! A recorded call: two sides that speak, one file with a channel for each.
//!
//! [`Recording`] puts packets where they belong in time and says what to write; [`Sink`] writes
//! it as WAV or Ogg. Both run on a writer's thread, never on the packet path. Left is who called,
//! right who was called; who takes another's place in the call gets its channel.

mod ogg_opus;
mod repair;
#[cfg(test)]
mod tests;
mod track;

use std::collections::VecDeque;
use std::io::{self, Seek, Write};
use std::time::{Duration, Instant};

use crate::tap::Tapped;
use ogg_opus::OggOpus;
pub use repair::{Repaired, repair};
use track::{HORIZON, Track};

/// Samples a second in every recording: all that telephony has, and most of a voice.
pub const RATE: u32 = 16_000;

/// Who speaks on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Left.
    Caller,
    /// Right.
    Called,
}

/// What is kept of the call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Running,
    /// Silence in the file while the call goes on: a card number, say.
    Masked,
    /// Nothing: the file goes on where recording goes on.
    Paused,
}

/// See the module.
#[derive(Debug)]
pub struct Recording {
    origin: Instant,
    tracks: [Track; 2],
    /// What holds from which sample of the call on.
    modes: VecDeque<(i64, Mode)>,
    mode: Mode,
    /// Up to which sample of the call is written.
    done: i64,
    written: u64,
    sides: [Vec<i16>; 2],
    stereo: Vec<i16>,
}

impl Recording {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            tracks: [Track::new(now), Track::new(now)],
            modes: VecDeque::new(),
            mode: Mode::Running,
            done: 0,
            written: 0,
            sides: [Vec::new(), Vec::new()],
            stereo: Vec::new(),
        }
    }

    pub fn handle_packet(&mut self, channel: Channel, packet: Tapped) {
        self.tracks[channel as usize].push(packet);
    }

    /// From `now` on.
    pub fn set_mode(&mut self, now: Instant, mode: Mode) {
        if self.modes.len() < MAX_MODES {
            self.modes.push_back((position(self.origin, now), mode));
        }
    }

    /// The samples that are final by now, left and right in turn.
    pub fn advance(&mut self, now: Instant) -> &[i16] {
        let until = position(self.origin, now) - position(self.origin, self.origin + HORIZON);
        self.take(until)
    }

    /// All that is left, when nothing more will come.
    pub fn finish(&mut self, now: Instant) -> &[i16] {
        self.take(position(self.origin, now))
    }

    /// How long the file is.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_micros(self.written * 1_000_000 / u64::from(RATE))
    }

    /// Packets that came too late for their place.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.tracks.iter().map(Track::late).sum()
    }

    fn take(&mut self, until: i64) -> &[i16] {
        self.stereo.clear();
        while self.done < until {
            while let Some((_, mode)) = self.modes.pop_front_if(|(from, _)| *from <= self.done) {
                self.mode = mode;
            }
            let next = self.modes.front().map_or(until, |(from, _)| until.min(*from));
            self.take_alike(next);
        }
        &self.stereo
    }

    /// Takes samples that one mode holds for.
    fn take_alike(&mut self, until: i64) {
        for (track, side) in self.tracks.iter_mut().zip(&mut self.sides) {
            track.take(until, side);
        }
        let count = (until - self.done) as usize;
        self.done = until;
        match self.mode {
            Mode::Paused => return,
            Mode::Masked => self.stereo.resize(self.stereo.len() + 2 * count, 0),
            Mode::Running => {
                let [left, right] = &self.sides;
                self.stereo.extend(left.iter().zip(right).flat_map(|(l, r)| [*l, *r]));
            }
        }
        self.written += count as u64;
    }
}

/// The sample at a moment; negative before the beginning.
fn position(origin: Instant, at: Instant) -> i64 {
    let samples = |d: Duration| (d.as_micros() * u128::from(RATE) / 1_000_000) as i64;
    samples(at.saturating_duration_since(origin)) - samples(origin.saturating_duration_since(at))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 16-bit PCM.
    Wav,
    /// Opus, each side a stream of its own, in Ogg (RFC 7845).
    Opus,
}

impl Format {
    /// The format of a file with this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        [Self::Wav, Self::Opus].into_iter().find(|format| format.extension() == extension)
    }

    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Opus => "opus",
        }
    }
}

/// Writes stereo samples in a format.
pub struct Sink<W: Write + Seek>(Kind<W>);

enum Kind<W: Write + Seek> {
    Wav(hound::WavWriter<W>),
    Opus(Box<OggOpus<W>>),
}

impl<W: Write + Seek> Sink<W> {
    /// Begins a file. `serial` tells logical streams of Ogg apart.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn new(format: Format, out: W, serial: u32) -> io::Result<Self> {
        let kind = match format {
            Format::Wav => {
                let spec = hound::WavSpec {
                    channels: 2,
                    sample_rate: RATE,
                    bits_per_sample: 16,
                    sample_format: hound::SampleFormat::Int,
                };
                Kind::Wav(hound::WavWriter::new(out, spec).map_err(io_error)?)
            }
            Format::Opus => Kind::Opus(Box::new(OggOpus::new(out, serial)?)),
        };
        Ok(Self(kind))
    }

    /// Left and right in turn.
    ///
    /// # Errors
    /// When it cannot be written: the disk is full, or the file as long as its format allows.
    pub fn write(&mut self, stereo: &[i16]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Wav(file) => {
                if file.duration() > MAX_WAV_SAMPLES {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                stereo.iter().try_for_each(|s| file.write_sample(*s)).map_err(io_error)
            }
            Kind::Opus(file) => file.write(stereo),
        }
    }

    /// Makes what was written a whole file, should nothing more be written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Wav(file) => file.flush().map_err(io_error),
            Kind::Opus(file) => file.flush(),
        }
    }

    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Kind::Wav(file) => file.finalize().map_err(io_error),
            Kind::Opus(file) => file.finish(),
        }
    }
}

impl<W: Write + Seek> std::fmt::Debug for Sink<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

fn io_error(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// Changes of mode that wait for the second in which their place is final.
const MAX_MODES: usize = 64;
/// A WAV file counts its bytes in 32 bits.
const MAX_WAV_SAMPLES: u32 = u32::MAX / 4 - RATE;

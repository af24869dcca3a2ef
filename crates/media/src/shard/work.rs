//! The work on one frame of sound: decoding, making up, changing the rate, encoding.
//!
//! It may be done on another thread: a job takes all that it needs along, and what it makes
//! comes back with it. A stream has one job at most on its way, so its frames keep their order;
//! a packet that comes meanwhile waits for the job to be back. Run at once, as the simulator
//! does, it is an ordinary call.

use std::time::Duration;

use crosspoint_base::LegId;

use crate::codec::{Codec, Encoder, EncoderOptions, samples};
use crate::control::Playback;
use crate::jitter::{Counts, JitterBuffer, Played};
use crate::noise::Noise;
use crate::playback::Source;

/// A frame of a leg that is to be made.
#[derive(Debug)]
pub struct Job {
    pub(super) leg: LegId,
    /// Which of the leg's feeds: another may have taken its place meanwhile.
    pub(super) feed: u64,
    pub(super) length: Duration,
    /// Percent that the peer loses.
    pub(super) loss: Option<u8>,
    /// What is laid over it.
    pub(super) over: Option<Over>,
    pub(super) work: Box<Work>,
}

/// Names a job that does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) leg: LegId,
    pub(super) feed: u64,
}

/// Sound for a frame, instead of what there is or together with it.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) replaces: bool,
    pub(super) pcm: Vec<i16>,
}

impl Job {
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket { leg: self.leg, feed: self.feed }
    }

    /// Does the work: some hundred microseconds where Opus is encoded.
    #[must_use]
    pub fn run(mut self) -> Done {
        let (made, is_over) = self.work.make(self.length, self.loss, self.over.as_ref());
        let Self { leg, feed, length, work, .. } = self;
        Done { leg, feed, length, work, made, is_over }
    }
}

impl Over {
    fn lay(&self, pcm: &mut [i16]) {
        if self.replaces {
            pcm.fill(0);
        }
        for (sample, ours) in pcm.iter_mut().zip(&self.pcm) {
            *sample = sample.saturating_add(*ours);
        }
    }
}

/// A frame that was made.
#[derive(Debug)]
pub struct Done {
    pub(super) leg: LegId,
    pub(super) feed: u64,
    pub(super) length: Duration,
    pub(super) work: Box<Work>,
    pub(super) made: Made,
    pub(super) is_over: bool,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Sound,
    /// Comfort noise.
    Noise,
    /// The peer knows that it is silent.
    Nothing,
}

/// The state of one stream that is made or translated.
#[derive(Debug)]
pub(super) struct Work {
    origin: Origin,
    encoder: Encoder,
    codec: Codec,
    rate: u32,
    pauses: Pauses,
    /// Something was heard: silence after it is a pause.
    has_begun: bool,
    is_pausing: bool,
    /// What noise the peer was told of, and how long ago.
    told: Option<(Noise, Duration)>,
    pcm: Vec<i16>,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "boxed with all the rest, and tones are few")]
enum Origin {
    /// Another leg's sound in another codec.
    Foreign(JitterBuffer),
    Own(Source),
    Quiet,
}

/// What the peer takes instead of sound while nobody speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pauses {
    /// RFC 3389.
    pub(super) noise: bool,
    /// Opus with `usedtx=1` (RFC 7587 §6.1).
    pub(super) dtx: bool,
}

impl Work {
    pub(super) fn foreign(from: Codec, to: Codec, complexity: u8, pauses: Pauses) -> Self {
        let rate = from.common_rate(to);
        Self::new(Origin::Foreign(JitterBuffer::new(from, rate)), to, rate, complexity, pauses)
    }

    pub(super) fn own(playback: Playback, to: Codec, complexity: u8) -> Self {
        let rate = to.common_rate(to);
        let origin = Origin::Own(Source::new(playback, rate));
        Self::new(origin, to, rate, complexity, Pauses::default())
    }

    pub(super) fn quiet(to: Codec, complexity: u8) -> Self {
        Self::new(Origin::Quiet, to, to.common_rate(to), complexity, Pauses::default())
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    fn new(origin: Origin, codec: Codec, rate: u32, complexity: u8, pauses: Pauses) -> Self {
        let options = EncoderOptions { complexity, dtx: pauses.dtx };
        Self {
            origin,
            encoder: Encoder::with(codec, rate, options),
            codec,
            rate,
            pauses,
            has_begun: false,
            is_pausing: false,
            told: None,
            pcm: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(super) fn buffer(&mut self) -> Option<&mut JitterBuffer> {
        match &mut self.origin {
            Origin::Foreign(buffer) => Some(buffer),
            Origin::Own(_) | Origin::Quiet => None,
        }
    }

    pub(super) fn counts(&self) -> Option<Counts> {
        match &self.origin {
            Origin::Foreign(buffer) => Some(buffer.counts()),
            Origin::Own(_) | Origin::Quiet => None,
        }
    }

    /// Makes the next frame; says also whether it was the last.
    fn make(&mut self, length: Duration, loss: Option<u8>, over: Option<&Over>) -> (Made, bool) {
        let (mut told_of, mut is_over) = (None, false);
        let mut played = match &mut self.origin {
            Origin::Foreign(buffer) => {
                buffer.set_frame(length);
                let played = buffer.pull(&mut self.pcm);
                told_of = buffer.noise();
                played
            }
            Origin::Own(source) => {
                source.set_frame(length);
                is_over = !source.pull(&mut self.pcm);
                Played::Sound
            }
            Origin::Quiet => {
                self.pcm.clear();
                self.pcm.resize(samples(self.rate, length), 0);
                Played::Sound
            }
        };
        if let Some(over) = over {
            played = Played::Sound;
            over.lay(&mut self.pcm);
        }
        self.has_begun |= played == Played::Sound;
        if let Some(loss) = loss {
            self.encoder.set_loss(loss);
        }
        let is_pause = matches!(played, Played::Noise | Played::Silence);
        if self.pauses.noise && self.has_begun && is_pause {
            return (self.tell_noise(told_of, length), is_over);
        }
        self.told = None;
        self.encoder.encode(&self.pcm, &mut self.payload);
        (self.tell_pause(), is_over)
    }

    /// RFC 3389 §4: told at the beginning, when it changes, and now and then.
    fn tell_noise(&mut self, told_of: Option<Noise>, length: Duration) -> Made {
        let noise = told_of.unwrap_or_else(|| Noise::measure(&self.pcm, self.rate));
        if let Some((before, since)) = &mut self.told {
            *since += length;
            let is_due = *since >= NOISE_PERIOD;
            if !is_due && (*since < NOISE_PAUSE || before.is_like(&noise)) {
                return Made::Nothing;
            }
        }
        self.told = Some((noise, Duration::ZERO));
        noise.encode(&mut self.payload);
        Made::Noise
    }

    /// RFC 7587 §3.1.3: what the encoder makes of a pause is not sent, but for its first.
    fn tell_pause(&mut self) -> Made {
        let is_pause = self.codec == Codec::Opus && self.pauses.dtx && self.payload.len() <= 2;
        let was_pausing = std::mem::replace(&mut self.is_pausing, is_pause);
        let says_nothing = self.payload.is_empty() || (is_pause && was_pausing);
        if says_nothing { Made::Nothing } else { Made::Sound }
    }
}

/// How soon noise may be told of again, and how late it must be.
const NOISE_PAUSE: Duration = Duration::from_millis(200);
const NOISE_PERIOD: Duration = Duration::from_secs(1);

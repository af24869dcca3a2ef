//! From packets that arrive when they like to sound at an even pace: reordering, waiting no
//! longer than needed, concealing.
//!
//! The delay grows at once when a packet is missed that comes later, by the sound made up in the
//! meantime. It shrinks when for seconds more waited than was needed, a period of the voice at a
//! time.
//!
//! A sender that says nothing in pauses tells so by comfort noise (RFC 3389) or by an Opus packet
//! of a byte or two (RFC 7587 §3.1.3). Until it speaks again there is noise, and nothing counts
//! as lost.

mod lateness;
mod stretch;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::codec::{Codec, Decoder, samples};
use crate::noise::{Noise, NoiseMaker};
use lateness::Lateness;
use stretch::Substitute;

/// Packets of one stream on their way to a decoder, and the sound that comes out.
#[derive(Debug)]
pub struct JitterBuffer {
    decoder: Decoder,
    clock_rate: u32,
    rate: u32,
    /// Samples that are played at a time.
    frame: usize,
    packets: BTreeMap<u64, Packet>,
    /// Buffers of packets that were played, for the next.
    spare: Vec<Vec<u8>>,
    /// The sequence number to play next; unset while filling up.
    next: Option<u64>,
    highest: Option<(u64, u32)>,
    ssrc: Option<u32>,
    lateness: Lateness,
    /// Samples in a packet, as far as known.
    length: usize,
    pcm: Vec<i16>,
    /// The last of what was played, for concealment.
    history: Vec<i16>,
    substitute: Substitute,
    /// Packet lengths made up in a row.
    concealed: u32,
    /// Of these, those made up while nothing waited: for packets that are late, or lost.
    owed: u32,
    /// Sound is to be made up so that more waits.
    is_short: bool,
    surplus: Surplus,
    counts: Counts,
    is_opus: bool,
    pause: Pause,
    /// The sender left time out without losing numbers: it does so in pauses.
    leaves_out: bool,
}

#[derive(Debug)]
struct Packet {
    is_noise: bool,
    bytes: Vec<u8>,
}

/// What is heard while nothing comes.
#[derive(Debug)]
enum Pause {
    /// Nothing.
    Unknown,
    /// What the decoder makes of it.
    Opus,
    Noise(Box<NoiseMaker>),
}

/// What became of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrived after their place was played.
    pub late: u64,
    /// Were not there when others after them were.
    pub missed: u64,
    /// Thrown away, as far too many waited.
    pub dropped: u64,
    /// Samples left out to shorten the delay.
    pub shortened: u64,
    /// Packet lengths of sound made up.
    pub concealed: u64,
}

/// What came of asking for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    Sound,
    /// Made up for loss.
    Concealed,
    /// The stream pauses, and said so: comfort noise.
    Noise,
    /// The stream pauses or has not begun.
    Silence,
}

impl JitterBuffer {
    #[must_use]
    pub fn new(codec: Codec, rate: u32) -> Self {
        Self {
            decoder: Decoder::new(codec, rate),
            clock_rate: codec.clock_rate(),
            rate,
            frame: rate as usize / 50,
            packets: BTreeMap::new(),
            spare: Vec::new(),
            next: None,
            highest: None,
            ssrc: None,
            lateness: Lateness::default(),
            length: rate as usize / 50,
            pcm: Vec::with_capacity(4096),
            history: Vec::with_capacity(1024),
            substitute: Substitute::default(),
            concealed: 0,
            owed: 0,
            is_short: false,
            surplus: Surplus::default(),
            counts: Counts::default(),
            is_opus: codec == Codec::Opus,
            pause: Pause::Unknown,
            leaves_out: false,
        }
    }

    /// Samples that are played at a time: 20 ms, unless told otherwise.
    #[must_use]
    pub fn frame(&self) -> usize {
        self.frame
    }

    /// Sets how much is played at a time.
    pub fn set_frame(&mut self, length: Duration) {
        self.frame = samples(self.rate, length);
    }

    pub fn push(&mut self, now: Instant, ssrc: u32, seq: u16, timestamp: u32, payload: &[u8]) {
        self.take(now, ssrc, seq, timestamp, payload, false);
    }

    /// Takes a packet of comfort noise: its place in the stream is where the noise begins.
    pub fn push_noise(
        &mut self,
        now: Instant,
        ssrc: u32,
        seq: u16,
        timestamp: u32,
        payload: &[u8],
    ) {
        self.take(now, ssrc, seq, timestamp, payload, true);
    }

    fn take(
        &mut self,
        now: Instant,
        ssrc: u32,
        seq: u16,
        timestamp: u32,
        payload: &[u8],
        is_noise: bool,
    ) {
        if self.ssrc != Some(ssrc) {
            self.restart(ssrc);
        }
        let mut extended = self.extend(seq);
        if self.highest.is_some_and(|(h, _)| extended.abs_diff(h) > MAX_JUMP) {
            self.restart(ssrc);
            extended = self.extend(seq);
        }
        self.lateness.note(now, timestamp, self.clock_rate);
        if self.next.is_some_and(|next| extended < next) {
            self.counts.late += 1;
            // Were there more to wait for, it would have been in time.
            self.is_short = self.waiting() < self.target();
            return;
        }
        self.learn_length(extended, timestamp);
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(payload);
        self.packets.insert(extended, Packet { is_noise, bytes });
        while self.packets.len() > MAX_PACKETS {
            self.packets.pop_first();
            self.counts.dropped += 1;
        }
    }

    fn restart(&mut self, ssrc: u32) {
        self.ssrc = Some(ssrc);
        self.packets.clear();
        self.next = None;
        self.highest = None;
        self.is_short = false;
        (self.pause, self.leaves_out) = (Pause::Unknown, false);
        self.lateness.restart();
    }

    fn extend(&self, seq: u16) -> u64 {
        // Starts high, so that a packet from before the first is no underflow.
        let Some((highest, _)) = self.highest else { return 1 << 32 | u64::from(seq) };
        let gap = i64::from(seq.wrapping_sub(highest as u16) as i16);
        highest.saturating_add_signed(gap)
    }

    /// Two packets that follow each other tell how long one is, unless there was a pause.
    fn learn_length(&mut self, extended: u64, timestamp: u32) {
        if let Some((highest, before)) = self.highest {
            if extended <= highest {
                return;
            }
            let ticks = u64::from(timestamp.wrapping_sub(before));
            let length = ticks * u64::from(self.rate) / u64::from(self.clock_rate);
            let shortest = u64::from(self.rate / 400);
            if extended == highest + 1 && (shortest..=shortest * 48).contains(&length) {
                self.length = length as usize;
            } else if extended == highest + 1 && length < u64::from(self.rate) * 2 {
                self.leaves_out = true;
            }
        }
        self.highest = Some((extended, timestamp));
    }

    /// Fills `out` with the next frame.
    pub fn pull(&mut self, out: &mut Vec<i16>) -> Played {
        out.clear();
        let mut played = Played::Sound;
        while self.pcm.len() < self.frame {
            match self.decode_next() {
                Played::Sound => {}
                Played::Concealed => played = Played::Concealed,
                Played::Silence | Played::Noise => {
                    self.substitute.stop();
                    played = self.fill_pause();
                }
            }
        }
        if played == Played::Sound && self.surplus.is_due() {
            self.shorten();
        }
        out.extend(self.pcm.drain(..self.frame));
        self.remember(out);
        self.surplus.note(self.waiting(), self.margin(), self.frame, self.rate);
        played
    }

    fn decode_next(&mut self) -> Played {
        let Some(next) = self.next.or_else(|| self.first_if_filled()) else {
            return Played::Silence;
        };
        let is_paused = !matches!(self.pause, Pause::Unknown);
        self.next = Some(next);
        if std::mem::take(&mut self.is_short) && !is_paused {
            return self.conceal(None, false);
        }
        let Some((first, _)) = self.packets.first_key_value() else {
            if is_paused || self.concealed >= MAX_CONCEALED {
                if self.is_opus && self.leaves_out && !is_paused {
                    self.pause = Pause::Opus;
                }
                // The stream pauses: fill up again before playing on.
                (self.next, self.owed, self.concealed) = (None, 0, 0);
                return Played::Silence;
            }
            self.owed += 1;
            return self.conceal(None, false);
        };
        let first = *first;
        if self.waiting() > self.target() + samples(self.rate, MAX_SURPLUS) {
            // A burst after a gap: far behind is worse than a piece left out.
            self.recycle(first);
            self.next = Some(first + 1);
            self.counts.dropped += 1;
            return Played::Sound;
        }
        if first > next {
            return self.miss(next, first);
        }
        self.next = Some(next + 1);
        self.owed = 0;
        self.play(next)
    }

    /// Makes the rest of a frame of what is heard in a pause.
    fn fill_pause(&mut self) -> Played {
        let missing = self.frame.saturating_sub(self.pcm.len());
        let is_noise = match &mut self.pause {
            Pause::Unknown => false,
            Pause::Noise(maker) => {
                maker.fill(missing, &mut self.pcm);
                true
            }
            Pause::Opus => {
                // Opus counts in steps of 2.5 ms.
                let missing = missing.next_multiple_of(self.rate as usize / 400);
                self.decoder.conceal(None, missing, &mut self.pcm)
            }
        };
        self.pcm.resize(self.frame.max(self.pcm.len()), 0);
        if is_noise { Played::Noise } else { Played::Silence }
    }

    /// The noise that the sender told of, while it pauses.
    #[must_use]
    pub fn noise(&self) -> Option<Noise> {
        match &self.pause {
            Pause::Noise(maker) => Some(maker.noise()),
            Pause::Unknown | Pause::Opus => None,
        }
    }

    /// A packet that begins a pause, or says that it goes on.
    fn is_pause(&self, packet: &Packet) -> bool {
        packet.is_noise || (self.is_opus && packet.bytes.len() <= OPUS_PAUSE)
    }

    fn first_if_filled(&mut self) -> Option<u64> {
        // What says that a pause goes on is not waited with: nothing comes after it for long.
        let first = self.packets.first_key_value();
        let begins_pause = first.is_some_and(|(_, packet)| self.is_pause(packet));
        if self.waiting() < self.target() && !begins_pause {
            return None;
        }
        self.surplus = Surplus::default();
        self.packets.first_key_value().map(|(first, _)| *first)
    }

    /// Packets are missing before the first that waits.
    fn miss(&mut self, next: u64, first: u64) -> Played {
        let missing = first - next;
        if missing > u64::from(MAX_CONCEALED) {
            self.counts.missed += missing;
            (self.next, self.owed) = (Some(first), 0);
            return Played::Sound;
        }
        self.counts.missed += 1;
        self.next = Some(next + 1);
        if self.owed > 0 {
            // Something was played in its place already.
            self.owed -= 1;
            return Played::Sound;
        }
        self.conceal((missing == 1).then_some(first), true)
    }

    fn play(&mut self, number: u64) -> Played {
        let Some(packet) = self.packets.get(&number) else { return Played::Sound };
        let before = self.pcm.len();
        if packet.is_noise {
            return self.begin_noise(number);
        }
        let is_pause = self.is_pause(packet);
        self.decoder.decode(&packet.bytes, &mut self.pcm);
        self.recycle(number);
        // Refreshed by a whole packet now and then, an Opus pause is one still.
        let was_pause = matches!(self.pause, Pause::Opus) && self.packets.is_empty();
        self.pause = if is_pause || was_pause { Pause::Opus } else { Pause::Unknown };
        if is_pause {
            (self.next, self.concealed) = (None, 0);
        }
        if self.pcm.len() == before {
            return self.conceal(None, true);
        }
        self.length = self.pcm.len() - before;
        self.concealed = 0;
        if self.substitute.is_on() {
            self.substitute.blend(self.rate, &mut self.pcm[before..]);
        }
        Played::Sound
    }

    fn begin_noise(&mut self, number: u64) -> Played {
        let told = self.packets.get(&number).and_then(|packet| Noise::decode(&packet.bytes));
        self.recycle(number);
        if !matches!(self.pause, Pause::Noise(_)) {
            self.pause = Pause::Noise(Box::new(NoiseMaker::new(self.rate)));
        }
        if let (Pause::Noise(maker), Some(noise)) = (&mut self.pause, told) {
            maker.set(noise);
        }
        (self.next, self.concealed) = (None, 0);
        Played::Noise
    }

    /// Makes up a packet, from the redundancy of the one after it if that is there.
    fn conceal(&mut self, following: Option<u64>, is_lost: bool) -> Played {
        self.concealed = (self.concealed + 1).min(MAX_CONCEALED);
        self.counts.concealed += 1;
        let following = following.and_then(|f| self.packets.get(&f));
        let following = following.filter(|p| !p.is_noise).map(|p| p.bytes.as_slice());
        let before = self.pcm.len();
        // While nothing is lost for sure, as little as possible is made up.
        let length = if is_lost { self.length } else { self.frame.min(self.length) };
        if self.decoder.conceal(following, length, &mut self.pcm) && self.pcm.len() > before {
            return Played::Concealed;
        }
        if !self.substitute.is_on() {
            self.history.extend_from_slice(&self.pcm);
        }
        let (history, pcm) = (&self.history, &mut self.pcm);
        self.substitute.extend(history, self.rate, length, pcm);
        Played::Concealed
    }

    /// Takes a little out, when there is enough to see where.
    fn shorten(&mut self) {
        let needed = self.frame.max(stretch::needed(self.rate)) + stretch::needed(self.rate);
        while self.pcm.len() < needed {
            let is_sound = |n: &u64| self.packets.get(n).is_some_and(|p| !self.is_pause(p));
            let Some(next) = self.next.filter(is_sound) else { return };
            self.next = Some(next + 1);
            self.play(next);
        }
        let gone = stretch::shorten(&mut self.pcm, self.rate);
        self.counts.shortened += gone as u64;
        self.surplus.taken(gone);
    }

    fn remember(&mut self, out: &[i16]) {
        let wanted = stretch::needed(self.rate);
        self.history.extend_from_slice(&out[out.len().saturating_sub(wanted)..]);
        let surplus = self.history.len().saturating_sub(wanted);
        self.history.drain(..surplus);
    }

    fn recycle(&mut self, number: u64) {
        if let Some(packet) = self.packets.remove(&number)
            && self.spare.len() < MAX_SPARE
        {
            self.spare.push(packet.bytes);
        }
    }

    /// Samples that wait, as far as known.
    fn waiting(&self) -> usize {
        self.packets.len() * self.length + self.pcm.len()
    }

    /// What is to wait before playing begins.
    fn target(&self) -> usize {
        let late = Duration::from_secs_f64(self.lateness.level() / 1000.0);
        let (least, most) = (samples(self.rate, MIN_TARGET), samples(self.rate, MAX_TARGET));
        let wanted = self.length + samples(self.rate, HALF_FRAME + late);
        wanted.max(least).min(most.max(self.length))
    }

    /// What may wait after a frame was played, so that one that is a little late is in time.
    fn margin(&self) -> usize {
        self.length.max(samples(self.rate, MIN_TARGET) / 2)
    }

    /// How long sound waits here now.
    #[must_use]
    pub fn depth(&self) -> Duration {
        Duration::from_micros(self.waiting() as u64 * 1_000_000 / u64::from(self.rate))
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// What waited all the time, and nobody needed.
#[derive(Debug, Default)]
struct Surplus {
    /// The least that waited beyond the margin, in this period.
    least: Option<usize>,
    /// Samples played in this period.
    played: usize,
    /// Samples to take out, a little at a time.
    excess: usize,
    /// Samples to play before the next is taken out.
    pause: usize,
}

impl Surplus {
    fn is_due(&self) -> bool {
        self.excess > 0 && self.pause == 0
    }

    fn taken(&mut self, gone: usize) {
        self.excess = self.excess.saturating_sub(gone);
        // At most a tenth of the sound, so that nobody hears the haste.
        self.pause = 10 * gone;
        self.least = self.least.map(|l| l.saturating_sub(gone));
    }

    fn note(&mut self, waiting: usize, margin: usize, frame: usize, rate: u32) {
        let beyond = waiting.saturating_sub(margin);
        self.least = Some(self.least.map_or(beyond, |l| l.min(beyond)));
        self.pause = self.pause.saturating_sub(frame);
        // More is not taken than was spare even since.
        self.excess = self.excess.min(beyond);
        self.played += frame;
        if self.played >= rate as usize * PERIOD {
            let least = self.least.take().unwrap_or(0);
            self.excess = if least >= rate as usize / 100 { least } else { 0 };
            self.played = 0;
        }
    }
}

const MIN_TARGET: Duration = Duration::from_millis(40);
const MAX_TARGET: Duration = Duration::from_millis(300);
const HALF_FRAME: Duration = Duration::from_millis(10);
/// More than this beyond the target is thrown away at once.
const MAX_SURPLUS: Duration = Duration::from_millis(400);
const MAX_PACKETS: usize = 64;
const MAX_SPARE: usize = 16;
const MAX_CONCEALED: u32 = 5;
/// Bytes of an Opus packet that says that nothing is said (RFC 7587 §3.1.3).
const OPUS_PAUSE: usize = 2;
/// A jump of the sequence number by more than this is a new stream.
const MAX_JUMP: u64 = 1000;
/// Seconds for which more must have waited than needed.
const PERIOD: usize = 2;

#[cfg(test)]
mod tests;

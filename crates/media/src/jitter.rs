//! From packets that arrive when they like to sound every 20 ms: reordering, waiting, concealing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::codec::{Codec, Decoder, samples};

/// Packets of one stream on their way to a decoder, and the sound that comes out.
#[derive(Debug)]
pub struct JitterBuffer {
    decoder: Decoder,
    clock_rate: u32,
    rate: u32,
    /// Samples that are played at a time.
    frame: usize,
    packets: BTreeMap<u64, Vec<u8>>,
    /// The sequence number to play next; unset while filling up.
    next: Option<u64>,
    highest: Option<u64>,
    ssrc: Option<u32>,
    /// Packets to hold before playing begins.
    target: usize,
    jitter: f64,
    last_arrival: Option<(Instant, u32)>,
    pcm: Vec<i16>,
    /// The last frame played, for concealment.
    last: Vec<i16>,
    concealed: u32,
}

/// What came of asking for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    Sound,
    /// Made up for loss.
    Concealed,
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
            next: None,
            highest: None,
            ssrc: None,
            target: MIN_TARGET,
            jitter: 0.0,
            last_arrival: None,
            pcm: Vec::with_capacity(4096),
            last: Vec::new(),
            concealed: 0,
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
        if self.ssrc != Some(ssrc) {
            self.restart(ssrc);
        }
        let extended = self.extend(seq);
        if self.highest.is_some_and(|h| extended.abs_diff(h) > MAX_JUMP) {
            self.restart(ssrc);
            self.measure(now, timestamp);
            self.insert(self.extend(seq), payload);
            return;
        }
        self.measure(now, timestamp);
        // Too late: its place was played already.
        if self.next.is_some_and(|next| extended < next) {
            return;
        }
        self.insert(extended, payload);
    }

    fn insert(&mut self, extended: u64, payload: &[u8]) {
        self.highest = Some(self.highest.map_or(extended, |h| h.max(extended)));
        self.packets.insert(extended, payload.to_vec());
        while self.packets.len() > MAX_PACKETS {
            self.packets.pop_first();
        }
    }

    fn restart(&mut self, ssrc: u32) {
        self.ssrc = Some(ssrc);
        self.packets.clear();
        self.next = None;
        self.highest = None;
        self.last_arrival = None;
    }

    fn extend(&self, seq: u16) -> u64 {
        // Starts high, so that a packet from before the first is no underflow.
        let Some(highest) = self.highest else { return 1 << 32 | u64::from(seq) };
        let gap = i64::from(seq.wrapping_sub(highest as u16) as i16);
        highest.saturating_add_signed(gap)
    }

    /// Interarrival jitter in milliseconds, smoothed (RFC 3550 §6.4.1), sets the target.
    fn measure(&mut self, now: Instant, timestamp: u32) {
        if let Some((then, before)) = self.last_arrival {
            let arrival = now.saturating_duration_since(then).as_secs_f64() * 1000.0;
            let ticks = f64::from(timestamp.wrapping_sub(before) as i32);
            let sent = ticks * 1000.0 / f64::from(self.clock_rate);
            // A pause of the sender is not jitter.
            let difference = (arrival - sent).abs().min(200.0);
            self.jitter += (difference - self.jitter) / 16.0;
        }
        self.last_arrival = Some((now, timestamp));
        let wanted = MIN_TARGET + (2.0 * self.jitter / 20.0) as usize;
        self.target = wanted.min(MAX_TARGET);
    }

    /// Fills `out` with the next frame.
    pub fn pull(&mut self, out: &mut Vec<i16>) -> Played {
        out.clear();
        let frame = self.frame();
        let mut played = Played::Sound;
        while self.pcm.len() < frame {
            match self.decode_next() {
                Played::Sound => {}
                Played::Concealed => played = Played::Concealed,
                Played::Silence => {
                    self.pcm.resize(frame, 0);
                    played = Played::Silence;
                }
            }
        }
        out.extend(self.pcm.drain(..frame));
        self.last.clone_from(out);
        played
    }

    fn decode_next(&mut self) -> Played {
        let next = match self.next {
            Some(next) => next,
            None if self.packets.len() >= self.target => match self.packets.first_key_value() {
                Some((first, _)) => *first,
                None => return Played::Silence,
            },
            None => return Played::Silence,
        };
        // Much more waiting than wanted: the delay has grown, skip one.
        if self.packets.len() > self.target + SLACK {
            self.packets.remove(&next);
            self.next = Some(next + 1);
            return Played::Sound;
        }
        self.next = Some(next + 1);
        if let Some(payload) = self.packets.remove(&next) {
            let before = self.pcm.len();
            self.decoder.decode(&payload, &mut self.pcm);
            if self.pcm.len() > before {
                self.concealed = 0;
                return Played::Sound;
            }
        }
        self.conceal(next)
    }

    fn conceal(&mut self, lost: u64) -> Played {
        self.concealed += 1;
        if self.packets.is_empty() && self.concealed > MAX_CONCEALED {
            // The stream pauses: fill up again before playing on.
            self.next = None;
            return Played::Silence;
        }
        let frame = self.frame();
        let following = self.packets.get(&(lost + 1)).cloned();
        if self.decoder.conceal(following.as_deref(), frame, &mut self.pcm) {
            return Played::Concealed;
        }
        // The last frame again, fading out: short gaps pass unheard.
        let fade = 1.0 - 0.25 * f64::from(self.concealed.min(4));
        let repeated = self.last.iter().map(|s| (f64::from(*s) * fade) as i16);
        let before = self.pcm.len();
        self.pcm.extend(repeated.take(frame));
        self.pcm.resize(before + frame, 0);
        Played::Concealed
    }

    /// How long sound waits here now.
    #[must_use]
    pub fn depth(&self) -> Duration {
        Duration::from_millis(20 * self.packets.len() as u64)
    }
}

const MIN_TARGET: usize = 2;
const MAX_TARGET: usize = 10;
const MAX_PACKETS: usize = 64;
const SLACK: usize = 5;
const MAX_CONCEALED: u32 = 4;
/// A jump of the sequence number by more than this is a new stream.
const MAX_JUMP: u64 = 1000;

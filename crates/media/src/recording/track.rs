//! One side of a recording: packets as they come, samples where they belong in time.
//!
//! A packet's place is told by its timestamp; where timestamps stand in time is learned from
//! arrivals. The least delayed packets count, so jitter moves nothing; a clock that runs fast or
//! slow is followed a sample at a time. What was lost, and pauses of the sender, are silence.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{RATE, position};
use crate::codec::{Codec, Decoder, Resampler, Switches};
use crate::tap::Tapped;

/// See the module.
#[derive(Debug)]
pub(super) struct Track {
    origin: Instant,
    /// Samples from `done` on: as much as may still change.
    window: VecDeque<i16>,
    done: i64,
    stream: Option<Stream>,
    switches: Switches,
    /// Packets whose place was written already.
    late: u64,
}

/// One source in one codec.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    codec: Codec,
    decoder: Decoder,
    /// To the rate of the recording.
    convert: Option<Resampler>,
    /// Arrived before one that comes earlier in the stream.
    waiting: BTreeMap<u64, Tapped>,
    next: Option<u64>,
    /// The last timestamp, and ticks since the first.
    stamp: Option<u32>,
    ticks: i64,
    /// Where in the recording tick zero is.
    anchor: i64,
    is_anchored: bool,
    last_arrival: Option<Instant>,
    /// How much later than their place packets came, of the last of them.
    delays: VecDeque<i64>,
    /// The sample before the next, if the next follows at once.
    edge: Option<(i64, i16)>,
    pcm: Vec<i16>,
    converted: Vec<i16>,
}

impl Stream {
    fn new(packet: &Tapped) -> Self {
        let codec = packet.codec;
        let rate = codec.common_rate(codec);
        Self {
            ssrc: packet.ssrc,
            codec,
            decoder: Decoder::new(codec, rate),
            convert: (rate != RATE).then(|| Resampler::new(rate, RATE)),
            waiting: BTreeMap::new(),
            next: None,
            stamp: None,
            ticks: 0,
            anchor: 0,
            is_anchored: false,
            last_arrival: None,
            delays: VecDeque::new(),
            edge: None,
            pcm: Vec::new(),
            converted: Vec::new(),
        }
    }

    /// Whether this goes on with what came before.
    fn takes(&self, packet: &Tapped) -> bool {
        self.ssrc == packet.ssrc && self.codec == packet.codec
    }

    fn extend(&self, seq: u16) -> u64 {
        let Some(next) = self.next else { return 1 << 32 | u64::from(seq) };
        next.saturating_add_signed(i64::from(seq.wrapping_sub(next as u16) as i16))
    }

    /// Decodes a packet; tells where its sound begins. The sound is in `converted`.
    fn decode(&mut self, origin: Instant, packet: &Tapped) -> i64 {
        self.pcm.clear();
        self.decoder.decode(&packet.payload, &mut self.pcm);
        self.converted.clear();
        match &mut self.convert {
            Some(convert) => convert.process(&self.pcm, &mut self.converted),
            None => self.converted.extend_from_slice(&self.pcm),
        }
        let step = self.stamp.map_or(0, |stamp| packet.timestamp.wrapping_sub(stamp) as i32);
        self.stamp = Some(packet.timestamp);
        self.ticks += i64::from(step);
        // A packet comes when the last of its sound was heard.
        let arrival = position(origin, packet.at) - self.converted.len() as i64;
        self.place(packet.at, arrival)
    }

    fn place(&mut self, at: Instant, arrival: i64) -> i64 {
        let media = self.ticks * i64::from(RATE) / i64::from(self.codec.clock_rate());
        if !self.is_anchored {
            self.anchor = arrival - media;
            self.is_anchored = true;
        }
        let paused = self.last_arrival.is_some_and(|last| at > last + PAUSE);
        self.last_arrival = Some(at);
        if paused {
            self.delays.clear();
        }
        let delay = arrival - (self.anchor + media);
        if !(-EARLY..=HORIZON_SAMPLES).contains(&delay) {
            // The sender's clock jumped or stood still, or the first packets were late ones.
            self.anchor += delay;
            self.delays.clear();
            self.delays.push_back(0);
            return self.anchor + media;
        }
        self.delays.push_back(delay);
        if self.delays.len() > DELAYS {
            self.delays.pop_front();
        }
        let least = self.delays.iter().min().copied().unwrap_or(0);
        if self.delays.len() >= FEW && least > LATE {
            self.shift(least);
        } else if self.delays.len() == DELAYS && least.abs() > DRIFT {
            self.shift(least.signum());
        }
        self.anchor + media
    }

    fn shift(&mut self, samples: i64) {
        self.anchor += samples;
        for delay in &mut self.delays {
            *delay -= samples;
        }
    }
}

impl Track {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            window: VecDeque::new(),
            done: 0,
            stream: None,
            switches: Switches::default(),
            late: 0,
        }
    }

    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Takes a packet of whoever speaks on this side now.
    pub(super) fn push(&mut self, packet: Tapped) {
        if !self.stream.as_ref().is_some_and(|stream| stream.takes(&packet)) {
            // One that changes its codec with every packet would have us do nothing else.
            if !self.switches.allow(packet.at) {
                self.late += 1;
                return;
            }
            self.work_off(true);
            self.stream = Some(Stream::new(&packet));
        }
        let Some(stream) = &mut self.stream else { return };
        let number = stream.extend(packet.seq);
        match stream.next {
            Some(next) if number < next => {
                // Late or repeated, unless the sender counts anew.
                if next - number < MISORDER {
                    self.late += 1;
                    return;
                }
                self.work_off(true);
                self.stream = Some(Stream::new(&packet));
                return self.push(packet);
            }
            Some(_) => {}
            None => stream.next = Some(number),
        }
        stream.waiting.insert(number, packet);
        self.work_off(false);
    }

    /// Decodes what waits, in order; with `all`, over gaps as well.
    fn work_off(&mut self, all: bool) {
        let Some(mut stream) = self.stream.take() else { return };
        while let Some((number, _)) = stream.waiting.first_key_value() {
            let is_next = stream.next == Some(*number);
            if !is_next && !all && stream.waiting.len() <= REORDER {
                break;
            }
            let Some((number, packet)) = stream.waiting.pop_first() else { break };
            stream.next = Some(number + 1);
            let begin = stream.decode(self.origin, &packet);
            self.write(&mut stream, begin);
        }
        self.stream = Some(stream);
    }

    fn write(&mut self, stream: &mut Stream, begin: i64) {
        let Some(last) = stream.converted.last().copied() else { return };
        let end = begin + stream.converted.len() as i64;
        if end <= self.done {
            self.late += 1;
            return;
        }
        if end > self.done + LONGEST {
            return;
        }
        let length = (end - self.done) as usize;
        if self.window.len() < length {
            self.window.resize(length, 0);
        }
        // A place that moved by a sample or so leaves no click.
        if let Some((edge, value)) = stream.edge
            && (1..=SMALL_GAP).contains(&(begin - edge))
        {
            for at in edge..begin {
                self.set(at, value);
            }
        }
        for (at, sample) in (begin..).zip(&stream.converted) {
            self.set(at, *sample);
        }
        stream.edge = Some((end, last));
    }

    fn set(&mut self, at: i64, sample: i16) {
        let index = at - self.done;
        if index >= 0
            && let Some(place) = self.window.get_mut(index as usize)
        {
            *place = sample;
        }
    }

    /// Takes the samples up to `until`, which are final now.
    pub(super) fn take(&mut self, until: i64, out: &mut Vec<i16>) {
        self.work_off_old(until);
        out.clear();
        let count = (until - self.done).max(0) as usize;
        let there = count.min(self.window.len());
        out.extend(self.window.drain(..there));
        out.resize(count, 0);
        self.done = self.done.max(until);
    }

    /// A packet that is missing is not waited for until its place is final.
    fn work_off_old(&mut self, until: i64) {
        let is_old = self.stream.as_ref().is_some_and(|stream| {
            let first = stream.waiting.first_key_value();
            first.is_some_and(|(_, p)| position(self.origin, p.at) < until + HORIZON_SAMPLES / 2)
        });
        if is_old {
            self.work_off(true);
        }
    }
}

/// How long a packet's place may still change: later ones are lost.
pub(super) const HORIZON: Duration = Duration::from_secs(1);
const HORIZON_SAMPLES: i64 = RATE as i64;
/// Longer than this ahead is no place in time but a mistake.
const LONGEST: i64 = 4 * RATE as i64;
/// Nothing for so long is a pause, after which timestamps may not have moved on.
const PAUSE: Duration = Duration::from_millis(100);
/// 10 ms: a packet that comes so early shows that those before were late.
const EARLY: i64 = RATE as i64 / 100;
/// 40 ms: all of the last packets that late are late no more.
const LATE: i64 = RATE as i64 / 25;
/// 3 ms: clocks differ, and that is made up for a sample at a time.
const DRIFT: i64 = 3 * RATE as i64 / 1000;
const DELAYS: usize = 50;
const FEW: usize = 8;
/// Packets that wait for one that is missing.
const REORDER: usize = 8;
const MISORDER: u64 = 200;
const SMALL_GAP: i64 = 4;

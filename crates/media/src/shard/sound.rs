//! Sound that is translated or made here: one frame every 20 ms for each leg that needs it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::leg::Leg;
use super::legs::{Legs, Place};
use super::work::{Done, Job, Made, Pauses, Ticket, Work};
use super::{Forward, Shard, Timer};
use crate::codec::{Codec, EncoderOptions, samples};
use crate::control::{Event, Playback};
use crate::dtmf::{EventSender, HeardDigit};
use crate::jitter::{Counts, JitterBuffer};
use crate::rtp::Header;

const FRAME: Duration = Duration::from_millis(20);
/// Digits waiting to be sent on a leg.
const MAX_DIGITS: usize = 64;
/// How old a digit may be when its leg's keys are made: who pressed it has given up after that.
const DIGIT_PATIENCE: Duration = Duration::from_secs(5);

/// Packets that wait for a job to be back.
const MAX_PENDING: usize = 32;
/// Jobs that wait for a worker; a frame for which there is no room is left out.
const MAX_JOBS: usize = 1024;

/// What a leg is sent, when packets are not simply passed on.
#[derive(Debug)]
pub(super) struct Feed {
    number: u64,
    kind: Kind,
    codec: Codec,
    pauses: Pauses,
    /// Away while a job is done.
    work: Option<Box<Work>>,
    pending: Vec<Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Another leg's sound, in this codec.
    Foreign(Codec),
    Own(Playback),
    /// Nothing but what is laid over it.
    Quiet,
}

/// A packet of the other leg, while its buffer is away.
#[derive(Debug)]
struct Pending {
    now: Instant,
    header: Header,
    payload: Vec<u8>,
    is_noise: bool,
}

/// A digit that a leg is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrderedDigit {
    digit: char,
    duration: Duration,
    ordered: Instant,
}

/// How codecs are run, and what waits for it.
#[derive(Debug)]
pub(super) struct Codecs {
    pub(super) complexity: u8,
    /// Jobs are given to the host instead of being done at once.
    pub(super) is_deferred: bool,
    jobs: VecDeque<Job>,
    feeds: u64,
}

impl Default for Codecs {
    fn default() -> Self {
        let complexity = EncoderOptions::default().complexity;
        Self { complexity, is_deferred: false, jobs: VecDeque::new(), feeds: 0 }
    }
}

impl Codecs {
    fn feed(&mut self, kind: Kind, to: Codec, pauses: Pauses) -> Feed {
        self.feeds += 1;
        let work = match kind {
            Kind::Foreign(from) => Work::foreign(from, to, self.complexity, pauses),
            Kind::Own(playback) => Work::own(playback, to, self.complexity),
            Kind::Quiet => Work::quiet(to, self.complexity),
        };
        let work = Some(Box::new(work));
        Feed { number: self.feeds, kind, codec: to, pauses, work, pending: Vec::new() }
    }
}

impl Feed {
    fn is_translating(&self, from: Codec, to: Codec, pauses: Pauses) -> bool {
        self.kind == Kind::Foreign(from) && self.codec == to && self.pauses == pauses
    }

    /// What came meanwhile is no longer kept waiting.
    fn take_back(&mut self, mut work: Box<Work>) {
        for pending in self.pending.drain(..) {
            if let Some(buffer) = work.buffer() {
                pending.into_buffer(buffer);
            }
        }
        self.work = Some(work);
    }
}

impl Pending {
    fn into_buffer(self, buffer: &mut JitterBuffer) {
        let Self { now, header: Header { ssrc, seq, timestamp, .. }, payload, is_noise } = self;
        if is_noise {
            buffer.push_noise(now, ssrc, seq, timestamp, &payload);
        } else {
            buffer.push(now, ssrc, seq, timestamp, &payload);
        }
    }
}

impl Leg {
    /// What its peer takes for pauses.
    fn pauses(&self) -> Pauses {
        let Some(stream) = &self.stream else { return Pauses::default() };
        Pauses { noise: stream.noise.send.is_some(), dtx: stream.wants_dtx }
    }

    /// The other leg's sound passes through from now on.
    pub(super) fn stop_translating(&mut self) {
        self.feed.take_if(|feed| matches!(feed.kind, Kind::Foreign(_)));
    }

    /// Keeps what our buffers made of this leg's packets.
    fn note_playout(&mut self, feed: u64, counts: Counts) {
        self.playout.note(feed, counts);
    }

    /// How long our packets to the peer are: as it wants, if the codec can.
    fn packet_time(&self) -> Duration {
        let stream = self.stream.as_ref();
        stream.and_then(|s| Some(s.send?.0.packet_time(s.ptime))).unwrap_or(FRAME)
    }

    /// The event format for a digit: payload type and clock.
    fn event_format(&self) -> Option<(u8, u32)> {
        self.stream.as_ref()?.events.send
    }
}

impl Shard {
    /// Takes a packet of another leg in a codec that `to` does not speak.
    pub(super) fn take_foreign(
        &mut self,
        now: Instant,
        to: Place,
        from: Codec,
        header: &Header,
        payload: &[u8],
        is_noise: bool,
    ) {
        let Some((id, leg)) = self.legs.at_mut(to) else { return };
        let Some((codec, _)) = leg.stream.as_ref().and_then(|s| s.send) else { return };
        let pauses = leg.pauses();
        if !leg.feed.as_ref().is_some_and(|f| f.is_translating(from, codec, pauses)) {
            // One that changes its codec with every packet would have us do nothing else.
            if leg.feed.is_some() {
                if !leg.switches.allow(now) {
                    self.counters.dropped_codec_change += 1;
                    return;
                }
                self.counters.codec_changes += 1;
            }
            leg.feed = Some(self.codecs.feed(Kind::Foreign(from), codec, pauses));
            leg.fast.is_fed = true;
            self.start_frames(now, id);
        }
        let Some((_, leg)) = self.legs.at_mut(to) else { return };
        let Some(feed) = &mut leg.feed else { return };
        if let Some(buffer) = feed.work.as_mut().and_then(|work| work.buffer()) {
            let &Header { ssrc, seq, timestamp, .. } = header;
            if is_noise {
                buffer.push_noise(now, ssrc, seq, timestamp, payload);
            } else {
                buffer.push(now, ssrc, seq, timestamp, payload);
            }
        } else if feed.pending.len() < MAX_PENDING {
            let (header, payload) = (*header, payload.to_vec());
            feed.pending.push(Pending { now, header, payload, is_noise });
        }
    }

    /// Makes `from`'s sound go to `to`.
    pub(super) fn join(&mut self, now: Instant, from: LegId, to: LegId) {
        let codec = |id: LegId, legs: &Legs| {
            legs.get(&id).and_then(|l| l.stream.as_ref()?.send).map(|(codec, _)| codec)
        };
        let (of_from, of_to) = (codec(from, &self.legs), codec(to, &self.legs));
        self.pass_between(from, to);
        if let Some(leg) = self.legs.get_mut(&from) {
            leg.peer = Some(to);
        }
        let Some(leg) = self.legs.get_mut(&to) else { return };
        if let Some(Feed { kind: Kind::Own(_), .. }) = leg.feed {
            leg.feed = None;
        }
        let pauses = leg.pauses();
        match (of_from, of_to) {
            (Some(from), Some(to_codec)) if from != to_codec => {
                if !leg.feed.as_ref().is_some_and(|f| f.is_translating(from, to_codec, pauses)) {
                    leg.feed = Some(self.codecs.feed(Kind::Foreign(from), to_codec, pauses));
                }
                self.start_frames(now, to);
            }
            (Some(_), Some(_)) => leg.feed = None,
            // Not agreed yet on one side: the first foreign packet decides.
            _ => self.start_frames(now, to),
        }
    }

    /// Takes a leg apart from the one it is joined with, unless that is `but`: neither hears the
    /// other any more.
    fn part(&mut self, id: LegId, but: Option<LegId>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.peer == but {
            return;
        }
        let before = leg.peer.take();
        if let Some(other) = before.and_then(|p| self.legs.get_mut(&p))
            && other.peer == Some(id)
        {
            other.peer = None;
            other.feed = None;
        }
    }

    /// Makes two legs hear each other, and nobody else.
    pub(super) fn bridge(&mut self, now: Instant, a: LegId, b: LegId) {
        for (id, other) in [(a, b), (b, a)] {
            self.part(id, Some(other));
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.playback = None;
            }
        }
        self.join(now, a, b);
        self.join(now, b, a);
        self.settle_music(now, a);
        self.settle_music(now, b);
        // Who takes the place of another in a running call should be heard at once.
        let is_running = |id: &LegId| self.legs.get(id).is_some_and(|l| l.quality.is_answered());
        if [a, b].iter().any(is_running) {
            self.answered(now, a);
            self.answered(now, b);
        }
    }

    pub(super) fn play(&mut self, now: Instant, id: LegId, playback: Playback) {
        self.part(id, None);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.feed = None;
        leg.playback = Some(playback);
        self.resume_playback(now, id);
        self.settle_music(now, id);
    }

    /// Starts what is to be played, once the codec is known.
    pub(super) fn resume_playback(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(playback) = leg.playback else { return };
        if playback == Playback::Echo {
            leg.peer = Some(id);
            return;
        }
        let Some((codec, _)) = leg.stream.as_ref().and_then(|s| s.send) else { return };
        let is_playing =
            leg.feed.as_ref().is_some_and(|f| f.kind == Kind::Own(playback) && f.codec == codec);
        if !is_playing {
            leg.feed = Some(self.codecs.feed(Kind::Own(playback), codec, Pauses::default()));
        }
        self.start_frames(now, id);
    }

    pub(super) fn start_frames(&mut self, now: Instant, id: LegId) {
        if !self.timers.is_set(&(id, Timer::Frame)) {
            self.timers.set((id, Timer::Frame), now + FRAME);
        }
    }

    /// Sees to it that there is something to lay overlays over, and nothing more than needed when
    /// there are none left.
    fn feed_overlays(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some((codec, _)) = leg.stream.as_ref().and_then(|s| s.send) else { return };
        if leg.overlays.is_some() {
            if leg.feed.as_ref().is_none_or(|feed| feed.codec != codec) {
                leg.feed = Some(self.codecs.feed(Kind::Quiet, codec, Pauses::default()));
            }
            return;
        }
        leg.feed.take_if(|feed| match feed.kind {
            Kind::Quiet => true,
            Kind::Foreign(from) => from == feed.codec,
            Kind::Own(_) => false,
        });
    }

    pub(super) fn frame_due(&mut self, now: Instant, id: LegId) {
        self.feed_overlays(id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_needed = leg.feed.is_some()
            || leg.overlays.is_some()
            || leg.sender.is_some()
            || !leg.digits.is_empty();
        if !is_needed {
            return;
        }
        let length = leg.packet_time();
        let is_digit = self.digit_frame(now, id);
        if !is_digit {
            self.sound_frame(now, id, length);
        }
        self.timers.set((id, Timer::Frame), now + if is_digit { FRAME } else { length });
    }

    /// Has the next frame made, here or by a worker of the host's.
    fn sound_frame(&mut self, now: Instant, id: LegId, length: Duration) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let may_play = leg.may_send() && (leg.is_connected || leg.browser.is_none());
        let loss = leg.told_by_peer.map(|block| (u16::from(block.fraction_lost) * 100 / 256) as u8);
        let Some(feed) = &mut leg.feed else { return };
        // An announcement begins when it can be heard.
        if matches!(feed.kind, Kind::Own(_) | Kind::Quiet) && !may_play {
            return;
        }
        let is_full = self.codecs.is_deferred && self.codecs.jobs.len() >= MAX_JOBS;
        let Some(work) = feed.work.take_if(|_| !is_full) else {
            // Time goes on without this frame.
            leg.outgoing.pass(samples(feed.codec.clock_rate(), length) as u32);
            if is_full {
                self.counters.frames_dropped += 1;
            } else {
                self.counters.frames_late += 1;
            }
            return;
        };
        let rate = work.rate();
        let mut over = None;
        leg.overlays.take_if(|overlays| {
            over = Some(overlays.frame(rate, samples(rate, length)));
            overlays.is_over()
        });
        let job = Job { leg: id, feed: feed.number, length, loss, over, work };
        if self.codecs.is_deferred {
            self.codecs.jobs.push_back(job);
        } else {
            self.handle_done(now, job.run());
        }
    }

    /// From now on codecs run where the host wants: it takes jobs with [`Self::next_job`] and
    /// brings them back with [`Self::handle_done`].
    pub fn defer_codecs(&mut self) {
        self.codecs.is_deferred = true;
    }

    /// How much Opus may cost, from 0 to 10, for streams that begin from now on.
    pub fn set_opus_complexity(&mut self, complexity: u8) {
        self.codecs.complexity = complexity.min(10);
    }

    /// The next frame to make, oldest first.
    pub fn next_job(&mut self) -> Option<Job> {
        self.codecs.jobs.pop_front()
    }

    /// Takes back a job for which there is no room; its frame is left out.
    pub fn refuse_job(&mut self, job: Job) {
        let Job { leg: id, feed: number, length, work, .. } = job;
        self.counters.frames_dropped += 1;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(feed) = leg.feed.as_mut().filter(|feed| feed.number == number) else { return };
        let ticks = samples(feed.codec.clock_rate(), length) as u32;
        feed.take_back(work);
        leg.outgoing.pass(ticks);
    }

    /// A job will not come back, nor will what it took along: its stream begins anew.
    pub fn handle_lost(&mut self, now: Instant, ticket: Ticket) {
        let Some(leg) = self.legs.get_mut(&ticket.leg) else { return };
        let Some(feed) = leg.feed.as_ref().filter(|feed| feed.number == ticket.feed) else {
            return;
        };
        let (kind, codec, pauses) = (feed.kind, feed.codec, feed.pauses);
        leg.outgoing.marker_due = true;
        leg.feed = Some(self.codecs.feed(kind, codec, pauses));
        self.start_frames(now, ticket.leg);
    }

    /// Takes a frame that was made, and sends it.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        let Done { leg: id, feed: number, length, mut work, made, is_over } = done;
        self.counters.frames_made += 1;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (may_send, is_digit) = (leg.may_send(), leg.sender.is_some());
        let Some(feed) = leg.feed.as_mut().filter(|feed| feed.number == number) else { return };
        let counts = work.counts();
        let payload = std::mem::take(&mut work.payload);
        let ticks = samples(feed.codec.clock_rate(), length) as u32;
        feed.take_back(work);
        let stream = leg.stream.as_ref();
        let pt = stream.and_then(|stream| match made {
            Made::Sound => stream.send.map(|(_, pt)| pt),
            Made::Noise => stream.noise.send,
            Made::Nothing => None,
        });
        match pt.filter(|_| may_send && !is_digit) {
            Some(pt) => {
                let header = leg.outgoing.next(pt, ticks);
                self.send_own(now, id, &header, &payload);
            }
            None => leg.outgoing.pass(ticks),
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if made != Made::Sound {
            // Sound after a pause begins a talk spurt (RFC 3551 §4.1).
            leg.outgoing.marker_due = true;
        }
        let peer = leg.peer;
        if is_over {
            leg.feed = None;
            leg.playback = None;
            self.event(Event::PlaybackEnded { leg: id });
        } else if let Some(work) = leg.feed.as_mut().and_then(|feed| feed.work.as_mut()) {
            work.payload = payload;
        }
        if let (Some(counts), Some(from)) = (counts, peer.and_then(|p| self.legs.get_mut(&p))) {
            from.note_playout(number, counts);
        }
    }

    pub(super) fn send_digit(&mut self, now: Instant, id: LegId, digit: char, duration: Duration) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.digits.len() < MAX_DIGITS {
            leg.digits.push_back(OrderedDigit { digit, duration, ordered: now });
            self.start_frames(now, id);
        }
    }

    /// Sends the next packet of a digit; says whether a digit is being sent.
    fn digit_frame(&mut self, now: Instant, id: LegId) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        if leg.waits_for_keys() {
            // A phone may press a key as soon as it is answered, before DTLS is through.
            leg.digits.retain(|digit| now < digit.ordered + DIGIT_PATIENCE);
            return false;
        }
        let Some((pt, clock)) = leg.event_format().filter(|_| leg.may_send()) else {
            leg.digits.clear();
            leg.sender = None;
            return false;
        };
        if leg.sender.is_none() {
            let Some(next) = leg.digits.pop_front() else { return false };
            leg.sender = EventSender::new(next.digit, next.duration, clock);
        }
        let Some(sender) = &mut leg.sender else { return false };
        let Some((payload, marker)) = sender.next_payload() else {
            let packets = sender.packets() + 1;
            leg.sender = None;
            leg.outgoing.lasted(packets * (clock / 50));
            // The sound after a digit begins a talk spurt of its own (RFC 3551 §4.1).
            leg.outgoing.marker_due = true;
            return true;
        };
        // All packets of one event carry the time of its beginning (RFC 4733 §2.5.1.2).
        let mut header = leg.outgoing.next(pt, 0);
        header.marker = marker;
        self.send_own(now, id, &header, &payload);
        true
    }

    /// An RFC 4733 packet of a leg.
    pub(super) fn telephone_event(
        &mut self,
        now: Instant,
        from: LegId,
        clock: u32,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let payload = header.payload(&buffer[..len])?;
        let leg = self.legs.get_mut(&from)?;
        let finished = leg.detector.push(header.timestamp, payload, clock);
        let peer = leg.peer;
        let pass = self.passed_event_pt(from, clock);
        if let Some(digit) = finished {
            self.digit_over(now, from, digit);
        }
        self.forward(now, from, peer?, pass?, header, buffer, len)
    }

    /// A packet of comfort noise (RFC 3389): it passes on where sound does, if the other side
    /// takes such, and is heard where sound is translated.
    pub(super) fn comfort_noise(
        &mut self,
        now: Instant,
        from: LegId,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let leg = self.legs.get_mut(&from)?;
        leg.receiving.is_paused = true;
        let codec = leg.stream.as_ref()?.send?.0;
        let finished = leg.detector.sound(header.timestamp);
        let peer = leg.peer;
        if let Some(digit) = finished {
            self.digit_over(now, from, digit);
        }
        let hears = |to: &&Leg| to.may_send() && to.sender.is_none() && to.overlays.is_none();
        let to = self.legs.get(&peer?).filter(hears)?;
        let stream = to.stream.as_ref()?;
        if stream.send?.0 == codec {
            let pt = stream.noise.send?;
            return self.forward(now, from, peer?, pt, header, buffer, len);
        }
        let payload = header.payload(&buffer[..len])?;
        let peer = self.legs.place(peer?)?;
        self.take_foreign(now, peer, codec, header, payload, true);
        None
    }

    /// The payload type under which event packets of a leg pass on as they are: when its sound
    /// passes on and the clocks agree. Else digits are made anew.
    fn passed_event_pt(&self, from: LegId, clock: u32) -> Option<u8> {
        let leg = self.legs.get(&from)?;
        let codec = leg.stream.as_ref()?.send?.0;
        let to = leg.peer.filter(|p| *p != from).and_then(|p| self.legs.get(&p))?;
        let (pt, to_clock) = to.event_format()?;
        let same = to.stream.as_ref()?.send?.0 == codec && to_clock == clock;
        (same && to.may_send() && to.sender.is_none()).then_some(pt)
    }

    /// A digit is over: tell it, and send it on unless its packets passed by themselves.
    pub(super) fn digit_over(&mut self, now: Instant, from: LegId, digit: HeardDigit) {
        let HeardDigit { key: digit, duration, clock } = digit;
        if self.passed_event_pt(from, clock).is_some() {
            self.event(Event::Dtmf { leg: from, digit, duration, relayed: true });
            return;
        }
        let peer = self.legs.get(&from).and_then(|l| l.peer);
        let carries = |id: LegId| {
            self.legs.get(&id).is_some_and(|l| l.event_format().is_some() && l.may_send())
        };
        let relayed = peer.filter(|p| carries(*p));
        self.event(Event::Dtmf { leg: from, digit, duration, relayed: relayed.is_some() });
        if let Some(peer) = relayed {
            self.send_digit(now, peer, digit, duration);
        }
    }
}

//! Sound that is translated or made here: one frame every 20 ms for each leg that needs it.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::leg::Leg;
use super::{Forward, Shard, Timer};
use crate::codec::{Codec, Encoder, samples};
use crate::control::{Event, Playback};
use crate::dtmf::{EventSender, HeardDigit};
use crate::jitter::JitterBuffer;
use crate::playback::Source;
use crate::rtp::Header;

const FRAME: Duration = Duration::from_millis(20);
/// Digits waiting to be sent on a leg.
const MAX_DIGITS: usize = 64;

/// What a leg is sent, when packets are not simply passed on.
#[derive(Debug)]
pub(super) struct Feed {
    kind: Kind,
    encoder: Encoder,
    codec: Codec,
    pcm: Vec<i16>,
    payload: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    /// Another leg's sound in another codec.
    Foreign {
        codec: Codec,
        buffer: Box<JitterBuffer>,
    },
    Own {
        source: Source,
        playback: Playback,
    },
}

impl Feed {
    fn foreign(from: Codec, to: Codec) -> Self {
        let rate = from.common_rate(to);
        let buffer = Box::new(JitterBuffer::new(from, rate));
        Self::new(Kind::Foreign { codec: from, buffer }, to, rate)
    }

    fn own(playback: Playback, to: Codec) -> Self {
        let rate = to.common_rate(to);
        Self::new(Kind::Own { source: Source::new(playback, rate), playback }, to, rate)
    }

    fn new(kind: Kind, codec: Codec, rate: u32) -> Self {
        let encoder = Encoder::new(codec, rate);
        Self { kind, encoder, codec, pcm: Vec::new(), payload: Vec::new() }
    }

    fn is_translating(&self, from: Codec, to: Codec) -> bool {
        matches!(&self.kind, Kind::Foreign { codec, .. } if *codec == from) && self.codec == to
    }
}

impl Leg {
    /// Takes a packet of the other leg in a codec that this leg does not speak.
    pub(super) fn take_foreign(
        &mut self,
        now: Instant,
        from: Codec,
        header: &Header,
        payload: &[u8],
    ) {
        let Some((to, _)) = self.stream.as_ref().and_then(|s| s.send) else { return };
        if !self.feed.as_ref().is_some_and(|f| f.is_translating(from, to)) {
            self.feed = Some(Feed::foreign(from, to));
        }
        if let Some(Feed { kind: Kind::Foreign { buffer, .. }, .. }) = &mut self.feed {
            buffer.push(now, header.ssrc, header.seq, header.timestamp, payload);
        }
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
    /// Makes `from`'s sound go to `to`.
    pub(super) fn join(&mut self, now: Instant, from: LegId, to: LegId) {
        let codec = |id: LegId, legs: &std::collections::BTreeMap<LegId, Leg>| {
            legs.get(&id).and_then(|l| l.stream.as_ref()?.send).map(|(codec, _)| codec)
        };
        let (of_from, of_to) = (codec(from, &self.legs), codec(to, &self.legs));
        if let Some(leg) = self.legs.get_mut(&from) {
            leg.peer = Some(to);
        }
        let Some(leg) = self.legs.get_mut(&to) else { return };
        if let Some(Feed { kind: Kind::Own { .. }, .. }) = leg.feed {
            leg.feed = None;
        }
        match (of_from, of_to) {
            (Some(from), Some(to_codec)) if from != to_codec => {
                if !leg.feed.as_ref().is_some_and(|f| f.is_translating(from, to_codec)) {
                    leg.feed = Some(Feed::foreign(from, to_codec));
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
        let is_playing = leg.feed.as_ref().is_some_and(|f| {
            matches!(&f.kind, Kind::Own { playback: p, .. } if *p == playback) && f.codec == codec
        });
        if !is_playing {
            leg.feed = Some(Feed::own(playback, codec));
        }
        self.start_frames(now, id);
    }

    fn start_frames(&mut self, now: Instant, id: LegId) {
        if !self.timers.is_set(&(id, Timer::Frame)) {
            self.timers.set((id, Timer::Frame), now + FRAME);
        }
    }

    pub(super) fn frame_due(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_needed = leg.feed.is_some() || leg.sender.is_some() || !leg.digits.is_empty();
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

    fn sound_frame(&mut self, now: Instant, id: LegId, length: Duration) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let may_send = leg.may_send();
        let is_up = leg.is_connected || leg.browser.is_none();
        let loss = leg.told_by_peer.map(|block| u16::from(block.fraction_lost) * 100 / 256);
        let Some(Feed { kind, encoder, pcm, payload, codec }) = &mut leg.feed else { return };
        if let Some(loss) = loss {
            encoder.set_loss(loss as u8);
        }
        let is_over = match kind {
            Kind::Foreign { buffer, .. } => {
                buffer.set_frame(length);
                buffer.pull(pcm);
                false
            }
            // An announcement begins when it can be heard.
            Kind::Own { .. } if !is_up || !may_send => return,
            Kind::Own { source, .. } => {
                source.set_frame(length);
                !source.pull(pcm)
            }
        };
        encoder.encode(pcm, payload);
        let payload = std::mem::take(payload);
        let ticks = samples(codec.clock_rate(), length) as u32;
        if let Some((_, pt)) = leg.stream.as_ref().and_then(|s| s.send)
            && may_send
            && !payload.is_empty()
        {
            let header = leg.outgoing.next(pt, ticks);
            self.send_own(now, id, &header, &payload);
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if is_over {
            leg.feed = None;
            leg.playback = None;
            self.event(Event::PlaybackEnded { leg: id });
        } else if let Some(feed) = &mut leg.feed {
            feed.payload = payload;
        }
    }

    pub(super) fn send_digit(&mut self, now: Instant, id: LegId, digit: char, duration: Duration) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.digits.len() < MAX_DIGITS {
            leg.digits.push_back((digit, duration));
            self.start_frames(now, id);
        }
    }

    /// Sends the next packet of a digit; says whether a digit is being sent.
    fn digit_frame(&mut self, now: Instant, id: LegId) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let Some((pt, clock)) = leg.event_format().filter(|_| leg.may_send()) else {
            leg.digits.clear();
            leg.sender = None;
            return false;
        };
        if leg.sender.is_none() {
            let Some((digit, duration)) = leg.digits.pop_front() else { return false };
            leg.sender = EventSender::new(digit, duration, clock);
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

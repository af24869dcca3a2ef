//! The packet path: check, find the way, rewrite in place, protect, send.

use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};

use super::fast::Tagless;
use super::leg::Leg;
use super::legs::Place;
use super::{Forward, Output, Shard};
use crate::codec::Codec;
use crate::control::{Event, LegStats};
use crate::noise;
use crate::rtcp::Compound;
use crate::rtp::{self, Header};
use crate::srtp::{self, MAX_OVERHEAD};

/// What we send on a leg: one source, numbered without gaps whatever feeds it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) ssrc: u32,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    /// The foreign stream that is being passed on, and how its numbers become ours.
    mapped: Option<Mapping>,
    /// The number after a foreign one that was out of all order: the next of a stream that
    /// began to count anew.
    unexpected: Option<u16>,
    last_sent: Option<Instant>,
    /// How long the last packet lasts, if it was our own: the next begins where it ends.
    span: Option<u32>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Packets sent at the last report and at the one before.
    reported: [u64; 2],
    pub(super) marker_due: bool,
}

#[derive(Debug, Clone, Copy)]
struct Mapping {
    ssrc: u32,
    from: LegId,
    seq_offset: u16,
    timestamp_offset: u32,
}

impl Outgoing {
    pub(super) fn new(ssrc: u32, rng: &mut Rng) -> Self {
        Self {
            ssrc,
            // RFC 3550 §5.1: random starts; half the range, so that wraps are not at once.
            seq: rng.next_u32() as u16 & 0x7fff,
            timestamp: rng.next_u32(),
            mapped: None,
            unexpected: None,
            last_sent: None,
            span: None,
            packets: 0,
            bytes: 0,
            reported: [0; 2],
            marker_due: true,
        }
    }

    /// The header for a foreign packet: our source, numbers that go on where the last left off.
    /// `None` for one out of all order (RFC 3550 appendix A.1): a stray, or the first of a new
    /// count, which the next packet then shows.
    pub(super) fn map(
        &mut self,
        now: Instant,
        from: LegId,
        header: &Header,
        pt: u8,
        clock: u32,
    ) -> Option<Header> {
        let running = self.mapped.filter(|m| m.ssrc == header.ssrc && m.from == from);
        let mut fitting = running;
        if let Some(m) = running
            && !self.is_in_order(header.seq.wrapping_add(m.seq_offset))
        {
            if self.unexpected != Some(header.seq) {
                self.unexpected = Some(header.seq.wrapping_add(1));
                return None;
            }
            fitting = None;
        }
        let mapping = fitting.unwrap_or_else(|| {
            let ticks = self.ticks_since(now, clock);
            let next = self.timestamp.wrapping_add(ticks.max(1));
            Mapping {
                ssrc: header.ssrc,
                from,
                seq_offset: self.seq.wrapping_add(1).wrapping_sub(header.seq),
                timestamp_offset: next.wrapping_sub(header.timestamp),
            }
        });
        self.mapped = Some(mapping);
        self.span = None;
        self.unexpected = None;
        let seq = header.seq.wrapping_add(mapping.seq_offset);
        let timestamp = header.timestamp.wrapping_add(mapping.timestamp_offset);
        // A late packet does not turn the counters back.
        if seq.wrapping_sub(self.seq) < 0x8000 {
            self.seq = seq;
            self.timestamp = timestamp;
        }
        let marker = header.marker || fitting.is_none();
        Some(Header::new(pt, seq, timestamp, self.ssrc, marker))
    }

    /// A time of the stream that is being passed on, as it goes out.
    pub(super) fn translated(&self, from: LegId, ssrc: u32, timestamp: u32) -> Option<u32> {
        let mapping = self.mapped.filter(|m| m.ssrc == ssrc && m.from == from)?;
        Some(timestamp.wrapping_add(mapping.timestamp_offset))
    }

    /// Whether a number is a little after or before the last.
    fn is_in_order(&self, seq: u16) -> bool {
        let ahead = seq.wrapping_sub(self.seq);
        ahead <= MAX_DROPOUT || ahead >= u16::MAX - MAX_MISORDER
    }

    /// The header for a packet of our own that lasts so many ticks.
    pub(super) fn next(&mut self, pt: u8, ticks: u32) -> Header {
        self.mapped = None;
        self.seq = self.seq.wrapping_add(1);
        let since = self.span.replace(ticks).unwrap_or(ticks);
        self.timestamp = self.timestamp.wrapping_add(since);
        let marker = std::mem::take(&mut self.marker_due);
        Header::new(pt, self.seq, self.timestamp, self.ssrc, marker)
    }

    /// A packet of our own that would last so long is not sent, but time goes on.
    pub(super) fn pass(&mut self, ticks: u32) {
        self.span = Some(self.span.unwrap_or(ticks).wrapping_add(ticks));
    }

    /// Makes what our last packets said last so long.
    pub(super) fn lasted(&mut self, ticks: u32) {
        self.span = Some(ticks);
    }

    /// Where the RTP clock is now, also when nothing was sent for a while (RFC 3550 §6.4.1).
    pub(super) fn timestamp_at(&self, now: Instant, clock: u32) -> u32 {
        self.timestamp.wrapping_add(self.ticks_since(now, clock))
    }

    /// RTP time since the last packet; a pause of hours is as good as one of minutes.
    fn ticks_since(&self, now: Instant, clock: u32) -> u32 {
        let gap = self.last_sent.map_or(Duration::ZERO, |then| {
            now.saturating_duration_since(then).min(Duration::from_secs(600))
        });
        (gap.as_millis() * u128::from(clock) / 1000) as u32
    }

    /// Whether a report now is a sender's: something was sent since the report before the last
    /// (RFC 3550 §6.4).
    pub(super) fn report_as_sender(&mut self) -> bool {
        let [last, before] = self.reported;
        self.reported = [self.packets, last];
        self.packets > before
    }

    /// What was sent without headers (RFC 3550 §6.4.1); ours have twelve bytes.
    pub(super) fn payload_bytes(&self) -> u64 {
        self.bytes.saturating_sub(12 * self.packets)
    }

    pub(super) fn sent(&mut self, now: Instant, bytes: usize) {
        self.last_sent = Some(now);
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// What arrives on a leg (RFC 3550 appendix A).
#[derive(Debug, Default)]
pub(super) struct Receiving {
    pub(super) ssrc: Option<u32>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    first_seq: u64,
    pub(super) highest_seq: u64,
    packets_of_source: u64,
    lost_before: u64,
    /// The number after one that was out of all order (RFC 3550 appendix A.1).
    unexpected: Option<u16>,
    transit: Option<(Instant, u32)>,
    /// In clock ticks, scaled by 16.
    jitter16: u32,
    clock: u32,
    pub(super) last_packet: Option<Instant>,
    /// The last packet was comfort noise: nothing may come for long.
    pub(super) is_paused: bool,
    /// When the last sender report of the source came, and the middle of its NTP time.
    pub(super) last_sr: Option<(Instant, u32)>,
    pub(super) expected_prior: u64,
    pub(super) received_prior: u64,
    pub(super) round_trip: Option<Duration>,
}

impl Receiving {
    /// `is_sound` is false for packets whose timestamps do not move with time (RFC 4733): they
    /// say nothing of jitter.
    pub(super) fn count(
        &mut self,
        now: Instant,
        header: &Header,
        len: usize,
        clock: u32,
        is_sound: bool,
    ) {
        self.last_packet = Some(now);
        self.packets += 1;
        self.bytes += len as u64;
        if self.ssrc != Some(header.ssrc) {
            // A sender's report may be there before its first packet.
            self.last_sr = self.last_sr.filter(|_| self.ssrc.is_none());
            self.begin(header);
        }
        let step = header.seq.wrapping_sub(self.highest_seq as u16);
        if step <= MAX_DROPOUT {
            self.highest_seq += u64::from(step);
            // A word that was said before the pause, and comes late, does not end it.
            self.is_paused &= step == 0;
        } else if step < u16::MAX - MAX_MISORDER {
            // A stray, unless the next goes on from it: then the peer has begun to count anew.
            if self.unexpected != Some(header.seq) {
                self.unexpected = Some(header.seq.wrapping_add(1));
                return;
            }
            self.begin(header);
        }
        self.unexpected = None;
        self.packets_of_source += 1;
        if is_sound {
            self.measure(now, header.timestamp, clock);
        }
    }

    fn begin(&mut self, header: &Header) {
        self.lost_before = self.lost();
        self.ssrc = Some(header.ssrc);
        self.first_seq = u64::from(header.seq);
        self.highest_seq = u64::from(header.seq);
        self.packets_of_source = 0;
        self.transit = None;
        self.jitter16 = 0;
        (self.expected_prior, self.received_prior) = (0, 0);
    }

    fn measure(&mut self, now: Instant, timestamp: u32, clock: u32) {
        if self.clock != clock {
            // Another codec: the ticks before were of another length.
            (self.clock, self.transit, self.jitter16) = (clock, None, 0);
        }
        if let Some((then, before)) = self.transit {
            let arrived = now.saturating_duration_since(then);
            let arrived =
                (arrived.as_secs() * 1_000_000) as i64 + i64::from(arrived.subsec_micros());
            let arrived = arrived * i64::from(clock) / 1_000_000;
            let sent = i64::from(timestamp.wrapping_sub(before) as i32);
            let difference = (arrived - sent).unsigned_abs().min(u64::from(clock)) as u32;
            self.jitter16 = self.jitter16 + difference - ((self.jitter16 + 8) >> 4);
        }
        self.transit = Some((now, timestamp));
    }

    pub(super) fn expected(&self) -> u64 {
        if self.ssrc.is_some() { self.highest_seq - self.first_seq + 1 } else { 0 }
    }

    pub(super) fn received(&self) -> u64 {
        self.packets_of_source
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost_before + self.expected().saturating_sub(self.packets_of_source)
    }

    pub(super) fn jitter_ticks(&self) -> u32 {
        self.jitter16 >> 4
    }

    pub(super) fn jitter(&self) -> Duration {
        let ticks = u64::from(self.jitter_ticks());
        Duration::from_micros(ticks * 1_000_000 / u64::from(self.clock.max(1)))
    }

    pub(super) fn stats(&self, outgoing: &Outgoing) -> LegStats {
        LegStats {
            packets_received: self.packets,
            packets_sent: outgoing.packets,
            bytes_received: self.bytes,
            bytes_sent: outgoing.bytes,
            packets_lost: self.lost(),
            jitter: self.jitter(),
            round_trip: self.round_trip,
            source: self.ssrc,
            ..LegStats::default()
        }
    }
}

/// What a packet of a leg is, by its payload type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Audio(Codec),
    Event { clock: u32 },
    Noise,
    Unknown,
}

impl Shard {
    /// An RTP or RTCP packet whose source is the leg's.
    pub(super) fn packet(
        &mut self,
        now: Instant,
        id: LegId,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let place = self.legs.place(id)?;
        let (_, leg) = self.legs.at_mut(place)?;
        let is_rtcp = rtp::is_rtcp(&buffer[..len]);
        let opened = unprotect(leg, buffer, len, is_rtcp);
        let (has_video, is_shared) = (leg.video.is_some(), leg.browser.is_some());
        let captures = leg.taps.captures();
        let len = self.opened(opened)?;
        if is_rtcp {
            if captures {
                self.capture_report(now, place, &buffer[..len]);
            }
            let report = Compound::parse(&buffer[..len]);
            self.take_report(now, id, &report);
            if has_video && is_shared {
                self.take_video_report(now, id, &report);
            } else if has_video {
                self.keep_step(now, id, &report);
            }
            return None;
        }
        self.rtp_packet(now, place, buffer, len)
    }

    /// The length of a packet that was opened; counts why one was not. Without an error, there
    /// were no keys yet.
    pub(super) fn opened(&mut self, opened: Result<usize, Option<srtp::Error>>) -> Option<usize> {
        let counter = match opened {
            Ok(len) => return Some(len),
            Err(None) => &mut self.counters.dropped_not_ready,
            Err(Some(srtp::Error::BadTag)) => &mut self.counters.dropped_bad_tag,
            Err(Some(srtp::Error::Replayed)) => &mut self.counters.dropped_replayed,
            Err(Some(srtp::Error::Malformed | srtp::Error::TooManySources)) => {
                &mut self.counters.dropped_malformed
            }
        };
        *counter += 1;
        None
    }

    /// An RTP packet in the clear.
    pub(super) fn rtp_packet(
        &mut self,
        now: Instant,
        place: Place,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let Some(header) = Header::parse(&buffer[..len]) else {
            self.counters.dropped_malformed += 1;
            return None;
        };
        let (id, leg) = self.legs.at_mut(place)?;
        if leg.proxy.is_some() {
            return self.pass_on(now, id, &header, buffer, len);
        }
        self.received_at(now, place, &header, buffer, len)
    }

    /// A packet of a leg whose codecs we know.
    pub(super) fn received(
        &mut self,
        now: Instant,
        id: LegId,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let place = self.legs.place(id)?;
        self.received_at(now, place, header, buffer, len)
    }

    fn received_at(
        &mut self,
        now: Instant,
        place: Place,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let (id, leg) = self.legs.at_mut(place)?;
        leg.freshen();
        let kind = match leg.fast.kind {
            Some((pt, kind)) if pt == header.pt => kind,
            _ => kind_of(leg, header.pt),
        };
        leg.fast.kind = Some((header.pt, kind));
        let captures = leg.taps.captures();
        let clock = match kind {
            Kind::Audio(codec) => codec.clock_rate(),
            Kind::Event { clock } => clock,
            Kind::Noise => noise::CLOCK,
            Kind::Unknown if leg.video.is_some() && leg.browser.is_some() => {
                return self.video_packet(now, id, header, buffer, len);
            }
            Kind::Unknown => {
                if captures {
                    self.capture(now, place, kind, header, &buffer[..len]);
                }
                self.counters.dropped_payload_type += 1;
                return None;
            }
        };
        let is_sound = matches!(kind, Kind::Audio(_));
        leg.receiving.count(now, header, len, clock, is_sound);
        if !leg.is_connected {
            leg.is_connected = true;
            self.outputs.push_back(Output::Event(Event::Connected { leg: id }));
        }
        if captures {
            self.capture(now, place, kind, header, &buffer[..len]);
        }
        match kind {
            Kind::Audio(codec) => self.audio(now, place, codec, header, buffer, len),
            Kind::Event { clock } => self.telephone_event(now, id, clock, header, buffer, len),
            Kind::Noise => self.comfort_noise(now, id, header, buffer, len),
            Kind::Unknown => None,
        }
    }

    fn audio(
        &mut self,
        now: Instant,
        place: Place,
        codec: Codec,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let (from, leg) = self.legs.at_mut(place)?;
        let finished = leg.detector.sound(header.timestamp);
        if leg.taps.is_on() {
            self.taps.copy(now, (from, leg.taps), codec, header, &buffer[..len]);
        }
        if let Some(digit) = finished {
            self.digit_over(now, from, digit);
        }
        let peer = self.peer_of(place)?;
        let (_, to) = self.legs.at_mut(peer)?;
        to.freshen();
        let (send, pt) = to.fast.speaks?;
        if to.fast.is_overlaid {
            self.take_under(now, peer, codec, header, header.payload(&buffer[..len])?);
            return None;
        }
        if send != codec {
            let payload = header.payload(&buffer[..len])?;
            self.take_foreign(now, peer, codec, header, payload, false);
            self.counters.packets_transcoded += 1;
            return None;
        }
        if to.fast.is_fed {
            // It spoke another codec before.
            to.stop_translating();
            to.fast.is_fed = to.feed.is_some();
        }
        self.forward_at(now, from, peer, pt, header, buffer, len)
    }

    /// Where the leg is that hears this one.
    fn peer_of(&mut self, place: Place) -> Option<Place> {
        let (_, leg) = self.legs.at(place)?;
        let peer = leg.peer?;
        if let Some(known) = leg.fast.peer
            && self.legs.at(known).is_some_and(|(id, _)| id == peer)
        {
            return Some(known);
        }
        let found = self.legs.place(peer)?;
        self.legs.at_mut(place)?.1.fast.peer = Some(found);
        Some(found)
    }

    /// Passes a packet on under the other leg's source, in the buffer it came in.
    #[expect(clippy::too_many_arguments, reason = "one packet, two legs and a buffer")]
    pub(super) fn forward(
        &mut self,
        now: Instant,
        from: LegId,
        to: LegId,
        pt: u8,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let to = self.legs.place(to)?;
        self.forward_at(now, from, to, pt, header, buffer, len)
    }

    #[expect(clippy::too_many_arguments, reason = "one packet, two legs and a buffer")]
    fn forward_at(
        &mut self,
        now: Instant,
        from: LegId,
        place: Place,
        pt: u8,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let (_, leg) = self.legs.at_mut(place)?;
        leg.freshen();
        let (socket, destination) = leg.fast.to?;
        let clock = leg.fast.clock;
        let Some(out) = leg.outgoing.map(now, from, header, pt, clock) else {
            self.counters.dropped_out_of_order += 1;
            return None;
        };
        let payload = header.payload(&buffer[..len])?.len();
        // Extensions and contributing sources mean nothing to the other side: the payload moves
        // up behind a plain header.
        if header.len != 12 {
            buffer.copy_within(header.len..header.len + payload, 12);
        }
        write_header(buffer, &out);
        let plain = 12 + payload;
        let protected = match &mut leg.crypto {
            Some(crypto) => crypto.outbound.protect_but_tag(buffer, plain),
            None => Ok(Ok(plain)),
        };
        let len = match protected {
            Ok(Ok(len)) => len,
            Ok(Err(unsigned)) => {
                self.tagless.push(Tagless { frame: self.at_frame, place, unsigned });
                leg.crypto.as_ref()?.outbound.signed_len(unsigned)
            }
            Err(_) => {
                self.counters.dropped_out_of_order += 1;
                return None;
            }
        };
        leg.outgoing.sent(now, plain);
        self.counters.packets_forwarded += 1;
        Some(Forward { frame: self.at_frame, socket, destination, len })
    }

    /// Sends a packet that we made.
    pub(super) fn send_own(&mut self, now: Instant, id: LegId, header: &Header, payload: &[u8]) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some((socket, destination)) = leg.destination() else { return };
        let mut bytes = Vec::with_capacity(12 + payload.len() + MAX_OVERHEAD);
        header.write(&mut bytes);
        bytes.extend_from_slice(payload);
        let plain = bytes.len();
        if let Some(crypto) = &mut leg.crypto {
            bytes.resize(plain + MAX_OVERHEAD, 0);
            let Ok(len) = crypto.outbound.protect_rtp(&mut bytes, plain) else { return };
            bytes.truncate(len);
        }
        leg.outgoing.sent(now, plain);
        self.outputs.push_back(Output::Transmit { socket, destination, bytes });
    }

    /// Sends an RTCP compound that we made.
    pub(super) fn send_rtcp(&mut self, id: LegId, mut bytes: Vec<u8>) {
        let Some(leg) = self.legs.figures_mut(&id) else { return };
        if leg.is_secure() && leg.crypto.is_none() {
            return;
        }
        let Some((socket, destination)) = leg.report_destination() else { return };
        if let Some(crypto) = &mut leg.crypto {
            let plain = bytes.len();
            bytes.resize(plain + MAX_OVERHEAD, 0);
            let Ok(len) = crypto.outbound.protect_rtcp(&mut bytes, plain) else { return };
            bytes.truncate(len);
        }
        self.outputs.push_back(Output::Transmit { socket, destination, bytes });
    }
}

fn kind_of(leg: &Leg, pt: u8) -> Kind {
    let Some(stream) = &leg.stream else { return Kind::Unknown };
    if let Some((_, codec)) = stream.receive.iter().find(|(p, _)| *p == pt) {
        return Kind::Audio(*codec);
    }
    match stream.events.receive.iter().find(|(p, _)| *p == pt) {
        Some((_, clock)) => Kind::Event { clock: *clock },
        None if stream.noise.receive == Some(pt) => Kind::Noise,
        None => Kind::Unknown,
    }
}

/// The plain length, or why the packet is dropped; `None` when there are no keys yet.
fn unprotect(
    leg: &mut Leg,
    buffer: &mut [u8],
    len: usize,
    is_rtcp: bool,
) -> Result<usize, Option<srtp::Error>> {
    let is_secure = leg.is_secure();
    match &mut leg.crypto {
        Some(crypto) if is_rtcp => crypto.inbound.unprotect_rtcp(&mut buffer[..len]).map_err(Some),
        Some(crypto) => crypto.inbound.unprotect_rtp(&mut buffer[..len]).map_err(Some),
        None if is_secure => Err(None),
        None => Ok(len),
    }
}

pub(super) fn write_header(buffer: &mut [u8], header: &Header) {
    buffer[0] = 0x80;
    buffer[1] = header.pt | if header.marker { 0x80 } else { 0 };
    buffer[2..4].copy_from_slice(&header.seq.to_be_bytes());
    buffer[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    buffer[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
}

/// How far numbers may jump or fall back in one stream (RFC 3550 appendix A.1).
const MAX_DROPOUT: u16 = 3000;
const MAX_MISORDER: u16 = 100;

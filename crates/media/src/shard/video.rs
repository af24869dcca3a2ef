//! Video of a leg: passed on under our own numbers, with losses repaired and key frames asked
//! for on each side by itself.
//!
//! A browser's video shares the transport of its sound and is told apart by payload type; a
//! phone's has a pair of sockets, a latch and keys of its own. A sound-only leg has none of this.

mod cache;
mod feedback;
mod figures;
mod losses;
mod port;

use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::leg::{Crypto, Leg};
use super::packets::{Outgoing, Receiving};
use super::phone::Phone;
use super::{Forward, Output, Shard, Timer};
use crate::bandwidth::{Arriving, ByLoss};
use crate::negotiation::{Keys, Received, Transport, VideoConfig};
use crate::rtcp::{Arrivals, FEEDBACK_INTERVAL, ReportBlock};
use crate::rtp::{self, Header};
use crate::video::{VideoCodec, VideoKind};
use cache::Cache;
pub(super) use feedback::Step;
use feedback::{KeyFrames, Limits};
use figures::Sampled;
use losses::{Losses, Place};
pub(super) use port::Port;

/// What a leg has that has, or had, video.
#[derive(Debug)]
pub(super) struct VideoStream {
    /// Absent while there is none, and after it was taken away.
    config: Option<Box<VideoConfig>>,
    port: Port,
    phone: Phone,
    /// Of a leg with keys in its description; a browser's video has the keys of its sound.
    crypto: Option<Crypto>,
    outgoing: Outgoing,
    receiving: Receiving,
    losses: Losses,
    cache: Cache,
    /// Source and next number of what we send again.
    repairs: (u32, u16),
    arrivals: Arrivals,
    /// Whose packet came last, be it a picture, a repair or a probe of the way.
    heard: Option<u32>,
    /// The way to us of a sender that does not estimate it, and what that loses.
    way: Arriving,
    lost: ByLoss,
    key_frames: KeyFrames,
    limits: Limits,
    told_by_peer: Option<ReportBlock>,
    step: Step,
    codec: Option<VideoCodec>,
    is_ticking: bool,
    packets_repaired: u64,
    sampled: Sampled,
}

impl VideoStream {
    fn new(leg: &Leg, rng: &mut crosspoint_base::Rng) -> Self {
        let (ssrc, repair) = leg.negotiator.video_ssrcs();
        Self {
            config: None,
            port: Port::default(),
            phone: Phone::default(),
            crypto: None,
            outgoing: Outgoing::new(ssrc, rng),
            receiving: Receiving::default(),
            losses: Losses::default(),
            cache: Cache::default(),
            repairs: (repair, rng.next_u32() as u16 & 0x7fff),
            arrivals: Arrivals::default(),
            heard: None,
            way: Arriving::default(),
            lost: ByLoss::default(),
            key_frames: KeyFrames::default(),
            limits: Limits::default(),
            told_by_peer: None,
            step: Step::default(),
            codec: None,
            is_ticking: false,
            packets_repaired: 0,
            sampled: Sampled::default(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.losses.len() + self.arrivals.len() + self.phone.held()
    }

    fn is_secure(&self) -> bool {
        self.config.as_ref().is_some_and(|c| !matches!(c.keys, Keys::None))
    }
}

impl Leg {
    /// Whether pictures may be sent to this leg now.
    fn may_show(&self) -> bool {
        let Some(video) = &self.video else { return false };
        video.config.as_ref().is_some_and(|c| c.direction.sends()) && self.has_video_keys()
    }

    fn has_video_keys(&self) -> bool {
        let Some(video) = &self.video else { return false };
        let crypto = if self.browser.is_some() { &self.crypto } else { &video.crypto };
        !video.is_secure() || crypto.is_some()
    }

    /// The keys that protect this leg's video, beside the video.
    fn video_and_crypto(&mut self) -> Option<(&mut VideoStream, Option<&mut Crypto>)> {
        let video = &mut **self.video.as_mut()?;
        if self.browser.is_some() {
            return Some((video, self.crypto.as_mut()));
        }
        // Split by hand: the keys are in the video itself.
        Some((video, None))
    }
}

impl Shard {
    /// Takes over what was agreed on video.
    pub(super) fn apply_video(&mut self, now: Instant, id: LegId) {
        let rng = &mut self.rng;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let config = leg.stream.as_mut().and_then(|stream| stream.video.take());
        if leg.video.is_none() && config.is_some() {
            let video = VideoStream::new(leg, rng);
            leg.video = Some(Box::new(video));
        }
        let Some(video) = &mut leg.video else { return };
        if let Some(config) = &config {
            match &config.keys {
                Keys::Sdes { profile, local, remote } => {
                    // Packets kept under the old key are nobody's any more.
                    video.cache.clear();
                    video.crypto = match video.crypto.take() {
                        Some(crypto) => crypto.renewed(*profile, local, remote),
                        None => Crypto::new(*profile, local, remote),
                    };
                }
                Keys::None | Keys::Dtls => video.crypto = None,
            }
            if let Some(Transport::Rtp { remote, rtcp, .. }) = config.transport {
                video.phone.describe(now, remote, rtcp);
            }
            video.codec = config.codec().or(video.codec);
        } else {
            video.cache.clear();
        }
        video.config = config;
        let tells = video.config.as_ref().is_some_and(|c| c.feedback.transport_cc);
        if tells && !std::mem::replace(&mut self.times_browsers, true) {
            self.outputs.push_back(Output::TimeBrowsers);
        }
        self.show_anew(now, id);
    }

    /// Whoever sees pictures from here on begins with a whole one.
    pub(super) fn show_anew(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.video.is_some()) else { return };
        let peer = leg.peer;
        self.ask_key_frame(now, id);
        if let Some(peer) = peer {
            self.ask_key_frame(now, peer);
        }
    }

    /// A decrypted packet that is not sound.
    pub(super) fn video_packet(
        &mut self,
        now: Instant,
        id: LegId,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let leg = self.legs.get_mut(&id)?;
        let video = leg.video.as_mut()?;
        let packet = buffer.get(..len)?;
        // Nobody's way is narrower for our being busy.
        let came = now.checked_sub(self.waited).unwrap_or(now);
        let Some(received) = video.accept(came, header, packet) else {
            self.counters.dropped_payload_type += 1;
            return None;
        };
        video.heard = Some(header.ssrc);
        if !std::mem::replace(&mut video.is_ticking, true) {
            // Also when this is a probe of the way, without a picture: it is to be answered.
            self.timers.set((id, Timer::Video), now + FEEDBACK_INTERVAL);
        }
        let (kind, header) = match received {
            Received::Picture(kind) => (kind, *header),
            Received::Repair(kind, pt) => (kind, video.restored(header, packet, pt)?),
        };
        let is_repair = feedback::is_repair(received);
        let place = video.losses.arrived(now, header.ssrc, header.seq);
        match place {
            Place::Known => {
                self.counters.dropped_out_of_order += 1;
                return None;
            }
            Place::Late => video.packets_repaired += u64::from(is_repair),
            Place::Ahead | Place::Anew => {}
        }
        if !is_repair {
            video.watch_way(came, place, &header, len);
            video.receiving.count(came, &header, len, CLOCK, true);
        }
        let has_gap = video.losses.len() > 0;
        // A phone whose microphone is off still shows that it is there.
        leg.receiving.last_packet = Some(now);
        let peer = leg.peer;
        if has_gap {
            self.ask_for_missing(now, id);
        }
        let forward = self.show(now, id, peer?, kind, &header, buffer, len);
        self.counters.video_forwarded += u64::from(forward.is_some());
        forward
    }

    /// Passes a picture's packet on under the other leg's source, in the buffer it came in.
    #[expect(clippy::too_many_arguments, reason = "one packet, two legs and a buffer")]
    fn show(
        &mut self,
        now: Instant,
        from: LegId,
        to: LegId,
        kind: VideoKind,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let started = self.started;
        let leg = self.legs.get_mut(&to).filter(|leg| leg.may_show())?;
        let (socket, destination) = leg.video_destination()?;
        let (video, crypto) = leg.video_and_crypto()?;
        let config = video.config.as_ref()?;
        let (pt, repair) = config.number(kind)?;
        let Some(mut out) = video.outgoing.map(now, from, header, pt, CLOCK) else {
            self.counters.dropped_out_of_order += 1;
            return None;
        };
        // The marker ends a picture; a new source does not.
        out.marker = header.marker;
        let payload = header.payload(&buffer[..len])?.len();
        let mut extension = [0; MAX_EXTENSION];
        let extra = write_extension(config, now, started, &mut extension);
        let plain = 12 + extra + payload;
        if plain > buffer.len() {
            self.counters.dropped_malformed += 1;
            return None;
        }
        buffer.copy_within(header.len..header.len + payload, 12 + extra);
        super::packets::write_header(buffer, &out);
        buffer[12..12 + extra].copy_from_slice(&extension[..extra]);
        buffer[0] |= if extra > 0 { 0x10 } else { 0 };
        let keeps = config.feedback.nack;
        if keeps && repair.is_some() {
            video.cache.keep(out.seq, Some(out), &buffer[12 + extra..plain]);
        }
        let crypto = match crypto {
            Some(crypto) => Some(crypto),
            None => video.crypto.as_mut(),
        };
        let protected = match crypto {
            Some(crypto) => crypto.outbound.protect_rtp(buffer, plain),
            None => Ok(plain),
        };
        let Ok(len) = protected else {
            self.counters.dropped_out_of_order += 1;
            return None;
        };
        if keeps && repair.is_none() {
            // The same bytes once more: another packet under one number would give the cipher
            // away (RFC 3711 §9.1).
            video.cache.keep(out.seq, None, &buffer[..len]);
        }
        video.outgoing.sent(now, plain);
        video.limits.sent_one(now, plain);
        Some(Forward { frame: self.at_frame, socket, destination, len })
    }

    /// Every 50 ms while pictures come.
    pub(super) fn video_due(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(video) = &mut leg.video else { return };
        let is_idle = |then: Instant| now.saturating_duration_since(then) >= IDLE;
        video.is_ticking = video.config.is_some()
            && (!video.receiving.last_packet.is_none_or(is_idle) || video.key_frames.is_wanted());
        if video.is_ticking {
            self.timers.set((id, Timer::Video), now + FEEDBACK_INTERVAL);
        }
        self.ask_for_missing(now, id);
        self.tell_arrivals(id);
        self.tell_limit(now, id);
        self.ask_again(now, id);
    }
}

impl VideoStream {
    /// What a packet is, when it may be one of this stream.
    fn accept(&mut self, came: Instant, header: &Header, packet: &[u8]) -> Option<Received> {
        let config = self.config.as_ref()?;
        let received = config.received(header.pt)?;
        if let Some((id, mid)) = &config.extensions.mid
            && rtp::extension(packet, *id).is_some_and(|named| named != mid.as_bytes())
        {
            // It says itself that it belongs to another section (RFC 8843 §9.2).
            return None;
        }
        if let Some(id) = config.extensions.transport_cc.filter(|_| config.feedback.transport_cc)
            && let Some(&[high, low, ..]) = rtp::extension(packet, id)
        {
            self.arrivals.note(came, u16::from_be_bytes([high, low]));
        }
        Some(received)
    }

    /// Of a sender that can be told a limit and has no estimate of its own.
    fn watch_way(&mut self, now: Instant, place: Place, header: &Header, len: usize) {
        let feedback = self.config.as_ref().map(|config| config.feedback).unwrap_or_default();
        if feedback.transport_cc || !(feedback.remb || feedback.tmmbr) {
            return;
        }
        match place {
            Place::Ahead => self.way.arrived(now, header.timestamp, len),
            Place::Anew => self.way = Arriving::default(),
            Place::Late | Place::Known => {}
        }
    }

    /// The header that a repeated packet had at first (RFC 4588 §4). Padding has none.
    fn restored(&self, header: &Header, packet: &[u8], pt: u8) -> Option<Header> {
        let &[high, low, ..] = header.payload(packet)? else { return None };
        let mut restored = *header;
        restored.ssrc = self.receiving.ssrc?;
        restored.seq = u16::from_be_bytes([high, low]);
        restored.pt = pt;
        restored.len += 2;
        Some(restored)
    }
}

/// Writes the extension block that a browser agreed to; gives its length.
fn write_extension(
    config: &VideoConfig,
    now: Instant,
    started: Option<Instant>,
    out: &mut [u8; MAX_EXTENSION],
) -> usize {
    let mut at = 4;
    let extensions = &config.extensions;
    let mid = extensions.mid.as_ref().filter(|(_, mid)| (1..=MAX_MID).contains(&mid.len()));
    if let Some((id, mid)) = mid {
        out[at] = id << 4 | (mid.len() as u8 - 1);
        out[at + 1..=at + mid.len()].copy_from_slice(mid.as_bytes());
        at += 1 + mid.len();
    }
    if let Some(id) = extensions.abs_send_time {
        // 24 bits of NTP time, eighteen of them behind the point.
        let time = (super::reports::ntp(now, started) >> 14) as u32;
        out[at] = id << 4 | 2;
        out[at + 1..at + 4].copy_from_slice(&time.to_be_bytes()[1..]);
        at += 4;
    }
    if at == 4 {
        return 0;
    }
    let len = at.next_multiple_of(4);
    out[..4].copy_from_slice(&[0xbe, 0xde, 0, (len / 4 - 1) as u8]);
    len
}

/// Of all video formats.
const CLOCK: u32 = 90_000;
/// Header, name of the section, time.
const MAX_EXTENSION: usize = 4 + 1 + MAX_MID + 4 + 3;
const MAX_MID: usize = 16;
/// After this long without a packet there is nothing to keep an eye on.
const IDLE: Duration = Duration::from_secs(2);

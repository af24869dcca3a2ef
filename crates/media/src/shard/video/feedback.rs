//! RTCP of video, both ways: what is missing, what came, key frames, limits, and the times by
//! which sound and pictures are played in step.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::{CLOCK, Received, VideoStream, write_extension};
use crate::bandwidth::{ByLoss, Rate};
use crate::control::Event;
use crate::negotiation::VideoConfig;
use crate::rtcp::{
    self, Compound, FEEDBACK_INTERVAL, Feedback, SenderInfo, write_bye, write_report,
};
use crate::rtp::Header;
use crate::shard::leg::Leg;
use crate::shard::reports::ntp;
use crate::shard::{Output, Shard, Timer};
use crate::srtp::MAX_OVERHEAD;

/// When a key frame was asked for.
#[derive(Debug, Default)]
pub(super) struct KeyFrames {
    asked: Option<Instant>,
    /// It was asked for again too soon.
    is_wanted: bool,
    number: u8,
    /// How often the peer was asked for one, and how often it wanted one itself.
    pub(super) total: u64,
    pub(super) wanted: u64,
}

impl KeyFrames {
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Whether to ask now; if not, later.
    fn may_ask(&mut self, now: Instant, gap: Duration) -> bool {
        let is_soon = |then: Instant| now.saturating_duration_since(then) < gap;
        self.is_wanted = self.asked.is_some_and(is_soon);
        if !self.is_wanted {
            self.asked = Some(now);
            self.total += 1;
        }
        !self.is_wanted
    }
}

/// What a peer can take, and what the other one was told of it; in bit/s.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// By REMB: its estimate of the way to it, once that was a limit, and when that changed.
    estimate: Option<(u64, Instant)>,
    /// What we send it.
    rate: Rate,
    /// By TMMBR.
    asked: Option<u64>,
    /// By what it says is lost.
    by_loss: ByLoss,
    told: Option<(u64, Instant)>,
    /// How much may still be sent again: as much as was sent, and some.
    resends: u32,
}

/// The sender's clock: by it, sound and pictures of one source are played in step.
#[derive(Debug, Default)]
pub(in crate::shard) struct Step {
    /// From the sender's NTP time to ours, the same for both streams.
    offset: Option<u64>,
    sound: Option<Mark>,
    picture: Option<Mark>,
}

/// What a sender report says: this time is that time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    ssrc: u32,
    ntp: u64,
    rtp: u32,
}

impl Step {
    fn note(&mut self, now: u64, ssrc: u32, info: &SenderInfo, is_sound: bool) {
        let offset = now.wrapping_sub(info.ntp);
        let strays = |old: u64| offset.wrapping_sub(old).cast_signed().unsigned_abs() > STRAYED;
        if self.offset.is_none_or(strays) {
            *self = Self { offset: Some(offset), sound: None, picture: None };
        }
        let mark = Some(Mark { ssrc, ntp: info.ntp, rtp: info.rtp_timestamp });
        if is_sound {
            self.sound = mark;
        } else {
            self.picture = mark;
        }
    }

    /// The RTP time of a stream at our time `now`, and its source.
    fn time(&self, now: u64, clock: u32, is_sound: bool) -> Option<(u32, u32)> {
        let mark = if is_sound { self.sound } else { self.picture }?;
        let since = now.wrapping_sub(self.offset?).wrapping_sub(mark.ntp).cast_signed();
        let ticks = (i128::from(since) * i128::from(clock)) >> 32;
        Some((mark.ssrc, mark.rtp.wrapping_add(ticks as u32)))
    }
}

impl Leg {
    /// A compound with feedback behind the least of a report (RFC 4585 §3.1).
    fn video_feedback(&self) -> Option<(Vec<u8>, u32, u32)> {
        let video = self.video.as_ref()?;
        let (ours, theirs) = (video.outgoing.ssrc, video.receiving.ssrc.or(video.heard)?);
        let mut out = Vec::with_capacity(128);
        write_report(&mut out, ours, self.negotiator.cname(), None, None);
        Some((out, ours, theirs))
    }
}

impl VideoStream {
    pub(super) fn limit(&self, config: &VideoConfig) -> Option<u64> {
        let described = config.bandwidth.map(u64::from);
        let limits = &self.limits;
        let estimate = limits.estimate.map(|(bits, _)| bits);
        let all = [estimate, limits.asked, limits.by_loss.limit(), described];
        all.into_iter().flatten().min()
    }
}

impl Shard {
    /// The sender's time of a stream that goes to `to`, in our numbers.
    pub(in crate::shard) fn time_in_step(
        &self,
        now: Instant,
        to: LegId,
        is_sound: bool,
    ) -> Option<u32> {
        let leg = self.legs.get(&to)?;
        let from = leg.peer?;
        let step = &self.legs.get(&from)?.video.as_ref()?.step;
        let now = ntp(now, self.started);
        if is_sound {
            let clock = leg.stream.as_ref()?.send?.0.clock_rate();
            let (ssrc, time) = step.time(now, clock, true)?;
            return leg.outgoing.translated(from, ssrc, time);
        }
        let (ssrc, time) = step.time(now, CLOCK, false)?;
        leg.video.as_ref()?.outgoing.translated(from, ssrc, time)
    }

    /// Takes note of the sender's clock, where there are pictures to be in step with.
    pub(in crate::shard) fn keep_step(&mut self, now: Instant, id: LegId, report: &Compound) {
        let now = ntp(now, self.started);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(video) = &mut leg.video else { return };
        for (ssrc, info) in &report.senders {
            let is_sound = leg.receiving.ssrc == Some(*ssrc);
            if is_sound || video.receiving.ssrc == Some(*ssrc) {
                video.step.note(now, *ssrc, info, is_sound);
            }
        }
    }

    pub(in crate::shard) fn take_video_report(
        &mut self,
        now: Instant,
        id: LegId,
        report: &Compound,
    ) {
        self.keep_step(now, id, report);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(video) = &mut leg.video else { return };
        for (_, info) in report.senders.iter().filter(|(s, _)| video.receiving.ssrc == Some(*s)) {
            video.receiving.last_sr = Some((now, (info.ntp >> 16) as u32));
        }
        let ours = video.outgoing.ssrc;
        if let Some(block) = report.blocks.iter().find(|b| b.ssrc == ours) {
            // The same again is no news.
            if video.told_by_peer.is_none_or(|told| told.highest_seq != block.highest_seq) {
                let rate = video.limits.rate.bits();
                video.limits.by_loss.told(now, block.fraction_lost, rate);
            }
            video.told_by_peer = Some(*block);
        }
        let mut wants_key_frame = false;
        let mut asked = None;
        for feedback in &report.feedback {
            match feedback {
                Feedback::Pli { ssrc } | Feedback::Fir { ssrc, .. } => {
                    wants_key_frame |= *ssrc == ours;
                }
                Feedback::Remb { bits } => video.limits.estimated(now, *bits),
                Feedback::Tmmbr { by, ssrc, bits } if *ssrc == ours => {
                    video.limits.asked = Some(*bits);
                    asked = Some((*by, *bits));
                }
                Feedback::Tmmbr { .. } | Feedback::Tmmbn { .. } | Feedback::Nack { .. } => {}
            }
        }
        for feedback in &report.feedback {
            if let Feedback::Nack { ssrc, lost } = feedback
                && *ssrc == ours
            {
                self.send_again(now, id, lost);
            }
        }
        if let Some((by, bits)) = asked {
            self.keep_to(id, by, bits);
        }
        if wants_key_frame {
            self.key_frame_wanted(now, id);
        }
    }

    /// Tells who asked for a limit that it was heard.
    fn keep_to(&mut self, id: LegId, by: u32, bits: u64) {
        let leg = self.legs.get(&id);
        let Some((mut out, ours, _)) = leg.and_then(|leg| leg.video_feedback()) else { return };
        rtcp::write_tmmbn(&mut out, ours, by, bits);
        self.send_video_rtcp(id, out);
    }

    /// The party of this leg cannot go on without a whole picture.
    pub(in crate::shard) fn key_frame_wanted(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(video) = &mut leg.video {
            video.key_frames.wanted += 1;
        }
        if let Some(peer) = leg.peer {
            self.ask_key_frame(now, peer);
        }
    }

    /// Asks the party of this leg for a whole picture, by RTCP or else by signalling.
    pub(super) fn ask_key_frame(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_phone = leg.browser.is_none();
        let Some(video) = &mut leg.video else { return };
        let Some(config) = video.config.as_ref().filter(|c| c.direction.receives()) else { return };
        let (pli, fir) = (config.feedback.pli, config.feedback.fir);
        let by_signaling = is_phone && !pli && !fir;
        if !by_signaling && video.receiving.ssrc.is_none() {
            // Nothing has come yet, and what will come begins with one.
            return;
        }
        let gap = if by_signaling { SIGNALING_GAP } else { KEY_FRAME_GAP };
        if !video.key_frames.may_ask(now, gap) {
            if !std::mem::replace(&mut video.is_ticking, true) {
                self.timers.set((id, Timer::Video), now + FEEDBACK_INTERVAL);
            }
            return;
        }
        self.counters.key_frames_asked += 1;
        if by_signaling {
            self.event(Event::KeyFrameWanted { leg: id });
            return;
        }
        video.key_frames.number = video.key_frames.number.wrapping_add(1);
        let number = video.key_frames.number;
        let Some((mut out, ours, theirs)) = leg.video_feedback() else { return };
        if pli {
            rtcp::write_pli(&mut out, ours, theirs);
        } else {
            rtcp::write_fir(&mut out, ours, theirs, number);
        }
        self.send_video_rtcp(id, out);
    }

    pub(super) fn ask_again(&mut self, now: Instant, id: LegId) {
        let video = self.legs.get(&id).and_then(|leg| leg.video.as_ref());
        if video.is_some_and(|v| v.key_frames.is_wanted()) {
            self.ask_key_frame(now, id);
        }
    }

    /// Asks for packets that are missing, where the peer sends again.
    pub(super) fn ask_for_missing(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let trip = leg.receiving.round_trip.unwrap_or(USUAL_TRIP);
        let Some(video) = &mut leg.video else { return };
        let lost = video.losses.due(now, trip);
        if lost.is_empty() || !video.config.as_ref().is_some_and(|c| c.feedback.nack) {
            return;
        }
        let Some((mut out, ours, theirs)) = leg.video_feedback() else { return };
        rtcp::write_nack(&mut out, ours, theirs, &lost);
        self.counters.video_asked_again += lost.len() as u64;
        self.send_video_rtcp(id, out);
    }

    /// Sends again what the peer misses.
    fn send_again(&mut self, now: Instant, id: LegId, lost: &[u16]) {
        let started = self.started;
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.may_show()) else { return };
        let Some((socket, destination)) = leg.video_destination() else { return };
        let Some((video, mut crypto)) = leg.video_and_crypto() else { return };
        let Some(config) = &video.config else { return };
        let mut extension = [0; super::MAX_EXTENSION];
        let extra = write_extension(config, now, started, &mut extension);
        for seq in lost {
            let budget = video.limits.resends.min(video.outgoing.packets.try_into().unwrap_or(0));
            let Some(left) = budget.checked_sub(1) else { return };
            let Some((header, kept)) = video.cache.take(now, *seq) else { continue };
            let bytes = match header {
                None => kept.to_vec(),
                Some(header) => {
                    let repair = config.send.iter().find(|(_, pt, _)| *pt == header.pt);
                    let Some(pt) = repair.and_then(|(.., repair)| *repair) else { continue };
                    let (ssrc, number) = &mut video.repairs;
                    *number = number.wrapping_add(1);
                    let out = Header::new(pt, *number, header.timestamp, *ssrc, header.marker);
                    let mut bytes = Vec::with_capacity(12 + extra + 2 + kept.len() + MAX_OVERHEAD);
                    out.write(&mut bytes);
                    bytes[0] |= if extra > 0 { 0x10 } else { 0 };
                    bytes.extend_from_slice(&extension[..extra]);
                    bytes.extend(seq.to_be_bytes());
                    bytes.extend_from_slice(kept);
                    if let Some(crypto) = crypto.as_deref_mut() {
                        let plain = bytes.len();
                        bytes.resize(plain + MAX_OVERHEAD, 0);
                        let Ok(len) = crypto.outbound.protect_rtp(&mut bytes, plain) else {
                            continue;
                        };
                        bytes.truncate(len);
                    }
                    bytes
                }
            };
            video.limits.resends = left;
            self.counters.video_sent_again += 1;
            self.outputs.push_back(Output::Transmit { socket, destination, bytes });
        }
    }

    /// Tells a browser when its packets came: its estimate of the way to us lives on it.
    pub(super) fn tell_arrivals(&mut self, id: LegId) {
        let Some(started) = self.started else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(video) = leg.video.as_mut().filter(|v| !v.arrivals.is_empty()) else { return };
        let mut arrivals = std::mem::take(&mut video.arrivals);
        if let Some((mut out, ours, theirs)) = leg.video_feedback() {
            arrivals.write(&mut out, started, ours, theirs);
            self.send_video_rtcp(id, out);
        }
        if let Some(video) = self.legs.get_mut(&id).and_then(|leg| leg.video.as_mut()) {
            video.arrivals = arrivals;
        }
    }

    /// Tells the sender what the far side can take: its estimate, what its description says or
    /// its losses; or what the way to us carries, where the sender does not find out by itself.
    /// Whichever is less.
    pub(super) fn tell_limit(&mut self, now: Instant, id: LegId) {
        let peer = self.legs.get(&id).and_then(|leg| self.legs.get(&leg.peer?)?.video.as_deref());
        let limit = peer.and_then(|video| video.limit(video.config.as_ref()?));
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(video) = &mut leg.video else { return };
        let Some(config) = &video.config else { return };
        let feedback = config.feedback;
        let carried = [video.way.estimate(now), video.lost.limit()];
        let carried = carried.into_iter().flatten().min().filter(|_| !feedback.transport_cc);
        let limit = [limit, carried].into_iter().flatten().min();
        let Some(limit) = limit.filter(|_| feedback.remb || feedback.tmmbr) else { return };
        if let Some((told, at)) = video.limits.told
            && now.saturating_duration_since(at) < LIMIT_INTERVAL
            && limit >= told - told / 8
        {
            return;
        }
        video.limits.told = Some((limit, now));
        let Some((mut out, ours, theirs)) = leg.video_feedback() else { return };
        if feedback.remb {
            rtcp::write_remb(&mut out, ours, theirs, limit);
        } else {
            rtcp::write_tmmbr(&mut out, ours, theirs, limit);
        }
        self.send_video_rtcp(id, out);
    }

    /// The report on both directions of a leg's video.
    pub(in crate::shard) fn report_video(&mut self, now: Instant, id: LegId, is_last: bool) {
        let time = self.time_in_step(now, id, false);
        let started = self.started;
        let figures = self.legs.figures_mut(&id);
        let Some(leg) = figures.filter(|leg| leg.has_video_keys()) else { return };
        let Some(video) = leg.video.as_mut().filter(|v| v.config.is_some()) else { return };
        let outgoing = &mut video.outgoing;
        let sender = outgoing.report_as_sender().then(|| SenderInfo {
            ntp: ntp(now, started),
            rtp_timestamp: time.unwrap_or_else(|| outgoing.timestamp_at(now, CLOCK)),
            packets: outgoing.packets as u32,
            bytes: outgoing.payload_bytes() as u32,
        });
        let (block, ssrc) = (video.receiving.report_block(now), outgoing.ssrc);
        if let Some(block) = &block {
            video.lost.told(now, block.fraction_lost, video.way.bits());
        }
        if is_last && video.outgoing.packets == 0 {
            return;
        }
        let mut out = Vec::with_capacity(96);
        write_report(&mut out, ssrc, leg.negotiator.cname(), sender.as_ref(), block.as_ref());
        if is_last {
            write_bye(&mut out, ssrc);
        }
        self.send_video_rtcp(id, out);
    }

    fn send_video_rtcp(&mut self, id: LegId, mut bytes: Vec<u8>) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.has_video_keys()) else { return };
        let Some((socket, destination)) = leg.video_report_destination() else { return };
        let Some((video, crypto)) = leg.video_and_crypto() else { return };
        let crypto = match crypto {
            Some(crypto) => Some(crypto),
            None => video.crypto.as_mut(),
        };
        if let Some(crypto) = crypto {
            let plain = bytes.len();
            bytes.resize(plain + MAX_OVERHEAD, 0);
            let Ok(len) = crypto.outbound.protect_rtcp(&mut bytes, plain) else { return };
            bytes.truncate(len);
        }
        self.outputs.push_back(Output::Transmit { socket, destination, bytes });
    }
}

impl Limits {
    pub(super) fn sent_one(&mut self, now: Instant, bytes: usize) {
        self.resends = (self.resends + 1).min(MAX_RESENDS);
        self.rate.count(now, bytes);
    }

    /// A browser's estimate follows what it gets, at most half above: of a picture that stands
    /// still it says no more than that little came. It lowers a limit only when it is near to
    /// what is sent. Far above, it says that more would get through, if not how much: a limit that
    /// waited for a greater estimate would be what keeps the estimate low, for ever.
    fn estimated(&mut self, now: Instant, bits: u64) {
        let is_near = self.rate.bits().is_some_and(|rate| bits < rate + rate / 4);
        self.estimate = match self.estimate {
            _ if is_near => Some((bits, now)),
            None => None,
            Some((before, at)) => {
                let elapsed = now.saturating_duration_since(at).min(LIMIT_INTERVAL);
                let raised = before as f64 * RAISED.powf(elapsed.as_secs_f64());
                Some(((raised as u64).clamp(bits, MOST_RAISED.max(bits)), now))
            }
        };
    }
}

/// Whether a packet is one that was sent again.
#[must_use]
pub(super) fn is_repair(received: Received) -> bool {
    matches!(received, Received::Repair(..))
}

/// A key frame is many packets: more often would only make it worse.
const KEY_FRAME_GAP: Duration = Duration::from_millis(500);
/// Each one is a SIP request.
const SIGNALING_GAP: Duration = Duration::from_secs(1);
/// Until the peer's reports tell.
const USUAL_TRIP: Duration = Duration::from_millis(100);
/// A limit is repeated, as a report may get lost.
const LIMIT_INTERVAL: Duration = Duration::from_secs(1);
/// In a second: estimates grow by 1.08 (draft-ietf-rmcat-gcc-02 §5.5), and are not to be held up.
const RAISED: f64 = 1.15;
/// In bit/s: nobody sends more, and beyond this a limit is none.
const MOST_RAISED: u64 = 10_000_000;
const MAX_RESENDS: u32 = 256;
/// Five seconds of NTP time: no clock strays so far, so the sender has another one now.
const STRAYED: u64 = 5 << 32;

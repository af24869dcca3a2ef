//! How calls on media servers do: asked every few seconds, and told as our own media plane tells.
//!
//! A server tells counts of packets at once and losses once it has reports of RTCP; the grade is
//! made of both as for legs of our own, so that figures compare.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Event, LegStats, QualitySample, Silence};
use crosspoint_media::emodel::{self, Mos};

use super::requests::{Ask, stats};
use super::{Client, Leg};
use crate::dictionary::Dictionary;

/// What is known of a leg from one answer to the next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    before: LegStats,
    mos_sum: u64,
    samples: u64,
    mos_lowest: Option<Mos>,
    jitter_max: Duration,
    is_silent: bool,
    silences: u32,
}

impl Watch {
    /// Adds to the last figures of a leg what the samples made of it.
    pub(super) fn complete(&self, stats: LegStats) -> LegStats {
        let mean = self.mos_sum.checked_div(self.samples);
        let mean = mean.map(|m| Mos::from_hundredths(u16::try_from(m).unwrap_or(0)));
        LegStats {
            mos: mean.or(stats.mos),
            mos_lowest: self.mos_lowest.or(stats.mos_lowest),
            jitter_max: self.jitter_max.max(stats.jitter),
            silences: self.silences,
            ..stats
        }
    }

    /// What a leg carried since the last answer; nothing when that was nothing.
    fn sample(&mut self, codec: Option<Codec>, stats: LegStats) -> Option<QualitySample> {
        let before = std::mem::replace(&mut self.before, stats);
        let received = stats.packets_received.saturating_sub(before.packets_received);
        let lost = stats.packets_lost.saturating_sub(before.packets_lost);
        self.jitter_max = self.jitter_max.max(stats.jitter);
        let (jitter, round_trip) = (stats.jitter, stats.round_trip);
        // Without a report nobody knows what was lost.
        let is_graded = stats.mos.is_some() && received > 0;
        let mos = codec.filter(|_| is_graded).map(|codec| {
            let loss = lost as f64 / (lost + received) as f64;
            Mos::from_rating(emodel::rating(codec, loss, emodel::delay(round_trip, jitter)))
        });
        if let Some(mos) = mos {
            self.mos_sum += u64::from(mos.hundredths());
            self.samples += 1;
            self.mos_lowest = Some(self.mos_lowest.map_or(mos, |lowest| lowest.min(mos)));
        }
        let (packets_received, packets_lost) = (received, lost);
        let sample = QualitySample {
            mos,
            packets_received,
            packets_lost,
            jitter,
            round_trip,
            at_peer: None,
            video: None,
        };
        (received > 0).then_some(sample)
    }

    /// Whether a leg has just fallen silent or is heard again.
    fn listen(&mut self, leg: LegId, is_heard: bool, is_expected: bool) -> Option<Event> {
        if is_heard {
            return std::mem::take(&mut self.is_silent).then_some(Event::Heard { leg });
        }
        if self.is_silent || !is_expected {
            return None;
        }
        self.is_silent = true;
        self.silences += 1;
        let never = self.before.packets_received == 0;
        let when = if never { Silence::Start } else { Silence::Running };
        Some(Event::Silent { leg, when })
    }
}

impl Leg {
    fn sound(&self) -> Option<crosspoint_sdp::Media> {
        let (_, description, _) = self.said.as_ref()?;
        description.media().find(|m| m.is_audio() && !m.is_rejected())
    }
}

impl Client {
    /// The call of this leg was answered: from now on it is watched.
    pub(super) fn watch(&mut self, now: Instant, leg: LegId) {
        let Some(call) = self.call_of(leg).and_then(|number| self.calls.get_mut(&number)) else {
            return;
        };
        call.next_look.get_or_insert(now + QUIET);
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        self.calls.values().filter_map(|call| call.next_look).min()
    }

    /// Asks for the figures of every call whose time it is.
    pub(super) fn look(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let due = self.calls.iter().filter(|(_, call)| is_due(call.next_look));
        let due: Vec<u64> = due.map(|(number, _)| *number).collect();
        for number in due {
            let Some(call) = self.calls.get_mut(&number) else { continue };
            call.next_look = Some(now + PERIOD);
            let (server, id) = (call.server, call.id.clone());
            let request = Dictionary::new().with("command", "query").with("call-id", id);
            let ask = Ask::Figures { call: number };
            let sending = self.waiting.begin(now, (server, None), ask, &request);
            self.send(sending);
        }
    }

    /// What a server says of a call.
    pub(super) fn looked(&mut self, number: u64, reply: &Dictionary) {
        let Some(call) = self.calls.get(&number) else { return };
        let legs: Vec<LegId> =
            call.legs.iter().copied().filter(|leg| !call.closed.contains(leg)).collect();
        let sound = |leg: &LegId| self.legs.get(leg).and_then(Leg::sound);
        let listeners: Vec<(LegId, bool)> =
            legs.iter().map(|leg| (*leg, sound(leg).is_some_and(|m| !m.is_held()))).collect();
        for leg in legs {
            let somebody_listens = listeners.iter().any(|(other, is)| *other != leg && *is);
            let Some(state) = self.legs.get_mut(&leg) else { continue };
            let Some(sound) = state.sound() else { continue };
            let codec = sound.codecs.iter().find_map(Codec::from_description);
            let stats = stats(reply, &state.tag);
            let sample = state.watch.sample(codec, stats);
            let is_expected = sound.direction.sends() && somebody_listens;
            let change = state.watch.listen(leg, sample.is_some(), is_expected);
            if let Some(sample) = sample {
                self.event(Event::Quality { leg, sample });
            }
            change.into_iter().for_each(|event| self.event(event));
        }
    }
}

/// A leg should be heard within this time of the answer, as one of ours.
const QUIET: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_secs(5);

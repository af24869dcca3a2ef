//! Sound laid over what a leg hears: music while it is held, what a service says, prompts, notices.
//!
//! Layers lie in that order. One that replaces silences everything below it; one that mixes is
//! added. While there are any, the peer's packets are decoded and encoded instead of passed on,
//! and afterwards they pass as before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::Shard;
use super::leg::Leg;
use super::legs::Place;
use super::work::Over;
use crate::clip::Clip;
use crate::codec::{Codec, Resampler, samples};
use crate::control::{Laid, LaidSound, Layer, Playback};
use crate::rtp::Header;

/// What lies over a leg's sound.
#[derive(Debug, Default)]
pub(super) struct Overlays(BTreeMap<Layer, Playing>);

#[derive(Debug)]
struct Playing {
    laid: Laid,
    /// Samples of a clip that were played, at the rate of `rate`.
    at: usize,
    /// Times that it came to its end, and how much of it was played in all.
    rounds: u32,
    played: Duration,
    rate: u32,
    /// From a queue's rate to the leg's.
    narrow: Option<Resampler>,
    pulled: Vec<i16>,
}

impl Playing {
    fn new(laid: Laid) -> Self {
        let (narrow, pulled) = (None, Vec::new());
        Self { laid, at: 0, rounds: 0, played: Duration::ZERO, rate: 0, narrow, pulled }
    }

    /// Lays the next samples over a frame; false when nothing is left.
    fn lay(&mut self, rate: u32, over: &mut Over) -> bool {
        let goes_on = self.pull(rate, over.pcm.len());
        if self.laid.replaces {
            over.replaces = true;
            over.pcm.fill(0);
        }
        for (sample, ours) in over.pcm.iter_mut().zip(&self.pulled) {
            *sample = sample.saturating_add(*ours);
        }
        goes_on
    }

    fn pull(&mut self, rate: u32, count: usize) -> bool {
        if self.rate != rate {
            self.at = match (&self.laid.sound, self.rate) {
                (LaidSound::Times { from, .. }, 0) => samples(rate, *from),
                // Another codec: the same place at the other rate.
                (_, before) => self.at * rate as usize / before.max(1) as usize,
            };
            self.narrow = (rate != 16_000).then(|| Resampler::new(16_000, rate));
            self.rate = rate;
        }
        self.pulled.clear();
        match &self.laid.sound {
            LaidSound::Clip { clip, repeat } => {
                let samples = clip.at(rate);
                while self.pulled.len() < count && self.at < samples.len() {
                    let end = samples.len().min(self.at + count - self.pulled.len());
                    self.pulled.extend_from_slice(&samples[self.at..end]);
                    self.at = end;
                    if *repeat && self.at == samples.len() {
                        self.at = 0;
                    }
                }
                *repeat || self.at < samples.len()
            }
            LaidSound::Times { clip, times, limit, .. } => {
                let samples = clip.at(rate);
                let left = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(self.played));
                let count = samples_within(rate, left, count);
                while self.pulled.len() < count && self.rounds < *times && !samples.is_empty() {
                    let end = samples.len().min(self.at + count - self.pulled.len());
                    self.pulled.extend_from_slice(samples.get(self.at..end).unwrap_or_default());
                    self.at = end;
                    if self.at >= samples.len() {
                        (self.at, self.rounds) = (0, self.rounds + 1);
                    }
                }
                let micros = self.pulled.len() as u64 * 1_000_000 / u64::from(rate.max(1));
                self.played += Duration::from_micros(micros);
                self.rounds < *times && limit.is_none_or(|limit| self.played < limit)
            }
            LaidSound::Live(queue) => {
                match &mut self.narrow {
                    None => drop(queue.pull(count, &mut self.pulled)),
                    Some(narrow) => {
                        let mut wide = Vec::with_capacity(2 * count);
                        queue.pull(count * 16_000 / rate as usize, &mut wide);
                        narrow.process(&wide, &mut self.pulled);
                        self.pulled.truncate(count);
                    }
                }
                true
            }
        }
    }
}

/// No more than fit this time.
fn samples_within(rate: u32, left: Duration, count: usize) -> usize {
    if left >= Duration::from_secs(1) { count } else { samples(rate, left).min(count) }
}

impl Overlays {
    /// What lies over the next frame.
    pub(super) fn frame(&mut self, rate: u32, count: usize) -> Over {
        let mut over = Over { replaces: false, pcm: vec![0; count] };
        self.0.retain(|_, playing| playing.lay(rate, &mut over));
        over
    }

    /// No layer is left.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn replaces(&self) -> bool {
        self.0.values().any(|playing| playing.laid.replaces)
    }
}

impl Shard {
    /// Takes a packet of the peer that is heard under an overlay, or not at all.
    pub(super) fn take_under(
        &mut self,
        now: Instant,
        to: Place,
        codec: Codec,
        header: &Header,
        payload: &[u8],
    ) {
        let overlays = self.legs.at(to).and_then(|(_, leg)| leg.overlays.as_ref());
        if !overlays.is_some_and(|overlays| overlays.replaces()) {
            self.take_foreign(now, to, codec, header, payload, false);
        }
    }
}

impl Shard {
    /// Lays sound over what a leg hears, in the place of what was in that layer.
    pub(super) fn overlay(&mut self, now: Instant, id: LegId, layer: Layer, laid: Option<Laid>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match laid {
            Some(laid) => {
                let overlays = leg.overlays.get_or_insert_default();
                overlays.0.insert(layer, Playing::new(laid));
                self.start_frames(now, id);
            }
            None => {
                if let Some(overlays) = &mut leg.overlays {
                    overlays.0.remove(&layer);
                    // The next frame finds that none is left and tidies up.
                }
            }
        }
    }

    /// Sets what held parties hear; nothing without.
    pub fn set_music(&mut self, music: Option<Arc<Clip>>) {
        self.music = music;
    }

    /// Begins or ends the music of a leg, as its peer holds it or it waits for one, or not.
    pub(super) fn settle_music(&mut self, now: Instant, id: LegId) {
        let Some(music) = &self.music else { return };
        let Some(leg) = self.legs.get(&id) else { return };
        let holds = |peer: LegId| self.legs.get(&peer).is_some_and(Leg::holds);
        let waits = leg.playback == Some(Playback::Music);
        let is_held =
            leg.may_send() && (waits || leg.peer.is_some_and(|peer| peer != id && holds(peer)));
        let hears = leg.overlays.as_ref().is_some_and(|o| o.0.contains_key(&Layer::Music));
        if is_held == hears {
            return;
        }
        let sound = LaidSound::Clip { clip: music.clone(), repeat: true };
        let laid = is_held.then_some(Laid { sound, replaces: true });
        self.overlay(now, id, Layer::Music, laid);
    }
}

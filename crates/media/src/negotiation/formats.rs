//! Payload types: which codec goes by which number, each way.

use std::collections::BTreeMap;

use crosspoint_sdp::Media;

use super::manner::Format;
use super::{NoiseFormat, opus};
use crate::codec::Codec;
use crate::noise;

/// The numbers agreed on a leg. A number once used for a format stays with it, for as long as
/// the leg lives (RFC 3264 §8.3.2).
#[derive(Debug, Clone, Default)]
pub(super) struct Formats {
    /// Ours, as offered or copied from the peer's offer.
    local: Vec<(Codec, u8)>,
    local_events: Vec<(u32, u8)>,
    /// The peer's.
    remote: Vec<(Codec, u8)>,
    remote_events: Vec<(u32, u8)>,
    /// Comfort noise: what we said we take, and what the peer takes.
    local_noise: Option<u8>,
    remote_noise: Option<u8>,
    sending: Option<Codec>,
    /// Every number ever used on this leg, by either side; at most 128.
    bound: BTreeMap<u8, Bound>,
}

/// What an offer has besides codecs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extras {
    pub(super) noise: bool,
    /// Telephone events.
    pub(super) events: bool,
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Codec(Codec),
    Event(u32),
    Noise,
    /// A format of the peer's that we do not speak.
    Foreign,
}

impl Formats {
    /// What we send: the first codec the peer wants, or the one we answered with.
    pub(super) fn sending(&self) -> Option<Codec> {
        self.sending
    }

    pub(super) fn sends_events(&self) -> bool {
        !self.remote_events.is_empty()
    }

    pub(super) fn remote_pt(&self, codec: Codec) -> Option<u8> {
        self.remote.iter().find(|(c, _)| *c == codec).map(|(_, pt)| *pt)
    }

    /// The event format to send with a codec: the one of its clock, else any.
    pub(super) fn remote_event(&self, clock: u32) -> Option<(u32, u8)> {
        let fitting = self.remote_events.iter().find(|(c, _)| *c == clock);
        fitting.or(self.remote_events.first()).copied()
    }

    /// What may arrive: our numbers, and the peer's own where we gave those no meaning. Some
    /// phones send with the number of their answer instead of the offer's.
    pub(super) fn receiving(&self) -> Vec<(u8, Codec)> {
        let theirs = self.remote.iter().filter(|(_, pt)| !self.is_ours(*pt));
        self.local.iter().chain(theirs).map(|(codec, pt)| (*pt, *codec)).collect()
    }

    /// The same for telephone events: number and clock.
    pub(super) fn receiving_events(&self) -> Vec<(u8, u32)> {
        let theirs = self.remote_events.iter().filter(|(_, pt)| !self.is_ours(*pt));
        self.local_events.iter().chain(theirs).map(|(clock, pt)| (*pt, *clock)).collect()
    }

    /// Says what the other leg's peer said, number by number, whether we know it or not.
    pub(super) fn copy(&mut self, formats: &[Format], audio: &mut Media) {
        let codecs = || formats.iter().filter_map(|f| f.codec.as_ref());
        self.local = codecs().filter_map(|c| Some((Codec::from_description(c)?, c.pt))).collect();
        self.local_events =
            codecs().filter(|c| is_event(c)).map(|c| (c.clock_rate, c.pt)).collect();
        let mut ours = self.local.iter().map(|(codec, _)| *codec);
        let first = ours.find(|codec| self.remote_pt(*codec).is_some());
        self.sending = first.or(self.sending);
        audio.formats = formats.iter().map(|f| f.pt.to_string()).collect();
        audio.codecs = codecs().cloned().collect();
    }

    /// Comfort noise, where both take it and the codec has its clock.
    pub(super) fn noise(&self) -> NoiseFormat {
        let fits = self.sending.is_some_and(|c| c.clock_rate() == noise::CLOCK);
        let both = self.local_noise.zip(self.remote_noise).filter(|_| fits);
        NoiseFormat { send: both.map(|(_, pt)| pt), receive: both.map(|(pt, _)| pt) }
    }

    pub(super) fn takes_noise(&self) -> bool {
        self.remote_noise.is_some()
    }

    fn is_ours(&self, pt: u8) -> bool {
        self.local.iter().any(|(_, p)| *p == pt)
            || self.local_events.iter().any(|(_, p)| *p == pt)
            || self.local_noise == Some(pt)
    }

    /// Every number that was ever used.
    pub(super) fn used(&self) -> impl Iterator<Item = u8> + '_ {
        self.bound.keys().copied()
    }

    /// These stand for something else on the same transport.
    pub(super) fn reserve(&mut self, numbers: impl Iterator<Item = u8>) {
        for pt in numbers {
            self.bound.entry(pt).or_insert(Bound::Foreign);
        }
    }

    /// Learns the peer's numbers.
    pub(super) fn agree(&mut self, audio: &Media, is_offer: bool) {
        for pt in audio.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt: &u8| *pt < 128) {
            let codec = audio.codecs.iter().find(|c| c.pt == pt);
            let bound = codec.map_or(Bound::Foreign, bound);
            // The numbers of an answer are the peer's own; those of an offer count both ways.
            let entry = self.bound.entry(pt).or_insert(bound);
            if is_offer {
                *entry = bound;
            }
        }
        self.remote =
            audio.codecs.iter().filter_map(|c| Some((Codec::from_description(c)?, c.pt))).collect();
        self.remote_events =
            audio.codecs.iter().filter(|c| is_event(c)).map(|c| (c.clock_rate, c.pt)).collect();
        self.remote_noise = audio.codecs.iter().find(|c| is_noise(c)).map(|c| c.pt);
        if !is_offer || self.sending.is_none_or(|s| self.remote_pt(s).is_none()) {
            self.sending = self.remote.first().map(|(c, _)| *c);
        }
    }

    /// Writes an offer: `wanted` first, as they pass through untouched, then the `others`.
    pub(super) fn offer(
        &mut self,
        wanted: &[Codec],
        others: &[Codec],
        parameters: Option<&str>,
        extras: Extras,
        audio: &mut Media,
    ) {
        let mut codecs: Vec<Codec> = Vec::with_capacity(Codec::ALL.len());
        for codec in wanted.iter().chain(others) {
            if !codecs.contains(codec) {
                codecs.push(*codec);
            }
        }
        let codecs: Vec<(Codec, u8)> = codecs
            .into_iter()
            .filter_map(|c| {
                let before = self.local.iter().chain(&self.remote).find(|(other, _)| *other == c);
                let pt = self.number(Bound::Codec(c), before.map(|(_, pt)| *pt), c.default_pt())?;
                Some((c, pt))
            })
            .collect();
        let events = [(48_000, 110), (8000, 101)]
            .into_iter()
            .filter(|_| extras.events)
            .filter_map(|(clock, default)| {
                let known = self.local_events.iter().chain(&self.remote_events);
                let before = known.clone().find(|(c, _)| *c == clock).map(|(_, pt)| *pt);
                Some((clock, self.number(Bound::Event(clock), before, default)?))
            })
            .collect();
        let before = self.local_noise.or(self.remote_noise);
        let has_clock = codecs.iter().any(|(c, _)| c.clock_rate() == noise::CLOCK);
        self.local_noise = (extras.noise && has_clock)
            .then(|| self.number(Bound::Noise, before, noise::PAYLOAD_TYPE))
            .flatten();
        (self.local, self.local_events) = (codecs, events);
        self.write(parameters, audio);
    }

    /// Writes an answer with one codec: the other leg's when the peer offered it, else the
    /// peer's first. The peer's numbers count both ways.
    pub(super) fn answer(
        &mut self,
        wanted: Option<Codec>,
        parameters: Option<&str>,
        with_noise: bool,
        remote: &Media,
        audio: &mut Media,
    ) {
        let offered = known(remote);
        let chosen = wanted.filter(|w| offered.contains(w)).or(offered.first().copied());
        self.sending = chosen;
        self.local = chosen.and_then(|c| Some((c, self.remote_pt(c)?))).into_iter().collect();
        let clock = chosen.map_or(8000, Codec::clock_rate);
        self.local_events = self.remote_event(clock).into_iter().collect();
        // Where sound passes through, noise has to as well.
        let takes_noise = with_noise || wanted != chosen;
        self.local_noise = self.remote_noise.filter(|_| takes_noise && clock == noise::CLOCK);
        self.write(parameters, audio);
    }

    /// The number of a format: the one it has, else the usual one, else a free one.
    fn number(&mut self, format: Bound, before: Option<u8>, default: u8) -> Option<u8> {
        let is_ours = |pt: &u8| self.bound.get(pt).is_none_or(|b| *b == format);
        let known = self.bound.iter().find(|(_, b)| **b == format).map(|(pt, _)| *pt);
        // RFC 5761 §4: 64–95 would be mistaken for RTCP.
        let free = (96..=127).chain(35..=63).find(|pt| !self.bound.contains_key(pt));
        let pt = before.filter(is_ours).or(known).or(Some(default).filter(is_ours)).or(free)?;
        self.bound.insert(pt, format);
        Some(pt)
    }

    fn write(&self, parameters: Option<&str>, audio: &mut Media) {
        let codec = |(codec, pt): &(Codec, u8)| crosspoint_sdp::Codec {
            pt: *pt,
            name: codec.name().to_owned(),
            clock_rate: codec.clock_rate(),
            channels: codec.channels(),
            fmtp: (*codec == Codec::Opus).then(|| opus::print(parameters)),
        };
        let event = |(clock, pt): &(u32, u8)| crosspoint_sdp::Codec {
            pt: *pt,
            name: "telephone-event".to_owned(),
            clock_rate: *clock,
            channels: 1,
            fmtp: Some("0-15".to_owned()),
        };
        audio.codecs = self.local.iter().map(codec).collect();
        audio.codecs.extend(self.local_noise.map(|pt| crosspoint_sdp::Codec {
            pt,
            name: NOISE.to_owned(),
            clock_rate: noise::CLOCK,
            channels: 1,
            fmtp: None,
        }));
        audio.codecs.extend(self.local_events.iter().map(event));
        audio.formats = audio.codecs.iter().map(|c| c.pt.to_string()).collect();
        audio.ptime = Some(20);
    }
}

/// The codecs of a section that we know, in its order.
pub(super) fn known(audio: &Media) -> Vec<Codec> {
    let mut out = Vec::new();
    for codec in audio.codecs.iter().filter_map(Codec::from_description) {
        if !out.contains(&codec) {
            out.push(codec);
        }
    }
    out
}

fn bound(codec: &crosspoint_sdp::Codec) -> Bound {
    if is_event(codec) {
        return Bound::Event(codec.clock_rate);
    }
    if is_noise(codec) {
        return Bound::Noise;
    }
    Codec::from_description(codec).map_or(Bound::Foreign, Bound::Codec)
}

fn is_event(codec: &crosspoint_sdp::Codec) -> bool {
    codec.name.eq_ignore_ascii_case("telephone-event")
}

fn is_noise(codec: &crosspoint_sdp::Codec) -> bool {
    codec.is(NOISE, noise::CLOCK)
}

/// RFC 3389 §5.
const NOISE: &str = "CN";

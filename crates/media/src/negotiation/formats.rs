//! Payload types: which codec goes by which number, each way.

use crosspoint_sdp::Media;

use crate::codec::Codec;

/// The numbers agreed on a leg. Numbers once used for a codec stay with it.
#[derive(Debug, Default)]
pub(super) struct Formats {
    /// Ours, as offered or copied from the peer's offer.
    local: Vec<(Codec, u8)>,
    local_events: Vec<(u32, u8)>,
    /// The peer's.
    remote: Vec<(Codec, u8)>,
    remote_events: Vec<(u32, u8)>,
    sending: Option<Codec>,
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

    pub(super) fn local(&self) -> &[(Codec, u8)] {
        &self.local
    }

    pub(super) fn local_events(&self) -> &[(u32, u8)] {
        &self.local_events
    }

    /// Learns the peer's numbers.
    pub(super) fn agree(&mut self, audio: &Media, is_offer: bool) {
        self.remote =
            audio.codecs.iter().filter_map(|c| Some((Codec::from_description(c)?, c.pt))).collect();
        self.remote_events =
            audio.codecs.iter().filter(|c| is_event(c)).map(|c| (c.clock_rate, c.pt)).collect();
        if !is_offer {
            self.sending = self.remote.first().map(|(c, _)| *c);
        } else if self.sending.is_none_or(|s| self.remote_pt(s).is_none()) {
            self.sending = self.remote.first().map(|(c, _)| *c);
        }
    }

    /// Writes an offer: `wanted` first, as they pass through untouched, then all others.
    pub(super) fn offer(&mut self, wanted: &[Codec], audio: &mut Media) {
        let mut codecs: Vec<Codec> = wanted.to_vec();
        for codec in Codec::ALL {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        let known = self.remote.clone();
        let numbered = |codec: Codec| {
            let before = known.iter().find(|(c, _)| *c == codec).map(|(_, pt)| *pt);
            (codec, before.unwrap_or_else(|| free(codec.default_pt(), &known, codec)))
        };
        self.local = codecs.into_iter().map(numbered).collect();
        let events = self.remote_events.clone();
        let event = |clock: u32, default: u8| {
            let before = events.iter().find(|(c, _)| *c == clock).map(|(_, pt)| *pt);
            (clock, before.unwrap_or(default))
        };
        self.local_events = vec![event(48_000, 110), event(8000, 101)];
        self.write(audio);
    }

    /// Writes an answer with one codec: the other leg's when the peer offered it, else the
    /// peer's first. The peer's numbers count both ways.
    pub(super) fn answer(&mut self, wanted: Option<Codec>, remote: &Media, audio: &mut Media) {
        let offered = known(remote);
        let chosen = wanted.filter(|w| offered.contains(w)).or(offered.first().copied());
        self.sending = chosen;
        self.local = chosen.and_then(|c| Some((c, self.remote_pt(c)?))).into_iter().collect();
        let clock = chosen.map_or(8000, Codec::clock_rate);
        self.local_events = self.remote_event(clock).into_iter().collect();
        self.write(audio);
    }

    fn write(&self, audio: &mut Media) {
        let codec = |(codec, pt): &(Codec, u8)| crosspoint_sdp::Codec {
            pt: *pt,
            name: codec.name().to_owned(),
            clock_rate: codec.clock_rate(),
            channels: codec.channels(),
            fmtp: (*codec == Codec::Opus).then(|| "minptime=10;useinbandfec=1".to_owned()),
        };
        let event = |(clock, pt): &(u32, u8)| crosspoint_sdp::Codec {
            pt: *pt,
            name: "telephone-event".to_owned(),
            clock_rate: *clock,
            channels: 1,
            fmtp: Some("0-15".to_owned()),
        };
        audio.codecs = self.local.iter().map(codec).collect();
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

fn is_event(codec: &crosspoint_sdp::Codec) -> bool {
    codec.name.eq_ignore_ascii_case("telephone-event")
}

/// A number that the peer does not use for something else.
fn free(wanted: u8, taken: &[(Codec, u8)], codec: Codec) -> u8 {
    let is_taken = |pt: u8| taken.iter().any(|(c, p)| *p == pt && *c != codec);
    std::iter::once(wanted).chain(112..=127).find(|pt| !is_taken(*pt)).unwrap_or(wanted)
}

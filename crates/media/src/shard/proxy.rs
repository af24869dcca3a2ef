//! Legs that stand for each other: packets go on under the number that means the same on the
//! other side, whether we know the codec or not, and parts of them may be held back.

use std::time::Instant;

use crosspoint_base::LegId;

use super::leg::Leg;
use super::listeners::Listeners;
use super::{Forward, Output, Shard};
use crate::codec::Codec;
use crate::control::{Event, HeldBack, Place};
use crate::negotiation::{Manner, Passes};
use crate::rtp::Header;

/// What a leg has that stands for another one.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    passes: Option<Passes>,
    held: HeldBack,
    place: Option<Place>,
    /// Who hears it besides its peer, and whom it hears so.
    pub(super) listeners: Listeners,
    pub(super) hears: Option<LegId>,
}

impl Leg {
    /// Where it is, when that is not where all are.
    pub(super) fn place(&self) -> Option<Place> {
        self.proxy.as_ref().and_then(|proxy| proxy.place)
    }
}

impl Shard {
    pub(super) fn set_manner(&mut self, id: LegId, manner: Manner) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.negotiator.set_manner(manner);
            leg.proxy.get_or_insert_default();
        }
    }

    pub(super) fn settle(&mut self, id: LegId, place: Place) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.proxy.get_or_insert_default().place = Some(place);
        }
    }

    pub(super) fn hold_back(&mut self, id: LegId, held: HeldBack) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.proxy.get_or_insert_default().held = held;
        }
    }

    pub(super) fn report_figures(&mut self, id: LegId) {
        let of_leg = self.legs.get(&id).map(Leg::stats);
        let stats = of_leg.or_else(|| self.raw_stats(id)).unwrap_or_default();
        self.event(Event::Figures { leg: id, stats });
    }

    /// Finds out what of `from` can go on to `to` as it is.
    pub(super) fn pass_between(&mut self, from: LegId, to: LegId) {
        let names = |id: LegId| self.legs.get(&id)?.stream.as_ref()?.names.as_ref();
        let passes = names(from).zip(names(to)).map(|(from, to)| Passes::new(from, to));
        if let Some(proxy) = self.legs.get_mut(&from).and_then(|leg| leg.proxy.as_mut()) {
            proxy.passes = passes;
        }
    }

    /// A packet of a leg that stands for another.
    pub(super) fn pass_on(
        &mut self,
        now: Instant,
        id: LegId,
        header: &Header,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let leg = self.legs.get_mut(&id)?;
        let (held, pass) = match &leg.proxy {
            Some(proxy) => (proxy.held, proxy.passes.as_ref().and_then(|p| p.find(header.pt))),
            None => (HeldBack::default(), None),
        };
        let peer = leg.peer;
        let events = leg.stream.as_ref().map(|s| s.events.receive.as_slice()).unwrap_or_default();
        let event = events.iter().find(|(pt, _)| *pt == header.pt).map(|(_, clock)| *clock);
        let is_held = if event.is_some() { held.digits } else { held.media };
        let is_heard = leg.proxy.as_ref().is_some_and(|proxy| !proxy.listeners.is_empty());
        let can_pass = peer.and_then(|p| self.legs.get(&p)).is_some_and(|to| {
            // Sound of our own has the line to itself.
            to.may_send() && to.sender.is_none() && to.playback.is_none() && to.overlays.is_none()
        });
        if is_heard && !is_held && (event.is_some() || !held.sound) {
            self.tell_listeners(now, id, header, &buffer[..len]);
        }
        let Some((pt, clock)) = pass.filter(|_| can_pass || is_held) else {
            if is_held || (held.sound && event.is_none()) {
                return None;
            }
            return self.received(now, id, header, buffer, len);
        };
        let leg = self.legs.get_mut(&id)?;
        leg.receiving.count(now, header, len, clock, event.is_none());
        if !leg.is_connected {
            leg.is_connected = true;
            self.outputs.push_back(Output::Event(Event::Connected { leg: id }));
        }
        self.hear_digit(id, event, header, &buffer[..len]);
        if event.is_none() {
            self.copy_passing(now, id, header, &buffer[..len]);
        }
        if is_held {
            return None;
        }
        let mut len = len;
        if held.sound && event.is_none() {
            len = self.silence(id, header, buffer, len)?;
        }
        self.forward(now, id, peer?, pt, header, buffer, len)
    }

    /// Copies a packet to who records or streams the leg, if it is of a codec that we know.
    fn copy_passing(&mut self, now: Instant, id: LegId, header: &Header, packet: &[u8]) {
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.taps.is_on()) else { return };
        let stream = leg.stream.as_ref();
        let known = stream.and_then(|s| s.receive.iter().find(|(pt, _)| *pt == header.pt));
        if let Some((_, codec)) = known {
            self.taps.copy(now, (id, leg.taps), *codec, header, packet);
        }
    }

    /// Tells of a digit that is over; its packets pass by themselves.
    fn hear_digit(&mut self, id: LegId, event: Option<u32>, header: &Header, packet: &[u8]) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let finished = match event {
            Some(clock) => {
                let payload = header.payload(packet).unwrap_or_default();
                leg.detector.push(header.timestamp, payload, clock)
            }
            None => leg.detector.sound(header.timestamp),
        };
        if let Some(digit) = finished {
            let (digit, duration) = (digit.key, digit.duration);
            self.event(Event::Dtmf { leg: id, digit, duration, relayed: true });
        }
    }

    /// Makes the sound of a packet silence; what cannot be made so is dropped.
    fn silence(&self, id: LegId, header: &Header, buffer: &mut [u8], len: usize) -> Option<usize> {
        let stream = self.legs.get(&id)?.stream.as_ref()?;
        let (_, codec) = stream.receive.iter().find(|(pt, _)| *pt == header.pt)?;
        let start = header.len;
        let payload = header.payload(&buffer[..len])?.len();
        match codec {
            Codec::Pcmu => buffer.get_mut(start..start + payload)?.fill(0xff),
            Codec::Pcma => buffer.get_mut(start..start + payload)?.fill(0xd5),
            Codec::Opus => {
                // A frame of 20 ms that says nothing (RFC 6716 §3.1: CELT, full band, mono).
                buffer.get_mut(start..start + 3)?.copy_from_slice(&[0xf8, 0xff, 0xfe]);
                return Some(start + 3);
            }
            _ => return None,
        }
        Some(start + payload)
    }
}

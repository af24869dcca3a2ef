//! Legs that hear another one without being heard by it: what its party says goes to them, too.
//!
//! Packets go on under the number that means the same there, and are translated where there is
//! none. Copies are made here, off the way that a packet takes in the buffer it came in.

use std::time::Instant;

use crosspoint_base::LegId;

use super::Shard;
use super::leg::Leg;
use crate::negotiation::Passes;
use crate::rtp::Header;

/// Who hears a leg besides its peer.
#[derive(Debug, Default)]
pub(super) struct Listeners(Vec<Listener>);

#[derive(Debug)]
struct Listener {
    leg: LegId,
    passes: Option<Box<Passes>>,
}

impl Listeners {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Leg {
    fn listeners_mut(&mut self) -> Option<&mut Listeners> {
        self.proxy.as_mut().map(|proxy| &mut proxy.listeners)
    }

    pub(super) fn hears(&self) -> Option<LegId> {
        self.proxy.as_ref().and_then(|proxy| proxy.hears)
    }
}

impl Shard {
    /// What `id` says goes to `listener` from now on, or no more. Who hears one leg stops hearing
    /// another.
    pub(super) fn listen(&mut self, id: LegId, listener: LegId, is_on: bool) {
        let before = self.legs.get(&listener).and_then(Leg::hears);
        if id == listener || (!is_on && before != Some(id)) {
            return;
        }
        self.stop_listening(listener);
        if !is_on || self.legs.get(&listener).is_none() {
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let listeners = &mut leg.proxy.get_or_insert_default().listeners;
        if listeners.len() >= MAX_LISTENERS {
            return;
        }
        listeners.0.push(Listener { leg: listener, passes: None });
        if let Some(leg) = self.legs.get_mut(&listener) {
            leg.proxy.get_or_insert_default().hears = Some(id);
        }
        self.renew_listening(id);
    }

    fn stop_listening(&mut self, listener: LegId) {
        let Some(leg) = self.legs.get_mut(&listener) else { return };
        let Some(heard) = leg.proxy.as_mut().and_then(|proxy| proxy.hears.take()) else { return };
        leg.stop_translating();
        if let Some(listeners) = self.legs.get_mut(&heard).and_then(Leg::listeners_mut) {
            listeners.0.retain(|other| other.leg != listener);
        }
    }

    /// A leg is about to go: nobody hears it any more, and it hears nobody.
    pub(super) fn forget_listening(&mut self, id: LegId) {
        self.stop_listening(id);
        let Some(listeners) = self.legs.get_mut(&id).and_then(Leg::listeners_mut) else { return };
        for Listener { leg, .. } in std::mem::take(&mut listeners.0) {
            let Some(leg) = self.legs.get_mut(&leg) else { continue };
            leg.stop_translating();
            if let Some(proxy) = &mut leg.proxy {
                proxy.hears = None;
            }
        }
    }

    /// Finds out anew what passes as it is from a leg, and from the one that it hears.
    pub(super) fn renew_listening(&mut self, id: LegId) {
        let heard = self.legs.get(&id).and_then(Leg::hears);
        for from in [Some(id), heard].into_iter().flatten() {
            let names = |id: LegId| self.legs.get(&id)?.stream.as_ref()?.names.as_ref();
            let Some(proxy) = self.legs.get(&from).and_then(|leg| leg.proxy.as_ref()) else {
                continue;
            };
            let passes = proxy.listeners.0.iter().map(|listener| {
                let both = names(from).zip(names(listener.leg));
                both.map(|(from, to)| Box::new(Passes::new(from, to)))
            });
            let passes: Vec<_> = passes.collect();
            let Some(listeners) = self.legs.get_mut(&from).and_then(Leg::listeners_mut) else {
                continue;
            };
            for (listener, passes) in listeners.0.iter_mut().zip(passes) {
                listener.passes = passes;
            }
        }
    }

    /// Sends a packet of a leg to whoever listens to it.
    pub(super) fn tell_listeners(
        &mut self,
        now: Instant,
        id: LegId,
        header: &Header,
        packet: &[u8],
    ) {
        let Some(payload) = header.payload(packet) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let stream = leg.stream.as_ref();
        let known = stream.and_then(|s| s.receive.iter().find(|(pt, _)| *pt == header.pt));
        let codec = known.map(|(_, codec)| *codec);
        let Some(listeners) = leg.listeners_mut().map(std::mem::take) else { return };
        for Listener { leg: listener, passes } in &listeners.0 {
            match passes.as_ref().and_then(|passes| passes.find(header.pt)) {
                Some((pt, clock)) => {
                    self.copy_to(now, (id, *listener), (pt, clock), header, payload);
                }
                None => {
                    let place = self.legs.place(*listener);
                    if let Some((place, codec)) = place.zip(codec) {
                        self.take_foreign(now, place, codec, header, payload, false);
                    }
                }
            }
        }
        if let Some(kept) = self.legs.get_mut(&id).and_then(Leg::listeners_mut) {
            *kept = listeners;
        }
    }

    fn copy_to(
        &mut self,
        now: Instant,
        (from, to): (LegId, LegId),
        (pt, clock): (u8, u32),
        header: &Header,
        payload: &[u8],
    ) {
        let Some(leg) = self.legs.get_mut(&to) else { return };
        // Sound of our own has the line to itself.
        if !leg.may_send() || leg.sender.is_some() || leg.overlays.is_some() {
            return;
        }
        leg.stop_translating();
        let Some(out) = leg.outgoing.map(now, from, header, pt, clock) else {
            self.counters.dropped_out_of_order += 1;
            return;
        };
        self.counters.packets_forwarded += 1;
        self.send_own(now, to, &out, payload);
    }
}

/// Of one leg: each costs a copy of every packet.
const MAX_LISTENERS: usize = 32;

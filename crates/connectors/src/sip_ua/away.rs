//! Calls of a device whose connection broke (RFC 5626 §4.5): they wait for it.
//!
//! A browser that lost its WebSocket comes back within seconds and signs in again. Until then
//! nothing ends: requests that we have to send are held, and go out over the new connection as
//! the same requests, so that a peer that has one already takes it for a repeat. What ended
//! meanwhile is told then. A device that stays away for longer than the window has lost its
//! calls.
//!
//! Not here: what the media of such a call does meanwhile.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, LegId};
use crosspoint_call::{Cause, LegEvent};
use crosspoint_sip::Response;
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::registrar::Binding;

use super::device::Device;
use super::leg::{Leg, Offer, Phase};
use super::status::reason_for;
use super::{ClientUse, SipUa, Timer};

/// What a device that is away has to be told of a call that ended.
#[derive(Debug)]
pub(super) struct Farewell {
    device: Device,
    left: Left,
}

#[derive(Debug)]
pub(super) enum Left {
    /// The BYE.
    Bye(ClientKey),
    /// An INVITE of ours that is given up, with the branches that rang.
    Invite { key: ClientKey, early: Vec<Dialog>, cause: Cause },
    /// The answer to its INVITE.
    Answer(ServerKey),
}

impl SipUa {
    // The connection is gone.

    pub(super) fn connection_lost(&mut self, now: Instant, connection: ConnectionId) {
        for id in self.attached.remove(&connection).unwrap_or_default() {
            self.flow_lost(now, id);
        }
        for key in self.endpoint.requests_over(connection) {
            match self.clients.get(&key) {
                Some(ClientUse::Bye(bye)) => {
                    let (id, device) = (**bye).clone();
                    self.clients.insert(key, ClientUse::Forgotten);
                    if self.endpoint.hold(key) {
                        self.bid_farewell(now, id, device, Left::Bye(key));
                    }
                }
                Some(purpose) => match purpose.leg() {
                    Some(id) => self.hold_for(now, id, key),
                    None => self.endpoint.fail(now, key),
                },
                None => self.endpoint.fail(now, key),
            }
        }
    }

    fn flow_lost(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.attached = None;
        if leg.device.is_none() {
            return;
        }
        if matches!(leg.phase, Phase::Incoming(_)) && leg.peer.forgets_transactions {
            // It has told its user that the call failed: it would not take the answer.
            self.hang_up(now, id, Cause::SignalingLost);
            return;
        }
        let is_browser = leg.flow.transport.is_websocket();
        // A phone may close what is idle: it is not gone before it fails to take a request.
        if !is_browser && leg.dialog.as_mut().is_some_and(Dialog::lose_connection) {
            return;
        }
        leg.away.get_or_insert_default();
        if is_browser {
            self.start_window(now, id);
        }
    }

    /// From now on its device has this long to come back.
    pub(super) fn start_window(&mut self, now: Instant, id: LegId) {
        if !self.timers.is_set(&(id, Timer::Away)) {
            self.timers.set((id, Timer::Away), now + self.config.resume_window);
        }
    }

    /// A request of a leg whose connection is gone.
    fn hold_for(&mut self, now: Instant, id: LegId, key: ClientKey) {
        let Some(leg) = self.legs.get_mut(&id) else {
            self.endpoint.fail(now, key);
            return;
        };
        if let Some(held) = &mut leg.away {
            if self.endpoint.hold(key) {
                held.push(key);
                self.start_window(now, id);
            }
        } else if leg.attached.is_some() || leg.flow_of_requests().connection.is_none() {
            // It came another way already, or another connection leads to it.
            let flow = leg.flow_of_requests();
            self.endpoint.release(now, key, flow);
        } else {
            self.endpoint.fail(now, key);
        }
    }

    /// The device did not come back in time.
    pub(super) fn away_for_long(&mut self, now: Instant, id: LegId) {
        if let Some(farewell) = self.take_farewell(id) {
            match farewell.left {
                Left::Bye(key) | Left::Invite { key, .. } => self.endpoint.fail(now, key),
                Left::Answer(_) => {}
            }
            return;
        }
        let cause = match self.legs.get(&id).map(|leg| &leg.phase) {
            Some(Phase::Calling(_)) => Cause::Unavailable,
            _ => Cause::SignalingLost,
        };
        self.hang_up(now, id, cause);
    }

    // Ending meanwhile.

    /// Keeps what a device that is away has to be told, for as long as it may come back.
    pub(super) fn bid_farewell(&mut self, now: Instant, id: LegId, device: Device, left: Left) {
        if self.farewells.len() >= self.config.max_legs {
            if let Left::Bye(key) | Left::Invite { key, .. } = left {
                self.endpoint.fail(now, key);
            }
            return;
        }
        self.devices.entry(device.clone()).or_default().insert(id);
        self.farewells.insert(id, Farewell { device, left });
        self.timers.set((id, Timer::Away), now + self.config.resume_window);
    }

    fn take_farewell(&mut self, id: LegId) -> Option<Farewell> {
        let farewell = self.farewells.remove(&id)?;
        self.timers.cancel(&(id, Timer::Away));
        self.leave_device(id, Some(&farewell.device));
        Some(farewell)
    }

    /// The requests of a leg that ends while its device is away: only its INVITE matters still.
    pub(super) fn forget_held(&mut self, now: Instant, leg: &mut Leg) {
        let invite = match &leg.phase {
            Phase::Calling(calling) => Some(calling.key),
            Phase::Incoming(_) | Phase::Confirmed => None,
        };
        for key in leg.away.iter_mut().flat_map(std::mem::take) {
            if Some(key) != invite {
                self.clients.insert(key, ClientUse::Forgotten);
                self.endpoint.fail(now, key);
            }
        }
    }

    // It is back.

    /// A device signed in, again perhaps: its calls take the flow it did so over.
    pub(super) fn device_moved(&mut self, now: Instant, binding: &Binding) {
        let Some(legs) = self.devices.get(&Device::of(binding)) else { return };
        let forgets = binding.user_agent.as_deref().is_some_and(forgets_transactions);
        for id in legs.clone() {
            if let Some(farewell) = self.take_farewell(id) {
                self.say_farewell(now, farewell.left, binding.flow, forgets);
            } else if let Some(leg) = self.legs.get_mut(&id)
                && is_alike(&leg.flow, &binding.flow)
            {
                let before = leg.flow.remote.ip();
                match binding.flow.connection {
                    Some(_) => self.heard_at(now, id, binding.flow),
                    None => leg.follow(binding.flow),
                }
                if before != binding.flow.remote.ip() {
                    self.address_changed(id);
                }
            }
        }
    }

    /// A browser is in another network: its media path has to be found anew.
    fn address_changed(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get(&id)
            && leg.flow.transport.is_websocket()
            && matches!(leg.phase, Phase::Confirmed)
        {
            self.tell(id, LegEvent::Moved);
        }
    }

    /// A leg's device speaks over this flow: everything to it takes that one from now on.
    pub(super) fn heard_at(&mut self, now: Instant, id: LegId, flow: Flow) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.device.is_none() || flow.connection.is_none() || leg.attached == flow.connection {
            return;
        }
        if leg.is_left(flow) {
            return;
        }
        if let Some(old) = leg.attached {
            // It left the old connection, whether or not we saw that close.
            self.detach(id);
            self.flow_lost(now, id);
            for key in self.endpoint.requests_over(old) {
                if self.clients.get(&key).and_then(ClientUse::leg) == Some(id) {
                    self.hold_for(now, id, key);
                }
            }
        }
        self.came_back(now, id, flow);
    }

    fn came_back(&mut self, now: Instant, id: LegId, flow: Flow) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.follow(flow);
        let away = leg.away.take();
        self.timers.cancel(&(id, Timer::Away));
        self.attach(id, flow.connection);
        let Some(held) = away else { return };
        self.end_forgotten_branches(now, id);
        for key in held {
            self.endpoint.release(now, key, flow);
        }
        let Some(leg) = self.legs.get(&id) else { return };
        let unanswered = match (&leg.phase, &leg.offer) {
            (Phase::Incoming(incoming), _) => Some(incoming.key),
            (_, Offer::Theirs { key, .. }) => Some(*key),
            _ => leg.awaiting_ack.map(|(key, _)| key),
        };
        if let Some(key) = unanswered {
            self.endpoint.redirect(now, key, flow);
        }
        let acknowledged = self.legs.get(&id).and_then(|leg| self.clients.get(&leg.settled?));
        if let Some(ClientUse::Settled(settled)) = acknowledged
            && let Some(ack) = settled.acks.first()
        {
            // Where it was lost, the answer would be repeated for ever.
            let bytes = ack.bytes.clone();
            self.endpoint.resend(flow, bytes);
        }
    }

    /// Ends what rang at a peer that cannot answer it any more, before it rings there anew.
    fn end_forgotten_branches(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let flow = leg.flow;
        let Phase::Calling(calling) = &mut leg.phase else { return };
        calling.repeated = flow.transport.is_websocket();
        if leg.peer.forgets_transactions {
            let early = std::mem::take(&mut calling.early);
            let dialogs = early.into_values().map(|early| early.dialog);
            self.end_branches(now, dialogs.collect(), flow, Cause::SignalingLost);
        }
    }

    /// A browser that answers a repeat of its INVITE with another tag has forgotten the first,
    /// whatever it calls itself: what rings there twice is ended once. Says whether the response
    /// is about what is ended.
    pub(super) fn rings_anew(
        &mut self,
        now: Instant,
        id: LegId,
        flow: Flow,
        response: &Response,
        tag: &Bytes,
    ) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let is_late = leg.is_left(flow);
        let flow = leg.flow_now(flow);
        let Phase::Calling(calling) = &mut leg.phase else { return false };
        if !calling.repeated || tag.is_empty() || calling.early.contains_key(tag) {
            return false;
        }
        if is_late && !calling.early.is_empty() {
            let first = Dialog::as_caller(&calling.request, response, flow);
            self.end_branches(now, first.into_iter().collect(), flow, Cause::SignalingLost);
            return true;
        }
        let early = std::mem::take(&mut calling.early);
        let dialogs = early.into_values().map(|early| early.dialog);
        self.end_branches(now, dialogs.collect(), flow, Cause::SignalingLost);
        false
    }

    /// RFC 3261 §15: a caller may send BYE in an early dialog.
    fn end_branches(&mut self, now: Instant, early: Vec<Dialog>, flow: Flow, cause: Cause) {
        for mut dialog in early {
            dialog.follow(flow);
            self.bye(now, &mut dialog, cause, None);
        }
    }

    fn say_farewell(&mut self, now: Instant, left: Left, flow: Flow, forgets: bool) {
        match left {
            Left::Bye(key) => self.endpoint.release(now, key, flow),
            Left::Invite { key, early, cause } if forgets => {
                self.endpoint.fail(now, key);
                self.end_branches(now, early, flow, cause);
            }
            Left::Invite { key, cause, .. } => {
                self.endpoint.release_cancelled(now, key, flow, reason_for(cause));
            }
            Left::Answer(key) => self.endpoint.redirect(now, key, flow),
        }
    }

    // Which leg is where.

    pub(super) fn attach(&mut self, id: LegId, connection: Option<ConnectionId>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.attached == connection {
            return;
        }
        self.detach(id);
        if let Some(connection) = connection
            && let Some(leg) = self.legs.get_mut(&id)
        {
            leg.attached = Some(connection);
            self.attached.entry(connection).or_default().insert(id);
        }
    }

    fn detach(&mut self, id: LegId) {
        let old = self.legs.get_mut(&id).and_then(|leg| leg.attached.take());
        self.detach_from(id, old);
    }

    pub(super) fn detach_from(&mut self, id: LegId, connection: Option<ConnectionId>) {
        if let Some(connection) = connection
            && let Some(legs) = self.attached.get_mut(&connection)
        {
            legs.remove(&id);
            if legs.is_empty() {
                self.attached.remove(&connection);
            }
        }
    }

    /// Whether another request may be held for a leg, where its device is away.
    pub(super) fn has_room(&self, id: LegId) -> bool {
        let held = self.legs.get(&id).and_then(|leg| leg.away.as_ref());
        held.is_none_or(|held| held.len() < MAX_HELD)
    }
}

impl ClientUse {
    /// The leg that waits for the answer.
    pub(super) fn leg(&self) -> Option<LegId> {
        match self {
            Self::Invite(id)
            | Self::Reoffer(id)
            | Self::Refresh(id)
            | Self::InDialog(id)
            | Self::Digit(id, ..)
            | Self::KeyFrame(id)
            | Self::Notify(id) => Some(*id),
            Self::Settled(_)
            | Self::LeftReoffer(_)
            | Self::Register(_)
            | Self::Ask(..)
            | Self::Text(_)
            | Self::Watcher(_)
            | Self::Forward(_)
            | Self::Bye(_)
            | Self::Forgotten => None,
        }
    }
}

/// Interop: JsSIP (3.13) drops its transactions with the connection. A call that it was making
/// has failed for it then; one that rings there goes on ringing and cannot be answered.
pub(super) fn forgets_transactions(user_agent: &[u8]) -> bool {
    user_agent.starts_with(b"JsSIP")
}

/// A call moves between flows of one kind only.
fn is_alike(a: &Flow, b: &Flow) -> bool {
    a.transport == b.transport || (a.transport.is_websocket() && b.transport.is_websocket())
}

/// Requests that wait for one leg's device; digits beyond are lost.
const MAX_HELD: usize = 32;

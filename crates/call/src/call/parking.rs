//! A party that waits, with music, until somebody takes it up, or until it goes back to who had it
//! wait.
//!
//! Not here: which slot is free and who may take it up. The node knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Private};

use super::transfer::{State, Transfer};
use super::{Call, Output, Stage, Timer};
use crate::router::RouteRequest;
use crate::{Cause, Identity, MediaRequest, Party, Playback, Role, Scope, Side, TransferProgress};

/// Where a party is to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkingPlace {
    pub slot: u32,
    /// What the slot is called among all.
    pub key: Arc<str>,
    /// How long until it goes back.
    pub timeout: Duration,
}

/// A party that waits.
#[derive(Debug)]
pub(super) struct Parked {
    place: ParkingPlace,
    /// The leg of who had it wait, whose place is empty, and the user.
    by: LegId,
    user: Arc<str>,
    /// How often it went back in vain.
    returns: u32,
}

impl Parked {
    /// Where it waits.
    pub(super) fn slot(&self) -> u32 {
        self.place.slot
    }
}

impl Call {
    /// The transfer that was asked for leads to a place where calls wait.
    pub(super) fn park(&mut self, now: Instant, place: Result<ParkingPlace, Cause>) {
        let is_wanted = self.transfer.as_ref().is_some_and(Transfer::is_routing);
        let place = match place {
            Ok(place) => place,
            Err(cause) if is_wanted => return self.transfer_failed(now, cause),
            Err(_) => return,
        };
        let transfer = self.transfer.as_ref().filter(|_| is_wanted && self.parked.is_none());
        let asker = transfer.and_then(|t| Some((t.by, t.remaining, t.user.clone()?)));
        let Some((by, remaining, user)) = asker else {
            self.outputs.push_back(Output::Unparked(place.key));
            return;
        };
        let ParkingPlace { slot, key, timeout } = place.clone();
        self.media(MediaRequest::Play { leg: remaining, playback: Playback::Music });
        self.hand_over(now, None, TransferProgress::Parked(slot));
        self.facts.parked.push(format!("{slot} by {user}"));
        self.facts.why.push_str(&format!("\n   {user} has the call wait at {slot}"));
        self.timers.set(Timer::Parked, now + timeout);
        self.parked = Some(Parked { place, by, user, returns: 0 });
        self.outputs.push_back(Output::Parked(key));
        self.outputs.push_back(Output::Changed);
    }

    /// The leg whose place is taken by who takes the waiting party up.
    #[must_use]
    pub fn parked_by(&self) -> Option<LegId> {
        self.parked.as_ref().map(|parked| parked.by)
    }

    /// Who waits, as those see it who watch the slot.
    #[must_use]
    pub fn waiting(&self) -> Option<Side> {
        let parked = self.parked.as_ref()?;
        let Stage::Active { a, .. } = self.stage else { return None };
        let leg = self.legs.get(&a)?;
        let called = || Identity { address: leg.place.clone(), ..Identity::default() };
        Some(Side {
            leg: a,
            user: parked.place.key.clone(),
            role: Role::Back,
            profile: leg.profile,
            peer: if leg.role == Role::Front { self.facts.from.clone() } else { called() },
            is_active: true,
            is_ringing: false,
            started: self.facts.started,
        })
    }

    pub(super) fn is_parked_by(&self, leg: LegId) -> bool {
        self.parked_by() == Some(leg)
    }

    /// Nobody waits any more, and why. The slot is free.
    pub(super) fn unpark(&mut self, outcome: &str) {
        let Some(parked) = self.parked.take() else { return };
        self.timers.cancel(&Timer::Parked);
        if let Some(said) = self.facts.parked.last_mut() {
            said.push_str(", ");
            said.push_str(outcome);
        }
        self.outputs.push_back(Output::Unparked(parked.place.key));
    }

    /// Who had the party wait is called, as if the party were transferred back. It can be taken up
    /// meanwhile.
    pub(super) fn waited_long(&mut self, now: Instant) {
        let (Some(parked), Stage::Active { a, .. }) = (&self.parked, &self.stage) else { return };
        if self.transfer.is_some() || self.takeover.is_some() {
            self.timers.set(Timer::Parked, now + AGAIN);
            return;
        }
        let (by, user, remaining) = (parked.by, parked.user.clone(), *a);
        let to = Private(user.to_string());
        let request = RouteRequest {
            user: Some(user.clone()),
            from: self.facts.from.address.clone(),
            to: to.clone(),
            scope: Scope::Everywhere,
            ..RouteRequest::default()
        };
        self.facts.why.push_str(&format!("\n   nobody took it up: goes back to {user}"));
        self.transfer = Some(Transfer {
            by,
            remaining,
            user: Some(user),
            to,
            joins: None,
            state: State::Routing,
        });
        self.outputs.push_back(Output::Route(request));
    }

    /// It could not go back: it waits on, though not for ever.
    pub(super) fn wait_on(&mut self, now: Instant) {
        let Some(parked) = &mut self.parked else { return };
        parked.returns += 1;
        if parked.returns < MAX_RETURNS {
            let at = now + parked.place.timeout;
            self.timers.set(Timer::Parked, at);
        } else {
            self.end_all(now, Party::Gateway, Cause::NoAnswer);
        }
    }

    /// Somebody takes the party up while it rings at who had it wait. False when that one has
    /// answered already.
    pub(super) fn stop_return(&mut self) -> bool {
        match self.transfer.take() {
            None => true,
            Some(Transfer { state: State::Dialing { legs, .. }, .. }) => {
                for leg in legs {
                    self.end_leg(leg, Cause::AnsweredElsewhere);
                }
                self.no_more_attempts();
                true
            }
            transfer => {
                self.transfer = transfer;
                false
            }
        }
    }
}

const AGAIN: Duration = Duration::from_secs(5);
/// Each after the time that the slot gives.
const MAX_RETURNS: u32 = 3;

//! Calls that go on to somebody else before they are answered: because the called device names
//! another place, or because its user wants calls elsewhere that are not taken.
//!
//! Each place is routed like a dialled one on behalf of who sends the call on, so that a stranger's
//! phone cannot send calls out at our cost. How many there may be is bounded here and by the
//! router, and none that a device names is tried twice.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crosspoint_base::{LegId, Private};

use super::{Call, Output, Stage};
use crate::router::{Decision, Onward, Origin, Outcome, RouteRequest};
use crate::{Cause, DiversionReason, Diverted, Role, Scope};

/// Where a call is sent on.
#[derive(Debug, Default)]
pub(super) struct Diversion {
    /// What devices have named and is not tried yet.
    waiting: VecDeque<RouteRequest>,
    /// The router is asked about a place.
    is_asking: bool,
    /// What devices have named in this call so far.
    seen: BTreeSet<String>,
    /// Where the user who rings now has calls go that fail, and where the call was before.
    pub(super) onward: Vec<Onward>,
    pub(super) way: Vec<Diverted>,
    pub(super) may_redirect: bool,
}

impl Diversion {
    pub(super) fn is_asking(&self) -> bool {
        self.is_asking
    }

    pub(super) fn stop(&mut self) {
        self.waiting.clear();
        self.onward.clear();
    }
}

impl Call {
    /// A device that rings names others to be called instead; its leg is about to end.
    pub(super) fn redirected(&mut self, leg: LegId, targets: Vec<Private<String>>) {
        let Some(state) = self.legs.get(&leg) else { return };
        let is_dialing = matches!(self.stage, Stage::Dialing { .. });
        let is_transfer = self.transfer.as_ref().is_some_and(|t| t.is_dialing(leg));
        let is_rung = state.role == Role::Back && (is_dialing || is_transfer);
        if !is_rung || !self.diversion.may_redirect || self.facts.is_emergency {
            return;
        }
        let (user, trunk, place) = (state.user.clone(), state.trunk.clone(), state.place.clone());
        let mut diverted = state.diverted.clone();
        let seen = &mut self.diversion.seen;
        seen.insert(self.facts.to.expose().clone());
        seen.insert(place.expose().clone());
        let reason = DiversionReason::Deflection;
        diverted.push(Diverted { by: place, user: user.clone(), reason, ..Diverted::default() });
        for to in targets {
            let is_new = self.diversion.seen.len() <= MAX_NAMED
                && self.diversion.seen.insert(to.expose().clone());
            if is_new {
                let request = RouteRequest {
                    user: user.clone(),
                    trunk: trunk.clone(),
                    diverted: diverted.clone(),
                    ..self.sent_on(to)
                };
                self.diversion.waiting.push_back(request);
            }
        }
        // Other devices ring on meanwhile; a transfer looks when all of its have failed.
        if is_dialing && !self.diversion.is_asking {
            self.ask_about_next(Cause::Unavailable);
        }
    }

    /// This call to another place; who pays for it is to be filled in.
    fn sent_on(&self, to: Private<String>) -> RouteRequest {
        RouteRequest {
            user: None,
            trunk: None,
            from: self.facts.from.address.clone(),
            to,
            scope: Scope::Everywhere,
            diverted: Vec::new(),
            is_transfer: false,
            origin: Some(Origin {
                user: self.facts.from.user.clone(),
                trunk: self.facts.trunk.clone(),
            }),
        }
    }

    /// Where the call goes on to when all that rang has failed, if somebody has said so.
    pub(super) fn next_onward(&mut self, cause: Cause) -> Option<RouteRequest> {
        if let Some(request) = self.diversion.waiting.pop_front() {
            return Some(request);
        }
        let at = self.diversion.onward.iter().position(|onward| onward.after.contains(cause))?;
        let Onward { by, to, .. } = self.diversion.onward.swap_remove(at);
        self.diversion.onward.clear();
        let mut diverted = self.diversion.way.clone();
        let user = by.user.clone();
        diverted.push(by);
        Some(RouteRequest { user, diverted, ..self.sent_on(to) })
    }

    /// Asks the router about a place to go on to; false when there is none.
    pub(super) fn ask_about_next(&mut self, cause: Cause) -> bool {
        let Some(request) = self.next_onward(cause) else { return false };
        self.note_way(&request);
        self.diversion.is_asking = true;
        self.outputs.push_back(Output::Route(request));
        true
    }

    /// For the call's record.
    pub(super) fn note_way(&mut self, request: &RouteRequest) {
        if let Some(last) = request.diverted.last() {
            let line = format!("\n   sent on by {last} to {}:\n", request.to.expose());
            self.facts.why.push_str(&line);
        }
    }

    pub(super) fn diversion_routed(
        &mut self,
        now: Instant,
        mut decision: Decision,
        legs: Vec<LegId>,
    ) {
        self.diversion.is_asking = false;
        self.facts.why.push_str(&decision.why());
        if !matches!(self.stage, Stage::Dialing { .. }) {
            self.unused.extend(legs);
            return;
        }
        let legs = self.keep_before_later(&mut decision, legs);
        let mut cause = self.attempt_failed_by.unwrap_or(Cause::Unavailable);
        match decision.outcome {
            Outcome::Refused(refused) => cause = self.note_failure(refused),
            Outcome::Builtin(playback) if !self.is_anybody_rung() => {
                self.no_more_attempts();
                return self.answer_ourselves(playback);
            }
            Outcome::Builtin(_) => {}
            Outcome::Fork(targets) => {
                self.facts.record |= decision.record;
                if decision.record {
                    self.anchor();
                }
                self.called_user = decision.called_user;
                self.try_targets(now, targets, &decision.terms, legs);
            }
        }
        if !self.is_anybody_rung() {
            self.attempt_failed(now, cause);
        }
    }
}

/// Names in one call, the first that was dialled among them.
const MAX_NAMED: usize = 6;

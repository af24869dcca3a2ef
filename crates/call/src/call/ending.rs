//! The end of legs and of the call: every leg ends once, the first reason stands.

use std::time::Instant;

use crosspoint_base::LegId;

use super::{Call, CallRecord, ENDING_GUARD, Output, Phase, Stage, Timer};
use crate::{Cause, Ended, LegCommand, MediaRequest, Party, ReofferFailure, Role};

impl Call {
    pub(super) fn leg_ended(&mut self, now: Instant, leg: LegId, cause: Cause) {
        let Some(state) = self.legs.get(&leg) else { return };
        let (by, was_live) = (party(state.role), state.is_live());
        self.close(leg);
        self.outputs.push_back(Output::Changed);
        if !was_live || self.takeover_leg_ended(leg) || self.transfer_leg_ended(now, leg, cause) {
            // It answers no offer any more; others may be owed one.
            self.reoffer_failed(leg, ReofferFailure::Refused);
            return;
        }
        match self.stage {
            Stage::Ending => {}
            Stage::Dialing { .. } if leg != self.front => self.branch_failed(now, leg, cause),
            Stage::Routing { .. } | Stage::Dialing { .. } => {
                self.end_all(now, by, cancelled_if_normal(cause));
            }
            Stage::Answering { .. } | Stage::Active { .. } => self.end_all(now, by, cause),
        }
    }

    /// A branch of the fork came to nothing. The call fails when it was the last.
    pub(super) fn branch_failed(&mut self, now: Instant, leg: LegId, cause: Cause) {
        if self.is_live(leg) {
            self.end_leg(leg, cause);
        }
        if self.transfer_leg_ended(now, leg, cause) {
            return;
        }
        let front = self.front;
        let others = self.legs.iter().any(|(id, l)| *id != front && l.is_live());
        let Stage::Dialing { early, .. } = &mut self.stage else { return };
        if *early == Some(leg) {
            *early = None;
        }
        let cause_of_attempt = self.note_failure(cause);
        // A person said no: the person's other devices stop ringing too (RFC 3261 §16.7, 6xx).
        if cause == Cause::Declined {
            self.end_devices_of_decliner(leg);
        }
        if !others || !self.is_anybody_rung() {
            self.attempt_failed(now, cause_of_attempt);
        }
    }

    /// Who declined does so on every device; other members of a group ring on.
    fn end_devices_of_decliner(&mut self, leg: LegId) {
        let decliner = self.legs.get(&leg).and_then(|l| l.user.clone());
        let is_theirs = |l: &super::Leg| decliner.is_none() || l.user == decliner;
        let theirs: Vec<LegId> = self
            .legs
            .iter()
            .filter(|(id, l)| **id != leg && l.is_rung() && is_theirs(l))
            .map(|(id, _)| *id)
            .collect();
        for leg in theirs {
            self.end_leg(leg, Cause::Declined);
        }
    }

    pub(super) fn is_anybody_rung(&self) -> bool {
        self.legs.values().any(super::Leg::is_rung)
    }

    pub(super) fn end_other_branches(&mut self, winner: LegId) {
        let losers: Vec<LegId> = self
            .legs
            .iter()
            .filter(|(id, l)| **id != winner && l.is_rung())
            .map(|(id, _)| *id)
            .collect();
        for leg in losers {
            self.end_leg(leg, Cause::AnsweredElsewhere);
        }
    }

    /// Ends every leg that lives. The first caller decides the call's cause.
    pub(super) fn end_all(&mut self, now: Instant, by: Party, cause: Cause) {
        self.facts.ended.get_or_insert(Ended { by, cause });
        self.stage = Stage::Ending;
        self.transfer = None;
        self.takeover = None;
        self.unpark("left");
        self.no_more_attempts();
        self.timers.cancel(&Timer::MediaSetup);
        self.timers.set(Timer::EndingGuard, now + ENDING_GUARD);
        let live: Vec<LegId> =
            self.legs.iter().filter(|(_, l)| l.is_live()).map(|(id, _)| *id).collect();
        for leg in live {
            self.end_leg(leg, cause);
        }
    }

    pub(super) fn end_leg(&mut self, leg: LegId, cause: Cause) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        match state.phase {
            // The connector never heard of it, so nobody will say `Ended`.
            Phase::Opening => self.close(leg),
            Phase::Open | Phase::Answered => {
                state.phase = Phase::Ending;
                self.command(leg, LegCommand::End(cause));
            }
            Phase::Ending | Phase::Ended => {}
        }
    }

    fn close(&mut self, leg: LegId) {
        self.dialing.remove(&leg);
        self.timers.cancel(&Timer::Grace(leg));
        if let Some(state) = self.legs.get_mut(&leg) {
            state.phase = Phase::Ended;
            state.steps.clear();
            self.media(MediaRequest::Close { leg });
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::MediaSetup if self.media_setup_failed() => {
                    self.end_all(now, Party::Gateway, Cause::MediaFailed);
                }
                Timer::MediaSetup => {}
                Timer::Grace(leg) if self.is_live(leg) => {
                    self.end_all(now, Party::Gateway, Cause::MediaLost);
                }
                Timer::Grace(_) => {}
                Timer::Patience => self.lose_patience(now),
                Timer::Parked => self.waited_long(now),
                Timer::EndingGuard => {
                    let stuck: Vec<LegId> = self
                        .legs
                        .iter()
                        .filter(|(_, l)| l.phase != Phase::Ended)
                        .map(|(id, _)| *id)
                        .collect();
                    for leg in stuck {
                        self.close(leg);
                    }
                }
            }
        }
    }

    pub(super) fn finish_if_over(&mut self, now: Instant) {
        if self.done || self.legs.values().any(|l| l.phase != Phase::Ended) {
            return;
        }
        self.done = true;
        self.timers = crosspoint_base::TimerTable::new();
        let ended =
            self.facts.ended.unwrap_or(Ended { by: Party::Gateway, cause: Cause::Internal });
        let front_profile =
            self.legs.get(&self.front).map_or(self.facts.front_profile, |l| l.profile);
        let record = CallRecord {
            call: self.id,
            gcid: self.gcid.clone(),
            from: self.facts.from.clone(),
            to: self.facts.to.clone(),
            trunk: self.facts.trunk.clone().or_else(|| self.called_trunk.clone()),
            scope: self.facts.scope.clone(),
            started: self.facts.started,
            ringing: self.facts.ringing,
            answered: self.facts.answered,
            ended_at: now,
            ended,
            front_profile,
            back_profile: self.facts.back_profile,
            builtin: self.facts.builtin,
            legs: self.legs_front_first(),
            why: std::mem::take(&mut self.facts.why),
            refusal: self.facts.refusal,
            attempts: self.facts.attempts,
            called_user: self.called_user.clone(),
            diverted: std::mem::take(&mut self.facts.diverted),
            parked: std::mem::take(&mut self.facts.parked),
        };
        self.outputs.push_back(Output::Done(Box::new(record)));
    }
}

impl Call {
    /// The front, and then what answered before what did not.
    fn legs_front_first(&self) -> Vec<LegId> {
        let mut legs: Vec<LegId> = self.legs.keys().copied().collect();
        legs.sort_by_key(|id| (*id != self.front, !self.legs.get(id).is_some_and(|l| l.accepted)));
        legs
    }
}

fn party(role: Role) -> Party {
    match role {
        Role::Front => Party::Front,
        Role::Back => Party::Back,
    }
}

/// A front that leaves before the answer gave up, whatever word its connector had for it.
fn cancelled_if_normal(cause: Cause) -> Cause {
    if cause == Cause::Normal { Cause::Cancelled } else { cause }
}

//! One place after another: trunks that fail over, groups that hunt, overflow.
//!
//! The router says what is tried first and what follows after which failures; here it is done.

use std::time::Instant;

use crosspoint_base::LegId;

use super::{Call, Stage, Timer};
use crate::router::{Attempt, Decision, Outcome, Target, Terms, Way};
use crate::{Cause, Party, Reach, Role};

impl Call {
    /// Keeps what a decision wants tried later, with its legs; gives those of what comes first.
    pub(super) fn keep_later(
        &mut self,
        decision: &mut Decision,
        mut legs: Vec<LegId>,
    ) -> Vec<LegId> {
        let first = match &decision.outcome {
            Outcome::Fork(targets) => targets.len(),
            Outcome::Builtin(_) | Outcome::Refused(_) => 0,
        };
        let mut rest = legs.split_off(first.min(legs.len())).into_iter();
        self.later = std::mem::take(&mut decision.later)
            .into_iter()
            .map(|attempt| {
                let legs = rest.by_ref().take(attempt.way.targets().len()).collect();
                (attempt, legs)
            })
            .collect();
        legs
    }

    /// The same for a place that a call is sent on to: what was to be tried next is so after it.
    pub(super) fn keep_before_later(
        &mut self,
        decision: &mut Decision,
        legs: Vec<LegId>,
    ) -> Vec<LegId> {
        let (after, go_on) = (std::mem::take(&mut self.later), self.go_on);
        let legs = self.keep_later(decision, legs);
        if !after.is_empty() {
            let last = self.later.back_mut().map(|(attempt, _)| &mut attempt.terms);
            let terms = last.unwrap_or(&mut decision.terms);
            terms.go_on = terms.go_on.or(go_on);
            self.later.extend(after);
        }
        legs
    }

    /// Rings the next targets of a call that is being set up.
    pub(super) fn try_targets(
        &mut self,
        now: Instant,
        targets: Vec<Target>,
        terms: &Terms,
        legs: Vec<LegId>,
    ) {
        self.called_trunk = targets.iter().find_map(|target| match &target.reach {
            Reach::Trunk { name, .. } => Some(name.clone()),
            Reach::Binding(_) | Reach::Registration { .. } => None,
        });
        // Whoever answers there may not do what the user might who was called first.
        if self.called_trunk.is_some() {
            self.called_user = None;
        }
        self.dial(now, targets, terms, legs, Some(self.front));
    }

    /// Everything that rang has failed, the attempt as a whole by `cause`.
    pub(super) fn attempt_failed(&mut self, now: Instant, cause: Cause) {
        let Stage::Dialing { best, .. } = self.stage else { return };
        // Somebody may be called instead, and answer yet.
        if self.diversion.is_asking() || self.ask_about_next(cause) {
            return;
        }
        let best = best.unwrap_or(cause);
        match self.next_attempt(cause) {
            None => self.end_all(now, Party::Back, best),
            Some((Attempt { way: Way::Play(playback), .. }, _)) => self.answer_ourselves(playback),
            Some((Attempt { way: Way::Ring(targets), terms, .. }, legs)) => {
                self.try_targets(now, targets, &terms, legs);
            }
        }
    }

    /// What follows after a failure, if anything does.
    pub(super) fn next_attempt(&mut self, cause: Cause) -> Option<(Attempt, Vec<LegId>)> {
        self.timers.cancel(&Timer::Patience);
        let next = self.later.pop_front_if(|_| self.go_on.contains(cause));
        if let Some((attempt, _)) = &next {
            self.facts.why.push_str(&format!("\n   {cause}: goes on, {}", attempt.what));
        }
        next
    }

    pub(super) fn no_more_attempts(&mut self) {
        self.timers.cancel(&Timer::Patience);
        self.diversion.stop();
        self.unused.extend(self.later.drain(..).flat_map(|(_, legs)| legs));
    }

    /// Something came from a leg that is being tried.
    pub(super) fn heard_of(&mut self, leg: LegId) {
        if self.legs.get(&leg).is_some_and(|l| l.role == Role::Back) {
            self.timers.cancel(&Timer::Patience);
        }
    }

    /// Nothing came for too long, and there is another place to try.
    pub(super) fn lose_patience(&mut self, now: Instant) {
        let silent: Vec<LegId> =
            self.legs.iter().filter(|(_, l)| l.is_rung()).map(|(id, _)| *id).collect();
        for leg in silent {
            self.end_leg(leg, Cause::NetworkFailure);
            if !self.transfer_leg_ended(now, leg, Cause::NetworkFailure) {
                self.note_failure(Cause::NetworkFailure);
            }
        }
        self.attempt_failed(now, Cause::NetworkFailure);
    }

    /// Remembers a failure for the attempt, and for the call if nothing better comes.
    pub(super) fn note_failure(&mut self, cause: Cause) -> Cause {
        if let Stage::Dialing { best, .. } = &mut self.stage {
            *best = Some(best.map_or(cause, |old| old.or_telling(cause)));
        }
        let of_attempt = self.attempt_failed_by.map_or(cause, |old| old.or_telling(cause));
        self.attempt_failed_by = Some(of_attempt);
        of_attempt
    }
}

//! Blind transfer, carried out by us: the remaining party is joined with a leg we open.

use std::time::Instant;

use crosspoint_base::{LegId, Private};

use super::{Call, Output, Phase, Stage};
use crate::router::{Decision, Outcome, RouteRequest};
use crate::{
    Cause, LegCommand, MediaPath, MediaRequest, Party, Scope, TransferProgress, TransferTarget,
};

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Who asked. Gone when it hung up meanwhile, as many phones do.
    by: LegId,
    remaining: LegId,
    to: Private<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    Routing,
    Dialing { legs: Vec<LegId>, best: Option<Cause>, rang: bool },
    Answered { leg: LegId },
}

impl Transfer {
    pub(super) fn is_routing(&self) -> bool {
        matches!(self.state, State::Routing)
    }

    pub(super) fn to(&self) -> &Private<String> {
        &self.to
    }

    pub(super) fn remaining(&self) -> LegId {
        self.remaining
    }

    pub(super) fn is_dialing(&self, leg: LegId) -> bool {
        matches!(&self.state, State::Dialing { legs, .. } if legs.contains(&leg))
    }

    pub(super) fn is_answered_by(&self, leg: LegId) -> bool {
        matches!(self.state, State::Answered { leg: answered } if answered == leg)
    }

    pub(super) fn answered_by(&mut self, leg: LegId) {
        self.state = State::Answered { leg };
    }
}

impl Call {
    pub(super) fn transfer_requested(&mut self, by: LegId, target: TransferTarget) {
        let TransferTarget::Blind(to) = target;
        let remaining = match self.stage {
            Stage::Active { .. } if self.transfer.is_none() => self.peer_of(by),
            _ => None,
        };
        // Who stays would have to make a new offer for the newcomer; with media through us we do.
        let remaining = remaining.filter(|_| self.facts.path == MediaPath::Anchored);
        let Some(remaining) = remaining else {
            self.progress(by, TransferProgress::Failed(Cause::Forbidden));
            return;
        };
        // The router decides on behalf of who asked: a trunk party may not dial out through us.
        let (user, trunk) = if by == self.front {
            (self.facts.from.user.clone(), self.facts.trunk.clone())
        } else {
            (self.called_user.clone(), self.called_trunk.clone())
        };
        self.progress(by, TransferProgress::Trying);
        self.outputs.push_back(Output::Route(RouteRequest {
            user,
            trunk,
            to: to.clone(),
            scope: Scope::Everywhere,
        }));
        self.transfer = Some(Transfer { by, remaining, to, state: State::Routing });
    }

    pub(super) fn transfer_routed(&mut self, now: Instant, decision: Decision, legs: Vec<LegId>) {
        let Some(transfer) = &mut self.transfer else { return };
        let remaining = transfer.remaining;
        match decision.outcome {
            Outcome::Refused(cause) => self.transfer_failed(now, cause),
            Outcome::Builtin(playback) => {
                self.media(MediaRequest::Play { leg: remaining, playback });
                self.hand_over(now, None);
            }
            Outcome::Fork(targets) => {
                let legs: Vec<LegId> = legs.into_iter().take(targets.len()).collect();
                transfer.state = State::Dialing { legs: legs.clone(), best: None, rang: false };
                let targets = (targets, decision.called_user);
                self.dial(decision.ring_timeout, targets, legs, Some(remaining));
            }
        }
    }

    pub(super) fn transfer_ringing(&mut self, leg: LegId) {
        let Some(transfer) = &mut self.transfer else { return };
        let by = transfer.by;
        if let State::Dialing { legs, rang: rang @ false, .. } = &mut transfer.state
            && legs.contains(&leg)
        {
            *rang = true;
            self.progress(by, TransferProgress::Ringing);
        }
    }

    /// The new party's media is agreed: join it with who remained and let the other go.
    pub(super) fn complete_transfer(&mut self, now: Instant, leg: LegId) {
        let Some(transfer) = &self.transfer else { return };
        self.media(MediaRequest::Bridge { a: transfer.remaining, b: leg });
        self.hand_over(now, Some(leg));
    }

    fn hand_over(&mut self, _now: Instant, new: Option<LegId>) {
        let Some(Transfer { by, remaining, .. }) = self.transfer.take() else { return };
        let was_held = self.legs.get(&by).is_some_and(|l| l.on_hold);
        self.reoffer = None;
        self.stage = Stage::Active { a: remaining, b: new };
        self.outputs.push_back(Output::Changed);
        self.progress(by, TransferProgress::Done);
        if self.is_live(by) {
            self.end_leg(by, Cause::Transferred);
        }
        // Who was put on hold before the transfer must be told to talk again.
        if was_held {
            self.describe_far_reoffer(remaining, None);
        }
    }

    fn transfer_failed(&mut self, now: Instant, cause: Cause) {
        let Some(Transfer { by, .. }) = self.transfer.take() else { return };
        if self.is_live(by) {
            self.progress(by, TransferProgress::Failed(cause));
        } else {
            self.end_all(now, Party::Back, cause);
        }
    }

    /// Says whether the end of `leg` was a matter of the transfer, and deals with it.
    pub(super) fn transfer_leg_ended(&mut self, now: Instant, leg: LegId, cause: Cause) -> bool {
        let Some(transfer) = &mut self.transfer else { return false };
        if leg == transfer.by {
            // The transferor may leave as soon as it has asked; the transfer goes on.
            return true;
        }
        let live: Vec<LegId> = self
            .legs
            .iter()
            .filter(|(_, l)| matches!(l.phase, Phase::Opening | Phase::Open))
            .map(|(id, _)| *id)
            .collect();
        match &mut transfer.state {
            State::Dialing { legs, best, .. } if legs.contains(&leg) => {
                best.get_or_insert(cause);
                let cause = best.unwrap_or(cause);
                if !legs.iter().any(|l| *l != leg && live.contains(l)) {
                    self.transfer_failed(now, cause);
                }
                true
            }
            State::Answered { leg: answered } if *answered == leg => {
                self.transfer_failed(now, cause);
                true
            }
            _ => false,
        }
    }

    fn progress(&mut self, leg: LegId, progress: TransferProgress) {
        if self.is_live(leg) {
            self.command(leg, LegCommand::TransferProgress(progress));
        }
    }
}

//! Transfer, carried out by us: the remaining party is joined with a leg we open (blind), or with
//! whoever the transferor talks to in another call (attended, `joining.rs`).

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{LegId, Private};

use super::joining::{Came, Handover};
use super::{Call, MEDIA_SETUP, Output, Phase, Stage, Timer};
use crate::router::{Attempt, Decision, Outcome, RouteRequest, Way};
use crate::{
    Cause, LegCommand, MediaPath, MediaRequest, Party, Scope, TransferProgress, TransferTarget,
};

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Who asked. Gone when it hung up meanwhile, as many phones do.
    pub(super) by: LegId,
    pub(super) remaining: LegId,
    /// The transferor, where it is one of our users, and whom it asked for.
    pub(super) user: Option<Arc<str>>,
    pub(super) to: Private<String>,
    /// The call elsewhere that the new one takes the place of.
    pub(super) joins: Option<Private<String>>,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Routing,
    /// The other call is asked for its party.
    Joining,
    Dialing {
        legs: Vec<LegId>,
        best: Option<Cause>,
        rang: bool,
    },
    Answered {
        leg: LegId,
    },
}

impl Transfer {
    pub(super) fn is_routing(&self) -> bool {
        matches!(self.state, State::Routing)
    }

    pub(super) fn to(&self) -> &Private<String> {
        &self.to
    }

    pub(super) fn joins(&self) -> Option<&Private<String>> {
        self.joins.as_ref()
    }

    pub(super) fn remaining(&self) -> LegId {
        self.remaining
    }

    pub(super) fn transferor(&self) -> Option<Private<String>> {
        self.user.as_ref().map(|user| Private(user.to_string()))
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
        let remaining = match self.stage {
            Stage::Active { .. } if self.transfer.is_none() && self.takeover.is_none() => {
                self.peer_of(by)
            }
            _ => None,
        };
        // Who stays would have to make a new offer for the newcomer; with media through us we do.
        if remaining.is_some() && self.may_anchor() {
            self.anchor();
        }
        let remaining = remaining.filter(|_| self.facts.path == MediaPath::Anchored);
        let Some(remaining) = remaining else {
            self.progress(by, TransferProgress::Failed(Cause::Forbidden));
            return;
        };
        // The router decides on behalf of who asked: a trunk party may not dial out through us.
        let asker = self.legs.get(&by);
        let (user, trunk) = asker.map(|l| (l.user.clone(), l.trunk.clone())).unwrap_or_default();
        let scope = match &target {
            TransferTarget::OwnPhone(_) => Scope::OwnPhone,
            _ => Scope::Everywhere,
        };
        let joins = match &target {
            TransferTarget::Elsewhere { call, .. } => Some(call.clone()),
            TransferTarget::Blind(_)
            | TransferTarget::Attended(_)
            | TransferTarget::OwnPhone(_) => None,
        };
        let (to, state) = match target {
            TransferTarget::Blind(to)
            | TransferTarget::Elsewhere { to, .. }
            | TransferTarget::OwnPhone(to) => {
                self.progress(by, TransferProgress::Trying);
                let (user, to) = (user.clone(), to.clone());
                let from = self.facts.from.address.clone();
                let request = RouteRequest {
                    user,
                    trunk,
                    from,
                    to,
                    scope,
                    is_transfer: true,
                    ..RouteRequest::default()
                };
                self.outputs.push_back(Output::Route(request.clone()));
                (request.to, State::Routing)
            }
            // It is carried out at once, or rings: there is nothing to tell before.
            TransferTarget::Attended(other) => {
                self.outputs.push_back(Output::Join(other));
                (Private(String::new()), State::Joining)
            }
        };
        self.transfer = Some(Transfer { by, remaining, user, to, joins, state });
    }

    /// The other call's party is ours now, or is not to be had.
    pub(super) fn joined(&mut self, now: Instant, handover: Result<Box<Handover>, Cause>) {
        let is_joining = |t: &Transfer| matches!(t.state, State::Joining);
        let is_wanted = self.transfer.as_ref().is_some_and(is_joining);
        let handover = match handover {
            Ok(handover) => *handover,
            Err(cause) if is_wanted => return self.transfer_failed(now, cause),
            Err(_) => return,
        };
        let (was_held, to) = (handover.was_held, handover.to.clone());
        let came = self.take_in(handover);
        let (true, Some(transfer)) = (is_wanted, &mut self.transfer) else {
            came.legs().for_each(|leg| self.end_leg(leg, Cause::Transferred));
            return;
        };
        transfer.to = to;
        let (by, remaining) = (transfer.by, transfer.remaining);
        match came {
            Came::Playing(playback) => {
                self.media(MediaRequest::Play { leg: remaining, playback });
                self.hand_over(now, None, TransferProgress::Done);
            }
            Came::Answered(leg) => {
                transfer.state = State::Answered { leg };
                self.timers.set(Timer::MediaSetup, now + MEDIA_SETUP);
                self.complete_transfer(now, leg);
                if was_held {
                    self.owe_offer(leg);
                }
            }
            Came::Ringing(legs) => {
                transfer.state = State::Dialing { legs, best: None, rang: true };
                self.progress(by, TransferProgress::Ringing);
            }
        }
    }

    pub(super) fn transfer_routed(
        &mut self,
        now: Instant,
        mut decision: Decision,
        legs: Vec<LegId>,
    ) {
        let legs = self.keep_before_later(&mut decision, legs);
        let Some(transfer) = &mut self.transfer else { return };
        let remaining = transfer.remaining;
        // The rule that counts is that of the new party as well.
        self.facts.record |= decision.record;
        match decision.outcome {
            Outcome::Refused(cause) => self.transfer_attempt_failed(now, cause),
            Outcome::Builtin(playback) => {
                self.media(MediaRequest::Play { leg: remaining, playback });
                self.hand_over(now, None, TransferProgress::Done);
            }
            Outcome::Fork(targets) => {
                transfer.state = State::Dialing { legs: legs.clone(), best: None, rang: false };
                self.dial(now, targets, &decision.terms, legs, Some(remaining));
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
        self.hand_over(now, Some(leg), TransferProgress::Done);
    }

    pub(super) fn hand_over(&mut self, _now: Instant, new: Option<LegId>, done: TransferProgress) {
        let Some(Transfer { by, remaining, .. }) = self.transfer.take() else { return };
        let was_held = self.legs.get(&by).is_some_and(|l| l.on_hold);
        let is_fax = |leg: LegId| self.legs.get(&leg).is_some_and(|l| l.only_fax);
        let fits = new.is_none_or(|new| is_fax(new) == is_fax(remaining));
        let in_fax = [Some(remaining), new].into_iter().flatten().find(|leg| is_fax(*leg));
        // Who stays answers yet what it was offered.
        self.reoffer = self.reoffer.filter(|r| r.far != by);
        self.stage = Stage::Active { a: remaining, b: new };
        self.unpark("back");
        self.outputs.push_back(Output::Changed);
        self.progress(by, done);
        if self.is_live(by) {
            self.end_leg(by, Cause::Transferred);
        }
        // Who was put on hold before the transfer must be told to talk again.
        if was_held {
            self.owe_offer(remaining);
        }
        // One that sends fax is called back to sound.
        if let Some(leg) = in_fax.filter(|_| !fits) {
            self.owe_offer(leg);
        }
        self.pay_owed();
    }

    pub(super) fn transfer_failed(&mut self, now: Instant, cause: Cause) {
        let Some(Transfer { by, .. }) = self.transfer.take() else { return };
        if self.parked.is_some() {
            self.wait_on(now);
        } else if self.is_live(by) {
            self.progress(by, TransferProgress::Failed(cause));
        } else {
            self.end_all(now, Party::Back, cause);
        }
    }

    /// Nobody took it there: the next place is tried, if there is one.
    fn transfer_attempt_failed(&mut self, now: Instant, cause: Cause) {
        let onward = self.next_onward(cause);
        let next = if onward.is_none() { self.next_attempt(cause) } else { None };
        let Some(transfer) = &mut self.transfer else { return };
        let remaining = transfer.remaining;
        if let Some(request) = onward {
            transfer.state = State::Routing;
            self.note_way(&request);
            self.outputs.push_back(Output::Route(request));
            return;
        }
        match next {
            None => self.transfer_failed(now, cause),
            Some((Attempt { way: Way::Play(playback), .. }, _)) => {
                self.media(MediaRequest::Play { leg: remaining, playback });
                self.hand_over(now, None, TransferProgress::Done);
            }
            Some((Attempt { way: Way::Ring(targets), terms, .. }, legs)) => {
                transfer.state = State::Dialing { legs: legs.clone(), best: None, rang: false };
                self.dial(now, targets, &terms, legs, Some(remaining));
            }
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
                    self.transfer_attempt_failed(now, cause);
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

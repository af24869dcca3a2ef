//! From the first offer to the answer: routing, forking, early media, the first answer wins.

use std::time::Instant;

use crosspoint_base::{LegId, Private};
use crosspoint_sdp::Session;

use super::{Call, Dial, Leg, MEDIA_SETUP, News, Phase, Stage, Step, Timer};
use crate::call::Output;
use crate::router::{Decision, Outcome, RouteRequest, Target, Terms};
use crate::{
    Cause, IncomingOffer, LegCommand, MediaPath, MediaRefusal, MediaRequest, OutgoingOffer, Party,
    Playback, Profile, Reach, ReofferFailure, Role, SdpKind,
};

impl Call {
    pub(super) fn begin(&mut self, offer: IncomingOffer) {
        let front = self.front;
        self.open(front, offer.profile, offer.video);
        match offer.description {
            Some(description) => {
                let request =
                    MediaRequest::Accept { leg: front, kind: SdpKind::Offer, description };
                self.ask(front, Step::AcceptFrontOffer, request);
            }
            None => self.stage = Stage::Routing { decision: None, media_ready: true },
        }
        self.outputs.push_back(Output::Route(RouteRequest {
            user: offer.from.user,
            trunk: offer.trunk,
            from: offer.from.address,
            to: offer.to,
            scope: offer.scope,
            diverted: offer.diverted,
            is_transfer: false,
            origin: None,
        }));
    }

    pub(super) fn handle_routed(&mut self, now: Instant, decision: Decision, legs: Vec<LegId>) {
        if self.transfer.as_ref().is_some_and(super::Transfer::is_routing) {
            self.transfer_routed(now, decision, legs);
            return;
        }
        if self.diversion.is_asking() {
            self.diversion_routed(now, decision, legs);
            return;
        }
        let Stage::Routing { decision: slot, media_ready } = &mut self.stage else { return };
        self.facts.why = decision.why();
        self.facts.refusal = decision.refusal;
        self.facts.record = decision.record;
        self.facts.is_emergency = decision.is_emergency;
        if let Some(check) = self.facts.from.check.as_ref().filter(|check| check.is_refused) {
            self.facts.why = format!("caller: refused ({check}); {}", self.facts.why);
            self.end_all(now, Party::Gateway, Cause::CallerUnproved);
            return;
        }
        *slot = Some(Box::new((decision, legs)));
        if *media_ready {
            self.start(now);
        }
    }

    /// Both the router and media control have spoken: carry the decision out.
    fn start(&mut self, now: Instant) {
        let Stage::Routing { decision: Some(decided), media_ready: true } =
            std::mem::replace(&mut self.stage, Stage::Ending)
        else {
            return;
        };
        if self.facts.path == MediaPath::Bypass && !self.may_stay_past(&decided.0) {
            self.stage = Stage::Routing { decision: Some(decided), media_ready: false };
            return self.anchor();
        }
        let (mut decision, legs) = *decided;
        let legs = self.keep_later(&mut decision, legs);
        match decision.outcome {
            Outcome::Refused(cause) => self.end_all(now, Party::Gateway, cause),
            Outcome::Builtin(playback) => self.answer_ourselves(playback),
            Outcome::Fork(targets) => {
                self.called_user = decision.called_user;
                self.stage = Stage::Dialing { best: None, early: None };
                self.try_targets(now, targets, &decision.terms, legs);
            }
        }
    }

    pub(super) fn answer_ourselves(&mut self, playback: Playback) {
        self.anchor();
        let front = self.front;
        self.facts.builtin = Some(playback);
        self.stage = Stage::Answering { back: None };
        self.media(MediaRequest::Play { leg: front, playback });
        self.describe_front(false, None);
    }

    /// Opens a back leg for each target. `peer` is the leg they will be joined with.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        targets: Vec<Target>,
        terms: &Terms,
        legs: Vec<LegId>,
        peer: Option<LegId>,
    ) {
        if !targets.iter().all(|target| self.may_go_past_to(target)) {
            self.anchor();
        }
        self.facts.attempts += 1;
        self.go_on = terms.go_on;
        self.diversion.onward.clone_from(&terms.onward);
        self.diversion.way.clone_from(&terms.diverted);
        self.diversion.may_redirect = terms.may_redirect;
        self.facts.diverted.clone_from(&terms.diverted);
        self.attempt_failed_by = None;
        match terms.patience {
            Some(patience) => self.timers.set(Timer::Patience, now + patience),
            None => {
                self.timers.cancel(&Timer::Patience);
            }
        }
        for (target, id) in targets.into_iter().zip(legs) {
            let Target { reach, profile, video, user, caller, .. } = target;
            self.facts.back_profile = Some(profile);
            let mut leg = Leg::new(Role::Back, profile, Phase::Opening);
            leg.place = match (&user, &reach) {
                (Some(user), _) => Private(user.to_string()),
                (None, Reach::Trunk { number, .. } | Reach::Registration { number, .. }) => {
                    number.clone()
                }
                (None, Reach::Binding(_)) => self.facts.to.clone(),
            };
            leg.user = user;
            leg.diverted.clone_from(&terms.diverted);
            if let Reach::Trunk { name, .. } = &reach {
                leg.trunk = Some(name.clone());
            }
            self.legs.insert(id, leg);
            self.dialing.insert(id, Dial { reach, ring: terms.ring, caller });
            self.open(id, profile, video);
            let request = MediaRequest::Describe { leg: id, kind: SdpKind::Offer, peer };
            self.ask(id, Step::DescribeBackOffer, request);
        }
    }

    pub(super) fn described(&mut self, now: Instant, leg: LegId, step: Step, description: Session) {
        match step {
            Step::DescribeBackOffer => self.offer_back(leg, description),
            Step::DescribeFront { early: true } => {
                if matches!(self.stage, Stage::Dialing { .. }) {
                    self.command(leg, LegCommand::EarlyMedia(description));
                }
            }
            Step::DescribeFront { early: false } => self.answer_front(now, description),
            Step::DescribeFarReoffer { .. } => self.send_reoffer(leg, description),
            Step::DescribeReanswer => {
                self.command(leg, LegCommand::Reanswer(description));
                self.pay_owed();
            }
            Step::DescribeTakeover => self.takeover_described(leg, description),
            // These wait for `Accepted`; media control never describes for them.
            Step::Again
            | Step::AcceptFrontOffer
            | Step::AcceptTakeover
            | Step::AcceptBackAnswer { .. }
            | Step::AcceptLateAnswer
            | Step::AcceptReoffer
            | Step::AcceptFarReanswer { .. } => {}
        }
    }

    fn offer_back(&mut self, leg: LegId, description: Session) {
        let Some(Dial { reach, ring, caller }) = self.dialing.remove(&leg) else { return };
        let mut diverted = Vec::new();
        if let Some(state) = self.legs.get_mut(&leg) {
            state.phase = Phase::Open;
            diverted.clone_from(&state.diverted);
        }
        let is_diverted = !diverted.is_empty();
        let to = self.transfer.as_ref().map_or_else(|| self.facts.to.clone(), |t| t.to().clone());
        let mut from = self.caller_seen_by_new_leg();
        if let Some(caller) = caller {
            from.address = caller;
        }
        let offer = OutgoingOffer {
            is_emergency: self.facts.is_emergency && self.transfer.is_none(),
            reach,
            from,
            to,
            description,
            gcid: self.gcid.clone(),
            ring_timeout: ring,
            referred_by: self.transfer.as_ref().and_then(|t| t.transferor()),
            joins: self.transfer.as_ref().and_then(|t| t.joins().cloned()),
            diverted,
            // Who is called by a transfer or in another's place was not asked to by the caller.
            auto_answer: self.facts.auto_answer && self.transfer.is_none() && !is_diverted,
            location: self.facts.location.clone(),
        };
        self.command(leg, LegCommand::Offer(Box::new(offer)));
        self.outputs.push_back(Output::Changed);
    }

    pub(super) fn accepted(&mut self, now: Instant, leg: LegId, step: Step, news: News) {
        match step {
            Step::AcceptFrontOffer => {
                if let Stage::Routing { decision, media_ready } = &mut self.stage {
                    *media_ready = true;
                    if decision.is_some() {
                        self.start(now);
                    }
                }
            }
            Step::AcceptBackAnswer { early } => self.back_answer_accepted(now, leg, early),
            Step::AcceptLateAnswer => {
                if news.media {
                    self.tell_far_side(leg);
                }
            }
            Step::AcceptReoffer => self.reoffer_accepted(leg, news),
            Step::AcceptFarReanswer { origin } => self.far_reanswer_accepted(origin),
            Step::AcceptTakeover => self.takeover_accepted(now, leg),
            // These wait for `Described`; media control never accepts for them.
            Step::Again
            | Step::DescribeBackOffer
            | Step::DescribeTakeover
            | Step::DescribeFront { .. }
            | Step::DescribeFarReoffer { .. }
            | Step::DescribeReanswer => {}
        }
    }

    pub(super) fn refused(&mut self, now: Instant, leg: LegId, step: Step, why: MediaRefusal) {
        let cause = match why {
            MediaRefusal::NoCommonCodec => Cause::NoCommonCodec,
            MediaRefusal::BadDescription(_) => Cause::BadDescription,
            MediaRefusal::Exhausted => Cause::Overload,
            MediaRefusal::WrongState => Cause::Internal,
        };
        match step {
            Step::AcceptFrontOffer
            | Step::AcceptLateAnswer
            | Step::DescribeFront { .. }
            | Step::Again => {
                self.end_all(now, Party::Gateway, cause);
            }
            Step::DescribeBackOffer => self.branch_failed(now, leg, cause),
            Step::AcceptBackAnswer { .. } => {
                if matches!(self.stage, Stage::Answering { back: Some(back) } if back == leg) {
                    self.end_all(now, Party::Gateway, cause);
                } else {
                    self.end_leg(leg, cause);
                    self.branch_failed(now, leg, cause);
                }
            }
            Step::AcceptReoffer => self.command(leg, LegCommand::RejectReoffer(cause)),
            Step::DescribeReanswer => {
                self.roll_back(leg);
                self.command(leg, LegCommand::RejectReoffer(cause));
                self.pay_owed();
            }
            Step::DescribeFarReoffer { .. } => self.reoffer_failed(leg, ReofferFailure::Refused),
            Step::AcceptFarReanswer { origin } => {
                self.reoffer_failed(leg, ReofferFailure::Refused);
                // It believes that its answer counts: it is offered once what there was before.
                if origin.is_some() {
                    self.owed.insert(leg);
                }
            }
            Step::AcceptTakeover | Step::DescribeTakeover => self.takeover_failed(leg, cause),
        }
    }

    pub(super) fn back_ringing(&mut self, now: Instant, leg: LegId) {
        self.heard_of(leg);
        if self.transfer.is_some() {
            self.transfer_ringing(leg);
        } else if matches!(self.stage, Stage::Dialing { .. }) && self.facts.ringing.is_none() {
            self.facts.ringing = Some(now);
            self.command(self.front, LegCommand::Ringing);
        }
    }

    pub(super) fn back_early_media(&mut self, leg: LegId, description: Session) {
        self.heard_of(leg);
        // The front of a late offer has not said what it can hear; it gets ringing instead.
        let Stage::Dialing { early: None, .. } = self.stage else { return };
        if self.facts.late_offer || leg == self.front {
            return;
        }
        self.check_reach(&description);
        let request = MediaRequest::Accept { leg, kind: SdpKind::Answer, description };
        self.ask(leg, Step::AcceptBackAnswer { early: true }, request);
    }

    pub(super) fn back_answered(&mut self, now: Instant, leg: LegId, description: Option<Session>) {
        if self.legs.get(&leg).is_none_or(|l| l.role != Role::Back || l.phase != Phase::Open) {
            return;
        }
        let dialing = matches!(self.stage, Stage::Dialing { .. });
        let transferring = self.transfer.as_ref().is_some_and(|t| t.is_dialing(leg));
        if !dialing && !transferring {
            self.end_leg(leg, Cause::AnsweredElsewhere);
            return;
        }
        if let Some(state) = self.legs.get_mut(&leg) {
            state.phase = Phase::Answered;
            self.facts.back_profile = Some(state.profile);
            self.facts.diverted.clone_from(&state.diverted);
        }
        self.no_more_attempts();
        self.end_other_branches(leg);
        if dialing {
            // Of a group the one who answered is who was called.
            if let Some(user) = self.legs.get(&leg).and_then(|l| l.user.clone()) {
                self.called_user = Some(user);
            }
            self.stage = Stage::Answering { back: Some(leg) };
        } else if let Some(transfer) = &mut self.transfer {
            transfer.answered_by(leg);
        }
        match description {
            Some(description) => {
                self.check_reach(&description);
                let request = MediaRequest::Accept { leg, kind: SdpKind::Answer, description };
                self.ask(leg, Step::AcceptBackAnswer { early: false }, request);
            }
            None if self.media_is_coming(leg) => self.join_when_accepted(now, leg),
            None => self.end_all(now, Party::Gateway, Cause::BadDescription),
        }
    }

    fn media_is_coming(&self, leg: LegId) -> bool {
        self.legs.get(&leg).is_some_and(|l| l.accepted || !l.steps.is_empty())
    }

    /// The answer carried no description because early media brought it.
    pub(super) fn join_when_accepted(&mut self, now: Instant, leg: LegId) {
        if self.legs.get(&leg).is_some_and(|l| l.accepted && l.steps.is_empty()) {
            self.back_answer_accepted(now, leg, false);
        } else if let Some(state) = self.legs.get_mut(&leg) {
            // The early description is still being taken: its acceptance now means the answer.
            for step in &mut state.steps {
                if *step == (Step::AcceptBackAnswer { early: true }) {
                    *step = Step::AcceptBackAnswer { early: false };
                }
            }
        }
    }

    fn back_answer_accepted(&mut self, now: Instant, leg: LegId, early: bool) {
        if self.transfer.as_ref().is_some_and(|t| t.is_answered_by(leg)) {
            self.complete_transfer(now, leg);
            return;
        }
        match &mut self.stage {
            Stage::Dialing { early: slot @ None, .. } if early => *slot = Some(leg),
            Stage::Answering { back: Some(back) } if *back == leg && !early => {}
            // Another branch gave early media first, or somebody answered meanwhile.
            _ => return,
        }
        self.media(MediaRequest::Bridge { a: self.front, b: leg });
        self.describe_front(early, Some(leg));
    }

    fn describe_front(&mut self, early: bool, peer: Option<LegId>) {
        let kind = if self.facts.late_offer { SdpKind::Offer } else { SdpKind::Answer };
        let request = MediaRequest::Describe { leg: self.front, kind, peer };
        self.ask(self.front, Step::DescribeFront { early }, request);
    }

    fn answer_front(&mut self, now: Instant, description: Session) {
        let Stage::Answering { back } = self.stage else { return };
        self.stage = Stage::Active { a: self.front, b: back };
        if let Some(front) = self.legs.get_mut(&self.front) {
            front.phase = Phase::Answered;
        }
        self.facts.answered = Some(now);
        self.timers.set(Timer::MediaSetup, now + MEDIA_SETUP);
        self.outputs.push_back(Output::Answered);
        self.outputs.push_back(Output::Changed);
        self.command(self.front, LegCommand::Answer(description));
    }

    pub(super) fn confirmed(&mut self, leg: LegId, description: Option<Session>) {
        if let Some(description) = description {
            let request = MediaRequest::Accept { leg, kind: SdpKind::Answer, description };
            self.ask(leg, Step::AcceptLateAnswer, request);
        }
    }

    pub(super) fn media_connected(&mut self, leg: LegId) {
        if let Some(state) = self.legs.get_mut(&leg) {
            state.connected = true;
        }
        self.timers.cancel(&Timer::Grace(leg));
        if self.legs.values().all(|l| !waits_for_media(l)) {
            self.timers.cancel(&Timer::MediaSetup);
        }
    }

    /// True when a leg that must set up a secure channel has not done so in time.
    pub(super) fn media_setup_failed(&self) -> bool {
        self.legs.values().any(waits_for_media)
    }

    /// Who a new leg sees as its caller: the other party of a transfer, else the front.
    fn caller_seen_by_new_leg(&self) -> crate::Identity {
        match &self.transfer {
            Some(transfer) if transfer.remaining() != self.front => crate::Identity {
                address: Private(self.facts.to.expose().clone()),
                ..crate::Identity::default()
            },
            _ => self.facts.from.clone(),
        }
    }
}

fn waits_for_media(leg: &Leg) -> bool {
    leg.phase == Phase::Answered && leg.profile == Profile::WebRtc && !leg.connected
}

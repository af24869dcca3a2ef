//! A call that is up: changes of media, digits, lost media.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_sdp::Session;

use super::{Call, Leg, News, Output, PendingReoffer, Step, Timer};
use crate::{
    About, Button, Cause, Digit, Grade, GradeChange, LegCommand, MediaRequest, Party, Profile,
    ReofferFailure, SdpKind,
};

impl Call {
    pub(super) fn reoffered(&mut self, leg: LegId, description: Option<Session>) {
        let is_up = matches!(self.stage, super::Stage::Active { .. });
        let has_video = description.as_ref().is_some_and(Session::has_video);
        let may_see = || self.legs.values().all(|leg| leg.video);
        // Who is not answered yet, and who wants what it may not have, is answered by us.
        if (!is_up || has_video && !may_see()) && self.may_anchor() {
            self.anchor();
        }
        match description {
            Some(description) => {
                let request = MediaRequest::Accept { leg, kind: SdpKind::Offer, description };
                self.ask(leg, Step::AcceptReoffer, request);
            }
            // The peer wants an offer from us; its answer comes with `Confirm`.
            None => self.describe_reanswer(leg, SdpKind::Offer),
        }
    }

    pub(super) fn reoffer_accepted(&mut self, leg: LegId, news: News) {
        let far = self.peer_of(leg);
        // Browsers have neither fax nor text.
        let is_phone = |far| self.legs.get(&far).is_some_and(|l| l.profile != Profile::WebRtc);
        let passes = news.passed && far.is_some_and(is_phone);
        match far {
            // Only the direction or the codec concerns the far side; a new address or an ICE
            // restart ends at our media. One change at a time: a second is answered by us.
            Some(far) if (news.media || passes) && self.may_reoffer(far) => {
                self.describe_far_reoffer(far, Some(leg));
                if let Some(pending) = &mut self.reoffer {
                    pending.is_of_passed = passes;
                }
            }
            // We cannot answer for the far side whether it takes up fax.
            Some(_) if passes && self.reoffer.is_some() => self.postpone(leg),
            far => {
                // What is under way does not know of it: the far side hears once more then.
                self.owed.extend(far.filter(|_| news.media && self.reoffer.is_some()));
                self.describe_reanswer(leg, SdpKind::Answer);
            }
        }
    }

    fn postpone(&mut self, leg: LegId) {
        self.roll_back(leg);
        self.command(leg, LegCommand::PostponeReoffer);
    }

    /// What its party offered last does not count.
    pub(super) fn roll_back(&mut self, leg: LegId) {
        self.note_outcome(leg, false);
        self.media(MediaRequest::Rollback { leg });
    }

    /// A late answer or a transfer changed what the far side should send: re-offer it ourselves.
    pub(super) fn tell_far_side(&mut self, leg: LegId) {
        if let Some(far) = self.peer_of(leg) {
            self.owe_offer(far);
        }
    }

    pub(super) fn may_reoffer(&self, far: LegId) -> bool {
        self.reoffer.is_none()
            && self.legs.get(&far).is_some_and(|l| l.phase == super::Phase::Answered)
    }

    pub(super) fn describe_far_reoffer(&mut self, far: LegId, origin: Option<LegId>) {
        self.reoffer = Some(PendingReoffer { origin, far, is_of_passed: false });
        let peer = self.peer_of(far);
        let request = MediaRequest::Describe { leg: far, kind: SdpKind::Offer, peer };
        self.ask(far, Step::DescribeFarReoffer { origin }, request);
    }

    /// A browser offers again by itself when its address changes; who does not gets our offer.
    pub(super) fn moved(&mut self, leg: LegId) {
        if self.may_reoffer(leg) && self.peer_of(leg).is_some() {
            self.media(MediaRequest::RestartIce { leg });
            self.describe_far_reoffer(leg, None);
        }
    }

    pub(super) fn send_reoffer(&mut self, far: LegId, description: Session) {
        if self.reoffer.is_some_and(|r| r.far == far) {
            self.command(far, LegCommand::Reoffer(description));
        }
    }

    pub(super) fn reanswered(&mut self, leg: LegId, description: Session) {
        let Some(pending) = self.reoffer.filter(|r| r.far == leg) else { return };
        let request = MediaRequest::Accept { leg, kind: SdpKind::Answer, description };
        self.ask(leg, Step::AcceptFarReanswer { origin: pending.origin }, request);
    }

    /// Has the leg hear an offer of ours that fits who it is joined with: now, or once the
    /// exchange under way is over.
    pub(super) fn owe_offer(&mut self, leg: LegId) {
        self.owed.insert(leg);
        self.pay_owed();
    }

    pub(super) fn pay_owed(&mut self) {
        while self.reoffer.is_none()
            && let Some(leg) = self.owed.pop_first()
        {
            if self.may_reoffer(leg) {
                self.describe_far_reoffer(leg, None);
            }
        }
    }

    pub(super) fn far_reanswer_accepted(&mut self, origin: Option<LegId>) {
        self.reoffer = None;
        if let Some(origin) = origin {
            self.describe_reanswer(origin, SdpKind::Answer);
        }
        self.pay_owed();
    }

    /// The far side refused: its media stays as it was, and the origin is answered by us alone.
    pub(super) fn reoffer_failed(&mut self, leg: LegId, why: ReofferFailure) {
        let Some(pending) = self.reoffer.take_if(|r| r.far == leg) else { return };
        self.media(MediaRequest::Rollback { leg });
        match pending.origin {
            Some(origin) if pending.is_of_passed && why == ReofferFailure::Glare => {
                self.postpone(origin);
            }
            Some(origin) => self.describe_reanswer(origin, SdpKind::Answer),
            None => {}
        }
        self.pay_owed();
    }

    fn describe_reanswer(&mut self, leg: LegId, kind: SdpKind) {
        if self.is_newcomer(leg) {
            return self.describe_newcomer(leg, self.peer_of(leg));
        }
        let request = MediaRequest::Describe { leg, kind, peer: self.peer_of(leg) };
        self.ask(leg, Step::DescribeReanswer, request);
    }

    /// A digit came by signalling: the far leg hears it in its media, or by signalling too.
    pub(super) fn digit_signaled(&mut self, leg: LegId, digit: Digit, duration: Duration) {
        let Some(far) = self.peer_of(leg) else { return };
        if self.legs.get(&far).is_some_and(|l| l.telephone_event) {
            self.media(MediaRequest::SendDtmf { leg: far, digit, duration });
            self.command(far, LegCommand::DtmfShown(digit, duration));
        } else {
            self.command(far, LegCommand::Dtmf(digit, duration));
        }
    }

    /// A digit was heard in media: where the far leg's media cannot carry it, it is signalled.
    pub(super) fn digit_heard(
        &mut self,
        leg: LegId,
        digit: Digit,
        duration: Duration,
        relayed: bool,
    ) {
        let Some(far) = self.peer_of(leg).filter(|far| self.is_live(*far)) else { return };
        self.command(
            far,
            match relayed {
                true => LegCommand::DtmfShown(digit, duration),
                false => LegCommand::Dtmf(digit, duration),
            },
        );
    }

    /// A caller who may presses a button of the called devices: of the one that answered, or of all
    /// that ring. Nobody else does, for it opens somebody's microphone.
    pub(super) fn pressed(&mut self, leg: LegId, button: Button) {
        if leg != self.front || !self.facts.may_press {
            return;
        }
        let ringing = self.legs.iter().filter(|(id, l)| **id != leg && l.is_rung());
        let far: Vec<LegId> = match self.peer_of(leg) {
            Some(far) => vec![far],
            None => ringing.map(|(id, _)| *id).collect(),
        };
        for far in far {
            self.command(far, LegCommand::Press(button));
        }
    }

    /// Tells both sides of an answered leg when it does better or worse.
    pub(super) fn tell_grade(&mut self, leg: LegId) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        if state.phase != super::Phase::Answered {
            return;
        }
        let quality = state.quality;
        let grade = match quality {
            _ if state.is_silent => Grade::Silent,
            Some(quality) => quality.grade(),
            None => Grade::Good,
        };
        if std::mem::replace(&mut state.grade, grade) == grade {
            return;
        }
        let change = |about| LegCommand::Grade(GradeChange { about, grade, quality });
        self.command(leg, change(About::Near));
        if let Some(far) = self.peer_of(leg).filter(|far| self.is_live(*far)) {
            self.command(far, change(About::Far));
        }
        self.outputs.push_back(Output::Graded);
    }

    /// The leg's party may come back: lost media is not the end at once.
    pub(super) fn grant_grace(&mut self, leg: LegId, grace: Duration) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.grace = Some(grace);
        }
    }

    pub(super) fn media_lost(&mut self, now: Instant, leg: LegId, by_peer: bool) {
        if !self.is_live(leg) {
            return;
        }
        // A wrong certificate, say: it was never there to be lost.
        let is_new = |l: &Leg| l.profile == Profile::WebRtc && !l.connected;
        let failed = self.legs.get(&leg).is_some_and(is_new);
        // Its signalling comes another way, later perhaps, and knows better why.
        let hang_up = by_peer.then_some(HANG_UP);
        let grace = self.legs.get(&leg).and_then(|l| l.grace).or(hang_up).filter(|_| !failed);
        match grace {
            Some(grace) => self.timers.set(Timer::Grace(leg), now + grace),
            None => {
                let cause = if failed { Cause::MediaFailed } else { Cause::MediaLost };
                self.end_all(now, Party::Gateway, cause);
            }
        }
    }
}

/// For signalling to follow media that the peer has closed.
const HANG_UP: Duration = Duration::from_secs(3);

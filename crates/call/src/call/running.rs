//! A call that is up: changes of media, digits, lost media.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_sdp::Session;

use super::{Call, Leg, PendingReoffer, Step, Timer};
use crate::{Cause, Digit, LegCommand, MediaRequest, Party, Profile, SdpKind};

impl Call {
    pub(super) fn reoffered(&mut self, leg: LegId, description: Option<Session>) {
        match description {
            Some(description) => {
                let request = MediaRequest::Accept { leg, kind: SdpKind::Offer, description };
                self.ask(leg, Step::AcceptReoffer, request);
            }
            // The peer wants an offer from us; its answer comes with `Confirm`.
            None => self.describe_reanswer(leg, SdpKind::Offer),
        }
    }

    pub(super) fn reoffer_accepted(&mut self, leg: LegId, far_side_concerned: bool) {
        match self.peer_of(leg) {
            // Only the direction or the codec concerns the far side; a new address or an ICE
            // restart ends at our media. One change at a time: a second is answered by us.
            Some(far) if far_side_concerned && self.may_reoffer(far) => {
                self.describe_far_reoffer(far, Some(leg));
            }
            _ => self.describe_reanswer(leg, SdpKind::Answer),
        }
    }

    /// A late answer or a transfer changed what the far side should send: re-offer it ourselves.
    pub(super) fn tell_far_side(&mut self, leg: LegId) {
        if let Some(far) = self.peer_of(leg)
            && self.may_reoffer(far)
        {
            self.describe_far_reoffer(far, None);
        }
    }

    pub(super) fn may_reoffer(&self, far: LegId) -> bool {
        self.reoffer.is_none()
            && self.legs.get(&far).is_some_and(|l| l.phase == super::Phase::Answered)
    }

    pub(super) fn describe_far_reoffer(&mut self, far: LegId, origin: Option<LegId>) {
        self.reoffer = Some(PendingReoffer { origin, far });
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

    pub(super) fn send_reoffer(&mut self, far: LegId, origin: Option<LegId>, description: Session) {
        if self.reoffer.is_some_and(|r| r.far == far && r.origin == origin) {
            self.command(far, LegCommand::Reoffer(description));
        }
    }

    pub(super) fn reanswered(&mut self, leg: LegId, description: Session) {
        let Some(pending) = self.reoffer.filter(|r| r.far == leg) else { return };
        let request = MediaRequest::Accept { leg, kind: SdpKind::Answer, description };
        self.ask(leg, Step::AcceptFarReanswer { origin: pending.origin }, request);
    }

    pub(super) fn far_reanswer_accepted(&mut self, origin: Option<LegId>) {
        self.reoffer = None;
        if let Some(origin) = origin {
            self.describe_reanswer(origin, SdpKind::Answer);
        }
    }

    /// The far side refused: its media stays as it was, and the origin is answered by us alone.
    pub(super) fn reoffer_failed(&mut self, leg: LegId) {
        let Some(pending) = self.reoffer.take_if(|r| r.far == leg) else { return };
        self.media(MediaRequest::Rollback { leg });
        if let Some(origin) = pending.origin {
            self.describe_reanswer(origin, SdpKind::Answer);
        }
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

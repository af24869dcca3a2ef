//! A new leg takes an old one's place: a page that was loaded again, another device of the same
//! user, or a phone that picks up what rings elsewhere (RFC 3891).
//!
//! The other party keeps its leg. Where media comes through us it notices nothing; where media is
//! direct it gets the newcomer's description as a re-offer first.

use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_sdp::Session;

use super::{Call, Leg, MEDIA_SETUP, Output, Phase, Stage, Step, Timer};
use crate::{
    Cause, IncomingOffer, LegCommand, MediaPath, MediaRequest, Playback, ReofferFailure, Role,
    SdpKind,
};

/// A takeover under way: one at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takeover {
    old: LegId,
    new: LegId,
    /// The new leg stands in the old one's place already.
    is_in_place: bool,
}

impl Call {
    pub(super) fn replace(&mut self, old: LegId, new: LegId, offer: IncomingOffer) {
        let role = self.legs.get(&old).map_or(Role::Back, |l| l.role);
        let mut leg = Leg::new(role, offer.profile, Phase::Open);
        leg.user.clone_from(&offer.from.user);
        leg.trunk.clone_from(&offer.trunk);
        let may = self.facts.path == MediaPath::Direct || self.may_anchor();
        let may = may
            && match self.is_parked_by(old) {
                true => self.may_take_up(offer.path) && self.stop_return(),
                false => self.may_take_over(old, offer.path),
            };
        if may {
            self.anchor();
        }
        self.legs.insert(new, leg);
        self.open(new, offer.profile, offer.video);
        match offer.description {
            Some(description) if may => {
                self.takeover = Some(Takeover { old, new, is_in_place: false });
                let request = MediaRequest::Accept { leg: new, kind: SdpKind::Offer, description };
                self.ask(new, Step::AcceptTakeover, request);
            }
            _ => self.end_leg(new, Cause::NotFound),
        }
    }

    /// True while somebody waits who can be taken up.
    fn may_take_up(&self, path: MediaPath) -> bool {
        let waits = matches!(self.stage, Stage::Active { a, b: None } if self.is_live(a));
        waits && self.takeover.is_none() && path != MediaPath::Direct
    }

    /// True while `leg` has a place that can be taken.
    fn may_take_over(&self, leg: LegId, path: MediaPath) -> bool {
        if self.takeover.is_some() || self.transfer.is_some() || !self.is_live(leg) {
            return false;
        }
        match self.stage {
            Stage::Active { a, b } => leg == a || Some(leg) == b,
            // Who rings has the caller's description already, so media that is direct is too far.
            Stage::Dialing { .. } => path != MediaPath::Direct,
            Stage::Routing { .. } | Stage::Answering { .. } | Stage::Ending => false,
        }
    }

    /// Media control knows what the newcomer can do.
    pub(super) fn takeover_accepted(&mut self, now: Instant, new: LegId) {
        let Some(takeover) = self.takeover.filter(|t| t.new == new && !t.is_in_place) else {
            return;
        };
        let Takeover { old, .. } = takeover;
        // An open re-offer of the leg that goes is nobody's any more.
        if let Some(pending) = &mut self.reoffer
            && pending.origin == Some(old)
        {
            pending.origin = None;
        }
        self.reoffer_failed(old, ReofferFailure::Refused);
        match self.stage {
            Stage::Active { a, b: None } if self.is_parked_by(old) => {
                self.stage = Stage::Active { a, b: Some(new) };
                self.take_place(takeover, Phase::Answered);
                self.join_newcomer(new);
            }
            Stage::Active { a, b } if old == a || Some(old) == b => {
                let swap = |leg: LegId| if leg == old { new } else { leg };
                self.stage = Stage::Active { a: swap(a), b: b.map(swap) };
                self.take_place(takeover, Phase::Answered);
                self.join_newcomer(new);
            }
            Stage::Dialing { early, .. } if old == self.front => {
                self.take_place(takeover, Phase::Open);
                self.facts.late_offer = false;
                self.takeover = None;
                self.end_leg(old, Cause::Replaced);
                self.continue_ringing(new, early);
            }
            Stage::Dialing { .. } => self.pick_up(now, takeover),
            Stage::Routing { .. }
            | Stage::Answering { .. }
            | Stage::Active { .. }
            | Stage::Ending => self.takeover_failed(new, Cause::NotFound),
        }
        self.timers.set(Timer::MediaSetup, now + MEDIA_SETUP);
    }

    fn take_place(&mut self, takeover: Takeover, phase: Phase) {
        self.takeover = Some(Takeover { is_in_place: true, ..takeover });
        if self.front == takeover.old {
            self.front = takeover.new;
        }
        if let Some(new) = self.legs.get_mut(&takeover.new) {
            new.phase = phase;
        }
        self.outputs.push_back(Output::Changed);
    }

    /// Joins who stands in the old leg's place now with the party that stays.
    fn join_newcomer(&mut self, new: LegId) {
        match (self.peer_of(new), self.facts.builtin) {
            (Some(peer), _) => self.media(MediaRequest::Bridge { a: peer, b: new }),
            (None, Some(playback)) => self.media(MediaRequest::Play { leg: new, playback }),
            (None, None) => {}
        }
        // Where media comes through us the other party has nothing to learn.
        match self.peer_of(new) {
            Some(peer) if self.facts.path == MediaPath::Direct && self.may_reoffer(peer) => {
                self.describe_far_reoffer(peer, Some(new));
            }
            peer => self.describe_newcomer(new, peer),
        }
    }

    pub(super) fn describe_newcomer(&mut self, new: LegId, peer: Option<LegId>) {
        let request = MediaRequest::Describe { leg: new, kind: SdpKind::Answer, peer };
        self.ask(new, Step::DescribeTakeover, request);
    }

    /// The caller is another one while the called side rings on.
    fn continue_ringing(&mut self, new: LegId, early: Option<LegId>) {
        if self.facts.ringing.is_some() {
            self.command(new, LegCommand::Ringing);
        }
        if let Some(back) = early {
            self.media(MediaRequest::Bridge { a: new, b: back });
            let request =
                MediaRequest::Describe { leg: new, kind: SdpKind::Answer, peer: Some(back) };
            self.ask(new, Step::DescribeFront { early: true }, request);
        }
    }

    /// The newcomer answers what rings at the old leg.
    fn pick_up(&mut self, now: Instant, takeover: Takeover) {
        let new = takeover.new;
        self.take_place(takeover, Phase::Answered);
        self.facts.back_profile = self.legs.get(&new).map(|l| l.profile);
        self.end_other_branches(new);
        self.stage = Stage::Answering { back: Some(new) };
        self.join_when_accepted(now, new);
        self.describe_newcomer(new, Some(self.front));
    }

    /// Says whether `leg` is a newcomer whose answer waits for the far side's.
    pub(super) fn is_newcomer(&self, leg: LegId) -> bool {
        self.takeover.is_some_and(|t| t.new == leg)
    }

    pub(super) fn takeover_described(&mut self, new: LegId, description: Session) {
        let Some(takeover) = self.takeover.take_if(|t| t.new == new) else { return };
        let was_held = self.legs.get(&takeover.old).is_some_and(|l| l.on_hold);
        if self.is_parked_by(takeover.old) {
            let taker = self.legs.get(&new).and_then(|leg| leg.user.clone());
            let profile = self.legs.get(&new).map(|leg| leg.profile);
            self.facts.back_profile = profile.or(self.facts.back_profile);
            self.unpark(&format!("taken up by {}", taker.as_deref().unwrap_or("somebody")));
            self.outputs.push_back(Output::Changed);
        }
        self.command(new, LegCommand::Answer(description));
        self.end_leg(takeover.old, Cause::Replaced);
        // Who was put on hold by the old leg must be told to talk again.
        if was_held {
            self.tell_far_side(new);
        }
    }

    /// The newcomer cannot have the place: everything is as it was.
    pub(super) fn takeover_failed(&mut self, new: LegId, cause: Cause) {
        if let Some(takeover) = self.takeover.take_if(|t| t.new == new) {
            self.give_back(takeover);
        }
        self.end_leg(new, cause);
    }

    /// Says whether the end of `leg` was a matter of a takeover, and deals with it.
    pub(super) fn takeover_leg_ended(&mut self, leg: LegId) -> bool {
        match self.takeover {
            Some(takeover) if takeover.new == leg => {
                self.takeover = None;
                self.give_back(takeover);
                self.is_live(takeover.old) || self.is_parked_by(takeover.old)
            }
            // It leaves a place that is taken.
            Some(takeover) if takeover.old == leg => takeover.is_in_place,
            _ => false,
        }
    }

    fn give_back(&mut self, takeover: Takeover) {
        let Takeover { old, new, is_in_place } = takeover;
        if self.is_parked_by(old) {
            if let Stage::Active { a, b } = self.stage
                && is_in_place
            {
                let waiting = if a == new { b.unwrap_or(a) } else { a };
                self.stage = Stage::Active { a: waiting, b: None };
                self.media(MediaRequest::Play { leg: waiting, playback: Playback::Music });
                self.outputs.push_back(Output::Changed);
            }
            return;
        }
        if !is_in_place || !self.is_live(old) {
            return;
        }
        if let Stage::Active { a, b } = self.stage {
            let swap = |leg: LegId| if leg == new { old } else { leg };
            self.stage = Stage::Active { a: swap(a), b: b.map(swap) };
        }
        if self.front == new {
            self.front = old;
        }
        if let Some(peer) = self.peer_of(old) {
            self.media(MediaRequest::Bridge { a: peer, b: old });
        }
        self.outputs.push_back(Output::Changed);
    }
}

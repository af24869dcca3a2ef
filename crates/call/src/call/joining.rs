//! Attended transfer: one call hands the party at one of its places over to another call.
//!
//! The transferor has two legs in two calls. The call that it asks takes in whoever the other leg
//! is joined with, or has ring; the other call ends. No packet of the party that moves is lost:
//! its leg is the same one in media control, joined with somebody else.

use std::time::Instant;

use crosspoint_base::{LegId, Private};

use super::{Call, Dial, Leg, Output, Phase, Stage};
use crate::{Cause, Ended, MediaPath, Party, Playback, Role};

/// What a call gives away: legs with all that is known of them.
#[derive(Debug)]
pub struct Handover {
    legs: Vec<(LegId, Leg)>,
    /// Legs among them whose connector does not know them yet.
    dialing: Vec<(LegId, Dial)>,
    /// There was nobody but sound of ours.
    playback: Option<Playback>,
    /// The transferor held who is given away.
    pub(super) was_held: bool,
    record: bool,
    /// Who was called in the other call.
    pub(super) to: Private<String>,
}

impl Handover {
    /// The legs that change calls.
    pub fn legs(&self) -> impl Iterator<Item = LegId> + '_ {
        self.legs.iter().map(|(id, _)| *id)
    }
}

/// Who came.
#[derive(Debug)]
pub(super) enum Came {
    Playing(Playback),
    Answered(LegId),
    Ringing(Vec<LegId>),
}

impl Came {
    pub(super) fn legs(self) -> impl Iterator<Item = LegId> {
        match self {
            Self::Playing(_) => vec![],
            Self::Answered(leg) => vec![leg],
            Self::Ringing(legs) => legs,
        }
        .into_iter()
    }
}

impl Call {
    /// Gives away whoever `leg` is joined with; the rest of the call ends.
    ///
    /// # Errors
    /// When there is nobody to give away, or not now.
    pub fn hand_over_peer(&mut self, now: Instant, leg: LegId) -> Result<Handover, Cause> {
        if !self.is_live(leg) || self.facts.path == MediaPath::Direct || !self.may_anchor() {
            return Err(Cause::Forbidden);
        }
        if self.takeover.is_some() || self.transfer.is_some() || self.reoffer.is_some() {
            return Err(Cause::Busy);
        }
        let was_held = self.legs.get(&leg).is_some_and(|l| l.on_hold);
        let (going, playback): (Vec<LegId>, _) = match self.stage {
            Stage::Active { a, b } if a == leg || b == Some(leg) => match self.peer_of(leg) {
                Some(peer) => (vec![peer], None),
                None => (vec![], Some(self.facts.builtin.ok_or(Cause::NotFound)?)),
            },
            Stage::Dialing { .. } if leg == self.front => {
                let rings = |l: &Leg| l.role == Role::Back && l.is_live();
                (self.legs.iter().filter(|(_, l)| rings(l)).map(|(id, _)| *id).collect(), None)
            }
            Stage::Answering { .. } => return Err(Cause::Busy),
            Stage::Active { .. }
            | Stage::Dialing { .. }
            | Stage::Routing { .. }
            | Stage::Ending => {
                return Err(Cause::NotFound);
            }
        };
        self.anchor();
        let by = match self.legs.get(&leg).map(|l| l.role) {
            Some(Role::Front) => Party::Front,
            Some(Role::Back) | None => Party::Back,
        };
        let mut handover = Handover {
            legs: vec![],
            dialing: vec![],
            playback,
            was_held,
            record: self.facts.record,
            to: self.facts.to.clone(),
        };
        for id in going {
            handover.dialing.extend(self.dialing.remove(&id).map(|reach| (id, reach)));
            handover.legs.extend(self.legs.remove(&id).map(|leg| (id, leg)));
        }
        self.facts.ended.get_or_insert(Ended { by, cause: Cause::Transferred });
        self.end_all(now, by, Cause::Transferred);
        self.outputs.push_back(Output::Changed);
        self.settle_speakers();
        self.finish_if_over(now);
        Ok(handover)
    }

    /// Makes the legs of another call ours.
    pub(super) fn take_in(&mut self, handover: Handover) -> Came {
        self.facts.record |= handover.record;
        let answered =
            handover.legs.iter().find(|(_, l)| l.phase == Phase::Answered).map(|(id, _)| *id);
        let came = match (handover.playback, answered) {
            (Some(playback), _) => Came::Playing(playback),
            (None, Some(leg)) => Came::Answered(leg),
            (None, None) => Came::Ringing(handover.legs().collect()),
        };
        for (id, mut leg) in handover.legs {
            leg.role = Role::Back;
            self.facts.back_profile = Some(leg.profile);
            self.anybody_misled |= leg.is_misled;
            self.legs.insert(id, leg);
        }
        self.dialing.extend(handover.dialing);
        self.outputs.push_back(Output::Changed);
        came
    }
}

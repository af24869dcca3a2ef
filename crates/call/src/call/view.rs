//! What operators, recorders and streams may know of a call, and who speaks on which side of it.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{CallId, Gcid, LegId, Private};

use super::{Call, Leg, Phase, Stage};
use crate::{Grade, Identity, MediaPath, Profile, Quality, Role};

/// A call as it is now.
#[derive(Debug, Clone)]
pub struct View {
    pub call: CallId,
    pub gcid: Gcid,
    pub from: Identity,
    pub to: Private<String>,
    pub trunk: Option<Arc<str>>,
    pub started: Instant,
    pub answered: Option<Instant>,
    pub state: CallState,
    pub path: MediaPath,
    /// A rule wants it recorded.
    pub record: bool,
    /// Who speaks for the caller and for the called side, once it is answered.
    pub speakers: [Option<LegId>; 2],
    /// Where somebody of it waits to be taken up.
    pub slot: Option<u32>,
    /// Those that are not over.
    pub legs: Vec<LegView>,
}

/// A leg of it.
#[derive(Debug, Clone)]
pub struct LegView {
    pub leg: LegId,
    pub role: Role,
    pub profile: Profile,
    pub user: Option<Arc<str>>,
    pub is_answered: bool,
    pub on_hold: bool,
    /// Its last five seconds.
    pub quality: Option<Quality>,
    /// Nothing has come from it for three seconds.
    pub is_silent: bool,
    pub grade: Grade,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// Somebody is being looked for, or rings.
    Setup,
    Active,
    Ending,
}

impl Call {
    #[must_use]
    pub fn view(&self) -> View {
        let leg = |(id, leg): (&LegId, &Leg)| LegView {
            leg: *id,
            role: leg.role,
            profile: leg.profile,
            user: leg.user.clone(),
            is_answered: leg.phase == Phase::Answered,
            on_hold: leg.on_hold,
            quality: leg.quality,
            is_silent: leg.is_silent,
            grade: leg.grade,
        };
        let live = self.legs.iter().filter(|(_, leg)| leg.is_live());
        View {
            call: self.id,
            gcid: self.gcid.clone(),
            from: self.facts.from.clone(),
            to: self.facts.to.clone(),
            trunk: self.facts.trunk.clone().or_else(|| self.called_trunk.clone()),
            started: self.facts.started,
            answered: self.facts.answered,
            state: match self.stage {
                Stage::Routing { .. } | Stage::Dialing { .. } | Stage::Answering { .. } => {
                    CallState::Setup
                }
                Stage::Active { .. } => CallState::Active,
                Stage::Ending => CallState::Ending,
            },
            path: self.facts.path,
            record: self.facts.record,
            speakers: self.speakers,
            slot: self.parked.as_ref().map(super::parking::Parked::slot),
            legs: live.map(leg).collect(),
        }
    }

    /// Keeps everybody on the side where they were; who comes takes the side of who left.
    pub(super) fn settle_speakers(&mut self) {
        let Stage::Active { a, b } = self.stage else { return };
        let [caller, called] = self.speakers;
        let is_crossed = called == Some(a) || (b.is_some() && b == caller);
        self.speakers = if is_crossed { [b, Some(a)] } else { [Some(a), b] };
    }
}

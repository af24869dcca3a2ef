//! Media that goes past us, from one phone to the other, until somebody needs it here.
//!
//! Each party is told what the other said. What is told is kept, so that media control can be told the
//! same once a transfer, an announcement or a browser needs the media here; then whoever was told the
//! other's address hears an offer of ours. Sound goes on meanwhile: both still send to each other.

use std::net::IpAddr;

use crosspoint_base::{LegId, is_private};
use crosspoint_sdp::Session;

use super::{Call, Leg, Output, Phase, Stage, Step};
use crate::router::{Decision, Outcome, Target};
use crate::{MediaPath, MediaRequest, Profile, SdpKind, SrtpPolicy};

/// What a party and we have said of its media.
#[derive(Debug, Default)]
pub(super) struct Past {
    said: Option<(SdpKind, Session)>,
    /// What stands if the offer that it made since is refused.
    before: Option<(SdpKind, Session)>,
    /// Whose description it was given.
    told: Option<LegId>,
}

impl Call {
    /// Remembers what would have to be said to media control.
    pub(super) fn note_past(&mut self, leg: LegId, request: &MediaRequest) {
        if self.facts.path != MediaPath::Bypass {
            return;
        }
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        let past = leg.past.get_or_insert_default();
        match request {
            MediaRequest::Accept { kind, description, .. } => {
                let before = past.said.replace((*kind, description.clone()));
                past.before = before.filter(|_| *kind == SdpKind::Offer);
            }
            MediaRequest::Describe { kind, peer: Some(peer), .. } => {
                // It took the early description of who did not answer in the end for the answer.
                let is_other = past.told.is_some_and(|told| told != *peer);
                leg.is_misled |= is_other && *kind == SdpKind::Answer;
                self.anybody_misled |= leg.is_misled;
                past.told = Some(*peer);
            }
            _ => {}
        }
    }

    /// The offer of this leg was answered, or it was not.
    pub(super) fn note_outcome(&mut self, leg: LegId, was_answered: bool) {
        let past = self.legs.get_mut(&leg).and_then(|leg| leg.past.as_mut());
        if let Some(past) = past
            && let Some(before) = past.before.take()
            && !was_answered
        {
            past.said = Some(before);
        }
    }

    /// Whether media may stay past us wherever the call is to go.
    pub(super) fn may_stay_past(&self, decision: &Decision) -> bool {
        let is_refused = matches!(decision.outcome, Outcome::Refused(_));
        is_refused || decision.may_bypass() && decision.targets().all(|t| self.may_go_past_to(t))
    }

    /// Whether the place takes what the caller offers as it is.
    pub(super) fn may_go_past_to(&self, target: &Target) -> bool {
        let Some((_, offer)) = self.said_by(self.front) else { return false };
        let fits = match target.profile {
            Profile::WebRtc => false,
            Profile::Rtp(SrtpPolicy::Off) => !offer.is_secured(),
            Profile::Rtp(SrtpPolicy::Required) => offer.is_secured(),
            Profile::Rtp(SrtpPolicy::Optional) => true,
        };
        let may_see = self.legs.get(&self.front).is_some_and(|l| l.video) && target.video;
        target.bypass && fits && (may_see || !offer.has_video())
    }

    /// Brings media here where who answers is in a network that the caller cannot be taken to reach.
    pub(super) fn check_reach(&mut self, description: &Session) {
        let Some((_, offer)) = self.said_by(self.front) else { return };
        let reaches = match (offer.address(), description.address()) {
            (Some(a), Some(b)) => a.is_ipv4() == b.is_ipv4() && is_inside(a) == is_inside(b),
            _ => false,
        };
        if !reaches {
            self.anchor();
        }
    }

    fn said_by(&self, leg: LegId) -> Option<&(SdpKind, Session)> {
        self.legs.get(&leg)?.past.as_ref()?.said.as_ref()
    }

    /// Whether media can be had here if it is not: its codecs are ones that we know.
    pub(super) fn may_anchor(&self) -> bool {
        let live = self.legs.values().filter(|leg| leg.is_live());
        let said = live.filter_map(|leg| leg.past.as_ref()?.said.as_ref());
        self.facts.path != MediaPath::Direct && { said }.all(|(_, said)| is_known(said))
    }

    /// Media comes through us from now on. Media control is told what was said so far; who was told
    /// anything hears an offer of ours as soon as it may ([`Call::correct_misled`]).
    pub(super) fn anchor(&mut self) {
        if self.facts.path != MediaPath::Bypass {
            return;
        }
        self.facts.path = MediaPath::Anchored;
        let is_here = |(_, leg): &(&LegId, &mut Leg)| leg.phase != Phase::Ended;
        let past = self.legs.iter_mut().filter(is_here);
        let past: Vec<(LegId, Past)> =
            past.map(|(id, leg)| (*id, leg.past.take().map(|p| *p).unwrap_or_default())).collect();
        self.outputs.push_back(Output::Anchoring(past.iter().map(|(leg, _)| *leg).collect()));
        for (leg, Past { told, .. }) in &past {
            let Some(state) = self.legs.get_mut(leg) else { continue };
            state.is_misled = told.is_some();
            let (profile, video) = (state.profile, state.video);
            self.anybody_misled |= told.is_some();
            self.open(*leg, profile, video);
        }
        self.tell_again(&past);
        if let Some(peer) = self.peer_of(self.front) {
            self.media(MediaRequest::Bridge { a: self.front, b: peer });
        }
        let is_answered = |leg: &LegId| self.legs.get(leg).is_some_and(Leg::is_answered);
        let answered = past.iter().map(|(leg, _)| *leg).filter(is_answered).collect();
        self.outputs.push_back(Output::Anchored(answered));
        self.outputs.push_back(Output::Changed);
    }

    /// In the order in which it was said: offers, what was made of them, and the answers to them.
    fn tell_again(&mut self, past: &[(LegId, Past)]) {
        let first = match self.stage {
            Stage::Routing { .. } => Step::AcceptFrontOffer,
            _ => Step::Again,
        };
        let made_offer = |past: &Past| matches!(past.said, Some((SdpKind::Offer, _)));
        for (leg, past) in past {
            if let Some((kind @ SdpKind::Offer, said)) = &past.said {
                let (leg, kind, description) = (*leg, *kind, said.clone());
                self.ask(leg, first, MediaRequest::Accept { leg, kind, description });
            }
        }
        for (leg, past) in past.iter().filter(|(_, past)| !made_offer(past)) {
            let leg = *leg;
            if past.told.is_some() {
                let (kind, peer) = (SdpKind::Offer, past.told);
                self.ask(leg, Step::Again, MediaRequest::Describe { leg, kind, peer });
            }
            if let Some((kind, said)) = &past.said {
                let (kind, description) = (*kind, said.clone());
                self.ask(leg, Step::Again, MediaRequest::Accept { leg, kind, description });
            }
        }
        for (leg, past) in past.iter().filter(|(_, past)| made_offer(past)) {
            if past.told.is_some() {
                let (leg, kind, peer) = (*leg, SdpKind::Answer, past.told);
                self.ask(leg, Step::Again, MediaRequest::Describe { leg, kind, peer });
            }
        }
    }

    /// Who was told where the other party is, and should send here or to somebody else, is offered that.
    pub(super) fn correct_misled(&mut self) {
        if !self.anybody_misled || !matches!(self.stage, Stage::Active { .. }) {
            return;
        }
        for (id, leg) in &mut self.legs {
            if leg.is_misled && leg.is_answered() {
                leg.is_misled = false;
                self.owed.insert(*id);
            }
        }
        self.anybody_misled = self.legs.values().any(|leg| leg.is_misled && leg.is_live());
        self.pay_owed();
    }
}

/// Whether those outside cannot reach it.
fn is_inside(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || is_private(address)
}

/// Whether one of its codecs is known here, as far as there is sound in it.
fn is_known(said: &Session) -> bool {
    let mut sounds = said.sections().iter().filter(|s| s.is_audio() && !s.is_rejected()).peekable();
    let knows = |name: &str| CODECS.iter().any(|known| known.eq_ignore_ascii_case(name));
    sounds.peek().is_none() || sounds.any(|sound| sound.codecs.iter().any(|c| knows(&c.name)))
}

/// What the media plane can do something with, by the names of RFC 3551 and 7587.
pub const CODECS: [&str; 5] = ["opus", "G722", "PCMU", "PCMA", "L16"];

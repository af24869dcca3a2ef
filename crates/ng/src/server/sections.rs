//! Sections beside the first sound and video, each with legs of its own: what passes as it is
//! (fax, text), and further sound.

use std::sync::Arc;

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, Profile, SdpKind};
use crosspoint_media::negotiation::{Format, Manner};
use crosspoint_sdp::Media;

use super::calls::More;
use super::exchange::{Exchange, Passing, Work, own_profile, profile};
use super::{Asker, Server, refusal};
use crate::request::reason;
use crate::rewrite;

/// A section with legs of its own on its way from one party to another.
#[derive(Debug)]
pub(super) struct SectionPassing {
    pub(super) place: usize,
    pub(super) from: LegId,
    pub(super) to: LegId,
    pub(super) told: Option<Media>,
    /// What its sound is listed as; none of what passes as it is.
    pub(super) sound: Option<Sound>,
}

/// How a further section of sound is told.
#[derive(Debug)]
pub(super) struct Sound {
    pub(super) formats: Vec<Format>,
    pub(super) protocol: Option<String>,
}

impl<T> Server<T> {
    /// Passes on the sections that have legs of their own, beside what `asked` answers or alone.
    pub(super) fn pass_sections(
        &mut self,
        id: Arc<str>,
        asker: &mut Option<Asker<T>>,
        mut passing: Passing,
        mut asked: Vec<LegId>,
    ) {
        self.drop_sections(&id, &passing);
        self.pass_raw(&id, &mut passing, &mut asked);
        for place in passing.said.more.clone() {
            self.pass_sound(&id, &mut passing, place, &mut asked);
        }
        if asked.is_empty() {
            return self.reply(asker, refusal(reason::INCOMPLETE_SDP));
        }
        let (asker, work, left) = (asker.take(), Work::Passing(passing), asked.len());
        let number = self.begin(Exchange { asker, call: id, left, work });
        for leg in asked {
            self.awaited.entry(leg).or_default().push_back(number);
        }
    }

    fn pass_raw(&mut self, id: &Arc<str>, passing: &mut Passing, asked: &mut Vec<LegId>) {
        let kind = passing.kind;
        for place in passing.said.raw.clone() {
            let leg = |server: &mut Self, party| server.raw_leg(id, party, place);
            let (Some(from), Some(to)) = (leg(self, passing.from), leg(self, passing.to)) else {
                continue;
            };
            let description = passing.said.section(place);
            self.command(Command::Accept { leg: from, kind, description });
            self.command(Command::Bridge { a: from, b: to });
            self.command(Command::Describe { leg: to, kind, peer: Some(from) });
            passing.sections.push(SectionPassing { place, from, to, told: None, sound: None });
            asked.extend([from, to]);
        }
    }

    /// A party's leg for a section that passes as it is.
    fn raw_leg(&mut self, id: &Arc<str>, party: LegId, section: usize) -> Option<LegId> {
        let next = self.next_leg + 1;
        let party = self.calls.get_mut(id)?.party_mut(party)?;
        if let Some(leg) = party.raw.get(&section) {
            return Some(*leg);
        }
        let (leg, place) = (LegId(next), party.place);
        party.raw.insert(section, leg);
        self.next_leg = next;
        self.legs.insert(leg, id.clone());
        self.command(Command::OpenRaw { leg, place });
        Some(leg)
    }

    /// One further section of sound: a conversation of its own between two legs.
    fn pass_sound(
        &mut self,
        id: &Arc<str>,
        passing: &mut Passing,
        place: usize,
        asked: &mut Vec<LegId>,
    ) {
        let (kind, flags) = (passing.kind, &passing.flags);
        let Some(section) = passing.said.session.media().nth(place) else { return };
        let legs = if kind == SdpKind::Offer {
            let (own, wanted) = (own_profile(&section), profile(flags, &section));
            self.more_leg(id, passing.from, place, own)
                .and_then(|from| Some((from, self.more_leg(id, passing.to, place, wanted)?)))
        } else {
            let known = |party| Some(self.calls.get(id)?.party(party)?.more.get(&place)?.leg);
            known(passing.from).zip(known(passing.to))
        };
        let Some((from, to)) = legs else { return };
        let before = self.offered_section(id, passing.to, place);
        let (formats, mux, protocol) = match (kind, before) {
            (SdpKind::Offer, _) => {
                let mux = flags.offers_mux().unwrap_or(section.rtcp_mux);
                let protocol = passing.protocol.clone();
                (rewrite::offered(&section, &flags.codecs), mux, protocol)
            }
            (SdpKind::Answer, Some(offered)) => {
                let taken = section.rtcp_mux || flags.offers_mux().is_some();
                let mux = flags.accepts_mux().unwrap_or(taken);
                (rewrite::answered(&offered, &section), mux, None)
            }
            (SdpKind::Answer, None) => return,
        };
        let manner = Manner {
            formats: formats.clone(),
            rtcp_mux: mux,
            mid: Some(format!("a{place}")),
            ..Manner::default()
        };
        if kind == SdpKind::Offer {
            let own = Manner { formats: Format::all_of(&section), ..Manner::default() };
            self.command(Command::Manner { leg: from, manner: Box::new(own) });
        }
        let description = passing.said.section(place);
        self.command(Command::Accept { leg: from, kind, description });
        self.command(Command::Manner { leg: to, manner: Box::new(manner) });
        self.command(Command::Describe { leg: to, kind, peer: Some(from) });
        if kind == SdpKind::Answer {
            self.command(Command::Bridge { a: to, b: from });
            for party in [passing.from, passing.to] {
                let party = self.calls.get_mut(id).and_then(|call| call.party_mut(party));
                if let Some(more) = party.and_then(|party| party.more.get_mut(&place)) {
                    more.is_used = true;
                }
            }
        }
        let sound = Some(Sound { formats, protocol });
        passing.sections.push(SectionPassing { place, from, to, told: None, sound });
        asked.extend([from, to]);
    }

    /// What a party said of this section last.
    fn offered_section(&self, id: &Arc<str>, party: LegId, place: usize) -> Option<Media> {
        self.calls.get(id)?.party(party)?.said.as_ref()?.session.media().nth(place)
    }

    /// A party's leg for a further section of sound.
    pub(super) fn more_leg(
        &mut self,
        id: &Arc<str>,
        party: LegId,
        section: usize,
        profile: Profile,
    ) -> Option<LegId> {
        let next = self.next_leg + 1;
        let party = self.calls.get_mut(id)?.party_mut(party)?;
        if let Some(more) = party.more.get(&section) {
            return Some(more.leg);
        }
        let (leg, place) = (LegId(next), party.place);
        party.more.insert(section, More { leg, is_used: false, told: None });
        self.next_leg = next;
        self.legs.insert(leg, id.clone());
        self.command(Command::Open { leg, profile });
        if let Some(place) = place {
            self.command(Command::Settle { leg, place });
        }
        Some(leg)
    }

    /// Further sound that a description does not have any more, or an answer does not take, is
    /// over on both sides.
    fn drop_sections(&mut self, id: &Arc<str>, passing: &Passing) {
        for party in [passing.from, passing.to] {
            let party = self.calls.get_mut(id).and_then(|call| call.party_mut(party));
            let Some(party) = party else { continue };
            let is_over = |place: &usize| !passing.said.more.contains(place);
            let over: Vec<usize> = party.more.keys().copied().filter(is_over).collect();
            let legs: Vec<LegId> =
                over.iter().filter_map(|place| Some(party.more.remove(place)?.leg)).collect();
            legs.into_iter().for_each(|leg| self.close_leg(leg));
        }
    }
}

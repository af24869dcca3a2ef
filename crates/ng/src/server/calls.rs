//! A call and its parties, as an ng client names them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_media::control::{HeldBack, Place, Profile};
use crosspoint_sdp::{Media, Origin, Session};

use super::forwarding::Forwarded;
use super::recording::Recorded;

/// One call-id.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) created: Instant,
    pub(super) last_signal: Instant,
    parties: Vec<Party>,
    pub(super) is_answered: bool,
    pub(super) recorded: Option<Recorded>,
    pub(super) forwarded: Option<Forwarded>,
    /// Where its digits are told, if not where those of all are.
    pub(super) dtmf_log: Option<SocketAddr>,
}

/// One who sends descriptions: a tag, or a fork that has none yet.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) leg: LegId,
    /// Most have one; a fork further on gives the same leg another.
    pub(super) tags: Vec<String>,
    pub(super) branch: Option<String>,
    pub(super) label: Option<String>,
    pub(super) created: Instant,
    /// What the leg was opened as.
    pub(super) profile: Profile,
    /// Who gets its descriptions, and whose it gets.
    pub(super) partner: Option<LegId>,
    /// What it said last.
    pub(super) said: Option<Said>,
    /// What it was told last, and of video.
    pub(super) told: Option<Media>,
    pub(super) told_video: Option<Media>,
    pub(super) held: HeldBack,
    /// Where its legs are, when that is not where all are.
    pub(super) place: Option<Place>,
    /// Legs of sections that pass as they are (fax, text), by their place.
    pub(super) raw: BTreeMap<usize, LegId>,
    /// Those of further sections of sound.
    pub(super) more: BTreeMap<usize, More>,
    /// Whom it hears, section by section, if it is one that only listens.
    pub(super) hears: Vec<LegId>,
    /// Legs of which nothing comes any more.
    pub(super) lost: BTreeSet<LegId>,
}

/// The leg of a further section of sound.
#[derive(Debug, Clone)]
pub(super) struct More {
    pub(super) leg: LegId,
    /// It was taken up: sound is to be expected.
    pub(super) is_used: bool,
    /// What its party was told last.
    pub(super) told: Option<Media>,
}

/// A description as it came.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) text: Arc<str>,
    pub(super) session: Session,
    /// Which section is the sound.
    pub(super) index: usize,
    pub(super) audio: Media,
    /// Which section is the video.
    pub(super) video: Option<usize>,
    /// Which pass as they are.
    pub(super) raw: Vec<usize>,
    /// Which are further sound, with a way of its own each.
    pub(super) more: Vec<usize>,
}

impl Said {
    /// `None` when there is nothing in it that passes.
    pub(super) fn new(text: &str, session: Session) -> Option<Self> {
        let is_sound = |m: &Media| m.is_audio() && m.protocol.contains("RTP/");
        let sections = || session.media().enumerate();
        let is_raw = |m: &Media| m.is_fax() || m.is_text();
        let raw = sections().filter(|(_, m)| is_raw(m) && !m.is_rejected()).map(|(n, _)| n);
        let raw: Vec<usize> = raw.take(MAX_RAW).collect();
        let found = sections().find(|(_, m)| is_sound(m) && !m.is_rejected());
        let found = found.or_else(|| sections().find(|(_, m)| is_sound(m)));
        let none = || (usize::MAX, Media::new("audio", "RTP/AVP"));
        let (index, audio) = found.or_else(|| (!raw.is_empty()).then(none))?;
        let is_seen = |m: &Media| m.is_video() && m.protocol.contains("RTP/") && !m.is_rejected();
        let video = session.media().position(|m| is_seen(&m));
        // What is bundled shares the way of the first, whose leg carries one sound.
        let is_more = |(place, m): &(usize, Media)| {
            *place != index && is_sound(m) && !m.is_rejected() && !m.is_bundled
        };
        let more = sections().filter(is_more).map(|(n, _)| n).take(MAX_MORE).collect();
        Some(Self { text: text.into(), session, index, audio, video, raw, more })
    }

    /// Nothing but sections that pass as they are.
    pub(super) fn is_raw(&self) -> bool {
        !self.raw.is_empty() && self.audio.is_rejected()
    }

    /// What remains for the first sound and for video: what has legs of its own counts as refused
    /// there.
    pub(super) fn of_main_leg(&self) -> Session {
        if self.raw.is_empty() && self.more.is_empty() {
            return self.session.clone();
        }
        let mut places = 0..;
        let line = |line: &str| {
            let place = line.starts_with("m=").then(|| places.next()).flatten();
            match (place, line.split_once(' ')) {
                (Some(place), Some((kind, rest)))
                    if self.raw.contains(&place) || self.more.contains(&place) =>
                {
                    let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
                    format!("{kind} 0 {rest}\r\n")
                }
                _ => format!("{line}\r\n"),
            }
        };
        let text: String = self.session.to_string().lines().map(line).collect();
        Session::parse(text.as_bytes()).unwrap_or_else(|_| self.session.clone())
    }

    /// One section by itself.
    pub(super) fn section(&self, place: usize) -> Session {
        let sections: Vec<Media> = self.session.media().skip(place).take(1).collect();
        let address = [127, 0, 0, 1].into();
        let is_lite = self.session.is_ice_lite();
        Session::build(&Origin { id: 0, version: 0, address }, is_lite, &sections)
    }
}

impl Party {
    pub(super) fn new(leg: LegId, now: Instant, profile: Profile) -> Self {
        Self {
            leg,
            tags: vec![],
            branch: None,
            label: None,
            created: now,
            profile,
            partner: None,
            said: None,
            told: None,
            told_video: None,
            held: HeldBack::default(),
            place: None,
            raw: BTreeMap::new(),
            more: BTreeMap::new(),
            hears: vec![],
            lost: BTreeSet::new(),
        }
    }

    /// Every leg that it has.
    pub(super) fn legs(&self) -> impl Iterator<Item = LegId> + '_ {
        let more = self.more.values().map(|more| more.leg);
        [self.leg].into_iter().chain(more).chain(self.raw.values().copied())
    }

    /// The legs that carry sound.
    pub(super) fn sounds(&self) -> impl Iterator<Item = LegId> + '_ {
        [self.leg].into_iter().chain(self.more.values().map(|more| more.leg))
    }

    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }

    pub(super) fn add_tag(&mut self, tag: &str) {
        if !self.has_tag(tag) && self.tags.len() < MAX_TAGS {
            self.tags.push(tag.to_owned());
        }
    }
}

impl Call {
    pub(super) fn new(now: Instant) -> Self {
        let (created, last_signal) = (now, now);
        let (parties, is_answered) = (vec![], false);
        let (recorded, forwarded, dtmf_log) = (None, None, None);
        Self { created, last_signal, parties, is_answered, recorded, forwarded, dtmf_log }
    }

    pub(super) fn parties(&self) -> &[Party] {
        &self.parties
    }

    pub(super) fn has_room(&self) -> bool {
        self.parties.len() < MAX_PARTIES
    }

    pub(super) fn add(&mut self, party: Party) {
        self.parties.push(party);
    }

    pub(super) fn remove(&mut self, leg: LegId) -> Option<Party> {
        let place = self.parties.iter().position(|p| p.leg == leg)?;
        let removed = self.parties.remove(place);
        for party in &mut self.parties {
            party.partner = party.partner.filter(|partner| *partner != leg);
        }
        Some(removed)
    }

    pub(super) fn party(&self, leg: LegId) -> Option<&Party> {
        self.parties.iter().find(|p| p.leg == leg)
    }

    pub(super) fn party_mut(&mut self, leg: LegId) -> Option<&mut Party> {
        self.parties.iter_mut().find(|p| p.leg == leg)
    }

    /// Whose any of these legs is.
    pub(super) fn owner(&self, leg: LegId) -> Option<&Party> {
        self.parties.iter().find(|p| p.legs().any(|own| own == leg))
    }

    pub(super) fn tagged(&self, tag: &str) -> Option<&Party> {
        self.parties.iter().find(|p| p.has_tag(tag))
    }

    /// Who has not said who they are, of those that `leg` called.
    pub(super) fn unnamed(&self, leg: LegId, branch: Option<&str>) -> Option<&Party> {
        let mut unnamed =
            self.parties.iter().filter(|p| p.tags.is_empty() && p.partner == Some(leg));
        unnamed.find(|p| p.branch.as_deref() == branch)
    }

    /// The youngest of those that `leg` called.
    pub(super) fn called_by(&self, leg: LegId, branch: Option<&str>) -> Option<&Party> {
        let called = || self.parties.iter().rev().filter(|p| p.partner == Some(leg));
        let of_branch = called().find(|p| branch.is_some() && p.branch.as_deref() == branch);
        of_branch.or_else(|| called().find(|p| p.tags.is_empty())).or_else(|| called().next())
    }

    /// Two parties hear each other, and nobody else does.
    pub(super) fn join(&mut self, a: LegId, b: LegId) {
        for party in &mut self.parties {
            party.partner = match party.leg {
                leg if leg == a => Some(b),
                leg if leg == b => Some(a),
                _ => party.partner.filter(|partner| ![a, b].contains(partner)),
            };
        }
    }

    /// Notes that nothing comes of a leg; true when nothing comes of any leg any more.
    pub(super) fn lost(&mut self, leg: LegId) -> bool {
        let mut parties = self.parties.iter_mut();
        let party = parties.find(|p| p.legs().any(|own| own == leg));
        if let Some(party) = party {
            party.lost.insert(leg);
        }
        let is_silent = |p: &Party, leg: &LegId| p.lost.contains(leg);
        self.parties.iter().all(|p| {
            // Who only listens says nothing.
            let has_sound = p.said.is_some() && p.told.is_some() && p.hears.is_empty();
            let mut used = p.more.values().filter(|more| more.is_used && p.hears.is_empty());
            (!has_sound || is_silent(p, &p.leg))
                && used.all(|more| is_silent(p, &more.leg))
                && p.raw.values().all(|raw| is_silent(p, raw))
        })
    }

    /// Every tag and every leg of the call, for figures and selections.
    pub(super) fn legs(&self) -> BTreeSet<LegId> {
        self.parties.iter().flat_map(Party::legs).collect()
    }
}

/// Forks and transfers; each costs a pair of ports.
const MAX_PARTIES: usize = 32;
const MAX_TAGS: usize = 16;
const MAX_RAW: usize = 4;
const MAX_MORE: usize = 4;

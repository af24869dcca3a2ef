//! Sections that pass as they are from one phone to another: fax (T.38 over UDPTL, ITU-T T.38
//! annex D) beside sound or in its place, and text as it is typed (T.140 in RTP, RFC 4103).
//!
//! What such a section says is the other side's word but for the address, which is ours: nothing
//! in it is read or chosen here. It is offered to one party only when the other party has it, and
//! taken from one only when the other has taken it. Browsers have neither.

use std::net::SocketAddr;

use crosspoint_sdp::{Direction, Media, Session};

use super::{LocalEnd, Remote};

/// What passes as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassedKind {
    Fax,
    Text,
}

impl PassedKind {
    pub const ALL: [Self; 2] = [Self::Fax, Self::Text];

    fn is_kind_of(self, media: &Media) -> bool {
        match self {
            Self::Fax => media.is_fax(),
            Self::Text => media.is_text(),
        }
    }
}

/// One section, and its place among the others.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) kind: PassedKind,
    pub(super) index: usize,
    pub(super) media: Media,
}

/// The sections of a peer's last description that both sides use, one of a kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed(Vec<Section>);

/// What a peer leg has of them.
#[derive(Debug, Clone, Default)]
pub(super) struct PassedView {
    sections: Passed,
    /// It has fax and no sound.
    pub(super) only_fax: bool,
    /// Its fax stands where sound would stand.
    in_place: bool,
}

impl Passed {
    /// Those that an offer has.
    pub(super) fn offered(session: &Session) -> Self {
        let usable = |kind: PassedKind| {
            let mut sections = session.sections().iter().enumerate();
            let is_it = |(_, m): &(usize, &Media)| kind.is_kind_of(m) && !m.is_rejected();
            let (index, media) = sections.find(is_it)?;
            Some(Section { kind, index, media: media.clone() })
        };
        Self(PassedKind::ALL.into_iter().filter_map(usable).collect())
    }

    /// Those of an answer that its offer had as well.
    pub(super) fn answered(offer: &Session, answer: &Session) -> Self {
        let mut passed = Self::offered(offer);
        passed.0.retain_mut(|section| {
            let answered = answer.sections().get(section.index);
            let usable = answered.filter(|m| section.kind.is_kind_of(m) && !m.is_rejected());
            usable.map(|media| section.media = media.clone()).is_some()
        });
        passed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Section> {
        self.0.iter()
    }

    pub(super) fn of(&self, kind: PassedKind) -> Option<&Section> {
        self.0.iter().find(|section| section.kind == kind)
    }

    /// Only these are in use.
    pub(super) fn keep(&mut self, taken: &[(usize, Media)]) {
        self.0.retain(|section| taken.iter().any(|(index, _)| *index == section.index));
    }

    /// Whether a far side has to hear of the difference: addresses and ports end at us.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let said = |section: &Section| {
            let Media { formats, codecs, others, direction, .. } = &section.media;
            (section.kind, formats.clone(), codecs.clone(), others.clone(), *direction)
        };
        self.0.iter().map(said).eq(other.0.iter().map(said))
    }

    pub(super) fn view(&self, remote: &Remote) -> PassedView {
        let fax = self.of(PassedKind::Fax);
        PassedView {
            only_fax: !remote.has_sound && fax.is_some(),
            in_place: fax.is_some_and(|fax| fax.index == remote.index),
            sections: self.clone(),
        }
    }

    /// What an answer takes of the peer's offer: what the other leg's peer has taken, with that
    /// one's words.
    pub(super) fn answer(&self, peer: Option<&PassedView>, end: &LocalEnd) -> Vec<(usize, Media)> {
        let answer = |offered: &Section| {
            let theirs = peer?.sections.of(offered.kind)?;
            let mut section = section(theirs, end)?;
            section.protocol.clone_from(&offered.media.protocol);
            section.mid.clone_from(&offered.media.mid);
            section.direction = section.direction.and(wish(&offered.media).reversed());
            Some((offered.index, section))
        };
        self.0.iter().filter_map(answer).collect()
    }
}

impl PassedView {
    /// Which of these the other leg needs a port for.
    pub(super) fn kinds(&self) -> impl Iterator<Item = PassedKind> {
        self.sections.0.iter().map(|section| section.kind)
    }

    /// What we offer of it, each with its place among `sections`; those that have none come
    /// behind all others.
    pub(super) fn offer(
        &self,
        end: &LocalEnd,
        sections: &[Media],
        audio: usize,
    ) -> Vec<(usize, Media)> {
        let mut next = sections.len();
        let mut place = |kind: PassedKind| {
            if kind == PassedKind::Fax && self.only_fax && (self.in_place || sections.len() <= 1) {
                return audio;
            }
            let is_its = |(index, m): &(usize, &Media)| *index != audio && kind.is_kind_of(m);
            let known = sections.iter().enumerate().find(is_its).map(|(index, _)| index);
            known.unwrap_or_else(|| {
                next += 1;
                next - 1
            })
        };
        let offer = |theirs: &Section| Some((place(theirs.kind), section(theirs, end)?));
        self.sections.0.iter().filter_map(offer).collect()
    }
}

/// What one peer says, as the other is told it: with an address of ours.
fn section(theirs: &Section, end: &LocalEnd) -> Option<Media> {
    let Section { kind, media, .. } = theirs;
    let address = end.passed(*kind)?;
    let mut section = Media::new(&media.kind, &media.protocol);
    (section.port, section.address) = (address.port(), Some(address.ip()));
    section.formats.clone_from(&media.formats);
    section.codecs.clone_from(&media.codecs);
    section.others = media.others.iter().filter(|(name, _)| is_the_peers(name)).cloned().collect();
    section.direction = wish(media);
    section.ptime = media.ptime;
    section.bandwidth = media.bandwidth;
    Some(section)
}

/// Whether an attribute is for the far party, and does not speak of the way to it.
fn is_the_peers(name: &str) -> bool {
    !matches!(name, "rtcp-mux" | "rtcp-rsize" | "group" | "label" | "content")
        && !name.starts_with("rtcp")
        && !name.starts_with("ice")
        && !name.starts_with("remote-candidates")
}

fn wish(media: &Media) -> Direction {
    Direction::new(media.direction.sends(), !media.is_held())
}

/// Sound that is not there while fax is: what was agreed of it before, without an address. The
/// place is where it is refused, or where fax has taken it.
pub(super) fn without_sound(
    before: Option<&Remote>,
    session: &Session,
    fax: usize,
) -> (usize, Media) {
    let is_refused = |(_, m): &(usize, Media)| m.is_audio();
    let kept = before.map(|remote| remote.index).filter(|kept| {
        *kept == fax || session.media().nth(*kept).is_some_and(|media| media.is_audio())
    });
    let refused = || session.media().enumerate().find(is_refused).map(|(index, _)| index);
    let index = kept.or_else(refused).unwrap_or(fax);
    let mut audio = match before {
        Some(remote) => remote.audio.clone(),
        None => Media::new("audio", "RTP/AVP"),
    };
    (audio.port, audio.rtcp_port, audio.rtcp_address) = (0, None, None);
    audio.candidates.clear();
    audio.direction = Direction::Inactive;
    (index, audio)
}

impl LocalEnd {
    fn passed(&self, kind: PassedKind) -> Option<SocketAddr> {
        self.passed.iter().find(|(of, _)| *of == kind).map(|(_, address)| *address)
    }
}

//! Media control for calls whose media goes from one party to the other.
//!
//! It answers a call's requests like the media plane does, only that each leg is described with
//! what its peer said. Browsers get descriptions and candidates as they are; a phone gets one session
//! from us, whose versions count up whoever speaks in it (RFC 3264 §8).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use crosspoint_base::LegId;
use crosspoint_call::{
    Candidate, Described, MediaNotice, MediaRefusal, MediaRequest, Profile, SdpKind,
};
use crosspoint_sdp::{Origin, Session};

/// All legs with direct media.
#[derive(Debug, Default)]
pub(crate) struct DirectMedia {
    legs: BTreeMap<LegId, Party>,
    /// Counts descriptions, so that an answer is known to be younger than its offer.
    clock: u64,
    outputs: VecDeque<Output>,
}

/// What this media control has to say.
#[derive(Debug)]
pub(crate) enum Output {
    Notice(LegId, Box<MediaNotice>),
    /// The leg was closed: nothing of it is left.
    Closed(LegId),
}

/// Which session of ours a phone was told of, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OurSession {
    pub(crate) id: u64,
    pub(crate) version: u64,
}

#[derive(Debug, Default)]
struct Party {
    said: Option<Said>,
    /// What counts if the offer that it made since is refused.
    before: Option<Said>,
    /// Of a phone, with whose words of when it was told last.
    session: Option<OurSession>,
    told_of: Option<(LegId, u64)>,
    /// Its candidates since its last description.
    candidates: Vec<Candidate>,
    is_complete: bool,
    /// Who was given its description, and so gets its candidates: one, or a few that ring.
    told: Vec<LegId>,
    /// Whose description it was given.
    heard: Vec<LegId>,
    is_connected: bool,
}

#[derive(Debug, Clone)]
struct Said {
    description: Session,
    at: u64,
}

impl DirectMedia {
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Forgets a leg without a word, because its media goes elsewhere; gives the session that its phone
    /// knows.
    pub(crate) fn release(&mut self, leg: LegId) -> Option<OurSession> {
        self.forget(leg)?.session.filter(|session| session.version > 0)
    }

    fn forget(&mut self, leg: LegId) -> Option<Party> {
        let party = self.legs.remove(&leg)?;
        for other in &party.heard {
            if let Some(other) = self.legs.get_mut(other) {
                other.told.retain(|told| *told != leg);
            }
        }
        Some(party)
    }

    /// `id` numbers the leg's session of ours, if it is a phone's.
    pub(crate) fn handle_request(&mut self, request: MediaRequest, id: impl FnOnce() -> u64) {
        match request {
            MediaRequest::Open { leg, profile } => {
                let is_phone = profile != Profile::WebRtc;
                let session = is_phone.then(|| OurSession { id: id(), version: 0 });
                self.legs.insert(leg, Party { session, ..Party::default() });
            }
            MediaRequest::Accept { leg, kind, description } => self.accept(leg, kind, description),
            MediaRequest::Describe { leg, kind, peer } => self.describe(leg, kind, peer),
            MediaRequest::Candidate { leg, candidate } => self.candidate(leg, candidate),
            MediaRequest::EndOfCandidates { leg } => {
                let Some(party) = self.legs.get_mut(&leg) else { return };
                party.is_complete = true;
                for told in party.told.clone() {
                    self.notice(told, MediaNotice::EndOfCandidates { leg: told });
                }
            }
            MediaRequest::Close { leg } => {
                self.forget(leg);
                self.outputs.push_back(Output::Closed(leg));
            }
            MediaRequest::Rollback { leg } => {
                if let Some(party) = self.legs.get_mut(&leg)
                    && let Some(before) = party.before.take()
                {
                    party.said = Some(before);
                }
            }
            // Who hears whom is between the parties. What we would have to say in the media
            // cannot be said: digits go by signalling, because no leg takes them otherwise.
            MediaRequest::RestartIce { .. }
            | MediaRequest::Bridge { .. }
            | MediaRequest::Play { .. }
            | MediaRequest::SendDtmf { .. }
            // What browsers do with each other is their own.
            | MediaRequest::RefuseVideo { .. }
            | MediaRequest::RequestKeyFrame { .. } => {}
        }
    }

    fn accept(&mut self, leg: LegId, kind: SdpKind, description: Session) {
        self.clock += 1;
        let at = self.clock;
        let Some(party) = self.legs.get_mut(&leg) else { return };
        // A phone that refreshes its session says the same again: what it was answered still stands.
        let is_phone = party.session.is_some();
        let is_same = |said: &Said| is_phone && said.description == description;
        let is_news = !party.said.as_ref().is_some_and(is_same);
        if is_news {
            let before = party.said.replace(Said { description, at });
            party.before = before.filter(|_| kind == SdpKind::Offer);
        }
        party.candidates.clear();
        party.is_complete = false;
        party.told.clear();
        let was_connected = std::mem::replace(&mut party.is_connected, true);
        let accepted = Described {
            far_side_concerned: is_news,
            passed_news: false,
            only_fax: false,
            on_hold: false,
            telephone_event: false,
        };
        self.notice(leg, MediaNotice::Accepted { leg, accepted });
        if !was_connected {
            // The parties see to it themselves, and tell by hanging up when it fails.
            self.notice(leg, MediaNotice::Connected { leg });
        }
    }

    fn describe(&mut self, leg: LegId, kind: SdpKind, peer: Option<LegId>) {
        let asked = self.legs.get(&leg).and_then(|p| p.said.as_ref()).map_or(0, |said| said.at);
        let party = peer.and_then(|peer| self.legs.get_mut(&peer));
        let said = party.and_then(|party| {
            let Said { description, at } = party.said.as_ref()?;
            // What the peer said before it heard the offer is no answer to it.
            if kind == SdpKind::Answer && *at < asked {
                return None;
            }
            if !party.told.contains(&leg) {
                party.told.push(leg);
            }
            let said = (description.clone(), *at);
            Some((said, party.candidates.clone(), party.is_complete))
        });
        let (Some((said, candidates, is_complete)), Some(peer)) = (said, peer) else {
            let was_asked = kind == SdpKind::Answer && asked > 0;
            // Who was asked has said nothing new: it did not take the offer.
            let refusal = match was_asked {
                true => MediaRefusal::NoCommonCodec,
                false => MediaRefusal::WrongState,
            };
            return self.notice(leg, MediaNotice::Refused { leg, refusal });
        };
        self.note_heard(leg, peer);
        let description = self.as_ours(leg, peer, said);
        self.notice(leg, MediaNotice::Described { leg, description });
        for candidate in candidates {
            self.notice(leg, MediaNotice::Candidate { leg, candidate });
        }
        if is_complete {
            self.notice(leg, MediaNotice::EndOfCandidates { leg });
        }
    }

    fn note_heard(&mut self, leg: LegId, of: LegId) {
        if let Some(party) = self.legs.get_mut(&leg)
            && !party.heard.contains(&of)
        {
            party.heard.push(of);
        }
    }

    /// What `peer` said in the session that this leg's phone has with us; a browser's own words.
    fn as_ours(&mut self, leg: LegId, peer: LegId, (said, at): (Session, u64)) -> Session {
        let Some(party) = self.legs.get_mut(&leg) else { return said };
        party.before = None;
        let Some(session) = &mut party.session else { return said };
        if party.told_of != Some((peer, at)) {
            party.told_of = Some((peer, at));
            session.version += 1;
        }
        let address = said.address().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        said.passed_on(&Origin { id: session.id, version: session.version, address })
    }

    fn candidate(&mut self, leg: LegId, candidate: Candidate) {
        let Some(party) = self.legs.get_mut(&leg) else { return };
        if party.candidates.len() >= MAX_CANDIDATES {
            return;
        }
        party.candidates.push(candidate.clone());
        for told in party.told.clone() {
            let notice = MediaNotice::Candidate { leg: told, candidate: candidate.clone() };
            self.notice(told, notice);
        }
    }

    fn notice(&mut self, leg: LegId, notice: MediaNotice) {
        self.outputs.push_back(Output::Notice(leg, Box::new(notice)));
    }
}

/// Of one description; a browser with many addresses has some dozens.
const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// The call may not know the media plane, and has to know what it can do.
    #[test]
    fn calls_know_the_codecs_of_the_media_plane() {
        use crosspoint_media::codec::Codec;
        // L16 is for phones that ask for it, and nobody is offered it.
        let all = Codec::ALL.iter().chain(&[Codec::L16]);
        let known: std::collections::BTreeSet<&str> = all.map(|codec| codec.name()).collect();
        assert_eq!(std::collections::BTreeSet::from(crosspoint_call::ANCHORED_CODECS), known);
    }

    const A: LegId = LegId(1);
    const B: LegId = LegId(2);

    fn description(port: u16) -> Session {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\n"
        );
        Session::parse(text.as_bytes()).expect("a plain description parses")
    }

    fn candidate(text: &str) -> Candidate {
        Candidate { text: text.to_owned(), mid: None, ufrag: None }
    }

    struct Pair(DirectMedia);

    impl Pair {
        fn new() -> Self {
            let mut media = DirectMedia::default();
            for leg in [A, B] {
                let profile = crosspoint_call::Profile::WebRtc;
                media.handle_request(MediaRequest::Open { leg, profile }, || 0);
            }
            Self(media)
        }

        fn ask(&mut self, request: MediaRequest) -> Vec<String> {
            self.0.handle_request(request, || 0);
            let mut said = Vec::new();
            while let Some(output) = self.0.poll_output() {
                said.push(match output {
                    Output::Notice(leg, notice) => format!("{leg} {}", word(*notice)),
                    Output::Closed(leg) => format!("{leg} closed"),
                });
            }
            said
        }

        fn accept(&mut self, leg: LegId, kind: SdpKind, port: u16) -> Vec<String> {
            self.ask(MediaRequest::Accept { leg, kind, description: description(port) })
        }

        fn describe(&mut self, leg: LegId, kind: SdpKind, peer: LegId) -> Vec<String> {
            self.ask(MediaRequest::Describe { leg, kind, peer: Some(peer) })
        }
    }

    fn word(notice: MediaNotice) -> String {
        match notice {
            MediaNotice::Described { description, .. } => {
                let text = description.to_string();
                let port = text.split("m=audio ").nth(1).and_then(|m| m.split(' ').next());
                format!("described {}", port.unwrap_or("nothing"))
            }
            MediaNotice::Candidate { candidate, .. } => candidate.text,
            MediaNotice::Refused { .. } => "refused".to_owned(),
            MediaNotice::EndOfCandidates { .. } => "complete".to_owned(),
            MediaNotice::Accepted { .. } => "accepted".to_owned(),
            MediaNotice::Connected { .. } => "connected".to_owned(),
            MediaNotice::Dtmf { .. }
            | MediaNotice::Lost { .. }
            | MediaNotice::KeyFrameWanted { .. }
            | MediaNotice::Displaced { .. }
            | MediaNotice::Quality { .. }
            | MediaNotice::Silence { .. }
            | MediaNotice::PlaybackEnded { .. } => "something else".to_owned(),
        }
    }

    #[test]
    fn descriptions_and_candidates_go_across() {
        let mut pair = Pair::new();
        assert_eq!(pair.accept(A, SdpKind::Offer, 4000), ["leg-1 accepted", "leg-1 connected"]);
        let early = MediaRequest::Candidate { leg: A, candidate: candidate("one") };
        assert_eq!(pair.ask(early), [] as [&str; 0]);
        assert_eq!(pair.describe(B, SdpKind::Offer, A), ["leg-2 described 4000", "leg-2 one"]);
        let late = MediaRequest::Candidate { leg: A, candidate: candidate("two") };
        assert_eq!(pair.ask(late), ["leg-2 two"]);
        assert_eq!(pair.ask(MediaRequest::EndOfCandidates { leg: A }), ["leg-2 complete"]);
        pair.accept(B, SdpKind::Answer, 5000);
        assert_eq!(pair.describe(A, SdpKind::Answer, B), ["leg-1 described 5000"]);
    }

    /// The far side refused the change: its old words are no answer to the new offer.
    #[test]
    fn an_old_description_answers_no_new_offer() {
        let mut pair = Pair::new();
        pair.accept(A, SdpKind::Offer, 4000);
        pair.accept(B, SdpKind::Answer, 5000);
        pair.accept(A, SdpKind::Offer, 4002);
        assert_eq!(pair.describe(A, SdpKind::Answer, B), ["leg-1 refused"]);
        pair.accept(B, SdpKind::Answer, 5002);
        assert_eq!(pair.describe(A, SdpKind::Answer, B), ["leg-1 described 5002"]);
    }

    #[test]
    fn candidates_are_bounded_and_nothing_is_left() {
        let mut pair = Pair::new();
        pair.accept(A, SdpKind::Offer, 4000);
        for _ in 0..1000 {
            pair.ask(MediaRequest::Candidate { leg: A, candidate: candidate("c") });
        }
        assert_eq!(pair.describe(B, SdpKind::Offer, A).len(), 1 + MAX_CANDIDATES);
        for leg in [A, B] {
            assert_eq!(pair.ask(MediaRequest::Close { leg }), [format!("{leg} closed")]);
        }
        assert!(pair.0.legs.is_empty());
    }
}

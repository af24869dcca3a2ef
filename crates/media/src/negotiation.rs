//! Offer and answer for one leg (RFC 3264, RFC 8829): from descriptions to a stream.
//!
//! One audio stream is agreed; every other media section is refused and kept in its place. What
//! must never happen is not expressible: keys in the description and DTLS exclude each other by
//! [`Security`], and a browser is never offered a section without rtcp-mux, mid and BUNDLE.

mod formats;
mod stream;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crosspoint_base::Rng;
use crosspoint_sdp::{
    Direction, Fingerprint, Media, Origin, Session, Setup, check_answer, check_reoffer,
};

use crate::control::{Accepted, Profile, Refusal, SdpKind, SrtpPolicy};
use formats::Formats;
pub use stream::{Events, Keys, SdesKeys, StreamConfig, Transport};

/// Our side of a leg's transport.
#[derive(Debug, Clone)]
pub struct LocalEnd {
    pub address: SocketAddr,
    /// Candidate lines of the browser socket.
    pub candidates: Vec<String>,
    pub ice_lite: bool,
    /// Of our DTLS certificate.
    pub fingerprint: Vec<u8>,
}

/// How the stream is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Dtls,
    /// Keys in the description: required, or taken up when the peer does.
    Sdes {
        optional: bool,
    },
    Plain,
}

/// What a peer leg means for the description of this one.
#[derive(Debug, Clone, Default)]
pub struct PeerView {
    /// Its codec first, then the others it knows.
    codecs: Vec<crate::codec::Codec>,
    /// What its user does.
    direction: Direction,
}

/// The offer/answer state of one leg.
#[derive(Debug)]
pub struct Negotiator {
    security: Security,
    ice: IceCredentials,
    ssrc: u32,
    cname: String,
    origin_id: u64,
    version: u64,
    keys: SdesKeys,
    formats: Formats,
    /// The last description of ours, as sent.
    local: Option<Session>,
    /// Our offer, while it waits for its answer.
    offered: Option<Session>,
    remote: Option<Remote>,
    /// The remote offer has not been answered.
    must_answer: bool,
}

/// Our ICE username fragment and password (RFC 8445 §5.3).
#[derive(Clone)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

/// The peer's side, out of its last description.
#[derive(Debug, Clone)]
struct Remote {
    session: Session,
    /// Which section is the audio we agreed on.
    index: usize,
    audio: Media,
    ice_lite: bool,
    /// Whether it was an offer: the peer's payload types then count for both directions.
    is_offer: bool,
}

impl Negotiator {
    #[must_use]
    pub fn new(profile: Profile, rng: &mut Rng) -> Self {
        let security = match profile {
            Profile::WebRtc => Security::Dtls,
            Profile::Rtp(SrtpPolicy::Off) => Security::Plain,
            Profile::Rtp(SrtpPolicy::Optional) => Security::Sdes { optional: true },
            Profile::Rtp(SrtpPolicy::Required) => Security::Sdes { optional: false },
        };
        Self {
            security,
            ice: IceCredentials { ufrag: rng.hex(4), pwd: rng.hex(12) },
            ssrc: rng.next_u32(),
            cname: rng.hex(8),
            origin_id: rng.next_u64() >> 2,
            version: 0,
            keys: SdesKeys::generate(rng),
            formats: Formats::default(),
            local: None,
            offered: None,
            remote: None,
            must_answer: false,
        }
    }

    #[must_use]
    pub fn ice_credentials(&self) -> &IceCredentials {
        &self.ice
    }

    /// The source of what we send on this leg.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    #[must_use]
    pub fn cname(&self) -> &str {
        &self.cname
    }

    /// True when this leg's media is a browser's: ICE and DTLS.
    #[must_use]
    pub fn is_webrtc(&self) -> bool {
        self.security == Security::Dtls
    }

    /// How this leg looks to the one it is joined with.
    #[must_use]
    pub fn view(&self) -> PeerView {
        let Some(remote) = &self.remote else { return PeerView::default() };
        let mut codecs: Vec<_> = self.formats.sending().into_iter().collect();
        for codec in formats::known(&remote.audio) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        PeerView { codecs, direction: effective_direction(&remote.audio) }
    }

    /// Takes the peer's description.
    ///
    /// # Errors
    /// When it breaks a rule or shares no codec with us; the state before stands.
    pub fn accept(&mut self, kind: SdpKind, session: &Session) -> Result<Accepted, Refusal> {
        match kind {
            SdpKind::Offer => self.accept_offer(session),
            SdpKind::Answer => self.accept_answer(session),
        }
    }

    fn accept_offer(&mut self, session: &Session) -> Result<Accepted, Refusal> {
        if let Some(remote) = &self.remote {
            check_reoffer(&remote.session, session).map_err(|r| Refusal::BadDescription(r.0))?;
        }
        let kept = self.remote.as_ref().map(|r| r.index);
        let (index, audio) = find_audio(session, kept)?;
        let security = offered_security(&audio)?;
        if formats::known(&audio).is_empty() {
            return Err(Refusal::NoCommonCodec);
        }
        self.security = security;
        // A new offer by the peer voids ours (the connector decided who wins).
        self.offered = None;
        self.must_answer = true;
        Ok(self.take(session, index, audio, true))
    }

    fn accept_answer(&mut self, session: &Session) -> Result<Accepted, Refusal> {
        let Some(offered) = self.offered.clone() else { return Err(Refusal::WrongState) };
        check_answer(&offered, session).map_err(|r| Refusal::BadDescription(r.0))?;
        let index = offered.media().position(|m| m.is_audio() && m.port != 0).unwrap_or(0);
        let audio = session.media().nth(index).filter(|m| !m.is_rejected());
        let audio = audio.ok_or(Refusal::NoCommonCodec)?;
        self.check_answered_security(&audio)?;
        if formats::known(&audio).is_empty() {
            return Err(Refusal::NoCommonCodec);
        }
        self.offered = None;
        Ok(self.take(session, index, audio, false))
    }

    fn take(&mut self, session: &Session, index: usize, audio: Media, is_offer: bool) -> Accepted {
        let before = self
            .remote
            .as_ref()
            .map(|r| (effective_direction(&r.audio), formats::known(&r.audio).first().copied()));
        let after = (effective_direction(&audio), formats::known(&audio).first().copied());
        self.formats.agree(&audio, is_offer);
        self.remote = Some(Remote {
            session: session.clone(),
            index,
            ice_lite: session.is_ice_lite(),
            is_offer,
            audio,
        });
        Accepted {
            far_side_concerned: before.is_none_or(|before| before != after),
            on_hold: !after.0.receives(),
            telephone_event: self.formats.sends_events(),
        }
    }

    fn check_answered_security(&self, audio: &Media) -> Result<(), Refusal> {
        let fits = match self.security {
            Security::Dtls => {
                !audio.fingerprints.is_empty() && audio.ice_ufrag.is_some() && audio.rtcp_mux
            }
            Security::Sdes { optional } => optional || self.keys.answered(&audio.cryptos).is_some(),
            Security::Plain => true,
        };
        if fits {
            Ok(())
        } else {
            Err(Refusal::BadDescription("the answer lacks keys, fingerprint, ICE or rtcp-mux"))
        }
    }

    /// Makes our description. `peer` is the leg this one is joined with.
    ///
    /// # Errors
    /// When there is nothing to answer.
    pub fn describe(
        &mut self,
        kind: SdpKind,
        peer: Option<&PeerView>,
        end: &LocalEnd,
    ) -> Result<Session, Refusal> {
        match kind {
            SdpKind::Offer => Ok(self.offer(peer, end)),
            SdpKind::Answer if self.must_answer => self.answer(peer, end),
            // Early media gave the answer already: it is repeated as it was.
            SdpKind::Answer => self.local.clone().ok_or(Refusal::WrongState),
        }
    }

    fn offer(&mut self, peer: Option<&PeerView>, end: &LocalEnd) -> Session {
        let wanted = peer.map_or(&[][..], |p| &p.codecs);
        let protocol = match self.security {
            Security::Dtls => "UDP/TLS/RTP/SAVPF",
            Security::Sdes { optional: false } => "RTP/SAVP",
            Security::Sdes { optional: true } | Security::Plain => "RTP/AVP",
        };
        let mut audio = Media::new("audio", protocol);
        self.formats.offer(wanted, &mut audio);
        audio.direction = wanted_direction(peer);
        audio.cryptos = match self.security {
            Security::Sdes { .. } => self.keys.offer(),
            Security::Dtls | Security::Plain => vec![],
        };
        let mid = self.remote.as_ref().and_then(|r| r.audio.mid.clone());
        audio.mid = self.is_webrtc().then(|| mid.unwrap_or_else(|| "0".to_owned()));
        audio.is_bundled = self.is_webrtc();
        self.fill_transport(&mut audio, end, Setup::ActPass);
        let session = self.finish(audio, end);
        self.offered = Some(session.clone());
        session
    }

    fn answer(&mut self, peer: Option<&PeerView>, end: &LocalEnd) -> Result<Session, Refusal> {
        let Some(remote) = self.remote.clone() else { return Err(Refusal::WrongState) };
        let mut audio = Media::new("audio", &remote.audio.protocol);
        let wanted = peer.and_then(|p| p.codecs.first().copied());
        self.formats.answer(wanted, &remote.audio, &mut audio);
        audio.direction = wanted_direction(peer).and(remote.audio.direction.reversed());
        if let Security::Sdes { .. } = self.security {
            audio.cryptos = self.keys.answer(&remote.audio.cryptos);
        }
        audio.mid.clone_from(&remote.audio.mid);
        audio.is_bundled = remote.audio.is_bundled;
        let setup = match remote.audio.setup {
            Some(Setup::Passive) => Setup::Active,
            // The peer starts DTLS when it has our answer: no ClientHello of ours can come
            // before the answer that explains it.
            _ => Setup::Passive,
        };
        self.fill_transport(&mut audio, end, setup);
        audio.rtcp_mux = remote.audio.rtcp_mux;
        self.must_answer = false;
        Ok(self.finish(audio, end))
    }

    fn fill_transport(&self, audio: &mut Media, end: &LocalEnd, setup: Setup) {
        audio.port = end.address.port();
        audio.address = Some(end.address.ip());
        audio.rtcp_mux = self.is_webrtc();
        if !self.is_webrtc() {
            return;
        }
        audio.ice_ufrag = Some(self.ice.ufrag.clone());
        audio.ice_pwd = Some(self.ice.pwd.clone());
        audio.trickle = true;
        audio.candidates =
            end.candidates.iter().map(|c| crosspoint_sdp::Candidate(c.clone())).collect();
        audio.end_of_candidates = true;
        audio.fingerprints =
            vec![Fingerprint { algorithm: "sha-256".to_owned(), bytes: end.fingerprint.clone() }];
        audio.setup = Some(setup);
        audio.ssrc = Some((self.ssrc, self.cname.clone()));
        audio.msid = Some(format!("{} audio", self.cname));
    }

    /// Puts the audio section in its place among the refused ones, and counts the version up
    /// when anything changed (RFC 3264 §8).
    fn finish(&mut self, audio: Media, end: &LocalEnd) -> Session {
        let mut sections: Vec<Media> = match &self.remote {
            Some(remote) => remote.session.media().map(|m| Media::refused(&m)).collect(),
            None => vec![Media::new("audio", "RTP/AVP")],
        };
        let index = self.remote.as_ref().map_or(0, |r| r.index);
        if let Some(slot) = sections.get_mut(index) {
            *slot = audio;
        }
        let (id, lite) = (self.origin_id, self.is_webrtc() && end.ice_lite);
        let build = |version| {
            let origin = Origin { id, version, address: end.address.ip() };
            Session::build(&origin, lite, &sections)
        };
        let same = build(self.version);
        let session = if self.local.as_ref() == Some(&same) {
            same
        } else {
            self.version += 1;
            build(self.version)
        };
        self.local = Some(session.clone());
        session
    }

    /// Forgets our offer that was refused.
    pub fn rollback(&mut self) {
        self.offered = None;
    }

    /// What was agreed, once both sides are known.
    #[must_use]
    pub fn stream(&self) -> Option<StreamConfig> {
        let (local, remote) = (self.local.as_ref()?, self.remote.as_ref()?);
        if self.offered.is_some() && !remote.is_offer && self.formats.sending().is_none() {
            return None;
        }
        let ours = local.media().nth(remote.index)?;
        Some(stream::build(self, remote, &ours))
    }
}

/// The first audio section that is in use; the one agreed before when it still is.
fn find_audio(session: &Session, kept: Option<usize>) -> Result<(usize, Media), Refusal> {
    let usable = |(_, m): &(usize, Media)| m.is_audio() && !m.is_rejected();
    let kept = kept.and_then(|k| session.media().enumerate().nth(k)).filter(usable);
    kept.or_else(|| session.media().enumerate().find(usable)).ok_or(Refusal::NoCommonCodec)
}

fn offered_security(audio: &Media) -> Result<Security, Refusal> {
    let secure = audio.protocol.contains("SAVP");
    let has_keys = audio.cryptos.iter().any(stream::is_usable);
    if !audio.fingerprints.is_empty() && secure {
        // Both kinds at once is a bad offer, but DTLS is the one that cannot be overheard.
        if audio.ice_ufrag.is_none() || audio.ice_pwd.is_none() {
            return Err(Refusal::BadDescription("DTLS without ICE is not taken"));
        }
        return Ok(Security::Dtls);
    }
    match (secure, has_keys) {
        (_, true) => Ok(Security::Sdes { optional: !secure }),
        (true, false) => Err(Refusal::BadDescription("SAVP without a usable key or fingerprint")),
        (false, false) => Ok(Security::Plain),
    }
}

/// What the peer's user does; the old `c=0.0.0.0` means that it does not listen.
fn effective_direction(audio: &Media) -> Direction {
    Direction::new(audio.direction.sends(), !audio.is_held())
}

/// We send what the other leg's user sends, and take what that user listens to.
fn wanted_direction(peer: Option<&PeerView>) -> Direction {
    peer.map_or(Direction::SendRecv, |p| p.direction)
}

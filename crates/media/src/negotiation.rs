//! Offer and answer for one leg (RFC 3264, RFC 8829): from descriptions to a stream.
//!
//! One audio stream is agreed; every other media section is refused and kept in its place. What
//! must never happen is not expressible: keys in the description and DTLS exclude each other by
//! `Security`, and a browser is never offered a section without rtcp-mux, mid and BUNDLE.

mod formats;
mod opus;
mod security;
mod stream;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crosspoint_base::Rng;
use crosspoint_sdp::{
    Direction, Fingerprint, Media, Origin, Session, Setup, check_answer, check_reoffer,
};

use crate::codec::Codec;
use crate::control::{Accepted, Profile, Refusal, SdpKind};
use formats::Formats;
use security::Security;
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

/// What a peer leg means for the description of this one.
#[derive(Debug, Clone, Default)]
pub struct PeerView {
    /// Its codec first, then the others it knows.
    codecs: Vec<Codec>,
    /// What its user does.
    direction: Direction,
    /// What it asks of those who send Opus to it.
    opus: Option<String>,
}

/// The offer/answer state of one leg.
#[derive(Debug)]
pub struct Negotiator {
    profile: Profile,
    rng: Rng,
    ssrc: u32,
    cname: String,
    origin_id: u64,
    version: u64,
    /// The last description of ours, as sent: the version counts its changes.
    sent: Option<Session>,
    /// The next offer of ours begins ICE again.
    restarts_ice: bool,
    agreed: Agreed,
    exchange: Exchange,
}

/// What both sides have said, the running exchange included.
#[derive(Debug, Clone)]
struct Agreed {
    security: Security,
    ice: IceCredentials,
    keys: SdesKeys,
    formats: Formats,
    local: Option<Session>,
    remote: Option<Remote>,
    /// We open the DTLS connection; known once it was agreed, and kept while the peer keeps
    /// its certificate (RFC 8842 §5.5).
    active: Option<bool>,
}

/// Where the exchange of descriptions stands (RFC 3264 §4). `before` is what stands until the
/// exchange is complete, and again when it fails.
#[derive(Debug)]
enum Exchange {
    /// Nothing is open. A further answer to our last offer replaces the first: the 200 after
    /// a 183, or the one of another place that a call was forked to.
    Settled { answered: Option<Session> },
    /// Our offer waits for its answer.
    Offered { offer: Session, before: Box<Agreed> },
    /// The remote offer has not been answered.
    MustAnswer { before: Box<Agreed> },
}

/// Our ICE username fragment and password (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl IceCredentials {
    fn generate(rng: &mut Rng) -> Self {
        Self { ufrag: rng.hex(4), pwd: rng.hex(12) }
    }
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
    /// What its user does, also where an answer had to follow a narrower offer of ours.
    wish: Direction,
}

impl Negotiator {
    #[must_use]
    pub fn new(profile: Profile, rng: &mut Rng) -> Self {
        let mut rng = rng.fork();
        let agreed = Agreed {
            security: Security::of(profile),
            ice: IceCredentials::generate(&mut rng),
            keys: SdesKeys::generate(&mut rng),
            formats: Formats::default(),
            local: None,
            remote: None,
            active: None,
        };
        Self {
            profile,
            ssrc: rng.next_u32(),
            cname: rng.hex(8),
            origin_id: rng.next_u64() >> 2,
            version: 0,
            sent: None,
            restarts_ice: false,
            agreed,
            exchange: Exchange::Settled { answered: None },
            rng,
        }
    }

    /// Ours for the next description; they change when the peer restarts ICE.
    #[must_use]
    pub fn ice_credentials(&self) -> &IceCredentials {
        &self.agreed.ice
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
        self.agreed.security == Security::Dtls
    }

    /// How this leg looks to the one it is joined with.
    #[must_use]
    pub fn view(&self) -> PeerView {
        let Some(remote) = &self.agreed.remote else { return PeerView::default() };
        let mut codecs: Vec<_> = self.agreed.formats.sending().into_iter().collect();
        for codec in formats::known(&remote.audio) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        PeerView { codecs, direction: remote.wish, opus: opus::wishes(&remote.audio) }
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
        // A new offer by the peer voids ours (the connector decided who wins).
        let before = match &self.exchange {
            Exchange::Settled { .. } => &self.agreed,
            Exchange::Offered { before, .. } | Exchange::MustAnswer { before } => before,
        };
        if let Some(remote) = &before.remote {
            check_reoffer(&remote.session, session).map_err(|r| Refusal::BadDescription(r.0))?;
        }
        let kept = before.remote.as_ref().map(|r| r.index);
        let (index, audio) = find_audio(session, kept)?;
        let security = Security::offered(&audio, self.profile)?;
        let is_dtls = |s| s == Security::Dtls;
        if before.remote.is_some() && is_dtls(before.security) != is_dtls(security) {
            return Err(Refusal::BadDescription("a running stream keeps DTLS or stays without"));
        }
        if formats::known(&audio).is_empty() {
            return Err(Refusal::NoCommonCodec);
        }
        let before = before.clone();
        self.agreed = before.clone();
        self.agreed.security = security;
        self.renew_secrets(&audio);
        self.exchange = Exchange::MustAnswer { before: Box::new(before) };
        let wish = effective_direction(&audio);
        Ok(self.take(session, index, audio, wish))
    }

    /// A restart of ICE, or a new key of the peer's, needs the same of us: new credentials
    /// (RFC 8839 §4.4.1.1.1), and a key that no packet counter has run over yet.
    fn renew_secrets(&mut self, audio: &Media) {
        let Some(remote) = &self.agreed.remote else { return };
        if self.agreed.security == Security::Dtls
            && (&remote.audio.ice_ufrag, &remote.audio.ice_pwd)
                != (&audio.ice_ufrag, &audio.ice_pwd)
        {
            self.agreed.ice = IceCredentials::generate(&mut self.rng);
        }
        if stream::remote_key(&remote.audio.cryptos) != stream::remote_key(&audio.cryptos) {
            self.agreed.keys = SdesKeys::generate(&mut self.rng);
        }
    }

    fn accept_answer(&mut self, session: &Session) -> Result<Accepted, Refusal> {
        let offer = match &self.exchange {
            Exchange::Offered { offer, .. } => offer,
            Exchange::Settled { answered: Some(offer) } => offer,
            Exchange::Settled { answered: None } | Exchange::MustAnswer { .. } => {
                return Err(Refusal::WrongState);
            }
        };
        check_answer(offer, session).map_err(|r| Refusal::BadDescription(r.0))?;
        let index = offer.media().position(|m| m.is_audio() && m.port != 0).unwrap_or(0);
        let audio = session.media().nth(index).filter(|m| !m.is_rejected());
        let audio = audio.ok_or(Refusal::NoCommonCodec)?;
        self.agreed.security.check_answer(&audio, &self.agreed.keys)?;
        if formats::known(&audio).is_empty() {
            return Err(Refusal::NoCommonCodec);
        }
        let ours = offer.media().nth(index).map_or(Direction::SendRecv, |m| m.direction);
        self.exchange = Exchange::Settled { answered: Some(offer.clone()) };
        let wish = self.wish_behind_answer(&audio, ours);
        let setup = audio.setup;
        let accepted = self.take(session, index, audio, wish);
        if self.is_webrtc() {
            let active = match setup {
                Some(Setup::Passive) => true,
                Some(Setup::Active) => false,
                _ => self.agreed.active.unwrap_or(false),
            };
            self.agreed.active = Some(active);
        }
        Ok(accepted)
    }

    /// An answer cannot ask for more than the offer allows, so where our offer was narrow the
    /// peer's last word stands.
    fn wish_behind_answer(&self, audio: &Media, ours: Direction) -> Direction {
        let last = self.agreed.remote.as_ref().map_or(Direction::SendRecv, |r| r.wish);
        let said = effective_direction(audio);
        Direction::new(
            said.sends() || (!ours.receives() && last.sends()),
            said.receives() || (!ours.sends() && last.receives()),
        )
    }

    fn take(&mut self, session: &Session, index: usize, audio: Media, wish: Direction) -> Accepted {
        let is_offer = matches!(self.exchange, Exchange::MustAnswer { .. });
        let agreed = &mut self.agreed;
        let codec = formats::known(&audio).first().copied();
        let is_news = match &agreed.remote {
            Some(r) => (r.wish, formats::known(&r.audio).first().copied()) != (wish, codec),
            None => is_offer || wish != Direction::SendRecv,
        };
        if agreed.remote.as_ref().is_some_and(|r| r.audio.fingerprints != audio.fingerprints) {
            agreed.active = None;
        }
        agreed.formats.agree(&audio, is_offer);
        let ice_lite = session.is_ice_lite();
        agreed.remote =
            Some(Remote { session: session.clone(), index, audio, ice_lite, is_offer, wish });
        Accepted {
            far_side_concerned: is_news,
            on_hold: !wish.receives(),
            telephone_event: agreed.formats.sends_events(),
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
        match (kind, &self.exchange) {
            (SdpKind::Offer, _) => Ok(self.offer(peer, end)),
            (SdpKind::Answer, Exchange::MustAnswer { .. }) => self.answer(peer, end),
            // Early media gave the answer already: it is repeated as it was.
            (SdpKind::Answer, Exchange::Settled { .. } | Exchange::Offered { .. }) => {
                self.agreed.local.clone().ok_or(Refusal::WrongState)
            }
        }
    }

    fn offer(&mut self, peer: Option<&PeerView>, end: &LocalEnd) -> Session {
        if matches!(self.exchange, Exchange::MustAnswer { .. }) {
            self.rollback();
        }
        let before = self.agreed.clone();
        if std::mem::take(&mut self.restarts_ice) {
            self.agreed.ice = IceCredentials::generate(&mut self.rng);
        }
        let security = self.agreed.security;
        let others = if self.is_webrtc() { BROWSER_ORDER } else { PHONE_ORDER };
        let mut audio = Media::new("audio", security.protocol());
        let wanted = peer.map_or(&[][..], |p| &p.codecs);
        let parameters = peer.and_then(|p| p.opus.as_deref());
        self.agreed.formats.offer(wanted, &others, parameters, &mut audio);
        audio.direction = wanted_direction(peer);
        audio.cryptos = match security {
            Security::Sdes { .. } => self.agreed.keys.offer(),
            Security::Dtls | Security::Plain => vec![],
        };
        let mid = self.agreed.remote.as_ref().and_then(|r| r.audio.mid.clone());
        audio.mid = self.is_webrtc().then(|| mid.unwrap_or_else(|| "0".to_owned()));
        audio.is_bundled = self.is_webrtc();
        audio.rtcp_mux = true;
        self.fill_transport(&mut audio, end, Setup::ActPass);
        let offer = self.finish(audio, end);
        let before = match std::mem::replace(&mut self.exchange, SETTLED) {
            Exchange::Offered { before, .. } => before,
            Exchange::Settled { .. } | Exchange::MustAnswer { .. } => Box::new(before),
        };
        self.exchange = Exchange::Offered { offer: offer.clone(), before };
        offer
    }

    fn answer(&mut self, peer: Option<&PeerView>, end: &LocalEnd) -> Result<Session, Refusal> {
        let Some(remote) = self.agreed.remote.clone() else { return Err(Refusal::WrongState) };
        let mut audio = Media::new("audio", &remote.audio.protocol);
        let wanted = peer.and_then(|p| p.codecs.first().copied());
        let parameters = peer.and_then(|p| p.opus.as_deref());
        self.agreed.formats.answer(wanted, parameters, &remote.audio, &mut audio);
        audio.direction = wanted_direction(peer).and(remote.wish.reversed());
        if let Security::Sdes { .. } = self.agreed.security {
            audio.cryptos = self.agreed.keys.answer(&remote.audio.cryptos);
        }
        audio.mid.clone_from(&remote.audio.mid);
        audio.is_bundled = remote.audio.is_bundled;
        audio.rtcp_mux = remote.audio.rtcp_mux;
        let active = match remote.audio.setup {
            Some(Setup::Passive) => true,
            Some(Setup::Active) => false,
            // The peer starts DTLS when it has our answer: no ClientHello of ours can come
            // before the answer that explains it.
            _ => self.agreed.active.unwrap_or(false),
        };
        if self.is_webrtc() {
            self.agreed.active = Some(active);
        }
        let setup = if active { Setup::Active } else { Setup::Passive };
        self.fill_transport(&mut audio, end, setup);
        self.exchange = SETTLED;
        Ok(self.finish(audio, end))
    }

    fn fill_transport(&self, audio: &mut Media, end: &LocalEnd, setup: Setup) {
        audio.port = end.address.port();
        audio.address = Some(end.address.ip());
        if !self.is_webrtc() {
            return;
        }
        audio.ice_ufrag = Some(self.agreed.ice.ufrag.clone());
        audio.ice_pwd = Some(self.agreed.ice.pwd.clone());
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
        let mut sections: Vec<Media> = match &self.agreed.remote {
            Some(remote) => remote.session.media().map(|m| Media::refused(&m)).collect(),
            None => vec![Media::new("audio", "RTP/AVP")],
        };
        let index = self.agreed.remote.as_ref().map_or(0, |r| r.index);
        if let Some(slot) = sections.get_mut(index) {
            *slot = audio;
        }
        let (id, lite) = (self.origin_id, self.is_webrtc() && end.ice_lite);
        let build = |version| {
            let origin = Origin { id, version, address: end.address.ip() };
            Session::build(&origin, lite, &sections)
        };
        let same = build(self.version);
        let session = if self.sent.as_ref() == Some(&same) {
            same
        } else {
            self.version += 1;
            build(self.version)
        };
        self.sent = Some(session.clone());
        self.agreed.local = Some(session.clone());
        session
    }

    /// Has the next offer of ours begin ICE again (RFC 8839 §4.4.1.1.1): the browser then looks for
    /// its way to us anew.
    pub fn restart_ice(&mut self) {
        self.restarts_ice = self.is_webrtc() && self.agreed.remote.is_some();
    }

    /// Forgets the exchange that is open, whoever offered: what was agreed before stands.
    pub fn rollback(&mut self) {
        if let Exchange::Offered { before, .. } | Exchange::MustAnswer { before } =
            std::mem::replace(&mut self.exchange, SETTLED)
        {
            self.agreed = *before;
        }
    }

    /// What was agreed, once both sides are known; an open exchange changes nothing yet.
    #[must_use]
    pub fn stream(&self) -> Option<StreamConfig> {
        let agreed = match &self.exchange {
            Exchange::Settled { .. } => &self.agreed,
            Exchange::Offered { before, .. } | Exchange::MustAnswer { before } => before,
        };
        let (local, remote) = (agreed.local.as_ref()?, agreed.remote.as_ref()?);
        let ours = local.media().nth(remote.index)?;
        Some(stream::build(agreed, remote, &ours))
    }
}

/// The first audio section that is in use; the one agreed before when it still is.
fn find_audio(session: &Session, kept: Option<usize>) -> Result<(usize, Media), Refusal> {
    let usable = |(_, m): &(usize, Media)| {
        m.is_audio() && !m.is_rejected() && security::is_known_protocol(m)
    };
    let kept = kept.and_then(|k| session.media().enumerate().nth(k)).filter(usable);
    kept.or_else(|| session.media().enumerate().find(usable)).ok_or(Refusal::NoCommonCodec)
}

/// What the peer's user does; the old `c=0.0.0.0` means that it does not listen.
fn effective_direction(audio: &Media) -> Direction {
    Direction::new(audio.direction.sends(), !audio.is_held())
}

/// We send what the other leg's user sends, and take what that user listens to.
fn wanted_direction(peer: Option<&PeerView>) -> Direction {
    peer.map_or(Direction::SendRecv, |p| p.direction)
}

const SETTLED: Exchange = Exchange::Settled { answered: None };

/// What we can translate, best first for each kind of peer.
const BROWSER_ORDER: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma];
const PHONE_ORDER: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

//! Offer and answer for one leg (RFC 3264, RFC 8829): from descriptions to a stream.
//!
//! One audio stream is agreed, and one of video where both parties have it; fax and text pass as they
//! are between phones; every other media section is refused and kept in its place. What must never happen is not expressible: keys in the description and DTLS exclude each other by
//! `Security`, and a browser is never offered a section without rtcp-mux, mid and BUNDLE.

mod formats;
mod manner;
mod opus;
mod passed;
mod security;
mod sound;
mod stream;
#[cfg(test)]
mod tests;
mod video;
mod video_stream;

use std::net::SocketAddr;

use crosspoint_base::{Rng, hex};
use crosspoint_sdp::{
    Direction, Fingerprint, Media, Origin, PackedSession, Session, Setup, check_answer,
    check_reoffer,
};

use crate::codec::Codec;
use crate::control::{Accepted, Profile, Refusal, SdpKind, SrtpPolicy};
use formats::{Extras, Formats};
pub use manner::{Format, Manner, Names, Passes};
pub use passed::PassedKind;
use passed::{Passed, PassedView, without_sound};
use security::Security;
pub use sound::SoundRules;
pub use stream::{
    DtlsTerms, Events, Keys, NoiseFormat, PassedStream, SdesKeys, StreamConfig, Transport,
};
use video::{Terms, Video, VideoView};
pub use video_stream::{Extensions, Feedback, Received, VideoConfig};

/// Our side of a leg's transport.
#[derive(Debug, Clone)]
pub struct LocalEnd {
    pub address: SocketAddr,
    /// Of a phone's video; without one there is no video.
    pub video: Option<SocketAddr>,
    /// Of what passes as it is, as far as there are ports for it.
    pub passed: Vec<(PassedKind, SocketAddr)>,
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
    /// It knows comfort noise.
    takes_noise: bool,
    video: Option<VideoView>,
    passed: PassedView,
}

/// The offer/answer state of one leg.
#[derive(Debug)]
pub struct Negotiator {
    profile: Profile,
    /// Which shard's, of several.
    shard: u8,
    rng: Rng,
    ssrc: u32,
    /// Of video, and of its repairs.
    video_ssrcs: (u32, u32),
    /// This leg is never given video.
    refuses_video: bool,
    cname: String,
    origin_id: u64,
    version: u64,
    /// The last description of ours, as sent: the version counts its changes.
    sent: Option<PackedSession>,
    /// The next offer of ours begins ICE again.
    restarts_ice: bool,
    /// Set when this leg stands for another one, of whose media it says no more than it must.
    manner: Option<Box<Manner>>,
    sound: SoundRules,
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
    local: Option<PackedSession>,
    remote: Option<Remote>,
    /// We open the DTLS connection; known once it was agreed, and kept while the peer keeps
    /// its certificate (RFC 8842 §5.5).
    active: Option<bool>,
    /// Once there was any.
    video: Option<Box<Video>>,
    passed: Passed,
}

/// Where the exchange of descriptions stands (RFC 3264 §4). `before` is what stands until the
/// exchange is complete, and again when it fails.
#[derive(Debug)]
enum Exchange {
    /// Nothing is open. A further answer to our last offer replaces the first: the 200 after
    /// a 183, or the one of another place that a call was forked to.
    Settled { answered: Option<PackedSession> },
    /// Our offer waits for its answer.
    Offered { offer: PackedSession, before: Box<Agreed> },
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
    /// The fragment begins with the number of our shard, so that a host of several can tell whose
    /// a check is.
    fn generate(shard: u8, rng: &mut Rng) -> Self {
        Self { ufrag: hex(&[shard]) + &rng.hex(4), pwd: rng.hex(12) }
    }

    /// The number of the shard that made this fragment.
    pub(crate) fn shard_of(ufrag: &str) -> Option<u8> {
        u8::from_str_radix(ufrag.get(..2)?, 16).ok()
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
    session: PackedSession,
    /// Which section is the audio we agreed on.
    index: usize,
    audio: Media,
    /// False while there is fax in the place of sound.
    has_sound: bool,
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
            ice: IceCredentials::generate(0, &mut rng),
            keys: SdesKeys::generate(&mut rng),
            formats: Formats::default(),
            local: None,
            remote: None,
            active: None,
            video: None,
            passed: Passed::default(),
        };
        let ssrc = rng.next_u32();
        // Three that differ, whatever the first is.
        let video_ssrcs = (ssrc ^ 1, ssrc ^ 2);
        Self {
            profile,
            shard: 0,
            ssrc,
            video_ssrcs,
            refuses_video: false,
            cname: rng.hex(8),
            origin_id: rng.next_u64() >> 2,
            version: 0,
            sent: None,
            restarts_ice: false,
            manner: None,
            sound: SoundRules::default(),
            agreed,
            exchange: Exchange::Settled { answered: None },
            rng,
        }
    }

    /// The same for a leg of this shard.
    pub(crate) fn of_shard(mut self, shard: u8) -> Self {
        self.shard = shard;
        self.agreed.ice.ufrag.replace_range(..2, &hex(&[shard]));
        self
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

    /// The same for video, and for what repeats its lost packets.
    #[must_use]
    pub fn video_ssrcs(&self) -> (u32, u32) {
        self.video_ssrcs
    }

    /// Its descriptions are those of a session that the peer knows already, the next versions of it.
    pub fn continue_session(&mut self, id: u64, version: u64) {
        (self.origin_id, self.version) = (id, version);
    }

    /// From now on video is refused and not offered here.
    pub fn refuse_video(&mut self) {
        self.refuses_video = true;
    }

    /// From now on descriptions keep to these rules.
    pub fn set_sound_rules(&mut self, rules: SoundRules) {
        self.sound = rules;
    }

    /// Whether our next description of this kind has video, if there is an address for it.
    #[must_use]
    pub fn wants_video(&self, kind: SdpKind, peer: Option<&PeerView>) -> bool {
        let peer_has = peer.is_some_and(|p| p.video.is_some());
        let we_have = self.agreed.video.as_ref().is_some_and(|v| v.remote.is_some());
        !self.has_no_video() && peer_has && (kind == SdpKind::Offer || we_have)
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

    /// Video is not for this leg; a way without ICE has one DTLS connection, which is the sound's.
    fn has_no_video(&self) -> bool {
        self.refuses_video || self.agreed.security == Security::DtlsAlone
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
        let video = self.agreed.video.as_ref().and_then(|v| v.view());
        let takes_noise = self.agreed.formats.takes_noise();
        let opus = opus::wishes(&remote.audio);
        let passed = self.agreed.passed.view(remote);
        PeerView { codecs, direction: remote.wish, opus, takes_noise, video, passed }
    }

    /// What of sections that pass as they are our next description may have, and so needs ports.
    pub fn wants_passed(&self, peer: Option<&PeerView>) -> Vec<PassedKind> {
        let peer = peer.filter(|_| self.may_pass());
        peer.into_iter().flat_map(|peer| peer.passed.kinds()).collect()
    }

    /// Whether this leg may have such sections: they go in the clear, and no browser knows them.
    fn may_pass(&self) -> bool {
        let is_open = matches!(self.profile, Profile::Rtp(SrtpPolicy::Off | SrtpPolicy::Optional));
        is_open && self.manner.is_none() && !self.is_webrtc()
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
            check_reoffer(&remote.session.unpack(), session)
                .map_err(|r| Refusal::BadDescription(r.0))?;
        }
        let kept = before.remote.as_ref().map(|r| r.index);
        let passed = if self.may_pass() { Passed::offered(session) } else { Passed::default() };
        let (index, mut audio) = match (find_audio(session, kept), passed.of(PassedKind::Fax)) {
            (Err(_), Some(fax)) => {
                let (index, audio) = without_sound(before.remote.as_ref(), session, fax.index);
                return Ok(self.accept_fax(session, index, audio, passed));
            }
            (found, _) => found?,
        };
        self.sound.narrow(&mut audio);
        let security = Security::offered(&audio, self.profile)?;
        let by_dtls = |s: Security| (s.is_dtls(), s == Security::Dtls);
        if before.remote.is_some() && by_dtls(before.security) != by_dtls(security) {
            return Err(Refusal::BadDescription("a running stream keeps DTLS or stays without"));
        }
        if formats::known(&audio).is_empty() && self.manner.is_none() {
            return Err(Refusal::NoCommonCodec);
        }
        let before = before.clone();
        self.agreed = before.clone();
        self.agreed.security = security;
        self.renew_secrets(&audio);
        self.exchange = Exchange::MustAnswer { before: Box::new(before) };
        let wish = effective_direction(&audio);
        let video_is_news = self.take_video_offer(session, index);
        let mut accepted = self.take(session, index, audio, wish, passed);
        accepted.far_side_concerned |= video_is_news;
        Ok(accepted)
    }

    /// An offer of fax, and of no sound.
    fn accept_fax(
        &mut self,
        session: &Session,
        index: usize,
        audio: Media,
        passed: Passed,
    ) -> Accepted {
        let before = match std::mem::replace(&mut self.exchange, SETTLED) {
            Exchange::Settled { .. } => Box::new(self.agreed.clone()),
            Exchange::Offered { before, .. } | Exchange::MustAnswer { before } => before,
        };
        self.agreed = Agreed::clone(&before);
        self.exchange = Exchange::MustAnswer { before };
        if let Some(video) = &mut self.agreed.video {
            video.take_nothing();
        }
        self.take(session, index, audio, Direction::SendRecv, passed)
    }

    fn take_video_offer(&mut self, session: &Session, audio: usize) -> bool {
        let has_some = session.sections().iter().any(|m| m.is_video() && !m.is_rejected());
        if self.has_no_video() || !has_some {
            let before = self.agreed.video.as_mut().and_then(|v| v.take_nothing());
            return before.is_some();
        }
        let terms = self.terms(audio);
        let video = self.agreed.video.get_or_insert_with(|| Box::new(Video::new(&mut self.rng)));
        video.take_offer(session, terms, &mut self.rng)
    }

    fn terms(&self, audio: usize) -> Terms {
        Terms { security: self.agreed.security, profile: self.profile, audio }
    }

    fn take_video_answer(&mut self, offer: &Session, answer: &Session, audio: usize) {
        let terms = self.terms(audio);
        let sound = answer.sections().get(audio);
        let is_sealed = sound.is_some_and(|m| self.agreed.keys.answered(&m.cryptos).is_some());
        let Some(video) = &mut self.agreed.video else { return };
        match offer.sections().get(video.index).filter(|m| m.is_video() && m.port != 0) {
            Some(offered) => {
                let answered = answer.sections().get(video.index).cloned();
                video.take_answer(offered, answered, terms, is_sealed);
            }
            None => {
                video.take_nothing();
            }
        }
    }

    /// A restart of ICE, or a new key of the peer's, needs the same of us: new credentials
    /// (RFC 8839 §4.4.1.1.1), and a key that no packet counter has run over yet.
    fn renew_secrets(&mut self, audio: &Media) {
        let Some(remote) = &self.agreed.remote else { return };
        if self.agreed.security == Security::Dtls
            && (&remote.audio.ice_ufrag, &remote.audio.ice_pwd)
                != (&audio.ice_ufrag, &audio.ice_pwd)
        {
            self.agreed.ice = IceCredentials::generate(self.shard, &mut self.rng);
        }
        if stream::remote_key(&remote.audio.cryptos) != stream::remote_key(&audio.cryptos) {
            self.agreed.keys = SdesKeys::generate(&mut self.rng);
        }
    }

    fn accept_answer(&mut self, session: &Session) -> Result<Accepted, Refusal> {
        let packed = match &self.exchange {
            Exchange::Offered { offer, .. } => offer.clone(),
            Exchange::Settled { answered: Some(offer) } => offer.clone(),
            Exchange::Settled { answered: None } | Exchange::MustAnswer { .. } => {
                return Err(Refusal::WrongState);
            }
        };
        let offer = packed.unpack();
        check_answer(&offer, session).map_err(|r| Refusal::BadDescription(r.0))?;
        let passed = Passed::answered(&offer, session);
        let offered = offer.sections().iter().position(|m| m.is_audio() && m.port != 0);
        let index = offered.unwrap_or(0);
        let audio = session.sections().get(index);
        let audio = audio.filter(|m| m.is_audio() && !m.is_rejected()).cloned();
        let mut audio = match (audio, passed.of(PassedKind::Fax)) {
            (None, Some(fax)) => {
                let before = self.agreed.remote.as_ref();
                let (index, audio) = without_sound(before, session, fax.index);
                self.exchange = Exchange::Settled { answered: Some(packed) };
                if let Some(video) = &mut self.agreed.video {
                    video.take_nothing();
                }
                return Ok(self.take(session, index, audio, Direction::SendRecv, passed));
            }
            (audio, _) => audio.ok_or(Refusal::NoCommonCodec)?,
        };
        self.sound.narrow(&mut audio);
        self.agreed.security.check_answer(&audio, &self.agreed.keys)?;
        if formats::known(&audio).is_empty() && self.manner.is_none() {
            return Err(Refusal::NoCommonCodec);
        }
        let ours = offer.sections().get(index).map_or(Direction::SendRecv, |m| m.direction);
        self.take_video_answer(&offer, session, index);
        self.exchange = Exchange::Settled { answered: Some(packed) };
        let wish = self.wish_behind_answer(&audio, ours);
        let setup = audio.setup;
        let accepted = self.take(session, index, audio, wish, passed);
        if self.agreed.security.is_dtls() {
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

    fn take(
        &mut self,
        session: &Session,
        index: usize,
        audio: Media,
        wish: Direction,
        passed: Passed,
    ) -> Accepted {
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
        let has_sound = !audio.is_rejected();
        if has_sound {
            agreed.formats.agree(&audio, is_offer);
        }
        let had_sound = agreed.remote.as_ref().is_none_or(|r| r.has_sound);
        let passed_news = had_sound != has_sound || !agreed.passed.is_like(&passed);
        agreed.passed = passed;
        let ice_lite = session.is_ice_lite();
        agreed.remote = Some(Remote {
            session: session.pack(),
            index,
            audio,
            has_sound,
            ice_lite,
            is_offer,
            wish,
        });
        Accepted {
            far_side_concerned: is_news && has_sound,
            passed_news,
            only_fax: !has_sound,
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
            (SdpKind::Offer, _) => self.offer(peer, end),
            (SdpKind::Answer, Exchange::MustAnswer { .. }) => self.answer(peer, end),
            // Who stands for another passes on every answer of the other's.
            (SdpKind::Answer, Exchange::Settled { answered: None })
                if self.manner.is_some()
                    && self.agreed.remote.as_ref().is_some_and(|r| r.is_offer) =>
            {
                self.answer(peer, end)
            }
            // Early media gave the answer already: it is repeated as it was.
            (SdpKind::Answer, Exchange::Settled { .. } | Exchange::Offered { .. }) => {
                self.agreed.local.as_ref().map(PackedSession::unpack).ok_or(Refusal::WrongState)
            }
        }
    }

    fn offer(&mut self, peer: Option<&PeerView>, end: &LocalEnd) -> Result<Session, Refusal> {
        let passed = peer.map(|peer| &peer.passed).filter(|_| self.may_pass());
        let has_fax = passed.is_some() && end.passed.iter().any(|(k, _)| *k == PassedKind::Fax);
        let only_fax = peer.is_some_and(|peer| peer.passed.only_fax);
        if only_fax && !has_fax {
            return Err(Refusal::NoCommonCodec);
        }
        if matches!(self.exchange, Exchange::MustAnswer { .. }) {
            self.rollback();
        }
        let before = self.agreed.clone();
        if std::mem::take(&mut self.restarts_ice) {
            self.agreed.ice = IceCredentials::generate(self.shard, &mut self.rng);
        }
        let security = self.agreed.security;
        let others = if self.is_webrtc() { BROWSER_ORDER } else { PHONE_ORDER };
        let mut audio = Media::new("audio", security.protocol());
        let wanted = peer.map_or(&[][..], |p| &p.codecs);
        let parameters = peer.and_then(|p| p.opus.as_deref());
        let noise = peer.is_some_and(|p| p.takes_noise);
        match &self.manner {
            Some(manner) => self.agreed.formats.copy(&manner.formats, &mut audio),
            None => {
                let (wanted, others) = self.sound.offered(wanted, &others);
                let extras = Extras { noise, events: !self.sound.no_events };
                self.agreed.formats.offer(wanted, others, parameters, extras, &mut audio);
            }
        }
        audio.direction = wanted_direction(peer).and(self.manner_direction());
        audio.cryptos = match security {
            Security::Sdes { .. } => self.agreed.keys.offer(),
            Security::Dtls | Security::DtlsAlone | Security::Plain => vec![],
        };
        let mid = self.agreed.remote.as_ref().and_then(|r| r.audio.mid.clone());
        let mid = mid.or_else(|| self.manner.as_ref().and_then(|manner| manner.mid.clone()));
        audio.mid = self.is_webrtc().then(|| mid.unwrap_or_else(|| "0".to_owned()));
        audio.is_bundled = self.is_webrtc();
        // One DTLS connection makes keys for one port (RFC 5764 §4.1.2).
        let needs_mux = self.agreed.security.is_dtls();
        audio.rtcp_mux = needs_mux || self.manner.as_ref().is_none_or(|m| m.rtcp_mux);
        self.fill_transport(&mut audio, end, Setup::ActPass);
        let video = if only_fax { None } else { self.offer_video(peer, end) };
        self.keep_numbers_apart();
        let (sections, index) = self.sections();
        let passed = passed.map(|passed| passed.offer(end, &sections, index)).unwrap_or_default();
        let audio = if only_fax { Media::refused(&audio) } else { audio };
        let offer = self.finish(audio, video, passed, end);
        let before = match std::mem::replace(&mut self.exchange, SETTLED) {
            Exchange::Offered { before, .. } => before,
            Exchange::Settled { .. } | Exchange::MustAnswer { .. } => Box::new(before),
        };
        let packed = self.sent.clone().unwrap_or_else(|| offer.pack());
        self.exchange = Exchange::Offered { offer: packed, before };
        Ok(offer)
    }

    fn offer_video(&mut self, peer: Option<&PeerView>, end: &LocalEnd) -> Option<Media> {
        let address = self.video_address(end)?;
        let view = peer?.video.as_ref().filter(|_| !self.has_no_video())?;
        let (is_webrtc, security) = (self.is_webrtc(), self.agreed.security);
        let of_video: Vec<u8> = self.agreed.video.iter().flat_map(|v| v.numbers.used()).collect();
        let of_sound = self.agreed.formats.used().filter(|pt| !of_video.contains(pt));
        let taken: Vec<u8> = if is_webrtc { of_sound.collect() } else { vec![] };
        let before = self.agreed.remote.as_ref().map(|r| r.session.unpack());
        let mut sections = before.iter().flat_map(Session::media);
        let (place, is_running) = self.video_place();
        let mid = match &self.agreed.video {
            Some(video) if is_running => video.remote.as_ref().and_then(|r| r.media.mid.clone()),
            // A section that begins anew has a name that was not used (RFC 8829 §5.2.2).
            _ => {
                let used: Vec<_> = sections.by_ref().filter_map(|m| m.mid).collect();
                let mut free = (1..).map(|n: u32| n.to_string()).filter(|n| !used.contains(n));
                free.next()
            }
        };
        let video = self.agreed.video.get_or_insert_with(|| Box::new(Video::new(&mut self.rng)));
        video.index = place;
        let mut section = Media::new("video", security.protocol());
        video.offer(view, is_webrtc, &taken, &mut section);
        if section.codecs.is_empty() {
            return None;
        }
        if let Security::Sdes { .. } = security {
            section.cryptos = video.keys.offer();
        }
        section.mid = mid.filter(|_| is_webrtc);
        section.is_bundled = is_webrtc;
        section.rtcp_mux = true;
        self.fill_video_transport(&mut section, address, end, Setup::ActPass);
        Some(section)
    }

    /// Where video goes among the sections, and whether it is there already: where it was, in a
    /// section of video that was refused, or behind all others.
    fn video_place(&self) -> (usize, bool) {
        if let Some(place) = self.manner.as_ref().and_then(|manner| manner.video) {
            // Its sections are those of another description.
            let video = self.agreed.video.as_deref();
            return (place, video.is_some_and(|v| v.remote.is_some() && v.index == place));
        }
        let Some(remote) = &self.agreed.remote else { return (1, false) };
        let before = remote.session.unpack();
        let is_running = |v: &&Video| v.remote.is_some() && v.index < before.len();
        if let Some(video) = self.agreed.video.as_deref().filter(is_running) {
            return (video.index, true);
        }
        let is_free = |(index, m): &(usize, Media)| *index != remote.index && m.is_video();
        let free = before.media().enumerate().find(is_free).map(|(index, _)| index);
        (free.unwrap_or(before.len()), false)
    }

    /// Numbers of sound and video are apart where one transport carries both (RFC 8843 §10.1.2).
    fn keep_numbers_apart(&mut self) {
        if self.is_webrtc()
            && let Some(video) = &self.agreed.video
        {
            self.agreed.formats.reserve(video.numbers.used());
        }
    }

    fn video_address(&self, end: &LocalEnd) -> Option<SocketAddr> {
        if self.is_webrtc() { end.video.map(|_| end.address) } else { end.video }
    }

    fn answer_video(
        &mut self,
        peer: Option<&PeerView>,
        end: &LocalEnd,
        setup: Setup,
    ) -> Option<Media> {
        let address = self.video_address(end);
        let security = self.agreed.security;
        let video = self.agreed.video.as_mut()?;
        let offered = video.remote.as_ref()?.media.clone();
        let view = peer.and_then(|p| p.video.as_ref()).filter(|_| address.is_some());
        let mut section = Media::new("video", &offered.protocol);
        if !video.answer(view, &mut section) {
            return None;
        }
        if let Security::Sdes { .. } = security {
            section.cryptos = video.keys.answer(&offered.cryptos);
        }
        self.fill_video_transport(&mut section, address?, end, setup);
        Some(section)
    }

    fn fill_video_transport(
        &self,
        video: &mut Media,
        address: SocketAddr,
        end: &LocalEnd,
        setup: Setup,
    ) {
        self.fill_transport(video, end, setup);
        video.port = address.port();
        if self.is_webrtc() {
            let (ssrc, repair) = self.video_ssrcs;
            video.ssrc = Some((ssrc, self.cname.clone()));
            let has_repairs = video.codecs.iter().any(|c| c.is("rtx", 90_000));
            video.repair_ssrc = has_repairs.then_some(repair);
            // The same stream as the sound: the browser plays them in step (RFC 8830 §2).
            video.msid = Some([&self.cname, " video"].concat());
        }
    }

    fn answer(&mut self, peer: Option<&PeerView>, end: &LocalEnd) -> Result<Session, Refusal> {
        let Some(remote) = self.agreed.remote.clone() else { return Err(Refusal::WrongState) };
        let passed = self.agreed.passed.answer(peer.map(|peer| &peer.passed), end);
        // Where one side has fax alone, so has the other.
        let only_fax = peer.is_some_and(|peer| peer.passed.only_fax);
        let has_sound = remote.has_sound && !only_fax;
        let is_fax = |(_, section): &(usize, Media)| section.is_fax();
        if !has_sound && !passed.iter().any(is_fax) {
            return Err(Refusal::NoCommonCodec);
        }
        self.agreed.passed.keep(&passed);
        let mut audio = Media::new("audio", &remote.audio.protocol);
        let wanted = peer.and_then(|p| p.codecs.first().copied());
        let parameters = peer.and_then(|p| p.opus.as_deref());
        let noise = peer.is_none_or(|p| p.takes_noise);
        match &self.manner {
            Some(manner) => self.agreed.formats.copy(&manner.formats, &mut audio),
            None => {
                let formats = &mut self.agreed.formats;
                formats.answer(wanted, parameters, noise, &remote.audio, &mut audio);
            }
        }
        audio.direction =
            wanted_direction(peer).and(remote.wish.reversed()).and(self.manner_direction());
        if let Security::Sdes { .. } = self.agreed.security {
            audio.cryptos = self.agreed.keys.answer(&remote.audio.cryptos);
        }
        audio.mid.clone_from(&remote.audio.mid);
        audio.is_bundled = remote.audio.is_bundled;
        let takes_mux =
            self.agreed.security.is_dtls() || self.manner.as_ref().is_none_or(|m| m.rtcp_mux);
        audio.rtcp_mux = remote.audio.rtcp_mux && takes_mux;
        let role = self.manner.as_ref().and_then(|m| m.dtls_active);
        let active = match remote.audio.setup {
            Some(Setup::Passive) => true,
            Some(Setup::Active) => false,
            // The peer starts DTLS when it has our answer: no ClientHello of ours can come
            // before the answer that explains it.
            _ => self.agreed.active.or(role).unwrap_or(false),
        };
        if self.agreed.security.is_dtls() {
            self.agreed.active = Some(active);
        }
        let setup = if active { Setup::Active } else { Setup::Passive };
        self.fill_transport(&mut audio, end, setup);
        let video = self.answer_video(peer, end, setup).filter(|_| has_sound);
        self.keep_numbers_apart();
        self.exchange = SETTLED;
        if !has_sound {
            audio = Media::refused(&audio);
            if let Some(remote) = &mut self.agreed.remote {
                remote.has_sound = false;
            }
        }
        Ok(self.finish(audio, video, passed, end))
    }

    fn fill_transport(&self, audio: &mut Media, end: &LocalEnd, setup: Setup) {
        audio.port = end.address.port();
        audio.address = Some(end.address.ip());
        if self.agreed.security.is_dtls() {
            let bytes = end.fingerprint.clone();
            audio.fingerprints = vec![Fingerprint { algorithm: "sha-256".to_owned(), bytes }];
            audio.setup = Some(setup);
        }
        if !self.is_webrtc() {
            return;
        }
        audio.ice_ufrag = Some(self.agreed.ice.ufrag.clone());
        audio.ice_pwd = Some(self.agreed.ice.pwd.clone());
        audio.trickle = true;
        audio.candidates =
            end.candidates.iter().map(|c| crosspoint_sdp::Candidate(c.clone())).collect();
        audio.end_of_candidates = true;
        audio.ssrc = Some((self.ssrc, self.cname.clone()));
        audio.msid = Some([&self.cname, " audio"].concat());
    }

    /// Puts audio and video in their places among the refused ones, and counts the version up
    /// when anything changed (RFC 3264 §8).
    fn finish(
        &mut self,
        audio: Media,
        video: Option<Media>,
        passed: Vec<(usize, Media)>,
        end: &LocalEnd,
    ) -> Session {
        let (mut sections, index) = self.sections();
        let known = sections.len();
        if let Some(slot) = sections.get_mut(index) {
            *slot = audio;
        }
        if let Some(video) = video {
            let place = self.agreed.video.as_ref().map_or(usize::MAX, |v| v.index);
            match sections.get_mut(place) {
                Some(slot) => *slot = video,
                None => sections.push(video),
            }
        }
        for (place, section) in passed {
            match sections.get_mut(place).filter(|_| place < known) {
                Some(slot) => *slot = section,
                None => sections.push(section),
            }
        }
        let (id, lite) = (self.origin_id, self.is_webrtc() && end.ice_lite);
        let origin = |version| Origin { id, version, address: end.address.ip() };
        if self.sent.is_some() {
            let same = Session::build(&origin(self.version), lite, &sections);
            if self.sent.as_ref() == Some(&same.pack()) {
                self.agreed.local = self.sent.clone();
                return same;
            }
        }
        self.version += 1;
        let session = Session::build_of(&origin(self.version), lite, sections);
        let packed = session.pack();
        self.sent = Some(packed.clone());
        self.agreed.local = Some(packed);
        session
    }

    /// Every section there was, refused, and which is the audio.
    fn sections(&self) -> (Vec<Media>, usize) {
        match (&self.agreed.remote, &self.manner) {
            (_, Some(m)) if !m.sections.is_empty() => (m.sections.clone(), m.index),
            (Some(remote), _) => {
                let before = remote.session.unpack();
                (before.sections().iter().map(Media::refused).collect(), remote.index)
            }
            (None, _) => (vec![Media::new("audio", "RTP/AVP")], 0),
        }
    }

    /// Makes this leg stand for another one; its next descriptions are made so.
    pub fn set_manner(&mut self, manner: Manner) {
        self.refuses_video = manner.video.is_none();
        self.manner = Some(Box::new(manner));
    }

    fn manner_direction(&self) -> Direction {
        self.manner.as_ref().map_or(Direction::SendRecv, |manner| manner.direction)
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

    /// Keeps descriptions as text alone: the call is set up, and may last.
    pub(crate) fn condense(&mut self) {
        let exchange = match &mut self.exchange {
            Exchange::Settled { answered } => answered.as_mut(),
            Exchange::Offered { offer, .. } => Some(offer),
            Exchange::MustAnswer { .. } => None,
        };
        let agreed = &mut self.agreed;
        let remote = agreed.remote.as_mut().map(|remote| &mut remote.session);
        let kept = [self.sent.as_mut(), agreed.local.as_mut(), remote, exchange];
        kept.into_iter().flatten().for_each(PackedSession::condense);
    }

    /// What was agreed, once both sides are known; an open exchange changes nothing yet.
    #[must_use]
    pub fn stream(&self) -> Option<StreamConfig> {
        let agreed = match &self.exchange {
            Exchange::Settled { .. } => &self.agreed,
            Exchange::Offered { before, .. } | Exchange::MustAnswer { before } => before,
        };
        let (local, remote) = (agreed.local.as_ref()?, agreed.remote.as_ref()?);
        let local = local.unpack();
        let ours = local.sections().get(remote.index)?;
        let names = self.manner.as_ref().map(|m| Names::new(&m.formats, &remote.audio));
        let mut stream = StreamConfig { names, ..stream::build(agreed, remote, ours) };
        if let Some(video) = &agreed.video
            && let Some(ours) = local.sections().get(video.index).filter(|m| m.port != 0)
        {
            stream.video = video_stream::build(agreed, remote, video, ours).map(Box::new);
        }
        let used = agreed.passed.iter().filter_map(|section| {
            let ours = local.sections().get(section.index).filter(|ours| ours.port != 0)?;
            Some(stream::passed(section.kind, &section.media, ours))
        });
        stream.passed = used.collect();
        Some(stream)
    }
}

/// The first audio section that is in use; the one agreed before when it still is.
fn find_audio(session: &Session, kept: Option<usize>) -> Result<(usize, Media), Refusal> {
    let usable = |(_, m): &(usize, &Media)| {
        m.is_audio() && !m.is_rejected() && security::is_known_protocol(m)
    };
    let sections = || session.sections().iter().enumerate();
    let kept = kept.and_then(|k| sections().nth(k)).filter(usable);
    let found = kept.or_else(|| sections().find(usable));
    found.map(|(index, media)| (index, media.clone())).ok_or(Refusal::NoCommonCodec)
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

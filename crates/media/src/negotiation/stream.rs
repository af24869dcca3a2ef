//! The outcome of a negotiation, for the packet path.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crosspoint_base::Rng;
use crosspoint_sdp::{Candidate, Crypto, Direction, Fingerprint, Media};

use super::{Agreed, Names, PassedKind, Remote, Security, VideoConfig, opus};
use crate::codec::Codec;
use crate::srtp::Profile;

/// Everything a packet path needs to know of one leg.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    pub transport: Transport,
    pub keys: Keys,
    /// How keys are made by DTLS where there is no ICE.
    pub dtls: Option<DtlsTerms>,
    /// Codec and payload type to send; absent when the peer knows none.
    pub send: Option<(Codec, u8)>,
    /// Payload types the peer may send.
    pub receive: Vec<(u8, Codec)>,
    pub events: Events,
    pub noise: NoiseFormat,
    /// Opus in pauses: the peer asked for next to nothing (RFC 7587 §6.1).
    pub wants_dtx: bool,
    /// Seen from us.
    pub direction: Direction,
    /// How much sound the peer wants in a packet.
    pub ptime: Duration,
    /// What its numbers stand for, when the leg stands for another one.
    pub names: Option<Names>,
    pub video: Option<Box<VideoConfig>>,
    /// There is sound at all, and not fax alone.
    pub has_sound: bool,
    /// What passes as it is.
    pub passed: Vec<PassedStream>,
}

/// Whose certificate is believed (RFC 8122), and who opens the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtlsTerms {
    pub fingerprints: Vec<Fingerprint>,
    /// We do.
    pub active: bool,
}

/// A section that passes as it is: where the peer takes it.
#[derive(Debug, Clone)]
pub struct PassedStream {
    pub kind: PassedKind,
    pub remote: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    /// Payload types that may come; none of what is no RTP.
    pub formats: Vec<u8>,
}

/// RFC 4733 formats: payload type and clock.
#[derive(Debug, Clone, Default)]
pub struct Events {
    pub send: Option<(u8, u32)>,
    pub receive: Vec<(u8, u32)>,
}

/// Comfort noise (RFC 3389): payload types, where it was agreed.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoiseFormat {
    pub send: Option<u8>,
    pub receive: Option<u8>,
}

#[derive(Clone)]
pub enum Transport {
    /// A browser: addresses come from ICE.
    Ice {
        ufrag: String,
        pwd: String,
        candidates: Vec<SocketAddr>,
        lite: bool,
        fingerprints: Vec<Fingerprint>,
        /// We open the DTLS connection.
        active: bool,
    },
    Rtp {
        remote: Option<SocketAddr>,
        rtcp: Option<SocketAddr>,
        mux: bool,
    },
}

/// Addresses and passwords never show.
impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ice { lite, active, .. } => write!(f, "Ice(lite: {lite}, active: {active})"),
            Self::Rtp { mux, .. } => write!(f, "Rtp(mux: {mux})"),
        }
    }
}

/// SRTP keys, as far as the descriptions tell them.
#[derive(Clone)]
pub enum Keys {
    None,
    /// By DTLS.
    Dtls,
    Sdes {
        profile: Profile,
        local: Vec<u8>,
        remote: Vec<u8>,
    },
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Dtls => "Dtls",
            Self::Sdes { .. } => "Sdes",
        })
    }
}

/// Our keys for SDES: one for each suite.
#[derive(Clone)]
pub struct SdesKeys(Vec<(Profile, Vec<u8>)>);

impl std::fmt::Debug for SdesKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SdesKeys")
    }
}

impl SdesKeys {
    pub(super) fn generate(rng: &mut Rng) -> Self {
        let key = |profile: &Profile| {
            let mut key = vec![0; profile.key_len() + profile.salt_len()];
            rng.fill(&mut key);
            (*profile, key)
        };
        Self(SUITES.iter().map(key).collect())
    }

    /// Best first; a suite of 32-bit tags is taken when offered, never offered.
    pub(super) fn offer(&self) -> Vec<Crypto> {
        let offered = self.0.iter().filter(|(p, _)| *p != Profile::Aes128CmSha1_32);
        offered.zip(1..).map(|((profile, key), tag)| crypto(tag, *profile, key)).collect()
    }

    pub(super) fn answer(&self, offered: &[Crypto]) -> Vec<Crypto> {
        let Some((crypto_offered, profile)) = best(offered) else { return vec![] };
        let key = self.key(profile);
        key.map(|key| crypto(crypto_offered.tag, profile, key)).into_iter().collect()
    }

    /// Suite and key of an answer to our offer: the tag says which of ours it takes up.
    pub(super) fn answered(&self, answered: &[Crypto]) -> Option<(Profile, Vec<u8>)> {
        let answer = answered.iter().find(|c| is_usable(c))?;
        let profile = Profile::from_sdes_name(&answer.suite)?;
        self.offer().iter().find(|c| c.tag == answer.tag && c.suite == answer.suite)?;
        Some((profile, decode(answer)?))
    }

    fn key(&self, profile: Profile) -> Option<&Vec<u8>> {
        self.0.iter().find(|(p, _)| *p == profile).map(|(_, key)| key)
    }
}

pub(super) fn is_usable(crypto: &Crypto) -> bool {
    !crypto.has_mki && crypto.parameters.is_none() && decode(crypto).is_some()
}

fn best(offered: &[Crypto]) -> Option<(&Crypto, Profile)> {
    let usable = offered.iter().filter(|c| is_usable(c));
    let known = usable.filter_map(|c| Some((c, Profile::from_sdes_name(&c.suite)?)));
    known.min_by_key(|(_, profile)| SUITES.iter().position(|p| p == profile))
}

fn decode(crypto: &Crypto) -> Option<Vec<u8>> {
    let profile = Profile::from_sdes_name(&crypto.suite)?;
    let key = BASE64.decode(&crypto.key).ok()?;
    (key.len() == profile.key_len() + profile.salt_len()).then_some(key)
}

fn crypto(tag: u32, profile: Profile, key: &[u8]) -> Crypto {
    Crypto {
        tag,
        suite: profile.sdes_name().to_owned(),
        key: BASE64.encode(key),
        has_mki: false,
        parameters: None,
    }
}

/// The key and suite that we would take of an offer.
pub(super) fn remote_key(offered: &[Crypto]) -> Option<(Profile, Vec<u8>)> {
    best(offered).and_then(|(crypto, profile)| Some((profile, decode(crypto)?)))
}

pub(super) fn build(agreed: &Agreed, remote: &Remote, ours: &Media) -> StreamConfig {
    let audio = &remote.audio;
    let formats = &agreed.formats;
    let send = formats.sending().and_then(|c| Some((c, formats.remote_pt(c)?)));
    let clock = send.map_or(8000, |(codec, _)| codec.clock_rate());
    StreamConfig {
        transport: transport(agreed, remote, ours),
        keys: keys(agreed.security, &agreed.keys, remote.is_offer, audio),
        dtls: (agreed.security == Security::DtlsAlone).then(|| DtlsTerms {
            fingerprints: audio.fingerprints.clone(),
            active: agreed.active.unwrap_or(false),
        }),
        send,
        receive: formats.receiving(),
        events: Events {
            send: formats.remote_event(clock).map(|(clock, pt)| (pt, clock)),
            receive: formats.receiving_events(),
        },
        noise: formats.noise(),
        wants_dtx: opus::wants_dtx(audio),
        direction: ours
            .direction
            .and(Direction::new(audio.direction.sends(), !audio.is_held()).reversed()),
        ptime: ptime(audio),
        names: None,
        video: None,
        has_sound: remote.has_sound,
        passed: vec![],
    }
}

/// A section that both sides use.
pub(super) fn passed(kind: PassedKind, theirs: &Media, ours: &Media) -> PassedStream {
    let (remote, rtcp, _) = rtp_addresses(theirs, ours);
    let number = |format: &String| format.parse().ok();
    let formats = ours.formats.iter().chain(&theirs.formats).filter_map(number).collect();
    PassedStream { kind, remote, rtcp, formats }
}

/// Whole tens of milliseconds, as every codec of ours can do them.
fn ptime(audio: &Media) -> Duration {
    let most = audio.maxptime.filter(|ms| *ms >= 10).unwrap_or(60).min(60);
    let wanted = audio.ptime.unwrap_or(20).clamp(10, most);
    Duration::from_millis(u64::from(wanted / 10 * 10))
}

fn transport(agreed: &Agreed, remote: &Remote, ours: &Media) -> Transport {
    let audio = &remote.audio;
    if agreed.security == Security::Dtls {
        return Transport::Ice {
            ufrag: audio.ice_ufrag.clone().unwrap_or_default(),
            pwd: audio.ice_pwd.clone().unwrap_or_default(),
            candidates: audio.candidates.iter().filter_map(Candidate::udp_address).collect(),
            lite: remote.ice_lite,
            fingerprints: audio.fingerprints.clone(),
            active: agreed.active.unwrap_or(false),
        };
    }
    rtp_transport(audio, ours)
}

/// Where a phone takes one of its sections.
pub(super) fn rtp_transport(audio: &Media, ours: &Media) -> Transport {
    let (remote, rtcp, mux) = rtp_addresses(audio, ours);
    Transport::Rtp { remote, rtcp, mux }
}

/// For RTP and for RTCP, and whether both are one.
fn rtp_addresses(audio: &Media, ours: &Media) -> (Option<SocketAddr>, Option<SocketAddr>, bool) {
    let usable = |a: &IpAddr| !a.is_unspecified() && !a.is_multicast();
    let address = audio.address.filter(usable).filter(|_| audio.port != 0);
    let mux = ours.rtcp_mux && audio.rtcp_mux;
    let rtcp_port = audio.rtcp_port.or(audio.port.checked_add(1)).filter(|p| !mux && *p != 0);
    let rtcp_address = audio.rtcp_address.filter(usable).or(address);
    let remote = address.map(|a| SocketAddr::new(a, audio.port));
    (remote, rtcp_address.zip(rtcp_port).map(|(a, port)| SocketAddr::new(a, port)), mux)
}

/// What protects a section: our keys for it, and what the peer wrote there.
pub(super) fn keys(security: Security, ours: &SdesKeys, is_offer: bool, theirs: &Media) -> Keys {
    let taken = match security {
        Security::Dtls | Security::DtlsAlone => return Keys::Dtls,
        Security::Plain => None,
        Security::Sdes { .. } if is_offer => remote_key(&theirs.cryptos),
        Security::Sdes { .. } => ours.answered(&theirs.cryptos),
    };
    let with_ours = taken.and_then(|(profile, remote)| {
        let local = ours.key(profile)?.clone();
        Some(Keys::Sdes { profile, local, remote })
    });
    with_ours.unwrap_or(Keys::None)
}

/// Best first.
const SUITES: [Profile; 4] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmSha1_80,
    Profile::Aes128CmSha1_32,
];

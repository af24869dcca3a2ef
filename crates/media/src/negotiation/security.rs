//! How a stream is protected, read out of descriptions and held to what the leg demands.

use crosspoint_sdp::{Media, Setup};

use super::stream::{self, SdesKeys};
use crate::control::{Profile, Refusal, SrtpPolicy};

/// How the stream is protected. Keys in the description and DTLS exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    Dtls,
    /// The same without ICE, between the addresses of the descriptions.
    DtlsAlone,
    /// Keys in the description: required, or taken up when the peer does.
    Sdes {
        optional: bool,
    },
    Plain,
}

impl Security {
    /// What we offer when nothing is agreed yet.
    pub(super) fn of(profile: Profile) -> Self {
        match profile {
            Profile::WebRtc => Self::Dtls,
            Profile::Rtp(SrtpPolicy::Off) => Self::Plain,
            Profile::Rtp(SrtpPolicy::Optional) => Self::Sdes { optional: true },
            Profile::Rtp(SrtpPolicy::Required) => Self::Sdes { optional: false },
            Profile::Rtp(SrtpPolicy::Dtls) => Self::DtlsAlone,
        }
    }

    /// Keys come by DTLS.
    pub(super) fn is_dtls(self) -> bool {
        matches!(self, Self::Dtls | Self::DtlsAlone)
    }

    pub(super) fn protocol(self) -> &'static str {
        match self {
            Self::Dtls => "UDP/TLS/RTP/SAVPF",
            Self::DtlsAlone => "UDP/TLS/RTP/SAVP",
            Self::Sdes { optional: false } => "RTP/SAVP",
            Self::Sdes { optional: true } | Self::Plain => "RTP/AVP",
        }
    }

    /// What a peer's offer asks for.
    pub(super) fn offered(audio: &Media, profile: Profile) -> Result<Self, Refusal> {
        let secure = is_secure(audio);
        let has_keys = audio.cryptos.iter().any(stream::is_usable);
        let has_dtls = secure && !audio.fingerprints.is_empty();
        let has_ice = audio.ice_ufrag.is_some() && audio.ice_pwd.is_some();
        let security = match (has_dtls && has_ice, has_keys, secure) {
            // Both kinds at once is a bad offer, but DTLS is the one that nobody on the
            // signalling path can read.
            (true, _, _) => Self::Dtls,
            _ if has_dtls && profile == Profile::Rtp(SrtpPolicy::Dtls) => Self::DtlsAlone,
            (false, true, _) => Self::Sdes { optional: !secure },
            (false, false, false) => Self::Plain,
            (false, false, true) if has_dtls => {
                return Err(Refusal::BadDescription("DTLS without ICE is not taken"));
            }
            (false, false, true) => {
                return Err(Refusal::BadDescription("SAVP without a usable key or fingerprint"));
            }
        };
        let must_be_secure = [SrtpPolicy::Required, SrtpPolicy::Dtls].map(Profile::Rtp);
        if security == Self::Plain && must_be_secure.contains(&profile) {
            return Err(Refusal::BadDescription("this leg must be encrypted"));
        }
        if security.is_dtls() {
            check_dtls(audio)?;
        }
        Ok(security)
    }

    /// Whether an answer holds what our offer asked for.
    pub(super) fn check_answer(self, audio: &Media, keys: &SdesKeys) -> Result<(), Refusal> {
        let answered = || keys.answered(&audio.cryptos).is_some();
        let broken = match self {
            Self::Dtls if !is_secure(audio) => "the answer leaves SAVPF",
            Self::Dtls if audio.ice_ufrag.is_none() || audio.ice_pwd.is_none() => {
                "the answer has no ICE credentials"
            }
            Self::Dtls if !audio.rtcp_mux => "the answer has no rtcp-mux",
            Self::Sdes { optional: false } if !answered() => "the answer takes up no key",
            Self::Sdes { .. } | Self::Plain if is_secure(audio) && !answered() => {
                "the answer is SAVP without a key of ours"
            }
            Self::DtlsAlone if !is_secure(audio) => "the answer leaves SAVP",
            Self::Dtls | Self::DtlsAlone => return check_dtls(audio),
            Self::Sdes { .. } | Self::Plain => return Ok(()),
        };
        Err(Refusal::BadDescription(broken))
    }
}

/// RTP over UDP in one of the profiles we speak (RFC 3551, 3711, 4585, 5124, 5764).
pub(super) fn is_known_protocol(audio: &Media) -> bool {
    const KNOWN: [&str; 6] =
        ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"];
    KNOWN.iter().any(|known| audio.protocol.eq_ignore_ascii_case(known))
}

fn is_secure(audio: &Media) -> bool {
    audio.protocol.to_ascii_uppercase().contains("SAVP")
}

fn check_dtls(audio: &Media) -> Result<(), Refusal> {
    if audio.setup == Some(Setup::HoldConn) {
        return Err(Refusal::BadDescription("setup:holdconn is not for DTLS-SRTP (RFC 5763 §5)"));
    }
    // Every browser has one; a weaker hash would prove nothing (RFC 8122 §5.1).
    if audio.fingerprints.iter().any(|f| f.algorithm == "sha-256") {
        Ok(())
    } else {
        Err(Refusal::BadDescription("DTLS needs a fingerprint by SHA-256"))
    }
}

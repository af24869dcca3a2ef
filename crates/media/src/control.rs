//! What media control is asked and what it answers, leg by leg.
//!
//! For each leg, `Describe` and `Accept` are answered in order, each by exactly one of
//! `Described`, `Accepted` and `Refused`.

use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_sdp::Session;

use crate::emodel::Mos;

/// What kind of media the other side of a leg speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// ICE, DTLS-SRTP, rtcp-mux and BUNDLE.
    WebRtc,
    Rtp(SrtpPolicy),
}

/// Whether RTP is offered with keys in the description (RFC 4568).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpPolicy {
    Off,
    /// `RTP/AVP` with `a=crypto` (RFC 8643).
    Optional,
    Required,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpKind {
    Offer,
    Answer,
}

/// One trickled candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub text: String,
    pub mid: Option<String>,
    pub ufrag: Option<String>,
}

/// Sound of our own making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    Echo,
    Tone,
    Announcement,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "descriptions are what most of them carry")]
pub enum Command {
    Open {
        leg: LegId,
        profile: Profile,
    },
    Describe {
        leg: LegId,
        kind: SdpKind,
        peer: Option<LegId>,
    },
    Accept {
        leg: LegId,
        kind: SdpKind,
        description: Session,
    },
    Rollback {
        leg: LegId,
    },
    /// Has the next offer to this leg begin ICE again.
    RestartIce {
        leg: LegId,
    },
    Candidate {
        leg: LegId,
        candidate: Candidate,
    },
    EndOfCandidates {
        leg: LegId,
    },
    /// The call of this leg was answered: from now on the leg should be heard.
    Answered {
        leg: LegId,
    },
    Bridge {
        a: LegId,
        b: LegId,
    },
    Play {
        leg: LegId,
        playback: Playback,
    },
    SendDtmf {
        leg: LegId,
        digit: char,
        duration: Duration,
    },
    Close {
        leg: LegId,
    },
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "descriptions are what most of them carry")]
pub enum Event {
    Described {
        leg: LegId,
        description: Session,
    },
    Accepted {
        leg: LegId,
        accepted: Accepted,
    },
    Refused {
        leg: LegId,
        refusal: Refusal,
    },
    Connected {
        leg: LegId,
    },
    Candidate {
        leg: LegId,
        candidate: Candidate,
    },
    Dtmf {
        leg: LegId,
        digit: char,
        duration: Duration,
        relayed: bool,
    },
    Lost {
        leg: LegId,
        loss: Loss,
    },
    PlaybackEnded {
        leg: LegId,
    },
    /// How a leg did, every five seconds while media runs and at its end.
    Quality {
        leg: LegId,
        sample: QualitySample,
    },
    /// Nothing has come from a leg for three seconds, though its call was answered and it is
    /// not on hold. Told once, until it is heard again.
    Silent {
        leg: LegId,
        when: Silence,
    },
    Heard {
        leg: LegId,
    },
    /// Answers `Close`: nothing of the leg is left.
    Closed {
        leg: LegId,
        stats: LegStats,
    },
}

/// What an accepted remote description means for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub far_side_concerned: bool,
    pub on_hold: bool,
    pub telephone_event: bool,
}

/// Why media is gone. Told once of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A phone sent nothing for the configured time.
    Silent,
    /// A browser's ICE checks stopped for the configured time (RFC 7675).
    ConsentExpired,
    /// The DTLS peer's certificate is not the one that its description named.
    WrongCertificate,
    /// The DTLS handshake came to no end.
    DtlsFailed,
    /// The peer closed its DTLS connection.
    PeerClosed,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoCommonCodec,
    BadDescription(&'static str),
    Exhausted,
    WrongState,
}

/// How a leg did in about five seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QualitySample {
    /// Of what the peer says, by the E-model; absent when nothing came.
    pub mos: Option<Mos>,
    pub packets_received: u64,
    pub packets_lost: u64,
    pub jitter: Duration,
    pub round_trip: Option<Duration>,
    /// The other direction.
    pub at_peer: Option<AtPeer>,
}

/// What a peer said last of what we send it (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtPeer {
    /// The share of packets that got lost between its last two reports.
    pub loss: f32,
    /// In all.
    pub packets_lost: u64,
    pub jitter: Duration,
}

/// When a leg was not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It never was.
    Start,
    /// It was before.
    Running,
}

/// What a leg carried over its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegStats {
    pub codec: Option<crate::codec::Codec>,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Packets the peer sent that did not arrive.
    pub packets_lost: u64,
    /// Interarrival jitter of what arrived (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// From the peer's reports (RFC 3550 §6.4.1), when it sent any.
    pub round_trip: Option<Duration>,
    /// The highest of the jitter, seen once a second.
    pub jitter_max: Duration,
    /// Mean and lowest of the samples, of what the peer says.
    pub mos: Option<Mos>,
    pub mos_lowest: Option<Mos>,
    /// Packets we sent that did not arrive, as the peer reports.
    pub lost_at_peer: Option<u64>,
    /// How often nothing came for seconds, from the answer on.
    pub silences: u32,
}

//! What media control is asked and what it answers, leg by leg.
//!
//! For each leg, `Describe` and `Accept` are answered in order, each by exactly one of
//! `Described`, `Accepted` and `Refused`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_sdp::Session;

use crate::clip::{Clip, SoundQueue};
use crate::emodel::Mos;
use crate::negotiation::{Manner, SoundRules};
use crate::video::VideoCodec;

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
    /// Keys by DTLS instead, over the addresses of the description (RFC 5763, RFC 5764): what
    /// browsers do, without ICE.
    Dtls,
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

/// What of a leg does not reach the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldBack {
    pub media: bool,
    /// Sound goes on as silence.
    pub sound: bool,
    /// Telephone events (RFC 4733).
    pub digits: bool,
}

/// On which address of ours a leg's media is: what its sockets are bound to, and what its peer
/// is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub bind: IpAddr,
    pub address: IpAddr,
}

/// Sound of our own making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    Echo,
    Tone,
    Announcement,
    /// The music of who is held; silence where there is none.
    Music,
}

#[derive(Debug, Clone)]
pub enum Command {
    Open {
        leg: LegId,
        profile: Profile,
    },
    /// A leg whose datagrams pass as they are (T.38, T.140): it is described and accepted by sessions of
    /// one section, and bridged with another of its kind.
    OpenRaw {
        leg: LegId,
        place: Option<Place>,
    },
    /// Where a leg is; to be said before its first description.
    Settle {
        leg: LegId,
        place: Place,
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
    /// The leg stands for another one: its next descriptions are made so.
    Manner {
        leg: LegId,
        manner: Box<Manner>,
    },
    /// What of this leg is kept from the other.
    Hold {
        leg: LegId,
        held: HeldBack,
    },
    /// Asks for `Figures`.
    Report {
        leg: LegId,
    },
    /// Lays sound over what a leg hears, or takes it away.
    Overlay {
        leg: LegId,
        layer: Layer,
        laid: Option<Laid>,
    },
    /// Begins or ends to copy what a leg says to whoever reads that tap.
    Tap {
        leg: LegId,
        tap: Tap,
        is_on: bool,
    },
    /// Captures the next packets that come to a leg, with their payloads; none: no more.
    Capture {
        leg: LegId,
        packets: u32,
    },
    /// This leg is never given video: to be said before its first description.
    RefuseVideo {
        leg: LegId,
    },
    /// What this leg says goes to a listener, too, from now on or no more. The listener was
    /// described with this leg for its peer, and is not heard.
    Listen {
        leg: LegId,
        listener: LegId,
        is_on: bool,
    },
    /// The peer knows a session of ours: the leg's descriptions are its next versions (RFC 3264 §8). To
    /// be said before the first.
    ContinueSession {
        leg: LegId,
        id: u64,
        version: u64,
    },
    /// Which sound this leg may have: to be said before its first description.
    RuleSound {
        leg: LegId,
        rules: SoundRules,
    },
    /// The party of this leg asks by signalling for a whole picture.
    RequestKeyFrame {
        leg: LegId,
    },
    Close {
        leg: LegId,
    },
}

impl Command {
    /// The leg that is meant; the first of a bridge.
    #[must_use]
    pub fn leg(&self) -> LegId {
        match self {
            Self::Bridge { a: leg, .. }
            | Self::Open { leg, .. }
            | Self::OpenRaw { leg, .. }
            | Self::Settle { leg, .. }
            | Self::RuleSound { leg, .. }
            | Self::ContinueSession { leg, .. }
            | Self::Describe { leg, .. }
            | Self::Accept { leg, .. }
            | Self::Rollback { leg, .. }
            | Self::RestartIce { leg, .. }
            | Self::Candidate { leg, .. }
            | Self::EndOfCandidates { leg, .. }
            | Self::Answered { leg, .. }
            | Self::Play { leg, .. }
            | Self::SendDtmf { leg, .. }
            | Self::Manner { leg, .. }
            | Self::Hold { leg, .. }
            | Self::Report { leg, .. }
            | Self::Overlay { leg, .. }
            | Self::Tap { leg, .. }
            | Self::Capture { leg, .. }
            | Self::Listen { leg, .. }
            | Self::RefuseVideo { leg, .. }
            | Self::RequestKeyFrame { leg, .. }
            | Self::Close { leg, .. } => *leg,
        }
    }
}

/// Where sound lies over what a leg hears, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// For who is held.
    Music,
    /// What a service says.
    Stream,
    Prompt,
    /// That the call is recorded.
    Notice,
}

/// Sound for a layer.
#[derive(Debug, Clone)]
pub struct Laid {
    pub sound: LaidSound,
    /// Instead of what is below, or together with it.
    pub replaces: bool,
}

#[derive(Debug, Clone)]
pub enum LaidSound {
    Clip {
        clip: Arc<Clip>,
        repeat: bool,
    },
    /// A number of times, the first from some way in; no longer than a limit.
    Times {
        clip: Arc<Clip>,
        times: u32,
        from: Duration,
        limit: Option<Duration>,
    },
    Live(Arc<SoundQueue>),
}

/// Who gets copies of what a leg says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tap {
    Record,
    Stream,
}

#[derive(Debug, Clone)]
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
    /// The media of a leg had to move to another place of ours: its party has to be offered it
    /// anew.
    Displaced {
        leg: LegId,
    },
    /// Answers `Report`.
    Figures {
        leg: LegId,
        stats: LegStats,
    },
    /// The party of this leg should send a whole picture, and RTCP cannot ask it.
    KeyFrameWanted {
        leg: LegId,
    },
    /// A browser's leg is a step further. Told for who looks on; nothing depends on it.
    Step {
        leg: LegId,
        step: Step,
    },
    /// Something was said between us and the media server that carries a leg. Told for who looks
    /// on; nothing depends on it.
    Exchanged {
        leg: LegId,
        exchange: Box<Exchange>,
    },
    /// Answers `Close`: nothing of the leg is left.
    Closed {
        leg: LegId,
        stats: LegStats,
    },
}

impl Event {
    /// The leg that it happened to.
    #[must_use]
    pub fn leg(&self) -> LegId {
        match self {
            Self::Described { leg, .. }
            | Self::Accepted { leg, .. }
            | Self::Refused { leg, .. }
            | Self::Connected { leg, .. }
            | Self::Candidate { leg, .. }
            | Self::Dtmf { leg, .. }
            | Self::Lost { leg, .. }
            | Self::PlaybackEnded { leg, .. }
            | Self::Quality { leg, .. }
            | Self::Silent { leg, .. }
            | Self::Heard { leg, .. }
            | Self::Displaced { leg, .. }
            | Self::Figures { leg, .. }
            | Self::KeyFrameWanted { leg, .. }
            | Self::Step { leg, .. }
            | Self::Exchanged { leg, .. }
            | Self::Closed { leg, .. } => *leg,
        }
    }
}

/// A request to a media server, or its answer, as it went over the wire.
#[derive(Clone)]
pub struct Exchange {
    /// By us.
    pub is_sent: bool,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub bytes: Vec<u8>,
}

/// Descriptions carry keys, so that only the size shows.
impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchange({}, {} bytes)", self.remote, self.bytes.len())
    }
}

/// What an accepted remote description means for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub far_side_concerned: bool,
    /// What passes as it is (fax, text) is not what it was: a far side that may have it, too, is
    /// concerned.
    pub passed_news: bool,
    /// Fax, and no sound.
    pub only_fax: bool,
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
    /// The media server that carried the leg does not answer any more.
    ServerGone,
}

/// On the way of a browser's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A pair is nominated, or another one than before.
    Pair {
        /// `udp`, `tcp`, or `relay` for our own TURN server.
        transport: &'static str,
        remote: SocketAddr,
    },
    /// The handshake begins; `is_client`: with our word.
    DtlsStarted { is_client: bool },
    /// The peer's certificate is the one that its description named, or is not.
    Certificate { is_right: bool },
    /// There are keys, for this profile (RFC 5764 §4.1.2).
    Keys { profile: &'static str },
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
    /// Of a leg that has video.
    pub video: Option<VideoSample>,
}

/// How a leg's pictures did in the same time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoSample {
    pub codec: VideoCodec,
    /// What came from the peer and went to it, in bit/s.
    pub rate_in: u64,
    pub rate_out: u64,
    pub packets_received: u64,
    /// Packets of the peer's that did not arrive, nor were repeated.
    pub packets_lost: u64,
    /// The share of packets to the peer that got lost at first, as it said last.
    pub loss_at_peer: Option<f32>,
    /// The most that the peer takes, in bit/s, once something limits it.
    pub limit: Option<u64>,
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

/// What a leg carried of video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoStats {
    pub codec: VideoCodec,
    pub packets_received: u64,
    pub packets_sent: u64,
    /// Packets the peer sent that did not arrive, nor were repeated.
    pub packets_lost: u64,
    /// Packets we sent that did not arrive at first, as the peer reports.
    pub lost_at_peer: Option<u64>,
    /// How often the peer wanted a whole picture, by RTCP or signalling.
    pub key_frames_wanted: u64,
    /// How often it was asked for one.
    pub key_frames_asked: u64,
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
    /// Packets of the peer's that came after their place was played, where sound is translated.
    pub packets_late: u64,
    /// Thrown away, as far too much waited.
    pub packets_discarded: u64,
    /// Made up for what was late or lost.
    pub packets_concealed: u64,
    /// Of a leg that had video.
    pub video: Option<VideoStats>,
    /// The source that the peer sends with.
    pub source: Option<u32>,
    /// Of a leg that had fax, or text: what passed as it is, beside all of the above.
    pub fax: Option<PassedStats>,
    pub text: Option<PassedStats>,
}

/// What passed as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassedStats {
    pub packets_received: u32,
    pub packets_sent: u32,
}

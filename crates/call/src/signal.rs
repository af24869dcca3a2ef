//! The leg signals: what connectors and calls say to each other, and what calls ask of media.
//!
//! A field that only one protocol needs stays in its connector; what two need is here.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::{BindingId, Gcid, LegId, Private, RegistrationId};
use crosspoint_sdp::Session;

use crate::Cause;

/// The part a leg plays in its call, seen from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The leg that brought the call in.
    Front,
    /// A leg that we opened.
    Back,
}

/// Who somebody is: shown to the other side, never trusted for permission.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// User name or number.
    pub address: Private<String>,
    pub display_name: Option<Private<String>>,
    /// The signed-in user this identity belongs to, when the connector authenticated one.
    pub user: Option<Arc<str>>,
}

/// Where an outgoing leg goes. Only the connector that owns the address looks inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A registered binding of a user.
    Binding(BindingId),
    /// A number over a configured trunk.
    Trunk { name: Arc<str>, number: Private<String> },
    /// A number over a sign-in of ours elsewhere.
    Registration { id: RegistrationId, number: Private<String> },
}

/// How far a call may lead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// Wherever the router finds a way for this caller.
    #[default]
    Everywhere,
    /// To the apps that are signed in to this network, by the names they have there.
    Network(Arc<str>),
    /// Out over a sign-in of the caller's own, whatever the number means there.
    Out(RegistrationId),
    /// It came in at this sign-in: to the app that owns it.
    In(RegistrationId),
}

/// Where the media of a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaPath {
    /// Through us.
    #[default]
    Anchored,
    /// From one party to the other: descriptions and candidates are passed on as they are.
    Direct,
}

/// Whose place a new leg takes in a running call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaces {
    /// This leg's: the connector has checked that the newcomer may.
    Leg(LegId),
    /// The leg that the same user has in the call of this id.
    Own(Gcid),
    /// The leg that the same user has in its only running call elsewhere, or the latest of them.
    OwnLatest,
}

/// What kind of media the other side of a leg speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// ICE, DTLS-SRTP, rtcp-mux and BUNDLE: a browser.
    WebRtc,
    /// RTP as phones and trunks speak it.
    Rtp(SrtpPolicy),
}

/// Whether RTP to a phone or trunk is encrypted with keys in the description (RFC 4568).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpPolicy {
    #[default]
    Off,
    /// `RTP/AVP` with `a=crypto` (RFC 8643): the far side may take it up.
    Optional,
    /// `RTP/SAVP` only.
    Required,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpKind {
    Offer,
    Answer,
}

/// A digit pressed by a person: `0-9`, `*`, `#`, `A-D`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit(char);

impl Digit {
    /// `None` when `c` is not a telephone key.
    #[must_use]
    pub fn new(c: char) -> Option<Self> {
        let c = c.to_ascii_uppercase();
        matches!(c, '0'..='9' | '*' | '#' | 'A'..='D').then_some(Self(c))
    }

    #[must_use]
    pub fn as_char(self) -> char {
        self.0
    }
}

/// One trickled ICE candidate (RFC 8838): the `candidate:…` text without `a=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub text: String,
    pub mid: Option<String>,
    /// The username fragment it belongs to, so that a candidate of an old generation is told apart.
    pub ufrag: Option<String>,
}

/// A call that a connector brings to us.
#[derive(Debug, Clone)]
pub struct IncomingOffer {
    pub from: Identity,
    /// The number or user that was dialled.
    pub to: Private<String>,
    /// Absent when the caller wants us to offer (a late offer).
    pub description: Option<Session>,
    /// What the caller's media speaks when it brought no description.
    pub profile: Profile,
    /// The trunk it came over, when it did not come from a signed-in user.
    pub trunk: Option<Arc<str>>,
    pub gcid: Option<Gcid>,
    /// Candidates will follow one by one.
    pub trickle: bool,
    pub scope: Scope,
    pub path: MediaPath,
    /// Joins a running call instead of beginning one.
    pub replaces: Option<Replaces>,
}

/// A call that we bring to somebody.
#[derive(Debug, Clone)]
pub struct OutgoingOffer {
    pub reach: Reach,
    pub from: Identity,
    /// The number or user dialled, as the called side should see it.
    pub to: Private<String>,
    pub description: Session,
    pub gcid: Gcid,
    /// Give up ringing after this long.
    pub ring_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferTarget {
    /// A number or user, routed like a dialled one on behalf of the transferring user.
    Blind(Private<String>),
}

/// What a connector tells a call about one leg.
#[derive(Debug, Clone)]
pub enum LegEvent {
    /// A new front leg wants to talk. First event of such a leg, exactly once.
    Offer(Box<IncomingOffer>),
    /// The called side has the call and works on it.
    Trying,
    Ringing,
    /// Progress with media: an answer to our offer before the call is answered.
    EarlyMedia(Session),
    /// Answered. The description is absent when early media already carried it.
    Answer(Option<Session>),
    /// The three-way close. Carries the answer when our `Answer` or `Reanswer` carried an offer.
    Confirm(Option<Session>),
    Candidate(Candidate),
    EndOfCandidates,
    /// A new offer in a running call; absent when the peer asks us to offer.
    Reoffer(Option<Session>),
    /// The answer to our `Reoffer`.
    Reanswer(Session),
    /// Our `Reoffer` was refused; the old state stands.
    ReofferFailed(ReofferFailure),
    Dtmf(Digit, Duration),
    Transfer(TransferTarget),
    /// The leg's party is at another address now: its media path must be found anew.
    Moved,
    /// The leg's party may come back after its media was lost: wait this long.
    MediaGrace(Duration),
    /// Last event of a leg, exactly once, whoever ended it.
    Ended(Cause),
}

/// Why a re-offer did not go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReofferFailure {
    /// Both sides offered at once; the connector did its own retries and gave up.
    Glare,
    Refused,
}

/// What a call tells a connector to do with one leg.
#[derive(Debug, Clone)]
pub enum LegCommand {
    /// Open this leg. First command of a back leg, exactly once.
    Offer(Box<OutgoingOffer>),
    Ringing,
    EarlyMedia(Session),
    /// Answer the leg. An offer when the leg came without a description.
    Answer(Session),
    Candidate(Candidate),
    EndOfCandidates,
    Reoffer(Session),
    /// Answers the peer's `Reoffer`: an answer, or an offer when it came without a description.
    Reanswer(Session),
    /// Refuses the peer's `Reoffer`.
    RejectReoffer(Cause),
    Dtmf(Digit, Duration),
    /// A digit that the leg hears in its media anyway, for parties that show digits.
    DtmfShown(Digit, Duration),
    /// Tells how a requested transfer goes.
    TransferProgress(TransferProgress),
    /// End the leg, in whatever state it is. `Ended` follows.
    End(Cause),
}

/// How a transfer that a leg asked for is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferProgress {
    Trying,
    Ringing,
    Done,
    Failed(Cause),
}

/// Sound of our own making, for a leg without a far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Playback {
    /// Gives back what it hears.
    Echo,
    /// A steady 440 Hz tone.
    Tone,
    /// A spoken or chimed announcement, then the call ends by our hand.
    Announcement,
}

/// What a call asks of the media plane about one leg.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "descriptions are what most of them carry")]
pub enum MediaRequest {
    /// Creates the leg's media session.
    Open {
        leg: LegId,
        profile: Profile,
    },
    /// Produces our description. `peer` is the leg it will be joined with: its codecs come first
    /// and its direction (hold) is carried over. Answered by `Described` or `Refused`.
    Describe {
        leg: LegId,
        kind: SdpKind,
        peer: Option<LegId>,
    },
    /// Takes the remote description. Answered by `Accepted` or `Refused`.
    Accept {
        leg: LegId,
        kind: SdpKind,
        description: Session,
    },
    Candidate {
        leg: LegId,
        candidate: Candidate,
    },
    EndOfCandidates {
        leg: LegId,
    },
    /// Forgets our offer that the peer refused; what was agreed before stands.
    Rollback {
        leg: LegId,
    },
    /// Has the next offer to this leg look for its media path anew.
    RestartIce {
        leg: LegId,
    },
    /// Joins two legs, replacing whatever either was joined with.
    Bridge {
        a: LegId,
        b: LegId,
    },
    /// Plays to a leg instead of joining it.
    Play {
        leg: LegId,
        playback: Playback,
    },
    SendDtmf {
        leg: LegId,
        digit: Digit,
        duration: Duration,
    },
    Close {
        leg: LegId,
    },
}

/// What media control tells a call about one leg.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "descriptions are what most of them carry")]
pub enum MediaNotice {
    Described {
        leg: LegId,
        description: Session,
    },
    Accepted {
        leg: LegId,
        accepted: Described,
    },
    Refused {
        leg: LegId,
        refusal: MediaRefusal,
    },
    /// Media flows: DTLS and ICE are done, or the first RTP packet came.
    Connected {
        leg: LegId,
    },
    /// A local candidate to trickle.
    Candidate {
        leg: LegId,
        candidate: Candidate,
    },
    /// No more candidates will be told.
    EndOfCandidates {
        leg: LegId,
    },
    /// A digit was heard in the media. `relayed` when the bridge already carries it on.
    Dtmf {
        leg: LegId,
        digit: Digit,
        duration: Duration,
        relayed: bool,
    },
    /// Media is gone: consent expired or nothing was received for the configured time.
    Lost {
        leg: LegId,
        /// The peer closed it in so many words, so it has probably hung up.
        by_peer: bool,
    },
    /// The announcement is over.
    PlaybackEnded {
        leg: LegId,
    },
}

/// What an accepted remote description means for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// The direction that the peer wants or its codec changed, so the far leg must hear of it.
    pub far_side_concerned: bool,
    /// The peer holds us: it does not want to receive, or sends nothing.
    pub on_hold: bool,
    /// Digits can travel in the media of this leg (RFC 4733).
    pub telephone_event: bool,
}

/// Why media control refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaRefusal {
    NoCommonCodec,
    /// The description breaks a rule; the text names it.
    BadDescription(&'static str),
    /// No port or session is left.
    Exhausted,
    /// The leg is not known or not in a state for this request.
    WrongState,
}

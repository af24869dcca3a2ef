//! The leg signals: what connectors and calls say to each other, and what calls ask of media.
//!
//! A field that only one protocol needs stays in its connector; what two need is here.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::{BindingId, Gcid, LegId, Private, RegistrationId};
use crosspoint_sdp::Session;

use crate::{Cause, Diverted, GradeChange, Quality, Side};

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
    /// Who calls does not want the called side to know it.
    pub is_private: bool,
    /// What its network says about the call beyond this, for the other side: names and values
    /// that both connectors are told to pass on.
    pub remarks: Vec<(Arc<str>, Private<String>)>,
    /// What other networks say of a caller of theirs, where that is asked for.
    pub check: Option<CallerCheck>,
}

/// Whether a caller from another network is who it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerCheck {
    pub verdict: CallerVerdict,
    /// Who vouches, or why nobody does: words for the call's record.
    pub detail: String,
    /// The operator wants a proof and there is none: the call ends here.
    pub is_refused: bool,
}

/// How far another network vouches for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerVerdict {
    /// The caller is known there, and the number is the caller's.
    Full,
    /// The caller is known there; whose number it is, is not.
    Partial,
    /// It is only known where the call entered that network.
    Gateway,
    /// What was said is wrong, or cannot be checked.
    Failed,
    /// Nobody has said anything.
    Unsigned,
}

impl CallerVerdict {
    /// The stable word used in call records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Gateway => "gateway",
            Self::Failed => "failed",
            Self::Unsigned => "unsigned",
        }
    }
}

/// As a call's record has it: the verdict, and the detail in brackets.
impl std::fmt::Display for CallerCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.verdict.as_str())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
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
    /// To the caller's own phones, never to a browser or app; without any, to the number outside.
    OwnPhone,
}

/// Where the media of a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaPath {
    /// Through us.
    #[default]
    Anchored,
    /// From one party to the other: descriptions and candidates are passed on as they are.
    Direct,
    /// The same between phones, until somebody needs the media here: then it comes through us.
    Bypass,
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
    /// The caller may be given video.
    pub video: bool,
    pub gcid: Option<Gcid>,
    /// Candidates will follow one by one.
    pub trickle: bool,
    pub scope: Scope,
    pub path: MediaPath,
    /// Joins a running call instead of beginning one.
    pub replaces: Option<Replaces>,
    /// Where the caller is, if it says so.
    pub location: Option<Box<Location>>,
    /// Where the call was before it came to us, oldest first.
    pub diverted: Vec<Diverted>,
    /// The called device is to answer by itself.
    pub auto_answer: bool,
    /// It may have the called device answer and hold, as a plan says.
    pub may_press: bool,
}

/// Where a caller is, in its own words: passed on as it came, and read by nobody on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// References: to a document by its id, or to a server that knows.
    pub references: Vec<Private<String>>,
    /// Whether servers on the way may use it, as the caller put it.
    pub routing: Option<String>,
    pub documents: Vec<LocationDocument>,
}

/// A document that describes a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationDocument {
    /// What references call it.
    pub id: Option<String>,
    /// Its media type.
    pub kind: String,
    pub text: Private<String>,
}

/// A call that we bring to somebody.
#[derive(Debug, Clone)]
pub struct OutgoingOffer {
    /// No limit holds it up.
    pub is_emergency: bool,
    pub reach: Reach,
    pub from: Identity,
    /// The number or user dialled, as the called side should see it.
    pub to: Private<String>,
    pub description: Session,
    pub gcid: Gcid,
    /// Give up ringing after this long.
    pub ring_timeout: Duration,
    /// Who sent the caller here by a transfer.
    pub referred_by: Option<Private<String>>,
    /// The call in another network that this one takes the place of, by the name that it has there.
    pub joins: Option<Private<String>>,
    /// Where the call was before, oldest first.
    pub diverted: Vec<Diverted>,
    /// The device is to answer by itself: the caller may ask for it.
    pub auto_answer: bool,
    /// Where the caller is, if it says so.
    pub location: Option<Box<Location>>,
}

/// A button of a telephone that somebody else presses from afar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// Answers what rings, or goes on with what is held.
    Talk,
    Hold,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferTarget {
    /// A number or user, routed like a dialled one on behalf of the transferring user.
    Blind(Private<String>),
    /// Whoever this other leg of the same party is joined with, or has ring. The connector has
    /// checked that it is the same party's.
    Attended(LegId),
    /// Whoever the party talks to in a call of another network, at this number: the new call takes
    /// the place of that one, which has this name there.
    Elsewhere { to: Private<String>, call: Private<String> },
    /// The transferring user's own phone: a desk phone of its, or else this number outside.
    OwnPhone(Private<String>),
}

/// A text that one party sends another, outside of any call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub from: Identity,
    /// The number or user it is for.
    pub to: Private<String>,
    /// A media type, `text/plain` most of the time.
    pub kind: Arc<str>,
    pub body: Private<String>,
    /// It is worth nothing later: that somebody is typing, say.
    pub is_fleeting: bool,
}

/// What may be watched of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// The calls, one by one.
    Calls,
    /// Whether a device is signed in, and whether it is busy.
    Presence,
    /// Messages that wait.
    Mailbox,
}

/// How a watched user is.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    pub is_reachable: bool,
    pub calls: Vec<Side>,
    pub mailbox: Mailbox,
    /// What the user's devices say of it themselves.
    pub published: Vec<Published>,
}

/// What one device says of its user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Whether the user may be called there, if it says so.
    pub is_open: Option<bool>,
    /// Words of a closed list.
    pub activities: Vec<&'static str>,
    pub note: Option<Private<String>>,
}

/// Messages that wait for a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Voice messages of a mailbox elsewhere, not heard yet and heard.
    pub voice: (u32, u32),
    /// Texts that we keep.
    pub texts: u32,
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
    /// The party sees nothing until a whole picture comes.
    KeyFrameWanted,
    Transfer(TransferTarget),
    /// The called party wants these called instead, in this order; its leg ends.
    Redirected(Vec<Private<String>>),
    /// The party presses a button of the far side's telephone.
    Pressed(Button),
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
    /// The same, because the other side wants a change of its own: it may be asked again.
    PostponeReoffer,
    Dtmf(Digit, Duration),
    /// A digit that the leg hears in its media anyway, for parties that show digits.
    DtmfShown(Digit, Duration),
    /// The party should send a whole picture: its media cannot be asked in its own way.
    RequestKeyFrame,
    /// Tells how a requested transfer goes.
    TransferProgress(TransferProgress),
    /// The far side presses a button of the party's telephone, and may.
    Press(Button),
    /// It or its far side does better or worse, for parties that show it.
    Grade(GradeChange),
    /// End the leg, in whatever state it is. `Ended` follows.
    End(Cause),
}

/// How a transfer that a leg asked for is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferProgress {
    Trying,
    Ringing,
    Done,
    /// Done: the party waits in this slot.
    Parked(u32),
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
    /// Music for who waits, where there is any.
    Music,
}

/// What a call asks of the media plane about one leg.
#[derive(Debug, Clone)]
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
    /// Keeps a leg from having video. To be asked before its first description.
    RefuseVideo {
        leg: LegId,
    },
    /// The party of this leg wants a whole picture of the one it sees.
    RequestKeyFrame {
        leg: LegId,
    },
    Close {
        leg: LegId,
    },
}

/// What media control tells a call about one leg.
#[derive(Debug, Clone)]
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
    /// The party of this leg should send a whole picture, and only signalling can ask it.
    KeyFrameWanted {
        leg: LegId,
    },
    /// How a leg did, every five seconds.
    Quality {
        leg: LegId,
        quality: Quality,
    },
    /// The media of a leg is at another place of ours now: its party has to be offered it anew.
    Displaced {
        leg: LegId,
    },
    /// Nothing has come from an answered leg for three seconds, or it is heard again.
    Silence {
        leg: LegId,
        is_silent: bool,
    },
}

/// What an accepted remote description means for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// The direction that the peer wants or its codec changed, so the far leg must hear of it.
    pub far_side_concerned: bool,
    /// What passes as it is between telephones (fax, text) is not what it was.
    pub passed_news: bool,
    /// Fax, and no sound.
    pub only_fax: bool,
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

//! Why a call or a leg ended: one value, decided where it was noticed.

use std::fmt;

/// Who brought the end about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The side that made the call.
    Front,
    /// The side that was called.
    Back,
    /// We did.
    Gateway,
}

/// Why a leg or call ended. Every connector and the metrics have a word for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A normal hang-up of an answered call.
    Normal,
    /// The caller gave up before an answer.
    Cancelled,
    /// Another device of the same user took the call.
    AnsweredElsewhere,
    Busy,
    Declined,
    /// The far side rang and nobody answered.
    NoAnswer,
    /// The user exists and has no device signed in, or none could be reached.
    Unavailable,
    NotFound,
    /// The number cannot be a destination: malformed or incomplete.
    InvalidNumber,
    Forbidden,
    Unauthorized,
    /// The two sides share no codec, and we cannot translate.
    NoCommonCodec,
    /// A description broke a rule, or asked for what we do not do.
    BadDescription,
    /// The leg moved to another party by a transfer.
    Transferred,
    /// Another leg of the same user took its place.
    Replaced,
    /// Media or ICE was lost in a running call.
    MediaLost,
    /// Media never came up after the answer.
    MediaFailed,
    /// Signalling was lost: no answer, connection gone, session timer ran out.
    SignalingLost,
    /// The far network refused for a reason of its own (5xx class).
    NetworkFailure,
    /// A limit of ours was reached.
    Overload,
    /// The trunk has as many calls, or as many new ones a second, as its configuration allows.
    TrunkFull,
    /// No destination of the trunk answers.
    TrunkDown,
    /// Its network does not vouch for the caller, and the operator wants that.
    CallerUnproved,
    /// We are shutting down.
    Shutdown,
    /// A defect of ours.
    Internal,
}

impl Cause {
    pub const ALL: [Self; 25] = [
        Self::Normal,
        Self::Cancelled,
        Self::AnsweredElsewhere,
        Self::Busy,
        Self::Declined,
        Self::NoAnswer,
        Self::Unavailable,
        Self::NotFound,
        Self::InvalidNumber,
        Self::Forbidden,
        Self::Unauthorized,
        Self::NoCommonCodec,
        Self::BadDescription,
        Self::Transferred,
        Self::Replaced,
        Self::MediaLost,
        Self::MediaFailed,
        Self::SignalingLost,
        Self::NetworkFailure,
        Self::Overload,
        Self::TrunkFull,
        Self::TrunkDown,
        Self::CallerUnproved,
        Self::Shutdown,
        Self::Internal,
    ];

    /// The stable word used in metrics, call records and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Cancelled => "cancelled",
            Self::AnsweredElsewhere => "answered_elsewhere",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::InvalidNumber => "invalid_number",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::NoCommonCodec => "no_common_codec",
            Self::BadDescription => "bad_description",
            Self::Transferred => "transferred",
            Self::Replaced => "replaced",
            Self::MediaLost => "media_lost",
            Self::MediaFailed => "media_failed",
            Self::SignalingLost => "signaling_lost",
            Self::NetworkFailure => "network_failure",
            Self::Overload => "overload",
            Self::TrunkFull => "trunk_full",
            Self::TrunkDown => "trunk_down",
            Self::CallerUnproved => "caller_unproved",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }

    /// Of two failures of a fork, the one that tells the caller more: a person's decision before
    /// a device's state, a device's state before the network's (RFC 3261 §16.7 step 6 in spirit).
    #[must_use]
    pub fn or_telling(self, other: Self) -> Self {
        if other.distance_from_person() < self.distance_from_person() { other } else { self }
    }

    fn distance_from_person(self) -> u8 {
        match self {
            Self::Declined => 0,
            Self::Busy => 1,
            Self::NoAnswer => 2,
            Self::NoCommonCodec | Self::BadDescription => 3,
            Self::Forbidden | Self::Unauthorized => 4,
            Self::NotFound | Self::InvalidNumber => 5,
            Self::Unavailable => 6,
            Self::Normal
            | Self::Cancelled
            | Self::AnsweredElsewhere
            | Self::Transferred
            | Self::Replaced
            | Self::MediaLost
            | Self::MediaFailed
            | Self::SignalingLost
            | Self::NetworkFailure
            | Self::Overload
            | Self::TrunkFull
            | Self::TrunkDown
            | Self::CallerUnproved
            | Self::Shutdown
            | Self::Internal => 7,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Party {
    /// The stable word used in metrics, call records and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
            Self::Gateway => "gateway",
        }
    }
}

/// Why a call ended, and by whom: exactly one per call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub by: Party,
    pub cause: Cause,
}

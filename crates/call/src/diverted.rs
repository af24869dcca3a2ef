//! Calls that somebody sends on: who did, and why. Networks say so to each other as well.

use std::fmt;
use std::sync::Arc;

use crosspoint_base::Private;

/// A place that a call was at before it was sent on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diverted {
    /// The user or number that sent it on.
    pub by: Private<String>,
    /// The user, where it is one of ours.
    pub user: Option<Arc<str>>,
    /// What networks outside know this user by.
    pub outside: Option<Private<String>>,
    pub reason: DiversionReason,
    /// Who it was is to be shown to nobody but networks that are trusted.
    pub is_private: bool,
}

/// Why a call was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiversionReason {
    /// All calls are.
    Unconditional,
    Busy,
    NoAnswer,
    /// No device was signed in.
    Unavailable,
    /// The called device named somebody else.
    Deflection,
    /// Another network did not say why, or has a reason of its own.
    #[default]
    Unknown,
}

impl DiversionReason {
    pub const ALL: [Self; 6] = [
        Self::Unconditional,
        Self::Busy,
        Self::NoAnswer,
        Self::Unavailable,
        Self::Deflection,
        Self::Unknown,
    ];

    /// The stable word used in call records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unconditional => "unconditional",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Unavailable => "unavailable",
            Self::Deflection => "deflection",
            Self::Unknown => "unknown",
        }
    }
}

/// As a call's record has it.
impl fmt::Display for Diverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.by.expose(), self.reason.as_str())
    }
}

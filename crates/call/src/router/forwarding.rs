//! Where a user has calls go instead: all of them, or those that find nobody.
//!
//! What is sent on is routed as if the user had dialled it: by the user's permission and within
//! the limits against toll fraud. Members of a group are rung for the group, and their own wishes
//! do not count.

use std::time::Duration;

/// What one user wants done with calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// All calls go here, and no device of the user rings.
    pub always: Option<String>,
    /// After a device was busy or declined.
    pub busy: Option<String>,
    pub no_answer: Option<String>,
    /// How long it rings before `no_answer`.
    pub no_answer_after: Duration,
    /// While no device is signed in.
    pub away: Option<String>,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { always: None, busy: None, no_answer: None, no_answer_after: Self::USUAL, away: None }
    }
}

impl Forwarding {
    /// How long a device rings where nothing is said.
    pub const USUAL: Duration = Duration::from_secs(20);

    /// Who is not there does not answer either.
    pub(super) fn when_away(&self) -> Option<&String> {
        self.away.as_ref().or(self.no_answer.as_ref())
    }

    /// Whether nothing is sent on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.always, &self.busy, &self.no_answer, &self.away].iter().all(|to| to.is_none())
    }
}

/// How often a call may be sent on in all, elsewhere included.
pub const MAX_DIVERSIONS: usize = 5;

//! Texts that wait for their users.

use std::fmt;

/// A text that is kept until a device of its user has taken it.
#[derive(Clone, PartialEq, Eq)]
pub struct TextRow {
    pub id: String,
    pub user: String,
    /// Unix seconds.
    pub expires_at: i64,
    /// Who sent it and what it says, as the node wants it back.
    pub record: String,
}

impl fmt::Debug for TextRow {
    /// Neither who wrote to whom nor what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextRow").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

//! People who may sign in, and what their passwords are kept as.

use std::fmt;
use std::sync::Arc;

use crosspoint_base::{Private, Secret};

/// A user name or an alias (mostly a number), as it may stand in an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// Why a text cannot be a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name needs 1 to 64 characters")]
    Length,
    #[error("a name consists of letters, digits and . _ - +")]
    Character,
}

impl UserName {
    /// # Errors
    /// When the text is empty, too long, or has characters that would need escaping somewhere.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !(1..=64).contains(&text.len()) {
            return Err(NameError::Length);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
        if !text.bytes().all(allowed) {
            return Err(NameError::Character);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn into_inner(self) -> Arc<str> {
        self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

/// `H(user:realm:password)` in hexadecimal (RFC 7616 §3.4.2), for each algorithm we challenge
/// with. The password itself is never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The realm the hashes were made for: with another realm they verify nothing.
    pub realm: String,
    pub ha1_md5: Secret<String>,
    pub ha1_sha256: Secret<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: UserName,
    /// Further names and numbers that mean this user.
    pub aliases: Vec<UserName>,
    pub credentials: Credentials,
    /// Unix seconds.
    pub created: i64,
    pub forwarding: Forwarding,
}

/// Where a user has calls go, by names and numbers as the user would dial them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// All of them.
    pub always: Option<Private<String>>,
    /// Those that find a device busy, or are declined.
    pub busy: Option<Private<String>>,
    pub no_answer: Option<Private<String>>,
    /// Seconds of ringing before `no_answer`; absent: the usual time.
    pub no_answer_after: Option<u32>,
    /// Those that find no device signed in.
    pub away: Option<Private<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_and_numbers_and_refuses_what_would_need_escaping() {
        let check = |text: &str, expected| {
            assert_eq!(UserName::parse(text).map(|n| n.to_string()), expected);
        };
        check("alice", Ok("alice".to_owned()));
        check("+49.30-1_2", Ok("+49.30-1_2".to_owned()));
        check("", Err(NameError::Length));
        check(&"a".repeat(65), Err(NameError::Length));
        check("a b", Err(NameError::Character));
        check("a@b", Err(NameError::Character));
        check("jürgen", Err(NameError::Character));
    }
}

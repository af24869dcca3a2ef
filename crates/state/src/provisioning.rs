//! What apps are provisioned with: owners ⊃ apps ⊃ sessions ⊃ accounts, and networks of owners.
//!
//! A session is a token with its accounts; an account is a place on one of the owner's networks.
//! A session that a user of the gateway made by signing in has no owner, no app and no rows of
//! accounts: what it grants follows from the user.

use std::fmt;

use crosspoint_base::{Secret, hex};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// Keeps what is provisioned. Calls may block on a disk.
pub trait Provisioning: Send + Sync + fmt::Debug {
    /// Adds an object whose id was drawn for it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchObject`] when what it belongs to is not there, [`StoreError::Exists`],
    /// [`StoreError::OtherOwner`] or [`StoreError::TooMany`].
    fn insert_object(&self, object: &Object) -> Result<(), StoreError>;

    /// # Errors
    /// When the storage fails.
    fn object(&self, kind: Kind, id: &str) -> Result<Option<Object>, StoreError>;

    /// Part of the objects of a kind, oldest first, and how many there are in all.
    ///
    /// # Errors
    /// When the storage fails.
    fn objects(
        &self,
        kind: Kind,
        within: Within<'_>,
        part: Part,
    ) -> Result<(Vec<Object>, u64), StoreError>;

    /// Removes an object with everything that belongs to it. Gives the sessions that are gone or
    /// grant less than before.
    ///
    /// # Errors
    /// [`StoreError::NoSuchObject`].
    fn remove_object(&self, kind: Kind, id: &str) -> Result<Vec<String>, StoreError>;

    /// # Errors
    /// When the storage fails.
    fn owner_by_email(&self, email: &str) -> Result<Option<Owner>, StoreError>;

    /// The session of a token with all that it grants, also when it has expired.
    ///
    /// # Errors
    /// When the storage fails.
    fn session_of_token(&self, token: &TokenHash) -> Result<Option<FullSession>, StoreError>;

    /// Forgets sessions that expired at or before Unix second `until`. Gives those of them that
    /// did not expire but lost their user, or the user's password: they end at once.
    ///
    /// # Errors
    /// When the storage fails.
    fn clean_sessions(&self, until: i64) -> Result<Vec<String>, StoreError>;

    /// Sessions that expire after Unix second `now`.
    ///
    /// # Errors
    /// When the storage fails.
    fn count_sessions(&self, now: i64) -> Result<u64, StoreError>;
}

/// The kinds of objects, each inside the one before it, networks beside apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Owner,
    App,
    Network,
    Session,
    Account,
}

/// Whose objects are meant. What has no such place is in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within<'a> {
    Everything,
    Owner(&'a str),
    App(&'a str),
    Session(&'a str),
    /// Sessions that a user of the gateway made.
    User(&'a str),
}

/// A part of a long list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub offset: u32,
    pub limit: u32,
}

impl Part {
    pub const ALL: Self = Self { offset: 0, limit: u32::MAX };
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    Owner(Owner),
    App(App),
    Network(Network),
    Session(ClientSession),
    Account(Account),
}

/// Whom apps and networks belong to: a customer of the operator.
#[derive(Clone, PartialEq, Eq)]
pub struct Owner {
    pub id: String,
    /// Unique, whatever its case.
    pub email: String,
    /// What the password is kept as.
    pub password: Secret<String>,
    /// Unix seconds.
    pub created: i64,
}

/// A web page or program with users of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub id: String,
    pub name: String,
    /// Of its pages.
    pub domain: String,
    pub owner: String,
    pub created: i64,
}

/// What is behind the accounts that name its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub id: String,
    /// Unique for its owner.
    pub tag: String,
    pub connector: String,
    /// A JSON object as text.
    pub config: String,
    pub owner: String,
    pub created: i64,
}

/// A token and for how long it is good.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSession {
    pub id: String,
    pub token: TokenHash,
    pub source: Source,
    pub created: i64,
    /// Unix seconds; never zero.
    pub expires: i64,
}

/// Where a session comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Provisioned, for an app of an owner.
    App { app: String, owner: String },
    /// A user of the gateway has signed in.
    User(String),
}

/// A place on a network.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    pub session: String,
    /// The tag of one of the owner's networks.
    pub network: String,
    pub identifier: String,
    /// For the network; empty when it needs none.
    pub access_token: Secret<String>,
    pub owner: String,
    /// A JSON object as text, which goes before the network's.
    pub config: String,
    pub created: i64,
}

/// A session with all that it grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullSession {
    pub session: ClientSession,
    /// Absent for a user's own.
    pub app: Option<App>,
    pub accounts: Vec<(Account, Network)>,
}

/// What a token is kept as: its SHA-256 in hexadecimal. A token has 256 random bits, so nothing
/// slower is needed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenHash(String);

impl TokenHash {
    #[must_use]
    pub fn of(token: &Secret<String>) -> Self {
        Self(hex(&Sha256::digest(token.expose().as_bytes())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_kept(text: String) -> Self {
        Self(text)
    }
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "user",
            Self::App => "app",
            Self::Network => "network",
            Self::Session => "session",
            Self::Account => "account",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Object {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Owner(_) => Kind::Owner,
            Self::App(_) => Kind::App,
            Self::Network(_) => Kind::Network,
            Self::Session(_) => Kind::Session,
            Self::Account(_) => Kind::Account,
        }
    }

    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Owner(owner) => &owner.id,
            Self::App(app) => &app.id,
            Self::Network(network) => &network.id,
            Self::Session(session) => &session.id,
            Self::Account(account) => &account.id,
        }
    }

    /// Whose it is: an owner's own id for an owner, none for what a user of the gateway made.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Owner(owner) => Some(&owner.id),
            Self::App(app) => Some(&app.owner),
            Self::Network(network) => Some(&network.owner),
            Self::Session(session) => session.source.owner(),
            Self::Account(account) => Some(&account.owner),
        }
    }

    /// Unix seconds.
    #[must_use]
    pub fn created(&self) -> i64 {
        match self {
            Self::Owner(owner) => owner.created,
            Self::App(app) => app.created,
            Self::Network(network) => network.created,
            Self::Session(session) => session.created,
            Self::Account(account) => account.created,
        }
    }
}

impl Source {
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        match self {
            Self::App { app, .. } => Some(app),
            Self::User(_) => None,
        }
    }

    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::App { owner, .. } => Some(owner),
            Self::User(_) => None,
        }
    }

    /// The user of the gateway who has signed in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::App { .. } => None,
            Self::User(user) => Some(user),
        }
    }
}

/// Hides who it is.
impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Hides the user.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App { app, .. } => write!(f, "App({app})"),
            Self::User(_) => f.write_str("User([private])"),
        }
    }
}

/// Hides the user and the token.
impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ClientSession");
        shown.field("id", &self.id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Hides the identifier.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Account");
        shown.field("id", &self.id).field("session", &self.session).finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token]")
    }
}

/// Owners in all.
pub const MAX_OWNERS: usize = 10_000;
/// Apps of one owner, and networks.
pub const MAX_APPS: usize = 1000;
pub const MAX_NETWORKS: usize = 1000;
/// Sessions of one owner that have not expired.
pub const MAX_SESSIONS: usize = 100_000;
/// Sessions that one user of the gateway has signed in for and that have not expired.
pub const MAX_SESSIONS_OF_USER: usize = 200;
/// Accounts of one session.
pub const MAX_ACCOUNTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_as_its_sha_256() {
        let hash = TokenHash::of(&Secret::new("abc".to_owned()));
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.as_str(), known);
        assert_eq!(format!("{hash:?}"), "[token]");
    }
}

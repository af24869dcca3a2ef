//! The one door to what is kept.

use std::path::PathBuf;

use crate::{
    BanRow, BindingRow, Cdr, CdrFilter, Credentials, Forwarding, Kind, Operators, Provisioning,
    TextRow, User, UserName,
};

/// Keeps users, bindings and call records, besides what is provisioned. Calls may block on a disk.
///
/// Every implementation passes the same suite (`tests/it/suite.rs`).
pub trait Store: Provisioning + Operators {
    /// # Errors
    /// [`StoreError::NameTaken`] when the name or an alias already means somebody.
    fn insert_user(&self, user: &User) -> Result<(), StoreError>;

    /// Inserts `users` if this store has never had any, in one step; tells whether it did.
    ///
    /// # Errors
    /// As for [`Store::insert_user`].
    fn insert_first_users(&self, users: &[User]) -> Result<bool, StoreError>;

    /// Replaces what a user signs in with. Sessions made by signing in before end.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUser`].
    fn set_credentials(&self, name: &str, credentials: &Credentials) -> Result<(), StoreError>;

    /// Replaces where a user has calls go.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUser`].
    fn set_forwarding(&self, name: &str, forwarding: &Forwarding) -> Result<(), StoreError>;

    /// Replaces the further names of a user.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUser`]; as for [`Store::insert_user`].
    fn set_aliases(&self, name: &str, aliases: &[UserName]) -> Result<(), StoreError>;

    /// Removes a user with its aliases, bindings and sessions. Call records stay.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUser`].
    fn remove_user(&self, name: &str) -> Result<(), StoreError>;

    /// The user of this name or alias.
    ///
    /// # Errors
    /// When the storage fails.
    fn user(&self, known_as: &str) -> Result<Option<User>, StoreError>;

    /// All users by name.
    ///
    /// # Errors
    /// When the storage fails.
    fn users(&self) -> Result<Vec<User>, StoreError>;

    /// A number that grows whenever users are changed, by this process or another one. Zero
    /// means that nobody ever touched them.
    ///
    /// # Errors
    /// When the storage fails.
    fn users_revision(&self) -> Result<u64, StoreError>;

    /// All bindings that expire after `now` (Unix seconds), by user.
    ///
    /// # Errors
    /// When the storage fails.
    fn bindings(&self, now: i64) -> Result<Vec<BindingRow>, StoreError>;

    /// All texts that expire after `now` (Unix seconds), oldest first.
    ///
    /// # Errors
    /// When the storage fails.
    fn texts(&self, now: i64) -> Result<Vec<TextRow>, StoreError>;

    /// Bans that end after `now` (Unix milliseconds), by source.
    ///
    /// # Errors
    /// When the storage fails.
    fn bans(&self, now: i64) -> Result<Vec<BanRow>, StoreError>;

    /// Makes all of `writes` durable, or none.
    ///
    /// # Errors
    /// When the storage fails.
    fn apply(&self, writes: &[Write]) -> Result<(), StoreError>;

    /// Call records, newest first.
    ///
    /// # Errors
    /// When the storage fails.
    fn cdrs(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError>;
}

/// Something the running node wants kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Adds a binding or replaces the one with the same `aor` and `key`.
    PutBinding(BindingRow),
    RemoveBinding {
        aor: String,
        key: String,
    },
    Cdr(Box<Cdr>),
    /// Keeps a text until it is removed.
    PutText(Box<TextRow>),
    RemoveText(String),
    /// Adds a ban or replaces the one of the same source.
    PutBan(BanRow),
    RemoveBan(String),
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the name {0} is already taken")]
    NameTaken(String),
    #[error("there is no user {0}")]
    NoSuchUser(String),
    #[error("there is no operator {0}")]
    NoSuchOperator(String),
    #[error("{0} is the last operator with the role admin")]
    LastAdmin(String),
    #[error("there is no {kind} {id}")]
    NoSuchObject { kind: Kind, id: String },
    #[error("another one has this {0}")]
    Exists(&'static str),
    #[error("the {0} belongs to somebody else")]
    OtherOwner(&'static str),
    #[error("there are {bound} {what}, which is as many as there may be")]
    TooMany { what: &'static str, bound: usize },
    #[error("{path} was written by a newer version (schema {found}, this one knows {known})")]
    TooNew { path: PathBuf, found: u32, known: u32 },
    #[error("{path} cannot be opened: {source}")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("PostgreSQL failed: {0}")]
    Postgres(String),
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
}

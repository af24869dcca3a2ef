//! Who operates the gateway, and what operators and others changed.

use std::fmt;

use crosspoint_base::Secret;

use crate::StoreError;

/// Keeps operators and the audit. Calls may block on a disk.
pub trait Operators: Send + Sync + fmt::Debug {
    /// # Errors
    /// [`StoreError::Exists`] when there is one of this name.
    fn insert_operator(&self, operator: &Operator) -> Result<(), StoreError>;

    /// All operators by name.
    ///
    /// # Errors
    /// When the storage fails.
    fn operators(&self) -> Result<Vec<Operator>, StoreError>;

    /// # Errors
    /// When the storage fails.
    fn operator(&self, name: &str) -> Result<Option<Operator>, StoreError>;

    /// Replaces an operator's role or password, whichever is given.
    ///
    /// # Errors
    /// [`StoreError::NoSuchOperator`]; [`StoreError::LastAdmin`] when nobody with the role
    /// `admin` would be left.
    fn change_operator(
        &self,
        name: &str,
        role: Option<&str>,
        password: Option<&Secret<String>>,
    ) -> Result<(), StoreError>;

    /// # Errors
    /// As for [`Operators::change_operator`].
    fn remove_operator(&self, name: &str) -> Result<(), StoreError>;

    /// Keeps an entry, and forgets those that are too many or too old.
    ///
    /// # Errors
    /// When the storage fails.
    fn note(&self, entry: &AuditEntry, keep: AuditBounds) -> Result<(), StoreError>;

    /// What was noted, newest first.
    ///
    /// # Errors
    /// When the storage fails.
    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError>;
}

/// An account of the operators' console and interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    pub name: String,
    /// The word of a role; what it allows is not known here.
    pub role: String,
    /// What the password is kept as.
    pub password: Secret<String>,
    /// Unix seconds.
    pub created: i64,
}

/// Something that was changed, or was to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditEntry {
    /// Grows with each entry; given by the store.
    pub number: i64,
    /// Unix milliseconds.
    pub at: i64,
    pub who: String,
    /// What it was allowed by: a role, or what else let it in.
    pub role: String,
    /// `api`, `console` or `command line`.
    pub by: String,
    /// The address it came from.
    pub source: Option<String>,
    /// Such as `ban.add`.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// What was wanted, without secrets: the text of a JSON object.
    pub detail: String,
    /// `done`, or why not.
    pub outcome: String,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditBounds {
    pub entries: u32,
    /// Nothing from before this Unix millisecond.
    pub since: i64,
}

/// Which entries to give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only entries with a smaller number: the next page.
    pub before: Option<i64>,
    pub who: Option<String>,
    /// Only actions of this name, or those that begin with it and a dot.
    pub action: Option<String>,
    pub limit: u32,
}

impl AuditFilter {
    pub(crate) fn admits(&self, entry: &AuditEntry) -> bool {
        let is_action = |action: &String| {
            let rest = entry.action.strip_prefix(action.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.before.is_none_or(|before| entry.number < before)
            && self.who.as_ref().is_none_or(|who| *who == entry.who)
            && self.action.as_ref().is_none_or(is_action)
    }
}

/// The role that there is always somebody with, once there is one.
pub(crate) const ADMIN: &str = "admin";

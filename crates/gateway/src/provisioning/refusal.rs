//! Why a request was not done.

use std::time::Duration;

use crosspoint_state::{Kind, StoreError};

use super::secrets::NoRandomness;
use super::service::Unusable;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// No name and password, or wrong ones.
    Unauthorized,
    /// Too many wrong passwords, or too much to do: again after this time.
    TooMany(Duration),
    /// Provisioning has no login.
    Closed,
    /// Operators have no token.
    NoAdmin,
    /// Not for who asks.
    Forbidden(&'static str),
    NotFound,
    /// A member that is missing or wrong.
    Invalid {
        member: &'static str,
        why: String,
    },
    /// Something else is in the way.
    Conflict(String),
    /// Things are not as they would have to be.
    State(String),
    /// Something is full.
    Full(String),
    Internal,
}

impl Refusal {
    fn missing(member: &'static str) -> Self {
        Self::Invalid { member, why: format!("the owner has no such {member}") }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            // Found out only when something named in a request is not there. What belongs to
            // somebody else is as if it were not.
            StoreError::NoSuchObject { kind: Kind::Owner, .. } => {
                Self::Invalid { member: "owner", why: "there is no such user".to_owned() }
            }
            StoreError::NoSuchObject { kind, .. } => Self::missing(kind.as_str()),
            StoreError::OtherOwner(what) => Self::missing(what),
            StoreError::Exists(_) | StoreError::NameTaken(_) => Self::Conflict(error.to_string()),
            StoreError::NoSuchUser(_) | StoreError::NoSuchOperator(_) => Self::NotFound,
            StoreError::LastAdmin(_) => Self::State(error.to_string()),
            StoreError::TooMany { .. } => Self::Full(error.to_string()),
            error => {
                tracing::error!(%error, "the store has failed");
                Self::Internal
            }
        }
    }
}

impl From<Unusable> for Refusal {
    fn from(Unusable { member, why }: Unusable) -> Self {
        Self::Invalid { member, why }
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        tracing::error!(%error, "the system gives no random numbers");
        Self::Internal
    }
}

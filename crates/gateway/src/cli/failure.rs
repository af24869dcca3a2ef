//! Why a command did not do its work, and the exit code that says so.

use std::fmt;

use crosspoint_state::StoreError;

use crate::config::ConfigError;

/// What a command ends with when it did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something outside us failed: a disk, a socket, a database.
    Failed {
        what: String,
        why: String,
    },
    /// The command line cannot be understood.
    Usage(String),
    Config(ConfigError),
    /// The thing named does not exist, or exists already.
    Name(String),
    /// `route-test`: the call would be refused. The command did its work.
    Refused,
}

impl Failure {
    pub(crate) fn failed(what: String, why: impl fmt::Display) -> Self {
        Self::Failed { what, why: why.to_string() }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Usage(_) | Self::Config(_) => USAGE,
            Self::Name(_) => 3,
            Self::Refused => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { what, why } => write!(f, "{what}: {why}"),
            Self::Usage(text) | Self::Name(text) => f.write_str(text),
            Self::Config(error) => error.fmt(f),
            Self::Refused => f.write_str("the call would be refused"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NameTaken(_)
            | StoreError::NoSuchUser(_)
            | StoreError::NoSuchOperator(_)
            | StoreError::LastAdmin(_)
            | StoreError::Exists(_) => Self::Name(error.to_string()),
            error => Self::failed("the store".to_owned(), error),
        }
    }
}

/// Also what clap ends with.
pub(crate) const USAGE: u8 = 2;

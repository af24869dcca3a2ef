//! Sign-ins of ours elsewhere, as this connector hears of them: one for each account, however
//! many pages of its session use it.

/// How a sign-in at a registrar elsewhere stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    Connecting,
    Connected,
    /// It failed for now and is tried again.
    Retrying(RemoteFailure),
    /// It is not tried again.
    Failed(RemoteFailure),
    Disconnected,
}

/// Why a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteFailure {
    Unauthorized,
    NotFound,
    Timeout,
    Network,
}

//! What signing in and looking up count.

use crosspoint_connectors::rtcengine::Denial;

use super::oidc::OUTCOMES;

/// For the metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    /// In the order of [`LOOKUPS`].
    pub(crate) lookups: [u64; 5],
    /// Names or passwords that were wrong.
    pub(crate) wrong_passwords: u64,
    /// Attempts that came too soon after too many wrong ones.
    pub(crate) limited: u64,
    /// Sign-ins with identities of a provider, in the order of [`OUTCOMES`].
    pub(crate) vouched: [u64; OUTCOMES.len()],
    /// Sign-ins that failed and that the audit does not have.
    pub(crate) unnoted: u64,
}

/// How looking up a token may end.
pub(crate) const LOOKUPS: [&str; 5] =
    ["granted", "invalid_token", "expired_token", "origin_denied", "internal_error"];

impl Counters {
    pub(super) fn looked_up(&mut self, outcome: Result<(), Denial>) {
        let index = match outcome {
            Ok(()) => 0,
            Err(Denial::InvalidToken) => 1,
            Err(Denial::ExpiredToken) => 2,
            Err(Denial::OriginDenied) => 3,
            Err(Denial::Internal) => 4,
        };
        self.lookups[index] += 1;
    }

    pub(super) fn vouched(&mut self, outcome: &str) {
        let counts = OUTCOMES.into_iter().zip(&mut self.vouched);
        counts.filter(|(name, _)| *name == outcome).for_each(|(_, count)| *count += 1);
    }
}

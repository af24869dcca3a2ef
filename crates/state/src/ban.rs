//! Sources that are not listened to: kept, so that a restart is no pardon and the command line sees
//! and changes them.

/// A source that is not listened to until some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanRow {
    /// Its address; of IPv6 the first of its /64.
    pub source: String,
    /// Unix milliseconds.
    pub since: i64,
    pub until: i64,
    /// Why, in one word.
    pub reason: String,
}

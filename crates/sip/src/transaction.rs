//! Transactions (RFC 3261 §17, RFC 6026): four machines behind two types.
//!
//! A transaction keeps the bytes it may have to send again, not messages. It knows nothing of
//! sockets or timers: it says what to do in [`Action`]s and its endpoint does it.

mod client;
mod server;

use std::time::Duration;

use bytes::Bytes;

pub(crate) use client::{ClientInput, ClientTransaction};
pub(crate) use server::{ServerInput, ServerTransaction};

/// The timers of RFC 3261 table 4 and RFC 6026, named as there. `Trying` sends the 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
    I,
    J,
    K,
    L,
    M,
    Trying,
}

impl Timer {
    /// In their order.
    pub(crate) const ALL: [Self; 14] = {
        use Timer::{A, B, C, D, E, F, G, H, I, J, K, L, M, Trying};
        [A, B, C, D, E, F, G, H, I, J, K, L, M, Trying]
    };
}

/// What a transaction wants from its endpoint.
#[derive(Debug)]
pub(crate) enum Action {
    Send(Bytes),
    Set(Timer, Duration),
    Cancel(Timer),
    /// Hand the response that was just given in to the user.
    Deliver,
    /// Answer a failure response with an ACK of the same transaction.
    Acknowledge,
    /// Nobody answered in time.
    TimedOut,
    /// No ACK came for our final failure, or for our 2xx.
    AckMissing,
    /// Forget the transaction.
    Terminate,
}

pub(crate) type Actions = Vec<Action>;

/// The base times of RFC 3261 §17.1.1.1.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub t1: Duration,
    pub t2: Duration,
    pub t4: Duration,
    /// How long an INVITE may stay unanswered after its last provisional (Timer C).
    pub timer_c: Duration,
    /// A finished transaction may wait so much longer to be forgotten, so that many are forgotten
    /// in one turn. None: each at its time.
    pub slack: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_c: Duration::from_secs(200),
            slack: Duration::ZERO,
        }
    }
}

impl Timer {
    /// All that happens then is that the transaction is forgotten, or that it is told that an ACK
    /// never came.
    pub(crate) fn is_last(self) -> bool {
        matches!(self, Self::D | Self::I | Self::J | Self::K | Self::L | Self::M)
    }
}

impl Timing {
    /// The time that is so far from an epoch, put off to where others end as well.
    pub(crate) fn put_off(&self, since_epoch: Duration) -> Duration {
        let rest = match self.slack.as_nanos() {
            0 => 0,
            slack => (slack - since_epoch.as_nanos() % slack) % slack,
        };
        since_epoch + Duration::from_nanos(u64::try_from(rest).unwrap_or(0))
    }

    /// Timers B, F, H, J, L and M.
    pub(crate) fn long(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D: at least 32 s where the final response may be repeated.
    pub(crate) fn d(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { Duration::from_secs(32) }
    }

    /// Timers I and K.
    pub(crate) fn short(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.t4 }
    }
}

//! Foundations shared by every machine: identifiers, datagram types, the timer table, seeded
//! randomness and redacting wrappers.
//!
//! Nothing here knows a protocol. A type belongs in this crate when two crates that may not
//! depend on each other must agree on it.

mod flow;
mod id;
mod redact;
mod rng;
mod timer;

pub use flow::{Flow, Transmit, Transport};
pub use id::{BindingId, CallId, ConnectionId, Gcid, LegId, Maker, RegistrationId};
pub use redact::{Private, Secret};
pub use rng::Rng;
pub use timer::TimerTable;

//! Foundations shared by every machine: identifiers, datagram types, the timer table, seeded
//! randomness, redacting wrappers, and who is not listened to.
//!
//! Nothing here knows a protocol. A type belongs in this crate when two crates that may not
//! depend on each other must agree on it.

mod digits;
mod flow;
mod guard;
mod id;
mod network;
mod plain;
mod redact;
mod rng;
mod timer;
mod wall_clock;

pub use digits::{host_text, push_endpoint, push_hex_number, push_ip, push_number};
pub use flow::{Flow, Transmit, Transport};
pub use guard::{Ban, Conduct, Guard, GuardConfig, GuardCounters, Offence};
pub use id::{BindingId, CallId, ConnectionId, Gcid, LegId, Maker, RegistrationId};
pub use network::{Network, NotANetwork, is_private, source_of};
pub use plain::{is_plain, plain_address, plain_name};
pub use redact::{Private, Secret, is_same_secret};
pub use rng::{Rng, hex};
pub use timer::TimerTable;
pub use wall_clock::WallClock;

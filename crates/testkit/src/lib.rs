//! Simulated time, network and peers around the real `Node` and the real media `Shard`.
//!
//! [`Sim`] moves time to the next deadline, so an hour of ringing costs milliseconds. Links lose,
//! delay, repeat and reorder datagrams from a seed; the same seed replays the same run. After a
//! run [`Sim::check`] holds the invariants.

mod app;
mod link;
mod phone;
mod sim;
mod terminal;

pub use app::AppCall;
pub use link::Link;
pub use phone::{CallState, Manner};
pub use sim::{AppId, PhoneId, Sim, TerminalId};
pub use terminal::TerminalCall;

//! One machine out of connectors, calls, router and media control.
//!
//! [`Node`] hears messages, media events and the passing of time, and says what to send, what to
//! ask of the media plane and what to keep. It does no I/O: the shipped binary and the simulator
//! host the same `Node`.

mod direct;
mod ledger;
mod media_control;
mod node;
mod postbox;
mod switchboard;

pub use node::{CallReport, Changes, Counters, Input, Node, NodeConfig, Output, TerminalInput};
pub use postbox::KeptText;

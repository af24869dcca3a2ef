//! The crosspoint binary's parts: configuration, command line, HTTP, metrics, and the run loop.
//!
//! Start at [`cli::main`]. Protocols live in the machines; here they get a file to be configured
//! by, sockets to be reached at, and an operator to report to.

mod acme;
mod addresses;
mod audit;
mod bans;
mod calls;
mod certificate;
pub mod cli;
pub mod config;
mod events;
mod forwarding;
mod home;
mod http;
mod jwt;
mod ladder;
mod log;
mod media_server;
mod metrics;
mod passwords;
mod permissions;
mod plan;
mod provisioning;
mod routing;
mod run;
mod tls;
mod webhooks;

/// For the fuzz target of the call API: its messages as they are on the wire.
#[doc(hidden)]
pub use http::{read_terminal_message, written_terminal_message};

//! The crosspoint binary's parts: configuration, command line, HTTP, metrics, and the run loop.
//!
//! Start at [`cli::main`]. Protocols live in the machines; here they get a file to be configured
//! by, sockets to be reached at, and an operator to report to.

mod addresses;
mod certificate;
pub mod cli;
pub mod config;
mod home;
mod http;
mod log;
mod metrics;
mod passwords;
mod plan;
mod provisioning;
mod run;
mod tls;

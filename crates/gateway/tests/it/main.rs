//! The gateway from outside: its configuration, its command line, and calls through the binary.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod app_handshake;
mod app_sessions;
mod bans;
mod calls;
mod command_line;
mod config;
mod events;
mod gateway;
mod hostile;
mod http;
mod ladders;
mod oidc;
mod operators;
mod own_sessions;
mod permissions;
mod phone;
mod provisioning;
mod recordings;
mod reloading;
mod rest;
mod routing;
mod running;
mod sound;
mod streams;

//! The gateway from outside: its configuration, its command line, and calls through the binary.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod app_handshake;
mod app_sessions;
mod calls;
mod command_line;
mod config;
mod gateway;
mod http;
mod own_sessions;
mod phone;
mod provisioning;
mod rest;
mod running;
mod sound;

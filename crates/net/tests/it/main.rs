//! The drivers against real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod app_sockets;
mod bad_peers;
mod dns;
mod host;
mod media_pool;
mod namespaces;
mod one_port;
mod packet_io;
mod recorder;
mod sip_transport;
mod stun;
mod turn_server;

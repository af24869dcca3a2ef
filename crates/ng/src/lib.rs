//! The ng control protocol of rtpengine, by which a SIP proxy commands a media server.
//!
//! [`Server`] takes requests and commands media control; [`Client`] is media control that asks a
//! pool of such servers, ours or rtpengine; [`Framer`] cuts a stream into messages.
//! A message is a cookie, a space and a dictionary in bencode or JSON.
//!
//! Not here: sockets, and what media does.

mod client;
mod cookies;
mod dictionary;
mod flags;
mod framing;
mod request;
mod rewrite;
mod server;

pub use client::{
    Carrier, Client, ClientOutput, PoolCounters, RecordingReply, RemoteRecording, ServerHealth,
};
pub use dictionary::{DecodeError, Dictionary, Format, Value};
pub use framing::{Framer, FramingError, MAX_MESSAGE};
pub use server::{
    Beginning, Counters, FORWARD_RATE, ForwardOrder, ForwardRefusal, Output, RecordOrder, Server,
    ServerConfig, SoundSource,
};

/// What our client says of itself when it asks whether a server is there, and what our server then
/// says. To nobody else: the answer of rtpengine is `pong` and not a word more.
const CLIENT: &str = "client";
const SERVER: &str = "server";
const CROSSPOINT: &str = "crosspoint";
/// Keys by the number of their event (RFC 4733 §3.2).
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

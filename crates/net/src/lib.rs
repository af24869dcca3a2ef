//! Runs machines: gives them bytes and time, and sends what they say.
//!
//! [`SipTransport`] carries SIP over UDP, TCP, TLS and WebSocket, [`AppSockets`] the JSON of apps;
//! [`MediaPool`] hosts media, [`TurnServer`] relays it, [`Resolver`] finds hosts. Nothing here
//! decides anything about a protocol: a message is framed, parsed and handed on with the flow it
//! came over.

mod admission;
mod app_sockets;
mod dns;
mod local_address;
mod media_pool;
mod numbering;
mod sip_transport;
mod socket;
mod turn_server;

use std::io;
use std::time::Duration;

pub use admission::{Admission, Permit, source_of};
pub use app_sockets::{AppArrival, AppCounters, AppSocketConfig, AppSockets, AppText};
pub use dns::{ResolveError, Resolver};
pub use media_pool::{MediaError, MediaPool, MediaPoolConfig, MediaReport};
pub use sip_transport::{
    Arrival, BindError, ConnectionLimits, OriginCheck, SipTransport, SipTransportConfig,
    TransportCounters,
};
pub use turn_server::{TurnReport, TurnServer, TurnServerConfig};

/// The outcome of `work`, or that it took too long.
async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

//! Runs machines: gives them bytes and time, and sends what they say.
//!
//! [`SipTransport`] carries SIP over UDP, TCP, TLS and WebSocket; [`MediaPool`] hosts media,
//! [`Resolver`] finds hosts. Nothing here decides anything
//! about a protocol: a message is framed, parsed and handed on with the flow it came over.

mod admission;
mod dns;
mod local_address;
mod media_pool;
mod sip_transport;
mod socket;

pub use admission::{Admission, Permit};
pub use dns::{ResolveError, Resolver};
pub use media_pool::{MediaError, MediaPool, MediaPoolConfig, MediaReport};
pub use sip_transport::{
    Arrival, BindError, ConnectionLimits, OriginCheck, SipTransport, SipTransportConfig,
    TransportCounters,
};

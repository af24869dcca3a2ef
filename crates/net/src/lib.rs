//! Runs machines: gives them bytes and time, and sends what they say.
//!
//! [`SipTransport`] carries SIP over UDP, TCP, TLS and WebSocket, [`AppSockets`] the JSON of apps;
//! [`MediaPool`] hosts media, [`TurnServer`] relays it, [`IceTcp`] carries it over TCP, and
//! [`SharedPort`] has them on one port with HTTP. [`Admission`] and [`Bans`] say who gets a
//! connection. [`Resolver`] finds hosts. Nothing here
//! decides anything about a protocol: a message is framed, parsed and handed on with the flow it
//! came over.

mod admission;
mod allocator;
mod app_sockets;
mod awake;
mod bans;
mod dns;
mod documents;
mod ice_tcp;
mod local_address;
mod media_pool;
mod ng_server;
mod numbering;
pub mod packet_io;
mod poster;
mod recorder;
mod scheduling;
mod shared_port;
mod sip_transport;
mod socket;
mod sound_stream;
mod turn_server;

use std::io;
use std::time::Duration;

pub use admission::{Admission, Permit};
pub use allocator::Allocator;
pub use app_sockets::{AppArrival, AppCounters, AppSocketConfig, AppSockets, AppText};
pub use bans::{BanChange, Bans};
pub use dns::{Located, ResolveError, Resolver};
pub use documents::{DocumentError, Documents, DocumentsConfig};
pub use ice_tcp::{Count as IceTcpCount, IceTcp};
pub use media_pool::{
    Link, LinkEnd, MediaError, MediaLinks, MediaPool, MediaPoolConfig, MediaReport, MediaTaps,
    ToLink,
};
pub use ng_server::{NgForwarding, NgRecording, NgReport, NgServer, NgServerConfig, RecordingName};
pub use numbering::next_connection;
pub use poster::{PostError, Poster, PosterConfig};
pub use recorder::{
    Finished, Recorder, RecorderConfig, RecorderError, RecorderNews, RecorderReport, RecordingId,
    RefusedRemoval, RefusedStart,
};
pub use scheduling::probe_realtime;
pub use shared_port::{
    Duplex, HttpConnection, HttpStream, HttpVersion, Kind as SharedPortKind,
    LONGEST as LONGEST_OPENING, Opening, SharedPort, SharedPortConfig, SharedPortCounts,
};
pub use sip_transport::{
    Arrival, BindError, Certificate, CertificateReader, ConnectionLimits, OriginCheck,
    SipTransport, SipTransportConfig, TransportCounters,
};
pub use sound_stream::{
    Encoding, SoundStreams, StreamEvent, StreamId, StreamReport, StreamRequest,
};
pub use turn_server::{TurnReport, TurnServer, TurnServerConfig};

/// The outcome of `work`, or that it took too long.
async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

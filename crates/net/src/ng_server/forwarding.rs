//! Streams of proxies' calls to services over WebSocket: where they may go, and who is heard.
//!
//! Not here: what is said on a stream; [`SoundStreams`] says it.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::Secret;
use crosspoint_media::tap::{self, TapWriter};
use crosspoint_ng::{FORWARD_RATE, ForwardOrder, ForwardRefusal};
use tokio::sync::mpsc;
use tokio_rustls::rustls::ClientConfig;

use crate::{Encoding, SoundStreams, StreamEvent, StreamId, StreamRequest};

/// Where calls may be streamed to.
pub struct NgForwarding {
    /// Whether a service may be reached.
    pub permits: Box<dyn Fn(&str) -> bool + Send>,
    /// The service that is meant when a request names none.
    pub usual: Option<String>,
    /// Sent as a bearer's token.
    pub token: Option<Secret<String>>,
    pub tls: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for NgForwarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NgForwarding").field("usual", &self.usual).finish_non_exhaustive()
    }
}

impl NgForwarding {
    /// Streams for so many media threads, and what each of those writes to.
    pub(super) fn start(
        self,
        threads: usize,
        events: mpsc::Sender<StreamEvent>,
    ) -> (Forwarding, Vec<TapWriter>) {
        let (writers, reader) = tap::rings(threads, RING, Instant::now());
        let streams = SoundStreams::start(self.tls.clone(), reader, events);
        (Forwarding { streams, config: self }, writers)
    }
}

/// Streams to services.
pub(super) struct Forwarding {
    streams: SoundStreams,
    config: NgForwarding,
}

impl Forwarding {
    /// Does what the machine wants; a stream that is to be opened is answered.
    pub(super) fn obey(&self, order: ForwardOrder) -> Option<(u64, Result<(), ForwardRefusal>)> {
        match order {
            ForwardOrder::Open { stream, url, hello } => {
                return Some((stream, self.open(stream, url, hello)));
            }
            ForwardOrder::Listen { leg, to } => {
                self.streams.listen(leg, to.map(|(stream, side)| (StreamId(stream), side)));
            }
            ForwardOrder::Close { stream } => self.streams.close(StreamId(stream)),
        }
        None
    }

    fn open(&self, stream: u64, url: Option<String>, hello: String) -> Result<(), ForwardRefusal> {
        let url = url.or_else(|| self.config.usual.clone()).ok_or(ForwardRefusal::NoTarget)?;
        if !(self.config.permits)(&url) {
            return Err(ForwardRefusal::BadTarget);
        }
        let request = StreamRequest {
            url,
            token: self.config.token.clone(),
            hello,
            rate: FORWARD_RATE,
            encoding: Encoding::L16,
            // What the service says is not played.
            queues: [None, None],
        };
        self.streams.open(StreamId(stream), request);
        Ok(())
    }
}

/// Half a second of 300 streams.
const RING: usize = 4 * 1024 * 1024;

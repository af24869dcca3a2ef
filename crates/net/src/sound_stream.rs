//! Streams what legs say to a service over WebSocket, and takes what it says back
//! (`docs/protocols/media-stream.md`).
//!
//! Media threads copy packets into a ring; one task hands them to the task of each stream, which
//! decodes and sends 20 ms at a time. What a service says goes into a queue that the leg's media
//! thread plays from. A service that does not read costs its own stream packets, and after some
//! seconds the stream.

mod conversation;
mod dial;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crosspoint_base::{LegId, Secret};
use crosspoint_media::clip::SoundQueue;
use crosspoint_media::tap::{TapReader, Tapped};
use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::rustls::ClientConfig;

/// One stream of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// What to stream, and where.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// `ws://` or `wss://`; whether it may be reached was checked.
    pub url: String,
    /// Sent as a bearer's token.
    pub token: Option<Secret<String>>,
    /// The first message: a JSON object.
    pub hello: String,
    /// Samples a second, both ways: 8000, 16000, 24000 or 48000.
    pub rate: u32,
    /// Both ways.
    pub encoding: Encoding,
    /// Where sound for the caller and for the called side goes; none: it is not taken.
    pub queues: [Option<Arc<SoundQueue>>; 2],
}

/// How sound is written in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Signed samples of 16 bits, little-endian.
    L16,
    /// A packet of Opus (RFC 6716) in each message, mono.
    Opus,
}

/// What happens to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    Opened(StreamId),
    /// The service wants digits sent to a side: 0 is the caller's.
    Digits(StreamId, usize, String),
    /// Last event. A closed list: `stopped`, `by_service`, `unreachable`, `refused`, `lost`,
    /// `unread`, `malformed`.
    Ended(StreamId, &'static str),
}

/// How streams are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamReport {
    pub active: u64,
    pub opened: u64,
    /// Never opened.
    pub failed: u64,
    /// Packets that a stream had no room for, or the ring.
    pub packets_lost: u64,
    /// Samples of services that came too far ahead, in milliseconds.
    pub overrun_ms: u64,
}

/// A handle on all streams.
#[derive(Debug, Clone)]
pub struct SoundStreams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tls: Option<Arc<ClientConfig>>,
    events: mpsc::Sender<StreamEvent>,
    streams: Mutex<Table>,
    wake: Notify,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    ring: AtomicU64,
    overrun: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    streams: BTreeMap<StreamId, Open>,
    /// Who hears a leg, and as which side.
    listening: BTreeMap<LegId, (StreamId, usize)>,
}

#[derive(Debug)]
struct Open {
    packets: mpsc::Sender<(usize, Tapped)>,
    texts: mpsc::Sender<String>,
    stop: watch::Sender<bool>,
}

impl SoundStreams {
    /// Begins to hand out what comes over the tap. Ends with the last handle.
    #[must_use]
    pub fn start(
        tls: Option<Arc<ClientConfig>>,
        tap: TapReader,
        events: mpsc::Sender<StreamEvent>,
    ) -> Self {
        let shared = Arc::new(Shared {
            tls,
            events,
            streams: Mutex::default(),
            wake: Notify::new(),
            counters: Counters::default(),
        });
        tokio::spawn(hand_out(Arc::downgrade(&shared), tap));
        Self(shared)
    }

    /// Connects to the service; events tell what becomes of it.
    pub fn open(&self, stream: StreamId, request: StreamRequest) {
        let (packets, packets_out) = mpsc::channel(WAITING_PACKETS);
        let (texts, texts_out) = mpsc::channel(WAITING_TEXTS);
        let (stop, stopping) = watch::channel(false);
        self.0.table().streams.insert(stream, Open { packets, texts, stop });
        self.0.wake.notify_one();
        let shared = self.0.clone();
        tokio::spawn(async move {
            let inputs = conversation::Inputs { packets: packets_out, texts: texts_out, stopping };
            let reason = run(&shared, stream, request, inputs).await;
            shared.forget(stream);
            let _ = shared.events.send(StreamEvent::Ended(stream, reason)).await;
        });
    }

    /// What `leg` says goes to this stream from now on, as the caller's (0) or the called
    /// side's (1), or to none.
    pub fn listen(&self, leg: LegId, to: Option<(StreamId, usize)>) {
        let mut table = self.0.table();
        match to {
            Some(to) => drop(table.listening.insert(leg, to)),
            None => drop(table.listening.remove(&leg)),
        }
    }

    /// Sends a text if there is room for it.
    pub fn tell(&self, stream: StreamId, text: String) {
        if let Some(open) = self.0.table().streams.get(&stream) {
            let _ = open.texts.try_send(text);
        }
    }

    pub fn close(&self, stream: StreamId) {
        if let Some(open) = self.0.table().streams.get(&stream) {
            let _ = open.stop.send(true);
        }
    }

    #[must_use]
    pub fn report(&self) -> StreamReport {
        let counters = &self.0.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamReport {
            active: self.0.table().streams.len() as u64,
            opened: count(&counters.opened),
            failed: count(&counters.failed),
            packets_lost: count(&counters.lost) + count(&counters.ring),
            overrun_ms: count(&counters.overrun),
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, stream: StreamId) {
        let mut table = self.table();
        table.streams.remove(&stream);
        table.listening.retain(|_, (to, _)| *to != stream);
    }
}

/// Dials and talks until it is over; gives the reason.
async fn run(
    shared: &Shared,
    stream: StreamId,
    request: StreamRequest,
    mut inputs: conversation::Inputs,
) -> &'static str {
    let dialing = dial::dial(&request.url, request.token.as_ref(), shared.tls.clone());
    let dialed = tokio::select! {
        dialed = tokio::time::timeout(DIAL_TIME, dialing) => dialed,
        () = until_stopped(&mut inputs.stopping) => return "stopped",
    };
    let socket = match dialed {
        Ok(Ok(socket)) => socket,
        Ok(Err(reason)) => {
            shared.counters.failed.fetch_add(1, Ordering::Relaxed);
            return reason;
        }
        Err(_) => {
            shared.counters.failed.fetch_add(1, Ordering::Relaxed);
            return "unreachable";
        }
    };
    shared.counters.opened.fetch_add(1, Ordering::Relaxed);
    let _ = shared.events.send(StreamEvent::Opened(stream)).await;
    let told = |side, digits| {
        let events = shared.events.clone();
        async move {
            let _ = events.send(StreamEvent::Digits(stream, side, digits)).await;
        }
    };
    conversation::talk(socket, request, inputs, told, &shared.counters.overrun).await
}

async fn until_stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Takes packets out of the ring as long as there are streams.
async fn hand_out(shared: std::sync::Weak<Shared>, mut tap: TapReader) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let is_idle = strong.table().streams.is_empty();
        if is_idle {
            // What legs said before is for nobody.
            while tap.read().is_some() {}
            let waking = strong.wake.notified();
            let _ = tokio::time::timeout(IDLE, waking).await;
            continue;
        }
        {
            let table = strong.table();
            while let Some(packet) = tap.read() {
                let Some((stream, side)) = table.listening.get(&packet.leg) else { continue };
                let Some(open) = table.streams.get(stream) else { continue };
                if open.packets.try_send((*side, packet)).is_err() {
                    strong.counters.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        strong.counters.ring.store(tap.lost(), Ordering::Relaxed);
        drop(strong);
        tokio::time::sleep(TAKE_PERIOD).await;
    }
}

const DIAL_TIME: Duration = Duration::from_secs(5);
const TAKE_PERIOD: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_secs(1);
/// A second of both sides.
const WAITING_PACKETS: usize = 100;
const WAITING_TEXTS: usize = 64;

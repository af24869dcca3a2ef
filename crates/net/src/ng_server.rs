//! The sockets of the ng server: datagrams, TCP streams and WebSockets with one machine.
//!
//! One task owns the machine. Readers hand it messages and a way back; a client that does not
//! read its replies loses them, as over a full network.
//!
//! Not here: what requests mean; [`crosspoint_ng::Server`] says it.

mod forwarding;
mod sounds;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crosspoint_base::Rng;
use crosspoint_media::clip::Clip;
use crosspoint_media::control::Event;
use crosspoint_media::tap;
use crosspoint_ng::{Beginning, Counters, Output, RecordOrder, Server, ServerConfig};
use forwarding::Forwarding;
pub use forwarding::NgForwarding;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Admission, MediaError, MediaPool, MediaPoolConfig, MediaReport, MediaTaps, Recorder,
    RecorderConfig, RecorderError, RecorderNews, RecorderReport, RecordingId, RefusedStart,
    StreamEvent, socket,
};

/// What to open.
pub struct NgServerConfig {
    /// UDP and TCP.
    pub listen: SocketAddr,
    pub media: MediaPoolConfig,
    pub server: ServerConfig,
    pub admission: Admission,
    pub recording: Option<NgRecording>,
    /// Files out of this folder may be played; absent: none.
    pub prompts: Option<PathBuf>,
    /// Who is told of digits, one datagram each.
    pub dtmf_log: Option<SocketAddr>,
    pub forwarding: Option<NgForwarding>,
}

/// How proxies' calls are recorded.
pub struct NgRecording {
    pub recorder: RecorderConfig,
    pub name: Box<dyn FnMut(&Beginning) -> RecordingName + Send>,
    /// Called on the recorder's thread.
    pub news: Box<dyn FnMut(&RecorderNews) + Send>,
}

/// Where a recording goes.
#[derive(Debug, Clone, Default)]
pub struct RecordingName {
    /// The path within the folder, without extension.
    pub path: String,
    /// What is kept beside the file while it is written.
    pub note: String,
}

impl std::fmt::Debug for NgServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NgServerConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// A handle on the running server.
#[derive(Debug, Clone)]
pub struct NgServer {
    requests: mpsc::Sender<Request>,
    report: Arc<Mutex<NgReport>>,
    media: MediaPool,
    recorder: Option<Recorder>,
    udp: SocketAddr,
    tcp: SocketAddr,
}

/// How the server is doing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NgReport {
    pub counters: Counters,
    /// Defects of ours that were caught; each cost a request.
    pub defects: u64,
    /// Replies that a client was too slow to take.
    pub unsent: u64,
}

/// A message and the way back.
#[derive(Debug)]
struct Request {
    from: Way,
    bytes: Vec<u8>,
    /// Without a cookie.
    is_plain: bool,
}

/// Where a reply goes.
#[derive(Debug)]
enum Way {
    Datagram(SocketAddr),
    Stream(mpsc::Sender<Arc<[u8]>>),
    Once(oneshot::Sender<Arc<[u8]>>),
}

impl std::fmt::Debug for NgRecording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NgRecording").field("recorder", &self.recorder).finish_non_exhaustive()
    }
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NgError {
    #[error("{0} cannot be opened: {1}")]
    Bind(SocketAddr, io::Error),
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error(transparent)]
    Recorder(#[from] RecorderError),
}

impl NgServer {
    /// Opens the sockets and serves them. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address that cannot be opened, or why media cannot run.
    pub fn start(config: NgServerConfig, rng: Rng) -> Result<Self, NgError> {
        let bad = |error| NgError::Bind(config.listen, error);
        let udp = socket::udp(config.listen, BUFFER).and_then(UdpSocket::from_std).map_err(bad)?;
        let local = udp.local_addr().map_err(bad)?;
        // With port 0 both get the same, if they can.
        let tcp = socket::tcp_listener(local).or_else(|_| socket::tcp_listener(config.listen));
        let tcp = tcp.and_then(TcpListener::from_std).map_err(bad)?;
        let tcp_address = tcp.local_addr().map_err(bad)?;
        let (events_in, events) = mpsc::channel(WAITING);
        let (told_in, told) = mpsc::channel(WAITING);
        let mut taps = MediaTaps::default();
        let (recorder, name) = match config.recording {
            Some(recording) => {
                let threads = config.media.threads;
                let (writers, reader) = tap::rings(threads, RING, Instant::now());
                taps.record = writers;
                let (mut on_news, told) = (recording.news, told_in.clone());
                let recorder = Recorder::start(recording.recorder, reader, move |news| {
                    on_news(&news);
                    let RecorderNews::Finished(file) = news else { return };
                    if let Some(id) = file.recording {
                        // The machine never waits for the recorder either.
                        let _ = told.blocking_send(Told::Finished(id.0));
                    }
                })?;
                (Some(recorder), Some(recording.name))
            }
            None => (None, None),
        };
        let (streamed_in, streamed) = mpsc::channel(WAITING);
        let forwarding = config.forwarding.map(|forwarding| {
            let (streams, writers) = forwarding.start(config.media.threads, streamed_in.clone());
            taps.stream = writers;
            streams
        });
        let media = MediaPool::start_tapped(&config.media, rng, taps, move |event| {
            // The machine never waits for media, so this cannot lock up.
            let _ = events_in.blocking_send(event);
        })?;
        let (requests, waiting) = mpsc::channel(WAITING);
        let report = Arc::new(Mutex::new(NgReport::default()));
        let udp = Arc::new(udp);
        let host = Host {
            machine: Server::new(ServerConfig {
                can_record: recorder.is_some(),
                can_forward: forwarding.is_some(),
                ..config.server
            }),
            forwarding,
            _streamed: streamed_in,
            media: media.clone(),
            recorder: recorder.clone(),
            name,
            prompts: config.prompts.map(Arc::from),
            told: told_in,
            dtmf_log: config.dtmf_log,
            udp: udp.clone(),
            report: report.clone(),
            totals: NgReport::default(),
        };
        tokio::spawn(host.run(waiting, events, told, streamed));
        tokio::spawn(datagrams(udp, requests.clone()));
        let server = Self { requests, report, media, recorder, udp: local, tcp: tcp_address };
        tokio::spawn(streams::accept(tcp, server.clone(), config.admission));
        Ok(server)
    }

    /// Where datagrams are heard, and where connections.
    #[must_use]
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.udp, self.tcp)
    }

    /// Where browsers' media is heard.
    #[must_use]
    pub fn browser_addresses(&self) -> Vec<SocketAddr> {
        self.media.browser_addresses()
    }

    #[must_use]
    pub fn report(&self) -> (NgReport, MediaReport, RecorderReport) {
        let report = *self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let recorder = self.recorder.as_ref().map(Recorder::report).unwrap_or_default();
        (report, self.media.report(), recorder)
    }

    /// Finishes the files of recordings; blocks until they are, or for so long.
    pub fn stop_recording(&self, limit: std::time::Duration) {
        if let Some(recorder) = &self.recorder {
            recorder.stop(limit);
        }
    }

    /// One request and its reply; `None` for what deserves none.
    pub async fn ask(&self, bytes: Vec<u8>, is_plain: bool) -> Option<Arc<[u8]>> {
        let (reply, answer) = oneshot::channel();
        let request = Request { from: Way::Once(reply), bytes, is_plain };
        self.requests.send(request).await.ok()?;
        answer.await.ok()
    }
}

/// What helpers of the machine tell it.
enum Told {
    Begun(u64, Result<String, RefusedStart>),
    Finished(u64),
    Sound(u64, Option<Arc<Clip>>),
}

type Name = Box<dyn FnMut(&Beginning) -> RecordingName + Send>;

/// The machine with what it talks to.
struct Host {
    machine: Server<Way>,
    media: MediaPool,
    recorder: Option<Recorder>,
    name: Option<Name>,
    prompts: Option<Arc<std::path::Path>>,
    told: mpsc::Sender<Told>,
    dtmf_log: Option<SocketAddr>,
    forwarding: Option<Forwarding>,
    /// So that the queue of what streams tell stays open where there are none.
    _streamed: mpsc::Sender<StreamEvent>,
    udp: Arc<UdpSocket>,
    report: Arc<Mutex<NgReport>>,
    totals: NgReport,
}

impl Host {
    /// Runs until nobody can ask any more.
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut events: mpsc::Receiver<Event>,
        mut told: mpsc::Receiver<Told>,
        mut streamed: mpsc::Receiver<StreamEvent>,
    ) {
        let mut deadline = None;
        loop {
            let timeout = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(Instant::into(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.guard(|machine| take(machine, request)),
                    None => return,
                },
                Some(event) = events.recv() => {
                    self.guard(|machine| machine.handle_media(Instant::now(), event));
                }
                Some(told) = told.recv() => self.guard(|machine| match told {
                    Told::Begun(recording, begun) => {
                        machine.handle_recording(recording, begun.map_err(|why| why.to_string()));
                    }
                    Told::Finished(recording) => machine.handle_recording_over(recording),
                    Told::Sound(ticket, clip) => machine.handle_sound(ticket, clip),
                }),
                Some(event) = streamed.recv() => {
                    if let StreamEvent::Ended(stream, reason) = event {
                        tracing::info!(stream = stream.0, reason, "a stream of a call is over");
                        self.guard(|machine| machine.handle_forward_over(stream.0));
                    }
                }
                () = timeout => self.guard(|machine| machine.handle_timeout(Instant::now())),
            }
            deadline = self.settle();
        }
    }

    /// A defect in the machine must not end everybody's calls.
    fn guard(&mut self, work: impl FnOnce(&mut Server<Way>)) {
        if catch_unwind(AssertUnwindSafe(|| work(&mut self.machine))).is_err() {
            self.totals.defects += 1;
            tracing::error!("a request met a defect");
        }
    }

    /// Does what the machine wants; gives its next deadline.
    fn settle(&mut self) -> Option<Instant> {
        loop {
            match self.machine.poll_output() {
                Output::Media(command) => self.media.send(*command),
                Output::Record(order) => self.record(order),
                Output::Forward(order) => {
                    if let Some(forwarding) = &self.forwarding
                        && let Some((stream, taken)) = forwarding.obey(order)
                    {
                        self.machine.handle_forward(stream, taken);
                    }
                }
                Output::Load { ticket, source } => {
                    sounds::load(ticket, source, self.prompts.clone(), self.told.clone());
                }
                Output::Notify { to, json } => {
                    let to = to.or(self.dtmf_log);
                    let sent = to.map(|to| self.udp.try_send_to(&json, to).is_ok());
                    self.totals.unsent += u64::from(sent == Some(false));
                }
                Output::Reply { to, bytes } => {
                    let is_sent = match to {
                        Way::Datagram(to) => self.udp.try_send_to(&bytes, to).is_ok(),
                        Way::Stream(queue) => queue.try_send(bytes).is_ok(),
                        Way::Once(answer) => answer.send(bytes).is_ok(),
                    };
                    self.totals.unsent += u64::from(!is_sent);
                }
                Output::Timeout(deadline) => {
                    self.totals.counters = self.machine.counters();
                    *self.report.lock().unwrap_or_else(PoisonError::into_inner) = self.totals;
                    return deadline;
                }
            }
        }
    }
}

impl Host {
    fn record(&mut self, order: RecordOrder) {
        let Some(recorder) = &self.recorder else { return };
        match order {
            RecordOrder::Begin(beginning) => {
                let named = self.name.as_mut().map(|name| name(&beginning));
                let RecordingName { path, note } = named.unwrap_or_default();
                let (id, told) = (beginning.recording, self.told.clone());
                recorder.begin(RecordingId(id), path, note, move |begun| {
                    let _ = told.blocking_send(Told::Begun(id, begun));
                });
            }
            RecordOrder::Listen { leg, to } => {
                recorder.listen(leg, to.map(|(id, channel)| (RecordingId(id), channel)));
            }
            RecordOrder::Mode { recording, mode } => {
                recorder.set_mode(RecordingId(recording), mode);
            }
            RecordOrder::End { recording, reason } => recorder.end(RecordingId(recording), reason),
        }
    }
}

fn take(machine: &mut Server<Way>, request: Request) {
    let Request { from, bytes, is_plain } = request;
    if is_plain {
        machine.handle_plain(Instant::now(), from, &bytes);
    } else {
        machine.handle_message(Instant::now(), from, &bytes);
    }
}

/// Reads datagrams; what the machine has no room for is lost, and asked again.
async fn datagrams(udp: Arc<UdpSocket>, requests: mpsc::Sender<Request>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        // An error is an ICMP answer to a reply of ours: the next datagram is read all the same.
        let Ok((length, source)) = udp.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        let request = Request { from: Way::Datagram(source), bytes, is_plain: false };
        if let Err(mpsc::error::TrySendError::Closed(_)) = requests.try_send(request) {
            return;
        }
    }
}

const MAX_DATAGRAM: usize = 65_536;
const BUFFER: usize = 1024 * 1024;
/// Four seconds of 100 recorded calls, or half a second of 800.
const RING: usize = 8 * 1024 * 1024;
/// Requests and events that wait for the machine.
const WAITING: usize = 4096;

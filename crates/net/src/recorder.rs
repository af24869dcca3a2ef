//! Writes recordings on a thread of its own, off the packet path.
//!
//! Media threads copy packets into a ring of fixed size; this thread takes them out, puts them
//! where they belong and writes files. Twice a second a file is whole, so that a crash costs no
//! more than the last two seconds. When the disk is slow the ring overflows: that is counted, and
//! the file has silence there.

mod folder;
mod thread;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::recording::{Channel, Format, Mode};
use crosspoint_media::tap::TapReader;

use folder::Folder;
use thread::RecorderThread;

/// What to write, and where.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    pub folder: PathBuf,
    pub format: Format,
    /// Below so many free bytes nothing is recorded.
    pub min_free: u64,
    /// Recordings that are older are removed.
    pub keep: Option<Duration>,
    /// The oldest are removed when all together are larger.
    pub keep_bytes: Option<u64>,
    /// Recordings at once.
    pub max: usize,
}

/// Why there can be no recorder.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    #[error("{folder} cannot be used: {source}")]
    Folder { folder: PathBuf, source: io::Error },
    #[error("the recorder's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// One recording of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordingId(pub u64);

/// Why a recording did not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedStart {
    #[error("{free} bytes are free where recordings go, and {floor} have to be")]
    NoSpace { free: u64, floor: u64 },
    #[error("{0} calls are recorded already")]
    TooMany(usize),
    #[error("the file cannot be written: {0}")]
    Io(String),
}

/// A file that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// None for one that a process before this left behind.
    pub recording: Option<RecordingId>,
    /// What was said of it when it began.
    pub note: String,
    /// Within the folder.
    pub name: String,
    pub bytes: u64,
    pub length: Duration,
    /// A closed list: `stopped`, `call_over`, `no_space`, `failed`, `shutdown`, `crashed`.
    pub reason: &'static str,
}

/// What becomes of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecorderNews {
    Finished(Finished),
    /// A file is gone. The reason is of a closed list: `deleted`, `too_old`, `too_much`.
    Removed {
        name: String,
        reason: &'static str,
    },
}

/// Why a recording is not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedRemoval {
    #[error("there is no such recording")]
    Unknown,
    #[error("it is being written")]
    Open,
    #[error("the file cannot be removed: {0}")]
    Io(String),
}

/// How the recorder is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecorderReport {
    pub active: u64,
    pub finished: u64,
    /// That a process before this left unfinished.
    pub recovered: u64,
    pub removed: u64,
    /// Ended before their call, because of the disk or a defect.
    pub failed: u64,
    pub refused: u64,
    /// Packets that found the ring full.
    pub packets_lost: u64,
    /// Packets that came too late for their place.
    pub packets_late: u64,
    pub bytes: u64,
    pub defects: u64,
}

type Answer = Box<dyn FnOnce(Result<String, RefusedStart>) + Send>;
type RemovalAnswer = Box<dyn FnOnce(Result<(), RefusedRemoval>) + Send>;

enum Order {
    Begin { recording: RecordingId, at: Instant, name: String, note: String, answer: Answer },
    Remove { name: String, answer: RemovalAnswer },
    Listen { leg: LegId, to: Option<(RecordingId, Channel)> },
    Mode { recording: RecordingId, at: Instant, mode: Mode },
    End { recording: RecordingId, at: Instant, reason: &'static str },
    Stop(mpsc::Sender<()>),
}

/// A handle on the recorder's thread. The thread ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct Recorder {
    orders: mpsc::Sender<Order>,
    report: Arc<Mutex<RecorderReport>>,
}

impl Recorder {
    /// Makes the folder, tells of what a process before this left unfinished, and starts the
    /// thread, on which `on_news` is called from then on.
    ///
    /// # Errors
    /// When the folder or the thread cannot be made.
    pub fn start(
        config: RecorderConfig,
        tap: TapReader,
        mut on_news: impl FnMut(RecorderNews) + Send + 'static,
    ) -> Result<Self, RecorderError> {
        let folder = config.folder.clone();
        let folder = Folder::open(config)
            .map_err(|source| RecorderError::Folder { folder: folder.clone(), source })?;
        let counts =
            RecorderReport { recovered: folder.recover(&mut on_news), ..Default::default() };
        let (orders, queue) = mpsc::channel();
        let report = Arc::new(Mutex::new(counts));
        let shared = report.clone();
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || RecorderThread::new(folder, tap, queue, on_news, shared).run())
            .map_err(RecorderError::Thread)?;
        Ok(Self { orders, report })
    }

    /// Begins a recording. `name` is a path without extension within the folder, of letters,
    /// digits, `-`, `_` and one `/`; `answer` hears the file's name. `note` comes back when the
    /// file is complete, also if another process finds it.
    pub fn begin(
        &self,
        recording: RecordingId,
        name: String,
        note: String,
        answer: impl FnOnce(Result<String, RefusedStart>) + Send + 'static,
    ) {
        let at = Instant::now();
        self.order(Order::Begin { recording, at, name, note, answer: Box::new(answer) });
    }

    /// What `leg` says goes into this channel of a recording from now on, or nowhere. Its tap
    /// is switched by whoever has the media thread.
    pub fn listen(&self, leg: LegId, to: Option<(RecordingId, Channel)>) {
        self.order(Order::Listen { leg, to });
    }

    pub fn set_mode(&self, recording: RecordingId, mode: Mode) {
        self.order(Order::Mode { recording, at: Instant::now(), mode });
    }

    /// Removes a file that is complete.
    pub fn remove(
        &self,
        name: String,
        answer: impl FnOnce(Result<(), RefusedRemoval>) + Send + 'static,
    ) {
        self.order(Order::Remove { name, answer: Box::new(answer) });
    }

    pub fn end(&self, recording: RecordingId, reason: &'static str) {
        self.order(Order::End { recording, at: Instant::now(), reason });
    }

    /// Finishes all files; blocks until they are, or for so long.
    pub fn stop(&self, limit: Duration) {
        let (done, all_done) = mpsc::channel();
        self.order(Order::Stop(done));
        let _ = all_done.recv_timeout(limit);
    }

    #[must_use]
    pub fn report(&self) -> RecorderReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue needs no bound of its own: operators and calls give a handful of orders.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

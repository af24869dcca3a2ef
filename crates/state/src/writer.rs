//! A thread that writes, so that nobody who carries calls waits for a disk.
//!
//! The queue is bounded. When the disk is slower than the calls, records are dropped and counted
//! instead of holding up signalling. A write that comes alone is written at once; where they come
//! fast, they go into one transaction twenty times a second, or as soon as somebody asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::{Store, Write};

/// Keeps the writing alive. Dropping it waits until what is queued is written.
///
/// The thread itself ends when the last [`WriterHandle`] is gone.
#[derive(Debug)]
pub struct Writer(WriterHandle);

/// Where writes are handed over; clones share one queue.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    queue: SyncSender<Job>,
    counters: Arc<Counters>,
    thread: Thread,
}

/// What became of the writes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterCounters {
    pub written: u64,
    /// The queue was full.
    pub dropped: u64,
    /// The store refused; the cause is in the log.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Who waits for a flush.
    waiting: AtomicUsize,
}

#[derive(Debug)]
enum Job {
    Write(Write),
    Flush(SyncSender<()>),
}

impl Writer {
    /// Starts the thread with room for `capacity` waiting writes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Arc<dyn Store>, capacity: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(capacity);
        let counters = Arc::new(Counters::default());
        let seen = counters.clone();
        let running = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || work(&*store, &jobs, &seen))?;
        Ok(Self(WriterHandle { queue, counters, thread: running.thread().clone() }))
    }

    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        self.0.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.flush(LAST_FLUSH);
    }
}

impl WriterHandle {
    /// Queues a write without ever waiting; tells whether there was room.
    pub fn submit(&self, write: Write) -> bool {
        match self.queue.try_send(Job::Write(write)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Waits until everything queued so far is written, at most `timeout`; tells whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.counters.waiting.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
        let is_done =
            self.queue.send(Job::Flush(done)).is_ok() && wait.recv_timeout(timeout).is_ok();
        self.counters.waiting.fetch_sub(1, Ordering::SeqCst);
        is_done
    }

    #[must_use]
    pub fn counters(&self) -> WriterCounters {
        WriterCounters {
            written: self.counters.written.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
        }
    }
}

fn work(store: &dyn Store, jobs: &Receiver<Job>, counters: &Counters) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut flushes = Vec::new();
    let mut last: Option<Instant> = None;
    while let Ok(first) = jobs.recv() {
        // Nobody is woken for each of the writes that come meanwhile.
        while counters.waiting.load(Ordering::SeqCst) == 0
            && let Some(rest) = last.and_then(|last| GATHER.checked_sub(last.elapsed()))
        {
            std::thread::park_timeout(rest);
        }
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Write(write) => batch.push(write),
                Job::Flush(done) => flushes.push(done),
            }
            if batch.len() < MAX_BATCH {
                next = jobs.try_recv().ok();
            }
        }
        // What waits after a full transaction has waited long enough.
        last = (batch.len() < MAX_BATCH).then(Instant::now);
        keep(store, &batch, counters);
        batch.clear();
        for done in flushes.drain(..) {
            // Whoever waited may have given up.
            let _ = done.try_send(());
        }
    }
}

fn keep(store: &dyn Store, batch: &[Write], counters: &Counters) {
    if batch.is_empty() {
        return;
    }
    let Err(error) = store.apply(batch) else {
        counters.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
        return;
    };
    tracing::error!(%error, writes = batch.len(), "the store refused a batch, writing one by one");
    for write in batch {
        let outcome = match store.apply(std::slice::from_ref(write)) {
            Ok(()) => &counters.written,
            Err(_) => &counters.failed,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes in one transaction.
const MAX_BATCH: usize = 256;
/// From one transaction to the next: each costs several times what a row does. It is also what a
/// killed process may lose of calls that ended fast one after the other.
const GATHER: Duration = Duration::from_millis(50);
const LAST_FLUSH: Duration = Duration::from_secs(10);

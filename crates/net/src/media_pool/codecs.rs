//! Threads that run codecs: a frame of Opus takes as long as hundreds of packets.
//!
//! The media thread gives jobs and never waits: a queue that is full costs a frame, which the
//! shard counts. What is done comes back with a wake-up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{io, thread};

use crosspoint_media::shard::{Done, Job, Shard, Ticket};

use crate::packet_io::Waker;

/// The threads end when this is dropped.
pub(super) struct Codecs {
    jobs: SyncSender<Job>,
    done: Receiver<Result<Done, Ticket>>,
    /// The media thread was woken and has not looked yet.
    is_woken: Arc<AtomicBool>,
}

impl Codecs {
    /// # Errors
    /// When a thread cannot be made.
    pub(super) fn start(threads: usize, waker: &Waker) -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let (results, done) = mpsc::channel();
        let (queue, is_woken) = (Arc::new(Mutex::new(queue)), Arc::new(AtomicBool::new(false)));
        for number in 0..threads {
            let worker = Worker {
                queue: queue.clone(),
                results: results.clone(),
                is_woken: is_woken.clone(),
                waker: waker.clone(),
            };
            let name = format!("codecs-{number}");
            thread::Builder::new().name(name).spawn(move || worker.run())?;
        }
        Ok(Self { jobs, done, is_woken })
    }

    /// Takes what is done back to the shard; gives the number of defects.
    pub(super) fn bring_back(&self, now: Instant, shard: &mut Shard) -> u64 {
        if !self.is_woken.swap(false, Ordering::AcqRel) {
            return 0;
        }
        let mut defects = 0;
        // No more than the streams there are: each has one job on its way.
        while let Ok(result) = self.done.try_recv() {
            match result {
                Ok(done) => shard.handle_done(now, done),
                Err(ticket) => {
                    defects += 1;
                    shard.handle_lost(now, ticket);
                }
            }
        }
        defects
    }

    /// Gives the workers what is to be done.
    pub(super) fn give(&self, shard: &mut Shard) {
        while let Some(job) = shard.next_job() {
            match self.jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                    shard.refuse_job(job);
                }
            }
        }
    }
}

struct Worker {
    queue: Arc<Mutex<Receiver<Job>>>,
    results: Sender<Result<Done, Ticket>>,
    is_woken: Arc<AtomicBool>,
    waker: Waker,
}

impl Worker {
    fn run(self) {
        // Without the right to be nicer, they share as equals.
        let _ = rustix::process::nice(NICER);
        loop {
            // Held while waiting: the others wait for the lock instead of the job.
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else { return };
            let ticket = job.ticket();
            let result = catch_unwind(AssertUnwindSafe(|| job.run())).map_err(|_| ticket);
            if self.results.send(result).is_err() {
                return;
            }
            if !self.is_woken.swap(true, Ordering::AcqRel) {
                self.waker.wake();
            }
        }
    }
}

/// Behind the media threads, before handshakes: a frame has a time, too.
const NICER: i32 = 5;
/// What may wait: at a hundred microseconds each, as much as a core does in two packet times.
const QUEUE: usize = 400;

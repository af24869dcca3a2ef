//! Threads that run codecs: a frame of Opus takes as long as hundreds of packets.
//!
//! The media thread gives jobs and never waits: a queue that is full costs a frame, which the
//! shard counts. What is done comes back with a wake-up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use std::{io, thread};

use crosspoint_media::shard::{Done, Job, Shard, Ticket};

use super::queues::{Jobs, Mail, Mailbox};
use crate::packet_io::Waker;

/// The threads end when this is dropped.
pub(super) struct Codecs {
    jobs: Arc<Jobs<Job>>,
    done: Mailbox<Result<Done, Ticket>>,
}

impl Codecs {
    /// # Errors
    /// When a thread cannot be made.
    pub(super) fn start(threads: usize, waker: &Waker) -> io::Result<Self> {
        let (results, done) = Mail::new();
        // Ends those that could be started, if not all can.
        let this = Self { jobs: Arc::new(Jobs::new(QUEUE)), done };
        for number in 0..threads {
            let (jobs, results, waker) = (this.jobs.clone(), results.clone(), waker.clone());
            let run = move || work_off(&jobs, &results, &waker);
            thread::Builder::new().name(format!("codecs-{number}")).spawn(run)?;
        }
        Ok(this)
    }

    /// Takes what is done back to the shard; gives the number of defects.
    pub(super) fn bring_back(&mut self, now: Instant, shard: &mut Shard) -> u64 {
        let mut defects = 0;
        // No more than the streams there are: each has one job on its way.
        while let Some(result) = self.done.next() {
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
            if let Err(job) = self.jobs.give(job) {
                shard.refuse_job(job);
            }
        }
    }
}

impl Drop for Codecs {
    fn drop(&mut self) {
        self.jobs.end();
    }
}

fn work_off(jobs: &Jobs<Job>, results: &Mail<Result<Done, Ticket>>, waker: &Waker) {
    // Without the right to be nicer, they share as equals.
    let _ = rustix::process::nice(NICER);
    while let Some(job) = jobs.take() {
        let ticket = job.ticket();
        let result = catch_unwind(AssertUnwindSafe(|| job.run())).map_err(|_| ticket);
        if results.post(result) {
            waker.wake();
        }
    }
}

/// Behind the media threads, before handshakes: a frame has a time, too.
const NICER: i32 = 5;
/// What may wait: at a hundred microseconds each, as much as a core does in two packet times.
const QUEUE: usize = 400;

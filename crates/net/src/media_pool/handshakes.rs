//! Threads that work on DTLS handshakes, so that no packet waits for their arithmetic.
//!
//! They yield to the media thread where they share a core. There is at most one piece of work for
//! each leg, so the queues need no bound of their own.

use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crosspoint_media::shard::{Handshake, HandshakeDone};

use super::queues::{Jobs, Mail, Mailbox};
use crate::packet_io::Waker;

/// The end of the media thread. The others end with it.
#[derive(Debug)]
pub(super) struct Handshakes {
    work: Arc<Jobs<Handshake>>,
    done: Mailbox<HandshakeDone>,
}

impl Handshakes {
    /// Starts this media thread's share of as many threads as there are cores besides those of the
    /// `media` threads.
    pub(super) fn start(waker: &Waker, media: usize) -> io::Result<Self> {
        let work = Arc::new(Jobs::new(usize::MAX));
        let (finished, done) = Mail::new();
        // Ends those that could be started, if not all can.
        let this = Self { work, done };
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..(cores.saturating_sub(media) / media.max(1)).clamp(1, MOST) {
            let (work, finished, waker) = (this.work.clone(), finished.clone(), waker.clone());
            let run = move || work_off(&work, &finished, &waker);
            thread::Builder::new().name("handshakes".to_owned()).spawn(run)?;
        }
        Ok(this)
    }

    pub(super) fn give(&self, handshake: Handshake) {
        // There is always room.
        let _ = self.work.give(handshake);
    }

    pub(super) fn take(&mut self) -> Option<HandshakeDone> {
        self.done.next()
    }

    /// Whether there is more to be taken at once.
    pub(super) fn has_more(&self) -> bool {
        self.done.has_more()
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        self.work.end();
    }
}

fn work_off(work: &Jobs<Handshake>, finished: &Mail<HandshakeDone>, waker: &Waker) {
    // Without the right to be nicer, they share as equals.
    let _ = rustix::process::nice(NICER);
    while let Some(handshake) = work.take() {
        let leg = handshake.leg();
        // A defect costs its connection, not the thread.
        let done = catch_unwind(AssertUnwindSafe(|| handshake.run()))
            .unwrap_or_else(|_| HandshakeDone::failed(leg));
        if finished.post(done) {
            waker.wake();
        }
    }
}

/// Thousands of handshakes a second each.
const MOST: usize = 4;
/// Far behind the media threads: whoever speaks already must not hear that others connect.
const NICER: i32 = 10;

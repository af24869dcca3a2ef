//! Threads that work on DTLS handshakes, so that no packet waits for their arithmetic.
//!
//! They yield to the media thread where they share a core. There is at most one piece of work for
//! each leg, so the queues need no bound of their own.

use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crosspoint_media::shard::{Handshake, HandshakeDone};

use crate::packet_io::Waker;

/// The end of the media thread. The others end with it.
#[derive(Debug)]
pub(super) struct Handshakes {
    work: Sender<Handshake>,
    done: Receiver<HandshakeDone>,
}

impl Handshakes {
    /// Starts this media thread's share of as many threads as there are cores besides those of the
    /// `media` threads.
    pub(super) fn start(waker: &Waker, media: usize) -> io::Result<Self> {
        let (work, queue) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..(cores.saturating_sub(media) / media.max(1)).clamp(1, MOST) {
            let (queue, finished, waker) = (queue.clone(), finished.clone(), waker.clone());
            let run = move || work_off(&queue, &finished, &waker);
            thread::Builder::new().name("handshakes".to_owned()).spawn(run)?;
        }
        Ok(Self { work, done })
    }

    pub(super) fn give(&self, handshake: Handshake) {
        // The threads end only when this end is gone.
        let _ = self.work.send(handshake);
    }

    pub(super) fn take(&self) -> Option<HandshakeDone> {
        self.done.try_recv().ok()
    }
}

fn work_off(queue: &Mutex<Receiver<Handshake>>, finished: &Sender<HandshakeDone>, waker: &Waker) {
    // Without the right to be nicer, they share as equals.
    let _ = rustix::process::nice(NICER);
    loop {
        // Only the threads wait for each other here, and for work.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(handshake) = next else { return };
        let leg = handshake.leg();
        // A defect costs its connection, not the thread.
        let done = catch_unwind(AssertUnwindSafe(|| handshake.run()))
            .unwrap_or_else(|_| HandshakeDone::failed(leg));
        if finished.send(done).is_err() {
            return;
        }
        waker.wake();
    }
}

/// Thousands of handshakes a second each.
const MOST: usize = 4;
/// Far behind the media threads: whoever speaks already must not hear that others connect.
const NICER: i32 = 10;

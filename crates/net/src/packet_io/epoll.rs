//! Waiting for many sockets, and being woken by another thread.
//!
//! Level-triggered: a phone's socket is read once for each time it is reported, and reported
//! again while it holds more. Edges would need a second read, which almost always finds nothing.

#![allow(unsafe_code, reason = "the standard library waits for one socket only")]

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Of one thread.
#[derive(Debug)]
pub(super) struct Epoll {
    epoll: Arc<OwnedFd>,
    wake_up: Waker,
    most: usize,
}

/// Waits for the sockets of a back end, while others may open and close some.
#[derive(Debug)]
pub struct Poller {
    epoll: Arc<OwnedFd>,
    wake_up: Waker,
    most: usize,
}

/// What a waiting found.
pub struct Ready {
    events: Vec<libc::epoll_event>,
    count: usize,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Ends the waiting of a media thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<WakeUp>);

#[derive(Debug)]
struct WakeUp {
    event: std::fs::File,
    /// It was used since the thread last looked, which will look again.
    is_used: AtomicBool,
}

impl Waker {
    /// Wakes the thread now, or ends its next waiting at once.
    pub fn wake(&self) {
        // Who finds it used need not ask the kernel: what he has queued before is seen.
        if !self.0.is_used.swap(true, Ordering::AcqRel) {
            // It fails only when it was done 2^64 times and never noticed.
            let _ = (&self.0.event).write(&1_u64.to_ne_bytes());
        }
    }

    fn rest(&self) {
        let _ = (&self.0.event).read(&mut [0; 8]);
        // In this order: what is queued from here on wakes again, what was queued before is seen
        // after the waiting.
        self.0.is_used.swap(false, Ordering::AcqRel);
    }
}

impl Epoll {
    /// `most` sockets are told of at once.
    pub(super) fn new(most: usize) -> io::Result<Self> {
        // SAFETY: the calls take numbers only.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let epoll = owned(epoll)?;
        // SAFETY: as above.
        let wake_up = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        let event = std::fs::File::from(owned(wake_up)?);
        let wake_up = Waker(Arc::new(WakeUp { event, is_used: AtomicBool::new(false) }));
        let this = Self { epoll: Arc::new(epoll), wake_up, most };
        this.add(std::os::fd::AsFd::as_fd(&this.wake_up.0.event), WAKE_UP)?;
        Ok(this)
    }

    pub(super) fn poller(&self) -> Poller {
        let Self { epoll, wake_up, most } = self;
        Poller { epoll: epoll.clone(), wake_up: wake_up.clone(), most: *most }
    }

    /// From here on `token` is told while the socket can be read; closing it ends that.
    pub(super) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        let (epoll, socket) = (self.epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open, and the event is only read during the call.
        let done = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &raw mut event) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Poller {
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.wake_up.clone()
    }

    /// Room for what a waiting finds.
    #[must_use]
    pub fn room(&self) -> Ready {
        Ready { events: vec![libc::epoll_event { events: 0, u64: 0 }; self.most], count: 0 }
    }

    /// Waits until a socket can be read, the waker is used or the time is over.
    ///
    /// # Errors
    /// When the kernel cannot wait; then nothing more will be received.
    pub fn wait(&self, wait: Duration, ready: &mut Ready) -> io::Result<()> {
        ready.count = 0;
        let wait = wait.as_nanos().div_ceil(1_000_000);
        let wait = libc::c_int::try_from(wait).unwrap_or(libc::c_int::MAX);
        let room = libc::c_int::try_from(ready.events.len()).unwrap_or(libc::c_int::MAX);
        let events = ready.events.as_mut_ptr();
        // SAFETY: the kernel writes at most `room` events, which is how many the vector has.
        let found = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, room, wait) };
        match usize::try_from(found) {
            Ok(found) => ready.count = found,
            Err(_) => return interrupted(io::Error::last_os_error()),
        }
        if ready.tokens().any(|token| token == WAKE_UP) {
            self.wake_up.rest();
        }
        Ok(())
    }
}

impl Ready {
    /// What can be read, [`WAKE_UP`] included.
    pub(super) fn tokens(&self) -> impl Iterator<Item = u64> {
        self.events.iter().take(self.count).map(|event| event.u64)
    }
}

/// A signal is no reason to complain.
fn interrupted(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

pub(super) fn owned(descriptor: libc::c_int) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The token of the waker.
pub(super) const WAKE_UP: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waking_after_a_waiting_ends_the_next() {
        let poller = Epoll::new(4).unwrap().poller();
        let (waker, mut ready) = (poller.waker(), poller.room());
        let mut is_woken = |wait| {
            poller.wait(wait, &mut ready).unwrap();
            ready.tokens().any(|token| token == WAKE_UP)
        };
        for _ in 0..3 {
            waker.wake();
            waker.clone().wake();
            assert!(is_woken(Duration::from_secs(60)));
            assert!(!is_woken(Duration::ZERO), "both are heard at once");
        }
    }
}

//! What waits for one socket's peer.
//!
//! There are thousands of idle sockets, so an empty queue owns no memory besides itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Shared by senders and the socket's own task.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
    cut: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    texts: VecDeque<Utf8Bytes>,
    bytes: usize,
    closing: Option<Closing>,
}

/// What a socket is closed with (RFC 6455 §7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

/// What the socket's task does next.
#[derive(Debug)]
pub(super) enum Next {
    Text(Utf8Bytes),
    Close(Closing),
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    /// The socket takes leave already.
    Closing,
    /// The peer does not read.
    Full,
}

impl Queue {
    pub(super) fn push(&self, text: Utf8Bytes) -> Queued {
        let mut waiting = self.waiting();
        if waiting.closing.is_some() {
            return Queued::Closing;
        }
        // A first text always fits, whatever its length.
        let bytes = waiting.bytes + text.len();
        let fits = waiting.texts.is_empty()
            || waiting.texts.len() < WAITING_TEXTS && bytes <= WAITING_BYTES;
        if !fits {
            return Queued::Full;
        }
        waiting.bytes = bytes;
        waiting.texts.push_back(text);
        drop(waiting);
        self.wake.notify_one();
        Queued::Yes
    }

    /// The first reason to close stands.
    pub(super) fn close(&self, code: u16, reason: &'static str) {
        self.waiting().closing.get_or_insert(Closing { code, reason });
        self.wake.notify_one();
    }

    /// Ends the socket at once, even in the middle of a write.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }

    pub(super) async fn until_cut(&self) {
        self.cut.notified().await;
    }

    /// Waits for something to do; gives texts in their order, and the close last.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.waiting().take() {
                return next;
            }
            self.wake.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Next> {
        let Some(text) = self.texts.pop_front() else { return self.closing.map(Next::Close) };
        self.bytes -= text.len();
        if self.texts.is_empty() {
            // What a burst needed is not kept for hours of silence.
            self.texts = VecDeque::new();
        }
        Some(Next::Text(text))
    }
}

/// Texts waiting for a peer that does not read, by number and by size. A client that resumes is
/// sent up to 512 at once.
const WAITING_TEXTS: usize = 1024;
const WAITING_BYTES: usize = 2 * 1024 * 1024;

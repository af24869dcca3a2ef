//! The rings themselves: records of a few words and some bytes, from one thread to another.
//!
//! There are no locks; a ring is made of atomic words, so that there is no unsafe code either. A
//! record that does not fit is counted and lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Makes a ring that holds so many bytes, rounded up to a power of two. `epoch` is what times
/// count from.
pub(super) fn ring(bytes: usize, epoch: Instant) -> (Writer, Reader) {
    let (writer, ring) = one(bytes, epoch);
    (writer, Reader { rings: vec![ring], next: 0, epoch })
}

/// The same for several writers: a ring for each, and one reader of all.
pub(crate) fn rings(count: usize, bytes: usize, epoch: Instant) -> (Vec<Writer>, Reader) {
    let (writers, rings) = (0..count).map(|_| one(bytes, epoch)).unzip();
    (writers, Reader { rings, next: 0, epoch })
}

fn one(bytes: usize, epoch: Instant) -> (Writer, Ring) {
    let words = (bytes / 8).next_power_of_two().max(LARGEST.next_power_of_two());
    let shared = Arc::new(Shared {
        words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        written: AtomicU64::new(0),
        read: AtomicU64::new(0),
        lost: AtomicU64::new(0),
    });
    let ring = Ring { shared: shared.clone(), read: 0 };
    (Writer { shared, written: 0, epoch }, ring)
}

/// Where records go in.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    written: u64,
    epoch: Instant,
}

/// Where those of all writers come out.
#[derive(Debug)]
pub(crate) struct Reader {
    rings: Vec<Ring>,
    /// Where to look first, so that none waits for the others to be empty.
    next: usize,
    epoch: Instant,
}

/// What one thread writes.
#[derive(Debug)]
struct Ring {
    shared: Arc<Shared>,
    read: u64,
}

struct Shared {
    words: Box<[AtomicU64]>,
    /// Words ever written and read; the place is that modulo the length, a power of two.
    written: AtomicU64,
    read: AtomicU64,
    lost: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Shared {
    fn word(&self, at: u64) -> &AtomicU64 {
        &self.words[at as usize & (self.words.len() - 1)]
    }
}

impl Writer {
    /// A time as a word; [`Reader::at`] reads it.
    pub(crate) fn since(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Writes one record, if there is room for it. All of a ring have as many words.
    pub(crate) fn write<const N: usize>(&mut self, head: [u64; N], kind: u32, bytes: &[u8]) {
        let shared = &*self.shared;
        let count = (N + 1 + bytes.len().div_ceil(8)) as u64;
        let used = self.written - shared.read.load(Ordering::Acquire);
        if bytes.len() > LONGEST || used + count > shared.words.len() as u64 {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut at = self.written;
        for word in head.into_iter().chain([(bytes.len() as u64) << 32 | u64::from(kind)]) {
            shared.word(at).store(word, Ordering::Relaxed);
            at += 1;
        }
        let (whole, rest) = bytes.as_chunks::<8>();
        for chunk in whole {
            shared.word(at).store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
            at += 1;
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            shared.word(at).store(u64::from_le_bytes(last), Ordering::Relaxed);
            at += 1;
        }
        self.written = at;
        shared.written.store(at, Ordering::Release);
    }

    #[cfg(test)]
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn forget_lost(&self, lost: u64) {
        self.shared.lost.store(lost, Ordering::Relaxed);
    }
}

impl Reader {
    /// The next record, if there is one. Those of one writer come in order.
    pub(crate) fn read<const N: usize>(&mut self) -> Option<([u64; N], u32, Vec<u8>)> {
        for _ in 0..self.rings.len() {
            let place = self.next;
            self.next = (place + 1) % self.rings.len();
            let read = self.rings.get_mut(place).and_then(Ring::read);
            if read.is_some() {
                return read;
            }
        }
        None
    }

    /// The time that a word means.
    pub(crate) fn at(&self, since: u64) -> Instant {
        self.epoch + Duration::from_nanos(since)
    }

    /// Records that did not fit, since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.rings.iter().map(|ring| ring.shared.lost.load(Ordering::Relaxed)).sum()
    }
}

impl Ring {
    fn read<const N: usize>(&mut self) -> Option<([u64; N], u32, Vec<u8>)> {
        let shared = &*self.shared;
        if self.read == shared.written.load(Ordering::Acquire) {
            return None;
        }
        let word = |at: usize| shared.word(self.read + at as u64).load(Ordering::Relaxed);
        let head = std::array::from_fn(word);
        let sizes = word(N);
        let length = (sizes >> 32) as usize;
        let mut bytes = Vec::with_capacity(length.next_multiple_of(8));
        for at in 0..length.div_ceil(8) {
            bytes.extend_from_slice(&word(N + 1 + at).to_le_bytes());
        }
        bytes.truncate(length);
        self.read += (N + 1 + length.div_ceil(8)) as u64;
        shared.read.store(self.read, Ordering::Release);
        Some((head, sizes as u32, bytes))
    }
}

/// No datagram is longer.
const LONGEST: usize = 2048;
/// Words of the longest record.
const LARGEST: usize = 8 + LONGEST / 8;

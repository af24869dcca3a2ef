//! What was said in one call, in order: how it began in one piece, and what happened last.
//!
//! The bytes of the beginning lie one after the other. A message that was kept where it came from
//! would keep that memory from the next message, and every message would be written to memory that
//! nobody has touched for long: that cost ten times what filing it does.

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;

use crate::entry::{self, Entry, Note, What};

/// Entries of one call; those in the middle go when they are too much.
#[derive(Debug)]
pub(super) struct Script {
    /// Messages without their bytes.
    head: Vec<Entry>,
    /// The bytes of the head's messages, and where those of each end.
    text: Vec<u8>,
    ends: Vec<u32>,
    tail: VecDeque<Entry>,
    /// What both take up.
    head_cost: usize,
    tail_cost: usize,
    dropped: u64,
}

impl Script {
    /// For a head that may take up so many bytes. Room for a usual one is there at once.
    pub(super) fn new(half: usize) -> Self {
        let entries = USUAL_ENTRIES.min(half / size_of::<Entry>());
        Self {
            head: Vec::with_capacity(entries),
            text: Vec::with_capacity(USUAL_BYTES.min(half / 2)),
            ends: Vec::with_capacity(entries),
            tail: VecDeque::new(),
            head_cost: 0,
            tail_cost: 0,
            dropped: 0,
        }
    }

    /// Adds an entry, a message with these bytes. Each half takes up at most `half`; says how many
    /// entries had to go.
    pub(super) fn push(&mut self, mut entry: Entry, bytes: &[u8], half: usize) -> u64 {
        let cost = size_of::<Entry>() + bytes.len() + words(&entry);
        if self.tail.is_empty() && self.head_cost + cost <= half {
            if let What::Message(message) = &mut entry.what {
                message.bytes = Bytes::new();
                self.text.extend_from_slice(bytes);
                self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
            }
            self.head.push(entry);
            self.head_cost += cost;
            return 0;
        }
        if let What::Message(message) = &mut entry.what {
            message.bytes = Bytes::copy_from_slice(bytes);
        }
        self.tail.push_back(entry);
        self.tail_cost += cost;
        let before = self.dropped;
        while self.tail_cost > half
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_cost -= cost_of(&oldest);
            self.dropped += 1;
        }
        self.dropped - before
    }

    /// Puts words to the first decision that has none; says whether there was one.
    pub(super) fn explain_route(&mut self, words: &str) -> bool {
        let cost = if entry::explain_route(self.head.iter_mut(), words) {
            &mut self.head_cost
        } else if entry::explain_route(self.tail.iter_mut(), words) {
            &mut self.tail_cost
        } else {
            return false;
        };
        *cost += words.len();
        true
    }

    /// How the call began, with the messages' bytes.
    pub(super) fn beginning(&self) -> Vec<Entry> {
        let text = Bytes::copy_from_slice(&self.text);
        let mut ends = self.ends.iter().map(|end| *end as usize);
        let mut start = 0;
        let mut entries = self.head.clone();
        for entry in &mut entries {
            if let What::Message(message) = &mut entry.what {
                let end = ends.next().unwrap_or(start);
                message.bytes = text.slice(start..end);
                start = end;
            }
        }
        entries
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = self.beginning();
        entries.extend(self.tail.iter().cloned());
        entries
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// How many entries had to go, and behind how many they were.
    pub(super) fn dropped(&self) -> (u64, usize) {
        (self.dropped, self.head.len())
    }

    /// Bytes that it takes up, with an allowance for what each entry takes beside its own.
    pub(super) fn cost(&self) -> usize {
        self.head_cost + self.tail_cost
    }
}

/// The bytes of an entry that is filed with them.
pub(super) fn take_bytes(entry: &mut Entry) -> Bytes {
    match &mut entry.what {
        What::Message(message) => mem::take(&mut message.bytes),
        What::Note(_) => Bytes::new(),
    }
}

fn cost_of(entry: &Entry) -> usize {
    let bytes = match &entry.what {
        What::Message(message) => message.bytes.len(),
        What::Note(_) => 0,
    };
    size_of::<Entry>() + bytes + words(entry)
}

fn words(entry: &Entry) -> usize {
    match &entry.what {
        What::Note(Note::Routed { why, .. }) => why.expose().len(),
        What::Note(Note::Operator(words)) => words.len(),
        What::Note(_) | What::Message(_) => 0,
    }
}

/// Of a call between two phones.
const USUAL_ENTRIES: usize = 28;
const USUAL_BYTES: usize = 8 * 1024;

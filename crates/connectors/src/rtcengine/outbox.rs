//! The numbered messages of one client, kept until it says that it has them.

use std::collections::VecDeque;

/// What a client may have to be sent again.
#[derive(Default)]
pub(super) struct Outbox {
    /// How many messages there have been: the number of the last.
    last: u64,
    /// The latest, in order and without gaps.
    kept: VecDeque<Box<str>>,
    bytes: usize,
}

/// Messages never show.
impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbox({} of {})", self.kept.len(), self.last)
    }
}

impl Outbox {
    /// The number of the next message.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Keeps the next message; the oldest go when there are too many. Returns how many went.
    pub(super) fn push(&mut self, text: &str, max: usize, max_bytes: usize) -> u64 {
        self.last += 1;
        self.bytes += text.len();
        self.kept.push_back(text.into());
        let mut dropped = 0;
        while self.kept.len() > max || self.bytes > max_bytes {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.len();
            dropped += 1;
        }
        dropped
    }

    /// The client has everything up to `received`. A number from the future says nothing.
    pub(super) fn acknowledge(&mut self, received: u64) {
        if received > self.last {
            return;
        }
        while self.first() <= received
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.len();
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// True when every message after `received` is here.
    pub(super) fn can_resume(&self, received: u64) -> bool {
        received <= self.last && self.first() <= received + 1
    }

    pub(super) fn clear(&mut self) {
        self.acknowledge(self.last);
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(AsRef::as_ref)
    }

    /// The number of the oldest that is kept, or of the next.
    fn first(&self) -> u64 {
        self.last + 1 - u64::try_from(self.kept.len()).unwrap_or(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(messages: u64) -> Outbox {
        let mut outbox = Outbox::default();
        for number in 1..=messages {
            assert_eq!(outbox.next(), number);
            outbox.push(&number.to_string(), 10, 1000);
        }
        outbox
    }

    fn kept(outbox: &Outbox) -> Vec<&str> {
        outbox.kept().collect()
    }

    #[test]
    fn keeps_what_is_not_acknowledged() {
        let mut outbox = with(4);
        outbox.acknowledge(2);
        assert_eq!(kept(&outbox), ["3", "4"]);
        outbox.acknowledge(1);
        outbox.acknowledge(99);
        assert_eq!(kept(&outbox), ["3", "4"]);
        assert!(!outbox.can_resume(1) && outbox.can_resume(2) && outbox.can_resume(4));
        assert!(!outbox.can_resume(5) && !outbox.can_resume(u64::MAX));
        outbox.clear();
        assert!(kept(&outbox).is_empty() && outbox.can_resume(4) && !outbox.can_resume(3));
    }

    #[test]
    fn drops_the_oldest_beyond_its_bounds() {
        let mut outbox = with(12);
        assert_eq!(kept(&outbox).first(), Some(&"3"));
        assert!(!outbox.can_resume(1) && outbox.can_resume(2));
        assert_eq!(outbox.push(&"x".repeat(999), 10, 1000), 10);
        assert_eq!(outbox.push(&"x".repeat(2000), 10, 1000), 2);
        assert!(outbox.can_resume(14) && !outbox.can_resume(13));
    }
}

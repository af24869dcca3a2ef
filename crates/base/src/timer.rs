//! Deadlines ordered by time, one per key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Holds at most one deadline per key and gives them back in order of time.
///
/// Setting a key again replaces its deadline. All operations cost O(log n).
#[derive(Debug, Clone)]
pub struct TimerTable<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Default for TimerTable<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> TimerTable<K> {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(old) = self.by_key.insert(key.clone(), at) {
            self.by_time.remove(&(old, key.clone()));
        }
        self.by_time.insert((at, key));
    }

    /// Removes a deadline; returns whether it was set.
    pub fn cancel(&mut self, key: &K) -> bool {
        let Some(at) = self.by_key.remove(key) else { return false };
        self.by_time.remove(&(at, key.clone()))
    }

    #[must_use]
    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one key whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn gives_keys_in_order_of_time_and_replaces_old_deadlines() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut timers = TimerTable::new();
        timers.set("a", at(3));
        timers.set("b", at(2));
        timers.set("a", at(1));
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(0)), None);
        assert_eq!(timers.pop_due(at(5)), Some("a"));
        assert_eq!(timers.pop_due(at(5)), Some("b"));
        assert_eq!(timers.pop_due(at(5)), None);
        assert!(timers.is_empty());
    }
}

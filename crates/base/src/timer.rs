//! Deadlines ordered by time, one per key.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Holds at most one deadline per key and gives them back in order of time, and of keys at the same
/// time.
///
/// Setting a key again replaces its deadline. All operations cost O(log n), over time. Most
/// timers are cancelled and never due, so a cancelled one stays in the queue until it is on top,
/// or until half of the queue is of that kind.
///
/// What is due later lies unordered in slices of time; only the first of them is put in order. So
/// ten thousand timers of a second each cost little more than a hundred do.
#[derive(Debug, Clone)]
pub struct TimerTable<K> {
    /// Where the deadline of each key stands in `slots`.
    by_key: BTreeMap<K, u32>,
    slots: Vec<Slot>,
    /// Slots of no key.
    free: Vec<u32>,
    /// What does not agree with its slot counts for nothing; the top always agrees. Empty only
    /// when there is no deadline.
    queue: BinaryHeap<Reverse<Setting<K>>>,
    /// What is due in later slices than those of the queue.
    later: BTreeMap<u64, Vec<Setting<K>>>,
    /// How many are there.
    waiting: usize,
    /// The last slice that the queue has.
    slice: u64,
    /// From where deadlines and slices are counted.
    epoch: Option<Instant>,
}

/// A deadline, its key, and which setting it was: one that was cancelled and set anew for the same
/// time counts once.
type Setting<K> = (Nanos, K, Which);

/// A setting by number, so that none has to be looked for by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Which {
    slot: u32,
    /// Of the slot: each setting of a key and each key that it is given to has another.
    generation: u32,
}

#[derive(Debug, Clone)]
struct Slot {
    at: Nanos,
    generation: u32,
}

/// Nanoseconds since the epoch, or before it: half of an `Instant`, of which a hundred thousand may be kept.
type Nanos = i64;

impl<K: Ord + Clone> Default for TimerTable<K> {
    fn default() -> Self {
        let (by_key, queue, later) = (BTreeMap::new(), BinaryHeap::new(), BTreeMap::new());
        let (slots, free) = (Vec::new(), Vec::new());
        Self { by_key, slots, free, queue, later, waiting: 0, slice: 0, epoch: None }
    }
}

impl<K: Ord + Clone> TimerTable<K> {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn set(&mut self, key: K, at: Instant) {
        let at = self.nanos_of(at);
        let which = match self.by_key.entry(key.clone()) {
            Entry::Occupied(set) => {
                let slot = *set.get();
                let Some(kept) = self.slots.get_mut(slot as usize) else { return };
                // Who asks a machine for its next deadline after each input mostly hears the same.
                if kept.at == at {
                    return;
                }
                kept.at = at;
                kept.generation = kept.generation.wrapping_add(1);
                Which { slot, generation: kept.generation }
            }
            Entry::Vacant(unset) => {
                let which = take_slot(&mut self.slots, &mut self.free, at);
                unset.insert(which.slot);
                which
            }
        };
        let was_first = self.is_first(&key);
        self.queue_up((at, key, which));
        self.tidy(was_first);
    }

    /// Another deadline of a key whose last one was just taken.
    fn renew(&mut self, key: K, Which { slot, .. }: Which, at: Instant) {
        let at = self.nanos_of(at);
        let Some(kept) = self.slots.get_mut(slot as usize) else { return };
        kept.at = at;
        kept.generation = kept.generation.wrapping_add(1);
        let generation = kept.generation;
        self.queue_up((at, key, Which { slot, generation }));
    }

    fn queue_up(&mut self, setting: Setting<K>) {
        let slice = slice_of(setting.0);
        if slice < self.slice {
            self.put_off(slice);
        }
        if slice <= self.slice {
            self.queue.push(Reverse(setting));
        } else {
            self.later.entry(slice).or_default().push(setting);
            self.waiting += 1;
        }
    }

    /// Removes a deadline; returns whether it was set.
    pub fn cancel(&mut self, key: &K) -> bool {
        let Some(slot) = self.by_key.remove(key) else { return false };
        self.release(slot);
        self.tidy(self.is_first(key));
        true
    }

    /// Removes every deadline whose key is one of these.
    pub fn cancel_all(&mut self, keys: &RangeInclusive<K>) {
        while let Some(key) = self.by_key.range(keys.clone()).next().map(|(key, _)| key.clone()) {
            self.cancel(&key);
        }
    }

    #[must_use]
    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().and_then(|Reverse((at, ..))| self.instant_of(*at))
    }

    /// Takes one key whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        self.pop_overdue(now, |_, _| None).map(|(key, _)| key)
    }

    /// As [`pop_due`](Self::pop_due), with the deadline. `again` says whether the key has another one, without
    /// having to look for it: of what comes again and again there may be tens of thousands. What it says should
    /// count from the deadline and not from now, or all that was late once is due at the same time for ever.
    pub fn pop_overdue(
        &mut self,
        now: Instant,
        again: impl FnOnce(&K, Instant) -> Option<Instant>,
    ) -> Option<(K, Instant)> {
        let deadline = self.next().filter(|at| *at <= now)?;
        let Reverse((_, key, which)) = self.queue.pop()?;
        if let Some(at) = again(&key, deadline) {
            self.renew(key.clone(), which, at);
        } else {
            self.by_key.remove(&key);
            self.release(which.slot);
        }
        self.tidy(true);
        Some((key, deadline))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Gives a slot back; what names it counts for nothing from then on.
    fn release(&mut self, slot: u32) {
        if let Some(kept) = self.slots.get_mut(slot as usize) {
            kept.generation = kept.generation.wrapping_add(1);
            self.free.push(slot);
        }
    }

    fn is_first(&self, key: &K) -> bool {
        self.queue.peek().is_some_and(|Reverse((_, first, _))| first == key)
    }

    fn nanos_of(&mut self, at: Instant) -> Nanos {
        let epoch = *self.epoch.get_or_insert(at);
        let nanos = |time: Duration| Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX);
        match at.checked_duration_since(epoch) {
            Some(later) => nanos(later),
            None => -nanos(epoch.saturating_duration_since(at)),
        }
    }

    fn instant_of(&self, at: Nanos) -> Option<Instant> {
        let time = Duration::from_nanos(at.unsigned_abs());
        if at < 0 { self.epoch?.checked_sub(time) } else { self.epoch?.checked_add(time) }
    }

    /// Has the queue begin with this slice, if what it has is due in later ones: else everything
    /// would be put in order until then.
    fn put_off(&mut self, slice: u64) {
        let Some(Reverse((first, ..))) = self.queue.peek() else { return };
        if self.queue.len() > MOST_PUT_OFF || slice_of(*first) <= slice {
            return;
        }
        for Reverse(setting) in std::mem::take(&mut self.queue) {
            let slice = slice_of(setting.0);
            self.later.entry(slice).or_default().push(setting);
            self.waiting += 1;
        }
        self.slice = slice;
    }

    /// Takes what counts for nothing off the top, and out of all the queue once it is the most.
    fn tidy(&mut self, top_changed: bool) {
        if top_changed || self.queue.is_empty() {
            self.show_next();
        }
        if self.queue.len() + self.waiting > 2 * self.by_key.len() + SPARE {
            let slots = &self.slots;
            self.queue.retain(|Reverse(setting)| is_set(slots, setting));
            self.waiting = 0;
            self.later.retain(|_, slice| {
                slice.retain(|setting| is_set(slots, setting));
                self.waiting += slice.len();
                !slice.is_empty()
            });
        }
    }

    /// Has the earliest deadline on top of the queue, which takes in the next slices for it.
    fn show_next(&mut self) {
        loop {
            while let Some(Reverse(setting)) = self.queue.peek()
                && !is_set(&self.slots, setting)
            {
                self.queue.pop();
            }
            if !self.queue.is_empty() {
                return;
            }
            let Some((slice, deadlines)) = self.later.pop_first() else { return };
            self.slice = slice;
            self.waiting -= deadlines.len();
            let slots = &self.slots;
            let set = deadlines.into_iter().filter(|setting| is_set(slots, setting));
            self.queue.extend(set.map(Reverse));
        }
    }
}

fn slice_of(at: Nanos) -> u64 {
    at.max(0).unsigned_abs() / SLICE
}

fn is_set<K>(slots: &[Slot], (_, _, which): &Setting<K>) -> bool {
    slots.get(which.slot as usize).is_some_and(|slot| slot.generation == which.generation)
}

fn take_slot(slots: &mut Vec<Slot>, free: &mut Vec<u32>, at: Nanos) -> Which {
    let reused = free.pop().and_then(|slot| Some((slot, slots.get_mut(slot as usize)?)));
    if let Some((slot, kept)) = reused {
        kept.at = at;
        return Which { slot, generation: kept.generation };
    }
    // As many at a time as there are keys: memory ends long before the numbers do.
    let slot = u32::try_from(slots.len()).unwrap_or(u32::MAX);
    slots.push(Slot { at, generation: 0 });
    Which { slot, generation: 0 }
}

/// Nanoseconds: as many timers of a second as come due in it are put in order at a time.
const SLICE: u64 = 16_000_000;
/// More than are due in a slice, usually.
const MOST_PUT_OFF: usize = 1024;
/// Cancelled deadlines that are never worth looking for.
const SPARE: usize = 16;

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
        assert_eq!(timers.pop_overdue(at(7), |_, _| None), Some(("b", at(2))));
        assert_eq!(timers.pop_due(at(5)), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn the_same_deadline_again_and_again_is_one() {
        let start = Instant::now();
        let mut timers = TimerTable::new();
        for key in 0..100 {
            timers.set(key, start + Duration::from_secs(3));
        }
        for round in 0..10_000 {
            let key = round % 100;
            if round % 3 == 0 {
                timers.cancel(&key);
            }
            timers.set(key, start + Duration::from_secs(3));
            let queued = timers.queue.len() + timers.waiting;
            assert!(queued <= 2 * timers.len() + SPARE, "{queued} in round {round}");
        }
        let due = std::iter::from_fn(|| timers.pop_due(start + Duration::from_secs(3)));
        assert_eq!(due.collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    /// Against a plain list of deadlines.
    #[test]
    fn agrees_with_a_list_whatever_is_set_and_cancelled() {
        // Also before the first deadline that was ever set.
        let start = Instant::now();
        let mut rng = crate::Rng::from_u64(1);
        let mut timers = TimerTable::new();
        let mut list: Vec<(Instant, u32)> = vec![];
        for _ in 0..20_000 {
            let key = rng.below(40);
            let at = start + Duration::from_millis(rng.below(500).into());
            match rng.below(9) {
                0..4 => {
                    timers.set(key, at);
                    list.retain(|(_, k)| *k != key);
                    list.push((at, key));
                }
                4..6 => {
                    let was_set = list.iter().any(|(_, k)| *k == key);
                    list.retain(|(_, k)| *k != key);
                    assert_eq!(timers.cancel(&key), was_set);
                }
                6 => {
                    timers.cancel_all(&(key..=key + 3));
                    list.retain(|(_, k)| !(key..=key + 3).contains(k));
                }
                7 => {
                    // Some have another one, which may be anywhere.
                    let due = list.iter().min().copied().filter(|(when, _)| *when <= at);
                    let next = start + Duration::from_millis(rng.below(500).into());
                    let again = |key: &u32, _| key.is_multiple_of(2).then_some(next);
                    let popped = timers.pop_overdue(at, again);
                    assert_eq!(popped, due.map(|(when, key)| (key, when)));
                    list.retain(|entry| Some(*entry) != due);
                    list.extend(
                        due.filter(|(_, key)| key.is_multiple_of(2)).map(|(_, k)| (next, k)),
                    );
                }
                _ => {
                    let due = list.iter().min().copied().filter(|(when, _)| *when <= at);
                    assert_eq!(timers.pop_due(at), due.map(|(_, key)| key));
                    list.retain(|entry| Some(*entry) != due);
                }
            }
            assert_eq!(timers.next(), list.iter().min().map(|(when, _)| *when));
            assert_eq!(timers.len(), list.len());
            let queued = timers.queue.len() + timers.waiting;
            assert!(queued <= 2 * list.len() + SPARE, "{queued}");
            assert_eq!(timers.waiting, timers.later.values().map(Vec::len).sum::<usize>());
        }
    }
}

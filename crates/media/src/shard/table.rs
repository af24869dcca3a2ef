//! A hash table for the packet path: from an address to what it belongs to, in one or two cache
//! lines.
//!
//! Fair for a machine: its hash is keyed by the shard's own seed, so a run can be repeated and a
//! peer, who does not know the seed, cannot aim at a slot; and nothing ever walks through it, so
//! its order shows nowhere. Open addressing with linear probing, at most half full.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crosspoint_base::{LegId, Rng};

use super::SocketId;
use super::legs::Place;
use super::links::Remote;
use crate::srtp;

/// What may be looked up.
pub(super) trait Key: Copy + Eq {
    fn words(&self) -> [u64; 3];
}

impl Key for SocketAddr {
    fn words(&self) -> [u64; 3] {
        match self {
            Self::V4(v4) => [u64::from(v4.ip().to_bits()), u64::from(v4.port()), 4],
            Self::V6(v6) => {
                let bits = v6.ip().to_bits();
                let rest = u64::from(v6.port()) | u64::from(v6.scope_id()) << 16 | 6 << 56;
                [(bits >> 64) as u64, bits as u64, rest]
            }
        }
    }
}

impl Key for Remote {
    fn words(&self) -> [u64; 3] {
        let [a, b, c] = self.address.words();
        [a, b, c ^ self.socket.0.rotate_left(32)]
    }
}

impl Key for SocketId {
    fn words(&self) -> [u64; 3] {
        [self.0, 0, 0]
    }
}

impl Key for LegId {
    fn words(&self) -> [u64; 3] {
        [self.0, 0, 0]
    }
}

#[derive(Debug)]
pub(super) struct Table<K, V> {
    /// As many as a power of two.
    slots: Vec<Option<(K, V)>>,
    len: usize,
    seed: [u64; 2],
}

impl<K: Key, V: Copy> Table<K, V> {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { slots: vec![None; 16], len: 0, seed: [rng.next_u64(), rng.next_u64() | 1] }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut at = self.home(key);
        loop {
            match self.slots.get(at)? {
                Some((k, value)) if k == key => return Some(*value),
                Some(_) => at = self.next(at),
                None => return None,
            }
        }
    }

    /// Has the place of a key on its way into the cache.
    pub(super) fn prefetch(&self, key: &K) {
        if let Some(slot) = self.slots.get(self.home(key)) {
            srtp::prefetch(slot, 0..usize::MAX);
        }
    }

    /// Gives what was there before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if 2 * (self.len + 1) > self.slots.len() {
            self.grow();
        }
        let mut at = self.home(&key);
        while let Some((k, old)) = &mut self.slots[at] {
            if *k == key {
                return Some(std::mem::replace(old, value));
            }
            at = self.next(at);
        }
        self.slots[at] = Some((key, value));
        self.len += 1;
        None
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let mut hole = self.home(key);
        while self.slots[hole].as_ref()?.0 != *key {
            hole = self.next(hole);
        }
        let (_, value) = self.slots[hole].take()?;
        self.len -= 1;
        // Those behind move up, as far as their home allows: nobody is behind a hole.
        let mut at = self.next(hole);
        while let Some((key, _)) = &self.slots[at] {
            let mask = self.slots.len() - 1;
            let from_home = at.wrapping_sub(self.home(key)) & mask;
            if from_home >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = self.slots[at].take();
                hole = at;
            }
            at = self.next(at);
        }
        Some(value)
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![None; 2 * old.len()];
        for (key, value) in old.into_iter().flatten() {
            let mut at = self.home(&key);
            while self.slots[at].is_some() {
                at = self.next(at);
            }
            self.slots[at] = Some((key, value));
        }
    }

    /// Where a key belongs: multiplications whose both halves count, keyed by the seed.
    fn home(&self, key: &K) -> usize {
        let [a, b, c] = key.words();
        let mixed = fold(a ^ self.seed[0], b ^ self.seed[1]);
        fold(mixed ^ c, self.seed[1]) as usize & (self.slots.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Which leg is heard from where: browsers' addresses that passed a check.
#[derive(Debug)]
pub(super) struct ByRemote {
    table: Table<Remote, (LegId, Place)>,
    /// Those over links, in order: a link may go away as a whole.
    of_links: BTreeSet<Remote>,
}

impl ByRemote {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { table: Table::new(rng), of_links: BTreeSet::new() }
    }

    pub(super) fn find(&self, remote: &Remote) -> Option<(LegId, Place)> {
        self.table.get(remote)
    }

    pub(super) fn prefetch(&self, remote: &Remote) {
        self.table.prefetch(remote);
    }

    pub(super) fn get(&self, remote: &Remote) -> Option<LegId> {
        self.find(remote).map(|(id, _)| id)
    }

    pub(super) fn insert(&mut self, remote: Remote, leg: (LegId, Place)) {
        if remote.socket.is_link() {
            self.of_links.insert(remote);
        }
        self.table.insert(remote, leg);
    }

    pub(super) fn remove(&mut self, remote: &Remote) -> Option<LegId> {
        self.of_links.remove(remote);
        self.table.remove(remote).map(|(id, _)| id)
    }

    /// All between two over links.
    pub(super) fn on_link(&self, ends: RangeInclusive<Remote>) -> Vec<Remote> {
        self.of_links.range(ends).copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Random work on few keys, so that most of them meet.
    #[test]
    fn holds_what_a_tree_holds() {
        let mut rng = Rng::from_u64(1);
        let mut table = Table::new(&mut rng);
        let mut tree = BTreeMap::new();
        for step in 0..200_000_u32 {
            let port = rng.below(if step < 100_000 { 60 } else { 9000 }) as u16;
            let address = if port.is_multiple_of(3) {
                SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, port / 7], port))
            } else {
                SocketAddr::from(([10, 0, 0, (port / 7) as u8], port))
            };
            match rng.below(3) {
                0 => assert_eq!(table.remove(&address), tree.remove(&address)),
                1 => assert_eq!(table.insert(address, step), tree.insert(address, step)),
                _ => assert_eq!(table.get(&address), tree.get(&address).copied()),
            }
            assert_eq!(table.len(), tree.len());
        }
        for (address, value) in &tree {
            assert_eq!(table.get(address), Some(*value));
        }
    }

    /// One peer behind one address may take ports in order: they must not pile up.
    #[test]
    fn neighbours_do_not_meet() {
        let mut rng = Rng::from_u64(2);
        let mut table = Table::new(&mut rng);
        for n in 0..20_000_u32 {
            let address = SocketAddr::from(([192, 0, 2, (n % 3) as u8], (n / 3) as u16));
            table.insert(address, n);
        }
        let far = |(at, slot): (usize, &Option<(SocketAddr, u32)>)| {
            let home = table.home(&slot.as_ref()?.0);
            Some(at.wrapping_sub(home) & (table.slots.len() - 1))
        };
        let farthest = table.slots.iter().enumerate().filter_map(far).max();
        assert!(farthest < Some(64), "{farthest:?}");
    }
}

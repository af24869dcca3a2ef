//! How many connections there may be, altogether and from one address, and none for who is banned.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use crosspoint_base::{GuardConfig, source_of};

use crate::Bans;

/// Counts connections; clones share the count.
#[derive(Debug, Clone)]
pub struct Admission {
    counts: Arc<Mutex<Counts>>,
    bans: Bans,
}

#[derive(Debug)]
struct Counts {
    total: usize,
    by_source: BTreeMap<IpAddr, usize>,
    max_total: usize,
    max_by_source: usize,
    refused: u64,
}

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    source: IpAddr,
}

impl Admission {
    /// Nobody is banned, unless an operator wishes it.
    #[must_use]
    pub fn new(max_total: usize, max_by_source: usize) -> Self {
        let nobody = GuardConfig { failures: 0, ..GuardConfig::default() };
        Self::guarded(max_total, max_by_source, nobody)
    }

    #[must_use]
    pub fn guarded(max_total: usize, max_by_source: usize, guard: GuardConfig) -> Self {
        let by_source = BTreeMap::new();
        let counts = Counts { total: 0, by_source, max_total, max_by_source, refused: 0 };
        Self { counts: Arc::new(Mutex::new(counts)), bans: Bans::new(guard) }
    }

    /// Other bounds from now on. Connections that are open stay.
    pub fn set_bounds(&self, max_total: usize, max_by_source: usize) {
        let mut counts = self.counts();
        (counts.max_total, counts.max_by_source) = (max_total, max_by_source);
    }

    #[must_use]
    pub fn bans(&self) -> &Bans {
        &self.bans
    }

    /// A place for a connection from `address`, if there is one.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Permit> {
        // Of a connection nothing is known yet but its address.
        if !self.bans.hears(SocketAddr::new(address, 0)) {
            return None;
        }
        let source = source_of(address);
        let mut counts = self.counts();
        let of_source = counts.by_source.get(&source).copied().unwrap_or(0);
        if counts.total >= counts.max_total || of_source >= counts.max_by_source {
            counts.refused += 1;
            return None;
        }
        counts.total += 1;
        counts.by_source.insert(source, of_source + 1);
        drop(counts);
        Some(Permit { admission: self.clone(), source })
    }

    #[must_use]
    pub fn open(&self) -> usize {
        self.counts().total
    }

    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counts().refused
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Permit {
    /// A place more for the same address, if there is one.
    #[must_use]
    pub fn another(&self) -> Option<Self> {
        self.admission.admit(self.source)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.total -= 1;
        if let Some(of_source) = counts.by_source.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_every_place() {
        let admission = Admission::new(4, 2);
        let from = |text: &str| admission.admit(text.parse().unwrap());
        let kept = [from("192.0.2.1").unwrap(), from("192.0.2.1").unwrap()];
        assert!(from("192.0.2.1").is_none());
        assert!(from("::ffff:192.0.2.1").is_none(), "the same source in other words");
        let _first = from("2001:db8::1").unwrap();
        let _second = from("2001:db8::2").unwrap();
        assert!(from("2001:db8::3").is_none(), "the same subscriber");
        assert!(from("192.0.2.9").is_none(), "everything is taken");
        drop(kept);
        assert!(from("192.0.2.1").is_some());
        assert_eq!(admission.refused(), 4);
        assert_eq!(admission.open(), 2);
    }
}

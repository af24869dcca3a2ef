//! How many connections there may be, altogether and from one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

/// Counts connections; clones share the count.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Mutex<Counts>>);

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
    #[must_use]
    pub fn new(max_total: usize, max_by_source: usize) -> Self {
        Self(Arc::new(Mutex::new(Counts {
            total: 0,
            by_source: BTreeMap::new(),
            max_total,
            max_by_source,
            refused: 0,
        })))
    }

    /// A place for a connection from `address`, if there is one.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Permit> {
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
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

/// Whom an address counts for: one subscriber has a whole /64 of IPv6 addresses.
#[must_use]
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
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

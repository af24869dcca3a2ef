//! How many messages one source may send in a second, before anything is parsed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crosspoint_base::source_of;

/// A bucket for each source (of IPv6 a /64), that fills with so many tokens a second up to twice
/// as many.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    buckets: HashMap<IpAddr, Bucket>,
    last_purge: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    /// In millionths.
    tokens: u64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, buckets: HashMap::new(), last_purge: None }
    }

    pub(super) fn set(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Takes a token, or tells how long there is none.
    pub(super) fn take(&mut self, now: Instant, address: IpAddr) -> Result<(), Duration> {
        let source = source_of(address);
        if self.buckets.len() >= MAX_SOURCES && !self.buckets.contains_key(&source) {
            self.purge(now);
            // With so many sources none of them is the flood: the node bounds what it takes.
            if self.buckets.len() >= MAX_SOURCES {
                return Ok(());
            }
        }
        let (speed, most) = (u64::from(self.per_second), 2 * u64::from(self.per_second) * TOKEN);
        let bucket = self.buckets.entry(source).or_insert(Bucket { tokens: most, at: now });
        bucket.fill(now, speed, most);
        match bucket.tokens.checked_sub(TOKEN) {
            Some(left) => {
                bucket.tokens = left;
                Ok(())
            }
            None => Err(Duration::from_micros((TOKEN - bucket.tokens).div_ceil(speed.max(1)))),
        }
    }

    /// Forgets full buckets; not more than once a second.
    fn purge(&mut self, now: Instant) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= Duration::from_secs(1);
        if self.last_purge.is_none_or(is_due) {
            self.last_purge = Some(now);
            let full = Duration::from_secs(2);
            self.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < full);
        }
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant, speed: u64, most: u64) {
        let passed = now.saturating_duration_since(self.at).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(passed.saturating_mul(speed)).min(most);
        self.at = self.at.max(now);
    }
}

const TOKEN: u64 = 1_000_000;
const MAX_SOURCES: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_a_burst_and_leaves_others_theirs() {
        let (mut rate, start) = (Rate::new(10), Instant::now());
        let (flood, quiet) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let taken = (0..1000).filter(|_| rate.take(start, flood).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(rate.take(start, flood), Err(Duration::from_millis(100)));
        assert_eq!(rate.take(start, quiet), Ok(()));
        let later = start + Duration::from_millis(100);
        assert_eq!(rate.take(later, flood), Ok(()));
        assert!(rate.take(later, flood).is_err());
        let taken = (0..10_000_u64)
            .filter(|n| rate.take(later + Duration::from_millis(*n), flood).is_ok())
            .count();
        assert!((99..=100).contains(&taken), "{taken} in ten seconds");
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_than_its_room() {
        let (mut rate, start) = (Rate::new(10), Instant::now());
        for n in 0..30_000_u32 {
            assert_eq!(rate.take(start, IpAddr::from(n.to_be_bytes())), Ok(()));
        }
        assert_eq!(rate.buckets.len(), MAX_SOURCES);
        let later = start + Duration::from_secs(3);
        assert_eq!(rate.take(later, IpAddr::from([200, 0, 0, 1])), Ok(()));
        assert_eq!(rate.buckets.len(), 1);
    }
}

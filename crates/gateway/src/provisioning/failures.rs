//! Sign-ins that failed: which of them the audit keeps. Strangers could fill it, and what operators
//! did would be gone from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Those of the last while.
#[derive(Debug, Default)]
pub(super) struct Failures {
    began: Option<Instant>,
    kept: BTreeMap<IpAddr, usize>,
    /// Since the last one that was kept.
    missed: u64,
}

impl Failures {
    /// Whether one more is kept; then, how many were not since the last one was.
    pub(super) fn keep(&mut self, now: Instant, source: IpAddr) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= PERIOD) {
            self.began = Some(now);
            self.kept.clear();
        }
        let of_source = self.kept.get(&source).copied().unwrap_or(0);
        if of_source >= MOST_OF_ONE || self.kept.values().sum::<usize>() >= MOST {
            self.missed += 1;
            return None;
        }
        self.kept.insert(source, of_source + 1);
        Some(std::mem::take(&mut self.missed))
    }
}

const PERIOD: Duration = Duration::from_secs(600);
const MOST_OF_ONE: usize = 5;
/// At this rate it takes a month to fill the audit.
const MOST: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_leaves_a_few_and_their_number() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..100 {
            let kept = failures.keep(start, address(1));
            assert_eq!(kept, (n < 5).then_some(0), "{n}");
        }
        assert_eq!(failures.keep(start, address(2)), Some(95), "others are kept all the same");
        for n in 0..10_000 {
            let _ = failures.keep(start, address(n));
        }
        assert_eq!(failures.kept.values().sum::<usize>(), MOST);
        assert!(failures.kept.len() <= MOST);
        let later = failures.keep(start + PERIOD, address(1));
        assert!(later.is_some_and(|missed| missed > 9000), "{later:?}");
        assert_eq!(failures.keep(start + PERIOD, address(1)), Some(0));
    }
}

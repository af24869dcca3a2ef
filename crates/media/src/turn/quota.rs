//! How much one user, and who has shown no credentials, may have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A supply that fills up again: as much as one second's worth can be taken at once.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u64,
    filled: Instant,
}

impl Bucket {
    fn full(now: Instant, rate: u64) -> Self {
        Self { level: rate, filled: now }
    }

    fn take(&mut self, now: Instant, rate: u64, amount: u64) -> bool {
        self.fill(now, rate);
        let Some(left) = self.level.checked_sub(amount) else { return false };
        self.level = left;
        true
    }

    fn fill(&mut self, now: Instant, rate: u64) {
        let passed = now.saturating_duration_since(self.filled).min(SECOND).as_micros();
        let gained = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(rate) / 1_000_000;
        // Waits until there is a whole one: short steps must not lose what they gain.
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(rate);
            self.filled = now;
        }
    }
}

/// What users have.
#[derive(Debug)]
pub(super) struct Users {
    users: BTreeMap<Arc<str>, User>,
    max_allocations: usize,
    /// Bytes a second, both ways together; 0 is without end.
    rate: u64,
    swept: Instant,
}

#[derive(Debug)]
struct User {
    allocations: usize,
    bucket: Bucket,
}

impl Users {
    pub(super) fn new(now: Instant, max_allocations: usize, rate: u64) -> Self {
        Self { users: BTreeMap::new(), max_allocations, rate, swept: now }
    }

    /// Counts one more allocation, if the user may have it.
    pub(super) fn begin(&mut self, now: Instant, name: &str) -> Option<Arc<str>> {
        self.sweep(now);
        let (name, user) = match self.users.get_key_value(name) {
            Some((name, _)) => (name.clone(), self.users.get_mut(&name.clone())?),
            None => {
                let name: Arc<str> = Arc::from(name);
                let bucket = Bucket::full(now, self.rate);
                let user = User { allocations: 0, bucket };
                (name.clone(), self.users.entry(name).or_insert(user))
            }
        };
        if user.allocations >= self.max_allocations {
            return None;
        }
        user.allocations += 1;
        Some(name)
    }

    pub(super) fn end(&mut self, name: &str) {
        if let Some(user) = self.users.get_mut(name) {
            user.allocations = user.allocations.saturating_sub(1);
        }
    }

    pub(super) fn may_relay(&mut self, now: Instant, name: &str, bytes: usize) -> bool {
        if self.rate == 0 {
            return true;
        }
        let rate = self.rate;
        let amount = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.users.get_mut(name).is_some_and(|user| user.bucket.take(now, rate, amount))
    }

    /// Forgets who has nothing and whose bucket is full again.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SECOND {
            self.swept = now;
            let is_in_use = |user: &User| {
                let since = now.saturating_duration_since(user.bucket.filled);
                user.allocations > 0 || since < SECOND
            };
            self.users.retain(|_, user| is_in_use(user));
        }
    }
}

/// Answers to datagrams that show no credentials: their source may be forged, and each answer is
/// longer than its question.
#[derive(Debug)]
pub(super) struct Strangers {
    sources: BTreeMap<IpAddr, Bucket>,
    /// For those who find no place of their own.
    others: Bucket,
    swept: Instant,
}

impl Strangers {
    pub(super) fn new(now: Instant) -> Self {
        let others = Bucket::full(now, ANSWERS_TO_OTHERS);
        Self { sources: BTreeMap::new(), others, swept: now }
    }

    pub(super) fn may_answer(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = network_of(source);
        if let Some(bucket) = self.sources.get_mut(&source) {
            return bucket.take(now, ANSWERS_A_SECOND, 1);
        }
        if self.sources.len() >= MAX_SOURCES && now.saturating_duration_since(self.swept) >= SECOND
        {
            self.swept = now;
            self.sources.retain(|_, b| now.saturating_duration_since(b.filled) < SECOND);
        }
        if self.sources.len() >= MAX_SOURCES {
            return self.others.take(now, ANSWERS_TO_OTHERS, 1);
        }
        let mut bucket = Bucket::full(now, ANSWERS_A_SECOND);
        let may = bucket.take(now, ANSWERS_A_SECOND, 1);
        self.sources.insert(source, bucket);
        may
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.sources.len()
    }
}

/// Who has one IPv6 address has the whole network.
fn network_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// A page with several networks and servers asks some dozen times at once; people behind one NAT
/// share an address.
const ANSWERS_A_SECOND: u64 = 100;
const ANSWERS_TO_OTHERS: u64 = 1000;
const MAX_SOURCES: usize = 4096;
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

    use super::*;

    #[test]
    fn one_source_is_answered_so_often_and_many_do_not_fill_memory() {
        let begin = Instant::now();
        let mut strangers = Strangers::new(begin);
        let victim: IpAddr = "192.0.2.1".parse().unwrap();
        let answered = (0..10_000).filter(|_| strangers.may_answer(begin, victim)).count();
        assert_eq!(answered, 100);
        let mut answered = 0;
        for n in 0..100_000_u32 {
            let source = IpAddr::from(n.to_be_bytes());
            answered += usize::from(strangers.may_answer(begin, source));
        }
        assert_eq!(strangers.len(), MAX_SOURCES);
        assert_eq!(answered, MAX_SOURCES - 1 + 1000);
        // A second later there is room again.
        let later = begin + SECOND;
        assert!(strangers.may_answer(later, "198.51.100.1".parse().unwrap()));
        assert_eq!(strangers.len(), 1);
    }

    #[test]
    fn a_user_gets_what_a_second_holds_and_no_more_by_coming_again() {
        let begin = Instant::now();
        let mut users = Users::new(begin, 2, 1000);
        let alice = users.begin(begin, "alice").unwrap();
        assert!(users.begin(begin, "alice").is_some());
        assert!(users.begin(begin, "alice").is_none());
        assert!(users.begin(begin, "bob").is_some());
        assert!(users.may_relay(begin, &alice, 900));
        assert!(!users.may_relay(begin, &alice, 200));
        users.end("alice");
        users.end("alice");
        let soon = begin + Duration::from_millis(50);
        users.begin(soon, "alice").unwrap();
        assert!(!users.may_relay(soon, &alice, 200));
        assert!(users.may_relay(soon + SECOND, &alice, 1000));
    }
}

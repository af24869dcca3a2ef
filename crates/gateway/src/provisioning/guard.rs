//! How many wrong passwords there may be.
//!
//! Ten in a minute from one address, and for one name. Who has signed in under a name from an
//! address before is not locked out by others who guess at that name.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crosspoint_base::{Conduct, Offence, source_of};

/// Counts wrong passwords.
#[derive(Debug, Default)]
pub(super) struct Guard {
    wrong: BTreeMap<Key, VecDeque<Instant>>,
    /// Names with the addresses they were signed in from, oldest first.
    known: VecDeque<(String, IpAddr)>,
    last_purge: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Source(IpAddr),
    Name(String),
}

/// Who tries.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    source: IpAddr,
    name: Option<String>,
}

impl Attempt {
    /// A name that cannot be anybody's is not counted, only its address.
    pub(super) fn new(address: IpAddr, name: &str) -> Self {
        let name = (name.len() <= MAX_NAME).then(|| name.to_lowercase());
        Self { source: source_of(address), name }
    }

    /// A secret nobody guesses: only its address is counted, so that nobody can lock it.
    pub(super) fn at_a_secret(address: IpAddr) -> Self {
        Self { source: source_of(address), name: None }
    }

    /// Who has proved a password may be anybody's phone; whoever has a secret counts as one.
    pub(super) fn conduct(&self, is_right: bool) -> Conduct {
        if is_right {
            Conduct::SignedIn(self.name.as_deref().unwrap_or("an operator").into())
        } else {
            Conduct::Offended(Offence::Password)
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.source, 0)
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let name = self.name.clone().map(Key::Name);
        std::iter::once(Key::Source(self.source)).chain(name)
    }
}

impl Guard {
    /// Takes the outcome of one attempt, or tells for how long there may be none.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        attempt: &Attempt,
        is_right: bool,
    ) -> Result<bool, Duration> {
        self.may_try(now, attempt)?;
        if is_right {
            self.remember(attempt);
        } else {
            for key in attempt.keys() {
                self.count(now, key);
            }
        }
        Ok(is_right)
    }

    pub(super) fn may_try(&mut self, now: Instant, attempt: &Attempt) -> Result<(), Duration> {
        let is_known = self.is_known(attempt);
        for key in attempt.keys() {
            if is_known && matches!(key, Key::Name(_)) {
                continue;
            }
            let Some(times) = self.wrong.get_mut(&key) else { continue };
            forget_old(times, now);
            match times.front() {
                Some(oldest) if times.len() >= MAX_WRONG => {
                    return Err((*oldest + PERIOD).saturating_duration_since(now));
                }
                Some(_) => {}
                None => drop(self.wrong.remove(&key)),
            }
        }
        Ok(())
    }

    fn count(&mut self, now: Instant, key: Key) {
        if self.wrong.len() >= MAX_KEYS && !self.wrong.contains_key(&key) {
            // Looking through all of them is not worth more than once a second.
            if self.last_purge.is_none_or(|at| now.duration_since(at) >= PURGE_PERIOD) {
                self.last_purge = Some(now);
                self.wrong.retain(|_, times| {
                    forget_old(times, now);
                    !times.is_empty()
                });
            }
            if self.wrong.len() >= MAX_KEYS {
                self.wrong.pop_first();
            }
        }
        let times = self.wrong.entry(key).or_default();
        times.push_back(now);
        if times.len() > MAX_WRONG {
            times.pop_front();
        }
    }

    fn is_known(&self, attempt: &Attempt) -> bool {
        attempt.name.as_ref().is_some_and(|name| {
            self.known.iter().any(|(n, source)| n == name && *source == attempt.source)
        })
    }

    fn remember(&mut self, attempt: &Attempt) {
        if self.is_known(attempt) {
            return;
        }
        if let Some(name) = &attempt.name {
            if self.known.len() >= MAX_KNOWN {
                self.known.pop_front();
            }
            self.known.push_back((name.clone(), attempt.source));
        }
    }
}

fn forget_old(times: &mut VecDeque<Instant>, now: Instant) {
    while times.front().is_some_and(|at| now.saturating_duration_since(*at) >= PERIOD) {
        times.pop_front();
    }
}

const MAX_WRONG: usize = 10;
const PERIOD: Duration = Duration::from_secs(60);
const PURGE_PERIOD: Duration = Duration::from_secs(1);
const MAX_KEYS: usize = 20_000;
const MAX_KNOWN: usize = 1000;
/// The longest name is an e-mail address.
const MAX_NAME: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(address: &str, name: &str) -> Attempt {
        Attempt::new(address.parse().unwrap(), name)
    }

    #[test]
    fn ten_wrong_ones_in_a_minute_and_then_none_even_if_right() {
        let (mut guard, start) = (Guard::default(), Instant::now());
        let at = |n: u64| start + Duration::from_secs(n);
        for n in 0..10 {
            let from = attempt("192.0.2.1", &format!("user{n}"));
            assert_eq!(guard.judge(at(n), &from, false), Ok(false));
        }
        let again = attempt("192.0.2.1", "alice");
        assert_eq!(guard.judge(at(20), &again, true), Err(Duration::from_secs(40)));
        assert_eq!(guard.judge(at(20), &attempt("192.0.2.2", "alice"), true), Ok(true));
        assert_eq!(guard.judge(at(59), &again, false), Err(Duration::from_secs(1)));
        assert_eq!(guard.judge(at(60), &again, false), Ok(false));
        assert_eq!(guard.judge(at(60), &again, false), Err(Duration::from_secs(1)));
        assert_eq!(guard.judge(at(1000), &again, true), Ok(true));
    }

    #[test]
    fn one_name_is_guarded_against_many_addresses_but_not_locked_for_its_owner() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        let home = attempt("2001:db8:1::1", "alice");
        assert_eq!(guard.judge(now, &home, true), Ok(true));
        for n in 1..=10 {
            let from = attempt(&format!("192.0.2.{n}"), "ALICE");
            assert_eq!(guard.judge(now, &from, false), Ok(false));
        }
        assert!(guard.judge(now, &attempt("192.0.2.99", "alice"), false).is_err());
        assert!(guard.judge(now, &attempt("192.0.2.99", "bob"), true).is_ok());
        let same_house = attempt("2001:db8:1::2", "alice");
        assert_eq!(guard.judge(now, &same_house, true), Ok(true));
    }

    #[test]
    fn a_flood_of_addresses_and_names_takes_no_more_than_its_room() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        for n in 0..30_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            let attempt = Attempt::new(address, &format!("u{n}"));
            let _ = guard.judge(now, &attempt, n % 2 == 0);
        }
        assert!(guard.wrong.len() <= MAX_KEYS);
        assert!(guard.known.len() <= MAX_KNOWN);
        let long = Attempt::new(IpAddr::from([192, 0, 2, 1]), &"x".repeat(100_000));
        assert!(long.name.is_none());
    }
}

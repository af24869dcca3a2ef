//! Tokens of the last minutes. Only hashes are kept, but clients that create a session may ask for
//! it once more to read its token.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crosspoint_base::Secret;

#[derive(Debug, Default)]
pub(super) struct FreshTokens {
    by_session: BTreeMap<String, Secret<String>>,
    /// Oldest first. A session that was forgotten stays here until its time comes.
    order: VecDeque<(Instant, String)>,
}

impl FreshTokens {
    pub(super) fn add(&mut self, now: Instant, session: &str, token: Secret<String>) {
        self.forget_old(now);
        if self.order.len() >= MAX_FRESH
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.by_session.remove(&oldest);
        }
        self.by_session.insert(session.to_owned(), token);
        self.order.push_back((now, session.to_owned()));
    }

    pub(super) fn of(&mut self, now: Instant, session: &str) -> Option<Secret<String>> {
        self.forget_old(now);
        self.by_session.get(session).cloned()
    }

    pub(super) fn forget(&mut self, session: &str) {
        self.by_session.remove(session);
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, _)) = self.order.front()
            && now.saturating_duration_since(*at) >= FRESH
            && let Some((_, session)) = self.order.pop_front()
        {
            self.by_session.remove(&session);
        }
    }
}

const FRESH: Duration = Duration::from_secs(300);
const MAX_FRESH: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_for_a_while_and_not_without_end() {
        let (mut fresh, now) = (FreshTokens::default(), Instant::now());
        let secret = |n: usize| Secret::new(n.to_string());
        fresh.add(now, "a", secret(1));
        fresh.add(now + FRESH / 2, "b", secret(2));
        assert_eq!(fresh.of(now + FRESH / 2, "a"), Some(secret(1)));
        assert_eq!(fresh.of(now + FRESH, "a"), None);
        assert_eq!(fresh.of(now + FRESH, "b"), Some(secret(2)));
        fresh.forget("b");
        assert_eq!(fresh.of(now + FRESH, "b"), None);
        for n in 0..2 * MAX_FRESH {
            fresh.add(now + FRESH, &n.to_string(), secret(n));
        }
        assert!(fresh.order.len() <= MAX_FRESH && fresh.by_session.len() <= MAX_FRESH);
    }
}

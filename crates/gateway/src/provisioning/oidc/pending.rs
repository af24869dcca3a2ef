//! Sign-ins that are on the way to the provider and back: few, for a short time, each good once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crosspoint_base::Secret;
use crosspoint_state::TokenHash;

/// By the state that they come back with.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<TokenHash, SignIn>);

#[derive(Debug)]
pub(super) struct SignIn {
    pub(super) source: IpAddr,
    /// Of the cookie that the browser was given.
    pub(super) browser: TokenHash,
    pub(super) nonce: Secret<String>,
    /// RFC 7636 §4.1.
    pub(super) verifier: Secret<String>,
    pub(super) began: Instant,
}

impl Pending {
    pub(super) fn begin(&mut self, state: TokenHash, it: SignIn) {
        self.0.retain(|_, sign_in| sign_in.is_fresh(it.began));
        // Who begins more and more of them disturbs nobody else.
        let of_one = self.0.values().filter(|sign_in| sign_in.source == it.source).count();
        if of_one >= MOST_OF_ONE {
            self.forget_oldest(|sign_in| sign_in.source == it.source);
        } else if self.0.len() >= MOST {
            self.forget_oldest(|_| true);
        }
        self.0.insert(state, it);
    }

    /// The one that began with this state in this browser, which cannot come back again.
    pub(super) fn end(
        &mut self,
        now: Instant,
        state: &TokenHash,
        browser: &TokenHash,
    ) -> Option<SignIn> {
        let is_it = |found: &&SignIn| found.browser == *browser && found.is_fresh(now);
        self.0.get(state).filter(is_it)?;
        self.0.remove(state)
    }

    fn forget_oldest(&mut self, is_meant: impl Fn(&SignIn) -> bool) {
        let meant = self.0.iter().filter(|(_, sign_in)| is_meant(sign_in));
        let oldest = meant.min_by_key(|(_, sign_in)| sign_in.began).map(|(state, _)| state.clone());
        if let Some(state) = oldest {
            self.0.remove(&state);
        }
    }
}

impl SignIn {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < TIME
    }
}

/// Long enough to look for a second factor.
pub(crate) const TIME: Duration = Duration::from_secs(600);
const MOST: usize = 1000;
const MOST_OF_ONE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> TokenHash {
        TokenHash::of(&Secret::new(text.to_owned()))
    }

    fn sign_in(browser: &str, source: [u8; 4], began: Instant) -> SignIn {
        let secret = || Secret::new("s".to_owned());
        let (nonce, verifier) = (secret(), secret());
        SignIn { source: source.into(), browser: hash(browser), nonce, verifier, began }
    }

    #[test]
    fn a_sign_in_comes_back_once_in_time_and_to_its_own_browser() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let begin = |pending: &mut Pending| {
            pending.begin(hash("state"), sign_in("mine", [192, 0, 2, 1], now));
        };
        begin(&mut pending);
        assert!(pending.end(now, &hash("other"), &hash("mine")).is_none(), "a state of nobody");
        assert!(pending.end(now, &hash("state"), &hash("yours")).is_none(), "another browser");
        assert!(pending.end(now, &hash("state"), &hash("mine")).is_some());
        assert!(pending.end(now, &hash("state"), &hash("mine")).is_none(), "once more");
        begin(&mut pending);
        assert!(pending.end(now + TIME, &hash("state"), &hash("mine")).is_none(), "too late");
    }

    #[test]
    fn a_flood_from_one_address_takes_no_other_ones_place() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let at = |n: u64| now + Duration::from_millis(n);
        pending.begin(hash("mine"), sign_in("b", [192, 0, 2, 1], now));
        for n in 0..5000 {
            pending.begin(hash(&n.to_string()), sign_in("b", [192, 0, 2, 2], at(n)));
        }
        assert_eq!(pending.0.len(), MOST_OF_ONE + 1);
        assert!(pending.end(at(5000), &hash("mine"), &hash("b")).is_some());
        for n in 0..5000_u32 {
            let [_, _, a, b] = n.to_be_bytes();
            pending.begin(hash(&n.to_string()), sign_in("b", [10, 0, a, b], at(n.into())));
        }
        assert!(pending.0.len() <= MOST);
        pending.begin(hash("late"), sign_in("b", [192, 0, 2, 1], at(5000) + TIME));
        assert_eq!(pending.0.len(), 1, "what is over takes no room");
    }
}

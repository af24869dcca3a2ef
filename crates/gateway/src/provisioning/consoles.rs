//! Consoles that operators have signed in at. They are gone after a restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crosspoint_base::Secret;
use crosspoint_state::TokenHash;

use crate::permissions::Role;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Consoles(BTreeMap<TokenHash, Console>);

/// One that is signed in.
#[derive(Debug, Clone)]
pub(super) struct Console {
    pub(super) name: String,
    /// What every change has to be sent with, as well as the cookie.
    pub(super) csrf: Secret<String>,
    /// Of what the password was kept as: with another password it is over.
    pub(super) password: Option<TokenHash>,
    /// Of somebody whom an issuer of identities vouched for.
    pub(super) role: Option<Role>,
    pub(super) began: Instant,
    pub(super) seen: Instant,
}

/// For how long one may stay signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Without doing anything.
    pub(super) idle: Duration,
    pub(super) lifetime: Duration,
}

impl Consoles {
    pub(super) fn begin(&mut self, now: Instant, limits: Limits, token: TokenHash, it: Console) {
        self.0.retain(|_, console| console.is_good(now, limits));
        let of_one = self.0.values().filter(|console| console.name == it.name).count();
        if of_one >= MOST_OF_ONE {
            self.forget_oldest(|console| console.name == it.name);
        } else if self.0.len() >= MOST {
            self.forget_oldest(|_| true);
        }
        self.0.insert(token, it);
    }

    /// One that is signed in still; `is_used` when a person does something.
    pub(super) fn find(
        &mut self,
        now: Instant,
        limits: Limits,
        token: &TokenHash,
        is_used: bool,
    ) -> Option<Console> {
        let console = self.0.get_mut(token)?;
        if !console.is_good(now, limits) {
            self.0.remove(token);
            return None;
        }
        if is_used {
            console.seen = now;
        }
        Some(console.clone())
    }

    pub(super) fn end(&mut self, token: &TokenHash) {
        self.0.remove(token);
    }

    /// Its password is another one now: where it was changed, one stays signed in.
    pub(super) fn renew(&mut self, token: &TokenHash, password: TokenHash) {
        if let Some(console) = self.0.get_mut(token) {
            console.password = Some(password);
        }
    }

    fn forget_oldest(&mut self, is_meant: impl Fn(&Console) -> bool) {
        let meant = self.0.iter().filter(|(_, console)| is_meant(console));
        if let Some(oldest) = meant.min_by_key(|(_, c)| c.seen).map(|(token, _)| token.clone()) {
            self.0.remove(&oldest);
        }
    }
}

impl Console {
    fn is_good(&self, now: Instant, limits: Limits) -> bool {
        now.saturating_duration_since(self.seen) < limits.idle
            && now.saturating_duration_since(self.began) < limits.lifetime
    }
}

const MOST: usize = 1000;
const MOST_OF_ONE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { idle: Duration::from_secs(60), lifetime: Duration::from_secs(300) };

    fn token(text: &str) -> TokenHash {
        TokenHash::of(&Secret::new(text.to_owned()))
    }

    fn console(name: &str, now: Instant) -> Console {
        let csrf = Secret::new("c".to_owned());
        let name = name.to_owned();
        Console { name, csrf, password: None, role: None, began: now, seen: now }
    }

    #[test]
    fn who_does_nothing_is_signed_out_and_so_is_who_stays_too_long() {
        let (mut consoles, start) = (Consoles::default(), Instant::now());
        let at = |n: u64| start + Duration::from_secs(n);
        let a = token("a");
        consoles.begin(start, LIMITS, a.clone(), console("ann", start));
        // A page that asks by itself keeps nobody signed in.
        assert!(consoles.find(at(50), LIMITS, &a, false).is_some());
        assert!(consoles.find(at(60), LIMITS, &a, false).is_none());
        consoles.begin(start, LIMITS, a.clone(), console("ann", start));
        for n in 0..10 {
            assert!(consoles.find(at(n * 30), LIMITS, &a, true).is_some());
        }
        assert!(consoles.find(at(300), LIMITS, &a, true).is_none());
        assert!(consoles.0.is_empty());
    }

    #[test]
    fn there_are_not_more_than_may_be() {
        let (mut consoles, now) = (Consoles::default(), Instant::now());
        for n in 0..30_u64 {
            let at = now + Duration::from_millis(n);
            consoles.begin(at, LIMITS, token(&format!("ann{n}")), console("ann", at));
        }
        assert_eq!(consoles.0.len(), MOST_OF_ONE);
        assert!(consoles.find(now, LIMITS, &token("ann0"), false).is_none(), "the oldest went");
        assert!(consoles.find(now, LIMITS, &token("ann29"), false).is_some());
        for n in 0..2000 {
            consoles.begin(now, LIMITS, token(&n.to_string()), console(&n.to_string(), now));
        }
        assert!(consoles.0.len() <= MOST);
    }
}

//! Credentials that expire by themselves, and nonces that need no memory.
//!
//! A username is `expiry:user`, Unix seconds and a name; its password is the base64 of
//! HMAC-SHA1 over it with a secret that only we know. This form is what other TURN servers take as
//! well, so one secret can serve several of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crosspoint_base::{Secret, hex};
use hmac::Mac;
use md5::{Digest, Md5};

use super::stun;

/// Makes credentials and knows its own again.
#[derive(Debug, Clone)]
pub struct Credentials {
    secret: Secret<Vec<u8>>,
}

/// What stands in a username that somebody shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    pub(super) expires: u64,
    pub(super) user: &'a str,
}

impl Credentials {
    #[must_use]
    pub fn new(secret: Secret<Vec<u8>>) -> Self {
        Self { secret }
    }

    /// Username and password of a user until `expires`, in Unix seconds.
    #[must_use]
    pub fn issue(&self, user: &str, expires: u64) -> (String, Secret<String>) {
        let username = format!("{expires}:{user}");
        let password = self.password(&username);
        (username, password)
    }

    /// A name for a user that tells nothing to those who see it pass by.
    #[must_use]
    pub fn alias(&self, user: &str) -> String {
        let mac = stun::hmac(self.secret.expose()).chain_update(b"alias ").chain_update(user);
        hex(&mac.finalize().into_bytes()[..8])
    }

    pub(super) fn claim(username: &str) -> Option<Claim<'_>> {
        let (expires, user) = username.split_once(':')?;
        let is_name = !user.is_empty() && username.len() <= MAX_USERNAME;
        let expires = expires.parse().ok().filter(|_| is_name)?;
        Some(Claim { expires, user })
    }

    pub(super) fn key(&self, username: &str, realm: &str) -> [u8; 16] {
        long_term_key(username, realm, self.password(username).expose())
    }

    fn password(&self, username: &str) -> Secret<String> {
        let tag = stun::hmac(self.secret.expose()).chain_update(username).finalize().into_bytes();
        Secret::new(STANDARD.encode(tag))
    }
}

/// RFC 8489 §9.2.2.
pub(super) fn long_term_key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    Md5::digest(format!("{username}:{realm}:{password}")).into()
}

/// Nonces that say when and for whom they were made.
#[derive(Debug)]
pub(super) struct Nonces {
    key: Secret<[u8; 20]>,
    epoch: Instant,
}

impl Nonces {
    pub(super) fn new(key: [u8; 20], epoch: Instant) -> Self {
        Self { key: Secret::new(key), epoch }
    }

    pub(super) fn make(&self, now: Instant, client: SocketAddr) -> String {
        let second = now.saturating_duration_since(self.epoch).as_secs();
        let second = u32::try_from(second).unwrap_or(u32::MAX);
        format!("{}{}", hex(&second.to_be_bytes()), hex(&self.tag(second, client)))
    }

    pub(super) fn is_good(&self, now: Instant, client: SocketAddr, nonce: &str) -> bool {
        let Some((second, tag)) = nonce.split_at_checked(8) else { return false };
        let Ok(second) = u32::from_str_radix(second, 16) else { return false };
        let Some(made) = self.epoch.checked_add(Duration::from_secs(u64::from(second))) else {
            return false;
        };
        tag == hex(&self.tag(second, client)) && now.saturating_duration_since(made) < NONCE_LIFE
    }

    fn tag(&self, second: u32, client: SocketAddr) -> [u8; 8] {
        let mac = stun::hmac(self.key.expose())
            .chain_update(second.to_be_bytes())
            .chain_update(client.to_string());
        let mut tag = [0; 8];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..8]);
        tag
    }
}

/// A stale nonce costs its client one round trip.
const NONCE_LIFE: Duration = Duration::from_secs(3600);
/// Ours are much shorter (RFC 8489 §14.3 allows 508).
const MAX_USERNAME: usize = 128;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

    use super::*;

    #[test]
    fn a_username_tells_when_it_ends() {
        let check = |text, expected| assert_eq!(Credentials::claim(text), expected, "{text}");
        check("17:alice", Some(Claim { expires: 17, user: "alice" }));
        check("17:", None);
        check("alice", None);
        check("-1:alice", None);
        check("99999999999999999999999:alice", None);
        assert_eq!(Credentials::claim(&format!("1:{}", "a".repeat(200))), None);
    }

    #[test]
    fn passwords_are_of_the_usual_form() {
        let credentials = Credentials::new(Secret::new(b"north".to_vec()));
        let (username, password) = credentials.issue("alice", 1_700_000_000);
        assert_eq!(username, "1700000000:alice");
        assert_eq!(password.expose().len(), 28);
        assert_ne!(credentials.alias("alice"), credentials.alias("bob"));
    }

    #[test]
    fn a_nonce_is_for_one_client_and_one_hour() {
        let epoch = Instant::now();
        let nonces = Nonces::new([3; 20], epoch);
        let (alice, bob) = ("192.0.2.1:7".parse().unwrap(), "192.0.2.1:8".parse().unwrap());
        let at = |s| epoch + Duration::from_secs(s);
        let nonce = nonces.make(at(100), alice);
        assert!(nonces.is_good(at(3699), alice, &nonce));
        assert!(!nonces.is_good(at(3700), alice, &nonce));
        assert!(!nonces.is_good(at(100), bob, &nonce));
        for broken in ["", "0000", "zzzzzzzzzz", "ffffffff0123456789abcdef", "äöüäöü"] {
            assert!(!nonces.is_good(at(100), alice, broken), "{broken}");
        }
    }
}

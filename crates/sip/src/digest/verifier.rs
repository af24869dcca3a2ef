//! Challenging others: nonces, nonce counts, and checks that take the same time for all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Rng, Secret, TimerTable, hex, is_same_secret, source_of};

use super::{Algorithm, Fields, Proof, UserHa1};
use crate::Method;

/// Bounds of a verifier.
#[derive(Debug, Clone)]
pub struct VerifierConfig {
    /// Named in every challenge; never guessed from a message.
    pub realm: String,
    /// How long a nonce is good after it was given out.
    pub nonce_lifetime: Duration,
    /// Nonces at once; the oldest is dropped, and its user sees one `stale` more.
    pub max_nonces: usize,
}

impl VerifierConfig {
    #[must_use]
    pub fn new(realm: impl Into<String>) -> Self {
        Self { realm: realm.into(), nonce_lifetime: Duration::from_secs(300), max_nonces: 100_000 }
    }
}

/// What came of checking a request's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The sender knows this user's password.
    Valid {
        user: String,
    },
    /// No credentials for our realm.
    Missing,
    /// Good credentials, but the nonce is too old or was used: ask again with `stale`.
    Stale,
    /// Unknown user or wrong password; which of them is not told.
    Wrong,
    Malformed(&'static str),
}

/// Gives out challenges and checks what comes back.
#[derive(Debug)]
pub struct Verifier {
    config: VerifierConfig,
    rng: Rng,
    nonces: BTreeMap<u128, Given>,
    expiry: TimerTable<u128>,
    /// What tokens are made with.
    secret: Secret<String>,
    /// Checked in place of an unknown user, so that both take the same time.
    nobody: UserHa1,
}

/// A nonce that is out.
#[derive(Debug)]
struct Given {
    /// The counts that came with it.
    window: Window,
    /// Where it was sent.
    to: Option<IpAddr>,
}

/// A window over nonce counts: the highest seen, and which of the 64 below it.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Window {
    /// True the first time this count is seen; requests may overtake each other a little.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let shift = count - self.highest;
            self.seen = if shift < 64 { self.seen << shift | 1 } else { 1 };
            self.highest = count;
            return true;
        }
        let below = self.highest - count;
        if below >= 64 || self.seen & (1 << below) != 0 {
            return false;
        }
        self.seen |= 1 << below;
        true
    }
}

impl Verifier {
    #[must_use]
    pub fn new(config: VerifierConfig, mut rng: Rng) -> Self {
        let nobody = UserHa1::new("", &config.realm, &rng.hex(16));
        let secret = Secret::new(rng.hex(16));
        Self { config, rng, secret, nonces: BTreeMap::new(), expiry: TimerTable::new(), nobody }
    }

    #[must_use]
    pub fn realm(&self) -> &str {
        &self.config.realm
    }

    #[must_use]
    pub fn nonces(&self) -> usize {
        self.nonces.len()
    }

    /// The values of `WWW-Authenticate`, strongest first (RFC 8760 §2.4).
    pub fn challenge(&mut self, now: Instant, stale: bool) -> [String; 2] {
        self.challenge_at(now, stale, None)
    }

    /// The same for somebody at `to`: [`Verifier::was_given`] knows it again.
    pub fn challenge_at(&mut self, now: Instant, stale: bool, to: Option<IpAddr>) -> [String; 2] {
        self.expire(now);
        while self.nonces.len() >= self.config.max_nonces {
            // The far future is later than every deadline: this takes the oldest.
            let Some(next) = self.expiry.next() else { break };
            self.expire(next);
        }
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        let (nonce, number) = (hex(&bytes), u128::from_be_bytes(bytes));
        let given = Given { window: Window::default(), to: to.map(source_of) };
        self.nonces.insert(number, given);
        self.expiry.set(number, now + self.config.nonce_lifetime);
        let realm = &self.config.realm;
        let stale = if stale { ", stale=true" } else { "" };
        [Algorithm::Sha256, Algorithm::Md5].map(|algorithm| {
            let quoted = ["Digest realm=\"", realm, "\", nonce=\"", &nonce, "\", qop=\"auth\""];
            [&quoted[..], &[", algorithm=", algorithm.as_str(), stale]].concat().concat()
        })
    }

    /// Checks the credentials of a request. `values` are those of its `Authorization` or
    /// `Proxy-Authorization`; those of other realms are passed over.
    pub fn verify<'u>(
        &mut self,
        now: Instant,
        method: &Method,
        values: impl Iterator<Item = Bytes>,
        lookup: impl FnOnce(&str) -> Option<&'u UserHa1>,
    ) -> Verdict {
        self.expire(now);
        for value in values {
            let Some(fields) = Fields::parse(&value) else { continue };
            if fields.text("realm") == Some(self.config.realm.as_str()) {
                return self.check(method, &fields, lookup);
            }
        }
        Verdict::Missing
    }

    /// A tag for a challenge that is sent to this address. Whoever repeats it reads what is sent
    /// there: [`Verifier::is_tag_at`] knows it again.
    pub fn tag_at(&mut self, to: IpAddr) -> String {
        let salt = self.rng.hex(8);
        let seal = self.seal(salt.as_bytes(), to);
        salt + &seal
    }

    #[must_use]
    pub fn is_tag_at(&self, tag: &[u8], to: IpAddr) -> bool {
        // Tags of dialogs are shorter.
        let halves = tag.split_at_checked(16).filter(|(_, seal)| seal.len() == 16);
        halves.is_some_and(|(salt, seal)| is_same_secret(seal, self.seal(salt, to).as_bytes()))
    }

    fn seal(&self, salt: &[u8], to: IpAddr) -> String {
        let (secret, to) = (self.secret.expose().as_bytes(), source_of(to).to_string());
        let mut seal = Algorithm::Sha256.hash(&[secret, salt, to.as_bytes()]);
        seal.truncate(16);
        seal
    }

    /// Whether credentials carry a nonce that was sent to this address: then whoever made them reads
    /// what is sent there, as nobody does who only writes in its name.
    #[must_use]
    pub fn was_given(&self, value: &Bytes, to: IpAddr) -> bool {
        let nonce = Fields::parse(value).and_then(|fields| number_of(fields.text("nonce")?));
        let given = nonce.and_then(|nonce| self.nonces.get(&nonce));
        given.is_some_and(|given| given.to == Some(source_of(to)))
    }

    fn check<'u>(
        &mut self,
        method: &Method,
        fields: &Fields<'_>,
        lookup: impl FnOnce(&str) -> Option<&'u UserHa1>,
    ) -> Verdict {
        let Some(algorithm) = Algorithm::parse(fields.value("algorithm")) else {
            return Verdict::Malformed("unknown algorithm");
        };
        let (Some(user), Some(nonce), Some(uri), Some(response)) = (
            fields.text("username"),
            fields.text("nonce"),
            fields.value("uri"),
            fields.value("response"),
        ) else {
            return Verdict::Malformed("a field is missing");
        };
        let (Some("auth"), Some(nc), Some(cnonce)) =
            (fields.text("qop"), fields.text("nc"), fields.text("cnonce"))
        else {
            return Verdict::Malformed("qop=auth was asked for");
        };
        let Some(count) = (nc.len() == 8).then(|| u32::from_str_radix(nc, 16).ok()).flatten()
        else {
            return Verdict::Malformed("nc is not eight hexadecimal digits");
        };
        let ha1 = lookup(user);
        let proof = Proof { algorithm, method, uri, nonce, auth: Some((nc, cnonce)) };
        let expected = proof.response(ha1.unwrap_or(&self.nobody).of(algorithm));
        if !is_same_secret(expected.as_bytes(), &response.to_ascii_lowercase()) || ha1.is_none() {
            return Verdict::Wrong;
        }
        let given = number_of(nonce).and_then(|nonce| self.nonces.get_mut(&nonce));
        if given.is_some_and(|given| given.window.take(count)) {
            Verdict::Valid { user: user.to_owned() }
        } else {
            // Expired, used before, or from before a restart.
            Verdict::Stale
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(nonce) = self.expiry.pop_due(now) {
            self.nonces.remove(&nonce);
        }
    }
}

/// A nonce as we print it, as a number: that is less to keep and to compare. There is one way to
/// write each, so that its counts cannot be used again in another.
fn number_of(nonce: &str) -> Option<u128> {
    let is_ours =
        nonce.len() == 32 && nonce.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_ours.then(|| u128::from_str_radix(nonce, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::{Challenge, Credentials, answer};
    use super::*;
    use crate::Uri;

    struct Desk {
        now: Instant,
        verifier: Verifier,
        alice: UserHa1,
        rng: Rng,
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn desk() -> Desk {
        let rng = Rng::from_u64(1);
        Desk {
            now: Instant::now(),
            verifier: Verifier::new(VerifierConfig::new("home"), Rng::from_u64(2)),
            alice: UserHa1::new("alice", "home", "secret"),
            rng,
        }
    }

    impl Desk {
        fn challenge(&mut self) -> Challenge {
            let values = self.verifier.challenge(self.now, false).map(Bytes::from);
            Challenge::best(values.iter()).unwrap()
        }

        fn present(&mut self, challenge: &Challenge, password: &str, count: u32) -> Verdict {
            let credentials = Credentials {
                user: "alice".to_owned(),
                password: Secret::new(password.to_owned()),
                realm: None,
            };
            let uri = Uri::sip(None, "home", None).unwrap();
            let value =
                answer(challenge, &credentials, &Method::REGISTER, &uri, count, &mut self.rng);
            let value = Bytes::from(value.unwrap());
            let alice = &self.alice;
            self.verifier.verify(self.now, &Method::REGISTER, [value].into_iter(), |user| {
                (user == "alice").then_some(alice)
            })
        }
    }

    #[test]
    fn takes_the_right_password_and_each_count_once() {
        let mut desk = desk();
        let challenge = desk.challenge();
        assert_eq!(challenge.algorithm, Algorithm::Sha256);
        let valid = Verdict::Valid { user: "alice".to_owned() };
        for count in [1, 9, 0xa, 0xff, 0x100, 0xfe] {
            assert_eq!(desk.present(&challenge, "secret", count), valid, "{count}");
        }
        for count in [0x100, 0xfe, 1] {
            assert_eq!(desk.present(&challenge, "secret", count), Verdict::Stale, "{count}");
        }
        assert_eq!(desk.present(&challenge, "wrong", 0x200), Verdict::Wrong);
    }

    #[test]
    fn an_old_nonce_is_stale_and_the_table_is_bounded() {
        let mut desk = desk();
        let challenge = desk.challenge();
        desk.now += Duration::from_secs(301);
        assert_eq!(desk.present(&challenge, "secret", 1), Verdict::Stale);
        desk.verifier.config.max_nonces = 10;
        for _ in 0..100 {
            desk.challenge();
        }
        assert_eq!(desk.verifier.nonces(), 10);
    }

    #[test]
    fn a_nonce_proves_only_the_address_that_it_was_sent_to() {
        let mut desk = desk();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let [challenge, _] = desk.verifier.challenge_at(desk.now, false, Some(ip("192.0.2.1")));
        let (_, nonce) = challenge.split_once("nonce=\"").unwrap();
        let (nonce, _) = nonce.split_once('"').unwrap();
        let shown = Bytes::from(format!("Digest username=\"x\", nonce=\"{nonce}\""));
        assert!(desk.verifier.was_given(&shown, ip("192.0.2.1")));
        assert!(desk.verifier.was_given(&shown, ip("::ffff:192.0.2.1")));
        assert!(!desk.verifier.was_given(&shown, ip("192.0.2.2")));
        let made_up = Bytes::from_static(b"Digest username=\"x\", nonce=\"beef\"");
        assert!(!desk.verifier.was_given(&made_up, ip("192.0.2.1")));
    }

    #[test]
    fn a_tag_proves_only_the_address_that_it_was_sent_to() {
        let mut desk = desk();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let tag = desk.verifier.tag_at(ip("192.0.2.1"));
        assert_ne!(tag, desk.verifier.tag_at(ip("192.0.2.1")));
        let is_good = |tag: &str, to| desk.verifier.is_tag_at(tag.as_bytes(), ip(to));
        assert!(is_good(&tag, "192.0.2.1"));
        assert!(!is_good(&tag, "192.0.2.2"));
        for wrong in ["", "x", &tag[..31], &format!("{tag}0"), &"0".repeat(32)] {
            assert!(!is_good(wrong, "192.0.2.1"), "{wrong}");
        }
    }

    #[test]
    fn never_answers_a_foreign_realm() {
        let mut desk = desk();
        let challenge = desk.challenge();
        let credentials = Credentials {
            user: "us".to_owned(),
            password: Secret::new("secret".to_owned()),
            realm: Some("carrier".to_owned()),
        };
        let uri = Uri::sip(None, "home", None).unwrap();
        let method = Method::INVITE;
        assert!(answer(&challenge, &credentials, &method, &uri, 1, &mut desk.rng).is_none());
    }

    #[test]
    fn reads_quoted_lists_and_refuses_unknown_algorithms() {
        let parse = |text: &str| Challenge::parse(&Bytes::copy_from_slice(text.as_bytes()));
        let c = parse("Digest realm=\"a, b\",nonce=\"n\",qop=\"auth-int, auth\",algorithm=MD5");
        assert!(c.as_ref().is_some_and(|c| c.auth && c.realm == "a, b"));
        assert!(parse("Digest realm=\"a\",nonce=\"n\",qop=\"auth-int\"").is_none());
        assert!(parse("Digest realm=\"a\",nonce=\"n\",algorithm=SHA-512").is_none());
        assert!(parse("Basic realm=\"a\"").is_none());
    }
}

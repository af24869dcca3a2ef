//! Digest authentication (RFC 7616, RFC 8760): both sides, MD5 and SHA-256, `qop=auth`.

mod client;
mod verifier;

use std::borrow::Cow;

use crosspoint_base::{Secret, hex};
use md5::{Digest, Md5};
use sha2::Sha256;

pub use client::{Challenge, Credentials, answer};
pub use verifier::{Verdict, Verifier, VerifierConfig};

use crate::Method;

/// The hash of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// `None` for one we do not know; absent means MD5 (RFC 7616 §3.3).
    #[must_use]
    pub fn parse(name: Option<&[u8]>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case(b"MD5") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case(b"SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, parts: &[&[u8]]) -> String {
        fn joined<D: Digest>(parts: &[&[u8]]) -> String {
            let mut digest = D::new();
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    digest.update(b":");
                }
                digest.update(part);
            }
            hex(&digest.finalize())
        }
        match self {
            Self::Md5 => joined::<Md5>(parts),
            Self::Sha256 => joined::<Sha256>(parts),
        }
    }
}

/// The two hashes of `user:realm:password` that stand for a password (RFC 7616 §3.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserHa1 {
    pub md5: Secret<String>,
    pub sha256: Secret<String>,
}

impl UserHa1 {
    #[must_use]
    pub fn new(user: &str, realm: &str, password: &str) -> Self {
        let parts = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
        Self {
            md5: Secret::new(Algorithm::Md5.hash(&parts)),
            sha256: Secret::new(Algorithm::Sha256.hash(&parts)),
        }
    }

    fn of(&self, algorithm: Algorithm) -> &str {
        match algorithm {
            Algorithm::Md5 => self.md5.expose(),
            Algorithm::Sha256 => self.sha256.expose(),
        }
    }
}

/// The fields of a digest header: a comma-separated list of `name=value` after `Digest`, read
/// once. Quotes are taken off; fields without a value are left out.
struct Fields<'v>(Vec<(&'v [u8], Cow<'v, [u8]>)>);

impl<'v> Fields<'v> {
    fn parse(value: &'v [u8]) -> Option<Self> {
        let (scheme, list) = value.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"Digest ") {
            return None;
        }
        let mut fields = Vec::with_capacity(USUAL_FIELDS);
        let mut at = 0;
        while let Some(field) = crate::header::next_element(list, &mut at) {
            let Some(equals) = memchr::memchr(b'=', field) else { continue };
            let name = crate::message_trim(&field[..equals]);
            let value = crate::header::unquoted(crate::message_trim(&field[equals + 1..]));
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        Some(Self(fields))
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| &**value)
    }

    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.value(name)?).ok()
    }
}

/// As many as browsers and phones send.
const USUAL_FIELDS: usize = 12;

/// What goes into a response besides the user's hash.
struct Proof<'a> {
    algorithm: Algorithm,
    method: &'a Method,
    uri: &'a [u8],
    nonce: &'a str,
    /// Nonce count as sent and client nonce, with `qop=auth`.
    auth: Option<(&'a str, &'a str)>,
}

impl Proof<'_> {
    fn response(&self, ha1: &str) -> String {
        let ha2 = self.algorithm.hash(&[self.method.as_str().as_bytes(), self.uri]);
        let (ha1, nonce) = (ha1.as_bytes(), self.nonce.as_bytes());
        match self.auth {
            Some((nc, cnonce)) => self.algorithm.hash(&[
                ha1,
                nonce,
                nc.as_bytes(),
                cnonce.as_bytes(),
                b"auth",
                ha2.as_bytes(),
            ]),
            None => self.algorithm.hash(&[ha1, nonce, ha2.as_bytes()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn fields_are_read_with_and_without_quotes() {
        let value =
            b"Digest username = \"a\\\"b, c\" ,realm=\"\",, URI=sip:h;x=1, nc=00000001 , odd";
        let fields = Fields::parse(value).unwrap();
        assert_eq!(fields.text("Username"), Some("a\"b, c"));
        assert_eq!((fields.text("realm"), fields.text("odd")), (None, None));
        assert_eq!((fields.text("uri"), fields.text("nc")), (Some("sip:h;x=1"), Some("00000001")));
        assert!(Fields::parse(b"Basic realm=\"x\"").is_none() && Fields::parse(b"Dig").is_none());
    }

    /// RFC 7616 §3.9.1, with an SIP-less method: the vectors are HTTP's.
    #[test]
    fn agrees_with_the_vectors_of_the_rfc() {
        let user = UserHa1::new("Mufasa", "http-auth@example.org", "Circle of Life");
        let method = Method::parse(&Bytes::from_static(b"GET")).unwrap();
        let check = |algorithm, expected: &str| {
            let proof = Proof {
                algorithm,
                method: &method,
                uri: b"/dir/index.html",
                nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                auth: Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
            };
            assert_eq!(proof.response(user.of(algorithm)), expected);
        };
        check(Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec");
        check(
            Algorithm::Sha256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        );
    }
}

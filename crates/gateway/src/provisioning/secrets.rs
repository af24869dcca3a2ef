//! Ids, tokens, and what passwords of owners are kept as.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crosspoint_base::{Secret, is_same_secret};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The system gave no random numbers.
pub(super) type NoRandomness = getrandom::Error;

/// A fresh id: 20 letters and digits, 119 random bits.
pub(super) fn id() -> Result<String, NoRandomness> {
    let mut text = String::with_capacity(ID_LENGTH);
    while text.len() < ID_LENGTH {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        // Six bits each; the two values over are drawn again, so that all are equally likely.
        let drawn = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
        text.extend(drawn.take(ID_LENGTH - text.len()).map(|letter| char::from(*letter)));
    }
    Ok(text)
}

/// A fresh token of 256 random bits.
pub(super) fn token() -> Result<Secret<String>, NoRandomness> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// What a password that somebody chose is kept as: PBKDF2 (RFC 8018 §5.2) with HMAC-SHA-256 and a
/// salt of its own. Slow on purpose.
pub(super) fn keep(password: &Secret<String>) -> Result<Secret<String>, NoRandomness> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let key = pbkdf2(password.expose().as_bytes(), &salt, ROUNDS);
    let (salt, key) = (URL_SAFE_NO_PAD.encode(salt), URL_SAFE_NO_PAD.encode(key));
    Ok(Secret::new(format!("pbkdf2-sha256${ROUNDS}${salt}${key}")))
}

/// Whether `password` is the one that was kept.
pub(super) fn is_kept(password: &Secret<String>, kept: &Secret<String>) -> bool {
    let mut parts = kept.expose().split('$');
    let (Some("pbkdf2-sha256"), Some(rounds), Some(salt), Some(key), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(rounds), Ok(salt), Ok(key)) =
        (rounds.parse(), URL_SAFE_NO_PAD.decode(salt), URL_SAFE_NO_PAD.decode(key))
    else {
        return false;
    };
    same(&pbkdf2(password.expose().as_bytes(), &salt, rounds), &key)
}

/// Compares without telling by its time where two secrets differ, or how long they are.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    is_same_secret(&Sha256::digest(a), &Sha256::digest(b))
}

/// The first block, which is all of a key of 256 bits.
fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let keyed: Hmac<Sha256> = Mac::new_from_slice(password).expect("HMAC takes keys of any length");
    let mut first = keyed.clone();
    first.update(salt);
    first.update(&1_u32.to_be_bytes());
    let mut block: [u8; 32] = first.finalize().into_bytes().into();
    let mut key = block;
    for _ in 1..rounds {
        let mut next = keyed.clone();
        next.update(&block);
        block = next.finalize().into_bytes().into();
        for (sum, byte) in key.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    key
}

const ID_LENGTH: usize = 20;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const ROUNDS: u32 = 100_000;

#[cfg(test)]
mod tests {
    use crosspoint_base::hex;

    use super::*;

    /// RFC 7914 §11.
    #[test]
    fn derives_the_keys_of_the_test_vectors() {
        let one = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
        assert_eq!(hex(&pbkdf2(b"passwd", b"salt", 1)), one);
        let many = "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56";
        assert_eq!(hex(&pbkdf2(b"Password", b"NaCl", 80_000)), many);
    }

    #[test]
    fn a_kept_password_is_found_again_and_no_other() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let kept = keep(&secret("open sesame")).unwrap();
        assert!(is_kept(&secret("open sesame"), &kept));
        assert!(!is_kept(&secret("open barley"), &kept));
        assert_ne!(keep(&secret("open sesame")).unwrap(), kept, "another salt");
        for broken in ["", "x", "pbkdf2-sha256$1$$", "pbkdf2-sha256$x$AA$AA", "a$b$c$d"] {
            assert!(!is_kept(&secret(""), &secret(broken)), "{broken}");
        }
    }

    #[test]
    fn draws_ids_and_tokens() {
        let ids: Vec<String> = (0..200).map(|_| id().unwrap()).collect();
        assert!(ids.iter().all(|id| id.len() == 20));
        assert!(ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_alphanumeric())));
        let every = ALPHABET.iter().all(|b| ids.iter().any(|id| id.contains(char::from(*b))));
        assert!(every, "each letter is drawn");
        let token = token().unwrap();
        assert_eq!(token.expose().len(), 43);
        assert!(same(b"a", b"a") && !same(b"a", b"b") && !same(b"a", b"aa"));
    }
}

//! What operators' passwords are kept as: Argon2id (RFC 9106), slow and large on purpose.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use crosspoint_base::Secret;

use super::secrets::NoRandomness;

/// With a salt of its own.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn keep(password: &Secret<String>) -> Result<Secret<String>, NoRandomness> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
    let kept = argon().hash_password(password.expose().as_bytes(), &salt);
    Ok(Secret::new(kept.expect("passwords are shorter than 4 GiB").to_string()))
}

/// Whether `password` is the one that was kept.
pub(super) fn is_kept(password: &Secret<String>, kept: &Secret<String>) -> bool {
    let parsed = PasswordHash::new(kept.expose());
    parsed.is_ok_and(|kept| argon().verify_password(password.expose().as_bytes(), &kept).is_ok())
}

/// What nobody's password is kept as.
pub(super) fn nobody() -> Secret<String> {
    let hash = "A".repeat(43);
    Secret::new(format!("$argon2id$v=19$m={MEMORY},t={ROUNDS},p=1$AAAAAAAAAAAAAAAAAAAAAA${hash}"))
}

fn argon() -> Argon2<'static> {
    let params = Params::new(MEMORY, ROUNDS, 1, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// KiB for each password that is tried; one is tried at a time.
const MEMORY: u32 = 19 * 1024;
const ROUNDS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_password_is_found_again_and_no_other() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let kept = keep(&secret("open sesame")).unwrap();
        assert!(kept.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(is_kept(&secret("open sesame"), &kept));
        assert!(!is_kept(&secret("open barley"), &kept));
        assert_ne!(keep(&secret("open sesame")).unwrap(), kept, "another salt");
        for broken in ["", "x", "$argon2id$", "$argon2id$v=19$m=1,t=0,p=0$AA$AA"] {
            assert!(!is_kept(&secret(""), &secret(broken)), "{broken}");
        }
        // It is tried as any other, and fits nothing.
        assert!(PasswordHash::new(nobody().expose()).is_ok());
        assert!(!is_kept(&secret(""), &nobody()));
    }
}

//! How DTLS computes: aws-lc, with our own key read once.
//!
//! Each connection of dimpl reads the key that it signs with from its bytes, which has the curve
//! check the pair: as much arithmetic as a signature, and a copy of the key for as long as the
//! connection lasts. All connections of a process have the same key.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{
    Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey, aws_lc_rs::default_provider,
};
use dimpl::{Config, CryptoError, CryptoOperation, Error};

/// What all connections share. Making it is expensive.
///
/// # Errors
/// When the arithmetic does not work here.
pub fn config() -> Result<Config, Error> {
    let mut provider = default_provider();
    provider.key_provider = &KEYS;
    Config::builder().with_crypto_provider(provider).build()
}

static KEYS: Keys = Keys { last: Mutex::new(None) };

/// Knows the key that was read last.
struct Keys {
    last: Mutex<Option<(Digest, Arc<EcdsaKeyPair>)>>,
}

impl Keys {
    /// The P-256 key of these bytes, if they are one.
    fn read(&self, bytes: &[u8]) -> Option<Arc<EcdsaKeyPair>> {
        let hash = digest(&SHA256, bytes);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, pair)) = &*last
            && known.as_ref() == hash.as_ref()
        {
            return Some(pair.clone());
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes).ok()?;
        let (_, pair) = last.insert((hash, Arc::new(pair)));
        Some(pair.clone())
    }
}

impl KeyProvider for Keys {
    fn load_private_key(&self, bytes: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        match self.read(bytes) {
            Some(pair) => Ok(Box::new(SharedKey(pair))),
            // Other kinds of keys are not ours, but may be a test's.
            None => default_provider().key_provider.load_private_key(bytes),
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// A key for ECDSA with P-256 and SHA-256.
struct SharedKey(Arc<EcdsaKeyPair>);

impl SigningKey for SharedKey {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            let key_hash = HashAlgorithm::SHA256;
            return Err(CryptoError::SigningKeyHashMismatch { key_hash, requested: hash });
        }
        let failed = |_| CryptoError::OperationFailed(CryptoOperation::Sign);
        let signature = self.0.sign(&SystemRandom::new(), data).map_err(failed)?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

/// The key itself does not show.
impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedKey")
    }
}

#[cfg(test)]
mod tests {
    use dimpl::certificate::generate_self_signed_certificate;

    use super::*;

    #[test]
    fn a_key_is_read_once_and_another_one_is_another() {
        let keys = Keys { last: Mutex::new(None) };
        let [ours, other] = [(); 2].map(|()| generate_self_signed_certificate().unwrap());
        let first = keys.read(&ours.private_key).unwrap();
        assert!(Arc::ptr_eq(&first, &keys.read(&ours.private_key).unwrap()));
        let another = keys.read(&other.private_key).unwrap();
        assert!(!Arc::ptr_eq(&first, &another));
        assert!(keys.read(b"no key").is_none());
        assert!(Arc::ptr_eq(&another, &keys.read(&other.private_key).unwrap()));
    }

    #[test]
    fn what_it_signs_is_what_the_certificate_proves() {
        let ours = generate_self_signed_certificate().unwrap();
        let mut key = KEYS.load_private_key(&ours.private_key).unwrap();
        let mut signature = Buf::new();
        key.sign(b"said", HashAlgorithm::SHA256, &mut signature).unwrap();
        let verify = |data: &[u8]| {
            let hash = (HashAlgorithm::SHA256, SignatureAlgorithm::ECDSA);
            let verifier = default_provider().signature_verification;
            verifier.verify_signature(&ours.certificate, data, &signature, hash.0, hash.1)
        };
        assert!(verify(b"said").is_ok());
        assert!(verify(b"not said").is_err());
        assert!(key.sign(b"said", HashAlgorithm::SHA384, &mut Buf::new()).is_err());
    }
}

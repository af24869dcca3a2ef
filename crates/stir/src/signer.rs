//! Signs calls that leave.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::certificate::{CertificateError, Chain};
use crate::passport::Passport;

/// The key of a certificate that others can fetch.
pub struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    certificate: String,
}

/// Why nothing can be signed with a key.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    #[error("no private key in PEM")]
    NoKey,
    #[error("the key is not one of the curve P-256, which SHAKEN asks for")]
    NotP256,
    #[error("the certificate: {0}")]
    Certificate(#[from] CertificateError),
    #[error("key and certificate do not belong together")]
    OtherCertificate,
    #[error("the address of the certificate does not begin with https://")]
    NotHttps,
}

impl Signer {
    /// `key` and `chain` are PEM; `certificate` is the address where others get the chain.
    ///
    /// # Errors
    /// When the key cannot sign, or is not that of the certificate.
    pub fn new(key: &[u8], chain: &[u8], certificate: &str) -> Result<Self, SignerError> {
        if !certificate.starts_with("https://")
            || certificate.bytes().any(|b| !b.is_ascii_graphic())
        {
            return Err(SignerError::NotHttps);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| SignerError::NoKey)?;
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = match &key {
            PrivateKeyDer::Pkcs8(der) => EcdsaKeyPair::from_pkcs8(alg, der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(der) => {
                EcdsaKeyPair::from_private_key_der(alg, der.secret_sec1_der())
            }
            _ => return Err(SignerError::NotP256),
        };
        let key = key.map_err(|_| SignerError::NotP256)?;
        let signer = Self { key, random: SystemRandom::new(), certificate: certificate.to_owned() };
        let chain = Chain::from_pem(chain)?;
        let signature = signer.signature(b"of the same pair?");
        if chain.public_key()?.verify(b"of the same pair?", &signature).is_err() {
            return Err(SignerError::OtherCertificate);
        }
        Ok(signer)
    }

    /// Where others get the certificate.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The value of the `Identity` header (RFC 8224 §4) for a call.
    #[must_use]
    pub fn identity(&self, passport: &Passport) -> String {
        let (header, payload) = passport.to_json();
        let signed = [header, payload].map(|json| URL_SAFE_NO_PAD.encode(json)).join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.signature(signed.as_bytes()));
        format!("{signed}.{signature};info=<{}>;alg=ES256;ppt=\"shaken\"", self.certificate)
    }

    fn signature(&self, text: &[u8]) -> Vec<u8> {
        // The library fails only when the system has no randomness, and then nothing runs.
        let signature = self.key.sign(&self.random, text);
        signature.map(|s| s.as_ref().to_vec()).unwrap_or_default()
    }
}

/// Hides the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

//! Reads and checks what another network has signed (RFC 8224 §6.2).

use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::certificate::{Anchors, CertificateError, Chain};
use crate::number::TelephoneNumber;
use crate::passport::{Attestation, Passport, PassportError};

/// Bytes that one `Identity` header may have.
pub const MAX_IDENTITY: usize = 8 * 1024;

/// An `Identity` header whose signature is not looked at yet.
#[derive(Debug, Clone)]
pub struct Claim {
    passport: Passport,
    /// The part of the token that the signature is of.
    signed: String,
    signature: Vec<u8>,
}

/// What the call itself says.
#[derive(Debug, Clone, Default)]
pub struct CallFacts {
    /// Numbers of the caller: of the From, and asserted ones.
    pub from: Vec<TelephoneNumber>,
    /// Numbers that were called: of the To and of the request itself.
    pub to: Vec<TelephoneNumber>,
}

/// What is proved of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub attestation: Attestation,
    /// For tracing the call back.
    pub origin: String,
    /// The code of the provider that signed, when its certificate names one.
    pub provider: Option<String>,
}

/// Why a signature proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("the Identity header is longer than {MAX_IDENTITY} bytes")]
    TooLong,
    /// `info`, `alg` or `ppt` are missing or say something else than the token.
    #[error("the Identity header's {0} does not fit its token")]
    Parameter(&'static str),
    #[error(transparent)]
    Passport(#[from] PassportError),
    #[error("it was signed {0} s ago")]
    Old(u64),
    #[error("it was signed {0} s from now")]
    Early(u64),
    #[error("the calling number is another than was signed")]
    OtherCaller,
    #[error("the called number is another than was signed")]
    OtherCalled,
    #[error("the signature is not of this certificate")]
    Signature,
    #[error("the certificate is not acceptable: {0}")]
    Certificate(#[from] CertificateError),
}

impl Claim {
    /// Reads one `Identity` header.
    ///
    /// # Errors
    /// When it is not a whole SHAKEN PASSporT. The compact form of RFC 8224 §4.1.1 is not: SHAKEN
    /// does not allow it.
    pub fn parse(header: &[u8]) -> Result<Self, ClaimError> {
        if header.len() > MAX_IDENTITY {
            return Err(ClaimError::TooLong);
        }
        let header = std::str::from_utf8(header).map_err(|_| PassportError::Form)?;
        let (token, parameters) = header.split_once(';').unwrap_or((header, ""));
        let token = token.trim();
        let (signed, signature) = token.rsplit_once('.').ok_or(PassportError::Form)?;
        let (head, payload) = signed.split_once('.').ok_or(PassportError::Form)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| PassportError::Form);
        let passport = Passport::from_json(&decode(head)?, &decode(payload)?)?;
        let info = parameter(parameters, "info").unwrap_or_default();
        let info = info.strip_prefix('<').and_then(|i| i.strip_suffix('>')).unwrap_or(info);
        if info != passport.certificate {
            return Err(ClaimError::Parameter("info"));
        }
        for (name, expected) in [("alg", "ES256"), ("ppt", "shaken")] {
            // Both may be left out (RFC 8224 §4).
            if parameter(parameters, name).is_some_and(|v| v.trim_matches('"') != expected) {
                return Err(ClaimError::Parameter(name));
            }
        }
        Ok(Self { passport, signed: signed.to_owned(), signature: decode(signature)? })
    }

    /// Where the certificate lies: nothing that a call brings may be believed about it.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.passport.certificate
    }

    #[must_use]
    pub fn passport(&self) -> &Passport {
        &self.passport
    }

    /// Checks what needs no certificate: time and numbers. `now` is Unix seconds.
    ///
    /// # Errors
    /// When it was signed at another time than about now, or for another call.
    pub fn check(&self, facts: &CallFacts, now: u64, freshness: u64) -> Result<(), ClaimError> {
        let issued = self.passport.issued;
        if now.saturating_sub(issued) > freshness {
            return Err(ClaimError::Old(now - issued));
        }
        if issued.saturating_sub(now) > freshness {
            return Err(ClaimError::Early(issued - now));
        }
        if !facts.from.contains(&self.passport.orig) {
            return Err(ClaimError::OtherCaller);
        }
        if !facts.to.iter().any(|to| self.passport.dest.contains(to)) {
            return Err(ClaimError::OtherCalled);
        }
        Ok(())
    }

    /// Checks the signature by the certificate that was fetched from where the claim says.
    ///
    /// # Errors
    /// When the certificate is not trusted for this number now, or did not sign this.
    pub fn verify(&self, chain: &Chain, anchors: &Anchors, now: u64) -> Result<Proof, ClaimError> {
        let provider = chain.check(anchors, now, &self.passport.orig)?;
        let key: UnparsedPublicKey<Vec<u8>> = chain.public_key()?;
        key.verify(self.signed.as_bytes(), &self.signature).map_err(|_| ClaimError::Signature)?;
        Ok(Proof {
            attestation: self.passport.attestation,
            origin: self.passport.origin.chars().take(64).collect(),
            provider,
        })
    }
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

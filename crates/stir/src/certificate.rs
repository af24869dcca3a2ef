//! Certificates of signing networks (RFC 8226).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::oid_registry::{Oid, asn1_rs::oid};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::number::TelephoneNumber;

/// Bytes of PEM that a chain may have.
pub const MAX_CHAIN: usize = 64 * 1024;

/// A signing certificate and what leads from it to a trusted one.
#[derive(Clone)]
pub struct Chain(Vec<CertificateDer<'static>>);

/// The authorities that are trusted.
#[derive(Clone, Default)]
pub struct Anchors(Vec<TrustAnchor<'static>>);

/// Why a certificate proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("no certificate in PEM")]
    NoCertificate,
    #[error("more than {MAX_CHAIN} bytes or {MAX_CERTIFICATES} certificates")]
    TooLarge,
    #[error("a certificate cannot be read")]
    Unreadable,
    #[error("its key is not one of the curve P-256")]
    NotP256,
    #[error("it is not valid at this time")]
    NotNow,
    #[error("no trusted authority stands behind it")]
    Untrusted,
    #[error("it names neither a provider nor numbers (TNAuthList)")]
    NoAuthority,
    #[error("the calling number is none that it may sign for")]
    OtherNumber,
}

impl Chain {
    /// # Errors
    /// When the PEM is too large or holds no readable certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self(certificates(pem)?))
    }

    /// Whether this may sign for a number now; gives the provider code it names, if one.
    pub(crate) fn check(
        &self,
        anchors: &Anchors,
        now: u64,
        orig: &TelephoneNumber,
    ) -> Result<Option<String>, CertificateError> {
        let (leaf, intermediates) = self.0.split_first().ok_or(CertificateError::NoCertificate)?;
        let entity = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Unreadable)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let path = entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors.0,
            intermediates,
            time,
            // These certificates name no usage; one that does must be for clients.
            KeyUsage::client_auth(),
            None,
            None,
        );
        path.map_err(|error| match error {
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
                CertificateError::NotNow
            }
            _ => CertificateError::Untrusted,
        })?;
        let authority = Authority::of(leaf)?;
        if !authority.covers(orig) {
            return Err(CertificateError::OtherNumber);
        }
        Ok(authority.provider)
    }

    pub(crate) fn public_key(&self) -> Result<UnparsedPublicKey<Vec<u8>>, CertificateError> {
        let leaf = self.0.first().ok_or(CertificateError::NoCertificate)?;
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| CertificateError::Unreadable)?;
        let key = parsed.public_key();
        let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        if curve != Some(P256) {
            return Err(CertificateError::NotP256);
        }
        let point = key.subject_public_key.data.to_vec();
        Ok(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point))
    }
}

impl Anchors {
    /// # Errors
    /// When the PEM holds no certificate that can be trusted.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(|_| CertificateError::Unreadable)?;
        if found.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        let anchors = found.iter().map(|certificate| {
            let anchor = anchor_from_trusted_cert(certificate);
            anchor.map(|a| a.to_owned()).map_err(|_| CertificateError::Unreadable)
        });
        Ok(Self(anchors.collect::<Result<_, _>>()?))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if pem.len() > MAX_CHAIN {
        return Err(CertificateError::TooLarge);
    }
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        found.push(certificate.map_err(|_| CertificateError::Unreadable)?);
        if found.len() > MAX_CERTIFICATES {
            return Err(CertificateError::TooLarge);
        }
    }
    if found.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(found) }
}

/// Whom a certificate speaks for: its TNAuthList (RFC 8226 §9).
#[derive(Debug, Default)]
struct Authority {
    /// A service provider code.
    provider: Option<String>,
    /// First number and how many.
    ranges: Vec<(String, u64)>,
}

impl Authority {
    fn of(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| CertificateError::Unreadable)?;
        let list = parsed.extensions().iter().find(|e| e.oid == TN_AUTH_LIST);
        let list = list.ok_or(CertificateError::NoAuthority)?;
        let authority = Self::parse(list.value).ok_or(CertificateError::NoAuthority)?;
        if authority.provider.is_none() && authority.ranges.is_empty() {
            return Err(CertificateError::NoAuthority);
        }
        Ok(authority)
    }

    /// `TNAuthorizationList ::= SEQUENCE OF CHOICE { spc [0] IA5String, range [1] SEQUENCE {
    /// start, count }, one [2] IA5String }`, each tag explicit.
    fn parse(der: &[u8]) -> Option<Self> {
        let mut authority = Self::default();
        let (mut entries, rest) = element(der, SEQUENCE)?;
        if !rest.is_empty() {
            return None;
        }
        while let Some((tag, value, next)) = any_element(entries) {
            entries = next;
            match tag {
                0xA0 => authority.provider = Some(ia5(element(value, IA5)?.0)?),
                0xA1 => {
                    let (range, _) = element(value, SEQUENCE)?;
                    let (start, rest) = element(range, IA5)?;
                    let (count, _) = element(rest, INTEGER)?;
                    // More than eight bytes of numbers are no range of telephone numbers.
                    let count = (count.len() <= 8)
                        .then(|| count.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b)))?;
                    authority.ranges.push((ia5(start)?, count));
                }
                0xA2 => authority.ranges.push((ia5(element(value, IA5)?.0)?, 1)),
                _ => return None,
            }
            if authority.ranges.len() > MAX_RANGES {
                return None;
            }
        }
        entries.is_empty().then_some(authority)
    }

    /// A provider code covers whatever the provider has; which numbers those are is in no
    /// certificate.
    fn covers(&self, number: &TelephoneNumber) -> bool {
        let wanted = number.as_str();
        self.provider.is_some()
            || self.ranges.iter().any(|(start, count)| {
                let same = start.len() == wanted.len();
                let first = start.parse::<u128>().ok().filter(|_| same);
                match (first, wanted.parse::<u128>()) {
                    (Some(first), Ok(wanted)) => {
                        wanted >= first && wanted - first < u128::from(*count)
                    }
                    _ => start == wanted,
                }
            })
    }
}

/// One DER element with this tag: what is in it, and what comes behind.
fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    any_element(der).filter(|(tag, ..)| *tag == wanted).map(|(_, value, rest)| (value, rest))
}

fn any_element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        short @ 0..=0x7F => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(&n, rest)| (usize::from(n), rest))?,
        0x82 => {
            let (bytes, rest) = rest.split_at_checked(2)?;
            (usize::from(bytes[0]) << 8 | usize::from(bytes[1]), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

fn ia5(bytes: &[u8]) -> Option<String> {
    let is_text = !bytes.is_empty() && bytes.len() <= 64 && bytes.iter().all(u8::is_ascii_graphic);
    is_text.then(|| String::from_utf8_lossy(bytes).into_owned())
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", self.0.len())
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchors({})", self.0.len())
    }
}

const MAX_CERTIFICATES: usize = 8;
const MAX_RANGES: usize = 1000;
const SEQUENCE: u8 = 0x30;
const IA5: u8 = 0x16;
const INTEGER: u8 = 0x02;
const TN_AUTH_LIST: Oid<'static> = oid!(1.3.6.1.5.5.7.1.26);
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).expect("short");
        [&[tag, length], value].concat()
    }

    fn number(text: &str) -> TelephoneNumber {
        TelephoneNumber::parse(text).expect("a number")
    }

    #[test]
    fn an_authority_is_a_provider_or_numbers() {
        let spc = tlv(0xA0, &tlv(IA5, b"1234"));
        let provider = Authority::parse(&tlv(SEQUENCE, &spc)).expect("it parses");
        assert_eq!(provider.provider.as_deref(), Some("1234"));
        assert!(provider.covers(&number("+14045550100")));

        let range = tlv(SEQUENCE, &[tlv(IA5, b"14045550100"), tlv(INTEGER, &[0, 10])].concat());
        let one = tlv(0xA2, &tlv(IA5, b"493012345"));
        let list = tlv(SEQUENCE, &[tlv(0xA1, &range), one].concat());
        let numbers = Authority::parse(&list).expect("it parses");
        for (text, expected) in [
            ("14045550100", true),
            ("14045550109", true),
            ("14045550110", false),
            ("14045550099", false),
            ("4045550100", false),
            ("493012345", true),
            ("493012346", false),
        ] {
            assert_eq!(numbers.covers(&number(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_broken_list_gives_no_authority() {
        let spc = tlv(0xA0, &tlv(IA5, b"1234"));
        let good = tlv(SEQUENCE, &spc);
        for length in 0..good.len() {
            assert!(Authority::parse(&good[..length]).is_none(), "{length}");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // Whatever it gives, it comes to an end.
                let _ = Authority::parse(&bad);
            }
        }
        assert!(Authority::parse(&[good.clone(), vec![0]].concat()).is_none());
        assert!(Authority::parse(&tlv(SEQUENCE, &tlv(0xA3, b""))).is_none());
        assert!(Authority::parse(&tlv(SEQUENCE, &tlv(0xA0, &tlv(IA5, b"")))).is_none());
    }
}

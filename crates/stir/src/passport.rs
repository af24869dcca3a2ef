//! What is signed: the header and payload of a PASSporT (RFC 8225), type `shaken` (RFC 8588).

use serde_json::{Map, Value, json};

use crate::number::TelephoneNumber;

/// How well the signing network knows its caller (ATIS-1000074 §5.2.4, RFC 8588 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attestation {
    /// It knows the customer, and that the number is the customer's.
    Full,
    /// It knows the customer, not the number.
    Partial,
    /// It only knows where the call entered its network.
    Gateway,
}

impl Attestation {
    /// The letter in the PASSporT.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "A",
            Self::Partial => "B",
            Self::Gateway => "C",
        }
    }

    #[must_use]
    pub fn parse(letter: &str) -> Option<Self> {
        [Self::Full, Self::Partial, Self::Gateway].into_iter().find(|a| a.as_str() == letter)
    }
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passport {
    pub attestation: Attestation,
    pub orig: TelephoneNumber,
    pub dest: Vec<TelephoneNumber>,
    /// When it was signed, Unix seconds.
    pub issued: u64,
    /// Names where the call came from, for tracing it back; opaque to others.
    pub origin: String,
    /// Where the certificate lies.
    pub certificate: String,
}

/// Text that is not a PASSporT of ours to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassportError {
    #[error("the token is not three parts of base64url")]
    Form,
    #[error("the token's header or payload is not JSON")]
    Json,
    #[error("the token is signed with another algorithm than ES256")]
    Algorithm,
    #[error("the token is not of the type shaken")]
    Type,
    #[error("the token lacks {0}")]
    Missing(&'static str),
}

impl Passport {
    /// The JSON of header and payload, with their keys in order and no blanks (RFC 8225 §9).
    pub(crate) fn to_json(&self) -> (String, String) {
        // Maps of this library keep their keys sorted, which is what the RFC asks for.
        let header = json!({
            "alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": self.certificate,
        });
        let dest: Vec<&str> = self.dest.iter().map(TelephoneNumber::as_str).collect();
        let payload = json!({
            "attest": self.attestation.as_str(),
            "dest": { "tn": dest },
            "iat": self.issued,
            "orig": { "tn": self.orig.as_str() },
            "origid": self.origin,
        });
        (header.to_string(), payload.to_string())
    }

    pub(crate) fn from_json(header: &[u8], payload: &[u8]) -> Result<Self, PassportError> {
        let header = object(header)?;
        let payload = object(payload)?;
        if header.get("alg").and_then(Value::as_str) != Some("ES256") {
            return Err(PassportError::Algorithm);
        }
        let is_shaken = header.get("ppt").and_then(Value::as_str) == Some("shaken");
        if !is_shaken || header.get("typ").and_then(Value::as_str) != Some("passport") {
            return Err(PassportError::Type);
        }
        let text = |map: &Map<String, Value>, key: &'static str| {
            let value = map.get(key).and_then(Value::as_str).filter(|v| !v.is_empty());
            value.map(str::to_owned).ok_or(PassportError::Missing(key))
        };
        let orig = payload.get("orig").and_then(|o| o.get("tn")).and_then(Value::as_str);
        let dest = payload.get("dest").and_then(|d| d.get("tn")).and_then(Value::as_array);
        let dest = dest.ok_or(PassportError::Missing("dest"))?;
        let dest: Vec<_> = dest
            .iter()
            .take(MAX_DESTINATIONS)
            .filter_map(|tn| tn.as_str().and_then(TelephoneNumber::parse))
            .collect();
        if dest.is_empty() {
            return Err(PassportError::Missing("dest"));
        }
        let attest = text(&payload, "attest")?;
        Ok(Self {
            attestation: Attestation::parse(&attest).ok_or(PassportError::Missing("attest"))?,
            orig: orig.and_then(TelephoneNumber::parse).ok_or(PassportError::Missing("orig"))?,
            dest,
            issued: payload
                .get("iat")
                .and_then(Value::as_u64)
                .ok_or(PassportError::Missing("iat"))?,
            origin: text(&payload, "origid")?,
            certificate: text(&header, "x5u")?,
        })
    }
}

fn object(json: &[u8]) -> Result<Map<String, Value>, PassportError> {
    serde_json::from_slice(json).map_err(|_| PassportError::Json)
}

const MAX_DESTINATIONS: usize = 16;

//! Signed tokens (RFC 7519): whether a key of their issuer made them (RFC 7517), and what they
//! say.
//!
//! Only signatures that need a private key count: a published key must never serve as a shared
//! secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crosspoint_base::Secret;
use crosspoint_net::{DocumentError, Documents};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};

use crate::config::IssuerKeys;

/// From whom a token has to be, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// The issuer's keys cannot be had.
    Keys,
    /// It was good once.
    Expired,
    Wrong,
}

/// What a good token says.
pub(crate) async fn claims(
    token: &str,
    keys: &IssuerKeys,
    documents: Option<&Documents>,
    expected: Expected<'_>,
) -> Result<Map<String, Value>, NoToken> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| NoToken::Wrong)?;
    match keys {
        IssuerKeys::Known(set) => claims_by(token, &header, set, expected),
        IssuerKeys::At(address) => {
            let documents = documents.ok_or(NoToken::Keys)?;
            let set = published(address, documents, &header).await?;
            claims_by(token, &header, &set, expected)
        }
    }
}

/// How a client shows an issuer who it is (RFC 6749 §2.3.1).
pub(crate) fn client_login(client: &str, secret: &Secret<String>) -> Secret<String> {
    let written = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let login = format!("{}:{}", written(client), written(secret.expose()));
    Secret::new(format!("Basic {}", STANDARD.encode(login)))
}

/// Keys that an issuer publishes. One that is of no kind we know hides no other.
pub(crate) fn read_keys(document: &[u8]) -> Option<JwkSet> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let keys = document.get("keys")?.as_array()?.iter();
    let keys = keys.filter_map(|key| serde_json::from_value(key.clone()).ok()).collect();
    Some(JwkSet { keys })
}

async fn published(
    address: &str,
    documents: &Documents,
    header: &Header,
) -> Result<JwkSet, NoToken> {
    let read = |document: Result<Bytes, DocumentError>| {
        let document = document.map_err(|error| {
            tracing::warn!(%error, "the keys of an issuer of tokens cannot be had");
            NoToken::Keys
        })?;
        read_keys(&document).ok_or(NoToken::Keys)
    };
    let set = read(documents.get(address).await)?;
    if key_for(&set, header).is_some() {
        return Ok(set);
    }
    // It may have a new key since.
    read(documents.get_again(address).await)
}

fn claims_by(
    token: &str,
    header: &Header,
    set: &JwkSet,
    expected: Expected<'_>,
) -> Result<Map<String, Value>, NoToken> {
    if !ALGORITHMS.contains(&header.alg) {
        return Err(NoToken::Wrong);
    }
    let mut rules = Validation::new(header.alg);
    rules.set_issuer(&[expected.issuer]);
    rules.set_audience(&[expected.audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    rules.validate_nbf = true;
    let key = key_for(set, header).and_then(|key| DecodingKey::from_jwk(key).ok());
    let key = key.ok_or(NoToken::Wrong)?;
    match jsonwebtoken::decode::<Map<String, Value>>(token, &key, &rules) {
        Ok(data) => Ok(data.claims),
        // Its signature was looked at first.
        Err(error) if *error.kind() == ErrorKind::ExpiredSignature => Err(NoToken::Expired),
        Err(_) => Err(NoToken::Wrong),
    }
}

fn key_for<'s>(set: &'s JwkSet, header: &Header) -> Option<&'s Jwk> {
    let signs = |key: &&Jwk| {
        let purpose = key.common.public_key_use.as_ref();
        purpose.is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
    };
    let mut keys = set.keys.iter().filter(signs);
    match &header.kid {
        Some(kid) => keys.find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => keys.next().filter(|_| keys.next().is_none()),
    }
}

const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[cfg(test)]
pub(crate) mod tests;

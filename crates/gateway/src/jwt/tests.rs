//! Tokens of every wrong kind, and an issuer that makes them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use rcgen::KeyPair;
use serde_json::json;

use super::*;
use crate::cli::unix_now;

pub(crate) const ISSUER: &str = "https://id.example/realms/staff";
pub(crate) const CLIENT: &str = "crosspoint";

/// Signs with ECDSA on P-256.
pub(crate) struct Issuer {
    key: KeyPair,
    kid: &'static str,
}

impl Issuer {
    pub(crate) fn new(kid: &'static str) -> Self {
        Self { key: KeyPair::generate().unwrap(), kid }
    }

    /// One of its public keys, as it publishes them.
    pub(crate) fn public(&self) -> Value {
        let raw = self.key.public_key_raw();
        let [x, y] = [&raw[1..33], &raw[33..65]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "x": x, "y": y })
    }

    pub(crate) fn keys(&self) -> IssuerKeys {
        let published = json!({ "keys": [{ "kty": "unheard of" }, self.public()] });
        IssuerKeys::Known(read_keys(published.to_string().as_bytes()).unwrap())
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// The claims of a good token, with some of them replaced.
pub(crate) fn saying(other: &Value) -> Value {
    let now = unix_now();
    let mut claims = json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "u-1", "exp": now + 300, "iat": now, "nonce": "n-1",
    });
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn read(token: &str, issuer: &Issuer) -> Result<Map<String, Value>, NoToken> {
    claims(token, &issuer.keys(), None, Expected { issuer: ISSUER, audience: CLIENT }).await
}

#[tokio::test]
async fn a_token_is_good_by_its_issuers_key_alone() {
    let (issuer, stranger) = (Issuer::new("k1"), Issuer::new("k1"));
    let good = issuer.sign(&saying(&json!({})));
    assert_eq!(read(&good, &issuer).await.unwrap()["sub"], "u-1");
    let other_key = stranger.sign(&saying(&json!({})));
    assert_eq!(read(&other_key, &issuer).await, Err(NoToken::Wrong));
    let other_name = Issuer { key: KeyPair::generate().unwrap(), kid: "k2" };
    let other_name = other_name.sign(&saying(&json!({})));
    assert_eq!(read(&other_name, &issuer).await, Err(NoToken::Wrong));
    // One letter of what it says is another.
    let mut parts: Vec<&str> = good.split('.').collect();
    let changed = URL_SAFE_NO_PAD.encode(saying(&json!({ "sub": "u-2" })).to_string());
    parts[1] = &changed;
    assert_eq!(read(&parts.join("."), &issuer).await, Err(NoToken::Wrong));
    for nonsense in ["", "..", "a.b.c", "not a token at all"] {
        assert_eq!(read(nonsense, &issuer).await, Err(NoToken::Wrong), "{nonsense}");
    }
}

#[tokio::test]
async fn unsigned_tokens_and_published_keys_as_secrets_are_worth_nothing() {
    let issuer = Issuer::new("k1");
    let said = URL_SAFE_NO_PAD.encode(saying(&json!({})).to_string());
    for algorithm in ["none", "None", "nOnE"] {
        let header = json!({ "alg": algorithm, "kid": "k1" }).to_string();
        let token = format!("{}.{said}.", URL_SAFE_NO_PAD.encode(header));
        assert_eq!(read(&token, &issuer).await, Err(NoToken::Wrong), "{algorithm}");
    }
    // What everybody can read, taken for a secret that two share.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".to_owned());
    for secret in [issuer.key.public_key_raw(), issuer.public().to_string().as_bytes(), b""] {
        let key = EncodingKey::from_secret(secret);
        let token = jsonwebtoken::encode(&header, &saying(&json!({})), &key).unwrap();
        assert_eq!(read(&token, &issuer).await, Err(NoToken::Wrong));
    }
}

#[tokio::test]
async fn a_token_for_somebody_else_of_somebody_else_or_of_another_time_is_not_good() {
    let issuer = Issuer::new("k1");
    let now = unix_now();
    for (other, why) in [
        (json!({ "aud": "another client" }), NoToken::Wrong),
        (json!({ "aud": ["another client"] }), NoToken::Wrong),
        (json!({ "aud": null }), NoToken::Wrong),
        (json!({ "iss": "https://id.example/realms/staff/" }), NoToken::Wrong),
        (json!({ "iss": "https://evil.example" }), NoToken::Wrong),
        (json!({ "iss": null }), NoToken::Wrong),
        (json!({ "exp": now - 3600 }), NoToken::Expired),
        (json!({ "exp": null }), NoToken::Wrong),
        (json!({ "nbf": now + 3600 }), NoToken::Wrong),
    ] {
        assert_eq!(read(&issuer.sign(&saying(&other)), &issuer).await, Err(why), "{other}");
    }
}

#[test]
fn a_key_for_encryption_signs_nothing_and_of_two_one_has_to_be_named() {
    let issuer = Issuer::new("k1");
    let keys = |keys: Value| read_keys(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    let mut header = Header::new(Algorithm::ES256);
    let (sig, mut enc) = (issuer.public(), issuer.public());
    enc["use"] = json!("enc");
    assert!(key_for(&keys(json!([enc, sig])), &header).is_some());
    assert!(key_for(&keys(json!([sig, sig])), &header).is_none());
    assert!(key_for(&keys(json!([enc])), &header).is_none());
    header.kid = Some("k1".to_owned());
    assert!(key_for(&keys(json!([enc])), &header).is_none());
    assert!(key_for(&keys(json!([sig, sig])), &header).is_some());
    assert!(read_keys(b"no JSON").is_none());
}

//! Certificates from an authority that gives them by itself: an ACME client (RFC 8555) that proves
//! its names by TLS-ALPN-01 (RFC 8737), on the port that serves HTTPS.
//!
//! Keys are ECDSA P-256. Not here: when to ask, and where the outcome is kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use crosspoint_net::{Poster, PosterConfig, Resolver};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PublicKeyData, SigningKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::ClientConfig;

use crate::tls::Shown;

/// Whom to ask, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) directory: String,
    pub(crate) domains: Vec<String>,
    /// `mailto:` addresses.
    pub(crate) contact: Vec<String>,
    /// Whose certificate the authority's own server shows.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// What was given.
pub(crate) struct Given {
    /// In PEM.
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// Why nothing was.
#[derive(Debug)]
pub(crate) struct Refused(String);

/// One who asks, with an account.
pub(crate) struct Client {
    request: Request,
    names: Arc<Resolver>,
    key: KeyPair,
    /// URL of the account.
    account: Option<String>,
    nonce: Option<String>,
}

struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

type Outcome<T> = Result<T, Refused>;

impl Client {
    /// `key` is the account's, in PEM.
    pub(crate) fn new(request: Request, names: Arc<Resolver>, key: &str) -> Outcome<Self> {
        let key = KeyPair::from_pem(key).map_err(|error| refused("the account's key", error))?;
        Ok(Self { request, names, key, account: None, nonce: None })
    }

    /// A key for an account.
    pub(crate) fn new_key() -> Outcome<String> {
        let key = KeyPair::generate().map_err(|error| refused("a new key", error))?;
        Ok(key.serialize_pem())
    }

    /// Gets a certificate. While the names are proved, `shown` shows what proves them.
    pub(crate) async fn obtain(&mut self, shown: &Shown) -> Outcome<Given> {
        let directory = self.plain(Method::GET, &self.request.directory.clone()).await?;
        let directory = directory.json()?;
        self.nonce(&text(&directory, "newNonce")?).await?;
        self.sign_in(&text(&directory, "newAccount")?).await?;
        let names = self.request.domains.iter();
        let identifiers: Vec<Value> =
            names.map(|name| json!({ "type": "dns", "value": name })).collect();
        let order = json!({ "identifiers": identifiers });
        let answer = self.post(&text(&directory, "newOrder")?, Some(&order)).await?;
        let at = answer.location()?;
        let order = answer.json()?;
        let proofs = order["authorizations"].as_array().cloned().unwrap_or_default();
        for proof in proofs.iter().filter_map(Value::as_str) {
            let done = self.prove(proof, shown).await;
            shown.end_proofs();
            done?;
        }
        let key = KeyPair::generate().map_err(|error| refused("a new key", error))?;
        let csr = self.csr(&key)?;
        self.post(&text(&order, "finalize")?, Some(&json!({ "csr": csr }))).await?;
        let order = self.settled(&at, "valid").await?;
        let chain = self.post(&text(&order, "certificate")?, None).await?;
        let chain = String::from_utf8(chain.body.to_vec())
            .map_err(|error| refused("the certificate", error))?;
        Ok(Given { chain, key: key.serialize_pem() })
    }

    /// RFC 8555 §7.3: an account that is there is found by its key.
    async fn sign_in(&mut self, url: &str) -> Outcome<()> {
        let account =
            json!({ "termsOfServiceAgreed": true, "contact": self.request.contact.clone() });
        let answer = self.post(url, Some(&account)).await?;
        self.account = Some(answer.location()?);
        Ok(())
    }

    /// Proves one name.
    async fn prove(&mut self, url: &str, shown: &Shown) -> Outcome<()> {
        let proof = self.post(url, None).await?.json()?;
        if proof["status"] == "valid" {
            return Ok(());
        }
        let name = text(&proof["identifier"], "value")?;
        let challenges = proof["challenges"].as_array().cloned().unwrap_or_default();
        let challenge = challenges.iter().find(|challenge| challenge["type"] == "tls-alpn-01");
        let challenge =
            challenge.ok_or_else(|| Refused(format!("{name} cannot be proved by tls-alpn-01")))?;
        let token = text(challenge, "token")?;
        let authorization = format!("{token}.{}", self.thumbprint());
        let digest = Sha256::digest(authorization.as_bytes());
        let (certificate, key) = proof_of(&name, &digest)?;
        shown.prove(&name, &certificate, &key).map_err(Refused)?;
        self.post(&text(challenge, "url")?, Some(&json!({}))).await?;
        self.settled(url, "valid").await.map(drop)
    }

    /// Asks until something is decided.
    async fn settled(&mut self, url: &str, wanted: &str) -> Outcome<Value> {
        for _ in 0..MOST_QUESTIONS {
            let answer = self.post(url, None).await?;
            let wait = answer.headers.get("retry-after").and_then(|v| v.to_str().ok());
            let wait = wait.and_then(|v| v.parse().ok()).map_or(ASK_AGAIN, Duration::from_secs);
            let state = answer.json()?;
            match state["status"].as_str() {
                Some(status) if status == wanted => return Ok(state),
                Some("pending" | "processing" | "ready") => {}
                _ => return Err(Refused(why(&state))),
            }
            tokio::time::sleep(wait.min(MAX_WAIT)).await;
        }
        Err(Refused("it is not decided".to_owned()))
    }

    fn csr(&self, key: &KeyPair) -> Outcome<String> {
        let failed = |error| refused("the request for a certificate", error);
        let mut params = CertificateParams::new(self.request.domains.clone()).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(key).map_err(failed)?;
        Ok(URL_SAFE_NO_PAD.encode(csr.der()))
    }

    /// RFC 7518 §6.2.1.
    fn public_key(&self) -> (String, String) {
        // An uncompressed point: a byte that says so, and the two coordinates.
        let point = self.key.der_bytes();
        let coordinate = |at: usize| URL_SAFE_NO_PAD.encode(point.get(at..at + 32).unwrap_or(&[]));
        (coordinate(1), coordinate(33))
    }

    /// RFC 7638.
    fn thumbprint(&self) -> String {
        let (x, y) = self.public_key();
        let key = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(Sha256::digest(key.as_bytes()))
    }

    async fn nonce(&mut self, url: &str) -> Outcome<()> {
        self.plain(Method::HEAD, url).await.map(drop)
    }

    async fn plain(&mut self, method: Method, url: &str) -> Outcome<Answer> {
        let answer = self.exchange(method, url, &[], Bytes::new()).await?;
        if answer.0 >= 400 {
            return Err(Refused(format!("{url} answered {}", answer.0)));
        }
        Ok(answer.1)
    }

    /// A signed request (RFC 8555 §6.2). Without a payload it only asks.
    async fn post(&mut self, url: &str, payload: Option<&Value>) -> Outcome<Answer> {
        let mut tries = 0;
        loop {
            let body = self.signed(url, payload)?;
            let kind = [("content-type", "application/jose+json".to_owned())];
            let (status, answer) = self.exchange(Method::POST, url, &kind, body).await?;
            if status < 400 {
                return Ok(answer);
            }
            let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let is_old = problem["type"] == "urn:ietf:params:acme:error:badNonce";
            tries += 1;
            // RFC 8555 §6.5: the answer has a good one.
            if !is_old || tries > 5 {
                return Err(Refused(format!("{url} answered {status}: {}", why(&problem))));
            }
        }
    }

    fn signed(&mut self, url: &str, payload: Option<&Value>) -> Outcome<Bytes> {
        let nonce = self.nonce.take().unwrap_or_default();
        let mut head = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        match &self.account {
            Some(account) => head["kid"] = json!(account),
            None => {
                let (x, y) = self.public_key();
                head["jwk"] = json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y });
            }
        }
        let head = URL_SAFE_NO_PAD.encode(head.to_string());
        let payload =
            payload.map(|payload| URL_SAFE_NO_PAD.encode(payload.to_string())).unwrap_or_default();
        let failed = |error| refused("a signature", error);
        let signature = self.key.sign(format!("{head}.{payload}").as_bytes()).map_err(failed)?;
        let signature = fixed(&signature).ok_or_else(|| Refused("a signature".to_owned()))?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let body = json!({ "protected": head, "payload": payload, "signature": signature });
        Ok(body.to_string().into())
    }

    async fn exchange(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Outcome<(u16, Answer)> {
        if !url.starts_with("https://") {
            return Err(Refused(format!("{url} is not an address of HTTPS")));
        }
        let config = PosterConfig {
            url: url.to_owned(),
            tls: self.request.tls.clone(),
            patience: PATIENCE,
            user_agent: concat!("Crosspoint/", env!("CARGO_PKG_VERSION")),
        };
        let mut poster = Poster::new(config, self.names.clone());
        let answer = poster.exchange(method, headers, body).await;
        let (status, headers, body) = answer.map_err(|error| refused(url, error))?;
        let nonce = headers.get("replay-nonce").and_then(|nonce| nonce.to_str().ok());
        if let Some(nonce) = nonce {
            self.nonce = Some(nonce.to_owned());
        }
        Ok((status, Answer { headers, body }))
    }
}

impl Answer {
    fn json(&self) -> Outcome<Value> {
        serde_json::from_slice(&self.body).map_err(|error| refused("an answer", error))
    }

    fn location(&self) -> Outcome<String> {
        let location = self.headers.get("location").and_then(|value| value.to_str().ok());
        location.map(str::to_owned).ok_or_else(|| Refused("an answer has no Location".to_owned()))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 8737 §3: a certificate that nobody but the authority is shown.
fn proof_of(name: &str, digest: &[u8]) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let failed = |error| refused("the proof of a name", error);
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.der().to_vec(), key.serialize_der()))
}

/// A signature of two numbers in DER as RFC 7518 §3.4 has it: 32 bytes each.
fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let mut signature = [0; 64];
    let rest = der.strip_prefix(&[0x30])?;
    let mut rest = rest.get(1..)?;
    for half in signature.chunks_mut(32) {
        let (&length, after) = rest.strip_prefix(&[0x02])?.split_first()?;
        let number = after.get(..usize::from(length))?;
        rest = &after[number.len()..];
        let number = &number[number.iter().position(|byte| *byte != 0).unwrap_or(number.len())..];
        half.get_mut(32 - number.len().min(32)..)?
            .copy_from_slice(number.get(..number.len().min(32))?);
    }
    Some(signature)
}

fn text(value: &Value, member: &str) -> Outcome<String> {
    let text = value[member].as_str().map(str::to_owned);
    text.ok_or_else(|| Refused(format!("an answer has no {member}")))
}

/// What an authority says is wrong, wherever it says so.
fn why(value: &Value) -> String {
    let own = value["detail"].as_str().or_else(|| value["error"]["detail"].as_str());
    let challenges = value["challenges"].as_array();
    let of_challenge = challenges.into_iter().flatten().find_map(|c| c["error"]["detail"].as_str());
    own.or(of_challenge).unwrap_or("no reason is given").chars().take(300).collect()
}

fn refused(what: &str, why: impl fmt::Display) -> Refused {
    Refused(format!("{what}: {why}"))
}

const PATIENCE: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(30);
const MOST_QUESTIONS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_lose_the_padding_of_their_numbers() {
        let mut der = vec![0x30, 0x26, 0x02, 0x21, 0x00];
        der.extend([0x80; 32]);
        der.extend([0x02, 0x01, 0x05]);
        let found = fixed(&der).unwrap();
        assert_eq!((found[..32].to_vec(), found[63], found[62]), (vec![0x80; 32], 5, 0));
        for bad in [&b""[..], &[0x30], &[0x30, 2, 2, 9, 1], &[0x31, 0]] {
            assert_eq!(fixed(bad), None);
        }
    }
}

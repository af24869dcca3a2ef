//! Answering a challenge, as a client of a trunk or registrar.

use bytes::Bytes;
use crosspoint_base::{Rng, Secret};

use super::{Algorithm, Fields, Proof, UserHa1};
use crate::Method;
use crate::uri::Uri;

/// A user name and password for a peer that challenges us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: Secret<String>,
    /// Only challenges of this realm are answered, so that nobody can collect our digests.
    /// Absent: the realm of the first challenge by the configured peer.
    pub realm: Option<String>,
}

/// One challenge (`WWW-Authenticate` or `Proxy-Authenticate`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub algorithm: Algorithm,
    pub stale: bool,
    /// The peer offers `qop=auth`.
    pub auth: bool,
}

impl Challenge {
    /// `None` when it is no digest, or asks for what we cannot do.
    #[must_use]
    pub fn parse(value: &Bytes) -> Option<Self> {
        let fields = Fields::parse(value)?;
        let algorithm = Algorithm::parse(fields.value("algorithm"))?;
        let qop = fields.text("qop");
        let auth = qop.is_some_and(|q| q.split(',').any(|v| v.trim().eq_ignore_ascii_case("auth")));
        // Only auth-int is offered: we do not do that.
        if qop.is_some() && !auth {
            return None;
        }
        Some(Self {
            realm: fields.text("realm")?.to_owned(),
            nonce: fields.text("nonce")?.to_owned(),
            opaque: fields.text("opaque").map(str::to_owned),
            algorithm,
            stale: fields.text("stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
            auth,
        })
    }

    /// The strongest challenge we can answer, among several (RFC 8760 §2.4).
    pub fn best<'a>(values: impl Iterator<Item = &'a Bytes>) -> Option<Self> {
        values.filter_map(Self::parse).max_by_key(|c| c.algorithm)
    }
}

/// The value of `Authorization` or `Proxy-Authorization`; `None` for a foreign realm.
#[must_use]
pub fn answer(
    challenge: &Challenge,
    credentials: &Credentials,
    method: &Method,
    uri: &Uri,
    nonce_count: u32,
    rng: &mut Rng,
) -> Option<String> {
    if credentials.realm.as_ref().is_some_and(|realm| *realm != challenge.realm) {
        return None;
    }
    let Challenge { realm, nonce, algorithm, .. } = challenge;
    let user = &credentials.user;
    // Nothing may break out of its quotes, or out of its line.
    let breaks_out = |c: char| matches!(c, '"' | '\\') || c.is_control();
    if [realm, nonce, user].iter().any(|text| text.contains(breaks_out)) {
        return None;
    }
    let ha1 = UserHa1::new(user, realm, credentials.password.expose());
    let nc = format!("{nonce_count:08x}");
    let cnonce = rng.hex(8);
    let auth = challenge.auth.then_some((nc.as_str(), cnonce.as_str()));
    let proof = Proof { algorithm: *algorithm, method, uri: uri.as_bytes(), nonce, auth };
    let response = proof.response(ha1.of(*algorithm));
    let uri = String::from_utf8_lossy(uri.as_bytes());
    let mut out = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm={}",
        algorithm.as_str()
    );
    if let Some((nc, cnonce)) = auth {
        out.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
    }
    if let Some(opaque) = challenge.opaque.as_ref().filter(|o| !o.contains(['"', '\\'])) {
        out.push_str(&format!(", opaque=\"{opaque}\""));
    }
    Some(out)
}

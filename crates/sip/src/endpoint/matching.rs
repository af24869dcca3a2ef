//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3).
//!
//! Client and server transactions live in separate tables, so that a request of ours that comes
//! back to us makes a server transaction of its own.

use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};

use bytes::Bytes;
use crosspoint_base::Rng;

use super::Client;
use crate::{HeaderName, Method, Request, Response};

/// What makes a server transaction: branch, sent-by and method; an ACK counts as its INVITE.
///
/// Thousands wait for their 32 s, and branches begin alike. Of each there is a hash only, with a
/// secret in it: nobody can make two that are the same, and by chance none are in 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match([u64; 2]);

/// Makes them.
pub(super) struct Matcher {
    /// Hashers that have read a secret each.
    begun: [DefaultHasher; 2],
}

/// Without the secrets.
impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Matcher")
    }
}

impl Matcher {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let begun = [(); 2].map(|()| {
            let mut secret = [0; 32];
            rng.fill(&mut secret);
            let mut hasher = DefaultHasher::new();
            hasher.write(&secret);
            hasher
        });
        Self { begun }
    }

    /// The transaction that a request belongs to.
    pub(super) fn of(&self, request: &Request) -> Option<Match> {
        let is_ack = request.method == Method::ACK;
        self.with_method(request, if is_ack { &Method::INVITE } else { &request.method })
    }

    /// The transaction of another method with the same branch, for CANCEL.
    pub(super) fn with_method(&self, request: &Request, method: &Method) -> Option<Match> {
        let via = request.headers.via()?;
        // Read at once: each part by itself costs a hasher as much as some fifty bytes.
        let mut parts = Vec::with_capacity(256);
        let mut add = |part: &[u8]| {
            parts.extend_from_slice(&part.len().to_ne_bytes());
            parts.extend_from_slice(part);
        };
        add(method.as_str().as_bytes());
        match via.branch() {
            // The cookie alone names nothing (RFC 4475 §3.2.1).
            Some(branch) if branch.starts_with(MAGIC) && branch.len() > MAGIC.len() => {
                add(&branch);
                add(&via.host.to_ascii_lowercase());
                add(&via.port.unwrap_or(0).to_be_bytes());
            }
            // RFC 2543 peers: the To tag is left out, as an ACK carries one that the INVITE lacked.
            _ => {
                add(request.uri.as_bytes());
                add(&request.headers.from()?.tag().unwrap_or_default());
                add(request.headers.call_id()?);
                add(&request.headers.cseq()?.number.to_be_bytes());
                add(&request.headers.values(&HeaderName::VIA).next()?);
            }
        }
        Some(Match(self.begun.each_ref().map(|begun| {
            let mut hasher = begun.clone();
            hasher.write(&parts);
            hasher.finish()
        })))
    }
}

/// The number of our transaction, out of the branch we made.
pub(super) fn client_key(response: &Response) -> Option<u64> {
    branch_number(&response.headers.via()?.branch()?)
}

/// The number in a branch of ours.
pub(super) fn branch_number(branch: &[u8]) -> Option<u64> {
    let rest = branch.strip_prefix(MAGIC)?;
    let dot = rest.iter().position(|b| *b == b'.')?;
    u64::from_str_radix(std::str::from_utf8(&rest[..dot]).ok()?, 16).ok()
}

/// The number of our transaction, out of the first bytes of a message of ours.
pub(super) fn quoted_key(quoted: &[u8]) -> Option<u64> {
    let at = quoted.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    branch_number(quoted.get(at..)?)
}

/// Whether all of a branch is in what is quoted of a message.
pub(super) fn quotes(quoted: &[u8], branch: &str) -> bool {
    let at = quoted.windows(MAGIC.len()).position(|window| window == MAGIC);
    at.and_then(|at| quoted.get(at..)).is_some_and(|rest| rest.starts_with(branch.as_bytes()))
}

/// Whether the response really answers this transaction's request.
pub(super) fn fits(client: &Client, response: &Response) -> bool {
    let branch: Option<Bytes> = response.headers.via().and_then(|v| v.branch());
    branch.is_some_and(|b| b.as_ref() == client.branch.as_bytes())
        && response.headers.cseq().is_some_and(|c| c.method == client.method)
}

const MAGIC: &[u8] = b"z9hG4bK";

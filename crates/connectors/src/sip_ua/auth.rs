//! Who is speaking: digest for users, address for trunks, our own Contact for registrars.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{Flow, RegistrationId};
use crosspoint_sip::digest::Verdict;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::SipUa;
use super::challenge::Account;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sender {
    User(Arc<str>),
    /// Index into the configured trunks.
    Trunk(usize),
    /// The registrar where we are signed in.
    Registration(RegistrationId),
}

impl Sender {
    /// Whose credentials answer its challenges.
    pub(super) fn account(&self) -> Option<Account> {
        match self {
            Self::User(_) => None,
            Self::Trunk(index) => Some(Account::Trunk(*index)),
            Self::Registration(id) => Some(Account::Registration(*id)),
        }
    }
}

impl SipUa {
    /// Finds out who sent a request, or answers it with a challenge or refusal.
    pub(super) fn authenticate(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: &Flow,
        request: &Request,
    ) -> Option<Sender> {
        if let Some(registration) = self.registrations.called(flow, request) {
            return Some(Sender::Registration(registration));
        }
        if let Some(trunk) = self.trunk_at(flow) {
            return Some(Sender::Trunk(trunk));
        }
        let (name, challenge_name, status) = if request.method == Method::REGISTER {
            (HeaderName::AUTHORIZATION, HeaderName::WWW_AUTHENTICATE, StatusCode::UNAUTHORIZED)
        } else {
            (
                HeaderName::PROXY_AUTHORIZATION,
                HeaderName::PROXY_AUTHENTICATE,
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            )
        };
        // Some clients answer either challenge with either header.
        let other = HeaderName::AUTHORIZATION;
        let values: Vec<_> =
            request.headers.all(&name).chain(request.headers.all(&other)).cloned().collect();
        let users = &self.users;
        let verdict =
            self.verifier.verify(now, &request.method, values.into_iter(), |user| users.get(user));
        let stale = match verdict {
            Verdict::Valid { user } => {
                let user = self.users.get_key_value(user.as_str()).map(|(u, _)| u.clone())?;
                return self.own_identity(now, key, request, user);
            }
            Verdict::Malformed(_) => {
                self.counters.auth_failures += 1;
                self.refuse(now, key, request, StatusCode::BAD_REQUEST);
                return None;
            }
            Verdict::Stale => true,
            Verdict::Wrong => {
                self.counters.auth_failures += 1;
                false
            }
            Verdict::Missing => false,
        };
        self.counters.challenges += 1;
        let mut response = Response::for_request(request, status);
        self.tag(&mut response);
        let mut challenges = self.verifier.challenge(now, stale);
        // Interop: phones exist that read the first challenge only and fail when it is not MD5
        // (seen with sipp 3.6.1). Deviation: RFC 8760 §2.4 wants the stronger one on top.
        if !flow.transport.is_websocket() {
            challenges.reverse();
        }
        let md5_only = chokes_on_sha256(request);
        for value in challenges {
            if md5_only && value.contains("algorithm=SHA-256") {
                continue;
            }
            response.headers.push(challenge_name.clone(), value);
        }
        self.respond(now, key, &mut response);
        None
    }

    /// A user may speak for itself only: the From (and the To of a REGISTER) must be its own.
    fn own_identity(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        user: Arc<str>,
    ) -> Option<Sender> {
        let claimed = if request.method == Method::REGISTER {
            request.headers.to()
        } else {
            request.headers.from()
        };
        let claimed = claimed.and_then(|c| c.uri.user_decoded());
        if claimed.as_deref() == Some(&*user) {
            return Some(Sender::User(user));
        }
        self.counters.auth_failures += 1;
        self.refuse(now, key, request, StatusCode::FORBIDDEN);
        None
    }

    /// The trunk a flow comes from: by address, never over a browser's connection.
    fn trunk_at(&self, flow: &Flow) -> Option<usize> {
        if flow.transport.is_websocket() {
            return None;
        }
        self.config.trunks.iter().position(|t| {
            let same_port = t.address.port() == flow.remote.port();
            // Loopback carries trunks and phones side by side, so there the port tells them.
            t.address.ip() == flow.remote.ip() && (same_port || !t.address.ip().is_loopback())
        })
    }
}

/// Interop: libre before 2.0 (baresip 1.0, as in Debian 12) gives up on the whole response when
/// any of its challenges is not MD5, wherever it stands.
fn chokes_on_sha256(request: &Request) -> bool {
    let agent = request.headers.first(&HeaderName::USER_AGENT);
    agent.is_some_and(|a| a.starts_with(b"baresip v0.") || a.starts_with(b"baresip v1."))
}

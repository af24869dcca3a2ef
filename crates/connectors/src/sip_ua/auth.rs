//! Who is speaking: digest for users, address for trunks, our own Contact for registrars.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{Conduct, Flow, Offence, RegistrationId};
use crosspoint_sip::digest::Verdict;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::challenge::Account;
use super::trunk::trunk_of;
use super::{Output, SipUa};

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sender {
    User(Arc<str>),
    /// Index into the configured trunks.
    Trunk(usize),
    /// The registrar where we are signed in.
    Registration(RegistrationId),
    /// The PBX of a registration that is forwarded, which calls the browser behind it.
    Forwarded {
        trunk: usize,
        id: u64,
    },
    /// The browser of such a registration.
    Browser(u64),
}

impl Sender {
    /// Whose credentials answer its challenges.
    pub(super) fn account(&self) -> Option<Account> {
        match self {
            Self::User(_) | Self::Browser(_) => None,
            Self::Trunk(index) | Self::Forwarded { trunk: index, .. } => {
                Some(Account::Trunk(*index))
            }
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
            return Some(match trunk_of(registration) {
                Some(trunk) => Sender::Trunk(trunk),
                None => Sender::Registration(registration),
            });
        }
        if let Some(trunk) = self.trunks.sender(flow, request) {
            return Some(match self.forwards.called(trunk, request) {
                Some(id) => Sender::Forwarded { trunk, id },
                None => Sender::Trunk(trunk),
            });
        }
        if let Some(id) = self.forwards.speaking(flow, request) {
            return Some(Sender::Browser(id));
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
        let (users, trunks) = (&self.users, &self.trunks);
        let lookup = |user: &str| users.get(user).or_else(|| trunks.login_of(user));
        let shown = values.iter().cloned();
        let verdict = self.verifier.verify(now, &request.method, shown, lookup);
        let stale = match verdict {
            Verdict::Valid { user } if !self.users.contains_key(user.as_str()) => {
                let name = Arc::from(user.as_str());
                self.outputs.push_back(Output::Conduct(*flow, Conduct::SignedIn(name)));
                return self.trunks.by_login(&user).map(Sender::Trunk);
            }
            Verdict::Valid { user } => {
                let user = self.users.get_key_value(user.as_str()).map(|(u, _)| u.clone())?;
                let conduct = Conduct::SignedIn(user.clone());
                self.outputs.push_back(Output::Conduct(*flow, conduct));
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
                // Only who is really there can know what was sent there.
                let is_there =
                    |value: &bytes::Bytes| self.verifier.was_given(value, flow.remote.ip());
                if flow.connection.is_some() || values.iter().any(is_there) {
                    self.offended(flow, Offence::Password);
                }
                false
            }
            Verdict::Missing => {
                if flow.connection.is_some() {
                    self.offended(flow, Offence::Unproved);
                }
                false
            }
        };
        self.ask_for_password(now, key, (flow, request), (challenge_name, status), stale);
        None
    }

    /// Answers with a challenge.
    fn ask_for_password(
        &mut self,
        now: Instant,
        key: ServerKey,
        (flow, request): (&Flow, &Request),
        (challenge_name, status): (HeaderName, StatusCode),
        stale: bool,
    ) {
        self.counters.challenges += 1;
        if request.method == Method::REGISTER {
            self.peer_challenged(request);
        }
        let mut response = Response::for_request(request, status);
        // Its ACK will tell whether somebody is there.
        response.add_tag(&self.verifier.tag_at(flow.remote.ip()));
        let mut challenges = self.verifier.challenge_at(now, stale, Some(flow.remote.ip()));
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
    }

    /// An INVITE of a datagram was answered with a challenge, and whoever sent it has read that.
    /// Nothing more may come: of programs that try which numbers get through.
    pub(super) fn challenge_read(&mut self, flow: &Flow, request: &Request) {
        if flow.connection.is_some() || request.method != Method::ACK {
            return;
        }
        let tag = request.headers.to().and_then(|to| to.tag());
        if tag.is_some_and(|tag| self.verifier.is_tag_at(&tag, flow.remote.ip())) {
            self.offended(flow, Offence::Unproved);
        }
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
}

/// Interop: libre before 2.0 (baresip 1.0, as in Debian 12) gives up on the whole response when
/// any of its challenges is not MD5, wherever it stands. Twinkle 1.10 keeps the last one only.
fn chokes_on_sha256(request: &Request) -> bool {
    let agent = request.headers.first(&HeaderName::USER_AGENT);
    let those: [&[u8]; 3] = [b"baresip v0.", b"baresip v1.", b"Twinkle/1."];
    agent.is_some_and(|agent| those.iter().any(|that| agent.starts_with(that)))
}

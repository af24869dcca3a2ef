//! Operators whom somebody else vouches for: the authorization code flow of OpenID Connect
//! (OpenID Connect Core 1.0 §3.1) with PKCE (RFC 7636), state and nonce, as RFC 9700 asks for.
//!
//! The provider is the one of the configuration; what it publishes of itself is fetched when
//! somebody signs in, and kept for a while (`Documents`, which bounds all that is fetched).

mod pending;
mod provider;
mod vouched;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crosspoint_base::{Secret, source_of};
use crosspoint_net::{DocumentError, Documents};
use crosspoint_state::TokenHash;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::guard::Attempt;
use super::{Begun, Provisioning, Refusal, secrets};
use crate::config::{IssuerKeys, Oidc as Config};
use crate::jwt::{self, Expected, NoToken};
pub(crate) use pending::TIME;
use pending::{Pending, SignIn};
use provider::Provider;
use vouched::Vouched;

/// The provider, and who is on the way to it.
pub(crate) struct Oidc {
    config: Config,
    /// Where browsers reach us: scheme, host and port.
    address: String,
    documents: Documents,
    pending: Mutex<Pending>,
}

/// Where a browser is sent.
pub(crate) struct Sent {
    pub(crate) location: String,
    /// What it must show when it comes back, so that nobody is signed in as somebody else.
    pub(crate) browser: Secret<String>,
}

/// What a browser comes back with (RFC 6749 §4.1.2, RFC 9207 §2).
pub(crate) struct Return {
    pub(crate) browser: Option<Secret<String>>,
    pub(crate) state: Secret<String>,
    pub(crate) code: Secret<String>,
    pub(crate) error: Option<String>,
    pub(crate) issuer: Option<String>,
}

/// Somebody who is signed in, or was refused, as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// As the audit shows it. No operator of ours can be called so.
    pub(crate) name: String,
    /// What the provider never gives to anybody else.
    pub(crate) subject: String,
}

/// Why nobody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotVouched {
    /// No sign-in like it began in this browser, or it took too long, or it is over.
    Stale,
    /// The provider let nobody in.
    Denied,
    /// The provider cannot be asked.
    Unavailable,
    /// What the provider says proves nothing.
    Untrusted,
    /// Somebody, but nobody who may operate us.
    NoRole(Identity),
    /// Too many codes of this address were wrong.
    Limited,
}

impl NotVouched {
    /// For metrics, the audit and the page.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Untrusted => "untrusted",
            Self::NoRole(_) => "no_role",
            Self::Limited => "limited",
        }
    }
}

/// How signing in with an identity may end.
pub(crate) const OUTCOMES: [&str; 7] =
    ["signed_in", "stale", "denied", "unavailable", "untrusted", "no_role", "limited"];

impl Oidc {
    pub(crate) fn new(config: Config, address: String, documents: Documents) -> Self {
        Self { config, address, documents, pending: Mutex::default() }
    }

    /// What people call the provider.
    pub(crate) fn label(&self) -> &str {
        &self.config.label
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Where browsers reach us.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where a browser may sign out of the provider, too (OpenID Connect RP-Initiated Logout 1.0
    /// §2). Without a hint of who it is the provider asks first.
    pub(crate) async fn end(&self) -> Option<String> {
        let end = self.provider().await.ok()?.end?;
        let back = format!("{}/console", self.address);
        let client = self.config.client.as_str();
        let pairs = [("client_id", client), ("post_logout_redirect_uri", back.as_str())];
        Some(with_query(&end, &pairs))
    }

    /// Sends a browser on its way.
    async fn begin(&self, from: IpAddr) -> Result<Sent, NotVouched> {
        let provider = self.provider().await?;
        let drawn = || secrets::token().map_err(|_| NotVouched::Unavailable);
        let (state, browser, nonce, verifier) = (drawn()?, drawn()?, drawn()?, drawn()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
        let scopes: Vec<&str> = SCOPES.into_iter().chain(self.scopes()).collect();
        let location = with_query(
            &provider.authorization,
            &[
                ("response_type", "code"),
                ("client_id", &self.config.client),
                ("redirect_uri", &self.comes_back()),
                ("scope", &scopes.join(" ")),
                ("state", state.expose()),
                ("nonce", nonce.expose()),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ],
        );
        let sign_in = SignIn {
            source: source_of(from),
            browser: TokenHash::of(&browser),
            nonce,
            verifier,
            began: Instant::now(),
        };
        self.pending().begin(TokenHash::of(&state), sign_in);
        Ok(Sent { location, browser })
    }

    /// Whom the provider vouches for.
    async fn finish(&self, sign_in: &SignIn, back: &Return) -> Result<Vouched, NotVouched> {
        let provider = self.provider().await?;
        let is_from = match &back.issuer {
            Some(issuer) => *issuer == self.config.issuer,
            None => !provider.names_itself,
        };
        if !is_from {
            tracing::warn!("somebody came back from another provider of identities");
            return Err(NotVouched::Untrusted);
        }
        let given = self.redeem(&provider, sign_in, &back.code).await?;
        let text = |member: &str| given.get(member).and_then(Value::as_str);
        let token = text("id_token").ok_or(NotVouched::Untrusted)?;
        let expected = Expected { issuer: &self.config.issuer, audience: &self.config.client };
        let keys = IssuerKeys::At(provider.keys.clone());
        let claims = jwt::claims(token, &keys, Some(&self.documents), expected).await;
        let claims = claims.map_err(|why| match why {
            NoToken::Keys => NotVouched::Unavailable,
            NoToken::Expired | NoToken::Wrong => {
                tracing::warn!(?why, "the provider's ID token is not good");
                NotVouched::Untrusted
            }
        })?;
        vouched::check(&claims, &self.config.client, &sign_in.nonce).map_err(|why| {
            tracing::warn!(why, "the provider's ID token is not for this sign-in");
            NotVouched::Untrusted
        })?;
        let more = match (&provider.userinfo, text("access_token")) {
            (Some(address), Some(token)) if !vouched::says_all(&claims, &self.config.claim) => {
                self.ask_more(address, token, &claims).await?
            }
            _ => Map::new(),
        };
        Vouched::new([&claims, &more], &self.config)
    }

    /// Gives the code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5).
    async fn redeem(
        &self,
        provider: &Provider,
        sign_in: &SignIn,
        code: &Secret<String>,
    ) -> Result<Map<String, Value>, NotVouched> {
        let form = form(&[
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &self.comes_back()),
            ("code_verifier", sign_in.verifier.expose()),
        ]);
        let login = jwt::client_login(&self.config.client, &self.config.secret);
        let answer = self.documents.ask(&provider.token, Secret::new(form), login).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(%error, "the provider of identities gives no token");
            match error {
                // RFC 6749 §5.2: it knows us, and the code is not good.
                DocumentError::Status(400) => NotVouched::Untrusted,
                _ => NotVouched::Unavailable,
            }
        })?;
        serde_json::from_slice(&answer).map_err(|_| NotVouched::Untrusted)
    }

    /// What the token itself does not say (OpenID Connect Core 1.0 §5.3).
    async fn ask_more(
        &self,
        address: &str,
        token: &str,
        claims: &Map<String, Value>,
    ) -> Result<Map<String, Value>, NotVouched> {
        let login = Secret::new(format!("Bearer {token}"));
        let answer = self.documents.get_as(address, login).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(%error, "the provider of identities does not say who it is");
            NotVouched::Unavailable
        })?;
        let more: Map<String, Value> =
            serde_json::from_slice(&answer).map_err(|_| NotVouched::Untrusted)?;
        // §5.3.2: it may be about somebody else.
        if more.get("sub").is_none_or(|sub| Some(sub) != claims.get("sub")) {
            tracing::warn!("the provider of identities speaks of somebody else");
            return Err(NotVouched::Untrusted);
        }
        Ok(more)
    }

    async fn provider(&self) -> Result<Provider, NotVouched> {
        let address = provider::address(&self.config.issuer);
        let document = self.documents.get(&address).await.map_err(|error| {
            tracing::warn!(%error, "the provider of identities cannot be reached");
            NotVouched::Unavailable
        })?;
        Provider::read(&document, &self.config.issuer).map_err(|why| {
            tracing::warn!(why, "the provider of identities cannot be used");
            NotVouched::Unavailable
        })
    }

    /// Where browsers come back to; the provider has to know this address.
    fn comes_back(&self) -> String {
        format!("{}{CALLBACK}", self.address)
    }

    fn scopes(&self) -> impl Iterator<Item = &str> {
        let more = self.config.scopes.iter().map(String::as_str);
        more.filter(|scope| !SCOPES.contains(scope))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provisioning {
    /// Operators may sign in with identities of this provider from now on.
    pub(crate) fn vouched_by(&self, oidc: Oidc) {
        // Given once, at the start.
        let _ = self.oidc.set(oidc);
    }

    pub(crate) fn oidc(&self) -> Option<&Oidc> {
        self.oidc.get()
    }

    /// Sends an operator to the provider.
    pub(crate) async fn begin_vouched(&self, from: IpAddr) -> Result<Sent, NotVouched> {
        let begun = match self.oidc() {
            Some(oidc) => oidc.begin(from).await,
            None => Err(NotVouched::Unavailable),
        };
        begun.inspect_err(|why| self.count().vouched(why.as_str()))
    }

    /// Signs in whom the provider sent back.
    pub(crate) async fn sign_in_vouched(
        self: &Arc<Self>,
        from: IpAddr,
        back: Return,
    ) -> Result<(Begun, Identity), NotVouched> {
        let done = self.try_vouched(from, back).await;
        let outcome = done.as_ref().err().map_or("signed_in", NotVouched::as_str);
        self.count().vouched(outcome);
        done
    }

    async fn try_vouched(
        self: &Arc<Self>,
        from: IpAddr,
        back: Return,
    ) -> Result<(Begun, Identity), NotVouched> {
        let oidc = self.oidc().ok_or(NotVouched::Unavailable)?;
        let browser = back.browser.as_ref().ok_or(NotVouched::Stale)?;
        let (state, browser) = (TokenHash::of(&back.state), TokenHash::of(browser));
        let sign_in = oidc.pending().end(Instant::now(), &state, &browser);
        let sign_in = sign_in.ok_or(NotVouched::Stale)?;
        if let Some(error) = &back.error {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(40).collect();
            tracing::warn!(error, "the provider of identities let nobody in");
            return Err(NotVouched::Denied);
        }
        // Codes are no easier to guess than passwords, and cost the provider a request.
        let attempt = Attempt::at_a_secret(from);
        self.may_try(&attempt).map_err(|_| NotVouched::Limited)?;
        let vouched = oidc.finish(&sign_in, &back).await;
        if vouched == Err(NotVouched::Untrusted) {
            let _ = self.judge(&attempt, false);
        }
        let Vouched { identity, role } = vouched?;
        let begun = self.begin_console(identity.name.clone(), role, None);
        Ok((begun.map_err(|_: Refusal| NotVouched::Unavailable)?, identity))
    }
}

fn with_query(address: &str, pairs: &[(&str, &str)]) -> String {
    let mark = if address.contains('?') { '&' } else { '?' };
    format!("{address}{mark}{}", form(pairs))
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The path that browsers come back to.
pub(crate) const CALLBACK: &str = "/api/v1/session/oidc/callback";
const SCOPES: [&str; 3] = ["openid", "profile", "email"];

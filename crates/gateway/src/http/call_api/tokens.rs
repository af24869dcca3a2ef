//! What a bearer's token (RFC 6750) is worth: a session of ours, a fixed token of the
//! configuration, a signed token of an issuer (RFC 9068), or one that its issuer is asked about
//! (RFC 7662).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_base::{ConnectionId, Secret};
use crosspoint_connectors::rtcengine::{Denial, Lookup, Service};
use crosspoint_net::Documents;
use crosspoint_state::TokenHash;
use serde_json::{Map, Value};
use tonic::Status;

use crate::cli::unix_now;
use crate::config::CallApi as Config;
use crate::jwt::{self, Expected, NoToken};
use crate::permissions::Principal;
use crate::provisioning::Provisioning;

/// For whom a token speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// A user or a number, and no other.
    One(String),
    /// A server that names the number of each stream.
    Client,
}

impl Bearer {
    /// As the table of permissions knows it.
    pub(crate) fn principal(&self) -> Principal {
        match self {
            Self::One(_) => Principal::Terminal,
            Self::Client => Principal::Server,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) bearer: Bearer,
    /// Of a token that signing in here gave.
    pub(crate) session: Option<Arc<str>>,
    pub(crate) expires: Option<Instant>,
}

/// Why a token opens nothing.
#[derive(Debug)]
pub(crate) enum NotGranted {
    /// Nobody gave it to anybody.
    Unknown,
    /// It is old, is for something else, or cannot be looked at now.
    Other(Status),
}

impl From<NotGranted> for Status {
    fn from(why: NotGranted) -> Self {
        match why {
            NotGranted::Unknown => Self::unauthenticated("the token is not good"),
            NotGranted::Other(status) => status,
        }
    }
}

impl From<Status> for NotGranted {
    fn from(status: Status) -> Self {
        Self::Other(status)
    }
}

/// See the module.
pub(crate) struct Tokens {
    config: Config,
    fixed: BTreeMap<TokenHash, Bearer>,
    provisioning: Arc<Provisioning>,
    /// Where keys are fetched and issuers asked; none without any of them.
    documents: Option<Documents>,
    /// What issuers said lately.
    asked: Mutex<BTreeMap<TokenHash, (Instant, Granted)>>,
}

impl Tokens {
    pub(crate) fn new(
        config: Config,
        provisioning: Arc<Provisioning>,
        documents: Option<Documents>,
    ) -> Self {
        let bearer = |number: Option<String>| number.map_or(Bearer::Client, Bearer::One);
        let fixed = config.tokens.iter();
        let fixed = fixed.map(|t| (TokenHash::of(&t.token), bearer(t.number.clone()))).collect();
        Self { config, fixed, provisioning, documents, asked: Mutex::default() }
    }

    pub(crate) async fn grant(&self, token: &str) -> Result<Granted, NotGranted> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(NotGranted::Unknown);
        }
        let token = Secret::new(token.to_owned());
        // By their digests: how long it takes to find none says nothing.
        if let Some(bearer) = self.fixed.get(&TokenHash::of(&token)) {
            return Ok(Granted { bearer: bearer.clone(), session: None, expires: None });
        }
        if self.config.issuer.is_some() && token.expose().split('.').count() == 3 {
            return self.signed(&token).await;
        }
        match self.session(&token).await {
            Err(Denial::InvalidToken) if self.config.introspection.is_some() => {
                self.ask(&token).await
            }
            Err(Denial::InvalidToken) => Err(NotGranted::Unknown),
            Err(Denial::ExpiredToken) => Err(expired().into()),
            Err(Denial::OriginDenied) => {
                Err(Status::permission_denied("not for this origin").into())
            }
            Err(Denial::Internal) => {
                Err(Status::unavailable("tokens cannot be looked up now").into())
            }
            Ok(granted) => Ok(granted),
        }
    }

    /// A token that signing in here gave.
    async fn session(&self, token: &Secret<String>) -> Result<Granted, Denial> {
        let connection = ConnectionId(0);
        let lookup = Lookup { connection, token: token.clone(), origin: None };
        let grant = self.provisioning.look_up(lookup).await?;
        let user = grant.accounts.values().find_map(|account| match &account.service {
            Service::Local { user } => Some(user.to_string()),
            _ => None,
        });
        let bearer = Bearer::One(user.ok_or(Denial::InvalidToken)?);
        Ok(Granted { bearer, session: Some(grant.session), expires: Some(grant.expires) })
    }

    async fn signed(&self, token: &Secret<String>) -> Result<Granted, NotGranted> {
        let Some(issuer) = &self.config.issuer else { return Err(NotGranted::Unknown) };
        let expected = Expected { issuer: &issuer.name, audience: &issuer.audience };
        let documents = self.documents.as_ref();
        let claims = jwt::claims(token.expose(), &issuer.keys, documents, expected).await;
        self.of_claims(&claims.map_err(|why| match why {
            NoToken::Keys => no_keys().into(),
            NoToken::Expired => expired().into(),
            NoToken::Wrong => NotGranted::Unknown,
        })?)
    }

    /// Asks the issuer, and remembers what it says of good tokens for a short time.
    async fn ask(&self, token: &Secret<String>) -> Result<Granted, NotGranted> {
        let hash = TokenHash::of(token);
        let known = self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some((_, granted)) = known.filter(|(until, _)| *until > Instant::now()) {
            return Ok(granted);
        }
        let (Some(asked), Some(documents)) = (&self.config.introspection, &self.documents) else {
            return Err(NotGranted::Unknown);
        };
        let authorization = jwt::client_login(&asked.client, &asked.secret);
        let form = Secret::new(
            form_urlencoded::Serializer::new(String::new())
                .append_pair("token", token.expose())
                .finish(),
        );
        let answer = documents.ask(&asked.address, form, authorization).await.map_err(|error| {
            tracing::warn!(%error, "the issuer of tokens does not answer");
            Status::unavailable("the issuer of tokens does not answer")
        })?;
        let claims: Map<String, Value> =
            serde_json::from_slice(&answer).map_err(|_| NotGranted::Unknown)?;
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(NotGranted::Unknown);
        }
        let granted = self.of_claims(&claims)?;
        let now = Instant::now();
        let until = granted.expires.unwrap_or(now + REMEMBERED).min(now + REMEMBERED);
        let mut kept = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_REMEMBERED {
            kept.retain(|_, (until, _)| *until > now);
        }
        if kept.len() < MAX_REMEMBERED {
            kept.insert(hash, (until, granted.clone()));
        }
        Ok(granted)
    }

    fn of_claims(&self, claims: &Map<String, Value>) -> Result<Granted, NotGranted> {
        if let Some(scope) = &self.config.scope
            && !scopes(claims).any(|found| found == scope)
        {
            let text = format!("the token lacks the scope {scope}");
            return Err(Status::permission_denied(text).into());
        }
        let expires = claims.get("exp").and_then(Value::as_i64).map(|at| {
            let left = u64::try_from(at.saturating_sub(unix_now())).unwrap_or(0);
            Instant::now() + Duration::from_secs(left.min(MAX_LIFE))
        });
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        if let Some(number) = text(&self.config.number_claim) {
            let bearer = Bearer::One(number.to_owned());
            return Ok(Granted { bearer, session: None, expires });
        }
        let client = ["client_id", "azp", "sub"].into_iter().find_map(text);
        match client {
            Some(client) if self.config.clients.iter().any(|known| known == client) => {
                Ok(Granted { bearer: Bearer::Client, session: None, expires })
            }
            _ => Err(Status::permission_denied("the token is bound to no number").into()),
        }
    }
}

/// `scope` with blanks between (RFC 8693 §4.2), or a list under a name that is common.
fn scopes(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let value = claims.get("scope").or_else(|| claims.get("scp"));
    let text = value.and_then(Value::as_str).unwrap_or_default().split(' ');
    let list = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    text.chain(list).filter(|scope| !scope.is_empty())
}

fn expired() -> Status {
    Status::unauthenticated("the token has expired")
}

fn no_keys() -> Status {
    Status::unavailable("the keys of the issuer of tokens cannot be had")
}

const MAX_TOKEN: usize = 8192;
const REMEMBERED: Duration = Duration::from_secs(30);
const MAX_REMEMBERED: usize = 10_000;
/// Seconds: a year.
const MAX_LIFE: u64 = 366 * 24 * 3600;

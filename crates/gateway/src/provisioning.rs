//! Who may use apps and operate us: signing in, sessions and their tokens, and what operators
//! provision.
//!
//! Everything that asks the store runs where blocking is allowed, a few at a time. Who somebody is
//! is found out here, and what that allows is decided in `permissions`.

mod admin;
pub(crate) mod argon;
mod consoles;
mod counters;
mod failures;
mod fresh;
mod guard;
mod lookup;
mod objects;
pub(crate) mod oidc;
pub(crate) mod operators;
mod recent;
mod refusal;
mod secrets;
mod service;
mod sessions;
mod sign_in;
mod users;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_base::{Secret, host_text};
use crosspoint_media::turn::Credentials;
use crosspoint_net::Bans;
use crosspoint_state::Store;
use tokio::sync::{Semaphore, mpsc};

pub(crate) use counters::{Counters, LOOKUPS};
pub(crate) use objects::Sphere;
pub(crate) use oidc::OUTCOMES;
pub(crate) use operators::{Begun, Shown};
pub(crate) use refusal::Refusal;
pub(crate) use sessions::{APP_NAME, SIP_TAG};
pub(crate) use sign_in::SignedIn;

use crate::cli::unix_now;
use crate::config::{Config, Console, Login};
use fresh::FreshTokens;
use guard::Guard;
use recent::Recent;

/// One for the process; handles are shared.
pub(crate) struct Provisioning {
    store: Arc<dyn Store>,
    settings: Settings,
    guard: Mutex<Guard>,
    fresh: Mutex<FreshTokens>,
    recent: Mutex<Recent>,
    consoles: Mutex<consoles::Consoles>,
    failures: Mutex<failures::Failures>,
    counters: Mutex<Counters>,
    /// Told of sessions that are gone or grant less.
    revoked: mpsc::Sender<Vec<Arc<str>>>,
    requests: Semaphore,
    lookups: Semaphore,
    slow: Semaphore,
    waiting_for_slow: Semaphore,
    relay: OnceLock<Relay>,
    /// Who is not listened to.
    bans: OnceLock<Bans>,
    /// Who vouches for operators, if anybody does.
    oidc: OnceLock<oidc::Oidc>,
}

/// A TURN server that sessions are told of.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) urls: Vec<String>,
    pub(crate) credentials: Credentials,
    /// Of the credentials that a session gets.
    pub(crate) lifetime: Duration,
}

/// What the configuration says.
pub(crate) struct Settings {
    realm: String,
    /// The domain of our users' identifiers.
    domain: String,
    /// Hosts that mean us, at the ports where we hear SIP.
    ours: Vec<String>,
    ports: Vec<u16>,
    login: Option<Login>,
    admin_token: Option<Secret<String>>,
    console: Console,
    token_lifetime: Duration,
}

impl Settings {
    pub(crate) fn new(config: &Config, login: Option<Login>, addresses: &[IpAddr]) -> Self {
        let advertised = addresses.first().copied().unwrap_or(config.media.listen);
        let domain = match (config.general.domains.first(), advertised) {
            (Some(domain), _) => domain.clone(),
            (None, address) => host_text(address),
        };
        let mut ours = config.general.domains.clone();
        ours.extend(addresses.iter().map(IpAddr::to_string));
        ours.push("localhost".to_owned());
        Self {
            realm: config.general.realm.clone(),
            domain,
            ours,
            ports: config.listeners.iter().map(|listener| listener.address.port()).collect(),
            login,
            admin_token: config.admin_token.clone(),
            console: config.console.clone(),
            token_lifetime: config.rtcengine.token_lifetime,
        }
    }

    /// Whether a SIP server is ourselves. At another port of our host it is somebody else.
    fn is_ours(&self, host: &str, port: Option<u16>) -> bool {
        let hears = port.is_none_or(|port| self.ports.contains(&port));
        hears && self.ours.iter().any(|ours| ours == host)
    }
}

impl Provisioning {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        revoked: mpsc::Sender<Vec<Arc<str>>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            settings,
            guard: Mutex::default(),
            fresh: Mutex::default(),
            recent: Mutex::default(),
            consoles: Mutex::default(),
            failures: Mutex::default(),
            counters: Mutex::default(),
            revoked,
            requests: Semaphore::new(AT_ONCE),
            lookups: Semaphore::new(AT_ONCE),
            slow: Semaphore::new(1),
            waiting_for_slow: Semaphore::new(WAITING_FOR_SLOW),
            relay: OnceLock::new(),
            bans: OnceLock::new(),
            oidc: OnceLock::new(),
        })
    }

    /// Sessions that are looked up from now on are told of this relay.
    pub(crate) fn offer(&self, relay: Relay) {
        // Offered once, at the start.
        let _ = self.relay.set(relay);
    }

    /// Wrong passwords count there from now on.
    pub(crate) fn guard_with(&self, bans: Bans) {
        // Given once, at the start.
        let _ = self.bans.set(bans);
    }

    pub(crate) fn counters(&self) -> Counters {
        self.count().clone()
    }

    /// Sessions whose tokens are good.
    pub(crate) async fn live_sessions(self: &Arc<Self>) -> u64 {
        self.blocking(|this| Ok(this.store.count_sessions(unix_now())?)).await.unwrap_or(0)
    }

    /// Forgets sessions that expired a while ago, and ends those that lost their user.
    pub(crate) async fn clean(self: &Arc<Self>) {
        let until = unix_now() - REMEMBERED_AFTER_EXPIRY;
        match self.blocking(move |this| Ok(this.store.clean_sessions(until)?)).await {
            Ok(ended) => self.revoke(ended).await,
            Err(_) => tracing::error!("expired sessions cannot be cleaned up"),
        }
    }

    async fn revoke(&self, sessions: Vec<String>) {
        if sessions.is_empty() {
            return;
        }
        {
            let mut fresh = self.fresh();
            sessions.iter().for_each(|id| fresh.forget(id));
        }
        let sessions: Vec<Arc<str>> = sessions.into_iter().map(Arc::from).collect();
        let crossing = self.recent().end(Instant::now(), &sessions);
        // It fails only when the node is gone, and the sessions with it.
        let _ = self.revoked.send(sessions).await;
        if !crossing.is_empty() {
            let revoked = self.revoked.clone();
            tokio::spawn(async move {
                tokio::time::sleep(recent::DELIVERY).await;
                let _ = revoked.send(crossing).await;
            });
        }
    }

    /// Runs what waits for the store.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let _place = self.requests.acquire().await;
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "a request has failed");
            Err(Refusal::Internal)
        })
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> MutexGuard<'_, FreshTokens> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests, and lookups, that ask the store at the same time.
const AT_ONCE: usize = 8;
/// Passwords of owners that wait for being checked; checking one is slow on purpose.
const WAITING_FOR_SLOW: usize = 32;
/// For how many seconds an expired token is told from one that never was.
const REMEMBERED_AFTER_EXPIRY: i64 = 3600;

//! What a token grants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_call::MediaPath;
use crosspoint_connectors::rtcengine::{AccountGrant, Denial, Grant, IceServer, Lookup, Service};
use crosspoint_state::TokenHash;
use crosspoint_state::{Account, App, ClientSession, FullSession, Network, Source, StoreError};

use super::Provisioning;
use super::service::{self, Setup, SipAccount};
use super::sessions::{SIP_TAG, WEBRTC_TAG};
use crate::cli::unix_now;

impl Provisioning {
    pub(crate) async fn look_up(self: &Arc<Self>, lookup: Lookup) -> Result<Grant, Denial> {
        let _place = self.lookups.acquire().await;
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || this.look_up_now(&lookup)).await;
        let outcome = looked.unwrap_or(Err(Denial::Internal));
        self.count().looked_up(outcome.as_ref().map(|_| ()).map_err(|denial| *denial));
        outcome
    }

    fn look_up_now(&self, lookup: &Lookup) -> Result<Grant, Denial> {
        let began = Instant::now();
        let found = self.store.session_of_token(&TokenHash::of(&lookup.token));
        let Some(found) = found.map_err(internal)? else { return Err(Denial::InvalidToken) };
        let FullSession { session, app, accounts } = found;
        let expires = expiry(&session)?;
        if let Some(origin) = &lookup.origin
            && !app.as_ref().is_some_and(|app| is_page_of(app, origin))
        {
            return Err(Denial::OriginDenied);
        }
        let accounts = match &session.source {
            Source::User(user) => self.own_accounts(&session.id, user)?,
            Source::App { .. } => accounts
                .into_iter()
                .map(|(account, network)| (account.id.clone(), self.granted(account, network)))
                .collect(),
        };
        let ice_servers = self.ice_servers(&session);
        let session = Arc::from(session.id);
        if !self.recent().grant(began, Instant::now(), &session) {
            return Err(Denial::InvalidToken);
        }
        Ok(Grant { session, expires, accounts, ice_servers })
    }

    fn ice_servers(&self, session: &ClientSession) -> Vec<IceServer> {
        self.relay_for(&match &session.source {
            Source::User(user) => format!("user {user}"),
            Source::App { .. } => format!("session {}", session.id),
        })
    }

    /// For a user of ours that has no session: browsers with SIP over WebSocket.
    pub(crate) fn ice_servers_of(&self, user: &str) -> (Vec<IceServer>, Duration) {
        let lifetime = self.relay.get().map_or(Duration::ZERO, |relay| relay.lifetime);
        (self.relay_for(&format!("user {user}")), lifetime)
    }

    /// Of our relay. Its name for a user tells nothing to those who see it pass by.
    fn relay_for(&self, user: &str) -> Vec<IceServer> {
        let Some(relay) = self.relay.get() else { return Vec::new() };
        let now = u64::try_from(unix_now()).unwrap_or(0);
        let expires = now.saturating_add(relay.lifetime.as_secs());
        let credentials = &relay.credentials;
        let (username, credential) = credentials.issue(&credentials.alias(user), expires);
        vec![IceServer { urls: relay.urls.clone(), username, credential }]
    }

    /// What a user of ours has without anything being provisioned.
    fn own_accounts(
        &self,
        session: &str,
        user: &str,
    ) -> Result<BTreeMap<String, AccountGrant>, Denial> {
        let Some(user) = self.store.user(user).map_err(internal)? else {
            return Err(Denial::InvalidToken);
        };
        let name = user.name.to_string();
        let sip = AccountGrant {
            id: format!("{session}-{SIP_TAG}").into(),
            identifier: format!("sip:{name}@{}", self.settings.domain),
            network: SIP_TAG.to_owned(),
            service: Service::Local { user: user.name.clone().into_inner() },
        };
        let webrtc = AccountGrant {
            id: format!("{session}-{WEBRTC_TAG}").into(),
            identifier: name.clone(),
            network: WEBRTC_TAG.to_owned(),
            // Ids of provisioned networks are longer, so nobody else is on this one.
            service: Service::Apps { network: WEBRTC_TAG.into(), name, path: MediaPath::Direct },
        };
        let accounts = [(SIP_TAG, sip), (WEBRTC_TAG, webrtc)];
        Ok(accounts.map(|(key, account)| (key.to_owned(), account)).into())
    }

    fn granted(&self, account: Account, network: Network) -> AccountGrant {
        let service = self.service(&account, &network);
        let Account { id, identifier, .. } = account;
        AccountGrant { id: id.into(), identifier, network: network.tag, service }
    }

    fn service(&self, account: &Account, network: &Network) -> Service {
        let setup = service::merged(&network.config, &account.config)
            .and_then(|config| service::setup(&network.connector, &config));
        // What cannot be used is refused when it is provisioned; an older version may have seen
        // it otherwise.
        let unusable = |unusable: service::Unusable| {
            let service::Unusable { member, why } = unusable;
            tracing::warn!(account = account.id, member, why, "an account cannot be used");
            Service::NotAvailable { connector: service::SIP }
        };
        match setup {
            Ok(Setup::NotAvailable(connector)) => Service::NotAvailable { connector },
            Ok(Setup::Apps(path)) => {
                let (network, name) = (network.id.as_str().into(), account.identifier.clone());
                Service::Apps { network, name, path }
            }
            Ok(Setup::Sip(sip)) => {
                let is_ours = |host: &str, port| self.settings.is_ours(host, port);
                match sip.account(&account.identifier, &account.access_token, is_ours) {
                    Ok(SipAccount::Elsewhere(remote)) => Service::Remote(remote),
                    Ok(SipAccount::Ours(name)) => self.local(&name, account),
                    Err(error) => unusable(error),
                }
            }
            Err(error) => unusable(error),
        }
    }

    /// A user of ours, if the account knows its password.
    fn local(&self, name: &str, account: &Account) -> Service {
        match self.store.user(name) {
            Ok(Some(user)) if self.is_password_of(&user, &account.access_token) => {
                Service::Local { user: user.name.into_inner() }
            }
            Ok(_) => Service::Unauthorized,
            Err(error) => {
                internal(error);
                Service::Unauthorized
            }
        }
    }
}

fn expiry(session: &ClientSession) -> Result<Instant, Denial> {
    // Ended because its user is gone or has another password.
    if session.expires == 0 {
        return Err(Denial::InvalidToken);
    }
    match u64::try_from(session.expires.saturating_sub(unix_now())) {
        Ok(left @ 1..) => {
            let now = Instant::now();
            let years = Duration::from_secs(left.min(MAX_LEFT));
            Ok(now.checked_add(years).unwrap_or(now))
        }
        _ => Err(Denial::ExpiredToken),
    }
}

/// Whether a page of `origin` is one of the app's: `app.example.com` means HTTPS, and other
/// schemes are written out (`http://localhost:3000`).
fn is_page_of(app: &App, origin: &str) -> bool {
    let wanted = if app.domain.contains("://") {
        app.domain.clone()
    } else {
        format!("https://{}", app.domain)
    };
    wanted.eq_ignore_ascii_case(origin)
}

fn internal(error: StoreError) -> Denial {
    tracing::error!(%error, "a token could not be looked up");
    Denial::Internal
}

/// Instants reach no further on some systems.
const MAX_LEFT: u64 = 10 * 365 * 24 * 3600;

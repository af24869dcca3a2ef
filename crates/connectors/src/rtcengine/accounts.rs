//! Accounts: what a client is signed in to, and where calls for it are found.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crosspoint_base::{BindingId, RegistrationId};
use serde_json::{Value, json};

use super::grant::{AccountGrant, Grant, Service};
use super::message::{AccountMethod, Message};
use super::remote::RemoteState;
use super::{ClientKey, DeviceKind, MAKER, RtcEngine, UserCall, address};

/// An account as its session was granted it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The key of `session.validated`, by which the app names it.
    pub(super) name: String,
    /// Where the app sends its messages.
    pub(super) target: String,
    pub(super) grant: AccountGrant,
}

/// An account of one client.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) known: Arc<Known>,
    /// While it is connected, or tries to be.
    pub(super) binding: Option<BindingId>,
    /// The list of calls elsewhere that the client was told last; zero for none.
    told_calls: u64,
}

impl Account {
    pub(super) fn new(known: Arc<Known>) -> Self {
        Self { known, binding: None, told_calls: 0 }
    }
}

/// The client behind a binding.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) client: ClientKey,
    pub(super) known: Arc<Known>,
    pub(super) registration: Option<RegistrationId>,
}

impl Known {
    pub(super) fn all(grant: Grant) -> impl Iterator<Item = Self> {
        grant.accounts.into_iter().map(|(name, grant)| {
            let connector = match &grant.service {
                Service::Local { .. } | Service::Remote(_) | Service::Unauthorized => {
                    "sip-connector"
                }
                Service::Apps { .. } => "webrtc",
                Service::NotAvailable { connector } => connector,
            };
            Self { name, target: format!("{connector}:b2bua-{}", grant.id), grant }
        })
    }
}

impl RtcEngine {
    pub(super) fn account_message(
        &mut self,
        key: ClientKey,
        method: AccountMethod,
        message: &Message,
    ) {
        let Some(client) = self.clients.get(&key) else { return };
        let addressed = client.account_at(message.address());
        if addressed.is_none() && !message.is_to_core() {
            self.unknown_recipient(key, message);
            return;
        }
        let name = message.text("id");
        let named = match addressed {
            Some(account) if name.is_empty() || account.known.name == name => Some(account),
            Some(_) => None,
            None => client.account_named(name),
        };
        let Some(known) = named.map(|a| a.known.clone()) else {
            let from = message.address().to_owned();
            let from = if from.is_empty() { "core" } else { &from };
            let name: String = name.chars().take(MAX_ECHO).collect();
            self.send_account_state(key, from, &name, ("failed", "invalidAccount"));
            return;
        };
        match method {
            AccountMethod::Connect => self.connect(key, &known),
            AccountMethod::Text => self.client_writes(key, known, message),
            AccountMethod::Disconnect => {
                let binding = self.account(key, &known.name).and_then(|a| a.binding);
                if let Some(binding) = binding {
                    self.unbind(binding);
                }
                self.tell_account(key, &known);
            }
        }
    }

    fn connect(&mut self, key: ClientKey, known: &Arc<Known>) {
        match &known.grant.service {
            Service::Unauthorized => {
                let state = ("failed", "unauthorized");
                self.send_account_state(key, &known.target, &known.name, state);
            }
            Service::NotAvailable { .. } => {
                let state = ("failed", "notAvailable");
                self.send_account_state(key, &known.target, &known.name, state);
            }
            Service::Local { .. } | Service::Apps { .. } | Service::Remote(_) => {
                self.bind(key, known);
                self.tell_account(key, known);
                self.tell_user_calls(key, &known.name);
            }
        }
    }

    pub(super) fn account(&mut self, key: ClientKey, name: &str) -> Option<&mut Account> {
        let client = self.clients.get_mut(&key)?;
        client.accounts.iter_mut().find(|a| a.known.name == name)
    }

    /// Makes an account reachable; asking again is harmless and tries again what failed.
    fn bind(&mut self, key: ClientKey, known: &Arc<Known>) {
        let Some(account) = self.account(key, &known.name) else { return };
        if let Some(binding) = account.binding {
            self.retry_registration(binding);
            return;
        }
        self.make_room(known);
        self.next_binding += 1;
        let binding = MAKER.binding(self.next_binding);
        if let Some(account) = self.account(key, &known.name) {
            account.binding = Some(binding);
        }
        let mut bound = Bound { client: key, known: known.clone(), registration: None };
        match &known.grant.service {
            Service::Local { user } => {
                let bindings = self.users.entry(user.clone()).or_default();
                if bindings.is_empty() {
                    self.newly_watched.push(user.clone());
                }
                bindings.insert(binding);
                self.came.push(user.clone());
            }
            Service::Apps { network, name, .. } => {
                let names = self.members.entry(network.clone()).or_default();
                names.entry(name.as_str().into()).or_default().insert(binding);
            }
            Service::Remote(remote) => {
                bound.registration = Some(self.register(&known.grant.id, remote, binding));
            }
            Service::Unauthorized | Service::NotAvailable { .. } => {}
        }
        self.bindings.insert(binding, bound);
    }

    /// One more may be connected: who is away gives way first, then who has been there longest.
    fn make_room(&mut self, known: &Known) {
        let others = match &known.grant.service {
            Service::Local { user } => self.users.get(user),
            Service::Apps { network, name, .. } => {
                self.members.get(network).and_then(|names| names.get(name.as_str()))
            }
            Service::Remote(_) => {
                let id = self.registration_of.get(&known.grant.id);
                id.and_then(|id| self.registrations.get(id)).map(|r| &r.bindings)
            }
            Service::Unauthorized | Service::NotAvailable { .. } => None,
        };
        let Some(others) = others.filter(|o| o.len() >= self.config.max_devices) else { return };
        let is_away = |binding: &&BindingId| {
            let client = self.bindings.get(binding).and_then(|b| self.clients.get(&b.client));
            client.is_some_and(|client| client.socket.is_none())
        };
        let Some(binding) = others.iter().find(is_away).or(others.first()).copied() else { return };
        let Some(bound) = self.bindings.get(&binding) else { return };
        let (key, known) = (bound.client, bound.known.clone());
        self.unbind(binding);
        let state = ("disconnected", "replaced");
        self.send_account_state(key, &known.target, &known.name, state);
    }

    /// Takes an account off. Calls that it has go on.
    pub(super) fn unbind(&mut self, binding: BindingId) {
        let Some(bound) = self.bindings.remove(&binding) else { return };
        if let Some(account) = self.account(bound.client, &bound.known.name) {
            account.binding = None;
            account.told_calls = 0;
        }
        match &bound.known.grant.service {
            Service::Local { user } => {
                if let Some(bindings) = self.users.get_mut(user) {
                    bindings.remove(&binding);
                    if bindings.is_empty() {
                        self.users.remove(user);
                        self.user_calls.remove(&**user);
                    }
                }
            }
            Service::Apps { network, name, .. } => {
                let Some(names) = self.members.get_mut(network) else { return };
                if let Some(bindings) = names.get_mut(name.as_str()) {
                    bindings.remove(&binding);
                    if bindings.is_empty() {
                        names.remove(name.as_str());
                    }
                }
                if names.is_empty() {
                    self.members.remove(network);
                }
            }
            Service::Remote(_) => {
                if let Some(id) = bound.registration {
                    self.leave_registration(id, binding);
                }
            }
            Service::Unauthorized | Service::NotAvailable { .. } => {}
        }
    }

    /// The words of `account.state` for an account as it is now.
    pub(super) fn account_state(&self, account: &Account) -> (&'static str, &'static str) {
        let Some(bound) = account.binding.and_then(|b| self.bindings.get(&b)) else {
            return ("disconnected", "");
        };
        match bound.registration.and_then(|id| self.registrations.get(&id)) {
            Some(registration) => registration.state.words(),
            None => ("connected", ""),
        }
    }

    /// True when calls may leave over the account.
    pub(super) fn is_connected(&self, account: &Account) -> bool {
        self.account_state(account).0 == "connected"
    }

    pub(super) fn tell_account(&mut self, key: ClientKey, known: &Known) {
        let Some(client) = self.clients.get(&key) else { return };
        let Some(account) = client.account_named(&known.name) else { return };
        let state = self.account_state(account);
        self.send_account_state(key, &known.target, &known.name, state);
    }

    fn send_account_state(
        &mut self,
        key: ClientKey,
        from: &str,
        name: &str,
        (state, reason): (&str, &str),
    ) {
        let body = json!({ "id": name, "state": state, "reason": reason });
        self.send(key, "account.state", from, &body);
    }

    /// Gives a client the accounts of a new grant. What did not change stays connected.
    pub(super) fn renew_accounts(&mut self, key: ClientKey, accounts: &[Arc<Known>]) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let old = std::mem::take(&mut client.accounts);
        let (mut new, mut gone): (Vec<Account>, Vec<BindingId>) = (vec![], vec![]);
        let mut old: Vec<Account> = old.into_vec();
        for known in accounts {
            match old.iter().position(|a| a.known == *known) {
                Some(at) => new.push(old.swap_remove(at)),
                None => new.push(Account::new(known.clone())),
            }
        }
        gone.extend(old.iter().filter_map(|a| a.binding));
        client.accounts = new.into_boxed_slice();
        for binding in gone {
            self.unbind(binding);
        }
    }

    // What a user does on other devices.

    pub(super) fn set_user_calls(&mut self, user: &str, calls: &[UserCall]) {
        if calls.is_empty() {
            self.user_calls.remove(user);
        } else {
            self.user_calls.insert(user.into(), calls.into());
        }
        let Some(bindings) = self.users.get(user) else { return };
        let accounts: Vec<(ClientKey, Arc<Known>)> = bindings
            .iter()
            .filter_map(|b| self.bindings.get(b))
            .map(|bound| (bound.client, bound.known.clone()))
            .collect();
        for (key, known) in accounts {
            self.tell_user_calls(key, &known.name);
        }
    }

    /// Tells an account the calls that its user has elsewhere, if that is news.
    fn tell_user_calls(&mut self, key: ClientKey, name: &str) {
        let Some(known) = self.account(key, name).map(|a| a.known.clone()) else { return };
        let Service::Local { user } = &known.grant.service else { return };
        let calls: Vec<Value> = self
            .user_calls
            .get(&**user)
            .into_iter()
            .flatten()
            .filter(|c| !self.is_leg_of(c.leg, key))
            .take(MAX_LISTED)
            .map(|c| self.user_call(&known, c))
            .collect();
        let fingerprint = if calls.is_empty() { 0 } else { fingerprint(&calls) };
        let Some(account) = self.account(key, name) else { return };
        if account.binding.is_none() || account.told_calls == fingerprint {
            return;
        }
        account.told_calls = fingerprint;
        let body = json!({ "id": name, "calls": calls });
        self.send(key, "account.calls", &known.target, &body);
    }

    fn user_call(&self, known: &Known, call: &UserCall) -> Value {
        let state = match (call.is_active, call.is_outgoing) {
            (true, _) => "active",
            (false, true) => "starting",
            (false, false) => "ringing",
        };
        let device = match call.device {
            DeviceKind::Browser => "browser",
            DeviceKind::Phone => "phone",
            DeviceKind::App => "app",
        };
        json!({
            "gcid": call.gcid.as_str(),
            "peer": address::peer(known, &call.peer, &self.config.domain),
            "direction": if call.is_outgoing { "outgoing" } else { "incoming" },
            "state": state,
            "device": device,
            "since": call.since_unix,
        })
    }

    /// Tells a client all of it again: it has missed messages.
    pub(super) fn repeat_user_calls(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let mut names = vec![];
        for account in &mut client.accounts {
            account.told_calls = 0;
            names.push(account.known.name.clone());
        }
        for name in names {
            self.tell_user_calls(key, &name);
        }
    }
}

impl RemoteState {
    /// The state and reason of `account.state`.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Connecting => ("connecting", ""),
            Self::Connected => ("connected", ""),
            Self::Retrying(failure) => ("connecting", failure.word()),
            Self::Failed(failure) => ("failed", failure.word()),
            Self::Disconnected => ("disconnected", ""),
        }
    }
}

/// Never zero.
fn fingerprint(calls: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for call in calls {
        call.to_string().hash(&mut hasher);
    }
    hasher.finish() | 1
}

/// Calls in one `account.calls`.
const MAX_LISTED: usize = 64;
/// Characters of an unknown account's name that an answer repeats.
const MAX_ECHO: usize = 128;

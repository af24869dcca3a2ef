//! Signing in elsewhere as a SIP client (RFC 3261 §10.2), so that calls go out and come in there.
//!
//! A registration is one account at somebody else's registrar. It answers challenges, refreshes
//! in time, and after a failure that may pass tries again more and more rarely (RFC 5626 §4.5).
//! A failure that only a person can mend ends it until it is asked for again.
//!
//! Not here: which name is behind the flow, and what a call over it may do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, RegistrationId, Secret, TimerTable};
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::endpoint::ClientKey;
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::challenge::Account;
use super::commands::Way;
use super::forward::{forward_of, registration_of_forward};
use super::trunk::trunk_of;
use super::{ALLOW, ClientUse, Output, SipUa};

/// An account at a registrar elsewhere.
#[derive(Debug, Clone)]
pub struct RegistrationConfig {
    pub user: String,
    /// Host of the account's address, with a port where the registrar wants it.
    pub domain: String,
    /// How the registrar, or the proxy before it, is reached. Without a connection: the transport
    /// opens one where the last is gone.
    pub flow: Flow,
    /// The name in the digest, where it is another one.
    pub auth_user: Option<String>,
    pub password: Secret<String>,
    /// Asked for; the registrar decides.
    pub expires: Duration,
}

/// How it stands. Told at every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationState {
    Connecting,
    Connected,
    /// It will be tried again.
    Retrying(RegistrationFailure),
    /// It will not, before it is asked for again.
    Failed(RegistrationFailure),
    /// By our wish; last word of a registration.
    Ended,
}

/// Why we are not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationFailure {
    /// The password is wrong.
    Unauthorized,
    /// Nobody of this name lives there.
    NotFound,
    /// No answer came.
    Timeout,
    /// It could not be sent, or the far side is in trouble of its own (5xx).
    Network,
    /// The registrar does not want it so, or we have a limit.
    Refused,
}

/// Every sign-in of ours elsewhere.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    by_id: BTreeMap<RegistrationId, Registration>,
    /// By the name in our Contact.
    by_contact: BTreeMap<String, RegistrationId>,
    /// By the connection that the registrar answered over.
    by_connection: BTreeMap<ConnectionId, BTreeSet<RegistrationId>>,
    /// When the next REGISTER is due.
    timers: TimerTable<RegistrationId>,
}

#[derive(Debug)]
struct Registration {
    user: String,
    domain: String,
    flow: Flow,
    credentials: Credentials,
    registrar: Uri,
    address: Uri,
    contact_name: String,
    call_id: String,
    tag: String,
    cseq: u32,
    /// Asked for, in seconds.
    expires: u32,
    phase: Phase,
    told: RegistrationState,
    failures: u32,
    /// Challenges of the registrar and of a proxy before it, for the next request to show.
    answered: [Option<Answered>; 2],
    connection: Option<ConnectionId>,
    /// Until when the registrar knows us.
    bound_until: Option<Instant>,
    /// RFC 3608.
    service_route: Vec<Bytes>,
    /// Of the registrar and of a proxy before it, once they took our answers: nobody else is
    /// given any.
    realms: Vec<String>,
}

#[derive(Debug)]
enum Phase {
    /// A REGISTER is out.
    Asking(Asking),
    /// The timer knows when the next goes out.
    Waiting,
    Failed,
}

#[derive(Debug)]
struct Asking {
    key: ClientKey,
    /// It signs out.
    is_leaving: bool,
    next: Next,
    challenges: u32,
    raises: u32,
}

/// What was wished for while a REGISTER was out: only one may be (RFC 3261 §10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    AsAnswered,
    Again,
    Leave,
}

#[derive(Debug)]
struct Answered {
    challenge: Challenge,
    /// How often its nonce was used.
    count: u32,
    /// It came in the exchange that is running: the same again means a wrong password.
    is_fresh: bool,
}

/// What an answer that is no success means.
#[derive(Debug, Clone, Copy)]
enum Setback {
    Retry(RegistrationFailure, Duration),
    Fail(RegistrationFailure),
}

impl Registrations {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(super) fn credentials(&self, id: RegistrationId) -> Option<&Credentials> {
        self.by_id.get(&id).map(|r| &r.credentials)
    }

    pub(super) fn contact_name(&self, id: RegistrationId) -> Option<&str> {
        self.by_id.get(&id).map(|r| r.contact_name.as_str())
    }

    pub(super) fn user(&self, id: RegistrationId) -> Option<String> {
        self.by_id.get(&id).map(|r| r.user.clone())
    }

    pub(super) fn flow(&self, id: RegistrationId) -> Option<Flow> {
        self.by_id.get(&id).map(|r| r.flow)
    }

    /// The registration that an INVITE is for: it names our Contact and comes from where we are
    /// signed in. Anybody else who learned the Contact is a stranger.
    pub(super) fn called(&self, flow: &Flow, request: &Request) -> Option<RegistrationId> {
        if request.method != Method::INVITE || self.by_id.is_empty() {
            return None;
        }
        let id = *self.by_contact.get(&request.uri.user_decoded()?)?;
        self.by_id.get(&id)?.is_from_registrar(flow).then_some(id)
    }

    /// How a call to `number` gets out.
    pub(super) fn way(&self, id: RegistrationId, number: &str) -> Option<Way> {
        let registration = self.by_id.get(&id)?;
        Some(Way {
            flow: registration.flow,
            uri: address(number, &registration.domain)?,
            domain: registration.domain.clone(),
            routes: registration.service_route.clone(),
            account: Some(Account::Registration(id)),
            user: Some(registration.user.clone()),
            spare: vec![],
        })
    }

    pub(super) fn service_route(&self, id: RegistrationId) -> Option<&Vec<Bytes>> {
        self.by_id.get(&id).map(|r| &r.service_route)
    }

    /// The realms whose challenges were answered and led on.
    pub(super) fn realms(&self, id: RegistrationId) -> Option<&[String]> {
        self.by_id.get(&id).map(|r| r.realms.as_slice())
    }

    /// Forgets one that has failed for good.
    pub(super) fn forget(&mut self, id: RegistrationId) {
        self.remove(id);
    }

    fn remove(&mut self, id: RegistrationId) {
        self.timers.cancel(&id);
        self.connect(id, None);
        if let Some(registration) = self.by_id.remove(&id) {
            self.by_contact.remove(&registration.contact_name);
        }
    }

    /// Notes the connection that the registrar is heard over.
    fn connect(&mut self, id: RegistrationId, connection: Option<ConnectionId>) {
        let Some(registration) = self.by_id.get_mut(&id) else { return };
        let old = std::mem::replace(&mut registration.connection, connection);
        if old == connection {
            return;
        }
        if let Some(old) = old
            && let Some(ids) = self.by_connection.get_mut(&old)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_connection.remove(&old);
            }
        }
        if let Some(connection) = connection {
            self.by_connection.entry(connection).or_default().insert(id);
        }
    }
}

impl Registration {
    fn is_from_registrar(&self, flow: &Flow) -> bool {
        if self.connection.is_some() && flow.connection == self.connection {
            return true;
        }
        let (there, here) = (self.flow.remote, flow.remote);
        // Loopback carries many peers side by side, so there the port tells them.
        flow.transport == self.flow.transport
            && there.ip() == here.ip()
            && (there.port() == here.port() || !there.ip().is_loopback())
    }

    fn is_asking(&self, key: ClientKey) -> bool {
        matches!(&self.phase, Phase::Asking(asking) if asking.key == key)
    }
}

impl SipUa {
    /// Signs in at a registrar elsewhere, or again with what is new about it.
    pub fn register(&mut self, now: Instant, id: RegistrationId, config: RegistrationConfig) {
        self.registration_wanted(now, id, config);
        self.settle(now);
    }

    /// Signs out there. `Ended` follows once the registrar has heard of it, or cannot be told.
    pub fn unregister(&mut self, now: Instant, id: RegistrationId) {
        self.registration_unwanted(now, id);
        self.settle(now);
    }

    pub(super) fn registration_wanted(
        &mut self,
        now: Instant,
        id: RegistrationId,
        config: RegistrationConfig,
    ) {
        let is_new = !self.registrations.by_id.contains_key(&id);
        // Those of trunks are as many as the configuration has, announcements as forwards.
        let marked = self.registrations.by_id.range(registration_of_forward(0)..).count();
        let of_apps = self.registrations.by_id.len() - marked;
        let is_marked = trunk_of(id).is_some() || forward_of(id).is_some();
        let is_full = !is_marked && of_apps >= self.config.max_registrations;
        let registrar = address_of_domain(&config.domain);
        let own = address(&config.user, &config.domain);
        let (Some(registrar), Some(own), false) = (registrar, own, is_new && is_full) else {
            let failed = RegistrationState::Failed(RegistrationFailure::Refused);
            self.outputs.push_back(Output::Registration(id, failed));
            return;
        };
        let expires = u32::try_from(config.expires.as_secs()).unwrap_or(MAX_EXPIRES);
        let credentials = Credentials {
            user: config.auth_user.unwrap_or_else(|| config.user.clone()),
            password: config.password,
            realm: None,
        };
        let (contact_name, realms) = match trunk_of(id) {
            Some(index) => {
                let known = self.trunks.get(index).map(|trunk| trunk.realms.clone());
                (format!("trunk{index}-{}", self.rng.hex(8)), known.unwrap_or_default())
            }
            None => {
                let number = forward_of(id).unwrap_or(id.0);
                (format!("reg{number}-{}", self.rng.hex(8)), vec![])
            }
        };
        let fresh = Registration {
            user: config.user,
            domain: config.domain,
            flow: Flow { connection: None, ..config.flow },
            credentials,
            registrar,
            address: own,
            contact_name,
            call_id: self.rng.hex(16),
            tag: self.rng.hex(8),
            cseq: 0,
            expires: expires.clamp(1, MAX_EXPIRES),
            phase: Phase::Waiting,
            told: RegistrationState::Ended,
            failures: 0,
            answered: [None, None],
            connection: None,
            bound_until: None,
            service_route: vec![],
            realms,
        };
        match self.registrations.by_id.get_mut(&id) {
            Some(known) => known.renew(fresh),
            None => {
                self.registrations.by_contact.insert(fresh.contact_name.clone(), id);
                self.registrations.by_id.insert(id, fresh);
            }
        }
        self.tell_registration(id, RegistrationState::Connecting);
        let Some(registration) = self.registrations.by_id.get_mut(&id) else { return };
        match &mut registration.phase {
            Phase::Asking(asking) => asking.next = Next::Again,
            Phase::Waiting | Phase::Failed => self.ask(now, id, false),
        }
    }

    pub(super) fn registration_unwanted(&mut self, now: Instant, id: RegistrationId) {
        let Some(registration) = self.registrations.by_id.get_mut(&id) else {
            self.outputs.push_back(Output::Registration(id, RegistrationState::Ended));
            return;
        };
        match &mut registration.phase {
            Phase::Asking(asking) if asking.is_leaving => asking.next = Next::AsAnswered,
            Phase::Asking(asking) => asking.next = Next::Leave,
            Phase::Waiting | Phase::Failed => self.leave(now, id),
        }
    }

    /// What goes on under one id goes on under another. Says whether there is anything.
    pub(super) fn rename_registration(&mut self, old: RegistrationId, new: RegistrationId) -> bool {
        let connection = self.registrations.by_id.get(&old).and_then(|r| r.connection);
        self.registrations.connect(old, None);
        let Some(registration) = self.registrations.by_id.remove(&old) else { return false };
        if let Phase::Asking(asking) = &registration.phase {
            self.clients.insert(asking.key, ClientUse::Register(new));
        }
        self.registrations.timers.cancel(&old);
        self.registrations.by_contact.insert(registration.contact_name.clone(), new);
        self.registrations.by_id.insert(new, registration);
        self.registrations.connect(new, connection);
        true
    }

    /// Signs out where the registrar still knows us; else there is nothing to say.
    fn leave(&mut self, now: Instant, id: RegistrationId) {
        let bound = self.registrations.by_id.get(&id).and_then(|r| r.bound_until);
        if bound.is_some_and(|until| until > now) {
            self.ask(now, id, true);
        } else {
            self.tell_registration(id, RegistrationState::Ended);
            self.registrations.remove(id);
        }
    }

    pub(super) fn registrations_due(&mut self, now: Instant) {
        while let Some(id) = self.registrations.timers.pop_due(now) {
            self.ask(now, id, false);
        }
    }

    /// The connection to the registrar is gone, and with it the way our calls come in.
    pub(super) fn registration_flow_closed(&mut self, now: Instant, connection: ConnectionId) {
        let lost = self.registrations.by_connection.remove(&connection).unwrap_or_default();
        for id in lost {
            let Some(registration) = self.registrations.by_id.get_mut(&id) else { continue };
            registration.connection = None;
            match &registration.phase {
                Phase::Asking(asking) => {
                    // Its answer had to come over this one.
                    self.clients.insert(asking.key, ClientUse::Forgotten);
                    self.register_failed(now, id, retry(RegistrationFailure::Network));
                }
                // Interop: registrars close what was idle for long, so there is no hurry to think
                // that they are gone; but not all of their clients come back at once.
                Phase::Waiting if registration.told == RegistrationState::Connected => {
                    let failure = RegistrationFailure::Network;
                    self.tell_registration(id, RegistrationState::Retrying(failure));
                    let after = Duration::from_millis(u64::from(self.rng.below(RECONNECT_MS)));
                    self.registrations.timers.set(id, now + after);
                }
                Phase::Waiting | Phase::Failed => {}
            }
        }
    }

    fn tell_registration(&mut self, id: RegistrationId, state: RegistrationState) {
        if let Some(registration) = self.registrations.by_id.get_mut(&id)
            && std::mem::replace(&mut registration.told, state) != state
        {
            match trunk_of(id) {
                Some(trunk) => self.trunk_registration_changed(trunk, state),
                None => match forward_of(id) {
                    Some(forward) => self.forwards.announced(forward, state),
                    None => self.outputs.push_back(Output::Registration(id, state)),
                },
            }
        }
    }

    // Asking.

    /// Sends a REGISTER, the first of an exchange.
    fn ask(&mut self, now: Instant, id: RegistrationId, is_leaving: bool) {
        let Some(registration) = self.registrations.by_id.get_mut(&id) else { return };
        for answered in registration.answered.iter_mut().flatten() {
            answered.is_fresh = false;
        }
        let key = self.send_register(now, id, is_leaving);
        if let Some((key, registration)) = key.zip(self.registrations.by_id.get_mut(&id)) {
            let next = Next::AsAnswered;
            let asking = Asking { key, is_leaving, next, challenges: 0, raises: 0 };
            registration.phase = Phase::Asking(asking);
        }
        self.registrations.timers.cancel(&id);
    }

    /// Sends the next REGISTER of a running exchange.
    fn ask_again(&mut self, now: Instant, id: RegistrationId) {
        let asking = |r: &Registration| match &r.phase {
            Phase::Asking(asking) => Some(asking.is_leaving),
            Phase::Waiting | Phase::Failed => None,
        };
        let Some(is_leaving) = self.registrations.by_id.get(&id).and_then(asking) else { return };
        let again = self.send_register(now, id, is_leaving);
        if let Some((again, registration)) = again.zip(self.registrations.by_id.get_mut(&id))
            && let Phase::Asking(asking) = &mut registration.phase
        {
            asking.key = again;
        }
    }

    fn send_register(
        &mut self,
        now: Instant,
        id: RegistrationId,
        is_leaving: bool,
    ) -> Option<ClientKey> {
        let flow = self.registrations.by_id.get(&id)?.flow;
        let contact = self.contact(Some(Account::Registration(id)), &flow);
        let registration = self.registrations.by_id.get_mut(&id)?;
        registration.cseq += 1;
        let own = NameAddr::new(registration.address.clone()).print();
        let mut request = Request::new(Method::REGISTER, registration.registrar.clone());
        let headers = &mut request.headers;
        headers.push(HeaderName::MAX_FORWARDS, "70");
        let from = [own.as_ref(), b";tag=", registration.tag.as_bytes()].concat();
        headers.push(HeaderName::FROM, from);
        headers.push(HeaderName::TO, own);
        headers.push(HeaderName::CALL_ID, registration.call_id.clone());
        headers.push(HeaderName::CSEQ, format!("{} REGISTER", registration.cseq));
        headers.push(HeaderName::CONTACT, contact);
        let expires = if is_leaving { 0 } else { registration.expires };
        headers.push(HeaderName::EXPIRES, expires.to_string());
        headers.push(HeaderName::ALLOW, ALLOW);
        headers.push(HeaderName::SUPPORTED, "path");
        headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        let Registration { answered, credentials, registrar, .. } = registration;
        for (slot, name) in answered.iter_mut().zip(SHOWN) {
            let Some(answered) = slot else { continue };
            answered.count += 1;
            let (challenge, count) = (&answered.challenge, answered.count);
            let method = &Method::REGISTER;
            if let Some(value) =
                answer(challenge, credentials, method, registrar, count, &mut self.rng)
            {
                request.headers.push(name, value);
            }
        }
        let key = self.endpoint.send_request(now, flow, &request);
        self.clients.insert(key, ClientUse::Register(id));
        Some(key)
    }

    // Answers.

    pub(super) fn register_answered(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: RegistrationId,
        flow: Flow,
        response: &Response,
    ) {
        self.clients.remove(&key);
        let Some(registration) = self.registrations.by_id.get_mut(&id) else { return };
        if !registration.is_asking(key) {
            return;
        }
        if response.status.is_success() {
            self.registrations.connect(id, flow.connection);
            self.register_accepted(now, id, response);
        } else if matches!(response.status.0, 401 | 407) {
            if registration.take_challenge(response) {
                self.ask_again(now, id);
            } else {
                let setback = Setback::Fail(RegistrationFailure::Unauthorized);
                self.register_failed(now, id, setback);
            }
        } else if response.status == StatusCode::INTERVAL_TOO_BRIEF
            && registration.raise_interval(response)
        {
            self.ask_again(now, id);
        } else {
            self.register_failed(now, id, setback(response));
        }
    }

    /// No answer came, or it could not be sent.
    pub(super) fn register_unanswered(
        &mut self,
        now: Instant,
        id: RegistrationId,
        status: StatusCode,
    ) {
        let failure = if status == StatusCode::REQUEST_TIMEOUT {
            RegistrationFailure::Timeout
        } else {
            RegistrationFailure::Network
        };
        self.register_failed(now, id, retry(failure));
    }

    fn register_accepted(&mut self, now: Instant, id: RegistrationId, response: &Response) {
        let Some(registration) = self.registrations.by_id.get_mut(&id) else { return };
        let Phase::Asking(Asking { is_leaving, next, .. }) = registration.phase else { return };
        registration.phase = Phase::Waiting;
        if is_leaving {
            registration.bound_until = None;
            match next {
                Next::Again => self.ask(now, id, false),
                Next::AsAnswered | Next::Leave => self.leave(now, id),
            }
            return;
        }
        let granted = registration.granted(response);
        registration.failures = 0;
        registration.bound_until = Some(now + granted);
        let routes = response.headers.values(&HeaderName::SERVICE_ROUTE);
        registration.service_route = routes.take(MAX_ROUTES).collect();
        registration.learn_realms();
        match next {
            Next::Leave => self.leave(now, id),
            Next::Again => self.ask(now, id, false),
            Next::AsAnswered => {
                self.tell_registration(id, RegistrationState::Connected);
                // Between 70 and 85 % of the time: not all that came together come back together.
                let after = granted * (70 + self.rng.below(16)) / 100;
                self.registrations.timers.set(id, now + after.max(LEAST_REFRESH));
            }
        }
    }

    /// Goes on at another server of the same registrar.
    fn move_registration(&mut self, id: RegistrationId, flow: Flow) {
        if let Some(registration) = self.registrations.by_id.get_mut(&id) {
            registration.flow = flow;
            registration.answered = [None, None];
        }
    }

    fn register_failed(&mut self, now: Instant, id: RegistrationId, setback: Setback) {
        let Some(registration) = self.registrations.by_id.get_mut(&id) else { return };
        let Phase::Asking(Asking { is_leaving, next, .. }) = registration.phase else { return };
        registration.phase = Phase::Waiting;
        match (next, setback) {
            (Next::Again, _) => self.ask(now, id, false),
            (Next::Leave, _) => self.leave(now, id),
            (Next::AsAnswered, _) if is_leaving => {
                // Who cannot be told forgets us in time.
                registration.bound_until = None;
                self.leave(now, id);
            }
            (Next::AsAnswered, Setback::Fail(failure)) => {
                registration.phase = Phase::Failed;
                registration.answered = [None, None];
                self.tell_registration(id, RegistrationState::Failed(failure));
                if let Some(trunk) = trunk_of(id) {
                    self.trunk_refused_us(now, trunk);
                }
            }
            (Next::AsAnswered, Setback::Retry(failure, at_least)) => {
                if let Some((flow, is_new)) = trunk_of(id).and_then(|t| self.next_registrar(t)) {
                    self.move_registration(id, flow);
                    if is_new {
                        return self.ask(now, id, false);
                    }
                }
                let Some(registration) = self.registrations.by_id.get_mut(&id) else { return };
                registration.failures = registration.failures.saturating_add(1);
                let longest = BASE_WAIT * (1 << registration.failures.min(16));
                let longest = longest.min(MAX_WAIT);
                let after = longest * (50 + self.rng.below(51)) / 100;
                self.registrations.timers.set(id, now + after.max(at_least));
                self.tell_registration(id, RegistrationState::Retrying(failure));
            }
        }
    }
}

impl Registration {
    /// Takes what is new about an account that is known already.
    fn renew(&mut self, fresh: Self) {
        let Self { user, domain, flow, credentials, registrar, address, expires, realms, .. } =
            fresh;
        (self.user, self.domain, self.flow) = (user, domain, flow);
        (self.credentials, self.registrar, self.address) = (credentials, registrar, address);
        (self.expires, self.failures, self.answered) = (expires, 0, [None, None]);
        self.realms = realms;
    }

    /// Takes a challenge up for the next request. False where there is no use in trying.
    fn take_challenge(&mut self, response: &Response) -> bool {
        let Phase::Asking(asking) = &mut self.phase else { return false };
        let (index, asked) = if response.status == StatusCode::UNAUTHORIZED {
            (0, HeaderName::WWW_AUTHENTICATE)
        } else {
            (1, HeaderName::PROXY_AUTHENTICATE)
        };
        let realms = &self.realms;
        let own = response.headers.all(&asked).filter(|value| {
            let realm = Challenge::parse(value).map(|challenge| challenge.realm);
            realms.is_empty() || realm.is_some_and(|realm| realms.contains(&realm))
        });
        let best = Challenge::best(own);
        let slot = &mut self.answered[index];
        let Some(challenge) = best.filter(|_| asking.challenges < MAX_CHALLENGES) else {
            return false;
        };
        // A nonce from before is no longer good, after a restart of the registrar for one.
        let was_refused = slot.as_ref().is_some_and(|a| a.is_fresh && !challenge.stale);
        if was_refused {
            return false;
        }
        asking.challenges += 1;
        *slot = Some(Answered { challenge, count: 0, is_fresh: true });
        true
    }

    /// The registrar took our answers: from now on these are its realms and no others.
    fn learn_realms(&mut self) {
        for answered in self.answered.iter().flatten() {
            let realm = &answered.challenge.realm;
            if self.realms.len() < self.answered.len() && !self.realms.contains(realm) {
                self.realms.push(realm.clone());
            }
        }
    }

    /// RFC 3261 §10.2.8: asks for as long as the registrar wants it. False without an end to it.
    fn raise_interval(&mut self, response: &Response) -> bool {
        let Phase::Asking(asking) = &mut self.phase else { return false };
        let least = response.headers.number(&HeaderName::MIN_EXPIRES);
        let least = least.filter(|s| (self.expires + 1..=MAX_EXPIRES).contains(s));
        let Some(least) = least.filter(|_| asking.raises < MAX_RAISES) else { return false };
        asking.raises += 1;
        self.expires = least;
        true
    }

    /// How long we are known, as the 200 says: of our Contact, of all, or as we asked.
    fn granted(&self, response: &Response) -> Duration {
        let own = response.headers.contacts().take(MAX_CONTACTS).find(|contact| {
            contact.uri.user_decoded().is_some_and(|user| user == self.contact_name)
        });
        let own =
            own.and_then(|c| std::str::from_utf8(&c.params.value("expires")?).ok()?.parse().ok());
        let seconds: u32 = own.or_else(|| response.headers.expires()).unwrap_or(self.expires);
        Duration::from_secs(u64::from(seconds.min(MAX_EXPIRES)))
    }
}

fn retry(failure: RegistrationFailure) -> Setback {
    Setback::Retry(failure, Duration::ZERO)
}

/// What a final response that is no success and no question means.
fn setback(response: &Response) -> Setback {
    match response.status.0 {
        404 | 410 | 604 => Setback::Fail(RegistrationFailure::NotFound),
        408 => retry(RegistrationFailure::Timeout),
        430 => retry(RegistrationFailure::Network),
        429 | 480 | 491 | 500..=599 => {
            let asked = response.headers.number(&HeaderName::RETRY_AFTER).unwrap_or(0);
            let at_least = Duration::from_secs(u64::from(asked)).min(MAX_RETRY_AFTER);
            Setback::Retry(RegistrationFailure::Network, at_least)
        }
        _ => Setback::Fail(RegistrationFailure::Refused),
    }
}

/// `sip:user@domain`; a domain may carry a port, and nothing else.
fn address(user: &str, domain: &str) -> Option<Uri> {
    let fits = !user.is_empty() && domain.bytes().all(is_of_host);
    fits.then(|| Uri::sip(Some(user), domain, None)).flatten()
}

fn address_of_domain(domain: &str) -> Option<Uri> {
    domain.bytes().all(is_of_host).then(|| Uri::sip(None, domain, None)).flatten()
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)
}

/// The header for a challenge of the registrar, and for one of a proxy.
const SHOWN: [HeaderName; 2] = [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION];
/// A registrar and a proxy may each challenge, and each give a new nonce in between.
const MAX_CHALLENGES: u32 = 4;
/// A registrar and a proxy may each insist on a longer interval.
const MAX_RAISES: u32 = 2;
const MAX_EXPIRES: u32 = 86_400;
const MAX_CONTACTS: usize = 64;
const MAX_ROUTES: usize = 8;
/// RFC 5626 §4.5: doubled with each failure in a row, from a half to the whole of it at random.
const BASE_WAIT: Duration = Duration::from_secs(30);
const MAX_WAIT: Duration = Duration::from_secs(1800);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// However short the time that a registrar grants, it is not asked more often.
const LEAST_REFRESH: Duration = Duration::from_secs(5);
const RECONNECT_MS: u32 = 10_000;

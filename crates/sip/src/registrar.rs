//! Registrar rules (RFC 3261 §10.3, RFC 3327, RFC 5626): who is reachable where.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{BindingId, ConnectionId, Flow, TimerTable};

use crate::header::NameAddr;
use crate::{HeaderName, Request, Response, StatusCode, Uri};

/// One way to reach a user.
#[derive(Debug, Clone)]
pub struct Binding {
    pub id: BindingId,
    pub user: Arc<str>,
    pub contact: Uri,
    /// The path the REGISTER came by. Kept when only it leads back: connections and NATed UDP.
    pub flow: Flow,
    /// Route through these before the contact (RFC 3327).
    pub path: Vec<NameAddr>,
    /// `+sip.instance` and `reg-id` (RFC 5626 §4.2).
    pub instance: Option<(Bytes, u32)>,
    pub expires: Instant,
    pub user_agent: Option<Bytes>,
    call_id: Bytes,
    cseq: u32,
}

/// A change of the table, for persistence and for the router.
#[derive(Debug, Clone)]
pub enum Change {
    Added(Binding),
    Refreshed(Binding),
    Removed(Binding),
}

/// Bounds of a registrar.
#[derive(Debug, Clone)]
pub struct RegistrarConfig {
    pub min_expires: u32,
    pub max_expires: u32,
    pub default_expires: u32,
    pub max_contacts: usize,
    pub max_bindings: usize,
    /// Seconds between keep-alives that an outbound client is told (RFC 5626 §4.4).
    pub flow_timer: u32,
}

impl Default for RegistrarConfig {
    fn default() -> Self {
        Self {
            min_expires: 30,
            max_expires: 7200,
            default_expires: 3600,
            max_contacts: 10,
            max_bindings: 200_000,
            flow_timer: 110,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Registrar {
    config: RegistrarConfig,
    bindings: BTreeMap<BindingId, Binding>,
    by_user: BTreeMap<Arc<str>, Vec<BindingId>>,
    by_connection: BTreeMap<ConnectionId, Vec<BindingId>>,
    expiry: TimerTable<BindingId>,
    next: u64,
    changes: VecDeque<Change>,
}

impl Registrar {
    #[must_use]
    pub fn new(config: RegistrarConfig) -> Self {
        Self {
            config,
            bindings: BTreeMap::new(),
            by_user: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            expiry: TimerTable::new(),
            next: 0,
            changes: VecDeque::new(),
        }
    }

    /// One whose bindings are numbered from here, beside another.
    #[must_use]
    pub fn numbered_from(config: RegistrarConfig, first: u64) -> Self {
        Self { next: first, ..Self::new(config) }
    }

    /// Other bounds from now on. What is bound stays for as long as it was granted.
    pub fn set_config(&mut self, config: RegistrarConfig) {
        self.config = config;
    }

    #[must_use]
    pub fn binding(&self, id: BindingId) -> Option<&Binding> {
        self.bindings.get(&id)
    }

    /// Where a user is reachable, oldest binding first.
    pub fn bindings_of(&self, user: &str) -> impl Iterator<Item = &Binding> {
        self.by_user.get(user).into_iter().flatten().filter_map(|id| self.bindings.get(id))
    }

    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.expiry.next()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.expiry.pop_due(now) {
            self.remove(id);
        }
    }

    /// A connection is gone: what was reachable only over it is not reachable.
    pub fn handle_connection_closed(&mut self, connection: ConnectionId) {
        for id in self.by_connection.remove(&connection).unwrap_or_default() {
            self.remove(id);
        }
    }

    /// Drops every binding of a user that no longer exists.
    pub fn forget_user(&mut self, user: &str) {
        for id in self.by_user.get(user).cloned().unwrap_or_default() {
            self.remove(id);
        }
    }

    /// Drops one binding.
    pub fn forget_binding(&mut self, id: BindingId) {
        self.remove(id);
    }

    /// Puts back a binding that was kept over a restart.
    pub fn restore(&mut self, user: Arc<str>, contact: Uri, flow: Flow, expires: Instant) {
        let binding = Binding {
            id: self.fresh(),
            user,
            contact,
            flow,
            path: vec![],
            instance: None,
            expires,
            user_agent: None,
            call_id: Bytes::new(),
            cseq: 0,
        };
        self.insert(binding);
    }

    /// Carries out a REGISTER of an authenticated user and answers it.
    pub fn handle_register(
        &mut self,
        now: Instant,
        user: &Arc<str>,
        request: &Request,
        flow: Flow,
    ) -> Response {
        let status = self.register(now, user, request, flow);
        let mut response = Response::for_request(request, status);
        if status == StatusCode::INTERVAL_TOO_BRIEF {
            response.headers.push(HeaderName::MIN_EXPIRES, self.config.min_expires.to_string());
        }
        if status != StatusCode::OK {
            return response;
        }
        for binding in self.bindings_of(user) {
            let left = binding.expires.saturating_duration_since(now).as_secs();
            response.headers.push(HeaderName::CONTACT, binding.print(left));
        }
        for path in request.headers.all(&HeaderName::PATH) {
            response.headers.push(HeaderName::PATH, path.clone());
        }
        if wants_outbound(request) {
            response.headers.push(HeaderName::REQUIRE, "outbound");
            response.headers.push(HeaderName::FLOW_TIMER, self.config.flow_timer.to_string());
        }
        response
    }

    fn register(
        &mut self,
        now: Instant,
        user: &Arc<str>,
        request: &Request,
        flow: Flow,
    ) -> StatusCode {
        let (Some(call_id), Some(cseq)) = (request.headers.call_id(), request.headers.cseq())
        else {
            return StatusCode::BAD_REQUEST;
        };
        if request.headers.values(&HeaderName::CONTACT).any(|v| v.as_ref() == b"*") {
            return self.unregister_all(user, request, call_id, cseq.number);
        }
        // One that cannot be read spoils the request (RFC 4475 §3.1.2.13): to leave it out would
        // tell the phone that it is reachable when it is not.
        let contacts: Option<Vec<NameAddr>> = request
            .headers
            .values(&HeaderName::CONTACT)
            .take(self.config.max_contacts + 1)
            .map(|v| NameAddr::parse(&v))
            .collect();
        let Some(contacts) = contacts else { return StatusCode::BAD_REQUEST };
        if contacts.len() > self.config.max_contacts {
            return StatusCode::FORBIDDEN;
        }
        let asked: Vec<u32> = contacts.iter().map(|c| self.asked_expires(c, request)).collect();
        if asked.iter().any(|e| *e != 0 && *e < self.config.min_expires) {
            return StatusCode::INTERVAL_TOO_BRIEF;
        }
        if lacks_outbound_hop(request) {
            return StatusCode::FIRST_HOP_LACKS_OUTBOUND_SUPPORT;
        }
        let path: Vec<NameAddr> = request
            .headers
            .values(&HeaderName::PATH)
            .filter_map(|v| NameAddr::parse(&v))
            .take(MAX_PATH)
            .collect();
        let user_agent = request.headers.first(&HeaderName::USER_AGENT).cloned();
        let bindings = contacts.into_iter().zip(asked).map(|(contact, seconds)| {
            let seconds = seconds.min(self.config.max_expires);
            let binding = Binding {
                id: BindingId(0),
                user: user.clone(),
                instance: instance_of(&contact),
                contact: contact.uri,
                flow,
                path: path.clone(),
                expires: now + Duration::from_secs(u64::from(seconds)),
                user_agent: user_agent.clone(),
                call_id: call_id.clone(),
                cseq: cseq.number,
            };
            (binding, seconds == 0)
        });
        let bindings: Vec<(Binding, bool)> = bindings.collect();
        // RFC 3261 §10.3 step 7: all of them, or none.
        let mut new = 0;
        for (binding, gone) in &bindings {
            match self.existing(binding) {
                Some(b) if b.is_newer_than(call_id, cseq.number) => {
                    return StatusCode::SERVER_INTERNAL_ERROR;
                }
                Some(_) => {}
                None => new += usize::from(!gone),
            }
        }
        if self.bindings.len() + new > self.config.max_bindings {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        for (binding, gone) in bindings {
            self.bind(binding, gone);
        }
        StatusCode::OK
    }

    /// `Contact: *` (RFC 3261 §10.2.2): alone, and with nothing left of its time.
    fn unregister_all(
        &mut self,
        user: &Arc<str>,
        request: &Request,
        call_id: &Bytes,
        cseq: u32,
    ) -> StatusCode {
        let is_alone = request.headers.values(&HeaderName::CONTACT).count() == 1;
        if !is_alone || request.headers.expires() != Some(0) {
            return StatusCode::BAD_REQUEST;
        }
        if self.bindings_of(user).any(|b| b.is_newer_than(call_id, cseq)) {
            return StatusCode::SERVER_INTERNAL_ERROR;
        }
        self.forget_user(user);
        StatusCode::OK
    }

    fn existing(&self, binding: &Binding) -> Option<&Binding> {
        self.bindings_of(&binding.user).find(|b| is_same(b, binding))
    }

    fn bind(&mut self, binding: Binding, remove: bool) {
        let user = binding.user.clone();
        match self.existing(&binding).map(|b| b.id) {
            Some(id) if remove => self.remove(id),
            Some(id) => self.replace(id, binding),
            None if remove => {}
            None => {
                if self.bindings_of(&user).count() >= self.config.max_contacts {
                    // The device that has been away longest gives way to the new one.
                    let oldest = self.bindings_of(&user).min_by_key(|b| b.expires).map(|b| b.id);
                    if let Some(oldest) = oldest {
                        self.remove(oldest);
                    }
                }
                let id = self.fresh();
                self.insert(Binding { id, ..binding });
            }
        }
    }

    fn asked_expires(&self, contact: &NameAddr, request: &Request) -> u32 {
        contact
            .params
            .value("expires")
            .and_then(|v| std::str::from_utf8(&v).ok()?.parse().ok())
            .or_else(|| request.headers.expires())
            .unwrap_or(self.config.default_expires)
    }

    fn insert(&mut self, binding: Binding) {
        self.index(&binding);
        self.by_user.entry(binding.user.clone()).or_default().push(binding.id);
        self.changes.push_back(Change::Added(binding.clone()));
        self.bindings.insert(binding.id, binding);
    }

    fn replace(&mut self, id: BindingId, binding: Binding) {
        let binding = Binding { id, ..binding };
        self.unindex_connection(id);
        self.index(&binding);
        self.changes.push_back(Change::Refreshed(binding.clone()));
        self.bindings.insert(id, binding);
    }

    fn index(&mut self, binding: &Binding) {
        self.expiry.set(binding.id, binding.expires);
        if let Some(connection) = binding.flow.connection {
            self.by_connection.entry(connection).or_default().push(binding.id);
        }
    }

    fn unindex_connection(&mut self, id: BindingId) {
        let Some(connection) = self.bindings.get(&id).and_then(|b| b.flow.connection) else {
            return;
        };
        if let Some(ids) = self.by_connection.get_mut(&connection) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }

    fn remove(&mut self, id: BindingId) {
        self.unindex_connection(id);
        self.expiry.cancel(&id);
        let Some(binding) = self.bindings.remove(&id) else { return };
        if let Some(ids) = self.by_user.get_mut(&binding.user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_user.remove(&binding.user);
            }
        }
        self.changes.push_back(Change::Removed(binding));
    }

    fn fresh(&mut self) -> BindingId {
        self.next += 1;
        BindingId(self.next)
    }
}

impl Binding {
    /// The `Contact` of a 200: without an instance a phone could not tell its own from others.
    fn print(&self, seconds: u64) -> Bytes {
        let mut out = b"<".to_vec();
        out.extend_from_slice(self.contact.as_bytes());
        out.push(b'>');
        if let Some((instance, reg_id)) = &self.instance {
            out.extend_from_slice(b";+sip.instance=\"");
            out.extend(instance.iter().filter(|b| !matches!(b, b'"' | b'\\')));
            out.extend_from_slice(format!("\";reg-id={reg_id}").as_bytes());
        }
        out.extend_from_slice(format!(";expires={seconds}").as_bytes());
        Bytes::from(out)
    }

    /// RFC 3261 §10.3 step 7: an older request of the same registration comes late.
    fn is_newer_than(&self, call_id: &Bytes, cseq: u32) -> bool {
        self.call_id == *call_id && cseq <= self.cseq
    }

    /// Where a request to this binding is sent: over its flow when the contact's own address
    /// leads nowhere (a connection, an invented host, or a NAT in between).
    #[must_use]
    pub fn is_reached_by_flow(&self) -> bool {
        self.flow.connection.is_some()
            || self.contact.is_invalid_host()
            || self.contact.host_ip() != Some(self.flow.remote.ip())
    }
}

/// RFC 5626 §4.2.1.
fn wants_outbound(request: &Request) -> bool {
    request.headers.has_option(&HeaderName::SUPPORTED, "outbound")
        && request.headers.contacts().any(|c| instance_of(&c).is_some())
}

/// RFC 5626 §6: what came by a proxy needs one next to the phone that keeps the flow.
fn lacks_outbound_hop(request: &Request) -> bool {
    let headers = &request.headers;
    let is_direct = headers.values(&HeaderName::VIA).take(2).count() == 1;
    let keeps_flow = || {
        let first = headers.values(&HeaderName::PATH).last();
        first.and_then(|p| NameAddr::parse(&p)).is_some_and(|p| p.uri.param("ob").is_some())
    };
    !is_direct && wants_outbound(request) && !keeps_flow()
}

/// RFC 5626 §6: the same instance and reg-id replace each other; else equal contacts do.
fn is_same(a: &Binding, b: &Binding) -> bool {
    match (&a.instance, &b.instance) {
        (Some(a), Some(b)) => a == b,
        _ => a.contact.is_equivalent(&b.contact),
    }
}

fn instance_of(contact: &NameAddr) -> Option<(Bytes, u32)> {
    let instance = contact.params.value("+sip.instance")?;
    let reg_id = contact.params.value("reg-id")?;
    Some((instance, std::str::from_utf8(&reg_id).ok()?.parse().ok()?))
}

/// Proxies between a phone and us.
const MAX_PATH: usize = 8;

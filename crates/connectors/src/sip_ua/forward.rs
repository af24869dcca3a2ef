//! Registrations that a PBX behind us takes: browsers sign in there through us.
//!
//! The PBX asks for the password and keeps the record; we put ourselves in between as Contact and
//! Path (RFC 3327), so that its calls come to us and find the browser. The same user may be
//! announced to a second server, by one of our sign-ins elsewhere. All of it ends together: when
//! the browser signs out, does not come back in time, or is refused.
//!
//! Not here: whether the PBX lets us call. Calls of such a browser leave over the PBX's trunk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{BindingId, Flow, RegistrationId, Secret, TimerTable};
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::registrar::{Binding, Change, Registrar, RegistrarConfig};
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::registration::RegistrationConfig;
use super::trunk::HopFailure;
use super::{ClientUse, RegistrationState, SipUa};

/// Every registration that is forwarded.
#[derive(Debug)]
pub(super) struct Forwards {
    by_id: BTreeMap<u64, Forward>,
    by_device: BTreeMap<(Arc<str>, Bytes), u64>,
    by_token: BTreeMap<String, u64>,
    by_binding: BTreeMap<BindingId, u64>,
    /// Where the browsers are.
    pub(super) bindings: Registrar,
    /// Until when a browser may come back whose connection broke.
    timers: TimerTable<u64>,
    next: u64,
}

#[derive(Debug)]
struct Forward {
    /// `user@domain`, as the PBX knows it.
    aor: Arc<str>,
    user: String,
    device: Bytes,
    /// The PBX.
    trunk: usize,
    /// The user of our Contact and Path.
    token: String,
    call_id: String,
    tag: String,
    cseq: u32,
    /// Of the request line, as the browser wrote it: its proof is over it.
    uri: Uri,
    /// What it has shown of itself last.
    shown: Vec<(HeaderName, Bytes)>,
    contact: String,
    path: String,
    is_asking: bool,
    binding: Option<BindingId>,
    /// Until when the PBX knows it.
    until: Option<Instant>,
    announced: Option<RegistrationState>,
}

/// A REGISTER that was passed on.
#[derive(Debug)]
pub(super) struct Forwarding {
    id: u64,
    key: ServerKey,
    flow: Flow,
    request: Request,
    /// Asked for, in seconds.
    expires: u32,
}

/// A forwarded registration, for operators.
#[derive(Debug, Clone)]
pub struct ForwardReport {
    pub user: Arc<str>,
    pub trunk: Arc<str>,
    /// As the PBX has it.
    pub contact: String,
    pub path: String,
    pub expires_in: Duration,
    /// At the second server.
    pub announced: Option<RegistrationState>,
}

impl Forwards {
    pub(super) fn new() -> Self {
        let config = RegistrarConfig { min_expires: 1, ..RegistrarConfig::default() };
        Self {
            by_id: BTreeMap::new(),
            by_device: BTreeMap::new(),
            by_token: BTreeMap::new(),
            by_binding: BTreeMap::new(),
            bindings: Registrar::numbered_from(config, FIRST_BINDING),
            timers: TimerTable::new(),
            next: 0,
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.bindings.next_timeout()].into_iter().flatten().min()
    }

    /// The registration whose Contact a request of the PBX names.
    pub(super) fn called(&self, trunk: usize, request: &Request) -> Option<u64> {
        let id = *self.by_token.get(&request.uri.user_decoded()?)?;
        (self.by_id.get(&id)?.trunk == trunk).then_some(id)
    }

    /// The registration of a browser that speaks for itself over the connection that it signed in
    /// by.
    pub(super) fn speaking(&self, flow: &Flow, request: &Request) -> Option<u64> {
        flow.connection?;
        let aor = aor_of(&request.headers.from()?.uri)?;
        let mut bindings = self.bindings.bindings_of(&aor);
        let binding = bindings.find(|b| b.flow.connection == flow.connection)?;
        self.by_binding.get(&binding.id).copied()
    }

    pub(super) fn user(&self, id: u64) -> Option<&str> {
        self.by_id.get(&id).map(|forward| forward.user.as_str())
    }

    pub(super) fn trunk(&self, id: u64) -> Option<usize> {
        self.by_id.get(&id).map(|forward| forward.trunk)
    }

    pub(super) fn token(&self, id: u64) -> Option<&str> {
        self.by_id.get(&id).map(|forward| forward.token.as_str())
    }

    pub(super) fn len(&self) -> usize {
        self.by_binding.len()
    }

    pub(super) fn announced(&mut self, id: u64, state: RegistrationState) {
        if let Some(forward) = self.by_id.get_mut(&id) {
            forward.announced = Some(state).filter(|s| *s != RegistrationState::Ended);
        }
    }

    fn forget(&mut self, id: u64) -> Option<Forward> {
        let forward = self.by_id.remove(&id)?;
        self.by_device.remove(&(forward.aor.clone(), forward.device.clone()));
        self.by_token.remove(&forward.token);
        if let Some(binding) = forward.binding {
            self.by_binding.remove(&binding);
        }
        self.timers.cancel(&id);
        Some(forward)
    }
}

impl SipUa {
    /// The PBX that a REGISTER is for, by the domain that it names.
    pub(super) fn forwards_to(&self, request: &Request) -> Option<usize> {
        let domain = request.uri.host_text().to_ascii_lowercase();
        let takes = |(_, trunk): &(usize, &super::trunk::Trunk)| {
            let forward = trunk.config.forward.as_ref().filter(|_| trunk.is_there());
            forward.is_some_and(|forward| forward.domains.contains(&domain))
        };
        let all = self.trunks.all.iter().enumerate().filter(takes);
        all.min_by_key(|(_, trunk)| trunk.rank).map(|(index, _)| index)
    }

    /// Passes a REGISTER on to its PBX.
    pub(super) fn forward_register(
        &mut self,
        now: Instant,
        key: ServerKey,
        (trunk, flow): (usize, Flow),
        request: &Request,
    ) {
        let Some((aor, user, device)) = self.who_registers(request) else {
            self.refuse(now, key, request, StatusCode::BAD_REQUEST);
            return;
        };
        let Some(hop) =
            self.trunks.get(trunk).and_then(|t| t.in_order(&mut self.rng).first().map(|h| h.flow))
        else {
            self.refuse(now, key, request, StatusCode::SERVICE_UNAVAILABLE);
            return;
        };
        let known = self.forwards.by_device.get(&(aor.clone(), device.clone())).copied();
        let id = match known {
            Some(id) => id,
            None if self.forwards.by_id.len() >= MAX_FORWARDS => {
                self.refuse(now, key, request, StatusCode::SERVICE_UNAVAILABLE);
                return;
            }
            None => self.new_forward((aor, user, device), trunk, request),
        };
        let contact_at = |name: &str, lr: &str| {
            let contact = self.contact_named(name, &hop);
            contact.replace('>', &format!("{lr}>"))
        };
        let Some(forward) = self.forwards.by_id.get(&id) else { return };
        if forward.is_asking {
            // One at a time (RFC 3261 §10.2).
            self.refuse(now, key, request, StatusCode::SERVICE_UNAVAILABLE);
            return;
        }
        let (contact, path) = (contact_at(&forward.token, ""), contact_at(&forward.token, ";lr"));
        let expires = asked_expires(request).min(MAX_EXPIRES);
        let Some(forward) = self.forwards.by_id.get_mut(&id) else { return };
        forward.uri = request.uri.clone();
        forward.shown = shown_in(request);
        (forward.contact, forward.path, forward.is_asking) = (contact, path, true);
        let client = self.send_forwarded(now, id, hop, expires);
        let Some(client) = client else { return };
        let request = request.clone();
        let forwarding = Forwarding { id, key, flow, request, expires };
        self.clients.insert(client, ClientUse::Forward(Box::new(forwarding)));
    }

    /// Address, user and device of a REGISTER with one contact of its own.
    fn who_registers(&self, request: &Request) -> Option<(Arc<str>, String, Bytes)> {
        let (to, from) = (&request.headers.to()?.uri, &request.headers.from()?.uri);
        let aor = aor_of(to)?;
        let mut contacts = request.headers.contacts();
        let contact = contacts.next()?;
        if aor_of(from)? != aor || contacts.next().is_some() {
            return None;
        }
        let instance = contact.params.value("+sip.instance");
        let device = instance.or_else(|| contact.uri.user())?;
        Some((aor.into(), to.user_decoded()?, device.slice(..device.len().min(MAX_DEVICE))))
    }

    fn new_forward(
        &mut self,
        (aor, user, device): (Arc<str>, String, Bytes),
        trunk: usize,
        request: &Request,
    ) -> u64 {
        self.forwards.next += 1;
        let id = self.forwards.next;
        let token = format!("fwd{id}-{}", self.rng.hex(8));
        self.forwards.by_device.insert((aor.clone(), device.clone()), id);
        self.forwards.by_token.insert(token.clone(), id);
        let forward = Forward {
            aor,
            user,
            device,
            trunk,
            token,
            call_id: self.rng.hex(16),
            tag: self.rng.hex(8),
            cseq: 0,
            uri: request.uri.clone(),
            shown: vec![],
            contact: String::new(),
            path: String::new(),
            is_asking: false,
            binding: None,
            until: None,
            announced: None,
        };
        self.forwards.by_id.insert(id, forward);
        id
    }

    fn send_forwarded(
        &mut self,
        now: Instant,
        id: u64,
        hop: Flow,
        expires: u32,
    ) -> Option<ClientKey> {
        let forward = self.forwards.by_id.get_mut(&id)?;
        forward.cseq += 1;
        let own = format!("<sip:{}>", forward.aor);
        let mut request = Request::new(Method::REGISTER, forward.uri.clone());
        let headers = &mut request.headers;
        headers.push(HeaderName::MAX_FORWARDS, "70");
        headers.push(HeaderName::FROM, format!("{own};tag={}", forward.tag));
        headers.push(HeaderName::TO, own);
        headers.push(HeaderName::CALL_ID, forward.call_id.clone());
        headers.push(HeaderName::CSEQ, format!("{} REGISTER", forward.cseq));
        headers.push(HeaderName::CONTACT, forward.contact.clone());
        headers.push(HeaderName::PATH, forward.path.clone());
        headers.push(HeaderName::SUPPORTED, "path");
        headers.push(HeaderName::EXPIRES, expires.to_string());
        for (name, value) in &forward.shown {
            headers.push(name.clone(), value.clone());
        }
        headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        Some(self.endpoint.send_request(now, hop, &request))
    }

    /// The PBX has answered.
    pub(super) fn forward_response(
        &mut self,
        now: Instant,
        client: ClientKey,
        response: &Response,
    ) {
        let Some(ClientUse::Forward(forwarding)) = self.clients.remove(&client) else { return };
        let Forwarding { id, key, flow, request, expires } = *forwarding;
        let Some(forward) = self.forwards.by_id.get_mut(&id) else { return };
        forward.is_asking = false;
        if response.status.is_success() {
            let granted = granted(response, &forward.token).unwrap_or(expires).min(expires);
            self.forward_accepted(now, (id, key, flow), &request, granted);
            return;
        }
        let mut answer = Response::for_request(&request, response.status);
        self.tag(&mut answer);
        for name in TOLD {
            for value in response.headers.all(&name).take(MAX_VALUES) {
                answer.headers.push(name.clone(), value.clone());
            }
        }
        self.respond(now, key, &mut answer);
        // A question, and trouble of the PBX's own, say nothing about who is signed in already.
        if !matches!(response.status.0, 401 | 407 | 408 | 423 | 500..=599) {
            self.end_forward(now, id, true);
        } else {
            self.drop_unbound(id);
        }
    }

    /// Nobody answered for the PBX.
    pub(super) fn forward_failed(
        &mut self,
        now: Instant,
        forwarding: &Forwarding,
        status: StatusCode,
    ) {
        let Some(forward) = self.forwards.by_id.get_mut(&forwarding.id) else { return };
        forward.is_asking = false;
        let trunk = forward.trunk;
        let first = self.trunks.get(trunk).and_then(|t| t.in_order(&mut self.rng).first().cloned());
        if let Some(hop) = first {
            self.hop_failed(now, trunk, hop.flow.remote, HopFailure::NoAnswer);
        }
        self.refuse(now, forwarding.key, &forwarding.request, status);
        self.drop_unbound(forwarding.id);
    }

    /// What never signed in leaves nothing.
    fn drop_unbound(&mut self, id: u64) {
        if self.forwards.by_id.get(&id).is_some_and(|f| f.binding.is_none() && f.until.is_none()) {
            self.forwards.forget(id);
        }
    }

    fn forward_accepted(
        &mut self,
        now: Instant,
        (id, key, flow): (u64, ServerKey, Flow),
        request: &Request,
        granted: u32,
    ) {
        let Some(forward) = self.forwards.by_id.get_mut(&id) else { return };
        let (aor, trunk) = (forward.aor.clone(), forward.trunk);
        forward.until = Some(now + Duration::from_secs(u64::from(granted)));
        // The browser is told, and forgotten, when the PBX forgets it.
        let mut local = request.clone();
        local.headers.set(HeaderName::EXPIRES, granted.to_string());
        if let Some(contact) = request.headers.first(&HeaderName::CONTACT) {
            local.headers.set(HeaderName::CONTACT, without_expires(contact));
        }
        let mut answer = self.forwards.bindings.handle_register(now, &aor, &local, flow);
        let is_bound = answer.status.is_success();
        self.tag(&mut answer);
        self.respond(now, key, &mut answer);
        self.counters.registrations += u64::from(is_bound);
        while let Some(change) = self.forwards.bindings.poll_change() {
            match change {
                Change::Added(binding) | Change::Refreshed(binding) if binding.flow == flow => {
                    self.forward_bound(id, &binding);
                    self.device_moved(now, &binding);
                }
                Change::Removed(binding) => {
                    self.forwards.by_binding.remove(&binding.id);
                }
                Change::Added(_) | Change::Refreshed(_) => {}
            }
        }
        if granted == 0 || !is_bound {
            return self.end_forward(now, id, granted == 0);
        }
        self.announce(now, id, trunk, granted);
    }

    fn forward_bound(&mut self, id: u64, binding: &Binding) {
        if let Some(forward) = self.forwards.by_id.get_mut(&id) {
            if let Some(old) = forward.binding.replace(binding.id) {
                self.forwards.by_binding.remove(&old);
            }
            self.forwards.by_binding.insert(binding.id, id);
            self.forwards.timers.cancel(&id);
        }
    }

    /// Signs the same user in at the second server.
    fn announce(&mut self, now: Instant, id: u64, trunk: usize, granted: u32) {
        let config = self.trunks.get(trunk).map(|trunk| &trunk.config);
        let other = config.and_then(|c| c.forward.as_ref()?.announce_to.clone());
        let other = other.and_then(|name| self.trunks.named(&name));
        let Some(other) = other.and_then(|index| self.trunks.get(index)) else { return };
        let Some(flow) = other.in_order(&mut self.rng).first().map(|hop| hop.flow) else { return };
        let Some(forward) = self.forwards.by_id.get(&id) else { return };
        let credentials = other.config.credentials.as_ref();
        let config = RegistrationConfig {
            user: forward.user.clone(),
            domain: other.config.domain.clone(),
            flow,
            auth_user: credentials.map(|c| c.user.clone()),
            password: credentials
                .map_or_else(|| Secret::new(String::new()), |c| c.password.clone()),
            expires: Duration::from_secs(u64::from(granted)),
        };
        let is_known = forward.announced == Some(RegistrationState::Connected);
        // It refreshes by itself while the browser does.
        if !is_known {
            self.registration_wanted(now, registration_of_forward(id), config);
        }
    }

    /// Ends a registration on all sides. `pbx_knows`: it has said so itself.
    fn end_forward(&mut self, now: Instant, id: u64, pbx_knows: bool) {
        let Some(forward) = self.forwards.by_id.get(&id) else { return };
        let (trunk, until) = (forward.trunk, forward.until);
        let was_announced = forward.announced.is_some();
        let hop = self.trunks.get(trunk).and_then(|t| t.in_order(&mut self.rng).first().cloned());
        if let (false, Some(hop), Some(until)) = (pbx_knows, hop, until)
            && until > now
            && let Some(key) = self.send_forwarded(now, id, hop.flow, 0)
        {
            // With what the browser showed last. A PBX that takes no proof twice forgets it in
            // time; calls get 480 until then.
            self.clients.insert(key, ClientUse::Forgotten);
        }
        if let Some(forward) = self.forwards.forget(id)
            && let Some(binding) = forward.binding
        {
            self.forwards.bindings.forget_binding(binding);
            while self.forwards.bindings.poll_change().is_some() {}
        }
        if was_announced {
            self.registration_unwanted(now, registration_of_forward(id));
        }
    }

    /// A trunk takes no registrations any more: those that it took end.
    pub(super) fn end_forwards_of(&mut self, now: Instant, trunk: usize) {
        let of_it = |(id, forward): (&u64, &Forward)| (forward.trunk == trunk).then_some(*id);
        let ids: Vec<u64> = self.forwards.by_id.iter().filter_map(of_it).collect();
        for id in ids {
            self.end_forward(now, id, false);
        }
    }

    /// Browsers that are gone: those that lost their connection may come back for a while.
    pub(super) fn forwards_changed(&mut self, now: Instant) {
        while let Some(change) = self.forwards.bindings.poll_change() {
            let Change::Removed(binding) = change else { continue };
            let Some(id) = self.forwards.by_binding.remove(&binding.id) else { continue };
            if let Some(forward) = self.forwards.by_id.get_mut(&id) {
                forward.binding = None;
            }
            if binding.expires <= now {
                self.end_forward(now, id, true);
            } else {
                self.forwards.timers.set(id, now + self.config.resume_window);
            }
        }
    }

    pub(super) fn forwards_due(&mut self, now: Instant) {
        self.forwards.bindings.handle_timeout(now);
        self.forwards_changed(now);
        while let Some(id) = self.forwards.timers.pop_due(now) {
            self.end_forward(now, id, false);
        }
    }

    /// Where the browser of a forwarded registration is; nothing for another sign-in of ours.
    pub fn forwarded_devices(&self, id: RegistrationId) -> impl Iterator<Item = (BindingId, bool)> {
        let forward = forward_of(id).and_then(|id| self.forwards.by_id.get(&id));
        let binding = forward.and_then(|f| self.forwards.bindings.binding(f.binding?));
        binding.into_iter().map(|b| (b.id, b.flow.transport.is_websocket()))
    }

    /// Every registration that is forwarded.
    #[must_use]
    pub fn forward_reports(&self, now: Instant) -> Vec<ForwardReport> {
        let trunk = |index| self.trunks.get(index).map(|t| t.config.name.clone());
        let report = |forward: &Forward| {
            Some(ForwardReport {
                user: forward.aor.clone(),
                trunk: trunk(forward.trunk)?,
                contact: forward.contact.clone(),
                path: forward.path.clone(),
                expires_in: forward.until?.saturating_duration_since(now),
                announced: forward.announced,
            })
        };
        self.forwards.by_id.values().filter_map(report).collect()
    }

    /// Browsers with SIP that are signed in, and the legs that they have.
    #[must_use]
    pub fn browsers(&self) -> (usize, usize) {
        let here = self.registrar.bindings().filter(|b| b.flow.transport.is_websocket()).count();
        let legs = self.legs.values().filter(|leg| leg.flow.transport.is_websocket()).count();
        (here + self.forwards.len(), legs)
    }
}

fn aor_of(uri: &Uri) -> Option<String> {
    let user = uri.user()?;
    let user = std::str::from_utf8(&user).ok().filter(|user| !user.is_empty())?;
    let mut host = uri.host_text();
    host.make_ascii_lowercase();
    Some([user, "@", &host].concat())
}

fn asked_expires(request: &Request) -> u32 {
    let contact = request.headers.contacts().next();
    let own =
        contact.and_then(|c| std::str::from_utf8(&c.params.value("expires")?).ok()?.parse().ok());
    own.or_else(|| request.headers.expires()).unwrap_or(DEFAULT_EXPIRES)
}

/// How long the PBX knows our Contact.
fn granted(response: &Response, token: &str) -> Option<u32> {
    let mut contacts = response.headers.contacts().take(MAX_CONTACTS);
    let own = contacts.find(|c| c.uri.user_decoded().as_deref() == Some(token));
    let own = own.and_then(|c| std::str::from_utf8(&c.params.value("expires")?).ok()?.parse().ok());
    own.or_else(|| response.headers.expires())
}

fn shown_in(request: &Request) -> Vec<(HeaderName, Bytes)> {
    let names = [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION];
    let values = names.into_iter().flat_map(|name| {
        let values = request.headers.all(&name).take(MAX_VALUES).cloned().collect::<Vec<_>>();
        values.into_iter().map(move |value| (name.clone(), value))
    });
    values.collect()
}

/// The same contact, for as long as the Expires says.
fn without_expires(contact: &Bytes) -> Bytes {
    let Some(parsed) = NameAddr::parse(contact) else { return contact.clone() };
    let text = String::from_utf8_lossy(parsed.params.as_bytes()).into_owned();
    let params = text.split(';').filter(|p| !p.trim().is_empty());
    let kept = params.filter(|p| !p.trim().to_ascii_lowercase().starts_with("expires"));
    let kept: String = kept.map(|p| format!(";{p}")).collect();
    let bare = NameAddr::new(parsed.uri).print();
    Bytes::from([bare.as_ref(), kept.as_bytes()].concat())
}

/// The announcement of a forwarded registration, among our sign-ins elsewhere.
pub(super) fn registration_of_forward(id: u64) -> RegistrationId {
    RegistrationId(FORWARD_MARK | id)
}

/// The forwarded registration that this is the announcement of.
pub(super) fn forward_of(id: RegistrationId) -> Option<u64> {
    (id.0 & FORWARD_MARK != 0).then_some(id.0 & !FORWARD_MARK)
}

const FORWARD_MARK: u64 = 1 << 62;
/// Bindings of the registrar proper are numbered below.
const FIRST_BINDING: u64 = 1 << 40;
const MAX_FORWARDS: usize = 50_000;
const MAX_EXPIRES: u32 = 7200;
const DEFAULT_EXPIRES: u32 = 600;
const MAX_CONTACTS: usize = 64;
const MAX_VALUES: usize = 4;
const MAX_DEVICE: usize = 128;
/// What the browser hears of a refusal.
const TOLD: [HeaderName; 4] = [
    HeaderName::WWW_AUTHENTICATE,
    HeaderName::PROXY_AUTHENTICATE,
    HeaderName::MIN_EXPIRES,
    HeaderName::RETRY_AFTER,
];

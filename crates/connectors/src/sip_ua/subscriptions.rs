//! Subscriptions of users to other users (RFC 6665): who watches what, and until when.
//!
//! A SUBSCRIBE is answered once the node has said whether its sender may; the whole state goes out
//! at once and after each change, one NOTIFY at a time. What the bodies look like is in
//! `watching.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow, TimerTable};
use crosspoint_call::{Aspect, Mailbox, Standing};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, Params, Request, Response, StatusCode};

use super::auth::Sender;
use super::leg::DialogKey;
use super::watching::{self, Shown};
use super::{ALLOW, ClientUse, Output, SipUa};

/// Everybody who watches somebody.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_key: BTreeMap<DialogKey, Subscription>,
    of: BTreeMap<(Aspect, Arc<str>), BTreeSet<DialogKey>>,
    /// How many each user has.
    by_watcher: BTreeMap<Arc<str>, usize>,
    expiry: TimerTable<DialogKey>,
    /// Refreshes that wait for the node's word.
    refreshed: BTreeMap<ServerKey, DialogKey>,
}

#[derive(Debug)]
struct Subscription {
    dialog: Dialog,
    watcher: Arc<str>,
    aspect: Aspect,
    of: Arc<str>,
    /// The `id` of its Event (RFC 6665 §8.2.1).
    event_id: Option<Bytes>,
    expires: Instant,
    shown: Shown,
    /// A NOTIFY is out; what is to be told after it.
    is_waiting: bool,
    next: Option<Box<Standing>>,
}

impl Subscriptions {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.expiry.next()
    }

    pub(super) fn has(&self, call_id: &Bytes, tag: &Bytes) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(&(call_id.clone(), tag.clone()))
    }

    /// A browser that comes back subscribes again; a phone's address may still be good.
    pub(super) fn connection_closed(&mut self, connection: ConnectionId) {
        let mut gone = vec![];
        for (id, subscription) in &mut self.by_key {
            let dialog = &mut subscription.dialog;
            if dialog.flow.connection == Some(connection) && !dialog.lose_connection() {
                gone.push(id.clone());
            }
        }
        for id in gone {
            self.remove(&id);
        }
    }

    pub(super) fn forget_user(&mut self, user: &str) {
        self.remove_all(|s| *s.watcher == *user || *s.of == *user);
    }

    fn remove_all(&mut self, is_meant: impl Fn(&Subscription) -> bool) {
        let meant = self.by_key.iter().filter(|(_, s)| is_meant(s));
        for key in meant.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.remove(&key);
        }
    }

    fn insert(&mut self, key: DialogKey, subscription: Subscription) {
        *self.by_watcher.entry(subscription.watcher.clone()).or_default() += 1;
        let watched = (subscription.aspect, subscription.of.clone());
        self.of.entry(watched).or_default().insert(key.clone());
        self.expiry.set(key.clone(), subscription.expires);
        self.by_key.insert(key, subscription);
    }

    fn remove(&mut self, key: &DialogKey) -> Option<Subscription> {
        let gone = self.by_key.remove(key)?;
        self.expiry.cancel(key);
        let watched = (gone.aspect, gone.of.clone());
        if let Some(keys) = self.of.get_mut(&watched) {
            keys.remove(key);
            if keys.is_empty() {
                self.of.remove(&watched);
            }
        }
        if let Some(count) = self.by_watcher.get_mut(&gone.watcher) {
            *count -= 1;
            if *count == 0 {
                self.by_watcher.remove(&gone.watcher);
            }
        }
        Some(gone)
    }

    fn is_full_for(&self, watcher: &str) -> bool {
        self.by_key.len() >= MAX_SUBSCRIPTIONS
            || self.by_watcher.get(watcher).is_some_and(|n| *n >= MAX_PER_WATCHER)
    }
}

impl SipUa {
    /// How many watch somebody.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.by_key.len()
    }

    /// True when somebody watches this user.
    #[must_use]
    pub fn is_watched(&self, user: &Arc<str>) -> bool {
        let is = |aspect| self.subscriptions.of.contains_key(&(aspect, user.clone()));
        !self.subscriptions.of.is_empty()
            && [Aspect::Calls, Aspect::Presence, Aspect::Mailbox].into_iter().any(is)
    }

    pub(super) fn subscribe_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: Flow,
        request: &Request,
    ) {
        let Some(sender) = self.authenticate(now, key, &flow, request) else { return };
        let Sender::User(watcher) = sender else {
            return self.refuse(now, key, request, StatusCode::FORBIDDEN);
        };
        let Some(aspect) = aspect_of(request) else {
            let mut response = Response::for_request(request, StatusCode::BAD_EVENT);
            self.tag(&mut response);
            response.headers.push(HeaderName::ALLOW_EVENTS, EVENTS);
            return self.respond(now, key, &mut response);
        };
        let kind = watching::kind(aspect).as_bytes();
        let mut accepted = request.headers.values(&HeaderName::ACCEPT).peekable();
        let takes = |range: Bytes| {
            let range = range.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            range.eq_ignore_ascii_case(kind) || range == b"*/*"
        };
        let status = match lifetime(request) {
            Err(status) => Some(status),
            Ok(_) if accepted.peek().is_some() && !accepted.any(takes) => {
                Some(StatusCode::NOT_ACCEPTABLE)
            }
            Ok(_) if self.subscriptions.is_full_for(&watcher) => {
                Some(StatusCode::SERVICE_UNAVAILABLE)
            }
            Ok(_) => None,
        };
        match (status, request.uri.user_decoded()) {
            (Some(status), _) => self.refuse_subscription(now, key, request, status),
            (None, None) => self.refuse(now, key, request, StatusCode::ADDRESS_INCOMPLETE),
            (None, Some(of)) => {
                self.asked.insert(key, Box::new((flow, request.clone())));
                self.outputs.push_back(Output::Watch { key, watcher, of, aspect });
            }
        }
    }

    fn refuse_subscription(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        status: StatusCode,
    ) {
        if status != StatusCode::INTERVAL_TOO_BRIEF {
            return self.refuse(now, key, request, status);
        }
        let mut response = Response::for_request(request, status);
        self.tag(&mut response);
        response.headers.push(HeaderName::MIN_EXPIRES, MIN_EXPIRES.to_string());
        self.respond(now, key, &mut response);
    }

    /// The answer to `Output::Watch`: who is watched by which name, and how that user is.
    pub fn watch_answered(
        &mut self,
        now: Instant,
        key: ServerKey,
        watcher: &Arc<str>,
        answer: Option<(Arc<str>, Standing)>,
    ) {
        if let Some(id) = self.subscriptions.refreshed.remove(&key) {
            self.subscription_refreshed(now, &id, answer.map(|(_, standing)| standing));
            return self.settle(now);
        }
        let Some(asked) = self.asked.remove(&key) else { return };
        let (flow, request) = *asked;
        match answer {
            Some((of, standing)) => {
                self.subscribe(now, key, flow, &request, (watcher.clone(), of), standing);
            }
            // Nobody of that name, or nobody's business: all the same.
            None => self.refuse(now, key, &request, StatusCode::NOT_FOUND),
        }
        self.settle(now);
    }

    fn subscribe(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: Flow,
        request: &Request,
        (watcher, of): (Arc<str>, Arc<str>),
        standing: Standing,
    ) {
        let local_tag = self.rng.hex(8);
        let dialog = Dialog::as_callee(request, &local_tag, flow);
        let (Some(dialog), Some(aspect), Ok(lifetime)) =
            (dialog, aspect_of(request), lifetime(request))
        else {
            return self.refuse(now, key, request, StatusCode::BAD_REQUEST);
        };
        let mut response = Response::for_request(request, StatusCode::OK);
        response.add_tag(&local_tag);
        self.subscription_headers(&flow, lifetime, &mut response);
        self.respond(now, key, &mut response);
        let id = (dialog.call_id.clone(), dialog.local_tag().clone());
        let subscription = Subscription {
            dialog,
            watcher,
            aspect,
            of,
            event_id: event_id(request),
            expires: now + lifetime,
            shown: Shown::default(),
            is_waiting: false,
            next: None,
        };
        self.subscriptions.insert(id.clone(), subscription);
        self.tell_watcher(now, &id, Some(standing));
    }

    /// A request in the dialog of a subscription: a refresh, or the end of it.
    pub(super) fn subscriber_said(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: Flow,
        request: &Request,
    ) {
        let tag = request.headers.to().and_then(|to| to.tag()).unwrap_or_default();
        let id = (request.headers.call_id().cloned().unwrap_or_default(), tag);
        let theirs = request.headers.from().and_then(|from| from.tag()).unwrap_or_default();
        let known = self.subscriptions.by_key.get_mut(&id);
        let Some(known) = known.filter(|s| *s.dialog.remote_tag() == theirs) else {
            return self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST);
        };
        if request.method != Method::SUBSCRIBE {
            return self.refuse(now, key, request, StatusCode::METHOD_NOT_ALLOWED);
        }
        if !known.dialog.take_request(request, flow) {
            return self.refuse(now, key, request, StatusCode::SERVER_INTERNAL_ERROR);
        }
        let lifetime = match lifetime(request) {
            Ok(lifetime) => lifetime,
            Err(status) => return self.refuse_subscription(now, key, request, status),
        };
        known.expires = now + lifetime;
        self.subscriptions.expiry.set(id.clone(), now + lifetime);
        let (watcher, of, aspect) = (known.watcher.clone(), known.of.to_string(), known.aspect);
        let mut response = Response::for_request(request, StatusCode::OK);
        self.subscription_headers(&flow, lifetime, &mut response);
        self.respond(now, key, &mut response);
        // The node is asked anew: it knows how the user is, and whether watching is still allowed.
        self.subscriptions.refreshed.insert(key, id);
        self.outputs.push_back(Output::Watch { key, watcher, of, aspect });
    }

    fn subscription_refreshed(&mut self, now: Instant, id: &DialogKey, standing: Option<Standing>) {
        let Some(subscription) = self.subscriptions.by_key.get_mut(id) else { return };
        subscription.shown.forget();
        if standing.is_none() {
            subscription.expires = now;
            subscription.is_waiting = false;
        }
        self.tell_watcher(now, id, standing);
    }

    fn subscription_headers(&self, flow: &Flow, lifetime: Duration, response: &mut Response) {
        response.headers.push(HeaderName::CONTACT, self.contact(None, flow));
        response.headers.push(HeaderName::EXPIRES, lifetime.as_secs().to_string());
        response.headers.push(HeaderName::ALLOW_EVENTS, EVENTS);
    }

    /// Everybody who watches this user is told how it is now.
    pub fn show(&mut self, now: Instant, user: &Arc<str>, standing: &Standing) {
        for aspect in [Aspect::Calls, Aspect::Presence, Aspect::Mailbox] {
            let watchers = self.subscriptions.of.get(&(aspect, user.clone()));
            for id in watchers.cloned().unwrap_or_default() {
                self.tell_watcher(now, &id, Some(standing.clone()));
            }
        }
        self.settle(now);
    }

    /// Tells one watcher how the user is; nothing where it is only told that it is over.
    fn tell_watcher(&mut self, now: Instant, id: &DialogKey, standing: Option<Standing>) {
        let Some(subscription) = self.subscriptions.by_key.get_mut(id) else { return };
        if subscription.is_waiting {
            subscription.next = standing.map(Box::new);
            return;
        }
        let Subscription { dialog, aspect, of, event_id, shown, expires, .. } = subscription;
        let left = expires.saturating_duration_since(now).as_secs();
        let is_over = left == 0;
        let domain = &self.config.domain;
        let body = standing.and_then(|s| watching::body(*aspect, of, domain, &s, shown, is_over));
        if body.is_none() && !is_over {
            return;
        }
        let mut request = dialog.request(Method::NOTIFY, None);
        let flow = dialog.next_hop();
        let id_of_event = event_id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned());
        let event = id_of_event.map_or(watching::event(*aspect).to_owned(), |id| {
            format!("{};id={id}", watching::event(*aspect))
        });
        let kind = watching::kind(*aspect);
        subscription.is_waiting = !is_over;
        request.headers.push(HeaderName::EVENT, event);
        let state = match is_over {
            true => "terminated;reason=timeout".to_owned(),
            false => format!("active;expires={left}"),
        };
        request.headers.push(HeaderName::SUBSCRIPTION_STATE, state);
        request.headers.push(HeaderName::CONTACT, self.contact(None, &flow));
        request.headers.push(HeaderName::ALLOW, ALLOW);
        request.headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        if let Some(body) = body {
            request.set_body(kind, body);
        }
        let key = self.endpoint.send_request(now, flow, &request);
        if is_over {
            self.subscriptions.remove(id);
            self.clients.insert(key, ClientUse::Forgotten);
        } else {
            self.clients.insert(key, ClientUse::Watcher(id.clone()));
        }
    }

    /// How a NOTIFY was answered. RFC 6665 §4.2.2: what does not reach its watcher is over.
    pub(super) fn watcher_heard(&mut self, now: Instant, id: &DialogKey, status: StatusCode) {
        if !status.is_success() {
            self.subscriptions.remove(id);
            return;
        }
        let Some(subscription) = self.subscriptions.by_key.get_mut(id) else { return };
        subscription.is_waiting = false;
        if let Some(next) = subscription.next.take() {
            self.tell_watcher(now, id, Some(*next));
        }
    }

    pub(super) fn subscriptions_due(&mut self, now: Instant) {
        while let Some(id) = self.subscriptions.expiry.pop_due(now) {
            if let Some(subscription) = self.subscriptions.by_key.get_mut(&id) {
                subscription.is_waiting = false;
                self.tell_watcher(now, &id, None);
            }
        }
    }

    /// News that nobody here subscribed to: the mailbox of a PBX (RFC 3842), for one of our users.
    pub(super) fn notify_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: &Flow,
        request: &Request,
    ) {
        let is_trunk = self.trunks.sender(flow, request).is_some();
        let event = request.headers.first(&HeaderName::EVENT).map(|e| e.trim_ascii());
        let is_mailbox = event.is_some_and(|e| e.eq_ignore_ascii_case(b"message-summary"));
        match (is_trunk && is_mailbox, request.uri.user_decoded()) {
            (true, Some(user)) => {
                let mailbox = Mailbox { voice: watching::voice(&request.body), texts: 0 };
                self.outputs.push_back(Output::Mailbox(user, mailbox));
                self.refuse(now, key, request, StatusCode::OK);
            }
            _ => self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST),
        }
    }
}

fn aspect_of(request: &Request) -> Option<Aspect> {
    let value = request.headers.first(&HeaderName::EVENT)?;
    let name = value.split(|b| *b == b';').next()?.trim_ascii();
    let is = |aspect: &Aspect| name.eq_ignore_ascii_case(watching::event(*aspect).as_bytes());
    [Aspect::Calls, Aspect::Presence, Aspect::Mailbox].into_iter().find(is)
}

fn event_id(request: &Request) -> Option<Bytes> {
    let value = request.headers.first(&HeaderName::EVENT)?;
    let params = Params::new(value.slice(value.iter().position(|b| *b == b';')?..));
    params.value("id").filter(|id| id.len() <= MAX_EVENT_ID)
}

/// How long a subscription is to last; nothing means only once.
fn lifetime(request: &Request) -> Result<Duration, StatusCode> {
    match request.headers.expires().unwrap_or(DEFAULT_EXPIRES) {
        0 => Ok(Duration::ZERO),
        short if short < MIN_EXPIRES => Err(StatusCode::INTERVAL_TOO_BRIEF),
        asked => Ok(Duration::from_secs(asked.min(MAX_EXPIRES).into())),
    }
}

const EVENTS: &str = "dialog, presence, message-summary";
const MIN_EXPIRES: u32 = 60;
const MAX_EXPIRES: u32 = 7200;
const DEFAULT_EXPIRES: u32 = 3600;
const MAX_EVENT_ID: usize = 64;
/// A panel of lamps has some hundred.
const MAX_PER_WATCHER: usize = 500;
const MAX_SUBSCRIPTIONS: usize = 100_000;

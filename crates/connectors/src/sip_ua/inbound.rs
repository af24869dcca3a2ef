//! Requests from outside any dialog: REGISTER, INVITE, OPTIONS and the rest.

use std::time::Instant;

use crosspoint_base::{Flow, Private};
use crosspoint_call::{
    Cause, Identity, IncomingOffer, LegEvent, MediaPath, Profile, Replaces, Scope, SrtpPolicy,
};
use crosspoint_sdp::Session;
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, Scheme, StatusCode};

use super::auth::Sender;
use super::away::forgets_transactions;
use super::body::{Described, SDP, description, media_types, takes_descriptions};
use super::leg::{Incoming, Leg, MergeKey, Peer, Phase};
use super::{ALLOW, KNOWN_EXTENSIONS, SUPPORTED, ServerUse, SipUa};

impl SipUa {
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: Flow,
        request: &Request,
    ) {
        let to_tag = request.headers.to().and_then(|to| to.tag());
        if let (Some(tag), Some(call_id)) = (to_tag, request.headers.call_id()) {
            match self.dialogs.get(&(call_id.clone(), tag)).copied() {
                Some(leg) => self.request_in_dialog(now, key, flow, leg, request),
                // RFC 3261 §12.2.2. Keep-alive OPTIONS of a forgotten dialog get it too.
                None => self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST),
            }
            return;
        }
        let is_invite = request.method == Method::INVITE;
        if !request.method.is_known() {
            self.refuse(now, key, request, StatusCode::NOT_IMPLEMENTED);
        } else if request.uri.scheme() == Scheme::Other {
            self.refuse(now, key, request, StatusCode::UNSUPPORTED_URI_SCHEME);
        } else if is_invite && request.headers.max_forwards() == Some(0) {
            // A call is passed on; everything else ends here, so that its hops do not matter.
            self.refuse(now, key, request, StatusCode::TOO_MANY_HOPS);
        } else if is_invite && self.is_merged(request) {
            self.refuse(now, key, request, StatusCode::LOOP_DETECTED);
        } else if !self.requirements_met(now, key, request) {
        } else if request.method == Method::OPTIONS {
            self.options(now, key, request);
        } else if request.method == Method::REGISTER {
            self.register_arrived(now, key, flow, request);
        } else if request.method == Method::INVITE {
            self.invite(now, key, flow, request);
        } else if request.method == Method::MESSAGE
            || request.method == Method::SUBSCRIBE
            || request.method == Method::PUBLISH
            || request.method == Method::REFER
        {
            // Only to somebody who may speak here is told what is not served.
            if self.authenticate(now, key, &flow, request).is_some() {
                let status = match &request.method {
                    m if *m == Method::SUBSCRIBE => StatusCode::BAD_EVENT,
                    // It is served inside calls.
                    m if *m == Method::REFER => StatusCode::FORBIDDEN,
                    _ => StatusCode::METHOD_NOT_ALLOWED,
                };
                self.refuse(now, key, request, status);
            }
        } else {
            self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST);
        }
    }

    /// RFC 3261 §8.2.2.2: the same INVITE came by another way already.
    fn is_merged(&self, request: &Request) -> bool {
        merge_key(request).is_some_and(|key| self.merging.contains_key(&key))
    }

    /// RFC 3261 §8.2.2.3.
    pub(super) fn requirements_met(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
    ) -> bool {
        let unknown: Vec<String> = request
            .headers
            .values(&HeaderName::REQUIRE)
            .map(|v| String::from_utf8_lossy(&v).into_owned())
            .filter(|v| !KNOWN_EXTENSIONS.contains(&v.to_ascii_lowercase().as_str()))
            .take(16)
            .collect();
        if unknown.is_empty() {
            return true;
        }
        let mut response = Response::for_request(request, StatusCode::BAD_EXTENSION);
        self.tag(&mut response);
        response.headers.push(HeaderName::UNSUPPORTED, unknown.join(", "));
        self.respond(now, key, &mut response);
        false
    }

    pub(super) fn options(&mut self, now: Instant, key: ServerKey, request: &Request) {
        let mut response = Response::for_request(request, StatusCode::OK);
        self.tag(&mut response);
        response.headers.push(HeaderName::ALLOW, ALLOW);
        response.headers.push(HeaderName::SUPPORTED, SUPPORTED);
        response.headers.push(HeaderName::ACCEPT, SDP);
        self.respond(now, key, &mut response);
    }

    fn register_arrived(&mut self, now: Instant, key: ServerKey, flow: Flow, request: &Request) {
        let to = request.headers.to().map(|to| to.uri.scheme());
        if !matches!(to, Some(Scheme::Sip | Scheme::Sips)) {
            // RFC 3261 §10.2: the To names the user, in a SIP or SIPS URI.
            self.refuse(now, key, request, StatusCode::BAD_REQUEST);
            return;
        }
        let Some(sender) = self.authenticate(now, key, &flow, request) else { return };
        let Sender::User(user) = sender else {
            // A trunk has no place among the users.
            self.refuse(now, key, request, StatusCode::FORBIDDEN);
            return;
        };
        self.counters.registrations += 1;
        let mut response = self.registrar.handle_register(now, &user, request, flow);
        self.tag(&mut response);
        self.respond(now, key, &mut response);
    }

    fn invite(&mut self, now: Instant, key: ServerKey, flow: Flow, request: &Request) {
        let Some(sender) = self.authenticate(now, key, &flow, request) else { return };
        if self.is_draining || self.legs.len() >= self.config.max_legs {
            self.counters.refused_legs += 1;
            self.refuse(now, key, request, StatusCode::SERVICE_UNAVAILABLE);
            return;
        }
        let replaced = self.replaced(&sender, request);
        let Ok(replaced) = replaced.map_err(|status| self.refuse(now, key, request, status)) else {
            return;
        };
        let Ok(described) = self.offered(now, key, request) else { return };
        let to = match &sender {
            // Its Contact is a name that nobody dials.
            Sender::Registration(id) => self.registrations.user(*id),
            Sender::User(_) | Sender::Trunk(_) => request.uri.user_decoded(),
        };
        let Some(to) = to else {
            self.refuse(now, key, request, StatusCode::ADDRESS_INCOMPLETE);
            return;
        };
        if !self.session_timer_fits(now, key, request) {
            return;
        }
        let id = self.next_leg_id();
        let local_tag = self.rng.hex(8);
        let account = sender.account();
        let lasting = self.lasting_flow(account, flow);
        let Some(dialog) = Dialog::as_callee(request, &local_tag, lasting) else {
            self.refuse(now, key, request, StatusCode::BAD_REQUEST);
            return;
        };
        let dialog_key = (dialog.call_id.clone(), dialog.local_tag().clone());
        let incoming = Incoming {
            key,
            request: request.clone(),
            local_tag,
            late_offer: described.is_none(),
            reliable: None,
            next_rseq: 1 + self.rng.below(1 << 16),
            answer_acknowledged: false,
            queued: Default::default(),
        };
        let mut leg = Leg::new(Phase::Incoming(Box::new(incoming)), flow, dialog_key.clone());
        leg.peer = peer_of(request);
        let mut offer = incoming_offer(request, &flow, to, described, leg.peer.trickles);
        leg.account = account;
        offer.replaces = replaced.map(Replaces::Leg);
        match &sender {
            Sender::User(user) => offer.from.user = Some(user.clone()),
            Sender::Trunk(index) => {
                offer.trunk = self.config.trunks.get(*index).map(|t| t.name.clone());
            }
            Sender::Registration(id) => offer.scope = Scope::In(*id),
        }
        leg.user.clone_from(&offer.from.user);
        self.dialogs.insert(dialog_key, id);
        leg.merge_key = merge_key(request);
        if let Some(key) = leg.merge_key.clone() {
            self.merging.insert(key, id);
        }
        leg.dialog = Some(dialog);
        let device = leg.user.as_ref().and_then(|user| self.device_at(user, &flow, request));
        self.legs.insert(id, leg);
        if device.is_some() {
            self.join_device(id, device);
            self.attach(id, flow.connection);
        }
        self.servers.insert(key, ServerUse::Invite(id));
        self.tell(id, LegEvent::Offer(Box::new(offer)));
    }

    /// The description of a new INVITE; one that cannot be read is answered here.
    fn offered(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
    ) -> Result<Option<Session>, ()> {
        if !takes_descriptions(&request.headers) {
            // There is no call without a description of ours.
            self.refuse(now, key, request, StatusCode::NOT_ACCEPTABLE);
            return Err(());
        }
        match description(&request.headers, &request.body) {
            Described::Nothing => Ok(None),
            Described::Session(session) => Ok(Some(*session)),
            Described::UnknownType => {
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                let mut response = Response::for_request(request, status);
                self.tag(&mut response);
                media_types(&mut response);
                self.respond(now, key, &mut response);
                Err(())
            }
            Described::Malformed => {
                self.refuse(now, key, request, StatusCode::BAD_REQUEST);
                Err(())
            }
        }
    }

    /// RFC 3261 §9.2: the caller gave up before an answer.
    pub(super) fn handle_cancel(&mut self, now: Instant, key: ServerKey) {
        match self.servers.get(&key).copied() {
            Some(ServerUse::Invite(leg)) => {
                self.finish_incoming(now, leg, StatusCode::REQUEST_TERMINATED, None);
                self.end(now, leg, Cause::Cancelled);
            }
            Some(ServerUse::Reoffer(leg)) => {
                self.refuse_reoffer(now, leg, StatusCode::REQUEST_TERMINATED);
            }
            None => {}
        }
    }
}

/// What two copies of one INVITE have in common (RFC 3261 §8.2.2.2).
fn merge_key(request: &Request) -> Option<MergeKey> {
    let headers = &request.headers;
    let tag = headers.from()?.tag().unwrap_or_default();
    Some((headers.call_id()?.clone(), tag, headers.cseq()?.number))
}

/// What the caller says of itself.
fn peer_of(request: &Request) -> Peer {
    let headers = &request.headers;
    let agent = headers.first(&HeaderName::USER_AGENT);
    Peer {
        allows_update: headers.allows(&Method::UPDATE),
        trickles: headers.has_option(&HeaderName::SUPPORTED, "trickle-ice"),
        plain_digits: false,
        forgets_transactions: agent.is_some_and(|agent| forgets_transactions(agent)),
    }
}

/// What the call hears of a new INVITE.
fn incoming_offer(
    request: &Request,
    flow: &Flow,
    to: String,
    description: Option<Session>,
    trickle: bool,
) -> IncomingOffer {
    let from = request.headers.from();
    let address = from.as_ref().and_then(|f| f.uri.user_decoded()).unwrap_or_default();
    let is_browser = flow.transport.is_websocket();
    IncomingOffer {
        from: Identity {
            address: Private(address),
            display_name: from.and_then(|f| f.display_text()).map(Private),
            user: None,
        },
        to: Private(to),
        description,
        profile: if is_browser { Profile::WebRtc } else { Profile::Rtp(SrtpPolicy::Off) },
        trunk: None,
        gcid: None,
        trickle,
        scope: Scope::Everywhere,
        path: MediaPath::Anchored,
        replaces: None,
    }
}

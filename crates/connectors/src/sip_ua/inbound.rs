//! Requests from outside any dialog: REGISTER, INVITE, OPTIONS and the rest.

use std::time::Instant;

use crosspoint_base::{Flow, Private, plain_address, plain_name};
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
use super::diversion::where_it_was;
use super::forward::registration_of_forward;
use super::identity::{Caller, Checked};
use super::leg::{Incoming, Leg, MergeKey, Peer, Phase};
use super::location::location;
use super::pressing::wants_auto_answer;
use super::status::{reason_for, status_for};
use super::trunk::{Place, registration_of, wants_privacy};
use super::{ALLOW, KNOWN_EXTENSIONS, SUPPORTED, ServerUse, SipUa, commands};

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
            match self.dialogs.get(&(call_id.clone(), tag.clone())).copied() {
                Some(leg) => self.request_in_dialog(now, key, flow, leg, request),
                None if self.subscriptions.has(call_id, &tag) => {
                    self.subscriber_said(now, key, flow, request);
                }
                // RFC 3261 §12.2.2. Keep-alive OPTIONS of a forgotten dialog get it too.
                None => self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST),
            }
            return;
        }
        let is_invite = request.method == Method::INVITE;
        if !request.method.is_known() {
            self.refuse(now, key, request, StatusCode::NOT_IMPLEMENTED);
        } else if request.uri.scheme() == Scheme::Other && !(is_invite && asks_for_help(request)) {
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
        } else if request.method == Method::MESSAGE {
            self.text_arrived(now, key, flow, request);
        } else if request.method == Method::SUBSCRIBE {
            self.subscribe_arrived(now, key, flow, request);
        } else if request.method == Method::NOTIFY {
            self.notify_arrived(now, key, &flow, request);
        } else if request.method == Method::PUBLISH {
            self.publish_arrived(now, key, &flow, request);
        } else if request.method == Method::REFER {
            // Only to somebody who may speak here is told that it is served inside calls.
            if self.authenticate(now, key, &flow, request).is_some() {
                self.refuse(now, key, request, StatusCode::FORBIDDEN);
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
        if self.draining.is_some() || self.is_draining {
            // Proxies in front take us out.
            self.refuse(now, key, request, StatusCode::SERVICE_UNAVAILABLE);
            return;
        }
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
        if let Some(trunk) = self.forwards_to(request) {
            self.forward_register(now, key, (trunk, flow), request);
            return;
        }
        let Some(sender) = self.authenticate(now, key, &flow, request) else { return };
        let user = match sender {
            Sender::User(user) => user,
            Sender::Trunk(index) => {
                self.peer_registers(now, key, (index, flow), request);
                return;
            }
            Sender::Registration(_) | Sender::Forwarded { .. } | Sender::Browser(_) => {
                // It has no place among the users.
                self.refuse(now, key, request, StatusCode::FORBIDDEN);
                return;
            }
        };
        self.counters.registrations += 1;
        let mut response = self.registrar.handle_register(now, &user, request, flow);
        self.tag(&mut response);
        self.respond(now, key, &mut response);
    }

    fn invite(&mut self, now: Instant, key: ServerKey, flow: Flow, request: &Request) {
        let Some(sender) = self.authenticate(now, key, &flow, request) else { return };
        if self.is_draining || self.legs.len() + self.verifications.len() >= self.config.max_legs {
            self.counters.refused_legs += 1;
            self.refuse(now, key, request, StatusCode::SERVICE_UNAVAILABLE);
            return;
        }
        match self.caller_of(now, &sender, request) {
            Caller::NotAsked => self.invite_from(now, (key, flow, request), sender, None),
            Caller::Checked(checked) => {
                self.invite_from(now, (key, flow, request), sender, Some(checked));
            }
            Caller::Ask(claim) => self.ask_who_calls(now, (key, flow, request), sender, claim),
        }
    }

    /// A new call by somebody who may call.
    pub(super) fn invite_from(
        &mut self,
        now: Instant,
        (key, flow, request): (ServerKey, Flow, &Request),
        sender: Sender,
        checked: Option<Checked>,
    ) {
        // Another copy may have come while this one waited.
        if self.is_merged(request) {
            self.refuse(now, key, request, StatusCode::LOOP_DETECTED);
            return;
        }
        let replaced = self.replaced(&sender, request);
        let Ok(replaced) = replaced.map_err(|status| self.refuse(now, key, request, status)) else {
            return;
        };
        let Ok(described) = self.offered(now, key, request) else { return };
        let Some(to) = self.dialled(&sender, request) else {
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
        if let Err(cause) = self.take_place(now, account, Place::In) {
            self.refuse_call(now, key, request, cause);
            return;
        }
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
        leg.unproved = checked.as_ref().and_then(|checked| checked.refusal);
        offer.from.check = checked.map(|checked| checked.check);
        offer.replaces = replaced.map(Replaces::Leg);
        self.tell_sender(&sender, request, &mut offer);
        without_tricks(&mut offer);
        leg.user.clone_from(&offer.from.user);
        self.dialogs.insert(dialog_key, id);
        leg.merge_key = merge_key(request);
        if let Some(key) = leg.merge_key.clone() {
            self.merging.insert(key, id);
        }
        leg.dialog = Some(dialog);
        let device = leg.user.as_ref().and_then(|user| self.device_at(user, &flow, request));
        self.legs.insert(id, Box::new(leg));
        if device.is_some() {
            self.join_device(id, device);
            self.attach(id, flow.connection);
        }
        self.servers.insert(key, ServerUse::Invite(id));
        self.tell(id, LegEvent::Offer(Box::new(offer)));
    }

    /// A limit is reached.
    fn refuse_call(&mut self, now: Instant, key: ServerKey, request: &Request, cause: Cause) {
        self.counters.refused_legs += 1;
        let mut response = Response::for_request(request, status_for(cause));
        self.tag(&mut response);
        response.headers.push(HeaderName::RETRY_AFTER, self.retry_after());
        response.headers.push(HeaderName::REASON, reason_for(cause).unwrap_or_default());
        self.respond(now, key, &mut response);
    }

    /// What the call hears of who makes it.
    fn tell_sender(&self, sender: &Sender, request: &Request, offer: &mut IncomingOffer) {
        let mut trunk = None;
        match sender {
            Sender::User(user) => offer.from.user = Some(user.clone()),
            Sender::Trunk(index) => trunk = Some(*index),
            Sender::Forwarded { trunk: index, id } => {
                trunk = Some(*index);
                offer.scope = Scope::In(registration_of_forward(*id));
            }
            Sender::Browser(id) => offer.scope = Scope::Out(registration_of_forward(*id)),
            Sender::Registration(id) => offer.scope = Scope::In(*id),
        }
        if let Some(trunk) = trunk.and_then(|index| self.trunks.get(index)) {
            offer.trunk = Some(trunk.config.name.clone());
            offer.video = trunk.config.video;
            offer.from = trunk.caller_of(request, std::mem::take(&mut offer.from));
            offer.from.is_private &= trunk.believes_privacy();
            offer.diverted = where_it_was(request, trunk.config.diversion);
        }
        offer.from.remarks = self.trunks.remarks(trunk, request);
    }

    /// The number or user that is called.
    fn dialled(&self, sender: &Sender, request: &Request) -> Option<String> {
        match sender {
            Sender::User(_) | Sender::Trunk(_) if asks_for_help(request) => {
                Some(String::from_utf8_lossy(request.uri.as_bytes()).to_ascii_lowercase())
            }
            // Its Contact is a name that nobody dials.
            Sender::Registration(id) => self.registrations.user(*id),
            Sender::Trunk(index) => self.dialled_by_trunk(*index, request),
            Sender::Forwarded { id, .. } => self.forwards.user(*id).map(str::to_owned),
            Sender::User(_) | Sender::Browser(_) => request.uri.user_decoded(),
        }
    }

    /// The number that a trunk wants. Where we are signed in there, our Contact says nothing:
    /// then it stands in the To.
    fn dialled_by_trunk(&self, index: usize, request: &Request) -> Option<String> {
        let user = request.uri.user_decoded()?;
        if self.registrations.contact_name(registration_of(index)) == Some(&*user) {
            return request.headers.to()?.uri.user_decoded();
        }
        Some(user)
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
            Some(ServerUse::Verification(id)) => self.verification_cancelled(now, id),
            None => {}
        }
    }
}

/// RFC 5031: the emergency services by their name, which phones know where they do not know the
/// number.
fn asks_for_help(request: &Request) -> bool {
    let name = b"urn:service:sos";
    let text = request.uri.as_bytes();
    let is_one = text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    is_one && text.len() < 64 && text.get(name.len()).is_none_or(|next| *next == b'.')
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
        refuses_media_control: false,
        forgets_transactions: agent.is_some_and(|agent| forgets_transactions(agent)),
    }
}

/// Names reach terminals, pages and databases: they show what they are, and are no longer than a
/// name.
fn without_tricks(offer: &mut IncomingOffer) {
    for address in [&mut offer.from.address, &mut offer.to] {
        *address = Private(plain_address(address.expose(), MAX_ADDRESS));
    }
    for place in &mut offer.diverted {
        place.by = Private(plain_address(place.by.expose(), MAX_ADDRESS));
    }
    let name = offer.from.display_name.take();
    let name = name.map(|name| plain_name(name.expose(), commands::MAX_NAME));
    offer.from.display_name = name.filter(|name| !name.is_empty()).map(Private);
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
            is_private: wants_privacy(request),
            ..Identity::default()
        },
        to: Private(to),
        description,
        profile: if is_browser { Profile::WebRtc } else { Profile::Rtp(SrtpPolicy::Off) },
        trunk: None,
        video: true,
        gcid: None,
        trickle,
        scope: Scope::Everywhere,
        path: MediaPath::Anchored,
        replaces: None,
        location: location(&request.headers, &request.body),
        diverted: vec![],
        auto_answer: wants_auto_answer(request),
        may_press: false,
    }
}

/// Numbers have fifteen digits, and addresses of people are shorter than this. In characters.
const MAX_ADDRESS: usize = 255;

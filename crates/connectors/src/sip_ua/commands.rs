//! What a call tells a leg to do.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, LegId, plain_name};
use crosspoint_call::{Cause, Identity, LegCommand, LegEvent, OutgoingOffer, Reach};
use crosspoint_sdp::fragment::Fragment;
use crosspoint_sip::dialog::address_of;
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::body::SDP;
use super::challenge::Account;
use super::diversion::{DiversionForm, say_where_it_was};
use super::forward::forward_of;
use super::leg::{Calling, Leg, Offer, Phase};
use super::location::attach;
use super::pressing::auto_answer_headers;
use super::status::{reason_for, status_for};
use super::trunk::{Hop, Place, anonymous, pass_remarks};
use super::{ALLOW, ClientUse, SUPPORTED, SipUa, Timer};

/// How a call gets out.
pub(super) struct Way {
    pub(super) flow: Flow,
    pub(super) uri: Uri,
    /// Of the From and To.
    pub(super) domain: String,
    pub(super) routes: Vec<Bytes>,
    pub(super) account: Option<Account>,
    /// Who we are there, whoever calls.
    pub(super) user: Option<String>,
    /// Other places to try, best first.
    pub(super) spare: Vec<Hop>,
}

impl SipUa {
    pub(super) fn command(&mut self, now: Instant, id: LegId, command: LegCommand) {
        match command {
            LegCommand::Offer(offer) => self.call_out(now, id, *offer),
            LegCommand::Ringing => self.progress(now, id, StatusCode::RINGING, None),
            LegCommand::EarlyMedia(session) => {
                let sdp = session.to_string();
                self.progress(now, id, StatusCode::SESSION_PROGRESS, Some(sdp));
            }
            LegCommand::Answer(session) => self.answer(now, id, session.to_string()),
            LegCommand::Candidate(candidate) => {
                let fragment = Fragment {
                    ufrag: candidate.ufrag,
                    mid: candidate.mid,
                    candidates: vec![crosspoint_sdp::Candidate(candidate.text)],
                    ..Fragment::default()
                };
                self.trickle(now, id, &fragment);
            }
            LegCommand::EndOfCandidates => {
                self.trickle(now, id, &Fragment { end_of_candidates: true, ..Fragment::default() });
            }
            LegCommand::Reoffer(session) => self.reoffer(now, id, session.to_string(), 0),
            LegCommand::Reanswer(session) => self.reanswer(now, id, session.to_string()),
            LegCommand::RejectReoffer(cause) => self.refuse_reoffer(now, id, status_for(cause)),
            LegCommand::PostponeReoffer => {
                self.refuse_reoffer(now, id, StatusCode::REQUEST_PENDING);
            }
            LegCommand::Dtmf(digit, duration) => self.send_digit(now, id, digit, duration),
            // It would hear the digit twice.
            LegCommand::DtmfShown(..) | LegCommand::Grade(_) => {}
            LegCommand::RequestKeyFrame => self.request_key_frame(now, id),
            LegCommand::Press(button) => self.press(now, id, button),
            LegCommand::TransferProgress(progress) => self.notify(now, id, progress),
            LegCommand::End(cause) => self.hang_up(now, id, cause),
        }
    }

    fn call_out(&mut self, now: Instant, id: LegId, offer: OutgoingOffer) {
        let Some(way) = self.reach(&offer.reach) else {
            let is_trunk = matches!(offer.reach, Reach::Trunk { .. });
            let cause = if is_trunk { Cause::TrunkDown } else { Cause::Unavailable };
            self.tell(id, LegEvent::Ended(cause));
            return;
        };
        let Way { flow, uri, domain, routes, account, user, spare } = way;
        let local_tag = self.rng.hex(8);
        let call_id = self.rng.hex(16);
        // Elsewhere we are known by the name we signed in with, and by no other.
        let user = user.as_deref().unwrap_or(offer.from.address.expose());
        let from_uri = Uri::sip(Some(user).filter(|u| !u.is_empty()), &domain, None);
        let to = match &offer.reach {
            Reach::Binding(_) => &offer.to,
            // What was dialled here means nothing there.
            Reach::Trunk { number, .. } | Reach::Registration { number, .. } => number,
        };
        let to_uri = Uri::sip(Some(to.expose()), &domain, None);
        let (Some(from_uri), Some(to_uri)) = (from_uri, to_uri) else {
            self.tell(id, LegEvent::Ended(Cause::InvalidNumber));
            return;
        };
        let kind = if offer.is_emergency { Place::Emergency } else { Place::Out };
        if let Err(cause) = self.take_place(now, account, kind) {
            self.tell(id, LegEvent::Ended(cause));
            return;
        }
        let from = self.stated_caller(account, from_uri, &offer.from);
        let mut request = Request::new(Method::INVITE, uri);
        let headers = &mut request.headers;
        for route in routes {
            headers.push(HeaderName::ROUTE, route);
        }
        headers.push(HeaderName::MAX_FORWARDS, "70");
        let tag = local_tag.as_bytes();
        headers.push(HeaderName::FROM, [from.print().as_ref(), b";tag=", tag].concat());
        headers.push(HeaderName::TO, NameAddr::new(to_uri).print());
        headers.push(HeaderName::CALL_ID, call_id.clone());
        headers.push(HeaderName::CSEQ, "1 INVITE");
        self.own_headers(account, &flow, &mut request);
        let headers = &mut request.headers;
        headers.push(HeaderName::RECV_INFO, "trickle-ice");
        headers.push(HeaderName::other("X-Crosspoint-Gcid"), offer.gcid.as_str().to_owned());
        add_transfer(&offer, &domain, &mut request);
        if offer.auto_answer {
            auto_answer_headers(&mut request, &domain);
        }
        self.ask_for_session_timer(&mut request);
        self.pass_headers(account, &mut request, &offer);
        let sdp = offer.description.to_string();
        attach(&mut request, &sdp, offer.location.as_deref(), &mut self.rng);
        self.tell_of_caller(now, &offer, &domain, &mut request);
        let key = self.endpoint.send_request(now, flow, &request);
        self.clients.insert(key, ClientUse::Invite(id));
        let dialog_key = (Bytes::from(call_id), Bytes::from(local_tag));
        let mut leg = Leg::new(
            Phase::Calling(Box::new(Calling::new(key, request, spare))),
            flow,
            dialog_key.clone(),
        );
        leg.account = account;
        leg.local_sdp = Some(sdp);
        self.dialogs.insert(dialog_key, id);
        self.legs.insert(id, Box::new(leg));
        if let Reach::Binding(binding) = offer.reach {
            self.join_binding(id, binding, flow);
        }
        self.timers.set((id, Timer::Ring), now + offer.ring_timeout);
        self.watch_hop(now, id);
    }

    /// The caller as the From tells it.
    pub(super) fn stated_caller(
        &self,
        account: Option<Account>,
        uri: Uri,
        caller: &Identity,
    ) -> NameAddr {
        let trunk = match account {
            Some(Account::Trunk(index)) => self.trunks.get(index),
            Some(Account::Registration(_)) | None => None,
        };
        let own = trunk.and_then(|trunk| trunk.own_address());
        if own.is_none()
            && caller.is_private
            && !matches!(account, Some(Account::Registration(_)))
            && let Some(anonymous) = anonymous()
        {
            return anonymous;
        }
        let is_hidden = caller.is_private;
        let display_name = caller.display_name.as_ref().filter(|_| !is_hidden);
        let display_name = display_name.map(|n| clean(n.expose())).filter(|n| !n.is_empty());
        NameAddr { display_name, ..NameAddr::new(own.unwrap_or(uri)) }
    }

    /// What else the called side is told of the caller.
    fn pass_headers(&self, account: Option<Account>, request: &mut Request, offer: &OutgoingOffer) {
        match account {
            Some(Account::Trunk(index)) => {
                if let Some(trunk) = self.trunks.get(index) {
                    let number = match &offer.reach {
                        Reach::Trunk { number, .. } | Reach::Registration { number, .. } => number,
                        Reach::Binding(_) => &offer.to,
                    };
                    let to = (number.expose().as_str(), trunk.config.domain.as_str());
                    say_where_it_was(request, &offer.diverted, to, trunk.config.diversion, true);
                    trunk.dress(request, &offer.from);
                }
            }
            Some(Account::Registration(_)) => {}
            None => {
                let to = (offer.to.expose().as_str(), self.config.domain.as_str());
                say_where_it_was(request, &offer.diverted, to, DiversionForm::Both, false);
                pass_remarks(request, offer);
            }
        }
    }

    /// The flow, request URI and domain for a destination.
    pub(super) fn reach(&mut self, reach: &Reach) -> Option<Way> {
        match reach {
            Reach::Binding(id) => {
                let binding = self.registrar.binding(*id);
                let binding = binding.or_else(|| self.forwards.bindings.binding(*id))?;
                let hop = binding.path.first().map(|p| &p.uri).unwrap_or(&binding.contact);
                let by_flow = binding.flow.connection.is_some() || binding.is_reached_by_flow();
                let address = address_of(hop, binding.flow.transport).filter(|_| !by_flow);
                let flow = Flow { remote: address.unwrap_or(binding.flow.remote), ..binding.flow };
                Some(Way {
                    flow,
                    uri: binding.contact.clone(),
                    domain: self.config.domain.clone(),
                    routes: binding.path.iter().map(NameAddr::print).collect(),
                    account: None,
                    user: None,
                    spare: vec![],
                })
            }
            Reach::Trunk { name, number } => {
                let index = self.trunks.named(name)?;
                self.trunk_way(index, number.expose())
            }
            Reach::Registration { id, number } => match forward_of(*id) {
                Some(forward) => {
                    let trunk = self.forwards.trunk(forward)?;
                    let user = self.forwards.user(forward).map(str::to_owned);
                    Some(Way { user, ..self.trunk_way(trunk, number.expose())? })
                }
                None => self.registrations.way(*id, number.expose()),
            },
        }
    }

    // The called side's answers.

    fn progress(&mut self, now: Instant, id: LegId, status: StatusCode, sdp: Option<String>) {
        // RFC 3262 §5: a provisional may answer an offer, but where the caller wants one from us
        // it waits for the 200.
        let sdp = sdp.filter(|_| {
            let phase = self.legs.get(&id).map(|leg| &leg.phase);
            matches!(phase, Some(Phase::Incoming(incoming)) if !incoming.late_offer)
        });
        let Some(response) = self.incoming_response(id, status, sdp.as_deref()) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if sdp.is_some() {
            leg.early_answer = sdp;
        }
        self.send_incoming(now, id, response);
    }

    fn answer(&mut self, now: Instant, id: LegId, sdp: String) {
        let Some(leg) = self.legs.get(&id) else { return };
        let Phase::Incoming(incoming) = &leg.phase else { return };
        let late_offer = incoming.late_offer;
        // The 200 repeats the description of the 183: JsSIP applies it to a new offer.
        let sdp = leg.early_answer.clone().unwrap_or(sdp);
        let Some(mut response) = self.incoming_response(id, StatusCode::OK, Some(&sdp)) else {
            return;
        };
        let request = incoming.request.clone();
        self.agree_on_session(now, id, &request, &mut response);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.local_sdp = Some(sdp);
            if late_offer {
                leg.offer = Offer::AwaitingAck;
            }
        }
        self.send_incoming(now, id, response);
    }

    fn incoming_response(
        &self,
        id: LegId,
        status: StatusCode,
        sdp: Option<&str>,
    ) -> Option<Response> {
        let leg = self.legs.get(&id)?;
        let Phase::Incoming(incoming) = &leg.phase else { return None };
        let mut response = Response::for_request(&incoming.request, status);
        if let Some(to) = incoming.request.headers.first(&HeaderName::TO) {
            let tag = incoming.local_tag.as_bytes();
            response.headers.set(HeaderName::TO, [to.as_ref(), b";tag=", tag].concat());
        }
        for route in incoming.request.headers.all(&HeaderName::RECORD_ROUTE) {
            response.headers.push(HeaderName::RECORD_ROUTE, route.clone());
        }
        response.headers.push(HeaderName::CONTACT, self.contact(leg.account, &leg.flow));
        if status.is_success() {
            response.headers.push(HeaderName::ALLOW, ALLOW);
            response.headers.push(HeaderName::SUPPORTED, SUPPORTED);
            response.headers.push(HeaderName::RECV_INFO, "trickle-ice");
        }
        if let Some(sdp) = sdp {
            response.set_body(SDP, sdp.to_owned());
        }
        Some(response)
    }

    /// Refuses the INVITE of a leg that is not answered.
    pub(super) fn finish_incoming(
        &mut self,
        now: Instant,
        id: LegId,
        status: StatusCode,
        cause: Option<Cause>,
    ) {
        let Some(mut response) = self.incoming_response(id, status, None) else { return };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers.push(HeaderName::RETRY_AFTER, self.retry_after());
        }
        if let Some(reason) = cause.and_then(reason_for) {
            response.headers.push(HeaderName::REASON, reason);
        }
        if let Some(Leg { phase: Phase::Incoming(incoming), .. }) =
            self.legs.get_mut(&id).map(Box::as_mut)
        {
            incoming.reliable = None;
            incoming.queued.clear();
        }
        self.send_incoming(now, id, response);
    }

    pub(super) fn dialog_headers(&self, id: LegId, response: &mut Response) {
        if let Some(leg) = self.legs.get(&id) {
            response.headers.push(HeaderName::CONTACT, self.contact(leg.account, &leg.flow));
        }
        response.headers.push(HeaderName::ALLOW, ALLOW);
        response.headers.push(HeaderName::SUPPORTED, SUPPORTED);
    }

    pub(super) fn dialog_request_headers(&self, id: LegId, flow: &Flow, request: &mut Request) {
        let account = self.legs.get(&id).and_then(|leg| leg.account);
        self.own_headers(account, flow, request);
    }

    /// Where we are and what we can.
    fn own_headers(&self, account: Option<Account>, flow: &Flow, request: &mut Request) {
        request.headers.push(HeaderName::CONTACT, self.contact(account, flow));
        request.headers.push(HeaderName::ALLOW, ALLOW);
        request.headers.push(HeaderName::SUPPORTED, SUPPORTED);
        request.headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
    }
}

/// Who sent the caller, and whose place the call takes, where a transfer makes it.
fn add_transfer(offer: &OutgoingOffer, domain: &str, request: &mut Request) {
    let by = offer.referred_by.as_ref();
    if let Some(uri) = by.and_then(|by| Uri::sip(Some(by.expose()), domain, None)) {
        request.headers.push(HeaderName::REFERRED_BY, NameAddr::new(uri).print());
    }
    if let Some(call) = &offer.joins {
        // Who does not know Replaces would take it for a call of its own (RFC 3891 §4).
        request.headers.push(HeaderName::REPLACES, call.expose().clone());
        request.headers.push(HeaderName::REQUIRE, "replaces");
    }
}

/// A display name without what could break out of its quotes or its line.
pub(super) fn clean(name: &str) -> Bytes {
    Bytes::from(plain_name(name, MAX_NAME))
}

/// In characters.
pub(super) const MAX_NAME: usize = 128;

//! What a call tells a leg to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Flow, LegId};
use crosspoint_call::{
    Cause, LegCommand, LegEvent, OutgoingOffer, Reach, ReofferFailure, TransferProgress,
};
use crosspoint_sdp::fragment::Fragment;
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::body::{DTMF_RELAY, SDP, SDP_FRAGMENT, dtmf_relay};
use super::leg::{Calling, Leg, Offer, Phase, Reliable};
use super::status::{reason_for, status_for};
use super::{ALLOW, ClientUse, SUPPORTED, SipUa, T1, Timer};

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
            LegCommand::Dtmf(digit, duration) => {
                let body = dtmf_relay(digit, duration);
                self.info(now, id, DTMF_RELAY, body, None);
            }
            LegCommand::TransferProgress(progress) => self.notify(now, id, progress),
            LegCommand::End(cause) => self.hang_up(now, id, cause),
        }
    }

    fn call_out(&mut self, now: Instant, id: LegId, offer: OutgoingOffer) {
        let Some((flow, uri, domain, trunk)) = self.reach(&offer.reach) else {
            self.tell(id, LegEvent::Ended(Cause::Unavailable));
            return;
        };
        let local_tag = self.rng.hex(8);
        let call_id = self.rng.hex(16);
        let user = offer.from.address.expose().as_str();
        let from_uri = Uri::sip(Some(user).filter(|u| !u.is_empty()), &domain, None);
        let to = match &offer.reach {
            Reach::Binding(_) => &offer.to,
            // What was dialled here means nothing there.
            Reach::Trunk { number, .. } => number,
        };
        let to_uri = Uri::sip(Some(to.expose()), &domain, None);
        let (Some(from_uri), Some(to_uri)) = (from_uri, to_uri) else {
            self.tell(id, LegEvent::Ended(Cause::InvalidNumber));
            return;
        };
        let mut from = NameAddr::new(from_uri);
        from.display_name =
            offer.from.display_name.as_ref().map(|n| clean(n.expose())).filter(|n| !n.is_empty());
        let mut request = Request::new(Method::INVITE, uri);
        let headers = &mut request.headers;
        if let Reach::Binding(binding) = &offer.reach
            && let Some(binding) = self.registrar.binding(*binding)
        {
            for route in &binding.path {
                headers.push(HeaderName::ROUTE, route.print());
            }
        }
        headers.push(HeaderName::MAX_FORWARDS, "70");
        let from = [from.print().as_ref(), b";tag=", local_tag.as_bytes()].concat();
        headers.push(HeaderName::FROM, from);
        headers.push(HeaderName::TO, NameAddr::new(to_uri).print());
        headers.push(HeaderName::CALL_ID, call_id.clone());
        headers.push(HeaderName::CSEQ, "1 INVITE");
        headers.push(HeaderName::CONTACT, self.contact(&flow));
        headers.push(HeaderName::ALLOW, ALLOW);
        headers.push(HeaderName::SUPPORTED, SUPPORTED);
        headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        headers.push(HeaderName::other("X-Crosspoint-Gcid"), offer.gcid.as_str().to_owned());
        self.ask_for_session_timer(&mut request);
        let sdp = offer.description.to_string();
        request.set_body(SDP, sdp.clone());
        let key = self.endpoint.send_request(now, flow, request.clone());
        self.clients.insert(key, ClientUse::Invite(id));
        let mut leg = Leg::new(
            Phase::Calling(Box::new(Calling {
                key,
                request,
                early: BTreeMap::new(),
                has_media: false,
                rang: false,
                was_challenged: false,
                interval_raised: false,
                last_rseq: BTreeMap::new(),
            })),
            flow,
        );
        leg.trunk = trunk;
        leg.local_sdp = Some(sdp);
        self.dialogs.insert((Bytes::from(call_id), Bytes::from(local_tag)), id);
        self.legs.insert(id, leg);
        self.timers.set((id, Timer::Ring), now + offer.ring_timeout);
    }

    /// The flow, request URI and domain for a destination.
    fn reach(&self, reach: &Reach) -> Option<(Flow, Uri, String, Option<usize>)> {
        match reach {
            Reach::Binding(id) => {
                let binding = self.registrar.binding(*id)?;
                let hop = binding.path.first().map(|p| &p.uri).unwrap_or(&binding.contact);
                let by_flow = binding.flow.connection.is_some() || binding.is_reached_by_flow();
                let address = crosspoint_sip::dialog::address_of(hop).filter(|_| !by_flow);
                let flow = Flow { remote: address.unwrap_or(binding.flow.remote), ..binding.flow };
                Some((flow, binding.contact.clone(), self.config.domain.clone(), None))
            }
            Reach::Trunk { name, number } => {
                let index = self.config.trunks.iter().position(|t| t.name == *name)?;
                let trunk = &self.config.trunks[index];
                let flow = Flow {
                    transport: trunk.transport,
                    connection: None,
                    local: trunk.local,
                    remote: trunk.address,
                };
                let port = trunk.address.port();
                let uri = Uri::sip(Some(number.expose()), &trunk.domain, Some(port))?;
                Some((flow, uri, trunk.domain.clone(), Some(index)))
            }
        }
    }

    // The called side's answers.

    fn progress(&mut self, now: Instant, id: LegId, status: StatusCode, sdp: Option<String>) {
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
        self.negotiate_session_timer(now, id, &mut response);
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
        response.headers.push(HeaderName::CONTACT, self.contact(&leg.flow));
        if status.is_success() {
            response.headers.push(HeaderName::ALLOW, ALLOW);
            response.headers.push(HeaderName::SUPPORTED, SUPPORTED);
        }
        if let Some(sdp) = sdp {
            response.set_body(SDP, sdp.to_owned());
        }
        Some(response)
    }

    /// Sends a response to the INVITE; reliably where the peer asks for it, in order.
    pub(super) fn send_incoming(&mut self, now: Instant, id: LegId, mut response: Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Phase::Incoming(incoming) = &mut leg.phase else { return };
        if incoming.reliable.is_some() {
            // RFC 3262 §3: one at a time, and the answer after the last.
            if incoming.queued.len() < 8 {
                incoming.queued.push_back(response);
            }
            return;
        }
        let key = incoming.key;
        if response.status.is_final() {
            self.servers.remove(&key);
            if response.status.is_success() {
                leg.phase = Phase::Confirmed;
                self.unacknowledged.insert(key, id);
            }
            self.respond(now, key, &mut response);
            return;
        }
        let headers = &incoming.request.headers;
        let required = headers.has_option(&HeaderName::REQUIRE, "100rel");
        let supported = headers.has_option(&HeaderName::SUPPORTED, "100rel");
        if required || (supported && !response.body.is_empty()) {
            let rseq = incoming.next_rseq;
            incoming.next_rseq += 1;
            response.headers.push(HeaderName::REQUIRE, "100rel");
            response.headers.push(HeaderName::RSEQ, rseq.to_string());
            incoming.reliable =
                Some(Reliable { rseq, response: response.clone(), interval: T1, tries: 0 });
            self.timers.set((id, Timer::Reliable), now + T1);
        }
        self.respond(now, key, &mut response);
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
            response.headers.push(HeaderName::RETRY_AFTER, "5");
        }
        if let Some(reason) = cause.and_then(reason_for) {
            response.headers.push(HeaderName::REASON, reason);
        }
        if let Some(Leg { phase: Phase::Incoming(incoming), .. }) = self.legs.get_mut(&id) {
            incoming.reliable = None;
            incoming.queued.clear();
        }
        self.send_incoming(now, id, response);
    }

    // Re-offers.

    pub(super) fn reoffer(&mut self, now: Instant, id: LegId, sdp: String, tries: u32) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_free = matches!(leg.offer, Offer::None) && matches!(leg.phase, Phase::Confirmed);
        if !is_free {
            self.tell(id, LegEvent::ReofferFailed(ReofferFailure::Glare));
            return;
        }
        let Some(dialog) = &mut leg.dialog else { return };
        let mut request = dialog.request(Method::INVITE, None);
        let flow = dialog.next_hop();
        leg.offer = Offer::Ours { sdp: sdp.clone(), tries };
        leg.local_sdp = Some(sdp.clone());
        self.dialog_request_headers(&flow, &mut request);
        request.set_body(SDP, sdp);
        let key = self.endpoint.send_request(now, flow, request);
        self.clients.insert(key, ClientUse::Reoffer(id));
    }

    fn reanswer(&mut self, now: Instant, id: LegId, sdp: String) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Offer::Theirs { key, request, late } = std::mem::take(&mut leg.offer) else { return };
        let is_invite = request.method == Method::INVITE;
        leg.local_sdp = Some(sdp.clone());
        if late {
            leg.offer = Offer::AwaitingAck;
        }
        let mut response = Response::for_request(&request, StatusCode::OK);
        self.dialog_headers(id, &mut response);
        self.session_headers(id, &mut response);
        response.set_body(SDP, sdp);
        self.servers.remove(&key);
        if is_invite {
            self.unacknowledged.insert(key, id);
        }
        self.respond(now, key, &mut response);
    }

    pub(super) fn refuse_reoffer(&mut self, now: Instant, id: LegId, status: StatusCode) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Offer::Theirs { key, request, .. } = std::mem::take(&mut leg.offer) else { return };
        self.servers.remove(&key);
        let mut response = Response::for_request(&request, status);
        self.respond(now, key, &mut response);
    }

    // Other requests of ours.

    fn trickle(&mut self, now: Instant, id: LegId, fragment: &Fragment) {
        if self.legs.get(&id).is_some_and(|l| l.peer.trickles) {
            self.info(now, id, SDP_FRAGMENT, fragment.print(), Some("trickle-ice"));
        }
    }

    fn info(
        &mut self,
        now: Instant,
        id: LegId,
        kind: &'static str,
        body: String,
        package: Option<&'static str>,
    ) {
        let Some(dialog) = self.legs.get_mut(&id).and_then(|l| l.dialog.as_mut()) else { return };
        let mut request = dialog.request(Method::INFO, None);
        let flow = dialog.next_hop();
        if let Some(package) = package {
            request.headers.push(HeaderName::INFO_PACKAGE, package);
        }
        self.dialog_request_headers(&flow, &mut request);
        request.set_body(kind, body);
        let key = self.endpoint.send_request(now, flow, request);
        self.clients.insert(key, ClientUse::InDialog(id));
    }

    /// Tells the transferor how its REFER goes (RFC 3515 §2.4.4).
    fn notify(&mut self, now: Instant, id: LegId, progress: TransferProgress) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if !leg.refer {
            return;
        }
        let status = match progress {
            TransferProgress::Trying => StatusCode::TRYING,
            TransferProgress::Ringing => StatusCode::RINGING,
            TransferProgress::Done => StatusCode::OK,
            TransferProgress::Failed(cause) => status_for(cause),
        };
        let Some(dialog) = &mut leg.dialog else { return };
        let mut request = dialog.request(Method::NOTIFY, None);
        let flow = dialog.next_hop();
        request.headers.push(HeaderName::EVENT, "refer");
        let state = if status.is_final() {
            leg.refer = false;
            "terminated;reason=noresource"
        } else {
            "active;expires=60"
        };
        request.headers.push(HeaderName::SUBSCRIPTION_STATE, state);
        self.dialog_request_headers(&flow, &mut request);
        let body = format!("SIP/2.0 {status} {}\r\n", status.default_reason());
        request.set_body("message/sipfrag;version=2.0", body);
        let key = self.endpoint.send_request(now, flow, request);
        self.clients.insert(key, ClientUse::InDialog(id));
    }

    // The end.

    /// Ends a leg by our will, in whatever state it is.
    pub(super) fn hang_up(&mut self, now: Instant, id: LegId, cause: Cause) {
        let Some(leg) = self.legs.get(&id) else { return };
        match &leg.phase {
            Phase::Incoming(_) => {
                self.finish_incoming(now, id, status_for(cause), Some(cause));
                self.end(id, cause);
            }
            Phase::Calling(calling) => {
                let key = calling.key;
                let given_up = self.endpoint.cancel(now, key, reason_for(cause));
                if let Some(leg) = self.end(id, cause).filter(|_| given_up) {
                    self.clients.insert(key, ClientUse::Abandoned(Box::new(leg)));
                }
            }
            Phase::Confirmed => {
                self.refuse_reoffer(now, id, StatusCode::REQUEST_TERMINATED);
                if let Some(mut leg) = self.end(id, cause)
                    && let Some(dialog) = &mut leg.dialog
                {
                    self.bye(now, dialog, cause);
                }
            }
        }
    }

    pub(super) fn bye(&mut self, now: Instant, dialog: &mut Dialog, cause: Cause) {
        let mut request = dialog.request(Method::BYE, None);
        if let Some(reason) = reason_for(cause) {
            request.headers.push(HeaderName::REASON, reason);
        }
        request.headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        let key = self.endpoint.send_request(now, dialog.next_hop(), request);
        self.clients.insert(key, ClientUse::Forgotten);
    }

    /// Forgets a leg and says its one `Ended`.
    pub(super) fn end(&mut self, id: LegId, cause: Cause) -> Option<Leg> {
        let leg = self.legs.remove(&id)?;
        self.dialogs.retain(|_, l| *l != id);
        self.unacknowledged.retain(|_, l| *l != id);
        for timer in [Timer::Ring, Timer::Reliable, Timer::Glare, Timer::Session] {
            self.timers.cancel(&(id, timer));
        }
        self.tell(id, LegEvent::Ended(cause));
        Some(leg)
    }

    pub(super) fn dialog_headers(&self, id: LegId, response: &mut Response) {
        if let Some(leg) = self.legs.get(&id) {
            response.headers.push(HeaderName::CONTACT, self.contact(&leg.flow));
        }
        response.headers.push(HeaderName::ALLOW, ALLOW);
        response.headers.push(HeaderName::SUPPORTED, SUPPORTED);
    }

    pub(super) fn dialog_request_headers(&self, flow: &Flow, request: &mut Request) {
        request.headers.push(HeaderName::CONTACT, self.contact(flow));
        request.headers.push(HeaderName::ALLOW, ALLOW);
        request.headers.push(HeaderName::SUPPORTED, SUPPORTED);
        request.headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
    }
}

/// A display name without what could break out of its quotes or its line.
fn clean(name: &str) -> Bytes {
    Bytes::from(name.chars().filter(|c| !c.is_control()).take(128).collect::<String>())
}

/// After glare: who owns the Call-ID waits longer (RFC 3261 §14.1).
pub(super) fn glare_delay(owns_call_id: bool, random: u32) -> Duration {
    let tens = u64::from(random % 200) * 10;
    Duration::from_millis(if owns_call_id { 2100 + tens * 19 / 20 } else { tens })
}

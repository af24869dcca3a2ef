//! Requests inside a dialog: ACK, BYE, re-INVITE, UPDATE, PRACK, INFO, REFER.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, LegId};
use crosspoint_call::{Cause, LegEvent, ReofferFailure};
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::body::{Described, description, media_types};
use super::leg::{Leg, Offer, Phase};
use super::pressing::button_of;
use super::{ServerUse, SipUa, Timer};

impl SipUa {
    pub(super) fn request_in_dialog(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: Flow,
        id: LegId,
        request: &Request,
    ) {
        let account = self.legs.get(&id).and_then(|leg| leg.account);
        let flow = self.lasting_flow(account, flow);
        let Some(leg) = self.legs.get_mut(&id) else {
            self.request_while_closing(now, key, id, request);
            return;
        };
        let tag = request.headers.from().and_then(|from| from.tag()).unwrap_or_default();
        let Some(dialog) = leg.dialog_with(&tag) else {
            self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST);
            return;
        };
        if !dialog.take_request(request, flow) {
            // RFC 3261 §12.2.2: an older request came late.
            self.refuse(now, key, request, StatusCode::SERVER_INTERNAL_ERROR);
            return;
        }
        self.heard_at(now, id, flow);
        if !self.legs.contains_key(&id) {
            // By another connection it told that it had left the call.
            self.request_while_closing(now, key, id, request);
            return;
        }
        if !self.requirements_met(now, key, request) {
        } else if request.method == Method::BYE {
            self.bye_arrived(now, key, id, &tag, request);
        } else if request.method == Method::INVITE || request.method == Method::UPDATE {
            self.reoffer_arrived(now, key, id, request);
        } else if request.method == Method::PRACK {
            self.prack_arrived(now, key, id, request);
        } else if request.method == Method::INFO {
            self.info_arrived(now, key, id, request);
        } else if request.method == Method::REFER {
            self.refer_arrived(now, key, id, request);
        } else if request.method == Method::OPTIONS {
            self.options(now, key, request);
        } else if request.method == Method::NOTIFY {
            // Interop: phones tell about transfers that nobody asked them for.
            self.accept(now, key, request);
            if let Some(button) = button_of(request) {
                self.tell(id, LegEvent::Pressed(button));
            }
        } else if request.method.is_known() {
            self.refuse(now, key, request, StatusCode::METHOD_NOT_ALLOWED);
        } else {
            self.refuse(now, key, request, StatusCode::NOT_IMPLEMENTED);
        }
    }

    fn bye_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        id: LegId,
        tag: &Bytes,
        request: &Request,
    ) {
        self.accept(now, key, request);
        if let Some(Leg { phase: Phase::Calling(calling), .. }) =
            self.legs.get_mut(&id).map(Box::as_mut)
        {
            // One branch is gone; the INVITE is answered by another, or fails.
            calling.early.remove(tag);
            return;
        }
        self.finish_incoming(now, id, StatusCode::REQUEST_TERMINATED, None);
        self.end(now, id, Cause::Normal);
    }

    pub(super) fn accept(&mut self, now: Instant, key: ServerKey, request: &Request) {
        let mut response = Response::for_request(request, StatusCode::OK);
        self.respond(now, key, &mut response);
    }

    /// A 2xx to this INVITE is about to be sent.
    pub(super) fn expect_ack(&mut self, key: ServerKey, id: LegId, request: &Request) {
        self.unacknowledged.insert(key, id);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.awaiting_ack = request.headers.cseq().map(|cseq| (key, cseq.number));
        }
    }

    /// The ACK of a 2xx.
    pub(super) fn handle_ack(&mut self, now: Instant, flow: Flow, request: &Request) {
        let tag = request.headers.to().and_then(|to| to.tag());
        let found = request
            .headers
            .call_id()
            .zip(tag)
            .and_then(|(call_id, tag)| self.dialogs.get(&(call_id.clone(), tag)).copied());
        let Some(id) = found else { return };
        let account = self.legs.get(&id).and_then(|leg| leg.account);
        let flow = self.lasting_flow(account, flow);
        let Some(leg) = self.legs.get_mut(&id) else {
            self.close(now, id);
            return;
        };
        if let Some(dialog) = &mut leg.dialog {
            dialog.follow(flow);
        }
        self.heard_at(now, id, flow);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        // A repeat, or the late ACK of an earlier INVITE, means nothing new.
        let number = request.headers.cseq().map(|cseq| cseq.number);
        let Some((key, _)) = leg.awaiting_ack.take_if(|(_, asked)| Some(*asked) == number) else {
            return;
        };
        self.unacknowledged.remove(&key);
        if matches!(leg.offer, Offer::AwaitingAck) {
            leg.offer = Offer::None;
            match description(&request.headers, &request.body) {
                Described::Session(session) => {
                    self.tell(id, LegEvent::Confirm(Some(*session)));
                }
                // Our offer was never answered (RFC 3261 §13.2.2.4).
                Described::Nothing | Described::UnknownType | Described::Malformed => {
                    self.hang_up(now, id, Cause::BadDescription);
                }
            }
        } else {
            self.tell(id, LegEvent::Confirm(None));
        }
    }

    pub(super) fn reoffer_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        id: LegId,
        request: &Request,
    ) {
        let is_invite = request.method == Method::INVITE;
        let described = description(&request.headers, &request.body);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(status) = refusal_of_offer(leg, request, &described) {
            let mut response = Response::for_request(request, status);
            if status == StatusCode::SERVER_INTERNAL_ERROR {
                response.headers.push(HeaderName::RETRY_AFTER, self.rng.below(11).to_string());
            }
            if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
                media_types(&mut response);
            }
            self.respond(now, key, &mut response);
            return;
        }
        if !self.session_timer_fits(now, key, request) {
            return;
        }
        let (session, late) = match described {
            Described::Session(session) => (Some(*session), false),
            _ if is_invite => (None, true),
            _ => {
                let mut response = Response::for_request(request, StatusCode::OK);
                self.dialog_headers(id, &mut response);
                self.agree_on_session(now, id, request, &mut response);
                self.respond(now, key, &mut response);
                return;
            }
        };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.offer = Offer::Theirs { key, request: Box::new(request.clone()), late };
        if leg.delayed_offer.take().is_some() {
            // The peer was faster: what we wanted to offer is out of date.
            self.timers.cancel(&(id, Timer::Glare));
            self.tell(id, LegEvent::ReofferFailed(ReofferFailure::Glare));
        }
        self.servers.insert(key, ServerUse::Reoffer(id));
        self.tell(id, LegEvent::Reoffer(session));
    }
}

/// Why an INVITE, UPDATE or PRACK inside a dialog cannot be taken now.
fn refusal_of_offer(leg: &Leg, request: &Request, described: &Described) -> Option<StatusCode> {
    let is_invite = request.method == Method::INVITE;
    let tag = request.headers.from().and_then(|from| from.tag()).unwrap_or_default();
    match (&leg.offer, described) {
        (_, Described::UnknownType) => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (_, Described::Malformed) => Some(StatusCode::BAD_REQUEST),
        // An UPDATE without a description only refreshes the session.
        (_, Described::Nothing) if !is_invite => None,
        // RFC 3261 §14.2, RFC 3311 §5.2: our offer is open.
        (Offer::Ours(_) | Offer::AwaitingAck, _) => Some(StatusCode::REQUEST_PENDING),
        // Theirs is.
        (Offer::Theirs { .. }, _) => Some(StatusCode::SERVER_INTERNAL_ERROR),
        (Offer::None, _) => match &leg.phase {
            Phase::Confirmed => None,
            _ if !is_invite && leg.may_change_early(&tag) => None,
            Phase::Incoming(_) => Some(StatusCode::SERVER_INTERNAL_ERROR),
            Phase::Calling(_) => Some(StatusCode::REQUEST_PENDING),
        },
    }
}

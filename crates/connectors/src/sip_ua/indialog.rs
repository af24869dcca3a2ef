//! Requests inside a dialog: ACK, BYE, re-INVITE, UPDATE, PRACK, INFO, REFER.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, LegId, Private};
use crosspoint_call::{Candidate, Cause, LegEvent, ReofferFailure, TransferTarget};
use crosspoint_sdp::fragment::Fragment;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode};

use super::body::{self, Described, description};
use super::leg::{Leg, Offer, Phase};
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
        } else if !self.requirements_met(now, key, request) {
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
        } else if request.method == Method::NOTIFY || request.method == Method::MESSAGE {
            // A NOTIFY of a transfer we did not ask for changes nothing; a chat line is lost.
            self.accept(now, key, request);
        } else {
            self.refuse(now, key, request, StatusCode::METHOD_NOT_ALLOWED);
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
        if let Some(Leg { phase: Phase::Calling(calling), .. }) = self.legs.get_mut(&id) {
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
        let Some(leg) = self.legs.get_mut(&id) else {
            self.close(now, id);
            return;
        };
        if let Some(dialog) = &mut leg.dialog {
            dialog.follow(flow);
        }
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
                response.headers.push(HeaderName::ACCEPT, "application/sdp");
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

    fn info_arrived(&mut self, now: Instant, key: ServerKey, id: LegId, request: &Request) {
        let kind = body::content_type(&request.headers);
        if kind == body::SDP_FRAGMENT {
            self.accept(now, key, request);
            let fragment = Fragment::parse(&request.body);
            for candidate in fragment.candidates {
                let candidate = Candidate {
                    text: candidate.0,
                    mid: fragment.mid.clone(),
                    ufrag: fragment.ufrag.clone(),
                };
                self.tell(id, LegEvent::Candidate(candidate));
            }
            if fragment.end_of_candidates {
                self.tell(id, LegEvent::EndOfCandidates);
            }
        } else if let Some((digit, duration)) = body::digit(&request.headers, &request.body) {
            self.accept(now, key, request);
            self.tell(id, LegEvent::Dtmf(digit, duration));
        } else if kind == body::DTMF_RELAY || kind == "application/dtmf" {
            self.refuse(now, key, request, StatusCode::BAD_REQUEST);
        } else if request.headers.has(&HeaderName::INFO_PACKAGE) {
            self.refuse(now, key, request, StatusCode::BAD_INFO_PACKAGE);
        } else if request.body.is_empty() {
            // RFC 2976 keep-alives.
            self.accept(now, key, request);
        } else {
            self.refuse(now, key, request, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
    }

    /// A blind transfer (RFC 3515): carried out by us.
    fn refer_arrived(&mut self, now: Instant, key: ServerKey, id: LegId, request: &Request) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let target = request.headers.first(&HeaderName::REFER_TO).and_then(NameAddr::parse);
        let to = target.as_ref().and_then(|t| t.uri.user_decoded());
        let has_replaces = target
            .as_ref()
            .and_then(|t| t.uri.headers())
            .is_some_and(|h| h.to_ascii_lowercase().windows(8).any(|w| w == b"replaces"));
        let status = match &to {
            None => StatusCode::BAD_REQUEST,
            // An attended transfer names another dialog: taking it for a blind one would ring
            // somebody who is already in a call.
            Some(_) if has_replaces => StatusCode::NOT_IMPLEMENTED,
            Some(_) if leg.refer || !matches!(leg.phase, Phase::Confirmed) => {
                StatusCode::REQUEST_PENDING
            }
            Some(_) => StatusCode::ACCEPTED,
        };
        if status != StatusCode::ACCEPTED {
            self.refuse(now, key, request, status);
            return;
        }
        let wants_no_news = request
            .headers
            .first(&HeaderName::REFER_SUB)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"false"));
        leg.refer = !wants_no_news;
        let mut response = Response::for_request(request, StatusCode::ACCEPTED);
        self.dialog_headers(id, &mut response);
        if wants_no_news {
            response.headers.push(HeaderName::REFER_SUB, "false");
        }
        self.respond(now, key, &mut response);
        let to = to.unwrap_or_default();
        self.tell(id, LegEvent::Transfer(TransferTarget::Blind(Private(to))));
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

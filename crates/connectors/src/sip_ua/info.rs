//! INFO (RFC 6086, RFC 2976): digits, trickled candidates and requests for whole pictures
//! (RFC 5168), both ways.

use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_call::{Candidate, Cause, Digit, LegEvent};
use crosspoint_sdp::fragment::Fragment;
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::body::{self, DTMF, DTMF_RELAY, MEDIA_CONTROL, PICTURE_FAST_UPDATE, SDP_FRAGMENT};
use super::leg::{Leg, Phase};
use super::{ClientUse, SipUa};

/// What an INFO to us may carry.
const ACCEPT_INFO: &str = "application/dtmf-relay, application/dtmf, application/trickle-ice-sdpfrag, \
     application/media_control+xml";

impl SipUa {
    pub(super) fn info_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        id: LegId,
        request: &Request,
    ) {
        let kind = body::content_type(&request.headers);
        if kind == SDP_FRAGMENT {
            self.accept(now, key, request);
            self.candidates_arrived(id, &Fragment::parse(&request.body));
        } else if let Some((digit, duration)) = body::digit(&request.headers, &request.body) {
            self.accept(now, key, request);
            self.tell(id, LegEvent::Dtmf(digit, duration));
        } else if kind == MEDIA_CONTROL {
            self.accept(now, key, request);
            if body::wants_key_frame(&request.body) {
                self.tell(id, LegEvent::KeyFrameWanted);
            }
        } else if kind == DTMF_RELAY || kind == DTMF {
            self.refuse(now, key, request, StatusCode::BAD_REQUEST);
        } else if request.headers.has(&HeaderName::INFO_PACKAGE) {
            let mut response = Response::for_request(request, StatusCode::BAD_INFO_PACKAGE);
            response.headers.push(HeaderName::RECV_INFO, "trickle-ice");
            self.respond(now, key, &mut response);
        } else if request.body.is_empty() {
            // RFC 2976 keep-alives.
            self.accept(now, key, request);
        } else {
            let mut response = Response::for_request(request, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            response.headers.push(HeaderName::ACCEPT, ACCEPT_INFO);
            self.respond(now, key, &mut response);
        }
    }

    fn candidates_arrived(&mut self, id: LegId, fragment: &Fragment) {
        for candidate in &fragment.candidates {
            let candidate = Candidate {
                text: candidate.0.clone(),
                mid: fragment.mid.clone(),
                ufrag: fragment.ufrag.clone(),
            };
            self.tell(id, LegEvent::Candidate(candidate));
        }
        if fragment.end_of_candidates {
            self.tell(id, LegEvent::EndOfCandidates);
        }
    }

    pub(super) fn trickle(&mut self, now: Instant, id: LegId, fragment: &Fragment) {
        if self.legs.get(&id).is_some_and(|l| l.peer.trickles) {
            let purpose = ClientUse::InDialog(id);
            self.info(now, id, SDP_FRAGMENT, fragment.print(), Some("trickle-ice"), purpose);
        }
    }

    pub(super) fn send_digit(&mut self, now: Instant, id: LegId, digit: Digit, length: Duration) {
        let is_plain = self.legs.get(&id).is_some_and(|l| l.peer.plain_digits);
        let (kind, body) = if is_plain {
            (DTMF, digit.as_char().to_string())
        } else {
            (DTMF_RELAY, body::dtmf_relay(digit, length))
        };
        self.info(now, id, kind, body, None, ClientUse::Digit(id, digit, length));
    }

    /// Interop: some phones take `application/dtmf` only; the first digit finds out.
    pub(super) fn digit_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        (id, digit, length): (LegId, Digit, Duration),
        response: &Response,
    ) {
        self.clients.remove(&key);
        // RFC 5057 §5.1: these mean that the dialog is gone.
        if matches!(response.status.0, 481 | 408) {
            self.hang_up(now, id, Cause::SignalingLost);
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let refused = response.status == StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let takes_plain = !response.headers.has(&HeaderName::ACCEPT)
            || response.headers.has_option(&HeaderName::ACCEPT, DTMF);
        if refused && takes_plain && !std::mem::replace(&mut leg.peer.plain_digits, true) {
            self.send_digit(now, id, digit, length);
        }
    }

    pub(super) fn request_key_frame(&mut self, now: Instant, id: LegId) {
        let is_taken =
            |leg: &Leg| matches!(leg.phase, Phase::Confirmed) && !leg.peer.refuses_media_control;
        if self.legs.get(&id).map(Box::as_ref).is_some_and(is_taken) {
            let body = PICTURE_FAST_UPDATE.to_owned();
            self.info(now, id, MEDIA_CONTROL, body, None, ClientUse::KeyFrame(id));
        }
    }

    /// A peer that refuses one is not asked again.
    pub(super) fn key_frame_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: LegId,
        response: &Response,
    ) {
        self.clients.remove(&key);
        // RFC 5057 §5.1: these mean that the dialog is gone.
        if matches!(response.status.0, 481 | 408) {
            self.hang_up(now, id, Cause::SignalingLost);
        } else if !response.status.is_success()
            && let Some(leg) = self.legs.get_mut(&id)
        {
            leg.peer.refuses_media_control = true;
        }
    }

    fn info(
        &mut self,
        now: Instant,
        id: LegId,
        kind: &'static str,
        body: String,
        package: Option<&'static str>,
        purpose: ClientUse,
    ) {
        if !self.has_room(id) {
            return;
        }
        let Some(dialog) = self.legs.get_mut(&id).and_then(|l| l.dialog.as_mut()) else { return };
        let mut request = dialog.request(Method::INFO, None);
        let flow = dialog.next_hop();
        if let Some(package) = package {
            request.headers.push(HeaderName::INFO_PACKAGE, package);
        }
        self.dialog_request_headers(id, &flow, &mut request);
        request.set_body(kind, body);
        self.send_in_leg(now, id, flow, request, purpose);
    }
}

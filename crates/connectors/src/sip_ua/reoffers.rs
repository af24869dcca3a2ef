//! New offers in a running call: ours by re-INVITE, theirs by re-INVITE, UPDATE or PRACK, and
//! what happens when both come at once (RFC 3261 §14, RFC 3311).

use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_call::{Cause, LegEvent, ReofferFailure};
use crosspoint_sip::endpoint::ClientKey;
use crosspoint_sip::{Method, Response, StatusCode};

use super::body::{Described, SDP, description};
use super::leg::{Offer, OurOffer, Phase};
use super::{ClientUse, SipUa, Timer};

/// Tries of a re-offer that meets glare.
const MAX_GLARE: u32 = 3;

impl SipUa {
    pub(super) fn reoffer(&mut self, now: Instant, id: LegId, sdp: String, tries: u32) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if matches!(&leg.offer, Offer::Ours(ours) if ours.is_refresh) {
            // A refresh is on its way, of which the call knows nothing: its turn comes after.
            leg.delayed_offer = Some((sdp, tries));
            self.timers.set((id, Timer::Glare), now + AFTER_REFRESH);
            return;
        }
        if !leg.is_free_to_offer() {
            self.tell(id, LegEvent::ReofferFailed(ReofferFailure::Glare));
            return;
        }
        self.send_reoffer(now, id, sdp, tries, false);
    }

    pub(super) fn send_reoffer(
        &mut self,
        now: Instant,
        id: LegId,
        sdp: String,
        tries: u32,
        is_refresh: bool,
    ) {
        let Some(dialog) = self.legs.get_mut(&id).and_then(|l| l.dialog.as_mut()) else { return };
        let mut request = dialog.request(Method::INVITE, None);
        let flow = dialog.next_hop();
        self.session_headers(id, &mut request);
        self.dialog_request_headers(id, &flow, &mut request);
        request.set_body(SDP, sdp.clone());
        let key = self.send_in_leg(now, id, flow, request, ClientUse::Reoffer(id));
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.reoffer_rseq = None;
            leg.local_sdp = Some(sdp.clone());
            leg.offer = Offer::Ours(OurOffer { key, credentials: vec![], sdp, tries, is_refresh });
        }
    }

    pub(super) fn reanswer(&mut self, now: Instant, id: LegId, sdp: String) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some((key, request, late)) = leg.take_their_offer() else { return };
        let is_invite = request.method == Method::INVITE;
        leg.local_sdp = Some(sdp.clone());
        if !matches!(leg.phase, Phase::Confirmed) {
            leg.early_answer = Some(sdp.clone());
        }
        if late {
            leg.offer = Offer::AwaitingAck;
        }
        let mut response = Response::for_request(&request, StatusCode::OK);
        self.dialog_headers(id, &mut response);
        if request.method != Method::PRACK {
            self.agree_on_session(now, id, &request, &mut response);
        }
        response.set_body(SDP, sdp);
        self.servers.remove(&key);
        if is_invite {
            self.expect_ack(key, id, &request);
        }
        self.respond(now, key, &mut response);
        self.send_queued(now, id);
    }

    pub(super) fn refuse_reoffer(&mut self, now: Instant, id: LegId, status: StatusCode) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some((key, request, _)) = leg.take_their_offer() else { return };
        self.servers.remove(&key);
        let mut response = Response::for_request(&request, status);
        self.respond(now, key, &mut response);
        self.send_queued(now, id);
    }

    pub(super) fn glare_due(&mut self, now: Instant, id: LegId) {
        let delayed = self.legs.get_mut(&id).and_then(|l| l.delayed_offer.take());
        if let Some((sdp, tries)) = delayed {
            self.reoffer(now, id, sdp, tries);
        }
    }

    // Answers to ours.

    pub(super) fn reoffer_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: LegId,
        response: &Response,
    ) {
        self.clients.remove(&key);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let we_called = leg.we_called;
        let Some(ours) = leg.take_our_offer() else { return };
        if response.status.is_success() {
            self.reoffer_answered(now, key, id, response, ours);
            return;
        }
        let OurOffer { sdp, tries, is_refresh, .. } = ours;
        if matches!(response.status.0, 481 | 408) {
            self.hang_up(now, id, Cause::SignalingLost);
        } else if response.status == StatusCode::SESSION_INTERVAL_TOO_SMALL
            && tries < MAX_GLARE
            && self.raise_session(id, response)
        {
            self.send_reoffer(now, id, sdp, tries + 1, is_refresh);
        } else if is_refresh {
            self.refresh_later(now, id);
        } else if response.status == StatusCode::REQUEST_PENDING && tries < MAX_GLARE {
            let delay = glare_delay(we_called, &mut self.rng);
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.delayed_offer = Some((sdp, tries + 1));
            }
            self.timers.set((id, Timer::Glare), now + delay);
        } else {
            let failure = if response.status == StatusCode::REQUEST_PENDING {
                ReofferFailure::Glare
            } else {
                ReofferFailure::Refused
            };
            self.tell(id, LegEvent::ReofferFailed(failure));
        }
    }

    fn reoffer_answered(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: LegId,
        response: &Response,
        ours: OurOffer,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(mut dialog) = leg.dialog.take() else { return };
        dialog.take_response(response, &Method::INVITE);
        let number = response.headers.cseq().map_or(1, |c| c.number);
        let ack = self.acknowledge(&mut dialog, number, ours.credentials);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.dialog = Some(dialog);
            leg.settled = Some(key);
        }
        self.settled(key, ack);
        self.session_agreed(now, id, response);
        if ours.is_refresh {
            return;
        }
        match description(&response.headers, &response.body) {
            Described::Session(session) => self.tell(id, LegEvent::Reanswer(*session)),
            Described::Nothing | Described::UnknownType | Described::Malformed => {
                self.tell(id, LegEvent::ReofferFailed(ReofferFailure::Refused));
            }
        }
    }
}

/// How soon a re-offer that met a refresh of ours is tried again.
const AFTER_REFRESH: Duration = Duration::from_millis(500);

/// After glare: who owns the Call-ID waits longer (RFC 3261 §14.1), in units of 10 ms.
fn glare_delay(owns_call_id: bool, rng: &mut Rng) -> Duration {
    let tens = if owns_call_id { 210 + rng.below(191) } else { rng.below(201) };
    Duration::from_millis(u64::from(tens) * 10)
}

//! Responses to our requests.

use std::time::Instant;

use crosspoint_base::{Flow, LegId};
use crosspoint_call::{Cause, LegEvent, ReofferFailure};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::digest::{Challenge, answer};
use crosspoint_sip::endpoint::ClientKey;
use crosspoint_sip::{HeaderName, Method, Response, StatusCode};

use super::body::{Described, description};
use super::commands::glare_delay;
use super::leg::{Leg, Offer, Phase};
use super::status::cause_of;
use super::{ClientUse, SipUa, Timer};

/// Tries of a re-offer that meets glare.
const MAX_GLARE: u32 = 3;
/// Branches of a forking proxy that we follow.
const MAX_EARLY: usize = 8;

impl SipUa {
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        flow: Flow,
        response: &Response,
    ) {
        let is_final = response.status.is_final();
        match self.clients.get(&key) {
            Some(ClientUse::Invite(id)) => {
                let id = *id;
                self.invite_response(now, key, id, flow, response);
            }
            Some(ClientUse::Abandoned(_)) if is_final => {
                self.abandoned_response(now, key, flow, response);
            }
            Some(ClientUse::Reoffer(id)) if is_final => {
                let id = *id;
                self.reoffer_response(now, key, id, response);
            }
            Some(ClientUse::InDialog(id)) if is_final => {
                let id = *id;
                self.clients.remove(&key);
                // RFC 5057 §5.1: these mean that the dialog is gone.
                if matches!(response.status.0, 481 | 408) {
                    self.hang_up(now, id, Cause::SignalingLost);
                }
            }
            Some(ClientUse::Acknowledged(_)) if response.status.is_success() => {
                self.repeated_success(now, key, flow, response);
            }
            Some(ClientUse::Forgotten) if is_final => {
                self.clients.remove(&key);
            }
            _ => {}
        }
    }

    /// No response came, or the request could not be sent.
    pub(super) fn client_failed(&mut self, now: Instant, key: ClientKey, status: StatusCode) {
        match self.clients.remove(&key) {
            Some(ClientUse::Invite(id)) => {
                let cause = if status == StatusCode::REQUEST_TIMEOUT {
                    Cause::Unavailable
                } else {
                    cause_of(StatusCode::TEMPORARILY_UNAVAILABLE)
                };
                self.end(id, cause);
            }
            Some(ClientUse::Reoffer(id) | ClientUse::InDialog(id)) => {
                self.hang_up(now, id, Cause::SignalingLost);
            }
            Some(ClientUse::Abandoned(_) | ClientUse::Forgotten | ClientUse::Acknowledged(_))
            | None => {}
        }
    }

    fn invite_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: LegId,
        flow: Flow,
        response: &Response,
    ) {
        if response.status.is_provisional() {
            self.provisional(now, id, flow, response);
        } else if response.status.is_success() {
            self.answered(now, key, id, flow, response);
        } else {
            self.clients.remove(&key);
            if matches!(response.status.0, 401 | 407)
                && self.retry_with_credentials(now, id, response)
            {
                return;
            }
            if response.status == StatusCode::SESSION_INTERVAL_TOO_SMALL
                && self.retry_with_interval(now, id, response)
            {
                return;
            }
            self.end(id, cause_of(response.status));
        }
    }

    /// Calls again with the interval that the peer insists on, once (RFC 4028 §7.4).
    fn retry_with_interval(&mut self, now: Instant, id: LegId, response: &Response) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let Phase::Calling(calling) = &mut leg.phase else { return false };
        let Some(least) = response.headers.number(&HeaderName::MIN_SE) else { return false };
        if std::mem::replace(&mut calling.interval_raised, true) {
            return false;
        }
        let request = &mut calling.request;
        request.headers.set(HeaderName::SESSION_EXPIRES, least.max(1800).to_string());
        request.headers.set(HeaderName::MIN_SE, least.to_string());
        let number = request.headers.cseq().map_or(1, |c| c.number) + 1;
        request.headers.set(HeaderName::CSEQ, format!("{number} INVITE"));
        let key = self.endpoint.send_request(now, leg.flow, request.clone());
        calling.key = key;
        self.clients.insert(key, ClientUse::Invite(id));
        true
    }

    fn provisional(&mut self, now: Instant, id: LegId, flow: Flow, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Phase::Calling(calling) = &mut leg.phase else { return };
        let tag = response.headers.to().and_then(|to| to.tag());
        if let Some(tag) = &tag
            && !calling.early.contains_key(tag)
            && calling.early.len() < MAX_EARLY
            && let Some(dialog) = Dialog::as_caller(&calling.request, response, flow)
        {
            calling.early.insert(tag.clone(), dialog);
        }
        let rseq = response.headers.number(&HeaderName::RSEQ);
        let is_reliable = response.headers.has_option(&HeaderName::REQUIRE, "100rel");
        let mut prack = None;
        if let (Some(tag), Some(rseq), true) = (&tag, rseq, is_reliable) {
            // RFC 3262 §4: repeats and gaps are passed over.
            let last = calling.last_rseq.get(tag).copied();
            if last.is_some_and(|last| rseq != last + 1) {
                return;
            }
            calling.last_rseq.insert(tag.clone(), rseq);
            let number = calling.request.headers.cseq().map_or(1, |c| c.number);
            if let Some(dialog) = calling.early.get_mut(tag) {
                let mut request = dialog.request(Method::PRACK, None);
                request.headers.push(HeaderName::RACK, format!("{rseq} {number} INVITE"));
                prack = Some((dialog.next_hop(), request));
            }
        }
        let described = description(&response.headers, &response.body);
        let event = match described {
            Described::Session(session) if !calling.has_media => {
                calling.has_media = true;
                Some(LegEvent::EarlyMedia(*session))
            }
            _ if response.status == StatusCode::RINGING && !calling.rang => {
                calling.rang = true;
                Some(LegEvent::Ringing)
            }
            _ => None,
        };
        if let Some((flow, request)) = prack {
            let key = self.endpoint.send_request(now, flow, request);
            self.clients.insert(key, ClientUse::Forgotten);
        }
        if let Some(event) = event {
            self.tell(id, event);
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: LegId,
        flow: Flow,
        response: &Response,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Phase::Calling(calling) = &mut leg.phase else { return };
        let Some(dialog) = Dialog::as_caller(&calling.request, response, flow) else {
            self.clients.remove(&key);
            self.end(id, Cause::NetworkFailure);
            return;
        };
        let has_media = calling.has_media;
        let request = calling.request.clone();
        let early = response.headers.to().and_then(|to| calling.early.remove(&to.tag()?));
        // Numbers go on where the early dialog (PRACK) left off.
        let mut dialog = match early {
            Some(mut early) => {
                early.take_response(response, &Method::INVITE);
                early
            }
            None => dialog,
        };
        let ack = self.acknowledge(&mut dialog, request.headers.cseq().map_or(1, |c| c.number));
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.phase = Phase::Confirmed;
        leg.dialog = Some(dialog);
        leg.peer.allows_update = response.headers.allows(&Method::UPDATE);
        leg.peer.trickles = response.headers.has_option(&HeaderName::SUPPORTED, "trickle-ice");
        self.timers.cancel(&(id, Timer::Ring));
        self.clients.insert(key, ClientUse::Acknowledged(Box::new((ack, request))));
        self.session_agreed(now, id, response);
        match description(&response.headers, &response.body) {
            Described::Session(session) => {
                // After early media the description is a repeat; before, it is the answer.
                let answer = (!has_media).then_some(*session);
                self.tell(id, LegEvent::Answer(answer));
            }
            Described::Nothing if has_media => self.tell(id, LegEvent::Answer(None)),
            Described::Nothing | Described::UnknownType | Described::Malformed => {
                self.hang_up(now, id, Cause::BadDescription);
            }
        }
    }

    /// Sends the ACK of a 2xx and keeps it for repeats.
    fn acknowledge(&mut self, dialog: &mut Dialog, number: u32) -> super::leg::SentAck {
        let request = dialog.request(Method::ACK, Some(number));
        let flow = dialog.next_hop();
        let bytes = self.endpoint.send_ack(flow, request);
        super::leg::SentAck { tag: dialog.remote_tag().clone(), flow, bytes }
    }

    /// A repeat of the 2xx is acknowledged again; another branch's 2xx is taken and ended.
    fn repeated_success(&mut self, now: Instant, key: ClientKey, flow: Flow, response: &Response) {
        let Some(ClientUse::Acknowledged(kept)) = self.clients.get(&key) else { return };
        let (ack, request) = &**kept;
        let tag = response.headers.to().and_then(|to| to.tag());
        if tag.as_ref() == Some(&ack.tag) {
            let (flow, bytes) = (ack.flow, ack.bytes.clone());
            self.endpoint.resend(flow, bytes);
            return;
        }
        let request = request.clone();
        self.take_and_end(now, &request, flow, response);
    }

    fn take_and_end(
        &mut self,
        now: Instant,
        request: &crosspoint_sip::Request,
        flow: Flow,
        response: &Response,
    ) {
        if let Some(mut dialog) = Dialog::as_caller(request, response, flow) {
            self.acknowledge(&mut dialog, request.headers.cseq().map_or(1, |c| c.number));
            self.bye(now, &mut dialog, Cause::AnsweredElsewhere);
        }
    }

    /// The answer crossed our CANCEL: it is taken and ended (RFC 3261 §9.1, §15).
    fn abandoned_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        flow: Flow,
        response: &Response,
    ) {
        let Some(ClientUse::Abandoned(leg)) = self.clients.remove(&key) else { return };
        if let Leg { phase: Phase::Calling(calling), .. } = *leg
            && response.status.is_success()
        {
            self.take_and_end(now, &calling.request, flow, response);
        }
    }

    /// Answers a trunk's challenge, once.
    fn retry_with_credentials(&mut self, now: Instant, id: LegId, response: &Response) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let trunk = leg.trunk.and_then(|index| self.config.trunks.get(index));
        let Some(credentials) = trunk.and_then(|t| t.credentials.as_ref()) else { return false };
        let Phase::Calling(calling) = &mut leg.phase else { return false };
        let is_proxy = response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let (asked, answered) = if is_proxy {
            (HeaderName::PROXY_AUTHENTICATE, HeaderName::PROXY_AUTHORIZATION)
        } else {
            (HeaderName::WWW_AUTHENTICATE, HeaderName::AUTHORIZATION)
        };
        let Some(challenge) = Challenge::best(response.headers.all(&asked)) else { return false };
        if std::mem::replace(&mut calling.was_challenged, true) && !challenge.stale {
            return false;
        }
        let request = &mut calling.request;
        let value =
            answer(&challenge, credentials, &request.method, &request.uri, 1, &mut self.rng);
        let Some(value) = value else { return false };
        let number = request.headers.cseq().map_or(1, |c| c.number) + 1;
        request.headers.set(HeaderName::CSEQ, format!("{number} INVITE"));
        request.headers.set(answered, value);
        let key = self.endpoint.send_request(now, leg.flow, request.clone());
        calling.key = key;
        self.clients.insert(key, ClientUse::Invite(id));
        true
    }

    fn reoffer_response(&mut self, now: Instant, key: ClientKey, id: LegId, response: &Response) {
        self.clients.remove(&key);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Offer::Ours { sdp, tries } = std::mem::take(&mut leg.offer) else { return };
        if response.status.is_success() {
            self.reoffer_answered(now, key, id, response);
        } else if response.status == StatusCode::REQUEST_PENDING && tries < MAX_GLARE {
            leg.delayed_offer = Some((sdp, tries + 1));
            // We own the Call-ID of the calls we made.
            let delay = glare_delay(leg.user.is_none(), self.rng.next_u32());
            self.timers.set((id, Timer::Glare), now + delay);
        } else if matches!(response.status.0, 481 | 408) {
            self.hang_up(now, id, Cause::SignalingLost);
        } else {
            let failure = if response.status == StatusCode::REQUEST_PENDING {
                ReofferFailure::Glare
            } else {
                ReofferFailure::Refused
            };
            self.tell(id, LegEvent::ReofferFailed(failure));
        }
    }

    fn reoffer_answered(&mut self, now: Instant, key: ClientKey, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(mut dialog) = leg.dialog.take() else { return };
        dialog.take_response(response, &Method::INVITE);
        let number = response.headers.cseq().map_or(1, |c| c.number);
        let ack = self.acknowledge(&mut dialog, number);
        let request = dialog.clone().request(Method::INVITE, Some(number));
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.dialog = Some(dialog);
        }
        self.clients.insert(key, ClientUse::Acknowledged(Box::new((ack, request))));
        self.session_agreed(now, id, response);
        match description(&response.headers, &response.body) {
            Described::Session(session) => self.tell(id, LegEvent::Reanswer(*session)),
            Described::Nothing | Described::UnknownType | Described::Malformed => {
                self.tell(id, LegEvent::ReofferFailed(ReofferFailure::Refused));
            }
        }
    }
}

//! Reliable provisional responses (RFC 3262): ours and the peer's.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::LegId;
use crosspoint_call::Cause;
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::body::{Described, description};
use super::leg::{Offer, Phase, Reliable};
use super::{ClientUse, SipUa, T1, Timer};

/// Responses that wait for the PRACK of the one before.
const MAX_QUEUED: usize = 8;

impl SipUa {
    /// Sends a response to the INVITE; reliably where the peer asks for it, in order.
    pub(super) fn send_incoming(&mut self, now: Instant, id: LegId, mut response: Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_failure = response.status.is_final() && !response.status.is_success();
        let offer_open = matches!(leg.offer, Offer::Theirs { .. });
        let Phase::Incoming(incoming) = &mut leg.phase else { return };
        if !is_failure && (incoming.reliable.is_some() || offer_open) {
            // RFC 3262 §3: one at a time, and the answer after the last.
            if incoming.queued.len() < MAX_QUEUED || response.status.is_final() {
                incoming.queued.push_back(response);
            }
            return;
        }
        let key = incoming.key;
        if response.status.is_final() {
            self.servers.remove(&key);
            if response.status.is_success() {
                let request = incoming.request.clone();
                leg.phase = Phase::Confirmed;
                self.expect_ack(key, id, &request);
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
            incoming.reliable = Some(Reliable {
                rseq,
                response: response.clone(),
                interval: T1,
                give_up: now + T1 * 64,
            });
            self.timers.set((id, Timer::Reliable), now + T1);
        }
        self.respond(now, key, &mut response);
    }

    /// Sends what waited for the PRACK or the offer that is now dealt with.
    pub(super) fn send_queued(&mut self, now: Instant, id: LegId) {
        while let Some(leg) = self.legs.get_mut(&id)
            && !matches!(leg.offer, Offer::Theirs { .. })
            && let Phase::Incoming(incoming) = &mut leg.phase
            && incoming.reliable.is_none()
            && let Some(mut next) = incoming.queued.pop_front()
        {
            // What was agreed meanwhile counts, not what was agreed when it was queued.
            if let Some(sdp) = leg.early_answer.as_ref().filter(|_| !next.body.is_empty()) {
                next.body = Bytes::from(sdp.clone());
            }
            self.send_incoming(now, id, next);
        }
    }

    /// RFC 3262 §3: again after T1, 2·T1, …; after 64·T1 the call is refused.
    pub(super) fn repeat_reliable(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Phase::Incoming(incoming) = &mut leg.phase else { return };
        let Some(reliable) = &mut incoming.reliable else { return };
        if now >= reliable.give_up {
            self.finish_incoming(now, id, StatusCode::SERVER_TIMEOUT, None);
            self.end(now, id, Cause::SignalingLost);
            return;
        }
        reliable.interval *= 2;
        let next = (now + reliable.interval).min(reliable.give_up);
        let key = incoming.key;
        let mut response = reliable.response.clone();
        self.timers.set((id, Timer::Reliable), next);
        self.respond(now, key, &mut response);
    }

    /// RFC 3262 §3: the peer has our reliable provisional.
    pub(super) fn prack_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        id: LegId,
        request: &Request,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let acknowledged = match &mut leg.phase {
            Phase::Incoming(incoming) => {
                let number = incoming.request.headers.cseq().map_or(0, |c| c.number);
                let rack = request.headers.first(&HeaderName::RACK).and_then(parse_rack);
                incoming.reliable.take_if(|r| rack == Some((r.rseq, number, Method::INVITE)))
            }
            Phase::Calling(_) | Phase::Confirmed => None,
        };
        let Some(acknowledged) = acknowledged else {
            self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST);
            return;
        };
        self.timers.cancel(&(id, Timer::Reliable));
        if let Phase::Incoming(incoming) = &mut leg.phase
            && !acknowledged.response.body.is_empty()
        {
            incoming.answer_acknowledged = true;
        }
        if matches!(description(&request.headers, &request.body), Described::Nothing) {
            self.accept(now, key, request);
        } else {
            // RFC 3262 §5: another offer, answered in the 200 of the PRACK.
            self.reoffer_arrived(now, key, id, request);
        }
        self.send_queued(now, id);
    }

    /// Acknowledges a provisional of the peer's in `dialog`. Says whether it counts: a repeat,
    /// or one whose predecessor is still on its way, does not (RFC 3262 §4).
    pub(super) fn acknowledge_provisional(
        &mut self,
        now: Instant,
        response: &Response,
        dialog: &mut Dialog,
        last: &mut Option<u32>,
    ) -> bool {
        let is_reliable = response.headers.has_option(&HeaderName::REQUIRE, "100rel");
        let (Some(cseq), true) = (response.headers.cseq(), is_reliable) else { return true };
        let rseq = response.headers.number(&HeaderName::RSEQ).filter(|rseq| *rseq > 0);
        let Some(rseq) = rseq else { return false };
        if last.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
            return false;
        }
        *last = Some(rseq);
        let mut request = dialog.request(Method::PRACK, None);
        request.headers.push(HeaderName::RACK, format!("{rseq} {cseq}"));
        let key = self.endpoint.send_request(now, dialog.next_hop(), &request);
        self.clients.insert(key, ClientUse::Forgotten);
        true
    }

    /// A provisional of our re-INVITE: of interest only when it must be acknowledged.
    pub(super) fn reoffer_progress(&mut self, now: Instant, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(mut dialog) = leg.dialog.take() else { return };
        let mut last = leg.reoffer_rseq;
        self.acknowledge_provisional(now, response, &mut dialog, &mut last);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.dialog = Some(dialog);
            leg.reoffer_rseq = last;
        }
    }
}

/// `RAck` (RFC 3262 §7.2): the RSeq, the CSeq number and the method of the INVITE.
fn parse_rack(value: &Bytes) -> Option<(u32, u32, Method)> {
    let mut parts = value.split(|b| b.is_ascii_whitespace()).filter(|p| !p.is_empty());
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    let (rseq, cseq) = (number()?, number()?);
    let method = Method::parse(&value.slice_ref(parts.next()?))?;
    parts.next().is_none().then_some((rseq, cseq, method))
}

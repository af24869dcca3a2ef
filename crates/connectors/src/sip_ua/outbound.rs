//! Responses to our requests.

use std::collections::BTreeMap;
use std::time::Instant;

use crosspoint_base::{Flow, LegId};
use crosspoint_call::{Cause, LegEvent};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::ClientKey;
use crosspoint_sip::{HeaderName, Method, Response, StatusCode};

use super::body::{Described, description};
use super::challenge::{Account, credentials_of};
use super::ending::{MAX_BRANCHES, Settled};
use super::leg::{Calling, Early, EarlyMedia, Phase};
use super::status::cause_of;
use super::trunk::HopFailure;
use super::{ClientUse, Output, SipUa, Timer};

impl SipUa {
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        flow: Flow,
        response: &Response,
    ) {
        let is_final = response.status.is_final();
        if is_final && self.challenged_in_dialog(now, key, response) {
            return;
        }
        if let Some(id) = self.clients.get(&key).and_then(ClientUse::leg) {
            self.heard_at(now, id, flow);
        }
        match self.clients.get(&key) {
            Some(ClientUse::Invite(id)) => {
                let id = *id;
                self.invite_response(now, key, id, flow, response);
            }
            Some(ClientUse::Settled(_)) if response.status.is_success() => {
                self.late_success(now, key, flow, response);
            }
            Some(ClientUse::Settled(_)) if is_final => {
                self.clients.remove(&key);
            }
            Some(ClientUse::LeftReoffer(_)) if is_final => {
                self.left_reoffer_response(key, response);
            }
            Some(ClientUse::Reoffer(id)) => {
                let id = *id;
                if is_final {
                    self.reoffer_response(now, key, id, response);
                } else {
                    self.reoffer_progress(now, id, response);
                }
            }
            Some(ClientUse::Refresh(id)) if is_final => {
                let id = *id;
                self.refresh_response(now, key, id, response);
            }
            Some(ClientUse::Digit(id, digit, length)) if is_final => {
                let digit = (*id, *digit, *length);
                self.digit_response(now, key, digit, response);
            }
            Some(ClientUse::KeyFrame(id)) if is_final => {
                let id = *id;
                self.key_frame_response(now, key, id, response);
            }
            Some(ClientUse::Notify(id)) if is_final && !response.status.is_success() => {
                let id = *id;
                self.notify_failed(key, id);
            }
            Some(ClientUse::InDialog(id)) if is_final => {
                let id = *id;
                self.clients.remove(&key);
                // RFC 5057 §5.1: these mean that the dialog is gone.
                if matches!(response.status.0, 481 | 408) {
                    self.hang_up(now, id, Cause::SignalingLost);
                }
            }
            Some(ClientUse::Register(id)) if is_final => {
                let id = *id;
                self.register_answered(now, key, id, flow, response);
            }
            Some(ClientUse::Forward(_)) if is_final => self.forward_response(now, key, response),
            Some(ClientUse::Ask(index, remote)) if is_final => {
                let hop = (*index, *remote);
                self.clients.remove(&key);
                self.hop_answered(now, hop, Ok(response.status));
            }
            Some(ClientUse::Text(_) | ClientUse::Watcher(_)) if is_final => {
                self.told_outside(now, key, response.status);
            }
            Some(ClientUse::Notify(_) | ClientUse::Bye(_) | ClientUse::Forgotten) if is_final => {
                self.clients.remove(&key);
            }
            _ => {}
        }
    }

    /// A text or a NOTIFY outside of calls was answered.
    fn told_outside(&mut self, now: Instant, key: ClientKey, status: StatusCode) {
        match self.clients.remove(&key) {
            Some(ClientUse::Text(id)) => {
                let told = if status.is_success() { Ok(()) } else { Err(cause_of(status)) };
                self.outputs.push_back(Output::TextSent(id, told));
            }
            Some(ClientUse::Watcher(watcher)) => self.watcher_heard(now, &watcher, status),
            _ => {}
        }
    }

    /// No response came, or the request could not be sent.
    pub(super) fn client_failed(&mut self, now: Instant, key: ClientKey, status: StatusCode) {
        self.challengeable.remove(&key);
        match self.clients.remove(&key) {
            Some(ClientUse::Invite(id)) => {
                let is_silent = status == StatusCode::REQUEST_TIMEOUT;
                let why = if is_silent { HopFailure::NoAnswer } else { HopFailure::Unreachable };
                if self.try_next_hop(now, id, why) {
                    return;
                }
                // Of a trunk that is the network's failure: another trunk may do better.
                let account = self.legs.get(&id).and_then(|leg| leg.account);
                let cause = match account {
                    Some(Account::Trunk(_)) => Cause::NetworkFailure,
                    _ if status == StatusCode::REQUEST_TIMEOUT => Cause::Unavailable,
                    _ => cause_of(StatusCode::TEMPORARILY_UNAVAILABLE),
                };
                self.end(now, id, cause);
            }
            Some(
                ClientUse::Reoffer(id)
                | ClientUse::Refresh(id)
                | ClientUse::Digit(id, ..)
                | ClientUse::KeyFrame(id)
                | ClientUse::InDialog(id),
            ) => {
                self.hang_up(now, id, Cause::SignalingLost);
            }
            Some(ClientUse::Notify(id)) => self.notify_failed(key, id),
            Some(ClientUse::Register(id)) => self.register_unanswered(now, id, status),
            Some(ClientUse::Forward(forwarding)) => self.forward_failed(now, &forwarding, status),
            Some(ClientUse::Ask(index, remote)) => {
                let is_silent = status == StatusCode::REQUEST_TIMEOUT;
                let why = if is_silent { HopFailure::NoAnswer } else { HopFailure::Unreachable };
                self.hop_answered(now, (index, remote), Err(why));
            }
            Some(ClientUse::Text(id)) => {
                self.outputs.push_back(Output::TextSent(id, Err(Cause::NetworkFailure)));
            }
            Some(ClientUse::Watcher(watcher)) => self.watcher_heard(now, &watcher, status),
            Some(
                ClientUse::Settled(_)
                | ClientUse::LeftReoffer(_)
                | ClientUse::Bye(_)
                | ClientUse::Forgotten,
            )
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
        self.timers.cancel(&(id, Timer::Failover));
        let was_503 = response.status == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(leg) = self.legs.get(&id).filter(|_| !was_503)
            && let Some(Account::Trunk(index)) = leg.account
        {
            let remote = leg.flow.remote;
            self.hop_heard(index, remote);
        }
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
            if was_503 && self.try_next_hop(now, id, HopFailure::Unavailable) {
                return;
            }
            if matches!(response.status.0, 300..=399) {
                self.redirected(id, response);
            }
            self.end(now, id, cause_of(response.status));
        }
    }

    fn provisional(&mut self, now: Instant, id: LegId, flow: Flow, response: &Response) {
        let account = self.legs.get(&id).and_then(|leg| leg.account);
        let flow = self.lasting_flow(account, flow);
        let tag = response.headers.to().and_then(|to| to.tag()).unwrap_or_default();
        if self.rings_anew(now, id, flow, response, &tag) {
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let flow = leg.flow_now(flow);
        let Phase::Calling(calling) = &mut leg.phase else { return };
        if !tag.is_empty()
            && !calling.early.contains_key(&tag)
            && calling.early.len() < MAX_BRANCHES
            && let Some(dialog) = Dialog::as_caller(&calling.request, response, flow)
        {
            calling.early.insert(tag.clone(), Box::new(Early { dialog, rseq: None }));
        }
        let reliable = response.headers.has_option(&HeaderName::REQUIRE, "100rel");
        // A branch beyond the bound is heard, but cannot be followed.
        if let Some(mut early) = calling.early.remove(&tag) {
            let Early { dialog, rseq } = &mut *early;
            let counts = self.acknowledge_provisional(now, response, dialog, rseq);
            let Some(leg) = self.legs.get_mut(&id) else { return };
            let Phase::Calling(calling) = &mut leg.phase else { return };
            calling.early.insert(tag.clone(), early);
            if !counts {
                return;
            }
        } else if reliable {
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Phase::Calling(calling) = &mut leg.phase else { return };
        let described = description(&response.headers, &response.body);
        let passes = match account {
            Some(Account::Trunk(index)) => {
                self.trunks.get(index).is_none_or(|trunk| trunk.config.early_media)
            }
            Some(Account::Registration(_)) | None => true,
        };
        let event = match described {
            Described::Session(session) if calling.media.is_none() => {
                let session = *session;
                calling.media = Some(EarlyMedia { tag, session: session.clone(), reliable });
                match passes {
                    true => LegEvent::EarlyMedia(session),
                    false if calling.rang => return,
                    false => {
                        calling.rang = true;
                        LegEvent::Ringing
                    }
                }
            }
            _ if response.status == StatusCode::RINGING && !calling.rang => {
                calling.rang = true;
                LegEvent::Ringing
            }
            // The trunk has the call: nobody need try another.
            _ if response.status == StatusCode::TRYING => LegEvent::Trying,
            _ => return,
        };
        self.tell(id, event);
    }

    fn answered(
        &mut self,
        now: Instant,
        key: ClientKey,
        id: LegId,
        flow: Flow,
        response: &Response,
    ) {
        let account = self.legs.get(&id).and_then(|leg| leg.account);
        let flow = self.lasting_flow(account, flow);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Phase::Calling(calling) = &mut leg.phase else { return };
        let tag = response.headers.to().and_then(|to| to.tag()).unwrap_or_default();
        // Numbers go on where the early dialog (PRACK) left off.
        let dialog = match calling.early.remove(&tag) {
            Some(early) => {
                let Early { mut dialog, .. } = *early;
                dialog.take_response(response, &Method::INVITE);
                Some(dialog)
            }
            None => Dialog::as_caller(&calling.request, response, flow),
        };
        let Some(mut dialog) = dialog else {
            self.clients.remove(&key);
            self.end(now, id, Cause::NetworkFailure);
            return;
        };
        let Phase::Calling(calling) = std::mem::replace(&mut leg.phase, Phase::Confirmed) else {
            return;
        };
        let Calling { request, early, media, .. } = *calling;
        // What came early counts when it came from the branch that now answers.
        let media = media.filter(|m| m.tag == tag);
        self.learn_realms(account, &request);
        let number = request.headers.cseq().map_or(1, |c| c.number);
        let credentials = credentials_of(&request);
        let ack = self.acknowledge(&mut dialog, number, credentials.clone());
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.settled = Some(key);
        leg.dialog = Some(dialog);
        leg.peer.allows_update = response.headers.allows(&Method::UPDATE);
        leg.peer.trickles = response.headers.has_option(&HeaderName::SUPPORTED, "trickle-ice");
        self.timers.cancel(&(id, Timer::Ring));
        // An empty map keeps the room of its first branch, for as long as this is kept.
        let early = if early.is_empty() { BTreeMap::new() } else { early };
        let (acks, cause) = (vec![ack], Cause::AnsweredElsewhere);
        let settled = Settled { acks, early, cause, account, credentials };
        self.clients.insert(key, ClientUse::Settled(Box::new(settled)));
        self.session_agreed(now, id, response);
        let session = match (description(&response.headers, &response.body), media) {
            // Nothing counts after a reliable answer (RFC 3261 §13.2.1). Interop: carriers
            // announce over an unreliable 183 and answer from another machine, with the same tag.
            (_, Some(EarlyMedia { reliable: true, session, .. })) => Some(session),
            (Described::Session(session), _) => Some(*session),
            (Described::Nothing, Some(early)) => Some(early.session),
            (Described::Nothing | Described::UnknownType | Described::Malformed, _) => None,
        };
        match session {
            // Told again also where it came early: the call may have had no use for it then.
            Some(session) => self.tell(id, LegEvent::Answer(Some(session))),
            None => self.hang_up(now, id, Cause::BadDescription),
        }
    }
}

//! How legs end: by our will, by the peer's, and what is still owed to the peer then.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, LegId};
use crosspoint_call::{Cause, LegEvent};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::away::Left;
use super::challenge::{Account, credentials_of};
use super::leg::{Calling, Early, Leg, Offer, Phase, SentAck};
use super::status::{reason_for, status_for};
use super::{ClientUse, SipUa, Timer};

/// An INVITE of ours that was answered, or given up: every 2xx must be acknowledged, and each
/// branch but the one that was kept is ended (RFC 3261 §13.2.2.4).
#[derive(Debug)]
pub(super) struct Settled {
    /// Of the branches that answered.
    pub(super) acks: Vec<SentAck>,
    /// Of the branches that did not, so that their numbers go on.
    pub(super) early: BTreeMap<Bytes, Box<Early>>,
    /// What a branch that is not kept is told.
    pub(super) cause: Cause,
    pub(super) account: Option<Account>,
    /// Those of the INVITE, for every ACK.
    pub(super) credentials: Vec<(HeaderName, Bytes)>,
}

/// A call we answered and ended before its ACK came: the BYE has to wait for it
/// (RFC 3261 §15).
#[derive(Debug)]
pub(super) struct Closing {
    invite: ServerKey,
    dialog: Dialog,
    cause: Cause,
    account: Option<Account>,
}

/// Branches of a forking proxy that we follow, and answers that we take.
pub(super) const MAX_BRANCHES: usize = 8;

impl SipUa {
    /// Ends a leg by our will, in whatever state it is.
    pub(super) fn hang_up(&mut self, now: Instant, id: LegId, cause: Cause) {
        let Some(leg) = self.legs.get(&id) else { return };
        match &leg.phase {
            Phase::Incoming(incoming) => {
                let key = incoming.key;
                let unproved = leg.unproved.filter(|_| cause == Cause::CallerUnproved);
                let status = unproved.unwrap_or_else(|| status_for(cause));
                self.finish_incoming(now, id, status, Some(cause));
                if let Some(Leg { away: Some(_), device: Some(device), .. }) =
                    self.end(now, id, cause)
                {
                    self.bid_farewell(now, id, device, Left::Answer(key));
                }
            }
            Phase::Calling(_) if leg.away.is_some() => self.give_up_away(now, id, cause),
            Phase::Calling(calling) => {
                let key = calling.key;
                let given_up = self.endpoint.cancel(now, key, reason_for(cause));
                if let Some(Leg { phase: Phase::Calling(calling), account, .. }) =
                    self.end(now, id, cause)
                    && given_up
                {
                    let credentials = credentials_of(&calling.request);
                    let (acks, early) = (vec![], calling.early);
                    let settled = Settled { acks, early, cause, account, credentials };
                    self.clients.insert(key, ClientUse::Settled(Box::new(settled)));
                }
            }
            Phase::Confirmed => self.hang_up_confirmed(now, id, cause),
        }
    }

    /// Gives up an INVITE whose device is away: it is told when it is back.
    fn give_up_away(&mut self, now: Instant, id: LegId, cause: Cause) {
        let Some(leg) = self.end(now, id, cause) else { return };
        let (Phase::Calling(calling), account) = (leg.phase, leg.account) else { return };
        let Calling { key, early, request, .. } = *calling;
        let branches = early.values().map(|early| early.dialog.clone()).collect();
        let credentials = credentials_of(&request);
        let settled = Settled { acks: vec![], early, cause, account, credentials };
        self.clients.insert(key, ClientUse::Settled(Box::new(settled)));
        match leg.device {
            Some(device) => {
                let left = Left::Invite { key, early: branches, cause };
                self.bid_farewell(now, id, device, left);
            }
            None => self.endpoint.fail(now, key),
        }
    }

    fn hang_up_confirmed(&mut self, now: Instant, id: LegId, cause: Cause) {
        let Some(mut leg) = self.end(now, id, cause) else { return };
        let (Some(mut dialog), offer) = (leg.dialog.take(), &leg.offer) else { return };
        if let Offer::Ours(ours) = offer {
            self.clients.insert(ours.key, ClientUse::LeftReoffer(Box::new(dialog.clone())));
        }
        if leg.away.is_some() {
            if let Some(device) = leg.device {
                let request = self.bye_request(&mut dialog, cause);
                let key = self.endpoint.hold_request(now, dialog.next_hop(), &request);
                self.clients.insert(key, ClientUse::Forgotten);
                self.bid_farewell(now, id, device, Left::Bye(key));
            }
            return;
        }
        // A stopping process cannot wait.
        let may_wait = !leg.we_called && cause != Cause::Shutdown;
        match leg.awaiting_ack.filter(|_| may_wait) {
            Some((invite, _)) => {
                self.dialogs.insert(leg.key, id);
                self.unacknowledged.insert(invite, id);
                let account = leg.account;
                self.closing.insert(id, Closing { invite, dialog, cause, account });
            }
            None => {
                let key = self.bye(now, &mut dialog, cause, leg.account);
                if let Some(device) = leg.device.filter(|_| leg.attached.is_some()) {
                    self.clients.insert(key, ClientUse::Bye(Box::new((id, device))));
                }
            }
        }
    }

    /// The ACK came, or is not to be expected any more: the BYE that waited for it goes out.
    pub(super) fn close(&mut self, now: Instant, id: LegId) -> bool {
        let Some(Closing { mut dialog, cause, account, .. }) = self.forget_closing(id) else {
            return false;
        };
        self.bye(now, &mut dialog, cause, account);
        true
    }

    fn forget_closing(&mut self, id: LegId) -> Option<Closing> {
        let closing = self.closing.remove(&id)?;
        let key = (closing.dialog.call_id.clone(), closing.dialog.local_tag().clone());
        self.dialogs.remove(&key);
        self.unacknowledged.remove(&closing.invite);
        Some(closing)
    }

    /// A request in a dialog that only waits for its BYE.
    pub(super) fn request_while_closing(
        &mut self,
        now: Instant,
        key: ServerKey,
        id: LegId,
        request: &Request,
    ) {
        if request.method == Method::BYE {
            self.forget_closing(id);
            self.accept(now, key, request);
        } else {
            self.refuse(now, key, request, StatusCode::CALL_DOES_NOT_EXIST);
        }
    }

    pub(super) fn bye(
        &mut self,
        now: Instant,
        dialog: &mut Dialog,
        cause: Cause,
        account: Option<Account>,
    ) -> ClientKey {
        let request = self.bye_request(dialog, cause);
        let key = self.send_in_dialog(now, dialog.next_hop(), request, account);
        self.clients.insert(key, ClientUse::Forgotten);
        key
    }

    fn bye_request(&self, dialog: &mut Dialog, cause: Cause) -> Request {
        let mut request = dialog.request(Method::BYE, None);
        if let Some(reason) = reason_for(cause) {
            request.headers.push(HeaderName::REASON, reason);
        }
        request.headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        request
    }

    /// Forgets a leg and says its one `Ended`. What the peer still waits for is refused.
    pub(super) fn end(&mut self, now: Instant, id: LegId, cause: Cause) -> Option<Leg> {
        self.refuse_reoffer(now, id, StatusCode::REQUEST_TERMINATED);
        let mut leg = self.legs.remove(&id)?;
        self.dialogs.remove(&leg.key);
        self.detach_from(id, leg.attached);
        self.forget_held(now, &mut leg);
        self.leave_device(id, leg.device.as_ref());
        if let Some(key) = &leg.merge_key {
            self.merging.remove(key);
        }
        if let Some((invite, _)) = leg.awaiting_ack {
            self.unacknowledged.remove(&invite);
        }
        for timer in [
            Timer::Ring,
            Timer::Reliable,
            Timer::Glare,
            Timer::Session,
            Timer::Away,
            Timer::Failover,
        ] {
            self.timers.cancel(&(id, timer));
        }
        if let Some(Account::Trunk(index)) = leg.account {
            self.trunks.leave_place(index);
        }
        self.tell(id, LegEvent::Ended(cause));
        Some(*leg)
    }

    // A 2xx that nobody waits for.

    /// A 2xx of an INVITE that is settled. A repeat is acknowledged again with the same bytes;
    /// another branch's, or one that crossed our CANCEL, is taken and ended.
    pub(super) fn late_success(
        &mut self,
        now: Instant,
        key: ClientKey,
        flow: Flow,
        response: &Response,
    ) {
        let Some(ClientUse::Settled(settled)) = self.clients.get(&key) else { return };
        let flow = self.lasting_flow(settled.account, flow);
        let Some(ClientUse::Settled(settled)) = self.clients.get_mut(&key) else { return };
        let tag = response.headers.to().and_then(|to| to.tag()).unwrap_or_default();
        if let Some(ack) = settled.acks.iter().find(|ack| ack.tag == tag) {
            let (flow, bytes) = (ack.flow, ack.bytes.clone());
            self.endpoint.resend(flow, bytes);
            return;
        }
        if settled.acks.len() >= MAX_BRANCHES {
            return;
        }
        let number = response.headers.cseq().map_or(1, |c| c.number);
        let (cause, account) = (settled.cause, settled.account);
        let credentials = settled.credentials.clone();
        // Numbers go on where the early dialog (PRACK) left off.
        let dialog = match settled.early.remove(&tag) {
            Some(early) => {
                let Early { mut dialog, .. } = *early;
                dialog.take_response(response, &Method::INVITE);
                Some(dialog)
            }
            None => Dialog::as_caller_by(response, flow),
        };
        let Some(mut dialog) = dialog else { return };
        let ack = self.acknowledge(&mut dialog, number, credentials);
        if let Some(ClientUse::Settled(settled)) = self.clients.get_mut(&key) {
            settled.acks.push(ack);
        }
        self.bye(now, &mut dialog, cause, account);
    }

    /// Our re-INVITE was answered after the leg had ended: the answer is owed its ACK.
    pub(super) fn left_reoffer_response(&mut self, key: ClientKey, response: &Response) {
        let Some(ClientUse::LeftReoffer(mut dialog)) = self.clients.remove(&key) else { return };
        if response.status.is_success() {
            let number = response.headers.cseq().map_or(1, |c| c.number);
            let ack = self.acknowledge(&mut dialog, number, vec![]);
            self.settled(key, ack);
        }
    }

    /// Keeps the ACK of a 2xx for repeats.
    pub(super) fn settled(&mut self, key: ClientKey, ack: SentAck) {
        let cause = Cause::AnsweredElsewhere;
        let (acks, early, credentials) = (vec![ack], BTreeMap::new(), vec![]);
        let settled = Settled { acks, early, cause, account: None, credentials };
        self.clients.insert(key, ClientUse::Settled(Box::new(settled)));
    }

    /// Sends the ACK of a 2xx.
    pub(super) fn acknowledge(
        &mut self,
        dialog: &mut Dialog,
        number: u32,
        credentials: Vec<(HeaderName, Bytes)>,
    ) -> SentAck {
        let mut request = dialog.request(Method::ACK, Some(number));
        for (name, value) in credentials {
            request.headers.push(name, value);
        }
        let flow = dialog.next_hop();
        let bytes = self.endpoint.send_ack(flow, &request);
        // A share would keep the whole answer for as long as repeats of it may come.
        SentAck { tag: Bytes::copy_from_slice(dialog.remote_tag()), flow, bytes }
    }
}

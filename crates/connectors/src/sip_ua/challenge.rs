//! Challenges of a trunk or a registrar elsewhere (RFC 3261 §22): answered for every request,
//! within bounds.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, LegId, RegistrationId};
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::endpoint::ClientKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::leg::{Leg, Offer, Phase};
use super::{ClientUse, SipUa};

/// The far side may challenge for itself and for a proxy, and give a new nonce in between.
const MAX_ANSWERS: u32 = 3;

/// Whose credentials answer for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Index into the configured trunks.
    Trunk(usize),
    Registration(RegistrationId),
}

/// A request inside a dialog that its far side may challenge.
#[derive(Debug)]
pub(super) struct Challengeable {
    request: Request,
    flow: Flow,
    account: Account,
    answers: u32,
}

impl SipUa {
    fn credentials(&self, account: Account) -> Option<&Credentials> {
        match account {
            Account::Trunk(index) => self.config.trunks.get(index)?.credentials.as_ref(),
            Account::Registration(id) => self.registrations.credentials(id),
        }
    }

    /// The flow that requests to this peer take. A trunk, or a registrar, is where it is
    /// configured: the connection that a message came over may be closed long before the call
    /// is, and then another one is opened.
    pub(super) fn lasting_flow(&self, account: Option<Account>, flow: Flow) -> Flow {
        let configured = match account.filter(|_| flow.connection.is_some()) {
            Some(Account::Trunk(index)) => self.config.trunks.get(index).map(|trunk| trunk.flow()),
            Some(Account::Registration(id)) => self.registrations.flow(id),
            None => None,
        };
        configured.filter(|there| there.transport == flow.transport).unwrap_or(flow)
    }

    /// Sends a request inside a dialog.
    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Request,
        account: Option<Account>,
    ) -> ClientKey {
        let Some(account) = account.filter(|a| self.credentials(*a).is_some()) else {
            return self.endpoint.send_request(now, flow, request);
        };
        let key = self.endpoint.send_request(now, flow, request.clone());
        let kept = Challengeable { request, flow, account, answers: 0 };
        self.challengeable.insert(key, Box::new(kept));
        key
    }

    /// Sends a request inside a leg's dialog; where its device is away, when it is back.
    pub(super) fn send_in_leg(
        &mut self,
        now: Instant,
        id: LegId,
        flow: Flow,
        request: Request,
        purpose: ClientUse,
    ) -> ClientKey {
        let key = match self.legs.get_mut(&id) {
            Some(Leg { away: Some(held), .. }) => {
                let key = self.endpoint.hold_request(now, flow, request);
                held.push(key);
                self.start_window(now, id);
                key
            }
            leg => {
                let account = leg.and_then(|leg| leg.account);
                self.send_in_dialog(now, flow, request, account)
            }
        };
        self.clients.insert(key, purpose);
        key
    }

    /// The final response to a request inside a dialog: a challenge is answered by the same
    /// request again. Says whether it was.
    pub(super) fn challenged_in_dialog(
        &mut self,
        now: Instant,
        key: ClientKey,
        response: &Response,
    ) -> bool {
        let Some(mut kept) = self.challengeable.remove(&key) else { return false };
        kept.answers += 1;
        let Challengeable { request, flow, account, answers } = &mut *kept;
        if !matches!(response.status.0, 401 | 407)
            || *answers > MAX_ANSWERS
            || !self.answer_challenge(*account, request, response)
        {
            return false;
        }
        let number = self.next_number(key, request);
        let cseq = format!("{number} {}", request.method);
        request.headers.set(HeaderName::CSEQ, cseq);
        let again = self.endpoint.send_request(now, *flow, request.clone());
        if let Some(purpose) = self.clients.remove(&key) {
            if let ClientUse::Reoffer(id) = &purpose
                && let Some(Offer::Ours(ours)) = self.legs.get_mut(id).map(|leg| &mut leg.offer)
            {
                ours.key = again;
                ours.credentials = credentials_of(request);
            }
            self.clients.insert(again, purpose);
        }
        self.challengeable.insert(again, kept);
        true
    }

    /// The CSeq of the request that is sent again: its dialog may have moved on.
    fn next_number(&mut self, key: ClientKey, request: &Request) -> u32 {
        let leg = match self.clients.get(&key) {
            Some(
                ClientUse::Reoffer(id)
                | ClientUse::Refresh(id)
                | ClientUse::Digit(id, ..)
                | ClientUse::Notify(id)
                | ClientUse::InDialog(id),
            ) => Some(*id),
            _ => None,
        };
        let dialog = leg.and_then(|id| self.legs.get_mut(&id)?.dialog.as_mut());
        match dialog {
            Some(dialog) => dialog.next_number(),
            None => request.headers.cseq().map_or(1, |cseq| cseq.number) + 1,
        }
    }

    /// Puts credentials for a challenge on a request. False where there is no use in trying: a
    /// challenge that was answered already comes again only with a new nonce.
    fn answer_challenge(
        &mut self,
        account: Account,
        request: &mut Request,
        response: &Response,
    ) -> bool {
        let is_proxy = response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let (asked, answered) = if is_proxy {
            (HeaderName::PROXY_AUTHENTICATE, HeaderName::PROXY_AUTHORIZATION)
        } else {
            (HeaderName::WWW_AUTHENTICATE, HeaderName::AUTHORIZATION)
        };
        let Some(challenge) = Challenge::best(response.headers.all(&asked)) else { return false };
        if request.headers.has(&answered) && !challenge.stale {
            return false;
        }
        let (method, uri) = (&request.method, &request.uri);
        let Some(credentials) = self.credentials(account).cloned() else { return false };
        let Some(value) = answer(&challenge, &credentials, method, uri, 1, &mut self.rng) else {
            return false;
        };
        request.headers.set(answered, value);
        true
    }

    /// Answers a challenge to our first INVITE.
    pub(super) fn retry_with_credentials(
        &mut self,
        now: Instant,
        id: LegId,
        response: &Response,
    ) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let (Phase::Calling(calling), Some(account)) = (&mut leg.phase, leg.account) else {
            return false;
        };
        calling.challenges += 1;
        if calling.challenges > MAX_ANSWERS {
            return false;
        }
        let mut request = calling.request.clone();
        if !self.answer_challenge(account, &mut request, response) {
            return false;
        }
        let number = request.headers.cseq().map_or(1, |c| c.number) + 1;
        request.headers.set(HeaderName::CSEQ, format!("{number} {}", Method::INVITE));
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let Phase::Calling(calling) = &mut leg.phase else { return false };
        let key = self.endpoint.send_request(now, leg.flow, request.clone());
        (calling.key, calling.request) = (key, request);
        self.clients.insert(key, ClientUse::Invite(id));
        true
    }
}

/// What an ACK repeats of its INVITE (RFC 3261 §13.2.2.4).
pub(super) fn credentials_of(request: &Request) -> Vec<(HeaderName, Bytes)> {
    [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION]
        .into_iter()
        .filter_map(|name| Some((name.clone(), request.headers.first(&name)?.clone())))
        .collect()
}

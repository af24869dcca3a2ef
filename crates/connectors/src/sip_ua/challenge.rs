//! Challenges of a trunk or a registrar elsewhere (RFC 3261 §22): answered for every request,
//! within bounds.

use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, LegId, RegistrationId};
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::endpoint::ClientKey;
use crosspoint_sip::{HeaderName, Method, Request, Response, StatusCode};

use super::leg::{Leg, Offer, Phase};
use super::trunk::registration_of;
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
            Account::Trunk(index) => self.trunks.get(index)?.config.credentials.as_ref(),
            Account::Registration(id) => self.registrations.credentials(id),
        }
    }

    /// The flow that requests to this peer take. A trunk, or a registrar, is where it is
    /// configured: the connection that a message came over may be closed long before the call
    /// is, and then another one is opened.
    pub(super) fn lasting_flow(&self, account: Option<Account>, flow: Flow) -> Flow {
        let configured = match account.filter(|_| flow.connection.is_some()) {
            Some(Account::Trunk(index)) => {
                self.trunks.get(index).and_then(|trunk| trunk.flow_like(&flow))
            }
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
            return self.endpoint.send_request(now, flow, &request);
        };
        let key = self.endpoint.send_request(now, flow, &request);
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
        let key = match self.legs.get_mut(&id).map(Box::as_mut) {
            Some(Leg { away: Some(held), .. }) => {
                let key = self.endpoint.hold_request(now, flow, &request);
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
        let again = self.endpoint.send_request(now, *flow, request);
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
                | ClientUse::KeyFrame(id)
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
        let known = response.headers.all(&asked).filter(|value| {
            Challenge::parse(value).is_some_and(|c| self.is_own_realm(account, &c.realm))
        });
        let Some(challenge) = Challenge::best(known) else {
            if let (Account::Trunk(index), true) = (account, response.headers.has(&asked)) {
                self.trunks.count(index, |counters| counters.foreign_challenges += 1);
            }
            return false;
        };
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

    /// Whether a realm is that of the peer that we have a password for. Whoever is called there
    /// may challenge us as well, and would collect our digests.
    fn is_own_realm(&self, account: Account, realm: &str) -> bool {
        if self.credentials(account).is_some_and(|c| c.realm.is_some()) {
            // `answer` compares it.
            return true;
        }
        let known = match account {
            Account::Trunk(index) => {
                let learned = self.trunks.get(index).map(|t| t.realms.as_slice());
                let learned = learned.filter(|realms| !realms.is_empty());
                learned.or_else(|| self.registrations.realms(registration_of(index)))
            }
            Account::Registration(id) => self.registrations.realms(id),
        };
        known.is_none_or(|known| known.is_empty() || known.iter().any(|k| k == realm))
    }

    /// The peer took our answer to its challenge: from now on it has this realm and no other.
    pub(super) fn learn_realms(&mut self, account: Option<Account>, request: &Request) {
        let Some(Account::Trunk(index)) = account else { return };
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        for (_, value) in credentials_of(request) {
            if let Some(realm) = realm_in(&value)
                && trunk.realms.len() < MAX_REALMS
                && !trunk.realms.contains(&realm)
            {
                trunk.realms.push(realm);
            }
        }
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
        let key = self.endpoint.send_request(now, leg.flow, &request);
        (calling.key, calling.request) = (key, request);
        self.clients.insert(key, ClientUse::Invite(id));
        true
    }
}

/// The realm of credentials that we made.
fn realm_in(value: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, rest) = text.split_once("realm=\"")?;
    rest.split('"').next().map(str::to_owned)
}

/// A trunk and a proxy before it.
const MAX_REALMS: usize = 2;

/// What an ACK repeats of its INVITE (RFC 3261 §13.2.2.4).
pub(super) fn credentials_of(request: &Request) -> Vec<(HeaderName, Bytes)> {
    [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION]
        .into_iter()
        .filter_map(|name| Some((name.clone(), request.headers.first(&name)?.clone())))
        .collect()
}

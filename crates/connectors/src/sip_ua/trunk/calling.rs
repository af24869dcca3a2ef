//! Calls over a trunk: which destination, and which next when one does not take it (RFC 3263 §4.3).

use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_call::Cause;
use crosspoint_sip::dialog::address_of;
use crosspoint_sip::{HeaderName, Method, NameAddr, Uri};

use super::{Hop, HopFailure, Place, registration_of};
use crate::sip_ua::challenge::{Account, credentials_of};
use crate::sip_ua::commands::Way;
use crate::sip_ua::ending::Settled;
use crate::sip_ua::leg::{Calling, Phase};
use crate::sip_ua::{ClientUse, SipUa, Timer};

impl SipUa {
    /// How a call to `number` gets out over a trunk.
    pub(in crate::sip_ua) fn trunk_way(&mut self, index: usize, number: &str) -> Option<Way> {
        let mut hops = self.trunks.get(index)?.in_order(&mut self.rng);
        hops.extend(self.peer_hops(index));
        if hops.is_empty() {
            return None;
        }
        let first = hops.remove(0);
        let trunk = self.trunks.get(index)?;
        let registered = self.registrations.service_route(registration_of(index));
        let mut routes = trunk.config.routes.clone();
        routes.extend(registered.into_iter().flatten().cloned());
        Some(Way {
            flow: first.flow,
            uri: Uri::sip(Some(number), &first.host, None)?,
            domain: trunk.config.domain.clone(),
            routes,
            account: Some(Account::Trunk(index)),
            user: None,
            spare: hops,
        })
    }

    /// Where a PBX is that signed in with us.
    fn peer_hops(&self, index: usize) -> Vec<Hop> {
        let Some(trunk) = self.trunks.get(index) else { return vec![] };
        let bindings = self.trunks.peers.bindings_of(&trunk.config.name);
        let hop = |binding: &crosspoint_sip::registrar::Binding| {
            let by_flow = binding.flow.connection.is_some() || binding.is_reached_by_flow();
            let hop = binding.path.first().map_or(&binding.contact, |path| &path.uri);
            let there = address_of(hop, binding.flow.transport).filter(|_| !by_flow);
            let remote = there.unwrap_or(binding.flow.remote);
            let flow = crosspoint_base::Flow { remote, ..binding.flow };
            Hop { flow, host: host_and_params(&binding.contact), priority: 0, weight: 0 }
        };
        bindings.map(hop).collect()
    }

    /// A destination has failed this call: the next one takes it, if there is one and nothing was
    /// heard of the callee yet. Says whether it does.
    pub(in crate::sip_ua) fn try_next_hop(
        &mut self,
        now: Instant,
        id: LegId,
        why: HopFailure,
    ) -> bool {
        let Some(leg) = self.legs.get(&id) else { return false };
        let Some(Account::Trunk(index)) = leg.account else { return false };
        let remote = leg.flow.remote;
        // A 503 may be about this call alone: OPTIONS tell about others.
        if why != HopFailure::Unavailable {
            self.hop_failed(now, index, remote, why);
        }
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let Phase::Calling(calling) = &mut leg.phase else { return false };
        if calling.rang || calling.media.is_some() || calling.spare.is_empty() {
            return false;
        }
        let hop = calling.spare.remove(0);
        let mut request = calling.request.clone();
        let number = request.uri.user_decoded();
        let Some(uri) = Uri::sip(number.as_deref(), &hop.host, None) else { return false };
        let sequence = request.headers.cseq().map_or(1, |c| c.number) + 1;
        let contact = self.contact(Some(Account::Trunk(index)), &hop.flow);
        request.uri = uri;
        // To a machine that heard the first one too, this is a request of its own.
        request.headers.set(HeaderName::CSEQ, format!("{sequence} {}", Method::INVITE));
        request.headers.set(HeaderName::CONTACT, contact);
        request.headers.remove(&HeaderName::AUTHORIZATION);
        request.headers.remove(&HeaderName::PROXY_AUTHORIZATION);
        let key = self.endpoint.send_request(now, hop.flow, &request);
        self.clients.insert(key, ClientUse::Invite(id));
        self.trunks.count(index, |counters| counters.failovers += 1);
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        leg.flow = hop.flow;
        if let Phase::Calling(calling) = &mut leg.phase {
            (calling.key, calling.request, calling.challenges) = (key, request, 0);
            calling.early.clear();
        }
        self.watch_hop(now, id);
        true
    }

    /// From now on this destination has so long to say something.
    pub(in crate::sip_ua) fn watch_hop(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let (Some(Account::Trunk(index)), Phase::Calling(calling)) = (leg.account, &leg.phase)
        else {
            return;
        };
        if calling.spare.is_empty() {
            self.timers.cancel(&(id, Timer::Failover));
        } else if let Some(trunk) = self.trunks.get(index) {
            self.timers.set((id, Timer::Failover), now + trunk.config.failover_after);
        }
    }

    /// A destination has said nothing for too long.
    pub(in crate::sip_ua) fn failover_due(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let account = leg.account;
        let Phase::Calling(calling) = &leg.phase else { return };
        let (old, credentials) = (calling.key, credentials_of(&calling.request));
        if !self.try_next_hop(now, id, HopFailure::NoAnswer) {
            return;
        }
        // It may have heard the INVITE all the same.
        if self.endpoint.cancel(now, old, None) {
            let settled = Settled {
                acks: vec![],
                early: Default::default(),
                cause: Cause::AnsweredElsewhere,
                account,
                credentials,
            };
            self.clients.insert(old, ClientUse::Settled(Box::new(settled)));
        }
    }

    /// Takes a place among the calls of a trunk, if the account is one.
    pub(in crate::sip_ua) fn take_place(
        &mut self,
        now: Instant,
        account: Option<Account>,
        kind: Place,
    ) -> Result<(), Cause> {
        let Some(Account::Trunk(index)) = account else { return Ok(()) };
        self.trunks.take_place(now, index, kind)?;
        self.trunks.count(index, |counters| {
            let count = match kind {
                Place::In => &mut counters.calls_in,
                Place::Out | Place::Emergency => &mut counters.calls_out,
            };
            *count += 1;
        });
        Ok(())
    }
}

/// The Contact of a peer without its user: what is dialled takes its place.
fn host_and_params(contact: &Uri) -> String {
    let text = String::from_utf8_lossy(contact.as_bytes()).into_owned();
    let rest = text.split_once(':').map_or(text.as_str(), |(_, rest)| rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned()
}

impl Calling {
    /// One that was just sent.
    pub(in crate::sip_ua) fn new(
        key: crosspoint_sip::endpoint::ClientKey,
        request: crosspoint_sip::Request,
        spare: Vec<Hop>,
    ) -> Self {
        Self {
            key,
            request,
            early: Default::default(),
            media: None,
            rang: false,
            repeated: false,
            challenges: 0,
            raises: 0,
            spare,
        }
    }
}

/// An outbound proxy as a Route.
#[must_use]
pub fn route_to(host: &str) -> Option<bytes::Bytes> {
    let uri = Uri::sip(None, host, None)?.with_param("lr", None)?;
    Some(NameAddr::new(uri).print())
}

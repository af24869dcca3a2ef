//! `call.start` of a client: a call that it brings to us.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{Gcid, LegId, Private, RegistrationId};
use crosspoint_call::{
    Cause, Identity, IncomingOffer, LegEvent, MediaPath, Profile, Replaces, Scope,
};
use crosspoint_sdp::Session;
use serde_json::json;

use super::accounts::Known;
use super::address::{dialled, own_identity};
use super::calls::{ClientCall, Phase, Story, description};
use super::candidates::Heard;
use super::change::Change;
use super::grant::Service;
use super::message::Message;
use super::reasons::reason_for;
use super::socket::Fault;
use super::{About, CallKey, ClientKey, RtcEngine};

/// A `call.start` that names itself well enough to be answered.
struct Start<'m> {
    id: &'m str,
    gcid: Gcid,
    fingerprint: u64,
    message: &'m Message,
}

/// What a `call.start` comes to when nothing is wrong with it.
struct Beginning {
    /// Never empty; more than one is a fork.
    ways: Vec<Way>,
    description: Session,
    to: Private<String>,
    replaces: Option<Replaces>,
}

/// An account that the call may leave over.
struct Way {
    known: Arc<Known>,
    scope: Scope,
    path: MediaPath,
}

impl RtcEngine {
    pub(super) fn start_call(&mut self, now: Instant, key: ClientKey, message: &Message) {
        let gcid = match message.text("gcid") {
            "" => Some(Gcid::generate(now, &self.config.clock, &mut self.rng)),
            gcid => Gcid::from_peer(gcid),
        };
        let (Some(id), Some(gcid)) = (message.id("id"), gcid) else {
            self.client_fault(key, Fault::BadMessage, message);
            return;
        };
        if message.to.len() > self.config.max_forks {
            self.client_fault(key, Fault::BadMessage, message);
            return;
        }
        let start = Start { id, gcid, fingerprint: fingerprint(message), message };
        if self.is_repeated(now, key, &start) {
            return;
        }
        let started = self.try_start(now, key, &start);
        let client = self.clients.get(&key);
        let call = client.and_then(|client| self.calls.get(client.calls.get(id)?));
        self.heard = match (&started, call.and_then(ClientCall::first_leg)) {
            (Err(_), _) => Some(About::Refused(Some(start.gcid.clone()))),
            (Ok(_), leg) => leg.map(About::Leg),
        };
        if let Err(cause) = started {
            let client = self.clients.get_mut(&key);
            let own = client.and_then(|client| {
                client.remember(now, id.into(), start.fingerprint);
                client.account_at(message.address()).map(|a| a.known.target.clone())
            });
            let body =
                json!({ "id": id, "gcid": start.gcid.as_str(), "reason": reason_for(cause) });
            self.send(key, "call.end", own.as_deref().unwrap_or("core"), &body);
        }
    }

    /// The same message again begins nothing; another one with a used id ends whatever had the id.
    fn is_repeated(&mut self, now: Instant, key: ClientKey, start: &Start<'_>) -> bool {
        let Some(client) = self.clients.get_mut(&key) else { return true };
        let running = client.calls.get(start.id).copied();
        let past = client.past_call(now, start.id).map(|p| p.fingerprint);
        let Some(before) = running.and_then(|c| Some(self.calls.get(&c)?.fingerprint)).or(past)
        else {
            return false;
        };
        if before != start.fingerprint {
            let reason = reason_for(Cause::Internal);
            let body = json!({ "id": start.id, "gcid": start.gcid.as_str(), "reason": reason });
            self.send(key, "call.end", "core", &body);
            if let Some(call) = running {
                let is_up = self.calls.get(&call).is_some_and(|c| c.phase == Phase::Active);
                let cause = if is_up { Cause::Normal } else { Cause::Cancelled };
                self.forget_call(now, call, cause);
            }
        } else if let Some(call) = running {
            // It did not hear our answer.
            self.repeat_unanswered(call);
        }
        true
    }

    fn try_start(&mut self, now: Instant, key: ClientKey, start: &Start<'_>) -> Result<(), Cause> {
        let message = start.message;
        let mut ways = self.ways(key, message)?;
        let calls = self.clients.get(&key).map_or(0, |c| c.calls.len());
        if self.is_draining || calls >= self.config.max_calls_per_client {
            self.counters.refused_calls += 1;
            let cause = if self.is_draining { Cause::Shutdown } else { Cause::Overload };
            return Err(cause);
        }
        let replaces = if message.flag("replace") {
            ways.truncate(1);
            Some(self.replaced(key, start, &ways)?)
        } else {
            None
        };
        let description = description(message).ok_or(Cause::BadDescription)?;
        let to = match dialled(message.text("target")) {
            Some(to) => to,
            None if replaces.is_some() => String::new(),
            None => return Err(Cause::InvalidNumber),
        };
        let to = Private(to);
        self.begin_call(now, key, start, Beginning { ways, description, to, replaces });
        Ok(())
    }

    /// The accounts that a call is for, in the order of its addresses, each once.
    fn ways(&mut self, key: ClientKey, message: &Message) -> Result<Vec<Way>, Cause> {
        let Some(client) = self.clients.get(&key) else { return Err(Cause::NotFound) };
        let (mut ways, mut known, mut foreign): (Vec<Way>, usize, bool) = (vec![], 0, false);
        for address in &message.to {
            let Some(account) = client.account_at(address) else {
                foreign = true;
                continue;
            };
            known += 1;
            let registration = account
                .binding
                .and_then(|b| self.bindings.get(&b))
                .and_then(|bound| bound.registration);
            let is_new = ways.iter().all(|w| w.known.target != *address);
            if is_new
                && self.is_connected(account)
                && let Some((scope, path)) = reach(&account.known, registration)
            {
                ways.push(Way { known: account.known.clone(), scope, path });
            }
        }
        if foreign {
            self.unknown_recipient(key, message);
        }
        match () {
            () if known == 0 => Err(Cause::NotFound),
            () if ways.is_empty() => Err(Cause::Unavailable),
            () => Ok(ways),
        }
    }

    /// Whose place the call takes: a leg of this very client, or one of the same user.
    fn replaced(&self, key: ClientKey, start: &Start<'_>, ways: &[Way]) -> Result<Replaces, Cause> {
        let client = self.clients.get(&key).ok_or(Cause::NotFound)?;
        let own = client.calls.values().filter_map(|call| self.calls.get(call));
        let own = own.filter(|call| call.gcid == start.gcid).find_map(|call| call.legs.first());
        match (own, ways.first().map(|way| &way.known.grant.service)) {
            (Some((leg, _)), _) => Ok(Replaces::Leg(*leg)),
            (None, Some(Service::Local { .. })) => Ok(Replaces::Own(start.gcid.clone())),
            (None, _) => Err(Cause::NotFound),
        }
    }

    /// What is known of the call whose leg is replaced.
    fn story(&self, ways: &[Way], replaces: Option<&Replaces>) -> Option<Story> {
        match replaces? {
            Replaces::Leg(leg) => Some(self.calls.get(self.legs.get(leg)?)?.story.clone()),
            Replaces::Own(gcid) => {
                let Service::Local { user } = &ways.first()?.known.grant.service else {
                    return None;
                };
                let call = self.user_calls.get(&**user)?.iter().find(|c| c.gcid == *gcid)?;
                Some(Story {
                    peer: call.peer.clone(),
                    is_outgoing: call.is_outgoing,
                    since: call.since_unix,
                })
            }
            Replaces::OwnLatest => None,
        }
    }

    fn begin_call(
        &mut self,
        now: Instant,
        client: ClientKey,
        start: &Start<'_>,
        beginning: Beginning,
    ) {
        let Beginning { ways, description, to, replaces } = beginning;
        let key = self.next_call_key();
        let trickle = start.message.flag("trickle");
        let story = self.story(&ways, replaces.as_ref()).unwrap_or_else(|| Story {
            peer: Identity { address: to.clone(), ..Identity::default() },
            is_outgoing: true,
            since: self.config.clock.seconds(now),
        });
        let mut offers: Vec<(LegId, IncomingOffer)> = vec![];
        let mut legs = vec![];
        for way in ways {
            let leg = self.next_leg_id();
            self.legs.insert(leg, key);
            offers.push((
                leg,
                IncomingOffer {
                    from: own_identity(&way.known),
                    to: to.clone(),
                    description: Some(description.clone()),
                    profile: Profile::WebRtc,
                    trunk: None,
                    video: true,
                    gcid: Some(start.gcid.clone()),
                    trickle,
                    scope: way.scope,
                    path: way.path,
                    replaces: replaces.clone(),
                    location: None,
                    diverted: vec![],
                    auto_answer: start.message.flag("autoAnswer"),
                    may_press: false,
                },
            ));
            legs.push((leg, way.known));
        }
        let call = ClientCall {
            client,
            id: start.id.into(),
            gcid: start.gcid.clone(),
            legs,
            is_outgoing: true,
            phase: Phase::Starting,
            story,
            fingerprint: start.fingerprint,
            has_early_media: false,
            awaits_ack: false,
            failed: None,
            heard: Heard::of(&description),
            change: Change::default(),
            unanswered: None,
        };
        self.calls.insert(key, call);
        if let Some(client) = self.clients.get_mut(&client) {
            client.calls.insert(start.id.into(), key);
        }
        self.say(key, "call.alive", json!({}));
        let grace = self.config.resume_window;
        for (leg, offer) in offers {
            self.tell(leg, LegEvent::Offer(Box::new(offer)));
            self.tell(leg, LegEvent::MediaGrace(grace));
        }
    }

    pub(super) fn next_call_key(&mut self) -> CallKey {
        self.next_call += 1;
        CallKey(self.next_call)
    }
}

/// How far calls over an account lead.
fn reach(known: &Known, registration: Option<RegistrationId>) -> Option<(Scope, MediaPath)> {
    match &known.grant.service {
        Service::Local { .. } => Some((Scope::Everywhere, MediaPath::Anchored)),
        Service::Remote(_) => Some((Scope::Out(registration?), MediaPath::Anchored)),
        Service::Apps { network, path, .. } => Some((Scope::Network(network.clone()), *path)),
        Service::Unauthorized | Service::NotAvailable { .. } => None,
    }
}

/// By which a repeated message is known.
fn fingerprint(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.to.hash(&mut hasher);
    for name in ["gcid", "target", "sdp"] {
        message.text(name).hash(&mut hasher);
    }
    message.flag("replace").hash(&mut hasher);
    hasher.finish()
}

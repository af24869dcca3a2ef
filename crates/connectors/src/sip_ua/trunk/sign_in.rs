//! Signing in: we at a trunk (RFC 3261 §10.2), or a PBX with us as trunks of small sites do.
//!
//! The first is one of our sign-ins elsewhere, with the trunk's destinations to go round; the
//! second is the registrar again, with the trunk in the place of a user.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{Flow, Secret};
use crosspoint_sip::digest::UserHa1;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::registrar::Change;
use crosspoint_sip::{Request, StatusCode};

use super::{TrunkChange, TrunkTimer, registration_of};
use crate::sip_ua::registration::RegistrationConfig;
use crate::sip_ua::{RegistrationState, SipUa};

/// How we sign in at a trunk.
#[derive(Debug, Clone)]
pub struct TrunkRegistration {
    /// The user of our address there.
    pub user: String,
    /// Asked for; the registrar decides.
    pub expires: Duration,
}

/// The name and password that a peer shows to us.
#[derive(Debug, Clone)]
pub struct TrunkLogin {
    pub user: Arc<str>,
    pub ha1: UserHa1,
    /// It signs in, and calls go where it did so from.
    pub registers: bool,
}

/// How a PBX stands that signs in with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It never did, or has signed out.
    Unregistered,
    /// It tried and was asked for its password.
    Challenged,
    Registered,
    /// It was, and did not come back in time; or its connection closed.
    Expired,
}

impl PeerState {
    pub const ALL: [Self; 4] =
        [Self::Unregistered, Self::Challenged, Self::Registered, Self::Expired];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Challenged => "challenged",
            Self::Registered => "registered",
            Self::Expired => "expired",
        }
    }
}

impl SipUa {
    // We at the trunk.

    /// Signs in, once it is known where.
    pub(super) fn begin_sign_in(&mut self, now: Instant, index: usize) {
        let Some(trunk) = self.trunks.get(index) else { return };
        let Some(wanted) = trunk.config.registration.clone() else { return };
        if trunk.gone.is_some() {
            return;
        }
        let id = registration_of(index);
        let is_known = |flow: Flow| trunk.hops.iter().any(|h| h.hop.flow == flow);
        if self.registrations.flow(id).is_some_and(is_known) {
            return;
        }
        let Some(first) = trunk.hops.iter().min_by_key(|h| h.hop.priority) else { return };
        let credentials = trunk.config.credentials.as_ref();
        let config = RegistrationConfig {
            user: wanted.user,
            domain: trunk.config.domain.clone(),
            flow: first.hop.flow,
            auth_user: credentials.map(|c| c.user.clone()),
            password: credentials
                .map_or_else(|| Secret::new(String::new()), |c| c.password.clone()),
            expires: wanted.expires,
        };
        self.registration_wanted(now, id, config);
    }

    /// The destination to sign in at after one has failed, and whether it has not had its turn yet.
    pub(in crate::sip_ua) fn next_registrar(&mut self, index: usize) -> Option<(Flow, bool)> {
        let trunk = self.trunks.all.get_mut(index)?;
        let mut hops: Vec<_> = trunk.hops.iter().map(|h| (h.hop.priority, h.hop.flow)).collect();
        hops.sort_by_key(|(priority, _)| *priority);
        trunk.registrar_at += 1;
        let is_new = trunk.registrar_at < hops.len();
        if !is_new {
            trunk.registrar_at = 0;
        }
        hops.get(trunk.registrar_at).map(|(_, flow)| (*flow, is_new))
    }

    /// Our sign-in at a trunk stands differently.
    pub(in crate::sip_ua) fn trunk_registration_changed(
        &mut self,
        index: usize,
        state: RegistrationState,
    ) {
        let realms = self.registrations.realms(registration_of(index)).map(<[String]>::to_vec);
        if let Some(trunk) = self.trunks.all.get_mut(index) {
            trunk.registration = Some(state);
            if state == RegistrationState::Connected {
                trunk.registrar_at = 0;
                trunk.realms = realms.unwrap_or_default();
            }
        }
        self.trunk_news(index, TrunkChange::Registration(state));
    }

    /// A refusal that only a person can mend is asked about once in a while: the person may.
    pub(in crate::sip_ua) fn trunk_refused_us(&mut self, now: Instant, index: usize) {
        self.registrations.forget(registration_of(index));
        if self.trunks.get(index).is_none_or(|trunk| trunk.gone.is_some()) {
            return;
        }
        self.trunks.timers.set((index, TrunkTimer::SignIn), now + REFUSED_AGAIN);
    }

    // A PBX with us.

    /// A REGISTER without (good) credentials, for the name that a trunk shows.
    pub(in crate::sip_ua) fn peer_challenged(&mut self, request: &Request) {
        let user = request.headers.to().and_then(|to| to.uri.user_decoded());
        let Some(index) = user.and_then(|user| self.trunks.by_login(&user)) else { return };
        let is_new = self.trunks.get(index).is_some_and(|trunk| {
            matches!(trunk.peer, Some(PeerState::Unregistered | PeerState::Expired))
        });
        if is_new {
            self.peer_is(index, PeerState::Challenged);
        }
    }

    /// A trunk signs in with us.
    pub(in crate::sip_ua) fn peer_registers(
        &mut self,
        now: Instant,
        key: ServerKey,
        (index, flow): (usize, Flow),
        request: &Request,
    ) {
        let Some(trunk) = self.trunks.get(index) else { return };
        let login = trunk.config.login.as_ref().filter(|login| login.registers);
        let to = request.headers.to().and_then(|to| to.uri.user_decoded());
        if login.is_none_or(|login| to.as_deref() != Some(&*login.user)) {
            self.refuse(now, key, request, StatusCode::FORBIDDEN);
            return;
        }
        self.counters.registrations += 1;
        let name = trunk.config.name.clone();
        let mut response = self.trunks.peers.handle_register(now, &name, request, flow);
        self.tag(&mut response);
        self.respond(now, key, &mut response);
        self.peers_changed(now, false);
    }

    /// Tells what has become of peers that signed in. `is_lost`: their connection closed.
    pub(in crate::sip_ua) fn peers_changed(&mut self, now: Instant, is_lost: bool) {
        while let Some(change) = self.trunks.peers.poll_change() {
            let (Change::Added(binding) | Change::Refreshed(binding) | Change::Removed(binding)) =
                &change;
            let Some(index) = self.trunks.named(&binding.user) else { continue };
            let is_there = self.trunks.peers.bindings_of(&binding.user).next().is_some();
            let state = match change {
                _ if is_there => PeerState::Registered,
                Change::Removed(binding) if is_lost || binding.expires <= now => PeerState::Expired,
                _ => PeerState::Unregistered,
            };
            self.peer_is(index, state);
        }
    }

    fn peer_is(&mut self, index: usize, state: PeerState) {
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        if trunk.peer.replace(state) != Some(state) {
            self.trunk_news(index, TrunkChange::Peer(state));
        }
    }
}

/// A password may have been set right meanwhile; no carrier bans for one question in ten minutes.
const REFUSED_AGAIN: Duration = Duration::from_secs(600);

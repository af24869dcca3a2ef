//! Trunks that come, change and go while calls run.
//!
//! A trunk keeps its place in the list for as long as anything may point at it: what changes is
//! changed in place, and one that is gone stays as long as its calls do. Whatever is not named is
//! not touched, so that an untouched trunk keeps its health, sign-in and counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::RegistrationId;

use super::{
    HopState, LOCATE_AGAIN, LOCATE_SOON, MAX_HOPS, PeerState, Reached, Trunk, TrunkConfig,
    TrunkTimer, Trunks, registration_of,
};
use crate::sip_ua::{ClientUse, RegistrationState, SipUa};

/// What the configuration says of trunks now.
#[derive(Debug, Clone, Default)]
pub struct TrunkChanges {
    /// The names of all there are, in the order of the configuration.
    pub order: Vec<Arc<str>>,
    /// Those that are new or not what they were.
    pub fresh: Vec<FreshTrunk>,
}

/// A trunk that is new, or not what it was.
#[derive(Debug, Clone)]
pub struct FreshTrunk {
    pub config: TrunkConfig,
    /// It is somewhere else: what is known of its old place is worth nothing.
    pub is_moved: bool,
}

impl Trunks {
    /// The place of a trunk, and of one that is gone as well.
    fn place_of(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|trunk| &*trunk.config.name == name)
    }

    /// Puts every trunk in the order of the configuration, which decides whose a request is.
    fn sort(&mut self, order: &[Arc<str>]) {
        for trunk in &mut self.all {
            let rank = order.iter().position(|name| *name == trunk.config.name);
            trunk.rank = rank.unwrap_or(usize::MAX);
        }
        let login = |(index, trunk): (usize, &Trunk)| {
            let login = trunk.config.login.as_ref().filter(|_| trunk.gone.is_none())?;
            Some((login.user.clone(), index))
        };
        self.logins = self.all.iter().enumerate().filter_map(login).collect();
    }
}

impl SipUa {
    /// Makes the trunks what the configuration says they are.
    pub(in crate::sip_ua) fn change_trunks(&mut self, now: Instant, changes: TrunkChanges) {
        let TrunkChanges { order, fresh } = changes;
        for index in 0..self.trunks.all.len() {
            let Some(trunk) = self.trunks.all.get(index) else { continue };
            if trunk.gone.is_none() && !order.contains(&trunk.config.name) {
                self.trunk_goes(now, index);
            }
        }
        for fresh in fresh {
            match self.trunks.place_of(&fresh.config.name) {
                Some(index) => self.trunk_changes(now, index, fresh),
                None => self.trunk_comes(now, fresh.config),
            }
        }
        self.trunks.sort(&order);
        self.peers_changed(now, false);
    }

    /// Its calls go on; nothing new comes from it or goes there.
    fn trunk_goes(&mut self, now: Instant, index: usize) {
        for timer in TrunkTimer::ALL {
            self.trunks.timers.cancel(&(index, timer));
        }
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        trunk.gone = Some(now);
        trunk.peer = None;
        let name = trunk.config.name.clone();
        let signs_in = trunk.registration.take().is_some();
        let asked: Vec<_> = trunk.hops.iter_mut().filter_map(|h| h.asked.take()).collect();
        for key in asked {
            self.clients.insert(key, ClientUse::Forgotten);
        }
        self.trunks.peers.forget_user(&name);
        while self.trunks.peers.poll_change().is_some() {}
        if signs_in {
            self.sign_out_from(now, index);
        }
        self.end_forwards_of(now, index);
    }

    fn trunk_comes(&mut self, now: Instant, config: TrunkConfig) {
        let index = self.free_place(now).unwrap_or(self.trunks.all.len());
        let trunk = Trunk::new(config);
        match self.trunks.all.get_mut(index) {
            Some(place) => *place = trunk,
            None => self.trunks.all.push(trunk),
        }
        self.trunk_begins(now, index);
    }

    /// The place of a trunk that is gone, once nothing can point at it any more.
    fn free_place(&self, now: Instant) -> Option<usize> {
        self.trunks.all.iter().enumerate().position(|(index, trunk)| {
            let is_long_gone =
                trunk.gone.is_some_and(|at| now.saturating_duration_since(at) >= LINGER);
            let signs_out = self.registrations.flow(registration_of(index)).is_some();
            is_long_gone && trunk.calls == 0 && !signs_out
        })
    }

    fn trunk_changes(&mut self, now: Instant, index: usize, fresh: FreshTrunk) {
        let FreshTrunk { mut config, is_moved } = fresh;
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let was_gone = trunk.gone.take().is_some();
        let found = std::mem::take(&mut config.hops);
        let is_lost = found.is_empty();
        if !is_lost || is_moved || was_gone {
            trunk.take_hops(found.into_iter().take(MAX_HOPS));
        }
        let old = std::mem::replace(&mut trunk.config, config);
        let config = &trunk.config;
        let is_other_sign_in = is_moved || was_gone || signs_in_otherwise(&old, config);
        if old.credentials != config.credentials {
            trunk.realms.clear();
        }
        let registers = |c: &TrunkConfig| c.login.as_ref().is_some_and(|login| login.registers);
        let is_other_peer = old.login.as_ref().map(|login| &login.user)
            != config.login.as_ref().map(|login| &login.user)
            || registers(&old) != registers(config);
        if is_other_peer || was_gone {
            trunk.peer = registers(config).then_some(PeerState::Unregistered);
        }
        if config.health.is_none() {
            // Nobody asks any more: the next call finds out.
            for reached in &mut trunk.hops {
                if matches!(reached.state, HopState::Down(_)) {
                    (reached.state, reached.against) = (HopState::Unknown, 0);
                }
            }
        }
        if is_other_sign_in {
            trunk.registrar_at = 0;
            trunk.registration =
                config.registration.is_some().then_some(RegistrationState::Connecting);
        }
        let (is_other_health, name) = (old.health != config.health, config.name.clone());
        if is_other_sign_in && old.registration.is_some() && !was_gone {
            self.sign_out_from(now, index);
        }
        if is_other_peer {
            self.trunks.peers.forget_user(&name);
            while self.trunks.peers.poll_change().is_some() {}
        }
        if old.forward.is_some()
            && self.trunks.get(index).is_some_and(|t| t.config.forward.is_none())
        {
            self.end_forwards_of(now, index);
        }
        if is_other_health || is_moved || was_gone {
            self.trunk_begins(now, index);
        } else {
            if is_lost {
                self.trunks.timers.set((index, TrunkTimer::Locate), now + LOCATE_SOON);
            }
            self.begin_sign_in(now, index);
        }
    }

    /// What a trunk does by itself begins.
    pub(super) fn trunk_begins(&mut self, now: Instant, index: usize) {
        let Some(trunk) = self.trunks.all.get(index) else { return };
        let (asks, is_found) = (trunk.config.health.is_some(), !trunk.hops.is_empty());
        let is_sought = trunk.config.login.as_ref().is_none_or(|login| !login.registers);
        for timer in TrunkTimer::ALL {
            self.trunks.timers.cancel(&(index, timer));
        }
        if asks {
            // Not all at once.
            let after = Duration::from_millis(u64::from(self.rng.below(1000)));
            self.trunks.timers.set((index, TrunkTimer::Ask), now + after);
        }
        if is_sought {
            let after = if is_found { LOCATE_AGAIN } else { LOCATE_SOON };
            self.trunks.timers.set((index, TrunkTimer::Locate), now + after);
        }
        self.begin_sign_in(now, index);
    }

    /// Signs out where a trunk was signed in, under an id of its own: the trunk's is free for what
    /// comes next.
    fn sign_out_from(&mut self, now: Instant, index: usize) {
        self.trunks.timers.cancel(&(index, TrunkTimer::SignIn));
        self.left += 1;
        let leaving = RegistrationId(registration_of(LEAVING | self.left).0);
        if self.rename_registration(registration_of(index), leaving) {
            self.registration_unwanted(now, leaving);
        }
    }
}

impl Trunk {
    /// Other destinations; those that stay keep what is known of them.
    pub(super) fn take_hops(&mut self, hops: impl Iterator<Item = super::Hop>) {
        let mut known = std::mem::take(&mut self.hops);
        for hop in hops {
            let at = known.iter().position(|k| {
                (k.hop.flow.transport, k.hop.flow.remote) == (hop.flow.transport, hop.flow.remote)
            });
            let reached = match at {
                Some(at) => Reached { hop, ..known.swap_remove(at) },
                None => Reached::new(hop),
            };
            self.hops.push(reached);
        }
    }
}

fn signs_in_otherwise(old: &TrunkConfig, new: &TrunkConfig) -> bool {
    let shown = |config: &TrunkConfig| {
        let registration = config.registration.as_ref()?;
        Some((
            registration.user.clone(),
            registration.expires,
            config.domain.clone(),
            config.credentials.clone(),
        ))
    };
    shown(old) != shown(new)
}

/// A trunk's place is free this long after it has gone: every transaction has ended by then.
const LINGER: Duration = Duration::from_secs(300);
/// Sign-ins that are on their way out belong to no trunk.
const LEAVING: usize = 1 << 40;

//! Who is not listened to for a while: sources that guess passwords, search the network for
//! victims, or only ever make requests that they do not prove.
//!
//! A source is an address, of IPv6 a /64. What it does wrong is weighed against who has signed in
//! from it: behind one address there may be an office, in which one phone has an old password.
//! Only conduct of who is certain to be at the address may be told here, over a connection or with
//! something that we sent there; otherwise anybody could have others banned in their name.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Network, source_of};

/// Bounds of a [`Guard`].
#[derive(Debug, Clone)]
pub struct GuardConfig {
    /// Wrong passwords from one source that get it banned; with zero nobody is, but by operators.
    pub failures: u32,
    /// In this time one of them is forgotten.
    pub recovery: Duration,
    /// How long the first ban lasts. Each further one within a day is four times as long, up to a
    /// day.
    pub time: Duration,
    /// Never banned.
    pub exempt: Vec<Network>,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            failures: 20,
            recovery: Duration::from_secs(30),
            time: Duration::from_secs(600),
            exempt: Vec::new(),
        }
    }
}

/// What somebody does, as far as it is certain who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conduct {
    /// A user has proved a password.
    SignedIn(Arc<str>),
    Offended(Offence),
}

/// What counts against a source, and why one is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// A password that is wrong, or of nobody.
    Password,
    /// It names itself as a program that searches for victims.
    Scanner,
    /// A message that breaks the grammar.
    Malformed,
    /// A request that was answered with a challenge; a sign-in makes up for one.
    Unproved,
    /// The operator wants it.
    Operator,
}

impl Offence {
    pub const ALL: [Self; 5] =
        [Self::Password, Self::Scanner, Self::Malformed, Self::Unproved, Self::Operator];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Scanner => "scanner",
            Self::Malformed => "malformed",
            Self::Unproved => "unproved",
            Self::Operator => "operator",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|offence| offence.as_str() == text)
    }
}

/// One source that is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ban {
    /// Of IPv6 sources the network.
    pub source: IpAddr,
    pub since: Instant,
    pub until: Instant,
    /// What made the measure full.
    pub offence: Offence,
    /// Messages and connections that were passed over since.
    pub dropped: u64,
}

/// What a [`Guard`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GuardCounters {
    /// In the order of [`Offence::ALL`].
    pub bans: [u64; Offence::ALL.len()],
    /// Messages and connections of banned sources.
    pub dropped: u64,
    /// Bans that an operator lifted.
    pub lifted: u64,
}

/// What is known of a source that is not banned, or was.
#[derive(Debug, Clone)]
struct Source {
    /// In parts of a wrong password.
    score: u32,
    /// When it was worked out last.
    at: Instant,
    /// Users who have signed in from here, and when last.
    users: Vec<(Arc<str>, Instant)>,
    /// Bans within a day, and when the last one began.
    bans: u32,
    banned_at: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Guard {
    config: GuardConfig,
    sources: BTreeMap<IpAddr, Source>,
    bans: BTreeMap<IpAddr, Ban>,
    /// Where users sent datagrams from when they signed in.
    flows: BTreeMap<SocketAddr, Instant>,
    last_purge: Option<Instant>,
    counters: GuardCounters,
}

impl Guard {
    #[must_use]
    pub fn new(config: GuardConfig) -> Self {
        Self {
            config,
            sources: BTreeMap::new(),
            bans: BTreeMap::new(),
            flows: BTreeMap::new(),
            last_purge: None,
            counters: GuardCounters::default(),
        }
    }

    /// How many sources are banned. While none is, everybody is heard.
    #[must_use]
    pub fn banned(&self) -> usize {
        self.bans.len()
    }

    #[must_use]
    pub fn counters(&self) -> GuardCounters {
        self.counters
    }

    /// Other bounds from now on; who was trusted besides is so no more. What is known of sources
    /// stays.
    pub fn set_config(&mut self, config: GuardConfig) {
        self.bans.retain(|source, _| !config.exempt.iter().any(|n| n.contains(*source)));
        self.config = config;
    }

    /// From now on this network is never banned.
    pub fn trust(&mut self, network: Network) {
        if !self.config.exempt.contains(&network) && self.config.exempt.len() < MAX_EXEMPT {
            self.config.exempt.push(network);
            self.bans.retain(|source, _| !network.contains(*source));
        }
    }

    #[must_use]
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        self.config.exempt.iter().any(|network| network.contains(address))
    }

    /// Whether what comes from here is listened to. `from` has to be the whole address for
    /// datagrams: those of users who were signed in before the ban go on.
    pub fn hears(&mut self, now: Instant, from: SocketAddr) -> bool {
        let source = source_of(from.ip());
        let Some(ban) = self.bans.get_mut(&source) else { return true };
        if ban.until <= now {
            self.bans.remove(&source);
            return true;
        }
        if self.flows.get(&canonical(from)).is_some_and(|until| *until > now) {
            return true;
        }
        ban.dropped += 1;
        self.counters.dropped += 1;
        false
    }

    #[must_use]
    pub fn is_banned(&self, now: Instant, address: IpAddr) -> bool {
        self.bans.get(&source_of(address)).is_some_and(|ban| ban.until > now)
    }

    /// Takes what somebody did; gives the ban that comes of it. `is_datagram` tells that there is
    /// no connection that goes on by itself.
    pub fn note(
        &mut self,
        now: Instant,
        from: SocketAddr,
        is_datagram: bool,
        conduct: Conduct,
    ) -> Option<Ban> {
        if self.is_exempt(from.ip()) {
            return None;
        }
        let offence = match conduct {
            Conduct::SignedIn(user) => {
                self.signed_in(now, from, is_datagram, user);
                return None;
            }
            Conduct::Offended(offence) => offence,
        };
        let (source, base) = (source_of(from.ip()), self.config.failures.checked_mul(PARTS)?);
        if base == 0 || self.is_banned(now, source) {
            return None;
        }
        let recovery = self.config.recovery;
        let known = self.source(now, source)?;
        known.recover(now, recovery);
        let weight = if offence == Offence::Scanner { base } else { offence.weight() };
        known.score = known.score.saturating_add(weight);
        let users = u32::try_from(known.users.len()).unwrap_or(u32::MAX);
        if known.score < base.saturating_mul(users.saturating_add(1)) {
            return None;
        }
        known.score = 0;
        if known.banned_at.is_none_or(|at| now.saturating_duration_since(at) > DAY) {
            known.bans = 0;
        }
        let times = 4_u32.saturating_pow(known.bans);
        (known.bans, known.banned_at) = (known.bans.saturating_add(1), Some(now));
        let time = self.config.time.saturating_mul(times).min(self.config.time.max(DAY));
        Some(self.ban(now, source, time, offence))
    }

    /// Bans a source, whatever is known of it, unless it is exempt.
    pub fn impose(&mut self, now: Instant, address: IpAddr, time: Duration) -> Option<Ban> {
        if self.is_exempt(address) {
            return None;
        }
        Some(self.ban(now, source_of(address), time, Offence::Operator))
    }

    /// Takes a ban that was imposed before, elsewhere or in an earlier life.
    pub fn restore(&mut self, ban: Ban) {
        if !self.is_exempt(ban.source) {
            self.make_room();
            self.bans.insert(source_of(ban.source), ban);
        }
    }

    /// Listens to a source again, and forgets what it did; gives the ban that it had.
    pub fn lift(&mut self, now: Instant, address: IpAddr) -> Option<Ban> {
        let source = source_of(address);
        self.sources.remove(&source);
        let lifted = self.bans.remove(&source).filter(|ban| ban.until > now)?;
        self.counters.lifted += 1;
        Some(lifted)
    }

    /// Those that last, by source.
    pub fn bans(&self, now: Instant) -> impl Iterator<Item = &Ban> {
        self.bans.values().filter(move |ban| ban.until > now)
    }

    /// Forgets bans that are over.
    pub fn expire(&mut self, now: Instant) {
        self.bans.retain(|_, ban| ban.until > now);
    }

    fn signed_in(&mut self, now: Instant, from: SocketAddr, is_datagram: bool, user: Arc<str>) {
        if is_datagram {
            if self.flows.len() >= MAX_FLOWS {
                self.purge(now);
            }
            if self.flows.len() < MAX_FLOWS {
                self.flows.insert(canonical(from), now + KNOWN_FOR);
            }
        }
        let recovery = self.config.recovery;
        let Some(known) = self.source(now, source_of(from.ip())) else { return };
        known.recover(now, recovery);
        known.score = known.score.saturating_sub(Offence::Unproved.weight());
        match known.users.iter().position(|(name, _)| *name == user) {
            Some(at) => known.users[at].1 = now,
            None if known.users.len() < MAX_USERS => known.users.push((user, now)),
            None => {}
        }
    }

    fn ban(&mut self, now: Instant, source: IpAddr, time: Duration, offence: Offence) -> Ban {
        self.make_room();
        self.counters.bans[offence as usize] += 1;
        let ban = Ban { source, since: now, until: now + time, offence, dropped: 0 };
        self.bans.insert(source, ban);
        ban
    }

    fn make_room(&mut self) {
        if self.bans.len() >= MAX_BANS {
            let first = self.bans.values().min_by_key(|ban| ban.until).map(|ban| ban.source);
            first.map(|source| self.bans.remove(&source));
        }
    }

    /// What is known of a source; none when there is no room for one more.
    fn source(&mut self, now: Instant, source: IpAddr) -> Option<&mut Source> {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.purge(now);
            if self.sources.len() >= MAX_SOURCES {
                return None;
            }
        }
        let fresh = || Source { score: 0, at: now, users: Vec::new(), bans: 0, banned_at: None };
        Some(self.sources.entry(source).or_insert_with(fresh))
    }

    /// Forgets who has done nothing for long. Looking through all is not worth more than once a
    /// second.
    fn purge(&mut self, now: Instant) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= PURGE_PERIOD;
        if !self.last_purge.is_none_or(is_due) {
            return;
        }
        self.last_purge = Some(now);
        self.flows.retain(|_, until| *until > now);
        let recovery = self.config.recovery;
        self.sources.retain(|_, known| {
            known.recover(now, recovery);
            let was_banned =
                known.banned_at.is_some_and(|at| now.saturating_duration_since(at) <= DAY);
            known.score > 0 || !known.users.is_empty() || was_banned
        });
    }
}

impl Source {
    fn recover(&mut self, now: Instant, recovery: Duration) {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let part = (recovery.as_millis() / u128::from(PARTS)).max(1);
        let forgotten = u32::try_from(passed / part).unwrap_or(u32::MAX);
        if self.score <= forgotten {
            (self.score, self.at) = (0, now);
        } else if forgotten > 0 {
            self.score -= forgotten;
            self.at += Duration::from_millis(u64::try_from(part).unwrap_or(u64::MAX)) * forgotten;
        }
        self.users.retain(|(_, at)| now.saturating_duration_since(*at) < KNOWN_FOR);
    }
}

impl Offence {
    /// In parts of a wrong password.
    fn weight(self) -> u32 {
        match self {
            Self::Password | Self::Scanner | Self::Operator => PARTS,
            Self::Malformed | Self::Unproved => 1,
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What else counts against a source is worth a tenth of a wrong password.
const PARTS: u32 = 10;
/// How long a sign-in speaks for its source: phones sign in again within an hour.
const KNOWN_FOR: Duration = Duration::from_secs(2 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// More users behind one address do not raise the measure further.
const MAX_USERS: usize = 9;
const MAX_SOURCES: usize = 20_000;
const MAX_BANS: usize = 10_000;
const MAX_FLOWS: usize = 100_000;
const MAX_EXEMPT: usize = 10_000;
const PURGE_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;

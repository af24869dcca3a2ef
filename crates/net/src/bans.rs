//! Who is not listened to, shared by every socket: see [`Guard`] for who that is.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_base::{Ban, Conduct, Guard, GuardConfig, GuardCounters, Network, Offence};

/// A handle on the table; clones share it.
#[derive(Debug, Clone)]
pub struct Bans(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// So that nobody takes the lock while nobody is banned.
    banned: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    guard: Guard,
    /// What is to be kept over a restart.
    changes: VecDeque<BanChange>,
}

/// What has become of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BanChange {
    Banned(Ban),
    Lifted(IpAddr),
}

impl BanChange {
    fn source(&self) -> IpAddr {
        match self {
            Self::Banned(ban) => ban.source,
            Self::Lifted(source) => *source,
        }
    }
}

impl Bans {
    #[must_use]
    pub fn new(config: GuardConfig) -> Self {
        let table = Table { guard: Guard::new(config), changes: VecDeque::new() };
        Self(Arc::new(Shared { banned: AtomicUsize::new(0), table: Mutex::new(table) }))
    }

    /// Whether what comes from here is listened to.
    #[must_use]
    pub fn hears(&self, from: SocketAddr) -> bool {
        if self.0.banned.load(Ordering::Relaxed) == 0 {
            return true;
        }
        self.with(|table| table.guard.hears(Instant::now(), from))
    }

    /// Takes what somebody did who is certain to be there; true when the connection that it was
    /// done over is to be closed.
    #[must_use]
    pub fn note(&self, from: SocketAddr, is_datagram: bool, conduct: Conduct) -> bool {
        let now = Instant::now();
        // Who was signed in before the ban goes on, and is asked for its password at times.
        let is_bad =
            !matches!(conduct, Conduct::SignedIn(_) | Conduct::Offended(Offence::Unproved));
        self.with(|table| {
            if let Some(ban) = table.guard.note(now, from, is_datagram, conduct) {
                log(&ban, now);
                table.changed(BanChange::Banned(ban));
                return true;
            }
            is_bad && table.guard.is_banned(now, from.ip())
        })
    }

    #[must_use]
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        self.with(|table| table.guard.is_exempt(address))
    }

    /// Other bounds from now on, and only these networks trusted besides those that they exempt.
    pub fn reconfigure(&self, config: GuardConfig, trusted: impl IntoIterator<Item = Network>) {
        self.with(|table| {
            table.guard.set_config(config);
            trusted.into_iter().for_each(|network| table.guard.trust(network));
        });
    }

    /// From now on this network is never banned.
    pub fn trust(&self, network: Network) {
        self.with(|table| table.guard.trust(network));
    }

    /// Bans a source as an operator wishes; none when its network is exempt.
    #[must_use]
    pub fn impose(&self, address: IpAddr, time: Duration) -> Option<Ban> {
        let now = Instant::now();
        self.with(|table| {
            let ban = table.guard.impose(now, address, time)?;
            log(&ban, now);
            table.changed(BanChange::Banned(ban));
            Some(ban)
        })
    }

    /// Listens to a source again; gives the ban that it had.
    #[must_use]
    pub fn lift(&self, address: IpAddr) -> Option<Ban> {
        self.with(|table| {
            let ban = table.guard.lift(Instant::now(), address)?;
            tracing::info!(source = %ban.source, dropped = ban.dropped, "a ban is lifted");
            table.changed(BanChange::Lifted(ban.source));
            Some(ban)
        })
    }

    /// Those that last.
    #[must_use]
    pub fn list(&self) -> Vec<Ban> {
        self.with(|table| table.guard.bans(Instant::now()).copied().collect())
    }

    #[must_use]
    pub fn counters(&self) -> GuardCounters {
        self.with(|table| table.guard.counters())
    }

    #[must_use]
    pub fn banned(&self) -> usize {
        self.0.banned.load(Ordering::Relaxed)
    }

    /// What changed since this was asked last.
    #[must_use]
    pub fn take_changes(&self) -> Vec<BanChange> {
        self.with(|table| table.changes.drain(..).collect())
    }

    /// Makes the table what was kept of it, which the command line may have changed meanwhile.
    /// What changed here since is newer.
    pub fn adopt(&self, kept: &[Ban]) {
        let now = Instant::now();
        self.with(|table| {
            table.guard.expire(now);
            let newer: Vec<IpAddr> = table.changes.iter().map(BanChange::source).collect();
            let had: Vec<IpAddr> = table.guard.bans(now).map(|ban| ban.source).collect();
            let is_kept = |source: &IpAddr| kept.iter().any(|ban| ban.source == *source);
            for source in had.iter().filter(|s| !newer.contains(s) && !is_kept(s)) {
                table.guard.lift(now, *source);
                tracing::info!(%source, "a ban is lifted");
            }
            for ban in kept.iter().filter(|b| !newer.contains(&b.source) && b.until > now) {
                if !had.contains(&ban.source) {
                    table.guard.restore(*ban);
                    log(ban, now);
                }
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table: MutexGuard<'_, Table> =
            self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        let value = work(&mut table);
        self.0.banned.store(table.guard.banned(), Ordering::Relaxed);
        value
    }
}

impl Table {
    fn changed(&mut self, change: BanChange) {
        if self.changes.len() >= MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}

fn log(ban: &Ban, now: Instant) {
    let seconds = ban.until.saturating_duration_since(now).as_secs();
    let reason = ban.offence.as_str();
    tracing::warn!(source = %ban.source, reason, seconds, "a source is banned");
}

/// What waits to be kept; taken once a second.
const MAX_CHANGES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_adopted_and_what_is_newer_stays() {
        let bans = Bans::new(GuardConfig::default());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let at = |text: &str| SocketAddr::new(ip(text), 5060);
        let minute = Duration::from_secs(60);
        let first = bans.impose(ip("192.0.2.1"), minute).unwrap();
        let second = bans.impose(ip("192.0.2.2"), minute).unwrap();
        assert_eq!(bans.take_changes(), [first, second].map(BanChange::Banned));
        let third = bans.impose(ip("192.0.2.3"), minute).unwrap();
        assert!(bans.lift(ip("192.0.2.2")).is_some());
        // Somebody else has lifted the first and added a fourth.
        let fourth = Ban { source: ip("192.0.2.4"), ..third };
        bans.adopt(&[second, fourth]);
        let listed: Vec<IpAddr> = bans.list().iter().map(|ban| ban.source).collect();
        assert_eq!(listed, [third.source, fourth.source]);
        assert!(bans.hears(at("192.0.2.1")) && bans.hears(at("192.0.2.2")));
        assert!(!bans.hears(at("192.0.2.3")) && !bans.hears(at("192.0.2.4")));
    }
}

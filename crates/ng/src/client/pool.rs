//! Which servers are healthy, and which of them a new call goes to.

use std::time::{Duration, Instant};

use crosspoint_base::Rng;

/// The servers of a client, by their place in the configuration.
#[derive(Debug)]
pub(super) struct Pool {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    weight: u32,
    is_healthy: bool,
    /// When it is asked whether it is there; the first time at once.
    next_ping: Option<Instant>,
    /// The question is under way.
    is_asked: bool,
    calls_started: u64,
    failures: u64,
    /// It is `crosspoint media`, as far as it has told.
    is_ours: bool,
}

/// How the servers are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolCounters {
    pub servers: Vec<ServerHealth>,
    /// Digits that were told of calls that are not there, or by whom none was asked.
    pub stray_digits: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerHealth {
    pub is_healthy: bool,
    pub calls: u64,
    pub calls_started: u64,
    /// Times that it was found gone.
    pub failures: u64,
}

impl Pool {
    pub(super) fn new(weights: &[u32]) -> Self {
        let server = |weight: &u32| Server {
            weight: *weight,
            is_healthy: false,
            next_ping: None,
            is_asked: false,
            calls_started: 0,
            failures: 0,
            is_ours: false,
        };
        Self { servers: weights.iter().map(server).collect() }
    }

    pub(super) fn counters(&self, running: impl Iterator<Item = usize>) -> PoolCounters {
        let health = |server: &Server| ServerHealth {
            is_healthy: server.is_healthy,
            calls: 0,
            calls_started: server.calls_started,
            failures: server.failures,
        };
        let mut servers: Vec<ServerHealth> = self.servers.iter().map(health).collect();
        for place in running {
            if let Some(server) = servers.get_mut(place) {
                server.calls += 1;
            }
        }
        PoolCounters { servers, stray_digits: 0 }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.servers.iter().filter(|s| !s.is_asked).filter_map(|s| s.next_ping).min()
    }

    /// The servers to be asked now.
    pub(super) fn due(&self, now: Instant) -> Vec<usize> {
        let is_due = |s: &Server| !s.is_asked && s.next_ping.is_none_or(|at| at <= now);
        (0..).zip(&self.servers).filter(|(_, s)| is_due(s)).map(|(place, _)| place).collect()
    }

    pub(super) fn asked(&mut self, now: Instant, place: usize) {
        if let Some(server) = self.servers.get_mut(place) {
            server.is_asked = true;
            server.next_ping = Some(now + PERIOD);
        }
    }

    /// A reply came: it is there.
    pub(super) fn heard(&mut self, now: Instant, place: usize) {
        if let Some(server) = self.servers.get_mut(place) {
            server.is_healthy = true;
            server.is_asked = false;
            server.next_ping = Some(now + PERIOD);
        }
    }

    /// What a server is, as it answers whether it is there.
    pub(super) fn told(&mut self, place: usize, is_ours: bool) {
        if let Some(server) = self.servers.get_mut(place) {
            server.is_ours = is_ours;
        }
    }

    pub(super) fn is_ours(&self, place: usize) -> bool {
        self.servers.get(place).is_some_and(|server| server.is_ours)
    }

    /// The question whether it is there was not answered; says whether that is news.
    pub(super) fn lost(&mut self, now: Instant, place: usize) -> bool {
        let Some(server) = self.servers.get_mut(place) else { return false };
        let was_healthy = std::mem::replace(&mut server.is_healthy, false);
        server.failures += u64::from(was_healthy);
        server.is_asked = false;
        server.next_ping = Some(now + PERIOD);
        was_healthy
    }

    pub(super) fn is_healthy(&self, place: usize) -> bool {
        self.servers.get(place).is_some_and(|server| server.is_healthy)
    }

    /// A healthy server, by weight.
    pub(super) fn choose(&mut self, rng: &mut Rng) -> Option<usize> {
        self.choose_but(rng, usize::MAX)
    }

    pub(super) fn choose_but(&mut self, rng: &mut Rng, but: usize) -> Option<usize> {
        let fits = |(place, server): &(usize, &Server)| *place != but && server.is_healthy;
        let healthy = || (0..).zip(&self.servers).filter(fits);
        let total: u32 = healthy().map(|(_, server)| server.weight).sum();
        if total == 0 {
            return None;
        }
        let mut drawn = rng.below(total);
        let found = healthy().find(|(_, server)| {
            let is_it = drawn < server.weight;
            drawn = drawn.saturating_sub(server.weight);
            is_it
        });
        let place = found.map(|(place, _)| place)?;
        if let Some(server) = self.servers.get_mut(place) {
            server.calls_started += 1;
        }
        Some(place)
    }
}

/// Between two questions whether a server is there.
const PERIOD: Duration = Duration::from_secs(2);

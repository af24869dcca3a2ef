//! The addresses that a browser speaks from: which proved themselves, and which is sent to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::Protocol;
use is::stun::{StunMessage, TransId};

use super::SocketId;
use super::links::Remote;

#[derive(Debug, Default)]
pub(super) struct Paths {
    /// Sources that passed an integrity check: DTLS is taken only from these.
    validated: Vec<Path>,
    /// Sources that were new since ICE began, or began again.
    newcomers: usize,
    /// The last checks that were believed, and their sources.
    checks: VecDeque<(TransId, Remote)>,
    /// Our own last checks.
    asked: VecDeque<TransId>,
    /// Where to send.
    nominated: Option<Remote>,
    last_check: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Path {
    source: Remote,
    /// It answered a check of ours.
    has_answered: bool,
    /// When the peer last said that it wants this one.
    nominated_at: Option<Instant>,
}

/// A STUN message, as far as the shard itself looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    id: TransId,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request { nominates: bool },
    Success,
    Other,
}

impl Check {
    pub(super) fn of(message: &StunMessage<'_>) -> Self {
        let kind = if message.is_binding_request() {
            Kind::Request { nominates: message.use_candidate() }
        } else if message.is_successful_binding_response() {
            Kind::Success
        } else {
            Kind::Other
        };
        Self { id: message.trans_id(), kind }
    }

    pub(super) fn is_request(self) -> bool {
        matches!(self.kind, Kind::Request { .. })
    }
}

impl Paths {
    pub(super) fn nominated(&self) -> Option<Remote> {
        self.nominated
    }

    pub(super) fn nominate(&mut self, path: Remote) {
        self.nominated = Some(path);
    }

    pub(super) fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// DTLS has just proved the peer: time without checks counts from here.
    pub(super) fn touch(&mut self, now: Instant) {
        self.last_check = Some(now);
    }

    pub(super) fn is_validated(&self, source: Remote) -> bool {
        self.validated.iter().any(|path| path.source == source)
    }

    /// Where a message for this address goes: back where it was last heard, or to the one port.
    /// A connection can only be answered.
    pub(super) fn way_to(&self, protocol: Protocol, address: SocketAddr) -> Option<Remote> {
        let fits = |r: &Remote| r.address == address && r.protocol() == protocol;
        let heard = self.validated.iter().rev().map(|path| path.source).find(fits);
        let port = Remote { socket: SocketId::BROWSER, address };
        heard.or((protocol == Protocol::Udp).then_some(port))
    }

    /// A path that is gone. The one that was nominated last, of those that are left and spoke
    /// lately, takes its place.
    pub(super) fn forget(&mut self, now: Instant, source: Remote) {
        self.validated.retain(|path| path.source != source);
        if self.nominated != Some(source) {
            return;
        }
        let is_recent = |at: Instant| now.saturating_duration_since(at) < ALIVE;
        let usable = self.validated.iter().filter(|path| path.nominated_at.is_some_and(is_recent));
        self.nominated = usable.max_by_key(|path| path.nominated_at).map(|path| path.source);
    }

    /// Whether media goes there, and was consented to a short time ago.
    pub(super) fn is_alive_at(&self, now: Instant, source: Remote) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < ALIVE;
        self.nominated == Some(source) && self.last_check.is_some_and(is_recent)
    }

    /// Whether one more new source may be believed: the agent keeps them all.
    pub(super) fn has_room(&self) -> bool {
        self.newcomers < MAX_SOURCES
    }

    /// ICE begins again, and the agent forgets its sources.
    pub(super) fn restart(&mut self) {
        self.newcomers = 0;
    }

    pub(super) fn held(&self) -> usize {
        self.validated.len() + self.checks.len()
    }

    /// Takes note of a check of ours; gives one that is forgotten for it.
    pub(super) fn asked(&mut self, id: TransId) -> Option<TransId> {
        self.asked.push_back(id);
        if self.asked.len() > MAX_ASKED { self.asked.pop_front() } else { None }
    }

    pub(super) fn all_validated(&self) -> impl Iterator<Item = Remote> {
        self.validated.iter().map(|path| path.source)
    }

    pub(super) fn all_asked(&self) -> impl Iterator<Item = &TransId> {
        self.asked.iter()
    }

    /// Whether this check was believed before, from another source. The signature does not cover
    /// the source: who saw a check may send it from elsewhere.
    pub(super) fn is_repeated(&self, source: Remote, check: Check) -> bool {
        self.checks.iter().any(|(id, from)| *id == check.id && *from != source)
    }

    /// Takes note of a message that was believed; gives an address that is forgotten for it.
    pub(super) fn note(
        &mut self,
        now: Instant,
        source: Remote,
        check: Check,
        is_lite: bool,
    ) -> Option<Remote> {
        // Sent again, it is no news: a copy of it may be anybody's.
        if check.is_request() {
            if self.checks.iter().any(|(id, _)| *id == check.id) {
                return None;
            }
            if self.checks.len() >= MAX_CHECKS {
                self.checks.pop_front();
            }
            self.checks.push_back((check.id, source));
        }
        self.last_check = Some(now);
        let index = self.validated.iter().position(|path| path.source == source);
        self.newcomers += usize::from(index.is_none());
        let mut path = match index {
            Some(index) => self.validated.remove(index),
            None => Path { source, has_answered: false, nominated_at: None },
        };
        let nominates = check.kind == Kind::Request { nominates: true };
        if nominates {
            path.nominated_at = Some(now);
        }
        path.has_answered |= check.kind == Kind::Success;
        self.choose(now, path, nominates, is_lite);
        // The last that was heard of is the last to be forgotten.
        self.validated.push(path);
        if self.validated.len() <= MAX_VALIDATED {
            return None;
        }
        let oldest = self.validated.iter().position(|p| Some(p.source) != self.nominated)?;
        Some(self.validated.remove(oldest).source)
    }

    /// Goes over to a path that the peer nominates, when its NAT gave it a new address, say. The
    /// agent prefers the old one until that has failed for long.
    fn choose(&mut self, now: Instant, path: Path, nominates: bool, is_lite: bool) {
        let is_stale = |at: Option<Instant>| {
            at.is_none_or(|at| now.saturating_duration_since(at) >= NOMINATION)
        };
        let current = self.validated.iter().find(|p| Some(p.source) == self.nominated);
        let is_chosen = if is_lite {
            // There are no checks of ours, and a peer nominates only what it uses.
            nominates
        } else {
            // Some peers nominate every path as they go (RFC 5245 §8.1.1.2): while the old one
            // is among them it stays.
            path.has_answered
                && path.nominated_at.is_some()
                && current.is_none_or(|current| is_stale(current.nominated_at))
        };
        if is_chosen {
            self.nominated = Some(path.source);
        }
    }
}

/// Addresses that one browser may speak from at once: interfaces and their changes.
const MAX_VALIDATED: usize = 8;
const MAX_SOURCES: usize = 64;
/// Checks of ours that may still be answered.
const MAX_ASKED: usize = 128;
/// Some minutes of checks.
const MAX_CHECKS: usize = 64;
/// A connection whose last check is not older than this is alive.
const ALIVE: Duration = Duration::from_secs(10);
/// Browsers repeat a nomination every two or three seconds.
const NOMINATION: Duration = Duration::from_secs(4);

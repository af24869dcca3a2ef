//! Whether a trunk's destinations answer: by OPTIONS (RFC 3261 §11), and by what becomes of calls.
//!
//! A destination goes down after several failures in a row and comes up after several answers in a
//! row, so that one lost message changes nothing. Whatever a peer answers shows that it is there,
//! except for 503.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crosspoint_sip::endpoint::ClientKey;
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, StatusCode, Uri};

use super::{HopState, TrunkChange, TrunkTimer};
use crate::sip_ua::{ClientUse, SipUa};

/// How destinations are asked whether they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    pub interval: Duration,
    /// Failures in a row after which a destination is down.
    pub down_after: u32,
    /// Answers in a row after which it is up again.
    pub up_after: u32,
}

/// Why a destination is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopFailure {
    /// No answer came in time.
    NoAnswer,
    /// Nothing could be sent: no route, connection refused, handshake failed.
    Unreachable,
    /// 503.
    Unavailable,
}

impl HopFailure {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
        }
    }
}

impl SipUa {
    /// Asks every destination of a trunk.
    pub(super) fn ask_hops(&mut self, now: Instant, index: usize) {
        let Some(health) = self.trunks.get(index).and_then(|t| t.config.health) else { return };
        for at in 0..self.trunks.get(index).map_or(0, |t| t.hops.len()) {
            self.ask_hop(now, index, at);
        }
        let patience = (health.interval / 2).min(PATIENCE);
        self.trunks.timers.set((index, TrunkTimer::Judge), now + patience);
        self.trunks.timers.set((index, TrunkTimer::Ask), now + health.interval);
    }

    fn ask_hop(&mut self, now: Instant, index: usize, at: usize) {
        let Some(trunk) = self.trunks.get(index) else { return };
        let Some(reached) = trunk.hops.get(at) else { return };
        let (flow, host) = (reached.hop.flow, reached.hop.host.clone());
        let domain = trunk.config.domain.clone();
        let routes = trunk.config.routes.clone();
        let (Some(uri), Some(us), Some(them)) = (
            Uri::sip(None, &host, None),
            Uri::sip(Some("crosspoint"), &domain, None),
            Uri::sip(None, &domain, None),
        ) else {
            return;
        };
        let mut request = Request::new(Method::OPTIONS, uri);
        let from =
            [NameAddr::new(us).print().as_ref(), b";tag=", self.rng.hex(8).as_bytes()].concat();
        let headers = &mut request.headers;
        for route in routes {
            headers.push(HeaderName::ROUTE, route);
        }
        headers.push(HeaderName::MAX_FORWARDS, "70");
        headers.push(HeaderName::FROM, from);
        headers.push(HeaderName::TO, NameAddr::new(them).print());
        headers.push(HeaderName::CALL_ID, self.rng.hex(16));
        headers.push(HeaderName::CSEQ, "1 OPTIONS");
        headers.push(HeaderName::CONTACT, self.contact(None, &flow));
        headers.push(HeaderName::ACCEPT, crate::sip_ua::body::SDP);
        headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        let key = self.endpoint.send_request(now, flow, &request);
        self.clients.insert(key, ClientUse::Ask(index, flow.remote));
        let trunk = self.trunks.all.get_mut(index);
        if let Some(reached) = trunk.and_then(|trunk| trunk.hops.get_mut(at)) {
            reached.asked = Some(key);
        }
    }

    /// Those that have not answered by now have failed.
    pub(super) fn judge_hops(&mut self, now: Instant, index: usize) {
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let silent: Vec<(SocketAddr, ClientKey)> = trunk
            .hops
            .iter_mut()
            .filter_map(|h| Some((h.hop.flow.remote, h.asked.take()?)))
            .collect();
        for (remote, key) in silent {
            self.clients.insert(key, ClientUse::Forgotten);
            self.hop_failed(now, index, remote, HopFailure::NoAnswer);
        }
    }

    /// An answer to our question, or what stands for it.
    pub(in crate::sip_ua) fn hop_answered(
        &mut self,
        now: Instant,
        (index, remote): (usize, SocketAddr),
        status: Result<StatusCode, HopFailure>,
    ) {
        if let Some(trunk) = self.trunks.all.get_mut(index)
            && let Some(reached) = trunk.hops.iter_mut().find(|h| h.hop.flow.remote == remote)
        {
            reached.asked = None;
        }
        match status {
            Ok(StatusCode::SERVICE_UNAVAILABLE) => {
                self.hop_failed(now, index, remote, HopFailure::Unavailable);
            }
            Ok(_) => self.hop_heard(index, remote),
            Err(failure) => self.hop_failed(now, index, remote, failure),
        }
    }

    /// A destination answered something.
    pub(in crate::sip_ua) fn hop_heard(&mut self, index: usize, remote: SocketAddr) {
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let enough = trunk.config.health.map_or(1, |health| health.up_after);
        let Some(reached) = trunk.hops.iter_mut().find(|h| h.hop.flow.remote == remote) else {
            return;
        };
        let comes_up = match reached.state {
            HopState::Up => {
                reached.against = 0;
                false
            }
            HopState::Unknown => true,
            HopState::Down(_) => {
                reached.against += 1;
                reached.against >= enough
            }
        };
        if comes_up {
            (reached.state, reached.against) = (HopState::Up, 0);
            self.trunk_news(index, TrunkChange::Up(remote));
        }
    }

    /// A destination did not answer, or not usefully.
    pub(in crate::sip_ua) fn hop_failed(
        &mut self,
        now: Instant,
        index: usize,
        remote: SocketAddr,
        why: HopFailure,
    ) {
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        let health = trunk.config.health;
        let enough = health.map_or(DOWN_AFTER, |health| health.down_after);
        let Some(reached) = trunk.hops.iter_mut().find(|h| h.hop.flow.remote == remote) else {
            return;
        };
        if matches!(reached.state, HopState::Down(_)) {
            reached.against = 0;
            return;
        }
        reached.against += 1;
        if reached.against < enough {
            return;
        }
        (reached.state, reached.against) = (HopState::Down(why), 0);
        if health.is_none() {
            self.trunks.timers.set((index, TrunkTimer::Forgive), now + FORGIVE_AFTER);
        }
        self.trunk_news(index, TrunkChange::Down(remote, why));
    }

    /// Nobody asks them: the next call does.
    pub(super) fn forgive_hops(&mut self, index: usize) {
        let Some(trunk) = self.trunks.all.get_mut(index) else { return };
        for reached in &mut trunk.hops {
            if matches!(reached.state, HopState::Down(_)) {
                (reached.state, reached.against) = (HopState::Unknown, 0);
            }
        }
    }
}

/// An answer takes less than this, lost datagrams included.
const PATIENCE: Duration = Duration::from_secs(8);
/// Calls in a row that fail before a destination is taken for down, where nobody asks it.
const DOWN_AFTER: u32 = 2;
/// For this long it is left alone then.
const FORGIVE_AFTER: Duration = Duration::from_secs(30);

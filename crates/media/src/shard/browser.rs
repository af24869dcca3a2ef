//! A browser's side of a leg: ICE, then DTLS over the validated pair, then keys.

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::{LegId, push_ip, push_number};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate as IceCandidate, IceAgent, IceAgentEvent, IceCreds};
use sha2::{Digest, Sha256};

use super::handshake::DtlsEnd;
use super::leg::Leg;
use super::links::Remote;
use super::paths::{Check, Paths};
use super::{Output, Shard, Timer};
use crate::control::{Candidate, Event, Step};
use crate::negotiation::{IceCredentials, Transport};

/// ICE and DTLS state of one leg.
pub(super) struct Browser {
    agent: IceAgent,
    pub(super) end: DtlsEnd,
    pub(super) paths: Paths,
    remote_ufrag: String,
    /// The pair that was told last.
    told_pair: Option<Remote>,
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser").field("is_up", &self.end.is_up).finish_non_exhaustive()
    }
}

impl Browser {
    /// How many things are kept.
    pub(super) fn held(&self) -> usize {
        let candidates =
            self.agent.local_candidates().count() + self.agent.remote_candidates().count();
        candidates + self.paths.held() + self.end.held()
    }

    /// Whether a message may be what it says, as far as its source can tell.
    fn is_plausible(&self, source: Remote, check: Check) -> bool {
        let is_known = self
            .agent
            .remote_candidates()
            .any(|c| c.addr() == source.address && c.proto() == source.protocol());
        if !check.is_request() {
            // An answer comes from where the question went (RFC 8445 §7.2.5.2.1).
            let way = self.paths.way_to(source.protocol(), source.address);
            return is_known && way == Some(source);
        }
        let is_welcome = is_known || self.paths.is_validated(source);
        let has_room = self.has_room() && self.paths.has_room();
        !self.paths.is_repeated(source, check) && (is_welcome || has_room)
    }

    /// What checks name.
    pub(super) fn local_ufrag(&self) -> &str {
        &self.agent.local_credentials().ufrag
    }

    /// Whether the peer may have one more address.
    fn has_room(&self) -> bool {
        self.agent.remote_candidates().count() < MAX_REMOTE_CANDIDATES
    }
}

/// SHA-256 of a certificate in DER.
pub(super) fn fingerprint(certificate: &[u8]) -> Vec<u8> {
    Sha256::digest(certificate).to_vec()
}

/// Which shard of its host a check is for, by the username that it names.
#[must_use]
pub fn shard_of(packet: &[u8]) -> Option<u8> {
    let message = StunMessage::parse(packet).ok()?;
    IceCredentials::shard_of(message.split_username()?.0)
}

/// Our candidate lines for a description: host candidates, the first address preferred (RFC 8445
/// §5.1.2), and TCP behind UDP (RFC 6544 §4.2).
pub(super) fn candidates(udp: &[SocketAddr], tcp: &[SocketAddr]) -> Vec<String> {
    let below =
        |highest: u32, index: usize| highest.saturating_sub(u32::try_from(index).unwrap_or(0));
    let of_udp = |(index, address): (usize, &SocketAddr)| {
        let priority = 126 << 24 | below(0xffff, index) << 8 | 255;
        candidate(index + 1, " 1 udp ", priority, *address, " typ host")
    };
    let of_tcp = |(index, address): (usize, &SocketAddr)| {
        // Passive candidates have a direction preference of 4.
        let priority = 90 << 24 | (4 << 13 | below(0x1fff, index)) << 8 | 255;
        let foundation = udp.len() + index + 1;
        candidate(foundation, " 1 tcp ", priority, *address, " typ host tcptype passive")
    };
    let udp = udp.iter().enumerate().map(of_udp);
    udp.chain(tcp.iter().enumerate().map(of_tcp)).collect()
}

/// Without `fmt`, which takes ten times as long.
fn candidate(
    foundation: usize,
    transport: &str,
    priority: u32,
    address: SocketAddr,
    kind: &str,
) -> String {
    let mut text = String::with_capacity(96);
    text.push_str("candidate:");
    push_number(&mut text, u32::try_from(foundation).unwrap_or(u32::MAX));
    text.push_str(transport);
    push_number(&mut text, priority);
    text.push(' ');
    push_ip(&mut text, address.ip());
    text.push(' ');
    push_number(&mut text, address.port());
    text.push_str(kind);
    text
}

impl Leg {
    /// Whether this leg's browser is connected from there.
    fn is_alive_at(&self, now: Instant, source: Remote) -> bool {
        self.browser.as_ref().is_some_and(|browser| browser.paths.is_alive_at(now, source))
    }
}

impl Shard {
    /// Creates the ICE agent with our first description, and restarts it with one that answers
    /// a restart.
    pub(super) fn start_browser(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let ours = leg.negotiator.ice_credentials();
        let ours = IceCreds { ufrag: ours.ufrag.clone(), pass: ours.pwd.clone() };
        if let Some(browser) = &mut leg.browser {
            if *browser.agent.local_credentials() != ours {
                self.by_ufrag.remove(&browser.agent.local_credentials().ufrag);
                browser.agent.ice_restart(ours, true);
                browser.remote_ufrag.clear();
                browser.paths.restart();
                // Consent comes back with the restart only (RFC 7675 §5.1), and with the keys we have.
                if leg.is_lost && browser.end.is_up && !browser.end.has_failed {
                    leg.is_lost = false;
                    leg.is_connected = false;
                }
            }
            return;
        }
        let mut agent = IceAgent::new(ours);
        agent.set_ice_lite(self.config.ice_lite);
        agent.set_controlling(false);
        for address in &self.config.browser_addresses {
            if let Ok(candidate) = IceCandidate::host(*address, "udp") {
                agent.add_local_candidate(candidate);
            }
        }
        for address in &self.config.browser_tcp_addresses {
            if let Ok(candidate) = IceCandidate::host(*address, "tcp") {
                agent.add_local_candidate(candidate);
            }
        }
        leg.browser = Some(Box::new(Browser {
            agent,
            end: DtlsEnd::default(),
            paths: Paths::default(),
            remote_ufrag: String::new(),
            told_pair: None,
        }));
        self.drive_ice(now, id);
    }

    /// Takes over what the peer's description says of ICE and DTLS.
    pub(super) fn update_browser(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (Some(browser), Some(stream)) = (&mut leg.browser, &leg.stream) else { return };
        let Transport::Ice { ufrag, pwd, candidates, lite, fingerprints, active } =
            &stream.transport
        else {
            return;
        };
        if browser.remote_ufrag != *ufrag {
            // The first description, or an ICE restart: checks begin again, DTLS stays.
            browser.remote_ufrag.clone_from(ufrag);
            browser
                .agent
                .set_remote_credentials(IceCreds { ufrag: ufrag.clone(), pass: pwd.clone() });
            // Of a lite peer and a full one, the full one controls (RFC 8445 §6.1.1).
            browser.agent.set_controlling(*lite && !self.config.ice_lite);
        }
        for address in candidates.iter().take(MAX_REMOTE_CANDIDATES) {
            if let Ok(candidate) = IceCandidate::host(*address, "udp")
                && browser.has_room()
            {
                browser.agent.add_remote_candidate(candidate);
            }
        }
        browser.end.active = *active;
        browser.end.fingerprints.clone_from(fingerprints);
        self.drive_ice(now, id);
        self.start_dtls(now, id);
    }

    pub(super) fn add_candidate(&mut self, now: Instant, id: LegId, candidate: &Candidate) {
        let parsed = crosspoint_sdp::Candidate(candidate.text.clone()).udp_address();
        let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) else {
            return;
        };
        let is_current =
            candidate.ufrag.as_ref().is_none_or(|ufrag| *ufrag == browser.remote_ufrag);
        let ice = parsed.and_then(|address| IceCandidate::host(address, "udp").ok());
        match ice.filter(|_| is_current && browser.has_room()) {
            Some(ice) => {
                browser.agent.add_remote_candidate(ice);
                self.drive_ice(now, id);
            }
            // mDNS names and TCP are tolerated: the browser's own checks reach us anyway.
            None => self.counters.candidates_ignored += 1,
        }
    }

    pub(super) fn stun(&mut self, now: Instant, source: Remote, packet: &[u8]) {
        if !self.take_stun(now, source, packet) {
            self.counters.stun_refused += 1;
        }
    }

    /// Says whether the message was believed; if not, it changed nothing and is not answered.
    fn take_stun(&mut self, now: Instant, source: Remote, packet: &[u8]) -> bool {
        let Ok(message) = StunMessage::parse(packet) else { return false };
        let of_source = self.by_browser.get(&source);
        let by_name = message.split_username().map(|(local, _)| local);
        let by_name = by_name.and_then(|local| self.by_ufrag.get(local).copied());
        // An answer names nobody: it belongs to who asked.
        let by_check = self.by_check.get(&message.trans_id()).copied();
        let Some(id) = by_name.or(by_check) else { return false };
        let proto = source.protocol();
        let ours = match proto {
            is::Protocol::Udp => &self.config.browser_addresses,
            _ => &self.config.browser_tcp_addresses,
        };
        let Some(destination) = local_for(ours, source.address) else { return false };
        // The address of a living connection is not given to another leg.
        if let Some(other) = of_source.filter(|other| *other != id)
            && self.legs.get(&other).is_some_and(|leg| leg.is_alive_at(now, source))
        {
            return false;
        }
        let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) else {
            return false;
        };
        let check = Check::of(&message);
        let packet = StunPacket { proto, source: source.address, destination, message };
        // Integrity is checked inside: an unsigned or badly signed message changes nothing.
        if !browser.is_plausible(source, check) || !browser.agent.handle_packet(now, packet) {
            return false;
        }
        let is_lite = self.config.ice_lite;
        let forgotten = browser.paths.note(now, source, check, is_lite);
        let is_validated = browser.paths.is_validated(source);
        if let Some(forgotten) = forgotten
            && self.by_browser.get(&forgotten) == Some(id)
        {
            self.by_browser.remove(&forgotten);
        }
        if let Some(place) = self.legs.place(id).filter(|_| is_validated) {
            self.by_browser.insert(source, (id, place));
        }
        self.drive_ice(now, id);
        self.tell_pair(id);
        self.start_dtls(now, id);
        self.regained(id);
        true
    }

    pub(super) fn ice_timeout(&mut self, now: Instant, id: LegId) {
        if let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) {
            browser.agent.handle_timeout(now);
        }
        self.drive_ice(now, id);
    }

    fn drive_ice(&mut self, now: Instant, id: LegId) {
        let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) else {
            return;
        };
        browser.agent.handle_timeout(now);
        while let Some(event) = browser.agent.poll_event() {
            if let IceAgentEvent::NominatedSend { proto, destination, .. } = event
                && !(self.config.ice_lite && browser.paths.nominated().is_some())
                && let Some(way) = browser.paths.way_to(proto, destination)
            {
                browser.paths.nominate(way);
            }
        }
        while let Some(transmit) = browser.agent.poll_transmit() {
            if let Ok(message) = StunMessage::parse(&transmit.contents)
                && message.is_binding_request()
            {
                self.by_check.insert(message.trans_id(), id);
                if let Some(forgotten) = browser.paths.asked(message.trans_id()) {
                    self.by_check.remove(&forgotten);
                }
            }
            // A connection that is gone by now has nobody at its end.
            if let Some(way) = browser.paths.way_to(transmit.proto, transmit.destination) {
                self.outputs.push_back(Output::Transmit {
                    socket: way.socket,
                    destination: way.address,
                    bytes: transmit.contents.into(),
                });
            }
        }
        match browser.agent.poll_timeout() {
            Some(at) => self.timers.set((id, Timer::Ice), at.max(now)),
            None => {
                self.timers.cancel(&(id, Timer::Ice));
            }
        }
    }

    /// Says which pair is nominated, when that is not what was said last.
    pub(super) fn tell_pair(&mut self, id: LegId) {
        let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) else {
            return;
        };
        let Some(pair) = browser.paths.nominated() else { return };
        if browser.told_pair.replace(pair) != Some(pair) {
            let transport = match pair.protocol() {
                is::Protocol::Udp if pair.socket.is_link() => "relay",
                is::Protocol::Udp => "udp",
                _ => "tcp",
            };
            let step = Step::Pair { transport, remote: pair.address };
            self.event(Event::Step { leg: id, step });
        }
    }

    /// A browser that was lost and restarted ICE is heard again.
    fn regained(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_up = leg.browser.as_ref().is_some_and(|b| b.end.is_up) && leg.crypto.is_some();
        if is_up && !leg.is_lost && !std::mem::replace(&mut leg.is_connected, true) {
            self.event(Event::Connected { leg: id });
        }
    }
}

/// The address of ours that a source of this family speaks to.
fn local_for(addresses: &[SocketAddr], source: SocketAddr) -> Option<SocketAddr> {
    addresses.iter().find(|a| a.is_ipv4() == source.is_ipv4()).copied()
}

/// Addresses that one browser may name or show until it restarts ICE.
const MAX_REMOTE_CANDIDATES: usize = 64;

//! Datagrams that pass as they are: fax (T.38 over UDPTL, ITU-T T.38 annex D) and text (RFC 4103),
//! of a leg of its own or of sections beside the sound of a call.
//!
//! Each has a port pair. Nothing in these datagrams proves who sent them, so they count from the
//! address that signalling named, or from one that strict learning confirmed, as sound does. What
//! passes is limited: neither needs more than a modem carries.

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_sdp::{Media, Origin, Session};

use super::phone::{Arrival, Door, Phone};
use super::{Forward, MAX_BIND_TRIES, Output, Shard, SocketId};
use crate::control::{Accepted, Event, LegStats, Loss, PassedStats, Place, Refusal};
use crate::negotiation::PassedKind;

/// A leg that is nothing else, or a section of a leg.
pub(super) type RawId = (LegId, Option<PassedKind>);

/// One side of what is passed on.
#[derive(Debug)]
pub(super) struct Raw {
    socket: SocketId,
    port: u16,
    place: Option<Place>,
    state: State,
    phone: Phone,
    /// The payload types that the peer may send, where it is RTP; a leg of its own is text then.
    formats: Vec<u8>,
    /// Who gets what a leg of its own sends; a section passes to the same one of its leg's peer.
    to: Option<LegId>,
    /// Descriptions that wait for the port.
    waiting: u32,
    stats: LegStats,
    last_packet: Instant,
    is_lost: bool,
    allowance: Allowance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Binding { tries: u32 },
    Bound,
    Exhausted,
}

/// How much a source may send now, in bytes, headers below included.
#[derive(Debug)]
struct Allowance {
    left: u64,
    since: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant, len: usize) -> bool {
        let micros = u64::try_from(now.saturating_duration_since(self.since).as_micros());
        let earned = micros.unwrap_or(u64::MAX).saturating_mul(RATE) / 1_000_000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.since = now;
        }
        let cost = len as u64 + HEADERS;
        let is_allowed = cost <= self.left;
        self.left -= if is_allowed { cost } else { 0 };
        is_allowed
    }
}

impl Shard {
    pub(super) fn open_raw(&mut self, now: Instant, id: LegId, place: Option<Place>) {
        if self.raw.len() >= self.config.max_legs || self.raw.contains_key(&(id, None)) {
            return;
        }
        self.bind_new_raw(now, (id, None), place);
        self.timers.set((id, super::Timer::Watch), now + super::leg::WATCH);
    }

    fn bind_new_raw(&mut self, now: Instant, id: RawId, place: Option<Place>) {
        self.next_socket += 2;
        let socket = SocketId(self.next_socket);
        let raw = Raw {
            socket,
            port: 0,
            place,
            state: State::Binding { tries: 0 },
            phone: Phone::default(),
            formats: vec![],
            to: None,
            waiting: 0,
            stats: LegStats::default(),
            last_packet: now,
            is_lost: false,
            allowance: Allowance { left: BURST, since: now },
        };
        self.raw.insert(id, raw);
        self.raw_sockets.insert(socket, id);
        self.bind_raw(id);
    }

    fn bind_raw(&mut self, id: RawId) {
        let port = self.take_port();
        let Some(raw) = self.raw.get_mut(&id) else { return };
        raw.port = port;
        let bind = raw.place.map_or(self.config.rtp_bind, |place| place.bind);
        let (socket, address) = (raw.socket, SocketAddr::new(bind, port));
        self.outputs.push_back(Output::Bind { socket, address });
    }

    pub(super) fn raw_bound(&mut self, now: Instant, id: RawId, is_bound: bool) {
        let Some(raw) = self.raw.get_mut(&id) else { return };
        let tries = match raw.state {
            State::Binding { tries } => tries + 1,
            State::Bound | State::Exhausted => return,
        };
        if !is_bound && tries < MAX_BIND_TRIES {
            raw.state = State::Binding { tries };
            return self.bind_raw(id);
        }
        raw.state = if is_bound { State::Bound } else { State::Exhausted };
        let waiting = std::mem::take(&mut raw.waiting);
        match id {
            (leg, None) => (0..waiting).for_each(|_| self.describe_raw(leg)),
            // Without a port the call goes on with what else there is.
            (leg, Some(_)) => self.work_off(now, leg),
        }
    }

    /// Asks for the ports that the next description needs for what passes as it is; true while it
    /// is not known whether there are any.
    pub(super) fn awaits_raw_ports(
        &mut self,
        now: Instant,
        id: LegId,
        peer: Option<LegId>,
    ) -> bool {
        let view = peer.and_then(|p| self.legs.get(&p)).map(|p| p.negotiator.view());
        let Some(leg) = self.legs.get(&id) else { return false };
        let (wanted, place) = (leg.negotiator.wants_passed(view.as_ref()), leg.place());
        for kind in wanted {
            if !self.raw.contains_key(&(id, Some(kind))) {
                self.bind_new_raw(now, (id, Some(kind)), place);
            }
        }
        let is_open = |kind: &PassedKind| {
            let raw = self.raw.get(&(id, Some(*kind)));
            raw.is_some_and(|raw| matches!(raw.state, State::Binding { .. }))
        };
        PassedKind::ALL.iter().any(is_open)
    }

    /// The ports of a leg's sections.
    pub(super) fn raw_ports(&self, id: LegId) -> impl Iterator<Item = (PassedKind, u16)> {
        PassedKind::ALL.into_iter().filter_map(move |kind| {
            let raw = self.raw.get(&(id, Some(kind)))?;
            (raw.state == State::Bound).then_some((kind, raw.port))
        })
    }

    /// Takes over what was agreed of a leg's sections.
    pub(super) fn apply_raw(&mut self, now: Instant, id: LegId) {
        for kind in PassedKind::ALL {
            let Some(raw) = self.raw.get_mut(&(id, Some(kind))) else { continue };
            let stream = self.legs.get(&id).and_then(|leg| leg.stream.as_ref());
            let agreed = stream.and_then(|s| s.passed.iter().find(|passed| passed.kind == kind));
            let (remote, rtcp) = agreed.map(|a| (a.remote, a.rtcp)).unwrap_or_default();
            raw.phone.describe(now, remote, rtcp);
            raw.formats = agreed.map(|agreed| agreed.formats.clone()).unwrap_or_default();
            raw.last_packet = now;
        }
    }

    /// Whether fax is agreed on a leg of which nothing passes any more, in neither direction: while
    /// a page is sent the other side may be silent for minutes.
    pub(super) fn has_lost_fax(&self, now: Instant, id: LegId) -> bool {
        let Some(leg) = self.legs.get(&id) else { return false };
        let last = |leg: LegId| Some(self.raw.get(&(leg, Some(PassedKind::Fax)))?.last_packet);
        let last = last(id).max(leg.peer.and_then(last));
        let is_only = leg.stream.as_ref().is_some_and(|stream| !stream.has_sound);
        let is_old = |last| now.saturating_duration_since(last) >= self.config.rtp_timeout;
        is_only && last.is_some_and(is_old)
    }

    /// Tells where the peer is to send, once that is known.
    pub(super) fn describe_raw(&mut self, id: LegId) {
        let Some(raw) = self.raw.get_mut(&(id, None)) else { return };
        match raw.state {
            State::Binding { .. } => raw.waiting += 1,
            State::Exhausted => self.event(Event::Refused { leg: id, refusal: Refusal::Exhausted }),
            State::Bound => {
                let mut section = Media::new("image", "udptl");
                let address = raw.place.map_or(self.config.rtp_address, |place| place.address);
                (section.port, section.address) = (raw.port, Some(address));
                section.formats = vec!["t38".to_owned()];
                let origin = Origin { id: 0, version: 0, address };
                let description = Session::build(&origin, false, &[section]);
                self.event(Event::Described { leg: id, description });
            }
        }
    }

    /// The peer says where it is: in the one section of this description.
    pub(super) fn accept_raw(&mut self, now: Instant, id: LegId, description: &Session) {
        let Some(raw) = self.raw.get_mut(&(id, None)) else { return };
        let section = description.media().next().filter(|m| !m.is_rejected());
        let Some(section) = section else {
            let refusal = Refusal::BadDescription("a section to pass on is missing");
            return self.event(Event::Refused { leg: id, refusal });
        };
        let address = section.address.filter(|a| !a.is_unspecified() && !a.is_multicast());
        let at = |port| address.map(|address| SocketAddr::new(address, port));
        let remote = at(section.port);
        // Text has RTCP beside it, fax has not.
        let is_rtp = section.protocol.to_ascii_uppercase().starts_with("RTP/");
        let rtcp = section.rtcp_port.or(section.port.checked_add(1)).filter(|_| is_rtp);
        raw.phone.describe(now, remote, rtcp.and_then(at));
        let numbers = section.formats.iter().filter_map(|format| format.parse().ok());
        raw.formats = if is_rtp { numbers.collect() } else { vec![] };
        (raw.last_packet, raw.is_lost) = (now, false);
        let accepted = Accepted {
            far_side_concerned: true,
            passed_news: true,
            only_fax: true,
            on_hold: false,
            telephone_event: false,
        };
        self.event(Event::Accepted { leg: id, accepted });
    }

    pub(super) fn join_raw(&mut self, a: LegId, b: LegId) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(raw) = self.raw.get_mut(&(from, None)) {
                raw.to = Some(to);
            }
        }
    }

    /// Passes a datagram on in its buffer.
    pub(super) fn raw_packet(
        &mut self,
        now: Instant,
        id: RawId,
        arrival: Arrival,
        datagram: &[u8],
    ) -> Option<Forward> {
        let (leg, kind) = id;
        let Arrival { source, on_rtcp } = arrival;
        let sound = self.legs.get(&leg);
        let (host, peer) = (sound.and_then(|l| l.phone.proved_host()), sound.and_then(|l| l.peer));
        let raw = self.raw.get_mut(&id)?;
        // A leg of its own is whatever it was described as.
        let is_text = kind == Some(PassedKind::Text) || !raw.formats.is_empty();
        if on_rtcp && !is_text {
            return None;
        }
        raw.phone.trust(host, source);
        if is_text {
            let formats = &raw.formats;
            let door = Door {
                phone: &mut raw.phone,
                crypto: None,
                is_secure: false,
                sends: true,
                knows: &|pt| formats.contains(&pt),
            };
            self.counters.let_in(now, door, arrival, datagram)?;
        } else if !raw.phone.admits_counted(now, source, datagram) {
            self.counters.dropped_unknown_source += 1;
            return None;
        }
        let len = datagram.len();
        if !raw.allowance.take(now, len) {
            self.counters.dropped_over_rate += 1;
            return None;
        }
        (raw.last_packet, raw.is_lost) = (now, false);
        raw.stats.packets_received += 1;
        raw.stats.bytes_received += len as u64;
        let to = raw.to.or(peer)?;
        let peer = self.raw.get_mut(&(to, kind))?;
        let remote = if on_rtcp { peer.phone.rtcp } else { peer.phone.remote };
        let Some(destination) = remote.filter(|_| peer.state == State::Bound) else {
            self.counters.dropped_not_ready += 1;
            return None;
        };
        peer.stats.packets_sent += 1;
        peer.stats.bytes_sent += len as u64;
        self.counters.packets_forwarded += 1;
        let socket = if on_rtcp { peer.socket.rtcp() } else { peer.socket };
        Some(Forward { frame: self.at_frame, socket, destination, len })
    }

    /// Once a second.
    pub(super) fn watch_raw(&mut self, now: Instant, id: LegId) {
        let timeout = self.config.rtp_timeout;
        let Some(raw) = self.raw.get_mut(&(id, None)) else { return };
        let is_silent = now.saturating_duration_since(raw.last_packet) >= timeout;
        if is_silent && !std::mem::replace(&mut raw.is_lost, true) {
            self.event(Event::Lost { leg: id, loss: Loss::Silent });
        }
    }

    pub(super) fn raw_stats(&self, id: LegId) -> Option<LegStats> {
        self.raw.get(&(id, None)).map(|raw| raw.stats)
    }

    /// What passed of a leg's section.
    pub(super) fn passed_stats(&self, id: LegId, kind: PassedKind) -> Option<PassedStats> {
        let count = |packets: u64| u32::try_from(packets).unwrap_or(u32::MAX);
        self.raw.get(&(id, Some(kind))).map(|raw| PassedStats {
            packets_received: count(raw.stats.packets_received),
            packets_sent: count(raw.stats.packets_sent),
        })
    }

    /// Closes the sections of a leg.
    pub(super) fn close_sections(&mut self, id: LegId) {
        for kind in PassedKind::ALL {
            self.unbind_raw((id, Some(kind)));
        }
    }

    fn unbind_raw(&mut self, id: RawId) -> Option<Raw> {
        let raw = self.raw.remove(&id)?;
        self.raw_sockets.remove(&raw.socket);
        self.outputs.push_back(Output::Unbind { socket: raw.socket });
        Some(raw)
    }

    /// False when there is no such leg.
    pub(super) fn close_raw(&mut self, id: LegId) -> bool {
        let Some(raw) = self.unbind_raw((id, None)) else { return false };
        self.timers.cancel(&(id, super::Timer::Watch));
        if let Some(peer) = raw.to.and_then(|to| self.raw.get_mut(&(to, None))) {
            peer.to = None;
        }
        self.event(Event::Closed { leg: id, stats: raw.stats });
        true
    }
}

/// Bytes a second: fax at 33 600 bit/s with every datagram holding seven older ones comes to half.
const RATE: u64 = 64_000;
const BURST: u64 = 64_000;
/// Of IP and UDP.
const HEADERS: u64 = 40;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A second of the most that fax needs passes; a flood is cut to the rate.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    fn a_flood_is_cut_to_the_rate() {
        let start = Instant::now();
        let mut allowance = Allowance { left: BURST, since: start };
        let mut passed = 0;
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            passed += (0..10).filter(|_| allowance.take(now, 1200)).count();
        }
        let most = usize::try_from((BURST + 10 * RATE) / 1240).unwrap();
        assert!((most - 5..=most + 1).contains(&passed), "{passed} of at most {most}");
        let mut allowance = Allowance { left: BURST, since: start };
        for millis in (0..60_000).step_by(20) {
            let now = start + Duration::from_millis(millis);
            assert!(allowance.take(now, 700), "a fax of high speed is not held up");
        }
    }
}

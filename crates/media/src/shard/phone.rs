//! Where a phone's media comes from, and how firmly that is known.
//!
//! Whoever sends to our port is not yet the phone (RTP bleed and injection): a packet counts
//! from the address that signalling named, from one whose keys prove it, or from one that
//! passed strict learning, because many a phone behind a NAT cannot name its address.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crosspoint_base::LegId;

use super::leg::{Crypto, Leg};
use super::{Forward, Shard};
use crate::rtp::{self, Header};

#[derive(Debug, Default)]
pub(super) struct Phone {
    /// Where to send, and what is listened to once it is latched.
    pub(super) remote: Option<SocketAddr>,
    pub(super) rtcp: Option<SocketAddr>,
    /// The address that signalling named, which may be one behind a NAT, and that for RTCP.
    signalled: Option<SocketAddr>,
    signalled_rtcp: Option<SocketAddr>,
    is_latched: bool,
    /// Until when a source that signalling did not name may prove itself.
    learn_until: Option<Instant>,
    candidates: Vec<Candidate>,
}

/// A source that may turn out to be the phone behind its NAT.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    seq: u16,
    /// Packets in order, each some time after the one before.
    in_order: u32,
    since: Instant,
    last: Instant,
}

impl Phone {
    /// Takes over what a description says; the same again changes nothing.
    pub(super) fn describe(
        &mut self,
        now: Instant,
        remote: Option<SocketAddr>,
        rtcp: Option<SocketAddr>,
    ) {
        if (self.signalled, self.signalled_rtcp) == (remote, rtcp) {
            return;
        }
        *self = Self {
            remote,
            rtcp,
            signalled: remote,
            signalled_rtcp: rtcp,
            learn_until: Some(now + LEARNING),
            ..Self::default()
        };
    }

    pub(super) fn held(&self) -> usize {
        self.candidates.len()
    }

    /// Whether RTCP goes to the port of RTP (RFC 5761).
    pub(super) fn is_muxed(&self) -> bool {
        self.signalled_rtcp.is_none()
    }

    /// From here on this is the phone; only the signalled address can still take its place.
    fn latch(&mut self, source: SocketAddr) {
        self.remote = Some(source);
        self.rtcp = self.signalled_rtcp.filter(|_| self.signalled == Some(source));
        self.is_latched = true;
        self.candidates = Vec::new();
    }

    /// Strict learning: only where signalling named a private address that sent nothing or the
    /// source's own, only for a while, only a stream in order at the pace of sound, and nobody
    /// while several claim to be the phone.
    fn learn(&mut self, now: Instant, source: SocketAddr, header: &Header) -> bool {
        let may_learn = !self.is_latched
            && self.learn_until.is_some_and(|until| now <= until)
            && self.signalled.is_none_or(|s| is_private(s.ip()) || s.ip() == source.ip());
        if !may_learn {
            return false;
        }
        let new = Candidate {
            source,
            ssrc: header.ssrc,
            seq: header.seq,
            in_order: 1,
            since: now,
            last: now,
        };
        let Some(index) = self.candidates.iter().position(|c| c.source == source) else {
            self.add(new);
            return false;
        };
        let Some(candidate) = self.candidates.get_mut(index) else { return false };
        if candidate.ssrc != header.ssrc || candidate.seq.wrapping_add(1) != header.seq {
            *candidate = new;
            return false;
        }
        candidate.seq = header.seq;
        // A burst proves no more than one packet.
        if now.saturating_duration_since(candidate.last) >= PACE {
            candidate.in_order += 1;
            candidate.last = now;
        }
        let is_stream = candidate.in_order >= LEARN_PACKETS
            && now.saturating_duration_since(candidate.since) >= LEARN_TIME;
        let is_rival = |c: &Candidate| {
            c.source.ip() != source.ip()
                && c.in_order >= RIVAL_PACKETS
                && now.saturating_duration_since(c.last) <= RIVAL_TIME
        };
        is_stream && !self.candidates.iter().any(is_rival)
    }

    fn add(&mut self, candidate: Candidate) {
        if self.candidates.len() >= MAX_CANDIDATES {
            let oldest = self.candidates.iter().enumerate().min_by_key(|(_, c)| c.last);
            if let Some((index, _)) = oldest {
                self.candidates.swap_remove(index);
            }
        }
        self.candidates.push(candidate);
    }
}

/// Where a datagram came from and what it is.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    source: SocketAddr,
    /// On the port beside that of RTP.
    on_rtcp: bool,
    is_rtcp: bool,
}

impl Shard {
    /// A datagram on a phone's socket pair.
    pub(super) fn phone_packet(
        &mut self,
        now: Instant,
        id: LegId,
        on_rtcp: bool,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let leg = self.legs.get_mut(&id)?;
        if leg.stream.is_none() {
            self.counters.dropped_not_ready += 1;
            return None;
        }
        let is_rtcp = on_rtcp || rtp::is_rtcp(&buffer[..len]);
        if !admits(now, leg, Arrival { source, on_rtcp, is_rtcp }, &buffer[..len]) {
            self.counters.dropped_unknown_source += 1;
            return None;
        }
        self.packet(now, id, buffer, len)
    }
}

/// Whether this comes from the phone, as far as its source can tell.
fn admits(now: Instant, leg: &mut Leg, arrival: Arrival, packet: &[u8]) -> bool {
    let Arrival { source, on_rtcp, is_rtcp } = arrival;
    let phone = &mut leg.phone;
    if on_rtcp {
        let is_host = phone.remote.is_some_and(|remote| remote.ip() == source.ip());
        if is_host && phone.remote != phone.signalled {
            // Its NAT gave the port for RTCP a number of its own, too.
            phone.rtcp = Some(source);
        }
        return is_host;
    }
    let is_remote = phone.remote == Some(source);
    if is_rtcp || (is_remote && phone.is_latched) {
        return is_remote;
    }
    let is_signalled = phone.signalled == Some(source);
    let is_the_phone = match &leg.crypto {
        Some(crypto) => (is_signalled || !phone.is_latched) && is_authentic(crypto, packet),
        None if leg.is_secure() => false,
        None => is_signalled || learn(now, leg, source, packet),
    };
    if is_the_phone {
        leg.phone.latch(source);
    }
    is_the_phone || is_remote
}

/// Whether an SDES packet has the peer's tag. The copy is checked, so that the packet itself is
/// still whole for the path behind.
fn is_authentic(crypto: &Crypto, packet: &[u8]) -> bool {
    crypto.inbound.check_rtp(&mut packet.to_vec())
}

fn learn(now: Instant, leg: &mut Leg, source: SocketAddr, packet: &[u8]) -> bool {
    let Some(stream) = &leg.stream else { return false };
    let Some(header) = Header::parse(packet) else { return false };
    let is_known = stream.receive.iter().any(|(pt, _)| *pt == header.pt);
    // A peer that hears nothing and names no address is on hold, and nobody takes its place.
    let is_held = leg.phone.signalled.is_none() && !stream.direction.sends();
    is_known && !is_held && leg.phone.learn(now, source, &header)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// How long a source that signalling did not name may prove itself after a description.
const LEARNING: Duration = Duration::from_secs(10);
/// A fifth of a second of sound in order from one unnamed source.
const LEARN_PACKETS: u32 = 10;
const LEARN_TIME: Duration = Duration::from_millis(150);
/// Packets of sound are at least this far apart, however a network bunches them.
const PACE: Duration = Duration::from_millis(5);
/// What makes another source a rival, and for how long.
const RIVAL_PACKETS: u32 = 3;
const RIVAL_TIME: Duration = Duration::from_secs(3);
const MAX_CANDIDATES: usize = 16;

//! Where a phone's media comes from, and how firmly that is known.
//!
//! Whoever sends to our port is not yet the phone (RTP bleed and injection): a packet counts
//! from the address that signalling named, from one whose keys prove it, or from one that
//! passed strict learning, because many a phone behind a NAT cannot name its address.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, is_private};

use super::leg::Crypto;
use super::{Counters, Forward, Output, Shard};
use crate::rtp::{self, Header};

#[derive(Debug, Default)]
pub(super) struct Phone {
    /// Where to send, and what is listened to once it is latched.
    pub(super) remote: Option<SocketAddr>,
    pub(super) rtcp: Option<SocketAddr>,
    /// The address that signalling named, which may be one behind a NAT, and that for RTCP.
    pub(super) signalled: Option<SocketAddr>,
    signalled_rtcp: Option<SocketAddr>,
    is_latched: bool,
    /// The only source of RTP that counts, as the host was told.
    told: Option<SocketAddr>,
    /// Whether that is still so.
    is_told: bool,
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
            told: self.told,
            ..Self::default()
        };
    }

    /// The only source of RTP that counts any more, if there is one: the latched one, unless
    /// signalling named another that may still take its place.
    fn only_source(&self) -> Option<SocketAddr> {
        self.remote.filter(|_| self.is_latched && self.remote == self.signalled)
    }

    pub(super) fn held(&self) -> usize {
        self.candidates.len()
    }

    /// Whether RTCP goes to the port of RTP (RFC 5761).
    pub(super) fn is_muxed(&self) -> bool {
        self.signalled_rtcp.is_none()
    }

    /// Whose packets need no more thought: the phone's, once nothing about it is open.
    pub(super) fn settled_source(&self) -> Option<SocketAddr> {
        self.remote.filter(|_| self.is_latched && self.is_told)
    }

    /// From here on this is the phone; only the signalled address can still take its place.
    pub(super) fn latch(&mut self, source: SocketAddr) {
        self.remote = Some(source);
        self.rtcp = self.signalled_rtcp.filter(|_| self.signalled == Some(source));
        self.is_latched = true;
        self.is_told = false;
        self.candidates = Vec::new();
    }

    /// Whether a datagram that is no RTP comes from the phone: one of a stream that counts its
    /// datagrams in their first two bytes, as UDPTL does.
    pub(super) fn admits_counted(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let is_remote = self.remote == Some(source);
        if is_remote && self.is_latched {
            return true;
        }
        let is_signalled = self.signalled == Some(source);
        let count = datagram.first_chunk().map(|count| u16::from_be_bytes(*count));
        let is_the_phone =
            is_signalled || count.is_some_and(|count| self.learn(now, source, 0, count));
        if is_the_phone {
            self.latch(source);
        }
        is_the_phone || is_remote
    }

    /// The host that a stream of this phone has come from, where that proved itself and is not
    /// where signalling says.
    pub(super) fn proved_host(&self) -> Option<IpAddr> {
        let is_proved = |remote: &SocketAddr| {
            self.is_latched && self.signalled.is_none_or(|s| s.ip() != remote.ip())
        };
        self.remote.filter(is_proved).map(|remote| remote.ip())
    }

    /// Its sound came from this host, so the first of another section from there is its own, too:
    /// behind one NAT they differ in their ports alone.
    pub(super) fn trust(&mut self, host: Option<IpAddr>, source: SocketAddr) {
        let is_open = !self.is_latched && self.signalled.is_some_and(|s| is_private(s.ip()));
        if is_open && host == Some(source.ip()) {
            self.latch(source);
        }
    }

    /// Strict learning: only where signalling named a private address that sent nothing or the
    /// source's own, only for a while, only a stream in order at the pace of sound, and nobody
    /// while several claim to be the phone.
    fn learn(&mut self, now: Instant, source: SocketAddr, ssrc: u32, seq: u16) -> bool {
        let may_learn = !self.is_latched
            && self.learn_until.is_some_and(|until| now <= until)
            && self.signalled.is_none_or(|s| is_private(s.ip()) || s.ip() == source.ip());
        if !may_learn {
            return false;
        }
        let new = Candidate { source, ssrc, seq, in_order: 1, since: now, last: now };
        let Some(index) = self.candidates.iter().position(|c| c.source == source) else {
            self.add(new);
            return false;
        };
        let Some(candidate) = self.candidates.get_mut(index) else { return false };
        if candidate.ssrc != ssrc || candidate.seq.wrapping_add(1) != seq {
            *candidate = new;
            return false;
        }
        candidate.seq = seq;
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

/// Where a datagram came from, and to which port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) source: SocketAddr,
    /// On the port beside that of RTP.
    pub(super) on_rtcp: bool,
}

/// Who may come in, and by what it is known: for the sound of a leg, or its video.
pub(super) struct Door<'a> {
    pub(super) phone: &'a mut Phone,
    pub(super) crypto: Option<&'a Crypto>,
    pub(super) is_secure: bool,
    /// We send to it; one that hears nothing, and names no address, is on hold.
    pub(super) sends: bool,
    /// Whether it may send this payload type.
    pub(super) knows: &'a dyn Fn(u8) -> bool,
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
        if leg.dtls.is_some() && (on_rtcp || matches!(buffer[0], 20..=63)) {
            if !on_rtcp {
                self.phone_dtls(now, id, source, &buffer[..len]);
            }
            return None;
        }
        let is_secure = leg.is_secure();
        // Who only listens says nothing by which another could be told from it.
        let is_listener = leg.hears().is_some();
        let Some(stream) = &leg.stream else {
            self.counters.dropped_not_ready += 1;
            return None;
        };
        let door = Door {
            phone: &mut leg.phone,
            crypto: leg.crypto.as_ref(),
            is_secure,
            sends: stream.direction.sends(),
            knows: &|pt| !is_listener && stream.receive.iter().any(|(known, _)| *known == pt),
        };
        let arrival = Arrival { source, on_rtcp };
        self.counters.let_in(now, door, arrival, &buffer[..len])?;
        if !leg.phone.is_told {
            self.tell_source(id);
        }
        self.packet(now, id, buffer, len)
    }

    /// Tells the host whose packets count, when that has changed.
    pub(super) fn tell_source(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.phone.is_told = true;
        let (Some(socket), remote) = (leg.socket, leg.phone.only_source()) else { return };
        if leg.phone.told != remote {
            leg.phone.told = remote;
            let connect = Output::Connect { socket, remote };
            match remote {
                Some(_) => self.outputs.push_back(connect),
                // Whoever a description lets in may speak as soon as that is answered.
                None => self.outputs.push_front(connect),
            }
        }
    }
}

/// What a phone sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Rtp,
    Rtcp,
}

impl Counters {
    /// Lets in what comes from the phone, and counts what does not.
    pub(super) fn let_in(
        &mut self,
        now: Instant,
        door: Door<'_>,
        arrival: Arrival,
        packet: &[u8],
    ) -> Option<Sent> {
        let is_rtcp = arrival.on_rtcp || rtp::is_rtcp(packet);
        if admits(now, door, arrival, is_rtcp, packet) {
            return Some(if is_rtcp { Sent::Rtcp } else { Sent::Rtp });
        }
        self.dropped_unknown_source += 1;
        None
    }
}

/// Whether this comes from the phone, as far as its source can tell.
fn admits(now: Instant, door: Door<'_>, arrival: Arrival, is_rtcp: bool, packet: &[u8]) -> bool {
    let Arrival { source, on_rtcp } = arrival;
    let Door { phone, crypto, is_secure, sends, knows } = door;
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
    let is_the_phone = match crypto {
        Some(crypto) => (is_signalled || !phone.is_latched) && is_authentic(crypto, packet),
        None if is_secure => false,
        None => {
            // A peer that hears nothing and names no address is on hold, and nobody takes its
            // place.
            let is_held = phone.signalled.is_none() && !sends;
            let header = Header::parse(packet).filter(|h| knows(h.pt) && !is_held);
            is_signalled || header.is_some_and(|h| phone.learn(now, source, h.ssrc, h.seq))
        }
    };
    if is_the_phone {
        phone.latch(source);
    }
    is_the_phone || is_remote
}

/// Whether an SDES packet has the peer's tag. The copy is checked, so that the packet itself is
/// still whole for the path behind.
fn is_authentic(crypto: &Crypto, packet: &[u8]) -> bool {
    crypto.inbound.check_rtp(&mut packet.to_vec())
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

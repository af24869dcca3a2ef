//! DTLS of a leg without ICE (RFC 5763): between the addresses that the descriptions name.
//!
//! Anybody may send a ClientHello to our port, and no check tells who is the peer. So it is taken
//! from the address that signalling named. Only where that is behind a NAT another source may
//! begin, one at a time: it has some seconds to prove itself by the certificate that signalling
//! named, gives way to the named address at any time, and is not heard again when it fails. The
//! keys count from that source alone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, is_private};

use super::handshake::DtlsEnd;
use super::{Shard, SocketId, Timer};

/// The DTLS side of a leg without ICE.
#[derive(Default)]
pub(super) struct DtlsPeer {
    pub(super) end: DtlsEnd,
    /// With whom the handshake is, and since when.
    source: Option<(SocketAddr, Instant)>,
    /// Sources that failed to prove themselves.
    barred: Vec<SocketAddr>,
}

impl std::fmt::Debug for DtlsPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsPeer").field("is_up", &self.end.is_up).finish_non_exhaustive()
    }
}

impl DtlsPeer {
    pub(super) fn held(&self) -> usize {
        self.end.held() + self.barred.len()
    }

    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.source.map(|(source, _)| source)
    }

    /// Whether this source may begin, or go on.
    fn admits(&self, now: Instant, source: SocketAddr, signalled: Option<SocketAddr>) -> bool {
        let Some((other, since)) = self.source else { return self.may_begin(source, signalled) };
        if other == source {
            return true;
        }
        let is_late = now.saturating_duration_since(since) >= PROOF;
        // The address that signalling named waits for nobody else.
        let gives_way = signalled == Some(source) || (is_late && signalled != Some(other));
        !self.end.is_up && gives_way && self.may_begin(source, signalled)
    }

    fn may_begin(&self, source: SocketAddr, signalled: Option<SocketAddr>) -> bool {
        let may_be_behind = signalled.is_none_or(|s| is_private(s.ip()) && s != source);
        let is_stranger = may_be_behind && !self.end.active && !self.barred.contains(&source);
        signalled == Some(source) || is_stranger
    }

    /// The source that has failed is not heard again, and the next one begins anew.
    fn bar(&mut self) {
        if let Some((source, _)) = self.source.take() {
            if self.barred.len() >= MAX_BARRED {
                self.barred.remove(0);
            }
            self.barred.push(source);
        }
        self.end.begin_anew();
    }
}

impl Shard {
    /// Takes over what the descriptions say of DTLS.
    pub(super) fn apply_dtls(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let terms = leg.stream.as_ref().and_then(|stream| stream.dtls.clone());
        let signalled = leg.phone.signalled;
        let Some(terms) = terms else {
            leg.dtls = None;
            return;
        };
        let peer = leg.dtls.get_or_insert_default();
        if peer.end.fingerprints != terms.fingerprints {
            // Another certificate is another connection (RFC 8842 §5.5).
            let is_renewed = !peer.end.fingerprints.is_empty();
            **peer = DtlsPeer::default();
            peer.end.fingerprints = terms.fingerprints;
            peer.end.active = terms.active;
            if is_renewed {
                leg.crypto = None;
                self.timers.cancel(&(id, Timer::Dtls));
            }
        }
        let Some(peer) = self.legs.get_mut(&id).and_then(|leg| leg.dtls.as_mut()) else { return };
        if peer.end.active && !peer.end.is_up {
            peer.source = signalled.map(|signalled| (signalled, now));
            self.start_dtls(now, id);
        }
    }

    /// A record on the port of a leg without ICE.
    pub(super) fn phone_dtls(&mut self, now: Instant, id: LegId, source: SocketAddr, bytes: &[u8]) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let signalled = leg.phone.signalled;
        let Some(peer) = &mut leg.dtls else { return };
        if !peer.admits(now, source, signalled) {
            self.counters.dropped_unknown_source += 1;
            return;
        }
        if peer.source() != Some(source) {
            if peer.source().is_some() {
                peer.bar();
            }
            peer.source = Some((source, now));
        }
        self.start_dtls(now, id);
        self.take_records(now, id, bytes);
    }

    /// True when a stranger has failed, and others may still be the peer.
    pub(super) fn bar_stranger(&mut self, id: LegId) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let signalled = leg.phone.signalled;
        let Some(peer) = &mut leg.dtls else { return false };
        let is_stranger = !peer.end.is_up && peer.source() != signalled;
        if is_stranger {
            peer.bar();
            self.timers.cancel(&(id, Timer::Dtls));
        }
        is_stranger
    }

    /// Where records go on a leg without ICE.
    pub(super) fn dtls_way(&self, id: LegId) -> Option<(SocketId, SocketAddr)> {
        let leg = self.legs.get(&id)?;
        Some((leg.socket?, leg.dtls.as_ref()?.source()?))
    }
}

/// How long a source that signalling did not name may take for its handshake while others wait.
const PROOF: Duration = Duration::from_secs(3);
const MAX_BARRED: usize = 16;

//! A browser's side of a leg: ICE, then DTLS over the validated pair, then keys.

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_sdp::Fingerprint;
use dimpl::{Dtls, SrtpProfile};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate as IceCandidate, IceAgent, IceAgentEvent, IceCreds};
use sha2::{Digest, Sha256};

use super::leg::{Crypto, Leg};
use super::paths::{Check, Paths};
use super::{Output, Shard, SocketId, Timer};
use crate::control::{Candidate, Event, Loss};
use crate::negotiation::Transport;
use crate::srtp;

/// ICE and DTLS state of one leg.
pub(super) struct Browser {
    agent: IceAgent,
    dtls: Option<Dtls>,
    active: bool,
    fingerprints: Vec<Fingerprint>,
    pub(super) paths: Paths,
    pub(super) is_up: bool,
    proof: Option<FingerprintVerified>,
    remote_ufrag: String,
    has_failed: bool,
}

/// The peer's certificate is the one that signalling named. Only the check makes one, and keys
/// are not taken without.
struct FingerprintVerified(());

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser").field("is_up", &self.is_up).finish_non_exhaustive()
    }
}

impl Browser {
    /// How many things are kept.
    pub(super) fn held(&self) -> usize {
        let candidates =
            self.agent.local_candidates().count() + self.agent.remote_candidates().count();
        candidates + self.paths.held() + self.fingerprints.len()
    }

    /// Whether a message may be what it says, as far as its source can tell.
    fn is_plausible(&self, source: SocketAddr, check: Check) -> bool {
        let is_known = self.agent.remote_candidates().any(|c| c.addr() == source);
        if !check.is_request() {
            // An answer comes from where the question went (RFC 8445 §7.2.5.2.1).
            return is_known;
        }
        let is_welcome = is_known || self.paths.is_validated(source);
        let has_room = self.has_room() && self.paths.has_room();
        !self.paths.is_repeated(source, check) && (is_welcome || has_room)
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

/// Our candidate lines for a description.
pub(super) fn candidates(addresses: &[SocketAddr]) -> Vec<String> {
    let line = |(index, address): (usize, &SocketAddr)| {
        // RFC 8445 §5.1.2: host candidates, the first address preferred.
        let local = 65_535_u32.saturating_sub(u32::try_from(index).unwrap_or(0));
        let priority = 126 << 24 | local << 8 | 255;
        let (ip, port) = (address.ip(), address.port());
        format!("candidate:{} 1 udp {priority} {ip} {port} typ host", index + 1)
    };
    addresses.iter().enumerate().map(line).collect()
}

impl Leg {
    /// Whether this leg's browser is connected from there.
    fn is_alive_at(&self, now: Instant, source: SocketAddr) -> bool {
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
                if leg.is_lost && browser.is_up && !browser.has_failed {
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
        leg.browser = Some(Box::new(Browser {
            agent,
            dtls: None,
            active: false,
            fingerprints: vec![],
            paths: Paths::default(),
            is_up: false,
            proof: None,
            remote_ufrag: String::new(),
            has_failed: false,
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
        browser.active = *active;
        browser.fingerprints.clone_from(fingerprints);
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

    pub(super) fn stun(&mut self, now: Instant, source: SocketAddr, packet: &[u8]) {
        if !self.take_stun(now, source, packet) {
            self.counters.stun_refused += 1;
        }
    }

    /// Says whether the message was believed; if not, it changed nothing and is not answered.
    fn take_stun(&mut self, now: Instant, source: SocketAddr, packet: &[u8]) -> bool {
        let Ok(message) = StunMessage::parse(packet) else { return false };
        let of_source = self.by_browser.get(&source).copied();
        let by_name = message.split_username().map(|(local, _)| local);
        let by_name = by_name.and_then(|local| self.by_ufrag.get(local).copied());
        // An answer names nobody: it belongs to who asked.
        let by_check = self.by_check.get(&message.trans_id()).copied();
        let Some(id) = by_name.or(by_check) else { return false };
        let Some(destination) = local_for(&self.config.browser_addresses, source) else {
            return false;
        };
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
        let proto = is::Protocol::Udp;
        let packet = StunPacket { proto, source, destination, message };
        // Integrity is checked inside: an unsigned or badly signed message changes nothing.
        if !browser.is_plausible(source, check) || !browser.agent.handle_packet(now, packet) {
            return false;
        }
        let is_lite = self.config.ice_lite;
        if let Some(forgotten) = browser.paths.note(now, source, check, is_lite)
            && self.by_browser.get(&forgotten) == Some(&id)
        {
            self.by_browser.remove(&forgotten);
        }
        self.by_browser.insert(source, id);
        self.drive_ice(now, id);
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
            if let IceAgentEvent::NominatedSend { destination, .. } = event
                && !(self.config.ice_lite && browser.paths.nominated().is_some())
            {
                browser.paths.nominate(destination);
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
            self.outputs.push_back(Output::Transmit {
                socket: SocketId::BROWSER,
                destination: transmit.destination,
                bytes: transmit.contents.into(),
            });
        }
        match browser.agent.poll_timeout() {
            Some(at) => self.timers.set((id, Timer::Ice), at.max(now)),
            None => {
                self.timers.cancel(&(id, Timer::Ice));
            }
        }
    }

    /// DTLS begins when a pair is nominated and the peer's fingerprint is known; as client we
    /// have then the peer's answer, so it has heard of us.
    fn start_dtls(&mut self, now: Instant, id: LegId) {
        let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) else {
            return;
        };
        if browser.dtls.is_some() || browser.has_failed || browser.fingerprints.is_empty() {
            return;
        }
        if browser.active && browser.paths.nominated().is_none() {
            return;
        }
        let mut dtls = Dtls::new_12(self.config.dtls.clone(), self.config.certificate.clone(), now);
        dtls.set_active(browser.active);
        browser.dtls = Some(dtls);
        self.dtls_timeout(now, id);
    }

    pub(super) fn dtls(&mut self, now: Instant, source: SocketAddr, packet: &[u8]) {
        let id = self.by_browser.get(&source).copied();
        let Some((id, browser)) =
            id.and_then(|id| Some((id, self.legs.get_mut(&id)?.browser.as_mut()?)))
        else {
            self.counters.dtls_before_ice += 1;
            return;
        };
        if !browser.paths.is_validated(source) {
            self.counters.dtls_before_ice += 1;
            return;
        }
        // A peer may nominate only later; it is answered where it speaks from.
        if browser.paths.nominated().is_none() {
            browser.paths.nominate(source);
        }
        let Some(dtls) = &mut browser.dtls else {
            self.counters.dropped_not_ready += 1;
            return;
        };
        // First the clock: deadlines of what the packet begins count from it.
        if dtls.handle_timeout(now).is_err() {
            self.dtls_over(id, Loss::DtlsFailed);
            return;
        }
        if dtls.handle_packet(packet).is_err() {
            self.counters.dropped_malformed += 1;
        }
        self.drive_dtls(now, id);
    }

    pub(super) fn dtls_timeout(&mut self, now: Instant, id: LegId) {
        let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) else {
            return;
        };
        let Some(dtls) = &mut browser.dtls else { return };
        if dtls.handle_timeout(now).is_err() {
            self.dtls_over(id, Loss::DtlsFailed);
            return;
        }
        self.drive_dtls(now, id);
    }

    fn drive_dtls(&mut self, now: Instant, id: LegId) {
        let mut buffer = [0; 4096];
        let mut keys = None;
        let mut over = None;
        {
            let Some(browser) = self.legs.get_mut(&id).and_then(|l| l.browser.as_mut()) else {
                return;
            };
            let Browser { dtls: Some(dtls), proof, fingerprints, paths, active, .. } =
                &mut **browser
            else {
                return;
            };
            loop {
                match dtls.poll_output(&mut buffer) {
                    dimpl::Output::Packet(bytes) => {
                        if let Some(destination) = paths.nominated() {
                            self.outputs.push_back(Output::Transmit {
                                socket: SocketId::BROWSER,
                                destination,
                                bytes: bytes.to_vec(),
                            });
                        }
                    }
                    dimpl::Output::PeerCert(certificate) => {
                        *proof = verify(certificate, fingerprints);
                    }
                    dimpl::Output::KeyingMaterial(material, profile) => match proof.take() {
                        Some(proof) => match crypto(&proof, &material, profile, *active) {
                            Some(crypto) => keys = Some(crypto),
                            None => over = Some(Loss::DtlsFailed),
                        },
                        None => over = Some(Loss::WrongCertificate),
                    },
                    dimpl::Output::CloseNotify => over = Some(Loss::PeerClosed),
                    dimpl::Output::Timeout(at) => {
                        self.timers.set((id, Timer::Dtls), at.max(now));
                        break;
                    }
                    dimpl::Output::BufferTooSmall { .. } => break,
                    _ => {}
                }
            }
        }
        if let Some(keys) = keys {
            self.secured(now, id, keys);
        } else if let Some(loss) = over {
            self.dtls_over(id, loss);
        }
    }

    fn secured(&mut self, now: Instant, id: LegId, crypto: Crypto) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.crypto = Some(crypto);
        if let Some(browser) = &mut leg.browser {
            browser.is_up = true;
            browser.paths.touch(now);
        }
        if !std::mem::replace(&mut leg.is_connected, true) {
            self.event(Event::Connected { leg: id });
        }
    }

    /// A browser that was lost and restarted ICE is heard again.
    fn regained(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_up = leg.browser.as_ref().is_some_and(|b| b.is_up) && leg.crypto.is_some();
        if is_up && !leg.is_lost && !std::mem::replace(&mut leg.is_connected, true) {
            self.event(Event::Connected { leg: id });
        }
    }

    /// Nothing of this leg can be trusted from here on.
    fn dtls_over(&mut self, id: LegId, loss: Loss) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.crypto = None;
        if let Some(browser) = &mut leg.browser {
            browser.dtls = None;
            browser.has_failed = true;
        }
        self.timers.cancel(&(id, Timer::Dtls));
        if loss != Loss::PeerClosed {
            self.counters.dtls_failed += 1;
        }
        self.lost(id, loss);
    }
}

fn verify(certificate: &[u8], expected: &[Fingerprint]) -> Option<FingerprintVerified> {
    let hash = fingerprint(certificate);
    // SHA-1 and other short hashes are not taken as proof.
    let fits = |f: &Fingerprint| f.algorithm == "sha-256" && f.bytes == hash;
    expected.iter().any(fits).then_some(FingerprintVerified(()))
}

/// Splits the exported key block (RFC 5764 §4.2): client key, server key, client salt, server
/// salt.
fn crypto(
    _proof: &FingerprintVerified,
    material: &[u8],
    profile: SrtpProfile,
    is_client: bool,
) -> Option<Crypto> {
    let profile = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => srtp::Profile::Aes128CmSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => srtp::Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => srtp::Profile::AeadAes256Gcm,
        _ => return None,
    };
    let (key, salt) = (profile.key_len(), profile.salt_len());
    let part = |at: usize, len: usize| material.get(at..at + len);
    let client = [part(0, key)?, part(2 * key, salt)?].concat();
    let server = [part(key, key)?, part(2 * key + salt, salt)?].concat();
    let (local, remote) = if is_client { (client, server) } else { (server, client) };
    Crypto::new(profile, &local, &remote)
}

/// The address of ours that a source of this family speaks to.
fn local_for(addresses: &[SocketAddr], source: SocketAddr) -> Option<SocketAddr> {
    addresses.iter().find(|a| a.is_ipv4() == source.is_ipv4()).copied()
}

/// Addresses that one browser may name or show until it restarts ICE.
const MAX_REMOTE_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// The key block holds the client's key, the server's, and their salts (RFC 5764 §4.2).
    #[test]
    fn each_side_sends_with_its_own_key() {
        for (profile, of_srtp) in [
            (SrtpProfile::AES128_CM_SHA1_80, srtp::Profile::Aes128CmSha1_80),
            (SrtpProfile::AEAD_AES_128_GCM, srtp::Profile::AeadAes128Gcm),
            (SrtpProfile::AEAD_AES_256_GCM, srtp::Profile::AeadAes256Gcm),
        ] {
            let (key, salt) = (of_srtp.key_len(), of_srtp.salt_len());
            let parts = [vec![1; key], vec![2; key], vec![3; salt], vec![4; salt]];
            for (is_client, key, salt) in [(true, 0, 2), (false, 1, 3)] {
                let material = parts.concat();
                let ours = crypto(&FingerprintVerified(()), &material, profile, is_client);
                let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7, 7, 7, 7];
                packet.resize(16 + srtp::MAX_OVERHEAD, 0);
                let len = ours.unwrap().outbound.protect_rtp(&mut packet, 16).unwrap();
                let peer = srtp::Context::new(of_srtp, &parts[key], &parts[salt]);
                assert_eq!(peer.unwrap().unprotect_rtp(&mut packet[..len]), Ok(16));
                assert_eq!(packet[12..16], [7; 4]);
            }
        }
    }
}

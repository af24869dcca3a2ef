//! DTLS of browsers and of phones that use it, off the packet path.
//!
//! A handshake is hundreds of microseconds of arithmetic, in which dozens of packets would wait.
//! So a connection that has something to do leaves the shard as a [`Handshake`], which the host
//! runs where it likes, and comes back with what it has done. What arrives meanwhile waits; there
//! is never more than one such job of a leg. Most steps are little, and waking another thread costs
//! more than they do: those are done here. Where the peer is to begin, there is no connection before it has.

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_sdp::Fingerprint;
use dimpl::{Dtls, SrtpProfile};

use super::browser::fingerprint;
use super::leg::Crypto;
use super::links::Remote;
use super::plain_records::{Admitted, PlainRecords, says_hello};
use super::{Output, Shard, SocketId, Timer};
use crate::control::{self, Event, Loss};
use crate::srtp;

/// Our end of DTLS with one peer, and what the peer is held to.
#[derive(Default)]
pub(super) struct DtlsEnd {
    connection: Connection,
    /// We open the connection.
    pub(super) active: bool,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) is_up: bool,
    pub(super) has_failed: bool,
    /// Connections so far.
    begun: u64,
}

/// The DTLS connection of a peer.
#[derive(Default)]
struct Connection {
    /// Among those of its leg: work on an earlier one comes too late.
    number: u64,
    state: State,
    has_begun: bool,
    /// What is yet to be done.
    inputs: Vec<Input>,
    plain_records: PlainRecords,
    proof: Option<FingerprintVerified>,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    /// The peer is to begin: until it does there is nothing to compute or to remember.
    Listening,
    Here(Box<Dtls>),
    /// With the host.
    Away,
}

/// The peer's certificate is the one that signalling named. Only the check makes one, and keys
/// are not taken without.
struct FingerprintVerified(());

/// Time passes, and perhaps records came.
struct Input {
    at: Instant,
    records: Option<Vec<u8>>,
    is_much: bool,
}

/// Work on one connection: hand the outcome to [`Shard::handle_handshake`].
pub struct Handshake {
    leg: LegId,
    number: u64,
    dtls: Box<Dtls>,
    inputs: Vec<Input>,
}

/// What became of a [`Handshake`].
pub struct HandshakeDone {
    leg: LegId,
    /// Of the connection; unknown when the work broke down.
    number: Option<u64>,
    /// The connection, unless the work on it broke down, and what it did.
    dtls: Option<Box<Dtls>>,
    steps: Vec<Step>,
}

enum Step {
    Send(Vec<u8>),
    Certificate(Vec<u8>),
    Keys(Vec<u8>, SrtpProfile),
    Wait(Instant),
    Malformed,
    Closed,
    Failed,
}

impl DtlsEnd {
    /// How many things are kept.
    pub(super) fn held(&self) -> usize {
        self.fingerprints.len() + self.connection.inputs.len()
    }

    /// The connection that there is comes to nothing; there may be another.
    pub(super) fn begin_anew(&mut self) {
        self.connection = Connection::default();
    }
}

impl Connection {
    fn is_none(&self) -> bool {
        matches!(self.state, State::None)
    }
}

impl Handshake {
    #[must_use]
    pub fn leg(&self) -> LegId {
        self.leg
    }

    /// Does the work, on any thread.
    #[must_use]
    pub fn run(self) -> HandshakeDone {
        let Self { leg, number, mut dtls, inputs } = self;
        let mut steps = Vec::new();
        for Input { at, records, .. } in inputs {
            // First the clock: deadlines of what the records begin count from it.
            if dtls.handle_timeout(at).is_err() {
                steps.push(Step::Failed);
                break;
            }
            if records.is_some_and(|records| dtls.handle_packet(&records).is_err()) {
                steps.push(Step::Malformed);
            }
            poll(&mut dtls, &mut steps);
        }
        HandshakeDone { leg, number: Some(number), dtls: Some(dtls), steps }
    }
}

fn poll(dtls: &mut Dtls, steps: &mut Vec<Step>) {
    let mut buffer = [0; 4096];
    loop {
        steps.push(match dtls.poll_output(&mut buffer) {
            dimpl::Output::Packet(bytes) => Step::Send(bytes.to_vec()),
            dimpl::Output::PeerCert(certificate) => Step::Certificate(certificate.to_vec()),
            dimpl::Output::KeyingMaterial(material, profile) => {
                Step::Keys(material.to_vec(), profile)
            }
            dimpl::Output::CloseNotify => Step::Closed,
            dimpl::Output::Timeout(at) => {
                steps.push(Step::Wait(at));
                return;
            }
            dimpl::Output::BufferTooSmall { .. } => return,
            _ => continue,
        });
    }
}

impl HandshakeDone {
    /// The work on this leg's connection broke down.
    #[must_use]
    pub fn failed(leg: LegId) -> Self {
        Self { leg, number: None, dtls: None, steps: vec![] }
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("leg", &self.leg).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HandshakeDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeDone").field("leg", &self.leg).finish_non_exhaustive()
    }
}

impl Shard {
    /// DTLS may begin when the peer's fingerprint is known; as client we begin it once there is a way to
    /// the peer, and have then the peer's answer, so it has heard of us.
    pub(super) fn start_dtls(&mut self, now: Instant, id: LegId) {
        let has_way = self.way_of(id).is_some();
        let Some(end) = self.end_mut(id) else { return };
        // Nothing has been said to who only listens: a later description may still have us begin.
        let turns = end.active && matches!(end.connection.state, State::Listening);
        let is_begun = !end.connection.is_none() && !turns;
        if is_begun || end.has_failed || end.fingerprints.is_empty() {
            return;
        }
        if end.active && !has_way {
            return;
        }
        end.begun += 1;
        end.connection =
            Connection { number: end.begun, state: State::Listening, ..Default::default() };
        if end.active {
            self.open_dtls(now, id);
            self.dtls_timeout(now, id);
        }
    }

    /// Makes the connection.
    fn open_dtls(&mut self, now: Instant, id: LegId) {
        let (config, certificate) = (self.config.dtls.clone(), self.config.certificate.clone());
        let Some(end) = self.end_mut(id) else { return };
        let is_client = end.active;
        let mut dtls = Dtls::new_12(config, certificate, now);
        dtls.set_active(is_client);
        end.connection.state = State::Here(Box::new(dtls));
        self.event(Event::Step { leg: id, step: control::Step::DtlsStarted { is_client } });
    }

    pub(super) fn dtls(&mut self, now: Instant, source: Remote, packet: &[u8]) {
        let id = self.by_browser.get(&source);
        let leg = id.and_then(|id| self.legs.get_mut(&id));
        let browser = leg.and_then(|leg| leg.browser.as_deref_mut());
        let Some((id, browser)) = id.zip(browser) else {
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
            self.tell_pair(id);
        }
        self.take_records(now, id, packet);
    }

    /// Records of the peer.
    pub(super) fn take_records(&mut self, now: Instant, id: LegId, packet: &[u8]) {
        let Some(end) = self.end_mut(id) else { return };
        let connection = &mut end.connection;
        if connection.is_none() || connection.inputs.len() >= MAX_INPUTS {
            self.counters.dropped_not_ready += 1;
            return;
        }
        // Who only listens is begun with by a hello. A browser says farewell here to the connection that
        // it had with somebody else, and may yet want us to begin.
        let is_listening = matches!(connection.state, State::Listening);
        if is_listening && !says_hello(packet) {
            self.counters.dropped_not_ready += 1;
            return;
        }
        let Admitted { records, is_much } = connection.plain_records.admit(packet);
        let records = Some(records).filter(|records| !records.is_empty());
        if is_listening && records.is_none() {
            return;
        }
        connection.inputs.push(Input { at: now, records, is_much });
        if is_listening {
            self.open_dtls(now, id);
        }
        self.hand_out(now, id);
    }

    pub(super) fn dtls_timeout(&mut self, now: Instant, id: LegId) {
        let Some(end) = self.end_mut(id) else { return };
        if end.connection.inputs.len() < MAX_INPUTS {
            end.connection.inputs.push(Input { at: now, records: None, is_much: false });
        }
        self.hand_out(now, id);
    }

    /// Gives out what there is to do, unless the host has the connection already.
    fn hand_out(&mut self, now: Instant, id: LegId) {
        let Some(end) = self.end_mut(id) else { return };
        let connection = &mut end.connection;
        if connection.inputs.is_empty() || !matches!(connection.state, State::Here(_)) {
            return;
        }
        let State::Here(dtls) = std::mem::replace(&mut connection.state, State::Away) else {
            return;
        };
        let inputs = std::mem::take(&mut connection.inputs);
        let is_much = inputs.iter().any(|input| input.is_much);
        let handshake = Handshake { leg: id, number: connection.number, dtls, inputs };
        // A first ClientHello is only answered with a cookie.
        let is_first = !std::mem::replace(&mut connection.has_begun, true);
        if is_first || end.is_up || !is_much {
            self.handle_handshake(now, handshake.run());
        } else {
            self.outputs.push_back(Output::Handshake(handshake));
        }
    }

    /// The host has worked on a connection.
    pub fn handle_handshake(&mut self, now: Instant, done: HandshakeDone) {
        let HandshakeDone { leg: id, number, dtls, steps } = done;
        let Some(end) = self.end_mut(id) else { return };
        // The connection may have been given up meanwhile, and another begun.
        let is_its = number.is_none_or(|number| number == end.connection.number);
        if !is_its || !matches!(end.connection.state, State::Away) {
            return;
        }
        let Some(dtls) = dtls else {
            self.dtls_over(id, Loss::DtlsFailed);
            return;
        };
        end.connection.state = State::Here(dtls);
        let mut over = None;
        // What it had to say goes out in any case: the peer learns of the end from it.
        for step in steps {
            if let Err(loss) = self.take_step(now, id, step) {
                over.get_or_insert(loss);
            }
        }
        match over {
            Some(loss) => self.dtls_over(id, loss),
            None => self.hand_out(now, id),
        }
    }

    fn take_step(&mut self, now: Instant, id: LegId, step: Step) -> Result<(), Loss> {
        let way = self.way_of(id);
        let Some(end) = self.end_mut(id) else { return Ok(()) };
        match step {
            Step::Send(bytes) => {
                if let Some((socket, destination)) = way {
                    self.outputs.push_back(Output::Transmit { socket, destination, bytes });
                }
            }
            Step::Certificate(certificate) => {
                end.connection.proof = verify(&certificate, &end.fingerprints);
                let is_right = end.connection.proof.is_some();
                let step = control::Step::Certificate { is_right };
                self.event(Event::Step { leg: id, step });
            }
            Step::Keys(material, profile) => {
                let proof = end.connection.proof.take().ok_or(Loss::WrongCertificate)?;
                let crypto = crypto(&proof, &material, profile, end.active);
                let crypto = crypto.ok_or(Loss::DtlsFailed)?;
                let step = control::Step::Keys { profile: name_of(profile) };
                self.event(Event::Step { leg: id, step });
                self.secured(now, id, crypto);
            }
            Step::Wait(at) => self.timers.set((id, Timer::Dtls), at.max(now)),
            Step::Malformed => self.counters.dropped_malformed += 1,
            Step::Closed => return Err(Loss::PeerClosed),
            Step::Failed => return Err(Loss::DtlsFailed),
        }
        Ok(())
    }

    /// A browser's end, or that of a leg without ICE.
    fn end_mut(&mut self, id: LegId) -> Option<&mut DtlsEnd> {
        let leg = self.legs.get_mut(&id)?;
        match (&mut leg.browser, &mut leg.dtls) {
            (Some(browser), _) => Some(&mut browser.end),
            (None, Some(peer)) => Some(&mut peer.end),
            (None, None) => None,
        }
    }

    /// Where records go.
    fn way_of(&self, id: LegId) -> Option<(SocketId, SocketAddr)> {
        match &self.legs.get(&id)?.browser {
            Some(browser) => browser.paths.nominated().map(|to| (to.socket, to.address)),
            None => self.dtls_way(id),
        }
    }

    fn secured(&mut self, now: Instant, id: LegId, crypto: Crypto) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.crypto = Some(crypto);
        if let Some(browser) = &mut leg.browser {
            browser.end.is_up = true;
            browser.paths.touch(now);
        } else if let Some(peer) = &mut leg.dtls {
            peer.end.is_up = true;
            // Who has the certificate is the phone.
            if let Some(source) = peer.source() {
                leg.phone.latch(source);
            }
        }
        if !std::mem::replace(&mut leg.is_connected, true) {
            self.event(Event::Connected { leg: id });
        }
        if self.legs.get(&id).is_some_and(|leg| leg.dtls.is_some()) {
            self.tell_source(id);
        }
        self.show_anew(now, id);
    }

    /// Nothing of this leg can be trusted from here on.
    fn dtls_over(&mut self, id: LegId, loss: Loss) {
        if self.bar_stranger(id) {
            self.counters.dtls_failed += 1;
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.crypto = None;
        if let Some(end) = self.end_mut(id) {
            end.connection = Connection::default();
            end.has_failed = true;
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

fn name_of(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => "AES128_CM_SHA1_80",
        SrtpProfile::AEAD_AES_128_GCM => "AEAD_AES_128_GCM",
        SrtpProfile::AEAD_AES_256_GCM => "AEAD_AES_256_GCM",
        _ => "unknown",
    }
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

/// Datagrams of a connection that wait while the host works on it; a flight has some five.
const MAX_INPUTS: usize = 16;

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

//! A phone that makes its keys by DTLS without ICE (RFC 5763), joined with a plain one, and
//! strangers who would be it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_media::control::{Command, Event, Loss, Profile, SdpKind, SrtpPolicy};
use crosspoint_media::srtp::{Context, MAX_OVERHEAD, Profile as Suite};
use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};
use sha2::{Digest, Sha256};

use crate::story::desk;
use crate::world::{BROWSER as SECURE, PHONE, STEP, Setup, World};

/// One end of DTLS with an address.
struct Peer {
    address: SocketAddr,
    certificate: DtlsCertificate,
    dtls: Dtls,
    is_active: bool,
    keys: Option<(Context, Context)>,
    heard: Vec<Vec<u8>>,
    /// Datagrams that it was sent.
    received: usize,
    seq: u16,
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, host], 6000))
}

/// Where the gateway takes what a description names.
fn told(description: &str) -> SocketAddr {
    let line = description.lines().find(|l| l.starts_with("m=audio ")).expect("a section");
    let port = line.split(' ').nth(1).and_then(|port| port.parse().ok()).expect("a port");
    SocketAddr::from(([192, 0, 2, 1], port))
}

impl Peer {
    fn new(world: &World, host: u8, is_active: bool) -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate().expect("one");
        let config = Arc::new(dimpl::Config::default());
        let mut dtls = Dtls::new_12(config, certificate.clone(), world.now);
        dtls.set_active(is_active);
        let (address, keys, heard) = (address(host), None, vec![]);
        Self { address, certificate, dtls, is_active, keys, heard, received: 0, seq: 0 }
    }

    fn description(&self, signalled: SocketAddr, setup: &str, rest: &str) -> String {
        let hash = Sha256::digest(&self.certificate.certificate);
        let hash: Vec<String> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        format!(
            "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n\
             m=audio {1} UDP/TLS/RTP/SAVP 0\r\na=fingerprint:sha-256 {2}\r\na=setup:{setup}\r\n{rest}",
            signalled.ip(),
            signalled.port(),
            hash.join(":")
        )
    }

    /// Lets time come to it; gives what it sends.
    fn tick(&mut self, world: &World) -> Vec<Vec<u8>> {
        let _ = self.dtls.handle_timeout(world.now);
        self.poll()
    }

    fn poll(&mut self) -> Vec<Vec<u8>> {
        let (mut buffer, mut sent) = ([0; 4096], vec![]);
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => sent.push(bytes.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    self.keys = Some(keys(&material, profile, self.is_active));
                }
                Output::Timeout(_) => return sent,
                _ => {}
            }
        }
    }

    fn hear(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.received += 1;
        if bytes[0] >= 128 {
            let mut packet = bytes.to_vec();
            let (inbound, _) = self.keys.as_mut().expect("sound before there were keys");
            if let Ok(len) = inbound.unprotect_rtp(&mut packet) {
                self.heard.push(packet[12..len].to_vec());
            }
            return vec![];
        }
        let _ = self.dtls.handle_timeout(now);
        let _ = self.dtls.handle_packet(bytes);
        self.poll()
    }

    /// A word under its keys.
    fn word(&mut self, payload: u8) -> Vec<u8> {
        self.seq += 1;
        let mut packet = word(self.seq, payload);
        let plain = packet.len();
        packet.resize(plain + MAX_OVERHEAD, 0);
        let (_, outbound) = self.keys.as_mut().expect("keys");
        let len = outbound.protect_rtp(&mut packet, plain).expect("room");
        packet.truncate(len);
        packet
    }
}

fn word(seq: u16, payload: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(9_u32.to_be_bytes());
    packet.extend([payload; 160]);
    packet
}

/// For what is heard and what is said (RFC 5764 §4.2).
fn keys(material: &[u8], profile: SrtpProfile, is_client: bool) -> (Context, Context) {
    let suite = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Suite::Aes128CmSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => Suite::AeadAes128Gcm,
        _ => Suite::AeadAes256Gcm,
    };
    let (key, salt) = (suite.key_len(), suite.salt_len());
    let client = (&material[..key], &material[2 * key..2 * key + salt]);
    let server = (&material[key..2 * key], &material[2 * key + salt..2 * (key + salt)]);
    let context = |(key, salt)| Context::new(suite, key, salt).expect("a suite of ours");
    let (local, remote) = if is_client { (client, server) } else { (server, client) };
    (context(remote), context(local))
}

/// A call of the secure phone to the plain one, described but not connected yet.
struct Call {
    world: World,
    peer: Peer,
    /// Where each of them sends to.
    port: SocketAddr,
    plain_port: SocketAddr,
    /// What the plain phone hears.
    heard: Vec<Vec<u8>>,
    /// Others, and what they were sent.
    strangers: Vec<Peer>,
}

impl Call {
    /// `setup` is what the secure phone offers; it is said to be at `signalled`.
    fn new(setup: &str, signalled: Option<SocketAddr>) -> Self {
        let mut world = World::new(Setup::default());
        let peer = Peer::new(&world, 20, setup != "passive");
        world.open(SECURE, Profile::Rtp(SrtpPolicy::Dtls));
        let signalled = signalled.unwrap_or(peer.address);
        world.accept(SECURE, SdpKind::Offer, &peer.description(signalled, setup, "a=rtcp-mux\r\n"));
        world.open(PHONE, Profile::Rtp(SrtpPolicy::Off));
        let plain_port = told(&world.describe(PHONE, SdpKind::Offer, Some(SECURE)));
        let (ip, port) = (desk().ip(), desk().port());
        let plain = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        );
        world.accept(PHONE, SdpKind::Answer, &plain);
        world.bridge();
        let answer = world.describe(SECURE, SdpKind::Answer, Some(PHONE));
        assert!(answer.contains("UDP/TLS/RTP/SAVP 0\r\n") && answer.contains("a=fingerprint:"));
        assert!(!answer.contains("a=ice-") && !answer.contains("a=candidate"), "{answer}");
        assert!(answer.contains("a=rtcp-mux\r\n"), "{answer}");
        let role = if setup == "passive" { "a=setup:active" } else { "a=setup:passive" };
        assert!(answer.contains(role), "{answer}");
        let port = told(&answer);
        let (heard, strangers) = (vec![], vec![]);
        Self { world, peer, port, plain_port, heard, strangers }
    }

    fn stranger(&mut self, host: u8) {
        let stranger = Peer::new(&self.world, host, true);
        self.strangers.push(stranger);
    }

    /// A step of everybody's; the phone itself says nothing while it `waits`.
    fn step(&mut self, waits: bool) {
        let world = &mut self.world;
        world.run(STEP);
        for datagram in std::mem::take(&mut world.strays) {
            let is_its = |peer: &&mut Peer| peer.address == datagram.to;
            let known = self.strangers.iter_mut().chain([&mut self.peer]).find(is_its);
            match known {
                Some(peer) => {
                    for bytes in peer.hear(world.now, &datagram.bytes) {
                        world.inject(peer.address, self.port, &bytes);
                    }
                }
                None if datagram.to == desk() && datagram.bytes[1] & 0x7f == 0 => {
                    self.heard.push(datagram.bytes[12..].to_vec());
                }
                // Reports to the plain phone.
                None => {}
            }
        }
        let peer = Some(&mut self.peer).filter(|_| !waits);
        for peer in self.strangers.iter_mut().chain(peer) {
            for bytes in peer.tick(world) {
                world.inject(peer.address, self.port, &bytes);
            }
        }
    }

    fn run(&mut self, time: Duration, waits: bool) {
        let until = self.world.now + time;
        while self.world.now < until {
            self.step(waits);
        }
    }

    /// Both hear each other, under the keys that were made.
    fn assert_talks(&mut self) {
        for n in 1..=10 {
            let word_of_peer = self.peer.word(n);
            self.world.inject(self.peer.address, self.port, &word_of_peer);
            self.world.inject(desk(), self.plain_port, &word(u16::from(n), 100 + n));
            self.run(Duration::from_millis(20), false);
        }
        self.run(Duration::from_millis(50), false);
        let said: Vec<_> = (1..=10).map(|n| vec![n; 160]).collect();
        assert_eq!(self.heard, said, "the plain phone hears what was said, in the clear");
        let said: Vec<_> = (101..=110).map(|n| vec![n; 160]).collect();
        assert_eq!(self.peer.heard, said);
    }

    fn losses(&self) -> Vec<Loss> {
        let lost = |(_, event): &(_, Event)| match event {
            Event::Lost { loss, .. } => Some(*loss),
            _ => None,
        };
        self.world.events.iter().filter_map(lost).collect()
    }

    fn close(mut self) {
        for leg in [SECURE, PHONE] {
            self.world.command(Command::Close { leg });
        }
        assert!(self.world.shard.is_empty());
    }
}

#[test]
fn keys_are_made_by_either_role_and_sound_passes_both_ways() {
    for setup in ["actpass", "active", "passive"] {
        let mut call = Call::new(setup, None);
        // Nothing passes before there are keys.
        call.world.inject(call.peer.address, call.port, &word(1, 1));
        call.world.inject(desk(), call.plain_port, &word(1, 1));
        call.run(Duration::from_millis(20), true);
        assert!(call.heard.is_empty() && call.peer.heard.is_empty(), "{setup}");
        call.run(Duration::from_secs(2), false);
        assert!(call.world.is_connected(SECURE) && call.peer.keys.is_some(), "{setup}");
        call.heard.clear();
        call.assert_talks();
        assert!(call.losses().is_empty());
        call.close();
    }
}

/// Class 3 of the attacks, without ICE: the address that signalling named is the only one.
#[test]
fn a_hello_from_where_signalling_names_nobody_is_not_answered() {
    let mut call = Call::new("actpass", None);
    call.stranger(66);
    call.run(Duration::from_secs(5), true);
    assert!(call.world.counters().dropped_unknown_source > 2, "it asks again and again");
    assert_eq!(call.strangers[0].received, 0, "not a byte goes there");
    call.run(Duration::from_secs(2), false);
    assert!(call.world.is_connected(SECURE));
    // And nothing of it counts afterwards.
    call.run(Duration::from_secs(10), false);
    call.assert_talks();
    assert!(call.losses().is_empty());
    call.close();
}

#[test]
fn a_certificate_that_was_not_named_opens_nothing() {
    let mut call = Call::new("actpass", None);
    // Somebody at the named address whose certificate is another.
    let certificate = Peer::new(&call.world, 20, true);
    call.peer = certificate;
    call.run(Duration::from_secs(3), false);
    assert!(!call.world.is_connected(SECURE));
    assert_eq!(call.losses(), [Loss::WrongCertificate]);
    let mut sound = word(1, 1);
    sound.resize(188, 0);
    call.world.inject(call.peer.address, call.port, &sound);
    call.run(Duration::from_millis(50), true);
    assert!(call.heard.is_empty());
    call.close();
}

/// Behind a NAT nobody knows the phone's address before it speaks: whoever begins has to show the
/// certificate, and a stranger who cannot is not heard again.
#[test]
fn a_phone_behind_a_nat_is_known_by_its_certificate_whoever_comes_first() {
    let private = SocketAddr::from(([10, 0, 0, 5], 5000));
    for strangers in [0, 1, 3] {
        let mut call = Call::new("actpass", Some(private));
        for host in 0..strangers {
            call.stranger(66 + host);
        }
        call.run(Duration::from_secs(2), true);
        let failed = call.world.counters().dtls_failed;
        assert_eq!(failed > 0, strangers > 0, "{failed} of {strangers}");
        call.run(Duration::from_secs(20), false);
        assert!(call.world.is_connected(SECURE), "{strangers} strangers");
        call.assert_talks();
        assert!(call.losses().is_empty(), "a stranger's failure is not the call's");
        // Keys count from that source alone: what was said may be sent again from elsewhere.
        let copy = call.peer.word(99);
        call.heard.clear();
        call.world.inject(address(70), call.port, &copy);
        call.run(Duration::from_millis(50), true);
        assert!(call.heard.is_empty());
        call.close();
    }
}

/// One that begins and then waits holds the way for some seconds only; the named address waits
/// for nobody.
#[test]
fn a_stranger_who_stalls_gives_way() {
    let private = SocketAddr::from(([10, 0, 0, 5], 5000));
    for is_direct in [false, true] {
        let mut call = Call::new("actpass", Some(private));
        let mut stranger = Peer::new(&call.world, 66, true);
        let hello = stranger.tick(&call.world);
        for bytes in &hello {
            call.world.inject(stranger.address, call.port, bytes);
        }
        if is_direct {
            // The phone is in our own network after all.
            call.peer.address = private;
        }
        let begun = call.world.now;
        while !call.world.is_connected(SECURE) {
            call.step(false);
            assert!(call.world.now < begun + Duration::from_secs(15), "it is held up");
        }
        let took = call.world.now - begun;
        assert_eq!(is_direct, took < Duration::from_secs(1), "{took:?}");
        // Its last flight is under way.
        call.run(Duration::from_millis(200), false);
        call.assert_talks();
        call.close();
    }
}

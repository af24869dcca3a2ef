//! A browser that changes its network starts ICE again: new names and passwords on both sides,
//! and the old ones are worth nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind};
use crosspoint_media::shard::{Output, Shard, ShardConfig, SocketId};
use crosspoint_sdp::{Media, Session};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds, Protocol};

const LEG: LegId = LegId(1);

struct World {
    now: Instant,
    shard: Shard,
    ours: SocketAddr,
    browser: IceAgent,
    address: SocketAddr,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    fn new() -> Self {
        let ours = SocketAddr::from(([192, 0, 2, 1], 4000));
        let config = ShardConfig {
            browser_addresses: vec![ours],
            browser_tcp_addresses: vec![],
            rtp_address: ours.ip(),
            rtp_bind: ours.ip(),
            rtp_ports: (10_000, 10_100),
            ice_lite: true,
            rtp_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(15),
            max_legs: 4,
            dtls: Arc::new(dimpl::Config::default()),
            certificate: dimpl::certificate::generate_self_signed_certificate()
                .expect("a certificate"),
        };
        let mut shard = Shard::new(config, Rng::from_u64(1));
        let now = Instant::now();
        shard.handle_command(now, Command::Open { leg: LEG, profile: Profile::WebRtc });
        let creds = IceCreds { ufrag: "first".to_owned(), pass: "p".repeat(24) };
        let mut browser = IceAgent::new(creds);
        browser.set_controlling(true);
        let address = SocketAddr::from(([192, 0, 2, 9], 6000));
        browser.add_local_candidate(host(address));
        Self { now, shard, ours, browser, address }
    }

    /// Offers with the browser's present credentials and gives it the answer.
    fn exchange(&mut self, version: u32) -> Media {
        let IceCreds { ufrag, pass } = self.browser.local_credentials().clone();
        let offer = format!(
            "v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\n\
             a=rtpmap:111 opus/48000/2\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pass}\r\n\
             a=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n"
        );
        let description = Session::parse(offer.as_bytes()).expect("a description");
        let offer = Command::Accept { leg: LEG, kind: SdpKind::Offer, description };
        self.shard.handle_command(self.now, offer);
        let answer = Command::Describe { leg: LEG, kind: SdpKind::Answer, peer: None };
        self.shard.handle_command(self.now, answer);
        let mut answer = None;
        loop {
            match self.shard.poll_output() {
                Output::Event(Event::Described { description, .. }) => answer = Some(description),
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        let audio = answer.and_then(|answer| answer.media().next()).expect("an answer");
        let ufrag = audio.ice_ufrag.clone().expect("a name");
        let pass = audio.ice_pwd.clone().expect("a password");
        self.browser.set_remote_credentials(IceCreds { ufrag, pass });
        self.browser.add_remote_candidate(host(self.ours));
        audio
    }

    /// Lets checks run for a while.
    fn run(&mut self) {
        for _ in 0..100 {
            self.now += Duration::from_millis(20);
            self.browser.handle_timeout(self.now);
            self.shard.handle_timeout(self.now);
            while let Some(transmit) = self.browser.poll_transmit() {
                let mut buffer: Vec<u8> = transmit.contents.into();
                let len = buffer.len();
                buffer.resize(2048, 0);
                let socket = SocketId::BROWSER;
                self.shard.handle_datagram(self.now, socket, self.address, &mut buffer, len);
            }
            loop {
                match self.shard.poll_output() {
                    Output::Transmit { bytes, .. } => self.deliver(&bytes),
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
        }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        // DTLS and RTP are not this test's matter.
        let Ok(message) = StunMessage::parse(bytes) else { return };
        let (source, destination) = (self.ours, self.address);
        let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
        self.browser.handle_packet(self.now, packet);
    }
}

fn host(address: SocketAddr) -> Candidate {
    Candidate::host(address, "udp").expect("an address that may be a candidate")
}

#[test]
fn a_restart_leads_to_a_new_connection_with_new_credentials() {
    let mut world = World::new();
    let first = world.exchange(1);
    world.run();
    assert!(world.browser.state().is_connected());

    let creds = IceCreds { ufrag: "second".to_owned(), pass: "q".repeat(24) };
    world.browser.ice_restart(creds, true);
    let second = world.exchange(2);
    assert_ne!((&first.ice_ufrag, &first.ice_pwd), (&second.ice_ufrag, &second.ice_pwd));
    assert_eq!(first.setup, second.setup);
    assert!(!world.browser.state().is_connected());
    world.run();
    assert!(world.browser.state().is_connected());

    world.shard.handle_command(world.now, Command::Close { leg: LEG });
    assert!(world.shard.is_empty(), "no name is left behind");
}

#[test]
fn the_old_credentials_are_refused_after_a_restart() {
    let mut world = World::new();
    let first = world.exchange(1);
    let second = IceCreds { ufrag: "second".to_owned(), pass: "q".repeat(24) };
    world.browser.ice_restart(second, true);
    world.exchange(2);
    let stale = IceCreds { ufrag: first.ice_ufrag.unwrap(), pass: first.ice_pwd.unwrap() };
    world.browser.set_remote_credentials(stale);
    world.run();
    assert!(!world.browser.state().is_connected());
    assert!(world.shard.counters().stun_refused > 0);
}

//! A shard with many calls: set up in full, then fed with packets.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{self, Command, Event, SdpKind, SrtpPolicy};
use crosspoint_media::shard::{BATCH, Forward, Frame, Output, Shard, ShardConfig, SocketId};
use crosspoint_media::srtp::{Context, Profile};
use crosspoint_sdp::Session;

use super::allocator::live;
use super::limit::{now, quiet};
use super::peers::{Browser, Flow, SLOT, context, phone};

/// What the first leg of each call is; the second is a phone with plain RTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gcm,
    Sdes,
    SdesGcm,
    Rtp,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Gcm, Self::Sdes, Self::SdesGcm, Self::Rtp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gcm => "webrtc-gcm256",
            Self::Sdes => "sdes-cm-sha1",
            Self::SdesGcm => "sdes-gcm128",
            Self::Rtp => "rtp",
        }
    }

    pub(crate) fn profile(self) -> Option<Profile> {
        match self {
            Self::Gcm => Some(Profile::AeadAes256Gcm),
            Self::Sdes => Some(Profile::Aes128CmSha1_80),
            Self::SdesGcm => Some(Profile::AeadAes128Gcm),
            Self::Rtp => None,
        }
    }
}

/// One who sends to the shard.
struct Party {
    socket: SocketId,
    address: SocketAddr,
    flow: Flow,
    crypto: Option<Context>,
}

pub(crate) struct World {
    shard: Shard,
    config: ShardConfig,
    now: Instant,
    calls: usize,
    bound: BTreeMap<u64, SocketId>,
    told: VecDeque<Event>,
    sent: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Time that the shard spent on handshakes.
    pub(crate) in_dtls: Duration,
    parties: Vec<Party>,
}

pub(crate) struct Figures {
    /// Nanoseconds a packet.
    pub(crate) packet: f64,
    /// Nanoseconds a call and second.
    pub(crate) timers: f64,
}

fn ours() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

fn party(number: usize) -> SocketAddr {
    let number = u32::try_from(number).expect("fewer parties than addresses");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + number)), 40_000)
}

impl World {
    pub(crate) fn new() -> Self {
        let certificate =
            dimpl::certificate::generate_self_signed_certificate().expect("a certificate");
        let config = ShardConfig {
            browser_addresses: vec![ours()],
            browser_tcp_addresses: vec![],
            rtp_address: ours().ip(),
            rtp_bind: ours().ip(),
            rtp_ports: (10_000, 60_000),
            ice_lite: true,
            rtp_timeout: Duration::from_secs(3600),
            consent_timeout: Duration::from_secs(3600),
            max_legs: 40_000,
            dtls: Arc::new(crosspoint_media::dtls::config().expect("a configuration")),
            certificate,
        };
        Self {
            shard: Shard::new(config.clone(), Rng::from_u64(1)),
            config,
            now: now(),
            calls: 0,
            bound: BTreeMap::new(),
            told: VecDeque::new(),
            sent: VecDeque::new(),
            in_dtls: Duration::ZERO,
            parties: vec![],
        }
    }

    /// Sets up calls; gives the bytes that the shard keeps for each.
    pub(crate) fn set_up(&mut self, kind: Kind, calls: usize) -> usize {
        let mut made: Vec<(SocketId, SocketAddr, [u8; 64])> = Vec::with_capacity(2 * calls);
        let before = live();
        for _ in 0..calls {
            let number = self.calls;
            self.calls += 1;
            let (front, back) = (LegId(2 * number as u64 + 1), LegId(2 * number as u64 + 2));
            let (a, b) = (party(2 * number), party(2 * number + 1));
            let mut key = [number as u8; 64];
            match kind {
                Kind::Gcm => {
                    let offer = Browser::offer(&self.config.certificate);
                    let answer = self.call((front, back), control::Profile::WebRtc, &offer, b);
                    key[..44].copy_from_slice(&self.connect(a, &answer));
                }
                _ => {
                    let profile = kind.profile();
                    let policy = profile.map_or(SrtpPolicy::Off, |_| SrtpPolicy::Required);
                    let len = profile.map_or(0, |p| p.key_len() + p.salt_len());
                    let offer = phone(a, profile.map(|p| (p, &key[..len])));
                    self.call((front, back), control::Profile::Rtp(policy), &offer, b);
                }
            }
            let of_front = self.bound.remove(&front.0).unwrap_or(SocketId::BROWSER);
            let of_back = self.bound.remove(&back.0).expect("a bound socket");
            made.push((of_front, a, key));
            made.push((of_back, b, key));
        }
        let bytes = (live() - before) / calls;
        for (index, (socket, address, key)) in made.into_iter().enumerate() {
            let crypto = kind
                .profile()
                .filter(|_| index % 2 == 0)
                .map(|profile| context(profile, &key[..profile.key_len() + profile.salt_len()]));
            let flow = Flow::new(self.parties.len());
            self.parties.push(Party { socket, address, flow, crypto });
        }
        bytes
    }

    /// Front offers, back answers, and they are joined; gives our answer to the front.
    fn call(
        &mut self,
        (front, back): (LegId, LegId),
        profile: control::Profile,
        offer: &str,
        phone_at: SocketAddr,
    ) -> String {
        let parse = |text: &str| Session::parse(text.as_bytes()).expect("a description");
        self.command(Command::Open { leg: front, profile });
        let description = parse(offer);
        self.command(Command::Accept { leg: front, kind: SdpKind::Offer, description });
        let profile = control::Profile::Rtp(SrtpPolicy::Off);
        self.command(Command::Open { leg: back, profile });
        self.command(Command::Describe { leg: back, kind: SdpKind::Offer, peer: Some(front) });
        let description = parse(&phone(phone_at, None));
        self.command(Command::Accept { leg: back, kind: SdpKind::Answer, description });
        self.command(Command::Bridge { a: front, b: back });
        self.told.clear();
        self.command(Command::Describe { leg: front, kind: SdpKind::Answer, peer: Some(back) });
        let answer = self.told.drain(..).find_map(|event| match event {
            Event::Described { description, .. } => Some(description.to_string()),
            _ => None,
        });
        answer.expect("a description")
    }

    /// ICE and DTLS of a browser; gives the key that it sends with.
    fn connect(&mut self, address: SocketAddr, answer: &str) -> Vec<u8> {
        let value = |name: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix(name));
            line.expect("an attribute of ICE").to_owned()
        };
        let check = Browser::check(&value("a=ice-ufrag:"), &value("a=ice-pwd:"));
        let (dtls, certificate) = (&self.config.dtls, &self.config.certificate);
        let mut browser = Browser::new(self.now, address, dtls, certificate);
        self.datagram(address, &check);
        self.sent.clear();
        browser.begin(self.now);
        loop {
            for packet in browser.sent() {
                let began = now();
                self.datagram(browser.address, &packet);
                self.in_dtls += began.elapsed();
            }
            if let Some(key) = browser.key() {
                return key;
            }
            assert!(!self.sent.is_empty(), "the handshake stands still");
            for (_, packet) in std::mem::take(&mut self.sent) {
                browser.take(&packet);
            }
        }
    }

    fn datagram(&mut self, source: SocketAddr, bytes: &[u8]) {
        let mut buffer = [0; 2304];
        buffer[..bytes.len()].copy_from_slice(bytes);
        let (socket, len) = (SocketId::BROWSER, bytes.len());
        self.shard.handle_datagram(self.now, socket, source, &mut buffer, len);
        self.drain();
    }

    fn command(&mut self, command: Command) {
        let of = match &command {
            Command::Describe { leg, .. } => Some(leg.0),
            _ => None,
        };
        self.shard.handle_command(self.now, command);
        self.drain_for(of);
    }

    fn drain(&mut self) {
        self.drain_for(None);
    }

    fn drain_for(&mut self, leg: Option<u64>) {
        loop {
            match self.shard.poll_output() {
                Output::Transmit { destination, bytes, .. } => {
                    self.sent.push_back((destination, bytes));
                }
                Output::Bind { socket, .. } => {
                    self.bound.extend(leg.map(|leg| (leg, socket)));
                    self.shard.handle_bound(self.now, socket, true);
                }
                Output::Handshake(work) => self.shard.handle_handshake(self.now, work.run()),
                Output::Event(event) => self.told.push_back(event),
                Output::Timeout(_) => return,
                Output::Unbind { .. } | Output::Connect { .. } | Output::TimeBrowsers => {}
            }
        }
    }

    /// Every party sends a packet every 20 ms, so many times.
    pub(crate) fn relay(&mut self, rounds: usize) -> Figures {
        let count = self.parties.len();
        let mut packets = vec![([0_u8; SLOT], 0); count];
        let mut buffers = vec![[0_u8; 2304]; BATCH];
        let mut times = vec![];
        let mut timers = Duration::ZERO;
        let mut forwards = Vec::with_capacity(BATCH);
        // The first packets latch addresses and begin streams.
        for round in 0..rounds + 4 {
            self.now += Duration::from_millis(20);
            let began = now();
            self.shard.handle_timeout(self.now);
            self.drain();
            timers += began.elapsed();
            self.sent.clear();
            self.told.clear();
            for (party, (bytes, len)) in self.parties.iter_mut().zip(&mut packets) {
                *len = party.flow.next(bytes);
                if let Some(crypto) = &mut party.crypto {
                    *len = crypto.protect_rtp(bytes, *len).expect("room");
                }
            }
            let time = self.round(&packets, &mut buffers, &mut forwards);
            if round >= 4 {
                times.push(time);
            }
        }
        let forwarded = self.shard.counters().packets_forwarded;
        assert_eq!(forwarded, (count * (rounds + 4)) as u64, "{:?}", self.shard.counters());
        let seconds = (rounds + 4) as f64 / 50.0 * count as f64 / 2.0;
        Figures { packet: quiet(times, count), timers: timers.as_secs_f64() * 1e9 / seconds }
    }

    fn round(
        &mut self,
        packets: &[([u8; SLOT], usize)],
        buffers: &mut [[u8; 2304]],
        forwards: &mut Vec<Forward>,
    ) -> Duration {
        let mut time = Duration::ZERO;
        for (parties, packets) in self.parties.chunks(BATCH).zip(packets.chunks(BATCH)) {
            let mut frames = std::array::from_fn::<_, BATCH, _>(|_| Frame::empty());
            let parts = parties.iter().zip(packets).zip(buffers.iter_mut());
            for (frame, ((party, (bytes, len)), buffer)) in frames.iter_mut().zip(parts) {
                buffer[..SLOT].copy_from_slice(bytes);
                let (socket, source) = (party.socket, party.address);
                *frame = Frame { socket, source, buffer, len: *len, waited: Duration::ZERO };
            }
            forwards.clear();
            let began = now();
            self.shard.handle_batch(self.now, &mut frames[..packets.len()], forwards);
            time += began.elapsed();
        }
        time
    }
}

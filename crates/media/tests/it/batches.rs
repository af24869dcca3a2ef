//! A batch does what its packets would do one after the other, whatever they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_media::rtcp::{SenderInfo, write_report};
use crosspoint_media::shard::{Frame, Output, Shard, ShardConfig, SocketId};
use crosspoint_media::srtp;
use crosspoint_sdp::Session;

use crate::phone::{Keys, Phone, rtp};
use crate::world::ours;

/// Legs in pairs that hear each other, each with its keys or none.
const PROFILES: [Option<srtp::Profile>; 12] = [
    Some(srtp::Profile::Aes128CmSha1_80),
    None,
    Some(srtp::Profile::AeadAes128Gcm),
    None,
    Some(srtp::Profile::Aes128CmSha1_80),
    Some(srtp::Profile::AeadAes256Gcm),
    Some(srtp::Profile::Aes128CmSha1_32),
    Some(srtp::Profile::Aes128CmSha1_80),
    None,
    None,
    Some(srtp::Profile::Aes128CmSha1_80),
    Some(srtp::Profile::Aes128CmSha1_80),
];

struct Bench {
    shard: Shard,
    sockets: Vec<SocketId>,
    /// What was forwarded, in order.
    forwarded: Vec<(SocketId, SocketAddr, Vec<u8>)>,
    /// Whatever else was done or told.
    done: Vec<String>,
}

#[derive(Clone)]
struct Datagram {
    socket: SocketId,
    source: SocketAddr,
    bytes: Vec<u8>,
}

struct Speaker {
    phone: Phone,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    /// Sent already, to be sent again.
    before: Vec<u8>,
}

impl Bench {
    fn new(config: &ShardConfig, now: Instant, speakers: &mut [Speaker]) -> Self {
        let shard = Shard::new(config.clone(), Rng::from_u64(5));
        let mut bench = Self { shard, sockets: vec![], forwarded: vec![], done: vec![] };
        for (n, speaker) in speakers.iter_mut().enumerate() {
            let leg = LegId(n as u64 + 1);
            let policy =
                if speaker.phone.keys.is_some() { SrtpPolicy::Required } else { SrtpPolicy::Off };
            let description =
                Session::parse(speaker.phone.offer().as_bytes()).expect("a description");
            for command in [
                Command::Open { leg, profile: Profile::Rtp(policy) },
                Command::Accept { leg, kind: SdpKind::Offer, description },
                Command::Describe { leg, kind: SdpKind::Answer, peer: None },
            ] {
                bench.shard.handle_command(now, command);
            }
            bench.drain(now);
            if n % 2 == 1 {
                let bridge = Command::Bridge { a: leg, b: LegId(n as u64) };
                bench.shard.handle_command(now, bridge);
            }
        }
        bench.drain(now);
        bench
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.shard.poll_output() {
                Output::Bind { socket, .. } => {
                    self.sockets.push(socket);
                    self.shard.handle_bound(now, socket, true);
                }
                Output::Transmit { socket, destination, bytes } => {
                    self.done.push(format!("{socket:?} {destination} {bytes:?}"));
                }
                Output::Event(Event::Described { .. }) => {}
                Output::Timeout(_) => return,
                output => self.done.push(format!("{output:?}")),
            }
        }
    }

    fn take(&mut self, now: Instant, datagrams: &[Datagram]) {
        let mut buffers: Vec<Vec<u8>> = datagrams
            .iter()
            .map(|d| [d.bytes.as_slice(), &[0xee; srtp::MAX_OVERHEAD]].concat())
            .collect();
        let mut out = vec![];
        let mut frames: Vec<Frame<'_>> = datagrams
            .iter()
            .zip(&mut buffers)
            .map(|(d, buffer)| Frame {
                socket: d.socket,
                source: d.source,
                buffer,
                len: d.bytes.len(),
                waited: Duration::ZERO,
            })
            .collect();
        self.shard.handle_batch(now, &mut frames, &mut out);
        for forward in out {
            let bytes = buffers[forward.frame][..forward.len].to_vec();
            self.forwarded.push((forward.socket, forward.destination, bytes));
        }
        self.drain(now);
    }
}

impl Speaker {
    fn new(n: usize) -> Self {
        let mut phone = Phone::new(SocketAddr::from(([198, 51, 100, 1 + n as u8], 7000)));
        phone.keys = PROFILES[n].map(Keys::new);
        // Close to where the count begins anew.
        Self { phone, ssrc: 100 + n as u32, seq: 65_400, timestamp: 0, before: vec![] }
    }

    /// Whatever a network, a peer or a stranger may send next.
    fn next(&mut self, rng: &mut Rng, socket: SocketId) -> Datagram {
        let source = self.phone.address;
        let kind = rng.below(40);
        self.seq = self.seq.wrapping_add(if kind == 0 { 5000 } else { 1 + (kind == 1) as u16 });
        self.timestamp = self.timestamp.wrapping_add(160);
        if kind == 2 && rng.below(8) == 0 {
            self.ssrc += 1000;
        }
        let mut payload = vec![0; 1 + rng.below(if kind < 20 { 160 } else { 300 }) as usize];
        rng.fill(&mut payload);
        let mut plain = rtp(self.seq, self.timestamp, self.ssrc, &payload);
        match kind {
            3 => {
                plain[1] = 101;
                plain.truncate(12);
                plain.extend([5, if rng.below(2) == 0 { 0x8a } else { 10 }, 0, 160]);
            }
            4 => plain[1] = 77,
            _ => {}
        }
        let sealed = |keys: &mut Option<Keys>, plain: &[u8]| {
            keys.as_mut().map_or(plain.to_vec(), |keys| keys.seal(plain))
        };
        let mut bytes = sealed(&mut self.phone.keys, &plain);
        match kind {
            5 => std::mem::swap(&mut self.before, &mut bytes),
            6 => bytes = self.before.clone(),
            7 => {
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
            }
            8 => bytes.truncate(rng.below(20) as usize),
            9 => return Datagram { socket, source: desk(9), bytes },
            10 => return Datagram { socket: SocketId::BROWSER, source, bytes },
            11 => {
                let info = SenderInfo { ntp: 9 << 32, rtp_timestamp: 1, packets: 1, bytes: 1 };
                let mut bytes = vec![];
                write_report(&mut bytes, self.ssrc, "phone", Some(&info), None);
                return Datagram { socket: socket.rtcp(), source: beside(source), bytes };
            }
            12 => rng.fill(&mut bytes),
            _ => {}
        }
        if rng.below(8) == 0 {
            self.before.clone_from(&bytes);
        }
        Datagram { socket, source, bytes }
    }
}

fn desk(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, n], 7000))
}

fn beside(source: SocketAddr) -> SocketAddr {
    SocketAddr::new(source.ip(), source.port() + 1)
}

fn config(max_legs: usize) -> ShardConfig {
    ShardConfig {
        browser_addresses: vec![ours()],
        browser_tcp_addresses: vec![],
        rtp_address: ours().ip(),
        rtp_bind: ours().ip(),
        rtp_ports: (10_000, 10_999),
        ice_lite: true,
        rtp_timeout: Duration::from_secs(30),
        consent_timeout: Duration::from_secs(15),
        max_legs,
        dtls: Arc::new(dimpl::Config::default()),
        certificate: dimpl::certificate::generate_self_signed_certificate().expect("a certificate"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
#[test]
fn a_batch_does_what_its_packets_do_one_after_the_other() {
    let mut now = Instant::now();
    let config = config(50);
    let mut speakers: Vec<Speaker> = (0..PROFILES.len()).map(Speaker::new).collect();
    let mut alone = Bench::new(&config, now, &mut speakers);
    let mut together = Bench::new(&config, now, &mut speakers);
    let mut rng = Rng::from_u64(12);
    for _ in 0..600 {
        now += Duration::from_millis(20);
        for bench in [&mut alone, &mut together] {
            bench.shard.handle_timeout(now);
            bench.drain(now);
        }
        let count = rng.below(80);
        let datagrams: Vec<Datagram> = (0..count)
            .map(|_| {
                let n = rng.below(speakers.len() as u32) as usize;
                speakers[n].next(&mut rng, alone.sockets[n])
            })
            .collect();
        for datagram in &datagrams {
            alone.take(now, std::slice::from_ref(datagram));
        }
        let mut rest = datagrams.as_slice();
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(1 + rng.below(rest.len() as u32) as usize);
            together.take(now, batch);
            rest = behind;
        }
        assert_eq!(alone.forwarded, together.forwarded);
        assert_eq!(alone.done, together.done);
        assert_eq!(alone.shard.counters(), together.shard.counters());
        for bench in [&mut alone, &mut together] {
            bench.forwarded.clear();
            bench.done.clear();
        }
    }
    let counters = together.shard.counters();
    assert!(counters.packets_forwarded > 10_000, "{counters:?}");
    let reasons = [
        counters.dropped_bad_tag,
        counters.dropped_replayed,
        counters.dropped_malformed,
        counters.dropped_unknown_source,
        counters.dropped_out_of_order,
        counters.dropped_payload_type,
    ];
    assert!(reasons.iter().all(|count| *count > 20), "{counters:?}");
}

/// Each leg is looked at once a second. Those whose second is over at the same time are not all looked at
/// before the next packets are taken.
#[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
#[test]
fn what_is_due_at_once_is_done_in_turns() {
    let start = Instant::now();
    let config = config(200);
    let mut bench = Bench::new(&config, start, &mut []);
    let offer = Speaker::new(1).phone.offer();
    let description = Session::parse(offer.as_bytes()).expect("a description");
    for leg in (1..=100).map(LegId) {
        for command in [
            Command::Open { leg, profile: Profile::Rtp(SrtpPolicy::Off) },
            Command::Accept { leg, kind: SdpKind::Offer, description: description.clone() },
            Command::Describe { leg, kind: SdpKind::Answer, peer: None },
        ] {
            bench.shard.handle_command(start, command);
        }
        bench.drain(start);
    }
    let now = start + Duration::from_secs(1);
    let mut turns = 0;
    loop {
        bench.shard.handle_timeout(now);
        bench.drain(now);
        turns += 1;
        let Output::Timeout(next) = bench.shard.poll_output() else { panic!("it was drained") };
        if next.is_none_or(|next| next > now) {
            break;
        }
        assert!(turns < 100, "it comes to an end");
    }
    assert!(turns > 5, "in {turns} turns");
}

//! Every leg of one media thread, as one machine (architecture: shards that never share).
//!
//! Browser media of all legs arrives on one socket and is told apart by the ICE username
//! fragment, then by the validated address. Phone media has a socket pair per leg. The relay
//! path changes a packet in the buffer it came in and allocates nothing.

mod browser;
mod leg;
mod packets;
mod paths;
mod phone;
mod quality;
mod reports;
mod sound;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng, TimerTable};
use is::stun::TransId;

use crate::control::{Command, Event, Refusal};
use leg::Leg;
pub use quality::{Histogram, LOSS, LegCounters, MOS, SECONDS, Scale};

/// A UDP socket, as the shard and its host name it. Zero is the browser socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

impl SocketId {
    pub const BROWSER: Self = Self(0);

    /// The RTCP socket beside an RTP socket.
    #[must_use]
    pub fn rtcp(self) -> Self {
        Self(self.0 | 1)
    }

    fn is_rtcp(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What a shard is made with.
#[derive(Clone)]
pub struct ShardConfig {
    /// Where browsers reach us: the advertised addresses of the browser socket.
    pub browser_addresses: Vec<SocketAddr>,
    /// Put into descriptions for phones.
    pub rtp_address: IpAddr,
    /// Bound for phones' media.
    pub rtp_bind: IpAddr,
    /// Even ports from the first to the last are given to legs.
    pub rtp_ports: (u16, u16),
    pub ice_lite: bool,
    /// A phone that sends nothing for this long is gone.
    pub rtp_timeout: Duration,
    /// A browser whose ICE checks stop for this long is gone (RFC 7675).
    pub consent_timeout: Duration,
    pub max_legs: usize,
    pub dtls: Arc<dimpl::Config>,
    pub certificate: dimpl::DtlsCertificate,
}

impl std::fmt::Debug for ShardConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardConfig").field("rtp_ports", &self.rtp_ports).finish_non_exhaustive()
    }
}

/// What the shard wants done, besides forwarding the packet at hand.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "descriptions are what most events carry")]
pub enum Output {
    Transmit {
        socket: SocketId,
        destination: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Bind this address to `socket` and the next port to `socket.rtcp()`; then call
    /// [`Shard::handle_bound`].
    Bind {
        socket: SocketId,
        address: SocketAddr,
    },
    Unbind {
        socket: SocketId,
    },
    Event(Event),
    Timeout(Option<Instant>),
}

/// Where the packet in the buffer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    pub socket: SocketId,
    pub destination: SocketAddr,
    pub len: usize,
}

/// What a shard has counted since its start. `dropped_*` name the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub packets_received: u64,
    pub packets_forwarded: u64,
    pub packets_transcoded: u64,
    pub dropped_unknown_source: u64,
    pub dropped_bad_tag: u64,
    pub dropped_replayed: u64,
    pub dropped_malformed: u64,
    /// Came twice, or too late or early to be passed on under a number of its own.
    pub dropped_out_of_order: u64,
    pub dropped_not_ready: u64,
    pub dropped_payload_type: u64,
    pub stun_refused: u64,
    pub dtls_before_ice: u64,
    pub dtls_failed: u64,
    pub candidates_ignored: u64,
    /// By kind of leg: browsers', and plain RTP.
    pub webrtc: LegCounters,
    pub rtp: LegCounters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Ice,
    Dtls,
    /// Every 20 ms, while this leg is sent sound that we make or translate.
    Frame,
    Report,
    /// Is media still coming?
    Watch,
}

/// See the module.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    rng: Rng,
    fingerprint: Vec<u8>,
    legs: BTreeMap<LegId, Leg>,
    by_ufrag: BTreeMap<String, LegId>,
    by_browser: BTreeMap<SocketAddr, LegId>,
    /// Checks of ours, while they may be answered.
    by_check: BTreeMap<TransId, LegId>,
    by_socket: BTreeMap<SocketId, LegId>,
    timers: TimerTable<(LegId, Timer)>,
    outputs: VecDeque<Output>,
    next_socket: u64,
    next_port: u16,
    counters: Counters,
    /// What the wall clock of RTCP counts from.
    started: Option<Instant>,
}

impl Shard {
    #[must_use]
    pub fn new(config: ShardConfig, rng: Rng) -> Self {
        let fingerprint = browser::fingerprint(&config.certificate.certificate);
        Self {
            next_port: config.rtp_ports.0.next_multiple_of(2),
            config,
            rng,
            fingerprint,
            legs: BTreeMap::new(),
            by_ufrag: BTreeMap::new(),
            by_browser: BTreeMap::new(),
            by_check: BTreeMap::new(),
            by_socket: BTreeMap::new(),
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            next_socket: 0,
            counters: Counters::default(),
            started: None,
        }
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// How many things are kept, in all tables and of all legs. No flood may raise it beyond
    /// what the bounds of each leg allow.
    #[must_use]
    pub fn held(&self) -> usize {
        let names = self.by_ufrag.len() + self.by_browser.len() + self.by_check.len();
        let tables = names + self.by_socket.len();
        let legs: usize = self.legs.values().map(Leg::held).sum();
        tables + legs + self.timers.len() + self.outputs.len()
    }

    /// True when nothing is left of any leg: no socket, timer or table entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.legs.is_empty()
            && self.by_ufrag.is_empty()
            && self.by_browser.is_empty()
            && self.by_check.is_empty()
            && self.by_socket.is_empty()
            && self.timers.is_empty()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.started.get_or_insert(now);
        match command {
            Command::Open { leg, profile } => self.open(leg, profile),
            Command::Describe { leg, .. } | Command::Accept { leg, .. } => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.waiting.push_back(command);
                    self.work_off(now, leg);
                } else {
                    self.event(Event::Refused { leg, refusal: Refusal::WrongState });
                }
            }
            Command::Rollback { leg } => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.negotiator.rollback();
                }
            }
            Command::RestartIce { leg } => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.negotiator.restart_ice();
                }
            }
            Command::Candidate { leg, candidate } => self.add_candidate(now, leg, &candidate),
            Command::EndOfCandidates { .. } => {}
            Command::Answered { leg } => self.answered(now, leg),
            Command::Bridge { a, b } => self.bridge(now, a, b),
            Command::Play { leg, playback } => self.play(now, leg, playback),
            Command::SendDtmf { leg, digit, duration } => {
                self.send_digit(now, leg, digit, duration);
            }
            Command::Close { leg } => self.close(now, leg),
        }
    }

    /// The host tells whether a pair of sockets could be bound.
    pub fn handle_bound(&mut self, now: Instant, socket: SocketId, bound: bool) {
        let Some(leg) = self.by_socket.get(&socket).copied() else { return };
        if bound {
            if let Some(state) = self.legs.get_mut(&leg) {
                state.is_bound = true;
            }
            self.work_off(now, leg);
            return;
        }
        let Some(state) = self.legs.get_mut(&leg) else { return };
        state.bind_tries += 1;
        if state.bind_tries < MAX_BIND_TRIES {
            self.bind(leg, socket);
        } else {
            state.is_exhausted = true;
            self.work_off(now, leg);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((leg, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Ice => self.ice_timeout(now, leg),
                Timer::Dtls => self.dtls_timeout(now, leg),
                Timer::Frame => self.frame_due(now, leg),
                Timer::Report => self.report_due(now, leg),
                Timer::Watch => self.watch_due(now, leg),
            }
        }
    }

    /// Takes one datagram, `buffer[..len]`; the buffer has room for SRTP behind it. What comes
    /// back is sent from the same buffer.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        self.counters.packets_received += 1;
        if len == 0 || len > buffer.len() {
            return None;
        }
        if socket != SocketId::BROWSER {
            let leg = self.by_socket.get(&SocketId(socket.0 & !1)).copied()?;
            return self.phone_packet(now, leg, socket.is_rtcp(), source, buffer, len);
        }
        // RFC 7983: the first byte tells the protocol.
        match buffer[0] {
            0..=3 => {
                self.stun(now, source, &buffer[..len]);
                None
            }
            20..=63 => {
                self.dtls(now, source, &buffer[..len]);
                None
            }
            128..=191 => {
                let Some(leg) = self.by_browser.get(&source).copied() else {
                    self.counters.dropped_unknown_source += 1;
                    return None;
                };
                self.packet(now, leg, buffer, len)
            }
            _ => {
                self.counters.dropped_malformed += 1;
                None
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn close(&mut self, now: Instant, id: LegId) {
        self.last_sample(now, id);
        self.send_bye(now, id);
        let Some(leg) = self.legs.remove(&id) else {
            // Refused for want of room: it carried nothing.
            self.event(Event::Closed { leg: id, stats: crate::control::LegStats::default() });
            return;
        };
        self.by_ufrag.retain(|_, l| *l != id);
        self.by_browser.retain(|_, l| *l != id);
        for check in leg.browser.iter().flat_map(|browser| browser.paths.all_asked()) {
            self.by_check.remove(check);
        }
        if let Some(socket) = leg.socket {
            self.by_socket.remove(&socket);
            self.outputs.push_back(Output::Unbind { socket });
        }
        for timer in [Timer::Ice, Timer::Dtls, Timer::Frame, Timer::Report, Timer::Watch] {
            self.timers.cancel(&(id, timer));
        }
        for other in self.legs.values_mut() {
            if other.peer == Some(id) {
                other.peer = None;
                other.feed = None;
            }
        }
        self.event(Event::Closed { leg: id, stats: leg.stats() });
    }
}

const MAX_BIND_TRIES: u32 = 200;

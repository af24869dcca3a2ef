//! Every leg of one media thread, as one machine (architecture: shards that never share).
//!
//! Browser media of all legs arrives on one socket and is told apart by the ICE username
//! fragment, then by the validated address. Phone media has a socket pair per leg. The relay
//! path changes a packet in the buffer it came in and allocates nothing.

mod browser;
mod dtls_alone;
mod fast;
mod handshake;
mod leg;
mod legs;
mod links;
mod listeners;
mod overlay;
mod packets;
mod paths;
mod phone;
mod plain_records;
mod proxy;
mod quality;
mod raw;
mod reports;
mod sound;
mod table;
mod taps;
mod video;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, Rng, TimerTable};
use is::stun::TransId;

use crate::control::{Command, Event, Refusal};
use crate::negotiation::{self, Negotiator};
pub use browser::shard_of;
use fast::{Passing, Tagless};
pub use handshake::{Handshake, HandshakeDone};
use leg::Leg;
use legs::{Legs, Place};
use links::Remote;
pub use quality::{Histogram, LOSS, LegCounters, MOS, SECONDS, Scale};
use table::{ByRemote, Table};
pub use work::{Done, Job, Ticket};

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
    /// Where they reach us over TCP (RFC 6544); empty when nothing listens.
    pub browser_tcp_addresses: Vec<SocketAddr>,
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
    /// Only packets from `remote` count on this socket from here on, so the host may drop others;
    /// with `None`, it gives us all of them again.
    Connect {
        socket: SocketId,
        remote: Option<SocketAddr>,
    },
    /// Call [`Handshake::run`], best on another thread, then [`Shard::handle_handshake`].
    Handshake(Handshake),
    /// From here on [`Frame::waited`] matters for browsers' packets: their estimates live on it.
    TimeBrowsers,
    Event(Event),
    Timeout(Option<Instant>),
}

/// A datagram that was received. The shard changes it in its buffer.
#[derive(Debug)]
pub struct Frame<'b> {
    pub socket: SocketId,
    pub source: SocketAddr,
    /// The datagram, and room behind it for SRTP ([`MAX_OVERHEAD`](crate::srtp::MAX_OVERHEAD)).
    pub buffer: &'b mut [u8],
    /// How much of the buffer is the datagram.
    pub len: usize,
    /// How long ago it came, as far as that is known: it waits in the kernel while we are busy.
    pub waited: Duration,
}

impl Frame<'_> {
    /// One that holds nothing and is passed over, to fill an array with.
    #[must_use]
    pub fn empty() -> Self {
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self { socket: SocketId::BROWSER, source, buffer: &mut [], len: 0, waited: Duration::ZERO }
    }
}

/// Where the packet in the buffer of a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Which of the frames that were handed over together.
    pub frame: usize,
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
    /// More than fax or text may send.
    pub dropped_over_rate: u64,
    pub dropped_payload_type: u64,
    /// In a codec that its sender changes too often.
    pub dropped_codec_change: u64,
    /// Decoders that were made anew because a sender changed its codec.
    pub codec_changes: u64,
    /// Packets of video that were passed on; they are not in `packets_forwarded`.
    pub video_forwarded: u64,
    /// Packets of video that we asked for again, and that we sent again.
    pub video_asked_again: u64,
    pub video_sent_again: u64,
    pub key_frames_asked: u64,
    pub stun_refused: u64,
    pub dtls_before_ice: u64,
    pub dtls_failed: u64,
    pub candidates_ignored: u64,
    /// Of legs that ended, where their sound was translated ([`crate::control::LegStats`]).
    pub packets_late: u64,
    pub packets_discarded: u64,
    pub packets_concealed: u64,
    /// Frames of sound that were made or translated.
    pub frames_made: u64,
    /// Left out, as the one before was not made in time.
    pub frames_late: u64,
    /// Left out, as too many waited to be made.
    pub frames_dropped: u64,
    /// By kind of leg: browsers', and plain RTP.
    pub webrtc: LegCounters,
    pub rtp: LegCounters,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self {
            packets_received,
            packets_forwarded,
            packets_transcoded,
            dropped_unknown_source,
            dropped_bad_tag,
            dropped_replayed,
            dropped_malformed,
            dropped_out_of_order,
            dropped_not_ready,
            dropped_over_rate,
            dropped_payload_type,
            dropped_codec_change,
            codec_changes,
            video_forwarded,
            video_asked_again,
            video_sent_again,
            key_frames_asked,
            stun_refused,
            dtls_before_ice,
            dtls_failed,
            candidates_ignored,
            packets_late,
            packets_discarded,
            packets_concealed,
            frames_made,
            frames_late,
            frames_dropped,
            webrtc,
            rtp,
        } = other;
        self.packets_received += packets_received;
        self.packets_forwarded += packets_forwarded;
        self.packets_transcoded += packets_transcoded;
        self.dropped_unknown_source += dropped_unknown_source;
        self.dropped_bad_tag += dropped_bad_tag;
        self.dropped_replayed += dropped_replayed;
        self.dropped_malformed += dropped_malformed;
        self.dropped_out_of_order += dropped_out_of_order;
        self.dropped_not_ready += dropped_not_ready;
        self.dropped_over_rate += dropped_over_rate;
        self.dropped_payload_type += dropped_payload_type;
        self.dropped_codec_change += dropped_codec_change;
        self.codec_changes += codec_changes;
        self.video_forwarded += video_forwarded;
        self.video_asked_again += video_asked_again;
        self.video_sent_again += video_sent_again;
        self.key_frames_asked += key_frames_asked;
        self.stun_refused += stun_refused;
        self.dtls_before_ice += dtls_before_ice;
        self.dtls_failed += dtls_failed;
        self.candidates_ignored += candidates_ignored;
        self.packets_late += packets_late;
        self.packets_discarded += packets_discarded;
        self.packets_concealed += packets_concealed;
        self.frames_made += frames_made;
        self.frames_late += frames_late;
        self.frames_dropped += frames_dropped;
        self.webrtc += webrtc;
        self.rtp += rtp;
    }
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
    /// Feedback on pictures, while they come.
    Video,
}

/// See the module.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    /// Among those of its host.
    number: u8,
    rng: Rng,
    fingerprint: Vec<u8>,
    legs: Legs,
    by_ufrag: BTreeMap<String, LegId>,
    by_browser: ByRemote,
    /// Checks of ours, while they may be answered.
    by_check: BTreeMap<TransId, LegId>,
    by_socket: Table<SocketId, (LegId, Place)>,
    /// Of phones' video.
    video_sockets: BTreeMap<SocketId, LegId>,
    /// Legs and sections whose datagrams pass as they are, and their sockets.
    raw: BTreeMap<raw::RawId, raw::Raw>,
    raw_sockets: BTreeMap<SocketId, raw::RawId>,
    timers: TimerTable<(LegId, Timer)>,
    outputs: VecDeque<Output>,
    next_socket: u64,
    next_port: u16,
    counters: Counters,
    /// Packets of the running batch, and what of them lacks its tag. Empty between batches.
    run: Vec<Passing>,
    tagless: Vec<Tagless>,
    /// The frame that is being looked at.
    at_frame: usize,
    waited: Duration,
    /// Whether frames of browsers were asked to say how long they waited.
    times_browsers: bool,
    taps: taps::Taps,
    codecs: sound::Codecs,
    /// What held parties hear.
    music: Option<Arc<crate::clip::Clip>>,
    /// What the wall clock of RTCP counts from.
    started: Option<Instant>,
}

impl Shard {
    #[must_use]
    pub fn new(config: ShardConfig, mut rng: Rng) -> Self {
        let fingerprint = browser::fingerprint(&config.certificate.certificate);
        let mut of_tables = rng.fork();
        let next_port = some_port(config.rtp_ports, &mut of_tables);
        Self {
            next_port,
            config,
            number: 0,
            fingerprint,
            legs: Legs::new(&mut of_tables),
            by_ufrag: BTreeMap::new(),
            by_browser: ByRemote::new(&mut of_tables),
            by_check: BTreeMap::new(),
            by_socket: Table::new(&mut of_tables),
            video_sockets: BTreeMap::new(),
            raw: BTreeMap::new(),
            raw_sockets: BTreeMap::new(),
            rng,
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            next_socket: 0,
            counters: Counters::default(),
            run: Vec::with_capacity(BATCH),
            tagless: Vec::with_capacity(BATCH),
            at_frame: 0,
            waited: Duration::ZERO,
            times_browsers: false,
            taps: taps::Taps::default(),
            codecs: sound::Codecs::default(),
            music: None,
            started: None,
        }
    }

    /// Tells this shard from others of its host; before the first command. Browsers' checks name it
    /// ([`shard_of`]).
    pub fn set_number(&mut self, number: u8) {
        self.number = number;
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len() + self.raw.keys().filter(|(_, kind)| kind.is_none()).count()
    }

    /// How many things are kept, in all tables and of all legs. No flood may raise it beyond
    /// what the bounds of each leg allow.
    #[must_use]
    pub fn held(&self) -> usize {
        let names = self.by_ufrag.len() + self.by_browser.len() + self.by_check.len();
        let tables = names + self.by_socket.len() + self.video_sockets.len();
        let tables = tables + self.raw.len() + self.raw_sockets.len();
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
            && self.video_sockets.is_empty()
            && self.raw.is_empty()
            && self.raw_sockets.is_empty()
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
            Command::OpenRaw { leg, place } => self.open_raw(now, leg, place),
            Command::Settle { leg, place } => self.settle(leg, place),
            Command::Describe { leg, .. } if self.raw.contains_key(&(leg, None)) => {
                self.describe_raw(leg);
            }
            Command::Accept { leg, description, .. } if self.raw.contains_key(&(leg, None)) => {
                self.accept_raw(now, leg, &description);
            }
            Command::Bridge { a, b } if self.raw.contains_key(&(a, None)) => self.join_raw(a, b),
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
                self.change_negotiator(leg, Negotiator::restart_ice);
            }
            Command::Candidate { leg, candidate } => self.add_candidate(now, leg, &candidate),
            Command::EndOfCandidates { .. } => {}
            Command::Answered { leg } => self.answered(now, leg),
            Command::Bridge { a, b } => self.bridge(now, a, b),
            Command::Play { leg, playback } => self.play(now, leg, playback),
            Command::SendDtmf { leg, digit, duration } => {
                self.send_digit(now, leg, digit, duration);
            }
            Command::Manner { leg, manner } => self.set_manner(leg, *manner),
            Command::Hold { leg, held } => self.hold_back(leg, held),
            Command::Report { leg } => self.report_figures(leg),
            Command::Listen { leg, listener, is_on } => self.listen(leg, listener, is_on),
            Command::Overlay { leg, layer, laid } => self.overlay(now, leg, layer, laid),
            Command::Tap { leg, tap, is_on } => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.taps.set(tap, is_on);
                }
            }
            Command::Capture { leg, packets } => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.taps.capture(packets);
                }
            }
            Command::RefuseVideo { leg } => {
                self.change_negotiator(leg, Negotiator::refuse_video);
            }
            Command::ContinueSession { leg, id, version } => {
                self.change_negotiator(leg, |n| n.continue_session(id, version));
            }
            Command::RuleSound { leg, rules } => {
                self.change_negotiator(leg, |n| n.set_sound_rules(rules));
            }
            Command::RequestKeyFrame { leg } => self.key_frame_wanted(now, leg),
            Command::Close { leg } => self.close(now, leg),
        }
    }

    fn change_negotiator(&mut self, leg: LegId, change: impl FnOnce(&mut Negotiator)) {
        if let Some(state) = self.legs.get_mut(&leg) {
            change(&mut state.negotiator);
        }
    }

    /// From now on so many legs at a time; those that are there stay.
    pub fn set_max_legs(&mut self, most: usize) {
        self.config.max_legs = most;
    }

    /// The host tells whether a pair of sockets could be bound.
    pub fn handle_bound(&mut self, now: Instant, socket: SocketId, bound: bool) {
        if !bound {
            // Others on this host have their ports in long runs, as we do.
            self.next_port = some_port(self.config.rtp_ports, &mut self.rng);
        }
        if let Some(leg) = self.video_sockets.get(&socket).copied() {
            return self.video_bound(now, leg, socket, bound);
        }
        if let Some(raw) = self.raw_sockets.get(&socket).copied() {
            return self.raw_bound(now, raw, bound);
        }
        let Some((leg, _)) = self.by_socket.get(&socket) else { return };
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

    /// Does some of what is due: the rest stays due at once, so that packets do not wait for all of it.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_A_TURN {
            let again = |(_, timer): &(LegId, Timer), due| {
                (*timer == Timer::Watch).then(|| leg::next_watch(now, due))
            };
            let Some(((leg, timer), _)) = self.timers.pop_overdue(now, again) else { return };
            match timer {
                Timer::Ice => self.ice_timeout(now, leg),
                Timer::Dtls => self.dtls_timeout(now, leg),
                Timer::Frame => self.frame_due(now, leg),
                Timer::Report => self.report_due(now, leg),
                Timer::Watch if self.raw.contains_key(&(leg, None)) => self.watch_raw(now, leg),
                Timer::Watch => self.watch_due(now, leg),
                Timer::Video => self.video_due(now, leg),
            }
        }
    }

    /// Takes datagrams, in the order of their arrival, best some [`BATCH`] at once. What is to be
    /// sent on is added to `out` in the same order, to be sent from the frames' buffers.
    pub fn handle_batch(&mut self, now: Instant, frames: &mut [Frame<'_>], out: &mut Vec<Forward>) {
        self.take_batch(now, frames, out);
    }

    /// Takes one datagram, `buffer[..len]`: a batch of one.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        let mut out = Vec::new();
        let frame = Frame { socket, source, buffer, len, waited: Duration::ZERO };
        self.handle_batch(now, &mut [frame], &mut out);
        out.pop()
    }

    /// A datagram by itself.
    fn route(
        &mut self,
        now: Instant,
        socket: SocketId,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Forward> {
        if !socket.is_browsers() {
            let (of_pair, on_rtcp) = (SocketId(socket.0 & !1), socket.is_rtcp());
            if let Some((leg, _)) = self.by_socket.get(&of_pair) {
                return self.phone_packet(now, leg, on_rtcp, source, buffer, len);
            }
            if let Some(raw) = self.raw_sockets.get(&of_pair).copied() {
                let arrival = phone::Arrival { source, on_rtcp };
                return self.raw_packet(now, raw, arrival, &buffer[..len]);
            }
            let leg = self.video_sockets.get(&of_pair).copied()?;
            return self.phone_video(now, leg, on_rtcp, source, buffer, len);
        }
        let source = Remote { socket, address: source };
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
                let Some(leg) = self.by_browser.get(&source) else {
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
        if self.close_raw(id) {
            return;
        }
        self.last_sample(now, id);
        self.send_bye(now, id);
        self.forget_listening(id);
        let Some(leg) = self.legs.remove(&id) else {
            // Refused for want of room: it carried nothing.
            self.event(Event::Closed { leg: id, stats: crate::control::LegStats::default() });
            return;
        };
        if let Some(browser) = &leg.browser {
            self.by_ufrag.remove(browser.local_ufrag());
            for remote in browser.paths.all_validated() {
                if self.by_browser.get(&remote) == Some(id) {
                    self.by_browser.remove(&remote);
                }
            }
            for check in browser.paths.all_asked() {
                self.by_check.remove(check);
            }
        }
        for socket in [leg.socket, leg.video_socket()].into_iter().flatten() {
            self.by_socket.remove(&socket);
            self.video_sockets.remove(&socket);
            self.outputs.push_back(Output::Unbind { socket });
        }
        for timer in
            [Timer::Ice, Timer::Dtls, Timer::Frame, Timer::Report, Timer::Watch, Timer::Video]
        {
            self.timers.cancel(&(id, timer));
        }
        // Who hears whom is always mutual.
        if let Some(other) = leg.peer.and_then(|peer| self.legs.get_mut(&peer))
            && other.peer == Some(id)
        {
            other.peer = None;
            other.feed = None;
        }
        if let Some(peer) = leg.peer {
            self.settle_music(now, peer);
        }
        let [fax, text] = negotiation::PassedKind::ALL.map(|kind| self.passed_stats(id, kind));
        self.close_sections(id);
        let stats = crate::control::LegStats { fax, text, ..leg.stats() };
        self.counters.packets_late += stats.packets_late;
        self.counters.packets_discarded += stats.packets_discarded;
        self.counters.packets_concealed += stats.packets_concealed;
        self.event(Event::Closed { leg: id, stats });
    }
}

/// As many datagrams at once as are worth it: more would only wait for each other.
pub const BATCH: usize = 64;
const MAX_BIND_TRIES: u32 = 200;
/// A leg that is watched or reported on takes some ten microseconds: a fraction of a packet time in all.
const TIMERS_A_TURN: usize = 16;

/// An even port of a range. Programs that share a range do not begin with the same ones, nor can
/// strangers tell which are in use.
fn some_port((first, last): (u16, u16), rng: &mut Rng) -> u16 {
    let first = first.next_multiple_of(2);
    let pairs = last.saturating_add(1).saturating_sub(first) / 2;
    let at = u16::try_from(rng.below(u32::from(pairs.max(1)))).unwrap_or_default();
    first.saturating_add(2 * at)
}

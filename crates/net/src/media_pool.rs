//! Runs media shards, each on a thread of its own with its sockets.
//!
//! One loop for each reads datagrams in batches, lets the shard change each in its buffer, and sends from
//! the same buffers, in batches again. Commands come over a queue with a wake-up; events go to a
//! function that the host gives. Nothing on the packet path allocates, locks or crosses a thread.
//!
//! Not here: what packets mean. The thread only moves bytes and time.

mod codecs;
mod handshakes;
mod links;
mod placement;
mod queues;
mod thread;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};
use std::time::Duration;

use codecs::Codecs;
use crosspoint_base::Rng;
use crosspoint_media::capture::CaptureWriter;
use crosspoint_media::clip::Clip;
use crosspoint_media::control::{Command, Event};
use crosspoint_media::shard::{Counters, Shard, ShardConfig};
use crosspoint_media::tap::TapWriter;
use handshakes::Handshakes;
pub use links::{Link, LinkEnd, MediaLinks, ToLink};
use links::{LinksOfThread, LinksToThread};
use placement::{Orders, Placement};
use queues::{Mail, Mailbox};
use thread::{Work, Workers};

use crate::awake::CoresAwake;
use crate::packet_io::{self, IoConfig, IoKind, OpenIo, Waker};
use crate::scheduling::become_realtime;

/// What to run.
#[derive(Debug, Clone)]
pub struct MediaPoolConfig {
    /// Relay packets, each its own calls.
    pub threads: usize,
    /// Of all browsers on the first thread; each further one takes the next port.
    pub browser_listen: SocketAddr,
    /// What peers are told to send to, best first.
    pub addresses: Vec<IpAddr>,
    /// What browsers are told to connect to over TCP, best first.
    pub tcp_addresses: Vec<SocketAddr>,
    /// What the sockets for phones are bound to.
    pub rtp_bind: IpAddr,
    pub rtp_ports: (u16, u16),
    /// How packets come and go; `None` takes the fastest way that the host allows.
    pub io: Option<IoKind>,
    pub ice_lite: bool,
    pub timeout: Duration,
    pub max_legs: usize,
    /// Threads that run codecs; with none they run between packets.
    pub codec_threads: usize,
    /// How much encoding Opus may cost, from 0 to 10.
    pub opus_complexity: u8,
    /// The processors do not sleep, so that no packet waits until they are awake.
    pub keep_awake: bool,
    /// Threads that relay packets go before all ordinary ones, where the host allows it.
    pub realtime: bool,
}

/// Why media cannot run.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("udp {address} cannot be opened: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("DTLS cannot be set up: {0}")]
    Dtls(String),
    #[error("the media thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Where copies of what tapped legs say go, and what held ones hear.
#[derive(Debug, Default)]
pub struct MediaTaps {
    /// One for each thread, or none.
    pub record: Vec<TapWriter>,
    pub stream: Vec<TapWriter>,
    pub capture: Vec<CaptureWriter>,
    /// Of how many packets of each leg the header is captured without being asked for.
    pub capture_headers: u16,
    /// What held parties hear.
    pub music: Option<Arc<Clip>>,
}

/// A handle on the media threads. They end when the last one is gone.
#[derive(Debug, Clone)]
pub struct MediaPool {
    host: Arc<Host>,
    links: MediaLinks,
}

/// All media threads, as the others see them.
#[derive(Debug)]
struct Host {
    threads: Vec<Thread>,
    placement: Mutex<Placement>,
    /// Where that is wanted, until all this ends.
    _awake: Option<CoresAwake>,
}

struct Thread {
    commands: Arc<Mail<Command>>,
    waker: Waker,
    report: Arc<Mutex<MediaReport>>,
    browser_address: SocketAddr,
    io: IoKind,
    /// Set when it runs.
    work: OnceLock<Arc<Mutex<Work>>>,
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread").field("io", &self.io).finish_non_exhaustive()
    }
}

/// How the media plane is doing, at most a second old.
#[derive(Debug, Clone, Copy, Default)]
pub struct MediaReport {
    pub legs: u64,
    /// Defects of ours that were caught; each cost a packet or a command.
    pub defects: u64,
    pub counters: Counters,
}

impl MediaPool {
    /// Opens the browsers' sockets and starts the threads. `on_event` is called on those, by one at
    /// a time.
    ///
    /// # Errors
    /// When a socket, the DTLS certificate or a thread cannot be made.
    pub fn start(
        config: &MediaPoolConfig,
        rng: Rng,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Self, MediaError> {
        Self::start_tapped(config, rng, MediaTaps::default(), on_event)
    }

    /// The same, with somewhere for copies of what tapped legs say.
    ///
    /// # Errors
    /// As above.
    pub fn start_tapped(
        config: &MediaPoolConfig,
        mut rng: Rng,
        taps: MediaTaps,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Self, MediaError> {
        let count = threads(config);
        let mut parts = Vec::with_capacity(count);
        for number in 0..count {
            parts.push(Part::open(config, number, count)?);
        }
        let threads = parts.iter().map(Part::thread).collect();
        let placement = placement(config, count);
        let awake = config.keep_awake.then(CoresAwake::keep).transpose();
        let _awake = awake.map_err(MediaError::Thread)?;
        let host = Arc::new(Host { threads, placement: Mutex::new(placement), _awake });
        let links = MediaLinks::new(parts.iter().map(|part| part.links.0.clone()).collect());
        let dtls = Identity::new()?;
        let MediaTaps { record, stream, capture, capture_headers, music } = taps;
        let (mut record, mut stream) = (record.into_iter(), stream.into_iter());
        let mut capture = capture.into_iter();
        let on_event = Arc::new(Mutex::new(on_event));
        let mut works = Vec::with_capacity(count);
        for (number, part) in (0..).zip(parts) {
            let mut shard = Shard::new(shard_config(config, &part, &dtls), rng.fork());
            shard.set_number(number);
            shard.set_taps(record.next(), stream.next());
            shard.set_capture(capture.next(), capture_headers);
            shard.set_opus_complexity(config.opus_complexity);
            shard.set_music(music.clone());
            let (host, on_event) = (Arc::downgrade(&host), on_event.clone());
            let on_event = move |event| {
                if let Some(event) = Host::filter_for(&host, event) {
                    on_event.lock().unwrap_or_else(PoisonError::into_inner)(event);
                }
            };
            works.push(part.run(shard, config, count, on_event)?);
        }
        for (thread, work) in host.threads.iter().zip(works) {
            // Nobody else sets it.
            let _ = thread.work.set(work);
        }
        Ok(Self { host, links })
    }

    /// Where browsers' media is heard: by the first thread, and by each.
    #[must_use]
    pub fn browser_address(&self) -> SocketAddr {
        let none = SocketAddr::from(([0; 4], 0));
        self.host.threads.first().map_or(none, |thread| thread.browser_address)
    }

    #[must_use]
    pub fn browser_addresses(&self) -> Vec<SocketAddr> {
        self.host.threads.iter().map(|thread| thread.browser_address).collect()
    }

    /// How packets come and go, on the first thread.
    #[must_use]
    pub fn io(&self) -> IoKind {
        self.host.threads.first().map_or(IoKind::Sockets, |thread| thread.io)
    }

    /// For browsers' packets that come otherwise than over UDP.
    #[must_use]
    pub fn links(&self) -> MediaLinks {
        self.links.clone()
    }

    /// Gives a shard a command, without waiting. The queues need no bound of their own: each call
    /// sends a handful, and the node bounds the calls.
    pub fn send(&self, command: Command) {
        self.host.place(|placement, orders| placement.handle_command(command, orders));
    }

    /// The same for several, in order, with one wake-up of each thread.
    pub fn send_all(&self, mut commands: impl Iterator<Item = Command>) {
        self.host.place(|placement, orders| {
            commands.by_ref().for_each(|command| placement.handle_command(command, orders));
        });
    }

    /// The same, carried out here and now where the threads have nothing else to do: nobody has to
    /// be woken then. `told` gets what media control says to it, in order. Before the first of a
    /// thread it gets `None`: what `on_event` was given so far comes before that, and so far
    /// the thread cannot say anything more. Whoever calls this must not be who `on_event` waits for
    /// without an end.
    pub fn send_all_now(
        &self,
        mut commands: impl Iterator<Item = Command>,
        mut told: impl FnMut(Option<Event>),
    ) {
        let (woken, ()) = self.host.queue(|placement, orders| {
            commands.by_ref().for_each(|command| placement.handle_command(command, orders));
        });
        for thread in self.host.named(&woken) {
            let work = thread.work.get().map(|work| work.try_lock());
            let mut work = match work {
                Some(Ok(work)) => work,
                Some(Err(TryLockError::Poisoned(poisoned))) => poisoned.into_inner(),
                // It is at work, and looks for commands when it is done.
                Some(Err(TryLockError::WouldBlock)) | None => {
                    thread.waker.wake();
                    continue;
                }
            };
            told(None);
            let is_late = work.do_now(&mut |event| {
                if let Some(event) = self.host.filter(event) {
                    told(Some(event));
                }
            });
            drop(work);
            if is_late {
                thread.waker.wake();
            }
        }
    }

    /// From now on each thread takes so many legs at a time; those that are there stay. Waits for
    /// the turn that a thread is at.
    pub fn set_max_legs(&self, most: usize) {
        for work in self.host.threads.iter().filter_map(|thread| thread.work.get()) {
            work.lock().unwrap_or_else(PoisonError::into_inner).set_max_legs(most);
        }
    }

    #[must_use]
    pub fn report(&self) -> MediaReport {
        let mut sum = MediaReport::default();
        for thread in &self.host.threads {
            let MediaReport { legs, defects, counters } =
                *thread.report.lock().unwrap_or_else(PoisonError::into_inner);
            sum.legs += legs;
            sum.defects += defects;
            sum.counters += counters;
        }
        sum
    }
}

impl Host {
    /// What one command or event makes of others, on their threads.
    fn place<T>(&self, work: impl FnOnce(&mut Placement, &mut Orders) -> T) -> T {
        let (woken, outcome) = self.queue(work);
        self.named(&woken).for_each(|thread| thread.waker.wake());
        outcome
    }

    fn named(&self, numbers: &[usize]) -> impl Iterator<Item = &Thread> {
        numbers.iter().filter_map(|number| self.threads.get(*number))
    }

    /// The same, and gives the threads that have to look. The lock is held until all are in their
    /// queues, so that each leg gets its own in order.
    fn queue<T>(&self, work: impl FnOnce(&mut Placement, &mut Orders) -> T) -> (Vec<usize>, T) {
        let mut orders = Orders::new();
        let mut placement = self.placement.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = work(&mut placement, &mut orders);
        let mut woken = Vec::new();
        for (number, command) in orders {
            let Some(thread) = self.threads.get(number) else { continue };
            // Who has to be told is told once, after all is there.
            let _ = thread.commands.post(command);
            if !woken.contains(&number) {
                woken.push(number);
            }
        }
        (woken, outcome)
    }

    /// Keeps back what concerns legs between threads.
    fn filter(&self, event: Event) -> Option<Event> {
        if !placement::is_ours(event.leg()) {
            return Some(event);
        }
        self.place(|placement, orders| placement.handle_event(event, orders));
        None
    }

    /// For a thread, which must not keep its own queue open.
    fn filter_for(host: &Weak<Self>, event: Event) -> Option<Event> {
        if !placement::is_ours(event.leg()) {
            return Some(event);
        }
        host.upgrade()?.filter(event)
    }
}

/// A thread that is being started.
struct Part {
    open: OpenIo,
    rtp_ports: (u16, u16),
    links: (LinksToThread, LinksOfThread),
    commands: (Arc<Mail<Command>>, Mailbox<Command>),
    report: Arc<Mutex<MediaReport>>,
}

impl Part {
    fn open(config: &MediaPoolConfig, number: usize, count: usize) -> Result<Self, MediaError> {
        let mut address = config.browser_listen;
        if address.port() != 0 {
            // Beyond the last port there is none, which cannot be bound to.
            let offset = u16::try_from(number).unwrap_or(u16::MAX);
            address.set_port(address.port().saturating_add(offset));
        }
        // An interface takes one XDP program, which knows one thread.
        let others = config.io.map_or(IoKind::SkLookup, |kind| kind.min(IoKind::SkLookup));
        let kind = if number == 0 { config.io } else { Some(others) };
        let open = packet_io::open(&IoConfig {
            browser_listen: address,
            rtp_bind: config.rtp_bind,
            addresses: config.addresses.clone(),
            kind,
        })
        .map_err(|source| MediaError::Bind { address, source })?;
        if number == 0 {
            tell(config, &open);
        }
        let links = links::of_thread(open.poller.waker());
        let rtp_ports = share(config.rtp_ports, number, count);
        Ok(Self { open, rtp_ports, links, commands: Mail::new(), report: Arc::default() })
    }

    fn thread(&self) -> Thread {
        Thread {
            commands: self.commands.0.clone(),
            waker: self.open.poller.waker(),
            report: self.report.clone(),
            browser_address: self.open.browser_address,
            io: self.open.kind,
            work: OnceLock::new(),
        }
    }

    fn run(
        self,
        shard: Shard,
        config: &MediaPoolConfig,
        count: usize,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Arc<Mutex<Work>>, MediaError> {
        let Self { open: OpenIo { io, poller, .. }, links, commands, report, .. } = self;
        let waker = poller.waker();
        let codecs = match config.codec_threads.div_ceil(count) {
            0 => None,
            threads => Some(Codecs::start(threads, &waker).map_err(MediaError::Thread)?),
        };
        let handshakes = Handshakes::start(&waker, count).map_err(MediaError::Thread)?;
        let workers = Workers { handshakes, codecs };
        let work = Work::new(io, links.1, shard, commands.1, workers, report);
        let work = Arc::new(Mutex::new(work));
        let (shared, is_realtime) = (work.clone(), config.realtime);
        let run = move || {
            if is_realtime && let Err(error) = become_realtime() {
                tracing::warn!(%error, "a media thread is an ordinary one, despite media.realtime");
            }
            thread::run(&shared, &poller, on_event);
        };
        let thread = std::thread::Builder::new().name("media".to_owned()).spawn(run);
        thread.map_err(MediaError::Thread)?;
        Ok(work)
    }
}

fn tell(config: &MediaPoolConfig, open: &OpenIo) {
    for (kind, reason) in &open.refused {
        // Whoever asked for it by name has to know.
        if config.io == Some(*kind) {
            tracing::warn!(io = kind.as_str(), %reason, "media I/O cannot be had");
        } else {
            tracing::info!(io = kind.as_str(), %reason, "media I/O cannot be had");
        }
    }
    tracing::info!(io = open.kind.as_str(), "media I/O");
}

/// As many as are wanted, and have ports.
fn threads(config: &MediaPoolConfig) -> usize {
    let (first, last) = config.rtp_ports;
    let pairs = usize::from(last.saturating_sub(first) / 2);
    config.threads.min(pairs).clamp(1, usize::from(u8::MAX))
}

/// A thread's part of the ports, in pairs.
fn share((first, last): (u16, u16), number: usize, count: usize) -> (u16, u16) {
    if count == 1 {
        return (first, last);
    }
    let first = usize::from(first.next_multiple_of(2));
    let each = (usize::from(last) + 1 - first) / 2 / count * 2;
    let begin = first + number * each;
    let port = |port: usize| u16::try_from(port).unwrap_or(u16::MAX);
    (port(begin), port(begin + each - 1))
}

fn placement(config: &MediaPoolConfig, count: usize) -> Placement {
    let local = match config.rtp_bind {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Placement::new(count, rtp_address(config), local)
}

/// What all shards are known by.
struct Identity {
    dtls: Arc<dimpl::Config>,
    certificate: dimpl::DtlsCertificate,
}

impl Identity {
    fn new() -> Result<Self, MediaError> {
        let dtls = |error: &dyn std::fmt::Display| MediaError::Dtls(error.to_string());
        Ok(Self {
            // Building it is expensive, so there is one for all connections.
            dtls: Arc::new(crosspoint_media::dtls::config().map_err(|e| dtls(&e))?),
            certificate: dimpl::certificate::generate_self_signed_certificate()
                .map_err(|e| dtls(&e))?,
        })
    }
}

/// What phones are told.
fn rtp_address(config: &MediaPoolConfig) -> IpAddr {
    let rtp_family = |ip: &&IpAddr| ip.is_ipv4() == config.rtp_bind.is_ipv4();
    config.addresses.iter().find(rtp_family).copied().unwrap_or(config.rtp_bind)
}

fn shard_config(config: &MediaPoolConfig, part: &Part, identity: &Identity) -> ShardConfig {
    let browser_address = part.open.browser_address;
    let same_family = |ip: &&IpAddr| ip.is_ipv4() == browser_address.is_ipv4();
    let browser_addresses = config
        .addresses
        .iter()
        .filter(same_family)
        .map(|ip| SocketAddr::new(*ip, browser_address.port()))
        .collect();
    ShardConfig {
        browser_addresses,
        browser_tcp_addresses: config.tcp_addresses.clone(),
        rtp_address: rtp_address(config),
        rtp_bind: config.rtp_bind,
        rtp_ports: part.rtp_ports,
        ice_lite: config.ice_lite,
        rtp_timeout: config.timeout,
        consent_timeout: CONSENT_TIMEOUT.min(config.timeout),
        max_legs: config.max_legs,
        dtls: identity.dtls.clone(),
        certificate: identity.certificate.clone(),
    }
}

/// A closed or frozen page has to be noticed soon enough for a BYE within 15 s.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(12);

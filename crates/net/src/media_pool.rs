//! Runs a media shard on a thread of its own, with its sockets.
//!
//! One loop reads datagrams in batches, lets the shard change each in its buffer, and sends from
//! the same buffers, in batches again. Commands come over a queue with a wake-up; events go to a
//! function that the host gives. Nothing on the packet path allocates, locks or crosses a thread.
//!
//! Not here: what packets mean. The thread only moves bytes and time.

mod batch;
mod sockets;
mod thread;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crosspoint_base::Rng;
use crosspoint_media::control::{Command, Event};
use crosspoint_media::shard::{Counters, Shard, ShardConfig};
use mio::{Poll, Waker};

use sockets::Sockets;
use thread::MediaThread;

/// What to run.
#[derive(Debug, Clone)]
pub struct MediaPoolConfig {
    /// The one socket of all browsers.
    pub browser_listen: SocketAddr,
    /// What peers are told to send to, best first.
    pub addresses: Vec<IpAddr>,
    /// What the sockets for phones are bound to.
    pub rtp_bind: IpAddr,
    pub rtp_ports: (u16, u16),
    pub ice_lite: bool,
    pub timeout: Duration,
    pub max_legs: usize,
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

/// A handle on the media thread. The thread ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct MediaPool {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    report: Arc<Mutex<MediaReport>>,
    browser_address: SocketAddr,
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
    /// Opens the browser socket and starts the thread. `on_event` is called on that thread.
    ///
    /// # Errors
    /// When a socket, the DTLS certificate or the thread cannot be made.
    pub fn start(
        config: &MediaPoolConfig,
        rng: Rng,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Self, MediaError> {
        let poll = Poll::new().map_err(MediaError::Thread)?;
        let (mut sockets, waker) = Sockets::new(&poll).map_err(MediaError::Thread)?;
        let address = config.browser_listen;
        let browser_address = sockets
            .open_browser_socket(address)
            .map_err(|source| MediaError::Bind { address, source })?;
        let shard = Shard::new(shard_config(config, browser_address)?, rng);
        let (commands, queue) = mpsc::channel();
        let report = Arc::new(Mutex::new(MediaReport::default()));
        let shared = report.clone();
        std::thread::Builder::new()
            .name("media".to_owned())
            .spawn(move || MediaThread::new(poll, sockets, shard, queue, on_event, shared).run())
            .map_err(MediaError::Thread)?;
        Ok(Self { commands, waker: Arc::new(waker), report, browser_address })
    }

    /// Where browsers' media is heard.
    #[must_use]
    pub fn browser_address(&self) -> SocketAddr {
        self.browser_address
    }

    /// Gives the shard a command, without waiting. The queue needs no bound of its own: each call
    /// sends a handful, and the node bounds the calls.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // A wake-up that fails leaves the command for the next packet or timer.
            let _ = self.waker.wake();
        }
    }

    #[must_use]
    pub fn report(&self) -> MediaReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shard_config(
    config: &MediaPoolConfig,
    browser_address: SocketAddr,
) -> Result<ShardConfig, MediaError> {
    let dtls = |error: &dyn std::fmt::Display| MediaError::Dtls(error.to_string());
    let same_family = |ip: &&IpAddr| ip.is_ipv4() == browser_address.is_ipv4();
    let browser_addresses = config
        .addresses
        .iter()
        .filter(same_family)
        .map(|ip| SocketAddr::new(*ip, browser_address.port()))
        .collect();
    let rtp_family = |ip: &&IpAddr| ip.is_ipv4() == config.rtp_bind.is_ipv4();
    let rtp_address = config.addresses.iter().find(rtp_family).copied();
    Ok(ShardConfig {
        browser_addresses,
        rtp_address: rtp_address.unwrap_or(config.rtp_bind),
        rtp_bind: config.rtp_bind,
        rtp_ports: config.rtp_ports,
        ice_lite: config.ice_lite,
        rtp_timeout: config.timeout,
        consent_timeout: CONSENT_TIMEOUT.min(config.timeout),
        max_legs: config.max_legs,
        // Building it is expensive, so there is one for all connections.
        dtls: Arc::new(dimpl::Config::builder().build().map_err(|e| dtls(&e))?),
        certificate: dimpl::certificate::generate_self_signed_certificate()
            .map_err(|e| dtls(&e))?,
    })
}

/// A closed or frozen page has to be noticed soon enough for a BYE within 15 s.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(12);

//! Sends what ladders keep to a collector (HEP, version 3). Nothing waits for it: what the
//! collector or the network is too slow for is counted and gone.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crosspoint_ladder::{Told, hep};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;

use crate::config::Hep;
use crosspoint_base::WallClock;

/// What has become of the packets.
#[derive(Debug, Default)]
pub(crate) struct HepCounters {
    pub(crate) sent: AtomicU64,
    /// The queue was full.
    pub(crate) dropped: AtomicU64,
    /// The network did not take them.
    pub(crate) failed: AtomicU64,
}

/// Where the driver puts what was said.
#[derive(Debug, Clone)]
pub(super) struct HepQueue {
    queue: mpsc::Sender<Told>,
    counters: Arc<HepCounters>,
}

impl HepQueue {
    pub(super) fn start(config: Hep, clock: WallClock) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let counters = Arc::new(HepCounters::default());
        tokio::spawn(run(config, clock, waiting, counters.clone()));
        Self { queue, counters }
    }

    pub(super) fn put(&self, told: Told) {
        if self.queue.try_send(told).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counters(&self) -> [u64; 3] {
        let HepCounters { sent, dropped, failed } = &*self.counters;
        [sent, dropped, failed].map(|count| count.load(Ordering::Relaxed))
    }
}

async fn run(
    config: Hep,
    clock: WallClock,
    mut waiting: mpsc::Receiver<Told>,
    counters: Arc<HepCounters>,
) {
    let mut way = Way::None;
    while let Some(told) = waiting.recv().await {
        let key = config.key.as_ref().map(|key| key.expose().as_str());
        let agent = hep::Agent { capture_id: config.capture_id, key };
        let packet = hep::encode(&told, clock.since_epoch(told.entry.at), agent);
        let count = match way.send(&config, &packet).await {
            Ok(()) => &counters.sent,
            Err(error) => {
                if !matches!(way, Way::Waiting) {
                    tracing::warn!(%error, collector = %config.address, "HEP cannot be sent");
                }
                way = Way::Waiting;
                &counters.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        if matches!(way, Way::Waiting) && config.is_tcp {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

enum Way {
    None,
    Udp(UdpSocket),
    Tcp(TcpStream),
    /// It failed.
    Waiting,
}

impl Way {
    async fn send(&mut self, config: &Hep, packet: &[u8]) -> std::io::Result<()> {
        if matches!(self, Self::None | Self::Waiting) {
            *self = Self::open(config).await?;
        }
        match self {
            Self::Udp(socket) => socket.send(packet).await.map(drop),
            Self::Tcp(stream) => {
                let sent = tokio::time::timeout(PATIENCE, stream.write_all(packet)).await;
                sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
            }
            Self::None | Self::Waiting => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    async fn open(config: &Hep) -> std::io::Result<Self> {
        if config.is_tcp {
            let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(config.address)).await;
            let stream = stream.map_err(|_| std::io::ErrorKind::TimedOut)??;
            stream.set_nodelay(true)?;
            return Ok(Self::Tcp(stream));
        }
        let any: SocketAddr = match config.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(config.address).await?;
        Ok(Self::Udp(socket))
    }
}

const WAITING: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(5);
/// Until a collector that is gone is tried again.
const PAUSE: Duration = Duration::from_secs(1);

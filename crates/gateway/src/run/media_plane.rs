//! The media plane that a node commands: ours alone, or a pool of media servers with ours beside.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Exchange};
use crosspoint_net::MediaPool;
use crosspoint_ng::{Carrier, Client, ClientOutput, PoolCounters, RecordingReply, RemoteRecording};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

use super::digits::{self, Told};
use crate::config::MediaServer;

/// Takes the node's commands.
#[derive(Debug, Clone)]
pub(crate) struct MediaPlane {
    local: MediaPool,
    pool: Option<(mpsc::UnboundedSender<Order>, Arc<Shared>)>,
}

/// Hears what became of a wish.
type Answer = Box<dyn FnOnce(RecordingReply) + Send>;

enum Order {
    Media(Command),
    Record { leg: LegId, wish: RemoteRecording, answer: Answer },
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

/// What is known of the pool outside of its task.
#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    /// Who carries a leg was decided.
    decided: Notify,
    /// Digits that came from where no server is.
    strangers: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    counters: PoolCounters,
    /// Who carries each leg, as far as it is decided.
    carriers: BTreeMap<LegId, Carrier>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn are_decided(&self, legs: &[LegId]) {
        loop {
            // Before looking, or what is decided meanwhile would be missed.
            let decided = self.decided.notified();
            if { legs }.iter().all(|leg| self.known().carriers.contains_key(leg)) {
                return;
            }
            decided.await;
        }
    }
}

impl MediaPlane {
    /// `told` is what our own media plane says; with it comes what media control says. Servers tell
    /// digits to `dtmf_listen`, or to a port that is free.
    pub(super) async fn start(
        local: MediaPool,
        servers: &[MediaServer],
        dtmf_listen: Option<SocketAddr>,
        told: mpsc::Receiver<Event>,
        rng: Rng,
    ) -> std::io::Result<(Self, mpsc::Receiver<Event>)> {
        if servers.is_empty() {
            return Ok((Self { local, pool: None }, told));
        }
        let (node, events) = mpsc::channel(WAITING);
        let (replies_in, replies) = mpsc::channel(WAITING);
        let mut sockets = Vec::with_capacity(servers.len());
        for (place, server) in servers.iter().enumerate() {
            sockets.push(open(place, server.address, replies_in.clone()).await?);
        }
        let weights: Vec<u32> = servers.iter().map(|server| server.weight).collect();
        // The queue needs no bound of its own: the node bounds the calls.
        let (orders, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let mut client = Client::new(&weights, rng);
        let (digits_in, digits) = mpsc::channel(WAITING);
        let stranger = {
            let shared = shared.clone();
            move || {
                shared.strangers.fetch_add(1, Ordering::Relaxed);
            }
        };
        for (place, address) in digits::listen(dtmf_listen, &sockets, digits_in, stranger).await? {
            client.log_dtmf(place, address);
        }
        let host = Host {
            client,
            local: local.clone(),
            sockets,
            node,
            shared: shared.clone(),
            answers: BTreeMap::new(),
            asked: 0,
        };
        tokio::spawn(host.run(waiting, told, replies, digits));
        Ok((Self { local, pool: Some((orders, shared)) }, events))
    }

    pub(super) fn send(&self, command: Command) {
        match &self.pool {
            // It fails only when the host is gone.
            Some((orders, _)) => drop(orders.send(Order::Media(command))),
            None => self.local.send(command),
        }
    }

    /// The same for several, in order; empties the list.
    pub(super) fn send_all(&self, commands: &mut Vec<Command>) {
        match &self.pool {
            Some(_) => commands.drain(..).for_each(|command| self.send(command)),
            None if commands.is_empty() => {}
            None => self.local.send_all(commands.drain(..)),
        }
    }

    /// The same, but what our own media plane can do at once it does here and now, and `told` hears
    /// what comes of it ([`MediaPool::send_all_now`]).
    pub(super) fn send_all_now(
        &self,
        commands: &mut Vec<Command>,
        told: impl FnMut(Option<Event>),
    ) {
        match &self.pool {
            None if !commands.is_empty() => self.local.send_all_now(commands.drain(..), told),
            _ => self.send_all(commands),
        }
    }

    /// Has the call of a leg that is elsewhere recorded there.
    pub(super) fn record(
        &self,
        leg: LegId,
        wish: RemoteRecording,
        answer: impl FnOnce(RecordingReply) + Send + 'static,
    ) {
        if let Some((orders, _)) = &self.pool {
            drop(orders.send(Order::Record { leg, wish, answer: Box::new(answer) }));
        }
    }

    /// Whether there are other servers.
    pub(super) fn has_servers(&self) -> bool {
        self.pool.is_some()
    }

    /// How the servers of the pool are doing.
    pub(crate) fn pool(&self) -> PoolCounters {
        let shared = self.pool.as_ref().map(|(_, shared)| shared);
        let Some(shared) = shared else { return PoolCounters::default() };
        let known = shared.known().counters.clone();
        let strangers = shared.strangers.load(Ordering::Relaxed);
        PoolCounters { stray_digits: known.stray_digits + strangers, ..known }
    }

    /// Whether a leg's media is not ours, so that nothing of it is heard here: another server has it,
    /// or may yet get it.
    pub(super) fn is_elsewhere(&self, leg: LegId) -> bool {
        let Some((_, shared)) = &self.pool else { return false };
        shared.known().carriers.get(&leg) != Some(&Carrier::Us)
    }

    /// Waits until it is decided who carries these legs; `None` when it is.
    pub(super) fn deciding(&self, legs: Vec<LegId>) -> Option<impl Future<Output = ()> + use<>> {
        let (_, shared) = self.pool.as_ref()?;
        let is_decided = legs.iter().all(|leg| shared.known().carriers.contains_key(leg));
        let shared = shared.clone();
        (!is_decided).then_some(async move { shared.are_decided(&legs).await })
    }
}

/// A socket that hears this server alone.
async fn open(
    place: usize,
    address: SocketAddr,
    replies: mpsc::Sender<(usize, Vec<u8>)>,
) -> std::io::Result<Arc<UdpSocket>> {
    let any: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = Arc::new(UdpSocket::bind(any).await?);
    socket.connect(address).await?;
    let reader = socket.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            match reader.recv(&mut buffer).await {
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    if replies.send((place, bytes)).await.is_err() {
                        return;
                    }
                }
                // Nobody listens there; the next question is asked all the same.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    Ok(socket)
}

/// The client with what it talks to.
struct Host {
    client: Client,
    local: MediaPool,
    sockets: Vec<Arc<UdpSocket>>,
    node: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    /// Who waits for what a server says to a wish to record.
    answers: BTreeMap<u64, Answer>,
    asked: u64,
}

impl Host {
    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mut told: mpsc::Receiver<Event>,
        mut replies: mpsc::Receiver<(usize, Vec<u8>)>,
        mut digits: mpsc::Receiver<Told>,
    ) {
        self.client.handle_timeout(Instant::now());
        let mut deadline = self.settle().await;
        loop {
            let timeout = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(Instant::into(at)).await,
                    None => std::future::pending().await,
                }
            };
            let now = Instant::now;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Media(command)) => self.client.handle_command(now(), command),
                    Some(Order::Record { leg, wish, answer }) => {
                        self.asked += 1;
                        self.answers.insert(self.asked, answer);
                        self.client.record(now(), leg, wish, self.asked);
                    }
                    None => return,
                },
                Some(event) = told.recv() => self.client.handle_local(event),
                Some((server, bytes)) = replies.recv() => {
                    self.client.handle_reply(now(), server, &bytes);
                }
                Some(Told { servers, json }) = digits.recv() => {
                    self.client.handle_dtmf(&servers, &json);
                }
                () = timeout => self.client.handle_timeout(now()),
            }
            deadline = self.settle().await;
        }
    }

    /// Does what the client wants; gives its next deadline.
    async fn settle(&mut self) -> Option<Instant> {
        loop {
            match self.client.poll_output() {
                ClientOutput::Send { server, bytes } => {
                    // What is lost is asked again.
                    let _ = self.sockets.get(server).map(|socket| socket.try_send(&bytes));
                }
                ClientOutput::Told { leg, server, is_sent, bytes } => {
                    let ends = self.sockets.get(server).map(|s| (s.local_addr(), s.peer_addr()));
                    if let Some((Ok(local), Ok(remote))) = ends {
                        let exchange = Box::new(Exchange { is_sent, local, remote, bytes });
                        let _ = self.node.send(Event::Exchanged { leg, exchange }).await;
                    }
                }
                ClientOutput::Local(command) => self.local.send(*command),
                ClientOutput::Event(event) => {
                    // The node never waits for media.
                    let _ = self.node.send(*event).await;
                }
                ClientOutput::Recorded { ticket, reply } => {
                    if let Some(answer) = self.answers.remove(&ticket) {
                        answer(reply);
                    }
                }
                ClientOutput::Carried { leg, by: Some(carrier) } => {
                    self.shared.known().carriers.insert(leg, carrier);
                    self.shared.decided.notify_waiters();
                }
                ClientOutput::Carried { leg, by: None } => {
                    self.shared.known().carriers.remove(&leg);
                }
                ClientOutput::Timeout(deadline) => {
                    self.shared.known().counters = self.client.counters();
                    return deadline;
                }
            }
        }
    }
}

const WAITING: usize = 4096;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

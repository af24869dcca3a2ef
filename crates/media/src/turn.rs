//! A STUN and TURN server (RFC 8656, RFC 8489) as a machine: clients that reach nothing but its
//! port get a port of ours, from which their packets go on.
//!
//! Who may is told by [`Credentials`] that expire, whom they may reach by [`PeerPolicy`], and how
//! much by [`Limits`]. Relayed packets are changed in place or in memory of the host's; nothing is
//! allocated for them.
//!
//! Not here: sockets. Not supported: TCP to peers (RFC 6062), reserved and even ports, DON'T
//! FRAGMENT, two families in one allocation, and SHA-256 (RFC 8489 §9.2), which no browser has.

mod allocation;
mod credentials;
mod policy;
mod quota;
mod requests;
mod stun;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crosspoint_base::{Rng, TimerTable};

use allocation::{Allocation, Channel};
pub use credentials::Credentials;
use credentials::Nonces;
pub use policy::{Network, NotANetwork, OwnAddress, PeerPolicy, Peers, is_mapped, is_public};
use quota::{Strangers, Users};
use stun::{Class, Message, Writer, attribute, method};
pub use stun::{Frame, MAX_FRAME};

/// What to serve, and to whom.
#[derive(Debug)]
pub struct TurnConfig {
    pub realm: String,
    pub credentials: Credentials,
    pub policy: PeerPolicy,
    /// What relays are known by: the first address of each family.
    pub relay_addresses: Vec<IpAddr>,
    pub limits: Limits,
    /// One moment on both clocks; the second in Unix seconds.
    pub clock: (Instant, u64),
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub allocations: usize,
    pub allocations_per_user: usize,
    /// Both ways together; 0 is without end.
    pub bytes_per_second_per_user: u64,
}

/// A client by where it is heard and where it sends from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// The host's number for the socket that hears it.
    pub listener: u16,
    /// Whether it came over a connection, so that its address cannot be forged.
    pub is_stream: bool,
    pub remote: SocketAddr,
}

/// One relayed port. The number is never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelayId(pub u64);

/// A packet from a client, to be sent from its relayed port.
#[derive(Debug, PartialEq, Eq)]
pub struct ToPeer<'a> {
    pub relay: RelayId,
    /// The relayed port, as peers know it.
    pub relayed: SocketAddr,
    pub to: Destination,
    pub data: &'a [u8],
}

/// Where a client's packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Our own media plane, by the address of ours that the client named: it can be handed over
    /// in memory, or sent to `port` otherwise.
    Media { own: usize, port: SocketAddr },
    /// Another relayed port of this server: to [`TurnServer::handle_relayed`].
    Relay(RelayId),
    /// Somebody else, as seen from this host.
    Peer(SocketAddr),
}

/// What the host has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to a client.
    Reply {
        client: Client,
        bytes: Vec<u8>,
    },
    /// A client, which is certain to be where it says, has the wrong password.
    WrongPassword {
        client: Client,
    },
    /// Open a UDP socket for this address and tell its port.
    Open {
        relay: RelayId,
        address: IpAddr,
    },
    Close {
        relay: RelayId,
    },
    /// Nothing, until then.
    Timeout(Option<Instant>),
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Allocations that came about.
    pub allocated: u64,
    /// Requests with wrong or expired credentials.
    pub auth_failures: u64,
    /// Peers that the policy refused.
    pub forbidden: u64,
    /// Allocations refused because the user has enough.
    pub over_quota: u64,
    /// Allocations refused because there are enough, or no port was free.
    pub over_capacity: u64,
    /// Answers to strangers that were held back.
    pub rate_limited: u64,
    /// Packets dropped because the user sends too much.
    pub over_bandwidth: u64,
    /// Packets that nobody may send or that nobody awaits.
    pub dropped: u64,
    /// What is no message of STUN or TURN.
    pub malformed: u64,
    /// Bytes relayed to peers and to clients.
    pub relayed: [u64; 2],
}

/// The server.
#[derive(Debug)]
pub struct TurnServer {
    config: TurnConfig,
    nonces: Nonces,
    users: Users,
    strangers: Strangers,
    allocations: BTreeMap<RelayId, Allocation>,
    by_client: BTreeMap<Client, RelayId>,
    by_relayed: BTreeMap<SocketAddr, RelayId>,
    expiry: TimerTable<RelayId>,
    outputs: VecDeque<Output>,
    next_relay: u64,
    counters: Counters,
}

impl TurnServer {
    #[must_use]
    pub fn new(config: TurnConfig, mut rng: Rng) -> Self {
        let (now, _) = config.clock;
        let mut key = [0; 20];
        rng.fill(&mut key);
        let Limits { allocations_per_user, bytes_per_second_per_user, .. } = config.limits;
        Self {
            nonces: Nonces::new(key, now),
            users: Users::new(now, allocations_per_user, bytes_per_second_per_user),
            strangers: Strangers::new(now),
            allocations: BTreeMap::new(),
            by_client: BTreeMap::new(),
            by_relayed: BTreeMap::new(),
            expiry: TimerTable::new(),
            outputs: VecDeque::new(),
            next_relay: 0,
            counters: Counters::default(),
            config,
        }
    }

    /// Takes a datagram, or a [`Frame`] of a stream.
    pub fn handle_client<'a>(
        &mut self,
        now: Instant,
        client: Client,
        bytes: &'a [u8],
    ) -> Option<ToPeer<'a>> {
        match bytes.first()? >> 6 {
            0 => {
                let Some(message) = Message::parse(bytes) else {
                    self.counters.malformed += 1;
                    return None;
                };
                match (message.class, message.method) {
                    (Class::Request, _) => {
                        self.handle_request(now, client, &message);
                        None
                    }
                    (Class::Indication, method::SEND) => self.send(now, client, &message),
                    // Keep-alives are indications of binding; answers we await none.
                    (Class::Indication | Class::Success | Class::Error, _) => None,
                }
            }
            1 => self.channel_data(now, client, bytes),
            _ => {
                self.counters.malformed += 1;
                None
            }
        }
    }

    /// Takes a packet that came to a relayed port. Fills `out` with what the client gets.
    pub fn handle_peer(
        &mut self,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Client> {
        let peer = self.config.policy.to_advertised(from);
        self.reach_client(now, relay, peer, data, out)
    }

    /// Takes a packet of our media plane that answers what went to its address `own`.
    pub fn handle_media(
        &mut self,
        now: Instant,
        relay: RelayId,
        own: usize,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Client> {
        let peer = self.config.policy.media(own)?;
        self.reach_client(now, relay, peer, data, out)
    }

    /// Takes a packet from one relayed port to another.
    pub fn handle_relayed(
        &mut self,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Client> {
        self.reach_client(now, relay, from, data, out)
    }

    fn reach_client(
        &mut self,
        now: Instant,
        relay: RelayId,
        peer: SocketAddr,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Client> {
        let is_relay = |peer| self.by_relayed.contains_key(&peer);
        let is_fine = self.config.policy.permits(peer, is_relay) && data.len() <= MAX_DATA;
        let allocation = self.allocations.get(&relay)?;
        if !is_fine || !allocation.is_permitted(now, peer.ip()) {
            self.counters.dropped += 1;
            return None;
        }
        let client = allocation.client;
        if !self.users.may_relay(now, &allocation.user, data.len()) {
            self.counters.over_bandwidth += 1;
            return None;
        }
        self.counters.relayed[1] += data.len() as u64;
        out.clear();
        if let Some(channel) = allocation.channel_to(now, peer) {
            out.extend(channel.to_be_bytes());
            out.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
            out.extend(data);
            if client.is_stream {
                out.resize(out.len().next_multiple_of(4), 0);
            }
        } else {
            self.next_relay += 1;
            let mut transaction = [0; 12];
            transaction[4..].copy_from_slice(&self.next_relay.to_be_bytes());
            let memory = std::mem::take(out);
            *out = Writer::reuse(memory, method::DATA, Class::Indication, transaction)
                .address(attribute::XOR_PEER_ADDRESS, peer)
                .attribute(attribute::DATA, data)
                .finish();
        }
        Some(client)
    }

    /// Told of a port that was opened, or that none could be.
    pub fn handle_opened(&mut self, now: Instant, relay: RelayId, port: Option<u16>) {
        let Some(allocation) = self.allocations.get_mut(&relay) else { return };
        if let Some(port) = port {
            allocation.relayed.set_port(port);
            self.by_relayed.insert(allocation.relayed, relay);
            self.counters.allocated += 1;
            self.answer_allocate(now, relay);
        } else {
            let (client, key) = (allocation.client, allocation.key);
            let bytes = Writer::new(method::ALLOCATE, Class::Error, allocation.transaction)
                .error(508, "No port is free")
                .finish_signed(&key);
            self.counters.over_capacity += 1;
            self.remove(relay);
            self.outputs.push_back(Output::Reply { client, bytes });
        }
    }

    /// Told that a client's connection is gone.
    pub fn handle_gone(&mut self, client: Client) {
        if let Some(relay) = self.by_client.get(&client) {
            self.remove(*relay);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(relay) = self.expiry.pop_due(now) {
            self.remove(relay);
        }
    }

    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(self.expiry.next()))
    }

    /// Whether a client has shown credentials and has something here.
    #[must_use]
    pub fn is_known(&self, client: Client) -> bool {
        self.by_client.contains_key(&client)
    }

    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn send<'a>(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'a>,
    ) -> Option<ToPeer<'a>> {
        let (peer, data) = (message.peer(), message.attribute(attribute::DATA));
        let (Some(peer), Some(data)) = (peer, data) else {
            self.counters.malformed += 1;
            return None;
        };
        self.relay(now, client, peer, data)
    }

    fn channel_data<'a>(
        &mut self,
        now: Instant,
        client: Client,
        bytes: &'a [u8],
    ) -> Option<ToPeer<'a>> {
        let number = stun::u16_at(bytes, 0)?;
        let length = usize::from(stun::u16_at(bytes, 2).unwrap_or(u16::MAX));
        let Some(data) = bytes.get(4..4 + length) else {
            self.counters.malformed += 1;
            return None;
        };
        let relay = self.by_client.get(&client).and_then(|relay| self.allocations.get(relay));
        let Some(peer) = relay.and_then(|a| a.peer_of(now, Channel(number))) else {
            self.counters.dropped += 1;
            return None;
        };
        self.relay(now, client, peer, data)
    }

    fn relay<'a>(
        &mut self,
        now: Instant,
        client: Client,
        peer: SocketAddr,
        data: &'a [u8],
    ) -> Option<ToPeer<'a>> {
        let found = self.by_client.get(&client).and_then(|r| Some((*r, self.allocations.get(r)?)));
        let Some((relay, allocation)) = found.filter(|(_, a)| a.is_permitted(now, peer.ip()))
        else {
            self.counters.dropped += 1;
            return None;
        };
        if !self.config.policy.permits(peer, |peer| self.by_relayed.contains_key(&peer)) {
            self.counters.forbidden += 1;
            return None;
        }
        if !self.users.may_relay(now, &allocation.user, data.len()) {
            self.counters.over_bandwidth += 1;
            return None;
        }
        self.counters.relayed[0] += data.len() as u64;
        let policy = &self.config.policy;
        let to = match (self.by_relayed.get(&peer), policy.is_media(peer)) {
            (Some(other), _) => Destination::Relay(*other),
            (None, Some(own)) => Destination::Media { own, port: policy.to_local(peer) },
            (None, None) => Destination::Peer(policy.to_local(peer)),
        };
        Some(ToPeer { relay, relayed: allocation.relayed, to, data })
    }

    fn remove(&mut self, relay: RelayId) {
        let Some(allocation) = self.allocations.remove(&relay) else { return };
        self.by_client.remove(&allocation.client);
        self.by_relayed.remove(&allocation.relayed);
        self.expiry.cancel(&relay);
        self.users.end(&allocation.user);
        self.outputs.push_back(Output::Close { relay });
    }

    fn unix(&self, now: Instant) -> u64 {
        let (then, unix) = self.config.clock;
        unix.saturating_add(now.saturating_duration_since(then).as_secs())
    }
}

/// Longer packets do not come over a path without jumbo frames.
const MAX_DATA: usize = 2048;
/// RFC 8656 §3.2: what a client gets that asks for nothing else, and the most it can get.
const LIFETIME: Duration = Duration::from_secs(600);
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;

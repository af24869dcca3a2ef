//! One relayed port: whose it is, whom it may talk to, and by which channels (RFC 8656 §3, §12).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Client;
use super::stun::Transaction;

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    pub(super) username: String,
    pub(super) user: Arc<str>,
    pub(super) key: [u8; 16],
    /// Of the request that made it, which may be repeated.
    pub(super) transaction: Transaction,
    /// As clients and peers know it; its port is 0 until there is a socket.
    pub(super) relayed: SocketAddr,
    pub(super) expires: Instant,
    /// Until when it may be refreshed.
    pub(super) last: Instant,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<Channel, Bound>,
    channel_of: BTreeMap<SocketAddr, Channel>,
}

/// A number from 0x4000 to 0x4fff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Channel(pub(super) u16);

#[derive(Debug)]
struct Bound {
    peer: SocketAddr,
    expires: Instant,
}

/// Why a channel cannot be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unbound {
    /// Number or peer are bound otherwise.
    Conflict,
    Full,
}

impl Allocation {
    #[expect(clippy::too_many_arguments, reason = "each is said once, by the one caller")]
    pub(super) fn new(
        client: Client,
        username: String,
        user: Arc<str>,
        key: [u8; 16],
        transaction: Transaction,
        relayed: SocketAddr,
        expires: Instant,
        last: Instant,
    ) -> Self {
        Self {
            client,
            username,
            user,
            key,
            transaction,
            relayed,
            expires,
            last,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            channel_of: BTreeMap::new(),
        }
    }

    pub(super) fn is_permitted(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|expires| *expires > now)
    }

    /// Lets these in and out, or none of them when there are too many.
    pub(super) fn permit(&mut self, now: Instant, ips: &[IpAddr]) -> bool {
        let fresh = ips.iter().filter(|ip| !self.permissions.contains_key(ip)).count();
        if self.permissions.len() + fresh > MAX_PERMISSIONS {
            self.permissions.retain(|ip, expires| *expires > now || ips.contains(ip));
        }
        if self.permissions.len() + fresh > MAX_PERMISSIONS {
            return false;
        }
        self.permissions.extend(ips.iter().map(|ip| (*ip, now + PERMISSION_LIFE)));
        true
    }

    pub(super) fn bind(
        &mut self,
        now: Instant,
        channel: Channel,
        peer: SocketAddr,
    ) -> Result<(), Unbound> {
        self.channels.retain(|_, bound| bound.expires > now);
        self.channel_of.retain(|_, channel| self.channels.contains_key(channel));
        let other = self.channels.get(&channel).is_some_and(|bound| bound.peer != peer);
        if other || self.channel_of.get(&peer).is_some_and(|bound| *bound != channel) {
            return Err(Unbound::Conflict);
        }
        let is_new = !self.channels.contains_key(&channel);
        if (is_new && self.channels.len() >= MAX_CHANNELS) || !self.permit(now, &[peer.ip()]) {
            return Err(Unbound::Full);
        }
        self.channels.insert(channel, Bound { peer, expires: now + CHANNEL_LIFE });
        self.channel_of.insert(peer, channel);
        Ok(())
    }

    pub(super) fn peer_of(&self, now: Instant, channel: Channel) -> Option<SocketAddr> {
        let bound = self.channels.get(&channel).filter(|bound| bound.expires > now)?;
        Some(bound.peer)
    }

    pub(super) fn channel_to(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let channel = *self.channel_of.get(&peer)?;
        self.peer_of(now, channel).map(|_| channel.0)
    }
}

/// RFC 8656 §9.
const PERMISSION_LIFE: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
const CHANNEL_LIFE: Duration = Duration::from_secs(600);
/// A call has a handful of candidates on the other side.
const MAX_PERMISSIONS: usize = 64;
const MAX_CHANNELS: usize = 64;

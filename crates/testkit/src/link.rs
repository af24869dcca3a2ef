//! Datagrams on their way, and what happens to them there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::Rng;

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub loss_percent: u32,
    pub repeat_percent: u32,
    /// Each datagram takes a random time up to this, so they overtake each other.
    pub delay: Duration,
}

impl Link {
    /// A network without faults.
    pub const GOOD: Self =
        Self { loss_percent: 0, repeat_percent: 0, delay: Duration::from_millis(1) };
    /// A mobile network on a bad day.
    pub const BAD: Self =
        Self { loss_percent: 15, repeat_percent: 5, delay: Duration::from_millis(120) };
}

#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Bytes,
}

/// Everything that is under way.
#[derive(Debug)]
pub(crate) struct Wire {
    link: Link,
    rng: Rng,
    under_way: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
}

impl Wire {
    pub(crate) fn new(link: Link, rng: Rng) -> Self {
        Self { link, rng, under_way: BTreeMap::new(), sent: 0 }
    }

    pub(crate) fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    pub(crate) fn send(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: &Bytes) {
        let copies = 1 + u32::from(self.rng.below(100) < self.link.repeat_percent);
        for _ in 0..copies {
            if self.rng.below(100) < self.link.loss_percent {
                continue;
            }
            let most = u32::try_from(self.link.delay.as_micros()).unwrap_or(u32::MAX).max(1);
            let delay = Duration::from_micros(u64::from(self.rng.below(most)) + 100);
            self.sent += 1;
            let datagram = Datagram { from, to, bytes: bytes.clone() };
            self.under_way.insert((now + delay, self.sent), datagram);
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Datagram> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

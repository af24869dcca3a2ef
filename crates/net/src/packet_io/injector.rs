//! Sends datagrams from any address and port of this host below the IP stack: a load that costs
//! little, for benches.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::time::Instant;

use crosspoint_media::shard::BATCH;
use socket2::{Domain, Socket, Type};

use super::header::{self, HEADERS};
use super::mmsg::{self, Buffer, HEADROOM, Mmsg, Name, Outgoing};
use super::next_hop::NextHops;

/// Needs `CAP_NET_RAW`.
pub struct Injector {
    raw: Socket,
    hops: NextHops,
    mmsg: Mmsg,
    buffers: Box<[Buffer]>,
    /// Interface and length of the frame in each buffer that is filled.
    filled: Vec<(u32, usize)>,
}

impl std::fmt::Debug for Injector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Injector").field("filled", &self.filled.len()).finish_non_exhaustive()
    }
}

impl Injector {
    /// # Errors
    /// When this user may not send frames.
    pub fn new() -> io::Result<Self> {
        let raw = Socket::new(Domain::PACKET, Type::RAW, None)?;
        mmsg::set_option(raw.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        Ok(Self {
            raw,
            hops: NextHops::new()?,
            mmsg: Mmsg::new(),
            buffers: mmsg::buffers(),
            filled: Vec::with_capacity(BATCH),
        })
    }

    /// Adds the datagram that `write` makes; false where the next hop is not known yet.
    pub fn push(
        &mut self,
        now: Instant,
        source: SocketAddrV4,
        destination: SocketAddrV4,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let Some(link) = self.hops.find(now, *destination.ip()) else { return false };
        let Some(buffer) = self.buffers.get_mut(self.filled.len()) else { return false };
        let len = HEADERS + write(buffer.get_mut(HEADROOM..).unwrap_or_default());
        let start = HEADROOM - HEADERS;
        let Some(frame) = buffer.get_mut(start..start + len) else { return false };
        header::write(frame, &link, source, destination);
        // A network card would have checked it: so the receiver need not, either (RFC 768).
        if let Some(checksum) = frame.get_mut(CHECKSUM..CHECKSUM + 2) {
            checksum.fill(0);
        }
        self.filled.push((link.interface, len));
        if self.filled.len() == self.buffers.len() {
            self.flush();
        }
        true
    }

    /// Sends what was added since the last time.
    pub fn flush(&mut self) {
        let Self { raw, mmsg, buffers, filled, .. } = self;
        let mut going = [Outgoing::default(); BATCH];
        let places = going.iter_mut().zip(buffers.iter().zip(filled.iter()));
        for (place, (buffer, (interface, len))) in places {
            let start = HEADROOM - HEADERS;
            let bytes = buffer.get(start..start + len).unwrap_or_default();
            *place = Outgoing { bytes, destination: Name::interface(*interface) };
        }
        mmsg.send(raw.as_fd(), going.get(..filled.len()).unwrap_or_default());
        filled.clear();
    }
}

/// Where the checksum of UDP stands in a frame.
const CHECKSUM: usize = HEADERS - 2;

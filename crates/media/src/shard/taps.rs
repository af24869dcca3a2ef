//! Copies of what legs say, for recorders, streams and capture files: one branch for a leg that has
//! none.

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::LegId;

use super::legs::Place;
use super::packets::Kind;
use super::{Shard, SocketId};
use crate::capture::{CaptureWriter, Meaning, Shape};
use crate::codec::Codec;
use crate::control::Tap;
use crate::rtp::Header;
use crate::tap::TapWriter;

/// Where copies go, for the whole shard.
#[derive(Debug, Default)]
pub(super) struct Taps {
    record: Option<TapWriter>,
    stream: Option<TapWriter>,
    capture: Option<CaptureWriter>,
    /// Of how many packets of a new leg the header is captured.
    headers: u16,
}

/// Which copies of a leg are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tapped {
    record: bool,
    stream: bool,
    /// With their payloads.
    is_whole: bool,
    /// Packets that are still to be captured.
    left: u32,
}

impl Tapped {
    pub(super) fn is_on(self) -> bool {
        self.record || self.stream
    }

    pub(super) fn captures(self) -> bool {
        self.left > 0
    }

    pub(super) fn set(&mut self, tap: Tap, is_on: bool) {
        match tap {
            Tap::Record => self.record = is_on,
            Tap::Stream => self.stream = is_on,
        }
    }

    /// So many packets are captured from now on, payloads and all.
    pub(super) fn capture(&mut self, packets: u32) {
        self.left = packets;
        self.is_whole = packets > 0;
    }
}

impl Taps {
    /// What is wanted of a leg that nothing was said of.
    pub(super) fn of_new_leg(&self) -> Tapped {
        let left = if self.capture.is_some() { u32::from(self.headers) } else { 0 };
        Tapped { left, ..Tapped::default() }
    }

    /// Copies a packet of `leg` to everybody who wants it.
    pub(super) fn copy(
        &mut self,
        now: Instant,
        (leg, tapped): (LegId, Tapped),
        codec: Codec,
        header: &Header,
        packet: &[u8],
    ) {
        let Some(payload) = header.payload(packet) else { return };
        let record = self.record.as_mut().filter(|_| tapped.record);
        let stream = self.stream.as_mut().filter(|_| tapped.stream);
        for writer in record.into_iter().chain(stream) {
            writer.write(now, leg, codec, header, payload);
        }
    }
}

impl Shard {
    /// Sets where copies of tapped legs go.
    pub fn set_taps(&mut self, record: Option<TapWriter>, stream: Option<TapWriter>) {
        (self.taps.record, self.taps.stream) = (record, stream);
    }

    /// Sets where captured packets go; of so many packets of each new leg the header is captured
    /// without being asked for.
    pub fn set_capture(&mut self, capture: Option<CaptureWriter>, headers: u16) {
        (self.taps.capture, self.taps.headers) = (capture, headers);
    }

    /// Captures an RTP packet in the clear, or its header.
    pub(super) fn capture(
        &mut self,
        now: Instant,
        place: Place,
        kind: Kind,
        header: &Header,
        packet: &[u8],
    ) {
        let Some((_, leg)) = self.legs.at_mut(place) else { return };
        leg.taps.left = leg.taps.left.saturating_sub(1);
        let length = if leg.taps.is_whole { packet.len() } else { header.len };
        let meaning = match kind {
            Kind::Audio(codec) => Meaning::Sound(codec),
            Kind::Event { clock } => Meaning::Events(clock),
            Kind::Noise => Meaning::Noise,
            Kind::Unknown => Meaning::Unknown,
        };
        self.write_captured(now, place, meaning, packet, length);
    }

    /// The same for RTCP, which is never cut: nothing of what is said is in it.
    pub(super) fn capture_report(&mut self, now: Instant, place: Place, packet: &[u8]) {
        self.write_captured(now, place, Meaning::Rtcp, packet, packet.len());
    }

    fn write_captured(
        &mut self,
        now: Instant,
        place: Place,
        meaning: Meaning,
        packet: &[u8],
        length: usize,
    ) {
        let Some((id, leg)) = self.legs.at(place) else { return };
        let is_rtcp = meaning == Meaning::Rtcp;
        // Nothing else is let in by now.
        let peer = if is_rtcp { leg.report_destination() } else { leg.destination() };
        let Some((socket, remote)) = peer else { return };
        let shape = Shape {
            leg: id,
            local: self.told_address(place, socket, remote),
            remote,
            meaning,
            was_encrypted: leg.crypto.is_some(),
            length: packet.len(),
        };
        let bytes = packet.get(..length.min(packet.len())).unwrap_or_default();
        if let Some(writer) = &mut self.taps.capture {
            writer.write(now, &shape, bytes);
        }
    }

    /// Which address of ours a peer sends to, as it was told.
    fn told_address(&self, place: Place, socket: SocketId, remote: SocketAddr) -> SocketAddr {
        let config = &self.config;
        let Some((_, leg)) = self.legs.at(place) else { return remote };
        let settled = leg.place().map(|place| place.address);
        if leg.browser.is_none() {
            let ip = settled.unwrap_or(config.rtp_address);
            return SocketAddr::new(ip, leg.local_port + u16::from(socket.is_rtcp()));
        }
        // What comes over TCP or our relay was told otherwise, but is the same to a reader.
        let fits = |ours: &&SocketAddr| ours.is_ipv4() == remote.is_ipv4();
        let addresses = &config.browser_addresses;
        let ours = addresses.iter().find(fits).or_else(|| addresses.first()).copied();
        let ours = ours.unwrap_or(remote);
        settled.map_or(ours, |ip| SocketAddr::new(ip, ours.port()))
    }
}

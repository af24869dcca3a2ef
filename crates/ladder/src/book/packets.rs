//! Captured packets of media, under the calls that they are of and in bounds of their own: a capture
//! that was asked for pushes out no message of any call.

use std::mem;

use crosspoint_base::LegId;

use super::Ladders;
use crate::entry::Packet;

impl Ladders {
    /// A packet of a leg was captured; whose line that is is found here. What is too much for its
    /// call is dropped; when it is too much in all, the packets of the oldest call go.
    pub fn packet(&mut self, leg: LegId, packet: Packet) {
        let place = self.by_leg.get(&leg).copied();
        let Some((place, kept)) = place.and_then(|p| Some((p, self.kept.get_mut(&p.call)?))) else {
            return;
        };
        let cost = size_of::<Packet>() + packet.bytes.len();
        if kept.packet_bytes + cost > self.config.capture_bytes / CALL_SHARE {
            self.counters.packets_dropped += 1;
            return;
        }
        kept.packets.push(Packet { line: place.line, ..packet });
        kept.packet_bytes += cost;
        self.packet_bytes += cost;
        self.counters.packets += 1;
        self.captured.insert(place.call);
        while self.packet_bytes > self.config.capture_bytes
            && let Some(oldest) = self.captured.pop_first()
        {
            self.forget_packets(oldest);
        }
    }

    fn forget_packets(&mut self, at: u64) {
        let Some(kept) = self.kept.get_mut(&at) else { return };
        self.counters.packets_dropped += mem::take(&mut kept.packets).len() as u64;
        self.packet_bytes -= mem::take(&mut kept.packet_bytes);
    }
}

/// One in so many bytes of packets is for one call.
const CALL_SHARE: usize = 4;

//! The last packets that were sent, for those who miss one.

use std::time::{Duration, Instant};

use crate::rtp::Header;

/// A ring of packets by number. Its buffers are used again, so that in the long run it
/// allocates nothing.
#[derive(Debug, Default)]
pub(in crate::shard) struct Cache {
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    bytes: Vec<u8>,
    /// The header of what is kept, where only the payload is.
    header: Option<Header>,
    seq: Option<u16>,
    resent: Option<Instant>,
}

impl Cache {
    pub(in crate::shard) fn clear(&mut self) {
        self.slots = Vec::new();
    }

    /// Keeps a packet: as it went out, or its payload with the header to be made again.
    pub(in crate::shard) fn keep(&mut self, seq: u16, header: Option<Header>, bytes: &[u8]) {
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SIZE];
        }
        let Some(slot) = self.slots.get_mut(usize::from(seq) % SIZE) else { return };
        slot.bytes.clear();
        slot.bytes.extend_from_slice(bytes);
        (slot.header, slot.seq, slot.resent) = (header, Some(seq), None);
    }

    /// A packet that is missed; not twice in a moment.
    pub(in crate::shard) fn take(
        &mut self,
        now: Instant,
        seq: u16,
    ) -> Option<(Option<Header>, &[u8])> {
        let slot = self.slots.get_mut(usize::from(seq) % SIZE).filter(|s| s.seq == Some(seq))?;
        let is_recent = |then: Instant| now.saturating_duration_since(then) < MOMENT;
        if slot.resent.is_some_and(is_recent) {
            return None;
        }
        slot.resent = Some(now);
        Some((slot.header, &slot.bytes))
    }
}

/// A second at 3 Mbit/s.
const SIZE: usize = 256;
/// Less than a question needs for its way.
const MOMENT: Duration = Duration::from_millis(10);

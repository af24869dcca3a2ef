//! What a leg's pictures come to: over its life, and in the last seconds.

use std::time::{Duration, Instant};

use super::VideoStream;
use crate::control::{VideoSample, VideoStats};

/// What was counted when the last sample was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sampled {
    at: Option<Instant>,
    received: u64,
    lost: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl VideoStream {
    pub(in crate::shard) fn stats(&self) -> Option<VideoStats> {
        let figures = self.receiving.stats(&self.outgoing);
        Some(VideoStats {
            codec: self.codec?,
            packets_received: figures.packets_received,
            packets_sent: figures.packets_sent,
            packets_lost: figures.packets_lost.saturating_sub(self.packets_repaired),
            lost_at_peer: self
                .told_by_peer
                .map(|told| told.total_lost.max(0).unsigned_abs().into()),
            key_frames_wanted: self.key_frames.wanted,
            key_frames_asked: self.key_frames.total,
        })
    }

    /// How it did since the last sample; nothing for the first time, and without pictures.
    pub(in crate::shard) fn sample(&mut self, now: Instant) -> Option<VideoSample> {
        let stats = self.stats()?;
        let counted = Sampled {
            at: Some(now),
            received: stats.packets_received,
            lost: stats.packets_lost,
            bytes_in: self.receiving.bytes,
            bytes_out: self.outgoing.bytes,
        };
        let before = std::mem::replace(&mut self.sampled, counted);
        let config = self.config.as_ref()?;
        let elapsed = now.saturating_duration_since(before.at?);
        if elapsed < LEAST {
            return None;
        }
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let rate = |after: u64, before: u64| 8000 * after.saturating_sub(before) / millis;
        Some(VideoSample {
            codec: stats.codec,
            rate_in: rate(counted.bytes_in, before.bytes_in),
            rate_out: rate(counted.bytes_out, before.bytes_out),
            packets_received: counted.received.saturating_sub(before.received),
            packets_lost: counted.lost.saturating_sub(before.lost),
            loss_at_peer: self.told_by_peer.map(|told| f32::from(told.fraction_lost) / 256.0),
            limit: self.limit(config),
        })
    }
}

/// In less nothing can be seen.
const LEAST: Duration = Duration::from_millis(500);

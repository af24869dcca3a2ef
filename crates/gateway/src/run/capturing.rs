//! Packets of calls for capture files: from the media threads to the ladders, and which calls are
//! captured whole.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_call::View;
use crosspoint_ladder::LadderConfig;
use crosspoint_media::capture::{self, CaptureReader};
use crosspoint_media::control::Command;
use crosspoint_net::MediaTaps;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::driver::Wish;
use super::media_plane::MediaPlane;

/// Whether anything is kept of packets.
pub(super) fn is_on(config: &LadderConfig) -> bool {
    config.calls > 0 && config.capture_bytes > 0
}

/// Where media threads put packets, and who reads them.
pub(super) fn start(
    config: &LadderConfig,
    threads: usize,
    taps: &mut MediaTaps,
) -> Option<CaptureReader> {
    if !is_on(config) {
        return None;
    }
    let (writers, reader) = capture::rings(threads, RING, Instant::now());
    (taps.capture, taps.capture_headers) = (writers, config.rtp_packets);
    Some(reader)
}

/// Has what was captured filed now and then, for as long as there is a node.
pub(super) fn remind(config: &LadderConfig, wishes: &mpsc::Sender<Wish>) {
    if !is_on(config) {
        return;
    }
    let wishes = wishes.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FILING).await;
            if wishes.send(Wish::File).await.is_err() {
                return;
            }
        }
    });
}

/// A call whose packets are captured whole: so many of each side, whoever speaks there.
#[derive(Debug)]
pub(super) struct Capturing {
    packets: NonZeroU32,
    legs: [Option<LegId>; 2],
}

impl Capturing {
    pub(super) fn new(packets: NonZeroU32) -> Self {
        Self { packets, legs: [None; 2] }
    }

    /// Follows who speaks on the sides.
    pub(super) fn follow(&mut self, view: &View, media: &MediaPlane) {
        for (captured, speaker) in self.legs.iter_mut().zip(view.speakers) {
            if *captured == speaker {
                continue;
            }
            if let Some(leg) = captured.take() {
                media.send(Command::Capture { leg, packets: 0 });
            }
            if let Some(leg) = speaker {
                media.send(Command::Capture { leg, packets: self.packets.get() });
            }
            *captured = speaker;
        }
    }

    pub(super) fn end(self, media: &MediaPlane) {
        for leg in self.legs.into_iter().flatten() {
            media.send(Command::Capture { leg, packets: 0 });
        }
    }

    pub(super) fn shown(&self) -> Value {
        json!({ "packets": self.packets })
    }
}

/// How often packets are filed.
const FILING: Duration = Duration::from_millis(500);
/// Of each thread: for the beginnings of 500 calls within that time, or 80 calls captured whole.
const RING: usize = 1024 * 1024;

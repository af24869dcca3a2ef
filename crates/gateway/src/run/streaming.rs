//! Streams of running calls to services over WebSocket: which legs they hear, and what legs hear
//! of them.

use std::sync::Arc;

use crosspoint_base::LegId;
use crosspoint_call::View;
use crosspoint_media::clip::SoundQueue;
use crosspoint_media::control::{Command, Laid, LaidSound, Layer, Tap};
use crosspoint_net::{Encoding, SoundStreams, StreamId, StreamRequest};
use serde_json::{Value, json};

use super::media_plane::MediaPlane;
use crate::calls::{Side, StreamMode, StreamWish};
use crate::config::Stream;
use crate::provisioning::Refusal;

/// Where streams may go, and the means to open them.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) streams: SoundStreams,
    pub(super) config: Arc<Stream>,
    next: u64,
}

/// The stream of one call.
#[derive(Debug)]
pub(super) struct Streaming {
    pub(super) id: StreamId,
    url: String,
    is_open: bool,
    mode: StreamMode,
    /// By side.
    queues: [Option<Arc<SoundQueue>>; 2],
    sides: [bool; 2],
    tapped: [Option<LegId>; 2],
}

impl Streams {
    pub(super) fn new(streams: SoundStreams, config: Arc<Stream>) -> Self {
        Self { streams, config, next: 0 }
    }

    /// Opens the stream of a call, if it may go there.
    pub(super) fn open(&mut self, view: &View, wish: StreamWish) -> Result<Streaming, Refusal> {
        let StreamWish { side, url, rate, encoding, mode, metadata } = wish;
        if !self.config.permits(&url) {
            let why = "does not begin with one of stream.allow in the configuration".to_owned();
            return Err(Refusal::Invalid { member: "url", why });
        }
        self.next += 1;
        let id = StreamId(self.next);
        let sides = [side != Side::Called, side != Side::Caller];
        let queue =
            |is_on| (is_on && mode != StreamMode::Listen).then(|| Arc::new(SoundQueue::new()));
        let queues = sides.map(queue);
        let words: Vec<&str> = ["caller", "called"]
            .into_iter()
            .zip(sides)
            .filter(|(_, on)| *on)
            .map(|(w, _)| w)
            .collect();
        let format = match encoding {
            Encoding::L16 => json!({
                "encoding": "l16", "byte_order": "little", "rate": rate, "channels": 1, "frame_ms": 20
            }),
            Encoding::Opus => {
                json!({ "encoding": "opus", "rate": rate, "channels": 1, "frame_ms": 20 })
            }
        };
        let hello = json!({
            "event": "start",
            "version": 1,
            "gcid": view.gcid.as_str(),
            "from": view.from.address.expose(),
            "to": view.to.expose(),
            "sides": words,
            "mode": mode.word(),
            "format": format,
            "metadata": metadata,
        });
        let request = StreamRequest {
            url: url.clone(),
            token: self.config.token.clone(),
            hello: hello.to_string(),
            rate,
            encoding,
            queues: queues.clone(),
        };
        self.streams.open(id, request);
        Ok(Streaming { id, url, is_open: false, mode, queues, sides, tapped: [None; 2] })
    }
}

impl Streaming {
    pub(super) fn opened(&mut self) {
        self.is_open = true;
    }

    /// Which side of the call a leg of the stream is on.
    pub(super) fn side_of(&self, leg: LegId) -> Option<&'static str> {
        let side = self.tapped.iter().position(|tapped| *tapped == Some(leg))?;
        Some(["caller", "called"][side])
    }

    /// Follows who speaks on the sides.
    pub(super) fn listen(&mut self, view: &View, streams: &SoundStreams, media: &MediaPlane) {
        for (side, (speaker, is_on)) in view.speakers.into_iter().zip(self.sides).enumerate() {
            let speaker = speaker.filter(|_| is_on);
            if self.tapped[side] == speaker {
                continue;
            }
            if let Some(before) = self.tapped[side].take() {
                release(before, streams, media);
            }
            if let Some(leg) = speaker {
                streams.listen(leg, Some((self.id, side)));
                media.send(Command::Tap { leg, tap: Tap::Stream, is_on: true });
                if let Some(queue) = &self.queues[side] {
                    let sound = LaidSound::Live(queue.clone());
                    let laid = Some(Laid { sound, replaces: self.mode == StreamMode::Replace });
                    media.send(Command::Overlay { leg, layer: Layer::Stream, laid });
                }
            }
            self.tapped[side] = speaker;
        }
    }

    /// Leaves the call as it was.
    pub(super) fn end(self, streams: &SoundStreams, media: &MediaPlane) {
        for leg in self.tapped.into_iter().flatten() {
            release(leg, streams, media);
        }
        streams.close(self.id);
    }

    pub(super) fn shown(&self) -> Value {
        let state = if self.is_open { "open" } else { "connecting" };
        json!({ "state": state, "url": self.url, "mode": self.mode.word() })
    }
}

fn release(leg: LegId, streams: &SoundStreams, media: &MediaPlane) {
    streams.listen(leg, None);
    media.send(Command::Tap { leg, tap: Tap::Stream, is_on: false });
    media.send(Command::Overlay { leg, layer: Layer::Stream, laid: None });
}

//! The conversation with a service: sound both ways in binary messages, everything else as JSON.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crosspoint_media::clip::SoundQueue;
use crosspoint_media::codec::{Codec, Decoder, Encoder, Resampler, Switches};
use crosspoint_media::jitter::JitterBuffer;
use crosspoint_media::tap::Tapped;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;

use super::dial::Socket;
use super::{Encoding, StreamRequest, until_stopped};

/// What a stream is fed with.
pub(super) struct Inputs {
    pub(super) packets: mpsc::Receiver<(usize, Tapped)>,
    pub(super) texts: mpsc::Receiver<String>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// One side on its way to the service.
struct Outward {
    codec: Codec,
    buffer: JitterBuffer,
    convert: Option<Resampler>,
    pcm: Vec<i16>,
    converted: Vec<i16>,
}

/// What of a side outlives a change of its codec.
struct Written {
    /// None for plain samples.
    encoder: Option<Encoder>,
    coded: Vec<u8>,
    count: u16,
}

impl Outward {
    fn new(codec: Codec, rate: u32) -> Self {
        let own = codec.common_rate(codec);
        Self {
            codec,
            buffer: JitterBuffer::new(codec, own),
            convert: (own != rate).then(|| Resampler::new(own, rate)),
            pcm: Vec::new(),
            converted: Vec::new(),
        }
    }

    /// The next 20 ms.
    fn frame(&mut self) -> &[i16] {
        self.buffer.pull(&mut self.pcm);
        match &mut self.convert {
            Some(convert) => {
                self.converted.clear();
                convert.process(&self.pcm, &mut self.converted);
                &self.converted
            }
            None => &self.pcm,
        }
    }
}

impl Written {
    fn new(encoding: Encoding, rate: u32) -> Self {
        let encoder = (encoding == Encoding::Opus).then(|| Encoder::new(Codec::Opus, rate));
        Self { encoder, coded: Vec::new(), count: 0 }
    }

    fn message(&mut self, side: usize, pcm: &[i16]) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEAD + 2 * pcm.len());
        message.extend_from_slice(&[side as u8, 0]);
        message.extend_from_slice(&self.count.to_le_bytes());
        self.count = self.count.wrapping_add(1);
        match &mut self.encoder {
            Some(encoder) => {
                encoder.encode(pcm, &mut self.coded);
                message.extend_from_slice(&self.coded);
            }
            None => message.extend(pcm.iter().flat_map(|s| s.to_le_bytes())),
        }
        message
    }
}

/// One side's sound from the service.
struct Inward {
    queue: Arc<SoundQueue>,
    /// None for plain samples. It decodes at the queue's rate.
    decoder: Option<Decoder>,
    convert: Option<Resampler>,
    /// Names of places, with how much has to be played before each.
    marks: VecDeque<(u64, String)>,
}

impl Inward {
    fn new(queue: Arc<SoundQueue>, encoding: Encoding, rate: u32) -> Self {
        let is_opus = encoding == Encoding::Opus;
        Self {
            queue,
            decoder: is_opus.then(|| Decoder::new(Codec::Opus, QUEUE_RATE)),
            convert: (!is_opus && rate != QUEUE_RATE).then(|| Resampler::new(rate, QUEUE_RATE)),
            marks: VecDeque::new(),
        }
    }

    /// Takes a message's sound; gives how many samples there was no room for, or nothing when it
    /// is no sound.
    fn take(&mut self, sound: &[u8]) -> Option<usize> {
        let mut samples = Vec::new();
        match &mut self.decoder {
            // To libopus that would be a lost packet.
            Some(_) if sound.is_empty() => return None,
            Some(decoder) => {
                decoder.decode(sound, &mut samples);
                if samples.is_empty() {
                    return None;
                }
            }
            None if sound.len() % 2 == 1 => return None,
            None => {
                let (pairs, _) = sound.as_chunks::<2>();
                samples.extend(pairs.iter().map(|b| i16::from_le_bytes(*b)));
            }
        }
        if let Some(convert) = &mut self.convert {
            let plain = std::mem::take(&mut samples);
            convert.process(&plain, &mut samples);
        }
        Some(samples.len() - self.queue.push(&samples))
    }

    fn passed(&mut self) -> Option<String> {
        let (_, played) = self.queue.progress();
        self.marks.pop_front_if(|(at, _)| *at <= played).map(|(_, name)| name)
    }
}

struct Talk<'a, F> {
    rate: u32,
    outward: [Option<Outward>; 2],
    written: [Written; 2],
    switches: [Switches; 2],
    inward: [Option<Inward>; 2],
    told: F,
    overrun: &'a AtomicU64,
}

/// Talks until it is over; gives the reason.
pub(super) async fn talk<F, D>(
    mut socket: Socket,
    request: StreamRequest,
    mut inputs: Inputs,
    told: F,
    overrun: &AtomicU64,
) -> &'static str
where
    F: Fn(usize, String) -> D,
    D: Future<Output = ()>,
{
    let StreamRequest { rate, encoding, .. } = request;
    let inward = |queue| Inward::new(queue, encoding, rate);
    let inward = request.queues.map(|queue| queue.map(inward));
    let written = [Written::new(encoding, rate), Written::new(encoding, rate)];
    let switches = [Switches::default(); 2];
    let mut talk = Talk { rate, outward: [None, None], written, switches, inward, told, overrun };
    if let Err(reason) = send(&mut socket, Message::text(request.hello)).await {
        return reason;
    }
    let mut ticks = tokio::time::interval(FRAME);
    // What was not sent in time is lost, not sent in a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let reason = loop {
        let done = tokio::select! {
            () = until_stopped(&mut inputs.stopping) => break "stopped",
            Some((side, packet)) = inputs.packets.recv() => {
                talk.hear(side, &packet);
                Ok(())
            }
            Some(text) = inputs.texts.recv() => send(&mut socket, Message::text(text)).await,
            _ = ticks.tick() => talk.tick(&mut socket).await,
            message = socket.next() => talk.said(message).await,
        };
        if let Err(reason) = done {
            break reason;
        }
    };
    let stop = json!({ "event": "stop", "reason": reason }).to_string();
    let leave = async {
        let _ = send(&mut socket, Message::text(stop)).await;
        let _ = socket.close(None).await;
    };
    let _ = tokio::time::timeout(LEAVE_TIME, leave).await;
    reason
}

impl<F, D> Talk<'_, F>
where
    F: Fn(usize, String) -> D,
    D: Future<Output = ()>,
{
    fn hear(&mut self, side: usize, packet: &Tapped) {
        let Some(outward) = self.outward.get_mut(side) else { return };
        if outward.as_ref().is_none_or(|outward| outward.codec != packet.codec) {
            // One that changes its codec with every packet would have us do nothing else.
            if !self.switches[side].allow(packet.at) {
                return;
            }
            *outward = Some(Outward::new(packet.codec, self.rate));
        }
        if let Some(Outward { buffer, .. }) = outward {
            buffer.push(packet.at, packet.ssrc, packet.seq, packet.timestamp, &packet.payload);
        }
    }

    async fn tick(&mut self, socket: &mut Socket) -> Result<(), &'static str> {
        let sides = self.outward.iter_mut().zip(&mut self.written).enumerate();
        for (side, (outward, written)) in sides {
            let Some(outward) = outward else { continue };
            send(socket, Message::binary(written.message(side, outward.frame()))).await?;
        }
        for (side, inward) in self.inward.iter_mut().enumerate() {
            while let Some(name) = inward.as_mut().and_then(Inward::passed) {
                let mark = json!({ "event": "mark", "side": SIDES[side], "name": name });
                send(socket, Message::text(mark.to_string())).await?;
            }
        }
        Ok(())
    }

    async fn said(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), &'static str> {
        match message {
            Some(Ok(Message::Binary(bytes))) => self.sound(&bytes),
            Some(Ok(Message::Text(text))) => self.order(text.as_str()).await,
            // Pings are answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Close(_))) => Err("by_service"),
            Some(Err(_)) | None => Err("lost"),
        }
    }

    fn sound(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let Some((head, sound)) = bytes.split_at_checked(HEAD) else { return Err("malformed") };
        let side = usize::from(head[0]);
        let side = self.inward.get_mut(side).ok_or("malformed")?;
        // A side that is only listened to.
        let Some(inward) = side else { return Ok(()) };
        let lost = inward.take(sound).ok_or("malformed")?;
        self.overrun.fetch_add(lost as u64 / 16, Ordering::Relaxed);
        Ok(())
    }

    async fn order(&mut self, text: &str) -> Result<(), &'static str> {
        let Ok(order) = serde_json::from_str::<Value>(text) else { return Err("malformed") };
        let word = |member: &str| order[member].as_str().unwrap_or_default();
        let named = SIDES.iter().position(|side| *side == word("side"));
        let sides = self.inward.iter_mut().enumerate();
        let sides = sides.filter(|(side, _)| named.is_none_or(|named| named == *side));
        match word("event") {
            "stop" => return Err("by_service"),
            "clear" => {
                for inward in sides.filter_map(|(_, inward)| inward.as_mut()) {
                    inward.queue.clear();
                }
            }
            "mark" => {
                let name: String = word("name").chars().take(MAX_NAME).collect();
                for inward in sides.filter_map(|(_, inward)| inward.as_mut()) {
                    if inward.marks.len() < MAX_MARKS {
                        let (until, _) = inward.queue.progress();
                        inward.marks.push_back((until, name.clone()));
                    }
                }
            }
            "dtmf" => {
                let is_key = |c: &char| c.is_ascii_digit() || "*#ABCD".contains(*c);
                let digits: String = word("digits").chars().filter(is_key).take(32).collect();
                if let Some(side) = named.filter(|_| !digits.is_empty()) {
                    (self.told)(side, digits).await;
                }
            }
            // What a later version says is no mistake.
            _ => {}
        }
        Ok(())
    }
}

/// Sends, unless the service has not read for too long.
async fn send(socket: &mut Socket, message: Message) -> Result<(), &'static str> {
    let began = Instant::now();
    match tokio::time::timeout(UNREAD, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("lost"),
        Err(_) => {
            tracing::warn!(waited = ?began.elapsed(), "a service for sound does not read");
            Err("unread")
        }
    }
}

/// In Hz.
const QUEUE_RATE: u32 = 16_000;
/// Before the samples of a binary message.
const HEAD: usize = 4;
const FRAME: Duration = Duration::from_millis(20);
const UNREAD: Duration = Duration::from_secs(3);
const LEAVE_TIME: Duration = Duration::from_secs(1);
const SIDES: [&str; 2] = ["caller", "called"];
const MAX_NAME: usize = 128;
const MAX_MARKS: usize = 64;

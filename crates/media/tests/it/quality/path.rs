//! The way of sound: encoded, over a network, through the jitter buffer, and encoded anew.

use std::time::{Duration, Instant};

use crosspoint_base::Rng;
use crosspoint_media::codec::{Codec, Decoder, Encoder};
use crosspoint_media::jitter::{JitterBuffer, Played};

use super::speech::spoken;

/// What a network does to packets, the same for the same seed.
pub(super) struct Network {
    pub(super) seed: u64,
    /// Percent of packets lost.
    pub(super) loss: u32,
    /// The most a packet is late, in milliseconds; more than a packet time changes the order.
    pub(super) jitter: u32,
    /// Milliseconds of sound in a packet.
    pub(super) packet: u32,
    pub(super) seconds: u32,
    /// What the encoder is told of loss; `None` leaves its guess.
    pub(super) told: Option<u8>,
    /// Plays nothing where sound is made up, to see the difference.
    pub(super) mutes_gaps: bool,
}

impl Network {
    pub(super) const GOOD: Self =
        Self { seed: 1, loss: 0, jitter: 0, packet: 20, seconds: 6, told: None, mutes_gaps: false };

    /// When each packet arrives, in order of arrival.
    fn arrivals(&self, count: usize) -> Vec<(Duration, usize)> {
        let mut rng = Rng::from_u64(self.seed);
        let mut out: Vec<(Duration, usize)> = (0..count)
            .filter_map(|index| {
                let late = if self.jitter == 0 { 0 } else { rng.below(self.jitter * 1000) };
                let sent = Duration::from_millis(u64::from(self.packet) * index as u64);
                let is_lost = rng.below(100) < self.loss;
                (!is_lost).then(|| (sent + Duration::from_micros(u64::from(40_000 + late)), index))
            })
            .collect();
        out.sort();
        out
    }
}

/// What arrives behind both codecs, at the rate both work at.
pub(super) fn translate(from: Codec, to: Codec, network: &Network) -> Vec<i16> {
    let rate = from.common_rate(to);
    let (mut encoder, mut decoder) = (Encoder::new(to, rate), Decoder::new(to, rate));
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    for frame in played(from, rate, network) {
        encoder.encode(&frame, &mut payload);
        decoder.decode(&payload, &mut out);
    }
    out
}

/// The frames that a jitter buffer plays.
fn played(from: Codec, rate: u32, network: &Network) -> Vec<Vec<i16>> {
    let payloads = said(from, network);
    let arrivals = network.arrivals(payloads.len());
    let mut arrivals = arrivals.iter().peekable();
    let mut buffer = JitterBuffer::new(from, rate);
    let ticks = from.clock_rate() * network.packet / 1000;
    let start = beginning();
    let mut frames = Vec::new();
    for n in 0..u64::from(network.seconds) * 50 {
        let now = Duration::from_millis(20 * n);
        while let Some((at, index)) = arrivals.next_if(|(at, _)| *at <= now) {
            let number = *index as u32;
            let (seq, timestamp) = ((65_500 + number) as u16, number.wrapping_mul(ticks));
            buffer.push(start + *at, 7, seq, timestamp, &payloads[*index]);
        }
        let mut frame = Vec::new();
        if buffer.pull(&mut frame) == Played::Concealed && network.mutes_gaps {
            frame.fill(0);
        }
        frames.push(frame);
    }
    frames
}

/// All that is said, in packets.
pub(super) fn said(codec: Codec, network: &Network) -> Vec<Vec<u8>> {
    let rate = codec.common_rate(codec);
    let samples = spoken(rate, 0.0, (rate * network.seconds) as usize);
    let pcm: Vec<i16> = samples.iter().map(|s| *s as i16).collect();
    let mut encoder = Encoder::new(codec, rate);
    network.told.into_iter().for_each(|percent| encoder.set_loss(percent));
    let packets = pcm.chunks_exact((rate / 1000 * network.packet) as usize).map(|frame| {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload);
        payload
    });
    packets.collect()
}

#[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
pub(super) fn beginning() -> Instant {
    Instant::now()
}

//! Audio codecs: what they are called in descriptions, and how to run them.
//!
//! Opus runs at the rate of the other leg, so it does the resampling (RFC 6716 §2).

mod g711;
mod resample;
mod switches;

use std::fmt;
use std::time::Duration;

use opusic_c::{Application, Channels, SampleRate};
pub use resample::Resampler;
pub use switches::Switches;

/// An audio codec we relay and translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    Opus,
    G722,
    Pcmu,
    Pcma,
    /// Plain samples at 16 kHz (RFC 3551 §4.5.11).
    L16Wide,
    /// Plain samples at 8 kHz.
    L16,
    /// Plain samples at 44.1 kHz (RFC 3551 §6, payload type 11).
    L16Cd,
}

impl Codec {
    /// Best first: the order of our own offers.
    pub const ALL: [Self; 4] = [Self::Opus, Self::G722, Self::Pcmu, Self::Pcma];
    /// What we take when it is offered; plain samples are too much for most networks to offer.
    pub const KNOWN: [Self; 7] =
        [Self::Opus, Self::G722, Self::Pcmu, Self::Pcma, Self::L16Wide, Self::L16, Self::L16Cd];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::G722 => "G722",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::L16Wide | Self::L16 | Self::L16Cd => "L16",
        }
    }

    /// The RTP clock. That of G.722 is 8000 for historical reasons (RFC 3551 §4.5.2).
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::L16Wide => 16_000,
            Self::L16Cd => 44_100,
            Self::G722 | Self::Pcmu | Self::Pcma | Self::L16 => 8000,
        }
    }

    /// How long a packet of ours may be when the peer wants `wanted`, in tens of milliseconds:
    /// Opus has no frames of 30 or 50 ms (RFC 6716 §2.1.4).
    #[must_use]
    pub fn packet_time(self, wanted: Duration) -> Duration {
        let tens = (wanted.as_millis() / 10).clamp(1, 6) as u64;
        let tens = match self {
            Self::Opus if tens > 1 => tens / 2 * 2,
            // 40 ms would be 1280 bytes, more than some paths carry whole.
            Self::L16Wide => tens.min(3),
            // 20 ms would be 1764.
            Self::L16Cd => 1,
            _ => tens,
        };
        Duration::from_millis(10 * tens)
    }

    /// The payload type of RFC 3551 §6, or the one we offer.
    #[must_use]
    pub fn default_pt(self) -> u8 {
        match self {
            Self::Opus => 111,
            Self::G722 => 9,
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::L16Wide => 112,
            Self::L16 => 113,
            Self::L16Cd => 11,
        }
    }

    #[must_use]
    pub fn channels(self) -> u8 {
        if self == Self::Opus { 2 } else { 1 }
    }

    #[must_use]
    pub fn from_description(codec: &crosspoint_sdp::Codec) -> Option<Self> {
        let is_ours = |c: &Self| {
            codec.is(c.name(), c.clock_rate())
                && (codec.channels <= 1 || !matches!(c, Self::L16Wide | Self::L16 | Self::L16Cd))
        };
        Self::KNOWN.into_iter().find(is_ours)
    }

    /// The sample rate to work at when sound goes between two codecs.
    #[must_use]
    pub fn common_rate(self, other: Self) -> u32 {
        let narrow = |c| matches!(c, Self::Pcmu | Self::Pcma | Self::L16);
        let full = |c| matches!(c, Self::Opus | Self::L16Cd);
        match (self, other) {
            _ if narrow(self) || narrow(other) => 8000,
            // Of two such, only Opus with itself is content with less: speech has no more.
            (Self::Opus, Self::Opus) => 16_000,
            _ if full(self) && full(other) => 48_000,
            _ => 16_000,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Turns payloads into samples at a chosen rate.
pub enum Decoder {
    Opus(Box<opusic_c::Decoder>),
    G722 { state: Box<audio_codec::g722::G722Decoder>, half: Option<Resampler> },
    Pcmu,
    Pcma,
    L16 { convert: Option<Resampler>, plain: Vec<i16> },
}

impl Decoder {
    /// `rate` is 8000, 16000 or 48000, from [`Codec::common_rate`].
    ///
    /// # Panics
    /// When libopus refuses mono at such a rate, which it does not.
    #[must_use]
    pub fn new(codec: Codec, rate: u32) -> Self {
        match codec {
            Codec::Opus => Self::Opus(Box::new(
                opusic_c::Decoder::new(Channels::Mono, opus_rate(rate))
                    .expect("libopus decodes mono at its own rates"),
            )),
            Codec::G722 => Self::G722 {
                state: Box::new(audio_codec::g722::G722Decoder::new()),
                half: (rate == 8000).then(|| Resampler::new(16_000, 8000)),
            },
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::L16Wide | Codec::L16 | Codec::L16Cd => {
                Self::L16 { convert: converter(codec.clock_rate(), rate), plain: Vec::new() }
            }
        }
    }

    /// Appends the samples of one payload; a broken payload appends nothing.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        match self {
            Self::Opus(decoder) => decode_opus(decoder, payload, MAX_FRAME, false, out),
            Self::G722 { state, half } => {
                let wide = state.decode_frame(payload);
                match half {
                    Some(half) => half.process(&wide, out),
                    None => out.extend_from_slice(&wide),
                }
            }
            Self::Pcmu => out.extend(payload.iter().map(|b| g711::from_ulaw(*b))),
            Self::Pcma => out.extend(payload.iter().map(|b| g711::from_alaw(*b))),
            Self::L16 { convert, plain } => {
                let samples = payload.chunks_exact(2).map(|b| i16::from_be_bytes([b[0], b[1]]));
                let Some(convert) = convert else { return out.extend(samples) };
                plain.clear();
                plain.extend(samples);
                convert.process(plain, out);
            }
        }
    }

    /// Opus can make up for a lost frame, from the next packet's redundancy when it is there.
    /// Says whether it did; for other codecs the jitter buffer conceals.
    pub fn conceal(&mut self, next: Option<&[u8]>, samples: usize, out: &mut Vec<i16>) -> bool {
        let Self::Opus(decoder) = self else { return false };
        let (payload, fec) = next.map_or((&[][..], false), |payload| (payload, true));
        decode_opus(decoder, payload, samples, fec, out);
        true
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

fn decode_opus(
    decoder: &mut opusic_c::Decoder,
    payload: &[u8],
    samples: usize,
    fec: bool,
    out: &mut Vec<i16>,
) {
    let mut pcm = [0u16; MAX_FRAME];
    let room = &mut pcm[..samples.min(MAX_FRAME)];
    if let Ok(count) = decoder.decode_to_slice(payload, room, fec) {
        out.extend(pcm.iter().take(count).map(|s| s.cast_signed()));
    }
}

/// Turns samples into payloads.
pub enum Encoder {
    Opus { state: Box<opusic_c::Encoder>, loss: u8 },
    G722 { state: Box<audio_codec::g722::G722Encoder>, double: Option<Resampler>, wide: Vec<i16> },
    Pcmu,
    Pcma,
    L16 { convert: Option<Resampler>, plain: Vec<i16> },
}

/// What an encoder is told besides its codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Of Opus: from 0, cheap, to 10. At these rates 5 costs half of 10 and is hardly told apart.
    pub complexity: u8,
    /// Opus says nearly nothing in pauses, as the peer asks for with `usedtx=1`
    /// (RFC 7587 §3.1.3).
    pub dtx: bool,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { complexity: 5, dtx: false }
    }
}

impl Encoder {
    /// # Panics
    /// When libopus refuses mono at such a rate, which it does not.
    #[must_use]
    pub fn new(codec: Codec, rate: u32) -> Self {
        Self::with(codec, rate, EncoderOptions::default())
    }

    /// # Panics
    /// When libopus refuses mono at such a rate, which it does not.
    #[must_use]
    pub fn with(codec: Codec, rate: u32, options: EncoderOptions) -> Self {
        match codec {
            Codec::Opus => {
                let mut encoder =
                    opusic_c::Encoder::new(Channels::Mono, opus_rate(rate), Application::Voip)
                        .expect("libopus encodes mono at its own rates");
                let _ = encoder.set_complexity(options.complexity.min(10));
                let _ = encoder.set_dtx(options.dtx);
                let _ = encoder.set_inband_fec(opusic_c::InbandFec::Mode1);
                let _ = encoder.set_packet_loss(LIKELY_LOSS);
                Self::Opus { state: Box::new(encoder), loss: LIKELY_LOSS }
            }
            Codec::G722 => Self::G722 {
                state: Box::new(audio_codec::g722::G722Encoder::new()),
                double: (rate == 8000).then(|| Resampler::new(8000, 16_000)),
                wide: Vec::new(),
            },
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::L16Wide | Codec::L16 | Codec::L16Cd => {
                Self::L16 { convert: converter(rate, codec.clock_rate()), plain: Vec::new() }
            }
        }
    }

    /// Tells how many percent of what we send are lost. Opus then spends as much on redundancy
    /// (RFC 6716 §2.1.7), and nothing when nothing is lost.
    pub fn set_loss(&mut self, percent: u8) {
        if let Self::Opus { state, loss } = self
            && *loss != percent.min(MOST_LOSS)
        {
            *loss = percent.min(MOST_LOSS);
            let _ = state.set_packet_loss(*loss);
        }
    }

    /// Encodes one frame into `out`, replacing what is there.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Opus { state, .. } => {
                let mut samples = [0u16; MAX_FRAME];
                let count = pcm.len().min(MAX_FRAME);
                for (to, from) in samples.iter_mut().zip(pcm) {
                    *to = from.cast_unsigned();
                }
                out.resize(MAX_PAYLOAD, 0);
                let length = state.encode_to_slice(&samples[..count], out).unwrap_or(0);
                out.truncate(length);
            }
            Self::G722 { state, double, wide } => {
                use audio_codec::Encoder as _;
                wide.clear();
                let pcm = match double {
                    Some(double) => {
                        double.process(pcm, wide);
                        &*wide
                    }
                    None => pcm,
                };
                out.resize(state.max_encode_bytes(pcm.len()), 0);
                let length = state.encode_into(pcm, out).unwrap_or(0);
                out.truncate(length);
            }
            Self::Pcmu => out.extend(pcm.iter().map(|s| g711::to_ulaw(*s))),
            Self::Pcma => out.extend(pcm.iter().map(|s| g711::to_alaw(*s))),
            Self::L16 { convert, plain } => {
                plain.clear();
                let pcm = match convert {
                    Some(convert) => {
                        convert.process(pcm, plain);
                        &*plain
                    }
                    None => pcm,
                };
                out.extend(pcm.iter().flat_map(|s| s.to_be_bytes()));
            }
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

fn converter(from: u32, to: u32) -> Option<Resampler> {
    (from != to).then(|| Resampler::new(from, to))
}

/// How many samples last so long.
#[must_use]
pub fn samples(rate: u32, length: Duration) -> usize {
    (u128::from(rate) * length.as_micros() / 1_000_000) as usize
}

fn opus_rate(rate: u32) -> SampleRate {
    match rate {
        48_000 => SampleRate::Hz48000,
        24_000 => SampleRate::Hz24000,
        16_000 => SampleRate::Hz16000,
        _ => SampleRate::Hz8000,
    }
}

/// Percent, as long as the peer has said nothing.
const LIKELY_LOSS: u8 = 5;
/// Percent; with more, sound of fewer bits is no help.
const MOST_LOSS: u8 = 30;
/// 120 ms at 48 kHz: the longest Opus packet.
const MAX_FRAME: usize = 5760;
/// Larger than any Opus packet of ours, and what fits into a datagram everywhere.
const MAX_PAYLOAD: usize = 1200;

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, samples: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * 440.0 / f64::from(rate);
        (0..samples).map(|i| (10_000.0 * (step * i as f64).sin()) as i16).collect()
    }

    /// The share of energy at a frequency (Goertzel).
    fn share(pcm: &[i16], rate: u32, frequency: f64) -> f64 {
        let coefficient = 2.0 * (std::f64::consts::TAU * frequency / f64::from(rate)).cos();
        let (mut before, mut last, mut energy) = (0.0, 0.0, 0.0);
        for sample in pcm.iter().map(|s| f64::from(*s)) {
            let next = sample + coefficient * last - before;
            before = last;
            last = next;
            energy += sample * sample;
        }
        let power = last * last + before * before - coefficient * last * before;
        2.0 * power / (pcm.len() as f64 * f64::max(energy, 1.0))
    }

    /// A tone goes through every codec at both rates and is still that tone, as loud.
    #[test]
    fn a_tone_survives_every_codec() {
        for codec in Codec::ALL {
            for rate in [8000, 16_000] {
                if rate == 16_000 && codec.common_rate(codec) == 8000 {
                    continue;
                }
                let frame = rate as usize / 50;
                let pcm = tone(rate, 100 * frame);
                let (mut encoder, mut decoder) =
                    (Encoder::new(codec, rate), Decoder::new(codec, rate));
                let (mut payload, mut out) = (vec![], vec![]);
                for chunk in pcm.chunks(frame) {
                    encoder.encode(chunk, &mut payload);
                    if codec != Codec::Opus {
                        assert_eq!(payload.len(), 160, "{codec} at {rate}");
                    }
                    decoder.decode(&payload, &mut out);
                }
                assert_eq!(out.len(), pcm.len(), "{codec} at {rate}");
                let second_half = &out[out.len() / 2..];
                let found = share(second_half, rate, 440.0);
                assert!(found > 0.9, "{codec} at {rate}: {found}");
                let level = second_half.iter().map(|s| s.unsigned_abs()).max();
                assert!(level > Some(6000), "{codec} at {rate}: {level:?}");
            }
        }
    }
}

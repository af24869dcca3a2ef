//! Ogg-Opus (RFC 7845) with each side as a stream of its own.
//!
//! Opus would code the two channels of a stereo stream together and let one be heard in the
//! other. Channel mapping family 1 may carry two mono streams in one packet instead: the first in
//! self-delimiting form (RFC 6716 appendix B), then the other. Every player takes it.

use std::io::{self, Write};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use opusic_c::{Application, Channels, SampleRate};

use super::RATE;

/// See the module.
pub(super) struct OggOpus<W: Write> {
    out: PacketWriter<'static, W>,
    serial: u32,
    encoders: [opusic_c::Encoder; 2],
    /// Samples that do not fill a frame yet, left and right in turn.
    rest: Vec<i16>,
    /// The last frame, held back so that the last page can be marked as such.
    held: Option<Vec<u8>>,
    /// Samples at 48 kHz, of frames handed out.
    granule: u64,
    /// Of these, what a player should leave out at the beginning.
    skip: u16,
    /// Frames since the last whole page.
    since_page: u32,
}

impl<W: Write> OggOpus<W> {
    pub(super) fn new(out: W, serial: u32) -> io::Result<Self> {
        let mut encoders = [encoder()?, encoder()?];
        let skip = (encoders[0].get_look_ahead().unwrap_or(104) * 48_000 / RATE) as u16;
        let mut file = Self {
            out: PacketWriter::new(out),
            serial,
            encoders,
            rest: Vec::new(),
            held: None,
            granule: 0,
            skip,
            since_page: 0,
        };
        file.head()?;
        Ok(file)
    }

    /// RFC 7845 §5: two headers, each on a page of its own.
    fn head(&mut self) -> io::Result<()> {
        let mut head = b"OpusHead\x01\x02".to_vec();
        head.extend_from_slice(&self.skip.to_le_bytes());
        head.extend_from_slice(&RATE.to_le_bytes());
        // No gain; family 1, two streams, none of them coupled, each its channel.
        head.extend_from_slice(&[0, 0, 1, 2, 0, 0, 1]);
        let vendor = b"crosspoint";
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
        tags.extend_from_slice(vendor);
        tags.extend_from_slice(&0_u32.to_le_bytes());
        for packet in [head, tags] {
            self.out.write_packet(packet, self.serial, PacketWriteEndInfo::EndPage, 0)?;
        }
        self.out.inner_mut().flush()
    }

    pub(super) fn write(&mut self, stereo: &[i16]) -> io::Result<()> {
        self.rest.extend_from_slice(stereo);
        while self.rest.len() >= 2 * FRAME {
            self.frame()?;
        }
        Ok(())
    }

    /// Encodes the first frame of what waits.
    fn frame(&mut self) -> io::Result<()> {
        let mut packet = Vec::with_capacity(256);
        for (channel, encoder) in self.encoders.iter_mut().enumerate() {
            let mut samples = [0_u16; FRAME];
            for (to, from) in samples.iter_mut().zip(self.rest[channel..].iter().step_by(2)) {
                *to = from.cast_unsigned();
            }
            let mut coded = [0; MAX_FRAME_BYTES];
            let length = encoder
                .encode_to_slice(&samples, &mut coded)
                .map_err(|_| io::Error::other("libopus cannot encode"))?;
            let coded = &coded[..length.max(1)];
            if channel == 0 {
                delimit(coded, &mut packet)?
            } else {
                packet.extend_from_slice(coded)
            }
        }
        self.rest.drain(..2 * FRAME);
        let before = self.held.replace(packet);
        self.put(before, PacketWriteEndInfo::NormalPacket)
    }

    fn put(&mut self, packet: Option<Vec<u8>>, end: PacketWriteEndInfo) -> io::Result<()> {
        let Some(packet) = packet else { return Ok(()) };
        self.granule = self.granule.wrapping_add(FRAME as u64 * 48_000 / u64::from(RATE));
        self.since_page += 1;
        let is_full = matches!(end, PacketWriteEndInfo::NormalPacket) && self.since_page == A_PAGE;
        let end = if is_full { PacketWriteEndInfo::EndPage } else { end };
        if !matches!(end, PacketWriteEndInfo::NormalPacket) {
            self.since_page = 0;
        }
        self.out.write_packet(packet, self.serial, end, self.granule)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let held = self.held.take();
        self.put(held, PacketWriteEndInfo::EndPage)?;
        self.out.inner_mut().flush()
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        // What the coder still holds has to come out, and a last frame carries the mark.
        let delay = vec![0; 2 * usize::from(self.skip) * RATE as usize / 48_000];
        self.write(&delay)?;
        let odd = self.rest.len() / 2;
        self.rest.resize(2 * FRAME, 0);
        self.frame()?;
        let held = self.held.take();
        // The position tells how much of it is meant (RFC 7845 §4).
        let filled = (FRAME - odd) as u64 * 48_000 / u64::from(RATE);
        self.granule = self.granule.wrapping_sub(filled);
        self.put(held, PacketWriteEndInfo::EndStream)?;
        self.out.inner_mut().flush()
    }
}

fn encoder() -> io::Result<opusic_c::Encoder> {
    let mut encoder =
        opusic_c::Encoder::new(Channels::Mono, SampleRate::Hz16000, Application::Voip)
            .map_err(|_| io::Error::other("libopus has no encoder"))?;
    // Recorders write many calls at once and nobody waits for them.
    let _ = encoder.set_complexity(3);
    let _ = encoder.set_bitrate(opusic_c::Bitrate::Value(24_000));
    Ok(encoder)
}

/// The same frame with its length in it (RFC 6716 appendix B).
fn delimit(coded: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let Some((toc, frame)) = coded.split_first() else { return Ok(()) };
    // Encoders put 20 ms into one frame of code 0.
    if toc & 3 != 0 {
        return Err(io::Error::other("libopus made more than one frame"));
    }
    out.push(*toc);
    let length = frame.len();
    if length < 252 {
        out.push(length as u8);
    } else {
        let first = 252 + (length & 3);
        out.push(first as u8);
        out.push(((length - first) / 4) as u8);
    }
    out.extend_from_slice(frame);
    Ok(())
}

/// 20 ms.
const FRAME: usize = RATE as usize / 50;
/// A second: what a crash may cost at most.
const A_PAGE: u32 = 50;
/// RFC 6716 §3.2.1.
const MAX_FRAME_BYTES: usize = 1275;

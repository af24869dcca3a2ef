//! Makes a recording whole that its writer did not finish: a crash, a kill, a power cut.
//!
//! A WAV file's header is set to what the file holds. An Ogg file ends after its last whole page,
//! which is marked as the last (RFC 3533 §6).

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use super::{Format, RATE};

/// What is there of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repaired {
    pub length: Duration,
    /// Of the file: what is behind them belongs to nothing and has to be cut off.
    pub bytes: u64,
}

/// Repairs what is in `file`, of which all but the end was written once.
///
/// # Errors
/// When it cannot be read or written, or has no head: then there is nothing to save.
pub fn repair<F: Read + Write + Seek>(format: Format, file: &mut F) -> io::Result<Repaired> {
    match format {
        Format::Wav => wav(file),
        Format::Opus => opus(file),
    }
}

/// Ours have one chunk for the format, and one for the data that goes to the end.
fn wav<F: Read + Write + Seek>(file: &mut F) -> io::Result<Repaired> {
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut head = [0; 128];
    let held = fill(file, &mut head)?;
    let head = &head[..held];
    let marks = head.get(..4) == Some(b"RIFF") && head.get(8..12) == Some(b"WAVE");
    let data = head.windows(4).position(|four| four == b"data").filter(|_| marks);
    let data = data.ok_or(io::ErrorKind::InvalidData)? as u64 + 8;
    // Whole pairs of samples.
    let sound = size.saturating_sub(data).min(u64::from(u32::MAX) - data) / PAIR * PAIR;
    let bytes = data + sound;
    let word = |value: u64| (value as u32).to_le_bytes();
    file.seek(SeekFrom::Start(4))?;
    file.write_all(&word(bytes - 8))?;
    file.seek(SeekFrom::Start(data - 4))?;
    file.write_all(&word(sound))?;
    file.flush()?;
    let length = Duration::from_micros(sound / PAIR * 1_000_000 / u64::from(RATE));
    Ok(Repaired { length, bytes })
}

fn opus<F: Read + Write + Seek>(file: &mut F) -> io::Result<Repaired> {
    let (mut at, mut last, mut skip) = (0, None, 0);
    while let Some(page) = Page::read(file, at)? {
        if at == 0 {
            // RFC 7845 §5.1: what a player leaves out stands in the head.
            let head = page.body().strip_prefix(b"OpusHead").ok_or(io::ErrorKind::InvalidData)?;
            let pair = head.get(2..4).ok_or(io::ErrorKind::InvalidData)?;
            skip = u64::from(u16::from_le_bytes([pair[0], pair[1]]));
        }
        let next = at + page.0.len() as u64;
        last = Some((at, page));
        at = next;
    }
    let (begin, mut page) = last.ok_or(io::ErrorKind::InvalidData)?;
    if page.0[5] & END_OF_STREAM == 0 {
        page.0[5] |= END_OF_STREAM;
        page.0[22..26].fill(0);
        let sum = checksum(&page.0).to_le_bytes();
        page.0[22..26].copy_from_slice(&sum);
        file.seek(SeekFrom::Start(begin))?;
        file.write_all(&page.0)?;
        file.flush()?;
    }
    let micros = page.granule().saturating_sub(skip).saturating_mul(1000) / 48;
    Ok(Repaired { length: Duration::from_micros(micros), bytes: at })
}

/// A page of Ogg with a good checksum (RFC 3533 §6).
struct Page(Vec<u8>);

impl Page {
    /// The page that begins at `at`; none when there is none or it is not whole.
    fn read<F: Read + Seek>(file: &mut F, at: u64) -> io::Result<Option<Self>> {
        file.seek(SeekFrom::Start(at))?;
        let mut page = vec![0; PAGE_HEAD];
        if fill(file, &mut page)? < PAGE_HEAD || !page.starts_with(b"OggS") {
            return Ok(None);
        }
        let segments = usize::from(page[26]);
        page.resize(PAGE_HEAD + segments, 0);
        if fill(file, &mut page[PAGE_HEAD..])? < segments {
            return Ok(None);
        }
        let begin = page.len();
        let body: usize = page[PAGE_HEAD..].iter().copied().map(usize::from).sum();
        page.resize(begin + body, 0);
        if fill(file, &mut page[begin..])? < body {
            return Ok(None);
        }
        let told = [page[22], page[23], page[24], page[25]];
        page[22..26].fill(0);
        if checksum(&page).to_le_bytes() != told {
            return Ok(None);
        }
        page[22..26].copy_from_slice(&told);
        Ok(Some(Self(page)))
    }

    fn body(&self) -> &[u8] {
        &self.0[PAGE_HEAD + usize::from(self.0[26])..]
    }

    /// Samples at 48 kHz up to its end.
    fn granule(&self) -> u64 {
        self.0[6..14].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

/// RFC 3533 §6: a plain CRC with the polynomial 0x04c11db7.
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |mut sum, byte| {
        sum ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            sum = if sum >> 31 == 1 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
        }
        sum
    })
}

/// Reads as much as there is.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut held = 0;
    while held < buffer.len() {
        match file.read(&mut buffer[held..]) {
            Ok(0) => break,
            Ok(count) => held += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// Two samples of 16 bits.
const PAIR: u64 = 4;
const PAGE_HEAD: usize = 27;
const END_OF_STREAM: u8 = 4;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files stand in memory")]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::recording::Sink;

    /// Memory that two may look at: the sink keeps its own.
    #[derive(Clone, Default)]
    struct Disk(std::rc::Rc<std::cell::RefCell<Cursor<Vec<u8>>>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.borrow_mut().seek(to)
        }
    }

    /// Two and a half seconds, written and never finished.
    fn left_behind(format: Format) -> Vec<u8> {
        let disk = Disk::default();
        let mut sink = Sink::new(format, disk.clone(), 7).unwrap();
        for second in 0..5 {
            let tone = (0..RATE as i32).map(|n| ((n % 32 - 16) * 500 + second) as i16);
            sink.write(&tone.collect::<Vec<_>>()).unwrap();
            sink.flush().unwrap();
        }
        std::mem::forget(sink);
        disk.0.borrow().get_ref().clone()
    }

    #[test]
    fn a_wav_file_holds_what_came_after_its_header_was_last_set() {
        let mut file = left_behind(Format::Wav);
        // A piece of the next second, cut in the middle of a sample.
        file.extend_from_slice(&[1; 4 * 1600 + 3]);
        let mut file = Cursor::new(file);
        let repaired = repair(Format::Wav, &mut file).unwrap();
        assert_eq!(repaired.length, Duration::from_millis(2600));
        let mut bytes = file.into_inner();
        bytes.truncate(repaired.bytes as usize);
        let reader = hound::WavReader::new(Cursor::new(bytes)).unwrap();
        assert_eq!(reader.into_samples::<i16>().map(Result::unwrap).count(), 2 * 26 * 1600);
    }

    #[test]
    fn an_ogg_file_ends_with_its_last_whole_page() {
        let whole = left_behind(Format::Opus);
        // Half a page more, or one whose bytes never reached the disk.
        let mut torn = whole.clone();
        torn.extend_from_slice(&whole[..40]);
        let mut hollow = whole.clone();
        hollow.extend_from_slice(&[0; 4096]);
        for left in [whole.clone(), torn, hollow] {
            let mut file = Cursor::new(left);
            let repaired = repair(Format::Opus, &mut file).unwrap();
            let mut bytes = file.into_inner();
            bytes.truncate(repaired.bytes as usize);
            assert_eq!(repaired.bytes, whole.len() as u64);
            let short = repaired.length.abs_diff(Duration::from_millis(2500));
            assert!(short < Duration::from_millis(30), "{:?}", repaired.length);
            let mut reader = ogg::PacketReader::new(Cursor::new(bytes));
            let mut packets = 0;
            let mut is_marked = false;
            while let Some(packet) = reader.read_packet().unwrap() {
                packets += 1;
                is_marked = packet.last_in_stream();
            }
            assert!(is_marked && packets > 2 + 120, "{packets}");
        }
    }

    #[test]
    fn what_has_no_head_is_left_alone() {
        for bytes in [&b""[..], b"RIFF", b"OggS", &[0; 300]] {
            for format in [Format::Wav, Format::Opus] {
                let mut file = Cursor::new(bytes.to_vec());
                assert!(repair(format, &mut file).is_err());
                assert_eq!(file.into_inner(), bytes);
            }
        }
    }
}

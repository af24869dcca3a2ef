//! What a recorded call costs: nanoseconds of the packet path for each packet that is copied, and
//! processor time of the recorder's thread, as calls that one core writes.
//!
//! `cargo bench -p crosspoint-media --bench recorder`

use std::io::{self, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::codec::{Codec, Encoder};
use crosspoint_media::recording::{Channel, Format, Recording, Sink};
use crosspoint_media::rtp::Header;
use crosspoint_media::tap;

const SIDES: [(Codec, Codec); 3] =
    [(Codec::Pcmu, Codec::Pcmu), (Codec::Opus, Codec::Pcmu), (Codec::Opus, Codec::Opus)];
const SECONDS: usize = 60;
const ROUNDS: usize = 5;

fn main() {
    println!("| copied | ns a packet |\n|---|---:|");
    for (codec, length) in [(Codec::Opus, 80), (Codec::Pcmu, 160), (Codec::L16, 320)] {
        println!("| {codec}, {length} bytes | {:.0} |", copying(codec, length));
    }
    println!("\n| sides | file | ms/s | calls per core |\n|---|---|---:|---:|");
    for (caller, called) in SIDES {
        for format in [Format::Wav, Format::Opus] {
            let cost = middle(|| writing(format, [caller, called]));
            let name = format.extension();
            println!("| {caller} and {called} | {name} | {cost:.2} | {:.0} |", 1000.0 / cost);
        }
    }
}

/// Of the media thread, for the copy of one packet into a ring that somebody empties.
#[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
fn copying(codec: Codec, length: usize) -> f64 {
    let now = Instant::now();
    let (mut writer, mut reader) = tap::ring(8 << 20, now);
    let payload = vec![0x55; length];
    let (mut spent, mut count) = (Duration::ZERO, 0_u32);
    for _ in 0..400 {
        let before = processor_time();
        for n in 0..10_000_u32 {
            let header = Header::new(0, n as u16, 160 * n, 7, false);
            writer.write(now, LegId(u64::from(n % 200)), codec, &header, &payload);
        }
        spent += processor_time() - before;
        while reader.read().is_some() {
            count += 1;
        }
    }
    assert_eq!(reader.lost(), 0);
    spent.as_nanos() as f64 / f64::from(count)
}

fn middle(mut measure: impl FnMut() -> f64) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Milliseconds of the recorder's thread for a second of a call: packets out of the ring, decoded,
/// put in their places, and written twice a second.
#[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
fn writing(format: Format, codecs: [Codec; 2]) -> f64 {
    let said = codecs.map(said);
    let begin = Instant::now();
    let (mut writer, mut reader) = tap::ring(8 << 20, begin);
    let mut recording = Recording::new(begin);
    let file = io::BufWriter::with_capacity(128 * 1024, Gone { at: 0, end: 0 });
    let mut sink = Sink::new(format, file, 1).expect("nothing is written to");
    let mut spent = Duration::ZERO;
    for half in 0..2 * SECONDS {
        let count = 25;
        for n in half * count..(half + 1) * count {
            for (side, codec) in codecs.into_iter().enumerate() {
                let ticks = n as u32 * codec.clock_rate() / 50;
                let header = Header::new(0, n as u16, ticks, side as u32, false);
                let at = begin + Duration::from_millis(20 * n as u64 + 30);
                let payload = &said[side][n % said[side].len()];
                writer.write(at, LegId(side as u64), codec, &header, payload);
            }
        }
        let before = processor_time();
        while let Some(packet) = reader.read() {
            let channel = if packet.leg.0 == 0 { Channel::Caller } else { Channel::Called };
            recording.handle_packet(channel, packet);
        }
        let now = begin + Duration::from_millis(500 * (half as u64 + 1));
        let samples = recording.advance(now);
        sink.write(samples).and_then(|()| sink.flush()).expect("nothing is written to");
        spent += processor_time() - before;
    }
    spent.as_secs_f64() * 1000.0 / SECONDS as f64
}

/// Two seconds of something like a voice.
fn said(codec: Codec) -> Vec<Vec<u8>> {
    let rate = codec.common_rate(codec);
    let mut encoder = Encoder::new(codec, rate);
    let frame = rate as usize / 50;
    let sample = |n: usize| {
        let t = n as f64 / f64::from(rate);
        let voice: f64 =
            (1..12).map(|k| (f64::from(k) * 140.0 * std::f64::consts::TAU * t).sin()).sum();
        (1500.0 * voice * (3.0 * t).sin().abs()) as i16
    };
    let packets = (0..100).map(|packet| {
        let pcm: Vec<i16> = (packet * frame..(packet + 1) * frame).map(sample).collect();
        let mut payload = Vec::new();
        encoder.encode(&pcm, &mut payload);
        payload
    });
    packets.collect()
}

/// A file whose bytes go nowhere: the disk is not what is measured.
struct Gone {
    at: u64,
    end: u64,
}

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Gone {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.end.saturating_add_signed(by),
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

/// Of this thread, so that others on the machine do not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds");
    Duration::from_nanos(nanos)
}

//! RTP with a tone in it, and an ear for that tone: audio is verified by its content.

use std::f64::consts::TAU;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A phone's media side: PCMU, 20 ms a packet.
pub(crate) struct Sound {
    socket: UdpSocket,
    sequence: u16,
    /// What time and timestamps count from: they go on from one talk to the next.
    began: Instant,
    /// Events of RFC 4733 that came to their end, in turn.
    pub(crate) pressed: Vec<u8>,
    last_event: Option<[u8; 4]>,
    /// When the packets of the last talk were heard.
    heard_at: Vec<Instant>,
}

impl Sound {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self {
            socket,
            sequence: 1,
            began: Instant::now(),
            pressed: Vec::new(),
            last_event: None,
            heard_at: Vec::new(),
        }
    }

    /// What we tell the other side.
    pub(crate) fn description(&self) -> String {
        let port = self.socket.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
        )
    }

    /// Sends a tone and listens meanwhile; gives what was heard. All of it is sent, also when the
    /// machine stands still for a while: what was due then follows at once, or, as from a real phone,
    /// there is a gap where it was long.
    pub(crate) fn talk(&mut self, to: SocketAddr, hertz: f64, length: Duration) -> Vec<f64> {
        let start = Instant::now();
        let first = (start - self.began).as_millis() as u32 * 8;
        let mut heard = Vec::new();
        self.heard_at.clear();
        // How many were sent, and which of the talk's 20 ms is next.
        let (mut sent, mut place) = (0_u32, 0_u32);
        let packets = (length.as_millis() / 20) as u32;
        while sent < packets || start.elapsed() < length {
            let now = (start.elapsed().as_millis() / 20) as u32;
            if now > place + LONG_GAP {
                place = now;
            }
            if sent < packets && now >= place {
                self.socket.send_to(&self.packet(first + place * 160, hertz), to).unwrap();
                self.sequence = self.sequence.wrapping_add(1);
                sent += 1;
                place += 1;
            }
            let next = Duration::from_millis(20) * place;
            let pause = next.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(pause)).unwrap();
            let mut buffer = [0; 2048];
            let Ok((size, _)) = self.socket.recv_from(&mut buffer) else { continue };
            match buffer[1] & 0x7f {
                0 if size > 12 => {
                    self.heard_at.push(Instant::now());
                    heard.extend(buffer[12..size].iter().map(|byte| expand(*byte)));
                }
                EVENTS if size >= 16 => self.note_event(&buffer[4..8], &buffer[12..14]),
                _ => {}
            }
        }
        heard
    }

    /// Whether there was half a second in the last talk in which neither we nor who echoed it stood
    /// still.
    pub(crate) fn was_steady(&self) -> bool {
        self.heard_at.windows(25).any(|times| {
            let gap = |pair: &[Instant]| pair[1] - pair[0];
            times.windows(2).map(gap).max().is_some_and(|gap| gap < Duration::from_millis(80))
                && times[24] - times[0] > Duration::from_millis(400)
        })
    }

    /// The end of an event comes three times, with the same timestamp.
    fn note_event(&mut self, timestamp: &[u8], event: &[u8]) {
        let stamp = timestamp.try_into().ok();
        if event[1] & 0x80 != 0 && self.last_event != stamp {
            self.last_event = stamp;
            self.pressed.push(event[0]);
        }
    }

    /// Presses a key for 100 ms (RFC 4733).
    pub(crate) fn press(&mut self, to: SocketAddr, key: u8) {
        for (n, end) in [0_u8, 0, 0, 0, 0x80, 0x80, 0x80].into_iter().enumerate() {
            let mut packet = vec![0x80, EVENTS | if n == 0 { 0x80 } else { 0 }];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(1_000_000_u32.to_be_bytes());
            packet.extend(SSRC.to_be_bytes());
            packet.extend([key, end | 10]);
            packet.extend((160 * (n.min(4) as u16 + 1)).to_be_bytes());
            self.socket.send_to(&packet, to).unwrap();
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    fn packet(&self, timestamp: u32, hertz: f64) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(SSRC.to_be_bytes());
        let sample = |n: u32| 0.4 * (TAU * hertz * f64::from(timestamp + n) / 8000.0).sin();
        packet.extend((0..160).map(|n| compress(sample(n))));
        packet
    }
}

pub(crate) const SSRC: u32 = 0x5eed_5eed;
/// In packets: more than half of what a recorder waits for who is late.
const LONG_GAP: u32 = 30;
/// The payload type of `description`.
const EVENTS: u8 = 101;

/// Where the other side wants its audio.
pub(crate) fn media_address(description: &[u8]) -> SocketAddr {
    let text = std::str::from_utf8(description).unwrap();
    let after = |mark: &str| text.lines().find_map(|line| line.strip_prefix(mark)).unwrap();
    let port = after("m=audio ").split(' ').next().unwrap();
    format!("{}:{port}", after("c=IN IP4 ").trim()).parse().unwrap()
}

/// How much of the sound's energy is at `hertz`, from 0 to 1 (Goertzel).
pub(crate) fn share_of(samples: &[f64], hertz: f64) -> f64 {
    let step = 2.0 * (TAU * hertz / 8000.0).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (sample + step * last - before, last);
    }
    let power = last * last + before * before - step * last * before;
    let energy: f64 = samples.iter().map(|s| s * s).sum();
    2.0 * power / (samples.len() as f64 * energy.max(f64::MIN_POSITIVE))
}

/// µ-law (ITU-T G.711) by its formula: good enough for a tone.
fn compress(sample: f64) -> u8 {
    let level = ((1.0 + 255.0 * sample.abs()).ln() / 256_f64.ln() * 127.0).round() as u8;
    let sign = if sample < 0.0 { 0 } else { 0x80 };
    sign | (0x7f - level)
}

pub(crate) fn expand(byte: u8) -> f64 {
    let level = f64::from(0x7f - (byte & 0x7f)) / 127.0;
    let size = (256_f64.powf(level) - 1.0) / 255.0;
    if byte & 0x80 == 0 { -size } else { size }
}

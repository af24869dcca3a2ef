//! What speaks in the name of all browsers and phones of a server.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crosspoint_media::rtp::Header;
use crosspoint_media::srtp::{Context, MAX_OVERHEAD};
use crosspoint_net::packet_io::Injector;

use crate::Outcome;
use crate::probe::Probe;

/// Samples of PCMU in 20 ms.
const FRAME: usize = 160;
/// What is on its way at once, at most: more would not fit into a socket's buffer.
const BURST: usize = 256;
/// Packets of a sample, at least.
const SAMPLE: usize = 40_000;
/// How long a burst may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Calls that are listened to for their delay.
const PROBED: usize = 16;
const POLL: Duration = Duration::from_micros(30);
/// How long finding the server's link address may take.
const RESOLVING: Duration = Duration::from_secs(10);

/// One party's stream, as it leaves its host.
pub(crate) struct Speaker {
    source: SocketAddr,
    destination: SocketAddr,
    keys: Option<Context>,
    /// The port of who hears it.
    heard_at: u16,
    ssrc: u32,
    seq: u16,
}

impl Speaker {
    pub(crate) fn new(
        ssrc: u32,
        source: SocketAddr,
        destination: SocketAddr,
        keys: Option<Context>,
        heard_at: u16,
    ) -> Self {
        Self { source, destination, keys, heard_at, ssrc, seq: 1000 }
    }

    /// The next 20 ms; gives how long they are.
    fn write(&mut self, out: &mut [u8]) -> usize {
        self.seq = self.seq.wrapping_add(1);
        let timestamp = u32::from(self.seq).wrapping_mul(FRAME as u32);
        let mut header = Vec::with_capacity(12);
        Header::new(0, self.seq, timestamp, self.ssrc, false).write(&mut header);
        out[..12].copy_from_slice(&header);
        out[12..12 + FRAME].fill(self.seq as u8);
        let len = 12 + FRAME;
        match &mut self.keys {
            Some(keys) => keys.protect_rtp(&mut out[..len + MAX_OVERHEAD], len).unwrap_or(0),
            None => len,
        }
    }
}

/// All speakers of a server. Used by the thread that is in the peers' namespace.
pub(crate) struct Load {
    speakers: Vec<Speaker>,
    injector: Injector,
    next: usize,
}

impl Load {
    pub(crate) fn new(speakers: Vec<Speaker>) -> Outcome<Self> {
        let mut this = Self { speakers, injector: Injector::new()?, next: 0 };
        // The kernel finds out where the server is when it has something to send there.
        let to = this.speakers.first().ok_or("nobody speaks")?.destination;
        let (socket, start) = (UdpSocket::bind("0.0.0.0:0")?, Instant::now());
        socket.send_to(b"?", to)?;
        while !this.send(Instant::now(), None) {
            if start.elapsed() > RESOLVING {
                return Err("the server's link address is not found".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        this.flush();
        Ok(this)
    }

    /// Has everybody speak for a while; gives how many packets were sent and how many came back.
    pub(crate) fn speak(&mut self) -> Outcome<(usize, usize)> {
        let before = received()?;
        let burst = BURST.min(2 * self.speakers.len());
        let mut sent = 0;
        while sent < SAMPLE {
            let (now, start) = (Instant::now(), received()?);
            let going = (0..burst).filter(|_| self.send(now, None)).count();
            self.flush();
            // What is lost is told in the end.
            while received()? - start < going && now.elapsed() < PATIENCE {
                // Without spinning: the server's core may be the other half of this one.
                std::thread::sleep(POLL);
            }
            sent += going;
        }
        Ok((sent, received()? - before))
    }

    /// The ports of some of those who listen, of all calls alike.
    pub(crate) fn probed(&self) -> Vec<u16> {
        let calls = self.speakers.len() / 2;
        let chosen = (0..PROBED.min(calls)).map(|n| n * calls / PROBED.min(calls));
        let of_call = |call: usize| self.speakers.iter().skip(2 * call).take(2);
        chosen.flat_map(of_call).map(|speaker| speaker.heard_at).collect()
    }

    pub(crate) fn flush(&mut self) {
        self.injector.flush();
    }

    /// Has the next one speak.
    pub(crate) fn send(&mut self, now: Instant, probe: Option<&mut Probe>) -> bool {
        let count = self.speakers.len();
        let Some(speaker) = self.speakers.get_mut(self.next % count) else { return false };
        self.next = (self.next + 1) % count;
        if let Some(probe) = probe {
            probe.sent(speaker.heard_at, speaker.seq.wrapping_add(1));
        }
        let (SocketAddr::V4(source), SocketAddr::V4(destination)) =
            (speaker.source, speaker.destination)
        else {
            return false;
        };
        self.injector.push(now, source, destination, |out| speaker.write(out))
    }
}

/// Packets that came to this namespace's end of the link.
pub(crate) fn received() -> Outcome<usize> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("media0:"));
    let field = line.and_then(|line| line.split_whitespace().nth(1)).ok_or("no media0")?;
    Ok(field.parse()?)
}

/// The middle one; zero of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

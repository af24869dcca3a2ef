//! The jitter buffer against networks that lose, delay and turn around.

use super::*;

/// A stream of numbered packets of 20 ms and who plays it, in simulated time.
struct Trace {
    buffer: JitterBuffer,
    start: Instant,
    /// Milliseconds.
    now: u64,
    /// Arrival and number, in order of arrival.
    coming: Vec<(u64, u16)>,
    concealed: u32,
    depths: Vec<u128>,
}

impl Trace {
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    fn new(count: u16, arrival: impl Fn(u64) -> Option<u64>) -> Self {
        let coming = (0..count).filter_map(|n| Some((arrival(u64::from(n))?, n)));
        let mut coming: Vec<(u64, u16)> = coming.collect();
        coming.sort();
        let buffer = JitterBuffer::new(Codec::Pcmu, 8000);
        Self { buffer, start: Instant::now(), now: 0, coming, concealed: 0, depths: vec![] }
    }

    /// Plays for so many seconds; gives the mean depth in the last of them.
    fn play(&mut self, seconds: u64) -> u128 {
        let mut frame = vec![];
        for _ in 0..seconds * 50 {
            self.now += 20;
            while let Some((at, n)) = self.coming.first().copied().filter(|c| c.0 <= self.now) {
                self.coming.remove(0);
                let at = self.start + Duration::from_millis(at);
                // A tone of 250 Hz, so that there is a period.
                let byte = |k: u32| if (k / 16).is_multiple_of(2) { 0x9f } else { 0x1f };
                let payload: Vec<u8> = (0..160).map(byte).collect();
                self.buffer.push(at, 1, n, u32::from(n) * 160, &payload);
            }
            if self.buffer.pull(&mut frame) == Played::Concealed {
                self.concealed += 1;
            }
            assert_eq!(frame.len(), 160);
            self.depths.push(self.buffer.depth().as_millis());
        }
        let last = &self.depths[self.depths.len() - 50..];
        last.iter().sum::<u128>() / 50
    }
}

#[test]
fn an_even_stream_waits_forty_milliseconds_at_most() {
    let mut trace = Trace::new(500, |n| Some(20 * n + 7));
    let depth = trace.play(9);
    assert!(depth <= 40, "{depth} ms");
    assert_eq!((trace.concealed, trace.buffer.counts()), (0, Counts::default()));
}

/// The delay grows with the first late packets, and later ones are in time.
#[test]
fn the_delay_grows_at_once_when_packets_are_late() {
    let late = |n: u64| if n > 100 { n * 7919 % 90 } else { 0 };
    let mut trace = Trace::new(3000, move |n| Some(20 * n + 7 + late(n)));
    trace.play(2);
    trace.play(2);
    let made_up = trace.concealed;
    assert!(made_up <= 15, "{made_up} frames made up while it grew");
    trace.play(40);
    let more = trace.concealed - made_up;
    assert!(more <= 40, "{more} of 2000 frames made up after it grew");
    assert!(trace.buffer.counts().late < 25, "{:?}", trace.buffer.counts());
}

#[test]
fn the_delay_shrinks_slowly_when_packets_are_in_time_again() {
    let late = |n: u64| if (200..400).contains(&n) { 150 * (n % 2) } else { 0 };
    let mut trace = Trace::new(3000, move |n| Some(20 * n + 7 + late(n)));
    let high = trace.play(8);
    assert!(high >= 60, "{high} ms");
    // Half of the packets still were on their way then.
    let high = trace.play(1);
    assert!(high >= 95, "{high} ms");
    trace.concealed = 0;
    let low = trace.play(20);
    eprintln!(
        "{:?} {:?}",
        trace.buffer.counts(),
        trace.depths.iter().step_by(50).collect::<Vec<_>>()
    );
    assert!(low <= 45, "{low} ms, after {high}");
    assert_eq!(trace.concealed, 0);
    assert_eq!(trace.buffer.counts().dropped, 0);
    // No haste: at most a tenth of what was played since.
    assert!((400..=16_000).contains(&trace.buffer.counts().shortened));
}

/// Nothing comes for 300 ms, then everything at once.
#[test]
fn a_stall_ends_without_packets_thrown_away() {
    let mut trace = Trace::new(2000, |n| {
        let at = 20 * n + 7;
        Some(if (2000..2300).contains(&at) { 2300 } else { at })
    });
    trace.play(6);
    assert_eq!((trace.buffer.counts().late, trace.buffer.counts().missed), (0, 0));
    let depth = trace.play(20);
    assert!(depth <= 60, "{depth} ms");
}

#[test]
fn lost_packets_are_counted_and_do_not_add_delay() {
    let mut trace = Trace::new(2000, |n| (n % 10 != 3).then_some(20 * n + 7));
    let depth = trace.play(30);
    assert!(depth <= 40, "{depth} ms");
    let counts = trace.buffer.counts();
    assert!((149..=151).contains(&counts.missed), "{counts:?}");
    assert_eq!((counts.late, counts.dropped), (0, 0));
}

/// What a peer sends at once is bounded, whatever it is.
#[test]
fn a_flood_is_bounded() {
    let mut trace = Trace::new(60_000, |n| Some(n / 100));
    trace.play(2);
    assert!(trace.depths.iter().all(|d| *d <= 20 * (MAX_PACKETS as u128 + 2)));
    assert!(trace.buffer.counts().dropped > 1000);
}

//! Digits as RTP events (RFC 4733): hearing each once, and making them.

use std::time::Duration;

/// The characters of events 0 to 15.
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

/// One event payload (RFC 4733 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    pub event: u8,
    pub end: bool,
    /// In clock ticks.
    pub duration: u16,
}

impl EventPayload {
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let fixed: &[u8; 4] = payload.first_chunk()?;
        Some(Self {
            event: fixed[0],
            end: fixed[1] & 0x80 != 0,
            duration: u16::from_be_bytes([fixed[2], fixed[3]]),
        })
    }

    #[must_use]
    pub fn encode(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        // A volume of -10 dBm0.
        [self.event, if self.end { 0x80 } else { 0 } | 10, high, low]
    }
}

/// A digit that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardDigit {
    pub key: char,
    pub duration: Duration,
    /// Of the events it came in.
    pub clock: u32,
}

/// Hears each digit once, though its packets are many and the last may be lost.
#[derive(Debug, Default)]
pub struct EventDetector {
    current: Option<Running>,
    /// Timestamp of the event that was told last.
    told: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    timestamp: u32,
    payload: EventPayload,
    clock: u32,
}

impl EventDetector {
    /// Takes one event packet; gives the digit that is over with it.
    pub fn push(&mut self, timestamp: u32, payload: &[u8], clock: u32) -> Option<HeardDigit> {
        let payload = EventPayload::parse(payload)?;
        let before = match self.current {
            // The end of the one before was lost.
            Some(running) if running.timestamp != timestamp => self.finish(),
            _ => None,
        };
        if self.told == Some(timestamp) {
            return before;
        }
        self.current = Some(Running { timestamp, payload, clock });
        if payload.end { before.or_else(|| self.finish()) } else { before }
    }

    /// Takes note of sound of this time: an event is over when sound goes on without it.
    ///
    /// Interop: baresip sends sound between the packets of an event (seen with 1.0.0), so sound
    /// alone ends none; its end is lost only when no packet came for 100 ms.
    pub fn sound(&mut self, timestamp: u32) -> Option<HeardDigit> {
        let Running { timestamp: start, payload, clock } = self.current?;
        let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
        let end = u32::from(payload.duration).saturating_add(patience.saturating_mul(clock / 1000));
        // A clock that is not the event's, or a new count, is nothing to wait by.
        let distance = timestamp.wrapping_sub(start).cast_signed().unsigned_abs();
        if distance > end { self.finish() } else { None }
    }

    /// Nothing comes any more, so the event that runs is over.
    pub fn finish(&mut self) -> Option<HeardDigit> {
        let Running { timestamp, payload, clock } = self.current.take()?;
        self.told = Some(timestamp);
        let key = char::from(*KEYS.get(usize::from(payload.event))?);
        let micros = u64::from(payload.duration) * 1_000_000 / u64::from(clock.max(1));
        Some(HeardDigit { key, duration: Duration::from_micros(micros), clock })
    }

    #[must_use]
    pub fn is_in_event(&self) -> bool {
        self.current.is_some()
    }
}

/// How long sound may go on before an event without news counts as over.
const PATIENCE: Duration = Duration::from_millis(100);

/// Makes the packets of one digit, one every 20 ms, the last three times.
#[derive(Debug)]
pub struct EventSender {
    event: u8,
    step: u16,
    elapsed: u16,
    total: u16,
    ends_left: u8,
    packets: u32,
}

impl EventSender {
    /// `None` when `digit` is no key.
    #[must_use]
    pub fn new(digit: char, duration: Duration, clock: u32) -> Option<Self> {
        let upper = u8::try_from(digit.to_ascii_uppercase()).ok()?;
        let event = u8::try_from(KEYS.iter().position(|k| *k == upper)?).ok()?;
        let ticks = |d: Duration| {
            u16::try_from(d.as_millis() * u128::from(clock) / 1000).unwrap_or(u16::MAX)
        };
        // Shorter than 40 ms is not heard, longer than a second and a bit does not fit.
        let duration = duration.clamp(Duration::from_millis(60), Duration::from_millis(1200));
        Some(Self {
            event,
            step: ticks(Duration::from_millis(20)),
            elapsed: 0,
            total: ticks(duration),
            ends_left: 3,
            packets: 0,
        })
    }

    /// The next payload and whether it carries the marker; `None` when the digit is over.
    pub fn next_payload(&mut self) -> Option<([u8; 4], bool)> {
        self.elapsed = self.elapsed.saturating_add(self.step).min(self.total);
        let end = self.elapsed == self.total;
        if end {
            self.ends_left = self.ends_left.checked_sub(1)?;
        }
        let payload = EventPayload { event: self.event, end, duration: self.elapsed };
        self.packets += 1;
        Some((payload.encode(), self.packets == 1))
    }

    /// How many there were so far.
    #[must_use]
    pub fn packets(&self) -> u32 {
        self.packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_heard_once_even_with_loss() {
        for lost in 0..12 {
            let mut sender = EventSender::new('#', Duration::from_millis(160), 8000).unwrap();
            let mut detector = EventDetector::default();
            let mut heard = vec![];
            let mut count = 0;
            while let Some((payload, marker)) = sender.next_payload() {
                assert_eq!(marker, count == 0);
                if count != lost {
                    heard.extend(detector.push(7, &payload, 8000));
                }
                count += 1;
            }
            heard.extend(detector.finish());
            assert_eq!(count, 10);
            let duration = Duration::from_millis(160);
            assert_eq!(heard, [HeardDigit { key: '#', duration, clock: 8000 }]);
        }
    }

    #[test]
    fn two_equal_digits_are_two() {
        let mut detector = EventDetector::default();
        let payload = EventPayload { event: 1, end: false, duration: 160 }.encode();
        assert_eq!(detector.push(1, &payload, 8000), None);
        assert_eq!(detector.push(2, &payload, 8000).map(|d| d.key), Some('1'));
        assert_eq!(detector.finish().map(|d| d.key), Some('1'));
        assert_eq!(detector.push(3, &[1, 2], 8000), None);
    }

    #[test]
    fn sound_between_the_packets_of_a_digit_does_not_end_it() {
        let mut sender = EventSender::new('5', Duration::from_millis(180), 8000).unwrap();
        let mut detector = EventDetector::default();
        let mut heard = vec![];
        let start = u32::MAX - 300;
        let mut time = start;
        while let Some((payload, _)) = sender.next_payload() {
            heard.extend(detector.push(start, &payload, 8000));
            heard.extend(detector.sound(time));
            time = time.wrapping_add(160);
        }
        let duration = Duration::from_millis(180);
        assert_eq!(heard, [HeardDigit { key: '5', duration, clock: 8000 }]);
    }

    #[test]
    fn sound_that_goes_on_alone_ends_a_digit() {
        let payload = EventPayload { event: 5, end: false, duration: 320 }.encode();
        let mut detector = EventDetector::default();
        assert_eq!(detector.push(1000, &payload, 8000), None);
        assert_eq!(detector.sound(1000 + 320 + 800), None);
        assert_eq!(detector.sound(1000 + 320 + 960).map(|d| d.key), Some('5'));
        assert_eq!(detector.sound(1000 + 320 + 1120), None);
        // A sender that begins to count anew.
        assert_eq!(detector.push(5000, &payload, 8000), None);
        assert_eq!(detector.sound(7).map(|d| d.key), Some('5'));
    }
}

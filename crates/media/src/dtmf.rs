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

/// Hears each digit once, though its packets are many and the last may be lost.
#[derive(Debug, Default)]
pub struct EventDetector {
    current: Option<(u32, EventPayload)>,
    /// Timestamp of the event that was told last.
    told: Option<u32>,
}

impl EventDetector {
    /// Takes one event packet; gives the digits that are over, with their lengths.
    pub fn push(&mut self, timestamp: u32, payload: &[u8], clock: u32) -> Option<(char, Duration)> {
        let event = EventPayload::parse(payload)?;
        let before = match self.current {
            // The end of the one before was lost.
            Some((old, _)) if old != timestamp => self.finish(clock),
            _ => None,
        };
        if self.told == Some(timestamp) {
            return before;
        }
        self.current = Some((timestamp, event));
        if event.end { before.or_else(|| self.finish(clock)) } else { before }
    }

    /// Sound goes on, so an event whose end was lost is over.
    pub fn finish(&mut self, clock: u32) -> Option<(char, Duration)> {
        let (timestamp, event) = self.current.take()?;
        self.told = Some(timestamp);
        let key = KEYS.get(usize::from(event.event))?;
        let micros = u64::from(event.duration) * 1_000_000 / u64::from(clock.max(1));
        Some((char::from(*key), Duration::from_micros(micros)))
    }

    #[must_use]
    pub fn is_in_event(&self) -> bool {
        self.current.is_some()
    }
}

/// Makes the packets of one digit, one every 20 ms, the last three times.
#[derive(Debug)]
pub struct EventSender {
    event: u8,
    step: u16,
    elapsed: u16,
    total: u16,
    ends_left: u8,
    first: bool,
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
            first: true,
        })
    }

    /// The next payload and whether it carries the marker; `None` when the digit is over.
    pub fn next_payload(&mut self) -> Option<([u8; 4], bool)> {
        let marker = std::mem::take(&mut self.first);
        self.elapsed = self.elapsed.saturating_add(self.step).min(self.total);
        let end = self.elapsed == self.total;
        if end {
            self.ends_left = self.ends_left.checked_sub(1)?;
        }
        let payload = EventPayload { event: self.event, end, duration: self.elapsed };
        Some((payload.encode(), marker))
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
            heard.extend(detector.finish(8000));
            assert_eq!(count, 10);
            assert_eq!(heard, [('#', Duration::from_millis(160))]);
        }
    }

    #[test]
    fn two_equal_digits_are_two() {
        let mut detector = EventDetector::default();
        let payload = EventPayload { event: 1, end: false, duration: 160 }.encode();
        assert_eq!(detector.push(1, &payload, 8000), None);
        assert_eq!(detector.push(2, &payload, 8000).map(|d| d.0), Some('1'));
        assert_eq!(detector.finish(8000).map(|d| d.0), Some('1'));
        assert_eq!(detector.push(3, &[1, 2], 8000), None);
    }
}

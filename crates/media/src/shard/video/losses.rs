//! Which packets of a stream are missing, and when to ask for them again.

use std::time::{Duration, Instant};

/// The gaps of one source.
#[derive(Debug, Default)]
pub(in crate::shard) struct Losses {
    ssrc: Option<u32>,
    highest: u16,
    missing: Vec<Missing>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    seq: u16,
    since: Instant,
    asked: u32,
    last_asked: Option<Instant>,
}

/// What a packet is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Place {
    /// In order, or the first behind a gap.
    Ahead,
    /// One that was missed.
    Late,
    /// It came before, or too late to be missed.
    Known,
    /// The first of its source, or behind a gap that nobody fills.
    Anew,
}

impl Losses {
    pub(in crate::shard) fn len(&self) -> usize {
        self.missing.len()
    }

    pub(in crate::shard) fn arrived(&mut self, now: Instant, ssrc: u32, seq: u16) -> Place {
        if self.ssrc != Some(ssrc) {
            *self = Self { ssrc: Some(ssrc), highest: seq, missing: Vec::new() };
            return Place::Anew;
        }
        let ahead = seq.wrapping_sub(self.highest);
        if ahead == 0 || ahead >= 0x8000 {
            if ahead != 0 && ahead < u16::MAX - MAX_LATE {
                // So far back that it counts anew.
                *self = Self { ssrc: Some(ssrc), highest: seq, missing: Vec::new() };
                return Place::Anew;
            }
            let Some(index) = self.missing.iter().position(|m| m.seq == seq) else {
                return Place::Known;
            };
            self.missing.remove(index);
            return Place::Late;
        }
        let first = self.highest.wrapping_add(1);
        self.highest = seq;
        if ahead > MAX_GAP {
            self.missing.clear();
            return Place::Anew;
        }
        let gap = (0..ahead - 1).map(|n| first.wrapping_add(n));
        let missing = |seq| Missing { seq, since: now, asked: 0, last_asked: None };
        self.missing.extend(gap.map(missing));
        let excess = self.missing.len().saturating_sub(MAX_MISSING);
        self.missing.drain(..excess);
        Place::Ahead
    }

    /// What to ask for now, in order; forgets what nobody will send any more.
    pub(in crate::shard) fn due(&mut self, now: Instant, round_trip: Duration) -> Vec<u16> {
        self.missing
            .retain(|m| m.asked < MAX_ASKED && now.saturating_duration_since(m.since) < PATIENCE);
        let wait = round_trip.clamp(LEAST_WAIT, PATIENCE);
        let mut due = Vec::new();
        for missing in &mut self.missing {
            let is_due = |then: Instant| now.saturating_duration_since(then) >= wait;
            if missing.last_asked.is_none_or(is_due) {
                (missing.asked, missing.last_asked) = (missing.asked + 1, Some(now));
                due.push(missing.seq);
            }
        }
        due
    }
}

/// A gap of more than this is no loss that repairs can fill: a key frame is.
const MAX_GAP: u16 = 300;
const MAX_LATE: u16 = 3000;
const MAX_MISSING: usize = 300;
const MAX_ASKED: u32 = 8;
/// A picture that is a second late helps nobody.
const PATIENCE: Duration = Duration::from_secs(1);
const LEAST_WAIT: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    fn gaps_are_asked_for_until_they_are_filled_or_given_up() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let trip = Duration::from_millis(60);
        let mut losses = Losses::default();
        assert_eq!(losses.arrived(at(0), 1, 65_533), Place::Anew);
        assert_eq!(losses.arrived(at(1), 1, 2), Place::Ahead);
        assert_eq!(losses.due(at(1), trip), [65_534, 65_535, 0, 1]);
        assert_eq!(losses.arrived(at(20), 1, 65_535), Place::Late);
        assert_eq!(losses.arrived(at(21), 1, 65_535), Place::Known);
        assert_eq!(losses.arrived(at(21), 1, 2), Place::Known);
        assert!(losses.due(at(60), trip).is_empty(), "a round trip must pass");
        assert_eq!(losses.due(at(61), trip), [65_534, 0, 1]);
        assert_eq!(losses.arrived(at(70), 1, 0), Place::Late);
        let asked: usize = (2..100).map(|n| losses.due(at(n * 100), trip).len()).sum();
        assert_eq!((asked, losses.len()), (2 * 6, 0), "eight times in all");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a machine's time has to begin somewhere")]
    fn a_jump_is_a_new_beginning_and_the_list_stays_short() {
        let now = Instant::now();
        let mut losses = Losses::default();
        losses.arrived(now, 1, 0);
        assert_eq!(losses.arrived(now, 1, 302), Place::Anew);
        assert_eq!((losses.len(), losses.arrived(now, 1, 303)), (0, Place::Ahead));
        for n in 0..200_u16 {
            losses.arrived(now, 1, 303 + n * 299);
        }
        assert!(losses.len() <= MAX_MISSING);
        assert_eq!(losses.arrived(now, 2, 9), Place::Anew);
        assert_eq!(losses.len(), 0);
        assert_eq!(losses.arrived(now, 2, 40_000), Place::Anew, "it counts anew");
        assert_eq!(losses.arrived(now, 2, 40_001), Place::Ahead);
    }
}

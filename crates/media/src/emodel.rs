//! How good a conversation is, judged by what the network does to it: the E-model.
//!
//! ITU-T G.107 with its defaults for what a gateway cannot know (loudness, noise, echo), the
//! impairment by delay in its usual short form, and by loss as in its §7.5. All codecs are rated
//! on the narrowband scale, so that figures of different calls compare: without loss and delay
//! every codec we carry rates as G.711 does, at 4.41, the best there is.

use std::time::Duration;

use crate::codec::Codec;

/// A mean opinion score in hundredths: from 1.00, bad, to 4.50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mos(u16);

impl Mos {
    /// ITU-T G.107 annex B.
    #[must_use]
    pub fn from_rating(r: f64) -> Self {
        let r = r.clamp(0.0, 100.0);
        let score = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
        // The polynomial dips below one at the lower end.
        Self((score.clamp(1.0, 4.5) * 100.0).round() as u16)
    }

    #[must_use]
    pub fn hundredths(self) -> u16 {
        self.0
    }

    #[must_use]
    pub fn from_hundredths(hundredths: u16) -> Self {
        Self(hundredths.clamp(100, 450))
    }

    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// The transmission rating R of one direction. `loss` is the share of packets that is lost, from
/// 0 to 1; `delay` is from mouth to ear.
#[must_use]
pub fn rating(codec: Codec, loss: f64, delay: Duration) -> f64 {
    let (impairment, robustness) = codec_factors(codec);
    let percent = 100.0 * loss.clamp(0.0, 1.0);
    // Losses are taken as independent: BurstR is 1.
    let by_equipment = impairment + (95.0 - impairment) * percent / (percent + robustness);
    BEST - by_delay(delay) - by_equipment
}

/// Sound is waited for at both ends, and twice the jitter catches nearly all of it.
#[must_use]
pub fn delay(round_trip: Option<Duration>, jitter: Duration) -> Duration {
    round_trip.unwrap_or_default() / 2 + PLAYOUT + 2 * jitter
}

/// Hardly any up to 177.3 ms, then steep.
fn by_delay(delay: Duration) -> f64 {
    let ms = delay.as_secs_f64() * 1000.0;
    0.024 * ms + 0.11 * (ms - KNEE).max(0.0)
}

/// Ie and Bpl. Those of G.711, concealed, are in ITU-T G.113 appendix I. No table of the ITU has
/// the others on this scale; ours assume that G.722 takes a moment longer to recover after a
/// gap, and that Opus' own concealment and error correction do better.
fn codec_factors(codec: Codec) -> (f64, f64) {
    match codec {
        Codec::Pcmu | Codec::Pcma | Codec::L16Wide | Codec::L16 | Codec::L16Cd => (0.0, 25.1),
        Codec::G722 => (0.0, 20.0),
        Codec::Opus => (0.0, 30.0),
    }
}

/// Ro - Is with the defaults of ITU-T G.107.
const BEST: f64 = 93.2;
const KNEE: f64 = 177.3;
/// A packet's length, and one more to wait for.
const PLAYOUT: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests {
    use super::*;

    /// ITU-T G.107 table B.1: the borders of the categories of satisfaction. It prints 4.03 for
    /// R = 80, where its formula gives 4.024.
    #[test]
    fn scores_are_those_of_the_recommendation() {
        for (r, hundredths) in [
            (-20.0, 100),
            (0.0, 100),
            (3.0, 100),
            (50.0, 258),
            (60.0, 310),
            (70.0, 360),
            (80.0, 402),
            (90.0, 434),
            (93.2, 441),
            (100.0, 450),
            (150.0, 450),
            (f64::INFINITY, 450),
        ] {
            assert_eq!(Mos::from_rating(r).hundredths(), hundredths, "R = {r}");
        }
    }

    /// Worked by hand: 95 p / (p + 25.1) for G.711, and 0.024 d + 0.11 (d - 177.3).
    #[test]
    fn ratings_follow_loss_and_delay() {
        for (codec, loss, ms, expected) in [
            (Codec::Pcmu, 0.0, 0, 93.2),
            (Codec::Pcma, 0.01, 0, 89.56),
            (Codec::Pcmu, 0.02, 0, 86.19),
            (Codec::Pcmu, 0.05, 0, 77.42),
            (Codec::Pcmu, 0.1, 0, 66.13),
            (Codec::Pcmu, 0.0, 100, 90.8),
            (Codec::Pcmu, 0.0, 150, 89.6),
            (Codec::Pcmu, 0.0, 400, 59.10),
            (Codec::Pcmu, 0.02, 200, 78.90),
            (Codec::Opus, 0.05, 0, 79.63),
            (Codec::G722, 0.05, 0, 74.2),
            (Codec::Pcmu, 1.0, 0, 17.26),
        ] {
            let r = rating(codec, loss, Duration::from_millis(ms));
            assert!((r - expected).abs() < 0.02, "{codec} {loss} {ms}: {r}");
        }
    }

    #[test]
    fn what_cannot_be_heard_has_a_score_too() {
        let worst = rating(Codec::Opus, 7.0, Duration::from_secs(3600));
        assert_eq!(Mos::from_rating(worst).hundredths(), 100);
    }
}

//! How a leg does, as media control tells it, and the grade that its party is shown.

use std::time::Duration;

/// A leg's last five seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quality {
    /// Score of what the leg says, in hundredths from 100 to 450; absent when nothing came.
    pub mos: Option<u16>,
    /// Of the packets that the leg sent, in ten-thousandths.
    pub loss: u16,
    pub jitter: Duration,
    pub round_trip: Option<Duration>,
    /// Of the packets that the leg was sent, as it says, in ten-thousandths.
    pub loss_at_leg: Option<u16>,
    /// Of a leg with pictures.
    pub video: Option<VideoQuality>,
}

/// A leg's pictures in the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoQuality {
    pub codec: &'static str,
    /// Of the packets that the leg sent, in ten-thousandths; those that were repeated count as
    /// arrived.
    pub loss: u16,
    /// Of the packets that the leg was sent, as it says, before any were repeated.
    pub loss_at_leg: Option<u16>,
    /// What came from the leg and went to it, in kbit/s.
    pub kbit_in: u32,
    pub kbit_out: u32,
    /// The most that the leg takes, in kbit/s, once something limits it.
    pub limit_kbit: Option<u32>,
}

/// What a person would say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grade {
    #[default]
    Good,
    /// Some are dissatisfied.
    Fair,
    /// Words are lost.
    Poor,
    /// Nothing has come for three seconds.
    Silent,
}

impl Quality {
    /// The borders are those of ITU-T G.107 annex B: "many users dissatisfied" is poor.
    #[must_use]
    pub fn grade(&self) -> Grade {
        let by_score = match self.mos {
            Some(..310) => Grade::Poor,
            Some(..400) => Grade::Fair,
            Some(_) | None => Grade::Good,
        };
        match self.loss_at_leg {
            Some(1000..) => Grade::Poor,
            Some(300..) if by_score == Grade::Good => Grade::Fair,
            _ => by_score,
        }
    }
}

/// Whom a grade is about, seen from the leg that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Itself.
    Near,
    /// Who it talks to.
    Far,
}

/// A leg does better or worse than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradeChange {
    pub about: About,
    pub grade: Grade,
    pub quality: Option<Quality>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_direction_counts() {
        let check = |mos: Option<u16>, loss_at_leg: Option<u16>, expected: Grade| {
            let quality = Quality { mos, loss_at_leg, ..Quality::default() };
            assert_eq!(quality.grade(), expected, "{mos:?} {loss_at_leg:?}");
        };
        check(Some(441), None, Grade::Good);
        check(Some(400), Some(299), Grade::Good);
        check(Some(399), None, Grade::Fair);
        check(Some(441), Some(300), Grade::Fair);
        check(Some(309), Some(0), Grade::Poor);
        check(Some(350), Some(1000), Grade::Poor);
        check(None, None, Grade::Good);
    }
}

//! Eleven minutes of hold (class 4 of the attacks): sequence numbers and rollover counters go on
//! on both sides, whenever the sixteen bits of a number turn over.

use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::srtp::Profile;

use crate::phone::Keys;
use crate::world::{BROWSER, PHONE, Setup, World};

const HOLD: Duration = Duration::from_secs(11 * 60);
/// Less than what counts as a new count (RFC 3550 appendix A.1).
const SKIP: u16 = 2900;

fn call(profile: Profile) -> World {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.phone().keys = Some(Keys::new(profile));
    world.phone_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    world
}

impl World {
    /// Both turn their numbers over, by losing so many packets that not many are needed.
    fn wind(&mut self) {
        for _ in 0..=u16::MAX / SKIP {
            self.browser().skip(SKIP);
            self.phone().skip(SKIP);
            self.run(Duration::from_millis(100));
        }
    }

    /// The same while only the phone speaks.
    fn wind_phone(&mut self) {
        for _ in 0..=u16::MAX / SKIP {
            self.phone().skip(SKIP);
            self.run(Duration::from_millis(100));
        }
    }

    /// Every packet of both was good for the other, up to here.
    fn assert_clean(&mut self, when: &str) {
        let counters = self.counters();
        assert_eq!(counters.dropped_bad_tag, 0, "{when}");
        assert_eq!(counters.dropped_replayed, 0, "{when}");
        // The first word after a hold whose numbers ran on meanwhile waits for the next to
        // confirm them.
        assert!(counters.dropped_out_of_order <= 1, "{when}");
        assert_eq!(self.phone().broken, 0, "{when}");
        assert!(self.browser().error.is_none(), "{when}");
        assert!(!self.is_lost(BROWSER) && !self.is_lost(PHONE), "{when}");
    }

    /// Turns of the sixteen bits in what somebody heard; numbers only ever rise by less than
    /// half of them.
    fn turns(heard: &[crate::sound::Heard]) -> usize {
        heard
            .windows(2)
            .filter(|pair| {
                let step = pair[1].seq.wrapping_sub(pair[0].seq);
                assert!(step > 0 && step < 0x8000, "from {} to {}", pair[0].seq, pair[1].seq);
                pair[1].seq < pair[0].seq
            })
            .count()
    }
}

/// Before, during and after: a hold in silence and one with music.
#[test]
fn numbers_turn_over_before_during_and_after_eleven_minutes_of_hold() {
    for profile in [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm] {
        let mut world = call(profile);
        world.wind();
        world.assert_clean("before");

        world.phone_wants(2, "a=inactive");
        world.phone().is_silent = true;
        let said = world.phone().heard.len();
        world.run(HOLD);
        assert_eq!(world.phone().heard.len(), said, "a held phone gets nothing");
        world.assert_clean("after silence");

        world.phone().is_silent = false;
        world.phone_wants(3, "a=sendonly");
        world.wind_phone();
        world.assert_clean("with music");

        world.phone_wants(4, "a=sendrecv");
        world.run(Duration::from_secs(1));
        world.wind();
        world.assert_clean("after");
        world.assert_undisturbed();
        let (phone, browser) = (world.phone().heard.clone(), world.browser().heard.clone());
        assert!(World::turns(&phone) >= 2, "{profile:?}");
        assert!(World::turns(&browser) >= 3, "{profile:?}");
        // The clock of sound went on while nothing was said.
        let jump = |pair: &[crate::sound::Heard]| pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        let longest = phone.windows(2).map(jump).max();
        assert!(longest >= Some(600 * 8000), "{longest:?}");
        world.close();
    }
}

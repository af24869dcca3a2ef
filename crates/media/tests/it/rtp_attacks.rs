//! RTP bleed and injection against a plain telephone's leg: somebody sprays our ports, knows
//! what a packet looks like, and wants to be heard or to hear.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::SdpKind;
use crosspoint_media::rtcp::{ReportBlock, write_report};

use crate::phone::{SSRC, rtp};
use crate::sound::Voice;
use crate::story::{BROWSER_TONE, PHONE_TONE, desk};
use crate::world::{BROWSER, PHONE, STEP, Setup, World};

/// What an attacker says; nobody else does.
const EVIL: [u8; 160] = [0x2a; 160];

fn attacker() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 6666))
}

impl World {
    fn spray(&mut self, from: SocketAddr, ssrc: u32, seqs: impl IntoIterator<Item = u16>) -> u64 {
        let gateway = self.phone().gateway.expect("a port of ours");
        let mut count = 0;
        for seq in seqs {
            self.inject(from, gateway, &rtp(seq, u32::from(seq) * 160, ssrc, &EVIL));
            count += 1;
        }
        count
    }

    /// A whole stream, as good as any phone's, while the others go on.
    fn stream_from(&mut self, from: SocketAddr, ssrc: u32, packets: u16) -> u64 {
        let mut count = 0;
        for seq in 0..packets {
            count += self.spray(from, ssrc, [seq]);
            self.run(4 * STEP);
        }
        count
    }

    fn assert_nothing_bled(&mut self) {
        assert_eq!(self.strays, [], "nothing goes to where nobody is");
        let is_evil = |h: &crate::sound::Heard| h.payload == EVIL;
        assert!(!self.browser().heard.iter().any(is_evil), "the attacker is not heard");
    }

    /// Answered and connected, but the phone has said nothing yet.
    fn before_the_first_word(signaled: SocketAddr) -> Self {
        let mut world = Self::with_peers(Setup::default(), Codec::Pcmu);
        world.phone().signaled = signaled;
        world.browser_calls(|offer| offer);
        world.run_until("DTLS connects", |w| w.is_connected(BROWSER) && w.browser().is_connected);
        world.browser().voice = Some(Voice::new(Codec::Pcmu, BROWSER_TONE));
        world
    }

    fn phone_speaks(&mut self) {
        self.phone().voice = Some(Voice::new(Codec::Pcmu, PHONE_TONE));
    }
}

#[test]
fn spraying_before_at_and_after_the_first_packet_wins_nothing() {
    let beside = SocketAddr::new(desk().ip(), desk().port() + 10);
    for (source, streams) in [(attacker(), true), (beside, false)] {
        let mut world = World::before_the_first_word(desk());
        let mut sprayed = 0;
        if streams {
            sprayed += world.stream_from(source, 1, 50);
        }
        sprayed += world.spray(source, 1, [7, 9, 8, 400]);
        sprayed += world.spray(source, SSRC, [100, 101, 99]);
        world.phone_speaks();
        sprayed += world.spray(source, SSRC, [101, 102]);
        world.run(STEP);
        sprayed += world.spray(source, SSRC, 102..110);
        world.run(Duration::from_secs(1));
        sprayed += world.stream_from(source, SSRC, 50);
        world.assert_nothing_bled();
        assert_eq!(world.counters().dropped_unknown_source, sprayed);
        world.assert_undisturbed();
    }
}

/// Somebody on the phone's own host, or behind its NAT, was quicker: signalling still counts.
#[test]
fn the_signaled_source_takes_its_stream_back() {
    let mut world = World::before_the_first_word(desk());
    let beside = SocketAddr::new(desk().ip(), desk().port() + 10);
    world.stream_from(beside, 1, 50);
    assert!(!world.strays.is_empty(), "another port of the phone's address may prove itself");
    world.strays.clear();
    world.browser().heard.clear();
    world.phone_speaks();
    world.run(Duration::from_secs(1));
    let strays = world.strays.len();
    assert!(strays <= 1, "{strays} packets were still on their way");
    world.strays.clear();
    world.stream_from(beside, 1, 50);
    world.assert_nothing_bled();
    assert!(world.phone().heard.len() > 80 && world.browser().heard.len() > 80);
}

#[test]
fn a_packet_with_the_right_source_number_from_a_wrong_address_is_dropped() {
    let mut world = World::in_call();
    let seq = world.phone().seq;
    let dropped = world.counters().dropped_unknown_source;
    world.spray(attacker(), SSRC, [seq.wrapping_add(1), seq.wrapping_add(2)]);
    assert_eq!(world.counters().dropped_unknown_source, dropped + 2);
    world.assert_nothing_bled();
    world.assert_undisturbed();
}

#[test]
fn reports_from_a_wrong_address_change_nothing() {
    let mut world = World::in_call();
    let gateway = world.phone().gateway.expect("a port of ours");
    let beside = SocketAddr::new(gateway.ip(), gateway.port() + 1);
    let ours = world.phone().heard[0].ssrc;
    let block = ReportBlock { ssrc: ours, last_sr: 1, fraction_lost: 255, ..Default::default() };
    let mut report = Vec::new();
    write_report(&mut report, SSRC, "evil", None, Some(&block));
    report.extend([0x81, 203, 0, 1]);
    report.extend(SSRC.to_be_bytes());
    let dropped = world.counters().dropped_unknown_source;
    for to in [gateway, beside] {
        world.inject(attacker(), to, &report);
        world.inject(SocketAddr::new(attacker().ip(), desk().port()), to, &report);
    }
    assert_eq!(world.counters().dropped_unknown_source, dropped + 4);
    world.assert_undisturbed();
    world.assert_nothing_bled();
    world.close();
}

/// A phone behind a NAT, which names its private address.
mod nat {
    use super::*;

    fn private() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 5], 7000))
    }

    fn learned(world: &mut World) {
        world.run(Duration::from_secs(1));
        world.strays.retain(|d| d.to.ip() != private().ip());
        world.assert_nothing_bled();
        assert!(world.browser().heard.len() > 30, "{}", world.browser().heard.len());
        assert!(world.phone().heard.len() > 30, "{}", world.phone().heard.len());
    }

    #[test]
    fn is_found_by_a_stream_of_its_own() {
        let mut world = World::before_the_first_word(private());
        world.phone_speaks();
        learned(&mut world);
        world.stream_from(attacker(), SSRC, 50);
        learned(&mut world);
        // Reports find the port they came from, too.
        world.run(Duration::from_secs(15));
        assert!(!world.phone().reports.is_empty());
    }

    #[test]
    fn gets_no_report_where_sound_belongs() {
        let mut world = World::before_the_first_word(private());
        world.phone_speaks();
        world.phone().has_reports = false;
        world.log = Some(vec![]);
        world.run(Duration::from_secs(15));
        learned(&mut world);
        let address = world.phone().address;
        let log = world.log.take().expect("a log");
        let reports = log.iter().filter(|d| d.to == address && d.bytes[1] == 200);
        assert_eq!(reports.count(), 0, "it has not shown its port for them");
    }

    #[test]
    fn is_found_though_somebody_sprays() {
        let mut world = World::before_the_first_word(private());
        world.phone_speaks();
        let mut seq = 1000_u16;
        for step in 0..200_u16 {
            seq = seq.wrapping_mul(31).wrapping_add(7);
            let port = 1024 + step % 3;
            world.spray(SocketAddr::new(attacker().ip(), port), 1, [seq]);
            world.run(STEP);
        }
        learned(&mut world);
    }

    #[test]
    fn is_not_anybody_with_a_burst() {
        let mut world = World::before_the_first_word(private());
        world.spray(attacker(), 1, 0..200);
        world.run(4 * STEP);
        world.spray(attacker(), 1, 200..400);
        world.phone_speaks();
        learned(&mut world);
    }

    /// Who of two good streams is the phone cannot be told: better none than the wrong one.
    #[test]
    fn is_nobody_while_two_claim_it() {
        for attacker_first in [true, false] {
            let mut world = World::before_the_first_word(private());
            if attacker_first {
                world.stream_from(attacker(), 1, 6);
            }
            world.phone_speaks();
            for seq in 6..300 {
                world.run(4 * STEP);
                world.spray(attacker(), 1, [seq]);
            }
            world.strays.retain(|d| d.to.ip() != private().ip());
            world.assert_nothing_bled();
        }
    }

    #[test]
    fn is_not_looked_for_for_ever() {
        let mut world = World::before_the_first_word(private());
        world.run(Duration::from_secs(11));
        world.stream_from(attacker(), 1, 50);
        world.strays.retain(|d| d.to.ip() != private().ip());
        world.assert_nothing_bled();
    }
}

/// The old way to hold names no address: nobody may take the place of the phone meanwhile.
#[test]
fn a_held_phone_without_an_address_is_nobody_else() {
    let mut world = World::in_call();
    let hold = world.phone().offer().replace("c=IN IP4 198.51.100.7", "c=IN IP4 0.0.0.0");
    assert!(hold.contains("0.0.0.0"));
    world.accept(PHONE, SdpKind::Offer, &hold.replace("o=- 5 1", "o=- 5 2"));
    world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
    world.phone().is_silent = true;
    world.run(Duration::from_secs(1));
    world.stream_from(attacker(), 1, 50);
    world.assert_nothing_bled();

    let resume = world.phone().offer().replace("o=- 5 1", "o=- 5 3");
    world.accept(PHONE, SdpKind::Offer, &resume);
    world.describe(PHONE, SdpKind::Answer, Some(BROWSER));
    world.phone().is_silent = false;
    world.run(Duration::from_secs(1));
    world.assert_nothing_bled();
    world.assert_undisturbed();
}

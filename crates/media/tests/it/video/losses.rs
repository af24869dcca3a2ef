//! Losses on either side of us, repaired on that side.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crosspoint_media::rtcp::{Feedback, write_nack};
use crosspoint_media::rtp::{Header, is_rtcp};
use str0m::format::Codec;
use str0m::rtp::rtcp::Rtcp;

use super::picture;
use crate::phone::Keys;
use crate::sound::Heard;
use crate::world::{Datagram, World, ours};

/// Loses some of the packets of one source for good: those sent again get through.
fn lossy(ssrc: Rc<RefCell<Option<u32>>>) -> impl FnMut(Datagram) -> Vec<Datagram> {
    let mut count = 0;
    move |datagram| {
        let is_it = Header::parse(&datagram.bytes)
            .is_some_and(|h| Some(h.ssrc) == *ssrc.borrow() && !is_rtcp(&datagram.bytes));
        count += usize::from(is_it);
        // Also several at once.
        if is_it && matches!(count % 25, 3 | 7 | 8) { vec![] } else { vec![datagram] }
    }
}

/// Every picture came, whatever the order.
fn assert_all(seen: &[Heard], pictures: u32, len: usize) {
    for number in 0..pictures {
        let times = seen.iter().filter(|h| h.payload == picture(number, len)).count();
        assert_eq!(times, 1, "picture {number} of {}", seen.len());
    }
    assert!(seen.iter().all(|h| h.ssrc == seen[0].ssrc));
}

#[test]
fn what_a_browsers_way_to_us_loses_we_ask_for_and_pass_on() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..1);
    let camera = world.browser().camera.expect("a camera");
    let ssrc = world.browser().rtc.direct_api().stream_tx_by_mid(camera, None).map(|s| *s.ssrc());
    world.set_wire(lossy(Rc::new(RefCell::new(ssrc))));
    world.show(Codec::Vp8, 1..100);
    world.run(Duration::from_secs(1));
    assert_all(&world.lens().seen.clone(), 100, 900);
    let asked = world.browser().reports.iter().filter(|r| matches!(r, Rtcp::Nack(_))).count();
    assert!(asked >= 8, "{asked}");
    assert!(world.counters().video_asked_again >= 12);
    assert_eq!(world.counters().video_sent_again, 0, "the phone missed nothing");
    world.close();
}

#[test]
fn what_the_way_to_a_browser_loses_we_send_again_as_a_repair() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..2);
    let ssrc = Some(world.browser().seen[0].ssrc);
    world.set_outward_wire(lossy(Rc::new(RefCell::new(ssrc))));
    world.show(Codec::Vp8, 2..100);
    world.run(Duration::from_secs(1));
    assert_all(&world.browser().seen.clone(), 100, 700);
    assert!(world.counters().video_sent_again >= 12);
    assert!(
        world
            .lens()
            .reports
            .iter()
            .all(|r| r.feedback.iter().all(|f| !matches!(f, Feedback::Nack { .. })))
    );
    world.close();
}

/// In clear and under SRTP: the same packet once more, which no cipher minds.
#[test]
fn what_the_way_to_a_phone_loses_we_send_again_as_it_was() {
    use crosspoint_media::srtp::Profile;
    for suite in [None, Some(Profile::Aes128CmSha1_80), Some(Profile::AeadAes128Gcm)] {
        let mut world = World::with_cameras(Codec::Vp8);
        world.phone().keys = suite.map(Keys::new);
        world.lens().keys = suite.map(Keys::new);
        world.browser().add_camera();
        world.browser_calls(|offer| offer);
        world.talk(crosspoint_media::codec::Codec::Pcmu);
        world.show(Codec::Vp8, 0..2);
        let ssrc = world.lens().seen[0].ssrc;
        world.set_outward_wire(lossy(Rc::new(RefCell::new(Some(ssrc)))));
        world.show(Codec::Vp8, 2..58);
        world.set_outward_wire(|datagram| vec![datagram]);
        world.show(Codec::Vp8, 58..60);
        let got: Vec<u16> = world.lens().seen.iter().map(|h| h.seq).collect();
        let (first, last) = (got[0], got[got.len() - 1]);
        let all = (0..=last.wrapping_sub(first)).map(|n| first.wrapping_add(n));
        let lost: Vec<u16> = all.filter(|seq| !got.contains(seq)).collect();
        assert!(lost.len() >= 6, "{lost:?}");
        world.lens().tell(|out, sender| write_nack(out, sender, ssrc, &lost));
        world.run(Duration::from_millis(100));
        assert_all(&world.lens().seen.clone(), 60, 900);
        assert_eq!(world.lens().broken, 0);
        world.close();
    }
}

#[test]
fn a_phone_that_says_so_is_asked_for_what_is_missing() {
    for (says, asks) in [("a=rtcp-fb:* nack\r\n", true), ("", false)] {
        let mut world = World::with_cameras(Codec::Vp8);
        world.lens().says = says.to_owned();
        world.browser().add_camera();
        world.browser_calls(|offer| offer);
        world.talk(crosspoint_media::codec::Codec::Pcmu);
        world.show(Codec::Vp8, 0..10);
        let missed = world.lens().seq.wrapping_add(1);
        world.lens().seq = missed;
        world.show(Codec::Vp8, 10..12);
        let asked = world
            .lens()
            .reports
            .iter()
            .flat_map(|r| &r.feedback)
            .any(|f| matches!(f, Feedback::Nack { lost, .. } if lost.contains(&missed)));
        assert_eq!(asked, asks);
        world.close();
    }
}

/// Who asks for the same again and again gets it no oftener than pictures are sent.
#[test]
fn no_peer_makes_us_send_more_than_we_sent_anyhow() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..100);
    let (ssrc, last) = (world.lens().seen[0].ssrc, world.lens().seen[99].seq);
    let all: Vec<u16> = (0..300).map(|n| last.wrapping_sub(300 - n)).collect();
    let held = world.shard.held();
    for _ in 0..200 {
        world.lens().tell(|out, sender| write_nack(out, sender, ssrc, &all));
        world.run(Duration::from_millis(15));
    }
    let again = world.counters().video_sent_again;
    assert!((80..=400).contains(&again), "{again}");
    assert!(world.shard.held() <= held + 10, "{held} and then {}", world.shard.held());
    world.assert_undisturbed();
    world.close();
}

/// Made-up sources and numbers fill no table.
#[test]
fn a_flood_of_sources_and_gaps_stays_within_bounds() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..5);
    let held = world.shard.held();
    for n in 0..3000_u32 {
        world.lens().ssrc = n / 7;
        world.lens().seq = (n * 251) as u16;
        world.lens().show(picture(n, 60));
        world.run(Duration::from_millis(5));
    }
    assert!(world.shard.held() < held + 800, "{held} and then {}", world.shard.held());
    world.close();
}

/// The addresses of a story with one shard: nothing goes anywhere else.
#[test]
fn pictures_reach_nobody_else() {
    let mut world = World::in_video_call(Codec::H264);
    world.log = Some(vec![]);
    world.show(Codec::H264, 0..30);
    let peers = [world.browser().address, world.phone().address, world.lens().address];
    let ips = peers.map(|p| p.ip());
    let log = world.log.take().expect("a log");
    assert!(log.iter().all(|d| ips.contains(&d.to.ip()) || d.to.ip() == ours().ip()));
    assert!(world.strays.is_empty());
    world.close();
}

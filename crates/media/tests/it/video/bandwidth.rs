//! How senders learn what a way carries: a browser by itself, from what we tell; a phone from us;
//! and both from what is lost behind us.

use std::time::Duration;

use crosspoint_media::codec::Codec as Sound;
use crosspoint_media::control::Event;
use crosspoint_media::rtcp::{Feedback, ReportBlock, write_remb, write_report};
use crosspoint_media::video::VideoCodec;
use str0m::bwe::Bitrate;
use str0m::format::Codec;
use str0m::rtp::rtcp::Rtcp;

use super::picture;
use crate::browser::{Browser, birthplace};
use crate::world::{BROWSER, World};

fn tmmbr(world: &mut World) -> Vec<u64> {
    let reports = std::mem::take(&mut world.lens().reports);
    let feedback = reports.into_iter().flat_map(|report| report.feedback);
    feedback
        .filter_map(|f| if let Feedback::Tmmbr { bits, .. } = f { Some(bits) } else { None })
        .collect()
}

fn remb(world: &mut World) -> Option<f64> {
    let reports = std::mem::take(&mut world.browser().reports);
    reports.iter().rev().find_map(|report| match report {
        Rtcp::Remb(remb) => Some(f64::from(remb.bitrate)),
        _ => None,
    })
}

impl World {
    /// The browser films for so long, as well as it may.
    fn film(&mut self, pictures: u32) {
        for _ in 0..pictures {
            let now = self.now;
            let estimate = self.browser().estimate.expect("an estimate");
            let bytes = (estimate as usize * 35 / 8000).clamp(100, 50_000);
            let parts = bytes.div_ceil(1000);
            let parts = (0..parts).map(|_| vec![0x10; bytes / parts]).collect();
            self.browser().show_parts(now, Codec::Vp8, parts);
            self.run(Duration::from_millis(35));
        }
    }
}

/// It lives on what we tell of each packet's arrival (transport-wide feedback).
#[test]
fn a_browser_finds_out_what_its_way_to_us_carries() {
    let mut world = World::with_cameras(Codec::Vp8);
    let now = world.now;
    world.browser = Some(Browser::with(now, birthplace(), Sound::Pcmu, |config| {
        config.enable_vp8(true).enable_bwe(Some(Bitrate::kbps(1000)))
    }));
    world.browser().add_camera();
    world.browser_calls(|offer| offer);
    world.talk(Sound::Pcmu);
    // It probes the way before it has a picture, with padding among the repairs.
    world.browser().rtc.bwe().set_bitrate(Bitrate::kbps(1000), Bitrate::kbps(2000));
    world.run(Duration::from_secs(3));
    let told = world.browser().reports.iter().filter(|r| matches!(r, Rtcp::Twcc(_))).count();
    assert!(told > 0, "probes are answered");
    world.film(60);
    assert!(world.browser().estimate > Some(500_000), "{:?}", world.browser().estimate);
    world.narrow(400_000);
    world.film(600);
    let narrow = world.browser().estimate.expect("an estimate");
    assert!((100_000..=450_000).contains(&narrow), "{narrow} of 400000");
    world.narrow(5_000_000);
    world.film(900);
    let wide = world.browser().estimate.expect("an estimate");
    assert!(wide > 600_000, "{wide} of 5000000");
    world.close();
}

/// Packets that wait for us to look at them have had no narrow way.
#[test]
fn a_browsers_way_is_no_narrower_for_our_being_busy() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.narrow(50_000_000);
    world.busy = Duration::from_millis(60);
    world.show(Codec::Vp8, 0..100);
    let reports = std::mem::take(&mut world.browser().reports);
    let start = world.now;
    let came: Vec<_> = reports
        .into_iter()
        .filter_map(|r| if let Rtcp::Twcc(twcc) = r { Some(twcc) } else { None })
        .flat_map(|twcc| twcc.into_iter(start, 0.into()).filter_map(|(.., came)| came))
        .collect();
    assert!(came.len() > 90, "{}", came.len());
    for pair in came.windows(2) {
        // A picture each 35 ms.
        let gap = (pair[1] - pair[0]).as_millis();
        assert!((30..=40).contains(&gap), "{gap} ms");
    }
    world.close();
}

/// A phone without an estimate of its own is told ours.
#[test]
fn a_phone_whose_pictures_come_ever_later_is_told_to_send_less() {
    for (says, is_told) in [("a=rtcp-fb:* ccm tmmbr\r\n", true), ("a=rtcp-fb:* nack\r\n", false)] {
        let mut world = World::with_cameras(Codec::Vp8);
        world.lens().says = says.to_owned();
        world.browser().add_camera();
        world.browser_calls(|offer| offer);
        world.talk(Sound::Pcmu);
        world.show(Codec::Vp8, 0..200);
        assert_eq!(tmmbr(&mut world), [], "as fast as they are taken");
        // Each 35 ms of film take 45 ms to come.
        for number in 200..300 {
            world.lens().show(picture(number, 700));
            world.run(Duration::from_millis(45));
        }
        let told = tmmbr(&mut world);
        // 127 kbit/s come.
        let is_near = |bits: &u64| (90_000..=130_000).contains(bits);
        assert_eq!(told.last().is_some_and(is_near), is_told, "{told:?}");
        for number in 300..900 {
            world.lens().show(picture(number, 700));
            world.run(Duration::from_millis(35));
        }
        let later = tmmbr(&mut world);
        assert!(later.last() > told.last() || !is_told, "{told:?} and {later:?}");
        world.close();
    }
}

#[test]
fn what_a_phone_misses_the_browser_is_told_as_a_limit() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..100);
    assert_eq!(remb(&mut world), None, "nothing is lost");
    let ssrc = world.lens().seen[0].ssrc;
    let tell = |world: &mut World, fraction_lost: u8, highest_seq: u32| {
        let block = ReportBlock { ssrc, fraction_lost, highest_seq, ..ReportBlock::default() };
        let mut bytes = Vec::new();
        write_report(&mut bytes, world.lens().ssrc, "phone", None, Some(&block));
        world.lens().tell_raw(bytes);
    };
    tell(&mut world, 128, 1000);
    world.show(Codec::Vp8, 100..140);
    // 206 kbit/s go out, and half of that gets lost.
    let low = remb(&mut world).expect("a limit");
    assert!((130_000.0..=175_000.0).contains(&low), "{low}");
    for report in 1..=5 {
        tell(&mut world, 0, 1000 + report);
        world.show(Codec::Vp8, 140 + report * 40..180 + report * 40);
    }
    let high = remb(&mut world).expect("a limit");
    assert!(high > 1.2 * low, "{low} and {high}");
    world.close();
}

/// Chromium's estimate is at most half above what it gets. A sender that keeps to a limit, and
/// does not use all of it, would never be told of more.
#[test]
fn a_limit_that_fell_rises_again() {
    let mut world = World::with_cameras(Codec::Vp8);
    world.lens().says = "a=rtcp-fb:* goog-remb\r\n".to_owned();
    world.browser().add_camera();
    world.browser_calls(|offer| offer);
    world.talk(Sound::Pcmu);
    // For so many seconds the browser films with this share of its limit, and the phone's
    // estimate is this one of what comes; then the limit.
    let films = |world: &mut World, seconds: u32, mut limit: f64, share: f64, of: f64| {
        for _ in 0..seconds {
            let rate = limit * share;
            for _ in 0..28 {
                let now = world.now;
                let bytes = (rate * 0.035 / 8.0) as usize;
                let parts = bytes.div_ceil(1000);
                let parts = (0..parts).map(|_| vec![0x10; bytes / parts]).collect();
                world.browser().show_parts(now, Codec::Vp8, parts);
                world.run(Duration::from_millis(35));
            }
            let sent = world.lens().seen[0].ssrc;
            let bits = (rate * of) as u64 + 10_000;
            world.lens().tell(|out, sender| write_remb(out, sender, sent, bits));
            world.run(Duration::from_millis(35));
            limit = remb(world).unwrap_or(limit);
        }
        limit
    };
    let low = films(&mut world, 10, 300_000.0, 1.0, 0.7);
    assert!(low < 60_000.0, "{low}");
    let later = films(&mut world, 30, low, 0.5, 1.5);
    assert!(later > 10.0 * low, "{low} and {later}");
    let held = films(&mut world, 10, later, 1.0, 1.1);
    assert!(held < 2.0 * later, "{later} and {held}");
    world.close();
}

/// Operators see them of a running call.
#[test]
fn the_figures_of_a_leg_have_its_pictures() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..500);
    let video = world.events.iter().rev().find_map(|(_, event)| match event {
        Event::Quality { leg, sample } if *leg == BROWSER => sample.video,
        _ => None,
    });
    let video = video.expect("figures of the video");
    assert_eq!((video.codec, video.packets_lost, video.limit), (VideoCodec::Vp8, 0, None));
    // 900 bytes there and 700 back each 35 ms, with headers.
    assert!((205_000..=225_000).contains(&video.rate_in), "{video:?}");
    assert!((160_000..=180_000).contains(&video.rate_out), "{video:?}");
    assert!((130..=150).contains(&video.packets_received), "{video:?}");
    world.close();
}

//! Key frames, limits, transport-wide feedback, and the clocks of sound and pictures.

use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, Event, VideoStats};
use crosspoint_media::rtcp::{
    Feedback, SenderInfo, write_fir, write_pli, write_remb, write_report, write_tmmbr,
};
use str0m::format::Codec;
use str0m::media::KeyframeRequestKind;
use str0m::rtp::rtcp::Rtcp;

use crate::phone::SSRC;
use crate::world::{BROWSER, PHONE, World};

fn call(says: &str) -> World {
    let mut world = World::with_cameras(Codec::Vp8);
    world.lens().says = says.to_owned();
    world.browser().add_camera();
    world.browser_calls(|offer| offer);
    world.talk(crosspoint_media::codec::Codec::Pcmu);
    world.show(Codec::Vp8, 0..40);
    world
}

impl World {
    fn asked_of_phone(&mut self) -> Vec<Feedback> {
        self.lens().reports.iter().flat_map(|r| r.feedback.clone()).collect()
    }

    /// Of a leg that is closed.
    fn video_stats(&self, of: LegId) -> VideoStats {
        let stats = self.events.iter().find_map(|(_, event)| match event {
            Event::Closed { leg, stats } if *leg == of => stats.video,
            _ => None,
        });
        stats.expect("figures of the video")
    }

    fn signaled(&self, wanted: LegId) -> usize {
        let is_it = |e: &Event| matches!(e, Event::KeyFrameWanted { leg } if *leg == wanted);
        self.events.iter().filter(|(_, event)| is_it(event)).count()
    }
}

#[test]
fn a_browser_that_wants_a_whole_picture_has_the_phone_asked_in_its_own_way() {
    for kind in [KeyframeRequestKind::Pli, KeyframeRequestKind::Fir] {
        for (says, by_rtcp) in [
            ("a=rtcp-fb:* nack pli\r\n", true),
            ("a=rtcp-fb:* ccm fir\r\n", true),
            ("a=rtcp-fb:* nack\r\n", false),
            ("", false),
        ] {
            let mut world = call(says);
            world.run(Duration::from_secs(2));
            world.lens().reports.clear();
            let (ssrc, signaled) = (world.lens().ssrc, world.signaled(PHONE));
            let now = world.now;
            world.browser().ask_key_frame(now, kind);
            world.run(Duration::from_millis(200));
            let asked: Vec<_> = world
                .asked_of_phone()
                .into_iter()
                .filter(|f| matches!(f, Feedback::Pli { .. } | Feedback::Fir { .. }))
                .collect();
            match asked.as_slice() {
                [Feedback::Pli { ssrc: of }] => assert!(*of == ssrc && says.contains("pli")),
                [Feedback::Fir { ssrc: of, .. }] => assert!(*of == ssrc && says.contains("fir")),
                [] => assert!(!by_rtcp, "{says}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(world.signaled(PHONE) - signaled, usize::from(!by_rtcp), "{says}");
            world.close();
        }
    }
}

#[test]
fn a_phone_that_wants_a_whole_picture_has_the_browser_asked() {
    let mut world = call("a=rtcp-fb:* nack pli\r\na=rtcp-fb:* ccm fir\r\n");
    let ssrc = world.lens().seen[0].ssrc;
    for way in 0..3 {
        world.run(Duration::from_secs(2));
        let asked = world.browser().key_frames_asked;
        match way {
            0 => world.lens().tell(|out, sender| write_pli(out, sender, ssrc)),
            1 => world.lens().tell(|out, sender| write_fir(out, sender, ssrc, 1)),
            // By signalling (RFC 5168).
            _ => world.command(Command::RequestKeyFrame { leg: PHONE }),
        }
        world.run(Duration::from_millis(200));
        assert_eq!(world.browser().key_frames_asked, asked + 1, "{way}");
    }
    assert_eq!(world.signaled(BROWSER), 0);
    world.close();
    let (phone, browser) = (world.video_stats(PHONE), world.video_stats(BROWSER));
    assert_eq!((phone.key_frames_wanted, browser.key_frames_wanted), (3, 0));
    assert!(browser.key_frames_asked >= 3, "{browser:?}");
}

#[test]
fn whole_pictures_are_not_asked_for_without_end() {
    let mut world = call("a=rtcp-fb:* nack pli\r\n");
    world.run(Duration::from_secs(2));
    let (ssrc, asked) = (world.lens().seen[0].ssrc, world.browser().key_frames_asked);
    for _ in 0..400 {
        world.lens().tell(|out, sender| write_pli(out, sender, ssrc));
        world.run(Duration::from_millis(5));
    }
    world.run(Duration::from_secs(2));
    let asked = world.browser().key_frames_asked - asked;
    assert!((4..=6).contains(&asked), "{asked} times in two seconds, and once behind");
    world.close();
}

#[test]
fn a_browser_is_told_when_its_packets_came() {
    let mut world = call("");
    let told: usize = world
        .browser()
        .reports
        .iter()
        .filter_map(|r| {
            if let Rtcp::Twcc(twcc) = r { Some(usize::from(twcc.status_count)) } else { None }
        })
        .sum();
    assert!((38..=42).contains(&told), "{told} of 40 packets");
    world.close();
}

#[test]
fn what_a_browser_can_take_the_phone_is_told() {
    let mut world = call("a=rtcp-fb:* ccm tmmbr\r\n");
    // Far more than comes is no limit: that is what a browser says of a still picture.
    let now = world.now;
    world.browser().limit(now, 400_000);
    world.show(Codec::Vp8, 40..80);
    assert!(!world.asked_of_phone().iter().any(|f| matches!(f, Feedback::Tmmbr { .. })));
    let now = world.now;
    world.browser().limit(now, 100_000);
    world.show(Codec::Vp8, 80..120);
    let told: Vec<u64> = world
        .asked_of_phone()
        .iter()
        .filter_map(|f| if let Feedback::Tmmbr { bits, .. } = f { Some(*bits) } else { None })
        .collect();
    assert!(told.last().is_some_and(|bits| (98_000..=100_000).contains(bits)), "{told:?}");
    world.close();
}

/// By its description, by REMB or by TMMBR: the least counts.
#[test]
fn what_a_phone_can_take_the_browser_is_told() {
    let mut world = call("b=AS:900\r\n|a=rtcp-fb:* ccm tmmbr\r\n");
    let remb = |world: &mut World| {
        let reports = std::mem::take(&mut world.browser().reports);
        let told = reports.iter().rev().find_map(|r| match r {
            Rtcp::Remb(remb) => Some(f64::from(remb.bitrate)),
            _ => None,
        });
        told.expect("a limit")
    };
    world.show(Codec::Vp8, 40..80);
    let told = remb(&mut world);
    assert!((890_000.0..=900_000.0).contains(&told), "{told}");
    let ssrc = world.lens().seen[0].ssrc;
    world.lens().tell(|out, sender| write_tmmbr(out, sender, ssrc, 500_000));
    world.show(Codec::Vp8, 80..120);
    let told = remb(&mut world);
    assert!((495_000.0..=500_000.0).contains(&told), "{told}");
    let is_heard = |f: &Feedback| matches!(f, Feedback::Tmmbn { bits: 499_000..=500_000, .. });
    assert!(world.asked_of_phone().iter().any(is_heard), "else it would ask again and again");
    world.lens().tell(|out, sender| write_remb(out, sender, ssrc, 150_000));
    world.show(Codec::Vp8, 120..160);
    let told = remb(&mut world);
    assert!((148_000.0..=150_000.0).contains(&told), "{told}");
    world.close();
}

/// A phone's microphone is 80 ms behind its camera, as its reports say: the browser hears the
/// same of what we send it, and can play them in step.
#[test]
fn sound_and_pictures_stay_in_step() {
    let mut world = call("");
    world.phone().has_reports = false;
    // Both clocks of the phone, at one time of its own.
    let ntp = 1_000_u64 << 32;
    let (sound, picture) = (world.phone().timestamp, world.lens().timestamp);
    let heard = world.browser().heard.last().map(|h| h.timestamp).expect("sound");
    let seen = world.browser().seen.last().map(|h| h.timestamp).expect("a picture");
    let report = |ssrc, ntp, rtp_timestamp| {
        let info = SenderInfo { ntp, rtp_timestamp, packets: 9, bytes: 9 };
        let mut bytes = Vec::new();
        write_report(&mut bytes, ssrc, "phone", Some(&info), None);
        bytes
    };
    let late = 80 * 8;
    let bytes = report(SSRC, ntp, sound.wrapping_sub(late));
    let gateway = world.phone().gateway.expect("a port");
    let to = std::net::SocketAddr::new(gateway.ip(), gateway.port() + 1);
    let from =
        std::net::SocketAddr::new(world.phone().address.ip(), world.phone().address.port() + 1);
    world.inject(from, to, &bytes);
    let ssrc = world.lens().ssrc;
    world.lens().tell_raw(report(ssrc, ntp, picture));
    world.run(Duration::from_millis(50));
    world.browser().reports.clear();
    world.show(Codec::Vp8, 40..300);
    let (of_sound, of_picture) = (world.browser().heard[0].ssrc, world.browser().seen[0].ssrc);
    let marks = |world: &mut World, of: u32| -> Vec<(f64, u64)> {
        let reports = &world.browser().reports;
        let marks = reports.iter().filter_map(|r| match r {
            Rtcp::SenderReport(sr) if *sr.sender_info.ssrc == of => {
                let wall = sr.sender_info.ntp_time.duration_since(std::time::UNIX_EPOCH);
                Some((wall.expect("a time").as_secs_f64(), sr.sender_info.rtp_time.numer()))
            }
            _ => None,
        });
        marks.collect()
    };
    let (sounds, pictures) = (marks(&mut world, of_sound), marks(&mut world, of_picture));
    let (a, b) = (sounds.last().expect("a report"), pictures.last().expect("a report"));
    // The wall times of what was on the wire when the phone's clocks were read, as the browser
    // works them out.
    let back = |now: u64, then: u32| f64::from((now as u32).wrapping_sub(then).cast_signed());
    let heard_at = a.0 - back(a.1, heard) / 8000.0;
    let seen_at = b.0 - back(b.1, seen) / 90_000.0;
    let skew = heard_at - seen_at;
    assert!((skew - 0.08).abs() < 0.03, "{skew} s");
    world.close();
}

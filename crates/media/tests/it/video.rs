//! Pictures between browsers and phones: passed on, repaired, asked for anew, and in step with
//! the sound.

mod bandwidth;
mod feedback;
mod lens;
mod losses;

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec as Sound;
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_media::video::VideoCodec;
use str0m::format::Codec;

use crate::browser::{Browser, birthplace};
use crate::phone::{Keys, Phone};
use crate::sound::Heard;
use crate::story::desk;
use crate::world::{BROWSER, CALLEE, PHONE, Setup, World};
pub(crate) use lens::{Lens, PICTURE};

/// A picture of so many bytes that is like no other.
pub(crate) fn picture(number: u32, len: usize) -> Vec<u8> {
    let mut payload = vec![0x10; len];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

fn camera(now: std::time::Instant, address: SocketAddr) -> Browser {
    Browser::with(now, address, Sound::Pcmu, |config| config.enable_vp8(true).enable_h264(true))
}

impl World {
    /// A browser with a camera and a phone with a lens.
    pub(crate) fn with_cameras(codec: Codec) -> Self {
        let mut world = Self::new(Setup::default());
        world.browser = Some(camera(world.now, birthplace()));
        let mut phone = Phone::new(desk());
        phone.lens = Some(Lens::new(codec));
        world.phone = Some(phone);
        world
    }

    /// In a call that the browser began.
    pub(crate) fn in_video_call(codec: Codec) -> Self {
        let mut world = Self::with_cameras(codec);
        world.browser().add_camera();
        world.browser_calls(|offer| offer);
        world.talk(Sound::Pcmu);
        world
    }

    /// Both show so many pictures, one each 35 ms.
    pub(crate) fn show(&mut self, codec: Codec, pictures: std::ops::Range<u32>) {
        for number in pictures {
            let now = self.now;
            self.browser().show(now, codec, picture(number, 900));
            if let Some(lens) = self.phone.as_mut().and_then(|p| p.lens.as_mut()) {
                lens.show(picture(number, 700));
            }
            self.run(Duration::from_millis(35));
        }
    }

    pub(crate) fn lens(&mut self) -> &mut Lens {
        self.phone().lens.as_mut().expect("a lens")
    }
}

/// Each picture once, in order, under one source, with time going on.
fn assert_shown(seen: &[Heard], pictures: std::ops::Range<u32>, len: usize) {
    let payloads: Vec<_> = seen.iter().map(|h| h.payload.clone()).collect();
    let expected: Vec<_> = pictures.map(|number| picture(number, len)).collect();
    assert!(payloads == expected, "{} of {}", payloads.len(), expected.len());
    for pair in seen.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(PICTURE));
        assert!(pair[1].marker);
    }
}

#[test]
fn a_browser_and_a_video_phone_see_and_hear_each_other_whoever_calls() {
    for codec in [Codec::Vp8, Codec::H264] {
        for browser_calls in [true, false] {
            let mut world = World::with_cameras(codec);
            if browser_calls {
                world.browser().add_camera();
                world.browser_calls(|offer| offer);
            } else {
                world.phone_calls(|offer| offer);
            }
            world.talk(Sound::Pcmu);
            world.show(codec, 0..60);
            assert_shown(&world.browser().seen.clone(), 0..60, 700);
            let seen = world.lens().seen.clone();
            assert_shown(&seen, 0..60, 900);
            assert!(seen.iter().all(|h| h.pt == lens::PT), "by the phone's number");
            world.assert_own_words();
            let audio = world.browser().heard[0].ssrc;
            assert_ne!(world.browser().seen[0].ssrc, audio);
            let counters = world.counters();
            assert_eq!(counters.video_forwarded, 120, "{codec:?}");
            assert_eq!(counters.dropped_payload_type + counters.dropped_bad_tag, 0);
            world.close();
            for leg in [BROWSER, PHONE] {
                let stats = world.events.iter().find_map(|(_, event)| match event {
                    Event::Closed { leg: l, stats } if *l == leg => stats.video,
                    _ => None,
                });
                let stats = stats.expect("figures of the video");
                let expected = if codec == Codec::Vp8 { VideoCodec::Vp8 } else { VideoCodec::H264 };
                assert_eq!((stats.codec, stats.packets_received), (expected, 60));
                assert_eq!((stats.packets_sent, stats.packets_lost), (60, 0));
            }
        }
    }
}

#[test]
fn two_browsers_see_each_other_under_their_own_numbers() {
    let mut world = World::new(Setup::default());
    world.browser = Some(camera(world.now, birthplace()));
    world.callee = Some(camera(world.now, SocketAddr::from(([192, 0, 2, 19], 6800))));
    world.browser().add_camera();
    world.open(BROWSER, Profile::WebRtc);
    let offer = world.browser().offer();
    world.accept(BROWSER, SdpKind::Offer, &offer);
    world.open(CALLEE, Profile::WebRtc);
    let offer = world.describe(CALLEE, SdpKind::Offer, Some(BROWSER));
    let answer = world.callee().answer(&offer);
    world.accept(CALLEE, SdpKind::Answer, &answer);
    world.command(Command::Bridge { a: BROWSER, b: CALLEE });
    let answer = world.describe(BROWSER, SdpKind::Answer, Some(CALLEE));
    world.browser().take_answer(&answer);
    world.run_until("both connect", |w| {
        w.browser().is_connected && w.callee().is_connected && w.is_connected(CALLEE)
    });
    for (codec, pictures) in [(Codec::Vp8, 0..40), (Codec::H264, 40..80)] {
        for number in pictures {
            let now = world.now;
            world.browser().show(now, codec, picture(number, 900));
            world.callee().show(now, codec, picture(number, 700));
            world.run(Duration::from_millis(35));
        }
    }
    assert_shown(&world.callee().seen.clone(), 0..80, 900);
    assert_shown(&world.browser().seen.clone(), 0..80, 700);
    world.close();
}

#[test]
fn a_phone_without_a_lens_hears_and_the_call_goes_on() {
    let mut world = World::with_cameras(Codec::Vp8);
    world.phone().lens = None;
    world.browser().add_camera();
    world.open(BROWSER, Profile::WebRtc);
    let offer = world.browser().offer();
    world.accept(BROWSER, SdpKind::Offer, &offer);
    world.open(PHONE, Profile::Rtp(SrtpPolicy::Off));
    let offer = world.describe(PHONE, SdpKind::Offer, Some(BROWSER));
    assert!(offer.contains("m=video 1"), "it is offered: {offer}");
    let answer = world.phone().answer(&offer) + "m=video 0 RTP/AVP 96\r\n";
    world.accept(PHONE, SdpKind::Answer, &answer);
    world.bridge();
    let answer = world.describe(BROWSER, SdpKind::Answer, Some(PHONE));
    assert!(answer.contains("m=video 0 "), "{answer}");
    world.browser().take_answer(&answer);
    world.talk(Sound::Pcmu);
    world.assert_undisturbed();
    world.close();
}

#[test]
fn each_stream_of_a_phone_has_keys_of_its_own() {
    use crosspoint_media::srtp::Profile as Suite;
    for suite in [Suite::Aes128CmSha1_80, Suite::AeadAes256Gcm] {
        let mut world = World::with_cameras(Codec::Vp8);
        world.phone().keys = Some(Keys::new(suite));
        let mut keys = Keys::new(suite);
        keys.renew();
        world.lens().keys = Some(keys);
        world.browser().add_camera();
        world.browser_calls(|offer| offer);
        world.talk(Sound::Pcmu);
        world.show(Codec::Vp8, 0..30);
        assert_shown(&world.browser().seen.clone(), 0..30, 700);
        assert_shown(&world.lens().seen.clone(), 0..30, 900);
        assert_eq!(world.lens().broken, 0);
        // What is not sealed with the key of the pictures is nobody's.
        let (from, to) = (world.lens().address, world.lens().gateway.expect("a port"));
        let bad = world.counters().dropped_bad_tag + world.counters().dropped_unknown_source;
        let stray = world.phone().keys.as_mut().expect("keys").seal(&lens::rtp(9, 0, 7, &[1; 50]));
        world.inject(from, to, &stray);
        let after = world.counters().dropped_bad_tag + world.counters().dropped_unknown_source;
        assert_eq!(after, bad + 1, "the key of the sound opens no picture");
        world.close();
    }
}

/// The browser sees one stream, whatever becomes of the phone's source.
#[test]
fn a_new_source_goes_on_in_the_same_stream() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..20);
    world.lens().ssrc = 77;
    world.lens().seq = 40_000;
    world.show(Codec::Vp8, 20..40);
    let seen = world.browser().seen.clone();
    let payloads: Vec<_> = seen.iter().map(|h| h.payload.clone()).collect();
    assert!(payloads == (0..40).map(|n| picture(n, 700)).collect::<Vec<_>>());
    assert!(seen.windows(2).all(|p| p[1].seq == p[0].seq.wrapping_add(1)));
    assert!(seen.iter().all(|h| h.ssrc == seen[0].ssrc));
    world.close();
}

#[test]
fn video_is_added_and_taken_away_in_a_running_call() {
    let mut world = World::with_cameras(Codec::Vp8);
    let lens = world.phone().lens.take();
    world.browser_calls(|offer| offer);
    world.talk(Sound::Pcmu);
    // The phone opens its lens.
    world.phone().lens = lens;
    world.phone_changes(2);
    world.show(Codec::Vp8, 0..20);
    assert_shown(&world.browser().seen.clone(), 0..20, 700);
    assert_shown(&world.lens().seen.clone(), 0..20, 900);
    // And closes it: pictures that come all the same go nowhere.
    world.lens().is_refused = true;
    world.phone_changes(3);
    let forwarded = world.counters().video_forwarded;
    for number in 20..30 {
        world.lens().show(picture(number, 700));
        world.run(Duration::from_millis(35));
    }
    assert_eq!(world.counters().video_forwarded, forwarded);
    world.assert_undisturbed();
    world.lens().is_refused = false;
    world.phone_changes(4);
    let (browser, phone) = (world.browser().seen.len(), world.lens().seen.len());
    world.show(Codec::Vp8, 30..50);
    assert_eq!(world.browser().seen.len() - browser, 20);
    assert_eq!(world.lens().seen.len() - phone, 20);
    world.close();
}

impl World {
    /// The phone offers anew, the browser is offered what comes of it, and all is answered.
    fn phone_changes(&mut self, version: u32) {
        let offer = self.phone().offer().replace("o=- 5 1", &format!("o=- 5 {version}"));
        self.accept(PHONE, SdpKind::Offer, &offer);
        let offer = self.describe(BROWSER, SdpKind::Offer, Some(PHONE));
        let answer = self.browser().answer(&offer);
        self.accept(BROWSER, SdpKind::Answer, &answer);
        let answer = self.describe(PHONE, SdpKind::Answer, Some(BROWSER));
        self.phone().take_answer(&answer);
        self.run(Duration::from_millis(100));
    }
}

#[test]
fn nobody_else_sends_pictures_to_a_phones_port() {
    let mut world = World::in_video_call(Codec::Vp8);
    world.show(Codec::Vp8, 0..20);
    let to = world.lens().gateway.expect("a port");
    let stranger = SocketAddr::from(([203, 0, 113, 5], 5000));
    let dropped = world.counters().dropped_unknown_source;
    for seq in 0..300_u16 {
        world.inject(stranger, to, &lens::rtp(seq, u32::from(seq) * 3000, 9, &[7; 100]));
        world.run(Duration::from_millis(5));
    }
    assert_eq!(world.counters().dropped_unknown_source, dropped + 300);
    world.show(Codec::Vp8, 20..30);
    assert_shown(&world.browser().seen.clone(), 0..30, 700);
    assert!(!world.strays.iter().any(|d| d.to == stranger));
    world.close();
}

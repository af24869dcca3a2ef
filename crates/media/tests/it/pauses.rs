//! While nobody speaks: comfort noise (RFC 3389) and Opus that says next to nothing
//! (RFC 7587 §3.1.3), from a phone and from a browser, told on in the way of the other side.

use std::time::Duration;

use crosspoint_media::codec::{Codec, Decoder};
use crosspoint_media::control::{Command, Event};
use crosspoint_media::noise::Noise;

use crate::phone::SSRC;
use crate::sound::{Heard, Voice};
use crate::world::{BROWSER, PHONE, Setup, World};

const NOISE: u8 = 13;
const SECOND: Duration = Duration::from_secs(1);

/// A phone that takes comfort noise, and a browser with this codec.
fn call(codec: Codec, change: impl FnOnce(String) -> String) -> World {
    let mut world = World::with_peers(Setup::default(), codec);
    world.phone().with("0 13 101", "a=rtpmap:13 CN/8000\r\n");
    world.phone_calls(change);
    world.talk(codec);
    for leg in [BROWSER, PHONE] {
        world.command(Command::Answered { leg });
    }
    world
}

/// What a browser or phone hears meanwhile.
fn hears(world: &mut World, length: Duration) -> (Vec<Heard>, Vec<Heard>) {
    let (browser, phone) = (world.browser().heard.len(), world.phone().heard.len());
    world.run(length);
    (world.browser().heard[browser..].to_vec(), world.phone().heard[phone..].to_vec())
}

fn level(heard: &[Heard], codec: Codec) -> u8 {
    let mut decoder = Decoder::new(codec, 8000);
    let mut pcm = Vec::new();
    for packet in heard {
        decoder.decode(&packet.payload, &mut pcm);
    }
    Noise::measure(&pcm[pcm.len() / 3..], 8000).level
}

impl World {
    /// The phone says no more than what noise there is.
    fn phone_pauses(&mut self, payload: &[u8]) {
        self.phone().is_silent = true;
        let (gateway, address) = (self.phone().gateway.expect("a port"), self.phone().address);
        let phone = self.phone();
        phone.seq = phone.seq.wrapping_add(1);
        let mut packet = crate::phone::rtp(phone.seq, phone.timestamp, SSRC, payload);
        packet[1] = NOISE;
        self.inject(address, gateway, &packet);
    }

    fn phone_resumes(&mut self, after: Duration) {
        let phone = self.phone();
        let ticks = after.as_millis() as u32 * 8;
        phone.timestamp = phone.timestamp.wrapping_add(ticks);
        phone.is_silent = false;
    }
}

#[test]
fn a_phones_comfort_noise_is_heard_as_loud_as_told() {
    for told in [35, 50] {
        let mut world = call(Codec::Opus, |offer| offer);
        world.phone_pauses(&[told, 100, 140]);
        hears(&mut world, Duration::from_millis(300));
        let (heard, _) = hears(&mut world, 6 * SECOND);
        assert!(heard.len() >= 299, "the browser's stream goes on: {}", heard.len());
        let found = level(&heard, Codec::Opus);
        assert!(found.abs_diff(told) <= 4, "{told} dB below was told, {found} heard");
        world.phone_resumes(Duration::from_millis(6300));
        let (heard, _) = hears(&mut world, SECOND);
        assert!(crate::sound::share_of(&heard, Codec::Opus, 1000.0) > 0.8, "it speaks again");
        let is_silent = |e: &Event| matches!(e, Event::Silent { .. });
        assert!(world.told(is_silent).is_none(), "who pauses is not missed");
        let stats = crate::leg_quality::stats(&mut world, PHONE);
        assert_eq!((stats.packets_concealed, stats.packets_late), (0, 0));
        assert_eq!(stats.packets_lost, 0);
    }
}

/// Both take it: it passes as it is. The browser does not: it is not agreed with the phone.
#[test]
fn comfort_noise_passes_where_sound_does() {
    let with_noise = |offer: String| {
        let line = offer.lines().find(|l| l.starts_with("m=audio")).expect("audio").to_owned();
        let offer = offer.replace(&line, &format!("{line} 13"));
        offer.replace("a=rtpmap:0 ", "a=rtpmap:13 CN/8000\r\na=rtpmap:0 ")
    };
    for takes in [true, false] {
        let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
        world.phone().with("0 13 101", "a=rtpmap:13 CN/8000\r\n");
        world.browser_calls(|offer| if takes { with_noise(offer) } else { offer });
        world.talk(Codec::Pcmu);
        assert_eq!(world.phone().told.contains("CN/8000"), takes, "{}", world.phone().told);
        let before = world.counters();
        world.browser().voice = None;
        world.run(Duration::from_millis(100));
        let before_noise = world.counters();
        world.phone_pauses(&[40]);
        let after = world.counters();
        assert!(before_noise.packets_forwarded > before.packets_forwarded);
        assert_eq!(after.packets_forwarded - before_noise.packets_forwarded, u64::from(takes));
    }
}

/// A browser that pauses sends a byte, then nothing, then a refreshment now and then. The phone
/// is told of noise by few packets, and time goes on.
#[test]
fn a_pause_of_opus_becomes_comfort_noise() {
    let mut world = call(Codec::Opus, |offer| offer);
    let voice = world.browser().voice.take();
    let now = world.now;
    world.browser().skip_time(960);
    world.browser().write(now, 111, vec![0x78], false);
    hears(&mut world, Duration::from_millis(400));
    let (_, heard) = hears(&mut world, 3 * SECOND);
    assert!((2..20).contains(&heard.len()), "{} packets in three seconds", heard.len());
    assert!(heard.iter().all(|h| h.pt == NOISE), "all is comfort noise");
    let noise = Noise::decode(&heard[0].payload).expect("noise");
    assert!(noise.level > 45, "the browser was silent: {noise:?}");
    world.browser().skip_time(48 * 3400);
    world.browser().voice = voice;
    let (_, after) = hears(&mut world, SECOND);
    let first = after.iter().find(|h| h.pt == 0).expect("sound again");
    assert!(first.marker, "a talk spurt begins with a mark");
    let last = heard.last().expect("noise");
    let (ahead, numbers) =
        (first.timestamp.wrapping_sub(last.timestamp), first.seq.wrapping_sub(last.seq));
    assert!(numbers <= 3, "no number is left out: {numbers}");
    assert!((1..12_000).contains(&ahead), "{ahead} ticks");
    let all = world.phone().heard.clone();
    let spoken = all.last().expect("sound").timestamp.wrapping_sub(all[0].timestamp);
    assert!(spoken / 8 > 4300, "the clock went on in the pause: {} ms", spoken / 8);
    let share = crate::sound::share_of(&after[after.len() - 30..], Codec::Pcmu, 440.0);
    assert!(
        share > 0.7,
        "{share} {:?}",
        after.iter().map(|h| (h.pt, h.payload.len())).collect::<Vec<_>>()
    );
}

/// `usedtx=1`: in a phone's silence the browser gets next to nothing, in the right time.
#[test]
fn a_browser_that_asks_for_it_gets_next_to_nothing_in_pauses() {
    for asks in [true, false] {
        let mut world = World::with_peers(Setup::default(), Codec::Opus);
        world.browser_calls(|offer| {
            if asks { offer.replace("useinbandfec=1", "useinbandfec=1;usedtx=1") } else { offer }
        });
        world.talk(Codec::Opus);
        world.phone().voice = Some(Voice::silent(Codec::Pcmu));
        hears(&mut world, SECOND);
        let (heard, _) = hears(&mut world, 4 * SECOND);
        assert_eq!(heard.len() < 60, asks, "{} packets", heard.len());
        world.phone().voice = Some(Voice::new(Codec::Pcmu, 1000.0));
        hears(&mut world, Duration::from_millis(300));
        let (after, _) = hears(&mut world, SECOND);
        assert!(crate::sound::share_of(&after, Codec::Opus, 1000.0) > 0.8);
        let all = world.browser().heard.clone();
        for pair in all.windows(2) {
            assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
            let ahead = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!(ahead == 960 || (asks && pair[1].marker), "{ahead} ticks");
        }
        let lasted = all.last().expect("sound").timestamp.wrapping_sub(all[0].timestamp) / 48;
        assert!(lasted > 6200, "{lasted} ms");
    }
}

/// Stereo is for those who speak Opus with each other: where sound is translated, one channel
/// is asked for, whatever the browser can.
#[test]
fn stereo_is_asked_for_only_where_it_is_heard() {
    let stereo =
        |offer: String| offer.replace("useinbandfec=1", "useinbandfec=1;stereo=1;sprop-stereo=1");
    for (format, lines, is_stereo) in [
        ("0 101", "", false),
        ("111 101", "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 stereo=1;sprop-stereo=1\r\n", true),
        ("111 101", "a=rtpmap:111 opus/48000/2\r\n", false),
    ] {
        let mut world = World::with_peers(Setup::default(), Codec::Opus);
        world.phone().with(format, lines);
        world.browser_calls(stereo);
        assert_eq!(world.browser().told.contains("stereo=1"), is_stereo, "{lines}");
        assert!(world.phone().told.contains("stereo=1"), "who might speak Opus is told");
    }
}

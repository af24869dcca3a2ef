//! What changes within a call: codecs, addresses, partners and what is played.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Event, Playback, Profile, SdpKind, SrtpPolicy};

use crate::browser::birthplace;
use crate::phone::{SSRC, rtp};
use crate::sound::{Heard, Voice, assert_continuous, share_of};
use crate::story::{BROWSER_TONE, PHONE_TONE};
use crate::world::{BROWSER, Datagram, PHONE, Setup, World};

fn call(codec: Codec) -> World {
    let mut world = World::with_peers(Setup::default(), codec);
    world.browser_calls(|offer| offer);
    world.talk(codec);
    world
}

impl World {
    /// The phone offers again, edited; the answer is given to it.
    fn phone_reoffers(&mut self, version: u32, change: impl FnOnce(String) -> String) {
        let offer = self.phone().offer().replace("o=- 5 1", &format!("o=- 5 {version}"));
        self.accept(PHONE, SdpKind::Offer, &change(offer));
        let answer = self.describe(PHONE, SdpKind::Answer, Some(BROWSER));
        self.phone().take_answer(&answer);
    }

    /// What the browser hears in the next two seconds.
    pub(crate) fn browser_hears(&mut self) -> Vec<Heard> {
        let heard = self.browser().heard.len();
        self.run(Duration::from_secs(2));
        self.browser().heard[heard..].to_vec()
    }

    pub(crate) fn phone_hears(&mut self) -> Vec<Heard> {
        let heard = self.phone().heard.len();
        self.run(Duration::from_secs(2));
        self.phone().heard[heard..].to_vec()
    }
}

/// No number twice or left out over all changes, and time never turns back.
fn assert_one_stream(heard: &[Heard]) {
    for pair in heard.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        let ahead = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!(ahead < 1 << 24, "{ahead}");
    }
}

#[test]
fn a_codec_may_change_and_change_back() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = call(codec);
        for (version, phone_codec) in [(2, Codec::Pcma), (3, Codec::G722), (4, Codec::Pcmu)] {
            let pt = phone_codec.default_pt();
            world.phone_reoffers(version, |offer| {
                offer
                    .replace(" 0 101", &format!(" {pt} 101"))
                    .replace("a=rtpmap:0 PCMU", &format!("a=rtpmap:{pt} {phone_codec}"))
            });
            world.phone().voice = Some(Voice::new(phone_codec, PHONE_TONE));
            world.run(Duration::from_millis(500));
            let heard = world.browser_hears();
            let share = share_of(&heard, codec, PHONE_TONE);
            assert!(share > 0.8, "{phone_codec} to {codec}: {share:.2}");
            let heard = world.phone_hears();
            assert!(heard.iter().all(|h| h.pt == pt), "{phone_codec}");
            let share = share_of(&heard, phone_codec, BROWSER_TONE);
            assert!(share > 0.8, "{codec} and {phone_codec}: {share:.2}");
        }
        assert_one_stream(&world.browser().heard.clone());
        assert_one_stream(&world.phone().heard.clone());
        world.close();
    }
}

/// It agreed on two and goes over to the second, as it may at any time.
#[test]
fn a_phone_may_change_its_codec_without_a_word() {
    let mut world = World::with_peers(Setup::default(), Codec::Pcmu);
    world.phone().with("0 8 101", "a=rtpmap:8 PCMA/8000\r\n");
    world.browser_calls(|offer| offer);
    world.talk(Codec::Pcmu);
    for codec in [Codec::Pcma, Codec::Pcmu] {
        world.phone().voice = Some(Voice::new(codec, PHONE_TONE));
        world.run(Duration::from_millis(300));
        let heard = world.browser_hears();
        assert!(heard.len() > 90, "{codec}: {} packets", heard.len());
        assert!(share_of(&heard, Codec::Pcmu, PHONE_TONE) > 0.8, "{codec}");
    }
    world.close();
}

#[test]
fn media_follows_a_phone_to_the_address_of_its_offer() {
    let mut world = World::in_call();
    let old = world.phone().address;
    let new = SocketAddr::from(([198, 51, 100, 99], 9000));
    world.phone().address = new;
    world.phone().signaled = new;
    // A second until it says so.
    world.run(Duration::from_secs(1));
    world.phone_reoffers(2, |offer| offer);
    world.run(Duration::from_millis(50));
    world.strays.clear();
    let heard = world.browser_hears();
    assert!(heard.len() >= 99);
    assert!(world.phone_hears().len() >= 99);
    assert_eq!(world.strays, [], "the old place gets nothing");
    let dropped = world.counters().dropped_unknown_source;
    let gateway = world.phone().gateway.expect("a port of ours");
    for seq in 0..50 {
        world.inject(old, gateway, &rtp(seq, 0, SSRC, &[0x2a; 160]));
    }
    assert_eq!(world.counters().dropped_unknown_source, dropped + 50);
    world.assert_undisturbed();
}

/// A transfer: the browser is joined with somebody else, and sees one stream go on.
#[test]
fn a_new_partner_goes_on_in_the_same_stream() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = call(codec);
        let other = LegId(3);
        let address = SocketAddr::from(([198, 51, 100, 50], 8000));
        world.open(other, Profile::Rtp(SrtpPolicy::Off));
        let offer = world.phone().offer().replace("198.51.100.7", "198.51.100.50");
        world.accept(other, SdpKind::Offer, &offer.replace("audio 7000", "audio 8000"));
        let answer = world.describe(other, SdpKind::Answer, Some(BROWSER));
        let port = answer.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok()).expect("a port");
        let gateway = SocketAddr::new(crate::world::ours().ip(), port);
        world.command(Command::Bridge { a: BROWSER, b: other });
        // The phone has not noticed yet and talks on: nobody hears it.
        let mut voice = Voice::new(Codec::Pcmu, 600.0);
        let heard = world.browser().heard.len();
        for seq in 0..150_u16 {
            let bytes = rtp(seq, u32::from(seq) * 160, 77, &voice.next());
            world.inject(address, gateway, &bytes);
            world.run(Duration::from_millis(20));
        }
        let heard = world.browser().heard[heard..].to_vec();
        assert!(share_of(&heard, codec, 600.0) > 0.8, "{codec}");
        assert!(share_of(&heard, codec, PHONE_TONE) < 0.01, "{codec}");
        let to_other = world.strays.iter().filter(|d| d.to == address).count();
        assert!(to_other > 140, "{to_other}");
        assert_one_stream(&world.browser().heard.clone());
        world.command(Command::Close { leg: other });
        world.run(Duration::from_secs(1));
        world.close();
    }
}

#[test]
fn what_is_played_comes_in_the_browsers_codec_and_ends() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = call(codec);
        world.command(Command::Play { leg: BROWSER, playback: Playback::Tone });
        world.run(Duration::from_millis(200));
        let heard = world.browser_hears();
        assert!(heard.len() >= 99);
        assert_continuous(&heard, codec.clock_rate() / 50);
        assert!(share_of(&heard, codec, PHONE_TONE) < 0.05, "the phone is cut off");
        world.command(Command::Play { leg: BROWSER, playback: Playback::Announcement });
        let ended = |e: &Event| matches!(e, Event::PlaybackEnded { leg } if *leg == BROWSER);
        world.run_until("it ends", |w| w.told(ended).is_some());
        world.bridge();
        world.run(Duration::from_millis(500));
        let heard = world.browser_hears();
        assert!(share_of(&heard, codec, PHONE_TONE) > 0.8, "{codec}");
        assert_one_stream(&world.browser().heard.clone());
        world.close();
    }
}

impl World {
    /// The phone offers with a direction, the browser is offered what comes of it, and all is
    /// answered, as a call does it.
    pub(crate) fn phone_wants(&mut self, version: u32, direction: &str) -> String {
        let offer = self.phone().offer().replace("o=- 5 1", &format!("o=- 5 {version}"));
        self.accept(PHONE, SdpKind::Offer, &offer.replace("a=sendrecv", direction));
        let offer = self.describe(BROWSER, SdpKind::Offer, Some(PHONE));
        let answer = self.browser().answer(&offer);
        self.accept(BROWSER, SdpKind::Answer, &answer);
        let answer = self.describe(PHONE, SdpKind::Answer, Some(BROWSER));
        self.phone().take_answer(&answer);
        self.run(Duration::from_millis(100));
        offer
    }
}

/// Hold with music, hold in silence, and back again: one connection, one stream each way.
#[test]
fn a_hold_reaches_the_browser_and_ends() {
    for ice_lite in [true, false] {
        let mut world = World::with_peers(Setup { ice_lite, ..Setup::default() }, Codec::Pcmu);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        let steps = [
            ("a=sendonly", true, false),
            ("a=inactive", false, false),
            ("a=sendrecv", true, true),
            ("a=sendonly", true, false),
            ("a=sendrecv", true, true),
        ];
        for ((direction, browser_hears, phone_hears), version) in steps.into_iter().zip(2..) {
            let offer = world.phone_wants(version, direction);
            assert!(offer.contains(direction), "the browser is offered the same: {direction}");
            world.phone().is_silent = direction == "a=inactive";
            let heard = world.browser_hears().len();
            assert_eq!(heard > 90, browser_hears, "{direction}: {heard}");
            assert_eq!(heard == 0, !browser_hears, "{direction}: {heard}");
            let heard = world.phone_hears().len();
            assert_eq!(heard > 90, phone_hears, "{direction}: {heard}");
            assert_eq!(heard == 0, !phone_hears, "{direction}: {heard}");
            assert!(world.browser().error.is_none());
        }
        world.assert_own_words();
        let connected = |(_, e): &&(_, Event)| matches!(e, Event::Connected { leg: BROWSER });
        assert_eq!(world.events.iter().filter(connected).count(), 1);
        world.close();
    }
}

/// A tone until somebody answers: it does not come back with the next description.
#[test]
fn what_was_played_before_a_bridge_is_over() {
    for playback in [Playback::Tone, Playback::Echo] {
        let mut world = call(Codec::Pcmu);
        world.command(Command::Play { leg: BROWSER, playback });
        world.run(Duration::from_secs(1));
        world.bridge();
        let offer = world.browser().offer_restart();
        world.accept(BROWSER, SdpKind::Offer, &offer);
        let answer = world.describe(BROWSER, SdpKind::Answer, Some(PHONE));
        world.browser().take_answer(&answer);
        world.run(Duration::from_millis(500));
        let heard = world.browser_hears();
        assert!(share_of(&heard, Codec::Pcmu, PHONE_TONE) > 0.8, "{playback:?}");
        let heard = world.phone_hears();
        assert!(share_of(&heard, Codec::Pcmu, BROWSER_TONE) > 0.8, "{playback:?}");
    }
}

/// The echo number: what the browser says comes back, and nobody else hears it.
#[test]
fn an_echo_gives_back_every_word() {
    for codec in [Codec::Opus, Codec::Pcmu] {
        let mut world = call(codec);
        world.command(Command::Play { leg: BROWSER, playback: Playback::Echo });
        world.run(Duration::from_millis(100));
        let heard = world.browser_hears();
        assert!(heard.len() >= 99);
        let said = &world.browser().voice.as_ref().expect("a voice").said;
        assert!(heard.iter().all(|h| said.contains(&h.payload)), "{codec}");
        assert_eq!(world.phone_hears().len(), 0);
        assert_one_stream(&world.browser().heard.clone());
        world.close();
    }
}

/// Once a leg is closed its peers speak to nobody, and nobody is sent anything.
#[test]
fn a_closed_leg_is_gone() {
    for leg in [BROWSER, PHONE] {
        let mut world = World::in_call();
        let (browser, phone) = (birthplace(), world.phone().address);
        world.phone().voice = None;
        let port = world.phone().gateway.expect("a port");
        world.command(Command::Close { leg });
        world.run(Duration::from_millis(20));
        world.log = Some(vec![]);
        if leg == BROWSER {
            world.inject(phone, port, &rtp(5000, 5, SSRC, &[1; 160]));
        }
        world.run(Duration::from_secs(10));
        let log = world.log.take().expect("a log");
        let gone = if leg == BROWSER { browser } else { phone };
        let sent: Vec<&Datagram> = log.iter().filter(|d| d.to == gone).collect();
        assert_eq!(sent, [] as [&Datagram; 0]);
        if leg == PHONE {
            world.command(Command::Close { leg: BROWSER });
        } else {
            world.command(Command::Close { leg: PHONE });
        }
        assert!(world.shard.is_empty());
    }
}

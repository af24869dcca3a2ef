//! How calls begin: descriptions go back and forth between the shard and its peers.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Profile, SdpKind, SrtpPolicy};

use crate::browser::{Browser, birthplace};
use crate::phone::Phone;
use crate::sound::Voice;
use crate::world::{BROWSER, PHONE, Setup, World};

pub(crate) const BROWSER_TONE: f64 = 440.0;
pub(crate) const PHONE_TONE: f64 = 1000.0;

pub(crate) fn desk() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 7000))
}

impl World {
    /// A browser and a plain phone, not yet in a call.
    pub(crate) fn with_peers(setup: Setup, codec: Codec) -> Self {
        let mut world = Self::new(setup);
        world.browser = Some(Browser::new(world.now, birthplace(), codec));
        world.phone = Some(Phone::new(desk()));
        world
    }

    /// The usual call: the browser calls, everybody talks PCMU and hears the other.
    pub(crate) fn in_call() -> Self {
        let mut world = Self::with_peers(Setup::default(), Codec::Pcmu);
        world.browser_calls(|offer| offer);
        world.talk(Codec::Pcmu);
        world
    }

    /// The browser calls the phone. `change` may edit the browser's offer on its way.
    pub(crate) fn browser_calls(&mut self, change: impl FnOnce(String) -> String) {
        self.open(BROWSER, Profile::WebRtc);
        let offer = change(self.browser().offer());
        self.accept(BROWSER, SdpKind::Offer, &offer);
        self.open(PHONE, self.phone_profile());
        let offer = self.describe(PHONE, SdpKind::Offer, Some(BROWSER));
        let answer = self.phone().answer(&offer);
        self.accept(PHONE, SdpKind::Answer, &answer);
        self.bridge();
        let answer = self.describe(BROWSER, SdpKind::Answer, Some(PHONE));
        self.browser().take_answer(&answer);
    }

    /// The phone calls the browser. `change` may edit the offer to the browser on its way.
    pub(crate) fn phone_calls(&mut self, change: impl FnOnce(String) -> String) {
        self.open(PHONE, self.phone_profile());
        let offer = self.phone().offer();
        self.accept(PHONE, SdpKind::Offer, &offer);
        self.open(BROWSER, Profile::WebRtc);
        let offer = change(self.describe(BROWSER, SdpKind::Offer, Some(PHONE)));
        let answer = self.browser().answer(&offer);
        self.accept(BROWSER, SdpKind::Answer, &answer);
        self.bridge();
        let answer = self.describe(PHONE, SdpKind::Answer, Some(BROWSER));
        self.phone().take_answer(&answer);
    }

    fn phone_profile(&self) -> Profile {
        let is_secure = self.phone.as_ref().is_some_and(|p| p.keys.is_some());
        Profile::Rtp(if is_secure { SrtpPolicy::Required } else { SrtpPolicy::Off })
    }

    /// Waits for DTLS, then lets both talk until both have heard something.
    pub(crate) fn talk(&mut self, browser_codec: Codec) {
        self.run_until("DTLS connects", |w| w.is_connected(BROWSER) && w.browser().is_connected);
        self.browser().voice = Some(Voice::new(browser_codec, BROWSER_TONE));
        self.phone().voice = Some(Voice::new(Codec::Pcmu, PHONE_TONE));
        self.run_until("both are heard", |w| {
            w.browser().heard.len() > 10 && w.phone().heard.len() > 10
        });
    }

    /// Lets the call go on; both hear every packet of it, as if nothing else happened.
    pub(crate) fn assert_undisturbed(&mut self) {
        let (browser, phone) = (self.browser().heard.len(), self.phone().heard.len());
        self.run(Duration::from_secs(1));
        let browser_heard = self.browser().heard[browser..].to_vec();
        let phone_heard = self.phone().heard[phone..].to_vec();
        assert!(browser_heard.len() >= 49, "the browser heard {}", browser_heard.len());
        assert!(phone_heard.len() >= 49, "the phone heard {}", phone_heard.len());
        self.assert_own_words();
        assert!(!self.is_lost(BROWSER) && !self.is_lost(PHONE));
    }

    /// What was heard of each was said by the other, each word once, in order.
    pub(crate) fn assert_own_words(&mut self) {
        let said = self.phone().voice.as_ref().expect("a voice").said.clone();
        let heard = self.browser().heard.clone();
        assert_same_words(&said, &heard);
        let said = self.browser().voice.as_ref().expect("a voice").said.clone();
        let heard = self.phone().heard.clone();
        assert_same_words(&said, &heard);
    }
}

fn assert_same_words(said: &[Vec<u8>], heard: &[crate::sound::Heard]) {
    let mut said = said.iter();
    for packet in heard {
        assert!(said.any(|s| *s == packet.payload), "a word that was not said, or said before");
    }
}

//! The party of a call that is not the plain phone: a browser, or a phone with keys or without.

use std::time::{Duration, Instant};

use crosspoint_media::control::{Profile, SrtpPolicy};
use crosspoint_media::srtp::{self, Context};

use crate::Outcome;
use crate::browser::{Browser, Identity, Phone, SETTLE};
use crate::load::Speaker;
use crate::namespaces::Namespaces;

/// What is relayed to plain RTP and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// ICE and DTLS-SRTP with AEAD_AES_256_GCM.
    WebRtc,
    /// Keys in the description, AES_CM_128_HMAC_SHA1_80.
    Sdes,
    /// The same with AEAD_AES_256_GCM.
    Gcm,
    Rtp,
}

impl Pairing {
    pub(crate) const ALL: [Self; 4] = [Self::WebRtc, Self::Sdes, Self::Gcm, Self::Rtp];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::WebRtc => "webrtc",
            Self::Sdes => "sdes",
            Self::Gcm => "gcm",
            Self::Rtp => "rtp",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pairing| pairing.as_str() == name)
    }

    /// As our media plane knows the party.
    pub(crate) fn profile(self) -> Profile {
        match self {
            Self::WebRtc => Profile::WebRtc,
            Self::Sdes | Self::Gcm => Profile::Rtp(SrtpPolicy::Required),
            Self::Rtp => Profile::Rtp(SrtpPolicy::Off),
        }
    }

    pub(crate) fn cipher(self) -> Option<srtp::Profile> {
        match self {
            Self::WebRtc | Self::Gcm => Some(srtp::Profile::AeadAes256Gcm),
            Self::Sdes => Some(srtp::Profile::Aes128CmSha1_80),
            Self::Rtp => None,
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "nearly all are browsers")]
pub(crate) enum Front {
    Browser(Browser),
    Phone {
        phone: Phone,
        /// What keys are for, and the number of the suite that we take.
        tag: Option<(srtp::Profile, String)>,
    },
}

impl Front {
    pub(crate) fn new(pairing: Pairing, identity: &Identity, number: u32) -> Outcome<Self> {
        if pairing == Pairing::WebRtc {
            return Ok(Self::Browser(Browser::new(identity, number)?));
        }
        let mut phone = Phone::new(Namespaces::PEERS, Namespaces::OURS, (1 << 20) + number)?;
        phone.keys = pairing.cipher().and_then(keys);
        let tag = pairing.cipher().map(|profile| (profile, "1".to_owned()));
        Ok(Self::Phone { phone, tag })
    }

    pub(crate) fn describe(&self, identity: &Identity, is_offer: bool) -> Outcome<String> {
        match self {
            Self::Browser(browser) => Ok(browser.describe(identity, is_offer)),
            Self::Phone { phone, tag: None } => phone.describe(),
            Self::Phone { phone, tag: Some((profile, tag)) } => {
                let text = phone.describe()?.replace("RTP/AVP", "RTP/SAVP");
                let (suite, key) = (profile.sdes_name(), key_in_base64(*profile));
                Ok(format!("{text}a=crypto:{tag} {suite} inline:{key}\r\n"))
            }
        }
    }

    pub(crate) fn accept(&mut self, description: &str) -> Outcome<()> {
        match self {
            Self::Browser(browser) => browser.accept(description.as_bytes()),
            Self::Phone { phone, tag } => {
                if let Some((profile, tag)) = tag {
                    let wanted = profile.sdes_name();
                    let offered = description.lines().find_map(|line| {
                        let (tag, suite) = line.strip_prefix("a=crypto:")?.split_once(' ')?;
                        (suite.split(' ').next() == Some(wanted)).then(|| tag.to_owned())
                    });
                    *tag = offered.ok_or("the suite is missing")?;
                }
                phone.accept(description.as_bytes())
            }
        }
    }

    /// Waits until it can speak.
    pub(crate) fn settle(&mut self) -> Outcome<()> {
        let Self::Browser(browser) = self else { return Ok(()) };
        let start = Instant::now();
        while !browser.is_up() {
            if start.elapsed() > SETTLE {
                return Err("a browser got no keys".into());
            }
            browser.work(Instant::now())?;
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    pub(crate) fn received(&self) -> u64 {
        match self {
            Self::Browser(browser) => browser.received,
            Self::Phone { phone, .. } => phone.received,
        }
    }

    pub(crate) fn speak(&mut self) -> Outcome<()> {
        match self {
            Self::Browser(browser) => browser.speak(),
            Self::Phone { phone, .. } => phone.speak(),
        }
    }

    pub(crate) fn work(&mut self) -> Outcome<()> {
        match self {
            Self::Browser(browser) => browser.work(Instant::now()),
            Self::Phone { phone, .. } => phone.work(),
        }
    }

    /// Answers, and asks whether the other side is still there.
    pub(crate) fn keep_alive(&mut self) -> Outcome<()> {
        match self {
            Self::Browser(browser) => browser.work(Instant::now()),
            Self::Phone { .. } => Ok(()),
        }
    }

    /// Who speaks in its name from here on, to the party at that port.
    pub(crate) fn speaker(&mut self, ssrc: u32, heard_at: u16) -> Outcome<Speaker> {
        let (from, to, keys) = match self {
            Self::Browser(browser) => {
                (browser.local, browser.remote, browser.keys.take().map(|(send, _)| send))
            }
            Self::Phone { phone, .. } => {
                let to = phone.remote.ok_or("no answer")?;
                (phone.socket.local_addr()?, to, phone.keys.take())
            }
        };
        Ok(Speaker::new(ssrc, from, to, keys, heard_at))
    }

    pub(crate) fn port(&self) -> Outcome<u16> {
        match self {
            Self::Browser(browser) => Ok(browser.local.port()),
            Self::Phone { phone, .. } => Ok(phone.socket.local_addr()?.port()),
        }
    }
}

/// What a phone protects with.
fn keys(profile: srtp::Profile) -> Option<Context> {
    let (key, salt) = KEY.split_at_checked(profile.key_len())?;
    Context::new(profile, key, salt.get(..profile.salt_len())?)
}

/// As much of the key as a suite takes, with its salt.
fn key_in_base64(profile: srtp::Profile) -> &'static str {
    let letters = (profile.key_len() + profile.salt_len()).div_ceil(3) * 4;
    if letters < KEY_BASE64.len() {
        KEY_BASE64.get(..letters).unwrap_or_default()
    } else {
        KEY_BASE64
    }
}

/// The longest, and a third of whose letters are for three bytes each: its beginnings are whole.
const KEY: &[u8; 44] = b"0123456789abcdef0123456789abcdef0123456789ab";
const KEY_BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWI=";

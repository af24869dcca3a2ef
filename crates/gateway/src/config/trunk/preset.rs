//! What each kind of peer usually wants. `docs/configuration.md` lists the same table.

use std::time::Duration;

use crosspoint_connectors::sip_ua::CallerForm;
use crosspoint_media::codec::Codec;

/// Defaults for the options of a trunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preset {
    /// Of its challenges, where its kind always has the same.
    pub(super) realm: Option<&'static str>,
    pub(super) register: bool,
    pub(super) accept_registration: bool,
    pub(super) options_interval: Option<Duration>,
    pub(super) caller_id: CallerForm,
    pub(super) from_account: bool,
    pub(super) codecs: &'static [Codec],
    pub(super) early_media: bool,
    pub(super) max_calls: Option<u32>,
    pub(super) calls_per_second: Option<u32>,
}

impl Preset {
    /// A peer about which nothing is known.
    pub(super) const PLAIN: Self = Self {
        realm: None,
        register: false,
        accept_registration: false,
        options_interval: None,
        caller_id: CallerForm::From,
        from_account: false,
        codecs: &[],
        early_media: true,
        max_calls: None,
        calls_per_second: None,
    };

    pub(super) const ALL: [(&'static str, Self); 8] = [
        (
            "asterisk",
            Self {
                realm: Some("asterisk"),
                options_interval: Some(HALF_MINUTE),
                caller_id: CallerForm::Pai,
                ..Self::PLAIN
            },
        ),
        (
            "3cx",
            Self {
                realm: Some("3CXPhoneSystem"),
                options_interval: Some(HALF_MINUTE),
                codecs: TELEPHONE,
                ..Self::PLAIN
            },
        ),
        (
            "freeswitch",
            Self {
                options_interval: Some(HALF_MINUTE),
                caller_id: CallerForm::Rpid,
                ..Self::PLAIN
            },
        ),
        (
            "kamailio",
            Self {
                options_interval: Some(Duration::from_secs(15)),
                caller_id: CallerForm::Pai,
                ..Self::PLAIN
            },
        ),
        (
            "genesys",
            Self {
                options_interval: Some(HALF_MINUTE),
                codecs: TELEPHONE,
                early_media: false,
                ..Self::PLAIN
            },
        ),
        (
            "broadworks",
            Self {
                register: true,
                options_interval: Some(MINUTE),
                caller_id: CallerForm::Pai,
                from_account: true,
                codecs: WIDE,
                ..Self::PLAIN
            },
        ),
        (
            "carrier-ip",
            Self {
                options_interval: Some(MINUTE),
                caller_id: CallerForm::Pai,
                codecs: TELEPHONE,
                max_calls: Some(100),
                calls_per_second: Some(10),
                ..Self::PLAIN
            },
        ),
        (
            "carrier-register",
            Self {
                register: true,
                caller_id: CallerForm::Pai,
                from_account: true,
                codecs: TELEPHONE,
                max_calls: Some(30),
                calls_per_second: Some(5),
                ..Self::PLAIN
            },
        ),
    ];
}

const HALF_MINUTE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
const TELEPHONE: &[Codec] = &[Codec::Pcma, Codec::Pcmu];
const WIDE: &[Codec] = &[Codec::G722, Codec::Pcma, Codec::Pcmu];

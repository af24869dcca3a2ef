//! How a trunk is reached, known and treated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crosspoint_connectors::sip_ua::{HeaderRules, Health, Network, TrunkLimits};
use crosspoint_media::codec::Codec;
use crosspoint_media::negotiation::SoundRules;
use sha2::{Digest, Sha256};

use super::preset::Preset;
use super::{Destination, Trunk, TrunkSources, TrunkTls};
use crate::config::login::Login;
use crate::config::reader::{Located, Section};
use crate::config::sections::{MEDIA_WAYS, file_beside, is_host};

pub(super) fn destinations(section: &Section<'_>) -> Vec<Destination> {
    let texts = section.strings("destinations").unwrap_or_default();
    if let Some(many) = texts.get(MAX_DESTINATIONS) {
        let message = format!("there are more than {MAX_DESTINATIONS} destinations");
        section.document().complain_about(many, message, "name a host with SRV records instead");
    }
    texts.iter().filter_map(|text| destination(section, text)).collect()
}

pub(super) fn outbound_proxy(section: &Section<'_>) -> Option<Destination> {
    section.string("outbound_proxy").and_then(|text| destination(section, &text))
}

fn destination(section: &Section<'_>, text: &Located<String>) -> Option<Destination> {
    match Destination::parse(&text.value) {
        Ok(destination) => Some(destination),
        Err(message) => {
            let remedy = "write for example \"pbx.example.com:5060;priority=20;transport=tcp\"";
            section.document().complain_about(text, message, remedy);
            None
        }
    }
}

/// Both directions need a name and a password.
pub(super) fn check_logins(
    section: &Section<'_>,
    ours: Option<&Login>,
    theirs: Option<&Login>,
    accepts_registration: bool,
) {
    if accepts_registration && theirs.is_none() && !section.has("accept_username") {
        let message = "it has no name and password to sign in with";
        let remedy = "add accept_username and accept_password_file";
        section.document().complain_about(&section.here(), message, remedy);
    }
    if section.has("realm") && ours.is_none() && !section.has("username") {
        let message = "a realm means nothing without a password";
        section.document().complain_about(&section.here(), message, "add username, or drop realm");
    }
}

pub(super) fn register(
    section: &Section<'_>,
    preset: &Preset,
    credentials: Option<&Login>,
) -> Option<Duration> {
    let wanted = section.boolean("register").unwrap_or(preset.register);
    let expires =
        section.duration("register_expires", Duration::from_secs(60)..Duration::from_secs(86_401));
    if wanted && credentials.is_none() && !section.has("username") {
        let message = "there is no name to sign in with";
        let remedy = "add username and password_file, or write register = false";
        section.document().complain_about(&section.here(), message, remedy);
    }
    wanted.then(|| expires.map_or(DEFAULT_EXPIRES, |e| e.value))
}

pub(super) fn sources(section: &Section<'_>) -> TrunkSources {
    let networks = section.strings("networks").unwrap_or_default();
    let network = |text: &Located<String>| {
        let network = text.value.parse::<Network>().ok();
        if network.is_none() {
            let message = format!("{:?} is not a network", text.value);
            let remedy = "write for example \"192.0.2.0/24\"";
            section.document().complain_about(text, message, remedy);
        }
        network
    };
    let names = |key: &'static str| {
        let texts = section.strings(key).unwrap_or_default();
        for text in texts.iter().filter(|text| !is_host(&text.value)) {
            let message = format!("{:?} is not a host name", text.value);
            section.document().complain_about(text, message, "write for example \"pbx.example\"");
        }
        texts.into_iter().map(|text| text.value.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let from_domains = names("from_domains");
    let trusts_domain = section.boolean("trust_from_domain").unwrap_or(false);
    if trusts_domain && from_domains.is_empty() {
        let remedy = "add from_domains = [\"pbx.example\"]";
        section.document().complain_about(&section.here(), "no domain is to be trusted", remedy);
    }
    TrunkSources {
        networks: networks.iter().filter_map(network).collect(),
        certificates: names("certificate_names"),
        from_domains,
        trusts_domain,
    }
}

pub(super) fn tls(section: &Section<'_>, folder: &Path) -> TrunkTls {
    let mut all = String::new();
    let mut file = |key: &'static str| {
        let name = section.string(key)?;
        let (path, text) = file_beside(section, folder, &name)?;
        all += &text;
        Some((name.with(path), text))
    };
    let (certificate, key, authority) = (file("tls_certificate"), file("tls_key"), file("tls_ca"));
    if let (Some((certificate, _)), Some((key, _))) = (&certificate, &key)
        && let Err(message) = crate::tls::check(&certificate.value, &key.value)
    {
        let remedy = "give a certificate chain in PEM and the key that belongs to it";
        section.document().complain_about(certificate, message, remedy);
    }
    if section.has("tls_certificate") != section.has("tls_key") {
        let message = "a certificate needs its key, and a key its certificate";
        let remedy = "give both tls_certificate and tls_key, or none";
        section.document().complain_about(&section.here(), message, remedy);
    }
    let path = |file: Option<(Located<PathBuf>, String)>| file.map(|(path, _)| path.value);
    let authority_mark = authority.as_ref().map_or(0, |(_, text)| mark(text).max(1));
    TrunkTls {
        own: path(certificate).zip(path(key)),
        authority: path(authority),
        authority_mark,
        mark: mark(&all),
    }
}

/// What tells one text from another.
fn mark(text: &str) -> usize {
    let digest = Sha256::digest(text);
    digest.iter().take(7).fold(0, |mark, byte| mark << 8 | usize::from(*byte))
}

pub(super) fn health(section: &Section<'_>, preset: &Preset) -> Option<Health> {
    let off = section.string("options_interval").is_some_and(|text| text.value == "off");
    let interval = if off {
        None
    } else {
        let range = Duration::from_secs(5)..Duration::from_secs(3601);
        section.duration("options_interval", range).map(|d| d.value).or(preset.options_interval)
    };
    let count = |key: &'static str| {
        section.integer(key, 1..21).and_then(|n| u32::try_from(n.value).ok()).unwrap_or(2)
    };
    let (down_after, up_after) = (count("down_after"), count("up_after"));
    interval.map(|interval| Health { interval, down_after, up_after })
}

pub(super) fn limits(section: &Section<'_>, preset: &Preset) -> TrunkLimits {
    // 0 takes a preset's limit away.
    let limit = |key: &'static str, most: u64, preset: Option<u32>| match section
        .integer(key, 0..most)
        .and_then(|n| u32::try_from(n.value).ok())
    {
        Some(limit) => Some(limit).filter(|limit| *limit > 0),
        None => preset,
    };
    TrunkLimits {
        calls: limit("max_calls", 100_001, preset.max_calls),
        calls_per_second: limit("calls_per_second", 10_001, preset.calls_per_second),
    }
}

pub(super) fn sound(section: &Section<'_>, preset: &Preset) -> SoundRules {
    let codecs = section.strings("codecs").map(|texts| {
        let codec = |text: &Located<String>| {
            let named = |codec: &&Codec| codec.name().eq_ignore_ascii_case(&text.value);
            let found = Codec::ALL.iter().find(named).copied();
            if found.is_none() {
                let message = format!("{:?} is not a codec of ours", text.value);
                let remedy = "choose from opus, g722, pcmu and pcma";
                section.document().complain_about(text, message, remedy);
            }
            found
        };
        texts.iter().filter_map(codec).collect()
    });
    let dtmf = section.string("dtmf");
    let no_events = match dtmf.as_ref().map(|dtmf| dtmf.value.as_str()) {
        None | Some("rfc4733") => false,
        Some("info") => true,
        Some(other) => {
            let message = if other == "inband" {
                "tones in the sound are not heard by us and not made: codecs spoil them".to_owned()
            } else {
                format!("{other:?} is not a way to send digits")
            };
            if let Some(dtmf) = &dtmf {
                let remedy = "choose \"rfc4733\" or \"info\", and the same on the other side";
                section.document().complain_about(dtmf, message, remedy);
            }
            false
        }
    };
    SoundRules { codecs: codecs.unwrap_or_else(|| preset.codecs.to_vec()), no_events }
}

/// Whether media goes past us; false as well where digits would have to be taken out of it.
pub(super) fn direct_media(section: &Section<'_>) -> bool {
    let Some(media) = section.choice("media", &MEDIA_WAYS) else {
        return false;
    };
    let is_info = section.string("dtmf").is_some_and(|dtmf| dtmf.value == "info");
    if media.value && is_info {
        let message = "digits in sound that goes past us cannot be sent as INFO".to_owned();
        let remedy = "leave out dtmf, or write media = \"relay\"";
        section.document().complain_about(&media, message, remedy);
    }
    media.value
}

/// The domains whose users sign in at the trunk through us.
pub(super) fn forward_domains(section: &Section<'_>, own: Option<&String>) -> Option<Vec<String>> {
    let domains = section.strings("forward_domains").unwrap_or_default();
    for domain in domains.iter().filter(|domain| !is_host(&domain.value)) {
        let message = format!("{:?} is not a host name", domain.value);
        section.document().complain_about(domain, message, "write for example \"pbx.example\"");
    }
    let mut domains: Vec<String> =
        domains.into_iter().map(|domain| domain.value.to_ascii_lowercase()).collect();
    if !section.boolean("forward_registrations").unwrap_or(false) {
        return None;
    }
    if domains.is_empty() {
        domains.extend(own.map(|own| own.to_ascii_lowercase()));
    }
    Some(domains)
}

/// A trunk further up, or this one.
pub(super) fn announce_to(
    section: &Section<'_>,
    others: &[Trunk],
    own: Option<&Located<String>>,
) -> Option<String> {
    let name = section.string("announce_to")?;
    let is_own = own.is_some_and(|own| own.value == name.value);
    if !is_own && others.iter().all(|other| other.name != name.value) {
        let message = format!("there is no trunk {:?} further up", name.value);
        section.document().complain_about(&name, message, "put that trunk before this one");
    }
    Some(name.value)
}

pub(super) fn headers(section: &Section<'_>) -> HeaderRules {
    let check = |text: &Located<String>, name: &str| {
        let is_allowed = HeaderRules::allows(name);
        if !is_allowed {
            let message = format!("{name:?} is no header that rules may be about");
            let remedy = "name one that is not about transport, dialog or body, such as \"X-Site\"";
            section.document().complain_about(text, message, remedy);
        }
        is_allowed
    };
    let names = |key: &'static str| -> Vec<Arc<str>> {
        let texts = section.strings(key).unwrap_or_default();
        texts.iter().filter(|t| check(t, &t.value)).map(|t| t.value.as_str().into()).collect()
    };
    let added = section.strings("add_headers").unwrap_or_default();
    let added = added.iter().filter_map(|text| {
        let Some((name, value)) = text.value.split_once(':') else {
            let message = format!("{:?} has no colon", text.value);
            section.document().complain_about(text, message, "write \"X-Site: berlin\"");
            return None;
        };
        let (name, value) = (name.trim(), value.trim());
        if value.chars().any(char::is_control) {
            let message = "a value may not have control characters";
            section.document().complain_about(text, message, "write \"X-Site: berlin\"");
            return None;
        }
        check(text, name).then(|| (Arc::from(name), value.to_owned()))
    });
    HeaderRules {
        add: added.collect(),
        remove: names("remove_headers"),
        pass_in: names("pass_headers_in"),
        pass_out: names("pass_headers_out"),
    }
}

const DEFAULT_EXPIRES: Duration = Duration::from_secs(600);
const MAX_DESTINATIONS: usize = 16;

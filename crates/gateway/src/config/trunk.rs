//! `[[trunk]]`: SIP peers by configuration.

mod peer;
mod preset;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crosspoint_base::Transport;
use crosspoint_call::SrtpPolicy;
use crosspoint_call::router::{NumberForm, Rewrite};
use crosspoint_connectors::sip_ua::{
    CallerForm, DiversionForm, HeaderRules, Health, Network, TrunkLimits,
};
use crosspoint_media::negotiation::SoundRules;

use super::login::{self, Keys, Login};
use super::reader::{Located, Section};
use super::sections::is_host;
use preset::Preset;

/// A SIP peer by configuration: a carrier or a PBX.
#[derive(Debug)]
pub struct Trunk {
    pub name: String,
    pub host: String,
    /// Absent: by DNS, or the transport's usual one.
    pub port: Option<u16>,
    /// Absent: by DNS (NAPTR).
    pub transport: Option<Transport>,
    /// Where calls go instead of to the host.
    pub destinations: Vec<Destination>,
    pub outbound_proxy: Option<Destination>,
    /// Of the From and To.
    pub domain: String,
    pub credentials: Option<Login>,
    /// The only realm whose challenges are answered; absent: the first.
    pub realm: Option<String>,
    /// We sign in there, for so long at a time.
    pub register: Option<Duration>,
    /// What it shows to us.
    pub accepts: Option<Login>,
    /// It signs in with us, and calls go where it is.
    pub accepts_registration: bool,
    pub sources: TrunkSources,
    pub tls: TrunkTls,
    pub health: Option<Health>,
    pub failover_after: Duration,
    pub limits: TrunkLimits,
    pub sound: SoundRules,
    /// Media between it and other phones may go past us.
    pub direct_media: bool,
    pub early_media: bool,
    pub caller: CallerForm,
    pub from_account: bool,
    pub headers: HeaderRules,
    /// How it says, and is told, where calls were before.
    pub diversion: DiversionForm,
    /// Domains whose users sign in there through us.
    pub forward_domains: Option<Vec<String>>,
    /// The trunk that hears of them, too.
    pub announce_to: Option<String>,
    pub srtp: SrtpPolicy,
    /// Calls over it may have video.
    pub video: bool,
    /// Users may write to numbers over it.
    pub texts: bool,
    /// Numbers that start with one of these go out here; empty: all.
    pub prefixes: Vec<String>,
    /// In which form it wants numbers.
    pub number_form: NumberForm,
    pub rewrite: Rewrite,
}

/// One place where a trunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub host: String,
    pub port: Option<u16>,
    /// Absent: as for the trunk.
    pub transport: Option<Transport>,
    pub priority: u32,
    pub weight: u16,
}

/// By what calls of a trunk are known, besides its addresses.
#[derive(Debug, Default)]
pub struct TrunkSources {
    pub networks: Vec<Network>,
    pub certificates: Vec<String>,
    pub from_domains: Vec<String>,
    pub trusts_domain: bool,
}

/// What TLS with a trunk needs that is not the usual.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TrunkTls {
    /// PEM files of our certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// PEM file of the authorities that may have signed its certificate.
    pub authority: Option<PathBuf>,
    /// What tells one authority from another.
    pub authority_mark: usize,
    /// What tells whether the files are the ones that they were.
    pub mark: usize,
}

pub(super) fn read(root: &Section<'_>, folder: &Path) -> Vec<Trunk> {
    let mut trunks: Vec<Trunk> = Vec::new();
    for section in root.sections("trunk") {
        if let Some(trunk) = trunk(&section, folder, &trunks) {
            trunks.push(trunk);
        }
        section.finish();
    }
    trunks
}

fn trunk(section: &Section<'_>, folder: &Path, others: &[Trunk]) -> Option<Trunk> {
    let presets = Preset::ALL;
    let preset = section.choice("preset", &presets).map_or(Preset::PLAIN, |p| p.value);
    let name = section.required("name", "name = \"carrier\"", section.string("name"));
    if let Some(name) = &name {
        check_name(section, name, others);
    }
    let accepts = login::read(section, folder, &ACCEPT_KEYS);
    let accepts_registration =
        section.boolean("accept_registration").unwrap_or(preset.accept_registration);
    let host = host(section, accepts_registration);
    let transport = section.choice("transport", &TRANSPORTS);
    let policies = [
        ("off", SrtpPolicy::Off),
        ("optional", SrtpPolicy::Optional),
        ("required", SrtpPolicy::Required),
    ];
    let port = section.integer("port", 1..65_536).and_then(|n| u16::try_from(n.value).ok());
    let srtp = section.choice("srtp", &policies);
    let prefixes = section.strings("prefixes").unwrap_or_default();
    let credentials = login::read(section, folder, &KEYS);
    peer::check_logins(section, credentials.as_ref(), accepts.as_ref(), accepts_registration);
    let realm = section.string("realm").map(|realm| realm.value);
    let domain = section.string("domain").map(|domain| domain.value);
    let trunk = Trunk {
        port,
        transport: transport.map_or(Some(Transport::Udp), |t| t.value),
        destinations: peer::destinations(section),
        outbound_proxy: peer::outbound_proxy(section),
        realm: realm.or_else(|| preset.realm.map(str::to_owned)),
        register: peer::register(section, &preset, credentials.as_ref()),
        accepts,
        accepts_registration,
        sources: peer::sources(section),
        tls: peer::tls(section, folder),
        health: peer::health(section, &preset),
        failover_after: section
            .duration("failover_after", Duration::from_secs(1)..Duration::from_secs(31))
            .map_or(Duration::from_secs(4), |d| d.value),
        limits: peer::limits(section, &preset),
        sound: peer::sound(section, &preset),
        direct_media: peer::direct_media(section),
        early_media: section
            .choice("early_media", &[("pass", true), ("ring", false)])
            .map_or(preset.early_media, |e| e.value),
        caller: section.choice("caller_id", &CALLER_FORMS).map_or(preset.caller_id, |f| f.value),
        from_account: section
            .choice("from", &[("caller", false), ("account", true)])
            .map_or(preset.from_account, |f| f.value),
        headers: peer::headers(section),
        diversion: section
            .choice("diversion", &DIVERSION_FORMS)
            .map_or(DiversionForm::default(), |form| form.value),
        forward_domains: peer::forward_domains(section, domain.as_ref().or(host.as_ref())),
        announce_to: peer::announce_to(section, others, name.as_ref()),
        srtp: srtp.map_or(SrtpPolicy::Off, |p| p.value),
        video: section.boolean("video").unwrap_or(false),
        texts: section.boolean("texts").unwrap_or(false),
        prefixes: prefixes.into_iter().map(|p| p.value).collect(),
        number_form: section
            .choice("number_form", &NUMBER_FORMS)
            .map_or(NumberForm::Dialled, |form| form.value),
        rewrite: rewrite(section),
        credentials,
        domain: domain.or_else(|| host.clone()).unwrap_or_else(|| "invalid".to_owned()),
        name: name?.value,
        host: host.unwrap_or_default(),
    };
    check_certificates(section, &trunk, others);
    Some(trunk)
}

/// Trunks at one place share a connection, on which we show one certificate and trust one authority.
fn check_certificates(section: &Section<'_>, trunk: &Trunk, others: &[Trunk]) {
    let places = |trunk: &Trunk| -> Vec<(String, Option<u16>)> {
        let own = || vec![(trunk.host.clone(), trunk.port)];
        let listed = trunk.destinations.iter().map(|d| (d.host.clone(), d.port)).collect();
        if trunk.destinations.is_empty() { own() } else { listed }
    };
    let is_secure = |trunk: &Trunk| {
        let may_be = |transport: Option<Transport>| transport.is_none_or(|t| t == Transport::Tls);
        may_be(trunk.transport) || trunk.destinations.iter().any(|d| may_be(d.transport))
    };
    let ours = places(trunk);
    let meets = |other: &&Trunk| {
        is_secure(other) && other.tls != trunk.tls && places(other).iter().any(|p| ours.contains(p))
    };
    if !is_secure(trunk) {
        return;
    }
    if let Some(other) = others.iter().find(meets) {
        let message = format!(
            "the trunk {:?} is at the same place with other certificates: they share a connection",
            other.name
        );
        let remedy =
            "give both the same tls_certificate, tls_key and tls_ca, or places of their own";
        section.document().complain_about(&section.here(), message, remedy);
    }
}

/// One that signs in with us needs none: it is where it signs in from.
fn host(section: &Section<'_>, signs_in: bool) -> Option<String> {
    let host = section.string("host");
    if !(signs_in && host.is_none()) {
        section.required("host", "host = \"sip.example.com\"", host.as_ref());
    }
    if let Some(host) = &host
        && !is_host(&host.value)
    {
        let message = format!("{:?} is not a host name or an address", host.value);
        let remedy = "write for example \"sip.example.com\"; the port goes into port";
        section.document().complain_about(host, message, remedy);
    }
    host.map(|host| host.value)
}

fn check_name(section: &Section<'_>, name: &Located<String>, others: &[Trunk]) {
    if others.iter().any(|o| o.name == name.value) {
        let message = format!("a trunk {:?} exists further up", name.value);
        section.document().complain_about(name, message, "give each trunk a name of its own");
    }
    if crosspoint_state::UserName::parse(&name.value).is_err() {
        let message = format!("{:?} cannot be the name of a trunk", name.value);
        section.document().complain_about(name, message, "use letters, digits and . _ - + only");
    }
}

pub(super) fn rewrite(section: &Section<'_>) -> Rewrite {
    let strip = section.integer("strip", 0..65).and_then(|n| usize::try_from(n.value).ok());
    let prepend = section.string("prepend").map(|p| p.value).unwrap_or_default();
    let pattern = section.string("match");
    let replacement = section.string("replace");
    let pair = match (&pattern, &replacement) {
        (Some(pattern), Some(replacement)) => {
            Some((pattern.value.as_str(), replacement.value.as_str()))
        }
        (Some(pattern), None) => Some((pattern.value.as_str(), "$0")),
        (None, Some(replacement)) => {
            let remedy = "add match = \"..\", or use prepend";
            let message = "there is no match to replace";
            section.document().complain_about(replacement, message, remedy);
            None
        }
        (None, None) => None,
    };
    match Rewrite::new(strip.unwrap_or(0), &prepend, pair) {
        Ok(rewrite) => rewrite,
        Err(error) => {
            if let Some(pattern) = &pattern {
                let message = error.to_string().replace('\n', " ");
                let remedy = "write a regular expression such as \"^00(\\\\d+)$\"";
                section.document().complain_about(pattern, message, remedy);
            }
            Rewrite::default()
        }
    }
}

impl Destination {
    /// `host[:port]` and parameters after semicolons.
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(';');
        let place = parts.next().unwrap_or_default().trim();
        let (host, port) = split_port(place)?;
        if !is_host(host) {
            return Err(format!("{host:?} is not a host name or an address"));
        }
        let mut destination =
            Self { host: host.to_owned(), port, transport: None, priority: 10, weight: 10 };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let wrong = || format!("{part:?} is neither transport, priority nor weight");
            match key.trim() {
                "transport" => {
                    let known = TRANSPORTS.iter().find(|(word, _)| *word == value.trim());
                    destination.transport = known.ok_or_else(wrong)?.1;
                }
                "priority" => {
                    let priority: u16 = value.trim().parse().map_err(|_| wrong())?;
                    destination.priority = u32::from(priority);
                }
                "weight" => destination.weight = value.trim().parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(destination)
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), String> {
    if place.parse::<IpAddr>().is_ok() {
        return Ok((place, None));
    }
    if let Some((host, rest)) = place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = rest.strip_prefix(':').map(str::parse).transpose();
        return Ok((host, port.map_err(|_| format!("{rest:?} is not a port"))?));
    }
    match place.split_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => Ok((host, Some(port))),
            Err(_) => Err(format!("{port:?} is not a port")),
        },
        None => Ok((place, None)),
    }
}

const TRANSPORTS: [(&str, Option<Transport>); 4] = [
    ("udp", Some(Transport::Udp)),
    ("tcp", Some(Transport::Tcp)),
    ("tls", Some(Transport::Tls)),
    ("auto", None),
];
const NUMBER_FORMS: [(&str, NumberForm); 4] = [
    ("dialled", NumberForm::Dialled),
    ("plus", NumberForm::Plus),
    ("e164", NumberForm::E164),
    ("national", NumberForm::National),
];
const CALLER_FORMS: [(&str, CallerForm); 3] =
    [("pai", CallerForm::Pai), ("rpid", CallerForm::Rpid), ("from", CallerForm::From)];
const DIVERSION_FORMS: [(&str, DiversionForm); 4] = [
    ("both", DiversionForm::Both),
    ("diversion", DiversionForm::Diversion),
    ("history-info", DiversionForm::HistoryInfo),
    ("off", DiversionForm::Off),
];
const KEYS: Keys = Keys {
    name: "username",
    file: "password_file",
    variable: "password_env",
    password: "password",
    example: "carrier.password",
};
/// What it shows to us.
const ACCEPT_KEYS: Keys = Keys {
    name: "accept_username",
    file: "accept_password_file",
    variable: "accept_password_env",
    password: "accept_password",
    example: "pbx.password",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_destinations() {
        let full = Destination::parse("pbx.test:5070;priority=20;weight=5;transport=tls").unwrap();
        assert_eq!((full.host.as_str(), full.port), ("pbx.test", Some(5070)));
        assert_eq!((full.priority, full.weight, full.transport), (20, 5, Some(Transport::Tls)));
        let v6 = Destination::parse("[2001:db8::1]:5080").unwrap();
        assert_eq!((v6.host.as_str(), v6.port), ("2001:db8::1", Some(5080)));
        let plain = Destination::parse("192.0.2.7").unwrap();
        assert_eq!((plain.port, plain.transport, plain.priority), (None, None, 10));
        for bad in ["", "a b", "x:port", "x;weight=many", "x;color=red", "[::1"] {
            assert!(Destination::parse(bad).is_err(), "{bad}");
        }
    }
}

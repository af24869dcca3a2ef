//! Each section of the file to its part of the configuration.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crosspoint_base::Transport;
use crosspoint_call::Playback;
use crosspoint_net::packet_io::IoKind;

use super::reader::{Located, Section};
use super::{
    Config, Drain, General, Http, Ice, Limits, Listener, Log, LogFormat, LogLevel, Media, Origins,
    Service, Timers, TlsFiles, acme, admin, ban, cdr, console, default_port, features, forwarding,
    grpc, ladder, ng, recording, routing, rtcengine, sound, stir, stream, trunk, turn, webhook,
};

pub(super) fn read(root: Section<'_>, folder: &Path) -> Config {
    let http = optional(&root, "http", http);
    let trunks = trunk::read(&root, folder);
    let general_section = root.section("general");
    let names = trunks.iter().map(|trunk| trunk.name.as_str());
    let stream = present(&root, "stream", |s| stream::read(s, folder));
    let routing = routing::read(&root, general_section.as_ref(), folder, names);
    let general = general(general_section.as_ref(), folder);
    if let Some(section) = general_section {
        section.finish();
    }
    let (media, direct_phones) =
        optional(&root, "media", |s| (media(s, http.tls), direct_phones(s)));
    let config = Config {
        general,
        ladder: optional(&root, "ladder", |s| ladder::read(s, root.has("hep"))),
        hep: ladder::hep(&root),
        routing,
        log: optional(&root, "log", log),
        listeners: listeners(&root),
        tls: present(&root, "tls", |s| tls(s, folder)).flatten(),
        media,
        direct_phones,
        turn: present(&root, "turn", |s| turn::read(s, folder, http.tls)),
        ng: optional(&root, "ng", |s| ng::read(s, stream.as_ref())),
        media_servers: ng::media_servers(&root),
        trunks,
        numbers: optional(&root, "numbers", numbers),
        call_api: grpc::read(&root, folder),
        rtcengine: optional(&root, "rtcengine", |s| rtcengine::read(s, folder)),
        admin_token: optional(&root, "admin", |s| s.and_then(|s| admin::token(s, folder))),
        console: optional(&root, "console", |s| console::read(s, folder)),
        recording: present(&root, "recording", |s| recording::read(s, folder)),
        features: features::read(&root),
        forwards: forwarding::read(&root),
        sound: optional(&root, "sound", |s| sound::read(s, folder)),
        stream,
        stir: present(&root, "stir", |s| stir::read(s, folder)),
        acme: present(&root, "acme", |s| acme::read(s, folder, http.tls)),
        cdr: present(&root, "cdr", |s| cdr::read(s, folder)).flatten(),
        webhooks: webhook::read(&root, folder),
        timers: optional(&root, "timers", timers),
        drain: optional(&root, "drain", drain),
        limits: optional(&root, "limits", limits),
        ban: optional(&root, "ban", ban::read),
        http,
    };
    root.finish();
    config
}

/// A section that has no defaults: without it there is none of what it is about.
fn present<T>(
    root: &Section<'_>,
    key: &'static str,
    read: impl FnOnce(&Section<'_>) -> T,
) -> Option<T> {
    let section = root.section(key)?;
    let found = read(&section);
    section.finish();
    Some(found)
}

/// A section that may be missing: every value in it has a default.
fn optional<T>(
    root: &Section<'_>,
    key: &'static str,
    read: impl FnOnce(Option<&Section<'_>>) -> T,
) -> T {
    let section = root.section(key);
    let value = read(section.as_ref());
    if let Some(section) = section {
        section.finish();
    }
    value
}

fn general(section: Option<&Section<'_>>, folder: &Path) -> General {
    let domains = section.and_then(|s| s.strings("domains")).unwrap_or_default();
    if let Some(s) = section {
        for domain in domains.iter().filter(|d| !is_host(&d.value)) {
            let message = format!("{:?} is not a host name", domain.value);
            s.document().complain_about(domain, message, "write for example \"sip.example.com\"");
        }
    }
    let realm = section.and_then(|s| s.string("realm"));
    if let (Some(s), Some(realm)) = (section, &realm)
        && (realm.value.is_empty()
            || realm.value.chars().any(|c| c.is_control() || "\"\\:".contains(c)))
    {
        let remedy = "write a word or a host name without quotes, colons and backslashes";
        s.document().complain_about(realm, "this cannot be a realm", remedy);
    }
    General {
        realm: realm.map_or_else(|| DEFAULT_REALM.to_owned(), |r| r.value),
        domains: domains.into_iter().map(|d| d.value.to_ascii_lowercase()).collect(),
        data: section.and_then(|s| s.string("data")).map(|d| folder.join(d.value)),
    }
}

fn log(section: Option<&Section<'_>>) -> Log {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let levels =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
            .map(|level| (level.as_str(), level));
    Log {
        format: value(section, LogFormat::Text, |s| s.choice("format", &formats)),
        level: value(section, LogLevel::Info, |s| s.choice("level", &levels)),
    }
}

fn listeners(root: &Section<'_>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for section in root.sections("listener") {
        let transport = section.required(
            "transport",
            "transport = \"udp\"",
            section.choice("transport", &TRANSPORTS),
        );
        let address = section.required(
            "address",
            "address = \"0.0.0.0:5060\"",
            section.parsed::<SocketAddr>(
                "address",
                "an IP address with a port",
                "\"0.0.0.0:5060\"",
            ),
        );
        if let (Some(transport), Some(address)) = (transport, address) {
            let listener = Listener { transport: transport.value, address: address.value };
            if listeners.iter().any(|other| clash(other, &listener)) {
                let message = format!("{} is taken by a listener further up", address.value);
                let remedy = "give each listener an address or port of its own, or remove one";
                section.document().complain_about(&address, message, remedy);
            }
            listeners.push(listener);
        }
        section.finish();
    }
    if listeners.is_empty() && !root.has("listener") {
        let any = |transport| Listener {
            transport,
            address: SocketAddr::new(ANY, default_port(transport)),
        };
        listeners = [Transport::Udp, Transport::Tcp, Transport::Tls].map(any).into();
    }
    listeners
}

/// Whether two listeners cannot both be opened: TCP, TLS and WebSocket share one port space.
fn clash(a: &Listener, b: &Listener) -> bool {
    let same_space = (a.transport == Transport::Udp) == (b.transport == Transport::Udp);
    same_space && a.address == b.address && a.address.port() != 0
}

/// A DNS name or an IP address.
pub(crate) fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn tls(section: &Section<'_>, folder: &Path) -> Option<TlsFiles> {
    let pem = |key, example, marks: &[&str]| -> Option<Located<PathBuf>> {
        let text = section.required(key, example, section.string(key))?;
        let content = file_beside(section, folder, &text)?;
        if marks.iter().any(|m| content.1.contains(m)) {
            return Some(text.with(content.0));
        }
        let message = format!("{} holds no {key} in PEM", content.0.display());
        let remedy = format!("give a file with a block -----{}-----", marks[0]);
        section.document().complain_about(&text, message, remedy);
        None
    };
    let certificate = pem("certificate", "certificate = \"cert.pem\"", &["BEGIN CERTIFICATE"]);
    let key = pem(
        "key",
        "key = \"key.pem\"",
        &["BEGIN PRIVATE KEY", "BEGIN EC PRIVATE KEY", "BEGIN RSA PRIVATE KEY"],
    );
    let (certificate, key) = (certificate?, key?);
    if let Err(message) = crate::tls::check(&certificate.value, &key.value) {
        let remedy = "give a certificate chain in PEM and the key that belongs to it";
        section.document().complain_about(&certificate, message, remedy);
    }
    Some(TlsFiles { certificate: certificate.value, key: key.value })
}

/// Reads a small file that the configuration names.
pub(super) fn file_beside(
    section: &Section<'_>,
    folder: &Path,
    name: &Located<String>,
) -> Option<(PathBuf, String)> {
    let path = folder.join(&name.value);
    let problem = match std::fs::metadata(&path) {
        Err(error) => format!("{} cannot be read: {error}", path.display()),
        Ok(found) if !found.is_file() => format!("{} is not a file", path.display()),
        Ok(found) if found.len() > MAX_FILE => format!("{} is too large", path.display()),
        Ok(_) => match std::fs::read_to_string(&path) {
            Ok(text) => return Some((path, text)),
            Err(error) => format!("{} cannot be read: {error}", path.display()),
        },
    };
    let remedy = "create the file, correct its path (it counts from the configuration's folder), \
                  or let this user read it";
    section.document().complain_about(name, problem, remedy);
    None
}

fn http(section: Option<&Section<'_>>) -> Http {
    let listen = value(section, SocketAddr::new(ANY, 8443), |s| {
        s.parsed("listen", "an IP address with a port", "\"0.0.0.0:8443\"")
    });
    let listed = section.and_then(|s| s.strings("allowed_origins")).unwrap_or_default();
    if let Some(s) = section {
        let fine = |o: &str| o == "*" || o.starts_with("https://") || o.starts_with("http://");
        for origin in listed.iter().filter(|o| !fine(&o.value) || o.value.ends_with('/')) {
            let message = format!("{:?} is not the origin of a page", origin.value);
            let remedy = "write scheme, host and port without a path, such as \
                          \"https://app.example.com\", or \"*\" for every page";
            s.document().complain_about(origin, message, remedy);
        }
    }
    let allowed_origins = if listed.iter().any(|o| o.value == "*") {
        Origins::Any
    } else if listed.is_empty() {
        Origins::Same
    } else {
        Origins::Listed(listed.into_iter().map(|o| o.value.to_ascii_lowercase()).collect())
    };
    let port = section.and_then(|s| s.integer("advertised_port", 1..65_536));
    Http {
        listen,
        tls: section.and_then(|s| s.boolean("tls")).unwrap_or(true),
        advertised_port: port.and_then(|port| u16::try_from(port.value).ok()),
        allowed_origins,
    }
}

fn media(section: Option<&Section<'_>>, has_https: bool) -> Media {
    let addresses = section.and_then(|s| Some((s, s.strings("addresses")?)));
    let addresses = addresses.map_or_else(Vec::new, |(s, texts)| {
        texts.iter().filter_map(|text| media_address(s, text)).collect()
    });
    let rtp_ports = section.and_then(|s| Some((s, s.string("rtp_ports")?)));
    Media {
        addresses,
        listen: value(section, ANY, |s| s.parsed("listen", "an IP address", "\"0.0.0.0\"")),
        browser_listen: value(section, SocketAddr::new(ANY, 8443), |s| {
            s.parsed("browser_listen", "an IP address with a port", "\"0.0.0.0:8443\"")
        }),
        rtp_ports: rtp_ports
            .and_then(|(s, text)| port_range(s, &text))
            .unwrap_or(DEFAULT_RTP_PORTS),
        ice: value(section, Ice::Lite, |s| {
            s.choice("ice", &[("lite", Ice::Lite), ("full", Ice::Full)])
        }),
        io: value(section, None, |s| {
            let named = IoKind::ALL.map(|kind| (kind.as_str(), Some(kind)));
            s.choice("io", &[&[("auto", None)], &named[..]].concat())
        }),
        threads: value(section, packet_threads(), |s| s.integer("threads", 1..65)) as usize,
        ice_tcp: section.and_then(|s| s.boolean("ice_tcp")).unwrap_or(has_https),
        timeout: value(section, Duration::from_secs(30), |s| {
            s.duration("timeout", seconds(5)..seconds(3600))
        }),
        codec_threads: value(section, cores(), |s| s.integer("codec_threads", 0..257)) as usize,
        opus_complexity: value(section, 5, |s| s.integer("opus_complexity", 0..11)) as u8,
        keep_awake: section.and_then(|s| s.boolean("keep_awake")).unwrap_or(false),
        realtime: section.and_then(|s| s.boolean("realtime")).unwrap_or(false),
        dtmf_listen: section.and_then(|s| {
            let asked = s.parsed("dtmf_listen", "an IP address with a port", "\"192.0.2.1:2226\"");
            asked.map(|address| address.value)
        }),
    }
}

fn direct_phones(section: Option<&Section<'_>>) -> bool {
    value(section, false, |s| s.choice("phones", &MEDIA_WAYS))
}

/// Whether media between phones may go past us.
pub(super) const MEDIA_WAYS: [(&str, bool); 2] = [("relay", false), ("direct", true)];

/// Packets get half of the cores: signalling, handshakes and codecs need the others.
fn packet_threads() -> u64 {
    (cores() / 2).clamp(1, 16)
}

/// One thread for each.
fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(256) as u64)
}

fn media_address(section: &Section<'_>, text: &Located<String>) -> Option<IpAddr> {
    match text.value.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Some(address),
        _ => {
            let message = format!("{:?} is not an address that a peer can send to", text.value);
            let remedy = "write an IP address of this machine or of the NAT in front of it";
            section.document().complain_about(text, message, remedy);
            None
        }
    }
}

pub(super) fn port_range(
    section: &Section<'_>,
    text: &Located<String>,
) -> Option<RangeInclusive<u16>> {
    let range = text.value.split_once('-').and_then(|(low, high)| {
        let low: u16 = low.trim().parse().ok()?;
        let high: u16 = high.trim().parse().ok()?;
        (low >= 1024 && low < high).then_some(low..=high)
    });
    if range.is_none() {
        let message = format!("{:?} is not a range of ports", text.value);
        let remedy = "write the lowest and the highest port, 1024 or more: \"10000-19999\"";
        section.document().complain_about(text, message, remedy);
    }
    range
}

fn numbers(section: Option<&Section<'_>>) -> BTreeMap<String, Service> {
    let mut numbers = BTreeMap::new();
    let services = [
        ("echo", "600", Service::Play(Playback::Echo)),
        ("tone", "601", Service::Play(Playback::Tone)),
        ("announcement", "602", Service::Play(Playback::Announcement)),
        ("pull", "603", Service::Pull),
    ];
    for (key, default, service) in services {
        let found = section.and_then(|s| s.string(key));
        let number = found.as_ref().map_or(default, |n| n.value.as_str());
        if number.is_empty() {
            continue;
        }
        let complaint = if crosspoint_state::UserName::parse(number).is_err() {
            Some((
                "this cannot be dialled".to_owned(),
                "write letters, digits and . _ - + only, or \"\" to switch it off",
            ))
        } else if numbers.insert(number.to_owned(), service).is_some() {
            Some((format!("{number} already has another meaning"), "choose another number"))
        } else {
            None
        };
        if let (Some(s), Some((message, remedy))) = (section, complaint) {
            match &found {
                Some(found) => s.document().complain_about(found, message, remedy),
                None => s.document().complain_about(&s.here(), message, remedy),
            }
        }
    }
    numbers
}

fn timers(section: Option<&Section<'_>>) -> Timers {
    let time = |key, default: Duration, low, high| {
        value(section, default, |s| s.duration(key, seconds(low)..seconds(high)))
    };
    let timers = Timers {
        ring: time("ring", seconds(120), 5, 601),
        shutdown: time("shutdown", seconds(10), 1, 301),
        registration_min: time("registration_min", seconds(60), 1, 86_401),
        registration_max: time("registration_max", seconds(3600), 60, 604_801),
        trunk_silence: time("trunk_silence", seconds(10), 1, 33),
    };
    if let Some(s) = section
        && timers.registration_min > timers.registration_max
    {
        let message = "registration_min is longer than registration_max";
        s.document().complain_about(&s.here(), message, "make registration_min the shorter one");
    }
    timers
}

fn drain(section: Option<&Section<'_>>) -> Drain {
    let time = |key, default: Duration, low, high| {
        value(section, default, |s| s.duration(key, seconds(low)..seconds(high)))
    };
    Drain {
        time: time("time", seconds(0), 0, 86_401),
        retry_after: time("retry_after", seconds(30), 1, 3601),
    }
}

fn limits(section: Option<&Section<'_>>) -> Limits {
    let count = |key, default: usize, high| {
        section
            .and_then(|s| s.integer(key, 1..high))
            .and_then(|n| usize::try_from(n.value).ok())
            .unwrap_or(default)
    };
    Limits {
        calls: count("calls", 2000, 1_000_001),
        contacts_per_user: count("contacts_per_user", 10, 1001),
        connections: count("connections", 20_000, 1_000_001),
        connections_per_address: count("connections_per_address", 200, 1_000_001),
        transactions: count("transactions", 50_000, 10_000_001),
        messages_per_address: count("messages_per_address", 1000, 1_000_001) as u32,
    }
}

/// What a section says, or the default.
fn value<T>(
    section: Option<&Section<'_>>,
    default: T,
    read: impl FnOnce(&Section<'_>) -> Option<Located<T>>,
) -> T {
    section.and_then(read).map_or(default, |found| found.value)
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const TRANSPORTS: [(&str, Transport); 5] = [
    ("udp", Transport::Udp),
    ("tcp", Transport::Tcp),
    ("tls", Transport::Tls),
    ("ws", Transport::Ws),
    ("wss", Transport::Wss),
];
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const DEFAULT_REALM: &str = "crosspoint";
const DEFAULT_RTP_PORTS: RangeInclusive<u16> = 10000..=19999;
/// A certificate chain is a few kilobytes.
const MAX_FILE: u64 = 256 * 1024;

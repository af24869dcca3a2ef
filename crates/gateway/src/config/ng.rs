//! `[ng]`: how SIP proxies reach `crosspoint media`; `[[media_server]]`: whom we ask in our turn.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crosspoint_media::control::Place;

use super::reader::Section;
use super::{MediaServer, Ng, Stream};

pub(super) fn read(section: Option<&Section<'_>>, stream: Option<&Stream>) -> Ng {
    let address = |key, example| {
        let found = section?.parsed::<SocketAddr>(key, "an IP address with a port", example);
        found.map(|found| found.value)
    };
    let second = Duration::from_secs(1);
    let timeout = section.and_then(|s| s.duration("timeout", 5 * second..3600 * second));
    Ng {
        listen: address("listen", "\"127.0.0.1:2223\"").unwrap_or(USUAL),
        http_listen: address("http_listen", "\"127.0.0.1:2224\""),
        interfaces: section.map(interfaces).unwrap_or_default(),
        dtmf_log: address("dtmf_log", "\"127.0.0.1:2225\""),
        forward_to: section.and_then(|section| forward_to(section, stream)),
        timeout: timeout.map_or(60 * second, |found| found.value),
    }
}

/// It has to be among those that `[stream]` allows.
fn forward_to(section: &Section<'_>, stream: Option<&Stream>) -> Option<String> {
    let url = section.string("forward_to")?;
    if !stream.is_some_and(|stream| stream.permits(&url.value)) {
        let message = format!("{:?} does not begin with one of stream.allow", url.value);
        let remedy = "write in [stream] what addresses may begin with: \
                      allow = [\"wss://agent.example.com/calls/\"]";
        section.document().complain_about(&url, message, remedy);
    }
    Some(url.value)
}

/// `name/address` or `name/address!advertised`, as rtpengine takes them.
fn interfaces(section: &Section<'_>) -> Vec<(String, Place)> {
    let mut out: Vec<(String, Place)> = Vec::new();
    for listed in section.strings("interfaces").unwrap_or_default() {
        let parsed = listed.value.split_once('/').and_then(|(name, addresses)| {
            let (bind, address) = addresses.split_once('!').unwrap_or((addresses, addresses));
            let (bind, address) = (bind.parse::<IpAddr>().ok()?, address.parse().ok()?);
            let place = Place { bind, address };
            (!name.is_empty() && bind.is_ipv4() == place.address.is_ipv4()).then_some((name, place))
        });
        let message = match parsed {
            None => format!("{} is no interface", listed.value),
            Some((name, _)) if out.iter().any(|(other, _)| other == name) => {
                format!("{name} stands further up already")
            }
            Some((name, place)) => {
                out.push((name.to_owned(), place));
                continue;
            }
        };
        let remedy = "write \"name/address\" or \"name/address!advertised\", each name once";
        section.document().complain_about(&listed, message, remedy);
    }
    out
}

pub(super) fn media_servers(root: &Section<'_>) -> Vec<MediaServer> {
    let mut servers: Vec<MediaServer> = Vec::new();
    for section in root.sections("media_server") {
        let address = section.required(
            "address",
            "address = \"192.0.2.10:2223\"",
            section.parsed::<SocketAddr>(
                "address",
                "an IP address with a port",
                "\"192.0.2.10:2223\"",
            ),
        );
        let weight = section.integer("weight", 1..1001).and_then(|w| u32::try_from(w.value).ok());
        if let Some(address) = address {
            if servers.iter().any(|other| other.address == address.value) {
                let message = format!("{} stands further up already", address.value);
                section.document().complain_about(&address, message, "give it more weight instead");
            }
            servers.push(MediaServer { address: address.value, weight: weight.unwrap_or(1) });
        }
        section.finish();
    }
    servers
}

/// Whoever reaches it commands our media, so it is this host alone unless told otherwise.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2223);

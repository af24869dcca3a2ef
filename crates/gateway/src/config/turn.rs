//! `[turn]`: the relay for browsers that reach nothing but its port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crosspoint_base::Secret;
use crosspoint_media::turn::Peers;

use super::Turn;
use super::reader::Section;
use super::sections::{file_beside, is_host, port_range};

pub(super) fn read(section: &Section<'_>, folder: &Path, has_https: bool) -> Turn {
    let count = |key, default: u64, high| {
        section.integer(key, 1..high).map_or(default, |found| found.value)
    };
    let address = |key, example| {
        section.parsed::<SocketAddr>(key, "an IP address with a port", example).map(|a| a.value)
    };
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3478);
    let peers = [("public", Peers::Public), ("gateway", Peers::Gateway)];
    let day = Duration::from_secs(24 * 3600);
    Turn {
        listen: address("listen", "\"0.0.0.0:3478\"").unwrap_or(any),
        tls_listen: address("tls_listen", "\"0.0.0.0:5349\""),
        share_http: section.boolean("share_http").unwrap_or(has_https),
        host: host(section),
        relay_ports: section
            .string("relay_ports")
            .and_then(|text| port_range(section, &text))
            .unwrap_or(DEFAULT_PORTS),
        secret: secret(section, folder),
        credential_lifetime: section
            .duration("credential_lifetime", Duration::from_secs(60)..30 * day)
            .map_or(day, |found| found.value),
        peers: section.choice("peers", &peers).map_or(Peers::Public, |found| found.value),
        allow: networks(section),
        allocations: usize::try_from(count("allocations", 1000, 16_385)).unwrap_or(1000),
        allocations_per_user: usize::try_from(count("allocations_per_user", 20, 1001))
            .unwrap_or(20),
        kbits_per_user: count("kbits_per_user", 4000, 1_000_001),
    }
}

fn host(section: &Section<'_>) -> Option<String> {
    let host = section.string("host")?;
    if !is_host(&host.value) {
        let message = format!("{:?} is not a host name", host.value);
        section.document().complain_about(&host, message, "write for example \"turn.example.com\"");
    }
    Some(host.value)
}

fn secret(section: &Section<'_>, folder: &Path) -> Option<Secret<String>> {
    let file = section.string("secret_file")?;
    let (_, text) = file_beside(section, folder, &file)?;
    let secret = text.lines().next().unwrap_or_default().to_owned();
    if secret.len() < MIN_SECRET {
        let remedy = "write 16 random characters or more into its first line";
        section.document().complain_about(&file, "the secret is too short", remedy);
    }
    Some(Secret::new(secret))
}

pub(super) fn networks(section: &Section<'_>) -> Vec<crosspoint_media::turn::Network> {
    let texts = section.strings("allow").unwrap_or_default();
    let network = |text: &super::reader::Located<String>| {
        let network = text.value.parse().ok();
        if network.is_none() {
            let message = format!("{:?} is not a network", text.value);
            section.document().complain_about(text, message, "write for example \"10.1.0.0/16\"");
        }
        network
    };
    texts.iter().filter_map(network).collect()
}

/// Outside of what SIP phones get, and what systems use for outgoing connections.
const DEFAULT_PORTS: RangeInclusive<u16> = 20_000..=29_999;
const MIN_SECRET: usize = 16;

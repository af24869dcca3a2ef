//! `[ban]`: who is not listened to for a while.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crosspoint_base::{GuardConfig, Network};

use super::reader::Section;

pub(super) fn read(section: Option<&Section<'_>>) -> GuardConfig {
    let usual = GuardConfig::default();
    let failures = section.and_then(|s| s.integer("failures", 0..1_000_001));
    let time = |key: &'static str, default: Duration, most: Duration| {
        let range = Duration::from_secs(1)..most;
        section.and_then(|s| s.duration(key, range)).map_or(default, |found| found.value)
    };
    let exempt = section.and_then(|s| Some((s, s.strings("exempt")?)));
    GuardConfig {
        failures: failures.and_then(|n| u32::try_from(n.value).ok()).unwrap_or(usual.failures),
        recovery: time("recovery", usual.recovery, Duration::from_secs(86_401)),
        time: time("time", usual.time, Duration::from_secs(30 * 86_400)),
        exempt: match exempt {
            // A proxy on this host speaks for all who come through it.
            None => vec![
                Network { address: Ipv4Addr::LOCALHOST.into(), prefix: 8 },
                Network::from(std::net::IpAddr::from(Ipv6Addr::LOCALHOST)),
            ],
            Some((section, texts)) => texts
                .iter()
                .filter_map(|text| {
                    let network = text.value.parse().ok();
                    if network.is_none() {
                        let message = format!("{:?} is not a network", text.value);
                        let remedy = "write for example \"192.0.2.0/24\"";
                        section.document().complain_about(text, message, remedy);
                    }
                    network
                })
                .collect(),
        },
    }
}

//! `[ladder]`, what is kept of each call, and `[hep]`, where it is sent as well.

use std::net::SocketAddr;

use crosspoint_base::Secret;
use crosspoint_ladder::LadderConfig;

use super::reader::Section;

/// A collector of what was said in calls (HEP, version 3).
#[derive(Debug, Clone)]
pub struct Hep {
    pub address: SocketAddr,
    pub is_tcp: bool,
    /// By which the collector knows us.
    pub capture_id: u32,
    /// What the collector wants to see.
    pub key: Option<Secret<String>>,
}

pub(super) fn read(section: Option<&Section<'_>>, tells: bool) -> LadderConfig {
    let usual = LadderConfig::default();
    let size = |key: &'static str, usual: usize, range: std::ops::Range<u64>| {
        let found = section.and_then(|section| section.integer(key, range));
        found.and_then(|n| usize::try_from(n.value).ok()).unwrap_or(usual)
    };
    LadderConfig {
        calls: size("calls", usual.calls, 0..1_000_001),
        bytes_per_call: size("bytes_per_call", usual.bytes_per_call, 4096..(1 << 30) + 1),
        bytes: size("bytes", usual.bytes, 65_536..(1 << 40) + 1),
        bytes_per_message: usual.bytes_per_message,
        tells,
        rtp_packets: size("rtp_packets", usize::from(usual.rtp_packets), 0..1001) as u16,
        capture_bytes: size("capture_bytes", usual.capture_bytes, 0..(1 << 40) + 1),
    }
}

pub(super) fn hep(root: &Section<'_>) -> Option<Hep> {
    let section = root.section("hep")?;
    let hep = read_hep(&section);
    section.finish();
    hep
}

fn read_hep(section: &Section<'_>) -> Option<Hep> {
    let address = section.parsed("address", "an address with a port", EXAMPLE);
    let address = section.required("address", EXAMPLE, address);
    let is_tcp = section.choice("transport", &[("udp", false), ("tcp", true)]);
    let capture_id = section.integer("capture_id", 0..1 << 32);
    Some(Hep {
        address: address?.value,
        is_tcp: is_tcp.is_some_and(|found| found.value),
        capture_id: capture_id.and_then(|n| u32::try_from(n.value).ok()).unwrap_or(2001),
        key: section.string("key").map(|key| Secret::new(key.value)),
    })
}

const EXAMPLE: &str = "\"192.0.2.9:9060\"";

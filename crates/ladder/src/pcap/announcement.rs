//! What tells a reader of a capture file that RTP is at an address, and in which codecs: a session
//! announcement (SAP, RFC 2974), which nobody sent.
//!
//! Descriptions in SIP say so of plain RTP. Those of SRTP say that packets are encrypted, which those
//! in the file are not, and apps and terminals say nothing that is in the file. Wireshark believes
//! an announcement like a description, without being told to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::entry::{CallLadder, Packet};

/// As a datagram to ourselves.
pub(super) fn of(ladder: &CallLadder, local: SocketAddr) -> Vec<u8> {
    let ip = local.ip().to_canonical();
    let sap = SocketAddr::new(ip, PORT);
    let mut types: BTreeMap<u8, Option<&'static str>> = BTreeMap::new();
    for packet in ladder.packets.iter().filter(|packet| packet.local == local) {
        if let Some(number) = payload_type(packet) {
            let known = types.entry(number).or_default();
            *known = known.or(packet.rtpmap);
        }
    }
    super::datagram(sap, sap, &announcement(ip, &description(ip, local.port(), &types)))
}

/// Of an RTP packet (RFC 3550 §5.1); RTCP has none (RFC 5761 §4).
pub(super) fn payload_type(packet: &Packet) -> Option<u8> {
    let second = *packet.bytes.get(1)?;
    (!(192..=223).contains(&second)).then_some(second & 0x7f)
}

fn announcement(ip: IpAddr, description: &str) -> Vec<u8> {
    let (first, origin) = match ip {
        IpAddr::V4(v4) => (VERSION_1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (VERSION_1 | OF_IPV6, v6.octets().to_vec()),
    };
    // No authentication; any number but zero names it.
    let mut bytes = vec![first, 0, 0, 1];
    bytes.extend(origin);
    bytes.extend(b"application/sdp\0");
    bytes.extend(description.as_bytes());
    bytes
}

fn description(ip: IpAddr, port: u16, types: &BTreeMap<u8, Option<&'static str>>) -> String {
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let numbers: String = types.keys().map(|number| format!(" {number}")).collect();
    let maps = types.iter().filter_map(|(number, map)| Some((number, (*map)?)));
    let maps: String = maps.map(|(number, map)| format!("a=rtpmap:{number} {map}\r\n")).collect();
    format!(
        "v=0\r\no=- 0 0 IN {family} {ip}\r\ns=Not sent: the media of this file, in the clear\r\n\
         c=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP{numbers}\r\n{maps}"
    )
}

const PORT: u16 = 9875;
const VERSION_1: u8 = 0x20;
const OF_IPV6: u8 = 0x10;

//! HEP, version 3: what a collector of signalling (Homer and others) is told, one message at a
//! time, with the call's gcid to correlate by. Credentials and keys are taken out before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crosspoint_base::Transport;

use crate::book::Told;
use crate::entry::{Message, Protocol, What};
use crate::{redact, title};

/// Who sends, as the collector knows it.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a> {
    pub capture_id: u32,
    pub key: Option<&'a str>,
}

/// One packet; `at` is the Unix time of the entry.
#[must_use]
pub fn encode(told: &Told, at: Duration, agent: Agent<'_>) -> Vec<u8> {
    let (kind, path, payload) = match &told.entry.what {
        What::Message(message) => {
            let kind = if message.protocol == Protocol::Sip { SIP } else { LOG };
            (kind, path_of(message), redact::redacted(message))
        }
        What::Note(note) => {
            let words = title::of_note(note).1;
            let line = told.entry.line.map_or_else(String::new, |at| format!("party {at}: "));
            (LOG, nowhere(), format!("{line}{words}").into_bytes())
        }
    };
    let payload = payload.get(..payload.len().min(LONGEST)).unwrap_or_default();
    let (transport, from, to) = path;
    let mut packet = Vec::with_capacity(payload.len() + 192);
    packet.extend(b"HEP3\0\0");
    let is_v4 = from.is_ipv4() && to.is_ipv4();
    chunk(&mut packet, 1, &[if is_v4 { 2 } else { 10 }]);
    chunk(&mut packet, 2, &[if transport == Transport::Udp { 17 } else { 6 }]);
    let (source, destination) = if is_v4 { (3, 4) } else { (5, 6) };
    chunk(&mut packet, source, &octets(from.ip(), is_v4));
    chunk(&mut packet, destination, &octets(to.ip(), is_v4));
    chunk(&mut packet, 7, &from.port().to_be_bytes());
    chunk(&mut packet, 8, &to.port().to_be_bytes());
    let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
    chunk(&mut packet, 9, &seconds.to_be_bytes());
    chunk(&mut packet, 10, &at.subsec_micros().to_be_bytes());
    chunk(&mut packet, 11, &[kind]);
    chunk(&mut packet, 12, &agent.capture_id.to_be_bytes());
    if let Some(key) = agent.key {
        chunk(&mut packet, 14, key.as_bytes());
    }
    chunk(&mut packet, 17, told.gcid.as_str().as_bytes());
    chunk(&mut packet, 15, payload);
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet
}

/// Vendor 0, type, the length with these six bytes, value.
fn chunk(packet: &mut Vec<u8>, kind: u16, value: &[u8]) {
    packet.extend([0, 0]);
    packet.extend(kind.to_be_bytes());
    packet.extend(u16::try_from(value.len() + 6).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend(value);
}

fn path_of(message: &Message) -> (Transport, SocketAddr, SocketAddr) {
    match message.path {
        Some((transport, local, remote)) if message.is_sent => (transport, local, remote),
        Some((transport, local, remote)) => (transport, remote, local),
        None => nowhere(),
    }
}

fn nowhere() -> (Transport, SocketAddr, SocketAddr) {
    let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    (Transport::Tcp, none, none)
}

fn octets(ip: IpAddr, is_v4: bool) -> Vec<u8> {
    match (ip, is_v4) {
        (IpAddr::V4(v4), true) => v4.octets().to_vec(),
        (IpAddr::V4(v4), false) => v4.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(v6), _) => v6.octets().to_vec(),
    }
}

/// Protocols of payloads, as collectors number them.
const SIP: u8 = 1;
const LOG: u8 = 100;
/// A datagram and a length of 16 bits have room for it.
const LONGEST: usize = 60_000;

//! A ladder's SIP and RTP as a capture file, for Wireshark and its kind.
//!
//! Each message is a UDP datagram between the addresses that it went between, whatever carried it:
//! what was encrypted, or came over a connection, would be bytes to a reader. Of such a message our
//! port is written as 5060, so that it is taken for SIP. Times are the wall clock's.
//!
//! RTP is what came from the parties, in the clear, whole or cut behind its header. Where signalling
//! does not say so, because it names SRTP or is no SIP, an announcement of ours (`announcement`)
//! stands before it.

mod announcement;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crosspoint_base::Transport;
use memchr::memmem;

use crate::entry::{CallLadder, Message, Packet, Protocol, What};
use crate::redact;

/// The file; `since_epoch` is the Unix time of an instant. Without sound, every packet of it is cut
/// behind its header.
#[must_use]
pub fn write(
    ladder: &CallLadder,
    with_sound: bool,
    since_epoch: impl Fn(Instant) -> Duration,
) -> Vec<u8> {
    let mut packets: Vec<&Packet> = ladder.packets.iter().collect();
    // Each media thread tells in order; all of them together need not.
    packets.sort_by_key(|packet| packet.at);
    let mut packets = packets.into_iter().peekable();
    let mut writer = Writer { file: header(), ladder, with_sound, announced: BTreeSet::new() };
    for entry in &ladder.entries {
        let What::Message(message) = &entry.what else { continue };
        while let Some(packet) = packets.next_if(|packet| packet.at < entry.at) {
            writer.packet(since_epoch(packet.at), packet);
        }
        writer.message(since_epoch(entry.at), message);
    }
    for packet in packets {
        writer.packet(since_epoch(packet.at), packet);
    }
    writer.file
}

struct Writer<'l> {
    file: Vec<u8>,
    ladder: &'l CallLadder,
    with_sound: bool,
    /// Where media is read as we say.
    announced: BTreeSet<SocketAddr>,
}

impl Writer<'_> {
    fn message(&mut self, at: Duration, message: &Message) {
        let (Protocol::Sip, Some((transport, local, remote))) = (message.protocol, message.path)
        else {
            return;
        };
        let local = match transport {
            Transport::Udp => local,
            _ => SocketAddr::new(local.ip(), SIP_PORT),
        };
        let (from, to) = if message.is_sent { (local, remote) } else { (remote, local) };
        let bytes = readable(message);
        if memmem::find(&bytes, b"\r\nm=").is_some() {
            // What it says of media is believed from here on.
            self.announced.clear();
        }
        record(&mut self.file, at, &datagram(from, to, &bytes));
    }

    fn packet(&mut self, at: Duration, packet: &Packet) {
        let line = self.ladder.lines.get(usize::from(packet.line));
        let is_told = line.is_some_and(|line| line.protocol == Protocol::Sip);
        if (packet.was_encrypted || !is_told)
            && announcement::payload_type(packet).is_some()
            && self.announced.insert(packet.local)
        {
            record(&mut self.file, at, &announcement::of(self.ladder, packet.local));
        }
        let kept = if self.with_sound { &packet.bytes } else { head_of(packet) };
        let bytes = datagram_cut(packet.remote, packet.local, kept, packet.length);
        let missing = packet.length.saturating_sub(kept.len());
        record_cut(&mut self.file, at, &bytes, bytes.len() + missing);
    }
}

/// The header of RTP (RFC 3550 §5.1), but for its extensions; of RTCP everything.
fn head_of(packet: &Packet) -> &[u8] {
    let sources = packet.bytes.first().map_or(0, |first| usize::from(first & 0x0f));
    let is_rtp = announcement::payload_type(packet).is_some();
    let length = if is_rtp { 12 + 4 * sources } else { packet.bytes.len() };
    packet.bytes.get(..length).unwrap_or(&packet.bytes)
}

/// A message without its secrets. Keys that are hidden are no base64, and a reader that wants to
/// understand them (RFC 4568) throws the whole message away: they get another name, as long.
fn readable(message: &Message) -> Vec<u8> {
    let mut bytes = redact::redacted(message);
    let mut from = 0;
    while let Some(found) = memmem::find(bytes.get(from..).unwrap_or_default(), KEYS) {
        from += found + KEYS.len();
        if let Some(name) = bytes.get_mut(from - KEYS.len()..from) {
            name.copy_from_slice(HIDDEN);
        }
    }
    bytes
}

/// The file's head: little-endian, microseconds, raw IP.
#[must_use]
pub fn header() -> Vec<u8> {
    let mut file = Vec::with_capacity(4096);
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(MOST.to_le_bytes());
    file.extend(RAW_IP.to_le_bytes());
    file
}

/// One packet with its head.
pub fn record(file: &mut Vec<u8>, at: Duration, packet: &[u8]) {
    record_cut(file, at, packet, packet.len());
}

/// One packet of which this is the beginning, and how long it was.
fn record_cut(file: &mut Vec<u8>, at: Duration, packet: &[u8], length: usize) {
    let word = |length: usize| u32::try_from(length).unwrap_or(MOST);
    let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
    for word in [seconds, at.subsec_micros(), word(packet.len()), word(length)] {
        file.extend(word.to_le_bytes());
    }
    file.extend(packet);
}

/// A UDP datagram with its IP header (RFC 768, RFC 791, RFC 8200). A payload that is too long for
/// one is cut.
#[must_use]
pub fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..payload.len().min(LONGEST)).unwrap_or_default();
    datagram_cut(from, to, payload, payload.len())
}

/// The beginning of one: `payload` is of one that was `whole` bytes long.
fn datagram_cut(from: SocketAddr, to: SocketAddr, payload: &[u8], whole: usize) -> Vec<u8> {
    let length = u16::try_from(8 + whole.min(LONGEST)).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(usize::from(length));
    for word in [from.port(), to.port(), length, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(payload);
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => v4(from, to, length, udp),
        (from, to) => v6(as_v6(from), as_v6(to), length, udp),
    }
}

fn v4(from: Ipv4Addr, to: Ipv4Addr, length: u16, udp: Vec<u8>) -> Vec<u8> {
    // UDP over IPv4 may go without a checksum.
    let mut packet = vec![0x45, 0];
    packet.extend(length.saturating_add(20).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(packet.iter().copied());
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(udp);
    packet
}

fn v6(from: Ipv6Addr, to: Ipv6Addr, length: u16, mut udp: Vec<u8>) -> Vec<u8> {
    let pseudo = from.octets().into_iter().chain(to.octets()).chain([0, 0]);
    let pseudo = pseudo.chain(length.to_be_bytes()).chain([0, 0, 0, UDP]);
    let sum = checksum(pseudo.chain(udp.iter().copied()));
    let sum = if sum == 0 { u16::MAX } else { sum };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([UDP, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(udp);
    packet
}

/// RFC 1071.
fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let sum = bytes.enumerate().fold(0_u64, |sum, (at, byte)| {
        sum + if at % 2 == 0 { u64::from(byte) << 8 } else { u64::from(byte) }
    });
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

const KEYS: &[u8] = b"inline:";
const HIDDEN: &[u8] = b"hidden:";
const SIP_PORT: u16 = 5060;
const UDP: u8 = 17;
/// LINKTYPE_RAW: a packet begins with its IP header.
const RAW_IP: u32 = 101;
const MOST: u32 = 65_535;
const LONGEST: usize = 65_535 - 60;

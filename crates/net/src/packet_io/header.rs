//! Ethernet, IPv4 and UDP headers around a datagram, for packets that pass the IP stack by.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Of all three headers, without options.
pub(super) const HEADERS: usize = ETHERNET + IPV4 + UDP;
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

/// What a packet has to say on its next link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Of the interface that it leaves by.
    pub(super) interface: u32,
    pub(super) own_mac: [u8; 6],
    pub(super) mac: [u8; 6],
    /// The address that the kernel would send from.
    pub(super) source: Ipv4Addr,
    /// The longest IP packet.
    pub(super) mtu: usize,
}

/// Writes the headers in front of a payload: `frame` begins with [`HEADERS`] bytes of room.
pub(super) fn write(frame: &mut [u8], link: &Link, source: SocketAddrV4, to: SocketAddrV4) {
    let Some((headers, payload)) = frame.split_first_chunk_mut::<HEADERS>() else { return };
    // What does not fit into an MTU never comes here.
    let udp_len = (UDP + payload.len()) as u16;
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        if let Some(place) = headers.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        at += bytes.len();
    };
    put(&link.mac);
    put(&link.own_mac);
    put(&[0x08, 0x00]);
    // RFC 791. Not to be fragmented, so the identification means nothing (RFC 6864 §4.1).
    let total = udp_len + IPV4 as u16;
    let (from_ip, to_ip) = (source.ip().octets(), to.ip().octets());
    let fixed = u32::from(VERSION_AND_LENGTH) + u32::from(DONT_FRAGMENT) + u32::from(TTL_AND_UDP);
    let ip_sum = fold(u64::from(fixed) + u64::from(total) + words(&from_ip) + words(&to_ip));
    put(&VERSION_AND_LENGTH.to_be_bytes());
    put(&total.to_be_bytes());
    put(&[0, 0]);
    put(&DONT_FRAGMENT.to_be_bytes());
    put(&TTL_AND_UDP.to_be_bytes());
    put(&(!ip_sum).to_be_bytes());
    put(&from_ip);
    put(&to_ip);
    // RFC 768. The pseudo header, the header and the payload.
    let ports = u64::from(source.port()) + u64::from(to.port());
    let pseudo = words(&from_ip) + words(&to_ip) + u64::from(PROTOCOL_UDP) + u64::from(udp_len);
    let sum = !fold(pseudo + ports + u64::from(udp_len) + words(payload));
    put(&source.port().to_be_bytes());
    put(&to.port().to_be_bytes());
    put(&udp_len.to_be_bytes());
    // Zero would say that there is none.
    put(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
}

/// A datagram in a frame: where it comes from, where it goes and where its payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    pub(super) len: usize,
}

/// Reads what our XDP program lets through: UDP over IPv4 without options or fragments. The
/// payload follows the headers.
pub(super) fn parse(frame: &[u8]) -> Option<Parsed> {
    let (headers, payload) = frame.split_first_chunk::<HEADERS>()?;
    let number = |at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
    let address =
        |at: usize| Ipv4Addr::new(headers[at], headers[at + 1], headers[at + 2], headers[at + 3]);
    let is_ours = number(12) == 0x0800 && headers[14] == 0x45 && headers[23] == 17;
    let len = usize::from(number(38)).checked_sub(UDP)?;
    (is_ours && len <= payload.len()).then(|| Parsed {
        source: SocketAddrV4::new(address(26), number(34)),
        destination: SocketAddrV4::new(address(30), number(36)),
        len,
    })
}

/// The sum of 16-bit words, as if padded with zero (RFC 1071).
fn words(bytes: &[u8]) -> u64 {
    let chunks = bytes.chunks_exact(8);
    let mut rest = 0;
    for (index, byte) in chunks.remainder().iter().enumerate() {
        rest += u64::from(*byte) << if index % 2 == 0 { 8 } else { 0 };
    }
    // Words of 32 bits at once: what is carried out of the lower 16 is folded in at the end.
    chunks.fold(rest, |sum, c| {
        let high = u32::from_be_bytes([c[0], c[1], c[2], c[3]]);
        let low = u32::from_be_bytes([c[4], c[5], c[6], c[7]]);
        sum + u64::from(high) + u64::from(low)
    })
}

/// Adds the carries until none is left (RFC 1071 §1).
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

const PROTOCOL_UDP: u8 = 17;
/// Version 4, five words of header. Nothing is marked, as by sockets.
const VERSION_AND_LENGTH: u16 = 0x4500;
const DONT_FRAGMENT: u16 = 0x4000;
const TTL_AND_UDP: u16 = 64 << 8 | PROTOCOL_UDP as u16;

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let source = Ipv4Addr::new(192, 0, 2, 1);
        Link {
            interface: 2,
            own_mac: [2, 0, 0, 0, 0, 1],
            mac: [2, 0, 0, 0, 0, 2],
            source,
            mtu: 1500,
        }
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xaa; HEADERS];
        frame.extend_from_slice(payload);
        let source = "192.0.2.1:10000".parse().unwrap();
        write(&mut frame, &link(), source, "198.51.100.254:40001".parse().unwrap());
        frame
    }

    /// The plain definition of RFC 1071, word by word.
    fn sum(bytes: impl IntoIterator<Item = u8>) -> u16 {
        let bytes: Vec<u8> = bytes.into_iter().collect();
        let word = |c: &[u8]| u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]);
        bytes.chunks(2).fold(0_u16, |sum, c| {
            let (sum, carry) = sum.overflowing_add(word(c));
            sum + u16::from(carry)
        })
    }

    #[test]
    fn checksums_are_right_for_every_length() {
        for len in 0..400 {
            let payload: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            let frame = frame(&payload);
            assert_eq!(sum(frame[14..34].iter().copied()), 0xffff, "IPv4 header, {len}");
            let udp_len = u16::try_from(8 + len).unwrap().to_be_bytes();
            let pseudo = frame[26..34].iter().copied().chain([0, 17]).chain(udp_len);
            assert_eq!(sum(pseudo.chain(frame[34..].iter().copied())), 0xffff, "UDP, {len}");
        }
    }

    #[test]
    fn a_written_frame_can_be_read() {
        let frame = frame(b"hello");
        let parsed = parse(&frame).unwrap();
        assert_eq!(parsed.source, "192.0.2.1:10000".parse().unwrap());
        assert_eq!(parsed.destination, "198.51.100.254:40001".parse().unwrap());
        assert_eq!(&frame[HEADERS..HEADERS + parsed.len], b"hello");
        assert_eq!(frame[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_frame_that_is_cut_or_lies_is_none() {
        let whole = frame(b"hello");
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
        for (at, value) in [(12, 0x86), (14, 0x46), (23, 6), (39, 7), (38, 1)] {
            let mut frame = whole.clone();
            frame[at] = value;
            assert_eq!(parse(&frame), None, "byte {at}");
        }
        // Padding behind a short packet belongs to the link.
        let padded = [&whole[..], &[0; 13]].concat();
        assert_eq!(parse(&padded).unwrap().len, 5);
    }
}

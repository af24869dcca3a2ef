//! Answers STUN keep-alives on a SIP port (RFC 5626 §4.4.2, RFC 8489).
//!
//! Only the plain Binding request: whatever asks for credentials or for more is not answered.
//! An answer is 44 bytes at most, so nobody gains by asking in another's name.

use std::net::{IpAddr, SocketAddr};

/// True for what is STUN and not SIP: no SIP message begins with a control character.
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..=3, _, _, _, cookie @ ..] if cookie.starts_with(&COOKIE))
}

/// The answer to a Binding request: the address it came from.
pub(super) fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let (header, attributes) = datagram.split_at_checked(HEADER)?;
    let [0, 1, length @ ..] = header else { return None };
    let length = u16::from_be_bytes([*length.first()?, *length.get(1)?]);
    if usize::from(length) != attributes.len() || !is_answerable(attributes) {
        return None;
    }
    let id = header.get(4..)?;
    let mut value = vec![0];
    let port = source.port() ^ COOKIE_PORT;
    let octets = match source.ip().to_canonical() {
        IpAddr::V4(ip) => {
            value.push(1);
            ip.octets().to_vec()
        }
        IpAddr::V6(ip) => {
            value.push(2);
            ip.octets().to_vec()
        }
    };
    value.extend(port.to_be_bytes());
    value.extend(octets.iter().zip(id).map(|(octet, mask)| octet ^ mask));
    let length = u8::try_from(value.len()).ok()?;
    let mut answer = vec![1, 1, 0, length.checked_add(4)?];
    answer.extend(id);
    answer.extend([0, XOR_MAPPED_ADDRESS, 0, length]);
    answer.extend(value);
    Some(answer)
}

/// True when every attribute is whole and may be ignored (RFC 8489 §14).
fn is_answerable(mut attributes: &[u8]) -> bool {
    while let [kind, _, high, low, rest @ ..] = attributes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).next_multiple_of(4);
        let (true, Some(rest)) = (*kind >= 0x80, rest.get(length..)) else { return false };
        attributes = rest;
    }
    attributes.is_empty()
}

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const COOKIE_PORT: u16 = 0x2112;
const XOR_MAPPED_ADDRESS: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(attributes.len()).unwrap();
        let mut bytes = vec![0, 1, 0, length];
        bytes.extend(COOKIE);
        bytes.extend([7; 12]);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn tells_a_peer_its_address() {
        // The mapped addresses of RFC 5769 §2.2 have another transaction id for IPv6; for IPv4
        // only the cookie matters.
        let source = "192.0.2.1:32853".parse().unwrap();
        let answer = answer(&request(&[]), source).unwrap();
        assert_eq!(answer[..4], [1, 1, 0, 12]);
        assert_eq!(answer[4..20], request(&[])[4..20]);
        assert_eq!(answer[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
    }

    #[test]
    fn answers_ipv6_with_all_of_the_address() {
        let answer = answer(&request(&[]), "[2001:db8::1]:5060".parse().unwrap()).unwrap();
        assert_eq!((answer.len(), answer[3], answer[25]), (44, 24, 2));
        assert_eq!(answer[28..32], [0x20 ^ 0x21, 0x01 ^ 0x12, 0x0d ^ 0xa4, 0xb8 ^ 0x42]);
    }

    #[test]
    fn ignores_what_it_may_and_leaves_the_rest_unanswered() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let answered = |attributes: &[u8]| answer(&request(attributes), source).is_some();
        assert!(answered(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]), "SOFTWARE");
        assert!(!answered(&[0, 6, 0, 4, b'u', b's', b'e', b'r']), "USERNAME");
        assert!(!answered(&[0x80, 0x22, 0, 9, 0, 0, 0, 0]), "cut off");
        assert!(!answered(&[0x80, 0x22, 0xff, 0xff]), "longer than the datagram");
        let whole = request(&[]);
        assert!((0..20).all(|length| answer(&whole[..length], source).is_none()));
        let mut response = whole;
        response[0] = 1;
        assert!(is_stun(&response) && answer(&response, source).is_none());
        assert!(!is_stun(b"OPTIONS sip:a SIP/2.0\r\n"));
    }
}

//! Numbers and addresses as text, for what is printed in every message of every call.
//!
//! The same characters as by `Display`, which takes a thousand instructions for an IPv4 address.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Appends a number in decimal digits.
pub fn push_number(text: &mut String, number: impl Into<u64>) {
    text.push_str(itoa::Buffer::new().format(number.into()));
}

/// Appends a number in lower-case hexadecimal digits.
pub fn push_hex_number(text: &mut String, number: u64) {
    let places = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..places).rev() {
        let digit = u32::try_from((number >> (4 * place)) & 15).unwrap_or_default();
        text.extend(char::from_digit(digit, 16));
    }
}

/// Appends an address, an IPv6 one without brackets.
pub fn push_ip(text: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            push_number(text, a);
            for octet in [b, c, d] {
                text.push('.');
                push_number(text, octet);
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(v6) => _ = write!(text, "{v6}"),
    }
}

/// An address as hosts stand in URIs: an IPv6 one in brackets.
#[must_use]
pub fn host_text(ip: IpAddr) -> String {
    let mut text = String::new();
    push_host(&mut text, ip);
    text
}

fn push_host(text: &mut String, ip: IpAddr) {
    if ip.is_ipv4() {
        push_ip(text, ip);
    } else {
        text.push('[');
        push_ip(text, ip);
        text.push(']');
    }
}

/// Appends host and port, without the zone of a link-local address: it means nothing to others.
pub fn push_endpoint(text: &mut String, at: SocketAddr) {
    push_host(text, at.ip());
    text.push(':');
    push_number(text, at.port());
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use super::*;

    fn check(at: &str) {
        let at: SocketAddr = at.parse().unwrap();
        let (mut ip, mut endpoint) = (String::new(), String::new());
        push_ip(&mut ip, at.ip());
        push_endpoint(&mut endpoint, at);
        assert_eq!(format!("{}:{}", host_text(at.ip()), at.port()), endpoint);
        assert_eq!((ip, endpoint), (at.ip().to_string(), at.to_string()));
    }

    #[test]
    fn hexadecimal_numbers_are_those_of_fmt() {
        for number in [0, 1, 15, 16, 255, 256, 0xdead_beef, u64::MAX] {
            let mut text = "x".to_owned();
            push_hex_number(&mut text, number);
            assert_eq!(text, format!("x{number:x}"));
        }
    }

    #[test]
    fn prints_what_display_prints() {
        check("0.0.0.0:0");
        check("192.0.2.100:5060");
        check("255.255.255.255:65535");
        check("[::]:1");
        check("[2001:db8::1:0:0:1]:5061");
        check("[::ffff:192.0.2.1]:5061");
        let (mut text, zoned) = (String::new(), SocketAddrV6::new(Ipv6Addr::LOCALHOST, 5060, 0, 2));
        push_endpoint(&mut text, zoned.into());
        assert_eq!(text, "[::1]:5060");
        text.clear();
        push_number(&mut text, u64::MAX);
        assert_eq!(text, u64::MAX.to_string());
    }
}

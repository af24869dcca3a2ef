//! URIs (RFC 3261 §19.1, RFC 3966): kept byte for byte, read on demand.
//!
//! A URI that is passed on is never rewritten: `+`, escapes, case and the order of parameters
//! stay as they came.

use bytes::Bytes;
use crosspoint_base::push_number;
use memchr::{memchr, memchr2};

use crate::message_trim as trim;

/// The scheme of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Other,
}

/// One URI, as bytes that were checked once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    bytes: Bytes,
    scheme_end: u16,
    /// Where the host part begins: after `@`, or after the scheme.
    host_at: u16,
    host_end: u16,
    port: Option<u16>,
}

impl Uri {
    /// Takes any scheme; `sip` and `sips` URIs must have a well-formed host.
    #[must_use]
    pub fn parse(bytes: Bytes) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > MAX_LEN || !are_all(&bytes, ALLOWED) {
            return None;
        }
        let colon = memchr(b':', &bytes)?;
        let scheme = &bytes[..colon];
        let first_is_letter = scheme.first().is_some_and(u8::is_ascii_alphabetic);
        if !first_is_letter || !are_all(scheme, IN_SCHEME) || colon + 1 == bytes.len() {
            return None;
        }
        let index = |at: usize| u16::try_from(at).ok();
        let is_sip = scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips");
        if !is_sip {
            let end = index(bytes.len())?;
            return Some(Self {
                scheme_end: index(colon)?,
                host_at: end,
                host_end: end,
                port: None,
                bytes,
            });
        }
        // The user part may hold `;` and `?`, so the host begins after the last `@` before any
        // header part that could hold another.
        let rest = &bytes[colon + 1..];
        let host_at = colon + 1 + memchr(b'@', rest).map_or(0, |at| at + 1);
        if host_at == colon + 2 {
            return None;
        }
        let tail = &bytes[host_at..];
        let length = memchr2(b';', b'?', tail).unwrap_or(tail.len());
        let (host, port) = split_host_port(&tail[..length])?;
        let host_end = index(host_at + host.len())?;
        let (scheme_end, host_at) = (index(colon)?, index(host_at)?);
        Some(Self { scheme_end, host_at, host_end, port, bytes })
    }

    /// A `sip` URI. Characters that the grammar does not allow in a user are escaped, and an IPv6
    /// address gets its brackets if it comes without.
    #[must_use]
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Option<Self> {
        let mut text = String::with_capacity(64);
        text.push_str("sip:");
        if let Some(user) = user {
            escape_user(user, &mut text);
            text.push('@');
        }
        if host.parse::<std::net::Ipv6Addr>().is_ok() {
            ["[", host, "]"].iter().for_each(|part| text.push_str(part));
        } else {
            text.push_str(host);
        }
        if let Some(port) = port {
            text.push(':');
            push_number(&mut text, port);
        }
        Self::parse(Bytes::from(text))
    }

    /// The same URI with one more parameter.
    #[must_use]
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Option<Self> {
        let headers = self.bytes.iter().position(|b| *b == b'?').unwrap_or(self.bytes.len());
        let mut out = self.bytes[..headers].to_vec();
        out.push(b';');
        out.extend_from_slice(name.as_bytes());
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(&self.bytes[headers..]);
        Self::parse(Bytes::from(out))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    #[must_use]
    pub fn scheme(&self) -> Scheme {
        let scheme = &self.bytes[..usize::from(self.scheme_end)];
        match () {
            () if scheme.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            () if scheme.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            () if scheme.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            () => Scheme::Other,
        }
    }

    /// The user part as it stands, without a password; the number of a `tel` URI.
    #[must_use]
    pub fn user(&self) -> Option<Bytes> {
        self.user_bytes().map(|user| self.slice(user))
    }

    /// The user part with escapes resolved and any parameters of its own (`;phone-context`) cut.
    #[must_use]
    pub fn user_decoded(&self) -> Option<String> {
        let user = self.user_bytes()?;
        let length = user.iter().position(|b| *b == b';').unwrap_or(user.len());
        Some(decode(&user[..length]))
    }

    /// The host as it stands; IPv6 addresses keep their brackets. Empty for other schemes.
    #[must_use]
    pub fn host(&self) -> Bytes {
        self.slice(self.host_bytes())
    }

    #[must_use]
    pub fn host_text(&self) -> String {
        String::from_utf8_lossy(self.host_bytes()).into_owned()
    }

    /// The host as an address, when it is one.
    #[must_use]
    pub fn host_ip(&self) -> Option<std::net::IpAddr> {
        ip_literal(self.host_bytes())
    }

    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// A URI parameter's value, empty when it stands without one.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Bytes> {
        crate::header::value_in(&self.bytes, self.param_bytes(), name)
    }

    /// The header part behind `?`.
    #[must_use]
    pub fn headers(&self) -> Option<Bytes> {
        let tail = &self.bytes[usize::from(self.host_end)..];
        let at = tail.iter().position(|b| *b == b'?')?;
        Some(self.slice(&tail[at + 1..]))
    }

    /// True for a host that browsers invent (RFC 2606 §2): it can only be reached by its flow.
    #[must_use]
    pub fn is_invalid_host(&self) -> bool {
        let host = self.host_bytes();
        let host = host.strip_suffix(b".").unwrap_or(host);
        host.len() >= 7 && host[host.len() - 7..].eq_ignore_ascii_case(b"invalid")
    }

    /// Whether two URIs mean the same (RFC 3261 §19.1.4).
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        if self.bytes == other.bytes {
            return true;
        }
        if self.scheme() != other.scheme() {
            return false;
        }
        match self.scheme() {
            Scheme::Sip | Scheme::Sips => {
                self.port == other.port
                    && self.host_bytes().eq_ignore_ascii_case(other.host_bytes())
                    && self.user_bytes().map(decode) == other.user_bytes().map(decode)
                    && self.headers() == other.headers()
                    && self.params_agree_with(other)
            }
            Scheme::Tel | Scheme::Other => self.bytes.eq_ignore_ascii_case(&other.bytes),
        }
    }
}

impl Uri {
    fn slice(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.bytes.slice_ref(part) }
    }

    fn user_bytes(&self) -> Option<&[u8]> {
        let start = usize::from(self.scheme_end) + 1;
        let until = |rest: &[u8], byte| rest.iter().position(|b| *b == byte).unwrap_or(rest.len());
        if self.scheme() == Scheme::Tel {
            let rest = &self.bytes[start..];
            return Some(&rest[..until(rest, b';')]);
        }
        let end = usize::from(self.host_at).checked_sub(1).filter(|end| *end > start)?;
        let user = self.bytes.get(start..end).filter(|_| self.bytes[end] == b'@')?;
        Some(&user[..until(user, b':')])
    }

    fn host_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.host_at)..usize::from(self.host_end)]
    }

    /// With their semicolons.
    fn param_bytes(&self) -> &[u8] {
        let tail = &self.bytes[usize::from(self.host_end)..];
        let end = tail.iter().position(|b| *b == b'?').unwrap_or(tail.len());
        let start = tail.iter().position(|b| *b == b';').filter(|s| *s < end).unwrap_or(end);
        &tail[start..end]
    }

    /// A parameter in both must be equal; one of these may not stand in one URI alone.
    fn params_agree_with(&self, other: &Self) -> bool {
        let agree = |name: &str| match (self.param(name), other.param(name)) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(&b),
            (None, None) => true,
            _ => false,
        };
        let (mine, theirs) = (self.params(), other.params());
        let mine: Vec<_> = mine.iter().collect();
        ["transport", "user", "ttl", "method", "maddr"].into_iter().all(agree)
            && theirs.iter().take(MAX_COMPARED).all(|(name, value)| {
                let same =
                    mine.iter().take(MAX_COMPARED).find(|(n, _)| n.eq_ignore_ascii_case(&name));
                same.is_none_or(|(_, v)| match (v, &value) {
                    (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                    (None, None) => true,
                    _ => false,
                })
            })
    }

    fn params(&self) -> crate::header::Params {
        crate::header::Params::new(self.slice(self.param_bytes()))
    }
}

impl std::fmt::Debug for Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uri([private])")
    }
}

/// Splits `host[:port]`; the host is a name, an IPv4 address or a bracketed IPv6 address.
pub(crate) fn split_host_port(bytes: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_len = if bytes.first() == Some(&b'[') {
        let end = bytes.iter().position(|b| *b == b']')? + 1;
        ip_literal(&bytes[1..end - 1]).filter(std::net::IpAddr::is_ipv6)?;
        end
    } else {
        bytes.iter().position(|b| CLASSES[usize::from(*b)] & ENDS_HOST != 0).unwrap_or(bytes.len())
    };
    let (host, rest) = bytes.split_at(host_len);
    if host.is_empty() || !are_all(host, IN_HOST) {
        return None;
    }
    match trim(rest) {
        [] => Some((host, None)),
        [b':', port @ ..] => {
            let port = trim(port);
            // RFC 4475 §3.1.2.13 and others: a port out of range is no port.
            let number = crate::message_decimal(port)?;
            Some((host, Some(u16::try_from(number).ok()?)))
        }
        _ => None,
    }
}

/// An address, with or without the brackets of an IPv6 reference.
pub(crate) fn ip_literal(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let inner = bytes.strip_prefix(b"[").and_then(|b| b.strip_suffix(b"]")).unwrap_or(bytes);
    // Most hosts are names.
    if !inner.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')) {
        return None;
    }
    let text = std::str::from_utf8(inner).ok()?;
    text.parse().ok().or_else(|| {
        // RFC 5118 §4.10: the grammar of RFC 3261 puts a colon too many before an IPv4 address.
        let (head, tail) = text.split_once(":::")?;
        tail.parse::<std::net::Ipv4Addr>().ok()?;
        format!("{head}::{tail}").parse().ok()
    })
}

/// What each byte may stand in: every URI of every message is looked at byte by byte.
const CLASSES: [u8; 256] = classes();
/// Anywhere in a URI.
const ALLOWED: u8 = 1;
const IN_SCHEME: u8 = 2;
const IN_HOST: u8 = 4;
/// What a port, or white space before it, begins with.
const ENDS_HOST: u8 = 8;

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let is_plain = byte.is_ascii_alphanumeric();
        let mut class = 0;
        if byte > b' ' && !matches!(byte, b'<' | b'>' | b'"' | 0x7f) {
            class |= ALLOWED;
        }
        if is_plain || matches!(byte, b'+' | b'-' | b'.') {
            class |= IN_SCHEME;
        }
        if is_plain || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':') {
            class |= IN_HOST;
        }
        if byte == b':' || byte.is_ascii_whitespace() {
            class |= ENDS_HOST;
        }
        classes[byte as usize] = class;
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}

fn are_all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|byte| CLASSES[usize::from(*byte)] & class != 0)
}

fn decode(bytes: &[u8]) -> String {
    if !bytes.contains(&b'%') {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let hex = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = (*byte == b'%')
            .then(|| Some(hex(bytes.get(at + 1)?)? << 4 | hex(bytes.get(at + 2)?)?))
            .flatten();
        out.push(escape.unwrap_or(*byte));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escape_user(user: &str, out: &mut String) {
    for byte in user.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,?/".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Parameters looked at when two URIs are compared, so that the work stays bounded.
const MAX_COMPARED: usize = 32;

/// Longer than any URI that fits a header.
const MAX_LEN: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a good URI")
    }

    #[test]
    fn reads_the_parts_without_changing_them() {
        let u = uri("sip:+49%6C;x=1:secret@Example.COM:5070;transport=tcp;lr?Subject=a@b");
        assert_eq!(u.user().unwrap(), "+49%6C;x=1");
        assert_eq!(u.user_decoded().unwrap(), "+49l");
        assert_eq!((u.host().as_ref(), u.port()), (&b"Example.COM"[..], Some(5070)));
        assert_eq!(u.param("transport").unwrap(), "tcp");
        assert_eq!(u.param("lr").unwrap(), "");
        assert_eq!(u.headers().unwrap(), "Subject=a@b");
        assert_eq!(uri("tel:+1-201;phone-context=x").user().unwrap(), "+1-201");
        assert_eq!(uri("sip:[::1]:5060").host_ip().unwrap().to_string(), "::1");
        assert!(uri("sip:x@df7jal23ls0d.invalid;transport=ws").is_invalid_host());
    }

    #[test]
    fn puts_an_ipv6_address_into_brackets() {
        let check = |host, expected: &str| {
            let uri = Uri::sip(Some("bob"), host, Some(5070)).unwrap();
            assert_eq!(uri.as_bytes().as_ref(), expected.as_bytes());
            assert_eq!(uri.port(), Some(5070));
        };
        check("2001:db8::1", "sip:bob@[2001:db8::1]:5070");
        check("[::1]", "sip:bob@[::1]:5070");
        check("192.0.2.1", "sip:bob@192.0.2.1:5070");
    }

    #[test]
    fn refuses_what_is_no_uri() {
        for text in
            ["", "sip", "sip:", "sip:@host", "sip:a@", "sip:a@h:99999", "sip:a@[::1", "sip:a b@h"]
        {
            assert!(Uri::parse(Bytes::copy_from_slice(text.as_bytes())).is_none(), "{text}");
        }
    }

    #[test]
    fn compares_as_the_rfc_says() {
        assert!(
            uri("sip:%61lice@atlanta.com;transport=TCP")
                .is_equivalent(&uri("sip:alice@AtlanTa.CoM;Transport=tcp"))
        );
        assert!(!uri("sip:alice@atlanta.com").is_equivalent(&uri("sip:ALICE@atlanta.com")));
        assert!(uri("sip:c@h;lr;security=on").is_equivalent(&uri("sip:c@h;newparam=5")));
        assert!(!uri("sip:c@h;security=on").is_equivalent(&uri("sip:c@h;security=off")));
        assert!(!uri("sip:c@h").is_equivalent(&uri("sip:c@h?Subject=next")));
        assert!(!uri("sip:bob@biloxi.com").is_equivalent(&uri("sip:bob@biloxi.com:5060")));
    }
}

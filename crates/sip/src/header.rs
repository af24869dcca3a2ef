//! Typed views of headers, made on demand from their bytes.

mod name_addr;
mod params;
mod via;

use bytes::Bytes;
use crosspoint_base::push_number;

pub use name_addr::NameAddr;
pub use params::Params;
pub(crate) use params::{unquoted, value_in};
pub use via::Via;

use crate::message::Method;

/// RFC 3261 §20.16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    pub number: u32,
    pub method: Method,
}

impl CSeq {
    #[must_use]
    pub fn parse(value: &Bytes) -> Option<Self> {
        let mut parts = value.split(|b| b.is_ascii_whitespace()).filter(|p| !p.is_empty());
        let number = parts.next().filter(|d| d.iter().all(u8::is_ascii_digit))?;
        let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
        let method = Method::parse(&value.slice_ref(parts.next()?))?;
        // RFC 3261 §8.1.1.5: less than 2³¹.
        (parts.next().is_none() && number < 1 << 31).then_some(Self { number, method })
    }

    /// As a header's value.
    #[must_use]
    pub fn print(number: u32, method: &Method) -> String {
        let mut text = String::with_capacity(24);
        push_number(&mut text, number);
        text.push(' ');
        text.push_str(method.as_str());
        text
    }
}

impl std::fmt::Display for CSeq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Self::print(self.number, &self.method))
    }
}

/// Splits a header value at the commas that separate list elements: not those inside quotes or
/// angle brackets. Elements are trimmed; empty ones are left out.
pub(crate) fn split_commas(value: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let (value, mut at) = (value.clone(), 0);
    std::iter::from_fn(move || next_element(&value, &mut at).map(|part| value.slice_ref(part)))
}

/// The element that begins at `at` or behind, which moves on.
pub(crate) fn next_element<'v>(value: &'v [u8], at: &mut usize) -> Option<&'v [u8]> {
    while let Some(rest) = value.get(*at..).filter(|rest| !rest.is_empty()) {
        let end = find_outside(rest, b',').unwrap_or(rest.len());
        *at += end + 1;
        let trimmed = crate::message_trim(&rest[..end]);
        if !trimmed.is_empty() {
            return Some(trimmed);
        }
    }
    None
}

/// The first `wanted` byte outside quoted strings and angle brackets.
pub(crate) fn find_outside(bytes: &[u8], wanted: u8) -> Option<usize> {
    // Most values have neither before the first separator, if there is one at all.
    let first = memchr::memchr3(wanted, b'"', b'<', bytes)?;
    if bytes[first] == wanted {
        return Some(first);
    }
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(first) {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if *byte == wanted && !angle {
            return Some(at);
        } else {
            match byte {
                b'"' if !angle => quoted = true,
                b'<' => angle = true,
                b'>' => angle = false,
                _ => {}
            }
        }
    }
    None
}

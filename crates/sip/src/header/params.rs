//! Semicolon-separated parameters (RFC 3261 §25.1 `generic-param`).

use bytes::Bytes;

use super::find_outside;
use crate::message_trim as trim;

/// The parameters behind a header value, as bytes; read one at a time.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Params(Bytes);

impl Params {
    /// `bytes` begin after the value; a leading semicolon is optional.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Every parameter with its value, quotes kept. Names and values are trimmed.
    pub fn iter(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = find_outside(&rest, b';').unwrap_or(rest.len());
                let param = rest.split_to(end);
                if !rest.is_empty() {
                    let _ = rest.split_to(1);
                }
                let slice = |part: &[u8]| {
                    let part = trim(part);
                    if part.is_empty() { Bytes::new() } else { param.slice_ref(part) }
                };
                let (name, value) = match param.iter().position(|b| *b == b'=') {
                    Some(at) => (slice(&param[..at]), Some(slice(&param[at + 1..]))),
                    None => (slice(&param), None),
                };
                if !name.is_empty() {
                    return Some((name, value));
                }
            }
            None
        })
    }

    /// The value of a parameter; empty when it stands without one. Quotes are taken off.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Bytes> {
        self.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.map(|v| unquote(&v)).unwrap_or_default())
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Takes the quotes off a quoted string and resolves its escapes; other text stays.
pub(crate) fn unquote(value: &Bytes) -> Bytes {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")) else {
        return value.clone();
    };
    if !inner.contains(&b'\\') {
        return if inner.is_empty() { Bytes::new() } else { value.slice_ref(inner) };
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(*byte),
        }
    }
    Bytes::from(out)
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Params({} B)", self.0.len())
    }
}

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
    pub fn iter(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + '_ {
        let slice =
            |part: &[u8]| if part.is_empty() { Bytes::new() } else { self.0.slice_ref(part) };
        self.parts().map(move |(name, value)| (slice(name), value.map(slice)))
    }

    fn parts(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = find_outside(rest, b';').unwrap_or(rest.len());
                let (param, others) = rest.split_at(end);
                rest = others.get(1..).unwrap_or_default();
                let (name, value) = match memchr::memchr(b'=', param) {
                    Some(at) => (trim(&param[..at]), Some(trim(&param[at + 1..]))),
                    None => (trim(param), None),
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
        let (_, value) = self.parts().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))?;
        let value = value.filter(|value| !value.is_empty());
        Some(value.map_or_else(Bytes::new, |value| unquote(&self.0.slice_ref(value))))
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.parts().any(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
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

//! Semicolon-separated parameters (RFC 3261 §25.1 `generic-param`).

use std::borrow::Cow;

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
        parts(&self.0).map(move |(name, value)| (slice(name), value.map(slice)))
    }

    /// The value of a parameter; empty when it stands without one. Quotes are taken off.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Bytes> {
        value_in(&self.0, &self.0, name)
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        parts(&self.0).any(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Every parameter with its value, quotes kept. Names and values are trimmed.
pub(crate) fn parts(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (end, equals) = end_of_param(rest);
            let (param, others) = rest.split_at(end);
            rest = others.get(1..).unwrap_or_default();
            let (name, value) = match equals {
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

/// Where the first parameter ends and where it has its `=`. They are short, so one look at each byte
/// is less than a search for each of the two.
fn end_of_param(bytes: &[u8]) -> (usize, Option<usize>) {
    let mut equals = None;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b';' => return (at, equals),
            b'=' if equals.is_none() => equals = Some(at),
            b'"' | b'<' => {
                let end = find_outside(bytes, b';').unwrap_or(bytes.len());
                return (end, equals.or_else(|| memchr::memchr(b'=', &bytes[..end])));
            }
            _ => {}
        }
    }
    (bytes.len(), equals)
}

/// The value of a parameter in a part of `whole`, as [`Params::value`] gives it.
pub(crate) fn value_in(whole: &Bytes, part: &[u8], name: &str) -> Option<Bytes> {
    let (_, value) = parts(part).find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(value.map_or_else(Bytes::new, |value| kept(whole, unquoted(value))))
}

/// Takes the quotes off a quoted string and resolves its escapes; other text stays.
pub(crate) fn unquote(value: &Bytes) -> Bytes {
    kept(value, unquoted(value))
}

fn kept(whole: &Bytes, text: Cow<'_, [u8]>) -> Bytes {
    match text {
        Cow::Borrowed([]) => Bytes::new(),
        Cow::Borrowed(text) => whole.slice_ref(text),
        Cow::Owned(text) => Bytes::from(text),
    }
}

/// [`unquote`] without a buffer that is shared.
pub(crate) fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")) else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Params({} B)", self.0.len())
    }
}

//! `name-addr` and `addr-spec` with parameters: From, To, Contact, Route and their kin
//! (RFC 3261 §20.10).

use bytes::Bytes;

use super::params::unquote;
use super::{Params, find_outside};
use crate::message_trim as trim;
use crate::uri::Uri;

/// An address with an optional display name and header parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Quotes and escapes are taken off. Bytes, because peers send Latin-1.
    pub display_name: Option<Bytes>,
    pub uri: Uri,
    pub params: Params,
}

impl NameAddr {
    #[must_use]
    pub fn parse(value: &Bytes) -> Option<Self> {
        let Some(open) = find_outside(value, b'<') else { return Self::parse_bare(value) };
        let close = open + value[open..].iter().position(|b| *b == b'>')?;
        let name = trim(&value[..open]);
        let display_name = if name.is_empty() {
            None
        } else if name.starts_with(b"\"") {
            (name.len() > 1 && name.ends_with(b"\"")).then_some(())?;
            Some(unquote(&value.slice_ref(name)))
        } else if name.iter().any(|b| matches!(b, b',' | b';' | b'"')) {
            // RFC 4475 §3.1.2.15: another reader would see two addresses here.
            return None;
        } else {
            Some(value.slice_ref(name))
        };
        // No spaces inside the brackets (RFC 4475 §3.1.2.14).
        let uri = Uri::parse(value.slice(open + 1..close))?;
        let rest = trim(&value[close + 1..]);
        if !rest.is_empty() && !rest.starts_with(b";") {
            return None;
        }
        let params = if rest.is_empty() { Bytes::new() } else { value.slice_ref(rest) };
        Some(Self { display_name, uri, params: Params::new(params) })
    }

    /// Without brackets every parameter belongs to the header (RFC 3261 §20.10).
    fn parse_bare(value: &Bytes) -> Option<Self> {
        let end = value.iter().position(|b| *b == b';').unwrap_or(value.len());
        let address = trim(&value[..end]);
        // RFC 3261 §20: a URI with a comma or a question mark must stand in brackets.
        if address.is_empty() || address.iter().any(|b| matches!(b, b',' | b'?')) {
            return None;
        }
        let uri = Uri::parse(value.slice_ref(address))?;
        Some(Self { display_name: None, uri, params: Params::new(value.slice(end..)) })
    }

    /// An address in brackets without a name.
    #[must_use]
    pub fn new(uri: Uri) -> Self {
        Self { display_name: None, uri, params: Params::default() }
    }

    #[must_use]
    pub fn tag(&self) -> Option<Bytes> {
        self.params.value("tag").filter(|t| !t.is_empty())
    }

    /// The name as text, Latin-1 and broken UTF-8 replaced.
    #[must_use]
    pub fn display_text(&self) -> Option<String> {
        self.display_name.as_ref().map(|n| String::from_utf8_lossy(n).into_owned())
    }

    /// Prints with the name quoted and the URI in brackets.
    #[must_use]
    pub fn print(&self) -> Bytes {
        let mut out = Vec::new();
        if let Some(name) = &self.display_name {
            out.push(b'"');
            for byte in name {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.extend_from_slice(b"\" ");
        }
        out.push(b'<');
        out.extend_from_slice(self.uri.as_bytes());
        out.push(b'>');
        out.extend_from_slice(self.params.as_bytes());
        Bytes::from(out)
    }
}

impl std::fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameAddr([private])")
    }
}

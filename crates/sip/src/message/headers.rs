//! The headers of one message, in order, byte for byte.

use std::fmt;
use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};

use super::{HeaderName, Method};
use crate::header::{CSeq, NameAddr, Via, next_element, split_commas};

/// One header field.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: HeaderName,
    /// Without the white space around it; folded lines keep their folds.
    pub(crate) value: Bytes,
    /// The whole line with its line end, when it came off the wire and we would write it otherwise.
    raw: Option<Bytes>,
}

impl Field {
    /// `raw` is the line with its line end, a part of `whole`.
    pub(crate) fn from_wire(name: HeaderName, value: Bytes, whole: &Bytes, raw: &[u8]) -> Self {
        // Nearly everybody writes headers as we do. The shares saved are half of a message's.
        let parts = [name.as_bytes(), b": ", &value, b"\r\n"];
        let mut rest = Some(raw);
        for part in parts {
            rest = rest.and_then(|rest| rest.strip_prefix(part));
        }
        let is_usual = rest.is_some_and(<[u8]>::is_empty);
        let raw = if is_usual { None } else { Some(whole.slice_ref(raw)) };
        Self { name, value, raw }
    }

    pub(crate) fn print(&self, out: &mut BytesMut) {
        if let Some(raw) = &self.raw {
            out.put_slice(raw);
        } else {
            out.put_slice(self.name.as_bytes());
            out.put_slice(b": ");
            out.put_slice(&self.value);
            out.put_slice(b"\r\n");
        }
    }
}

/// An ordered list of header fields. Names compare without case, compact forms included.
#[derive(Default)]
pub struct Headers {
    fields: Vec<Field>,
    /// What was read of the fields already; forgotten when one of those changes.
    views: OnceLock<Box<Views>>,
    /// The whole message that they came in.
    source: Bytes,
}

/// The fields that every message is matched by, and so read again and again.
#[derive(Default)]
struct Views {
    via: OnceLock<Option<Via>>,
    from: OnceLock<Option<NameAddr>>,
    to: OnceLock<Option<NameAddr>>,
    cseq: OnceLock<Option<CSeq>>,
}

/// What was read is read again: most copies are made to be changed.
impl Clone for Headers {
    fn clone(&self) -> Self {
        Self::from_fields(self.fields.clone())
    }
}

impl Headers {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn from_fields(fields: Vec<Field>) -> Self {
        Self { fields, views: OnceLock::new(), source: Bytes::new() }
    }

    pub(crate) fn came_in(mut self, source: Bytes) -> Self {
        self.source = source;
        self
    }

    pub(crate) fn source(&self) -> &Bytes {
        &self.source
    }

    fn views(&self) -> &Views {
        self.views.get_or_init(Box::default)
    }

    /// A field of this name is about to change.
    fn forget(&mut self, name: &HeaderName) {
        let Some(views) = self.views.get_mut() else { return };
        match name {
            _ if *name == HeaderName::VIA => drop(views.via.take()),
            _ if *name == HeaderName::FROM => drop(views.from.take()),
            _ if *name == HeaderName::TO => drop(views.to.take()),
            _ if *name == HeaderName::CSEQ => drop(views.cseq.take()),
            _ => {}
        }
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(crate) fn printed_len(&self) -> usize {
        self.fields.iter().map(|f| f.name.as_bytes().len() + f.value.len() + 4).sum()
    }

    /// The first value of a header.
    #[must_use]
    pub fn first(&self, name: &HeaderName) -> Option<&Bytes> {
        self.fields.iter().find(|f| f.name == *name).map(|f| &f.value)
    }

    #[must_use]
    pub fn has(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// Every field of this name, as it stands.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a Bytes> {
        self.fields.iter().filter(move |f| f.name == *name).map(|f| &f.value)
    }

    /// Every value of a header that may hold a comma-separated list (RFC 3261 §7.3.1).
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = Bytes> + 'a {
        self.all(name).flat_map(split_commas)
    }

    /// The same without a share in the buffer.
    fn elements<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|value| {
            let mut at = 0;
            std::iter::from_fn(move || next_element(value, &mut at))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &Bytes)> {
        self.fields.iter().map(|f| (&f.name, &f.value))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.fields.reserve(more);
    }

    pub fn push(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.forget(&name);
        self.fields.push(Field { name, value: value.into(), raw: None });
    }

    pub fn push_front(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.forget(&name);
        self.fields.insert(0, Field { name, value: value.into(), raw: None });
    }

    /// Replaces every field of this name by one, in the place of the first.
    pub fn set(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.forget(&name);
        let field = Field { name, value: value.into(), raw: None };
        match self.fields.iter().position(|f| f.name == field.name) {
            None => self.fields.push(field),
            Some(at) => {
                let name = field.name.clone();
                self.fields[at] = field;
                let mut index = 0;
                self.fields.retain(|f| {
                    index += 1;
                    index - 1 <= at || f.name != name
                });
            }
        }
    }

    /// Removes every field of this name; says whether there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        self.forget(name);
        let before = self.fields.len();
        self.fields.retain(|f| f.name != *name);
        self.fields.len() != before
    }

    /// Removes the first value of a list header, such as the topmost `Via` or `Route`.
    pub fn remove_first_value(&mut self, name: &HeaderName) {
        let Some(at) = self.fields.iter().position(|f| f.name == *name) else { return };
        self.forget(name);
        let mut values = split_commas(&self.fields[at].value);
        values.next();
        let rest: Vec<Bytes> = values.collect();
        if rest.is_empty() {
            self.fields.remove(at);
        } else {
            let value = Bytes::from(rest.join(&b", "[..]));
            self.fields[at] = Field { name: name.clone(), value, raw: None };
        }
    }

    /// Replaces the first value of a list header.
    pub fn replace_first_value(&mut self, name: &HeaderName, value: impl Into<Bytes>) {
        let first = self.fields.iter().position(|f| f.name == *name);
        if let Some(at) = first.filter(|at| memchr::memchr(b',', &self.fields[*at].value).is_none())
        {
            self.forget(name);
            self.fields[at] = Field { name: name.clone(), value: value.into(), raw: None };
            return;
        }
        self.remove_first_value(name);
        self.forget(name);
        let at = self.fields.iter().position(|f| f.name == *name).unwrap_or(0);
        self.fields.insert(at, Field { name: name.clone(), value: value.into(), raw: None });
    }

    // Typed views, made on demand.

    /// The topmost `Via`.
    #[must_use]
    pub fn via(&self) -> Option<&Via> {
        let read = || self.values(&HeaderName::VIA).next().and_then(|v| Via::parse(&v));
        self.views().via.get_or_init(read).as_ref()
    }

    #[must_use]
    pub fn from(&self) -> Option<&NameAddr> {
        let read = || self.first(&HeaderName::FROM).and_then(NameAddr::parse);
        self.views().from.get_or_init(read).as_ref()
    }

    #[must_use]
    pub fn to(&self) -> Option<&NameAddr> {
        let read = || self.first(&HeaderName::TO).and_then(NameAddr::parse);
        self.views().to.get_or_init(read).as_ref()
    }

    #[must_use]
    pub fn call_id(&self) -> Option<&Bytes> {
        self.first(&HeaderName::CALL_ID).filter(|v| !v.is_empty())
    }

    #[must_use]
    pub fn cseq(&self) -> Option<&CSeq> {
        let read = || self.first(&HeaderName::CSEQ).and_then(CSeq::parse);
        self.views().cseq.get_or_init(read).as_ref()
    }

    /// The contacts that parse; `*` is none of them.
    pub fn contacts(&self) -> impl Iterator<Item = NameAddr> + '_ {
        self.values(&HeaderName::CONTACT).filter_map(|v| NameAddr::parse(&v))
    }

    /// True for `Contact: *` (RFC 3261 §10.2.2).
    #[must_use]
    pub fn is_contact_wildcard(&self) -> bool {
        self.first(&HeaderName::CONTACT).is_some_and(|v| v.as_ref() == b"*")
    }

    pub fn routes(&self) -> impl Iterator<Item = NameAddr> + '_ {
        self.values(&HeaderName::ROUTE).filter_map(|v| NameAddr::parse(&v))
    }

    pub fn record_routes(&self) -> impl Iterator<Item = NameAddr> + '_ {
        self.values(&HeaderName::RECORD_ROUTE).filter_map(|v| NameAddr::parse(&v))
    }

    #[must_use]
    pub fn max_forwards(&self) -> Option<u32> {
        self.number(&HeaderName::MAX_FORWARDS)
    }

    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.number(&HeaderName::EXPIRES)
    }

    /// A header that is one decimal number, parameters ignored; too large a number saturates.
    #[must_use]
    pub fn number(&self, name: &HeaderName) -> Option<u32> {
        let value = self.first(name)?;
        let digits: &[u8] = value.split(|b| !b.is_ascii_digit()).next()?;
        if digits.is_empty() {
            return None;
        }
        let text = std::str::from_utf8(digits).ok()?;
        Some(text.parse().unwrap_or(u32::MAX))
    }

    /// True when a list header such as `Supported` holds this token.
    #[must_use]
    pub fn has_option(&self, name: &HeaderName, token: &str) -> bool {
        self.elements(name).any(|option| option.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// True when `Allow` names the method; a peer that sends no `Allow` is not known to take it.
    #[must_use]
    pub fn allows(&self, method: &Method) -> bool {
        self.elements(&HeaderName::ALLOW).any(|allowed| allowed == method.as_str().as_bytes())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} headers", self.fields.len())
    }
}

//! What a trunk is told of a caller, and what it tells us (RFC 3323, RFC 3325), and the headers
//! that pass. Everything else of one side stays there: each side has a dialog of its own.

use std::sync::Arc;

use bytes::Bytes;
use crosspoint_base::Private;
use crosspoint_call::{Identity, OutgoingOffer};
use crosspoint_sip::{HeaderName, NameAddr, Request, Uri};

use super::{Trunk, Trunks};

/// Where the caller's number stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerForm {
    /// `P-Asserted-Identity`; the peer is trusted with it (RFC 3325).
    Pai,
    /// `Remote-Party-ID`.
    Rpid,
    /// In the From alone.
    From,
}

/// Headers that are not left to us. Names of the transport and of the dialog are not among them.
#[derive(Debug, Clone, Default)]
pub struct HeaderRules {
    /// On calls to the trunk, with their values.
    pub add: Vec<(Arc<str>, String)>,
    /// Neither sent nor believed.
    pub remove: Vec<Arc<str>>,
    /// From the trunk to the other side of its calls.
    pub pass_in: Vec<Arc<str>>,
    /// From the other side of a call to the trunk.
    pub pass_out: Vec<Arc<str>>,
}

impl HeaderRules {
    /// Whether a rule may be about this header: the others are how SIP works.
    #[must_use]
    pub fn allows(name: &str) -> bool {
        let Some(name) = header(name) else { return false };
        !OURS.contains(&name)
    }

    fn removes(&self, name: &HeaderName) -> bool {
        self.remove.iter().any(|n| header(n).is_some_and(|n| n == *name))
    }
}

impl Trunks {
    /// The headers of a request that other sides may want, as far as some trunk passes them.
    pub(in crate::sip_ua) fn remarks(
        &self,
        from: Option<usize>,
        request: &Request,
    ) -> Vec<(Arc<str>, Private<String>)> {
        let names: Vec<&Arc<str>> = match from.and_then(|index| self.all.get(index)) {
            Some(trunk) => trunk.config.headers.pass_in.iter().collect(),
            None => self.all.iter().flat_map(|t| &t.config.headers.pass_out).collect(),
        };
        let mut remarks: Vec<(Arc<str>, Private<String>)> = Vec::new();
        for name in names {
            let is_new = remarks.iter().all(|(known, _)| known != name);
            let Some(parsed) = header(name).filter(|_| is_new) else { continue };
            for value in request.headers.all(&parsed).take(MAX_VALUES) {
                let text = std::str::from_utf8(value).ok().filter(|text| is_plain(text));
                if let Some(text) = text
                    && remarks.len() < MAX_REMARKS
                {
                    remarks.push((name.clone(), Private(text.to_owned())));
                }
            }
        }
        remarks
    }
}

impl Trunk {
    /// Our address there, where calls come from nobody else.
    pub(in crate::sip_ua) fn own_address(&self) -> Option<Uri> {
        let Self { config, .. } = self;
        let account = config.registration.as_ref().map(|registration| registration.user.as_str());
        let account = account.or_else(|| config.credentials.as_ref().map(|c| c.user.as_str()));
        let account = account.filter(|_| config.from_account)?;
        Uri::sip(Some(account), &config.domain, None)
    }

    /// Makes an INVITE or a MESSAGE to the trunk say who it is from in the way that it wants.
    pub(in crate::sip_ua) fn dress(&self, request: &mut Request, from: &Identity) {
        let Self { config, .. } = self;
        let number = from.address.expose();
        let is_hidden = from.is_private;
        let caller =
            Uri::sip(Some(number.as_str()).filter(|n| !n.is_empty()), &config.domain, None);
        let stated = caller.map(|uri| {
            let display_name = from.display_name.as_ref();
            let display_name = display_name.map(|n| crate::sip_ua::commands::clean(n.expose()));
            let display_name = display_name.filter(|n| !n.is_empty());
            NameAddr { display_name, ..NameAddr::new(uri) }.print()
        });
        let headers = &mut request.headers;
        match (config.caller, stated) {
            (CallerForm::Pai, Some(stated)) => {
                headers.push(HeaderName::P_ASSERTED_IDENTITY, stated);
            }
            (CallerForm::Rpid, Some(stated)) => {
                let privacy = if is_hidden { "full" } else { "off" };
                let rest = format!(";party=calling;privacy={privacy};screen=yes");
                let value = [stated.as_ref(), rest.as_bytes()].concat();
                headers.push(HeaderName::other(REMOTE_PARTY_ID), value);
            }
            (CallerForm::From, _) | (_, None) => {}
        }
        if is_hidden {
            headers.push(HeaderName::PRIVACY, "id");
        }
        for (name, value) in &from.remarks {
            if config.headers.pass_out.contains(name)
                && let Some(name) = header(name)
            {
                headers.push(name, value.expose().clone());
            }
        }
        for name in config.headers.remove.iter().filter_map(|name| header(name)) {
            headers.remove(&name);
        }
        for (name, value) in &config.headers.add {
            if let Some(name) = header(name) {
                headers.push(name, value.clone());
            }
        }
    }

    /// Who calls, by what a trusted peer says of it.
    pub(in crate::sip_ua) fn caller_of(&self, request: &Request, mut from: Identity) -> Identity {
        let rules = &self.config.headers;
        let asserted = match self.config.caller {
            CallerForm::Pai => Some(HeaderName::P_ASSERTED_IDENTITY),
            CallerForm::Rpid => Some(HeaderName::other(REMOTE_PARTY_ID)),
            CallerForm::From => None,
        };
        let asserted = asserted.filter(|name| !rules.removes(name)).and_then(|name| {
            request.headers.values(&name).take(MAX_VALUES).find_map(|v| NameAddr::parse(&v))
        });
        if let Some(asserted) = asserted
            && let Some(number) = number_of(&asserted.uri)
        {
            let is_private = asserted.params.value("privacy").is_some_and(|p| p.as_ref() != b"off");
            from.is_private |= is_private;
            from.address = Private(number);
            let name = asserted.display_text().filter(|name| !name.is_empty());
            from.display_name = name.map(Private).or(from.display_name);
        }
        from
    }

    pub(in crate::sip_ua) fn believes_privacy(&self) -> bool {
        !self.config.headers.removes(&HeaderName::PRIVACY)
    }
}

/// A called device of ours hears what the caller's trunk passes.
pub(in crate::sip_ua) fn pass_remarks(request: &mut Request, offer: &OutgoingOffer) {
    for (name, value) in &offer.from.remarks {
        if let Some(name) = header(name).filter(|name| !request.headers.has(name)) {
            request.headers.push(name, value.expose().clone());
        }
    }
}

/// The caller asks not to be shown (RFC 3323 §4.2, RFC 3325 §9.3).
pub(in crate::sip_ua) fn wants_privacy(request: &Request) -> bool {
    request.headers.all(&HeaderName::PRIVACY).take(MAX_VALUES).any(|value| {
        let mut words = value.split(|b| matches!(b, b';' | b',' | b' '));
        words.any(|word| {
            [&b"id"[..], b"user", b"header"].iter().any(|w| word.eq_ignore_ascii_case(w))
        })
    })
}

/// Hides the caller from somebody who is not trusted with the name (RFC 3323 §4.1.1.3).
pub(in crate::sip_ua) fn anonymous() -> Option<NameAddr> {
    let uri = Uri::sip(Some("anonymous"), "anonymous.invalid", None)?;
    let display_name = Some(Bytes::from_static(b"Anonymous"));
    Some(NameAddr { display_name, ..NameAddr::new(uri) })
}

/// The number of a `sip` or `tel` address.
fn number_of(uri: &Uri) -> Option<String> {
    if let Some(user) = uri.user_decoded() {
        return Some(user).filter(|user| !user.is_empty());
    }
    let text = std::str::from_utf8(uri.as_bytes()).ok()?;
    let (scheme, rest) = text.split_once(':')?;
    let number = rest.split(';').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("tel") && !number.is_empty()).then(|| number.to_owned())
}

fn header(name: &str) -> Option<HeaderName> {
    HeaderName::parse(Bytes::copy_from_slice(name.as_bytes()))
}

/// One that fits on one line and ends nothing.
fn is_plain(text: &str) -> bool {
    text.len() <= MAX_VALUE && !text.chars().any(char::is_control)
}

const REMOTE_PARTY_ID: &str = "Remote-Party-ID";
const MAX_VALUES: usize = 4;
const MAX_REMARKS: usize = 16;
const MAX_VALUE: usize = 1024;
/// Transport, transaction, dialog, body, capabilities and credentials.
const OURS: [HeaderName; 27] = [
    HeaderName::VIA,
    HeaderName::FROM,
    HeaderName::TO,
    HeaderName::CALL_ID,
    HeaderName::CSEQ,
    HeaderName::CONTACT,
    HeaderName::ROUTE,
    HeaderName::RECORD_ROUTE,
    HeaderName::PATH,
    HeaderName::SERVICE_ROUTE,
    HeaderName::MAX_FORWARDS,
    HeaderName::CONTENT_TYPE,
    HeaderName::CONTENT_LENGTH,
    HeaderName::CONTENT_ENCODING,
    HeaderName::CONTENT_DISPOSITION,
    HeaderName::MIME_VERSION,
    HeaderName::AUTHORIZATION,
    HeaderName::PROXY_AUTHORIZATION,
    HeaderName::WWW_AUTHENTICATE,
    HeaderName::PROXY_AUTHENTICATE,
    HeaderName::REQUIRE,
    HeaderName::PROXY_REQUIRE,
    HeaderName::REPLACES,
    HeaderName::RSEQ,
    HeaderName::RACK,
    HeaderName::SESSION_EXPIRES,
    HeaderName::MIN_SE,
];

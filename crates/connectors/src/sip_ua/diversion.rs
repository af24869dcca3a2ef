//! Where a call was before: `Diversion` (RFC 5806) and `History-Info` (RFC 7044).
//!
//! Only users and numbers are carried on. The host of each side's entries is a name of ours there,
//! so that neither side learns of the other's network.

use bytes::Bytes;
use crosspoint_base::Private;
use crosspoint_call::{DiversionReason, Diverted};
use crosspoint_sip::{HeaderName, NameAddr, Request, Uri};

/// In which headers a trunk says, and is told, where calls were before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiversionForm {
    /// In both; of what it says, `Diversion` counts.
    #[default]
    Both,
    Diversion,
    HistoryInfo,
    /// Nothing is said, and nothing believed.
    Off,
}

impl DiversionForm {
    fn has_diversion(self) -> bool {
        matches!(self, Self::Both | Self::Diversion)
    }

    fn has_history(self) -> bool {
        matches!(self, Self::Both | Self::HistoryInfo)
    }
}

/// Says in an INVITE where the call was before. `to` is who is called now; `outside` is true for
/// another network, which knows users by their numbers and may be told of private ones.
pub(super) fn say_where_it_was(
    request: &mut Request,
    diverted: &[Diverted],
    (to, domain): (&str, &str),
    form: DiversionForm,
    outside: bool,
) {
    let shown: Vec<(&Diverted, Uri)> = diverted
        .iter()
        .filter(|place| outside || !place.is_private)
        .filter_map(|place| {
            let number = place.outside.as_ref().filter(|_| outside).unwrap_or(&place.by);
            Some((place, Uri::sip(Some(number.expose()), domain, None)?))
        })
        .collect();
    if shown.is_empty() {
        return;
    }
    if form.has_diversion() {
        for (place, uri) in shown.iter().rev() {
            let mut value = NameAddr::new(uri.clone()).print().to_vec();
            value.extend_from_slice(b";reason=");
            value.extend_from_slice(word_of(place.reason).as_bytes());
            if place.is_private {
                value.extend_from_slice(b";privacy=full");
            }
            request.headers.push(HeaderName::other(DIVERSION), value);
        }
    }
    if form.has_history() {
        tell_history(request, &shown, Uri::sip(Some(to), domain, None));
    }
}

/// Each place points at the one before it, by `mp` and by its own index (RFC 7044 §10.3).
fn tell_history(request: &mut Request, shown: &[(&Diverted, Uri)], to: Option<Uri>) {
    let mut index = "1".to_owned();
    let mut reason = None;
    let places = shown.iter().map(|(place, uri)| (Some(place.reason), Some(uri.clone())));
    for (next_reason, uri) in places.chain([(None, to)]) {
        let mut rest = String::new();
        let mut uri = uri;
        if let Some(reason) = reason {
            rest = format!(";mp={index}");
            index.push_str(".1");
            let cause = code_of(reason).map(|code| code.to_string());
            uri = match cause {
                Some(cause) => uri.and_then(|uri| uri.with_param("cause", Some(&cause))),
                None => uri,
            };
        }
        reason = next_reason;
        let Some(uri) = uri else { continue };
        let place = NameAddr::new(uri).print();
        let value = [place.as_ref(), format!(";index={index}{rest}").as_bytes()].concat();
        request.headers.push(HeaderName::other(HISTORY_INFO), value);
    }
}

/// Where a call of a trusted peer was before, oldest first.
pub(super) fn where_it_was(request: &Request, form: DiversionForm) -> Vec<Diverted> {
    let mut diverted = if form.has_diversion() { by_diversion(request) } else { vec![] };
    if diverted.is_empty() && form.has_history() {
        diverted = by_history(request);
    }
    diverted
}

fn by_diversion(request: &Request) -> Vec<Diverted> {
    let name = HeaderName::other(DIVERSION);
    let places = request.headers.values(&name).take(MAX_PLACES).filter_map(|value| {
        let place = NameAddr::parse(&value)?;
        let privacy = place.params.value("privacy");
        Some(Diverted {
            by: number_of(&place.uri)?,
            reason: place.params.value("reason").map_or_else(Default::default, |r| reason_of(&r)),
            is_private: privacy.is_some_and(|p| !p.eq_ignore_ascii_case(b"off")),
            ..Diverted::default()
        })
    });
    let mut places: Vec<Diverted> = places.collect();
    places.reverse();
    places
}

/// An entry with a cause was reached because the one before it sent the call on; older networks
/// give the cause as a `Reason` of the one that did (RFC 4244).
fn by_history(request: &Request) -> Vec<Diverted> {
    let name = HeaderName::other(HISTORY_INFO);
    let entries = request.headers.values(&name).take(MAX_PLACES);
    let entries: Vec<NameAddr> = entries.filter_map(|value| NameAddr::parse(&value)).collect();
    let pairs = entries.iter().zip(entries.iter().skip(1));
    let places = pairs.filter_map(|(from, to)| {
        let own = from.uri.headers().map(|h| String::from_utf8_lossy(&h).to_ascii_lowercase());
        let of_target = to.uri.param("cause").and_then(|cause| number(&cause));
        let of_own = own.as_deref().and_then(|headers| {
            let at = headers.find("cause%3d").map(|at| at + 8);
            let at = at.or_else(|| headers.find("cause=").map(|at| at + 6))?;
            number(headers.get(at..)?.as_bytes())
        });
        let code = of_target.or(of_own)?;
        let by = number_of(&from.uri)?;
        let is_private = own.is_some_and(|h| h.contains("privacy"));
        let is_elsewhere = number_of(&to.uri).is_none_or(|to| to != by);
        is_elsewhere.then(|| Diverted {
            by,
            reason: reason_of_code(code),
            is_private,
            ..Diverted::default()
        })
    });
    places.collect()
}

fn number_of(uri: &Uri) -> Option<Private<String>> {
    let number = uri.user_decoded()?;
    let is_fit = !number.is_empty() && number.len() <= MAX_NUMBER;
    (is_fit && !number.chars().any(char::is_control)).then_some(Private(number))
}

/// The digits at the beginning.
fn number(text: &[u8]) -> Option<u16> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).take(3).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// RFC 5806 §4.
fn word_of(reason: DiversionReason) -> &'static str {
    match reason {
        DiversionReason::Unconditional => "unconditional",
        DiversionReason::Busy => "user-busy",
        DiversionReason::NoAnswer => "no-answer",
        DiversionReason::Unavailable => "unavailable",
        DiversionReason::Deflection => "deflection",
        DiversionReason::Unknown => "unknown",
    }
}

fn reason_of(word: &Bytes) -> DiversionReason {
    let word = String::from_utf8_lossy(word).trim_matches('"').to_ascii_lowercase();
    let known = DiversionReason::ALL.into_iter().find(|reason| word_of(*reason) == word);
    known.unwrap_or_default()
}

/// RFC 4458 §2.
fn code_of(reason: DiversionReason) -> Option<u16> {
    match reason {
        DiversionReason::Unconditional => Some(302),
        DiversionReason::Busy => Some(486),
        DiversionReason::NoAnswer => Some(408),
        DiversionReason::Unavailable => Some(404),
        DiversionReason::Deflection => Some(480),
        DiversionReason::Unknown => None,
    }
}

fn reason_of_code(code: u16) -> DiversionReason {
    match code {
        302 => DiversionReason::Unconditional,
        486 => DiversionReason::Busy,
        408 => DiversionReason::NoAnswer,
        404 | 503 => DiversionReason::Unavailable,
        480 | 487 => DiversionReason::Deflection,
        _ => DiversionReason::Unknown,
    }
}

const DIVERSION: &str = "Diversion";
const HISTORY_INFO: &str = "History-Info";
/// More than any call is sent on.
const MAX_PLACES: usize = 10;
const MAX_NUMBER: usize = 128;

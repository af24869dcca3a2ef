//! Bodies: descriptions (alone or inside multipart), digits, trickled candidates.

use std::time::Duration;

use bytes::Bytes;
use crosspoint_call::Digit;
use crosspoint_sdp::Session;
use crosspoint_sip::{HeaderName, Headers, Params, Response};

pub(super) const SDP: &str = "application/sdp";
pub(super) const DTMF_RELAY: &str = "application/dtmf-relay";
pub(super) const MEDIA_CONTROL: &str = "application/media_control+xml";
pub(super) const DTMF: &str = "application/dtmf";
pub(super) const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What a message carries as its description.
pub(super) enum Described {
    Nothing,
    Session(Box<Session>),
    /// A body we cannot read: 415 or 400.
    UnknownType,
    Malformed,
}

pub(super) fn content_type(headers: &Headers) -> String {
    let value = headers.first(&HeaderName::CONTENT_TYPE).cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(&value).into_owned();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub(super) fn description(headers: &Headers, body: &Bytes) -> Described {
    if body.is_empty() {
        return Described::Nothing;
    }
    if headers.values(&HeaderName::CONTENT_ENCODING).any(|e| !is_identity(&e)) {
        return Described::UnknownType;
    }
    let kind = content_type(headers);
    let sdp = if kind == SDP {
        body.clone()
    } else if kind.starts_with("multipart/") {
        match sdp_part(headers, body) {
            Some(part) => part,
            None => return Described::Nothing,
        }
    } else if is_optional(headers) {
        return Described::Nothing;
    } else {
        return Described::UnknownType;
    };
    match Session::parse(&sdp) {
        Ok(session) => Described::Session(Box::new(session)),
        Err(_) => Described::Malformed,
    }
}

fn is_identity(encoding: &[u8]) -> bool {
    encoding.eq_ignore_ascii_case(b"identity")
}

/// RFC 3261 §20.11: the sender does not mind when this body is not understood.
fn is_optional(headers: &Headers) -> bool {
    let value = headers.first(&HeaderName::CONTENT_DISPOSITION);
    let params = value.and_then(|v| Some(v.slice(v.iter().position(|b| *b == b';')?..)));
    let handling = params.and_then(|p| Params::new(p).value("handling"));
    handling.is_some_and(|h| h.eq_ignore_ascii_case(b"optional"))
}

/// RFC 3261 §20.1: whether the sender takes a description back; without `Accept` it does.
pub(super) fn takes_descriptions(headers: &Headers) -> bool {
    let mut ranges = headers.values(&HeaderName::ACCEPT).peekable();
    ranges.peek().is_none()
        || ranges.any(|range| {
            let kind = range.split(|b| *b == b';').next().unwrap_or_default();
            let kind = String::from_utf8_lossy(kind).trim().to_ascii_lowercase();
            matches!(kind.as_str(), SDP | "application/*" | "*/*")
        })
}

/// Says in a 415 what we take instead (RFC 3261 §8.2.3).
pub(super) fn media_types(response: &mut Response) {
    response.headers.push(HeaderName::ACCEPT, SDP);
    response.headers.push(HeaderName::other("Accept-Encoding"), "identity");
}

/// The first SDP part of a multipart body (RFC 5621).
fn sdp_part(headers: &Headers, body: &Bytes) -> Option<Bytes> {
    let part = parts(headers, body).into_iter().find(|part| part.kind().contains(SDP))?;
    Some(Bytes::from(part.content + "\r\n"))
}

/// One part of a multipart body.
pub(super) struct Part {
    head: String,
    pub(super) content: String,
}

impl Part {
    pub(super) fn kind(&self) -> String {
        let kind = self.field("content-type").unwrap_or_default();
        kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// A field of its head, by its name in lower case.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// The first parts of a multipart body (RFC 2046 §5.1); none of any other.
pub(super) fn parts(headers: &Headers, body: &Bytes) -> Vec<Part> {
    let Some(value) = headers.first(&HeaderName::CONTENT_TYPE) else { return Vec::new() };
    let text = String::from_utf8_lossy(value);
    let boundary = text.split(';').find_map(|p| {
        let (name, value) = p.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("boundary");
        is_it.then(|| value.trim().trim_matches('"').to_owned())
    });
    let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) else {
        return Vec::new();
    };
    let body = String::from_utf8_lossy(body);
    let delimiter = format!("--{boundary}");
    let part = |part: &str| {
        let part = part.trim_start_matches("\r\n").trim_start_matches('\n');
        let (head, content) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n"))?;
        let content = content.trim_end_matches("\r\n").to_owned();
        Some(Part { head: head.to_owned(), content })
    };
    body.split(&delimiter).skip(1).take(8).filter_map(part).collect()
}

/// A digit out of an INFO: `application/dtmf-relay` (`Signal=`, `Duration=`) or
/// `application/dtmf` (the bare digit).
pub(super) fn digit(headers: &Headers, body: &Bytes) -> Option<(Digit, Duration)> {
    let text = String::from_utf8_lossy(body);
    let default = Duration::from_millis(160);
    match content_type(headers).as_str() {
        DTMF_RELAY => {
            let field = |name: &str| {
                text.lines().find_map(|line| {
                    let (key, value) = line.split_once('=')?;
                    key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                })
            };
            let digit = key(&field("signal")?)?;
            let millis = field("duration").and_then(|d| d.parse().ok()).unwrap_or(160_u64);
            Some((digit, Duration::from_millis(millis.clamp(40, 6000))))
        }
        DTMF => Some((key(text.trim())?, default)),
        _ => None,
    }
}

/// A key by its character or its event number (10 is `*`, 11 is `#`).
fn key(text: &str) -> Option<Digit> {
    match text {
        "10" => Digit::new('*'),
        "11" => Digit::new('#'),
        _ => {
            let mut chars = text.chars();
            let digit = Digit::new(chars.next()?)?;
            chars.next().is_none().then_some(digit)
        }
    }
}

/// Whether a `media_control` body asks for a whole picture (RFC 5168 §7); others tell of errors.
pub(super) fn wants_key_frame(body: &Bytes) -> bool {
    let tag = b"picture_fast_update";
    body.windows(tag.len()).any(|window| window == tag)
}

/// RFC 5168 §6.
pub(super) const PICTURE_FAST_UPDATE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n\
<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive>\
</media_control>\r\n";

pub(super) fn dtmf_relay(digit: Digit, duration: Duration) -> String {
    format!("Signal={}\r\nDuration={}\r\n", digit.as_char(), duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &'static str) -> Headers {
        let mut headers = Headers::new();
        headers.push(HeaderName::CONTENT_TYPE, content_type);
        headers
    }

    #[test]
    fn reads_digits_as_phones_write_them() {
        let check = |kind, body: &'static str, expected: Option<char>| {
            let found = digit(&headers(kind), &Bytes::from_static(body.as_bytes()));
            assert_eq!(found.map(|(d, _)| d.as_char()), expected, "{body}");
        };
        check("application/dtmf-relay", "Signal=5\r\nDuration=160", Some('5'));
        check("application/dtmf-relay", "Signal= 11 \nDuration= 250", Some('#'));
        check("application/dtmf", "*", Some('*'));
        check("application/dtmf", "55", None);
        check("text/plain", "5", None);
    }

    #[test]
    fn finds_the_description_inside_multipart() {
        let body = "--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x\r\nContent-Type: application/sdp\r\n\r\n\
v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n--x--\r\n";
        let found = description(
            &headers("multipart/mixed;boundary=x"),
            &Bytes::from_static(body.as_bytes()),
        );
        assert!(matches!(found, Described::Session(_)));
    }
}

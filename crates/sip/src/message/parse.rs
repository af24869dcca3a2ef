//! The message grammar (RFC 3261 §25.1), one pass over the bytes, limits before allocation.
//!
//! Lenient where peers are sloppy and nothing is at stake (unknown headers, Latin-1, line folds);
//! strict where two readers could disagree about where a message or a header ends.

use bytes::Bytes;

use super::headers::Field;
use super::{HeaderName, Headers, Message, Method, Request, Response, StatusCode};
use crate::uri::Uri;

/// Bounds that hold before anything is allocated.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of a whole message, in bytes.
    pub message: usize,
    /// Header fields in one message.
    pub headers: usize,
    /// Of one header field with its folds, in bytes.
    pub header: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 65_535, headers: 256, header: 8192 }
    }
}

/// Which rule a message broke, and where.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{rule} at byte {offset}")]
pub struct ParseError {
    pub offset: usize,
    pub rule: &'static str,
    /// The response to send, when the request says enough to be answered.
    pub answer: Option<Box<Response>>,
}

impl ParseError {
    fn new(offset: usize, rule: &'static str) -> Self {
        Self { offset, rule, answer: None }
    }
}

pub(super) fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    if bytes.len() > limits.message {
        return Err(ParseError::new(limits.message, "message is too long"));
    }
    let start_end = find_line_end(&bytes, 0)?;
    let start = bytes.slice(..start_end.text);
    let (fields, body_at) = headers(&bytes, start_end.next, limits)?;
    let headers = Headers::from_fields(fields).came_in(bytes.clone());
    if start.starts_with(b"SIP/") {
        let (status, reason) = status_line(&start)?;
        let body = body(&bytes, body_at, &headers)?;
        return Ok(Message::Response(Response { status, reason, headers, body }));
    }
    request(&bytes, &start, headers, body_at)
}

fn request(
    bytes: &Bytes,
    start: &Bytes,
    headers: Headers,
    body_at: usize,
) -> Result<Message, ParseError> {
    let answerable = |error: ParseError, method: Option<&Method>, status| {
        let answer = answer(&headers, method, status, error.rule);
        ParseError { answer, ..error }
    };
    let (method, uri) = match request_line(start) {
        Ok(line) => line,
        Err((error, status)) => return Err(answerable(error, None, status)),
    };
    let checked =
        body(bytes, body_at, &headers).and_then(|body| mandatory(&headers, &method).map(|()| body));
    match checked {
        Ok(body) => Ok(Message::Request(Request { method, uri, headers, body })),
        Err(error) => {
            // RFC 4475 §3.1.2.18: who does not know the method cannot know its CSeq, either.
            let is_foreign = !method.is_known() && error.rule == OTHER_METHOD;
            let status =
                if is_foreign { StatusCode::NOT_IMPLEMENTED } else { StatusCode::BAD_REQUEST };
            Err(answerable(error, Some(&method), status))
        }
    }
}

const OTHER_METHOD: &str = "CSeq names another method";

/// RFC 3261 §8.1.1: what every request must have, once where it may stand once.
fn mandatory(headers: &Headers, method: &Method) -> Result<(), ParseError> {
    let fault = |rule| Err(ParseError::new(0, rule));
    for (name, rule) in [
        (HeaderName::FROM, "From must stand exactly once"),
        (HeaderName::TO, "To must stand exactly once"),
        (HeaderName::CALL_ID, "Call-ID must stand exactly once"),
        (HeaderName::CSEQ, "CSeq must stand exactly once"),
    ] {
        if headers.all(&name).count() != 1 {
            return fault(rule);
        }
    }
    if headers.all(&HeaderName::MAX_FORWARDS).count() > 1 {
        return fault("Max-Forwards may stand once");
    }
    if headers.via().is_none() {
        return fault("Via is missing or malformed");
    }
    for name in [HeaderName::VIA, HeaderName::FROM, HeaderName::TO, HeaderName::CONTACT] {
        if headers.all(&name).any(|value| has_empty_element(value)) {
            return fault("separators without anything between them");
        }
    }
    if headers.from().is_none() {
        return fault("From is malformed");
    }
    if headers.to().is_none() {
        return fault("To is malformed");
    }
    match headers.cseq() {
        Some(cseq) if cseq.method == *method => Ok(()),
        Some(_) => fault(OTHER_METHOD),
        None => fault("CSeq is malformed"),
    }
}

/// Two separators in a row outside of quotes and brackets (RFC 4475 §3.1.2.1). One at the end
/// does no harm.
fn has_empty_element(value: &[u8]) -> bool {
    // Two that may stand within quotes or brackets; hardly any value has such.
    let is_next = |at| matches!(trim_start(&value[at + 1..]).first(), Some(b',' | b';'));
    if !memchr::memchr2_iter(b',', b';', value).any(is_next) {
        return false;
    }
    let mut rest = value;
    while let Some(at) = find_separator(rest) {
        rest = trim(&rest[at + 1..]);
        if matches!(rest.first(), Some(b',' | b';')) {
            return true;
        }
    }
    false
}

fn find_separator(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    bytes.iter().position(|byte| {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            _ if was_escaped => {}
            b'\\' if quoted => escaped = true,
            b'"' if !angle => quoted = !quoted,
            _ if quoted => {}
            b'<' => angle = true,
            b'>' => angle = false,
            b',' | b';' => return !angle,
            _ => {}
        }
        false
    })
}

/// The refusal of a request whose transaction can be told; never one for an ACK.
fn answer(
    headers: &Headers,
    method: Option<&Method>,
    status: StatusCode,
    rule: &'static str,
) -> Option<Box<Response>> {
    // RFC 4475 §3.3.1: also without From, To or Call-ID, as long as the way back is known.
    let readable = headers.via().is_some() && headers.has(&HeaderName::CSEQ);
    let is_ack = method == Some(&Method::ACK)
        || headers.cseq().is_some_and(|cseq| cseq.method == Method::ACK);
    if !readable || is_ack {
        return None;
    }
    let mut response = Response::new(status);
    response.copy_from(headers);
    response.headers.push(HeaderName::WARNING, format!("399 crosspoint \"{rule}\""));
    Some(Box::new(response))
}

fn request_line(line: &Bytes) -> Result<(Method, Uri), (ParseError, StatusCode)> {
    let bad = |offset, rule| (ParseError::new(offset, rule), StatusCode::BAD_REQUEST);
    let first = memchr(b' ', line).ok_or_else(|| bad(0, "request line has no spaces"))?;
    let last = line.iter().rposition(|b| *b == b' ').unwrap_or(first);
    if last == first {
        return Err(bad(first, "request line has one part too few"));
    }
    let method = Method::parse(&line.slice(..first)).ok_or_else(|| bad(0, "method is no token"))?;
    let version = &line[last + 1..];
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        if version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/") {
            let error = ParseError::new(last, "version is not SIP/2.0");
            return Err((error, StatusCode::VERSION_NOT_SUPPORTED));
        }
        return Err(bad(last, "request line does not end in SIP/2.0"));
    }
    let uri = line.slice(first + 1..last);
    let uri = Uri::parse(uri).ok_or_else(|| bad(first + 1, "request URI is malformed"))?;
    Ok((method, uri))
}

fn status_line(line: &Bytes) -> Result<(StatusCode, Bytes), ParseError> {
    let fault = |rule| ParseError::new(0, rule);
    let rest = line.strip_prefix(b"SIP/2.0 ").ok_or_else(|| fault("version is not SIP/2.0"))?;
    let (digits, rest) = rest.split_at_checked(3).ok_or_else(|| fault("status is cut off"))?;
    let code = decimal(digits).and_then(|n| u16::try_from(n).ok());
    let code = code.filter(|c| (100..=699).contains(c));
    let status = StatusCode(code.ok_or_else(|| fault("status is not 100 to 699"))?);
    match rest {
        [] => Ok((status, Bytes::new())),
        [b' ', reason @ ..] => Ok((status, line.slice_ref(reason))),
        _ => Err(fault("no space after the status")),
    }
}

struct LineEnd {
    /// Where the text ends.
    text: usize,
    /// Where the next line begins.
    next: usize,
}

/// Finds the line's CRLF, or a lone LF. A lone CR or a NUL is refused: some readers end a line
/// there and some do not, which is how headers are smuggled.
fn find_line_end(bytes: &[u8], from: usize) -> Result<LineEnd, ParseError> {
    let rest = bytes.get(from..).unwrap_or_default();
    let endless = || ParseError::new(from, "line has no end");
    let length = memchr::memchr3(b'\n', b'\r', 0, rest).ok_or_else(endless)?;
    let text = from + length;
    match rest[length..] {
        [b'\n', ..] => Ok(LineEnd { text, next: text + 1 }),
        [b'\r', b'\n', ..] => Ok(LineEnd { text, next: text + 2 }),
        _ if memchr(b'\n', &rest[length..]).is_none() => Err(endless()),
        _ => Err(ParseError::new(text, "bare CR or NUL in a line")),
    }
}

fn headers(
    bytes: &Bytes,
    start: usize,
    limits: &Limits,
) -> Result<(Vec<Field>, usize), ParseError> {
    let mut fields = Vec::with_capacity(24);
    let mut at = start;
    loop {
        let mut end = find_line_end(bytes, at)?;
        if end.text == at {
            return Ok((fields, end.next));
        }
        // Folded lines begin with white space (RFC 3261 §7.3.1).
        while matches!(bytes.get(end.next), Some(b' ' | b'\t')) {
            end = find_line_end(bytes, end.next)?;
            if end.next - at > limits.header {
                break;
            }
        }
        if end.next - at > limits.header {
            return Err(ParseError::new(at, "header is too long"));
        }
        if fields.len() == limits.headers {
            return Err(ParseError::new(at, "too many headers"));
        }
        fields.push(field(bytes, at, &end)?);
        at = end.next;
    }
}

fn field(bytes: &Bytes, at: usize, end: &LineEnd) -> Result<Field, ParseError> {
    let line = &bytes[at..end.text];
    let colon = memchr(b':', line).ok_or_else(|| ParseError::new(at, "header has no colon"))?;
    let name = trim_end(&line[..colon]);
    let name = HeaderName::parse_in(bytes, name)
        .ok_or_else(|| ParseError::new(at, "header name is no token"))?;
    let value = trim(&line[colon + 1..]);
    let value = if value.is_empty() { Bytes::new() } else { bytes.slice_ref(value) };
    Ok(Field::from_wire(name, value, bytes, &bytes[at..end.next]))
}

/// RFC 3261 §18.3: `Content-Length` cuts a datagram; one that is longer than the datagram, or
/// told twice in two ways, is an error.
fn body(bytes: &Bytes, at: usize, headers: &Headers) -> Result<Bytes, ParseError> {
    let rest = bytes.slice(at..);
    let Some(length) = content_length(headers, at)? else { return Ok(rest) };
    if length > rest.len() {
        return Err(ParseError::new(at, "Content-Length is larger than the message"));
    }
    Ok(rest.slice(..length))
}

pub(crate) fn content_length(headers: &Headers, at: usize) -> Result<Option<usize>, ParseError> {
    let mut found = None;
    for value in headers.all(&HeaderName::CONTENT_LENGTH) {
        let length =
            decimal(value).ok_or_else(|| ParseError::new(at, "Content-Length is not a number"))?;
        if found.is_some_and(|f| f != length) {
            return Err(ParseError::new(at, "two different Content-Length values"));
        }
        found = Some(length);
    }
    Ok(found)
}

/// A run of one to nine decimal digits.
pub(crate) fn decimal(bytes: &[u8]) -> Option<usize> {
    if bytes.is_empty() || bytes.len() > 9 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0, |n, b| n * 10 + usize::from(b - b'0')))
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
        })
}

pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|b| !is_space(*b)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| !is_space(*b)).map_or(0, |at| at + 1);
    &bytes[..end]
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(crate) fn memchr(needle: u8, haystack: &[u8]) -> Option<usize> {
    memchr::memchr(needle, haystack)
}

//! Where a caller is: PIDF-LO documents and their references, in and out (RFC 6442).
//!
//! Documents are passed on as they came and read by nobody. How many and how large they may be is
//! bounded here; what is more is left out, and the call goes on without it.

use bytes::Bytes;
use crosspoint_base::{Private, Rng};
use crosspoint_call::{Location, LocationDocument};
use crosspoint_sip::{HeaderName, Headers, Request};

use super::body::{SDP, parts};

const PIDF: &str = "application/pidf+xml";

/// What a request says of its sender's place.
pub(super) fn location(headers: &Headers, body: &Bytes) -> Option<Box<Location>> {
    let name = HeaderName::other(GEOLOCATION);
    let references: Vec<Private<String>> = headers
        .values(&name)
        .filter_map(|value| plain(&value, MAX_REFERENCE))
        .take(MAX_DOCUMENTS)
        .map(Private)
        .collect();
    if references.is_empty() {
        return None;
    }
    let routing = headers.first(&HeaderName::other(ROUTING)).and_then(|v| plain(v, 16));
    let documents = parts(headers, body)
        .into_iter()
        .filter(|part| part.kind().eq_ignore_ascii_case(PIDF) && part.content.len() <= MAX_DOCUMENT)
        .take(MAX_DOCUMENTS)
        .map(|part| LocationDocument {
            id: part.field("content-id").and_then(|id| plain(id.as_bytes(), MAX_REFERENCE)),
            kind: PIDF.to_owned(),
            text: Private(part.content.clone()),
        })
        .collect();
    Some(Box::new(Location { references, routing, documents }))
}

/// Puts a description into a request, and the caller's place if it is known.
pub(super) fn attach(request: &mut Request, sdp: &str, location: Option<&Location>, rng: &mut Rng) {
    let Some(location) = location else { return request.set_body(SDP, sdp.to_owned()) };
    for reference in &location.references {
        request.headers.push(HeaderName::other(GEOLOCATION), reference.expose().clone());
    }
    if let Some(routing) = &location.routing {
        request.headers.push(HeaderName::other(ROUTING), routing.clone());
    }
    if location.documents.is_empty() {
        request.set_body(SDP, sdp.to_owned());
        return;
    }
    // Drawn, so that no document can hold it.
    let boundary = rng.hex(16);
    let mut body = format!("--{boundary}\r\nContent-Type: {SDP}\r\n\r\n{sdp}\r\n");
    for LocationDocument { id, kind, text } in &location.documents {
        body.push_str(&format!("--{boundary}\r\nContent-Type: {kind}\r\n"));
        if let Some(id) = id {
            body.push_str(&format!("Content-ID: {id}\r\n"));
        }
        // RFC 6442 §3.1: who does not understand it may leave it alone.
        body.push_str("Content-Disposition: by-reference;handling=optional\r\n\r\n");
        body.push_str(text.expose());
        body.push_str("\r\n");
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    let kind = format!("multipart/mixed;boundary={boundary}");
    request.headers.set(HeaderName::CONTENT_TYPE, kind);
    request.body = Bytes::from(body);
}

/// Text of a header that cannot break out of its line.
fn plain(value: &[u8], most: usize) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_plain = !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    is_plain.then(|| text.to_owned())
}

const GEOLOCATION: &str = "Geolocation";
const ROUTING: &str = "Geolocation-Routing";
const MAX_DOCUMENTS: usize = 4;
const MAX_REFERENCE: usize = 256;
const MAX_DOCUMENT: usize = 16 * 1024;

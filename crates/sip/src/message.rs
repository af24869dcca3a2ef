//! SIP messages (RFC 3261 §7): the start line, the headers and the body.
//!
//! Values are slices of the datagram they came in, so a message that is passed on unchanged is
//! printed byte for byte. Typed views of headers are made on demand (`crate::header`).

mod headers;
mod method;
mod name;
mod parse;
mod status;

use bytes::{BufMut, Bytes, BytesMut};

pub use headers::Headers;
pub use method::Method;
pub use name::HeaderName;
pub use parse::{Limits, ParseError};
pub(crate) use parse::{decimal, trim};
pub use status::StatusCode;

use crate::uri::Uri;

/// A request or a response.
#[derive(Debug, Clone)]
pub enum Message {
    Request(Request),
    Response(Response),
}

/// RFC 3261 §7.1.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: Headers,
    pub body: Bytes,
}

/// RFC 3261 §7.2.
#[derive(Clone)]
pub struct Response {
    pub status: StatusCode,
    pub reason: Bytes,
    pub headers: Headers,
    pub body: Bytes,
}

impl Message {
    /// Parses one whole message: a datagram, a WebSocket message, or a frame of a stream.
    ///
    /// # Errors
    /// When a rule of the grammar or a limit is broken. The error may carry the 400 to answer.
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        parse::parse(bytes, &Limits::default())
    }

    #[must_use]
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The bytes that it was parsed from, whatever has become of it since; empty for a message of
    /// ours. A copy of the message does not have them.
    #[must_use]
    pub fn source(&self) -> &Bytes {
        self.headers().source()
    }

    #[must_use]
    pub fn print(&self) -> Bytes {
        match self {
            Self::Request(request) => request.print(),
            Self::Response(response) => response.print(),
        }
    }
}

impl Request {
    #[must_use]
    pub fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::new(), body: Bytes::new() }
    }

    /// Prints with the `Content-Length` the body has.
    #[must_use]
    pub fn print(&self) -> Bytes {
        finish(self.begin(0), &self.headers, &self.body)
    }

    /// The same with one more `Via` on top.
    #[must_use]
    pub fn print_below(&self, via: &str) -> Bytes {
        let mut out = self.begin(via.len() + b"Via: \r\n".len());
        out.put_slice(b"Via: ");
        out.put_slice(via.as_bytes());
        out.put_slice(b"\r\n");
        finish(out, &self.headers, &self.body)
    }

    /// The first line, with room for the rest and so many bytes more.
    fn begin(&self, more: usize) -> BytesMut {
        let rest = self.headers.printed_len() + self.body.len() + more;
        // " SIP/2.0", an empty line, a Content-Length.
        let mut out = BytesMut::with_capacity(
            self.method.as_str().len() + self.uri.as_bytes().len() + rest + 48,
        );
        out.put_slice(self.method.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(self.uri.as_bytes());
        out.put_slice(b" SIP/2.0\r\n");
        out
    }

    pub fn set_body(&mut self, content_type: &'static str, body: impl Into<Bytes>) {
        self.headers.set(HeaderName::CONTENT_TYPE, content_type);
        self.body = body.into();
    }
}

impl Response {
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let reason = Bytes::from_static(status.default_reason().as_bytes());
        Self { status, reason, headers: Headers::new(), body: Bytes::new() }
    }

    /// A response with what RFC 3261 §8.2.6.2 copies from the request.
    #[must_use]
    pub fn for_request(request: &Request, status: StatusCode) -> Self {
        let mut response = Self::new(status);
        response.copy_from(&request.headers);
        response
    }

    /// Gives the To a tag, which every response but 100 has (RFC 3261 §8.2.6.2).
    pub fn add_tag(&mut self, tag: &str) {
        if self.headers.to().is_some_and(|to| to.tag().is_some()) {
            return;
        }
        if let Some(to) = self.headers.first(&HeaderName::TO) {
            let tagged = [to.as_ref(), b";tag=", tag.as_bytes()].concat();
            self.headers.set(HeaderName::TO, tagged);
        }
    }

    pub(crate) fn copy_from(&mut self, headers: &Headers) {
        self.headers.reserve(USUAL_HEADERS);
        for name in [
            HeaderName::VIA,
            HeaderName::FROM,
            HeaderName::TO,
            HeaderName::CALL_ID,
            HeaderName::CSEQ,
        ] {
            for value in headers.all(&name) {
                self.headers.push(name.clone(), value.clone());
            }
        }
    }

    /// Prints with the `Content-Length` the body has.
    #[must_use]
    pub fn print(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.headers.printed_len() + self.body.len() + 64);
        out.put_slice(b"SIP/2.0 ");
        let code = self.status.0.clamp(100, 999);
        for digit in [code / 100, code / 10 % 10, code % 10] {
            out.put_u8(b'0' + u8::try_from(digit).unwrap_or(0));
        }
        out.put_u8(b' ');
        out.put_slice(&self.reason);
        out.put_slice(b"\r\n");
        finish(out, &self.headers, &self.body)
    }

    pub fn set_body(&mut self, content_type: &'static str, body: impl Into<Bytes>) {
        self.headers.set(HeaderName::CONTENT_TYPE, content_type);
        self.body = body.into();
    }
}

fn finish(mut out: BytesMut, headers: &Headers, body: &Bytes) -> Bytes {
    let mut has_length = false;
    for field in headers.fields() {
        if field.name == HeaderName::CONTENT_LENGTH {
            // Kept as it came when it is right, so that an untouched message prints unchanged.
            if has_length || parse::decimal(&field.value) != Some(body.len()) {
                continue;
            }
            has_length = true;
        }
        field.print(&mut out);
    }
    if !has_length {
        out.put_slice(b"Content-Length: ");
        out.put_slice(body.len().to_string().as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    out.put_slice(body);
    out.freeze()
}

/// Shows method and sizes only: a request carries names, numbers and credentials.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {:?}, {} B)", self.method, self.headers, self.body.len())
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({} {:?}, {} B)", self.status, self.headers, self.body.len())
    }
}

/// Of a response, with those that its status asks for.
const USUAL_HEADERS: usize = 12;

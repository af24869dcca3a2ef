//! Finding messages in a byte stream (RFC 3261 §18.3) and keep-alives between them
//! (RFC 5626 §3.5.1).

use bytes::{Buf, Bytes, BytesMut};

use crate::message::Limits;

/// What a stream held next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message.
    Message(Bytes),
    /// Double CRLF: to be answered with one.
    Ping,
    /// Single CRLF: the answer to our ping.
    Pong,
}

/// Why a stream cannot be read on: where the next message begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("message is longer than allowed")]
    TooLong,
    #[error("message on a stream has no usable Content-Length")]
    NoContentLength,
}

/// Cuts a TCP or TLS byte stream into messages.
#[derive(Debug)]
pub struct StreamDecoder {
    buffer: BytesMut,
    limits: Limits,
    /// How far the end of the headers has been looked for.
    searched: usize,
    /// Length of the message at the front, once its headers are complete.
    expected: Option<usize>,
}

impl StreamDecoder {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { buffer: BytesMut::new(), limits, searched: 0, expected: None }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// True when part of a message waits for its rest.
    #[must_use]
    pub fn has_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next frame, or `None` until more bytes come.
    ///
    /// # Errors
    /// After an error the stream is lost and the connection must be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FramingError> {
        if self.expected.is_none() {
            if let Some(frame) = self.keep_alive() {
                return Ok(frame);
            }
            self.find_headers()?;
        }
        match self.expected {
            Some(length) if self.buffer.len() >= length => {
                self.expected = None;
                self.searched = 0;
                Ok(Some(Frame::Message(self.buffer.split_to(length).freeze())))
            }
            _ => Ok(None),
        }
    }

    /// Takes line ends before a message. `Some(None)`: wait for more.
    #[expect(clippy::option_option, reason = "nothing there, not enough there, or a frame")]
    fn keep_alive(&mut self) -> Option<Option<Frame>> {
        match self.buffer.as_ref() {
            [b'\r', b'\n', b'\r', b'\n', ..] => {
                self.buffer.advance(4);
                Some(Some(Frame::Ping))
            }
            [b'\r'] | [b'\r', b'\n', b'\r'] => Some(None),
            // A lone CRLF may be the first half of a ping whose rest is on its way; what
            // follows tells. Alone at the end of what came, it is a pong.
            [b'\r', b'\n', ..] => {
                self.buffer.advance(2);
                Some(Some(Frame::Pong))
            }
            [b'\n', ..] => {
                self.buffer.advance(1);
                Some(Some(Frame::Pong))
            }
            _ => None,
        }
    }

    fn find_headers(&mut self) -> Result<(), FramingError> {
        let from = self.searched.saturating_sub(3);
        let end = find_empty_line(&self.buffer[from..]).map(|at| from + at);
        let Some(end) = end else {
            self.searched = self.buffer.len();
            let too_long = self.buffer.len() > self.limits.message;
            return if too_long { Err(FramingError::TooLong) } else { Ok(()) };
        };
        let length = content_length(&self.buffer[..end]).ok_or(FramingError::NoContentLength)?;
        let total = end.checked_add(length).ok_or(FramingError::TooLong)?;
        if total > self.limits.message {
            return Err(FramingError::TooLong);
        }
        self.expected = Some(total);
        Ok(())
    }
}

/// Where the first empty line ends, by the same rule as the message parser: the two must agree
/// about where the body begins, or one message could hide another.
fn find_empty_line(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The one value of `Content-Length` in a header block; `None` when absent or contradictory.
fn content_length(headers: &[u8]) -> Option<usize> {
    let mut found = None;
    let mut rest = headers;
    let mut is_start_line = true;
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(field_end(rest));
        rest = tail;
        let colon = line.iter().position(|b| *b == b':');
        let Some(colon) = colon.filter(|_| !is_start_line) else {
            is_start_line = false;
            continue;
        };
        let name = crate::message_trim(&line[..colon]);
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            let length = crate::message_decimal(crate::message_trim(&line[colon + 1..]))?;
            if found.is_some_and(|f| f != length) {
                return None;
            }
            found = Some(length);
        }
    }
    found
}

/// Where a header field ends, its folded lines included: a fold that reads like a field of its
/// own is none.
fn field_end(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes)
        .map(|at| at + 1)
        .find(|next| !matches!(bytes.get(*next), Some(b' ' | b'\t')))
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(chunks: &[&str]) -> Vec<Result<Frame, FramingError>> {
        let mut decoder = StreamDecoder::new(Limits::default());
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.push(chunk.as_bytes());
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => out.push(Ok(frame)),
                    Ok(None) => break,
                    Err(error) => {
                        out.push(Err(error));
                        return out;
                    }
                }
            }
        }
        out
    }

    fn message(text: &'static str) -> Result<Frame, FramingError> {
        Ok(Frame::Message(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn cuts_pipelined_and_fragmented_messages() {
        const A: &str = "OPTIONS sip:a SIP/2.0\r\nContent-Length: 4\r\n\r\nbody";
        const B: &str = "ACK sip:b SIP/2.0\r\nl : 0\r\n\r\n";
        assert_eq!(frames(&[&format!("{A}{B}")]), [message(A), message(B)]);
        let single: Vec<String> = format!("{A}{B}").chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        assert_eq!(frames(&single), [message(A), message(B)]);
    }

    #[test]
    fn tells_keep_alives_from_messages() {
        assert_eq!(frames(&["\r\n\r\n"]), [Ok(Frame::Ping)]);
        assert_eq!(frames(&["\r\n"]), [Ok(Frame::Pong)]);
        // Half a ping, and then something else, however it is cut.
        const A: &str = "\rA sip:a SIP/2.0\r\nl: 0\r\n\r\n";
        assert_eq!(frames(&[&format!("\r\n{A}")]), [Ok(Frame::Pong), message(A)]);
        assert_eq!(frames(&["\r\n", A]), [Ok(Frame::Pong), message(A)]);
    }

    #[test]
    fn gives_up_when_the_next_message_cannot_be_found() {
        let two = "A sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(frames(&[two]), [Err(FramingError::NoContentLength)]);
        assert_eq!(frames(&["A sip:a SIP/2.0\r\n\r\n"]), [Err(FramingError::NoContentLength)]);
        let long = "x".repeat(70_000);
        assert_eq!(frames(&[&long]), [Err(FramingError::TooLong)]);
        let lie = "A sip:a SIP/2.0\r\nl: 999999999\r\n\r\n";
        assert_eq!(frames(&[lie]), [Err(FramingError::TooLong)]);
    }

    #[test]
    fn agrees_with_the_parser_about_folds_and_the_empty_line() {
        let folded = "A sip:a SIP/2.0\r\nX: y\r\n Content-Length: 9\r\nl: 0\r\n\r\n";
        assert_eq!(frames(&[folded]), [message(folded)]);
        let mixed = "A sip:a SIP/2.0\nl: 0\n\r\n";
        assert_eq!(frames(&[mixed, "B sip:b SIP/2.0\r\nl:\r\n 0\r\n\r\n"]).len(), 2);
        assert_eq!(frames(&[mixed])[0], message(mixed));
    }
}

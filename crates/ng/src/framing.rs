//! Where a message begins and ends: one cookie, one space, one dictionary.
//!
//! A datagram or WebSocket message holds exactly one. On TCP they stand back to back with no
//! delimiter, split and joined as the network likes.

use crate::dictionary::Scanner;

/// Splits a message into cookie and the rest; `None` when there is no cookie.
pub(crate) fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = message.iter().take(MAX_COOKIE + 1).position(|b| *b == b' ')?;
    let (cookie, rest) = message.split_at_checked(space)?;
    (!cookie.is_empty()).then_some((cookie, rest.get(1..).unwrap_or_default()))
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Of the buffer, what was cut off already.
    start: usize,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Looks for the space, from here on.
    #[default]
    Cookie,
    Bencode {
        dictionary: usize,
        scanner: Scanner,
    },
    Json {
        dictionary: usize,
        scanner: Braces,
    },
}

/// Why no more messages can be found in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("a message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    #[error("no dictionary follows the cookie")]
    NoDictionary,
}

impl Framer {
    /// Takes what arrived; then call `next` until it has no more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, with its cookie.
    ///
    /// # Errors
    /// When the stream cannot be cut any further.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        if matches!(self.state, State::Cookie) {
            let space = bytes.iter().take(MAX_COOKIE + 1).position(|b| *b == b' ');
            let Some(space) = space else {
                let is_endless = bytes.len() > MAX_COOKIE;
                return if is_endless { Err(FramingError::NoDictionary) } else { Ok(None) };
            };
            let dictionary = space + 1;
            self.state = match bytes.get(dictionary) {
                None => return Ok(None),
                Some(b'd') => State::Bencode { dictionary, scanner: Scanner::default() },
                Some(b'{') => State::Json { dictionary, scanner: Braces::default() },
                Some(_) => return Err(FramingError::NoDictionary),
            };
        }
        let end = match &mut self.state {
            State::Cookie => None,
            State::Bencode { dictionary, scanner } => {
                let body = bytes.get(*dictionary..).unwrap_or_default();
                let end = scanner.scan(body).map_err(|()| FramingError::NoDictionary)?;
                end.map(|end| *dictionary + end)
            }
            State::Json { dictionary, scanner } => {
                let body = bytes.get(*dictionary..).unwrap_or_default();
                scanner.scan(body).map(|end| *dictionary + end)
            }
        };
        match end {
            Some(end) if end <= MAX_MESSAGE => {
                let message = bytes.get(..end).unwrap_or_default().to_vec();
                self.start += end;
                self.state = State::Cookie;
                Ok(Some(message))
            }
            Some(_) => Err(FramingError::TooLong),
            None if bytes.len() > MAX_MESSAGE => Err(FramingError::TooLong),
            None => Ok(None),
        }
    }

    /// The cookie of what could not be read, for whoever still waits for an answer.
    #[must_use]
    pub fn cookie(&self) -> Option<&[u8]> {
        split(self.buffer.get(self.start..)?).map(|(cookie, _)| cookie)
    }
}

/// Finds the end of a JSON object while its bytes still arrive.
#[derive(Debug, Clone, Copy, Default)]
struct Braces {
    at: usize,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Braces {
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at) {
            self.at += 1;
            match byte {
                _ if std::mem::take(&mut self.is_escaped) => {}
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 {
                return Some(self.at);
            }
        }
        None
    }
}

/// A description has at most 64 KiB; with everything around it a message has room twice over.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// Host, process and counter take some dozens.
pub(crate) const MAX_COOKIE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        "1_a d7:command4:pinge2_b {\"command\":\"p}\\\"ing\"}3 d1:ad1:bl1:cee1:di-5ee";
    const MESSAGES: [&str; 3] =
        ["1_a d7:command4:pinge", "2_b {\"command\":\"p}\\\"ing\"}", "3 d1:ad1:bl1:cee1:di-5ee"];

    fn all(framer: &mut Framer) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(message) = framer.next_message().unwrap() {
            out.push(String::from_utf8(message).unwrap());
        }
        out
    }

    #[test]
    fn messages_come_whole_however_the_stream_is_cut() {
        for size in 1..=STREAM.len() {
            let mut framer = Framer::default();
            let mut out = Vec::new();
            for part in STREAM.as_bytes().chunks(size) {
                framer.push(part);
                out.extend(all(&mut framer));
            }
            assert_eq!(out, MESSAGES, "in parts of {size}");
        }
    }

    /// Byte by byte, a large message must not be read again and again from its start.
    #[test]
    fn a_large_message_in_small_parts_is_looked_at_once() {
        let message = format!("1 d3:sdp{}:{}e", 60_000, "x".repeat(60_000));
        let mut framer = Framer::default();
        let mut out = Vec::new();
        for byte in message.bytes() {
            framer.push(&[byte]);
            out.extend(all(&mut framer));
        }
        assert_eq!(out, [message]);
    }

    #[test]
    fn what_cannot_be_cut_ends_the_stream() {
        let check = |text: String, error| {
            let mut framer = Framer::default();
            framer.push(text.as_bytes());
            assert_eq!(framer.next_message(), Err(error));
        };
        check("1 x".to_owned(), FramingError::NoDictionary);
        check("x".repeat(300), FramingError::NoDictionary);
        check("1 dxe".to_owned(), FramingError::NoDictionary);
        check(format!("1 d3:sdp200000:{}", "x".repeat(140_000)), FramingError::TooLong);
        check(format!("1 {{\"a\":\"{}", "x".repeat(140_000)), FramingError::TooLong);
        check(format!("1 d{}", "l".repeat(140_000)), FramingError::TooLong);
    }

    #[test]
    fn a_cookie_is_what_stands_before_the_first_space() {
        assert_eq!(split(b"5_1 d e"), Some((&b"5_1"[..], &b"d e"[..])));
        assert_eq!(split(b"5_1 "), Some((&b"5_1"[..], &b""[..])));
        assert_eq!((split(b" de"), split(b"d7:command4:pinge"), split(b"")), (None, None, None));
    }
}

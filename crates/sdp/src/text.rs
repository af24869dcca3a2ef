//! Descriptions as text (RFC 8866 §5): their lines, and how we write ours.

use std::net::IpAddr;

use crosspoint_base::{push_ip, push_number};

use crate::Origin;

/// The lines of a text without their ends.
pub(crate) struct Lines<'t>(&'t str);

impl<'t> Lines<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        Self(text)
    }
}

impl<'t> Iterator for Lines<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.0.as_bytes());
        let (line, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, ""),
        };
        self.0 = rest;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

/// What is before and behind the first such byte of a short text.
pub(crate) fn cut(text: &str, separator: u8) -> Option<(&str, &str)> {
    debug_assert!(separator.is_ascii());
    let at = text.bytes().position(|byte| byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

/// The address in `IN IP4 192.0.2.1/127`; `None` when it is a name.
pub(crate) fn address_of(connection: &str) -> Option<IpAddr> {
    // As nearly everybody writes it, before any other way with spaces.
    let usual = connection.strip_prefix("IN IP4 ").or_else(|| connection.strip_prefix("IN IP6 "));
    let mut words = usual.unwrap_or(connection).split(' ').filter(|word| !word.is_empty());
    let address = words.nth(if usual.is_some() { 0 } else { 2 })?;
    cut(address, b'/').map_or(address, |(address, _)| address).parse().ok()
}

/// A description of ours, line by line. What would end a line is left out of values, so that nobody
/// adds a line by one.
pub(crate) struct Printer(String);

impl Printer {
    pub(crate) fn new() -> Self {
        let mut out = Self(String::with_capacity(1024));
        out.line("v=0");
        out
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }

    /// A line of which all is known.
    pub(crate) fn line(&mut self, line: &'static str) {
        self.begin(line);
        self.end();
    }

    /// A line that ends with what somebody may have said.
    pub(crate) fn value(&mut self, start: &'static str, value: &str) {
        self.begin(start);
        self.text(value);
        self.end();
    }

    /// A line that ends with a number.
    pub(crate) fn count(&mut self, start: &'static str, number: impl Into<u64>) {
        self.begin(start);
        self.number(number);
        self.end();
    }

    /// How a line begins.
    pub(crate) fn begin(&mut self, start: &'static str) {
        self.0.push_str(start);
    }

    pub(crate) fn end(&mut self) {
        self.0.push_str(END);
    }

    /// What somebody may have said.
    pub(crate) fn text(&mut self, part: &str) {
        // Without a way out of the loop many bytes are looked at in one instruction.
        let ends_line = |found, byte| found | matches!(byte, b'\0' | b'\r' | b'\n');
        if part.bytes().fold(false, ends_line) {
            part.split(['\0', '\r', '\n']).for_each(|piece| self.0.push_str(piece));
        } else {
            self.0.push_str(part);
        }
    }

    /// Each with a space before it.
    pub(crate) fn words<'w>(&mut self, words: impl IntoIterator<Item = &'w str>) {
        for word in words {
            self.0.push(' ');
            self.text(word);
        }
    }

    pub(crate) fn number(&mut self, number: impl Into<u64>) {
        push_number(&mut self.0, number);
    }

    /// `IN IP4 192.0.2.1`
    pub(crate) fn address(&mut self, ip: IpAddr) {
        self.0.push_str(if ip.is_ipv4() { "IN IP4 " } else { "IN IP6 " });
        push_ip(&mut self.0, ip);
    }

    /// Bytes as `A0:B1`.
    pub(crate) fn hex(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 {
                self.0.push(':');
            }
            for digit in [byte >> 4, byte & 15] {
                self.0.push(char::from(DIGITS[usize::from(digit)]));
            }
        }
    }

    /// The line of who made it, with its end.
    pub(crate) fn origin(&mut self, origin: &Origin) {
        self.begin("o=crosspoint ");
        self.number(origin.id);
        self.begin(" ");
        self.number(origin.version);
        self.begin(" ");
        self.address(origin.address);
        self.end();
    }
}

/// The text of somebody's description as one of ours.
pub(crate) fn pass_on(theirs: &str, origin: &Origin) -> String {
    let mut out = Printer(String::with_capacity(theirs.len() + 64));
    let mut head = Lines::of(theirs);
    loop {
        let rest = head.0;
        match head.next() {
            Some(line) if !line.starts_with("m=") => match line.get(..2) {
                Some("o=") => out.origin(origin),
                Some("s=") => out.line("s=-"),
                Some("i=" | "u=" | "e=" | "p=") => {}
                _ => {
                    out.0.push_str(line);
                    out.end();
                }
            },
            _ => {
                out.0.push_str(rest);
                return out.finish();
            }
        }
    }
}

/// The text of what was read by the library, which adds what was missing.
pub(crate) fn mend(session: &mut sdp_types::Session) -> String {
    if session.times.is_empty() {
        session.times = vec![sdp_types::Time::new(0, 0)];
    }
    let mut out = Vec::with_capacity(1024);
    // Writing to memory does not fail.
    let _ = session.write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

const END: &str = "\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_says_nothing_of_who_made_it() {
        let theirs = "v=0\r\no=root 7 9 IN IP4 10.0.0.9\r\ns=Asterisk\r\ni=x\r\nu=http://x\r\n\
e=a@x\r\np=+49\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\ni=sound\r\n";
        let origin = Origin { id: 3, version: 4, address: IpAddr::from([192, 0, 2, 1]) };
        let ours = "v=0\r\no=crosspoint 3 4 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n\
t=0 0\r\nm=audio 4000 RTP/AVP 0\r\ni=sound\r\n";
        assert_eq!(pass_on(theirs, &origin), ours);
        assert_eq!(pass_on(ours, &origin), ours);
        assert_eq!(pass_on("v=0\r\ns=a\r\n", &origin), "v=0\r\ns=-\r\n", "without media");
    }

    #[test]
    fn a_value_cannot_add_a_line() {
        let mut out = Printer::new();
        out.text("a\r\na=b\0");
        out.end();
        assert_eq!(out.finish(), "v=0\r\naa=b\r\n");
    }

    #[test]
    fn lines_end_as_they_like() {
        let lines: Vec<&str> = Lines::of("a\r\n\nb\n\r\r\nc").collect();
        assert_eq!(lines, ["a", "", "b", "\r", "c"]);
        assert_eq!(Lines::of("a\n").count(), 1);
        assert_eq!(Lines::of("").count(), 0);
    }
}

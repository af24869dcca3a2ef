//! Which descriptions we read ourselves: those whose lines stand as nearly everybody writes them.
//! `sdp-types` says of all others whether they can be read, and writes down what is missing.

use crate::text::cut;

/// What was seen of a description's lines so far.
#[derive(Default)]
pub(crate) struct Form {
    lines: usize,
    version: Option<u64>,
    has_name: bool,
    has_time: bool,
    has_connection: bool,
    sections: usize,
    is_odd: bool,
}

impl Form {
    /// Takes the next line, without its end.
    pub(crate) fn see(&mut self, line: &str) {
        let is_known = match line.split_at_checked(2) {
            Some((key, value)) => self.is_known(key, value),
            None => false,
        };
        self.is_odd |= !is_known;
        self.lines += 1;
    }

    fn is_known(&mut self, key: &str, value: &str) -> bool {
        match (key, self.lines) {
            ("v=", 0) => value == "0",
            ("o=", 1) => {
                self.version = version(value);
                self.version.is_some()
            }
            (_, 0 | 1) => false,
            ("a=", _) => true,
            ("m=", _) => {
                self.sections += 1;
                is_section(value)
            }
            // Once for all, and once or more in a section.
            ("c=", _) if self.sections == 0 && self.has_connection => false,
            ("c=", _) => {
                self.has_connection = true;
                is_connection(value)
            }
            ("b=", _) => {
                matches!(cut(value, b':'), Some((_, number)) if is_number(number))
            }
            ("s=", _) if self.sections == 0 => !std::mem::replace(&mut self.has_name, true),
            ("t=", _) if self.sections == 0 => {
                self.has_time = true;
                matches!(cut(value, b' '), Some((start, end)) if is_number(start) && is_number(end))
            }
            _ => false,
        }
    }

    /// The version that its `o=` line says, where we read all of it and nothing is missing.
    pub(crate) fn version(&self) -> Option<u64> {
        self.version.filter(|_| !self.is_odd && self.has_name && self.has_time)
    }

    pub(crate) fn sections(&self) -> usize {
        self.sections
    }
}

/// Of `<username> <sess-id> <sess-version> IN IP4 <unicast-address>` (RFC 8866 §5.2).
fn version(origin: &str) -> Option<u64> {
    let mut words = origin.split(' ').map(|word| Some(word).filter(|word| !word.is_empty()));
    let [_name, _id, version] = [words.next()??, words.next()??, words.next()??];
    let is_known = words.next()?? == "IN" && matches!(words.next()??, "IP4" | "IP6");
    let is_whole = words.next()?.is_some() && words.next().is_none();
    (is_known && is_whole && is_number(version)).then(|| version.parse().ok()).flatten()
}

/// `IN IP4 <connection-address>` (RFC 8866 §5.7).
fn is_connection(value: &str) -> bool {
    let address = value.strip_prefix("IN IP4 ").or_else(|| value.strip_prefix("IN IP6 "));
    address.is_some_and(|address| !address.is_empty() && !address.contains(' '))
}

/// `<media> <port> <proto> <fmt> …` (RFC 8866 §5.14), one space between two.
fn is_section(value: &str) -> bool {
    let mut words = value.split(' ');
    let port = words.nth(1).map(|port| port.split_once('/').unwrap_or((port, "1")));
    let is_port = port
        .is_some_and(|(port, count)| port.parse::<u16>().is_ok() && count.parse::<u16>().is_ok());
    is_port && words.nth(1).is_some()
}

/// Few enough digits to fit a `u64`.
fn is_number(text: &str) -> bool {
    (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_of(text: &str) -> Option<u64> {
        let mut form = Form::default();
        text.lines().for_each(|line| form.see(line));
        form.version()
    }

    #[test]
    fn knows_what_nearly_everybody_writes() {
        let usual = "v=0\no=- 7 9 IN IP4 192.0.2.1\ns=x y\nc=IN IP6 2001:db8::1\nb=AS:64\nt=0 0\na=x:y\n\
m=audio 4000/2 RTP/AVP 0 8\nc=IN IP4 192.0.2.1/127\nc=IN IP4 192.0.2.2\nb=TIAS:1\na=sendrecv\nm=image 0 udptl t38\n";
        assert_eq!(version_of(usual), Some(9));
        for (from, to) in [
            ("v=0\n", ""),
            ("v=0", "v=1"),
            ("s=x y\n", ""),
            ("t=0 0\n", ""),
            ("t=0 0", "t=0"),
            ("t=0 0", "t=0 0 0"),
            ("s=x y", "s=x\ns=y"),
            ("s=x y", "i=x"),
            (" 9 IN", " -9 IN"),
            (" 9 IN", " 99999999999999999999 IN"),
            ("IN IP4 192.0.2.1\ns", "IN IP4\ns"),
            ("IN IP4 192.0.2.1\ns", "IN  IP4 192.0.2.1\ns"),
            ("AS:64", "AS"),
            ("AS:64", "AS:6 4"),
            ("c=IN IP6 2001:db8::1", "c=IN IP6 ::1\nc=IN IP6 ::2"),
            ("c=IN IP6 2001:db8::1", "c=IN IP6"),
            ("c=IN IP6 2001:db8::1", "c=IN IP6 ::1 x"),
            ("4000/2", "70000"),
            ("4000/2", "4000/x"),
            ("udptl t38", "udptl"),
            ("a=sendrecv", "i=title"),
            ("a=sendrecv", "what"),
        ] {
            let odd = usual.replacen(from, to, 1);
            assert_ne!(odd, usual);
            assert_eq!(version_of(&odd), None, "{odd}");
        }
    }
}

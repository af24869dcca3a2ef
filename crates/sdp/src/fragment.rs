//! Trickled candidates in a body of their own (RFC 8840 `application/trickle-ice-sdpfrag`).

use std::fmt;

use crate::Candidate;

/// What one fragment carries, for the first media section it names: with BUNDLE there is only
/// one transport.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    pub ufrag: Option<String>,
    pub pwd: Option<String>,
    pub mid: Option<String>,
    pub candidates: Vec<Candidate>,
    pub end_of_candidates: bool,
}

/// Passwords and addresses never show.
impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragment")
            .field("ufrag", &self.ufrag)
            .field("mid", &self.mid)
            .field("candidates", &self.candidates.len())
            .field("end_of_candidates", &self.end_of_candidates)
            .finish_non_exhaustive()
    }
}

impl Fragment {
    /// Reads what we know and passes over the rest; at most 64 candidates in 512 lines.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes.get(..MAX_LEN).unwrap_or(bytes));
        let mut out = Self::default();
        let mut sections = 0;
        for line in text.lines().take(MAX_LINES) {
            let line = line.trim_end();
            if line.starts_with("m=") {
                sections += 1;
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            let value = || Some(value.trim().to_owned()).filter(|v| !v.is_empty());
            match name {
                _ if sections > 1 => break,
                "ice-ufrag" => out.ufrag = value().or(out.ufrag),
                "ice-pwd" => out.pwd = value().or(out.pwd),
                "mid" => out.mid = value().or(out.mid),
                "candidate" if out.candidates.len() < MAX_CANDIDATES => {
                    out.candidates.push(Candidate(attribute.to_owned()));
                }
                "end-of-candidates" => out.end_of_candidates = true,
                _ => {}
            }
        }
        out
    }

    #[must_use]
    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            // A line end inside would be an attribute that nobody meant to send.
            if !text.contains(char::is_control) {
                out.push_str(&text);
                out.push_str("\r\n");
            }
        };
        if let Some(ufrag) = &self.ufrag {
            line(format!("a=ice-ufrag:{ufrag}"));
        }
        if let Some(pwd) = &self.pwd {
            line(format!("a=ice-pwd:{pwd}"));
        }
        line("m=audio 9 RTP/AVP 0".to_owned());
        if let Some(mid) = &self.mid {
            line(format!("a=mid:{mid}"));
        }
        for Candidate(text) in &self.candidates {
            let text = text.strip_prefix("candidate:").unwrap_or(text);
            line(format!("a=candidate:{text}"));
        }
        if self.end_of_candidates {
            line("a=end-of-candidates".to_owned());
        }
        out
    }
}

const MAX_LEN: usize = 65_535;
const MAX_LINES: usize = 512;
const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_to_the_same() {
        let fragment = Fragment {
            ufrag: Some("abcd".to_owned()),
            pwd: Some("p".repeat(22)),
            mid: Some("0".to_owned()),
            candidates: vec![Candidate("candidate:1 1 udp 1 192.0.2.1 5 typ host".to_owned())],
            end_of_candidates: true,
        };
        assert_eq!(Fragment::parse(fragment.print().as_bytes()), fragment);
    }

    #[test]
    fn reads_what_browsers_and_the_rfc_send() {
        // RFC 8840 §9.3, shortened: two sections, of which the first counts.
        let text = "a=ice-pwd:asd88fgpdd777uzjYhagZg\na=ice-ufrag:8hhY\n\
m=audio 9 RTP/AVP 0\na=mid:1\n\
a=candidate:1 1 UDP 1694498815 192.0.2.3 5000 typ host\n\
a=candidate:1 1 tcp 1 192.0.2.3 9 typ host tcptype active\na=end-of-candidates\n\
m=audio 9 RTP/AVP 0\na=mid:2\n\
a=candidate:2 1 UDP 1694498815 192.0.2.3 5004 typ host\n";
        let fragment = Fragment::parse(text.as_bytes());
        assert_eq!(fragment.ufrag.as_deref(), Some("8hhY"));
        assert_eq!(fragment.mid.as_deref(), Some("1"));
        assert!(fragment.end_of_candidates);
        let addresses: Vec<_> = fragment.candidates.iter().map(Candidate::udp_address).collect();
        assert_eq!(addresses, [Some(([192, 0, 2, 3], 5000).into()), None]);
    }

    #[test]
    fn garbage_and_floods_stay_bounded() {
        assert_eq!(Fragment::parse(b"\xff\xfe\0a=mid"), Fragment::default());
        let flood = "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n".repeat(5000);
        assert_eq!(Fragment::parse(flood.as_bytes()).candidates.len(), MAX_CANDIDATES);
    }

    #[test]
    fn a_line_end_cannot_be_smuggled_in() {
        let evil = Candidate("candidate:1 1 udp 1 h 5 typ host\r\na=setup:active".to_owned());
        let fragment = Fragment { candidates: vec![evil], ..Fragment::default() };
        assert!(!fragment.print().contains("setup"));
    }

    #[test]
    fn shows_no_address_and_no_password() {
        let text = "a=ice-pwd:secretsecretsecretsecret\r\n\
a=candidate:1 1 udp 1 192.0.2.77 5 typ host\r\n";
        let shown = format!("{:?}", Fragment::parse(text.as_bytes()));
        assert!(!shown.contains("secret") && !shown.contains("192.0.2"), "{shown}");
    }
}

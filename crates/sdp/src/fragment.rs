//! Trickled candidates in a body of their own (RFC 8840 `application/trickle-ice-sdpfrag`).

use crate::Candidate;

/// What one fragment carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    pub ufrag: Option<String>,
    pub pwd: Option<String>,
    pub mid: Option<String>,
    pub candidates: Vec<Candidate>,
    pub end_of_candidates: bool,
}

impl Fragment {
    /// Reads what we know and passes over the rest; at most 64 candidates.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut out = Self::default();
        for line in text.lines().take(512) {
            let Some(attribute) = line.trim_end().strip_prefix("a=") else { continue };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match name {
                "ice-ufrag" => out.ufrag = Some(value.to_owned()),
                "ice-pwd" => out.pwd = Some(value.to_owned()),
                "mid" => out.mid = Some(value.to_owned()),
                "candidate" if out.candidates.len() < 64 => {
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
            out.push_str(&text);
            out.push_str("\r\n");
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
            line(format!("a={text}"));
        }
        if self.end_of_candidates {
            line("a=end-of-candidates".to_owned());
        }
        out
    }
}

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
}

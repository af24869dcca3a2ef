//! Telephone numbers as PASSporTs carry them.

use std::fmt;

use crosspoint_base::Private;

/// A number in canonical form (RFC 8224 §8.3): digits, `*` and `#` only, no `+`.
#[derive(Clone, PartialEq, Eq)]
pub struct TelephoneNumber(Private<String>);

impl TelephoneNumber {
    /// `None` for what is no telephone number: a name, or more digits than any number has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // `;` begins parameters of a number in a SIP URI (RFC 3261 §19.1.6).
        let number = text.split(';').next().unwrap_or_default();
        let digits: String = number
            .chars()
            // Visual separators (RFC 3966 §3).
            .filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' '))
            .collect();
        let digits = digits.strip_prefix('+').unwrap_or(&digits);
        let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
            && digits.bytes().any(|b| b.is_ascii_digit())
            && digits.len() <= MAX_DIGITS;
        is_number.then(|| Self(Private(digits.to_owned())))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.expose()
    }
}

/// Hides the number.
impl fmt::Debug for TelephoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TelephoneNumber(…)")
    }
}

/// E.164 has 15; some networks put a prefix before.
const MAX_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_in_one_form() {
        for (text, expected) in [
            ("+49 (30) 123-45", Some("493012345")),
            ("493012345", Some("493012345")),
            ("+14045550100;phone-context=x", Some("14045550100")),
            ("*31#", Some("*31#")),
            ("alice", None),
            ("", None),
            ("+", None),
            ("*#", None),
            ("++1", None),
            ("1+1", None),
            ("12345678901234567890123456789012345", None),
        ] {
            let found = TelephoneNumber::parse(text);
            assert_eq!(found.as_ref().map(TelephoneNumber::as_str), expected, "{text}");
        }
    }

    #[test]
    fn a_number_does_not_show() {
        let number = TelephoneNumber::parse("+14045550100").expect("a number");
        assert!(!format!("{number:?}").contains("404"));
    }
}

//! Number rewriting: strip, then match and replace, then prepend.

use regex::Regex;

/// How a trunk wants a dialled number changed.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    strip: usize,
    prepend: String,
    pattern: Option<(Regex, String)>,
}

/// Why a rewriting rule cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the pattern is not a regular expression: {0}")]
pub struct RewriteError(#[from] regex::Error);

impl Rewrite {
    /// Drops `strip` characters, then replaces by `pattern` (a regular expression and its
    /// replacement with `$1`-style groups), then puts `prepend` in front.
    ///
    /// # Errors
    /// When the pattern does not compile.
    pub fn new(
        strip: usize,
        prepend: &str,
        pattern: Option<(&str, &str)>,
    ) -> Result<Self, RewriteError> {
        let pattern = pattern
            .map(|(text, replacement)| {
                // `$1` beside digits would name another group; braces make the end plain.
                Regex::new(text).map(|regex| (regex, braced(replacement)))
            })
            .transpose()?;
        Ok(Self { strip, prepend: prepend.to_owned(), pattern })
    }

    /// The number to dial, or `None` when the pattern does not fit or nothing would be left.
    #[must_use]
    pub fn apply(&self, number: &str) -> Option<String> {
        let rest = match number.char_indices().nth(self.strip) {
            Some((start, _)) => &number[start..],
            None => return None,
        };
        let changed = match &self.pattern {
            None => rest.to_owned(),
            Some((regex, replacement)) if regex.is_match(rest) => {
                regex.replace(rest, replacement.as_str()).into_owned()
            }
            Some(_) => return None,
        };
        let dialled = format!("{}{changed}", self.prepend);
        (!dialled.is_empty()).then_some(dialled)
    }
}

/// Turns `$1` into `${1}`, so that `$10` after group 1 reads as people mean it.
fn braced(replacement: &str) -> String {
    let mut out = String::with_capacity(replacement.len() + 4);
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '$'
            && let Some(digit) = chars.peek().copied().filter(char::is_ascii_digit)
        {
            chars.next();
            out.push('{');
            out.push(digit);
            out.push('}');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_matches_and_prepends_in_that_order() {
        let check = |strip, prepend, pattern, number: &str, expected: Option<&str>| {
            let rewrite = Rewrite::new(strip, prepend, pattern).unwrap();
            assert_eq!(rewrite.apply(number).as_deref(), expected);
        };
        check(0, "", None, "123", Some("123"));
        check(1, "+49", None, "0301", Some("+49301"));
        check(3, "", None, "123", None);
        check(0, "", Some((r"^00(\d+)$", "+$1")), "00441", Some("+441"));
        check(0, "", Some((r"^00(\d+)$", "+$1")), "0441", None);
        check(0, "", Some((r"^(\d)(\d+)$", "$10$2")), "123", Some("1023"));
        assert!(Rewrite::new(0, "", Some(("(", ""))).is_err());
    }
}

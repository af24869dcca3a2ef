//! What commands print: sentences for people, or JSON for programs.

use std::io::Write;

use crosspoint_base::is_plain;
use serde_json::{Value, json};

use crate::cli::Failure;

/// Where results and failures go, in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one result.
    pub(crate) fn result(&self, value: &Value, text: &str) {
        if self.json {
            print_line(&value.to_string());
        } else if !text.is_empty() {
            print_line(&shown(text.trim_end()));
        }
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        match (failure, self.json) {
            // The decision is already printed.
            (Failure::Refused, _) => {}
            (Failure::Config(error), true) => print_line(&error.to_json().to_string()),
            (failure, true) => {
                let value = json!({ "ok": false, "error": failure.to_string() });
                print_line(&value.to_string());
            }
            (failure, false) => eprintln!("{failure}"),
        }
    }
}

/// Nothing that a stranger has got into our database steers the operator's terminal.
fn shown(text: &str) -> String {
    let safe = |c: char| {
        if c == '\n' || is_plain(c) { c.to_string() } else { c.escape_unicode().to_string() }
    };
    text.chars().map(safe).collect()
}

/// What another program reads: a script, a page.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed("standard output".to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// A reader that went away (`crosspoint cdr list | head`) is no reason to panic.
fn print_line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(shown("a\u{1b}[2Jb\nc\u{202e}d\r"), "a\\u{1b}[2Jb\nc\\u{202e}d\\u{d}");
        assert_eq!(shown("J\u{fc}rgen \u{6771}"), "J\u{fc}rgen \u{6771}");
    }
}

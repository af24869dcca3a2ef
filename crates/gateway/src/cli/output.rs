//! What commands print: sentences for people, or JSON for programs.

use std::io::Write;

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
            print_line(text.trim_end());
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

/// A reader that went away (`crosspoint cdr list | head`) is no reason to panic.
fn print_line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

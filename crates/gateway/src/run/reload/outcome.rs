//! What a reload has changed, in words and as JSON.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fixed::Marks;

/// What a reload has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Sections that are other than they were, and apply.
    pub(crate) changed: Vec<&'static str>,
    /// Those that apply after a restart.
    pub(crate) needs_restart: Vec<&'static str>,
    /// Trunks by what became of them.
    pub(crate) added: Vec<Arc<str>>,
    pub(crate) altered: Vec<Arc<str>>,
    pub(crate) removed: Vec<Arc<str>>,
    /// TLS shows another certificate.
    pub(crate) certificate: bool,
}

impl Outcome {
    pub(super) fn compare(old: &Marks, new: &Marks) -> Self {
        let (changed, needs_restart) = old.differences(new);
        Self { changed, needs_restart, ..Self::default() }
    }

    /// How many trunks are not what they were.
    pub(super) fn trunks(&self) -> usize {
        self.added.len() + self.altered.len() + self.removed.len()
    }

    pub(crate) fn as_json(&self) -> Value {
        let names = |all: &[Arc<str>]| all.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        json!({
            "ok": true,
            "changed": self.changed,
            "trunks": {
                "added": names(&self.added),
                "changed": names(&self.altered),
                "removed": names(&self.removed),
            },
            "certificate": self.certificate,
            "needs_restart": self.needs_restart,
        })
    }
}

/// From the answer of a running process.
pub(crate) fn in_words(answer: &Value) -> String {
    let words = |value: &Value| {
        let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec!["reloaded; running calls go on".to_owned()];
    let mut line = |name: &str, value: &Value| {
        let words = words(value);
        if !words.is_empty() {
            lines.push(format!("{name}: {words}"));
        }
    };
    line("changed", &answer["changed"]);
    line("new trunks", &answer["trunks"]["added"]);
    line("changed trunks", &answer["trunks"]["changed"]);
    line("removed trunks", &answer["trunks"]["removed"]);
    line("not before a restart", &answer["needs_restart"]);
    if answer["certificate"] == true {
        lines.push("TLS shows another certificate".to_owned());
    }
    lines.join("\n")
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_words(&self.as_json()))
    }
}

//! What is wrong with a configuration, in words an operator can act on.

use std::fmt;

use serde_json::json;

/// Every problem found in one file, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from one.
    pub line: usize,
    pub column: usize,
    /// Where in the tree, such as `trunk[0].port`. Empty when the text is not TOML at all.
    pub key: String,
    pub message: String,
    pub remedy: String,
}

impl ConfigError {
    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let problem = |p: &Problem| {
            json!({
                "file": self.file, "line": p.line, "column": p.column,
                "key": p.key, "message": p.message, "remedy": p.remedy,
            })
        };
        json!({ "ok": false, "errors": self.problems.iter().map(problem).collect::<Vec<_>>() })
    }
}

impl ConfigError {
    /// What `to_json` made.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        let errors = value["errors"].as_array()?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let count = |value: &serde_json::Value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
        };
        let problem = |p: &serde_json::Value| Problem {
            line: count(&p["line"]),
            column: count(&p["column"]),
            key: text(&p["key"]),
            message: text(&p["message"]),
            remedy: text(&p["remedy"]),
        };
        let file = text(&errors.first()?["file"]);
        Some(Self { file, problems: errors.iter().map(problem).collect() })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, p) in self.problems.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{}:{}:{}: ", self.file, p.line, p.column)?;
            if !p.key.is_empty() {
                write!(f, "{}: ", p.key)?;
            }
            write!(f, "{}\n  remedy: {}", p.message, p.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

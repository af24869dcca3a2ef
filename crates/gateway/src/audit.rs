//! Who changed what, from where, and how it went: for the store, the log and those who read it.

use std::time::Duration;

use crosspoint_state::{AuditBounds, AuditEntry, Store};
use serde_json::{Map, Value, json};

use crate::bans::unix_millis;

/// Members of requests that may be kept. None of them is a secret; what is not named here is not
/// kept.
const KEPT: [&str; 24] = [
    "action",
    "address",
    "aliases",
    "always",
    "app",
    "away",
    "busy",
    "connector",
    "domain",
    "email",
    "identifier",
    "mode",
    "name",
    "network",
    "no_answer",
    "no_answer_after",
    "owner",
    "packets",
    "prompt",
    "role",
    "seconds",
    "session",
    "side",
    "tag",
];

/// What of a request is kept.
pub(crate) fn detail(fields: &Map<String, Value>) -> Map<String, Value> {
    let kept = fields.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), shortened(value))).collect()
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.chars().take(LONGEST).collect()),
        Value::Array(items) => Value::Array(items.iter().take(20).map(shortened).collect()),
        Value::Object(_) => Value::Null,
        plain => plain.clone(),
    }
}

/// Entries that are kept, and for how long.
pub(crate) fn bounds(keep: Duration) -> AuditBounds {
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    AuditBounds { entries: MOST, since: unix_millis().saturating_sub(keep) }
}

/// The line in the log. To whom it was done is in the store.
pub(crate) fn log(entry: &AuditEntry) {
    let AuditEntry { who, role, by, source, action, outcome, .. } = entry;
    tracing::info!(who, role, by, from = source, action, outcome, "something was changed");
}

pub(crate) fn shown(entry: &AuditEntry) -> Value {
    let detail: Value = serde_json::from_str(&entry.detail).unwrap_or(Value::Null);
    json!({
        "number": entry.number,
        "at": entry.at,
        "who": entry.who,
        "role": entry.role,
        "by": entry.by,
        "from": entry.source,
        "action": entry.action,
        "target": entry.target,
        "detail": detail,
        "outcome": entry.outcome,
    })
}

/// Something that a command changed: whoever runs commands here has the machine's account.
pub(crate) fn of_command(
    store: &dyn Store,
    keep: Duration,
    action: &str,
    target: &str,
    detail: &Value,
) {
    let account = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| {
        let found = std::env::var(name).ok()?;
        (!found.is_empty() && found.len() <= 64).then_some(found)
    });
    let entry = AuditEntry {
        at: unix_millis(),
        who: account.unwrap_or_else(|| "somebody".to_owned()),
        role: "machine".to_owned(),
        by: "command line".to_owned(),
        action: action.to_owned(),
        target: target.to_owned(),
        detail: detail.to_string(),
        outcome: "done".to_owned(),
        ..AuditEntry::default()
    };
    if let Err(error) = store.note(&entry, bounds(keep)) {
        tracing::error!(%error, "what was changed cannot be noted");
    }
}

const MOST: u32 = 100_000;
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_kept() {
        let Value::Object(fields) = json!({
            "name": "olga", "role": "viewer", "password": "p", "old": "o", "accessToken": "t",
            "config": "c", "digits": "1234", "metadata": { "name": "x" }, "aliases": ["1", { "a": 1 }],
            "email": "x".repeat(500),
        }) else {
            unreachable!("an object is given")
        };
        let kept = detail(&fields);
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert_eq!(names, ["aliases", "email", "name", "role"]);
        assert_eq!(kept["aliases"], json!(["1", null]));
        assert_eq!(kept["email"].as_str().map(str::len), Some(200));
    }
}

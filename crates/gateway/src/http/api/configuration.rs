//! The configuration as operators see it: secrets are blanked, and a text that comes back with
//! the blanks in it means what is there now.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use crate::config::{Config, ConfigError};
use crate::home::USUAL_FILE;
use crate::provisioning::Refusal;

/// The text with what is secret in it blanked. One that is no TOML is not shown: nobody can say
/// where its secrets are.
pub(super) fn blanked(text: &str) -> String {
    let Ok(table) = DeTable::parse(text) else {
        return "# This file is no TOML any more, and is not shown.\n".to_owned();
    };
    let mut found = BTreeMap::new();
    collect("", table.get_ref(), &mut found);
    let secrets: Vec<Range<usize>> =
        found.into_iter().filter(|(key, _)| is_secret(key)).map(|(_, span)| span).collect();
    replaced(text, secrets.into_iter().map(|span| (span, format!("\"{BLANK}\""))).collect())
}

/// What is wrong with a text.
pub(super) fn check(text: &str, file: Option<&Path>, users: &BTreeSet<String>) -> Value {
    let now = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let text = filled(text, &now);
    let file = file.unwrap_or(Path::new(USUAL_FILE));
    let outcome = Config::parse(&text, file).and_then(|config| {
        let problems = config.routing.unknown_users(|name| users.contains(name));
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError { file: file.display().to_string(), problems })
    });
    match outcome {
        Ok(()) => json!({ "ok": true, "errors": [] }),
        Err(error) => error.to_json(),
    }
}

/// Writes a text to the file, unless something is wrong with it; gives what was there before, or
/// what is wrong.
pub(super) fn write(
    text: &str,
    file: &Path,
    users: &BTreeSet<String>,
) -> Result<Result<String, Value>, Refusal> {
    let checked = check(text, Some(file), users);
    if checked["ok"] != json!(true) {
        return Ok(Err(checked));
    }
    let now = std::fs::read_to_string(file).map_err(|error| failed(file, &error))?;
    replace(file, &filled(text, &now))?;
    Ok(Ok(now))
}

/// At once, so that nobody reads half of it, and readable by whom it was.
pub(super) fn replace(file: &Path, text: &str) -> Result<(), Refusal> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = file.with_file_name(name);
    let write = || {
        let permissions = std::fs::metadata(file)?.permissions();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut new = options.open(&beside)?;
        new.write_all(text.as_bytes())?;
        new.set_permissions(permissions)?;
        new.sync_all()?;
        std::fs::rename(&beside, file)
    };
    write().map_err(|error| failed(file, &error))
}

fn failed(file: &Path, error: &std::io::Error) -> Refusal {
    tracing::error!(file = %file.display(), %error, "the configuration cannot be written");
    Refusal::State("the file cannot be written; the log says why".to_owned())
}

/// The text with what `now` has where it has blanks.
pub(super) fn filled(text: &str, now: &str) -> String {
    let (Ok(table), Ok(kept)) = (DeTable::parse(text), DeTable::parse(now)) else {
        return text.to_owned();
    };
    let (mut wanted, mut there) = (BTreeMap::new(), BTreeMap::new());
    collect("", table.get_ref(), &mut wanted);
    collect("", kept.get_ref(), &mut there);
    let blanks = wanted.into_iter().filter_map(|(key, span)| {
        let is_blank = text.get(span.clone())?.trim_matches(['"', '\'']) == BLANK;
        let kept = there.get(&key).and_then(|span| now.get(span.clone()))?;
        is_blank.then(|| (span, kept.to_owned()))
    });
    replaced(text, blanks.collect())
}

/// Where every value that is no table is, by its key.
fn collect(within: &str, table: &DeTable<'_>, found: &mut BTreeMap<String, Range<usize>>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if within.is_empty() { name.to_string() } else { format!("{within}.{name}") };
        collect_value(&path, value.get_ref(), value.span(), found);
    }
}

fn collect_value(
    path: &str,
    value: &DeValue<'_>,
    span: Range<usize>,
    found: &mut BTreeMap<String, Range<usize>>,
) {
    match value {
        DeValue::Table(table) => collect(path, table, found),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                collect_value(&path, item.get_ref(), item.span(), found);
            }
        }
        _ => {
            found.insert(path.to_owned(), span);
        }
    }
}

/// Files and variables are named, and are no secrets themselves.
fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    let name = name.split('[').next().unwrap_or(name);
    let is_place = ["_file", "_env", "_lifetime"].iter().any(|end| name.ends_with(end));
    let words = ["password", "secret", "token", "passphrase", "private_key"];
    let is_url = ["url", "dsn", "database"].contains(&name);
    !is_place && (is_url || words.iter().any(|word| name.contains(word)))
}

fn replaced(text: &str, mut parts: Vec<(Range<usize>, String)>) -> String {
    parts.sort_by_key(|(span, _)| span.start);
    let (mut written, mut at) = (String::with_capacity(text.len()), 0);
    for (span, instead) in parts {
        let (Some(before), true) = (text.get(at..span.start), span.end <= text.len()) else {
            continue;
        };
        written.push_str(before);
        written.push_str(&instead);
        at = span.end;
    }
    written.push_str(text.get(at..).unwrap_or_default());
    written
}

const BLANK: &str = "(kept)";

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Ours.\n[admin]\ntoken_file = \"t\" # here\n[[trunk]]\nname = \"a\"\n\
                        password = \"p1\"\n[[trunk]]\nname = \"b\"\npassword = 'p2'\n\
                        auth = { password = \"p3\", user = \"u\" }\n";

    #[test]
    fn secrets_are_blanked_and_come_back_where_they_were() {
        let shown = blanked(TEXT);
        for secret in ["p1", "p2", "p3"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.starts_with("# Ours.\n[admin]\ntoken_file = \"t\" # here\n"), "{shown}");
        assert_eq!(shown.matches("\"(kept)\"").count(), 3);
        assert_eq!(filled(&shown, TEXT), TEXT);
        let changed = shown.replace("name = \"b\"", "name = \"new\"");
        assert_eq!(filled(&changed, TEXT), TEXT.replace("name = \"b\"", "name = \"new\""));
        assert_eq!(filled("x = \"(kept)\"", TEXT), "x = \"(kept)\"", "there is nothing to keep");
        assert!(!blanked("password = \"p1").contains("p1"), "no TOML is not shown");
        assert!(blanked("[records]\nurl = \"postgres://u:p1@db\"").contains("(kept)"));
    }

    #[test]
    fn a_text_is_checked_as_the_file_would_be() {
        let users = BTreeSet::from(["alice".to_owned()]);
        assert_eq!(check("", None, &users), json!({ "ok": true, "errors": [] }));
        let wrong = check("[general]\n\nrealms = \"x\"", None, &users);
        assert_eq!((&wrong["ok"], &wrong["errors"][0]["line"]), (&json!(false), &json!(3)));
        assert_eq!(wrong["errors"][0]["key"], "general.realms");
    }
}

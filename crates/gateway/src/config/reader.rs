//! Reads tables of a TOML document key by key, and notes everything that is wrong on the way.
//!
//! One run finds all problems of a file. Which keys a table may have follows from what was asked
//! for, so an unknown key is recognized without a second list.

use std::cell::RefCell;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};

/// The document, and what was found wrong with it so far.
#[derive(Debug)]
pub(super) struct Document<'a> {
    text: &'a str,
    problems: RefCell<Vec<(usize, Problem)>>,
}

/// One table while it is read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value with its place, so that later checks can still point at it.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    key: String,
    at: usize,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, problems: RefCell::new(Vec::new()) }
    }

    pub(super) fn complain(&self, at: usize, key: String, message: String, remedy: String) {
        let (line, column) = self.position(at);
        self.problems.borrow_mut().push((at, Problem { line, column, key, message, remedy }));
    }

    pub(super) fn complain_about<T>(
        &self,
        located: &Located<T>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.complain(located.at, located.key.clone(), message.into(), remedy.into());
    }

    /// A problem that may turn out to be one later.
    pub(super) fn problem_at<T>(
        &self,
        located: &Located<T>,
        message: String,
        remedy: String,
    ) -> Problem {
        let (line, column) = self.position(located.at);
        Problem { line, column, key: located.key.clone(), message, remedy }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn into_error(self, file: &str) -> ConfigError {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(at, _)| *at);
        let problems = problems.into_iter().map(|(_, problem)| problem).collect();
        ConfigError { file: file.to_owned(), problems }
    }

    /// Line and column of a byte, counted from one; columns count characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

impl<'a> Section<'a> {
    pub(super) fn root(document: &'a Document<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            document,
            path: String::new(),
            span: table.span(),
            table: table.get_ref(),
            asked: RefCell::default(),
        }
    }

    pub(super) fn document(&self) -> &'a Document<'a> {
        self.document
    }

    /// Where this table begins, for problems that concern it as a whole.
    pub(super) fn here(&self) -> Located<()> {
        Located { value: (), key: self.path.clone(), at: self.span.start }
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.raw(key).is_some()
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Located<String>> {
        let value = self.raw(key)?;
        self.text_of(value, self.key(key))
    }

    /// A string that must parse; `example` shows how it should look.
    pub(super) fn parsed<T: FromStr>(
        &self,
        key: &'static str,
        what: &str,
        example: &str,
    ) -> Option<Located<T>> {
        let text = self.string(key)?;
        match text.value.parse() {
            Ok(value) => Some(text.with(value)),
            Err(_) => {
                let message = format!("{:?} is not {what}", text.value);
                self.document.complain_about(
                    &text,
                    message,
                    format!("write for example {example}"),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<Located<T>> {
        let text = self.string(key)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some(text.with(*value));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let remedy = match nearest(&text.value, &words) {
            Some(word) => format!("write {word:?}"),
            None => format!("write one of {}", words.join(", ")),
        };
        self.document.complain_about(&text, format!("{:?} is not known here", text.value), remedy);
        None
    }

    pub(super) fn integer(&self, key: &'static str, range: Range<u64>) -> Option<Located<u64>> {
        let value = self.raw(key)?;
        let found = Located { value: (), key: self.key(key), at: value.span().start };
        let number = match value.get_ref() {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                .ok()
                .and_then(|n| u64::try_from(n).ok())
                .filter(|n| range.contains(n)),
            _ => None,
        };
        if number.is_none() {
            let remedy = format!("write a number from {} to {}", range.start, range.end - 1);
            self.document.complain_about(&found, "not a number that can be used here", remedy);
        }
        number.map(|n| found.with(n))
    }

    /// A decimal number with at most six places, in millionths.
    pub(super) fn decimal(&self, key: &'static str) -> Option<Located<u64>> {
        let value = self.raw(key)?;
        let found = Located { value: (), key: self.key(key), at: value.span().start };
        let number = match value.get_ref() {
            DeValue::Integer(n) => super::routing::millionths(n.as_str()),
            DeValue::Float(n) => super::routing::millionths(n.as_str()),
            _ => None,
        };
        if number.is_none() {
            let remedy = "write a number such as 0.012, without quotes";
            self.document.complain_about(&found, "not a number that can be used here", remedy);
        }
        number.map(|n| found.with(n))
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.raw(key)?;
        if let DeValue::Boolean(b) = value.get_ref() {
            return Some(*b);
        }
        self.wrong_kind(value, self.key(key), "true or false");
        None
    }

    /// A time such as `"20s"`, within bounds.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: Range<Duration>,
    ) -> Option<Located<Duration>> {
        let text = self.string(key)?;
        match parse_duration(&text.value) {
            Some(value) if range.contains(&value) => Some(text.with(value)),
            outcome => {
                let message = match outcome {
                    Some(_) => format!("{:?} is out of range", text.value),
                    None => format!("{:?} is not a length of time", text.value),
                };
                let remedy = format!(
                    "write a number with ms, s, m or h, at least {:?} and below {:?}",
                    range.start, range.end
                );
                self.document.complain_about(&text, message, remedy);
                None
            }
        }
    }

    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        let value = self.raw(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_kind(value, self.key(key), "a list of strings, such as [\"a\", \"b\"]");
            return None;
        };
        let item = |(index, item)| self.text_of(item, format!("{}[{index}]", self.key(key)));
        Some(items.iter().enumerate().filter_map(item).collect())
    }

    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.raw(key)?;
        let found = self.table_of(value, self.key(key));
        if found.is_none() {
            self.wrong_kind(value, self.key(key), &format!("a section [{}]", self.key(key)));
        }
        found
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let wanted = format!("sections [[{}]], with two brackets", self.key(key));
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_kind(value, self.key(key), &wanted);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            match self.table_of(item, path.clone()) {
                Some(section) => sections.push(section),
                None => self.wrong_kind(item, path, &wanted),
            }
        }
        sections
    }

    /// Complains when a key that must be there is not.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        found: Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            let message = format!("{key} is missing");
            self.document.complain_about(&self.here(), message, format!("add {example}"));
        }
        found
    }

    /// Complains about every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.asked.borrow();
        for (key, _) in self.table {
            let name = key.get_ref();
            if known.iter().any(|k| *k == &**name) {
                continue;
            }
            let remedy = match nearest(name, &known) {
                Some(word) => format!("did you mean {word}?"),
                None => format!("remove it; known here: {}", known.join(", ")),
            };
            let path = self.key(name);
            self.document.complain(key.span().start, path, "this key is not known".into(), remedy);
        }
    }

    fn raw(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table.get(key)
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn text_of(&self, value: &Spanned<DeValue<'_>>, key: String) -> Option<Located<String>> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(Located { value: text.to_string(), key, at: value.span().start });
        }
        self.wrong_kind(value, key, "a string in quotes");
        None
    }

    fn table_of(&self, value: &'a Spanned<DeValue<'a>>, path: String) -> Option<Section<'a>> {
        let DeValue::Table(table) = value.get_ref() else { return None };
        Some(Section {
            document: self.document,
            path,
            span: value.span(),
            table,
            asked: RefCell::default(),
        })
    }

    fn wrong_kind(&self, value: &Spanned<DeValue<'_>>, key: String, wanted: &str) {
        let message = format!("this is {}", kind_of(value.get_ref()));
        self.document.complain(value.span().start, key, message, format!("write {wanted}"));
    }
}

impl<T> Located<T> {
    pub(super) fn with<U>(&self, value: U) -> Located<U> {
        Located { value, key: self.key.clone(), at: self.at }
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..unit_at].parse().ok()?;
    match text[unit_at..].trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// The word that `text` is most likely a slip of, if any is near enough.
fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    // Longer texts are no slip of any word of ours, and would cost time to compare.
    if text.chars().count() > 32 {
        return None;
    }
    words
        .iter()
        .map(|word| (distance(text, word), *word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min()
        .map(|(_, word)| word)
}

/// Edits (insert, remove, replace) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_of_time() {
        let check = |text, expected| assert_eq!(parse_duration(text), expected, "{text}");
        check("20s", Some(Duration::from_secs(20)));
        check("5 m", Some(Duration::from_secs(300)));
        check("1h", Some(Duration::from_secs(3600)));
        check("250ms", Some(Duration::from_millis(250)));
        check("20", None);
        check("s", None);
        check("-1s", None);
        check("99999999999999999999s", None);
        check("18446744073709551615h", None);
        check("1ŝ", None);
    }

    #[test]
    fn finds_the_word_that_was_meant() {
        let words = ["address", "advertise", "transport"];
        assert_eq!(nearest("adress", &words), Some("address"));
        assert_eq!(nearest("transprot", &words), Some("transport"));
        assert_eq!(nearest("password", &words), None);
        assert_eq!(nearest("", &words), None);
    }
}

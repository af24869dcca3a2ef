//! Dictionaries as ng messages carry them, in bencode or JSON.
//!
//! Keys keep their order and need not be sorted: proxies send them as they come. A key is found
//! whether it is written with spaces, hyphens or underscores and in any case.

mod bencode;
mod json;

pub(crate) use bencode::Scanner;

/// How a message is written; a reply is written like its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Bencode,
    Json,
}

/// What a dictionary holds. Text need not be UTF-8.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Integer(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
    Dictionary(Dictionary),
}

/// Keys with values, in order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Dictionary(Vec<(Vec<u8>, Value)>);

/// Why bytes are no dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a dictionary begins with d or with a brace")]
    Unknown,
    #[error("bytes at {0} are no bencode")]
    Bencode(usize),
    #[error("this is no JSON")]
    Json,
    #[error("more than {MAX_VALUES} values, or deeper than {MAX_DEPTH}")]
    TooMuch,
}

/// Descriptions carry addresses and keys, so text is not shown.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::List(list) => f.debug_list().entries(list).finish(),
            Self::Dictionary(dictionary) => dictionary.fmt(f),
        }
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.0.iter().map(|(key, value)| (String::from_utf8_lossy(key), value));
        f.debug_map().entries(entries).finish()
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into_bytes())
    }
}

impl From<Dictionary> for Value {
    fn from(dictionary: Dictionary) -> Self {
        Self::Dictionary(dictionary)
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Self {
        Self::List(list)
    }
}

impl Value {
    /// Text, or a number as its digits: proxies write either.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Self::Integer(number) => Some(number.to_string()),
            Self::List(_) | Self::Dictionary(_) => None,
        }
    }

    /// A number, or text that is one.
    #[must_use]
    pub fn to_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
            Self::List(_) | Self::Dictionary(_) => None,
        }
    }

    /// The words of a list, or of a single text.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        match self {
            Self::List(list) => list.iter().filter_map(Self::to_text).collect(),
            Self::Integer(_) | Self::Text(_) => self.to_text().into_iter().collect(),
            Self::Dictionary(_) => vec![],
        }
    }
}

impl Dictionary {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry behind the others.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.push(key, value);
        self
    }

    pub fn push(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push((key.as_bytes().to_vec(), value.into()));
    }

    /// The first entry of this name, which is written in lower case with hyphens.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| is_named(key, name)).map(|(_, value)| value)
    }

    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.find(name).and_then(Value::to_text)
    }

    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.find(name).and_then(Value::to_integer)
    }

    #[must_use]
    pub fn words(&self, name: &str) -> Vec<String> {
        self.find(name).map(Value::to_words).unwrap_or_default()
    }

    #[must_use]
    pub fn dictionary(&self, name: &str) -> Option<&Self> {
        match self.find(name) {
            Some(Value::Dictionary(dictionary)) => Some(dictionary),
            _ => None,
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value))
    }

    /// Reads a whole message: what stands behind the dictionary is not looked at.
    ///
    /// # Errors
    /// When it is neither bencode nor JSON, or too much of it.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Format), DecodeError> {
        match bytes.first() {
            Some(b'd') => Ok((bencode::decode(bytes)?, Format::Bencode)),
            Some(b'{') => Ok((json::decode(bytes)?, Format::Json)),
            _ => Err(DecodeError::Unknown),
        }
    }

    #[must_use]
    pub fn encode(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Bencode => bencode::encode(self),
            Format::Json => json::encode(self),
        }
    }
}

/// Compares without case, and takes space, hyphen and underscore for the same.
fn is_named(key: &[u8], name: &str) -> bool {
    key.len() == name.len() && key.iter().zip(name.bytes()).all(|(k, n)| plain(*k) == n)
}

fn plain(byte: u8) -> u8 {
    match byte {
        b' ' | b'_' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

/// A word as flags are compared: lower case with hyphens.
pub(crate) fn plain_word(word: &str) -> String {
    word.chars().map(|c| if c == ' ' || c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

pub(crate) const MAX_DEPTH: usize = 16;
pub(crate) const MAX_VALUES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Dictionary, DecodeError> {
        Dictionary::decode(text.as_bytes()).map(|(dictionary, _)| dictionary)
    }

    #[test]
    fn a_ping_reads_and_prints_byte_for_byte() {
        let ping = decode("d7:command4:pinge").unwrap();
        assert_eq!(ping.text("command").as_deref(), Some("ping"));
        let pong = Dictionary::new().with("result", "pong");
        assert_eq!(pong.encode(Format::Bencode), b"d6:result4:ponge");
        assert_eq!(pong.encode(Format::Json), br#"{"result":"pong"}"#);
    }

    #[test]
    fn keys_are_found_however_they_are_written_and_in_any_order() {
        for text in ["d12:delete delayi5e4:zeta1:ae", "d4:zeta1:a12:DELETE_DELAY1:5e"] {
            let dictionary = decode(text).unwrap();
            assert_eq!(dictionary.integer("delete-delay"), Some(5));
            assert_eq!(dictionary.text("delete-delay").as_deref(), Some("5"));
        }
    }

    #[test]
    fn both_ways_of_writing_say_the_same() {
        // JSON is written in the order of the keys.
        let dictionary = Dictionary::new()
            .with("inner", Dictionary::new().with("x", 0_i64))
            .with("list", vec![Value::from("a"), Value::Integer(-7), Value::List(vec![])])
            .with("sdp", "v=0\r\na=\"\\\u{1}\u{e4}\r\n");
        for format in [Format::Bencode, Format::Json] {
            let bytes = dictionary.encode(format);
            assert_eq!(Dictionary::decode(&bytes), Ok((dictionary.clone(), format)));
        }
    }

    #[test]
    fn bad_bytes_are_refused_where_they_are_bad() {
        let check = |text: &str, error| assert_eq!(decode(text), Err(error), "{text}");
        check("", DecodeError::Unknown);
        check("i5e", DecodeError::Unknown);
        check("d", DecodeError::Bencode(1));
        check("d3:ab", DecodeError::Bencode(1));
        check("d1:ai5", DecodeError::Bencode(4));
        check("d1:aie", DecodeError::Bencode(4));
        check("di5e1:ae", DecodeError::Bencode(1));
        check("d1:a99999999999999999999:xe", DecodeError::Bencode(4));
        check("d1:ai99999999999999999999ee", DecodeError::Bencode(4));
        check("{", DecodeError::Json);
        check("{\"a\":nope}", DecodeError::Json);
    }

    #[test]
    fn depth_and_number_of_values_have_bounds() {
        let deep = format!("d1:a{}{}e", "l".repeat(100_000), "e".repeat(100_000));
        assert_eq!(decode(&deep), Err(DecodeError::TooMuch));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert_eq!(decode(&deep), Err(DecodeError::TooMuch));
        let wide = format!("d1:al{}ee", "0:".repeat(10_000));
        assert_eq!(decode(&wide), Err(DecodeError::TooMuch));
        let wide = format!("{{\"a\":[{}0]}}", "0,".repeat(10_000));
        assert_eq!(decode(&wide), Err(DecodeError::TooMuch));
    }

    #[test]
    fn shows_no_text() {
        let shown = format!("{:?}", decode("d3:sdp9:192.0.2.7e").unwrap());
        assert!(shown.contains("sdp") && !shown.contains("192"), "{shown}");
    }
}

//! Bencode: `d…e`, `l…e`, `i<number>e` and `<length>:<bytes>`.

use super::{DecodeError, Dictionary, MAX_DEPTH, MAX_VALUES, Value};

/// Reads a dictionary that `bytes` begins with.
pub(super) fn decode(bytes: &[u8]) -> Result<Dictionary, DecodeError> {
    let mut reader = Reader { bytes, at: 1, values: 0 };
    reader.dictionary(1)
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn dictionary(&mut self, depth: usize) -> Result<Dictionary, DecodeError> {
        let mut out = Dictionary::default();
        loop {
            match token(self.bytes, self.at) {
                Ok(Some((Token::End, next))) => {
                    self.at = next;
                    return Ok(out);
                }
                Ok(Some((Token::Text(start), next))) => {
                    let key = self.bytes.get(start..next).unwrap_or_default().to_vec();
                    self.at = next;
                    let value = self.value(depth)?;
                    out.0.push((key, value));
                }
                _ => return Err(DecodeError::Bencode(self.at)),
            }
        }
    }

    /// `depth` is that of what the value stands in.
    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.values += 1;
        if depth >= MAX_DEPTH || self.values > MAX_VALUES {
            return Err(DecodeError::TooMuch);
        }
        let bad = DecodeError::Bencode(self.at);
        let Ok(Some((token, next))) = token(self.bytes, self.at) else { return Err(bad) };
        self.at = next;
        match token {
            Token::Integer(number) => Ok(Value::Integer(number)),
            Token::Text(start) => {
                Ok(Value::Text(self.bytes.get(start..next).unwrap_or_default().to_vec()))
            }
            Token::List => {
                let mut list = Vec::new();
                while self.bytes.get(self.at) != Some(&b'e') {
                    list.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Ok(Value::List(list))
            }
            Token::Dictionary => self.dictionary(depth + 1).map(Value::Dictionary),
            Token::End => Err(bad),
        }
    }
}

enum Token {
    Dictionary,
    List,
    End,
    Integer(i64),
    /// Where the text begins; it ends where the next token begins.
    Text(usize),
}

/// The token at `at` and where the next begins; `None` when more bytes are needed.
fn token(bytes: &[u8], at: usize) -> Result<Option<(Token, usize)>, ()> {
    let rest = bytes.get(at..).unwrap_or_default();
    let number = |from: usize, end: u8| {
        let digits = rest.iter().take(MAX_DIGITS + 1).skip(from);
        let Some(length) = digits.clone().position(|b| *b == end) else {
            return if rest.len() > MAX_DIGITS { Err(()) } else { Ok(None) };
        };
        let text = rest.get(from..from + length).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| ())?;
        Ok(Some((text.parse::<i64>().map_err(|_| ())?, at + from + length + 1)))
    };
    match rest.first() {
        None => Ok(None),
        Some(b'd') => Ok(Some((Token::Dictionary, at + 1))),
        Some(b'l') => Ok(Some((Token::List, at + 1))),
        Some(b'e') => Ok(Some((Token::End, at + 1))),
        Some(b'i') => Ok(number(1, b'e')?.map(|(n, next)| (Token::Integer(n), next))),
        Some(b'0'..=b'9') => {
            let Some((length, start)) = number(0, b':')? else { return Ok(None) };
            let length = usize::try_from(length).map_err(|_| ())?;
            let end = start.checked_add(length).ok_or(())?;
            Ok((end <= bytes.len()).then_some((Token::Text(start), end)))
        }
        Some(_) => Err(()),
    }
}

/// Finds the end of a dictionary while its bytes still arrive: each byte is looked at once, but
/// for the few of a token that is not whole yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scanner {
    at: usize,
    depth: usize,
}

impl Scanner {
    /// Where the dictionary that begins at the first byte ends; `None` when more is needed.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, ()> {
        while let Some((token, next)) = token(bytes, self.at)? {
            self.at = next;
            match token {
                Token::Dictionary | Token::List => self.depth += 1,
                Token::End => self.depth = self.depth.checked_sub(1).ok_or(())?,
                Token::Integer(_) | Token::Text(_) => {}
            }
            if self.depth == 0 {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }
}

pub(super) fn encode(dictionary: &Dictionary) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_dictionary(dictionary, &mut out);
    out
}

fn write_dictionary(dictionary: &Dictionary, out: &mut Vec<u8>) {
    out.push(b'd');
    for (key, value) in &dictionary.0 {
        write_text(key, out);
        write(value, out);
    }
    out.push(b'e');
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
        Value::Text(text) => write_text(text, out),
        Value::List(list) => {
            out.push(b'l');
            for value in list {
                write(value, out);
            }
            out.push(b'e');
        }
        Value::Dictionary(dictionary) => write_dictionary(dictionary, out),
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", text.len()).as_bytes());
    out.extend_from_slice(text);
}

/// A sign and nineteen digits, with a letter before or behind.
const MAX_DIGITS: usize = 21;

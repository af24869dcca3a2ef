//! The same dictionaries in JSON (RFC 8259).

use serde_json::{Number, Value as Json};

use super::{DecodeError, Dictionary, MAX_DEPTH, MAX_VALUES, Value};

/// Reads an object that `bytes` begins with. The library holds recursion to 128.
pub(super) fn decode(bytes: &[u8]) -> Result<Dictionary, DecodeError> {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Json>();
    let Some(Ok(Json::Object(object))) = stream.next() else { return Err(DecodeError::Json) };
    let mut values = 0;
    let mut out = Dictionary::default();
    for (key, value) in object {
        out.0.push((key.into_bytes(), read(value, 1, &mut values)?));
    }
    Ok(out)
}

fn read(json: Json, depth: usize, values: &mut usize) -> Result<Value, DecodeError> {
    *values += 1;
    if depth >= MAX_DEPTH || *values > MAX_VALUES {
        return Err(DecodeError::TooMuch);
    }
    Ok(match json {
        Json::Null => Value::Text(vec![]),
        Json::Bool(yes) => Value::from(i64::from(yes)),
        // Fractions have no place in the protocol.
        Json::Number(number) => Value::Integer(number.as_i64().unwrap_or_default()),
        Json::String(text) => Value::from(text),
        Json::Array(list) => {
            let list = list.into_iter().map(|item| read(item, depth + 1, values));
            Value::List(list.collect::<Result<_, _>>()?)
        }
        Json::Object(object) => {
            let mut out = Dictionary::default();
            for (key, value) in object {
                out.0.push((key.into_bytes(), read(value, depth + 1, values)?));
            }
            Value::Dictionary(out)
        }
    })
}

pub(super) fn encode(dictionary: &Dictionary) -> Vec<u8> {
    write_dictionary(dictionary).to_string().into_bytes()
}

fn write_dictionary(dictionary: &Dictionary) -> Json {
    let entry = |(key, value): &(Vec<u8>, Value)| (text(key), write(value));
    Json::Object(dictionary.0.iter().map(entry).collect())
}

fn write(value: &Value) -> Json {
    match value {
        Value::Integer(number) => Json::Number(Number::from(*number)),
        Value::Text(bytes) => Json::String(text(bytes)),
        Value::List(list) => Json::Array(list.iter().map(write).collect()),
        Value::Dictionary(dictionary) => write_dictionary(dictionary),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

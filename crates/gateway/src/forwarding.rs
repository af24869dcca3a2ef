//! Where users have calls go: as JSON, as the command line says it, and as the router takes it.

use std::time::Duration;

use crosspoint_base::Private;
use crosspoint_call::router;
use crosspoint_state::Forwarding;
use serde_json::{Map, Value, json};

/// What a user has set, for the router; `None` when nothing is.
pub(crate) fn rule(set: &Forwarding) -> Option<router::Forwarding> {
    let to = |place: &Option<Private<String>>| place.as_ref().map(|place| place.expose().clone());
    let usual = router::Forwarding::USUAL;
    let after = set.no_answer_after.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let rule = router::Forwarding {
        always: to(&set.always),
        busy: to(&set.busy),
        no_answer: to(&set.no_answer),
        no_answer_after: after.unwrap_or(usual),
        away: to(&set.away),
    };
    (!rule.is_empty()).then_some(rule)
}

pub(crate) fn as_json(set: &Forwarding) -> Value {
    let to = |place: &Option<Private<String>>| place.as_ref().map(|place| place.expose().clone());
    json!({
        "always": to(&set.always),
        "busy": to(&set.busy),
        "no_answer": to(&set.no_answer),
        "no_answer_after": set.no_answer_after,
        "away": to(&set.away),
    })
}

/// The whole of what a user wants: what is not named is not forwarded.
///
/// # Errors
/// The member that is wrong, and why.
pub(crate) fn from_json(fields: &Map<String, Value>) -> Result<Forwarding, (&'static str, String)> {
    let to = |member: &'static str| match fields.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => place(text).map(Some).map_err(|why| (member, why.to_owned())),
        Some(_) => Err((member, "must be a text".to_owned())),
    };
    let member = "no_answer_after";
    let no_answer_after = match fields.get(member) {
        None | Some(Value::Null) => None,
        Some(value) => Some(seconds(value.as_u64().unwrap_or(0)).map_err(|why| (member, why))?),
    };
    Ok(Forwarding {
        always: to("always")?,
        busy: to("busy")?,
        no_answer: to("no_answer")?,
        no_answer_after,
        away: to("away")?,
    })
}

pub(crate) fn as_text(set: &Forwarding) -> String {
    let places = [
        ("always", &set.always),
        ("busy", &set.busy),
        ("no answer", &set.no_answer),
        ("away", &set.away),
    ];
    let set = places.iter().filter_map(|(when, to)| Some((when, to.as_ref()?)));
    let words: Vec<String> = set.map(|(when, to)| format!("{when} to {}", to.expose())).collect();
    if words.is_empty() { "not forwarded".to_owned() } else { words.join(", ") }
}

/// A name or number that may be dialled.
pub(crate) fn place(text: &str) -> Result<Private<String>, &'static str> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "+*#._-".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(is_fit) {
        Ok(Private(text.to_owned()))
    } else {
        Err("must be a name or number of 1 to 64 letters, digits and + * # . _ -")
    }
}

pub(crate) fn seconds(seconds: u64) -> Result<u32, String> {
    match u32::try_from(seconds) {
        Ok(seconds @ 5..=120) => Ok(seconds),
        _ => Err("must be 5 to 120 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let read = |value: Value| match value {
            Value::Object(fields) => from_json(&fields),
            _ => unreachable!("an object is given"),
        };
        let fine = read(json!({ "always": "+4930", "no_answer_after": 30, "busy": null })).unwrap();
        assert_eq!(as_text(&fine), "always to +4930");
        assert_eq!(rule(&fine).unwrap().no_answer_after, Duration::from_secs(30));
        assert!(rule(&read(json!({ "no_answer_after": 30 })).unwrap()).is_none());
        for (value, member) in [
            (json!({ "always": "" }), "always"),
            (json!({ "busy": "a b" }), "busy"),
            (json!({ "no_answer": 7 }), "no_answer"),
            (json!({ "away": "x@y" }), "away"),
            (json!({ "no_answer_after": 4 }), "no_answer_after"),
            (json!({ "no_answer_after": "20" }), "no_answer_after"),
        ] {
            assert_eq!(read(value).unwrap_err().0, member);
        }
    }
}

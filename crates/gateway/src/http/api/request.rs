//! What requests say: who sends them, what they want of a list, and what their body is.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crosspoint_base::Secret;
use crosspoint_state::Part;

use crate::http::Arrival;
use crate::provisioning::{Refusal, SignedIn};

/// Name and password of HTTP Basic (RFC 7617).
pub(super) fn credentials(headers: &HeaderMap, arrival: &Arrival) -> Option<SignedIn> {
    let (name, password) = basic(headers.get(AUTHORIZATION)?.as_bytes())?;
    Some(SignedIn { from: arrival.remote.ip(), name, password: Secret::new(password) })
}

/// The token of a bearer (RFC 6750 §2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<Secret<String>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_CODE;
    is_bearer.then(|| Secret::new(token.trim().to_owned()))
}

fn basic(value: &[u8]) -> Option<(String, String)> {
    let (scheme, code) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") || code.len() > MAX_CODE {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(code.trim_ascii()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// How a list is wanted.
#[derive(Debug, PartialEq)]
pub(super) struct Query {
    /// Complete objects instead of references.
    pub(super) expand: bool,
    pub(super) part: Part,
}

impl Query {
    pub(super) fn read(text: Option<&str>) -> Result<Self, Refusal> {
        let mut query = Self { expand: false, part: Part { offset: 0, limit: MAX_ITEMS } };
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = |member, range: std::ops::RangeInclusive<u32>| {
                let found = value.parse().ok().filter(|n| range.contains(n));
                found.ok_or_else(|| {
                    let why = format!("must be from {} to {}", range.start(), range.end());
                    Refusal::Invalid { member, why }
                })
            };
            match name {
                "expand" => {
                    query.expand = match value {
                        "true" | "1" | "" => true,
                        "false" | "0" => false,
                        _ => {
                            let why = "must be true or false".to_owned();
                            return Err(Refusal::Invalid { member: "expand", why });
                        }
                    };
                }
                "limit" => query.part.limit = number("limit", 1..=MAX_ITEMS)?,
                "offset" => query.part.offset = number("offset", 0..=u32::MAX)?,
                _ => {}
            }
        }
        Ok(query)
    }
}

const MAX_CODE: usize = 2048;
const MAX_ITEMS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_passwords() {
        let check = |value: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(n, p)| (n.to_owned(), p.to_owned()));
            assert_eq!(basic(value.as_bytes()), expected, "{value}");
        };
        check("Basic YWxpY2U6b3BlbjpzZXNhbWU=", Some(("alice", "open:sesame")));
        check("bAsIc Og==", Some(("", "")));
        check("Basic YWxpY2U=", None);
        check("Basic /////w==", None);
        check("Basic", None);
        check("Bearer YWxpY2U6eA==", None);
        check("Basic !!", None);
        check(&format!("Basic {}", "QUFB".repeat(1000)), None);
    }

    #[test]
    fn reads_what_is_wanted_of_a_list() {
        let read = |text| Query::read(Some(text));
        let all = Part { offset: 0, limit: 1000 };
        assert_eq!(Query::read(None), Ok(Query { expand: false, part: all }));
        assert_eq!(read("expand=true&x=y&"), Ok(Query { expand: true, part: all }));
        let part = Part { offset: 20, limit: 10 };
        assert_eq!(read("offset=20&limit=10"), Ok(Query { expand: false, part }));
        for bad in ["limit=0", "limit=1001", "limit=-1", "offset=99999999999", "expand=maybe"] {
            assert!(matches!(read(bad), Err(Refusal::Invalid { .. })), "{bad}");
        }
    }
}

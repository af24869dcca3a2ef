//! Trickled candidates: the forms in which they come, and each only once.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use crosspoint_call::{Candidate, Cause, LegEvent};
use crosspoint_sdp::Session;
use serde_json::{Map, Value, json};

use super::calls::description;
use super::message::Message;
use super::socket::Fault;
use super::{CallKey, RtcEngine};

/// The candidates of a client's latest description that are known already.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeSet<u64>);

impl Heard {
    /// Those that a description brings.
    pub(super) fn of(description: &Session) -> Self {
        let mut heard = Self::default();
        for media in description.media() {
            for candidate in &media.candidates {
                heard.is_news(&candidate.0);
            }
        }
        heard
    }

    /// True for the first time; false for all when there are too many.
    fn is_news(&mut self, text: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.0.len() < MAX_CANDIDATES && self.0.insert(hasher.finish())
    }
}

impl RtcEngine {
    pub(super) fn candidate(&mut self, key: CallKey, message: &Message) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match trickled(message.body.get("candidate")) {
            Ok(Some(candidate)) => {
                if call.heard.is_news(&candidate.text) {
                    self.tell_call(key, &LegEvent::Candidate(candidate));
                }
            }
            Ok(None) => self.tell_call(key, &LegEvent::EndOfCandidates),
            Err(()) => {
                let client = call.client;
                self.client_fault(client, Fault::BadMessage, message);
            }
        }
    }

    /// The same description with every candidate: those not heard of yet count.
    pub(super) fn full_description(&mut self, now: Instant, key: CallKey, message: &Message) {
        let Some(description) = description(message) else {
            self.end_call(now, key, Cause::BadDescription);
            return;
        };
        let Some(call) = self.calls.get_mut(&key) else { return };
        let mut news = vec![];
        for media in description.media() {
            for candidate in media.candidates {
                if call.heard.is_news(&candidate.0) {
                    news.push(Candidate {
                        text: candidate.0,
                        mid: media.mid.clone(),
                        ufrag: media.ice_ufrag.clone(),
                    });
                }
            }
        }
        for candidate in news {
            self.tell_call(key, &LegEvent::Candidate(candidate));
        }
        self.tell_call(key, &LegEvent::EndOfCandidates);
    }
}

/// Reads `{type, payload}`; none is the end of candidates.
fn trickled(candidate: Option<&Value>) -> Result<Option<Candidate>, ()> {
    match candidate.and_then(|c| c.get("payload")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => of_object(object),
        Some(Value::String(text)) => {
            let text = text.trim();
            if !text.starts_with('{') {
                return if text.is_empty() { Ok(None) } else { of_text(text, None, None) };
            }
            match serde_json::from_str(text) {
                Ok(Value::Object(object)) => of_object(&object),
                _ => Err(()),
            }
        }
        Some(_) => Err(()),
    }
}

fn of_object(object: &Map<String, Value>) -> Result<Option<Candidate>, ()> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    match text("candidate").map(str::trim) {
        None | Some("") => Ok(None),
        Some(candidate) => of_text(candidate, text("sdpMid"), text("usernameFragment")),
    }
}

fn of_text(text: &str, mid: Option<&str>, ufrag: Option<&str>) -> Result<Option<Candidate>, ()> {
    let text = text.strip_prefix("a=").unwrap_or(text);
    if !text.starts_with("candidate:") || text.len() > MAX_LEN || text.contains(char::is_control) {
        return Err(());
    }
    let token = |token: &&str| token.len() <= MAX_TOKEN && !token.contains(char::is_control);
    Ok(Some(Candidate {
        text: text.to_owned(),
        mid: mid.filter(token).map(str::to_owned),
        ufrag: ufrag.filter(token).map(str::to_owned),
    }))
}

/// The body of a `call.candidate` of ours; none ends them.
pub(super) fn printed(candidate: Option<&Candidate>) -> Value {
    let payload = match candidate {
        None => json!({ "candidate": "" }),
        Some(candidate) => {
            let mut payload = json!({ "candidate": candidate.text, "sdpMid": candidate.mid });
            if candidate.mid.is_none() {
                payload["sdpMLineIndex"] = Value::from(0);
            }
            if let Some(ufrag) = &candidate.ufrag {
                payload["usernameFragment"] = Value::from(ufrag.as_str());
            }
            payload
        }
    };
    json!({ "candidate": { "type": "WEBRTC_LEGACY", "payload": payload.to_string() } })
}

/// Of one description. Browsers have a dozen.
const MAX_CANDIDATES: usize = 128;
const MAX_LEN: usize = 1024;
const MAX_TOKEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "candidate:1 1 udp 1 192.0.2.1 5 typ host";

    fn read(payload: Value) -> Result<Option<Candidate>, ()> {
        trickled(Some(&json!({ "type": "WEBRTC_LEGACY", "payload": payload })))
    }

    #[test]
    fn every_form_of_a_candidate_says_the_same() {
        let object = json!({ "candidate": LINE, "sdpMid": "0", "usernameFragment": "u" });
        for payload in [object.clone(), Value::from(object.to_string())] {
            let candidate = read(payload).unwrap().unwrap();
            assert_eq!(candidate.text, LINE);
            assert_eq!(candidate.mid.as_deref(), Some("0"));
            assert_eq!(candidate.ufrag.as_deref(), Some("u"));
        }
        for line in [LINE.to_owned(), format!("a={LINE}\r\n")] {
            assert_eq!(read(Value::from(line)).unwrap().unwrap().text, LINE);
        }
        assert_eq!(trickled(printed(None).get("candidate")), Ok(None));
        let candidate = read(object).unwrap();
        assert_eq!(trickled(printed(candidate.as_ref()).get("candidate")), Ok(candidate));
    }

    #[test]
    fn an_empty_candidate_ends_them_and_nonsense_is_refused() {
        let empty = json!({ "candidate": "", "sdpMid": "0" });
        for end in [Value::Null, json!(""), json!("{}"), json!({}), empty] {
            assert_eq!(read(end.clone()), Ok(None), "{end}");
        }
        assert_eq!(trickled(None), Ok(None));
        let long = format!("candidate:{}", "1".repeat(2000));
        for bad in ["{", "[]", "hello", "candidate:1\r\na=setup:active", &long] {
            assert_eq!(read(Value::from(bad)), Err(()), "{bad}");
        }
        assert_eq!(read(json!(7)), Err(()));
    }

    #[test]
    fn each_is_heard_once_and_not_too_many() {
        let mut heard = Heard::default();
        assert!(heard.is_news("a") && !heard.is_news("a") && heard.is_news("b"));
        let news = (0..1000).filter(|n| heard.is_news(&n.to_string())).count();
        assert_eq!(news, MAX_CANDIDATES - 2);
    }
}

//! The envelope: one JSON object in a text frame, and the methods there are.

use serde_json::{Map, Value};

/// A message of a client. Its `from` is never read.
pub(super) struct Message {
    pub(super) method: String,
    /// Never empty; more than one is a fork.
    pub(super) to: Vec<String>,
    pub(super) session: String,
    pub(super) body: Map<String, Value>,
}

impl Message {
    /// `None` when it is no message: not JSON, not an object, no method, or a member of a kind
    /// that it cannot be.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Ok(Value::Object(mut envelope)) = serde_json::from_str(text) else { return None };
        let method = owned(envelope.remove("method")?)?;
        let to = match envelope.remove("to") {
            None | Some(Value::Null) => vec![String::new()],
            Some(Value::Array(list)) if !list.is_empty() => {
                list.into_iter().map(owned).collect::<Option<_>>()?
            }
            Some(to) => vec![owned(to)?],
        };
        let session = match envelope.remove("session") {
            None | Some(Value::Null) => String::new(),
            Some(session) => owned(session)?,
        };
        let body = match envelope.remove("body") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(body)) => body,
            Some(_) => return None,
        };
        Some(Self { method, to, session, body })
    }

    /// A text of the body; empty when it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.body.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// An id of the body, if it is short and printable.
    pub(super) fn id(&self, name: &str) -> Option<&str> {
        let id = self.text(name);
        let fits = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        fits.then_some(id)
    }

    /// The first address.
    pub(super) fn address(&self) -> &str {
        self.to.first().map(String::as_str).unwrap_or_default()
    }

    /// True for `""` and `"core"`: nobody's account.
    pub(super) fn is_to_core(&self) -> bool {
        is_core(self.address())
    }
}

pub(super) fn is_core(address: &str) -> bool {
    matches!(address, "" | "core")
}

fn owned(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Session(SessionMethod),
    Account(AccountMethod),
    Call(CallMethod),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionMethod {
    Open,
    Ack,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountMethod {
    Connect,
    Disconnect,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallMethod {
    Start,
    Alive,
    Ringing,
    Accept,
    AckAccept,
    Candidate,
    FullSdp,
    Lock,
    LockOk,
    LockReset,
    ChangeOffer,
    ChangeAnswer,
    Dtmf,
    Transfer,
    End,
    AckEnd,
}

impl Method {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "session.open" => Self::Session(SessionMethod::Open),
            "session.ack" => Self::Session(SessionMethod::Ack),
            "session.close" => Self::Session(SessionMethod::Close),
            "account.connect" => Self::Account(AccountMethod::Connect),
            "account.disconnect" => Self::Account(AccountMethod::Disconnect),
            "account.text" => Self::Account(AccountMethod::Text),
            "call.start" => Self::Call(CallMethod::Start),
            "call.alive" => Self::Call(CallMethod::Alive),
            "call.ringing" => Self::Call(CallMethod::Ringing),
            "call.accept" => Self::Call(CallMethod::Accept),
            "call.ack.accept" => Self::Call(CallMethod::AckAccept),
            "call.candidate" => Self::Call(CallMethod::Candidate),
            "call.fullsdp" => Self::Call(CallMethod::FullSdp),
            "call.change.lock" => Self::Call(CallMethod::Lock),
            "call.change.lock.ok" => Self::Call(CallMethod::LockOk),
            "call.change.lock.reset" => Self::Call(CallMethod::LockReset),
            "call.change.offer" => Self::Call(CallMethod::ChangeOffer),
            "call.change.answer" => Self::Call(CallMethod::ChangeAnswer),
            "call.dtmf" => Self::Call(CallMethod::Dtmf),
            "call.transfer" => Self::Call(CallMethod::Transfer),
            "call.end" => Self::Call(CallMethod::End),
            "call.ack.end" => Self::Call(CallMethod::AckEnd),
            _ => return None,
        })
    }
}

/// What stands around the body of a message of ours.
pub(super) struct Envelope<'m> {
    pub(super) method: &'m str,
    pub(super) from: &'m str,
    pub(super) to: &'m str,
    pub(super) session: &'m str,
    pub(super) seq: Option<u64>,
}

impl Envelope<'_> {
    pub(super) fn print(&self, body: &Value) -> String {
        let text = |text: &str| Value::from(text).to_string();
        let seq = self.seq.map(|seq| format!("\"seq\":{seq},")).unwrap_or_default();
        format!(
            "{{\"method\":{},\"from\":{},\"to\":{},\"session\":{},{seq}\"body\":{body}}}",
            text(self.method),
            text(self.from),
            text(self.to),
            text(self.session),
        )
    }
}

const MAX_ID: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_clients_send_and_refuses_what_is_no_message() {
        let parsed = |text: &str| Message::parse(text).map(|m| (m.method, m.to));
        let one = |to: &str| Some(("a.b".to_owned(), vec![to.to_owned()]));
        assert_eq!(parsed(r#"{"method":"a.b","from":7,"extra":[]}"#), one(""));
        assert_eq!(parsed(r#"{"method":"a.b","to":"x:y","body":null,"session":null}"#), one("x:y"));
        assert_eq!(parsed(r#"{"method":"a.b","to":["x:y"],"body":{}}"#), one("x:y"));
        for broken in [
            "",
            "{",
            "[]",
            "\"text\"",
            "{}",
            r#"{"method":7}"#,
            r#"{"method":"a.b","to":[]}"#,
            r#"{"method":"a.b","to":[7]}"#,
            r#"{"method":"a.b","to":{}}"#,
            r#"{"method":"a.b","body":[]}"#,
            r#"{"method":"a.b","session":{}}"#,
        ] {
            assert_eq!(parsed(broken), None, "{broken}");
        }
        let deep = format!(r#"{{"method":"a.b","body":{}"#, "[".repeat(200_000));
        assert_eq!(parsed(&deep), None);
    }

    #[test]
    fn an_id_is_short_and_printable() {
        let id = |id: &str| {
            let body = Map::from_iter([("id".to_owned(), Value::from(id))]);
            let message =
                Message { method: String::new(), to: vec![], session: String::new(), body };
            message.id("id").is_some()
        };
        assert!(id("a") && id(&"x".repeat(128)));
        assert!(!id("") && !id("a b") && !id("ä") && !id("a\n") && !id(&"x".repeat(129)));
    }

    #[test]
    fn what_is_printed_is_json_whatever_is_inside() {
        let nasty = "\"\\\n\u{2028}</script>";
        let envelope = Envelope { method: "m", from: nasty, to: "t", session: "s", seq: Some(3) };
        let text = envelope.print(&serde_json::json!({ "x": nasty }));
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["from"], &read["seq"]), (&Value::from(nasty), &Value::from(3)));
        assert_eq!(read["body"]["x"], nasty);
    }
}

//! Texts outside of calls, to and from apps whose accounts are users of ours.
//!
//! Not here: who a text is for, and keeping it for somebody who is away.

use std::sync::Arc;

use crosspoint_base::{BindingId, Private};
use crosspoint_call::{Cause, Text};
use serde_json::json;

use super::accounts::Known;
use super::grant::Service;
use super::message::Message;
use super::reasons::reason_for;
use super::{ClientKey, Output, RtcEngine, address};

/// Whose text it was, to tell what became of it.
#[derive(Debug, Clone)]
pub struct TextTicket {
    client: ClientKey,
    known: Arc<Known>,
    /// The app's own name for it.
    reference: String,
}

impl RtcEngine {
    /// Users one of whose clients came, or came back: what waits for them can be sent.
    pub fn take_came(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.came)
    }

    /// A client has a socket again.
    pub(super) fn client_came(&mut self, key: ClientKey) {
        let accounts = self.clients.get(&key).into_iter().flat_map(|client| &client.accounts);
        let users = accounts.filter(|account| account.binding.is_some());
        let users = users.filter_map(|account| match &account.known.grant.service {
            Service::Local { user } => Some(user.clone()),
            _ => None,
        });
        self.came.extend(users);
    }

    /// Sends a text to one client; whether it is there to take it.
    pub fn send_text(&mut self, binding: BindingId, text: &Text) -> bool {
        let Some(bound) = self.bindings.get(&binding) else { return false };
        let (key, known) = (bound.client, bound.known.clone());
        if self.clients.get(&key).is_none_or(|client| client.socket.is_none()) {
            return false;
        }
        let body = json!({
            "id": known.name,
            "peer": address::peer(&known, &text.from, &self.config.domain),
            "kind": &*text.kind,
            "text": text.body.expose(),
        });
        self.send(key, "account.text", &known.target, &body);
        true
    }

    /// An app writes to somebody.
    pub(super) fn client_writes(&mut self, key: ClientKey, known: Arc<Known>, message: &Message) {
        let reference = message.text("ref").chars().take(MAX_REFERENCE).collect();
        let ticket = TextTicket { client: key, known: known.clone(), reference };
        let Service::Local { user } = &known.grant.service else {
            return self.text_taken(&ticket, Err(Cause::Forbidden));
        };
        let is_known = self.account(key, &known.name).is_some_and(|a| a.binding.is_some());
        let body = message.text("text");
        let kind = Some(message.text("kind")).filter(|k| !k.is_empty()).unwrap_or("text/plain");
        let is_fit = kind.len() <= MAX_KIND && !kind.chars().any(char::is_control);
        let outcome = match address::dialled(message.text("target")) {
            _ if !is_known => Err(Cause::Forbidden),
            None => Err(Cause::NotFound),
            Some(_) if body.len() > MAX_BODY || !is_fit => Err(Cause::BadDescription),
            Some(to) => Ok(to),
        };
        match outcome {
            Err(cause) => self.text_taken(&ticket, Err(cause)),
            Ok(to) => {
                let mut from = address::own_identity(&known);
                // As phones are shown it: the name that answers reach.
                from.address = Private(user.to_string());
                let text = Text {
                    from,
                    to: Private(to),
                    is_fleeting: kind == "application/im-iscomposing+xml",
                    kind: kind.into(),
                    body: Private(body.to_owned()),
                };
                self.outputs.push_back(Output::Text(Box::new(ticket), Box::new(text)));
            }
        }
    }

    /// The answer to `Output::Text`: it is delivered or kept, or why not.
    pub fn text_taken(&mut self, ticket: &TextTicket, taken: Result<(), Cause>) {
        let TextTicket { client, known, reference } = ticket;
        let (state, reason) = match taken {
            Ok(()) => ("accepted", ""),
            Err(cause) => ("failed", reason_for(cause)),
        };
        let body = json!({ "id": known.name, "ref": reference, "state": state, "reason": reason });
        self.send(*client, "account.text.state", &known.target, &body);
    }
}

/// Of one text. Longer ones are files.
const MAX_BODY: usize = 16 * 1024;
const MAX_KIND: usize = 128;
const MAX_REFERENCE: usize = 64;

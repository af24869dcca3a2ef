//! MESSAGE (RFC 3428), pager mode: one text, outside of any call.
//!
//! Not here: who it is for, and keeping it for somebody who is away.

use std::time::Instant;

use crosspoint_base::{Flow, Private, Transport, plain_address};
use crosspoint_call::{Cause, Identity, Reach, Text};
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};

use super::auth::Sender;
use super::body::content_type;
use super::challenge::Account;
use super::commands::Way;
use super::status::status_for;
use super::{ClientUse, Output, SipUa};

impl SipUa {
    pub(super) fn text_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: Flow,
        request: &Request,
    ) {
        // Whose text it is must be certain: a name in From is worth nothing by itself.
        let Some(sender) = self.authenticate(now, key, &flow, request) else { return };
        let user = match sender {
            Sender::User(user) => Some(user),
            Sender::Trunk(_) => None,
            // Calls alone are for the accounts of apps.
            Sender::Registration(_) | Sender::Forwarded { .. } | Sender::Browser(_) => {
                return self.refuse(now, key, request, StatusCode::METHOD_NOT_ALLOWED);
            }
        };
        let status = match request.uri.user_decoded() {
            None => StatusCode::ADDRESS_INCOMPLETE,
            Some(_) if request.body.len() > MAX_BODY => StatusCode::REQUEST_ENTITY_TOO_LARGE,
            Some(to) => match text(request, user, to) {
                Some(text) => {
                    self.asked.insert(key, Box::new((flow, request.clone())));
                    return self.outputs.push_back(Output::Text(key, Box::new(text)));
                }
                None => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            },
        };
        self.refuse(now, key, request, status);
    }

    /// The answer to `Output::Text`: it is delivered or kept, or why not.
    pub fn text_taken(&mut self, now: Instant, key: ServerKey, taken: Result<(), Cause>) {
        if let Some(asked) = self.asked.remove(&key) {
            let status = taken.map_or_else(status_for, |()| StatusCode::ACCEPTED);
            let mut response = Response::for_request(&asked.1, status);
            self.tag(&mut response);
            self.respond(now, key, &mut response);
        }
        self.settle(now);
    }

    /// Sends a text to one device, or to a number. `TextSent` with this id follows.
    pub fn send_text(&mut self, now: Instant, id: u64, reach: &Reach, text: &Text) {
        match self.text_request(reach, text) {
            Some((flow, request, account)) => {
                let key = self.send_in_dialog(now, flow, request, account);
                self.clients.insert(key, ClientUse::Text(id));
            }
            None => {
                let is_trunk = matches!(reach, Reach::Trunk { .. });
                let cause = if is_trunk { Cause::TrunkDown } else { Cause::Unavailable };
                self.outputs.push_back(Output::TextSent(id, Err(cause)));
            }
        }
        self.settle(now);
    }

    fn text_request(
        &mut self,
        reach: &Reach,
        text: &Text,
    ) -> Option<(Flow, Request, Option<Account>)> {
        let Way { flow, uri, domain, routes, account, user, .. } = self.reach(reach)?;
        // RFC 3428 §8: a longer one may not travel where nobody notices congestion.
        let is_long = text.body.expose().len() > MAX_UDP_BODY;
        if is_long && flow.transport == Transport::Udp {
            return None;
        }
        // Elsewhere we are known by the name we signed in with, and by no other.
        let name = user.as_deref().unwrap_or(text.from.address.expose());
        let from = self.stated_caller(account, Uri::sip(Some(name), &domain, None)?, &text.from);
        let to = match reach {
            Reach::Binding(_) => &text.to,
            Reach::Trunk { number, .. } | Reach::Registration { number, .. } => number,
        };
        let to = Uri::sip(Some(to.expose()), &domain, None)?;
        let mut request = Request::new(Method::MESSAGE, uri);
        let headers = &mut request.headers;
        for route in routes {
            headers.push(HeaderName::ROUTE, route);
        }
        headers.push(HeaderName::MAX_FORWARDS, "70");
        let tag = self.rng.hex(8);
        let from = [from.print().as_ref(), b";tag=", tag.as_bytes()].concat();
        headers.push(HeaderName::FROM, from);
        headers.push(HeaderName::TO, NameAddr::new(to).print());
        headers.push(HeaderName::CALL_ID, self.rng.hex(16));
        headers.push(HeaderName::CSEQ, "1 MESSAGE");
        headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
        if let Some(Account::Trunk(index)) = account
            && let Some(trunk) = self.trunks.get(index)
        {
            trunk.dress(&mut request, &text.from);
        }
        request.headers.push(HeaderName::CONTENT_TYPE, text.kind.to_string());
        request.body = text.body.expose().clone().into();
        Some((flow, request, account))
    }
}

fn text(request: &Request, user: Option<std::sync::Arc<str>>, to: String) -> Option<Text> {
    let kind = request.headers.first(&HeaderName::CONTENT_TYPE);
    let kind = kind.map_or("text/plain".into(), |kind| String::from_utf8_lossy(kind).into_owned());
    let is_fit = kind.len() <= MAX_KIND && !kind.chars().any(char::is_control);
    let body = String::from_utf8(request.body.to_vec()).ok().filter(|_| is_fit)?;
    let from = request.headers.from();
    let address = from.and_then(|from| from.uri.user_decoded()).unwrap_or_default();
    Some(Text {
        from: Identity {
            address: Private(plain_address(&address, 255)),
            user,
            ..Identity::default()
        },
        to: Private(to),
        is_fleeting: content_type(&request.headers) == "application/im-iscomposing+xml",
        kind: kind.into(),
        body: Private(body),
    })
}

/// Of one text. Longer ones are files.
const MAX_BODY: usize = 16 * 1024;
/// RFC 3428 §8 allows 1300 bytes with the headers, which take about 500.
const MAX_UDP_BODY: usize = 800;
const MAX_KIND: usize = 128;

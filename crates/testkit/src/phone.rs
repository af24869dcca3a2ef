//! A simulated SIP phone: our own endpoint and dialogs, seen from the other side.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{Flow, Rng, Secret, Transport};
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::endpoint::{ClientKey, Endpoint, EndpointConfig, Event, Output, ServerKey};
use crosspoint_sip::{HeaderName, Message, Method, NameAddr, Request, Response, StatusCode, Uri};

/// What a phone does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Answer,
    /// Rings and waits for `Sim::pick_up`.
    Ring,
    Busy,
    Decline,
    /// Answers 503.
    Fail,
    /// Has calls sent on to somebody else.
    SendOn(&'static str),
    /// Says nothing at all.
    Ignore,
    /// Answers, and leaves it to the caller to refresh the session every 45 s (RFC 4028).
    AnswerWithTimer,
    /// Sends early media, then answers at once.
    EarlyThenAnswer,
    /// Sends early media, and waits for `Sim::pick_up`.
    EarlyThenRing,
}

/// Where a phone's call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    Idle,
    Calling,
    Ringing,
    Up,
    /// Over, with the last final status of its INVITE.
    Over(u16),
}

#[derive(Debug)]
struct Usage {
    state: CallState,
    dialog: Option<Dialog>,
    invite: Option<Request>,
    client: Option<ClientKey>,
    server: Option<(ServerKey, Request)>,
    ack: Option<(Flow, Bytes)>,
    challenged: bool,
}

impl Usage {
    fn new(state: CallState) -> Self {
        Self {
            state,
            dialog: None,
            invite: None,
            client: None,
            server: None,
            ack: None,
            challenged: false,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) user: String,
    pub(crate) address: SocketAddr,
    gateway: SocketAddr,
    pub(crate) password: String,
    endpoint: Endpoint,
    rng: Rng,
    pub(crate) manner: Manner,
    call: Usage,
    registering: BTreeMap<ClientKey, (Request, bool)>,
    pub(crate) is_registered: bool,
    /// Headers that it adds to all it says, lines to its descriptions, and a proxy before it.
    pub(crate) gossip: (String, String, String),
    /// All that was said to it, where somebody listens in.
    pub(crate) heard: Option<String>,
    /// The direction the other side last asked for in a re-offer.
    pub(crate) asked_direction: Option<String>,
    /// What it says to offers of fax: its answer, or none of it.
    pub(crate) fax: Option<&'static str>,
    /// How its re-offers were answered: status, and kinds of media with their ports.
    pub(crate) reanswers: Vec<(u16, String)>,
    /// The kinds of media that it was offered last.
    pub(crate) offered: String,
    pub(crate) digits: String,
    pub(crate) notified: Vec<String>,
    sent_on_to: Option<&'static str>,
    /// The Diversion headers of the last call to it.
    pub(crate) diversions: Vec<String>,
    pub(crate) texts: Vec<String>,
    /// Of texts and subscriptions.
    pub(crate) outcomes: Vec<u16>,
    port: u16,
    version: u32,
}

impl Phone {
    pub(crate) fn new(
        user: &str,
        password: &str,
        address: SocketAddr,
        gateway: SocketAddr,
        mut rng: Rng,
    ) -> Self {
        Self {
            user: user.to_owned(),
            address,
            gateway,
            password: password.to_owned(),
            endpoint: Endpoint::new(EndpointConfig::default(), rng.fork()),
            rng,
            manner: Manner::Answer,
            call: Usage::new(CallState::Idle),
            registering: BTreeMap::new(),
            is_registered: false,
            gossip: Default::default(),
            heard: None,
            asked_direction: None,
            fax: None,
            reanswers: Vec::new(),
            offered: String::new(),
            digits: String::new(),
            notified: Vec::new(),
            sent_on_to: None,
            diversions: Vec::new(),
            texts: Vec::new(),
            outcomes: Vec::new(),
            port: 4000,
            version: 0,
        }
    }

    pub(crate) fn state(&self) -> CallState {
        self.call.state
    }

    pub(crate) fn transactions(&self) -> usize {
        self.endpoint.transactions()
    }

    fn flow(&self) -> Flow {
        Flow {
            transport: Transport::Udp,
            connection: None,
            local: self.address,
            remote: self.gateway,
        }
    }

    pub(crate) fn register(&mut self, now: Instant) {
        let request = self.request(Method::REGISTER, &self.user.clone(), 1);
        self.send_register(now, request, false);
    }

    fn send_register(&mut self, now: Instant, request: Request, challenged: bool) {
        let key = self.endpoint.send_request(now, self.flow(), &request);
        self.registering.insert(key, (request, challenged));
    }

    pub(crate) fn text(&mut self, now: Instant, target: &str, body: &str) {
        let mut request = self.request(Method::MESSAGE, target, 1);
        request.set_body("text/plain", body.to_owned());
        self.send_register(now, request, false);
    }

    /// Says how its user is, for so many seconds.
    pub(crate) fn publish(&mut self, now: Instant, document: &str, expires: u32) {
        let user = self.user.clone();
        let mut request = self.request(Method::PUBLISH, &user, 1);
        request.headers.push(HeaderName::EVENT, "presence");
        request.headers.push(HeaderName::EXPIRES, expires.to_string());
        request.set_body("application/pidf+xml", document.to_owned());
        self.send_register(now, request, false);
    }

    pub(crate) fn subscribe(&mut self, now: Instant, event: &str, target: &str, expires: u32) {
        let mut request = self.request(Method::SUBSCRIBE, target, 1);
        request.headers.push(HeaderName::EVENT, event.to_owned());
        request.headers.push(HeaderName::EXPIRES, expires.to_string());
        self.send_register(now, request, false);
    }

    pub(crate) fn invite(&mut self, now: Instant, target: &str, with_offer: bool) {
        let mut request = self.request(Method::INVITE, target, 1);
        if with_offer {
            request.set_body("application/sdp", self.sdp("sendrecv"));
        }
        self.call = Usage::new(CallState::Calling);
        self.send_invite(now, request);
    }

    fn send_invite(&mut self, now: Instant, request: Request) {
        self.call.client = Some(self.endpoint.send_request(now, self.flow(), &request));
        self.call.invite = Some(request);
    }

    pub(crate) fn cancel(&mut self, now: Instant) {
        if let Some(key) = self.call.client {
            self.endpoint.cancel(now, key, None);
        }
    }

    pub(crate) fn pick_up(&mut self, now: Instant) {
        self.respond_invite(now, StatusCode::OK, true);
    }

    pub(crate) fn hang_up(&mut self, now: Instant) {
        self.in_dialog(now, Method::BYE, None);
        self.call.state = CallState::Over(200);
    }

    pub(crate) fn reoffer(&mut self, now: Instant, direction: &str) {
        let sdp = self.sdp(direction);
        self.in_dialog(now, Method::INVITE, Some(("application/sdp", sdp)));
    }

    /// Offers other sections than those of sound.
    pub(crate) fn reoffer_saying(&mut self, now: Instant, sections: &str) {
        let sdp = self.sdp_saying(sections);
        self.in_dialog(now, Method::INVITE, Some(("application/sdp", sdp)));
    }

    /// Calls with other sections than those of sound.
    pub(crate) fn invite_saying(&mut self, now: Instant, target: &str, sections: &str) {
        let mut request = self.request(Method::INVITE, target, 1);
        request.set_body("application/sdp", self.sdp_saying(sections));
        self.call = Usage::new(CallState::Calling);
        self.send_invite(now, request);
    }

    pub(crate) fn press(&mut self, now: Instant, digit: char) {
        let body = format!("Signal={digit}\r\nDuration=160\r\n");
        self.in_dialog(now, Method::INFO, Some(("application/dtmf-relay", body)));
    }

    pub(crate) fn refer(&mut self, now: Instant, target: &str) {
        let Some(dialog) = &mut self.call.dialog else { return };
        let mut request = dialog.request(Method::REFER, None);
        request.headers.push(HeaderName::REFER_TO, format!("<sip:{target}@gateway.test>"));
        request.headers.push(HeaderName::CONTACT, contact(&self.user, self.address));
        let hop = dialog.next_hop();
        self.endpoint.send_request(now, hop, &request);
    }

    /// Asks for the far parties of this call and another phone's to be joined (RFC 5589 §7).
    pub(crate) fn refer_joining(&mut self, now: Instant, replaces: &str) {
        let Some(dialog) = &mut self.call.dialog else { return };
        let mut request = dialog.request(Method::REFER, None);
        let target = format!("<sip:target@gateway.test?Replaces={replaces}>");
        request.headers.push(HeaderName::REFER_TO, target);
        request.headers.push(HeaderName::CONTACT, contact(&self.user, self.address));
        let hop = dialog.next_hop();
        self.endpoint.send_request(now, hop, &request);
    }

    /// This phone's call, as the Replaces of a Refer-To names it.
    pub(crate) fn dialog_named(&self) -> Option<String> {
        let dialog = self.call.dialog.as_ref()?;
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(format!(
            "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
            text(&dialog.call_id),
            text(dialog.remote_tag()),
            text(dialog.local_tag())
        ))
    }

    fn in_dialog(&mut self, now: Instant, method: Method, body: Option<(&'static str, String)>) {
        let Some(dialog) = &mut self.call.dialog else { return };
        let mut request = dialog.request(method, None);
        request.headers.push(HeaderName::CONTACT, contact(&self.user, self.address));
        if let Some((kind, body)) = body {
            request.set_body(kind, body);
        }
        let hop = dialog.next_hop();
        self.endpoint.send_request(now, hop, &request);
    }

    fn request(&mut self, method: Method, target: &str, cseq: u32) -> Request {
        let uri = if method == Method::REGISTER {
            Uri::sip(None, "gateway.test", None)
        } else {
            Uri::sip(Some(target), "gateway.test", None)
        };
        let mut request =
            Request::new(method.clone(), uri.expect("a test's names make good addresses"));
        let (user, tag) = (&self.user, self.rng.hex(4));
        let headers = &mut request.headers;
        headers.push(HeaderName::FROM, format!("<sip:{user}@gateway.test>;tag={tag}"));
        headers.push(HeaderName::TO, format!("<sip:{target}@gateway.test>"));
        headers.push(HeaderName::CALL_ID, self.rng.hex(8));
        headers.push(HeaderName::CSEQ, format!("{cseq} {method}"));
        headers.push(HeaderName::MAX_FORWARDS, "70");
        headers.push(HeaderName::CONTACT, contact(&self.user, self.address));
        request
    }

    fn sdp(&mut self, direction: &str) -> String {
        let port = self.port;
        self.sdp_saying(&format!(
            "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n{}",
            self.gossip.1
        ))
    }

    fn sdp_saying(&mut self, sections: &str) -> String {
        self.version += 1;
        let (ip, version) = (self.address.ip(), self.version);
        format!("v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{sections}")
    }

    // What arrives.

    pub(crate) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: Bytes) {
        if let Some(heard) = &mut self.heard {
            heard.push_str(&String::from_utf8_lossy(&bytes));
        }
        let flow = Flow { remote: from, ..self.flow() };
        if let Ok(message) = Message::parse(bytes) {
            self.endpoint.handle_message(now, flow, message);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
    }

    /// Does what the endpoint says; gives what to send and when to wake.
    pub(crate) fn settle(&mut self, now: Instant) -> (Vec<(SocketAddr, Bytes)>, Option<Instant>) {
        let mut sent = Vec::new();
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit(t) => sent.push((t.flow.remote, self.with_gossip(t.bytes))),
                Output::Event(event) => self.event(now, *event),
                Output::Timeout(at) => return (sent, at),
            }
        }
    }

    fn with_gossip(&self, bytes: Bytes) -> Bytes {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(at) = end.filter(|_| !self.gossip.0.is_empty()) else { return bytes };
        let (head, rest) = bytes.split_at(at + 2);
        // A proxy that a request has passed; answers with one more Via are nobody's.
        let via = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKproxy\r\n", self.gossip.2);
        let via = if head.starts_with(b"SIP/2.0") { "" } else { via.as_str() };
        [head, self.gossip.0.as_bytes(), via.as_bytes(), rest].concat().into()
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { key, flow, request } => self.request_came(now, key, flow, request),
            Event::Ack { .. } => {}
            Event::Cancelled { key, .. } => {
                if self.call.server.as_ref().is_some_and(|(k, _)| *k == key) {
                    self.respond_invite(now, StatusCode::REQUEST_TERMINATED, false);
                }
            }
            Event::Response { key, flow, response } => self.response(now, key, flow, &response),
            Event::TimedOut { key } | Event::TransportFailed { key } => {
                self.registering.remove(&key);
                if self.call.client == Some(key) {
                    self.call.state = CallState::Over(408);
                }
            }
            Event::AckMissing { .. } => self.hang_up(now),
            Event::Ended { .. } => {}
        }
    }

    fn response(&mut self, now: Instant, key: ClientKey, flow: Flow, response: &Response) {
        if let Some((request, challenged)) = self.registering.get(&key).cloned() {
            if response.status.is_provisional() {
                return;
            }
            self.registering.remove(&key);
            if matches!(response.status.0, 401 | 407) && !challenged {
                let request = self.authorize(request, response);
                self.send_register(now, request, true);
            } else if request.method != Method::REGISTER {
                self.outcomes.push(response.status.0);
            } else {
                self.is_registered = response.status.is_success();
            }
            return;
        }
        if self.call.client != Some(key) {
            let is_invite = response.headers.cseq().is_some_and(|c| c.method == Method::INVITE);
            if is_invite && response.status.is_final() {
                self.reanswers.push((response.status.0, kinds(&response.body)));
            }
            if is_invite && response.status.is_success() {
                self.reinvite_answered(flow, response);
            }
            return;
        }
        let Some(invite) = self.call.invite.clone() else { return };
        if response.status.is_provisional() {
            if self.call.state == CallState::Calling {
                self.call.state = CallState::Ringing;
            }
            if self.call.dialog.is_none() {
                self.call.dialog = Dialog::as_caller(&invite, response, flow);
            }
        } else if response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && !self.call.challenged
        {
            self.call.challenged = true;
            let request = self.authorize(invite, response);
            self.send_invite(now, request);
        } else if response.status.is_success() {
            self.answered(now, flow, &invite, response);
        } else {
            self.call.state = CallState::Over(response.status.0);
        }
    }

    fn answered(&mut self, now: Instant, flow: Flow, invite: &Request, response: &Response) {
        if let Some((flow, bytes)) = self.call.ack.clone() {
            self.endpoint.resend(flow, bytes);
            return;
        }
        let Some(mut dialog) = Dialog::as_caller(invite, response, flow) else { return };
        let mut ack = dialog.request(Method::ACK, invite.headers.cseq().map(|c| c.number));
        if invite.body.is_empty() {
            ack.set_body("application/sdp", self.sdp("sendrecv"));
        }
        let hop = dialog.next_hop();
        self.call.ack = Some((hop, self.endpoint.send_ack(hop, &ack)));
        self.call.dialog = Some(dialog);
        if matches!(self.call.state, CallState::Over(_)) {
            self.hang_up(now);
        } else {
            self.call.state = CallState::Up;
        }
    }

    fn reinvite_answered(&mut self, _flow: Flow, response: &Response) {
        let number = response.headers.cseq().map(|c| c.number);
        if let Some(dialog) = &mut self.call.dialog {
            let ack = dialog.request(Method::ACK, number);
            let hop = dialog.next_hop();
            self.endpoint.send_ack(hop, &ack);
        }
    }

    fn authorize(&mut self, mut request: Request, response: &Response) -> Request {
        let is_proxy = response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let (asked, answered) = if is_proxy {
            (HeaderName::PROXY_AUTHENTICATE, HeaderName::PROXY_AUTHORIZATION)
        } else {
            (HeaderName::WWW_AUTHENTICATE, HeaderName::AUTHORIZATION)
        };
        let credentials = Credentials {
            user: self.user.clone(),
            password: Secret::new(self.password.clone()),
            realm: None,
        };
        let value = Challenge::best(response.headers.all(&asked)).and_then(|challenge| {
            answer(&challenge, &credentials, &request.method, &request.uri, 1, &mut self.rng)
        });
        request.headers.set(answered, value.unwrap_or_default());
        let number = request.headers.cseq().map_or(1, |c| c.number) + 1;
        request.headers.set(HeaderName::CSEQ, format!("{number} {}", request.method));
        request
    }

    fn request_came(&mut self, now: Instant, key: ServerKey, flow: Flow, request: Request) {
        let has_tag = request.headers.to().is_some_and(|to| to.tag().is_some());
        if request.method == Method::INVITE && !has_tag {
            self.called(now, key, flow, request);
            return;
        }
        let mut response = Response::for_request(&request, StatusCode::OK);
        if let Some(dialog) = &mut self.call.dialog {
            dialog.take_request(&request, flow);
        }
        if request.method == Method::BYE {
            self.call.state = CallState::Over(200);
        } else if request.method == Method::INVITE {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            self.offered = kinds(&request.body);
            if self.offered.starts_with("image") {
                return self.answer_fax(now, key, response);
            }
            let direction = ["sendonly", "recvonly", "inactive"]
                .into_iter()
                .find(|d| body.contains(&format!("a={d}")))
                .unwrap_or("sendrecv");
            self.asked_direction = Some(direction.to_owned());
            let back = match direction {
                "sendonly" => "recvonly",
                "recvonly" => "sendonly",
                other => other,
            };
            response.headers.push(HeaderName::CONTACT, contact(&self.user, self.address));
            let others = refusals(&request.body);
            let sdp = self.sdp(back) + &others;
            response.set_body("application/sdp", sdp);
        } else if request.method == Method::INFO {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            self.digits.extend(body.strip_prefix("Signal=").and_then(|b| b.chars().next()));
        } else if request.method == Method::MESSAGE && self.manner == Manner::Ignore {
            return;
        } else if request.method == Method::MESSAGE && self.manner == Manner::Fail {
            response.status = StatusCode::SERVICE_UNAVAILABLE;
        } else if request.method == Method::MESSAGE && self.manner == Manner::Decline {
            response.status = StatusCode::DECLINE;
        } else if request.method == Method::MESSAGE {
            self.texts.push(String::from_utf8_lossy(&request.body).into_owned());
        } else if request.method == Method::NOTIFY {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            self.notified.push(body.trim().to_owned());
        }
        self.endpoint.respond(now, key, &response);
    }

    fn answer_fax(&mut self, now: Instant, key: ServerKey, mut response: Response) {
        match self.fax {
            Some(sections) => {
                response.headers.push(HeaderName::CONTACT, contact(&self.user, self.address));
                response.set_body("application/sdp", self.sdp_saying(sections));
            }
            None => response.status = StatusCode::NOT_ACCEPTABLE_HERE,
        }
        self.endpoint.respond(now, key, &response);
    }

    fn called(&mut self, now: Instant, key: ServerKey, flow: Flow, request: Request) {
        self.offered = kinds(&request.body);
        let is_free = matches!(self.call.state, CallState::Idle | CallState::Over(_));
        if !is_free {
            let response = Response::for_request(&request, StatusCode::BUSY_HERE);
            self.endpoint.respond(now, key, &tagged(response, "busy"));
            return;
        }
        let tag = self.rng.hex(4);
        self.call = Usage::new(CallState::Ringing);
        self.call.dialog = Dialog::as_callee(&request, &tag, flow);
        let name = HeaderName::other("Diversion");
        let diversions =
            request.headers.all(&name).map(|v| String::from_utf8_lossy(v).into_owned());
        self.diversions = diversions.collect();
        self.call.server = Some((key, request));
        match self.manner {
            Manner::Answer | Manner::AnswerWithTimer => {
                self.respond_invite(now, StatusCode::OK, true);
            }
            Manner::Ring => self.respond_invite(now, StatusCode::RINGING, false),
            Manner::Busy => self.respond_invite(now, StatusCode::BUSY_HERE, false),
            Manner::Decline => self.respond_invite(now, StatusCode::DECLINE, false),
            Manner::Fail => self.respond_invite(now, StatusCode::SERVICE_UNAVAILABLE, false),
            Manner::SendOn(to) => {
                self.sent_on_to = Some(to);
                self.respond_invite(now, StatusCode::MOVED_TEMPORARILY, false);
            }
            Manner::Ignore => {}
            Manner::EarlyThenRing => {
                self.respond_invite(now, StatusCode::SESSION_PROGRESS, true);
            }
            Manner::EarlyThenAnswer => {
                self.respond_invite(now, StatusCode::SESSION_PROGRESS, true);
                self.respond_invite(now, StatusCode::OK, true);
            }
        }
    }

    fn respond_invite(&mut self, now: Instant, status: StatusCode, with_sdp: bool) {
        let Some((key, request)) = self.call.server.clone() else { return };
        let tag = self.call.dialog.as_ref().map(|d| d.local_tag().clone()).unwrap_or_default();
        let mut response = Response::for_request(&request, status);
        response = tagged(response, &String::from_utf8_lossy(&tag));
        let own = contact(&self.user, self.address);
        let sent_on = self.sent_on_to.take().map(|to| format!("<sip:{to}@gateway.test>"));
        response.headers.push(HeaderName::CONTACT, sent_on.unwrap_or(own));
        let of_fax = self.fax.filter(|_| self.offered.starts_with("image"));
        if let (true, Some(sections)) = (with_sdp, of_fax) {
            response.set_body("application/sdp", self.sdp_saying(sections));
        } else if with_sdp {
            let others = refusals(&request.body);
            response.set_body("application/sdp", self.sdp("sendrecv") + &others);
        }
        if self.manner == Manner::AnswerWithTimer {
            response.headers.push(HeaderName::SESSION_EXPIRES, "90;refresher=uac");
            response.headers.push(HeaderName::REQUIRE, "timer");
        }
        self.endpoint.respond(now, key, &response);
        if status.is_success() {
            self.call.state = CallState::Up;
        } else if status.is_final() {
            self.call.state = CallState::Over(status.0);
            self.call.server = None;
        }
    }
}

/// The kinds of media of a description that are in use.
fn kinds(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body);
    let sections = text.lines().filter_map(|line| line.strip_prefix("m="));
    let used = sections.filter(|section| section.split(' ').nth(1) != Some("0"));
    used.filter_map(|section| section.split(' ').next()).collect::<Vec<_>>().join(" ")
}

/// All sections of an offer but the first, refused (RFC 3264 §6).
fn refusals(offer: &Bytes) -> String {
    let text = String::from_utf8_lossy(offer);
    let refused = |line: &str| {
        let mut words = line.split(' ');
        let kind = words.next()?;
        words.next()?;
        Some(format!("{kind} 0 {}\r\n", words.collect::<Vec<_>>().join(" ")))
    };
    text.lines().filter(|line| line.starts_with("m=")).skip(1).filter_map(refused).collect()
}

fn contact(user: &str, address: SocketAddr) -> String {
    format!("<sip:{user}@{address}>")
}

fn tagged(mut response: Response, tag: &str) -> Response {
    let to = response.headers.first(&HeaderName::TO).and_then(NameAddr::parse);
    if to.is_some_and(|to| to.tag().is_none())
        && let Some(to) = response.headers.first(&HeaderName::TO)
    {
        let value = [to.as_ref(), b";tag=", tag.as_bytes()].concat();
        response.headers.set(HeaderName::TO, value);
    }
    response
}

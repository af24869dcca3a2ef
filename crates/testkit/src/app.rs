//! A simulated app: a page that speaks RTC:engine, over one socket at a time.
//!
//! The page keeps what a real one keeps over a reload (its client id and what it has handled) and
//! loses what a real one loses. Its media is agreed on and then counts as up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::ConnectionId;
use crosspoint_call::MediaPath;
use crosspoint_connectors::rtcengine::{AccountGrant, Grant, Service};
use serde_json::{Value, json};

use crate::phone::Manner;

/// Where one call of an app is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppCall {
    Calling,
    RingingThere,
    RingingHere,
    Up,
    /// Over, with the reason that was told.
    Over(String),
}

#[derive(Debug, Clone)]
struct Leg {
    gcid: String,
    state: AppCall,
    /// The other side's description, as last told.
    remote: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) user: String,
    pub(crate) token: String,
    pub(crate) manner: Manner,
    pub(crate) connection: Option<ConnectionId>,
    service: Service,
    client: String,
    account: Option<String>,
    received: u64,
    legs: BTreeMap<String, Leg>,
    drawn: u64,
    to_send: VecDeque<String>,
    /// Every message that came, by method.
    pub(crate) heard: Vec<String>,
    pub(crate) elsewhere: Vec<Value>,
    pub(crate) digits: String,
    /// Its calls ask the called device to answer by itself.
    pub(crate) is_intercom: bool,
    pub(crate) texts: Vec<String>,
    /// What became of its own texts.
    pub(crate) text_states: Vec<String>,
    pub(crate) candidates: Vec<String>,
    pub(crate) errors: Vec<String>,
    /// What the last socket was told, for a test to look at.
    pub(crate) has_resumed: Option<bool>,
    /// Unless it is true, the next number is the first of a new count.
    is_resumed: Option<bool>,
}

impl App {
    pub(crate) fn new(number: usize, user: &str, network: Option<(&str, MediaPath)>) -> Self {
        let service = match network {
            None => Service::Local { user: user.into() },
            Some((network, path)) => {
                Service::Apps { network: network.into(), name: user.to_owned(), path }
            }
        };
        Self {
            user: user.to_owned(),
            token: format!("token-{number}"),
            manner: Manner::Answer,
            connection: None,
            service,
            client: format!("client-{number}"),
            account: None,
            received: 0,
            legs: BTreeMap::new(),
            drawn: 0,
            to_send: VecDeque::new(),
            heard: vec![],
            elsewhere: vec![],
            digits: String::new(),
            is_intercom: false,
            texts: vec![],
            text_states: vec![],
            candidates: vec![],
            errors: vec![],
            has_resumed: None,
            is_resumed: None,
        }
    }

    /// What the token of this app is worth.
    pub(crate) fn grant(&self, now: Instant) -> Grant {
        let account = AccountGrant {
            id: format!("{}-sip", self.token).into(),
            identifier: format!("sip:{}@gateway.test", self.user),
            network: "sip".to_owned(),
            service: self.service.clone(),
        };
        Grant {
            session: Arc::from(self.token.as_str()),
            expires: now + Duration::from_secs(86_400),
            accounts: [("account1".to_owned(), account)].into(),
            ice_servers: Vec::new(),
        }
    }

    pub(crate) fn poll_text(&mut self) -> Option<String> {
        self.to_send.pop_front()
    }

    /// A socket of this page is up.
    pub(crate) fn open(&mut self, connection: ConnectionId) {
        self.connection = Some(connection);
        self.to_send.clear();
        let body = json!({
            "credentials": { "userSession": self.token }, "client": self.client,
            "received": self.received,
        });
        self.say("session.open", "", body);
    }

    /// The page is loaded again: it knows what it kept (what rings, with its offer), and has no
    /// media any more.
    pub(crate) fn reload(&mut self) {
        self.legs.retain(|_, leg| leg.state == AppCall::RingingHere);
        self.account = None;
    }

    pub(crate) fn call(&mut self, target: &str) -> String {
        let gcid = self.draw();
        self.start(target, &gcid, false, AppCall::Calling);
        gcid
    }

    pub(crate) fn take_over(&mut self, gcid: &str) {
        self.start("", gcid, true, AppCall::Calling);
    }

    fn start(&mut self, target: &str, gcid: &str, replace: bool, state: AppCall) {
        let id = self.draw();
        let sdp = self.describe("actpass");
        let leg = Leg { gcid: gcid.to_owned(), state, remote: String::new() };
        self.legs.insert(id.clone(), leg);
        let body = json!({
            "id": id, "gcid": gcid, "account": "account1", "target": target, "sdp": sdp,
            "trickle": true, "replace": replace, "autoAnswer": self.is_intercom,
        });
        self.say_to_account("call.start", body);
    }

    pub(crate) fn answer(&mut self) {
        let ringing = |(_, leg): &(&String, &mut Leg)| leg.state == AppCall::RingingHere;
        let Some((id, leg)) = self.legs.iter_mut().find(ringing) else { return };
        leg.state = AppCall::Up;
        let (id, gcid) = (id.clone(), leg.gcid.clone());
        let sdp = self.describe("active");
        let body = json!({
            "id": id, "gcid": gcid, "account": "account1", "sdp": sdp, "trickle": false,
        });
        self.say_to_account("call.accept", body);
    }

    pub(crate) fn hang_up(&mut self) {
        let reason = "normal";
        for (id, gcid) in self.live() {
            self.over(&id, reason);
            self.say_to_account("call.end", json!({ "id": id, "gcid": gcid, "reason": reason }));
        }
    }

    pub(crate) fn press(&mut self, digits: &str) {
        self.say_to_live("call.dtmf", &json!({ "dtmf": digits }));
    }

    pub(crate) fn transfer(&mut self, target: &str) {
        self.say_to_live("call.transfer", &json!({ "target": target }));
    }

    pub(crate) fn trickle(&mut self, candidate: &str) {
        let candidate = json!({ "type": "WEBRTC_LEGACY", "payload": candidate });
        self.say_to_live("call.candidate", &json!({ "candidate": candidate }));
    }

    /// Asks for a change of media; the offer follows when the lock is granted.
    pub(crate) fn change(&mut self) {
        self.say_to_live("call.change.lock", &json!({}));
    }

    /// Says anything at all, as a hostile page would.
    pub(crate) fn say_to_account(&mut self, method: &str, body: Value) {
        let target = self.account.clone().unwrap_or_default();
        self.say(method, &target, body);
    }

    fn say_to_live(&mut self, method: &str, more: &Value) {
        for (id, gcid) in self.live() {
            let mut body = more.clone();
            body["id"] = json!(id);
            body["gcid"] = json!(gcid);
            self.say_to_account(method, body);
        }
    }

    fn say(&mut self, method: &str, to: &str, body: Value) {
        let message = json!({
            "method": method, "from": "", "to": to, "session": self.token, "body": body,
        });
        self.to_send.push_back(message.to_string());
    }

    /// The states of all calls that this page knows of, oldest first.
    pub(crate) fn calls(&self) -> Vec<AppCall> {
        self.legs.values().map(|leg| leg.state.clone()).collect()
    }

    pub(crate) fn remote(&self) -> Option<&str> {
        let live = self.legs.values().find(|leg| !matches!(leg.state, AppCall::Over(_)));
        live.map(|leg| leg.remote.as_str())
    }

    pub(crate) fn live(&self) -> Vec<(String, String)> {
        let is_live = |(_, leg): &(&String, &Leg)| !matches!(leg.state, AppCall::Over(_));
        self.legs.iter().filter(is_live).map(|(id, leg)| (id.clone(), leg.gcid.clone())).collect()
    }

    pub(crate) fn handle_text(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return };
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let body = &message["body"];
        if let Some(seq) = message["seq"].as_u64() {
            if seq <= self.received && self.is_resumed == Some(true) {
                return;
            }
            let is_next = self.is_resumed != Some(true) || seq == self.received + 1;
            assert!(is_next, "{} missed a message", self.user);
            self.is_resumed = Some(true);
            self.received = seq;
        }
        self.heard.push(method.clone());
        match method.as_str() {
            "session.validated" => self.validated(body),
            "account.calls" => {
                self.elsewhere = body["calls"].as_array().cloned().unwrap_or_default();
            }
            "account.text" => self.texts.push(body["text"].as_str().unwrap_or_default().to_owned()),
            "account.text.state" => {
                self.text_states.push(body["state"].as_str().unwrap_or_default().to_owned())
            }
            "core.error" => {
                self.errors.push(body["type"].as_str().unwrap_or_default().to_owned());
            }
            method => {
                if let Some(action) = method.strip_prefix("call.") {
                    self.call_message(action, body);
                }
            }
        }
    }

    fn validated(&mut self, body: &Value) {
        assert_eq!(body["result"], json!(true), "{} is refused: {body}", self.user);
        self.is_resumed = body["resumed"].as_bool();
        self.has_resumed = self.is_resumed;
        let running: Vec<&str> =
            body["calls"].as_array().into_iter().flatten().map(|call| text(call, "id")).collect();
        if self.is_resumed == Some(false) {
            for (id, _) in self.live() {
                if !running.contains(&id.as_str()) {
                    self.over(&id, "lost");
                }
            }
        }
        let account = &body["accounts"]["account1"];
        self.account = account["target"].as_str().map(str::to_owned);
        if account["state"] != "connected" {
            self.say_to_account("account.connect", json!({ "id": "account1" }));
        }
        // A page that was loaded again takes its calls back.
        for call in body["calls"].as_array().into_iter().flatten() {
            let (id, gcid) = (text(call, "id"), text(call, "gcid"));
            let is_ringing_here = call["direction"] == "incoming" && call["state"] == "ringing";
            if !self.legs.contains_key(id) && !is_ringing_here {
                self.take_over(gcid);
            }
        }
    }

    fn call_message(&mut self, action: &str, body: &Value) {
        let (id, gcid) = (text(body, "id").to_owned(), text(body, "gcid").to_owned());
        match action {
            "start" => {
                self.called(&id, &gcid, text(body, "sdp"));
                if body["autoAnswer"] == json!(true) {
                    self.answer();
                }
            }
            "ringing" => self.enter(&id, AppCall::RingingThere),
            "accept" => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    text(body, "sdp").clone_into(&mut leg.remote);
                    leg.state = AppCall::Up;
                    self.say_to_account("call.ack.accept", json!({ "id": id, "gcid": gcid }));
                }
            }
            "end" => {
                self.over(&id, text(body, "reason"));
                self.say_to_account("call.ack.end", json!({ "id": id, "gcid": gcid }));
            }
            "dtmf" => self.digits.push_str(text(body, "dtmf")),
            "candidate" => self.candidates.push(body["candidate"]["payload"].to_string()),
            "change.lock" => {
                self.say_to_account("call.change.lock.ok", json!({ "id": id, "gcid": gcid }));
            }
            "change.lock.ok" => {
                let sdp = self.describe("actpass");
                let body = json!({ "id": id, "gcid": gcid, "sdp": sdp, "trickle": false });
                self.say_to_account("call.change.offer", body);
            }
            "change.offer" => {
                let sdp = self.describe("active");
                let remote = text(body, "sdp").to_owned();
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.remote = remote;
                }
                let body = json!({ "id": id, "gcid": gcid, "sdp": sdp, "trickle": false });
                self.say_to_account("call.change.answer", body);
            }
            "change.answer" => {
                let remote = text(body, "sdp").to_owned();
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.remote = remote;
                }
            }
            _ => {}
        }
    }

    fn called(&mut self, id: &str, gcid: &str, sdp: &str) {
        if self.legs.contains_key(id) {
            return;
        }
        let (state, remote) = (AppCall::RingingHere, sdp.to_owned());
        self.legs.insert(id.to_owned(), Leg { gcid: gcid.to_owned(), state, remote });
        let body = json!({ "id": id, "gcid": gcid, "account": "account1" });
        match self.manner {
            Manner::Ignore => {}
            Manner::SendOn(target) => {
                self.say_to_account("call.ringing", body);
                self.transfer(target);
            }
            Manner::Ring | Manner::EarlyThenRing => self.say_to_account("call.ringing", body),
            Manner::Busy | Manner::Fail | Manner::Decline => {
                let is_busy = self.manner == Manner::Busy;
                let reason = if is_busy { "busy" } else { "declined" };
                self.over(id, reason);
                let body = json!({ "id": id, "gcid": gcid, "reason": reason });
                self.say_to_account("call.end", body);
            }
            Manner::Answer | Manner::AnswerWithTimer | Manner::EarlyThenAnswer => {
                self.say_to_account("call.ringing", body);
                self.answer();
            }
        }
    }

    fn enter(&mut self, id: &str, state: AppCall) {
        if let Some(leg) = self.legs.get_mut(id) {
            leg.state = state;
        }
    }

    fn over(&mut self, id: &str, reason: &str) {
        self.enter(id, AppCall::Over(reason.to_owned()));
    }

    /// An id like no other of this page or the one before it.
    fn draw(&mut self) -> String {
        self.drawn += 1;
        format!("{}-{:04}", self.client, self.drawn)
    }

    fn describe(&mut self, setup: &str) -> String {
        self.drawn += 1;
        description(self.drawn, setup)
    }
}

/// What a browser describes that can do sound.
pub(crate) fn description(version: u64, setup: &str) -> String {
    let fingerprint = vec!["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 7 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0 8 101\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\n\
             a=rtcp-mux\r\na=ice-ufrag:u{version:04}\r\na=ice-pwd:p{version:023}\r\n\
             a=ice-options:trickle\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\n"
    )
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

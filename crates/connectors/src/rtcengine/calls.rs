//! A call of a client: what it says in it, and how it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{Gcid, LegId, Private};
use crosspoint_call::{Cause, Digit, Identity, LegEvent, TransferProgress, TransferTarget};
use crosspoint_sdp::Session;
use serde_json::{Value, json};

use super::accounts::Known;
use super::address::dialled;
use super::candidates::Heard;
use super::change::Change;
use super::message::{CallMethod, Message};
use super::reasons::{hangup, reason_for, refusal};
use super::socket::Fault;
use super::{About, CallKey, ClientKey, Output, RtcEngine, Timer};

/// What a client knows by one id.
#[derive(Debug)]
pub(super) struct ClientCall {
    pub(super) client: ClientKey,
    pub(super) id: Box<str>,
    pub(super) gcid: Gcid,
    /// More than one while a fork is not answered.
    pub(super) legs: Vec<(LegId, Arc<Known>)>,
    /// The `call.start` was the client's.
    pub(super) is_outgoing: bool,
    pub(super) phase: Phase,
    pub(super) story: Story,
    /// Of the client's `call.start`.
    pub(super) fingerprint: u64,
    pub(super) has_early_media: bool,
    /// Our `call.accept` waits for its `call.ack.accept`.
    pub(super) awaits_ack: bool,
    /// The worthiest failure of a fork's branches.
    pub(super) failed: Option<Cause>,
    pub(super) heard: Heard,
    pub(super) change: Change,
    /// Our `call.start` until it is answered, or our `call.accept` until it is acknowledged.
    pub(super) unanswered: Option<Private<Box<Value>>>,
}

/// What a list of calls says of one: a leg that takes another's place inherits it.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) peer: Identity,
    /// Its user called.
    pub(super) is_outgoing: bool,
    /// Unix seconds of the start.
    pub(super) since: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ringing,
    Active,
}

impl Phase {
    /// The word of `calls[].state`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ringing => "ringing",
            Self::Active => "active",
        }
    }
}

impl ClientCall {
    /// The account that it is on: of a fork, the first.
    pub(super) fn known(&self) -> Option<&Arc<Known>> {
        self.legs.first().map(|(_, known)| known)
    }

    pub(super) fn first_leg(&self) -> Option<LegId> {
        self.legs.first().map(|(leg, _)| *leg)
    }

    /// The client is called and has not answered.
    pub(super) fn rings_here(&self) -> bool {
        !self.is_outgoing && self.phase != Phase::Active
    }

    /// Id and gcid, with what else a message carries.
    fn body(&self, rest: Value) -> Value {
        let mut body = json!({ "id": &*self.id, "gcid": self.gcid.as_str() });
        if let (Value::Object(body), Value::Object(rest)) = (&mut body, rest) {
            body.extend(rest);
        }
        body
    }
}

impl RtcEngine {
    pub(super) fn call_message(
        &mut self,
        now: Instant,
        key: ClientKey,
        method: CallMethod,
        message: &Message,
    ) {
        if method == CallMethod::Start {
            self.start_call(now, key, message);
            return;
        }
        let Some(client) = self.clients.get(&key) else { return };
        if !message.is_to_core() && client.account_at(message.address()).is_none() {
            self.unknown_recipient(key, message);
            return;
        }
        let Some(id) = message.id("id") else {
            self.client_fault(key, Fault::BadMessage, message);
            return;
        };
        let gcid = message.text("gcid");
        let call = client.calls.get(id).copied();
        // A wrong gcid is somebody else's call, or nobody's.
        let is_meant = |call: &ClientCall| gcid.is_empty() || call.gcid.as_str() == gcid;
        match call.filter(|call| self.calls.get(call).is_some_and(is_meant)) {
            Some(call) => {
                let leg = self.calls.get(&call).and_then(ClientCall::first_leg);
                self.heard = leg.map(About::Leg);
                self.call_says(now, call, method, message);
            }
            None => self.stray(now, key, method, id, message),
        }
    }

    /// A message of a call that is not there.
    fn stray(
        &mut self,
        now: Instant,
        key: ClientKey,
        method: CallMethod,
        id: &str,
        message: &Message,
    ) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let is_past = client.past_call(now, id).is_some();
        let from = if message.is_to_core() { "core" } else { message.address() };
        let gcid = message.id("gcid").unwrap_or_default();
        let mut body = json!({ "id": id, "gcid": gcid });
        match method {
            CallMethod::End => self.send(key, "call.ack.end", from, &body),
            CallMethod::AckEnd => {}
            _ if is_past => {}
            _ => {
                body["reason"] = Value::from(reason_for(Cause::NotFound));
                self.send(key, "call.end", from, &body);
            }
        }
    }

    fn call_says(&mut self, now: Instant, key: CallKey, method: CallMethod, message: &Message) {
        match method {
            // `start` was taken before; the others ask for nothing.
            CallMethod::Start | CallMethod::Alive | CallMethod::AckEnd => {}
            CallMethod::Ringing => self.client_rings(key),
            CallMethod::Accept => self.client_accepts(now, key, message),
            CallMethod::AckAccept => self.acknowledged(key),
            CallMethod::Candidate => self.candidate(key, message),
            CallMethod::FullSdp => self.full_description(now, key, message),
            CallMethod::Lock => self.client_locks(now, key),
            CallMethod::LockOk => self.lock_granted(now, key),
            CallMethod::LockReset => self.lock_reset(now, key),
            CallMethod::ChangeOffer => self.client_offers(now, key, message),
            CallMethod::ChangeAnswer => self.client_answers(key, message),
            CallMethod::Dtmf => self.digits(key, message),
            CallMethod::Transfer => self.transfer(now, key, message),
            CallMethod::End => self.client_ends(now, key, message.text("reason")),
        }
    }

    fn client_rings(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.rings_here() && call.phase == Phase::Starting {
            call.phase = Phase::Ringing;
            self.tell_call(key, &LegEvent::Ringing);
        }
    }

    fn client_accepts(&mut self, now: Instant, key: CallKey, message: &Message) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.is_outgoing {
            return;
        }
        if call.phase != Phase::Active {
            let Some(description) = description(message) else {
                self.end_call(now, key, Cause::BadDescription);
                return;
            };
            call.phase = Phase::Active;
            call.unanswered = None;
            call.heard = Heard::of(&description);
            self.timers.cancel(&Timer::Ring(key));
            self.tell_call(key, &LegEvent::Answer(Some(description)));
        }
        self.say(key, "call.ack.accept", json!({}));
    }

    fn acknowledged(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if std::mem::take(&mut call.awaits_ack) {
            call.unanswered = None;
            self.timers.cancel(&Timer::Ack(key));
            self.tell_call(key, &LegEvent::Confirm(None));
        }
    }

    /// Says `call.accept`, and again if need be until it is acknowledged.
    pub(super) fn accept_call(&mut self, now: Instant, key: CallKey, body: Value) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.awaits_ack = true;
        call.unanswered = Some(Private(Box::new(call.body(body))));
        self.timers.set(Timer::Ack(key), now + ACK);
        self.repeat_unanswered(key);
    }

    /// Sends our `call.start` or `call.accept`, if it still has no answer.
    pub(super) fn repeat_unanswered(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        let (Some(known), Some(body)) = (call.known().cloned(), call.unanswered.clone()) else {
            return;
        };
        let method = if call.is_outgoing { "call.accept" } else { "call.start" };
        let (client, leg) = (call.client, call.first_leg());
        self.send_of(client, leg, (method, &known.target), body.expose());
    }

    /// Who had no socket could not acknowledge.
    pub(super) fn expect_acks_again(&mut self, now: Instant, client: ClientKey) {
        let Some(client) = self.clients.get(&client) else { return };
        for key in client.calls.values() {
            if self.calls.get(key).is_some_and(|call| call.awaits_ack) {
                self.timers.set(Timer::Ack(*key), now + ACK);
            }
        }
    }

    pub(super) fn ack_missing(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        if self.clients.get(&call.client).is_some_and(|c| c.socket.is_some()) {
            self.end_call(now, key, Cause::SignalingLost);
        }
    }

    fn digits(&mut self, key: CallKey, message: &Message) {
        let Some(call) = self.calls.get(&key) else { return };
        let text = message.text("dtmf");
        let digits: Option<Vec<Digit>> =
            text.chars().take(MAX_DIGITS + 1).map(Digit::new).collect();
        match digits {
            Some(digits) if (1..=MAX_DIGITS).contains(&digits.len()) => {
                for digit in digits {
                    self.tell_call(key, &LegEvent::Dtmf(digit, DIGIT));
                }
            }
            _ => self.client_fault(call.client, Fault::BadMessage, message),
        }
    }

    fn transfer(&mut self, now: Instant, key: CallKey, message: &Message) {
        let Some(call) = self.calls.get(&key) else { return };
        if !message.text("with").is_empty() {
            return self.attended_transfer(key, message.text("with"));
        }
        match dialled(message.text("target")) {
            Some(target) if call.phase == Phase::Active => {
                let target = TransferTarget::Blind(Private(target));
                self.tell_call(key, &LegEvent::Transfer(target));
            }
            // Who has not answered sends the caller on instead.
            Some(target) if call.rings_here() => {
                self.tell_call(key, &LegEvent::Redirected(vec![Private(target)]));
                self.say(key, "call.end", json!({ "reason": reason_for(Cause::Transferred) }));
                self.forget_call(now, key, Cause::Unavailable);
            }
            Some(_) => self.transfer_progress(key, TransferProgress::Failed(Cause::Forbidden)),
            None => self.transfer_progress(key, TransferProgress::Failed(Cause::InvalidNumber)),
        }
    }

    /// Joins the far parties of two calls of one client.
    fn attended_transfer(&mut self, key: CallKey, with: &str) {
        let Some(call) = self.calls.get(&key) else { return };
        let other = self.clients.get(&call.client).and_then(|client| client.calls.get(with));
        let other = other.filter(|other| **other != key).and_then(|other| self.calls.get(other));
        let leg = other.and_then(|other| other.legs.first()).map(|(leg, _)| *leg);
        let target = leg.filter(|_| call.phase == Phase::Active).map(TransferTarget::Attended);
        match target {
            Some(target) => self.tell_call(key, &LegEvent::Transfer(target)),
            None => self.transfer_progress(key, TransferProgress::Failed(Cause::NotFound)),
        }
    }

    pub(super) fn transfer_progress(&mut self, key: CallKey, progress: TransferProgress) {
        let (state, reason) = match progress {
            TransferProgress::Trying => ("trying", ""),
            TransferProgress::Ringing => ("ringing", ""),
            TransferProgress::Done | TransferProgress::Parked(_) => ("done", ""),
            TransferProgress::Failed(cause) => ("failed", reason_for(cause)),
        };
        let mut body = json!({ "state": state, "reason": reason });
        if let TransferProgress::Parked(slot) = progress {
            body["slot"] = Value::from(slot.to_string());
        }
        self.say(key, "call.transfer.progress", body);
    }

    fn client_ends(&mut self, now: Instant, key: CallKey, reason: &str) {
        let Some(call) = self.calls.get(&key) else { return };
        let cause = match (call.phase, call.is_outgoing) {
            (Phase::Active, _) => hangup(reason),
            (Phase::Starting | Phase::Ringing, true) => Cause::Cancelled,
            (Phase::Starting | Phase::Ringing, false) => refusal(reason),
        };
        self.say(key, "call.ack.end", json!({}));
        self.forget_call(now, key, cause);
    }

    /// A call that nobody answered in time.
    pub(super) fn rang_long(&mut self, now: Instant, key: CallKey) {
        if self.calls.get(&key).is_some_and(ClientCall::rings_here) {
            self.end_call(now, key, Cause::NoAnswer);
        }
    }

    /// Ends a call and tells its client why.
    pub(super) fn end_call(&mut self, now: Instant, key: CallKey, cause: Cause) {
        self.say(key, "call.end", json!({ "reason": reason_for(cause) }));
        self.forget_call(now, key, cause);
    }

    /// The last word to each leg; what the client knows was said before.
    pub(super) fn forget_call(&mut self, now: Instant, key: CallKey, cause: Cause) {
        let Some(call) = self.calls.remove(&key) else { return };
        for timer in [Timer::Ring(key), Timer::Ack(key), Timer::Change(key), Timer::Retry(key)] {
            self.timers.cancel(&timer);
        }
        for (leg, _) in call.legs {
            self.legs.remove(&leg);
            self.tell(leg, LegEvent::Ended(cause));
        }
        if let Some(client) = self.clients.get_mut(&call.client) {
            client.calls.remove(&call.id);
            client.remember(now, call.id, call.fingerprint);
        }
    }

    pub(super) fn tell(&mut self, leg: LegId, event: LegEvent) {
        self.outputs.push_back(Output::Leg(leg, Box::new(event)));
    }

    /// Tells every leg of a call.
    pub(super) fn tell_call(&mut self, key: CallKey, event: &LegEvent) {
        let Some(call) = self.calls.get(&key) else { return };
        for (leg, _) in &call.legs {
            self.outputs.push_back(Output::Leg(*leg, Box::new(event.clone())));
        }
    }

    /// Sends a message of a call to its client.
    pub(super) fn say(&mut self, key: CallKey, method: &str, rest: Value) {
        let Some(call) = self.calls.get(&key) else { return };
        let Some(known) = call.known().cloned() else { return };
        let (client, leg, body) = (call.client, call.first_leg(), call.body(rest));
        self.send_of(client, leg, (method, &known.target), &body);
    }
}

/// The description of a message, if it can be read.
pub(super) fn description(message: &Message) -> Option<Session> {
    let session = Session::parse(message.text("sdp").as_bytes()).ok()?;
    (!session.is_empty()).then_some(session)
}

/// An answer that is not acknowledged for this long did not arrive.
const ACK: Duration = Duration::from_secs(10);
/// Of a digit whose length nobody said.
const DIGIT: Duration = Duration::from_millis(160);
/// Digits in one message.
const MAX_DIGITS: usize = 32;

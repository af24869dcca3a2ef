//! A change of media in a running call: lock, offer, answer, and both at once.

use std::time::{Duration, Instant};

use crosspoint_call::{LegEvent, ReofferFailure};
use crosspoint_sdp::Session;
use serde_json::json;

use super::calls::{Phase, description};
use super::candidates::Heard;
use super::message::Message;
use super::{CallKey, ClientKey, RtcEngine, Timer};

/// Whose turn it is to change the media of a call.
#[derive(Debug, Default)]
pub(super) struct Change {
    turn: Turn,
    /// Our offer, until it is answered; it waits while it is not our turn.
    ours: Option<Box<Ours>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    #[default]
    Nobody,
    /// The client has the lock; its offer is to come.
    TheirLock,
    /// The client's offer waits for our answer.
    TheirOffer,
    /// Our lock waits for its `ok`.
    OurLock,
    /// Our offer waits for its answer.
    OurOffer,
}

#[derive(Debug)]
struct Ours {
    offer: Session,
    /// How often the lock was refused.
    tries: u32,
}

impl RtcEngine {
    // The client changes something.

    pub(super) fn client_locks(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match call.change.turn {
            Turn::Nobody | Turn::TheirLock if call.phase == Phase::Active => {
                call.change.turn = Turn::TheirLock;
                self.timers.set(Timer::Change(key), now + LOCK);
                self.say(key, "call.change.lock.ok", json!({}));
            }
            // Both at once: each gives way, and tries again when the other does not.
            Turn::OurLock => {
                self.say(key, "call.change.lock.reset", json!({}));
                self.give_way(now, key);
            }
            Turn::Nobody | Turn::TheirLock | Turn::TheirOffer | Turn::OurOffer => {
                self.say(key, "call.change.lock.reset", json!({}));
            }
        }
    }

    pub(super) fn client_offers(&mut self, now: Instant, key: CallKey, message: &Message) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match call.change.turn {
            Turn::TheirLock => {
                self.timers.cancel(&Timer::Change(key));
                let Some(offer) = description(message) else {
                    self.release(key);
                    return;
                };
                call.change.turn = Turn::TheirOffer;
                call.heard = Heard::of(&offer);
                // What we have to offer is overtaken.
                if call.change.ours.take().is_some() {
                    self.timers.cancel(&Timer::Retry(key));
                    self.tell_call(key, &LegEvent::ReofferFailed(ReofferFailure::Glare));
                }
                self.tell_call(key, &LegEvent::Reoffer(Some(offer)));
            }
            Turn::OurLock => {
                self.say(key, "call.change.lock.reset", json!({}));
                self.give_way(now, key);
            }
            Turn::Nobody | Turn::TheirOffer | Turn::OurOffer => {
                self.say(key, "call.change.lock.reset", json!({}));
            }
        }
    }

    /// The call's answer to the client's offer.
    pub(super) fn answer_change(&mut self, key: CallKey, answer: &Session) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.change.turn == Turn::TheirOffer {
            call.change.turn = Turn::Nobody;
            let trickle = call.trickles();
            let body = json!({ "sdp": answer.to_string(), "trickle": trickle });
            self.say(key, "call.change.answer", body);
        }
    }

    pub(super) fn refuse_change(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        if call.change.turn == Turn::TheirOffer {
            self.release(key);
        }
    }

    /// Takes the client's lock away, or refuses its offer.
    fn release(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.change.turn = Turn::Nobody;
        self.say(key, "call.change.lock.reset", json!({}));
    }

    // The far side changes something.

    pub(super) fn offer_change(&mut self, now: Instant, key: CallKey, offer: Session) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.phase != Phase::Active || call.change.ours.is_some() {
            self.tell_call(key, &LegEvent::ReofferFailed(ReofferFailure::Refused));
            return;
        }
        call.change.ours = Some(Box::new(Ours { offer, tries: 0 }));
        match call.change.turn {
            Turn::Nobody => self.lock(now, key),
            Turn::TheirLock | Turn::TheirOffer | Turn::OurLock | Turn::OurOffer => {
                self.try_later(now, key);
            }
        }
    }

    fn lock(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.change.turn = Turn::OurLock;
        self.timers.set(Timer::Change(key), now + LOCK);
        self.say(key, "call.change.lock", json!({}));
    }

    pub(super) fn lock_granted(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let (Turn::OurLock, Some(ours)) = (call.change.turn, &call.change.ours) else { return };
        let body = json!({ "sdp": ours.offer.to_string(), "trickle": call.trickles() });
        call.change.turn = Turn::OurOffer;
        self.timers.set(Timer::Change(key), now + LOCK);
        self.say(key, "call.change.offer", body);
    }

    pub(super) fn client_answers(&mut self, key: CallKey, message: &Message) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.change.turn != Turn::OurOffer {
            return;
        }
        let event = match description(message) {
            Some(answer) => {
                call.heard = Heard::of(&answer);
                LegEvent::Reanswer(answer)
            }
            None => LegEvent::ReofferFailed(ReofferFailure::Refused),
        };
        self.our_change_is_over(key, &event);
    }

    fn our_change_is_over(&mut self, key: CallKey, event: &LegEvent) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.change = Change::default();
        self.timers.cancel(&Timer::Change(key));
        self.timers.cancel(&Timer::Retry(key));
        self.tell_call(key, event);
    }

    /// The client gives its lock back, or refuses ours, or refuses our offer.
    pub(super) fn lock_reset(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match call.change.turn {
            Turn::TheirLock => {
                call.change.turn = Turn::Nobody;
                self.timers.cancel(&Timer::Change(key));
            }
            Turn::OurLock => self.give_way(now, key),
            Turn::OurOffer => {
                let event = LegEvent::ReofferFailed(ReofferFailure::Refused);
                self.our_change_is_over(key, &event);
            }
            // The second half of a glare; or an offer that is with the far side already.
            Turn::Nobody | Turn::TheirOffer => {}
        }
    }

    /// Our lock was not granted: it is tried again, but not for ever.
    fn give_way(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.change.turn = Turn::Nobody;
        self.timers.cancel(&Timer::Change(key));
        self.try_later(now, key);
    }

    fn try_later(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(ours) = &mut call.change.ours else { return };
        ours.tries += 1;
        if ours.tries > MAX_TRIES {
            call.change.ours = None;
            self.tell_call(key, &LegEvent::ReofferFailed(ReofferFailure::Glare));
            return;
        }
        // Who called waits longer, so that the two do not meet again.
        let delay =
            if call.is_outgoing { self.rng.below(2000) } else { 2100 + self.rng.below(1900) };
        self.timers.set(Timer::Retry(key), now + Duration::from_millis(delay.into()));
    }

    /// The client has another socket. Many forget a change that the old one carried, so ours
    /// begins again.
    pub(super) fn begin_changes_again(&mut self, now: Instant, client: ClientKey) {
        let Some(client) = self.clients.get(&client) else { return };
        for key in client.calls.values().copied().collect::<Vec<_>>() {
            let turn = self.calls.get(&key).map(|call| call.change.turn);
            if matches!(turn, Some(Turn::OurLock | Turn::OurOffer)) {
                self.give_way(now, key);
            }
        }
    }

    pub(super) fn retry_due(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        match (call.change.turn, &call.change.ours) {
            (Turn::Nobody, Some(_)) => self.lock(now, key),
            (_, Some(_)) => self.try_later(now, key),
            (_, None) => {}
        }
    }

    /// A lock leads nowhere.
    pub(super) fn change_late(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        match call.change.turn {
            Turn::TheirLock => self.release(key),
            Turn::OurLock | Turn::OurOffer => {
                self.release(key);
                let event = LegEvent::ReofferFailed(ReofferFailure::Refused);
                self.our_change_is_over(key, &event);
            }
            Turn::Nobody | Turn::TheirOffer => {}
        }
    }
}

/// A lock without progress is reset.
const LOCK: Duration = Duration::from_secs(10);
/// Tries of an offer that meets the client's.
const MAX_TRIES: u32 = 4;

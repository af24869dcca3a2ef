//! What a call tells a leg to do.

use std::time::Instant;

use crosspoint_base::{LegId, Private};
use crosspoint_call::{
    About, Button, Cause, Diverted, Grade, GradeChange, LegCommand, LegEvent, MediaPath,
    OutgoingOffer, Reach,
};
use crosspoint_sdp::Session;
use serde_json::{Value, json};

use super::accounts::Known;
use super::calls::{ClientCall, Phase, Story};
use super::candidates::{Heard, printed};
use super::change::Change;
use super::grant::Service;
use super::{CallKey, ClientKey, RtcEngine, Timer, address};

impl ClientCall {
    /// Candidates follow our descriptions: they are another browser's.
    pub(super) fn trickles(&self) -> bool {
        self.known().is_some_and(|known| is_direct(known))
    }
}

/// How one side of the call does, for a display.
fn grade(GradeChange { about, grade, quality }: GradeChange) -> Value {
    let share = |parts: u16| f64::from(parts) / 10_000.0;
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let mut body = json!({
        "about": match about {
            About::Near => "near",
            About::Far => "far",
        },
        "grade": match grade {
            Grade::Good => "good",
            Grade::Fair => "fair",
            Grade::Poor => "poor",
            Grade::Silent => "silent",
        },
    });
    if let Some(quality) = quality {
        body["mos"] = json!(quality.mos.map(|mos| f64::from(mos) / 100.0));
        body["loss"] = json!(share(quality.loss));
        body["lossOut"] = json!(quality.loss_at_leg.map(share));
        body["jitter"] = json!(millis(quality.jitter));
        body["roundTrip"] = json!(quality.round_trip.map(millis));
    }
    body
}

impl RtcEngine {
    pub(super) fn command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        if let LegCommand::Offer(offer) = command {
            self.call_out(now, leg, *offer);
            return;
        }
        let Some(key) = self.legs.get(&leg).copied() else { return };
        match command {
            // Taken above.
            LegCommand::Offer(_) => {}
            LegCommand::Ringing => self.far_side_rings(key, None),
            LegCommand::EarlyMedia(description) => self.far_side_rings(key, Some(&description)),
            LegCommand::Answer(description) => self.answered(now, key, leg, &description),
            LegCommand::Candidate(candidate) => {
                if self.is_settled(key) {
                    self.say(key, "call.candidate", printed(Some(&candidate)));
                }
            }
            LegCommand::EndOfCandidates => {
                if self.is_settled(key) {
                    self.say(key, "call.candidate", printed(None));
                }
            }
            LegCommand::Reoffer(description) => self.offer_change(now, key, description),
            LegCommand::Reanswer(description) => self.answer_change(key, &description),
            LegCommand::RejectReoffer(_) | LegCommand::PostponeReoffer => self.refuse_change(key),
            LegCommand::Dtmf(digit, _) | LegCommand::DtmfShown(digit, _) => {
                self.say(key, "call.dtmf", json!({ "dtmf": digit.as_char().to_string() }));
            }
            // Browsers are asked in their media.
            LegCommand::RequestKeyFrame => {}
            LegCommand::TransferProgress(progress) => self.transfer_progress(key, progress),
            LegCommand::Press(button) => {
                let button = match button {
                    Button::Talk => "talk",
                    Button::Hold => "hold",
                };
                self.say(key, "call.press", json!({ "button": button }));
            }
            LegCommand::Grade(change) => self.say(key, "call.quality", grade(change)),
            LegCommand::End(cause) => self.leg_ends(now, key, leg, cause),
        }
    }

    /// True when the call has one leg: of a fork nobody knows yet who will answer.
    fn is_settled(&self, key: CallKey) -> bool {
        self.calls.get(&key).is_some_and(|call| call.legs.len() == 1)
    }

    /// Calls a client.
    fn call_out(&mut self, now: Instant, leg: LegId, offer: OutgoingOffer) {
        let bound = match &offer.reach {
            Reach::Binding(binding) => self.bindings.get(binding),
            Reach::Trunk { .. } | Reach::Registration { .. } => None,
        };
        let Some((client, known)) = bound.map(|b| (b.client, b.known.clone())) else {
            self.tell(leg, LegEvent::Ended(Cause::Unavailable));
            return;
        };
        let calls = self.clients.get(&client).map_or(usize::MAX, |c| c.calls.len());
        if calls >= self.config.max_calls_per_client {
            self.counters.refused_calls += 1;
            self.tell(leg, LegEvent::Ended(Cause::Busy));
            return;
        }
        let key = self.next_call_key();
        let id: Box<str> = self.uuid().into();
        let peer = address::peer(&known, &offer.from, &self.config.domain);
        let mut start = json!({
            "id": &*id,
            "gcid": offer.gcid.as_str(),
            "account": known.name,
            "target": offer.to.expose(),
            "sdp": offer.description.to_string(),
            "trickle": is_direct(&known),
            "replace": false,
            "source": peer["identifier"],
            "peer": peer,
        });
        if offer.auto_answer {
            start["autoAnswer"] = Value::Bool(true);
        }
        if let Some(diverted) = diverted(&offer.diverted) {
            start["diverted"] = diverted;
        }
        let call = ClientCall {
            client,
            id: id.clone(),
            gcid: offer.gcid,
            legs: vec![(leg, known)],
            is_outgoing: false,
            phase: Phase::Starting,
            story: Story {
                peer: offer.from,
                is_outgoing: false,
                since: self.config.clock.seconds(now),
            },
            fingerprint: 0,
            has_early_media: false,
            awaits_ack: false,
            failed: None,
            heard: Heard::default(),
            change: Change::default(),
            unanswered: Some(Private(Box::new(start))),
        };
        self.calls.insert(key, call);
        self.legs.insert(leg, key);
        if let Some(client) = self.clients.get_mut(&client) {
            client.calls.insert(id, key);
        }
        self.timers.set(Timer::Ring(key), now + offer.ring_timeout);
        self.repeat_unanswered(key);
        self.tell(leg, LegEvent::Trying);
        self.tell(leg, LegEvent::MediaGrace(self.config.resume_window));
    }

    /// A page that lost everything hears again what rings, and who answered.
    pub(super) fn repeat_all_unanswered(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(&key) else { return };
        for call in client.calls.values().copied().collect::<Vec<_>>() {
            self.repeat_unanswered(call);
        }
    }

    fn far_side_rings(&mut self, key: CallKey, early: Option<&Session>) {
        let settled = self.is_settled(key);
        let Some(call) = self.calls.get_mut(&key) else { return };
        if !call.is_outgoing || call.phase == Phase::Active {
            return;
        }
        // Of a fork another may answer: what one of them plays cannot be the answer's beginning.
        let early = early.filter(|_| settled && !call.has_early_media);
        if call.phase == Phase::Ringing && early.is_none() {
            return;
        }
        call.phase = Phase::Ringing;
        call.has_early_media |= early.is_some();
        let mut body = json!({ "account": call.known().map(|k| k.name.as_str()) });
        if let Some(early) = early {
            body["sdp"] = Value::from(early.to_string());
        }
        self.say(key, "call.ringing", body);
    }

    /// The called side answers; of a fork the first one has the call.
    fn answered(&mut self, now: Instant, key: CallKey, leg: LegId, description: &Session) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if !call.is_outgoing || call.phase == Phase::Active {
            return;
        }
        call.phase = Phase::Active;
        let (winner, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut call.legs).into_iter().partition(|(l, _)| *l == leg);
        call.legs = winner;
        let body = json!({
            "account": call.known().map(|k| k.name.as_str()),
            "sdp": description.to_string(),
            "trickle": call.trickles(),
        });
        for (other, _) in others {
            self.legs.remove(&other);
            self.tell(other, LegEvent::Ended(Cause::AnsweredElsewhere));
        }
        self.accept_call(now, key, body);
    }

    fn leg_ends(&mut self, now: Instant, key: CallKey, leg: LegId, cause: Cause) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let told = call.failed.map_or(cause, |old| old.or_telling(cause));
        // A person said no: the other branches stop too.
        if call.legs.len() > 1 && cause != Cause::Declined {
            call.failed = Some(told);
            call.legs.retain(|(l, _)| *l != leg);
            self.legs.remove(&leg);
            self.tell(leg, LegEvent::Ended(cause));
        } else {
            let is_up = call.phase == Phase::Active;
            self.end_call(now, key, if is_up { cause } else { told });
        }
    }
}

/// Where the call was before, latest first; nothing where it was nowhere.
fn diverted(places: &[Diverted]) -> Option<Value> {
    let shown = places.iter().rev().filter(|place| !place.is_private);
    let shown: Vec<Value> = shown
        .map(|place| json!({ "identifier": place.by.expose(), "reason": place.reason.as_str() }))
        .collect();
    (!shown.is_empty()).then(|| Value::from(shown))
}

fn is_direct(known: &Known) -> bool {
    matches!(&known.grant.service, Service::Apps { path: MediaPath::Direct, .. })
}

//! What a call tells a leg to do.

use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_call::{
    Cause, LegCommand, LegEvent, OutgoingOffer, Reach, ReofferFailure, TransferProgress,
};

use crosspoint_base::Private;

use super::calls::{CHANGE, Change, Phase, Push, TerminalCall};
use super::number::shown;
use super::{Body, CallKey, Fault, Mode, Timer, WebTerminals};

impl WebTerminals {
    pub(super) fn command(&mut self, now: Instant, leg: LegId, command: LegCommand) {
        if let LegCommand::Offer(offer) = command {
            self.call_out(now, leg, *offer);
            return;
        }
        let Some(call) = self.legs.get(&leg).copied() else { return };
        if let Some(this) = self.calls.get_mut(&call).filter(|this| this.before == Some(leg)) {
            if let LegCommand::End(cause) = command {
                this.before = None;
                self.legs.remove(&leg);
                self.tell(leg, LegEvent::Ended(cause));
            }
            return;
        }
        match command {
            // Taken above.
            LegCommand::Offer(_) => {}
            LegCommand::Ringing => self.far_side_rings(call),
            LegCommand::EarlyMedia(answer) => {
                self.far_side_rings(call);
                self.far_side_plays(call, Private(answer.to_string()));
            }
            LegCommand::Answer(answer) => self.answered(call, Private(answer.to_string())),
            LegCommand::Reoffer(offer) => {
                self.offer_change(now, call, Private(offer.to_string()));
            }
            LegCommand::Reanswer(answer) => {
                self.answer_change(call, Body::Answer { sdp: Private(answer.to_string()) });
            }
            LegCommand::RejectReoffer(_) | LegCommand::PostponeReoffer => {
                self.answer_change(call, Body::Error(Fault::TryAgain));
            }
            LegCommand::TransferProgress(progress) => self.push_progress(call, progress),
            LegCommand::End(cause) => self.end_call(call, cause),
            // Digits and key frames travel in the media of browsers; candidates stand in
            // descriptions; and the protocol has no word for quality or buttons.
            LegCommand::Candidate(_)
            | LegCommand::EndOfCandidates
            | LegCommand::Dtmf(..)
            | LegCommand::DtmfShown(..)
            | LegCommand::RequestKeyFrame
            | LegCommand::Press(_)
            | LegCommand::Grade(_) => {}
        }
    }

    /// Calls a terminal.
    fn call_out(&mut self, now: Instant, leg: LegId, offer: OutgoingOffer) {
        let key = match &offer.reach {
            Reach::Binding(binding) => self.bindings.get(binding).copied(),
            Reach::Trunk { .. } | Reach::Registration { .. } => None,
        };
        let terminal = key.and_then(|key| Some((key, self.terminals.get(&key)?)));
        let Some((key, terminal)) = terminal.filter(|(_, t)| t.is_reachable()) else {
            self.tell(leg, LegEvent::Ended(Cause::Unavailable));
            return;
        };
        let most = match terminal.mode {
            Mode::Pipe => 1,
            Mode::MultiPipe => self.config.max_calls_per_terminal,
        };
        if terminal.calls.len() >= most {
            self.counters.refused_calls += 1;
            self.tell(leg, LegEvent::Ended(Cause::Busy));
            return;
        }
        // Every terminal of a subscriber knows a call by the same id.
        let id = self.id_of(&terminal.subscriber.user, &offer.gcid);
        let id = if terminal.calls.contains_key(&id) { self.uuid().into() } else { id };
        let call = CallKey(self.number());
        let number = if offer.from.is_private { "" } else { offer.from.address.expose() };
        let this = TerminalCall {
            terminal: key,
            id: id.clone(),
            gcid: offer.gcid,
            leg,
            before: None,
            fingerprints: Vec::new(),
            is_outgoing: false,
            phase: Phase::Starting,
            number: shown(number),
            unanswered: Some(Private(offer.description.to_string())),
            early: None,
            change: Change::None,
            push: Push::None,
        };
        self.calls.insert(call, this);
        self.legs.insert(leg, call);
        if let Some(terminal) = self.terminals.get_mut(&key) {
            terminal.calls.insert(id, call);
        }
        self.timers.set(Timer::Ring(call), now + offer.ring_timeout);
        self.repeat(call);
        self.tell(leg, LegEvent::Trying);
        self.tell(leg, LegEvent::MediaGrace(self.config.resume_window));
    }

    /// Says our offer or answer of a call, again if need be.
    pub(super) fn repeat(&mut self, call: CallKey) {
        let Some(this) = self.calls.get(&call) else { return };
        let Some(sdp) = this.unanswered.clone() else { return };
        let (key, id) = (this.terminal, this.id.clone());
        let is_answer = this.is_outgoing && this.change != Change::Ours;
        let body = match (is_answer, this.rings_here()) {
            (true, _) => Body::Answer { sdp },
            (false, true) => Body::Offer { sdp, number: Some(Private(this.number.clone())) },
            (false, false) => Body::Offer { sdp, number: None },
        };
        self.send(key, &id, body);
    }

    fn far_side_rings(&mut self, call: CallKey) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        if this.is_outgoing && this.phase == Phase::Starting {
            this.phase = Phase::Ringing;
            let (key, id) = (this.terminal, this.id.clone());
            self.send(key, &id, Body::Ringing);
        }
    }

    /// What is heard before the answer needs our description, and the answer has the same.
    fn far_side_plays(&mut self, call: CallKey, answer: Private<String>) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        if this.is_outgoing && this.phase == Phase::Ringing && this.early.is_none() {
            this.early = Some(answer.clone());
            this.unanswered = Some(answer);
            self.repeat(call);
        }
    }

    fn answered(&mut self, call: CallKey, answer: Private<String>) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        if !this.is_outgoing || this.phase == Phase::Active {
            return;
        }
        this.phase = Phase::Active;
        let leg = this.leg;
        let is_known = this.early.take().is_some();
        this.unanswered = Some(answer);
        if !is_known {
            self.repeat(call);
        }
        // The protocol has no acknowledgement.
        self.tell(leg, LegEvent::Confirm(None));
    }

    // The far side changes something.

    fn offer_change(&mut self, now: Instant, call: CallKey, offer: Private<String>) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        let leg = this.leg;
        if this.phase != Phase::Active || this.change != Change::None {
            let failure = match this.change {
                Change::Theirs => ReofferFailure::Glare,
                Change::None | Change::Ours => ReofferFailure::Refused,
            };
            self.tell(leg, LegEvent::ReofferFailed(failure));
            return;
        }
        this.change = Change::Ours;
        this.unanswered = Some(offer);
        self.timers.set(Timer::Change(call), now + CHANGE);
        self.repeat(call);
    }

    fn answer_change(&mut self, call: CallKey, body: Body) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        if this.change == Change::Theirs {
            this.change = Change::None;
            let (key, id) = (this.terminal, this.id.clone());
            self.send(key, &id, body);
        }
    }

    fn push_progress(&mut self, call: CallKey, progress: TransferProgress) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        if this.push != Push::Wanted {
            return;
        }
        let (key, id, gcid) = (this.terminal, this.id.clone(), this.gcid.clone());
        match progress {
            // Nobody parks a call at its own phone.
            TransferProgress::Trying | TransferProgress::Ringing | TransferProgress::Parked(_) => {}
            TransferProgress::Failed(_) => {
                this.push = Push::None;
                self.fault(key, &id, Fault::TryAgain);
            }
            TransferProgress::Done => {
                this.push = Push::Done;
                let number = Private(this.number.clone());
                if let Some(terminal) = self.terminals.get_mut(&key) {
                    terminal.told.insert(id.clone(), gcid);
                }
                self.send(key, &id, Body::InCall { number });
            }
        }
    }
}

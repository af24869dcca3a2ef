//! What a terminal says, and the calls it says it of.

use std::time::{Duration, Instant};

use crosspoint_base::{ConnectionId, Gcid, LegId, Private};
use crosspoint_call::{
    Cause, Identity, IncomingOffer, LegEvent, MediaPath, Profile, ReofferFailure, Replaces, Scope,
    TransferTarget,
};
use crosspoint_sdp::{Fingerprint, Session};

use super::number::dialled;
use super::streams::Terminal;
use super::{
    About, Body, CallKey, Fault, Message, Mode, Subscriber, TerminalKey, Timer, WebTerminals,
};

/// What a terminal knows by one id.
#[derive(Debug)]
pub(super) struct TerminalCall {
    pub(super) terminal: TerminalKey,
    pub(super) id: Box<str>,
    pub(super) gcid: Gcid,
    pub(super) leg: LegId,
    /// The leg that ours takes the place of: it is not over yet.
    pub(super) before: Option<LegId>,
    /// Who the terminal's media is: another one is another connection.
    pub(super) fingerprints: Vec<Fingerprint>,
    /// The terminal called.
    pub(super) is_outgoing: bool,
    pub(super) phase: Phase,
    /// The other party's, as terminals are shown it.
    pub(super) number: String,
    /// Our offer or answer that may have to be said again.
    pub(super) unanswered: Option<Private<String>>,
    /// Our answer came with early media, and was this.
    pub(super) early: Option<Private<String>>,
    pub(super) change: Change,
    pub(super) push: Push,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ringing,
    Active,
}

/// Whose new offer is waiting for an answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    #[default]
    None,
    Theirs,
    Ours,
}

/// How far the call is on its way to the phone.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    #[default]
    None,
    Wanted,
    Done,
}

impl TerminalCall {
    /// The terminal is called and has not answered.
    pub(super) fn rings_here(&self) -> bool {
        !self.is_outgoing && self.phase != Phase::Active
    }
}

/// A call that a terminal begins.
struct Beginning {
    id: Box<str>,
    description: Session,
    to: Private<String>,
    number: String,
    replaces: Option<Replaces>,
}

impl WebTerminals {
    pub(super) fn hear(&mut self, now: Instant, connection: ConnectionId, message: Message) {
        // Clients send it to keep their stream busy, ten times a second.
        if message.body == Body::Empty {
            return;
        }
        let Some(key) = self.streams.get(&connection).copied() else { return };
        let (rate, burst) = (self.config.rate, self.config.burst);
        let Some(terminal) = self.terminals.get_mut(&key) else { return };
        let mode = terminal.mode;
        self.counters.messages += 1;
        if !terminal.allowance.take(now, rate, burst) {
            self.counters.rate_limited += 1;
            return self.fault(key, echo(&message.call), Fault::RateLimitHit);
        }
        let id = match mode {
            Mode::MultiPipe if is_uuid(&message.call) => message.call.to_ascii_lowercase(),
            Mode::MultiPipe => {
                return self.fault(key, echo(&message.call), Fault::InvalidCallId);
            }
            Mode::Pipe => self.only_call(key),
        };
        let (speaker, (key, id)) = (key, self.meant(key, id));
        if key != speaker
            && let Some(terminal) = self.terminals.get_mut(&speaker)
        {
            terminal.is_errand = true;
        }
        self.adopt(key, &id);
        let before = self.leg_of(key, &id);
        let is_offer = matches!(message.body, Body::Offer { .. });
        match message.body {
            Body::Offer { sdp, number } => self.offered(now, key, &id, &sdp, number.as_ref()),
            Body::Answer { sdp } => self.terminal_answers(key, &id, &sdp),
            Body::Ringing => self.terminal_rings(key, &id),
            Body::Bye => self.terminal_ends(key, &id),
            Body::ToPhone => self.push_to_phone(key, &id),
            // Ours to say.
            Body::Empty | Body::Idle | Body::InCall { .. } | Body::Error(_) => {}
        }
        // The call of a `Pipe` has its id only now.
        let id = if id.is_empty() { self.only_call(key) } else { id };
        self.heard = match before.or_else(|| self.leg_of(key, &id)) {
            Some(leg) => Some(About::Leg(leg)),
            None => is_offer.then_some(About::Refused(None)),
        };
    }

    fn leg_of(&self, key: TerminalKey, id: &str) -> Option<LegId> {
        self.call_of(key, id).and_then(|call| self.calls.get(&call)).map(|call| call.leg)
    }

    /// Browsers say what they have to say later on streams of their own: it is of the call that a
    /// stream before has.
    fn meant(&self, key: TerminalKey, id: String) -> (TerminalKey, String) {
        let Some(terminal) = self.terminals.get(&key) else { return (key, id) };
        if !terminal.is_half_duplex || terminal.calls.contains_key(id.as_str()) {
            return (key, id);
        }
        let others = self.users.get(&terminal.subscriber.user).into_iter().flatten();
        let mut others = others.filter_map(|key| Some((key, self.terminals.get(key)?)));
        let is_other = |other: &Terminal| {
            other.is_half_duplex && other.mode == terminal.mode && !other.calls.is_empty()
        };
        let found = match terminal.mode {
            Mode::Pipe => others.find(|(_, other)| is_other(other)),
            Mode::MultiPipe => {
                others.find(|(_, other)| is_other(other) && other.calls.contains_key(id.as_str()))
            }
        };
        match found {
            Some((other, _)) if terminal.mode == Mode::Pipe => (*other, self.only_call(*other)),
            Some((other, _)) => (*other, id),
            None => (key, id),
        }
    }

    /// The id of the call that a `Pipe` has; empty for none.
    fn only_call(&self, key: TerminalKey) -> String {
        let first = self.terminals.get(&key).and_then(|t| t.calls.keys().next());
        first.map_or_else(String::new, ToString::to_string)
    }

    pub(super) fn call_of(&self, key: TerminalKey, id: &str) -> Option<CallKey> {
        self.terminals.get(&key)?.calls.get(id).copied()
    }

    /// A terminal that came back without saying so goes on with its call under the call's id.
    fn adopt(&mut self, key: TerminalKey, id: &str) {
        let Some(terminal) = self.terminals.get(&key) else { return };
        if terminal.calls.contains_key(id) {
            return;
        }
        let user = &terminal.subscriber.user;
        let away = self.users.get(user).into_iter().flatten().copied().find(|other| {
            self.terminals
                .get(other)
                .is_some_and(|t| t.stream.is_none() && t.calls.contains_key(id))
        });
        let Some(away) = away else { return };
        let Some(call) = self.terminals.get_mut(&away).and_then(|t| t.calls.remove(id)) else {
            return;
        };
        if let Some(terminal) = self.terminals.get_mut(&key) {
            terminal.calls.insert(id.into(), call);
        }
        if let Some(call) = self.calls.get_mut(&call) {
            call.terminal = key;
        }
        self.counters.resumed += 1;
    }

    fn offered(
        &mut self,
        now: Instant,
        key: TerminalKey,
        id: &str,
        sdp: &Private<String>,
        number: Option<&Private<String>>,
    ) {
        let number = number.map(|number| number.expose().as_str()).filter(|n| !n.is_empty());
        if let Some(call) = self.call_of(key, id) {
            return self.offered_again(key, call, sdp, number);
        }
        let Some(terminal) = self.terminals.get(&key) else { return };
        if self.is_draining || terminal.is_expired || terminal.is_half_closed {
            self.counters.refused_calls += 1;
            return self.fault(key, id, Fault::TryAgain);
        }
        if terminal.calls.len() >= self.config.max_calls_per_terminal {
            self.counters.refused_calls += 1;
            return self.fault(key, id, Fault::RateLimitHit);
        }
        let pulled = match (terminal.mode, number) {
            (Mode::MultiPipe, _) => self.elsewhere_by_id(key, id),
            (Mode::Pipe, None) => self.latest_elsewhere(key),
            (Mode::Pipe, Some(_)) => None,
        };
        let to = number.and_then(dialled);
        let (to, number, replaces) = match (pulled, to, terminal.mode) {
            (Some((gcid, number)), ..) => (String::new(), number, Some(Replaces::Own(gcid))),
            (None, Some(to), _) => (to.clone(), to, None),
            (None, None, Mode::MultiPipe) if number.is_none() => {
                return self.fault(key, id, Fault::InvalidCallId);
            }
            (None, None, Mode::Pipe) if number.is_none() => {
                return self.fault(key, id, Fault::NotInCall);
            }
            (None, None, _) => return self.refuse(key, id),
        };
        let Some(description) = description(sdp) else { return self.refuse(key, id) };
        let id: Box<str> = if id.is_empty() { self.uuid().into() } else { id.into() };
        let beginning = Beginning { id, description, to: Private(to), number, replaces };
        self.begin(now, key, beginning);
    }

    /// Nobody can be called by this.
    fn refuse(&mut self, key: TerminalKey, id: &str) {
        self.fault(key, id, Fault::Unknown);
        self.send(key, id, Body::Bye);
    }

    fn begin(&mut self, now: Instant, key: TerminalKey, beginning: Beginning) {
        let leg = self.next_leg_id();
        let call = CallKey(self.number());
        let fingerprints = fingerprints(&beginning.description);
        let gcid = match &beginning.replaces {
            Some(Replaces::Own(gcid)) => gcid.clone(),
            _ => Gcid::generate(now, &self.clock, &mut self.rng),
        };
        let Beginning { id, description, to, number, replaces } = beginning;
        let Some(offer) = self.incoming(key, to, description, (&gcid, replaces)) else { return };
        self.calls.insert(
            call,
            TerminalCall {
                terminal: key,
                id: id.clone(),
                gcid,
                leg,
                before: None,
                fingerprints,
                is_outgoing: true,
                phase: Phase::Starting,
                number,
                unanswered: None,
                early: None,
                change: Change::None,
                push: Push::None,
            },
        );
        self.legs.insert(leg, call);
        if let Some(terminal) = self.terminals.get_mut(&key) {
            // From here on it is a call of its own.
            terminal.told.remove(&id);
            terminal.missed.remove(&id);
            terminal.calls.insert(id, call);
        }
        self.tell(leg, LegEvent::Offer(offer));
        self.tell(leg, LegEvent::MediaGrace(self.config.resume_window));
    }

    /// A call that this terminal brings.
    fn incoming(
        &self,
        key: TerminalKey,
        to: Private<String>,
        description: Session,
        (gcid, replaces): (&Gcid, Option<Replaces>),
    ) -> Option<Box<IncomingOffer>> {
        let Subscriber { user, number } = &self.terminals.get(&key)?.subscriber;
        let from = Identity {
            address: Private(number.clone()),
            user: Some(user.clone()),
            ..Identity::default()
        };
        Some(Box::new(IncomingOffer {
            from,
            to,
            description: Some(description),
            profile: Profile::WebRtc,
            trunk: None,
            video: true,
            gcid: Some(gcid.clone()),
            trickle: false,
            scope: Scope::Everywhere,
            path: MediaPath::Anchored,
            replaces,
            location: None,
            diverted: Vec::new(),
            auto_answer: false,
            may_press: false,
        }))
    }

    /// An offer in a call that is there: the terminal changes its media.
    fn offered_again(
        &mut self,
        key: TerminalKey,
        call: CallKey,
        sdp: &Private<String>,
        number: Option<&str>,
    ) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        let (id, leg) = (this.id.clone(), this.leg);
        let is_other = number.and_then(dialled).is_some_and(|to| to != this.number);
        match this.phase {
            // The same again: its stream broke before it heard from us.
            Phase::Starting | Phase::Ringing if this.is_outgoing && !is_other => {}
            // A `Pipe` has one call at a time.
            _ if is_other => self.fault(key, &id, Fault::TryAgain),
            Phase::Starting | Phase::Ringing => self.fault(key, &id, Fault::Unknown),
            Phase::Active if this.change == Change::Theirs => {
                self.fault(key, &id, Fault::TryAgain);
            }
            Phase::Active => {
                let Some(offer) = description(sdp) else {
                    return self.fault(key, &id, Fault::Unknown);
                };
                let fingerprints = fingerprints(&offer);
                if fingerprints != this.fingerprints {
                    return self.begin_anew(key, call, offer);
                }
                let gave_way = this.change == Change::Ours;
                this.change = Change::Theirs;
                this.unanswered = None;
                // Both at once: terminals know no glare, so ours gives way.
                if gave_way {
                    self.timers.cancel(&Timer::Change(call));
                    self.tell(leg, LegEvent::ReofferFailed(ReofferFailure::Glare));
                }
                self.tell(leg, LegEvent::Reoffer(Some(offer)));
            }
        }
    }

    /// A terminal that has lost its media (its process was started again, say) has new media for
    /// its call: a leg of its own, in the place of the one before.
    fn begin_anew(&mut self, key: TerminalKey, call: CallKey, offer: Session) {
        let leg = self.next_leg_id();
        let Some(this) = self.calls.get_mut(&call) else { return };
        if this.before.is_some() {
            let id = this.id.clone();
            return self.fault(key, &id, Fault::TryAgain);
        }
        let before = std::mem::replace(&mut this.leg, leg);
        this.before = Some(before);
        this.fingerprints = fingerprints(&offer);
        (this.is_outgoing, this.phase) = (true, Phase::Starting);
        (this.change, this.unanswered, this.push) = (Change::None, None, Push::None);
        let gcid = this.gcid.clone();
        self.timers.cancel(&Timer::Change(call));
        self.legs.insert(leg, call);
        let replaces = Some(Replaces::Leg(before));
        let to = Private(String::new());
        let Some(offer) = self.incoming(key, to, offer, (&gcid, replaces)) else { return };
        self.tell(leg, LegEvent::Offer(offer));
        self.tell(leg, LegEvent::MediaGrace(self.config.resume_window));
    }

    fn terminal_answers(&mut self, key: TerminalKey, id: &str, sdp: &Private<String>) {
        let Some(call) = self.call_of(key, id) else {
            return self.fault(key, id, Fault::InvalidCallId);
        };
        let Some(this) = self.calls.get_mut(&call) else { return };
        let leg = this.leg;
        let answer = description(sdp);
        if this.rings_here() {
            let Some(answer) = answer else {
                self.fault(key, id, Fault::Unknown);
                return self.end_call(call, Cause::BadDescription);
            };
            this.phase = Phase::Active;
            this.unanswered = None;
            this.fingerprints = fingerprints(&answer);
            self.timers.cancel(&Timer::Ring(call));
            self.tell(leg, LegEvent::Answer(Some(answer)));
        } else if this.change == Change::Ours {
            this.change = Change::None;
            this.unanswered = None;
            self.timers.cancel(&Timer::Change(call));
            let event = match answer {
                Some(answer) => LegEvent::Reanswer(answer),
                None => LegEvent::ReofferFailed(ReofferFailure::Refused),
            };
            self.tell(leg, event);
        }
    }

    fn terminal_rings(&mut self, key: TerminalKey, id: &str) {
        let Some(call) = self.call_of(key, id) else {
            return self.fault(key, id, Fault::InvalidCallId);
        };
        let Some(this) = self.calls.get_mut(&call) else { return };
        if this.rings_here() && this.phase == Phase::Starting {
            this.phase = Phase::Ringing;
            let leg = this.leg;
            self.tell(leg, LegEvent::Ringing);
        }
    }

    /// A call that is over already needs no second end.
    fn terminal_ends(&mut self, key: TerminalKey, id: &str) {
        let Some(call) = self.call_of(key, id) else { return };
        let Some(this) = self.calls.get(&call) else { return };
        let cause = match (this.phase, this.is_outgoing) {
            (Phase::Active, _) => Cause::Normal,
            (_, true) => Cause::Cancelled,
            (_, false) => Cause::Declined,
        };
        self.forget_call(call, cause);
        self.call_is_over(key);
    }

    fn push_to_phone(&mut self, key: TerminalKey, id: &str) {
        let Some(terminal) = self.terminals.get(&key) else { return };
        let (number, has_calls) = (terminal.subscriber.number.clone(), !terminal.calls.is_empty());
        let Some(call) = self.call_of(key, id) else {
            let fault = if has_calls { Fault::InvalidCallId } else { Fault::NotInCall };
            return self.fault(key, id, fault);
        };
        let Some(this) = self.calls.get_mut(&call) else { return };
        match (this.phase, this.push) {
            (Phase::Active, Push::None) => {
                this.push = Push::Wanted;
                let leg = this.leg;
                let target = TransferTarget::OwnPhone(Private(number));
                self.tell(leg, LegEvent::Transfer(target));
            }
            (Phase::Active, Push::Wanted | Push::Done) => self.fault(key, id, Fault::TryAgain),
            (Phase::Starting | Phase::Ringing, _) => self.fault(key, id, Fault::NotInCall),
        }
    }

    /// A call that nobody answered in time.
    pub(super) fn rang_long(&mut self, call: CallKey) {
        if self.calls.get(&call).is_some_and(TerminalCall::rings_here) {
            self.end_call(call, Cause::NoAnswer);
        }
    }

    /// The terminal does not answer our offer.
    pub(super) fn change_late(&mut self, call: CallKey) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        if this.change == Change::Ours {
            this.change = Change::None;
            this.unanswered = None;
            let leg = this.leg;
            self.tell(leg, LegEvent::ReofferFailed(ReofferFailure::Refused));
        }
    }

    /// Ends a call and tells its terminal.
    pub(super) fn end_call(&mut self, call: CallKey, cause: Cause) {
        let Some(this) = self.calls.get(&call) else { return };
        let (key, id, push) = (this.terminal, this.id.clone(), this.push);
        // The terminal heard already that it goes on at the phone.
        if push != Push::Done {
            match self.terminals.get_mut(&key) {
                Some(terminal) if terminal.stream.is_none() => drop(terminal.missed.insert(id)),
                _ => self.send(key, &id, Body::Bye),
            }
        }
        self.forget_call(call, cause);
        self.call_is_over(key);
    }

    /// The last word to its leg; what the terminal knows was said before.
    fn forget_call(&mut self, call: CallKey, cause: Cause) {
        let Some(this) = self.calls.remove(&call) else { return };
        self.timers.cancel(&Timer::Ring(call));
        self.timers.cancel(&Timer::Change(call));
        for leg in this.before.into_iter().chain([this.leg]) {
            self.legs.remove(&leg);
            self.tell(leg, LegEvent::Ended(cause));
        }
        if let Some(terminal) = self.terminals.get_mut(&this.terminal) {
            terminal.calls.remove(&this.id);
        }
    }

    fn call_is_over(&mut self, key: TerminalKey) {
        self.tell_of_elsewhere(key);
        self.close_if_over(key);
    }
}

/// The description of a message, if it can be read.
pub(super) fn description(sdp: &Private<String>) -> Option<Session> {
    let session = Session::parse(sdp.expose().as_bytes()).ok()?;
    (!session.is_empty()).then_some(session)
}

/// Of all its media.
pub(super) fn fingerprints(description: &Session) -> Vec<Fingerprint> {
    description.media().flat_map(|media| media.fingerprints).collect()
}

/// RFC 9562 §4: 32 hexadecimal digits in five groups.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// What an error repeats of an id that is none.
fn echo(id: &str) -> &str {
    let end = id.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_ECHO).unwrap_or(id.len());
    id.get(..end).unwrap_or_default()
}

/// Bytes.
const MAX_ECHO: usize = 64;
/// Our offer in a running call has to be answered within this time.
pub(super) const CHANGE: Duration = Duration::from_secs(10);

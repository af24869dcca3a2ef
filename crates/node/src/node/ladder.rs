//! What the node hands to the ladders of calls: messages that are there already, and notes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{CallId, ConnectionId, Flow, LegId, Private, Transmit, Transport};
use crosspoint_call::router::{Decision, Outcome};
use crosspoint_call::{
    CallRecord, IncomingOffer, LegCommand, LegEvent, OutgoingOffer, Reach, TransferTarget,
};
use crosspoint_connectors::rtcengine::{self, About};
use crosspoint_connectors::webterminal::{self, Body};
use crosspoint_ladder::{
    CallLadder, Counters, DtlsStep, Figures, Front, Loss, Message, Note, Packet, Protocol,
    RefusedCall, Sample, Summary, Told,
};
use crosspoint_media::capture::Captured;
use crosspoint_media::control::{self, Exchange, LegStats, QualitySample};
use crosspoint_sip::{Message as SipMessage, Method};

use super::Node;

/// What is kept between hearing a message and knowing its call.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// The message, and the leg it is of, which is new.
    waiting: Option<(LegId, Message)>,
    /// A call was refused before it had a leg: what else is said there now belongs to it.
    refused: Option<(ConnectionId, RefusedCall)>,
}

impl Node {
    /// Everything that is kept of a call.
    #[must_use]
    pub fn ladder(&self, gcid: &str) -> Option<CallLadder> {
        let mut ladder = self.ladders.of(gcid)?;
        // The reasons of a call that is not over yet are the call's.
        if let Some(why) = self.switchboard.why(gcid) {
            ladder.explain_route(why);
        }
        Some(ladder)
    }

    /// The last calls, newest first, running ones included.
    #[must_use]
    pub fn recent_calls(&self, most: usize) -> Vec<Summary> {
        self.ladders.recent(most)
    }

    #[must_use]
    pub fn ladder_counters(&self) -> Counters {
        self.ladders.counters()
    }

    /// What has come since this was last asked, where the configuration wants it told.
    pub fn take_told(&mut self) -> Vec<Told> {
        self.ladders.take_told()
    }

    /// Something that an operator, or the shell, has done with a call.
    pub fn note_on_ladder(&mut self, now: Instant, gcid: &str, words: impl Into<Arc<str>>) {
        self.ladders.note_gcid(now, gcid, words);
    }

    /// A packet of a leg was captured.
    pub fn captured(&mut self, captured: Captured) {
        let Captured { leg, at, local, remote, meaning, was_encrypted, length, bytes } = captured;
        let (bytes, rtpmap) = (bytes.into(), meaning.rtpmap());
        let packet = Packet { at, line: 0, local, remote, bytes, length, rtpmap, was_encrypted };
        self.ladders.packet(leg, packet);
    }

    pub(super) fn sip_came(&mut self, now: Instant, flow: &Flow, message: &SipMessage) {
        let Some(call_id) = message.headers().call_id().filter(|_| self.ladders.is_on()) else {
            return;
        };
        let opens = match message {
            SipMessage::Request(request) => {
                request.method == Method::INVITE
                    && request.headers.to().is_none_or(|to| to.tag().is_none())
            }
            SipMessage::Response(_) => false,
        };
        self.ladders.sip_came(now, flow, (call_id, message.source()), opens);
    }

    pub(super) fn sip_goes(&mut self, now: Instant, transmit: &Transmit) {
        let sip = &self.sip;
        self.ladders.sip_goes(now, transmit, |call_id| sip.leg_of_call_id(call_id));
    }

    /// An app or terminal has said this on a connection.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        about: Option<About>,
        message: impl FnOnce() -> Message,
    ) {
        if !self.ladders.is_on() {
            return;
        }
        match about {
            None => {}
            Some(About::Leg(leg)) if self.ladders.knows(leg) => {
                self.ladders.said(now, leg, message());
            }
            Some(About::Leg(leg)) => self.hearing.waiting = Some((leg, message())),
            Some(About::Refused(gcid)) => {
                let refused = self.ladders.refused(now, gcid, message());
                self.hearing.refused = Some((connection, refused));
            }
        }
    }

    /// We say this on a connection of an app or terminal.
    pub(super) fn tells(
        &mut self,
        now: Instant,
        (connection, leg): (ConnectionId, Option<LegId>),
        message: impl FnOnce() -> Message,
    ) {
        match (leg, &self.hearing.refused) {
            (Some(leg), _) if self.ladders.knows(leg) => self.ladders.said(now, leg, message()),
            (None, Some((of, refused))) if *of == connection => {
                self.ladders.said_refused(now, *refused, message());
            }
            (Some(_) | None, _) => {}
        }
    }

    /// A message was heard, and all that it brought about is over.
    pub(super) fn heard_out(&mut self) {
        self.hearing = Hearing::default();
    }

    pub(super) fn ladder_begins(
        &mut self,
        now: Instant,
        call: CallId,
        gcid: &crosspoint_base::Gcid,
        front: Front<'_>,
    ) {
        let leg = front.leg;
        self.ladders.begin(now, call, gcid, front);
        if let Some((_, message)) = self.hearing.waiting.take_if(|(of, _)| *of == leg) {
            self.ladders.said(now, leg, message);
        }
    }

    pub(super) fn ladder_taken_over(&mut self, now: Instant, old: LegId, front: &Caller) {
        let call_id = self.sip.call_id_of(front.leg).cloned();
        let leg = front.leg;
        self.ladders.take_over(now, old, leg, front.with(call_id.as_deref()));
        if let Some((_, message)) = self.hearing.waiting.take_if(|(of, _)| *of == leg) {
            self.ladders.said(now, leg, message);
        }
    }

    pub(super) fn leg_noted(&mut self, now: Instant, leg: LegId, event: &LegEvent) {
        let note = match event {
            LegEvent::Transfer(target) => Note::TransferAsked(match target {
                TransferTarget::Blind(to)
                | TransferTarget::OwnPhone(to)
                | TransferTarget::Elsewhere { to, .. } => to.clone(),
                TransferTarget::Attended(_) => Private("another call of its own".to_owned()),
            }),
            LegEvent::Redirected(to) => {
                let to = to.iter().map(|to| to.expose().as_str()).collect::<Vec<_>>();
                Note::Redirected(Private(to.join(", ")))
            }
            LegEvent::Ended(cause) => Note::LegEnded(*cause),
            _ => return,
        };
        self.ladders.note(now, leg, note);
    }

    pub(super) fn command_noted(
        &mut self,
        now: Instant,
        call: Option<CallId>,
        leg: LegId,
        command: &LegCommand,
    ) {
        match command {
            LegCommand::Offer(offer) => {
                if let Some(call) = call {
                    self.dialing_noted(now, call, leg, offer);
                }
            }
            LegCommand::End(cause) => self.ladders.note(now, leg, Note::Ending(*cause)),
            _ => {}
        }
    }

    fn dialing_noted(&mut self, now: Instant, call: CallId, leg: LegId, offer: &OutgoingOffer) {
        let (name, over) = match &offer.reach {
            Reach::Trunk { name, .. } => (Private(name.to_string()), Some(name.clone())),
            Reach::Binding(_) | Reach::Registration { .. } => (offer.to.clone(), None),
        };
        self.ladders.add_leg(call, leg, name, protocol_of(leg));
        self.ladders.note(now, leg, Note::Dialing { over });
    }

    pub(super) fn decision_noted(&mut self, now: Instant, call: CallId, decision: &Decision) {
        let refused = match &decision.outcome {
            Outcome::Refused(cause) => Some(*cause),
            Outcome::Builtin(_) | Outcome::Fork(_) => None,
        };
        // The reasons are put into words once, by the call.
        let (why, refusal) = (Private(Arc::from("")), decision.refusal);
        self.ladders.note_call(now, call, Note::Routed { why, refused, refusal });
    }

    pub(super) fn ladder_over(&mut self, now: Instant, call: CallId, record: &CallRecord) {
        self.ladders.explain_route(call, &record.why);
        self.ladders.refused_by(call, record.refusal);
        self.ladders.note_call(now, call, Note::Over(record.ended));
    }

    /// Legs that another call handed over.
    pub(super) fn joined_noted(&mut self, now: Instant, call: CallId) {
        let legs: Vec<LegId> = self.switchboard.legs_of(call).collect();
        for leg in legs {
            self.ladders.move_leg(now, call, leg);
        }
    }

    pub(super) fn media_noted(&mut self, now: Instant, event: &control::Event) {
        let leg = event.leg();
        let note = match event {
            control::Event::Connected { .. } => Note::Connected,
            control::Event::Lost { loss, .. } => Note::MediaLost(loss_of(*loss)),
            control::Event::Silent { when, .. } => {
                Note::Silent { never: *when == control::Silence::Start }
            }
            control::Event::Heard { .. } => Note::Heard,
            control::Event::Refused { refusal, .. } => Note::MediaRefused(match refusal {
                control::Refusal::NoCommonCodec => "no codec in common",
                control::Refusal::BadDescription(rule) => rule,
                control::Refusal::Exhausted => "no port or session is left",
                control::Refusal::WrongState => "it came at the wrong time",
            }),
            control::Event::Step { step, .. } => match *step {
                control::Step::Pair { transport, remote } => Note::IcePair { transport, remote },
                control::Step::DtlsStarted { is_client } => {
                    Note::Dtls(DtlsStep::Started { is_client })
                }
                control::Step::Certificate { is_right } => {
                    Note::Dtls(DtlsStep::Certificate { is_right })
                }
                control::Step::Keys { profile } => Note::Dtls(DtlsStep::Keys(profile)),
            },
            control::Event::Quality { sample, .. } => {
                self.ladders.sample(leg, sample_of(now, sample));
                return;
            }
            control::Event::Exchanged { exchange, .. } => {
                let Exchange { is_sent, local, remote, ref bytes } = **exchange;
                let bytes = Bytes::copy_from_slice(bytes);
                let path = Some((Transport::Udp, local, remote));
                let message = Message { path, ..Message::plain(Protocol::Ng, is_sent, bytes) };
                self.ladders.server_said(now, leg, message);
                return;
            }
            control::Event::Closed { stats, .. } => Note::Figures(figures_of(stats)),
            _ => return,
        };
        self.ladders.note(now, leg, note);
    }
}

/// Who calls, taken from an offer before the call has it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) leg: LegId,
    from: Private<String>,
    to: Private<String>,
    user: Option<Arc<str>>,
    trunk: Option<Arc<str>>,
}

impl Caller {
    pub(super) fn of(leg: LegId, offer: &IncomingOffer) -> Self {
        Self {
            leg,
            from: offer.from.address.clone(),
            to: offer.to.clone(),
            user: offer.from.user.clone(),
            trunk: offer.trunk.clone(),
        }
    }

    pub(super) fn with<'a>(&self, call_id: Option<&'a [u8]>) -> Front<'a> {
        Front {
            leg: self.leg,
            call_id,
            protocol: protocol_of(self.leg),
            from: self.from.clone(),
            to: self.to.clone(),
            user: self.user.clone(),
            trunk: self.trunk.clone(),
        }
    }
}

fn protocol_of(leg: LegId) -> Protocol {
    match leg.maker() {
        rtcengine::MAKER => Protocol::RtcEngine,
        webterminal::MAKER => Protocol::CallApi,
        _ => Protocol::Sip,
    }
}

fn loss_of(loss: control::Loss) -> Loss {
    match loss {
        control::Loss::Silent => Loss::Silent,
        control::Loss::ConsentExpired => Loss::ConsentExpired,
        control::Loss::WrongCertificate => Loss::WrongCertificate,
        control::Loss::DtlsFailed => Loss::DtlsFailed,
        control::Loss::PeerClosed => Loss::PeerClosed,
        control::Loss::ServerGone => Loss::ServerGone,
    }
}

fn sample_of(now: Instant, sample: &QualitySample) -> Sample {
    let parts = |share: f64| (share.clamp(0.0, 1.0) * 10_000.0).round() as u16;
    let micros = |time: std::time::Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let expected = sample.packets_lost + sample.packets_received;
    Sample {
        at: now,
        line: 0,
        spans: 1,
        mos: sample.mos.map(|mos| mos.hundredths()),
        loss: parts(sample.packets_lost as f64 / expected.max(1) as f64),
        loss_at_peer: sample.at_peer.map(|told| parts(f64::from(told.loss))),
        jitter_us: micros(sample.jitter),
        round_trip_us: sample.round_trip.map(micros),
    }
}

fn figures_of(stats: &LegStats) -> Figures {
    Figures {
        codec: stats.codec.map(|codec| codec.name()),
        packets_received: stats.packets_received,
        packets_sent: stats.packets_sent,
        packets_lost: stats.packets_lost,
        mos: stats.mos.map(|mos| mos.hundredths()),
    }
}

/// A message of the call API as JSON, in the field names of its schema.
pub(super) fn as_json(message: &webterminal::Message) -> Bytes {
    let kind = match &message.body {
        Body::Empty => "empty",
        Body::Offer { .. } => "offer",
        Body::Answer { .. } => "answer",
        Body::Ringing => "ringing",
        Body::Bye => "bye",
        Body::Idle => "idle",
        Body::InCall { .. } => "inCall",
        Body::Error(_) => "error",
        Body::ToPhone => "toPhone",
    };
    let mut text = format!("{{\"type\":\"{kind}\"");
    let mut add = |name: &str, value: &str| add_member(&mut text, name, value);
    if !message.call.is_empty() {
        add("callId", &message.call);
    }
    match &message.body {
        Body::Offer { sdp, number } => {
            if let Some(number) = number {
                add("number", number.expose());
            }
            add("sdp", sdp.expose());
        }
        Body::Answer { sdp } => add("sdp", sdp.expose()),
        Body::InCall { number } => add("number", number.expose()),
        Body::Error(fault) => add("code", &format!("{fault:?}")),
        Body::Empty | Body::Ringing | Body::Bye | Body::Idle | Body::ToPhone => {}
    }
    text.push('}');
    text.into()
}

fn add_member(text: &mut String, name: &str, value: &str) {
    text.push_str(",\"");
    text.push_str(name);
    text.push_str("\":\"");
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\r' => text.push_str("\\r"),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

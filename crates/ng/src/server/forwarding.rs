//! `start forwarding`: what a call's parties say goes to a service over WebSocket, as streams of
//! the gateway do (`docs/protocols/media-stream.md`).
//!
//! The original forwards to the one address of its configuration; ours may be named by the
//! request, too. Whether it may be reached is for the host to say.

use std::sync::Arc;

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, Tap};

use super::calls::Call;
use super::exchange::{Exchange, Work};
use super::orders::participant;
use super::{Asker, Outcome, Server, ok, refusal};
use crate::dictionary::{Dictionary, Format, Value};
use crate::flags::Flags;
use crate::request::{Names, reason};

/// What the host is told of streams to services. Orders are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardOrder {
    /// Answered by [`Server::handle_forward`].
    Open {
        stream: u64,
        /// None: the one of the configuration.
        url: Option<String>,
        /// The first message, a JSON object.
        hello: String,
    },
    /// What a leg says goes there from now on, as the side of who called (0) or was called (1),
    /// or nowhere.
    Listen {
        leg: LegId,
        to: Option<(u64, usize)>,
    },
    Close {
        stream: u64,
    },
}

/// Why a stream is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardRefusal {
    /// Neither the request nor the configuration names an address.
    NoTarget,
    /// The address is not among those allowed.
    BadTarget,
}

/// A call's running stream.
#[derive(Debug)]
pub(super) struct Forwarded {
    id: u64,
    /// Which sides are forwarded.
    sides: [bool; 2],
    tapped: [Option<LegId>; 2],
}

impl<T> Server<T> {
    pub(super) fn start_forwarding(
        &mut self,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Outcome {
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let Some((id, call)) = self.calls.get_key_value(id.as_str()) else {
            return Some(refusal(reason::UNKNOWN_CALL_ID));
        };
        if !self.config.can_forward {
            return Some(refusal(reason::NO_FORWARDING));
        }
        if call.forwarded.is_some() {
            return Some(ok());
        }
        let id = id.clone();
        // A tag alone selects nobody here, because proxies always send one.
        let is_chosen = flags.has("directional")
            || ["address", "label"].iter().any(|key| request.find(key).is_some());
        let chosen = match is_chosen.then(|| participant(call, request, names, flags)) {
            Some(Ok(legs)) => Some(legs),
            Some(Err(reason)) => return Some(refusal(reason)),
            None => None,
        };
        let speakers = speakers(call);
        let is_on = |leg: Option<LegId>| {
            chosen.as_ref().is_none_or(|legs| leg.is_some_and(|leg| legs.contains(&leg)))
        };
        let sides = speakers.map(is_on);
        if sides == [false; 2] {
            return Some(refusal(reason::NO_PARTY));
        }
        let hello = hello(call, &id, sides, request.text("metadata"));
        let (asker, work) = (asker.take(), Work::Forwarding);
        let stream = self.begin(Exchange { asker, call: id.clone(), left: 1, work });
        let url = request.text("forward-to");
        self.outputs.push_back(super::Output::Forward(ForwardOrder::Open { stream, url, hello }));
        if let Some(call) = self.calls.get_mut(&id) {
            call.forwarded = Some(Forwarded { id: stream, sides, tapped: [None; 2] });
        }
        self.forward_to_speakers(&id);
        None
    }

    /// The host says whether the address of a stream may be reached; it is being dialled then.
    pub fn handle_forward(&mut self, stream: u64, taken: Result<(), ForwardRefusal>) {
        let is_it = |exchange: &Exchange<T>| matches!(exchange.work, Work::Forwarding);
        if !self.exchanges.get(&stream).is_some_and(is_it) {
            return;
        }
        let Some(Exchange { mut asker, .. }) = self.exchanges.remove(&stream) else { return };
        let reply = match taken {
            Ok(()) => ok(),
            Err(why) => {
                self.handle_forward_over(stream);
                refusal(match why {
                    ForwardRefusal::NoTarget => reason::NO_TARGET,
                    ForwardRefusal::BadTarget => reason::BAD_TARGET,
                })
            }
        };
        self.reply(&mut asker, reply);
    }

    pub(super) fn stop_forwarding(&mut self, names: &Names) -> Dictionary {
        let Some(id) = &names.call else { return refusal(reason::NO_CALL) };
        let Some(call) = self.calls.get_mut(id.as_str()) else {
            return refusal(reason::UNKNOWN_CALL_ID);
        };
        if let Some(forwarded) = call.forwarded.take() {
            self.end_forward(&forwarded);
        }
        ok()
    }

    /// A stream is over, whatever the reason.
    pub fn handle_forward_over(&mut self, stream: u64) {
        let is_it = |call: &Call| call.forwarded.as_ref().is_some_and(|f| f.id == stream);
        let found = self.calls.iter().find(|(_, call)| is_it(call)).map(|(id, _)| id.clone());
        let Some(call) = found.and_then(|id| self.calls.get_mut(&id)) else { return };
        if let Some(forwarded) = call.forwarded.take() {
            self.release(&forwarded);
        }
    }

    pub(super) fn end_forward(&mut self, forwarded: &Forwarded) {
        self.release(forwarded);
        let order = ForwardOrder::Close { stream: forwarded.id };
        self.outputs.push_back(super::Output::Forward(order));
    }

    fn release(&mut self, forwarded: &Forwarded) {
        for leg in forwarded.tapped.into_iter().flatten() {
            self.untap(leg);
        }
    }

    fn untap(&mut self, leg: LegId) {
        self.command(Command::Tap { leg, tap: Tap::Stream, is_on: false });
        self.outputs.push_back(super::Output::Forward(ForwardOrder::Listen { leg, to: None }));
    }

    /// Has the stream of a call hear who speaks now.
    pub(super) fn forward_to_speakers(&mut self, id: &Arc<str>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let speakers = speakers(call);
        let Some(forwarded) = &mut call.forwarded else { return };
        let stream = forwarded.id;
        let mut wanted = speakers;
        for (leg, is_on) in wanted.iter_mut().zip(forwarded.sides) {
            *leg = leg.filter(|_| is_on);
        }
        let before = std::mem::replace(&mut forwarded.tapped, wanted);
        for leg in before.into_iter().flatten().filter(|leg| !wanted.contains(&Some(*leg))) {
            self.untap(leg);
        }
        for ((side, leg), before) in wanted.into_iter().enumerate().zip(before) {
            let Some(leg) = leg.filter(|leg| before != Some(*leg)) else { continue };
            let to = Some((stream, side));
            self.outputs.push_back(super::Output::Forward(ForwardOrder::Listen { leg, to }));
            self.command(Command::Tap { leg, tap: Tap::Stream, is_on: true });
        }
    }
}

/// Who called, and whoever that party talks with.
fn speakers(call: &Call) -> [Option<LegId>; 2] {
    let caller = call.parties().iter().find(|party| party.hears.is_empty());
    [caller.map(|party| party.leg), caller.and_then(|party| party.partner)]
}

fn hello(call: &Call, id: &str, sides: [bool; 2], metadata: Option<String>) -> String {
    let tag = |leg: Option<LegId>| {
        let party = leg.and_then(|leg| call.party(leg));
        party.and_then(|party| party.tags.first().cloned()).unwrap_or_default()
    };
    let [caller, called] = speakers(call);
    let words = ["caller", "called"].into_iter().zip(sides).filter(|(_, is_on)| *is_on);
    let words: Vec<Value> = words.map(|(word, _)| Value::from(word)).collect();
    let format = Dictionary::new()
        .with("encoding", "l16")
        .with("byte_order", "little")
        .with("rate", i64::from(FORWARD_RATE))
        .with("channels", 1_i64)
        .with("frame_ms", 20_i64);
    let mut hello = Dictionary::new()
        .with("event", "start")
        .with("version", 1_i64)
        .with("gcid", id)
        .with("from", tag(caller))
        .with("to", tag(called))
        .with("sides", words)
        .with("mode", "listen")
        .with("format", format);
    let metadata = metadata.filter(|text| text.len() <= MAX_METADATA);
    hello.push("metadata", metadata.unwrap_or_default());
    String::from_utf8_lossy(&hello.encode(Format::Json)).into_owned()
}

/// Samples a second of what is forwarded.
pub const FORWARD_RATE: u32 = 16_000;
const MAX_METADATA: usize = 4096;

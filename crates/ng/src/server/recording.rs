//! Recording of calls: what the host's recorder is told, and when it listens to whom.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::LegId;
use crosspoint_media::control::{Command, Tap};
use crosspoint_media::recording::{Channel, Mode};

use super::calls::Call;
use super::exchange::{Exchange, Work};
use super::{Asker, Outcome, Output, Server, ok, refusal};
use crate::dictionary::Dictionary;
use crate::flags::Flags;
use crate::request::{Names, reason};

/// What the host's recorder is told. Orders are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordOrder {
    /// Answered by [`Server::handle_recording`].
    Begin(Beginning),
    /// What a leg says goes there from now on, or nowhere.
    Listen {
        leg: LegId,
        to: Option<(u64, Channel)>,
    },
    Mode {
        recording: u64,
        mode: Mode,
    },
    End {
        recording: u64,
        reason: &'static str,
    },
}

/// A recording that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    pub recording: u64,
    pub call: Arc<str>,
    /// Unix time in microseconds.
    pub at: i64,
    /// A name for the file, as the proxy wishes it: its last part, without extension.
    pub name: Option<String>,
    /// The proxy's own words about the call.
    pub metadata: Option<String>,
}

/// A call's running recording.
#[derive(Debug)]
pub(super) struct Recorded {
    id: u64,
    mode: Mode,
    /// Who is on which channel now.
    tapped: [Option<LegId>; 2],
    pub(super) file: Option<String>,
}

const CHANNELS: [Channel; 2] = [Channel::Caller, Channel::Called];

impl<T> Server<T> {
    /// `start`, `stop` and `pause recording`.
    pub(super) fn record(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        command: &str,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Outcome {
        let Some(id) = &names.call else { return Some(refusal(reason::NO_CALL)) };
        let Some((id, call)) = self.calls.get_key_value(id.as_str()) else {
            return Some(refusal(reason::UNKNOWN_CALL));
        };
        let (id, is_running) = (id.clone(), call.recorded.is_some());
        let pauses = request.text("pause").is_some_and(|word| is_yes(&word)) || flags.has("pause");
        match command {
            "start recording" if is_running => self.set_mode(&id, Mode::Running),
            "start recording" if !self.config.can_record => {
                return Some(refusal(reason::NO_RECORDER));
            }
            "start recording" => {
                self.begin_recording(now, asker, id, request);
                return None;
            }
            "pause recording" => self.set_mode(&id, Mode::Paused),
            _ if pauses => self.set_mode(&id, Mode::Paused),
            _ => self.end_recording(&id, "stopped"),
        }
        Some(ok())
    }

    /// The key `record call` of an offer or answer, or the flag.
    pub(super) fn record_as_asked(
        &mut self,
        now: Instant,
        id: &Arc<str>,
        request: &Dictionary,
        flags: &Flags,
    ) {
        let word = request.text("record-call");
        let is_wanted = word.as_deref().is_some_and(is_yes) || flags.has("record-call");
        let is_unwanted = word.is_some_and(|word| ["no", "off"].contains(&word.as_str()));
        let is_running = self.calls.get(id).is_some_and(|call| call.recorded.is_some());
        if is_wanted && !is_running && self.config.can_record {
            self.begin_recording(now, &mut None, id.clone(), request);
        } else if is_unwanted {
            self.end_recording(id, "stopped");
        }
    }

    fn begin_recording(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        id: Arc<str>,
        request: &Dictionary,
    ) {
        let (asker, work) = (asker.take(), Work::Recording);
        let recording = self.begin(Exchange { asker, call: id.clone(), left: 1, work });
        let last = |path: String| path.rsplit('/').next().map(str::to_owned);
        let stem = |name: String| match name.rsplit_once('.') {
            Some((stem, "wav" | "opus" | "mp3" | "pcap")) => stem.to_owned(),
            _ => name,
        };
        let name = request.text("recording-file").and_then(last).map(stem);
        self.outputs.push_back(Output::Record(RecordOrder::Begin(Beginning {
            recording,
            call: id.clone(),
            at: self.unix(now),
            name: name.filter(|name| !name.is_empty()),
            metadata: request.text("metadata").filter(|text| text.len() <= MAX_METADATA),
        })));
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (mode, tapped) = (Mode::Running, [None; 2]);
        call.recorded = Some(Recorded { id: recording, mode, tapped, file: None });
        self.listen(&id);
    }

    /// What became of a recording that was to begin: the name of its file, or why there is none.
    pub fn handle_recording(&mut self, recording: u64, begun: Result<String, String>) {
        let is_it = |exchange: &Exchange<T>| matches!(exchange.work, Work::Recording);
        if !self.exchanges.get(&recording).is_some_and(is_it) {
            return;
        }
        let Some(Exchange { mut asker, call: id, .. }) = self.exchanges.remove(&recording) else {
            return;
        };
        let reply = match begun {
            Ok(file) => {
                let reply = ok().with("recording-file", file.as_str());
                let call = self.calls.get_mut(&id);
                let recorded = call.and_then(|call| call.recorded.as_mut());
                if let Some(recorded) = recorded.filter(|r| r.id == recording) {
                    recorded.file = Some(file);
                }
                reply
            }
            Err(why) => {
                self.handle_recording_over(recording);
                refusal(&why)
            }
        };
        self.reply(&mut asker, reply);
    }

    /// A recording is over, whatever the reason.
    pub fn handle_recording_over(&mut self, recording: u64) {
        let is_it = |call: &Call| call.recorded.as_ref().is_some_and(|r| r.id == recording);
        let found = self.calls.iter().find(|(_, call)| is_it(call)).map(|(id, _)| id.clone());
        let Some(call) = found.and_then(|id| self.calls.get_mut(&id)) else { return };
        if let Some(recorded) = call.recorded.take() {
            self.unhear(&recorded);
        }
    }

    pub(super) fn end_recording(&mut self, id: &Arc<str>, reason: &'static str) {
        let Some(recorded) = self.calls.get_mut(id).and_then(|call| call.recorded.take()) else {
            return;
        };
        self.end_of(&recorded, reason);
    }

    pub(super) fn end_of(&mut self, recorded: &Recorded, reason: &'static str) {
        self.unhear(recorded);
        let order = RecordOrder::End { recording: recorded.id, reason };
        self.outputs.push_back(Output::Record(order));
    }

    fn unhear(&mut self, recorded: &Recorded) {
        for leg in recorded.tapped.into_iter().flatten() {
            self.command(Command::Tap { leg, tap: Tap::Record, is_on: false });
            self.outputs.push_back(Output::Record(RecordOrder::Listen { leg, to: None }));
        }
    }

    fn set_mode(&mut self, id: &Arc<str>, mode: Mode) {
        let recorded = self.calls.get_mut(id).and_then(|call| call.recorded.as_mut());
        let Some(recorded) = recorded.filter(|r| r.mode != mode) else { return };
        recorded.mode = mode;
        let recording = recorded.id;
        self.outputs.push_back(Output::Record(RecordOrder::Mode { recording, mode }));
    }

    /// Has the recorder hear who speaks now: who called on one channel, whoever that party talks
    /// with on the other.
    pub(super) fn listen(&mut self, id: &Arc<str>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let caller = call.parties().first().map(|p| (p.leg, p.partner));
        let wanted = [caller.map(|(leg, _)| leg), caller.and_then(|(_, partner)| partner)];
        let Some(recorded) = &mut call.recorded else { return };
        let (before, recording) = (std::mem::replace(&mut recorded.tapped, wanted), recorded.id);
        for leg in before.into_iter().flatten().filter(|leg| !wanted.contains(&Some(*leg))) {
            self.command(Command::Tap { leg, tap: Tap::Record, is_on: false });
            self.outputs.push_back(Output::Record(RecordOrder::Listen { leg, to: None }));
        }
        for ((leg, channel), before) in wanted.into_iter().zip(CHANNELS).zip(before) {
            let Some(leg) = leg.filter(|leg| before != Some(*leg)) else { continue };
            let to = Some((recording, channel));
            self.outputs.push_back(Output::Record(RecordOrder::Listen { leg, to }));
            self.command(Command::Tap { leg, tap: Tap::Record, is_on: true });
        }
    }
}

fn is_yes(word: &str) -> bool {
    ["yes", "on", "1", "true"].contains(&word.to_ascii_lowercase().as_str())
}

/// It is kept for as long as the call.
const MAX_METADATA: usize = 4096;

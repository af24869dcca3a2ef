//! Running calls as operators see and handle them, and the recordings of them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{CallId, LegId, WallClock};
use crosspoint_call::{CallState, Grade, MediaPath, Profile, Quality, Role, View};
use crosspoint_media::clip::Clip;
use crosspoint_media::control::{Command, Laid, LaidSound, Layer, Tap};
use crosspoint_media::recording::{Channel, Mode};
use crosspoint_net::{Recorder, RecordingId, RefusedRemoval, StreamEvent};
use crosspoint_state::Cdr;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::capturing::Capturing;
use super::ledger::Ledger;
use super::media_plane::MediaPlane;
use super::recording::Reminder;
use super::remote_recording::RemoteRecord;
use super::streaming::{Streaming, Streams};
use crate::calls::{Asked, CallStep, CallWish, RecordStep, Side, StreamWish};
use crate::events::Events;
use crate::provisioning::Refusal;

/// See the module.
pub(super) struct LiveCalls {
    pub(super) media: MediaPlane,
    pub(super) recording: Option<Recordings>,
    pub(super) streams: Option<Streams>,
    pub(super) clock: WallClock,
    events: Events,
    calls: BTreeMap<CallId, Box<Tracked>>,
    /// Whether anything is kept of packets, and of how many calls they are captured whole.
    keeps_packets: bool,
    captured: usize,
    /// What ladders are to say, by the global id of the call.
    notes: Vec<(String, &'static str)>,
}

/// The recorder with what is known of its files.
#[derive(Debug, Clone)]
pub(super) struct Recordings {
    pub(super) recorder: Recorder,
    pub(super) ledger: Ledger,
    pub(super) extension: &'static str,
    /// What both sides hear of being recorded, and how often.
    notice: Option<(Arc<Clip>, Duration)>,
    next: u64,
}

#[derive(Debug)]
struct Tracked {
    view: View,
    running: Option<Running>,
    streaming: Option<Streaming>,
    capturing: Option<Capturing>,
    /// The recording of it by the media server that carries it.
    remote: RemoteRecord,
    /// A rule has begun a recording: an operator's stop stands.
    by_rule: bool,
    /// Of all its recordings.
    names: Vec<String>,
}

#[derive(Debug)]
struct Running {
    id: RecordingId,
    name: String,
    mode: Mode,
    tapped: [Option<LegId>; 2],
    reminder: Option<Reminder>,
}

type Answer = oneshot::Sender<Result<Value, Refusal>>;

impl Recordings {
    pub(super) fn new(
        recorder: Recorder,
        ledger: Ledger,
        extension: &'static str,
        notice: Option<(Arc<Clip>, Duration)>,
    ) -> Self {
        Self { recorder, ledger, extension, notice, next: 0 }
    }
}

impl LiveCalls {
    pub(super) fn new(
        media: &MediaPlane,
        recording: &Option<Recordings>,
        streams: Option<Streams>,
        clock: WallClock,
        events: &Events,
        keeps_packets: bool,
    ) -> Self {
        let (media, recording) = (media.clone(), recording.clone());
        let events = events.clone();
        let (calls, notes, captured) = (BTreeMap::new(), Vec::new(), 0);
        Self { media, recording, streams, clock, events, calls, keeps_packets, captured, notes }
    }

    /// What ladders are to say since this was last asked.
    pub(super) fn take_notes(&mut self) -> Vec<(String, &'static str)> {
        std::mem::take(&mut self.notes)
    }

    /// Whether a call that changes may make it command media.
    pub(super) fn may_tap(&self) -> bool {
        let may_copy = self.recording.is_some() || self.streams.is_some() || self.captured > 0;
        may_copy || self.media.has_servers()
    }

    /// A call is not what it was.
    pub(super) fn changed(&mut self, view: View) {
        let (call, wanted) = (view.call, view.record);
        let is_answered = view.answered.is_some();
        match self.calls.get_mut(&call) {
            Some(tracked) => {
                let before = std::mem::replace(&mut tracked.view, view);
                self.tell_difference(&before, call);
            }
            None => {
                let tracked = Tracked {
                    view,
                    running: None,
                    remote: RemoteRecord::default(),
                    streaming: None,
                    capturing: None,
                    by_rule: false,
                    names: Vec::new(),
                };
                self.calls.insert(call, Box::new(tracked));
                self.tell_call("call_began", call);
                if is_answered {
                    self.tell_call("call_answered", call);
                }
            }
        }
        if !is_answered {
            return;
        }
        let Some(tracked) = self.calls.get_mut(&call) else { return };
        if wanted && !std::mem::replace(&mut tracked.by_rule, true) {
            let outcome = self.start(call, None);
            if let Err(refusal) = outcome {
                tracing::warn!(?refusal, "a call that should be is not recorded");
            }
        }
        self.listen(call);
        self.listen_stream(call);
        self.follow_captured(call);
    }

    fn tell_call(&self, event: &'static str, call: CallId) {
        if self.events.is_on()
            && let Some(tracked) = self.calls.get(&call)
        {
            self.events.tell(event, json!({ "call": self.shown(&tracked.view) }));
        }
    }

    /// Tells what is new of a call.
    fn tell_difference(&self, before: &View, call: CallId) {
        let Some(view) = self.calls.get(&call).map(|tracked| &tracked.view) else { return };
        if before.answered.is_none() && view.answered.is_some() {
            self.tell_call("call_answered", call);
        } else if before.answered.is_some()
            && before.speakers != view.speakers
            && view.state == CallState::Active
        {
            self.tell_call("call_changed", call);
        }
        let grade_before = |leg| {
            let before = before.legs.iter().find(|before| before.leg == leg);
            before.map_or(Grade::Good, |before| before.grade)
        };
        for leg in view.legs.iter().filter(|leg| leg.grade != grade_before(leg.leg)) {
            let members = json!({
                "gcid": view.gcid.as_str(),
                "leg": leg.leg.to_string(),
                "side": side_of(view, leg.leg),
                "grade": match leg.grade {
                    Grade::Good => "good",
                    Grade::Fair => "fair",
                    Grade::Poor => "poor",
                    Grade::Silent => "silent",
                },
                "quality": leg.quality.map(quality),
            });
            self.events.tell("quality", members);
        }
    }

    /// Tells of a call that is over, with the record that is kept of it.
    pub(super) fn tell_end(&self, cdr: &Cdr, is_new: bool) {
        if !self.events.is_on() {
            return;
        }
        let call = json!({
            "gcid": cdr.gcid,
            "from": cdr.from_address,
            "from_user": cdr.from_user,
            "to": cdr.to_address,
            "trunk": cdr.trunk,
            "started_at": cdr.started_at,
            "answered_at": cdr.answered_at,
        });
        // Nobody was rung before it was over.
        if is_new {
            self.events.tell("call_began", json!({ "call": call }));
        }
        let recordings: Vec<&str> = cdr.recordings.iter().flat_map(|r| r.split(' ')).collect();
        let members = json!({
            "call": call,
            "ended_by": cdr.ended_by,
            "cause": cdr.cause,
            "duration_ms": cdr.duration_ms,
            "recordings": recordings,
        });
        self.events.tell("call_ended", members);
    }

    pub(super) fn knows(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Reminds everybody who is recorded and whose time it is.
    pub(super) fn remind(&mut self, now: Instant) {
        let is_due =
            |running: &mut Running| running.reminder.as_mut().is_some_and(|r| r.is_due(now));
        let due = self.calls.iter_mut().filter_map(|(call, tracked)| {
            let is_due =
                tracked.running.as_mut().is_some_and(is_due) || tracked.remote.is_notice_due(now);
            is_due.then_some(*call)
        });
        for call in due.collect::<Vec<_>>() {
            if let Some(tracked) = self.calls.get(&call) {
                self.give_notice(tracked);
            }
        }
    }

    /// How often who is recorded hears of it, if at all.
    fn notice_period(&self) -> Option<Duration> {
        Some(self.recording.as_ref()?.notice.as_ref()?.1)
    }

    fn give_notice(&self, tracked: &Tracked) {
        let notice = self.recording.as_ref().and_then(|recording| recording.notice.as_ref());
        let is_paused = tracked.running.as_ref().is_some_and(|r| r.mode == Mode::Paused);
        let Some((clip, _)) = notice.filter(|_| !is_paused) else { return };
        for leg in legs_of(&tracked.view, Side::Both) {
            let sound = LaidSound::Clip { clip: clip.clone(), repeat: false };
            let laid = Some(Laid { sound, replaces: false });
            self.media.send(Command::Overlay { leg, layer: Layer::Notice, laid });
        }
    }

    /// A call is over: gives the names of its recordings.
    pub(super) fn over(&mut self, call: CallId) -> Vec<String> {
        self.end(call, "call_over");
        self.end_stream(call);
        self.end_capture(call);
        self.calls.remove(&call).map(|tracked| tracked.names).unwrap_or_default()
    }

    pub(super) fn handle(&mut self, views: impl Iterator<Item = View>, asked: Asked) {
        let Asked { wish, answer } = asked;
        let outcome = match wish {
            CallWish::RemoveRecording(name) => return self.remove_recording(name, answer),
            // Who runs the node answers these.
            CallWish::Trunks
            | CallWish::Registrations
            | CallWish::Bindings { .. }
            | CallWish::End(_) => Err(Refusal::NotFound),
            CallWish::List => {
                let items: Vec<Value> = views.map(|view| self.shown(&view)).collect();
                Ok(json!({ "total": items.len(), "items": items }))
            }
            CallWish::Recordings => Ok(match &self.recording {
                Some(recording) => {
                    let items = recording.ledger.list();
                    json!({ "total": items.len(), "items": items })
                }
                None => json!({ "total": 0, "items": [] }),
            }),
            CallWish::Of(gcid, step) => {
                // One id may name several calls, when a call came back to us.
                let of_id = views.filter(|view| view.gcid.as_str() == gcid);
                match of_id.max_by_key(|view| (view.state == CallState::Active, view.started)) {
                    Some(view) => return self.step(&view, step, answer),
                    None => Err(Refusal::NotFound),
                }
            }
        };
        // Whoever asked may have given up.
        let _ = answer.send(outcome);
    }

    fn remove_recording(&self, name: String, answer: Answer) {
        let Some(recording) = &self.recording else {
            let _ = answer.send(Err(Refusal::NotFound));
            return;
        };
        recording.recorder.remove(name, move |removed| {
            let _ = answer.send(match removed {
                Ok(()) => Ok(json!({})),
                Err(RefusedRemoval::Unknown) => Err(Refusal::NotFound),
                Err(open @ RefusedRemoval::Open) => Err(Refusal::State(open.to_string())),
                Err(failed @ RefusedRemoval::Io(_)) => {
                    tracing::error!(%failed, "a recording cannot be removed");
                    Err(Refusal::Internal)
                }
            });
        });
    }

    fn step(&mut self, view: &View, step: CallStep, answer: Answer) {
        let outcome = match step {
            CallStep::Show => Ok(self.shown(view)),
            _ if view.state != CallState::Active => {
                Err(Refusal::State("the call is not answered, or is ending".to_owned()))
            }
            _ if view.path != MediaPath::Anchored => Err(Refusal::State(ELSEWHERE.to_owned())),
            // A media server sends digits as we do.
            CallStep::Dtmf { side, digits, duration } => {
                for leg in legs_of(view, side) {
                    for digit in digits.chars() {
                        self.media.send(Command::SendDtmf { leg, digit, duration });
                    }
                }
                Ok(json!({}))
            }
            CallStep::Record(step) if self.is_on_server(view) && step != RecordStep::Start => {
                return self.change_elsewhere(view, step, answer);
            }
            _ if self.is_elsewhere(view) && !matches!(step, CallStep::Record(_)) => {
                Err(Refusal::State(ELSEWHERE.to_owned()))
            }
            CallStep::Record(RecordStep::Start) => {
                self.changed(view.clone());
                match self.start(view.call, Some(answer)) {
                    Ok(()) => return self.listen(view.call),
                    // The answer went with it.
                    Err(_) => return,
                }
            }
            CallStep::Record(step) => self.change(view.call, step),
            CallStep::Play { side, clip, repeat, replaces } => {
                let length = u64::try_from(clip.length().as_millis()).unwrap_or(u64::MAX);
                for leg in legs_of(view, side) {
                    let sound = LaidSound::Clip { clip: clip.clone(), repeat };
                    let laid = Some(Laid { sound, replaces });
                    self.media.send(Command::Overlay { leg, layer: Layer::Prompt, laid });
                }
                Ok(json!({ "duration_ms": length }))
            }
            CallStep::Stream(wish) => self.stream(view, wish),
            CallStep::Capture(Some(packets)) => self.capture(view, packets),
            CallStep::Capture(None) if self.end_capture(view.call) => Ok(json!({})),
            CallStep::Capture(None) => Err(Refusal::State("the call is not captured".to_owned())),
            CallStep::StopStream if self.end_stream(view.call) => Ok(json!({})),
            CallStep::StopStream => Err(Refusal::State("the call is not streamed".to_owned())),
            CallStep::Quiet { side } => {
                for leg in legs_of(view, side) {
                    let layer = Layer::Prompt;
                    self.media.send(Command::Overlay { leg, layer, laid: None });
                }
                Ok(json!({}))
            }
        };
        let _ = answer.send(outcome);
    }

    /// Whether nothing of a call's media comes through us.
    fn is_elsewhere(&self, view: &View) -> bool {
        let mut legs = view.legs.iter();
        view.path != MediaPath::Anchored || legs.any(|leg| self.media.is_elsewhere(leg.leg))
    }

    /// Whether a media server carries the call.
    fn is_on_server(&self, view: &View) -> bool {
        view.path == MediaPath::Anchored && self.is_elsewhere(view)
    }

    fn change_elsewhere(&mut self, view: &View, step: RecordStep, answer: Answer) {
        self.changed(view.clone());
        if let Some(tracked) = self.calls.get(&view.call) {
            tracked.remote.ask(view, step, (&self.media, self.notice_period()), Some(answer));
        }
    }

    /// Begins a recording. `answer` hears of it once the file is there.
    fn start(&mut self, call: CallId, answer: Option<Answer>) -> Result<(), Refusal> {
        self.forget_over(call);
        let refusal = match (&self.recording, self.calls.get(&call)) {
            (None, _) => Some(Refusal::State(
                "recording is off: it needs section [recording] in the configuration".to_owned(),
            )),
            (_, None) => Some(Refusal::NotFound),
            (_, Some(tracked)) if tracked.running.is_some() => {
                Some(Refusal::State("the call is recorded already".to_owned()))
            }
            (_, Some(tracked)) if self.is_elsewhere(&tracked.view) => {
                Some(Refusal::State(ELSEWHERE.to_owned()))
            }
            (Some(_), Some(_)) => None,
        };
        if let (Some(Refusal::State(_)), Some(tracked)) = (&refusal, self.calls.get(&call))
            && self.recording.is_some()
            && self.is_on_server(&tracked.view)
        {
            let told = (&self.media, self.notice_period());
            tracked.remote.ask(&tracked.view, RecordStep::Start, told, answer);
            return Ok(());
        }
        if let Some(refusal) = refusal {
            let told = answer.map(|answer| answer.send(Err(refusal.clone())));
            return if told.is_some() { Err(Refusal::NotFound) } else { Err(refusal) };
        }
        let (Some(recording), Some(tracked)) = (&mut self.recording, self.calls.get_mut(&call))
        else {
            return Err(Refusal::Internal);
        };
        recording.next += 1;
        let id = RecordingId(recording.next);
        let begun = Instant::now();
        let now = self.clock.millis(begun);
        let name = name_of(now, tracked.view.gcid.as_str(), id);
        let file = format!("{name}.{}", recording.extension);
        tracked.names.push(file.clone());
        let period = recording.notice.as_ref().map(|(_, period)| *period);
        let reminder = period.map(|period| Reminder::new(begun, period));
        let (mode, tapped) = (Mode::Running, [None; 2]);
        let running = Running { id, name: file, mode, tapped, reminder };
        tracked.running = Some(running);
        self.notes.push((tracked.view.gcid.to_string(), "recording begins"));
        let ledger = recording.ledger.clone();
        let note = ledger.begin(id, &tracked.view.gcid, now);
        recording.recorder.begin(id, name, note, move |begun| {
            let outcome = match begun {
                Ok(name) => Ok(json!({ "state": "running", "name": name })),
                Err(refused) => {
                    tracing::error!(%refused, "a recording does not begin");
                    ledger.refused(id);
                    Err(Refusal::Full(refused.to_string()))
                }
            };
            if let Some(answer) = answer {
                let _ = answer.send(outcome);
            }
        });
        if let Some(tracked) = self.calls.get(&call) {
            self.give_notice(tracked);
        }
        Ok(())
    }

    fn change(&mut self, call: CallId, step: RecordStep) -> Result<Value, Refusal> {
        self.forget_over(call);
        let running = self.calls.get_mut(&call).and_then(|tracked| tracked.running.as_mut());
        let (Some(running), Some(recording)) = (running, &self.recording) else {
            return Err(Refusal::State("the call is not recorded".to_owned()));
        };
        let mode = match step {
            RecordStep::Start | RecordStep::Resume | RecordStep::Unmask => Mode::Running,
            RecordStep::Pause => Mode::Paused,
            RecordStep::Mask => Mode::Masked,
            RecordStep::Stop => {
                let name = running.name.clone();
                self.end(call, "stopped");
                return Ok(json!({ "state": "stopped", "name": name }));
            }
        };
        running.mode = mode;
        recording.recorder.set_mode(running.id, mode);
        Ok(running.shown())
    }

    fn end(&mut self, call: CallId, reason: &'static str) {
        let Some(tracked) = self.calls.get_mut(&call) else { return };
        let (Some(running), Some(recording)) = (tracked.running.take(), &self.recording) else {
            return;
        };
        for leg in running.tapped.into_iter().flatten() {
            self.media.send(Command::Tap { leg, tap: Tap::Record, is_on: false });
        }
        recording.recorder.end(running.id, reason);
        self.notes.push((tracked.view.gcid.to_string(), "recording ends"));
        recording.ledger.take_over(running.id);
    }

    /// The recorder may have given up by itself.
    fn forget_over(&mut self, call: CallId) {
        let Some(recording) = &self.recording else { return };
        let Some(tracked) = self.calls.get_mut(&call) else { return };
        let over = tracked.running.take_if(|running| recording.ledger.take_over(running.id));
        for leg in over.iter().flat_map(|running| running.tapped).flatten() {
            self.media.send(Command::Tap { leg, tap: Tap::Record, is_on: false });
        }
    }

    /// Has the recorder hear who speaks on each side now.
    fn listen(&mut self, call: CallId) {
        let Some(tracked) = self.calls.get_mut(&call) else { return };
        let (Some(running), Some(recording)) = (&mut tracked.running, &self.recording) else {
            return;
        };
        let tap = |leg, is_on| Command::Tap { leg, tap: Tap::Record, is_on };
        let channels = [Channel::Caller, Channel::Called];
        let places = running.tapped.iter_mut().zip(tracked.view.speakers).zip(channels);
        for ((tapped, speaker), channel) in places {
            if *tapped == speaker {
                continue;
            }
            if let Some(before) = tapped.take() {
                recording.recorder.listen(before, None);
                self.media.send(tap(before, false));
            }
            if let Some(leg) = speaker {
                recording.recorder.listen(leg, Some((running.id, channel)));
                self.media.send(tap(leg, true));
            }
            *tapped = speaker;
        }
    }

    fn stream(&mut self, view: &View, wish: StreamWish) -> Result<Value, Refusal> {
        self.changed(view.clone());
        let Some(streams) = &mut self.streams else {
            let why = "streams are off: they need section [stream] in the configuration";
            return Err(Refusal::State(why.to_owned()));
        };
        let tracked = self.calls.get_mut(&view.call).ok_or(Refusal::NotFound)?;
        if tracked.streaming.is_some() {
            return Err(Refusal::State("the call is streamed already".to_owned()));
        }
        let streaming = streams.open(view, wish)?;
        let shown = streaming.shown();
        tracked.streaming = Some(streaming);
        self.listen_stream(view.call);
        Ok(shown)
    }

    fn listen_stream(&mut self, call: CallId) {
        let (Some(tracked), Some(streams)) = (self.calls.get_mut(&call), &self.streams) else {
            return;
        };
        if let Some(streaming) = &mut tracked.streaming {
            streaming.listen(&tracked.view, &streams.streams, &self.media);
        }
    }

    /// Says whether there was one.
    fn end_stream(&mut self, call: CallId) -> bool {
        self.drop_stream(call, "stopped")
    }

    fn drop_stream(&mut self, call: CallId, reason: &str) -> bool {
        let Some(tracked) = self.calls.get_mut(&call) else { return false };
        let (Some(streaming), Some(streams)) = (tracked.streaming.take(), &self.streams) else {
            return false;
        };
        let stream = streaming.shown();
        let gcid = tracked.view.gcid.as_str();
        let members = json!({ "gcid": gcid, "stream": stream, "reason": reason });
        self.events.tell("stream_ended", members);
        streaming.end(&streams.streams, &self.media);
        true
    }

    /// Captures the next packets of both sides; a capture that runs begins anew.
    fn capture(&mut self, view: &View, packets: NonZeroU32) -> Result<Value, Refusal> {
        if !self.keeps_packets {
            let why = "nothing is kept of packets: ladder.calls or ladder.capture_bytes is 0";
            return Err(Refusal::State(why.to_owned()));
        }
        self.changed(view.clone());
        self.end_capture(view.call);
        let tracked = self.calls.get_mut(&view.call).ok_or(Refusal::NotFound)?;
        let capturing = tracked.capturing.insert(Capturing::new(packets));
        let shown = capturing.shown();
        self.captured += 1;
        self.follow_captured(view.call);
        Ok(shown)
    }

    fn follow_captured(&mut self, call: CallId) {
        let Some(tracked) = self.calls.get_mut(&call) else { return };
        if let Some(capturing) = &mut tracked.capturing {
            capturing.follow(&tracked.view, &self.media);
        }
    }

    /// Says whether there was one.
    fn end_capture(&mut self, call: CallId) -> bool {
        let tracked = self.calls.get_mut(&call);
        let Some(capturing) = tracked.and_then(|tracked| tracked.capturing.take()) else {
            return false;
        };
        capturing.end(&self.media);
        self.captured -= 1;
        true
    }

    /// A stream has something to tell.
    pub(super) fn stream_said(&mut self, event: StreamEvent) {
        let (StreamEvent::Opened(id) | StreamEvent::Digits(id, ..) | StreamEvent::Ended(id, _)) =
            &event;
        let is_its = |tracked: &Tracked| tracked.streaming.as_ref().is_some_and(|s| s.id == *id);
        let found = self.calls.iter_mut().find(|(_, tracked)| is_its(tracked));
        let Some((call, tracked)) = found else { return };
        let (call, gcid) = (*call, tracked.view.gcid.clone());
        match event {
            StreamEvent::Opened(_) => {
                tracing::info!(call = gcid.as_str(), "a stream is open");
                if let Some(streaming) = &mut tracked.streaming {
                    streaming.opened();
                    let stream = streaming.shown();
                    let members = json!({ "gcid": gcid.as_str(), "stream": stream });
                    self.events.tell("stream_opened", members);
                }
            }
            StreamEvent::Digits(_, side, digits) => {
                let leg = tracked.view.speakers.get(side).copied().flatten();
                for (leg, digit) in
                    leg.into_iter().flat_map(|l| digits.chars().map(move |d| (l, d)))
                {
                    self.media.send(Command::SendDtmf { leg, digit, duration: DIGIT });
                }
            }
            StreamEvent::Ended(_, reason) => {
                tracing::info!(call = gcid.as_str(), reason, "a stream has ended");
                self.drop_stream(call, reason);
            }
        }
    }

    /// A leg pressed a key.
    pub(super) fn digit_heard(&self, leg: LegId, digit: char, duration: Duration) {
        let Some(streams) = &self.streams else { return };
        let streaming = self.calls.values().filter_map(|tracked| tracked.streaming.as_ref());
        for (streaming, side) in streaming.filter_map(|s| Some((s, s.side_of(leg)?))) {
            let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let event =
                json!({ "event": "dtmf", "side": side, "digit": digit, "duration_ms": millis });
            streams.streams.tell(streaming.id, event.to_string());
        }
    }

    fn shown(&self, view: &View) -> Value {
        let legs = view.legs.iter().map(|leg| {
            json!({
                "id": leg.leg.to_string(),
                "side": side_of(view, leg.leg),
                "role": match leg.role { Role::Front => "front", Role::Back => "back" },
                "media": match leg.profile { Profile::WebRtc => "webrtc", Profile::Rtp(_) => "rtp" },
                "user": leg.user.as_deref(),
                "answered": leg.is_answered,
                "on_hold": leg.on_hold,
                "silent": leg.is_silent,
                "quality": leg.quality.map(quality),
            })
        });
        let tracked = self.calls.get(&view.call);
        let running = tracked.and_then(|tracked| tracked.running.as_ref());
        let streaming = tracked.and_then(|tracked| tracked.streaming.as_ref());
        json!({
            "gcid": view.gcid.as_str(),
            "state": match view.state {
                CallState::Setup => "setup",
                CallState::Active => "active",
                CallState::Ending => "ending",
            },
            "from": view.from.address.expose(),
            "from_user": view.from.user.as_deref(),
            "to": view.to.expose(),
            "trunk": view.trunk.as_deref(),
            "started_at": self.clock.millis(view.started),
            "answered_at": view.answered.map(|at| self.clock.millis(at)),
            "media": match view.path {
                MediaPath::Anchored => "anchored",
                MediaPath::Direct | MediaPath::Bypass => "direct",
            },
            "parked": view.slot.map(|slot| slot.to_string()),
            "legs": legs.collect::<Vec<_>>(),
            "recording": running
                .map(Running::shown)
                .or_else(|| tracked.and_then(|tracked| tracked.remote.shown())),
            "stream": streaming.map(Streaming::shown),
            "capture": tracked.and_then(|t| t.capturing.as_ref()).map(Capturing::shown),
        })
    }
}

impl Running {
    fn shown(&self) -> Value {
        let state = match self.mode {
            Mode::Running => "running",
            Mode::Masked => "masked",
            Mode::Paused => "paused",
        };
        json!({ "state": state, "name": self.name })
    }
}

/// Null for a leg that speaks for nobody.
fn side_of(view: &View, leg: LegId) -> Value {
    match view.speakers.iter().position(|speaker| *speaker == Some(leg)) {
        Some(0) => json!("caller"),
        Some(_) => json!("called"),
        None => Value::Null,
    }
}

/// A leg's last five seconds.
fn quality(is: Quality) -> Value {
    let share = |parts: u16| f64::from(parts) / 10_000.0;
    json!({
        "mos": is.mos.map(|mos| f64::from(mos) / 100.0),
        "loss": share(is.loss),
        "loss_out": is.loss_at_leg.map(share),
        "jitter_ms": is.jitter.as_millis() as u64,
        "round_trip_ms": is.round_trip.map(|time| time.as_millis() as u64),
        "video": is.video.map(|video| json!({
            "codec": video.codec,
            "loss": share(video.loss),
            "loss_out": video.loss_at_leg.map(share),
            "kbit_in": video.kbit_in,
            "kbit_out": video.kbit_out,
            "limit_kbit": video.limit_kbit,
        })),
    })
}

fn legs_of(view: &View, side: Side) -> impl Iterator<Item = LegId> + use<> {
    let [caller, called] = view.speakers;
    let (caller, called) = match side {
        Side::Caller => (caller, None),
        Side::Called => (None, called),
        Side::Both => (caller, called),
    };
    caller.into_iter().chain(called)
}

/// Where a recording goes, without extension: a folder for each day (UTC).
/// A path within the folder of recordings, without extension.
pub(crate) fn name_of(millis: i64, gcid: &str, id: RecordingId) -> String {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    let at = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string();
    let (day, time) = at.split_once('T').unwrap_or(("day", "time"));
    let time: String = time.chars().filter(char::is_ascii_digit).collect();
    // A peer may have named the call.
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let gcid: String = gcid.chars().map(fits).take(64).collect();
    format!("{day}/{time}-{gcid}-{}", id.0)
}

/// Why a call cannot be heard or spoken into.
const ELSEWHERE: &str = "the call's media does not come through us";
/// Of the digits that services send.
const DIGIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_time_and_call_and_nothing_else() {
        let check = |gcid: &str, expected: &str| {
            assert_eq!(name_of(1_795_262_405_000, gcid, RecordingId(7)), expected);
        };
        check("0123abcd", "2026-11-21/120005-0123abcd-7");
        check("../../etc/passwd", "2026-11-21/120005-______etc_passwd-7");
        check(&"x".repeat(128), &format!("2026-11-21/120005-{}-7", "x".repeat(64)));
    }
}

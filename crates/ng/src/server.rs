//! The server: requests become commands to media control, and what it answers becomes replies.
//!
//! A request that media control has to answer is an exchange; its reply goes out when all that
//! it asked is answered. `T` is where a reply goes, as the host knows it.

mod calls;
mod exchange;
mod figures;
mod forwarding;
mod orders;
mod recording;
mod sections;
mod sounds;
mod subscriptions;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::{LegId, TimerTable, WallClock};
use crosspoint_media::control::{Command, Event, Place, Refusal};

use crate::cookies::{Cookies, Known};
use crate::dictionary::{DecodeError, Dictionary, Format, Value};
use crate::flags::Flags;
use crate::framing::split;
use crate::request::{Names, reason};
use crate::{CLIENT, CROSSPOINT, SERVER};
use calls::{Call, Party};
use exchange::Exchange;
pub use forwarding::{FORWARD_RATE, ForwardOrder, ForwardRefusal};
pub use recording::{Beginning, RecordOrder};
pub use sounds::SoundSource;

/// What a server is made with.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub max_calls: usize,
    /// There is a recorder.
    pub can_record: bool,
    /// There is a way to stream calls to services.
    pub can_forward: bool,
    /// By name; the first is taken when none is named, and without any all legs are in one place.
    pub interfaces: Vec<(String, Place)>,
    pub clock: WallClock,
}

/// What a server wants done.
#[derive(Debug)]
pub enum Output<T> {
    Reply {
        to: T,
        bytes: Arc<[u8]>,
    },
    Media(Box<Command>),
    Record(RecordOrder),
    Forward(ForwardOrder),
    /// A prompt is to be read; answered by [`Server::handle_sound`] with this ticket.
    Load {
        ticket: u64,
        source: SoundSource,
    },
    /// For whoever wants to know of digits: one JSON object, to where the call's proxy wants it or
    /// else to where all go.
    Notify {
        to: Option<SocketAddr>,
        json: Vec<u8>,
    },
    Timeout(Option<Instant>),
}

/// What a server has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub calls: u64,
    pub calls_started: u64,
    pub calls_timed_out: u64,
    /// By command, in the order of [`Counters::COMMANDS`]; the last counts unknown ones.
    pub requests: [u64; Counters::COMMANDS.len() + 1],
    pub errors: u64,
    /// Requests whose cookie was there before.
    pub repeats: u64,
    /// Messages without a cookie, which get no answer.
    pub dropped: u64,
    pub packets: u64,
    pub bytes: u64,
    /// Of legs that ended and were rated: how many, and their grades in hundredths together.
    pub rated: u64,
    pub mos_sum: u64,
}

impl Counters {
    pub const COMMANDS: [&'static str; 27] = [
        "ping",
        "offer",
        "answer",
        "delete",
        "query",
        "list",
        "statistics",
        "start recording",
        "stop recording",
        "pause recording",
        "start forwarding",
        "stop forwarding",
        "block DTMF",
        "unblock DTMF",
        "block media",
        "unblock media",
        "silence media",
        "unsilence media",
        "play media",
        "stop media",
        "play DTMF",
        "publish",
        "subscribe request",
        "subscribe answer",
        "unsubscribe",
        "connect",
        "trickle",
    ];
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A call was deleted and its delay is over.
    Delete(Arc<str>),
    /// A call was not answered for too long.
    Unanswered(Arc<str>),
}

/// See the module.
#[derive(Debug)]
pub struct Server<T> {
    config: ServerConfig,
    cookies: Cookies<T>,
    calls: BTreeMap<Arc<str>, Call>,
    /// Whose legs are whose.
    legs: BTreeMap<LegId, Arc<str>>,
    exchanges: BTreeMap<u64, Exchange<T>>,
    /// Which exchange each answer of media control belongs to, leg by leg in order.
    awaited: BTreeMap<LegId, VecDeque<u64>>,
    /// The same for figures.
    figures: BTreeMap<LegId, VecDeque<u64>>,
    timers: TimerTable<Timer>,
    outputs: VecDeque<Output<T>>,
    next_leg: u64,
    next_exchange: u64,
    counters: Counters,
}

/// Where a reply goes and how it is written.
#[derive(Debug)]
struct Asker<T> {
    to: T,
    /// `None` on transports that match replies by themselves.
    cookie: Option<Vec<u8>>,
    format: Format,
}

/// What a command comes to at once: `None` when media control is asked first.
type Outcome = Option<Dictionary>;

impl<T> Server<T> {
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            config,
            cookies: Cookies::new(),
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            awaited: BTreeMap::new(),
            figures: BTreeMap::new(),
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            next_leg: 0,
            next_exchange: 0,
            counters: Counters::default(),
        }
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { calls: self.calls.len() as u64, ..self.counters }
    }

    /// True when nothing is left of any call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.legs.is_empty()
            && self.exchanges.is_empty()
            && self.awaited.is_empty()
            && self.figures.is_empty()
            && self.timers.is_empty()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> Output<T> {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    /// Takes a message with its cookie. One without is dropped.
    pub fn handle_message(&mut self, now: Instant, from: T, message: &[u8]) {
        let Some((cookie, payload)) = split(message) else {
            self.counters.dropped += 1;
            return;
        };
        let to = match self.cookies.begin(now, cookie, from) {
            Known::New(to) => to,
            Known::Reply(bytes, to) => {
                self.counters.repeats += 1;
                self.outputs.push_back(Output::Reply { to, bytes });
                return;
            }
            Known::Waits => {
                self.counters.repeats += 1;
                return;
            }
        };
        let cookie = Some(cookie.to_vec());
        self.handle_payload(now, Asker { to, cookie, format: Format::Bencode }, payload);
    }

    /// Takes a message without cookie, of a transport that matches replies by itself.
    pub fn handle_plain(&mut self, now: Instant, from: T, payload: &[u8]) {
        let asker = Asker { to: from, cookie: None, format: Format::Bencode };
        self.handle_payload(now, asker, payload);
    }

    fn handle_payload(&mut self, now: Instant, mut asker: Asker<T>, payload: &[u8]) {
        let decoded = if payload.is_empty() {
            Err(reason::NO_PAYLOAD)
        } else {
            asker.format = if payload[0] == b'{' { Format::Json } else { Format::Bencode };
            Dictionary::decode(payload).map_err(|error| match (error, asker.format) {
                (DecodeError::Unknown, _) => reason::BAD_FORMAT,
                (_, Format::Json) => reason::BAD_JSON,
                (_, Format::Bencode) => reason::BAD_BENCODE,
            })
        };
        match decoded {
            Ok((request, _)) => self.handle_request(now, asker, &request),
            Err(reason) => self.reply(&mut Some(asker), refusal(reason)),
        }
    }

    fn handle_request(&mut self, now: Instant, asker: Asker<T>, request: &Dictionary) {
        let mut asker = Some(asker);
        let outcome = match request.text("command") {
            None => Some(refusal(reason::NO_COMMAND)),
            Some(command) => {
                self.count(&command);
                self.obey(now, &mut asker, &command, request)
            }
        };
        if let Some(reply) = outcome {
            self.reply(&mut asker, reply);
        }
    }

    fn count(&mut self, command: &str) {
        let known = Counters::COMMANDS.iter().position(|c| *c == command);
        let index = known.unwrap_or(Counters::COMMANDS.len());
        if let Some(count) = self.counters.requests.get_mut(index) {
            *count += 1;
        }
    }

    /// Whoever asks media control takes the asker along.
    fn obey(
        &mut self,
        now: Instant,
        asker: &mut Option<Asker<T>>,
        command: &str,
        request: &Dictionary,
    ) -> Outcome {
        let names = Names::read(request);
        let flags = Flags::read(request);
        match command {
            "ping" => Some(pong(request)),
            "offer" => self.offer(now, asker, request, &names, flags),
            "answer" => self.answer(now, asker, request, &names, flags),
            "delete" => self.delete(now, asker, request, &names, &flags),
            "query" => self.query(asker, &names),
            "list" => Some(self.list(request)),
            "statistics" => Some(self.statistics(now)),
            "block DTMF" | "unblock DTMF" | "block media" | "unblock media" | "silence media"
            | "unsilence media" => Some(self.hold_back(command, request, &names, &flags)),
            "play DTMF" => Some(self.play_digit(request, &names, &flags)),
            "play media" => self.play_media(asker, request, &names, &flags),
            "stop media" => Some(self.stop_media(request, &names, &flags)),
            "start recording" | "stop recording" | "pause recording" => {
                self.record(now, asker, command, request, &names, &flags)
            }
            "start forwarding" => self.start_forwarding(asker, request, &names, &flags),
            "stop forwarding" => Some(self.stop_forwarding(&names)),
            "publish" => self.publish(now, asker, request, &names, flags),
            "subscribe request" => self.subscribe(now, asker, request, &names, flags),
            "subscribe answer" => self.subscribed(now, asker, request, &names, &flags),
            "unsubscribe" => Some(self.unsubscribe(&names)),
            "connect" => Some(self.connect(now, request, &names)),
            _ => Some(refusal(reason::UNKNOWN_COMMAND)),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Delete(call) => self.end_call(&call),
                Timer::Unanswered(call) => {
                    self.counters.calls_timed_out += 1;
                    self.end_call(&call);
                }
            }
        }
    }

    /// What media control says.
    pub fn handle_media(&mut self, now: Instant, event: Event) {
        match event {
            Event::Described { leg, description } => {
                self.answered_by_media(now, leg, Ok(Some(description)));
            }
            Event::Accepted { leg, .. } => self.answered_by_media(now, leg, Ok(None)),
            Event::Refused { leg, refusal } => self.answered_by_media(now, leg, Err(refusal)),
            Event::Figures { leg, stats } => self.figures_of(now, leg, &stats),
            Event::Lost { leg, .. } => self.leg_lost(leg),
            Event::Dtmf { leg, digit, duration, .. } => self.heard_digit(now, leg, digit, duration),
            Event::Closed { leg, stats } => {
                self.counters.packets += stats.packets_received;
                self.counters.bytes += stats.bytes_received;
                if let Some(mos) = stats.mos {
                    self.counters.rated += 1;
                    self.counters.mos_sum += u64::from(mos.hundredths());
                }
                // What was asked of it before is not answered any more.
                while self.awaited.contains_key(&leg) {
                    self.answered_by_media(now, leg, Err(Refusal::WrongState));
                }
                while self.figures.contains_key(&leg) {
                    self.figures_of(now, leg, &stats);
                }
            }
            // A proxy is told nothing by itself.
            Event::Connected { .. }
            | Event::Candidate { .. }
            | Event::PlaybackEnded { .. }
            | Event::KeyFrameWanted { .. }
            | Event::Step { .. }
            | Event::Exchanged { .. }
            | Event::Quality { .. }
            | Event::Silent { .. }
            | Event::Heard { .. }
            | Event::Displaced { .. } => {}
        }
    }

    /// A call without any media is over.
    fn leg_lost(&mut self, leg: LegId) {
        let Some(id) = self.legs.get(&leg).cloned() else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.lost(leg) {
            self.counters.calls_timed_out += 1;
            self.end_call(&id);
        }
    }

    fn reply(&mut self, asker: &mut Option<Asker<T>>, reply: Dictionary) {
        let Some(Asker { to, cookie, format }) = asker.take() else { return };
        if reply.text("result").as_deref() == Some("error") {
            self.counters.errors += 1;
        }
        let body = reply.encode(format);
        let Some(cookie) = cookie else {
            self.outputs.push_back(Output::Reply { to, bytes: body.into() });
            return;
        };
        let bytes: Arc<[u8]> = [&cookie[..], b" ", &body].concat().into();
        for waiting in self.cookies.finish(&cookie, &bytes) {
            self.outputs.push_back(Output::Reply { to: waiting, bytes: bytes.clone() });
        }
        self.outputs.push_back(Output::Reply { to, bytes });
    }

    fn command(&mut self, command: Command) {
        self.outputs.push_back(Output::Media(Box::new(command)));
    }

    /// Wall clock, in microseconds of Unix time.
    fn unix(&self, at: Instant) -> i64 {
        let micros = self.config.clock.since_epoch(at).as_micros();
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    /// Frees all that a call has.
    fn end_call(&mut self, id: &Arc<str>) {
        let Some(mut call) = self.calls.remove(id) else { return };
        if let Some(recorded) = call.recorded.take() {
            self.end_of(&recorded, "call_over");
        }
        if let Some(forwarded) = call.forwarded.take() {
            self.end_forward(&forwarded);
        }
        for timer in [Timer::Delete(id.clone()), Timer::Unanswered(id.clone())] {
            self.timers.cancel(&timer);
        }
        for party in call.parties() {
            self.close_party(party);
        }
    }

    fn close_party(&mut self, party: &Party) {
        for leg in party.legs() {
            self.close_leg(leg);
        }
    }

    fn close_leg(&mut self, leg: LegId) {
        self.legs.remove(&leg);
        self.command(Command::Close { leg });
    }
}

fn pong(request: &Dictionary) -> Dictionary {
    let pong = Dictionary::new().with("result", "pong");
    let is_ours = request.text(CLIENT).is_some_and(|name| name == CROSSPOINT);
    if is_ours { pong.with(SERVER, CROSSPOINT) } else { pong }
}

fn refusal(reason: &str) -> Dictionary {
    Dictionary::new().with("result", "error").with("error-reason", reason)
}

fn ok() -> Dictionary {
    Dictionary::new().with("result", "ok")
}

/// A new call where there is no room for one.
fn overload(request: &Dictionary) -> Dictionary {
    let supports = request.find("supports").map(Value::to_words).unwrap_or_default();
    if supports.iter().any(|word| word == "load limit") {
        let reply = Dictionary::new().with("result", "load limit");
        return reply.with("message", reason::TOO_MANY_CALLS);
    }
    refusal(reason::TOO_MANY_CALLS)
}

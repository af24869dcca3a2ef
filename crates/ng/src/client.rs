//! Media control over media servers that speak ng: ours on other machines, or rtpengine.
//!
//! It stands between a node and its own media plane and answers the same commands. A leg stays
//! undecided until it is described: with a peer, the call goes to a server of the pool; without
//! one (echo, tones, a late offer), or when no server is healthy, to the media plane beside us.
//!
//! Not here: sockets. Servers are known by their place in the configuration.

mod digits;
mod moving;
mod pool;
mod quality;
mod recording;
mod requests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{
    Accepted, Command, Event, Layer, LegStats, Loss, Profile, Refusal, SdpKind,
};
use crosspoint_sdp::{Media, Session};

use crate::dictionary::Dictionary;
use crate::{CROSSPOINT, SERVER};
use pool::Pool;
pub use pool::{PoolCounters, ServerHealth};
use quality::Watch;
pub use recording::{RecordingReply, RemoteRecording};
use requests::{Ask, Sending, Waiting};

/// What a client wants done.
#[derive(Debug)]
pub enum ClientOutput {
    /// To the media server in this place of the configuration.
    Send {
        server: usize,
        bytes: Vec<u8>,
    },
    /// This was sent to a media server for the call of a leg, or came from it: for who looks on.
    /// Figures that are asked again and again are left out.
    Told {
        leg: LegId,
        server: usize,
        is_sent: bool,
        bytes: Vec<u8>,
    },
    /// To the media plane beside us.
    Local(Box<Command>),
    /// What media control answers.
    Event(Box<Event>),
    /// What became of a wish to record ([`Client::record`]).
    Recorded {
        ticket: u64,
        reply: RecordingReply,
    },
    /// Who carries a leg's media, once it is decided and whenever it is decided anew; `None` when
    /// the leg is over.
    Carried {
        leg: LegId,
        by: Option<Carrier>,
    },
    Timeout(Option<Instant>),
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    rng: Rng,
    pool: Pool,
    legs: BTreeMap<LegId, Leg>,
    calls: BTreeMap<u64, Call>,
    waiting: Waiting,
    outputs: VecDeque<ClientOutput>,
    next_call: u64,
    /// Legs that the media plane beside us is told again what was agreed: an entry for each answer
    /// that nobody waits for.
    repeated: Vec<LegId>,
    /// Counts descriptions, so that an answer is known to be younger than its offer.
    clock: u64,
    /// Where each server is to tell of digits.
    dtmf_log: BTreeMap<usize, SocketAddr>,
    stray_digits: u64,
}

#[derive(Debug)]
struct Leg {
    profile: Profile,
    home: Home,
    tag: String,
    /// Its last description, of which kind it was, and when it came.
    said: Option<(SdpKind, Session, u64)>,
    /// The last answer that it was told.
    told: Option<Session>,
    /// What stood before its last offer, which may come to nothing.
    before: Option<(SdpKind, Session, u64)>,
    /// Whether it has answered or was answered: from then on its tag is known over there.
    is_named: bool,
    /// Its call is up: what it was told stands, and is no early answer.
    is_answered: bool,
    is_connected: bool,
    /// The next offer to it begins ICE again.
    restarts_ice: bool,
    /// What the media plane beside us has to know of it before all else.
    rules: Vec<Command>,
    /// Whom it is to hear, which was said before it had a home.
    bridged: Option<LegId>,
    watch: Watch,
}

/// Who carries a leg's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The media plane beside us.
    Us,
    /// A media server of the pool.
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Undecided,
    Local,
    Remote(u64),
}

/// A call on a media server.
#[derive(Debug)]
struct Call {
    id: String,
    server: usize,
    legs: Vec<LegId>,
    /// Closed here; their figures come with the end of the call.
    closed: Vec<LegId>,
    /// Some of its legs came to us.
    is_fetched_from: bool,
    /// Something of it was answered over there.
    is_begun: bool,
    /// When its figures are asked next; not before it was answered.
    next_look: Option<Instant>,
}

impl Call {
    /// Who is heard by a leg, and hears it.
    fn partner(&self, leg: LegId) -> Option<LegId> {
        self.legs.iter().rev().copied().find(|l| *l != leg && !self.closed.contains(l))
    }
}

impl Leg {
    fn take(&mut self, kind: SdpKind, description: Session, at: u64) {
        let before = self.said.replace((kind, description, at));
        self.before = before.filter(|_| kind == SdpKind::Offer);
    }

    /// It has fax, and no sound.
    fn has_only_fax(&self) -> bool {
        let Some((_, said, _)) = &self.said else { return false };
        let used = |is_kind: fn(&Media) -> bool| said.media().any(|m| is_kind(&m) && m.port != 0);
        used(Media::is_fax) && !said.media().any(|m| m.is_audio() && !m.is_rejected())
    }
}

/// What of a description passes as it is, and whether there is sound besides.
fn passed(description: &Session) -> (bool, Vec<Media>) {
    let used = || description.media().filter(|m| !m.is_rejected());
    let section = |media: Media| Media { port: 0, address: None, ..media };
    let passed = used().filter(|m| m.is_fax() || m.is_text()).map(section);
    (!used().any(|m| m.is_audio()), passed.collect())
}

impl Client {
    /// `weights` of the servers, by their place.
    #[must_use]
    pub fn new(weights: &[u32], mut rng: Rng) -> Self {
        // Cookies are common to all clients of a server.
        let host = rng.hex(8);
        Self {
            pool: Pool::new(weights),
            rng,
            legs: BTreeMap::new(),
            calls: BTreeMap::new(),
            waiting: Waiting::new(host),
            outputs: VecDeque::new(),
            next_call: 0,
            repeated: Vec::new(),
            clock: 0,
            dtmf_log: BTreeMap::new(),
            stray_digits: 0,
        }
    }

    #[must_use]
    pub fn counters(&self) -> PoolCounters {
        let counters = self.pool.counters(self.calls.values().map(|call| call.server));
        PoolCounters { stray_digits: self.stray_digits, ..counters }
    }

    /// True when nothing is left of any leg.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.legs.is_empty() && self.calls.is_empty()
    }

    /// The next thing to do. Call until it gives `Timeout`.
    pub fn poll_output(&mut self) -> ClientOutput {
        self.outputs.pop_front().unwrap_or_else(|| {
            let all = [self.waiting.next(), self.pool.next(), self.next_look()];
            let next = all.into_iter().flatten().min();
            ClientOutput::Timeout(next)
        })
    }

    /// What the node asks of media.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Open { leg, profile } => {
                let tag = self.rng.hex(8);
                let home = Home::Undecided;
                let state = Leg {
                    profile,
                    home,
                    tag,
                    said: None,
                    told: None,
                    before: None,
                    is_named: false,
                    is_answered: false,
                    is_connected: false,
                    restarts_ice: false,
                    rules: vec![],
                    bridged: None,
                    watch: Watch::default(),
                };
                self.legs.insert(leg, state);
            }
            Command::Accept { leg, kind, description } => self.accept(leg, kind, description),
            Command::Describe { leg, kind, peer } => self.describe(now, leg, kind, peer),
            Command::SendDtmf { leg, digit, duration } => match self.call_of(leg) {
                Some(call) => self.play_digit(now, call, leg, digit, duration),
                None => self.local(Command::SendDtmf { leg, digit, duration }),
            },
            Command::Overlay { leg, layer: Layer::Notice, laid } => match self.call_of(leg) {
                Some(call) => self.play_notice(now, call, leg, laid.as_ref()),
                None => self.local(Command::Overlay { leg, layer: Layer::Notice, laid }),
            },
            Command::Play { leg, .. } => {
                self.fetch(now, leg);
                self.stay(now, leg);
                self.local(command);
            }
            Command::RefuseVideo { leg }
            | Command::RuleSound { leg, .. }
            | Command::ContinueSession { leg, .. } => match self.legs.get_mut(&leg) {
                Some(state) if state.rules.len() < MAX_RULES => state.rules.push(command),
                _ => {}
            },
            Command::Close { leg } => self.close(now, leg),
            Command::Answered { leg } if self.call_of(leg).is_some() => self.answered(now, leg),
            Command::RestartIce { leg } if self.call_of(leg).is_some() => {
                if let Some(state) = self.legs.get_mut(&leg) {
                    state.restarts_ice = true;
                }
            }
            Command::Rollback { leg } if self.call_of(leg).is_some() => {
                if let Some(state) = self.legs.get_mut(&leg)
                    && let Some(before) = state.before.take()
                {
                    state.said = Some(before);
                }
            }
            Command::Bridge { a, b } => self.bridge(now, a, b),
            // Servers learn of addresses by the checks that come from them. Told of them by fragments,
            // rtpengine 10.5 sends this leg nothing more.
            Command::Candidate { leg, candidate } => {
                if self.home(leg) == Some(Home::Local) {
                    self.local(Command::Candidate { leg, candidate });
                }
            }
            other => self.pass(other),
        }
    }

    /// Commands that mean nothing to a server go to legs beside us only.
    fn pass(&mut self, command: Command) {
        let leg = match &command {
            Command::Rollback { leg }
            | Command::RestartIce { leg }
            | Command::EndOfCandidates { leg }
            | Command::Answered { leg } => Some(*leg),
            _ => None,
        };
        if leg.is_none_or(|leg| self.home(leg) == Some(Home::Local)) {
            self.local(command);
        }
    }

    /// What the media plane beside us says.
    pub fn handle_local(&mut self, event: Event) {
        match &event {
            Event::Closed { leg, .. } => {
                self.legs.remove(leg);
                self.carried(*leg, None);
                self.repeated.retain(|other| other != leg);
            }
            Event::Accepted { leg, .. }
            | Event::Refused { leg, .. }
            | Event::Described { leg, .. } => {
                if let Some(at) = self.repeated.iter().position(|other| other == leg) {
                    self.repeated.remove(at);
                    return;
                }
            }
            _ => {}
        }
        self.event(event);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        for server in self.pool.due(now) {
            let sending = self.waiting.begin_ping(now, server);
            self.pool.asked(now, server);
            self.send(sending);
        }
        self.look(now);
        for sending in self.waiting.repeats(now) {
            self.send(Some(sending));
        }
        while let Some((server, ask)) = self.waiting.expired(now) {
            self.unanswered(now, server, ask);
        }
    }

    /// A datagram of a server.
    pub fn handle_reply(&mut self, now: Instant, server: usize, bytes: &[u8]) {
        let finished = self.waiting.finish(now, server, bytes);
        let Some((leg, ask, reply, next)) = finished else { return };
        self.pool.heard(now, server);
        if let Some(leg) = leg {
            let (is_sent, bytes) = (false, bytes.to_vec());
            self.outputs.push_back(ClientOutput::Told { leg, server, is_sent, bytes });
        }
        self.send(next);
        let is_ok = reply.text("result").is_some_and(|r| r == "ok" || r == "pong");
        match ask {
            Ask::Ping => {
                let is_ours = reply.text(SERVER).is_some_and(|name| name == CROSSPOINT);
                self.pool.told(server, is_ours);
            }
            Ask::Describe { leg, kind, call, attempt } if !is_ok => {
                self.refused(now, server, leg, kind, call, attempt, &reply);
            }
            Ask::Describe { leg, kind, call, .. } => self.described(leg, kind, call, &reply),
            Ask::Join { call, .. } if is_ok => self.connect(call),
            Ask::Join { leg, .. } => self.not_joined(leg),
            Ask::Delete { legs } => self.deleted(&legs, &reply),
            Ask::Figures { call } if is_ok => self.looked(call, &reply),
            Ask::Recording { ticket } => self.recorded(ticket, Some(&reply)),
            Ask::Figures { .. } | Ask::Other => {}
        }
    }

    fn described(&mut self, leg: LegId, kind: SdpKind, call: u64, reply: &Dictionary) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.is_begun = true;
        }
        let text = reply.text("sdp").unwrap_or_default();
        match Session::parse(text.as_bytes()) {
            Ok(description) => {
                if kind == SdpKind::Answer
                    && let Some(state) = self.legs.get_mut(&leg)
                {
                    state.told = Some(description.clone());
                }
                self.event(Event::Described { leg, description });
                if kind == SdpKind::Answer {
                    self.connect(call);
                }
            }
            Err(_) => {
                let refusal = Refusal::BadDescription("the media server's description is broken");
                self.event(Event::Refused { leg, refusal });
            }
        }
    }

    /// The call of a leg is up.
    fn answered(&mut self, now: Instant, leg: LegId) {
        if let Some(state) = self.legs.get_mut(&leg) {
            state.is_answered = true;
        }
        self.watch(now, leg);
    }

    /// A server that has no room leaves a new call to the next.
    #[expect(clippy::too_many_arguments, reason = "a question with its answer")]
    fn refused(
        &mut self,
        now: Instant,
        server: usize,
        leg: LegId,
        kind: SdpKind,
        call: u64,
        attempt: usize,
        reply: &Dictionary,
    ) {
        let reason = reply.text("error-reason").unwrap_or_default();
        let is_full = reply.text("result").as_deref() == Some("load limit")
            || ["Parallel session limit reached", "Ran out of ports"].contains(&reason.as_str());
        if is_full && self.move_call(now, call, server, leg, kind, attempt) {
            return;
        }
        let refusal = if is_full {
            Refusal::Exhausted
        } else {
            Refusal::BadDescription("the media server refused the description")
        };
        self.event(Event::Refused { leg, refusal });
    }

    /// Asks another server for a call that has not begun yet.
    fn move_call(
        &mut self,
        now: Instant,
        id: u64,
        from: usize,
        leg: LegId,
        kind: SdpKind,
        attempt: usize,
    ) -> bool {
        let next = self.pool.choose_but(&mut self.rng, from);
        let (Some(call), Some(server)) = (self.calls.get_mut(&id), next) else { return false };
        if call.is_begun || attempt >= MAX_ATTEMPTS || kind != SdpKind::Offer {
            return false;
        }
        call.server = server;
        let peer = call.legs.iter().copied().find(|other| *other != leg);
        peer.is_some_and(|peer| self.ask_description(now, leg, kind, peer, id, attempt + 1))
    }

    /// A server did not answer: it is gone, and with it what it carried.
    fn unanswered(&mut self, now: Instant, server: usize, ask: Ask) {
        let is_gone = matches!(ask, Ask::Ping) && self.pool.lost(now, server);
        match ask {
            Ask::Describe { leg, kind, call, attempt } => {
                if !self.move_call(now, call, server, leg, kind, attempt) {
                    self.event(Event::Refused { leg, refusal: Refusal::Exhausted });
                }
            }
            Ask::Delete { legs } => self.deleted(&legs, &Dictionary::new()),
            Ask::Join { leg, .. } => self.not_joined(leg),
            Ask::Recording { ticket } => self.recorded(ticket, None),
            Ask::Ping | Ask::Figures { .. } | Ask::Other => {}
        }
        let dead = |call: &&Call| is_gone && call.server == server;
        let legs: Vec<LegId> =
            self.calls.values().filter(dead).flat_map(|c| c.legs.clone()).collect();
        for leg in legs {
            self.event(Event::Lost { leg, loss: Loss::ServerGone });
        }
    }

    fn accept(&mut self, leg: LegId, kind: SdpKind, description: Session) {
        self.clock += 1;
        let Some(state) = self.legs.get_mut(&leg) else { return };
        if state.home == Home::Local {
            return self.local(Command::Accept { leg, kind, description });
        }
        let audio = description.media().find(|m| m.is_audio() && !m.is_rejected());
        let is_phone = state.profile != Profile::WebRtc;
        let had = state.said.as_ref().map(|(_, said, _)| passed(said)).unwrap_or_default();
        let passed_news = is_phone && passed(&description) != had;
        let Some(audio) = audio else {
            if !is_phone || !description.media().any(|m| m.is_fax() && !m.is_rejected()) {
                return self.event(Event::Refused { leg, refusal: Refusal::NoCommonCodec });
            }
            state.take(kind, description, self.clock);
            let accepted = Accepted {
                far_side_concerned: false,
                passed_news,
                only_fax: true,
                on_hold: false,
                telephone_event: false,
            };
            return self.event(Event::Accepted { leg, accepted });
        };
        let accepted = Accepted {
            far_side_concerned: true,
            passed_news,
            only_fax: false,
            on_hold: audio.is_held(),
            telephone_event: digits::are_taken_by(&audio),
        };
        state.take(kind, description, self.clock);
        self.event(Event::Accepted { leg, accepted });
    }

    /// What becomes of ICE and keys is between the server and its peers.
    fn connect(&mut self, call: u64) {
        let legs = self.calls.get(&call).map(|call| call.legs.clone());
        legs.unwrap_or_default().into_iter().for_each(|leg| self.connected(leg));
    }

    /// A party that stays would hear nobody.
    fn not_joined(&mut self, leg: LegId) {
        self.event(Event::Lost { leg, loss: Loss::ServerGone });
    }

    fn connected(&mut self, leg: LegId) {
        let Some(state) = self.legs.get_mut(&leg).filter(|state| state.said.is_some()) else {
            return;
        };
        if !std::mem::replace(&mut state.is_connected, true) {
            self.event(Event::Connected { leg });
        }
    }

    fn describe(&mut self, now: Instant, leg: LegId, kind: SdpKind, peer: Option<LegId>) {
        let call = match (self.home(leg), peer.map(|peer| (peer, self.home(peer)))) {
            (Some(Home::Undecided), Some((peer, Some(Home::Undecided)))) => self.begin(leg, peer),
            (Some(Home::Undecided), Some((_, Some(Home::Remote(call)))))
            | (Some(Home::Remote(call)), Some((_, Some(Home::Undecided)))) => Some(call),
            (Some(Home::Remote(a)), Some((_, Some(Home::Remote(b))))) if a == b => Some(a),
            // Two calls cannot become one over there, and nobody is described there alone.
            (Some(Home::Remote(_)), _) | (_, Some((_, Some(Home::Remote(_))))) => {
                return self.event(Event::Refused { leg, refusal: Refusal::WrongState });
            }
            _ => None,
        };
        let (Some(call), Some(peer)) = (call, peer) else {
            self.stay(now, leg);
            peer.into_iter().for_each(|peer| self.stay(now, peer));
            return self.local(Command::Describe { leg, kind, peer });
        };
        self.join(call, leg);
        self.join(call, peer);
        let fits = |client: &Self| {
            let is_browser = client.legs.get(&leg).is_some_and(|l| l.profile == Profile::WebRtc);
            !is_browser || !client.legs.get(&peer).is_some_and(Leg::has_only_fax)
        };
        if !fits(self) {
            self.event(Event::Refused { leg, refusal: Refusal::NoCommonCodec });
        } else if !self.ask_description(now, leg, kind, peer, call, 0) {
            // A far side that has said nothing of an offer has not taken it up.
            let refusal = match kind {
                SdpKind::Answer => Refusal::NoCommonCodec,
                SdpKind::Offer => Refusal::WrongState,
            };
            self.event(Event::Refused { leg, refusal });
        }
    }

    /// A new call, on the server that is chosen for it.
    fn begin(&mut self, leg: LegId, peer: LegId) -> Option<u64> {
        let server = self.pool.choose(&mut self.rng)?;
        self.next_call += 1;
        let id = digits::call_id(&mut self.rng, self.next_call);
        let (legs, closed, is_begun) = (vec![peer, leg], vec![], false);
        let is_fetched_from = false;
        let call = Call { id, server, legs, closed, is_fetched_from, is_begun, next_look: None };
        self.calls.insert(self.next_call, call);
        Some(self.next_call)
    }

    fn join(&mut self, call: u64, leg: LegId) {
        if let Some(state) = self.legs.get_mut(&leg) {
            state.home = Home::Remote(call);
            self.carried(leg, Some(Carrier::Server));
        }
        if let Some(call) = self.calls.get_mut(&call)
            && !call.legs.contains(&leg)
        {
            call.legs.push(leg);
        }
    }

    /// This leg's media is beside us: what it has said is said again there.
    fn stay(&mut self, now: Instant, leg: LegId) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        if state.home != Home::Undecided {
            return;
        }
        state.home = Home::Local;
        let (said, bridged) = (state.said.take(), state.bridged.take());
        self.carried(leg, Some(Carrier::Us));
        self.open_local(leg);
        if let Some((kind, description, _)) = said {
            self.repeated.push(leg);
            self.local(Command::Accept { leg, kind, description });
        }
        if let Some(other) = bridged {
            self.bridge(now, leg, other);
        }
    }

    fn close(&mut self, now: Instant, leg: LegId) {
        let Some(number) = self.call_of(leg) else {
            if self.home(leg) == Some(Home::Local) {
                return self.local(Command::Close { leg });
            }
            self.legs.remove(&leg);
            self.carried(leg, None);
            return self.event(Event::Closed { leg, stats: LegStats::default() });
        };
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.closed.push(leg);
        let is_over = call.legs.iter().all(|leg| call.closed.contains(leg));
        if is_over {
            self.delete(now, number);
        } else if call.legs.len() > 2 {
            self.drop_fork(now, number, leg);
        }
    }

    fn carried(&mut self, leg: LegId, by: Option<Carrier>) {
        self.outputs.push_back(ClientOutput::Carried { leg, by });
    }

    fn home(&self, leg: LegId) -> Option<Home> {
        self.legs.get(&leg).map(|leg| leg.home)
    }

    fn call_of(&self, leg: LegId) -> Option<u64> {
        match self.home(leg)? {
            Home::Remote(call) => Some(call),
            Home::Undecided | Home::Local => None,
        }
    }

    fn local(&mut self, command: Command) {
        self.outputs.push_back(ClientOutput::Local(Box::new(command)));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(ClientOutput::Event(Box::new(event)));
    }

    fn send(&mut self, sending: Option<Sending>) {
        let Some((server, leg, bytes)) = sending else { return };
        if let Some(leg) = leg {
            let (is_sent, bytes) = (true, bytes.clone());
            self.outputs.push_back(ClientOutput::Told { leg, server, is_sent, bytes });
        }
        self.outputs.push_back(ClientOutput::Send { server, bytes });
    }
}

/// What is told of a leg before its first description.
const MAX_RULES: usize = 4;
/// Servers that a new call is offered to.
const MAX_ATTEMPTS: usize = 3;

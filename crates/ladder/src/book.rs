//! Who said what, filed under calls, and no more of it than there may be.
//!
//! A call keeps how it began and what happened last; what was between goes when it is too much.
//! The oldest calls go when there are too many. Calls that were refused before anybody was let in
//! have a share of their own, so that strangers who call in vain push out each other alone.

mod packets;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use crosspoint_base::{CallId, Flow, Gcid, LegId, Private, Rng, Transmit, WallClock};
use crosspoint_call::Ended;
use crosspoint_call::router::Refusal;
use memchr::memmem::Finder;

use crate::entry::{
    CallLadder, Entry, Facts, Line, Message, Note, Packet, Protocol, Sample, Side, What,
};
use crate::title;
use script::Script;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LadderConfig {
    /// Calls, running ones included; none: nothing is kept at all.
    pub calls: usize,
    /// Of one call and of all, with an allowance for what each entry takes beside its bytes.
    pub bytes_per_call: usize,
    pub bytes: usize,
    /// Of one message; the rest of a longer one is cut off.
    pub bytes_per_message: usize,
    /// Everything is also handed out as it comes, for a collector.
    pub tells: bool,
    /// Of how many packets of each party the header is kept without being asked for.
    pub rtp_packets: u16,
    /// Of captured packets of all calls; a quarter of it of one.
    pub capture_bytes: usize,
}

impl Default for LadderConfig {
    fn default() -> Self {
        Self {
            calls: 1000,
            bytes_per_call: 64 * 1024,
            bytes: 64 * 1024 * 1024,
            bytes_per_message: 8 * 1024,
            tells: false,
            rtp_packets: 10,
            capture_bytes: 16 * 1024 * 1024,
        }
    }
}

/// What is kept, and what had to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub calls: usize,
    pub bytes: usize,
    pub entries: u64,
    /// Out of the middle of long calls.
    pub dropped: u64,
    /// Calls that gave way to newer ones.
    pub evicted: u64,
    /// Captured packets: those that were kept, what is kept now, and those that found no room or
    /// gave way.
    pub packets: u64,
    pub packet_bytes: usize,
    pub packets_dropped: u64,
}

/// One call in a list.
#[derive(Debug, Clone)]
pub struct Summary {
    pub gcid: Gcid,
    pub facts: Facts,
    pub entries: usize,
}

/// An entry as it came, for a collector.
#[derive(Debug, Clone)]
pub struct Told {
    pub gcid: Gcid,
    pub entry: Entry,
}

/// See the module.
#[derive(Debug)]
pub struct Ladders {
    config: LadderConfig,
    clock: WallClock,
    rng: Rng,
    /// By age.
    kept: BTreeMap<u64, Kept>,
    next: u64,
    by_gcid: BTreeSet<(Gcid, u64)>,
    by_call: BTreeMap<CallId, u64>,
    by_leg: BTreeMap<LegId, Place>,
    by_dialog: BTreeMap<DialogKey, Place>,
    /// Behind the keys of dialogs: nobody knows which Call-IDs have the same.
    secret: u64,
    /// Those that nobody was let in with, and their bytes.
    early: BTreeSet<u64>,
    early_bytes: usize,
    bytes: usize,
    /// Of captured packets, and the calls that have some.
    packet_bytes: usize,
    captured: BTreeSet<u64>,
    counters: Counters,
    told: Vec<Told>,
    call_id: Finder<'static>,
}

/// A Call-ID, as it is looked up for every message: many begin and end alike.
type DialogKey = u64;

/// Where the messages of a refused call go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedCall(Place);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    call: u64,
    line: u16,
}

#[derive(Debug)]
struct Kept {
    call: Option<CallId>,
    gcid: Gcid,
    facts: Facts,
    lines: Vec<Line>,
    dialogs: Vec<DialogKey>,
    script: Script,
    /// Of both, and of the samples.
    bytes: [usize; 2],
    /// Nobody was let in with it yet.
    is_early: bool,
    samples: Vec<Sample>,
    /// How much a sample stands for.
    stride: u16,
    packets: Vec<Packet>,
    packet_bytes: usize,
}

impl Kept {
    fn total(&self) -> usize {
        self.bytes.iter().sum()
    }

    fn line(&mut self, line: Line) -> Option<u16> {
        if self.lines.len() >= MOST_LINES {
            return None;
        }
        self.lines.push(line);
        u16::try_from(self.lines.len() - 1).ok()
    }
}

impl Ladders {
    #[must_use]
    pub fn new(config: LadderConfig, clock: WallClock, mut rng: Rng) -> Self {
        Self {
            config,
            clock,
            secret: rng.next_u64(),
            rng,
            kept: BTreeMap::new(),
            next: 0,
            by_gcid: BTreeSet::new(),
            by_call: BTreeMap::new(),
            by_leg: BTreeMap::new(),
            by_dialog: BTreeMap::new(),
            early: BTreeSet::new(),
            early_bytes: 0,
            bytes: 0,
            packet_bytes: 0,
            captured: BTreeSet::new(),
            counters: Counters::default(),
            told: Vec::new(),
            call_id: Finder::new(CALL_ID),
        }
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.config.calls > 0
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        let (calls, bytes, packet_bytes) = (self.kept.len(), self.bytes, self.packet_bytes);
        Counters { calls, bytes, packet_bytes, ..self.counters }
    }

    /// What came since this was last asked, where it is told.
    pub fn take_told(&mut self) -> Vec<Told> {
        mem::take(&mut self.told)
    }

    /// The ladder of a call. Of several with one id, which only an app can bring about, the first.
    #[must_use]
    pub fn of(&self, gcid: &str) -> Option<CallLadder> {
        let kept = self.kept.get(&self.find(gcid)?)?;
        let entries = kept.script.entries();
        let mut facts = kept.facts.clone();
        title::parties(&entries, &mut facts);
        Some(CallLadder {
            gcid: kept.gcid.clone(),
            facts,
            lines: kept.lines.clone(),
            entries,
            dropped: kept.script.dropped(),
            samples: kept.samples.clone(),
            packets: kept.packets.clone(),
        })
    }

    /// The last calls, newest first.
    #[must_use]
    pub fn recent(&self, most: usize) -> Vec<Summary> {
        let newest = self.kept.values().rev().take(most);
        let summary = |kept: &Kept| {
            let mut facts = kept.facts.clone();
            title::parties(&kept.script.beginning(), &mut facts);
            let entries = kept.script.len();
            Summary { gcid: kept.gcid.clone(), facts, entries }
        };
        newest.map(summary).collect()
    }

    fn find(&self, gcid: &str) -> Option<u64> {
        let gcid = Gcid::from_peer(gcid)?;
        let from = (gcid.clone(), 0);
        self.by_gcid.range(from..).next().filter(|(found, _)| *found == gcid).map(|(_, at)| *at)
    }

    /// A SIP message has come. `opens`: it may begin a call.
    pub fn sip_came(
        &mut self,
        now: Instant,
        flow: &Flow,
        (call_id, bytes): (&[u8], &[u8]),
        opens: bool,
    ) {
        if !self.is_on() {
            return;
        }
        let place = match self.by_dialog.get(&self.key_of(call_id)) {
            Some(place) => *place,
            None if opens => match self.open_early(now, call_id, flow.remote) {
                Some(place) => place,
                None => return,
            },
            None => return,
        };
        self.file(now, place, Message::of(Protocol::Sip, false, flow, bytes.len()), bytes);
    }

    /// A SIP message goes out. `leg_of` knows whose a Call-ID is that is new to us.
    pub fn sip_goes(
        &mut self,
        now: Instant,
        transmit: &Transmit,
        leg_of: impl FnOnce(&[u8]) -> Option<LegId>,
    ) {
        if !self.is_on() {
            return;
        }
        let Some(call_id) = call_id_in(&self.call_id, &transmit.bytes) else { return };
        let place = match self.by_dialog.get(&self.key_of(call_id)) {
            Some(place) => *place,
            None if transmit.bytes.starts_with(b"INVITE ") => {
                let leg = leg_of(call_id);
                let Some(place) = leg.and_then(|leg| self.by_leg.get(&leg).copied()) else {
                    return;
                };
                if call_id.len() <= LONGEST_ID {
                    self.know_dialog(self.key_of(call_id), place);
                }
                place
            }
            None => return,
        };
        if let Some(line) = self.line_at(place) {
            line.remote = Some(transmit.flow.remote);
        }
        let bytes = &transmit.bytes;
        let message = Message::of(Protocol::Sip, true, &transmit.flow, bytes.len());
        self.file(now, place, message, bytes);
    }

    /// Something was said over a connection of an app or terminal, of this leg.
    pub fn said(&mut self, now: Instant, leg: LegId, message: Message) {
        if let Some(place) = self.by_leg.get(&leg).copied() {
            self.message(now, place, message);
        }
    }

    /// The id that a call has which began with this Call-ID.
    #[must_use]
    pub fn gcid_of_dialog(&self, call_id: &[u8]) -> Option<&Gcid> {
        let place = self.by_dialog.get(&self.key_of(call_id))?;
        self.kept.get(&place.call).map(|kept| &kept.gcid)
    }

    /// A call begins with its front leg.
    pub fn begin(&mut self, now: Instant, call: CallId, gcid: &Gcid, front: Front<'_>) {
        if !self.is_on() {
            return;
        }
        let Front { leg, call_id, protocol, from, to, user, trunk } = front;
        let known = call_id.and_then(|id| self.by_dialog.get(&self.key_of(id)).copied());
        let known = known.filter(|place| {
            self.kept.get(&place.call).is_some_and(|kept| kept.call.is_none() && kept.gcid == *gcid)
        });
        let name = user.clone().or_else(|| trunk.clone());
        let name = name.map_or_else(|| from.clone(), |name| Private(name.to_string()));
        let place = match known {
            Some(place) => place,
            None => {
                let side = Side::Caller;
                let line =
                    Line { side, leg: None, name: Private::default(), protocol, remote: None };
                self.open(now, gcid.clone(), line, false)
            }
        };
        let Some(kept) = self.kept.get_mut(&place.call) else { return };
        kept.call = Some(call);
        let started = kept.facts.started;
        let is_refused_early = false;
        kept.facts = Facts { from, to, user, trunk, is_refused_early, ..no_facts(started) };
        kept.is_early = false;
        if self.early.remove(&place.call) {
            self.early_bytes -= kept.total();
        }
        if let Some(line) = kept.lines.get_mut(usize::from(place.line)) {
            line.leg = Some(leg);
            line.name = name;
        }
        self.by_call.insert(call, place.call);
        self.by_leg.insert(leg, place);
        self.make_room();
    }

    /// Another leg of a call.
    pub fn add_leg(&mut self, call: CallId, leg: LegId, name: Private<String>, protocol: Protocol) {
        let Some(at) = self.by_call.get(&call).copied() else { return };
        if self.by_leg.get(&leg).is_some_and(|place| place.call == at) {
            return;
        }
        let line = Line { side: Side::Called, leg: Some(leg), name, protocol, remote: None };
        let line = self.kept.get_mut(&at).and_then(|kept| kept.line(line));
        if let Some(line) = line {
            self.by_leg.insert(leg, Place { call: at, line });
        }
    }

    /// A new leg takes the place of an old one: what it said so far belongs to that one's call.
    pub fn take_over(&mut self, now: Instant, old: LegId, new: LegId, front: Front<'_>) {
        let Some(to) = self.by_leg.get(&old).copied() else { return };
        let Front { call_id, protocol, from, user, .. } = front;
        let name = user.map_or(from, |user| Private(user.to_string()));
        let side = match self.line_at(to) {
            Some(line) => line.side,
            None => return,
        };
        let line = Line { side, leg: Some(new), name, protocol, remote: None };
        let known = call_id.and_then(|id| self.by_dialog.get(&self.key_of(id)).copied());
        let Some(number) = self.kept.get_mut(&to.call).and_then(|kept| kept.line(line)) else {
            return;
        };
        let place = Place { call: to.call, line: number };
        self.by_leg.insert(new, place);
        if let Some(known) = known.filter(|known| self.early.contains(&known.call))
            && let Some(early) = self.forget(known.call)
        {
            for key in &early.dialogs {
                self.know_dialog(*key, place);
            }
            for mut entry in early.script.entries() {
                let bytes = script::take_bytes(&mut entry);
                self.push(to.call, Entry { line: Some(number), ..entry }, &bytes);
            }
        }
        self.note(now, new, Note::TookOver);
    }

    /// A leg goes over to another call.
    pub fn move_leg(&mut self, now: Instant, call: CallId, leg: LegId) {
        let Some(at) = self.by_call.get(&call).copied() else { return };
        let Some(from) = self.by_leg.get(&leg).copied().filter(|place| place.call != at) else {
            return;
        };
        let Some(kept) = self.kept.get(&from.call) else { return };
        let (gcid, dialogs) = (kept.gcid.clone(), kept.dialogs.clone());
        let Some(line) = kept.lines.get(usize::from(from.line)).cloned() else { return };
        let Some(number) = self.kept.get_mut(&at).and_then(|kept| kept.line(line)) else { return };
        let place = Place { call: at, line: number };
        self.by_leg.insert(leg, place);
        for key in dialogs {
            if self.by_dialog.get(&key) == Some(&from) {
                if let Some(kept) = self.kept.get_mut(&from.call) {
                    kept.dialogs.retain(|known| *known != key);
                }
                self.know_dialog(key, place);
            }
        }
        self.note(now, leg, Note::JoinedFrom(gcid));
    }

    /// Something happened to a leg, or was decided of it.
    pub fn note(&mut self, now: Instant, leg: LegId, note: Note) {
        if let Some(place) = self.by_leg.get(&leg).copied() {
            let entry = Entry { at: now, line: Some(place.line), what: What::Note(note) };
            self.push(place.call, entry, &[]);
        }
    }

    /// … to a call as a whole.
    pub fn note_call(&mut self, now: Instant, call: CallId, note: Note) {
        let Some(at) = self.by_call.get(&call).copied() else { return };
        if let Some(kept) = self.kept.get_mut(&at) {
            match &note {
                Note::Answered => kept.facts.answered = Some(now),
                Note::Routed { refusal, .. } => kept.facts.refusal = *refusal,
                Note::Over(ended) => kept.facts.ended = Some((now, *ended)),
                _ => {}
            }
        }
        self.push(at, Entry { at: now, line: None, what: What::Note(note) }, &[]);
    }

    /// What an operator does with a call.
    pub fn note_gcid(&mut self, now: Instant, gcid: &str, words: impl Into<Arc<str>>) {
        if let Some(at) = self.find(gcid) {
            let what = What::Note(Note::Operator(words.into()));
            self.push(at, Entry { at: now, line: None, what }, &[]);
        }
    }

    /// A call of an app or terminal that is refused before it has a leg, and what it said.
    pub fn refused(&mut self, now: Instant, gcid: Option<Gcid>, message: Message) -> RefusedCall {
        let gcid = gcid.unwrap_or_else(|| Gcid::generate(now, &self.clock, &mut self.rng));
        let (side, name, protocol) = (Side::Caller, Private::default(), message.protocol);
        let line = Line { side, leg: None, name, protocol, remote: None };
        let place = self.open(now, gcid, line, true);
        self.message(now, place, message);
        RefusedCall(place)
    }

    /// What is answered to it.
    pub fn said_refused(&mut self, now: Instant, refused: RefusedCall, message: Message) {
        self.message(now, refused.0, message);
    }

    /// Something was said between us and the media server that carries a leg: a party of the call.
    pub fn server_said(&mut self, now: Instant, leg: LegId, message: Message) {
        let Some(place) = self.by_leg.get(&leg).copied() else { return };
        let Some(kept) = self.kept.get_mut(&place.call) else { return };
        let remote = message.path.map(|(.., remote)| remote);
        let (side, protocol) = (Side::MediaServer, message.protocol);
        let known = kept.lines.iter().position(|line| line.side == side && line.remote == remote);
        let name = Private("media server".to_owned());
        let line = match known {
            Some(at) => u16::try_from(at).ok(),
            None => kept.line(Line { side, leg: None, name, protocol, remote }),
        };
        if let Some(line) = line {
            self.message(now, Place { line, ..place }, message);
        }
    }

    #[must_use]
    pub fn knows(&self, leg: LegId) -> bool {
        self.by_leg.contains_key(&leg)
    }

    /// The reasons of the router, when the call has put them into words.
    pub fn explain_route(&mut self, call: CallId, words: &str) {
        let Some(at) = self.by_call.get(&call) else { return };
        let Some(kept) = self.kept.get_mut(at) else { return };
        let before = kept.total();
        if !kept.script.explain_route(words) {
            return;
        }
        kept.bytes[0] = kept.script.cost();
        self.bytes = self.bytes + kept.total() - before;
        self.make_room();
    }

    /// The kind of rule that refused a call.
    pub fn refused_by(&mut self, call: CallId, refusal: Option<Refusal>) {
        let kept = self.by_call.get(&call).and_then(|at| self.kept.get_mut(at));
        if let Some(kept) = kept {
            kept.facts.refusal = refusal;
        }
    }

    /// How a leg did.
    pub fn sample(&mut self, leg: LegId, sample: Sample) {
        let Some(place) = self.by_leg.get(&leg).copied() else { return };
        let Some(kept) = self.kept.get_mut(&place.call) else { return };
        if kept.samples.len() >= MOST_SAMPLES {
            kept.stride = kept.stride.saturating_mul(2);
            thin(&mut kept.samples);
        }
        let sample = Sample { line: place.line, ..sample };
        let latest = kept.samples.iter_mut().rev().take(MOST_LINES);
        match latest.into_iter().find(|latest| latest.line == place.line) {
            Some(latest) if latest.spans < kept.stride => *latest = latest.or_worse(sample),
            Some(_) | None => kept.samples.push(sample),
        }
        let bytes = kept.samples.len() * size_of::<Sample>();
        let before = mem::replace(&mut kept.bytes[1], bytes);
        self.bytes = self.bytes + bytes - before;
        self.make_room();
    }

    fn line_at(&mut self, place: Place) -> Option<&mut Line> {
        self.kept.get_mut(&place.call)?.lines.get_mut(usize::from(place.line))
    }

    fn key_of(&self, call_id: &[u8]) -> DialogKey {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret);
        hasher.write(call_id);
        hasher.finish()
    }

    fn know_dialog(&mut self, key: DialogKey, place: Place) {
        let Some(kept) = self.kept.get_mut(&place.call) else { return };
        if kept.dialogs.len() >= MOST_DIALOGS {
            return;
        }
        kept.dialogs.push(key);
        self.by_dialog.insert(key, place);
    }

    /// What may become a call.
    fn open_early(&mut self, now: Instant, call_id: &[u8], remote: SocketAddr) -> Option<Place> {
        if call_id.len() > LONGEST_ID {
            return None;
        }
        let gcid = Gcid::generate(now, &self.clock, &mut self.rng);
        let (protocol, name) = (Protocol::Sip, Private::default());
        let line = Line { side: Side::Caller, leg: None, name, protocol, remote: Some(remote) };
        let place = self.open(now, gcid, line, true);
        self.know_dialog(self.key_of(call_id), place);
        Some(place)
    }

    fn open(&mut self, now: Instant, gcid: Gcid, line: Line, is_early: bool) -> Place {
        self.next += 1;
        let at = self.next;
        self.by_gcid.insert((gcid.clone(), at));
        let kept = Kept {
            call: None,
            gcid,
            facts: no_facts(now),
            lines: vec![line],
            dialogs: Vec::new(),
            script: Script::new(self.config.bytes_per_call / 2),
            bytes: [0; 2],
            is_early,
            samples: Vec::new(),
            stride: 1,
            packets: Vec::new(),
            packet_bytes: 0,
        };
        self.kept.insert(at, kept);
        if is_early {
            self.early.insert(at);
        }
        Place { call: at, line: 0 }
    }

    fn message(&mut self, now: Instant, place: Place, mut message: Message) {
        let bytes = mem::take(&mut message.bytes);
        self.file(now, place, message, &bytes);
    }

    /// Files a message whose bytes are beside it.
    fn file(&mut self, now: Instant, place: Place, message: Message, bytes: &[u8]) {
        let bytes = bytes.get(..self.config.bytes_per_message).unwrap_or(bytes);
        let what = What::Message(message);
        self.push(place.call, Entry { at: now, line: Some(place.line), what }, bytes);
    }

    fn push(&mut self, at: u64, entry: Entry, bytes: &[u8]) {
        let Some(kept) = self.kept.get_mut(&at) else { return };
        if self.config.tells {
            let mut entry = entry.clone();
            if let What::Message(message) = &mut entry.what {
                message.bytes = Bytes::copy_from_slice(bytes);
            }
            self.told.push(Told { gcid: kept.gcid.clone(), entry });
        }
        self.counters.entries += 1;
        let before = kept.total();
        self.counters.dropped += kept.script.push(entry, bytes, self.config.bytes_per_call / 2);
        kept.bytes[0] = kept.script.cost();
        let (after, is_early) = (kept.total(), kept.is_early);
        self.bytes = self.bytes + after - before;
        if is_early {
            self.early_bytes = self.early_bytes + after - before;
        }
        self.make_room();
    }

    /// The oldest give way; first those that nobody was let in with, when they have their share.
    fn make_room(&mut self) {
        let LadderConfig { calls, bytes, .. } = self.config;
        while self.early.len() > (calls / EARLY_SHARE).max(1)
            || (self.early_bytes > bytes / EARLY_SHARE && self.early.len() > 1)
        {
            let Some(oldest) = self.early.first().copied() else { break };
            self.evict(oldest);
        }
        while (self.kept.len() > calls || self.bytes > bytes) && self.kept.len() > 1 {
            let Some(oldest) = self.kept.keys().next().copied() else { break };
            self.evict(oldest);
        }
    }

    fn evict(&mut self, at: u64) {
        self.forget(at);
        self.counters.evicted += 1;
    }

    fn forget(&mut self, at: u64) -> Option<Kept> {
        let kept = self.kept.remove(&at)?;
        self.bytes -= kept.total();
        if self.captured.remove(&at) {
            self.packet_bytes -= kept.packet_bytes;
        }
        if self.early.remove(&at) {
            self.early_bytes -= kept.total();
        }
        self.by_gcid.remove(&(kept.gcid.clone(), at));
        if let Some(call) = kept.call {
            self.by_call.remove(&call);
        }
        for leg in kept.lines.iter().filter_map(|line| line.leg) {
            if self.by_leg.get(&leg).is_some_and(|place| place.call == at) {
                self.by_leg.remove(&leg);
            }
        }
        for key in &kept.dialogs {
            if self.by_dialog.get(key).is_some_and(|place| place.call == at) {
                self.by_dialog.remove(key);
            }
        }
        Some(kept)
    }
}

/// Who calls, as the front leg's offer says.
#[derive(Debug)]
pub struct Front<'a> {
    pub leg: LegId,
    /// Of a SIP leg.
    pub call_id: Option<&'a [u8]>,
    pub protocol: Protocol,
    pub from: Private<String>,
    pub to: Private<String>,
    pub user: Option<Arc<str>>,
    pub trunk: Option<Arc<str>>,
}

fn no_facts(started: Instant) -> Facts {
    let (answered, ended): (_, Option<(Instant, Ended)>) = (None, None);
    let refusal: Option<Refusal> = None;
    Facts {
        started,
        from: Private::default(),
        to: Private::default(),
        user: None,
        trunk: None,
        answered,
        ended,
        refusal,
        is_refused_early: true,
    }
}

/// Two of a line become one, so that the whole call stays in sight.
fn thin(samples: &mut Vec<Sample>) {
    let mut waiting: BTreeMap<u16, Sample> = BTreeMap::new();
    let mut kept = Vec::with_capacity(samples.len());
    for sample in samples.drain(..) {
        match waiting.remove(&sample.line) {
            Some(before) => kept.push(before.or_worse(sample)),
            None => drop(waiting.insert(sample.line, sample)),
        }
    }
    kept.extend(waiting.into_values());
    kept.sort_by_key(|sample| sample.at);
    *samples = kept;
}

/// The Call-ID of a message of ours, which names it in full.
fn call_id_in<'a>(finder: &Finder<'_>, message: &'a [u8]) -> Option<&'a [u8]> {
    let rest = message.get(finder.find(message)? + CALL_ID.len()..)?;
    rest.get(..memchr::memchr(b'\r', rest)?)
}

const CALL_ID: &[u8] = b"\r\nCall-ID: ";
/// Parties of one call, samples of them, and its SIP dialogs.
const MOST_LINES: usize = 64;
const MOST_DIALOGS: usize = 64;
const MOST_SAMPLES: usize = 512;
const LONGEST_ID: usize = 512;
/// One in so many is for calls that nobody was let in with.
const EARLY_SHARE: usize = 4;

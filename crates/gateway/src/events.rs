//! What happens to calls, recordings and streams, for whoever wants to be told
//! (`GET /api/v1/events`).
//!
//! The newest events stand in one ring of bounded size, and a reader is a place in it: one that is
//! slow costs nothing and misses events, which it is told. Who comes back says what it saw last.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::provisioning::Refusal;

/// Shared by those who tell and those who read.
#[derive(Debug, Clone)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    /// How many were told so far.
    told: watch::Sender<u64>,
    readers: AtomicU64,
    missed: AtomicU64,
    /// Tells this process from those before it.
    epoch: u64,
    /// Somebody may read them.
    is_on: AtomicBool,
}

#[derive(Debug, Default)]
struct Ring {
    /// Number of the first of `lines`.
    first: u64,
    lines: VecDeque<Line>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Line {
    name: &'static str,
    text: Arc<str>,
}

/// How events are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EventReport {
    pub(crate) told: u64,
    pub(crate) readers: u64,
    /// That a reader was too slow for.
    pub(crate) missed: u64,
}

/// An event as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) text: Arc<str>,
}

/// A place in the ring, of a part of this process.
#[derive(Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    told: watch::Receiver<u64>,
    next: u64,
    names: Vec<String>,
}

impl Follower {
    /// What has come, once there is something, and how many it was too slow for.
    pub(crate) async fn next(&mut self) -> (Vec<Told>, u64) {
        loop {
            self.told.mark_unchanged();
            let found = self.take();
            if !found.0.is_empty() || found.1 > 0 {
                return found;
            }
            if self.told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> (Vec<Told>, u64) {
        let ring = self.shared.ring();
        let missed = ring.first.saturating_sub(self.next);
        self.next += missed;
        let from = usize::try_from(self.next - ring.first).unwrap_or(usize::MAX);
        let mut told = Vec::new();
        for line in ring.lines.iter().skip(from) {
            if self.names.is_empty() || self.names.iter().any(|name| name == line.name) {
                let id = format!("{}-{}", self.shared.epoch, self.next);
                told.push(Told { id, text: line.text.clone() });
            }
            self.next += 1;
        }
        (told, missed)
    }
}

/// A place in the ring.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    told: watch::Receiver<u64>,
    /// Number of the next event.
    next: u64,
    /// Of these alone; of all when empty.
    names: Vec<String>,
    /// What it is greeted with.
    greeting: Option<String>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self::for_readers(true)
    }

    /// `is_on`: whether there can be readers at all.
    pub(crate) fn for_readers(is_on: bool) -> Self {
        Self(Arc::new(Shared {
            is_on: AtomicBool::new(is_on),
            ring: Mutex::default(),
            told: watch::Sender::new(0),
            readers: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            epoch: unix_millis(),
        }))
    }

    /// Whether what is told can be read. Worth asking before much is put together.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// From now on somebody may read.
    pub(crate) fn switch_on(&self) {
        self.0.is_on.store(true, Ordering::Relaxed);
    }

    /// What comes from now on, of these names, of all when there are none.
    pub(crate) fn follow(&self, names: Vec<String>) -> Follower {
        let told = self.0.told.subscribe();
        let next = *told.borrow();
        Follower { shared: self.0.clone(), told, next, names }
    }

    /// Tells of something; `members` is an object, to which name and time are added.
    pub(crate) fn tell(&self, name: &'static str, mut members: Value) {
        if !self.is_on() {
            return;
        }
        members["event"] = json!(name);
        members["at"] = json!(unix_millis());
        let line = Line { name, text: members.to_string().into() };
        let mut ring = self.0.ring();
        ring.bytes += line.text.len();
        ring.lines.push_back(line);
        while ring.lines.len() > MOST_EVENTS || ring.bytes > MOST_BYTES {
            let Some(gone) = ring.lines.pop_front() else { break };
            ring.bytes -= gone.text.len();
            ring.first += 1;
        }
        let told = ring.first + ring.lines.len() as u64;
        drop(ring);
        self.0.told.send_replace(told);
    }

    /// A new reader: of what comes from now on, or after the event with the id `after`. `names`
    /// are the events it wants, all when there are none.
    pub(crate) fn read(&self, after: Option<&str>, names: Vec<String>) -> Result<Reader, Refusal> {
        if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
            let unknown: String = unknown.chars().take(64).collect();
            let why = format!("there is no event {unknown:?}");
            return Err(Refusal::Invalid { member: "events", why });
        }
        let shared = self.0.clone();
        if shared.readers.fetch_add(1, Ordering::Relaxed) >= MOST_READERS {
            shared.readers.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Full(format!("{MOST_READERS} read events already")));
        }
        let told = shared.told.subscribe();
        let newest = *told.borrow();
        let next = after.map_or(newest, |id| match id.split_once('-') {
            Some((epoch, seen)) if epoch.parse() == Ok(shared.epoch) => {
                seen.parse().map_or(0, |seen: u64| seen.saturating_add(1)).min(newest)
            }
            // Of a process before this: everything that is still known is new.
            _ => 0,
        });
        let mut reader = Reader { shared, told, next, names, greeting: None };
        let hello = json!({ "event": "hello", "at": unix_millis(), "version": 1 }).to_string();
        let before = next.checked_sub(1);
        reader.greeting = Some(format!("retry: 2000\n{}", reader.written("hello", &hello, before)));
        Ok(reader)
    }

    pub(crate) fn report(&self) -> EventReport {
        EventReport {
            told: *self.0.told.borrow(),
            readers: self.0.readers.load(Ordering::Relaxed),
            missed: self.0.missed.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// The next piece of the stream: events, or a comment that keeps the connection alive.
    pub(crate) async fn piece(&mut self) -> String {
        if let Some(greeting) = self.greeting.take() {
            return greeting;
        }
        let beat = tokio::time::sleep(BEAT);
        tokio::pin!(beat);
        loop {
            self.told.mark_unchanged();
            let piece = self.take();
            if !piece.is_empty() {
                return piece;
            }
            tokio::select! {
                changed = self.told.changed() => {
                    if changed.is_err() {
                        beat.as_mut().await;
                        return BEATEN.to_owned();
                    }
                }
                () = &mut beat => return BEATEN.to_owned(),
            }
        }
    }

    /// What there is for it by now, of bounded length.
    fn take(&mut self) -> String {
        let (mut lines, mut length, mut missed) = (Vec::new(), 0, 0);
        {
            let ring = self.shared.ring();
            if self.next < ring.first {
                missed = ring.first - self.next;
                self.next = ring.first;
            }
            let from = usize::try_from(self.next - ring.first).unwrap_or(usize::MAX);
            for line in ring.lines.iter().skip(from) {
                if length >= PIECE {
                    break;
                }
                if self.names.is_empty() || self.names.iter().any(|name| name == line.name) {
                    length += line.text.len();
                    lines.push((self.next, line.clone()));
                }
                self.next += 1;
            }
        }
        let mut piece = String::with_capacity(2 * length);
        if missed > 0 {
            self.shared.missed.fetch_add(missed, Ordering::Relaxed);
            let text = json!({ "event": "missed", "at": unix_millis(), "count": missed });
            piece += &self.written("missed", &text.to_string(), None);
        }
        for (number, line) in lines {
            piece += &self.written(line.name, &line.text, Some(number));
        }
        piece
    }

    /// As server-sent events are written. JSON has no line breaks of its own.
    fn written(&self, name: &str, text: &str, number: Option<u64>) -> String {
        let id = number.map(|number| format!("id: {}-{number}\n", self.shared.epoch));
        format!("{}event: {name}\ndata: {text}\n\n", id.unwrap_or_default())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// All that are told.
pub(crate) const NAMES: [&str; 9] = [
    "call_began",
    "call_answered",
    "call_changed",
    "call_ended",
    "quality",
    "recording_finished",
    "recording_removed",
    "stream_opened",
    "stream_ended",
];
const MOST_EVENTS: usize = 4096;
const MOST_BYTES: usize = 4 * 1024 * 1024;
const MOST_READERS: u64 = 64;
/// Proxies cut what says nothing for a minute or less.
const BEAT: Duration = Duration::from_secs(15);
const BEATEN: &str = ":\n\n";
const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and numbers of a piece's events.
    fn seen(piece: &str) -> Vec<(String, Value)> {
        let blocks = piece.split_terminator("\n\n").map(|block| {
            let line = |name| block.lines().find_map(|line| line.strip_prefix(name));
            let data = serde_json::from_str(line("data: ").unwrap()).unwrap();
            (line("event: ").unwrap().to_owned(), data)
        });
        blocks.collect()
    }

    fn last_id(piece: &str) -> String {
        let mut ids = piece.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.next_back().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_reader_sees_what_comes_and_goes_on_where_it_was() {
        let events = Events::new();
        events.tell("call_began", json!({ "n": 0 }));
        let mut reader = events.read(None, Vec::new()).unwrap();
        assert_eq!(seen(&reader.piece().await)[0].0, "hello");
        events.tell("call_answered", json!({ "n": 1 }));
        events.tell("quality", json!({ "n": 2 }));
        let piece = reader.piece().await;
        let found = seen(&piece);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0.as_str(), &found[0].1["n"]), ("call_answered", &json!(1)));
        assert_eq!(found[1].1["event"], "quality");
        drop(reader);
        events.tell("call_ended", json!({ "n": 3 }));
        let mut again = events.read(Some(&last_id(&piece)), Vec::new()).unwrap();
        let hello = again.piece().await;
        assert_eq!(last_id(&hello), last_id(&piece));
        let found = seen(&again.piece().await);
        assert_eq!((found.len(), &found[0].1["n"]), (1, &json!(3)));
        // An id of another process, or none that makes sense: all that is known.
        for strange in ["1-7", "x", ""] {
            let mut reader = events.read(Some(strange), Vec::new()).unwrap();
            reader.piece().await;
            assert_eq!(seen(&reader.piece().await).len(), 4, "{strange}");
        }
        // Nobody reads ahead.
        let ahead = format!("{}-99999", events.0.epoch);
        let mut reader = events.read(Some(&ahead), vec!["quality".to_owned()]).unwrap();
        reader.piece().await;
        events.tell("call_began", json!({}));
        events.tell("quality", json!({ "n": 5 }));
        let found = seen(&reader.piece().await);
        assert_eq!((found.len(), &found[0].1["n"]), (1, &json!(5)));
        assert!(events.read(None, vec!["nothing".to_owned()]).is_err());
    }

    #[tokio::test]
    async fn who_reads_slowly_misses_some_and_is_told() {
        let events = Events::new();
        let mut slow = events.read(None, Vec::new()).unwrap();
        slow.piece().await;
        let told = MOST_EVENTS as u64 + 100;
        for n in 0..told {
            events.tell("quality", json!({ "n": n }));
        }
        let (mut count, mut expected) = (0, 100);
        let mut piece = slow.piece().await;
        assert_eq!(seen(&piece)[0].1["count"], 100);
        loop {
            for (name, event) in seen(&piece).iter().filter(|(name, _)| name != "missed") {
                assert_eq!((name.as_str(), &event["n"]), ("quality", &json!(expected)));
                expected += 1;
                count += 1;
            }
            assert!(piece.len() < 2 * PIECE, "{}", piece.len());
            if count == MOST_EVENTS {
                break;
            }
            piece = slow.piece().await;
        }
        // Long ones leave room for fewer.
        for _ in 0..100 {
            events.tell("quality", json!({ "text": "x".repeat(100_000) }));
        }
        assert!(events.0.ring().bytes <= MOST_BYTES);
        assert!(events.report().missed >= 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_beats_and_readers_are_few() {
        let events = Events::new();
        let mut reader = events.read(None, Vec::new()).unwrap();
        reader.piece().await;
        assert_eq!(reader.piece().await, BEATEN);
        let more: Vec<_> = (1..MOST_READERS).map(|_| events.read(None, vec![]).unwrap()).collect();
        assert!(matches!(events.read(None, vec![]), Err(Refusal::Full(_))));
        drop(more);
        assert_eq!(events.report().readers, 1);
        events.read(None, vec![]).unwrap();
    }
}

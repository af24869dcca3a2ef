//! The list of finished recordings: one JSON line for each in `index.jsonl` beside them, which
//! is also what is announced as an event and what the HTTP interface shows. A line more tells that
//! a file is gone.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crosspoint_base::Gcid;
use crosspoint_net::{Finished, RecorderNews, RecordingId};
use serde_json::{Value, json};

use crate::events::Events;

/// Shared by the node's task and the recorder's thread.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    file: PathBuf,
    events: Events,
    /// Those that are being written.
    begun: BTreeSet<RecordingId>,
    /// Not begun after all, or over before somebody ended them.
    over: BTreeSet<RecordingId>,
    finished: VecDeque<Value>,
}

impl Ledger {
    /// Reads the newest lines of earlier days.
    pub(crate) fn open(file: PathBuf, events: Events) -> Self {
        let finished = read_newest(&file).unwrap_or_default();
        let (begun, over) = (BTreeSet::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(Books { file, events, begun, over, finished })))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what has to be kept beside the file, in case another process finds it.
    pub(super) fn begin(&self, recording: RecordingId, gcid: &Gcid, at: i64) -> String {
        self.begin_of(recording, gcid.as_str(), at, None)
    }

    /// The same of a call with a name of a proxy's, and the proxy's own words.
    pub(crate) fn begin_of(
        &self,
        recording: RecordingId,
        call: &str,
        at: i64,
        metadata: Option<String>,
    ) -> String {
        self.books().begun.insert(recording);
        let mut note = json!({ "gcid": call, "started_at": at });
        if let Some(metadata) = metadata {
            note["metadata"] = metadata.into();
        }
        note.to_string()
    }

    pub(super) fn refused(&self, recording: RecordingId) {
        let mut books = self.books();
        books.begun.remove(&recording);
        books.over.insert(recording);
    }

    /// Whether a recording is over; told once.
    pub(super) fn take_over(&self, recording: RecordingId) -> bool {
        self.books().over.remove(&recording)
    }

    /// Called on the recorder's thread, and at the start with what a crash left.
    pub(crate) fn note(&self, news: &RecorderNews) {
        match news {
            RecorderNews::Finished(finished) => self.finish(finished),
            RecorderNews::Removed { name, reason } => self.remove(name, reason),
        }
    }

    fn finish(&self, finished: &Finished) {
        let mut books = self.books();
        if let Some(id) = finished.recording {
            if !books.begun.remove(&id) {
                return;
            }
            books.over.insert(id);
            while books.over.len() > MOST {
                books.over.pop_first();
            }
        } else if books.finished.iter().any(|line| line["name"] == finished.name) {
            // The crash came between this list and the end of the recording.
            return;
        }
        let note: Value = serde_json::from_str(&finished.note).unwrap_or_default();
        let mut line = json!({
            "event": "recording_finished",
            "gcid": note["gcid"].as_str().unwrap_or_default(),
            "name": finished.name,
            "started_at": note["started_at"].as_i64().unwrap_or_default(),
            "duration_ms": u64::try_from(finished.length.as_millis()).unwrap_or(u64::MAX),
            "bytes": finished.bytes,
            "reason": finished.reason,
        });
        if let Some(metadata) = note["metadata"].as_str() {
            line["metadata"] = metadata.into();
        }
        tracing::info!(
            call = line["gcid"].as_str(),
            name = finished.name,
            duration_ms = line["duration_ms"].as_u64(),
            bytes = finished.bytes,
            reason = finished.reason,
            "a recording is finished"
        );
        books.write(&line);
        books.finished.push_front(line.clone());
        books.finished.truncate(MOST);
        books.events.tell("recording_finished", line);
    }

    fn remove(&self, name: &str, reason: &str) {
        let mut books = self.books();
        let line = json!({ "event": "recording_removed", "name": name, "reason": reason });
        tracing::info!(name, reason, "a recording is removed");
        books.write(&line);
        books.finished.retain(|line| line["name"] != name);
        books.events.tell("recording_removed", line);
    }

    /// Newest first.
    pub(super) fn list(&self) -> Vec<Value> {
        self.books().finished.iter().cloned().collect()
    }
}

impl Books {
    fn write(&self, line: &Value) {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(&self.file);
        if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        {
            tracing::error!(%error, "the list of recordings cannot be written");
        }
    }
}

fn read_newest(file: &PathBuf) -> std::io::Result<VecDeque<Value>> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be half of one, and the last what a crash left of it.
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // What is gone stands behind what was there.
    let mut gone = BTreeSet::new();
    let mut finished = VecDeque::new();
    for line in lines {
        let name = line["name"].as_str().unwrap_or_default();
        if line["event"] == "recording_removed" {
            gone.insert(name.to_owned());
        } else if !gone.contains(name) && finished.len() < MOST {
            finished.push_back(line);
        }
    }
    Ok(finished)
}

const MOST: usize = 1000;
const TAIL: u64 = 512 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_list_outlives_the_process_and_what_a_crash_left_of_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("index.jsonl");
        let ledger = Ledger::open(file.clone(), Events::new());
        for n in 1..=4 {
            let gcid = Gcid::from_peer(&format!("g{n}")).unwrap();
            let note = ledger.begin(RecordingId(n), &gcid, 1000);
            ledger.note(&RecorderNews::Finished(Finished {
                recording: Some(RecordingId(n)),
                note,
                name: format!("day/{n}.wav"),
                bytes: 44,
                length: Duration::from_secs(n),
                reason: "stopped",
            }));
            assert!(ledger.take_over(RecordingId(n)));
            assert!(!ledger.take_over(RecordingId(n)));
        }
        let removed = RecorderNews::Removed { name: "day/4.wav".to_owned(), reason: "deleted" };
        ledger.note(&removed);
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"gcid\":\"g").unwrap();
        let again = Ledger::open(file, Events::new());
        assert_eq!(again.list(), ledger.list());
        let names: Vec<Value> = again.list().iter().map(|line| line["name"].clone()).collect();
        assert_eq!(names, ["day/3.wav", "day/2.wav", "day/1.wav"]);
        assert_eq!(again.list()[0]["duration_ms"], 3000);
    }

    /// The crash came after the line was written, or before.
    #[test]
    fn what_another_process_left_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path().join("index.jsonl"), Events::new());
        let left = |note: &str| {
            RecorderNews::Finished(Finished {
                recording: None,
                note: note.to_owned(),
                name: "day/7.wav".to_owned(),
                bytes: 44,
                length: Duration::from_secs(2),
                reason: "crashed",
            })
        };
        ledger.note(&left("{\"gcid\":\"g7\",\"started_at\":5}"));
        ledger.note(&left("half a no"));
        assert_eq!(ledger.list().len(), 1);
        let line = &ledger.list()[0];
        assert_eq!((&line["gcid"], &line["started_at"]), (&json!("g7"), &json!(5)));
        assert_eq!(line["reason"], "crashed");
    }
}

//! The loop of the recorder's thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::recording::{Channel, Recording, Sink};
use crosspoint_media::tap::{TapReader, Tapped};

use super::folder::Folder;
use super::{Finished, Order, RecorderNews, RecorderReport, RecordingId, RefusedStart};

pub(super) struct RecorderThread<F> {
    folder: Folder,
    tap: TapReader,
    orders: Receiver<Order>,
    on_news: F,
    report: Arc<Mutex<RecorderReport>>,
    counts: RecorderReport,
    open: BTreeMap<RecordingId, Open>,
    listening: BTreeMap<LegId, (RecordingId, Channel)>,
    written: Instant,
    cleaned: Instant,
}

/// A recording with its file.
struct Open {
    recording: Recording,
    sink: Sink<BufWriter<File>>,
    name: String,
    note: String,
}

impl<F: FnMut(RecorderNews)> RecorderThread<F> {
    pub(super) fn new(
        folder: Folder,
        tap: TapReader,
        orders: Receiver<Order>,
        on_news: F,
        report: Arc<Mutex<RecorderReport>>,
    ) -> Self {
        let now = Instant::now();
        let counts = *report.lock().unwrap_or_else(PoisonError::into_inner);
        let mut this = Self {
            folder,
            tap,
            orders,
            on_news,
            report,
            counts,
            open: BTreeMap::new(),
            listening: BTreeMap::new(),
            written: now,
            cleaned: now,
        };
        this.clean();
        this
    }

    /// Works until nobody can give orders any more.
    pub(super) fn run(mut self) {
        loop {
            let wait = if self.open.is_empty() { WRITE_PERIOD } else { TAKE_PERIOD };
            match self.orders.recv_timeout(wait) {
                Ok(order) => {
                    self.take();
                    self.obey(order);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.take();
                    return self.end_all("shutdown");
                }
            }
            self.take();
            let now = Instant::now();
            if now >= self.written + WRITE_PERIOD {
                self.written = now;
                self.write_all(now);
            }
            if now >= self.cleaned + CLEAN_PERIOD {
                self.cleaned = now;
                self.clean();
            }
            self.publish();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin { recording, at, name, note, answer } => {
                let begun = self.begin(recording, at, &name, note);
                if begun.is_err() {
                    self.counts.refused += 1;
                }
                self.publish();
                answer(begun);
            }
            Order::Remove { name, answer } => {
                let removed = self.folder.remove(&name, &self.open_paths());
                if removed.is_ok() {
                    self.counts.removed += 1;
                    (self.on_news)(RecorderNews::Removed { name, reason: "deleted" });
                }
                answer(removed);
            }
            Order::Listen { leg, to: Some(to) } => {
                self.listening.insert(leg, to);
            }
            Order::Listen { leg, to: None } => {
                self.listening.remove(&leg);
            }
            Order::Mode { recording, at, mode } => {
                if let Some(open) = self.open.get_mut(&recording) {
                    open.recording.set_mode(at, mode);
                }
            }
            Order::End { recording, at, reason } => self.end(recording, at, reason),
            Order::Stop(done) => {
                self.end_all("shutdown");
                let _ = done.send(());
            }
        }
    }

    fn begin(
        &mut self,
        id: RecordingId,
        at: Instant,
        name: &str,
        note: String,
    ) -> Result<String, RefusedStart> {
        let max = self.folder.config.max;
        if self.open.len() >= max {
            return Err(RefusedStart::TooMany(max));
        }
        self.folder.check_space()?;
        let (name, file) = self.folder.create(name, &note)?;
        let out = BufWriter::with_capacity(BUFFER, file);
        // Tells streams of one file apart, and each file has one.
        let sink = Sink::new(self.folder.config.format, out, id.0 as u32 + 1)
            .map_err(|error| RefusedStart::Io(error.to_string()))?;
        let open = Open { recording: Recording::new(at), sink, name: name.clone(), note };
        self.open.insert(id, open);
        Ok(name)
    }

    /// Takes what the media threads have copied.
    fn take(&mut self) {
        while let Some(packet) = self.tap.read() {
            let Some((id, channel)) = self.listening.get(&packet.leg).copied() else { continue };
            self.put(id, channel, packet);
        }
        self.counts.packets_lost = self.tap.lost();
    }

    /// A defect that a packet brings to light costs its own recording.
    fn put(&mut self, id: RecordingId, channel: Channel, packet: Tapped) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let put = || open.recording.handle_packet(channel, packet);
        if catch_unwind(AssertUnwindSafe(put)).is_err() {
            self.counts.defects += 1;
            self.fail(id, "failed");
        }
    }

    fn write_all(&mut self, now: Instant) {
        let mut broken = Vec::new();
        for (id, open) in &mut self.open {
            let stereo = open.recording.advance(now);
            if let Err(error) = open.sink.write(stereo).and_then(|()| open.sink.flush()) {
                tracing::error!(%error, "a recording cannot be written");
                broken.push((*id, "failed"));
            }
        }
        if !self.open.is_empty()
            && let Err(error @ RefusedStart::NoSpace { .. }) = self.folder.check_space()
        {
            tracing::error!(%error, "recordings end for want of space");
            broken = self.open.keys().map(|id| (*id, "no_space")).collect();
        }
        for (id, reason) in broken {
            self.fail(id, reason);
        }
    }

    fn fail(&mut self, id: RecordingId, reason: &'static str) {
        self.counts.failed += 1;
        self.end(id, Instant::now(), reason);
    }

    fn end(&mut self, id: RecordingId, at: Instant, reason: &'static str) {
        self.listening.retain(|_, (recording, _)| *recording != id);
        let Some(mut open) = self.open.remove(&id) else { return };
        let rest = open.recording.finish(at);
        let written = open.sink.write(rest).and_then(|()| open.sink.finish());
        if let Err(error) = written {
            tracing::error!(%error, "a recording cannot be finished");
        }
        let bytes = self.folder.path_of(&open.name).metadata().map_or(0, |data| data.len());
        self.counts.finished += 1;
        self.counts.bytes += bytes;
        self.counts.packets_late += open.recording.late();
        self.publish();
        let length = open.recording.length();
        let Open { name, note, .. } = open;
        let recording = Some(id);
        let finished = Finished { recording, note, name: name.clone(), bytes, length, reason };
        (self.on_news)(RecorderNews::Finished(finished));
        self.folder.forget_note(&name);
        self.clean();
    }

    fn end_all(&mut self, reason: &'static str) {
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            self.end(id, Instant::now(), reason);
        }
    }

    fn open_paths(&self) -> Vec<PathBuf> {
        self.open.values().map(|open| self.folder.path_of(&open.name)).collect()
    }

    fn clean(&mut self) {
        let open = self.open_paths();
        self.counts.removed += self.folder.clean(&open, &mut self.on_news);
    }

    fn publish(&mut self) {
        self.counts.active = self.open.len() as u64;
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = self.counts;
    }
}

/// The ring holds seconds of all recorded calls.
const TAKE_PERIOD: Duration = Duration::from_millis(50);
const WRITE_PERIOD: Duration = Duration::from_millis(500);
const CLEAN_PERIOD: Duration = Duration::from_secs(600);
/// Two seconds of samples.
const BUFFER: usize = 128 * 1024;

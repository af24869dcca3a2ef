//! The recorder with real files.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crosspoint_base::LegId;
use crosspoint_media::codec::Codec;
use crosspoint_media::recording::{Channel, Format};
use crosspoint_media::rtp::Header;
use crosspoint_media::tap;
use crosspoint_net::{
    Finished, Recorder, RecorderConfig, RecorderNews, RecordingId, RefusedRemoval, RefusedStart,
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Story {
    folder: tempfile::TempDir,
    recorder: Recorder,
    tap: tap::TapWriter,
    news: mpsc::Receiver<RecorderNews>,
}

impl Story {
    fn new(change: impl FnOnce(&mut RecorderConfig)) -> Self {
        Self::new_in(tempfile::tempdir().unwrap(), change)
    }

    fn new_in(folder: tempfile::TempDir, change: impl FnOnce(&mut RecorderConfig)) -> Self {
        let mut config = RecorderConfig {
            folder: folder.path().join("recordings"),
            format: Format::Wav,
            min_free: 0,
            keep: None,
            keep_bytes: None,
            max: 2,
        };
        change(&mut config);
        let (writer, reader) = tap::ring(1 << 16, Instant::now());
        let (told, news) = mpsc::channel();
        let recorder = Recorder::start(config, reader, move |n| told.send(n).unwrap()).unwrap();
        Self { folder, recorder, tap: writer, news }
    }

    fn begin(&self, id: u64, name: &str) -> Result<String, RefusedStart> {
        let (answer, told) = mpsc::channel();
        let note = format!("note {id}");
        self.recorder
            .begin(RecordingId(id), name.to_owned(), note, move |r| answer.send(r).unwrap());
        told.recv_timeout(PATIENCE).unwrap()
    }

    fn end(&self, id: u64) -> Finished {
        self.recorder.end(RecordingId(id), "stopped");
        self.finished()
    }

    fn finished(&self) -> Finished {
        match self.news.recv_timeout(PATIENCE).unwrap() {
            RecorderNews::Finished(finished) => finished,
            other => panic!("{other:?}"),
        }
    }

    fn remove(&self, name: &str) -> Result<(), RefusedRemoval> {
        let (answer, told) = mpsc::channel();
        self.recorder.remove(name.to_owned(), move |r| answer.send(r).unwrap());
        told.recv_timeout(PATIENCE).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("recordings").join(name)
    }
}

#[test]
fn a_call_becomes_a_file_with_a_side_in_each_channel() {
    let mut story = Story::new(|_| {});
    let name = story.begin(1, "2026-11-21/120000-gcid").unwrap();
    assert_eq!(name, "2026-11-21/120000-gcid.wav");
    story.recorder.listen(LegId(7), Some((RecordingId(1), Channel::Called)));
    // The order is obeyed before a second one is answered.
    story.begin(2, "2026-11-21/other").unwrap();
    // What has arrived at the moment of the last packet was said in the second before.
    let start = Instant::now();
    for n in 0..5_u16 {
        let header = Header::new(0, n, 160 * u32::from(n), 1, false);
        // A loud square wave in µ-law.
        let payload: Vec<u8> = (0..160).map(|i| if i % 16 < 8 { 0x80 } else { 0x00 }).collect();
        let at = start + Duration::from_millis(20 * u64::from(n));
        story.tap.write(at, LegId(7), Codec::Pcmu, &header, &payload);
        // Nobody listens to this leg.
        story.tap.write(at, LegId(8), Codec::Pcmu, &header, &payload);
    }
    while start.elapsed() < Duration::from_millis(150) {
        std::thread::yield_now();
    }
    let finished = story.end(1);
    assert_eq!((finished.name.as_str(), finished.reason), (name.as_str(), "stopped"));
    let reader = hound::WavReader::open(story.path(&name)).unwrap();
    let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
    assert!(samples.iter().step_by(2).all(|s| *s == 0), "nobody spoke on the left");
    assert!(samples.iter().skip(1).step_by(2).any(|s| s.unsigned_abs() > 20_000));
    assert_eq!(story.recorder.report().active, 1);
}

#[test]
fn what_cannot_be_recorded_says_why() {
    let story = Story::new(|config| config.min_free = u64::MAX);
    let refused = story.begin(1, "a/b").unwrap_err();
    assert!(matches!(refused, RefusedStart::NoSpace { floor: u64::MAX, .. }), "{refused}");
    assert_eq!(story.recorder.report().refused, 1);

    let story = Story::new(|_| {});
    story.begin(1, "a/b").unwrap();
    assert!(matches!(story.begin(2, "a/b").unwrap_err(), RefusedStart::Io(_)), "no file twice");
    story.begin(3, "a/c").unwrap();
    assert_eq!(story.begin(4, "a/d").unwrap_err(), RefusedStart::TooMany(2));
}

#[test]
fn a_stop_finishes_every_file() {
    let story = Story::new(|config| config.format = Format::Opus);
    let name = story.begin(1, "a/b").unwrap();
    story.recorder.stop(PATIENCE);
    assert_eq!(story.finished().reason, "shutdown");
    assert!(std::fs::read(story.path(&name)).unwrap().starts_with(b"OggS"));
}

#[test]
fn the_oldest_recordings_make_room() {
    let story = Story::new(|config| config.keep_bytes = Some(2_500_000));
    for (id, name) in [(1, "2026-01-01/a"), (2, "2026-01-02/b"), (3, "2026-01-03/c")] {
        let file = story.begin(id, name).unwrap();
        story.end(id);
        // However long the machine took to get here: that many bytes count, and not the seconds.
        let file = std::fs::OpenOptions::new().write(true).open(story.path(&file)).unwrap();
        file.set_len(1_000_000).unwrap();
    }
    story.begin(4, "2026-01-04/d").unwrap();
    story.recorder.end(RecordingId(4), "stopped");
    // Cleaning comes after the news of the end, and before the next order is taken.
    story.begin(5, "2026-01-05/e").unwrap();
    assert!(!story.path("2026-01-01/a.wav").exists());
    assert!(!story.path("2026-01-01").exists());
    assert!(story.path("2026-01-03/c.wav").exists());
    let removed = |name: &str| RecorderNews::Removed { name: name.to_owned(), reason: "too_much" };
    let news: Vec<_> = std::iter::from_fn(|| story.news.try_recv().ok()).collect();
    assert!(news.contains(&removed("2026-01-01/a.wav")), "{news:?}");
    assert!(!news.contains(&removed("2026-01-03/c.wav")), "{news:?}");
}

/// As if the process had been killed: nobody finishes the file, and the next one finds it.
#[test]
fn what_a_crash_left_is_repaired_and_told_of_once() {
    for format in [Format::Wav, Format::Opus] {
        let story = Story::new(|config| config.format = format);
        let whole = story.begin(1, "2026-11-21/whole").unwrap();
        story.end(1);
        let torn = story.begin(2, "2026-11-21/torn").unwrap();
        let lost = story.begin(3, "2026-11-21/lost").unwrap();
        let copy = tempfile::tempdir().unwrap();
        let began = Instant::now();
        // Once something of it is on the disk.
        while std::fs::metadata(story.path(&torn)).unwrap().len() < 44 {
            assert!(began.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        for folder in ["recordings/2026-11-21", "recordings/unfinished"] {
            std::fs::create_dir_all(copy.path().join(folder)).unwrap();
            for file in std::fs::read_dir(story.folder.path().join(folder)).unwrap().flatten() {
                let to = copy.path().join(folder).join(file.file_name());
                std::fs::copy(file.path(), to).unwrap();
            }
        }
        let copied = |name: &str| copy.path().join("recordings").join(name);
        let mut file = std::fs::OpenOptions::new().append(true).open(copied(&torn)).unwrap();
        std::io::Write::write_all(&mut file, &[0; 1603]).unwrap();
        std::fs::remove_file(copied(&lost)).unwrap();

        let after = Story::new_in(copy, |config| config.format = format);
        let found = after.finished();
        assert_eq!((found.name.as_str(), found.reason), (torn.as_str(), "crashed"));
        assert_eq!((found.recording, found.note.as_str()), (None, "note 2"));
        let bytes = std::fs::metadata(after.path(&torn)).unwrap().len();
        assert_eq!(found.bytes, bytes);
        assert_eq!(after.recorder.report().recovered, 1);
        assert!(after.news.try_recv().is_err(), "one is whole, and one is lost");
        assert!(after.path(&whole).exists());
        let Story { folder, .. } = after;
        let later = Story::new_in(folder, |_| {});
        assert!(later.news.try_recv().is_err(), "told once");
    }
}

#[test]
fn a_recording_is_removed_when_it_is_complete_and_nothing_else_ever() {
    let story = Story::new(|_| {});
    let name = story.begin(1, "2026-11-21/a").unwrap();
    assert_eq!(story.remove(&name), Err(RefusedRemoval::Open));
    story.end(1);
    std::fs::write(story.folder.path().join("secret.wav"), "").unwrap();
    for other in ["../secret.wav", "2026-11-21/b.wav", "index.jsonl", "..wav/..", "a/../secret.wav"]
    {
        assert_eq!(story.remove(other), Err(RefusedRemoval::Unknown), "{other}");
    }
    assert_eq!(story.remove(&name), Ok(()));
    let removed = RecorderNews::Removed { name: name.clone(), reason: "deleted" };
    assert_eq!(story.news.recv_timeout(PATIENCE).unwrap(), removed);
    assert!(!story.path(&name).exists() && story.folder.path().join("secret.wav").exists());
    assert_eq!(story.remove(&name), Err(RefusedRemoval::Unknown));
}

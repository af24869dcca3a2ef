//! Starts the recorder that the configuration asks for.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_media::clip::Clip;
use crosspoint_media::tap;
use crosspoint_net::{MediaTaps, Recorder, RecorderConfig, SoundStreams, StreamEvent};
use tokio::sync::mpsc;

use super::Prepared;
use super::driver::Wish;
use super::ledger::Ledger;
use super::live_calls::Recordings;
use super::streaming::Streams;
use crate::cli::Failure;
use crate::config::{Config, Music};
use crate::tls;

/// Where recordings go.
pub(super) fn folder(prepared: &Prepared) -> PathBuf {
    let configured = prepared.home.config.recording.as_ref().and_then(|r| r.folder.clone());
    configured.unwrap_or_else(|| prepared.home.data.join("recordings"))
}

/// The recorder, and where media threads put copies.
pub(super) fn start(prepared: &Prepared) -> Result<(Option<Recordings>, MediaTaps), Failure> {
    let mut taps = MediaTaps { music: music(prepared)?, ..MediaTaps::default() };
    let Some(config) = &prepared.home.config.recording else { return Ok((None, taps)) };
    let folder = folder(prepared);
    let threads = prepared.home.config.media.threads;
    let (writers, reader) = tap::rings(threads, RING, Instant::now());
    taps.record = writers;
    let ledger = Ledger::open(folder.join("index.jsonl"), prepared.events.clone());
    let told = ledger.clone();
    let recorder = Recorder::start(
        RecorderConfig {
            folder,
            format: config.format,
            min_free: config.min_free,
            keep: config.keep,
            keep_bytes: config.keep_bytes,
            max: config.at_once,
        },
        reader,
        move |news| told.note(&news),
    )
    .map_err(|error| Failure::failed("recordings".to_owned(), error))?;
    let tone = || Arc::new(Clip::tone(NOTICE_HZ, NOTICE, 0.15));
    let notice = config.consent_tone.map(|period| (tone(), period));
    let recordings = Recordings::new(recorder, ledger, config.format.extension(), notice);
    Ok((Some(recordings), taps))
}

/// What can be streamed to services, and what streams tell.
pub(super) fn streams(
    config: &Config,
    taps: &mut MediaTaps,
) -> Result<(Option<Streams>, mpsc::Receiver<StreamEvent>), Failure> {
    let (events, told) = mpsc::channel(WAITING_EVENTS);
    let threads = config.media.threads;
    let Some(config) = &config.stream else { return Ok((None, told)) };
    let (writers, reader) = tap::rings(threads, STREAM_RING, Instant::now());
    taps.stream = writers;
    let tls = match &config.ca_file {
        Some(file) => Some(tls::client_config_of(file)?),
        None => tls::client_config(),
    };
    let streams = SoundStreams::start(tls, reader, events);
    Ok((Some(Streams::new(streams, Arc::new(config.clone()))), told))
}

/// What held parties hear.
pub(super) fn music(prepared: &Prepared) -> Result<Option<Arc<Clip>>, Failure> {
    Ok(match &prepared.home.config.sound.music_on_hold {
        Music::Off => None,
        Music::Tones => Some(Arc::new(Clip::music())),
        Music::File(path) => {
            let failed = |error: &dyn std::fmt::Display| {
                Failure::failed(format!("sound.music_on_hold {}", path.display()), error)
            };
            let file = File::open(path).map_err(|error| failed(&error))?;
            let clip = Clip::read_wav(BufReader::new(file)).map_err(|error| failed(&error))?;
            Some(Arc::new(clip))
        }
    })
}

/// When who is recorded is told so again: so often from the beginning of its own recording on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reminder {
    period: Duration,
    next: Instant,
}

impl Reminder {
    pub(super) fn new(now: Instant, period: Duration) -> Self {
        Self { period, next: now + period }
    }

    /// The first time is now.
    pub(super) fn at_once(now: Instant, period: Duration) -> Self {
        Self { period, next: now }
    }

    /// Whether it is time; then the next time is a period later, however late we are.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        while self.next <= now {
            self.next += self.period.max(Duration::from_secs(1));
        }
        is_due
    }
}

/// Has reminders looked at, for as long as there is a node.
pub(super) fn remind(prepared: &Prepared, wishes: &mpsc::Sender<Wish>) {
    let config = prepared.home.config.recording.as_ref();
    if config.and_then(|config| config.consent_tone).is_none() {
        return;
    }
    let wishes = wishes.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(REMINDING).await;
            if wishes.send(Wish::Remind).await.is_err() {
                return;
            }
        }
    });
}

/// How often it is looked whether somebody is to be reminded.
const REMINDING: Duration = Duration::from_millis(500);
/// As recorders on the line sound.
const NOTICE_HZ: f64 = 1400.0;
const NOTICE: Duration = Duration::from_millis(250);
const STREAM_RING: usize = 1024 * 1024;
const WAITING_EVENTS: usize = 256;
/// Four seconds of 100 recorded calls, or half a second of 800.
const RING: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each recording has times of its own, and a node that was busy does not tell twice.
    #[test]
    fn a_reminder_comes_so_often_from_its_own_beginning_on() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut reminders =
            [0, 7_300].map(|begun| Reminder::new(at(begun), Duration::from_secs(15)));
        let mut told = [vec![], vec![]];
        // Looked at twice a second, but for a pause of twenty seconds.
        for millis in (0..90_000).step_by(500).filter(|m| !(40_000..60_000).contains(m)) {
            for (reminder, told) in reminders.iter_mut().zip(&mut told) {
                if reminder.is_due(at(millis)) {
                    told.push(millis);
                }
            }
        }
        assert_eq!(told[0], [15_000, 30_000, 60_000, 75_000]);
        assert_eq!(told[1], [22_500, 37_500, 60_000, 67_500, 82_500]);
    }
}

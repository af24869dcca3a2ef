//! Recording of calls whose media is with a media server: it writes the file, on its own disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crosspoint_call::View;
use crosspoint_media::recording::Mode;
use crosspoint_ng::{RecordingReply, RemoteRecording};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::media_plane::MediaPlane;
use super::recording::Reminder;
use crate::calls::RecordStep;
use crate::provisioning::Refusal;

/// A call's recording elsewhere, as far as the media server has told.
#[derive(Debug, Clone, Default)]
pub(super) struct RemoteRecord(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    mode: Option<Mode>,
    /// On the server, if it tells names.
    file: Option<String>,
    /// When both sides are told that they are recorded.
    reminder: Option<Reminder>,
}

impl RemoteRecord {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As operators see it; nothing when there is none.
    pub(super) fn shown(&self) -> Option<Value> {
        let state = self.state();
        let word = match state.mode? {
            Mode::Running => "running",
            Mode::Masked => "masked",
            Mode::Paused => "paused",
        };
        Some(json!({ "state": word, "name": state.file, "on_media_server": true }))
    }

    /// Whether both sides are to be told now that they are recorded.
    pub(super) fn is_notice_due(&self, now: Instant) -> bool {
        let mut state = self.state();
        let is_due = state.reminder.as_mut().is_some_and(|reminder| reminder.is_due(now));
        is_due && state.mode == Some(Mode::Running)
    }

    /// Asks the media server; `answer` hears what it says. While it records, both sides are told so
    /// once in a `notice`.
    pub(super) fn ask(
        &self,
        view: &View,
        step: RecordStep,
        (media, notice): (&MediaPlane, Option<Duration>),
        answer: Option<oneshot::Sender<Result<Value, Refusal>>>,
    ) {
        let refuse = |why: &str| Err(Refusal::State(why.to_owned()));
        let (mode, leg) = (self.state().mode, view.legs.first().map(|leg| leg.leg));
        let wish = match (step, mode) {
            (RecordStep::Mask | RecordStep::Unmask, _) => {
                Err(refuse("a media server carries the call, and none can mask"))
            }
            (RecordStep::Start, Some(_)) => Err(refuse("the call is recorded already")),
            (RecordStep::Start, None) | (RecordStep::Resume, Some(_)) => {
                Ok((RemoteRecording::Start, Some(Mode::Running)))
            }
            (RecordStep::Pause, Some(_)) => Ok((RemoteRecording::Pause, Some(Mode::Paused))),
            (RecordStep::Stop, Some(_)) => Ok((RemoteRecording::Stop, None)),
            (RecordStep::Resume | RecordStep::Pause | RecordStep::Stop, None) => {
                Err(refuse("the call is not recorded"))
            }
        };
        let found = wish.and_then(|wish| Ok((wish, leg.ok_or(Err(Refusal::NotFound))?)));
        let ((wish, after), leg) = match found {
            Ok(found) => found,
            Err(refused) => {
                // Whoever asked may have given up.
                let _ = answer.map(|answer| answer.send(refused));
                return;
            }
        };
        let (record, gcid) = (self.clone(), view.gcid.clone());
        media.record(leg, wish, move |reply| {
            let outcome = match reply {
                RecordingReply::Done(file) => {
                    let mut state = record.state();
                    state.mode = after;
                    let reminder = state.reminder;
                    let first = |period| Reminder::at_once(Instant::now(), period);
                    state.reminder =
                        after.and(notice).map(|period| reminder.unwrap_or_else(|| first(period)));
                    state.file = file.or(state.file.take());
                    let name = state.file.clone();
                    drop(state);
                    let call = gcid.as_str();
                    tracing::info!(call, name, ?wish, "a media server records a call");
                    let over = json!({ "state": "stopped", "name": name, "on_media_server": true });
                    Ok(record.shown().unwrap_or(over))
                }
                RecordingReply::Refused(why) => {
                    tracing::warn!(call = gcid.as_str(), why, "a call is not recorded elsewhere");
                    Err(Refusal::State(why))
                }
            };
            let _ = answer.map(|answer| answer.send(outcome));
        });
    }
}

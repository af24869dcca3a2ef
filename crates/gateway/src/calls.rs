//! What operators ask of running calls: the words between the HTTP interface and the node's task.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_media::clip::Clip;
use crosspoint_net::Encoding;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::provisioning::Refusal;

/// A question with the place for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) wish: CallWish,
    pub(crate) answer: oneshot::Sender<Result<Value, Refusal>>,
}

#[derive(Debug)]
pub(crate) enum CallWish {
    /// All calls.
    List,
    /// One call, by its global id.
    Of(String, CallStep),
    /// Files that are complete, newest first.
    Recordings,
    /// Day and file name.
    RemoveRecording(String),
    /// Not calls, but the trunks that they go over.
    Trunks,
    /// Ends a call, by its global id.
    End(String),
    /// Devices that are signed in, of one user or all, so many of them.
    Bindings { user: Option<String>, limit: usize },
    /// Nor these: the registrations that are forwarded.
    Registrations,
}

/// What is to happen to a call.
#[derive(Debug)]
pub(crate) enum CallStep {
    Show,
    Record(RecordStep),
    Dtmf {
        side: Side,
        digits: String,
        duration: Duration,
    },
    /// Plays to a side, instead of what it hears or together with that.
    Play {
        side: Side,
        clip: Arc<Clip>,
        repeat: bool,
        replaces: bool,
    },
    Quiet {
        side: Side,
    },
    Stream(StreamWish),
    StopStream,
    /// Captures so many of the next packets of each side, or no more.
    Capture(Option<NonZeroU32>),
}

impl CallStep {
    /// Whether it begins something that is done with media.
    pub(crate) fn needs_media(&self) -> bool {
        match self {
            Self::Record(step) => *step == RecordStep::Start,
            Self::Dtmf { .. } | Self::Play { .. } | Self::Stream(_) | Self::Capture(Some(_)) => {
                true
            }
            Self::Show | Self::Quiet { .. } | Self::StopStream | Self::Capture(None) => false,
        }
    }

    /// What a ladder says of it; nothing of what changes nothing.
    pub(crate) fn in_words(&self) -> Option<String> {
        Some(match self {
            Self::Show => return None,
            Self::Record(step) => {
                let step = format!("{step:?}").to_ascii_lowercase();
                format!("an operator has the recording {step}")
            }
            Self::Dtmf { .. } => "an operator sends digits".to_owned(),
            Self::Play { .. } => "an operator plays sound".to_owned(),
            Self::Quiet { .. } => "an operator stops what plays".to_owned(),
            Self::Stream(_) => "an operator has a service listen".to_owned(),
            Self::StopStream => "an operator has the service go".to_owned(),
            Self::Capture(Some(packets)) => {
                format!("an operator captures {packets} packets of each side")
            }
            Self::Capture(None) => "an operator captures no more packets".to_owned(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordStep {
    Start,
    Stop,
    Pause,
    Resume,
    Mask,
    Unmask,
}

/// A service that is to hear a call.
#[derive(Debug)]
pub(crate) struct StreamWish {
    pub(crate) side: Side,
    pub(crate) url: String,
    pub(crate) rate: u32,
    pub(crate) encoding: Encoding,
    pub(crate) mode: StreamMode,
    pub(crate) metadata: Value,
}

/// What a side hears of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamMode {
    /// The service instead of the other side.
    Replace,
    /// Both.
    Mix,
    /// The other side only.
    Listen,
}

impl StreamMode {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Mix => "mix",
            Self::Listen => "listen",
        }
    }
}

/// One side of a call, or both, whichever legs they are on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Called,
    Both,
}

/// Packets of each side that are captured when nobody says how many: a minute of most calls.
pub(crate) const CAPTURED: u64 = 3000;
pub(crate) const MOST_CAPTURED: u64 = 100_000;

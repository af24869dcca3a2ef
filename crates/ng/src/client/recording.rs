//! Recording of calls by the media servers that carry them.

use std::time::Instant;

use crosspoint_base::LegId;

use super::requests::Ask;
use super::{Client, ClientOutput};
use crate::dictionary::Dictionary;

/// What is wanted of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteRecording {
    Start,
    Pause,
    Stop,
}

/// What a server said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingReply {
    /// With the file's name on that server, if it told one.
    Done(Option<String>),
    Refused(String),
}

impl Client {
    /// Has the call of this leg recorded where its media is. Answered with this ticket, also
    /// when it has none there.
    pub fn record(&mut self, now: Instant, leg: LegId, wish: RemoteRecording, ticket: u64) {
        let call = self.call_of(leg).and_then(|number| self.calls.get(&number));
        let Some(call) = call else {
            let reply = RecordingReply::Refused("no media server carries the call".to_owned());
            return self.outputs.push_back(ClientOutput::Recorded { ticket, reply });
        };
        let command = match wish {
            RemoteRecording::Start => "start recording",
            RemoteRecording::Pause | RemoteRecording::Stop => "stop recording",
        };
        let mut request =
            Dictionary::new().with("command", command).with("call-id", call.id.as_str());
        if wish == RemoteRecording::Pause {
            // Interop: `pause recording` is unknown to rtpengine 10.5, this form is not.
            request.push("pause", "yes");
        }
        let server = call.server;
        let (leg, ask) = (Some(leg), Ask::Recording { ticket });
        let sending = self.waiting.begin(now, (server, leg), ask, &request);
        self.send(sending);
    }

    pub(super) fn recorded(&mut self, ticket: u64, reply: Option<&Dictionary>) {
        let reply = match reply {
            None => RecordingReply::Refused("the media server does not answer".to_owned()),
            Some(reply) if reply.text("result").as_deref() == Some("ok") => {
                RecordingReply::Done(reply.text("recording-file"))
            }
            Some(reply) => {
                let reason = reply.text("error-reason");
                let reason = reason.unwrap_or_else(|| "the media server refused".to_owned());
                RecordingReply::Refused(format!("the media server says: {reason}"))
            }
        };
        self.outputs.push_back(ClientOutput::Recorded { ticket, reply });
    }
}

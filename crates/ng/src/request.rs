//! What a request names: the call, its parties, and the reasons why one is refused.

use crate::dictionary::Dictionary;

/// The names in a request that are needed again and again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) call: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) branch: Option<String>,
}

impl Names {
    pub(crate) fn read(request: &Dictionary) -> Self {
        let name = |key| request.text(key).filter(|text| (1..=MAX_NAME).contains(&text.len()));
        Self {
            call: name("call-id"),
            from: name("from-tag"),
            to: name("to-tag"),
            branch: name("via-branch"),
        }
    }
}

/// Longer names are not taken: each is kept for as long as its call.
const MAX_NAME: usize = 1024;

/// Texts by which proxies tell errors apart.
pub(crate) mod reason {
    pub(crate) const NO_PAYLOAD: &str = "Invalid data (no payload)";
    pub(crate) const BAD_FORMAT: &str = "Invalid NG data format";
    pub(crate) const BAD_BENCODE: &str = "Could not decode bencode dictionary";
    pub(crate) const BAD_JSON: &str = "Failed to parse JSON document";
    pub(crate) const NO_COMMAND: &str = "Dictionary contains no key \"command\"";
    pub(crate) const UNKNOWN_COMMAND: &str = "Unrecognized command";
    pub(crate) const NO_SDP: &str = "No SDP body in message";
    pub(crate) const NO_CALL: &str = "No call-id in message";
    pub(crate) const NO_FROM: &str = "No from-tag in message";
    pub(crate) const NO_TO: &str = "No to-tag in message";
    pub(crate) const BAD_SDP: &str = "Failed to parse SDP";
    pub(crate) const INCOMPLETE_SDP: &str = "Incomplete SDP specification";
    pub(crate) const UNKNOWN_CALL: &str = "Unknown call-id";
    pub(crate) const UNKNOWN_CALL_ID: &str = "Unknown call-ID";
    pub(crate) const NO_MATCH: &str = "Call-ID not found or tags didn't match";
    pub(crate) const NO_DIALOGUE: &str = "Invalid dialogue association";
    pub(crate) const NO_PORTS: &str = "Ran out of ports";
    pub(crate) const TOO_MANY_CALLS: &str = "Parallel session limit reached";
    pub(crate) const BAD_LIMIT: &str = "invalid limit, must be >= 0";
    pub(crate) const NO_SUCH_TAG: &str = "From-tag given, but no such tag exists";
    pub(crate) const NO_PARTY: &str = "No participant party specified";
    pub(crate) const BAD_CODE: &str = "Out of range 'code' specified";
    pub(crate) const NO_DTMF: &str = "Monologue has no media capable of DTMF injection";
    pub(crate) const NO_FORWARDING: &str = "Forwarding is off: no section [stream]";
    pub(crate) const NO_TARGET: &str = "No address to forward to";
    pub(crate) const BAD_TARGET: &str = "No address that may be forwarded to";
    pub(crate) const NO_SUCH_TO: &str = "To-tag not found";
    pub(crate) const NOT_SUBSCRIBED: &str = "The to-tag is no subscriber's";
    pub(crate) const NO_SOURCE: &str = "No monologues matched";
    pub(crate) const OTHER_CALL: &str = "Parties of different calls are not connected";
    pub(crate) const NO_SUCH_LABEL: &str = "No monologue matching the given label";
    pub(crate) const NO_SUCH_ADDRESS: &str = "Failed to match address to any tag";
    pub(crate) const NO_RECORDER: &str = "Recording is off: no section [recording]";
    pub(crate) const NO_SOUND: &str = "No media file specified";
    pub(crate) const NO_FILE: &str = "Failed to start media playback from file";
    pub(crate) const BAD_BLOB: &str = "Failed to start media playback from blob";
    pub(crate) const NO_DATABASE: &str = "Failed to start media playback from database";
    pub(crate) const NO_SOUND_CODEC: &str = "No codec of the participant can be encoded";
    pub(crate) const TOO_MANY_PARTIES: &str = "Too many parties in the call";
}

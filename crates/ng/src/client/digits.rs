//! Digits that parties press in calls on media servers, as servers tell of them.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint_base::Rng;
use crosspoint_media::control::Event;
use crosspoint_sdp::{Codec, Media};

use super::Client;
use crate::dictionary::Dictionary;

impl Client {
    /// Has a server tell digits to this address of ours: ours do, and rtpengine from version 11 on.
    /// Older ones know one address for all calls (`--dtmf-log-dest`).
    pub fn log_dtmf(&mut self, server: usize, address: SocketAddr) {
        self.dtmf_log.insert(server, address);
    }

    /// What was told there: a JSON object, which can have come from any of these servers.
    pub fn handle_dtmf(&mut self, servers: &[usize], json: &[u8]) {
        match self.digit_told(servers, json) {
            Some(event) => self.event(event),
            None => self.stray_digits += 1,
        }
    }

    fn digit_told(&self, servers: &[usize], json: &[u8]) -> Option<Event> {
        let (told, _) = Dictionary::decode(json).ok()?;
        told.text("type").filter(|kind| kind == "DTMF")?;
        let id = told.text("callid")?;
        let call = self.calls.get(&number(&id)?)?;
        if call.id != id || !servers.contains(&call.server) {
            return None;
        }
        let tag = told.text("source-tag")?;
        let has_tag = |leg| self.legs.get(&leg).is_some_and(|state| state.tag == tag);
        let leg = call.legs.iter().copied().find(|leg| has_tag(*leg))?;
        let key = usize::try_from(told.integer("event")?).ok()?;
        let digit = char::from(*crate::KEYS.get(key)?);
        let millis = told.integer("duration").and_then(|n| u64::try_from(n).ok()).unwrap_or(100);
        let duration = Duration::from_millis(millis).min(MAX_DIGIT);
        // Whoever agreed to RTP events has them from the server.
        let said = call.partner(leg).and_then(|hearer| self.legs.get(&hearer)?.said.as_ref());
        let sound = said.and_then(|(_, said, _)| said.media().find(Media::is_audio));
        let relayed = sound.is_some_and(|sound| are_taken_by(&sound));
        Some(Event::Dtmf { leg, digit, duration, relayed })
    }
}

/// Its end is the call's number here, so that a call is found by it.
pub(super) fn call_id(rng: &mut Rng, number: u64) -> String {
    format!("{}-{number}", rng.hex(16))
}

fn number(call_id: &str) -> Option<u64> {
    call_id.rsplit_once('-')?.1.parse().ok()
}

pub(super) fn are_taken_by(sound: &Media) -> bool {
    let is_event = |codec: &Codec| codec.name.eq_ignore_ascii_case("telephone-event");
    sound.codecs.iter().any(is_event)
}

/// What the 16 bits of an RTP event's duration hold at 8 kHz (RFC 4733 §2.3.5).
const MAX_DIGIT: Duration = Duration::from_millis(8191);

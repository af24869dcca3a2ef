//! Sound that parties are played: prompts out of files or requests, and digits.
//!
//! A prompt takes the place of what its hearer hears; the call goes on behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crosspoint_base::LegId;
use crosspoint_media::clip::Clip;
use crosspoint_media::codec::Codec;
use crosspoint_media::control::{Command, Laid, LaidSound, Layer};

use super::calls::{Call, Party};
use super::exchange::{Exchange, Work};
use super::orders::participant;
use super::{Asker, Outcome, Output, Server, ok, refusal};
use crate::KEYS;
use crate::dictionary::{Dictionary, Format, Value};
use crate::flags::Flags;
use crate::request::{Names, reason};

/// Where a prompt comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SoundSource {
    /// A file, as the proxy named it: whether it may be read is for the host to say.
    File(String),
    /// A WAV file itself.
    Blob(Vec<u8>),
}

impl std::fmt::Debug for SoundSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(name) => write!(f, "File({name})"),
            Self::Blob(bytes) => write!(f, "Blob({} bytes)", bytes.len()),
        }
    }
}

/// A prompt that is being read.
#[derive(Debug)]
pub(super) struct Prompt {
    legs: Vec<LegId>,
    times: u32,
    from: Duration,
    limit: Option<Duration>,
    /// What it is called when it cannot be had.
    failed: &'static str,
}

impl<T> Server<T> {
    pub(super) fn play_media(
        &mut self,
        asker: &mut Option<Asker<T>>,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Outcome {
        let (id, mut legs) = match self.hearers(request, names, flags) {
            Ok(found) => found,
            Err(reason) => return Some(refusal(reason)),
        };
        let blob = request.find("blob").and_then(|blob| match blob {
            Value::Text(bytes) => Some(bytes.clone()),
            Value::Integer(_) | Value::List(_) | Value::Dictionary(_) => None,
        });
        let coded = request.text("blob64").and_then(|text| STANDARD.decode(text).ok());
        let (source, failed) = match (request.text("file"), blob.or(coded)) {
            (Some(file), _) => (SoundSource::File(file), reason::NO_FILE),
            (None, Some(bytes)) => (SoundSource::Blob(bytes), reason::BAD_BLOB),
            (None, None) if request.find("db-id").is_some() => {
                return Some(refusal(reason::NO_DATABASE));
            }
            (None, None) if request.find("blob64").is_some() => {
                return Some(refusal(reason::BAD_BLOB));
            }
            (None, None) => return Some(refusal(reason::NO_SOUND)),
        };
        let hears =
            |leg: &LegId| self.calls.get(&id).and_then(|c| c.party(*leg)).is_some_and(can_hear);
        legs.retain(hears);
        if legs.is_empty() {
            return Some(refusal(reason::NO_SOUND_CODEC));
        }
        let positive = |key| request.integer(key).and_then(|n| u64::try_from(n).ok());
        let millis = |key| positive(key).map(|n| Duration::from_millis(n.min(MAX_MILLIS)));
        let limit = millis("repeat-duration").filter(|limit| !limit.is_zero());
        let times = positive("repeat-times").and_then(|n| u32::try_from(n).ok());
        let prompt = Prompt {
            legs,
            // A duration alone means as often as fits.
            times: times.filter(|n| *n > 0).unwrap_or(if limit.is_some() { u32::MAX } else { 1 }),
            from: millis("start-pos").unwrap_or_default(),
            limit,
            failed,
        };
        let (asker, work) = (asker.take(), Work::Prompt(prompt));
        let ticket = self.begin(Exchange { asker, call: id, left: 1, work });
        self.outputs.push_back(Output::Load { ticket, source });
        None
    }

    pub(super) fn stop_media(
        &mut self,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Dictionary {
        match self.hearers(request, names, flags) {
            Ok((_, legs)) => {
                for leg in legs {
                    self.command(Command::Overlay { leg, layer: Layer::Prompt, laid: None });
                }
                ok()
            }
            Err(reason) => refusal(reason),
        }
    }

    /// A prompt was read, or could not be.
    pub fn handle_sound(&mut self, ticket: u64, sound: Option<Arc<Clip>>) {
        let is_it = |exchange: &Exchange<T>| matches!(exchange.work, Work::Prompt(_));
        if !self.exchanges.get(&ticket).is_some_and(is_it) {
            return;
        }
        let Some(exchange) = self.exchanges.remove(&ticket) else { return };
        let Exchange { mut asker, call, work: Work::Prompt(prompt), .. } = exchange else { return };
        let Prompt { legs, times, from, limit, failed } = prompt;
        let Some(clip) = sound else { return self.reply(&mut asker, refusal(failed)) };
        let length = u64::try_from(clip.length().as_millis()).unwrap_or(u64::MAX);
        // Who left meanwhile hears nothing any more.
        let is_there = |leg: &LegId| self.calls.get(&call).is_some_and(|c| c.party(*leg).is_some());
        let legs: Vec<LegId> = legs.into_iter().filter(is_there).collect();
        for leg in legs {
            let sound = LaidSound::Times { clip: clip.clone(), times, from, limit };
            let laid = Some(Laid { sound, replaces: true });
            self.command(Command::Overlay { leg, layer: Layer::Prompt, laid });
        }
        let reply = Dictionary::new().with("duration", length).with("result", "ok");
        self.reply(&mut asker, reply);
    }

    /// `play DTMF`: a digit goes to whoever hears the participant, in its place.
    pub(super) fn play_digit(
        &mut self,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Dictionary {
        let (id, legs) = match self.hearers(request, names, flags) {
            Ok(found) => found,
            Err(reason) => return refusal(reason),
        };
        let Some(call) = self.calls.get(&id) else { return refusal(reason::UNKNOWN_CALL_ID) };
        let code = request.text("code").or_else(|| request.text("digit"));
        let Some(digit) = code.as_deref().and_then(digit) else { return refusal(reason::BAD_CODE) };
        let millis = request.integer("duration").unwrap_or(250).clamp(100, 5000);
        let duration = Duration::from_millis(u64::try_from(millis).unwrap_or(250));
        let partners = legs.iter().filter_map(|leg| call.party(call.party(*leg)?.partner?));
        let mut commands = Vec::new();
        for party in partners {
            let leg = party.leg;
            // Who takes no events hears what a telephone would sound like.
            let tone = Clip::key(digit, duration).map(Arc::new).filter(|_| can_hear(party));
            match tone {
                _ if takes_events(party) => {
                    commands.push(Command::SendDtmf { leg, digit, duration });
                }
                Some(clip) => {
                    let sound = LaidSound::Clip { clip, repeat: false };
                    let laid = Some(Laid { sound, replaces: true });
                    commands.push(Command::Overlay { leg, layer: Layer::Notice, laid });
                }
                None => return refusal(reason::NO_DTMF),
            }
        }
        if commands.is_empty() {
            return refusal(reason::NO_DTMF);
        }
        commands.into_iter().for_each(|command| self.command(command));
        ok()
    }

    /// A party's digit is over: told as the original tells it.
    pub(super) fn heard_digit(&mut self, now: Instant, leg: LegId, digit: char, length: Duration) {
        let Some((id, call)) = self.legs.get(&leg).and_then(|id| self.calls.get_key_value(id))
        else {
            return;
        };
        let Some(party) = call.party(leg) else { return };
        let event = KEYS.iter().position(|key| char::from(*key) == digit).unwrap_or(0);
        let address = party.said.as_ref().and_then(|said| said.audio.address);
        let tag = |party: &Party| party.tags.first().cloned();
        let tags: Vec<Value> = call.parties().iter().filter_map(tag).map(Value::from).collect();
        let mut told = Dictionary::new()
            .with("callid", &**id)
            .with("source_tag", tag(party).unwrap_or_default())
            .with("tags", tags)
            .with("type", "DTMF")
            .with("timestamp", self.unix(now) / 1_000_000)
            .with("source_ip", address.map(|a| a.to_string()).unwrap_or_default())
            .with("event", event as u64)
            .with("duration", u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
            .with("volume", 10_i64);
        if let Some(label) = &party.label {
            told.push("source_label", label.as_str());
        }
        let (to, json) = (call.dtmf_log, told.encode(Format::Json));
        self.outputs.push_back(Output::Notify { to, json });
    }

    /// The call, and who of it is meant.
    fn hearers(
        &self,
        request: &Dictionary,
        names: &Names,
        flags: &Flags,
    ) -> Result<(Arc<str>, Vec<LegId>), &'static str> {
        let id = names.call.as_deref().ok_or(reason::NO_CALL)?;
        let found = self.calls.get_key_value(id).ok_or(reason::UNKNOWN_CALL_ID)?;
        let (id, call): (&Arc<str>, &Call) = found;
        Ok((id.clone(), participant(call, request, names, flags)?))
    }
}

fn takes_events(party: &Party) -> bool {
    let said = party.said.as_ref().map(|said| &said.audio.codecs);
    said.is_some_and(|c| c.iter().any(|c| c.name.eq_ignore_ascii_case("telephone-event")))
}

/// Whether it listens in a codec that we can make.
fn can_hear(party: &Party) -> bool {
    let said = party.said.as_ref().map(|said| &said.audio.codecs);
    said.is_some_and(|codecs| codecs.iter().any(|c| Codec::from_description(c).is_some()))
}

/// `0` to `9`, `*`, `#`, `A` to `D`, or their codes 10 to 15 (RFC 4733 §3.2).
fn digit(code: &str) -> Option<char> {
    if let Ok(number) = code.parse::<usize>() {
        return KEYS.get(number).map(|key| char::from(*key));
    }
    let mut letters = code.chars();
    let key = letters.next()?.to_ascii_uppercase();
    let is_key = u8::try_from(key).is_ok_and(|key| KEYS.contains(&key));
    (is_key && letters.next().is_none()).then_some(key)
}

/// A day.
const MAX_MILLIS: u64 = 86_400_000;

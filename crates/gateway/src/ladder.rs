//! Ladders of calls as JSON: what the interface gives, the page draws and the command line draws.
//! `docs/ladder.md` describes it.

use std::time::{Duration, Instant};

use crosspoint_ladder::explain::explain;
use crosspoint_ladder::{
    CallLadder, Entry, Facts, Line, Message, Note, Sample, Side, Summary, What, redact, title,
};
use serde_json::{Value, json};

use crosspoint_base::WallClock;

/// A ladder and how its times are read.
#[derive(Debug)]
pub(crate) struct Dated {
    pub(crate) ladder: CallLadder,
    pub(crate) clock: WallClock,
}

/// The last calls and how their times are read.
#[derive(Debug)]
pub(crate) struct RecentCalls {
    pub(crate) calls: Vec<Summary>,
    pub(crate) clock: WallClock,
}

impl RecentCalls {
    pub(crate) fn gcids(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(|summary| summary.gcid.as_str())
    }

    pub(crate) fn as_json(&self) -> Value {
        let item = |summary: &Summary| {
            let mut item = facts(&summary.facts, &self.clock);
            item["gcid"] = summary.gcid.as_str().into();
            item["entries"] = summary.entries.into();
            item
        };
        let items: Vec<Value> = self.calls.iter().map(item).collect();
        json!({ "total": items.len(), "items": items })
    }
}

impl Dated {
    pub(crate) fn as_json(&self) -> Value {
        let ladder = &self.ladder;
        let told = explain(ladder);
        let mut shown = facts(&ladder.facts, &self.clock);
        let start = ladder.entries.first().map_or(ladder.facts.started, |entry| entry.at);
        let parties = ladder.lines.iter().enumerate().map(party);
        let entries = ladder.entries.iter().map(|entry| self.entry(start, entry));
        let quality = ladder.samples.iter().map(|sample| self.sample(start, sample));
        shown["gcid"] = ladder.gcid.as_str().into();
        shown["explanation"] = json!({
            "verdict": told.verdict.as_str(),
            "headline": told.headline,
            "details": told.details,
        });
        shown["parties"] = parties.collect();
        shown["entries"] = entries.collect();
        shown["dropped"] = json!({ "count": ladder.dropped.0, "after": ladder.dropped.1 });
        shown["quality"] = quality.collect();
        shown["packets"] = ladder.packets.len().into();
        shown
    }

    /// As a capture file; what was said only for who may listen.
    pub(crate) fn as_pcap(&self, with_sound: bool) -> Vec<u8> {
        crosspoint_ladder::pcap::write(&self.ladder, with_sound, |at| self.clock.since_epoch(at))
    }

    fn entry(&self, start: Instant, entry: &Entry) -> Value {
        let mut shown = match &entry.what {
            What::Message(message) => shown_message(message),
            What::Note(note) => shown_note(note),
        };
        shown["at"] = self.clock.millis(entry.at).into();
        shown["offset_ms"] = offset(start, entry.at).into();
        shown["party"] = entry.line.into();
        shown
    }

    fn sample(&self, start: Instant, sample: &Sample) -> Value {
        let share = |parts: u16| f64::from(parts) / 100.0;
        json!({
            "at": self.clock.millis(sample.at),
            "offset_ms": offset(start, sample.at),
            "party": sample.line,
            "seconds": 5 * u32::from(sample.spans),
            "mos": sample.mos.map(|mos| f64::from(mos) / 100.0),
            "loss_percent": share(sample.loss),
            "loss_at_peer_percent": sample.loss_at_peer.map(share),
            "jitter_ms": f64::from(sample.jitter_us) / 1000.0,
            "round_trip_ms": sample.round_trip_us.map(|us| f64::from(us) / 1000.0),
        })
    }
}

fn facts(facts: &Facts, clock: &WallClock) -> Value {
    let (ended_at, ended) = facts.ended.unzip();
    json!({
        "from": facts.from.expose(),
        "to": facts.to.expose(),
        "user": facts.user.as_deref(),
        "trunk": facts.trunk.as_deref(),
        "started": clock.millis(facts.started),
        "answered": facts.answered.map(|at| clock.millis(at)),
        "ended": ended_at.map(|at| clock.millis(at)),
        "ended_by": ended.map(|ended| ended.by.as_str()),
        "cause": ended.map(|ended| ended.cause.as_str()),
        "refusal": facts.refusal.map(|refusal| refusal.as_str()),
        "refused_early": facts.is_refused_early,
    })
}

fn party((at, line): (usize, &Line)) -> Value {
    json!({
        "id": at,
        "side": match line.side {
            Side::Caller => "caller",
            Side::Called => "called",
            Side::MediaServer => "media_server",
        },
        "name": line.name.expose(),
        "protocol": line.protocol.as_str(),
        "address": line.remote.map(|remote| remote.to_string()),
        "leg": line.leg.map(|leg| leg.to_string()),
    })
}

fn shown_message(message: &Message) -> Value {
    let path = message.path;
    json!({
        "kind": "message",
        "protocol": message.protocol.as_str(),
        "direction": if message.is_sent { "out" } else { "in" },
        "title": title::of(message),
        "text": redact::text(message),
        "length": message.length,
        "is_cut": message.length > message.bytes.len(),
        "transport": path.map(|(transport, ..)| transport.as_str()),
        "local": path.map(|(_, local, _)| local.to_string()),
        "remote": path.map(|(.., remote)| remote.to_string()),
    })
}

fn shown_note(note: &Note) -> Value {
    let (what, words) = title::of_note(note);
    let text = match note {
        Note::Routed { why, .. } => Some(why.expose().to_string()),
        _ => None,
    };
    json!({ "kind": "note", "what": what, "title": words, "text": text })
}

/// In milliseconds, to the microsecond.
fn offset(start: Instant, at: Instant) -> f64 {
    let since: Duration = at.saturating_duration_since(start);
    since.as_micros() as f64 / 1000.0
}

//! `crosspoint cdr`: the records of past calls.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use crosspoint_base::plain_address;
use crosspoint_state::{Cdr, CdrFilter, LegFigures, Store};
use serde_json::{Value, json};

use crate::cli::{Failure, Output, unix_now};
use crate::home::{CONTROL_SOCKET, Home};
use crate::run::control;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List call records, newest first
    List {
        /// At most so many [default: all]
        #[arg(long)]
        limit: Option<u32>,
        /// Only calls of the last so many hours
        #[arg(long, value_name = "HOURS")]
        hours: Option<u32>,
        /// Only calls from or to this user or number
        #[arg(long, value_name = "NAME")]
        party: Option<String>,
        /// Only the call with this global id
        #[arg(long)]
        gcid: Option<String>,
        /// Only calls that a rule refused, with every rule that was tried
        #[arg(long)]
        refused: bool,
    },
}

pub(super) fn run(command: &Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let Command::List { limit, hours, party, gcid, refused } = command;
    let filter = CdrFilter {
        gcid: gcid.clone(),
        since: hours.map(|h| (unix_now() - i64::from(h) * 3600) * 1000),
        party: party.clone(),
        refused: *refused,
        limit: *limit,
    };
    // What just ended may not be written yet. Where nobody runs, everything is.
    let _ = control::ask(&home.data.join(CONTROL_SOCKET), &json!({ "do": "flush" }));
    let records = match home.records()? {
        Some(records) => records.cdrs(&filter)?,
        None => home.store()?.cdrs(&filter)?,
    };
    let values: Vec<Value> = records.iter().map(as_json).collect();
    output.result(&json!(values), &as_text(&records));
    Ok(())
}

pub(crate) fn as_json(cdr: &Cdr) -> Value {
    json!({
        "gcid": cdr.gcid,
        "from": cdr.from_address,
        "from_user": cdr.from_user,
        "to": cdr.to_address,
        "trunk": cdr.trunk,
        "front": cdr.front,
        "back": cdr.back,
        "started_at": cdr.started_at,
        "ringing_at": cdr.ringing_at,
        "answered_at": cdr.answered_at,
        "ended_at": cdr.ended_at,
        "duration_ms": cdr.duration_ms,
        "ended_by": cdr.ended_by,
        "cause": cdr.cause,
        "front_media": figures(&cdr.front_figures),
        "back_media": figures(&cdr.back_figures),
        "silent_from": cdr.silent_from,
        "caller_check": cdr.caller_check,
        "media": cdr.media,
        "recordings": cdr.recordings.as_deref().map(|all| all.split(' ').collect::<Vec<_>>()),
        "why": cdr.why,
        "refusal": cdr.refusal,
        "attempts": cdr.attempts,
        "parked": cdr.parked.as_deref().map(|all| all.split("; ").collect::<Vec<_>>()),
        "diverted": cdr.diverted.as_deref().map(|all| all.split(", ").collect::<Vec<_>>()),
    })
}

fn figures(figures: &LegFigures) -> Value {
    json!({
        "codec": figures.codec,
        "packets_received": figures.packets_received,
        "packets_sent": figures.packets_sent,
        "packets_lost": figures.packets_lost,
        "jitter_ms": figures.jitter_ms,
        "round_trip_ms": figures.round_trip_ms,
        "jitter_max_ms": figures.jitter_max_ms,
        "mos": figures.mos,
        "mos_lowest": figures.mos_lowest,
        "packets_lost_at_peer": figures.packets_lost_at_peer,
        "packets_late": figures.packets_late,
        "packets_discarded": figures.packets_discarded,
        "packets_concealed": figures.packets_concealed,
        "video": figures.video.codec.as_ref().map(|codec| json!({
            "codec": codec,
            "packets_received": figures.video.packets_received,
            "packets_sent": figures.video.packets_sent,
            "packets_lost": figures.video.packets_lost,
            "packets_lost_at_peer": figures.video.packets_lost_at_peer,
            "key_frames_wanted": figures.video.key_frames_wanted,
            "key_frames_asked": figures.video.key_frames_asked,
        })),
    })
}

/// Older records may have names that reach over a line's end.
fn in_a_line(address: &str) -> String {
    plain_address(address, 255)
}

fn as_text(records: &[Cdr]) -> String {
    let mut text = String::new();
    for cdr in records {
        let millis = u64::try_from(cdr.started_at).unwrap_or(0);
        let started = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(millis));
        let _ = writeln!(
            text,
            "{started}  {} -> {}  {}.{:01} s  {} by {}  {}",
            in_a_line(&cdr.from_address),
            in_a_line(&cdr.to_address),
            cdr.duration_ms / 1000,
            cdr.duration_ms % 1000 / 100,
            cdr.cause,
            cdr.ended_by,
            cdr.gcid,
        );
        if cdr.refusal.is_some() {
            for line in cdr.why.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    text
}

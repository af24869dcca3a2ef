//! `crosspoint call`: the last calls, and what was said in one, as the running gateway knows them.

mod draw;

use std::path::Path;

use clap::{Subcommand, value_parser};
use serde_json::{Value, json};

use super::running;
use crate::audit;
use crate::cli::{Failure, Output};
use crate::home::Home;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the last calls, running ones included, newest first
    List {
        /// How many at most
        #[arg(long, value_name = "N", default_value = "20")]
        limit: u16,
    },
    /// Draw everything that was said in a call, and say why it came to that
    Show {
        /// The call's global id, or how it begins
        gcid: String,
        /// Whole messages under the drawing
        #[arg(long)]
        messages: bool,
        /// Columns of the drawing [default: those of the terminal]
        #[arg(long, value_name = "N")]
        width: Option<u16>,
    },
    /// Capture the next packets of a running call whole, sound and all, for its capture file
    Capture {
        /// The call's global id, or how it begins
        gcid: String,
        /// How many of each side
        #[arg(long, value_name = "N", default_value = "3000", value_parser = value_parser!(u32).range(1..=100_000))]
        packets: u32,
        /// Capture no more
        #[arg(long, conflicts_with = "packets")]
        stop: bool,
    },
}

pub(super) fn run(
    command: &Command,
    data: &Path,
    home: impl FnOnce() -> Result<Home, Failure>,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        Command::List { limit } => {
            let answer = running::ask(data, &json!({ "do": "calls", "limit": limit }))?;
            let calls = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            output.result(&answer["items"], &draw::list(calls));
        }
        Command::Show { gcid, messages, width } => {
            let answer = running::ask(data, &json!({ "do": "call", "gcid": gcid }))?;
            let ladder = &answer["ladder"];
            let mut text = draw::ladder(ladder, width.map_or_else(terminal, usize::from));
            if *messages {
                text.push_str(&whole(ladder));
            }
            output.result(ladder, &text);
        }
        Command::Capture { gcid, packets, stop } => {
            let packets = if *stop { 0 } else { *packets };
            let wish = json!({ "do": "capture", "gcid": gcid, "packets": packets });
            let answer = running::ask(data, &wish)?;
            let gcid = answer["gcid"].as_str().unwrap_or(gcid);
            let home = home()?;
            let (action, keep) =
                (if *stop { "stop" } else { "start" }, home.config.console.audit_keep);
            let detail = json!({ "action": action, "packets": packets });
            audit::of_command(&home.store()?, keep, "call.capture", gcid, &detail);
            let text = match packets {
                0 => format!("no more packets of {gcid} are captured"),
                _ => format!("{packets} packets of each side of {gcid} are captured"),
            };
            output.result(&answer, &text);
        }
    }
    Ok(())
}

fn whole(ladder: &Value) -> String {
    let entries = ladder["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let with_text = entries.iter().filter_map(|entry| Some((entry, entry["text"].as_str()?)));
    with_text
        .map(|(entry, text)| {
            let title = entry["title"].as_str().unwrap_or_default();
            let offset = entry["offset_ms"].as_f64().unwrap_or_default() / 1000.0;
            format!("\n--- {offset:.3} {title}\n{}\n", text.replace('\r', "").trim_end())
        })
        .collect()
}

/// How wide the terminal is, or something that fits most.
fn terminal() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(100, |size| usize::from(size.ws_col)).clamp(60, 200)
}

//! `crosspoint reload` and `crosspoint drain`: wishes to the process that runs with the same data
//! folder.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Failure, Output};
use crate::home::CONTROL_SOCKET;
use crate::run::{control, reload};

/// Options of `crosspoint drain`.
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Take calls again
    #[arg(long, conflicts_with_all = ["exit", "limit", "show"])]
    undo: bool,
    /// Only say how it stands
    #[arg(long, conflicts_with_all = ["exit", "limit"])]
    show: bool,
    /// End the process when no call is left
    #[arg(long)]
    exit: bool,
    /// With --exit: end the calls that are left after this time, such as 10m
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    limit: Duration,
}

pub(super) fn reload(data: &Path, output: &Output) -> Result<(), Failure> {
    let answer = control::ask(&data.join(CONTROL_SOCKET), &json!({ "do": "reload" }))?;
    done(&answer)?;
    output.result(&answer, &reload::in_words(&answer));
    Ok(())
}

pub(super) fn drain(options: &Drain, data: &Path, output: &Output) -> Result<(), Failure> {
    let wish = match options {
        Drain { undo: true, .. } => json!({ "do": "undrain" }),
        Drain { show: true, .. } => json!({ "do": "drain-state" }),
        Drain { exit: true, limit, .. } => {
            json!({ "do": "drain", "exit_after_s": limit.as_secs() })
        }
        Drain { .. } => json!({ "do": "drain" }),
    };
    let answer = control::ask(&data.join(CONTROL_SOCKET), &wish)?;
    done(&answer)?;
    let calls = &answer["calls"];
    let text = match (answer["draining"] == true, answer["exit_in_s"].as_u64()) {
        (false, _) => format!("calls are taken; {calls} running"),
        (true, None) => format!("new calls are refused; {calls} running"),
        (true, Some(seconds)) => {
            format!("new calls are refused; {calls} running, the end is in {seconds} s at most")
        }
    };
    output.result(&answer, &text);
    Ok(())
}

/// The answer of the running process, unless something is wrong.
pub(super) fn ask(data: &Path, wish: &Value) -> Result<Value, Failure> {
    let answer = control::ask(&data.join(CONTROL_SOCKET), wish)?;
    done(&answer)?;
    Ok(answer)
}

/// What the running process says is wrong.
fn done(answer: &Value) -> Result<(), Failure> {
    if answer["ok"] == true {
        return Ok(());
    }
    if let Some(error) = crate::config::ConfigError::from_json(answer) {
        return Err(error.into());
    }
    let why = answer["error"].as_str().unwrap_or("it gave no reason");
    Err(Failure::failed("the running gateway".to_owned(), why))
}

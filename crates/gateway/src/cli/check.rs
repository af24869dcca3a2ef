//! `crosspoint check`: everything that is wrong with the configuration.

use serde_json::json;

use crate::cli::{Failure, Output};
use crate::home::Home;

/// Reading the configuration was the check.
pub(super) fn run(home: &Home, output: &Output) -> Result<(), Failure> {
    let file = home.file.as_ref().map(|f| f.display().to_string());
    let text = match &file {
        Some(file) => format!("{file} is in order"),
        None => "no configuration file: the built-in defaults are used".to_owned(),
    };
    let config = &home.config;
    let value = json!({
        "ok": true,
        "file": file,
        "data": home.data,
        "listeners": config.listeners.len(),
        "trunks": config.trunks.len(),
        "provisioning": config.rtcengine.provisioning.is_some(),
    });
    output.result(&value, &text);
    Ok(())
}

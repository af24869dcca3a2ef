//! `crosspoint check`: everything that is wrong with the configuration.

use crosspoint_net::packet_io::{IoConfig, IoKind, probe};
use crosspoint_net::probe_realtime;
use crosspoint_state::Store;
use serde_json::{Value, json};

use crate::addresses;
use crate::cli::{Failure, Output};
use crate::home::Home;

/// Reading the configuration was the check; what the host allows for media is found out here.
pub(super) fn run(home: &Home, output: &Output) -> Result<(), Failure> {
    // Users that rules name are looked for where there are any.
    if home.has_store() {
        home.check_users(&home.store()?.users()?)?;
    }
    let file = home.file.as_ref().map(|f| f.display().to_string());
    let text = match &file {
        Some(file) => format!("{file} is in order"),
        None => "no configuration file: the built-in defaults are used".to_owned(),
    };
    let config = &home.config;
    let (media_io, media_text) = media_io(home);
    let value = json!({
        "ok": true,
        "file": file,
        "data": home.data,
        "listeners": config.listeners.len(),
        "trunks": config.trunks.len(),
        "routes": config.routing.routes.prefixes(),
        "groups": config.routing.groups.len(),
        "provisioning": config.rtcengine.provisioning.is_some(),
        "media_io": media_io,
    });
    output.result(&value, &format!("{text}\n{media_text}"));
    Ok(())
}

/// What would carry media here, and why not something faster.
fn media_io(home: &Home) -> (Value, String) {
    let media = &home.config.media;
    let addresses = match media.addresses.as_slice() {
        [] => addresses::of_this_host(),
        configured => configured.to_vec(),
    };
    let found = probe(&IoConfig {
        browser_listen: media.browser_listen,
        rtp_bind: media.listen,
        addresses,
        kind: media.io,
    });
    let is_wanted = |kind: IoKind| media.io.is_none_or(|wanted| kind <= wanted);
    let mut takes = found.iter().filter(|(kind, outcome)| is_wanted(*kind) && outcome.is_ok());
    let used = takes.next().map_or("nothing", |(kind, _)| kind.as_str());
    let mut lines = vec![format!("media I/O: {used}")];
    let mut all = Vec::new();
    for (kind, outcome) in &found {
        let reason = outcome.as_ref().err();
        let verdict = reason.map_or_else(|| "yes".to_owned(), |reason| format!("no: {reason}"));
        lines.push(format!("  {}: {verdict}", kind.as_str()));
        all.push(json!({ "kind": kind.as_str(), "ok": outcome.is_ok(), "reason": reason }));
    }
    let realtime = media.realtime.then(|| probe_realtime().map_err(|error| error.to_string()));
    let refused = realtime.as_ref().and_then(|outcome| outcome.as_ref().err());
    if realtime.is_some() {
        let verdict = refused.map_or_else(|| "yes".to_owned(), |reason| format!("no: {reason}"));
        lines.push(format!("media.realtime: {verdict}"));
    }
    let realtime =
        realtime.as_ref().map(|outcome| json!({ "ok": outcome.is_ok(), "reason": refused }));
    (json!({ "uses": used, "found": all, "realtime": realtime }), lines.join("\n"))
}

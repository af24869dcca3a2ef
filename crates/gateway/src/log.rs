//! Logs to standard error, as text or one JSON object a line.
//!
//! What must not be logged sits in redacting wrappers from the parser on (`base::Private`,
//! `base::Secret`), so there is nothing to filter here.

use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// Sends everything from now on to standard error. Later calls change nothing.
pub(crate) fn start(config: &Log) {
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match config.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    if started.is_ok() {
        let _ = LEVEL.set(handle);
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(place, "a defect of ours was caught: please report it");
        }));
    }
}

/// Logs as much as this from now on.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // It fails only when there is no log any more.
        let _ = handle.reload(targets(level));
    }
}

fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Other people's crates are only interesting when they complain.
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("crosspoint", level)
}

static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

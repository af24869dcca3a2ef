//! How everything does, in figures, for the first page of the console. Who wants to know more
//! reads the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use crosspoint_net::MediaReport;
use serde_json::{Value, json};

use crate::bans::unix_millis;
use crate::metrics::Signaling;

pub(super) struct Parts<'a> {
    /// None while the signalling loop does not answer.
    pub(super) signaling: Option<&'a Signaling>,
    pub(super) media: &'a MediaReport,
    pub(super) connections: usize,
    pub(super) bans: usize,
    pub(super) recording: bool,
    /// Unix milliseconds.
    pub(super) started: i64,
}

pub(super) fn shown(parts: &Parts<'_>) -> Value {
    let Parts { signaling, media, connections, bans, recording, started } = parts;
    let now = unix_millis();
    let (cpu, memory) = process();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut value = json!({
        "at": now,
        "started_at": started,
        "version": env!("CARGO_PKG_VERSION"),
        "is_ready": signaling.is_some_and(|now| !now.is_stopping && !now.is_draining),
        "is_draining": signaling.is_some_and(|now| now.is_draining),
        "recording": recording,
        "media_legs": media.legs,
        "packets_received": media.counters.packets_received,
        "packets_forwarded": media.counters.packets_forwarded,
        "connections": connections,
        "bans": bans,
        "defects": media.defects,
        // Of all threads together, since the start.
        "cpu_ms": cpu.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        "cpus": cpus,
        "memory_bytes": memory,
    });
    let Some(signaling) = signaling else { return value };
    let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
    for ((_, cause), count) in signaling.ended.counts() {
        *causes.entry(cause.as_str()).or_default() += count;
    }
    let ended: u64 = causes.values().sum();
    let (web_sessions, web_calls) = signaling.web_clients;
    let more = json!({
        "calls": signaling.calls,
        "legs": signaling.legs,
        "bindings": signaling.bindings,
        "web_sessions": web_sessions,
        "web_calls": web_calls,
        "calls_ended": ended,
        "calls_answered": signaling.ended.answered,
        "causes": causes,
        "sip_requests": signaling.sip.endpoint.requests,
        "auth_failures": signaling.sip.auth_failures,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// What this process has used of its processors, and how much memory it has (proc(5)).
fn process() -> (Option<Duration>, Option<u64>) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    let cpu = read("stat").and_then(|text| cpu_of(&text));
    let memory = read("status").and_then(|text| memory_of(&text));
    (cpu, memory)
}

/// `utime` and `stime`. The name before them may hold blanks and brackets.
fn cpu_of(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = fields.next()?.ok()?.checked_add(fields.next()?.ok()?)?;
    // Linux counts in hundredths of a second for programs, on every architecture.
    Some(Duration::from_millis(ticks.checked_mul(10)?))
}

fn memory_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().split(' ').next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_system_says_of_us() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 77";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("12 (a"), None);
        assert_eq!(memory_of("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 * 1024 * 1024));
        assert_eq!(memory_of("Name:\tx\n"), None);
    }
}

//! Metrics of the call API.

use super::{Page, Signaling, counter, gauge};
use crate::http::StreamCounters;

pub(crate) fn terminals(page: &mut Page, now: &Signaling, streams: StreamCounters) {
    let is = gauge("crosspoint_terminals", "Terminals of the call API, and those that may return.");
    page.value(&is, now.terminals_open);
    let is = gauge("crosspoint_terminal_streams", "Open streams of the call API.");
    page.value(&is, streams.open);
    let is =
        counter("crosspoint_terminal_streams_total", "Streams of the call API, by their fate.");
    let fates = [
        ("opened", streams.opened),
        ("refused", streams.refused),
        ("resumed", now.terminals.resumed),
        ("expired", now.terminals.expired),
        ("unread", streams.unread),
    ];
    page.family(&is, ["fate"], fates.map(|(fate, count)| ([fate], count)));
    let is = counter("crosspoint_terminal_messages_total", "Messages of the call API.");
    let kinds = [
        ("received", streams.received),
        ("counted", now.terminals.messages),
        ("sent", streams.sent),
        ("error", now.terminals.faults),
        ("rate_limited", now.terminals.rate_limited),
    ];
    page.family(&is, ["kind"], kinds.map(|(kind, count)| ([kind], count)));
    let is = counter(
        "crosspoint_terminal_calls_refused_total",
        "Calls of terminals that a limit of ours refused.",
    );
    page.value(&is, now.terminals.refused_calls);
}

//! What is kept of calls, and what a collector is told of it.

use super::page::{counter, gauge};
use super::{Page, Signaling};

pub(crate) fn ladders(page: &mut Page, now: &Signaling) {
    let kept = &now.ladders;
    let is = gauge("crosspoint_ladder_calls", "Calls of which is kept what was said.");
    page.value(&is, kept.calls as u64);
    let is = gauge("crosspoint_ladder_bytes", "What that takes.");
    page.value(&is, kept.bytes as u64);
    let is = counter("crosspoint_ladder_entries_total", "Messages, steps and decisions kept.");
    page.value(&is, kept.entries);
    let is = counter("crosspoint_ladder_dropped_total", "Of these, gone out of long calls again.");
    page.value(&is, kept.dropped);
    let is = counter("crosspoint_ladder_evicted_total", "Calls that gave way to newer ones.");
    page.value(&is, kept.evicted);
    let is = counter("crosspoint_ladder_packets_total", "Packets of media captured and kept.");
    page.value(&is, kept.packets);
    let is = gauge("crosspoint_ladder_packet_bytes", "What those that are kept now take.");
    page.value(&is, kept.packet_bytes as u64);
    let is = counter(
        "crosspoint_ladder_packets_dropped_total",
        "Captured packets that found no room, or gave way to newer ones.",
    );
    page.value(&is, kept.packets_dropped);
    let is = counter("crosspoint_hep_packets_total", "Packets for the collector.");
    let outcomes = ["sent", "dropped", "failed"].into_iter().zip(now.hep);
    page.family(&is, ["outcome"], outcomes.map(|(outcome, count)| ([outcome], count)));
}

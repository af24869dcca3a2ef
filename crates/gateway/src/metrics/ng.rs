//! The page of `crosspoint media`, and what a gateway tells of such servers.

use crosspoint_net::{MediaReport, NgReport, RecorderReport};
use crosspoint_ng::{Counters, PoolCounters};

use super::page::{Page, counter, gauge};

/// What proxies asked, and how media is doing.
pub(crate) fn media_server(
    report: &NgReport,
    media: &MediaReport,
    recorder: &RecorderReport,
) -> String {
    let mut page = Page::default();
    let counters = &report.counters;
    page.value(&gauge("crosspoint_ng_calls", "Calls of proxies."), counters.calls);
    let is = counter("crosspoint_ng_calls_total", "Calls that proxies began.");
    page.value(&is, counters.calls_started);
    let is = counter("crosspoint_ng_calls_timed_out_total", "Calls that nothing came of any more.");
    page.value(&is, counters.calls_timed_out);
    let is = counter("crosspoint_ng_requests_total", "Requests of proxies.");
    let words = Counters::COMMANDS.map(|c| [c]).into_iter().chain([["unknown"]]);
    page.family(&is, ["command"], words.zip(counters.requests));
    let is = counter("crosspoint_ng_errors_total", "Requests that were refused.");
    page.value(&is, counters.errors);
    let is = counter("crosspoint_ng_repeats_total", "Requests that had come before.");
    page.value(&is, counters.repeats);
    let is = counter("crosspoint_ng_dropped_total", "Messages and replies that were dropped.");
    let values = [(["no_cookie"], counters.dropped), (["unsent"], report.unsent)];
    page.family(&is, ["reason"], values);
    super::media(&mut page, media);
    super::recorder(&mut page, recorder);
    super::defects(&mut page, report.defects + media.defects);
    page.into_text()
}

/// The servers that carry calls in our media plane's place.
pub(crate) fn media_servers(page: &mut Page, pool: &PoolCounters) {
    let servers = &pool.servers;
    let healthy = servers.iter().filter(|server| server.is_healthy).count() as u64;
    let gone = servers.len() as u64 - healthy;
    let is = gauge("crosspoint_media_servers", "Media servers in the configuration.");
    page.family(&is, ["state"], [(["healthy"], healthy), (["gone"], gone)]);
    let is = gauge("crosspoint_media_server_calls", "Calls whose media is with a server.");
    page.value(&is, servers.iter().map(|server| server.calls).sum());
    let is = counter("crosspoint_media_server_calls_total", "Calls given to servers.");
    page.value(&is, servers.iter().map(|server| server.calls_started).sum());
    let is = counter("crosspoint_media_server_failures_total", "Times that a server was gone.");
    page.value(&is, servers.iter().map(|server| server.failures).sum());
    let name = "crosspoint_media_server_stray_digits_total";
    let is = counter(name, "Digits told by strangers, or of calls that are not there.");
    page.value(&is, pool.stray_digits);
}

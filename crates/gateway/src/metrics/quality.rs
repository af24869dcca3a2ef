//! What `/metrics` says of how calls sound.

use crosspoint_media::shard;

use super::page::{Page, counter, histogram};

/// How legs sounded, sampled every five seconds.
pub(super) fn write(page: &mut Page, counters: &shard::Counters) {
    let (webrtc, rtp) = (&counters.webrtc, &counters.rtp);
    let is = counter("crosspoint_media_silent_total", "Times that a leg was not heard for 3 s.");
    let values = [
        (["webrtc", "start"], webrtc.silent_start),
        (["webrtc", "running"], webrtc.silent_running),
        (["rtp", "start"], rtp.silent_start),
        (["rtp", "running"], rtp.silent_running),
    ];
    page.family(&is, ["leg", "when"], values);
    let of = |part: fn(&shard::LegCounters) -> &shard::Histogram| {
        [("webrtc", part(webrtc)), ("rtp", part(rtp))]
    };
    let is = histogram("crosspoint_media_mos", "Score of what peers say, by the E-model.");
    page.histograms(&is, "leg", &shard::MOS, of(|leg| &leg.mos));
    let is = histogram("crosspoint_media_loss_ratio", "Share of peers' packets that got lost.");
    page.histograms(&is, "leg", &shard::LOSS, of(|leg| &leg.loss));
    let is = histogram("crosspoint_media_jitter_seconds", "Jitter of what peers send.");
    page.histograms(&is, "leg", &shard::SECONDS, of(|leg| &leg.jitter));
    let is = histogram("crosspoint_media_round_trip_seconds", "Round trips, as peers report.");
    page.histograms(&is, "leg", &shard::SECONDS, of(|leg| &leg.round_trip));
}

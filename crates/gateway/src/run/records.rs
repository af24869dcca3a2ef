//! A finished call as a call detail record, and as the one line the log has about it.

use crosspoint_base::{LegId, WallClock};
use crosspoint_call::{CallRecord, Diverted, Playback, Profile};
use crosspoint_media::control::{LegStats, VideoStats};
use crosspoint_media::emodel::Mos;
use crosspoint_state::{Cdr, LegFigures, VideoFigures};

/// Joins what the call knows with what its media carried.
pub(super) fn cdr(record: &CallRecord, stats: &[(LegId, LegStats)], clock: &WallClock) -> Cdr {
    let started_at = clock.millis(record.started);
    let ended_at = clock.millis(record.ended_at);
    let answered_at = record.answered.map(|at| clock.millis(at));
    let of_leg = |leg: Option<&LegId>| {
        let found = stats.iter().find(|(id, _)| Some(id) == leg);
        found.map(|(_, stats)| figures(stats)).unwrap_or_default()
    };
    // The front leg comes first; of several back legs, the one that had media counts.
    let back = record.legs.iter().skip(1).find(|leg| {
        stats.iter().any(|(id, s)| id == *leg && s.packets_received + s.packets_sent > 0)
    });
    let back_kind = match (record.builtin, record.back_profile) {
        (Some(playback), _) => Some(name_of(playback)),
        (None, Some(profile)) => Some(kind_of(profile)),
        (None, None) => None,
    };
    Cdr {
        gcid: record.gcid.to_string(),
        from_address: record.from.address.expose().clone(),
        from_user: record.from.user.as_deref().map(str::to_owned),
        to_address: record.to.expose().clone(),
        trunk: record.trunk.as_deref().map(str::to_owned),
        front: kind_of(record.front_profile).to_owned(),
        back: back_kind.map(str::to_owned),
        started_at,
        ringing_at: record.ringing.map(|at| clock.millis(at)),
        answered_at,
        ended_at,
        duration_ms: answered_at.map_or(0, |at| (ended_at - at).max(0)),
        ended_by: record.ended.by.as_str().to_owned(),
        cause: record.ended.cause.as_str().to_owned(),
        front_figures: of_leg(record.legs.first()),
        back_figures: of_leg(back),
        silent_from: answered_at.map(|_| silent_from(record, stats).to_owned()),
        recordings: None,
        caller_check: record.from.check.as_ref().map(ToString::to_string),
        why: record.why.clone(),
        refusal: record.refusal.map(|refusal| refusal.as_str().to_owned()),
        attempts: Some(i64::from(record.attempts)),
        diverted: diverted(&record.diverted),
        parked: (!record.parked.is_empty()).then(|| record.parked.join("; ")),
        media: passed(stats),
    }
}

fn diverted(places: &[Diverted]) -> Option<String> {
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    (!places.is_empty()).then(|| places.join(", "))
}

/// What kinds of media came from anybody.
fn passed(stats: &[(LegId, LegStats)]) -> Option<String> {
    let came = |of: fn(&LegStats) -> u64| stats.iter().any(|(_, stats)| of(stats) > 0);
    let kinds = [
        ("audio", came(|s| s.packets_received)),
        ("video", came(|s| s.video.map_or(0, |video| video.packets_received))),
        ("fax", came(|s| s.fax.map_or(0, |fax| fax.packets_received.into()))),
        ("text", came(|s| s.text.map_or(0, |text| text.packets_received.into()))),
    ];
    let words: Vec<&str> = kinds.into_iter().filter(|(_, came)| *came).map(|(w, _)| w).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The line at a call's end. Who it was is in the record, not in the log.
pub(super) fn log(cdr: &Cdr) {
    tracing::info!(
        call = cdr.gcid,
        by = cdr.ended_by,
        cause = cdr.cause,
        duration_ms = cdr.duration_ms,
        front = cdr.front,
        back = cdr.back,
        refusal = cdr.refusal,
        "a call has ended"
    );
}

fn figures(stats: &LegStats) -> LegFigures {
    let count = |n: u64| i64::try_from(n).ok();
    LegFigures {
        codec: stats.codec.map(|codec| codec.name().to_owned()),
        packets_received: count(stats.packets_received),
        packets_sent: count(stats.packets_sent),
        packets_lost: count(stats.packets_lost),
        jitter_ms: Some(stats.jitter.as_secs_f64() * 1000.0),
        round_trip_ms: stats.round_trip.map(|rtt| rtt.as_secs_f64() * 1000.0),
        jitter_max_ms: Some(stats.jitter_max.as_secs_f64() * 1000.0),
        mos: stats.mos.map(Mos::value),
        mos_lowest: stats.mos_lowest.map(Mos::value),
        packets_lost_at_peer: stats.lost_at_peer.and_then(count),
        packets_late: count(stats.packets_late),
        packets_discarded: count(stats.packets_discarded),
        packets_concealed: count(stats.packets_concealed),
        video: stats.video.map(|video| pictures(&video)).unwrap_or_default(),
    }
}

fn pictures(stats: &VideoStats) -> VideoFigures {
    let count = |n: u64| i64::try_from(n).ok();
    VideoFigures {
        codec: Some(stats.codec.to_string()),
        packets_received: count(stats.packets_received),
        packets_sent: count(stats.packets_sent),
        packets_lost: count(stats.packets_lost),
        packets_lost_at_peer: stats.lost_at_peer.and_then(count),
        key_frames_wanted: count(stats.key_frames_wanted),
        key_frames_asked: count(stats.key_frames_asked),
    }
}

/// Whose media was missing for seconds; legs that took another's place count with their side.
fn silent_from(record: &CallRecord, stats: &[(LegId, LegStats)]) -> &'static str {
    let is_silent = |leg: &LegId| stats.iter().any(|(id, s)| id == leg && s.silences > 0);
    let front = record.legs.first().is_some_and(is_silent);
    let back = record.legs.iter().skip(1).any(is_silent);
    match (front, back) {
        (true, true) => "both",
        (true, false) => "front",
        (false, true) => "back",
        (false, false) => "none",
    }
}

fn kind_of(profile: Profile) -> &'static str {
    match profile {
        Profile::WebRtc => "webrtc",
        Profile::Rtp(_) => "rtp",
    }
}

fn name_of(playback: Playback) -> &'static str {
    match playback {
        Playback::Echo => "echo",
        Playback::Tone => "tone",
        Playback::Announcement => "announcement",
        Playback::Music => "music",
    }
}

//! Sources that are not listened to, as they are kept and as operators see them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crosspoint_base::{Ban, Offence, source_of};
use crosspoint_state::BanRow;
use serde_json::{Value, json};

/// The same moment on both clocks.
fn now() -> (Instant, i64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// As it is kept.
pub(crate) fn row_of(ban: &Ban) -> BanRow {
    let (instant, unix) = now();
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let at = |moment: Instant| {
        let later = millis(moment.saturating_duration_since(instant));
        let earlier = millis(instant.saturating_duration_since(moment));
        unix.saturating_add(later).saturating_sub(earlier)
    };
    BanRow {
        source: ban.source.to_string(),
        since: at(ban.since),
        until: at(ban.until),
        reason: ban.offence.as_str().to_owned(),
    }
}

/// One that an operator imposes while nobody runs.
pub(crate) fn imposed(address: IpAddr, time: Duration) -> BanRow {
    let now = Instant::now();
    let source = source_of(address);
    row_of(&Ban { source, since: now, until: now + time, offence: Offence::Operator, dropped: 0 })
}

/// As it was kept; none when it makes no sense or is over.
pub(crate) fn ban_of(row: &BanRow) -> Option<Ban> {
    let (instant, unix) = now();
    let left = u64::try_from(row.until.checked_sub(unix)?).ok()?;
    let passed = u64::try_from(unix.checked_sub(row.since)?).unwrap_or(0);
    Some(Ban {
        source: source_of(row.source.parse().ok()?),
        since: instant.checked_sub(Duration::from_millis(passed)).unwrap_or(instant),
        until: instant.checked_add(Duration::from_millis(left))?,
        offence: Offence::parse(&row.reason)?,
        dropped: 0,
    })
}

/// Unix milliseconds.
pub(crate) fn unix_millis() -> i64 {
    now().1
}

/// What an operator names: an address, or a source as it is shown.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse().ok()
}

pub(crate) fn shown(row: &BanRow) -> Value {
    json!({
        "address": source_text(row),
        "since": row.since,
        "until": row.until,
        "reason": row.reason,
    })
}

/// Of the running gateway, which also knows what it passed over.
pub(crate) fn shown_live(ban: &Ban) -> Value {
    let mut value = shown(&row_of(ban));
    value["dropped"] = json!(ban.dropped);
    value
}

pub(crate) fn as_text(rows: &[BanRow]) -> String {
    let time = |millis: i64| {
        let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        humantime::format_rfc3339_seconds(UNIX_EPOCH + since)
    };
    let mut text = String::new();
    for row in rows {
        let (source, reason) = (source_text(row), &row.reason);
        let _ = writeln!(text, "{source:<40} {reason:<10} until {}", time(row.until));
    }
    text
}

/// A subscriber's network where it is one.
fn source_text(row: &BanRow) -> String {
    if row.source.contains(':') { format!("{}/64", row.source) } else { row.source.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_same_ban_later() {
        let row = imposed("2001:db8:1:2:3::4".parse().unwrap(), Duration::from_secs(60));
        assert_eq!(row.source, "2001:db8:1:2::");
        assert_eq!(shown(&row)["address"], "2001:db8:1:2::/64");
        assert_eq!(address("2001:db8:1:2::/64"), address("2001:db8:1:2::"));
        let ban = ban_of(&row).unwrap();
        assert_eq!((ban.offence, ban.source.to_string()), (Offence::Operator, row.source.clone()));
        assert!((row_of(&ban).until - row.until).abs() <= 2);
        let over = BanRow { until: unix_millis() - 1, ..row.clone() };
        assert_eq!(ban_of(&over), None);
        assert_eq!(ban_of(&BanRow { reason: "weather".to_owned(), ..row.clone() }), None);
        assert_eq!(ban_of(&BanRow { source: "home".to_owned(), ..row }), None);
    }
}

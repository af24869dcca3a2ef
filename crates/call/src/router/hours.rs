//! When a rule holds: times of the week in a time zone, and dates that are closed.

use std::sync::Arc;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Times of the week, less some dates. Which zone that is counted in is part of it.
#[derive(Debug, Clone)]
pub struct Hours {
    pub name: Arc<str>,
    zone: TimeZone,
    /// None at all: every hour.
    open: Vec<Window>,
    closed: Vec<Span>,
    /// As they were written, for reasons.
    words: String,
}

/// Why a time window cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    #[error("{0:?} is no time of the week")]
    Window(String),
    #[error("{0:?} is no date")]
    Date(String),
}

/// Some days of the week, from a minute to a minute; one that ends before it begins ends on the
/// next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// Monday is bit 0.
    days: u8,
    from: u16,
    to: u16,
}

/// Dates, both ends included. Without a year they come back every year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: Day,
    to: Day,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Day {
    year: Option<i16>,
    month: i8,
    day: i8,
}

impl Hours {
    /// Reads windows such as `"mon-fri 08:00-18:00"`, `"sat,sun 10:00-12:00"` or
    /// `"20:00-06:00"` and dates such as `"2026-12-24"`, `"12-25"` or `"12-24..01-01"`.
    ///
    /// # Errors
    /// The first text that cannot be read.
    pub fn new(
        name: &str,
        zone: TimeZone,
        open: &[String],
        closed: &[String],
    ) -> Result<Self, HoursError> {
        let windows = open.iter().map(|text| window(text)).collect::<Result<_, _>>()?;
        let dates = closed.iter().map(|text| span(text)).collect::<Result<_, _>>()?;
        let words = if open.is_empty() { "every day".to_owned() } else { open.join(", ") };
        Ok(Self { name: name.into(), zone, open: windows, closed: dates, words })
    }

    /// Whether a moment (Unix seconds) lies in these hours, and the reason in words.
    #[must_use]
    pub fn check(&self, unix_seconds: i64) -> (bool, String) {
        let at = Timestamp::from_second(unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let at = at.to_zoned(self.zone.clone());
        let said = at.strftime("%a %Y-%m-%d %H:%M %Z");
        if self.closed.iter().any(|span| span.contains(at.date())) {
            return (false, format!("{said} is a closed date of {}", self.name));
        }
        let is_open = self.open.is_empty() || self.open.iter().any(|window| window.contains(&at));
        let word = if is_open { "within" } else { "outside" };
        (is_open, format!("{said} is {word} {} ({})", self.name, self.words))
    }
}

impl Window {
    fn contains(&self, at: &Zoned) -> bool {
        let minute =
            u16::try_from(at.hour()).unwrap_or(0) * 60 + u16::try_from(at.minute()).unwrap_or(0);
        let has = |day: Weekday| self.days & bit(day) != 0;
        if self.from < self.to {
            return has(at.weekday()) && (self.from..self.to).contains(&minute);
        }
        // Over midnight: the evening of a day that counts, or the morning after one.
        (has(at.weekday()) && minute >= self.from)
            || (has(at.weekday().previous()) && minute < self.to)
    }
}

impl Span {
    fn contains(&self, date: Date) -> bool {
        let (from, to) = (self.from, self.to);
        if let (Some(first), Some(last)) = (from.year, to.year) {
            let key = (date.year(), date.month(), date.day());
            return (first, from.month, from.day) <= key && key <= (last, to.month, to.day);
        }
        let key = (date.month(), date.day());
        let (from, to) = ((from.month, from.day), (to.month, to.day));
        if from <= to { from <= key && key <= to } else { key >= from || key <= to }
    }
}

fn bit(day: Weekday) -> u8 {
    1 << day.to_monday_zero_offset()
}

fn window(text: &str) -> Result<Window, HoursError> {
    let wrong = || HoursError::Window(text.to_owned());
    let (days, times) = match text.trim().rsplit_once(char::is_whitespace) {
        Some((days, times)) => (days.trim(), times),
        None if text.contains(':') => ("mon-sun", text.trim()),
        None => (text.trim(), "00:00-24:00"),
    };
    let mut bits = 0;
    for part in days.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (weekday(first).ok_or_else(wrong)?, weekday(last).ok_or_else(wrong)?);
        let mut day = first;
        bits |= bit(day);
        while day != last {
            day = day.next();
            bits |= bit(day);
        }
    }
    let (from, to) = times.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
    if from == to || from == 24 * 60 {
        return Err(wrong());
    }
    Ok(Window { days: bits, from, to })
}

fn weekday(text: &str) -> Option<Weekday> {
    let days = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let text = text.trim().to_ascii_lowercase();
    days.iter().find(|(name, _)| *name == text).map(|(_, day)| *day)
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let at = hours * 60 + minutes;
    (minutes < 60 && at <= 24 * 60).then_some(at)
}

fn span(text: &str) -> Result<Span, HoursError> {
    let wrong = || HoursError::Date(text.to_owned());
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (day(from).ok_or_else(wrong)?, day(to).ok_or_else(wrong)?);
    let is_orderly = match (from.year, to.year) {
        (None, None) => true,
        (Some(a), Some(b)) => (a, from.month, from.day) <= (b, to.month, to.day),
        _ => false,
    };
    if is_orderly { Ok(Span { from, to }) } else { Err(wrong()) }
}

fn day(text: &str) -> Option<Day> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let (year, month, day) = match parts.as_slice() {
        [year, month, day] => (Some(year.parse::<i16>().ok()?), month, day),
        [month, day] => (None, month, day),
        _ => return None,
    };
    let (month, day) = (month.parse().ok()?, day.parse().ok()?);
    // A year that has a 29th of February, for dates of every year.
    Date::new(year.unwrap_or(2024), month, day).ok()?;
    Some(Day { year, month, day })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(open: &[&str], closed: &[&str]) -> Hours {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        // Berlin's rules, as POSIX writes them.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Hours::new("office", zone, &words(open), &words(closed)).unwrap()
    }

    /// Unix seconds of a moment in UTC.
    fn utc(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_week_is_that_of_the_zone_in_winter_and_summer() {
        let office = hours(&["mon-fri 08:00-18:00", "sat 09:00-13:00"], &[]);
        let check = |at: &str, open: bool| {
            let (found, why) = office.check(utc(at));
            assert_eq!(found, open, "{at}: {why}");
        };
        check("2026-01-05T06:59:59Z", false);
        check("2026-01-05T07:00:00Z", true);
        check("2026-01-05T17:00:00Z", false);
        check("2026-07-06T06:00:00Z", true);
        check("2026-07-06T16:00:00Z", false);
        check("2026-07-04T07:00:00Z", true);
        check("2026-07-05T09:00:00Z", false);
    }

    #[test]
    fn nights_end_on_the_next_day_and_holidays_close_the_whole_day() {
        let night = hours(&["fri 22:00-06:00"], &["2026-12-24..2026-12-26", "12-31..01-01"]);
        let check = |at: &str, open: bool| {
            let (found, why) = night.check(utc(at));
            assert_eq!(found, open, "{at}: {why}");
        };
        check("2026-11-20T21:30:00Z", true);
        check("2026-11-21T04:59:00Z", true);
        check("2026-11-21T05:00:00Z", false);
        check("2026-11-21T21:30:00Z", false);
        check("2026-12-25T21:30:00Z", false);
        check("2027-01-01T03:00:00Z", false);
        check("2027-01-01T22:00:00Z", false);
        check("2027-01-08T22:00:00Z", true);
    }

    #[test]
    fn what_is_no_time_or_date_is_refused() {
        let texts = |text: &str| vec![text.to_owned()];
        for text in [
            "",
            "mon",
            "monday 08:00-09:00",
            "mon 8-9",
            "mon 08:00",
            "mon 25:00-26:00",
            "mon 08:61-09:00",
            "mon 08:00-08:00",
            "mon 24:00-08:00",
            "fri-fry 01:00-02:00",
        ] {
            let outcome = Hours::new("x", TimeZone::UTC, &texts(text), &[]);
            assert_eq!(outcome.is_ok(), text == "mon", "{text}");
        }
        for text in
            ["", "2026-02-30", "2026", "12-32", "2026-12-24..12-26", "2027-01-01..2026-01-01"]
        {
            let outcome = Hours::new("x", TimeZone::UTC, &[], &texts(text));
            assert_eq!(outcome.unwrap_err(), HoursError::Date(text.to_owned()));
        }
    }
}

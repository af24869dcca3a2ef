//! Draws the JSON of a ladder with letters: a column for each party, arrows, and times.

use crosspoint_base::is_plain;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// A call a line.
pub(super) fn list(calls: &[Value]) -> String {
    let mut lines = Vec::new();
    for call in calls {
        let text = |key: &str| cut(call[key].as_str().unwrap_or_default(), 24);
        let what = match (call["cause"].as_str(), call["refusal"].as_str()) {
            _ if call["refused_early"] == true => "refused before a call".to_owned(),
            (_, Some(refusal)) => format!("refused: {refusal}"),
            (Some(cause), None) => format!("{cause}, by {}", text("ended_by")),
            (None, None) if call["answered"].is_null() => "being set up".to_owned(),
            (None, None) => "up".to_owned(),
        };
        let parties = format!("{} -> {}", text("from"), text("to"));
        let gcid = call["gcid"].as_str().unwrap_or_default();
        lines
            .push(format!("{}  {gcid:<32}  {parties:<32}  {what}", day_and_time(&call["started"])));
    }
    if lines.is_empty() { "no calls".to_owned() } else { lines.join("\n") }
}

/// The drawing of one call, no wider than `width`.
pub(super) fn ladder(ladder: &Value, width: usize) -> String {
    let plan = Plan::of(ladder, width);
    let mut lines = head(ladder, width);
    lines.push(String::new());
    lines.extend(plan.heading());
    let entries = array(&ladder["entries"]);
    let (dropped, after) = (&ladder["dropped"]["count"], &ladder["dropped"]["after"]);
    for (index, entry) in entries.iter().enumerate() {
        if dropped.as_u64().is_some_and(|n| n > 0) && after.as_u64() == Some(index as u64) {
            lines.push(format!("{:TIME$}  ... {dropped} entries were dropped ...", ""));
        }
        lines.push(plan.row(entry));
    }
    lines.extend(quality(ladder));
    lines.join("\n")
}

fn head(ladder: &Value, width: usize) -> Vec<String> {
    let told = &ladder["explanation"];
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let mut lines = vec![
        format!("{}  {}", day_and_time(&ladder["started"]), text(&ladder["gcid"])),
        format!("{} -> {}", text(&ladder["from"]), text(&ladder["to"])),
    ];
    let verdict = text(&told["verdict"]).to_uppercase();
    lines.extend(folded(&format!("{verdict}: {}", text(&told["headline"])), width, ""));
    for detail in array(&told["details"]) {
        lines.extend(folded(&text(detail), width, "  "));
    }
    lines
}

/// Where each column is.
struct Plan {
    names: Vec<String>,
    /// The party of each column; ours has none.
    parties: Vec<Option<u64>>,
    step: usize,
}

impl Plan {
    fn of(ladder: &Value, width: usize) -> Self {
        let mut names = Vec::new();
        let mut parties = Vec::new();
        let all = array(&ladder["parties"]);
        let side = |side: &'static str| all.iter().filter(move |party| party["side"] == side);
        let mut add = |party: &Value| {
            let name = plain(party["name"].as_str().unwrap_or_default());
            let side = party["side"].as_str().unwrap_or_default().to_owned();
            names.push(if name.is_empty() { side } else { name });
            parties.push(party["id"].as_u64());
        };
        side("caller").for_each(&mut add);
        add(&serde_json::json!({ "name": "Crosspoint" }));
        side("called").for_each(&mut add);
        side("media_server").for_each(&mut add);
        let columns = names.len().max(2);
        // Where there is no room for all, the last ones share a place.
        let step = (width.saturating_sub(TIME + 2) / columns).clamp(NARROWEST, WIDEST);
        Self { names, parties, step }
    }

    fn centre(&self, column: usize) -> usize {
        column * self.step + self.step / 2
    }

    fn width(&self) -> usize {
        self.names.len() * self.step
    }

    fn column(&self, party: Option<u64>) -> usize {
        self.parties.iter().position(|of| *of == party).unwrap_or_default()
    }

    fn heading(&self) -> [String; 1] {
        let mut line = String::new();
        for name in &self.names {
            line.push_str(&format!("{:^width$}", cut(name, self.step - 1), width = self.step));
        }
        [format!("{:TIME$}  {}", "", line.trim_end())]
    }

    fn lifelines(&self) -> Vec<char> {
        let mut line = vec![' '; self.width()];
        for column in 0..self.names.len() {
            line[self.centre(column)] = '|';
        }
        line
    }

    fn row(&self, entry: &Value) -> String {
        let mut line = self.lifelines();
        let title = plain(entry["title"].as_str().unwrap_or_default());
        let party = self.column(entry["party"].as_u64());
        let us = self.column(None);
        if entry["kind"] == "message" && party != us {
            let is_in = entry["direction"] == "in";
            self.arrow(&mut line, party.min(us), party.max(us), is_in == (party < us), &title);
        } else {
            self.note(&mut line, party, &title);
        }
        let line: String = line.into_iter().collect();
        let offset = entry["offset_ms"].as_f64().unwrap_or_default() / 1000.0;
        format!("{offset:TIME$.3}  {}", line.trim_end())
    }

    /// `|--- INVITE --->|`
    fn arrow(&self, line: &mut [char], left: usize, right: usize, to_right: bool, title: &str) {
        let (from, to) = (self.centre(left) + 1, self.centre(right));
        line[from..to].fill('-');
        if to_right {
            line[to - 1] = '>'
        } else {
            line[from] = '<'
        }
        let room = (to - from).saturating_sub(6);
        let title = format!(" {} ", cut(title, room));
        let length = title.chars().count().min(to - from);
        let start = from + (to - from - length) / 2;
        line[start..].iter_mut().zip(title.chars()).for_each(|(place, c)| *place = c);
    }

    /// `[media is up]` over the column it is about.
    fn note(&self, line: &mut Vec<char>, column: usize, title: &str) {
        let title: Vec<char> = format!("[{title}]").chars().collect();
        let start = self.centre(column).saturating_sub(title.len() / 2);
        let start = start.min(self.width().saturating_sub(title.len()));
        let title = title.get(..title.len().min(self.width())).unwrap_or_default();
        if line.len() < start + title.len() {
            line.resize(start + title.len(), ' ');
        }
        line[start..start + title.len()].copy_from_slice(title);
    }
}

/// The figures of each party, in a line.
fn quality(ladder: &Value) -> Vec<String> {
    let samples = array(&ladder["quality"]);
    let mut lines = Vec::new();
    for party in array(&ladder["parties"]) {
        let own: Vec<&Value> = samples.iter().filter(|s| s["party"] == party["id"]).collect();
        if own.is_empty() {
            continue;
        }
        let all = |key: &'static str| own.iter().filter_map(move |s| s[key].as_f64());
        let most = |key| all(key).fold(0.0, f64::max);
        let mos: Vec<f64> = all("mos").collect();
        let mean = if mos.is_empty() {
            "no MOS".to_owned()
        } else {
            format!("MOS {:.2}", mos.iter().sum::<f64>() / mos.len() as f64)
        };
        if lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!(
            "{}: {mean}, at worst {:.1} % lost, {:.1} ms jitter, {:.0} ms round trip",
            plain(party["name"].as_str().unwrap_or_default()),
            most("loss_percent"),
            most("jitter_ms"),
            most("round_trip_ms"),
        ));
    }
    lines
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| is_plain(*c)).collect()
}

/// The beginning of a text, in so many characters.
fn cut(text: &str, most: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= most {
        return text;
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('~');
    short
}

/// Lines of words, no longer than `width`.
fn folded(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        if line.trim().is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("{indent}  {word}"));
        }
    }
    lines
}

fn day_and_time(millis: &Value) -> String {
    let at = millis.as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.map(|at| at.to_zoned(TimeZone::UTC));
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

const TIME: usize = 9;
const NARROWEST: usize = 12;
const WIDEST: usize = 44;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call() -> Value {
        json!({
            "gcid": "abc", "from": "alice\u{1b}[2J", "to": "bob", "started": 0,
            "explanation": { "verdict": "unanswered", "headline": "bob is busy.", "details": ["Tried: bob (busy)."] },
            "parties": [
                { "id": 0, "side": "caller", "name": "alice" },
                { "id": 1, "side": "called", "name": "bob\u{202e}" },
            ],
            "entries": [
                { "kind": "message", "direction": "in", "party": 0, "offset_ms": 0.0, "title": "INVITE + SDP" },
                { "kind": "note", "party": null, "offset_ms": 1.5, "title": "routed" },
                { "kind": "message", "direction": "out", "party": 1, "offset_ms": 2.0, "title": "INVITE + SDP" },
                { "kind": "message", "direction": "in", "party": 1, "offset_ms": 1002.25, "title": "486 Busy\u{7}" },
            ],
            "dropped": { "count": 0, "after": 4 },
            "quality": [],
        })
    }

    #[test]
    fn a_call_is_drawn_with_a_column_for_each_party() {
        let drawn = ladder(&call(), 60);
        let first: Vec<&str> = drawn.lines().collect();
        let head = [
            "1970-01-01 00:00:00  abc",
            "alice[2J -> bob",
            "UNANSWERED: bob is busy.",
            "  Tried: bob (busy).",
            "",
        ];
        assert_eq!(first[..5], head);
        let rows = &first[6..];
        assert!(rows[0].contains("INVITE") && rows[0].contains('>'), "{drawn}");
        assert!(rows[1].contains("[routed]"), "{drawn}");
        assert!(rows[3].contains('<') && rows[3].starts_with("    1.002"), "{drawn}");
        assert!(!drawn.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{drawn:?}");
    }

    #[test]
    fn nothing_is_wider_than_it_may_be_whoever_takes_part() {
        for parties in [0, 1, 2, 5] {
            let mut call = call();
            let all = (0..parties).map(|id| {
                let side = if id == 0 { "caller" } else { "called" };
                json!({ "id": id, "side": side, "name": "x".repeat(200) })
            });
            call["parties"] = all.collect();
            for entry in call["entries"].as_array_mut().unwrap() {
                entry["title"] = "y".repeat(300).into();
            }
            for width in [60, 100, 200] {
                let columns = (parties as usize + 1).max(2);
                let most = width.max(TIME + 2 + columns * NARROWEST);
                for line in ladder(&call, width).lines() {
                    assert!(line.chars().count() <= most, "{width} {parties}: {line}");
                }
            }
        }
    }
}

//! `[recording]`: which calls become files, and where those go.

use std::path::Path;
use std::time::Duration;

use crosspoint_call::router::RecordRules;
use crosspoint_media::recording::Format;

use super::Recording;
use super::reader::{Located, Section};

pub(super) fn read(section: &Section<'_>, folder: &Path) -> Recording {
    let words = |key| -> Vec<String> {
        let found: Vec<Located<String>> = section.strings(key).unwrap_or_default();
        found.into_iter().map(|word| word.value).collect()
    };
    let count = |key, high| section.integer(key, 1..high).map(|found| found.value);
    let time = |key, low, high| {
        let range = Duration::from_secs(low)..Duration::from_secs(high);
        section.duration(key, range).map(|found| found.value)
    };
    let format = section.choice("format", &[("wav", Format::Wav), ("opus", Format::Opus)]);
    Recording {
        folder: section.string("folder").map(|name| folder.join(name.value)),
        format: format.map_or(Format::Wav, |found| found.value),
        rules: RecordRules {
            all: section.boolean("all").unwrap_or(false),
            users: words("users").into_iter().collect(),
            trunks: words("trunks").into_iter().collect(),
            numbers: words("numbers"),
        },
        min_free: count("min_free_mb", 1_000_000_000).unwrap_or(500) * MEGABYTE,
        keep: time("keep", 60, 100 * YEAR),
        keep_bytes: count("keep_mb", 1_000_000_000).map(|megabytes| megabytes * MEGABYTE),
        at_once: count("at_once", 100_001).and_then(|n| usize::try_from(n).ok()).unwrap_or(500),
        consent_tone: time("consent_tone", 1, 3601),
    }
}

const MEGABYTE: u64 = 1_000_000;
const YEAR: u64 = 365 * 24 * 3600;

//! `[console]`: how operators sign in, and what is remembered of them.

use std::path::Path;
use std::time::Duration;

use super::reader::Section;
use super::{Console, oidc};

pub(super) fn read(section: Option<&Section<'_>>, folder: &Path) -> Console {
    let time = |key, default, low, high| {
        let range = Duration::from_secs(low)..Duration::from_secs(high);
        let found = section.and_then(|section| section.duration(key, range));
        found.map_or(Duration::from_secs(default), |found| found.value)
    };
    let vouching = section.and_then(|section| section.section("oidc"));
    let oidc = vouching.and_then(|section| {
        let oidc = oidc::read(&section, folder);
        section.finish();
        oidc
    });
    Console {
        oidc,
        idle: time("idle", 30 * MINUTE, MINUTE, 24 * HOUR + 1),
        lifetime: time("lifetime", 12 * HOUR, MINUTE, 31 * 24 * HOUR),
        audit_keep: time("audit_keep", 365 * 24 * HOUR, HOUR, 100 * 365 * 24 * HOUR),
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

//! Makes Rust of the call API's schema, and finds out what `crosspoint --version` says.
//! `protox` reads the schema, so no `protoc` has to be installed.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = protox::compile(["wgtwo/webterminal/v0/webterminal.proto"], [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("webterminal.bin"), prost::Message::encode_to_vec(&files))?;
    tonic_prost_build::configure().build_client(false).compile_fds(files)?;

    let version = std::env::var("CARGO_PKG_VERSION")?;
    println!("cargo:rustc-env=CROSSPOINT_VERSION={version} ({})", made_of());
    Ok(())
}

/// The commit and its day. `CROSSPOINT_COMMIT` and `SOURCE_DATE_EPOCH` (Unix seconds) say it where the source comes
/// without its history; a release asks git. Other builds do not: each commit would compile the crate again.
fn made_of() -> String {
    println!("cargo:rerun-if-env-changed=CROSSPOINT_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let told = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let is_release = told("PROFILE").as_deref() == Some("release");
    if is_release {
        // Where the branch points to is in the log of HEAD; without one, HEAD itself moves.
        for name in ["HEAD", "logs/HEAD"] {
            if let Some(path) = git(&["rev-parse", "--git-path", name])
                && Path::new(&path).exists()
            {
                println!("cargo:rerun-if-changed={path}");
            }
        }
    }
    let history = |format| is_release.then(|| git(&["log", "-1", "--abbrev=12", format])).flatten();
    let commit = told("CROSSPOINT_COMMIT").or_else(|| history("--format=%h"));
    let seconds = told("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
    let day = seconds.map(day_of).or_else(|| history("--format=%cs"));
    match (commit, day) {
        (Some(commit), Some(day)) => format!("{commit}, {day}"),
        (Some(commit), None) => commit,
        (None, Some(day)) => format!("unknown commit, {day}"),
        (None, None) if is_release => "unknown commit".to_owned(),
        (None, None) => "development".to_owned(),
    }
}

/// What git prints, if it is there and knows this folder.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Year, month and day of Unix seconds, by the proleptic Gregorian calendar (days counted from March, in eras of 400 years).
fn day_of(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

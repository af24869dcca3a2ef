//! The gateway beside its peers, in one run and on one core: `calls`, `held`, `registrations`,
//! `sessions`, `streams`, `ladders`, `edge`, `browsers`, `delay` or `talk`. `train` prints nothing: it is everyday work for a
//! binary that counts what it does (`CROSSPOINT_BIN`).
//!
//! Each prints rows of the table in `docs/benchmarks.md`. Cost is processor time, not time on
//! the clock: it hardly depends on what else the machine does. `scripts/bench.sh` runs them all.

mod app;
#[path = "../../../net/benches/relay/browser.rs"]
mod browser;
mod calls;
mod edge;
mod kamailio;
mod mirror;
mod process;
mod registrations;
mod sessions;
mod signaling;
mod streams;
mod table;
mod talk;
mod train;

use std::process::ExitCode;

/// What a bench can end with.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

type Bench = fn() -> Outcome<()>;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_named = |name: &str| names.iter().any(|n| n == name);
    let others = ["train", mirror::MIRROR, calls::HELD_INSIDE];
    let wants = |name: &str| is_named(name) || (names.is_empty() && !others.contains(&name));
    let benches: [(&str, Bench); 13] = [
        ("calls", calls::run),
        ("held", calls::held),
        (calls::HELD_INSIDE, calls::held_inside),
        ("registrations", registrations::run),
        ("sessions", sessions::run),
        ("streams", streams::run),
        ("ladders", calls::ladders),
        ("edge", edge::run),
        ("browsers", edge::browsers),
        ("delay", edge::delay),
        ("talk", talk::run),
        ("train", train::run),
        (mirror::MIRROR, mirror::run),
    ];
    let mut code = ExitCode::SUCCESS;
    for (name, run) in benches {
        // The others are worth having all the same.
        if wants(name)
            && let Err(error) = run()
        {
            eprintln!("{name}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

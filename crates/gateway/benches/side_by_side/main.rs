//! The gateway beside its peers, in one run and on one core: `calls`, `relay`,
//! `registrations` or `sessions`.
//!
//! Each prints rows of the table in `docs/benchmarks.md`. Cost is processor time, not time on
//! the clock: it hardly depends on what else the machine does. `scripts/bench.sh` runs them all.

mod app;
mod browser;
mod calls;
mod ng;
mod process;
mod registrations;
mod relay;
mod sessions;
mod signaling;
mod table;

use std::process::ExitCode;

/// What a bench can end with.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

type Bench = fn() -> Outcome<()>;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wants = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let benches: [(&str, Bench); 4] = [
        ("calls", calls::run),
        ("relay", relay::run),
        ("registrations", registrations::run),
        ("sessions", sessions::run),
    ];
    for (name, run) in benches {
        if wants(name)
            && let Err(error) = run()
        {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

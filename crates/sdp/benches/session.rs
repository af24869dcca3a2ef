//! How long a browser's description takes to read and to print.

use std::hint::black_box;
use std::time::Duration;

use crosspoint_sdp::Session;

const CHROME: &str = include_str!("../tests/data/chrome-offer.sdp");

fn main() {
    let session = Session::parse(CHROME.as_bytes()).expect("a browser's description");
    println!("description of {} bytes", CHROME.len());
    measure("parse", || {
        black_box(Session::parse(black_box(CHROME.as_bytes())).is_ok());
    });
    measure("type the sections", || {
        black_box(black_box(&session).media().count());
    });
    measure("print", || {
        black_box(black_box(&session).to_string());
    });
}

fn measure(name: &str, mut run: impl FnMut()) {
    const ROUNDS: u32 = 20_000;
    for _ in 0..ROUNDS / 10 {
        run();
    }
    let spent = clock(|| (0..ROUNDS).for_each(|_| run()));
    println!("{name:>20}: {:>7.2} µs", spent.as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

#[expect(clippy::disallowed_methods, reason = "a bench is the one place that needs the clock")]
fn clock(run: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    run();
    start.elapsed()
}

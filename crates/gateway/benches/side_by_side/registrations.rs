//! What a browser that only waits for calls costs: memory per registration over WSS, idle.

use crate::Outcome;
use crate::app::Dialer;
use crate::process::Gateway;
use crate::signaling::Page;
use crate::table::row;

/// The first ones pay for what all share.
const WARM: u32 = 50;
/// Where memory is looked at.
const STEPS: [u32; 3] = [1000, 2000, 5000];
const PER_USER: u32 = 10;

pub(crate) fn run() -> Outcome<()> {
    let most = WARM + STEPS[STEPS.len() - 1];
    let gateway = Gateway::start("", most.div_ceil(PER_USER))?;
    let dialer = Dialer::new(&gateway)?;
    let mut pages = Vec::new();
    let mut seen = Vec::new();
    for number in 0..most {
        let stream = dialer.dial(&gateway, "wss")?;
        pages.push(Page::open(Box::new(stream), &format!("user{}", number / PER_USER), number)?);
        let count = number + 1;
        if count == WARM || STEPS.contains(&(count - WARM.min(count))) {
            seen.push((count, gateway.server.memory()));
        }
    }
    let each = |from: (u32, u64), to: (u32, u64)| {
        to.1.saturating_sub(from.1) as f64 / 1024.0 / f64::from(to.0 - from.0)
    };
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(()) };
    let what = "KiB of memory per idle WSS registration";
    row(what, &format!("{:.1}", each(*first, *last)), "", None);
    for pair in seen.windows(2) {
        let [from, to] = [pair[0], pair[1]];
        let what = format!("{what}, from {} to {}", from.0 - WARM, to.0 - WARM);
        row(&what, &format!("{:.1}", each(from, to)), "", None);
    }
    Ok(())
}

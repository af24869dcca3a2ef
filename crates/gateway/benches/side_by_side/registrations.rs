//! What a browser that only waits for calls costs: memory per registration over WSS, idle.

use crate::Outcome;
use crate::app::Dialer;
use crate::process::Gateway;
use crate::signaling::Page;
use crate::table::row;

const PAGES: u32 = 1000;
/// The first ones pay for what all share.
const WARM: u32 = 50;
const PER_USER: u32 = 10;

pub(crate) fn run() -> Outcome<()> {
    let gateway = Gateway::start("", (WARM + PAGES) / PER_USER)?;
    let dialer = Dialer::new(&gateway)?;
    let mut pages = Vec::new();
    let mut before = 0;
    for number in 0..WARM + PAGES {
        let stream = dialer.dial(&gateway, "wss")?;
        pages.push(Page::open(Box::new(stream), &format!("user{}", number / PER_USER), number)?);
        if number + 1 == WARM {
            before = gateway.server.memory();
        }
    }
    let memory = gateway.server.memory().saturating_sub(before) as f64 / f64::from(PAGES);
    row("KiB of memory per idle WSS registration", &format!("{:.1}", memory / 1024.0), "", None);
    Ok(())
}

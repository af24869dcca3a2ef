//! Browsers that connect at once.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::browser::{Browser, SETTLE};
use crate::load::received;

/// Has browsers connect, many at a time, all of which speak before anybody hears an answer: so the
/// server finds as much to do at once as where it is busy. For the thread that is where the peers are.
pub(crate) fn connect(browsers: &mut [Browser]) -> Outcome<()> {
    let start = Instant::now();
    let mut waiting = browsers.iter_mut();
    let mut busy: Vec<&mut Browser> = Vec::new();
    loop {
        busy.retain(|browser| !browser.is_up());
        busy.extend(waiting.by_ref().take(AT_ONCE - busy.len()));
        if busy.is_empty() {
            return Ok(());
        }
        if start.elapsed() > SETTLE {
            return Err("a browser does not connect".into());
        }
        let now = Instant::now();
        busy.iter_mut().try_for_each(|browser| browser.think(now))?;
        busy.iter_mut().try_for_each(|browser| browser.say())?;
        wait_for_silence()?;
    }
}

/// Returns when the server has nothing more to say, at once; whoever is up hears reports all the time.
fn wait_for_silence() -> Outcome<()> {
    let (start, mut before) = (Instant::now(), usize::MAX);
    while start.elapsed() < LONGEST {
        let so_far = received()?;
        if so_far == before {
            break;
        }
        before = so_far;
        std::thread::sleep(SILENCE);
    }
    Ok(())
}

/// They are at different steps, of which there are several: so fewer than these have something to say.
const AT_ONCE: usize = 256;
/// Longer than a handshake takes.
const SILENCE: Duration = Duration::from_millis(3);
/// Far less than who hears nothing waits before he speaks again.
const LONGEST: Duration = Duration::from_millis(30);

//! The delay that a server adds to packets at some share of what it can carry, and while
//! browsers connect.

use std::time::{Duration, Instant, SystemTime};

use crate::Outcome;
use crate::browser::Browser;
use crate::load::Load;
use crate::probe::Probe;

/// What one sample says.
pub(crate) struct Delay {
    /// Microseconds.
    pub(crate) median: f64,
    pub(crate) p99: f64,
    /// Packets a second that were sent.
    pub(crate) rate: f64,
    /// Handshakes a second that were completed meanwhile.
    pub(crate) handshakes: f64,
}

/// Has everybody speak at this rate for a while, and browsers connect. For the thread that is
/// where the peers are.
pub(crate) fn sample(load: &mut Load, rate: f64, waiting: &mut Vec<Browser>) -> Outcome<Delay> {
    let mut probe = Probe::new(&load.probed())?;
    let (start, mut sent, mut done) = (Instant::now(), 0_u64, 0_u64);
    let after = SystemTime::now() + WARM;
    let mut busy: Vec<Browser> = Vec::new();
    let wants_handshakes = !waiting.is_empty();
    let is_measured = |at: Instant| at.duration_since(start) >= WARM;
    let mut measured = (0_u64, 0_u64);
    loop {
        let now = Instant::now();
        if now.duration_since(start) >= WARM + TIME {
            break;
        }
        let due = (now.duration_since(start).as_secs_f64() * rate) as u64;
        let count = due.saturating_sub(sent).min(MOST);
        for _ in 0..count {
            load.send(now, Some(&mut probe));
        }
        load.flush();
        // What cannot be sent in time is not made up for.
        sent = if due.saturating_sub(sent) > BEHIND { due } else { sent + count };
        measured.0 += if is_measured(now) { count } else { 0 };
        if !wants_handshakes {
            std::hint::spin_loop();
            continue;
        }
        while busy.len() < AT_ONCE
            && let Some(browser) = waiting.pop()
        {
            busy.push(browser);
        }
        // One step of one browser, so that packets do not wait long.
        let turn = done as usize + sent as usize;
        let place = turn.checked_rem(busy.len()).unwrap_or(0);
        let Some(browser) = busy.get_mut(place) else {
            continue;
        };
        browser.work(now)?;
        if browser.is_up() {
            busy.swap_remove(place);
            done += 1;
            measured.1 += u64::from(is_measured(now));
        }
    }
    std::thread::sleep(Duration::from_millis(20));
    let mut delays = probe.delays(after);
    delays.sort_unstable();
    let at = |share: f64| {
        let place = ((delays.len() as f64 * share) as usize).min(delays.len().saturating_sub(1));
        delays.get(place).map_or(f64::NAN, |delay| delay.as_nanos() as f64 / 1000.0)
    };
    let per_second = |count: u64| count as f64 / TIME.as_secs_f64();
    Ok(Delay {
        median: at(0.5),
        p99: at(0.99),
        rate: per_second(measured.0),
        handshakes: per_second(measured.1),
    })
}

const WARM: Duration = Duration::from_millis(300);
const TIME: Duration = Duration::from_secs(2);
/// Sent at once, and how far behind the load may be.
const MOST: u64 = 64;
const BEHIND: u64 = 1000;
/// Handshakes that are on their way at once.
const AT_ONCE: usize = 16;

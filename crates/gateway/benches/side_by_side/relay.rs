//! Packets per second of processor time from WebRTC to RTP and back, beside rtpengine in user
//! space: the same browsers, phones, ciphers and packets, in turns.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::browser::{Browser, Identity, Phone, SETTLE};
use crate::ng::Rtpengine;
use crate::process::{Gateway, Server, free_port};
use crate::signaling::{Page, Trunk};
use crate::table::{median, row, thousands};

/// Each call is 100 packets a second.
const CALLS: u32 = 256;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);
const FRAME: Duration = Duration::from_millis(20);
/// Calls speak one after another within a frame, as they do in life.
const SLOTS: usize = 20;

struct Load {
    calls: Vec<(Browser, Phone)>,
    /// What the server had in memory for each call, in bytes.
    memory: f64,
}

pub(crate) fn run() -> Outcome<()> {
    let identity = Identity::new()?;
    let port = free_port()?;
    let trunk = format!("[[trunk]]\nname = \"in\"\nhost = \"127.0.0.1\"\nport = {port}\n");
    let gateway = Gateway::start(&trunk, 1)?;
    let trunk = Trunk::open(&gateway, port)?;
    let mut page = Page::connect(&gateway, 0)?;
    let mut ours = set_up(&identity, &gateway.server, |number, browser, phone| {
        trunk.join(&mut page, &identity, number, (browser, phone))
    })?;
    let mut rtpengine = Rtpengine::start()?;
    // Borrowed apart: the server is watched while its control is used.
    let (server, control) = (&rtpengine.server, &mut rtpengine.control);
    let mut theirs = set_up(&identity, server, |number, browser, phone| {
        control.join(&identity, number, browser, phone)
    })?;
    let mut spent = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        spent[0].push(ours.measure(&gateway.server, &mut theirs)?);
        spent[1].push(theirs.measure(&rtpengine.server, &mut ours)?);
    }
    let rates = spent.map(|nanoseconds| 1e9 / median(nanoseconds));
    eprintln!("SRTP: {} and {}", ours.profile(), theirs.profile());
    row(
        "packets per second and core, WebRTC to RTP, beside rtpengine in user space",
        &thousands(rates[0]),
        &thousands(rates[1]),
        Some(rates[0] / rates[1]),
    );
    row(
        "KiB of memory per WebRTC-to-RTP call (less is better)",
        &format!("{:.0}", ours.memory / 1024.0),
        &format!("{:.0}", theirs.memory / 1024.0),
        Some(ours.memory / theirs.memory),
    );
    Ok(())
}

/// Sets all calls up and waits until each browser has its keys.
fn set_up(
    identity: &Identity,
    server: &Server,
    mut join: impl FnMut(u32, &mut Browser, &mut Phone) -> Outcome<()>,
) -> Outcome<Load> {
    let mut calls = Vec::new();
    let mut before = 0;
    // The first calls pay for what all share.
    const WARM: u32 = 8;
    for number in 0..CALLS + WARM {
        let (mut browser, mut phone) = (Browser::new(identity, number)?, Phone::new(number)?);
        join(number, &mut browser, &mut phone)?;
        calls.push((browser, phone));
        settle(&mut calls)?;
        if number + 1 == WARM {
            before = server.memory();
        }
    }
    // Both directions have spoken before memory is read.
    let mut load = Load { calls, memory: 0.0 };
    load.talk(Duration::from_secs(1), &mut [])?;
    load.memory = server.memory().saturating_sub(before) as f64 / f64::from(CALLS);
    Ok(load)
}

/// Lets the newest call come up; the others go on with their checks.
fn settle(calls: &mut [(Browser, Phone)]) -> Outcome<()> {
    let start = Instant::now();
    loop {
        let Some((browser, _)) = calls.last_mut() else { return Ok(()) };
        browser.work(Instant::now())?;
        if browser.is_up() {
            break;
        }
        if start.elapsed() > SETTLE {
            return Err("a browser got no keys".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for (browser, _) in calls {
        browser.work(Instant::now())?;
    }
    Ok(())
}

impl Load {
    /// Nanoseconds of the server's time per packet that came through. The calls of the other
    /// server are kept alive meanwhile.
    fn measure(&mut self, server: &Server, other: &mut Self) -> Outcome<f64> {
        self.talk(Duration::from_millis(500), &mut other.calls)?;
        let (packets, time) = (self.received(), server.spent());
        let sent = self.talk(ROUND, &mut other.calls)?;
        let (packets, time) = (self.received() - packets, server.spent() - time);
        if packets * 100 < sent * 99 {
            return Err(format!("of {sent} packets only {packets} came through").into());
        }
        Ok(time.as_nanos() as f64 / packets as f64)
    }

    fn received(&self) -> u64 {
        self.calls.iter().map(|(browser, phone)| browser.received + phone.received).sum()
    }

    fn profile(&self) -> String {
        let profile = self.calls.first().and_then(|(browser, _)| browser.profile);
        profile.map_or_else(String::new, |p| format!("{p:?}"))
    }

    /// Everybody speaks for so long; gives how many packets were sent.
    fn talk(&mut self, time: Duration, others: &mut [(Browser, Phone)]) -> Outcome<u64> {
        let start = Instant::now();
        let mut sent = 0;
        let mut slot = 0_u32;
        while start.elapsed() < time {
            let at = slot as usize % SLOTS;
            for (browser, phone) in self.calls.iter_mut().skip(at).step_by(SLOTS) {
                browser.work(Instant::now())?;
                phone.work()?;
                browser.speak()?;
                phone.speak()?;
                sent += 2;
            }
            for (browser, phone) in others.iter_mut().skip(at).step_by(SLOTS) {
                browser.work(Instant::now())?;
                phone.work()?;
            }
            slot += 1;
            let due = start + FRAME / SLOTS as u32 * slot;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        // What is on its way still counts.
        std::thread::sleep(FRAME);
        for (browser, phone) in &mut self.calls {
            browser.work(Instant::now())?;
            phone.work()?;
        }
        Ok(sent)
    }
}

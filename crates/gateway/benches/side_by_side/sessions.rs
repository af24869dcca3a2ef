//! What apps on RTC:engine cost: memory per idle session, processor time per message, and per
//! call beside a browser that speaks SIP over WSS.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use crate::Outcome;
use crate::app::{App, Dialer};
use crate::browser::{Browser, Identity, Phone};
use crate::process::{Gateway, Server, free_port};
use crate::signaling::{Page, Trunk};
use crate::table::{median, row, thousands};

/// The first ones pay for what all share.
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const WARM: u32 = 100;
const SESSIONS: u32 = 10_000;
const PER_USER: u32 = 20;
const TALKERS: u32 = 100;
const QUESTIONS: u32 = 300;
const CALLS: u32 = 500;
/// Called in turns, since each may say only so much in a second.
const CALLED: u32 = 20;
const ROUNDS: usize = 3;

pub(crate) fn run() -> Outcome<()> {
    let (memory, rate) = apps()?;
    row("KiB of memory per idle RTC:engine session over WSS", &format!("{memory:.1}"), "", None);
    row("RTC:engine questions and answers per second and core", &thousands(rate), "", None);
    let (app, page) = calls()?;
    row(
        "µs of processor time per call to an app, beside a browser with SIP over WSS",
        &format!("{app:.0}"),
        &format!("{page:.0}"),
        Some(app / page),
    );
    Ok(())
}

/// KiB for an idle session, and questions answered in a second of processor time.
fn apps() -> Outcome<(f64, f64)> {
    let gateway = Gateway::start("", (WARM + SESSIONS).div_ceil(PER_USER))?;
    let dialer = Dialer::new(&gateway)?;
    let mut apps = Vec::new();
    let mut before = 0;
    for number in 0..WARM + SESSIONS {
        apps.push(App::open(&dialer, &gateway, &format!("user{}", number / PER_USER))?);
        if number + 1 == WARM {
            before = gateway.server.memory();
        }
    }
    let memory = gateway.server.memory().saturating_sub(before) as f64 / f64::from(SESSIONS);

    let spent = gateway.server.spent();
    for round in 0..QUESTIONS {
        for app in apps.iter_mut().take(TALKERS as usize) {
            let unknown = format!("none-{round}");
            app.send_account("call.end", json!({ "id": unknown, "gcid": unknown }))?;
        }
        for app in apps.iter_mut().take(TALKERS as usize) {
            app.await_method("call.ack.end")?;
            if round % 50 == 49 {
                app.acknowledge()?;
            }
        }
    }
    let spent = gateway.server.spent() - spent;
    Ok((memory / 1024.0, f64::from(TALKERS * QUESTIONS) / spent.as_secs_f64()))
}

/// Microseconds of processor time for a call from a trunk to an app and to a SIP browser.
fn calls() -> Outcome<(f64, f64)> {
    let port = free_port()?;
    let config = format!(
        "[[trunk]]\nname = \"phones\"\nhost = \"127.0.0.1\"\nport = {port}\ntransport = \"udp\"\n"
    );
    let gateway = Gateway::start(&config, 2 * CALLED)?;
    let dialer = Dialer::new(&gateway)?;
    let trunk = Trunk::open(&gateway, port)?;
    let identity = Identity::new(LOOPBACK, LOOPBACK)?;
    let (mut apps, mut pages) = (Vec::new(), Vec::new());
    for number in 0..CALLED {
        apps.push(App::open(&dialer, &gateway, &format!("user{number}"))?);
        let stream = dialer.dial(&gateway, "wss")?;
        pages.push(Page::open(Box::new(stream), &format!("user{}", CALLED + number), number)?);
    }
    let mut call = 0;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let of_app = load(&gateway.server, &identity, |browser, phone| {
            call += 1;
            let number = call % CALLED;
            let app = &mut apps[number as usize];
            let user = format!("user{number}");
            trunk.call(call, &user, phone, || app.take_call(&identity, browser))?;
            app.await_end()
        })?;
        let of_page = load(&gateway.server, &identity, |browser, phone| {
            call += 1;
            let number = call % CALLED;
            let page = &mut pages[number as usize];
            let user = format!("user{}", CALLED + number);
            trunk.call(call, &user, phone, || page.take_call(&identity, call, browser))?;
            page.await_end()
        })?;
        // The first round pays for what all share.
        if round > 0 {
            times[0].push(of_app.as_secs_f64() * 1e6 / f64::from(CALLS));
            times[1].push(of_page.as_secs_f64() * 1e6 / f64::from(CALLS));
        }
    }
    let [app, page] = times;
    Ok((median(app), median(page)))
}

fn load(
    server: &Server,
    identity: &Identity,
    mut call: impl FnMut(&mut Browser, &Phone) -> Outcome<()>,
) -> Outcome<Duration> {
    let before = server.spent();
    for number in 0..CALLS {
        let mut browser = Browser::new(identity, number)?;
        call(&mut browser, &Phone::new(LOOPBACK, LOOPBACK, number)?)?;
    }
    Ok(server.spent() - before)
}

//! What apps on RTC:engine cost: memory per idle session, processor time per message, and per
//! call beside a browser that speaks SIP over WSS.

use std::time::Duration;

use serde_json::json;

use crate::Outcome;
use crate::app::{App, Dialer};
use crate::browser::{Browser, Identity, Phone};
use crate::process::{Gateway, Server, free_port};
use crate::signaling::{Page, Trunk};
use crate::table::{median, row, thousands};

/// The first ones pay for what all share.
const WARM: u32 = 100;
const SESSIONS: u32 = 10_000;
const PER_USER: u32 = 20;
const TALKERS: u32 = 100;
const QUESTIONS: u32 = 300;
const CALLS: u32 = 500;
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
    let gateway = Gateway::start(&config, 2)?;
    let dialer = Dialer::new(&gateway)?;
    let trunk = Trunk::open(&gateway, port)?;
    let identity = Identity::new()?;
    let mut app = App::open(&dialer, &gateway, "user0")?;
    let stream = dialer.dial(&gateway, "wss")?;
    let mut page = Page::open(Box::new(stream), "user1", 1)?;
    let mut number = 0;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let of_app = load(&gateway.server, &identity, |browser, phone| {
            number += 1;
            trunk.call(number, "user0", phone, || app.take_call(&identity, browser))?;
            app.await_end()
        })?;
        let of_page = load(&gateway.server, &identity, |browser, phone| {
            number += 1;
            trunk.call(number, "user1", phone, || page.take_call(&identity, number, browser))?;
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
        call(&mut browser, &Phone::new(number)?)?;
    }
    Ok(server.spent() - before)
}

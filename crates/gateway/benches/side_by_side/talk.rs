//! Sound through the gateway as it is run: a phone and a browser that talk at once.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::app::Dialer;
use crate::browser::{Browser, Identity, Phone, SETTLE};
use crate::process::{Gateway, Server, free_port};
use crate::signaling::{Page, Trunk};
use crate::table::{median, row, thousands};

const ROUNDS: u32 = 5;
const PACKETS: u32 = 32_000;
/// That come at a time, each way.
const BURST: u32 = 16;
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// For binaries to be compared (`CROSSPOINT_BIN`): the relay's own bench has the peers.
pub(crate) fn run() -> Outcome<()> {
    let caller = free_port()?;
    let trunk = format!("[[trunk]]\nname = \"in\"\nhost = \"127.0.0.1\"\nport = {caller}\n");
    let gateway = Gateway::start(&trunk, 1)?;
    let trunk = Trunk::open(&gateway, caller)?;
    let identity = Identity::new(LOOPBACK, LOOPBACK)?;
    let stream = Dialer::new(&gateway)?.dial(&gateway, "wss")?;
    let mut page = Page::open(Box::new(stream), "user0", 1)?;
    let mut costs = Vec::new();
    for round in 0..=ROUNDS {
        let wish = (round, "user0", PACKETS);
        let spent = spoken(&gateway.server, &trunk, &identity, wish, |browser| {
            page.take_call(&identity, round, browser)
        })?;
        page.await_end()?;
        // The first round pays for what all share.
        if round > 0 {
            costs.push(spent.as_secs_f64() * 1e9 / f64::from(2 * PACKETS));
        }
    }
    let what = "ns of processor time for a relayed packet, WebRTC to RTP, in one call";
    row(what, &thousands(median(costs)), "", None);
    Ok(())
}

/// A call from the trunk to a browser, with so many packets of 20 ms each way; gives what these cost
/// the server.
pub(crate) fn spoken(
    server: &Server,
    trunk: &Trunk,
    identity: &Identity,
    (number, user, packets): (u32, &str, u32),
    take: impl FnOnce(&mut Browser) -> Outcome<()>,
) -> Outcome<Duration> {
    let (mut browser, mut phone) =
        (Browser::new(identity, number)?, Phone::new(LOOPBACK, LOOPBACK, number)?);
    trunk.invite(number, user, &phone.describe()?)?;
    take(&mut browser)?;
    let answer = trunk.answered(number)?;
    phone.accept(&answer.body)?;
    let start = Instant::now();
    while !browser.is_up() {
        if start.elapsed() > SETTLE {
            return Err("a browser did not come up".into());
        }
        browser.work(Instant::now())?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = server.spent();
    for _ in 0..packets / BURST {
        let wanted = (browser.received + u64::from(BURST), phone.received + u64::from(BURST));
        for _ in 0..BURST {
            browser.speak()?;
            phone.speak()?;
        }
        // What the gateway drops at first, while it learns who speaks, is not waited for long.
        let start = Instant::now();
        while (browser.received < wanted.0 || phone.received < wanted.1)
            && start.elapsed() < Duration::from_millis(20)
        {
            browser.work(Instant::now())?;
            phone.work()?;
        }
    }
    if browser.received == 0 || phone.received == 0 {
        return Err("a call was silent".into());
    }
    let spent = server.spent() - before;
    trunk.hang_up(number, &answer)?;
    Ok(spent)
}

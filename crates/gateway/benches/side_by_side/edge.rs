//! What user agents cost at the edge, beside Kamailio with the same transports: signing in over
//! UDP and WebSocket, calling from a browser, and how long a call is held on its way.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::app::Dialer;
use crate::browser::{Browser, Identity};
use crate::calls::{Phone, UAS, load, load_every};
use crate::kamailio::Kamailio;
use crate::process::{Gateway, PATIENCE, Server, free_port};
use crate::signaling::{Page, Trunk, register_many, register_phone};
use crate::table::{median, row, thousands};

const ROUNDS: usize = 3;
/// Digest sign-ins in one round, so many of them under way at a time.
const REGISTRATIONS: u32 = 4000;
const AT_ONCE: u32 = 16;
const USERS: u32 = 100;
/// Who is called; nobody else signs in under that name, or a call would be forked to several.
const CALLED: &str = "user99";
const PEERS: [&str; 2] = ["Kamailio", "Kamailio and rtpengine"];
const MICROS: &str = "µs of processor time";
const SOCKETS: u32 = 300;
const CALLS: u32 = 320;
const PROBES: u32 = 1000;
/// How much of its core the server is to be busy with other calls while some are probed, and how
/// many calls a second, and altogether, show what rate that is.
const BUSY: f64 = 0.5;
const TRIAL: (u32, u32) = (800, 3200);

/// What signing in costs.
pub(crate) fn run() -> Outcome<()> {
    let callee = free_port()?;
    let (gateway, kamailio) = (Gateway::start("", USERS)?, Kamailio::edge(callee)?);
    let sides = [&Side::of(&gateway)?, &Side::of_kamailio(&kamailio)?];
    compare(&format!("{MICROS} for a REGISTER, 401, REGISTER, 200 over UDP"), sides, |at, n| {
        let server = sides.get(at).ok_or("no side")?.udp;
        register_many(server, n * REGISTRATIONS, REGISTRATIONS, USERS, AT_ONCE)?;
        Ok(REGISTRATIONS)
    })?;
    compare(&format!("{MICROS} for a WebSocket with a digest REGISTER"), sides, |at, round| {
        let server = sides.get(at).ok_or("no side")?.ws;
        let mut pages = Vec::new();
        for number in 0..SOCKETS {
            let stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            let (user, number) = (format!("user{}", 1 + number % 60), round * SOCKETS + number);
            pages.push(Page::open(Box::new(stream), &user, number)?);
        }
        Ok(SOCKETS)
    })
}

/// What calls from browsers cost.
pub(crate) fn browsers() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("uas.xml"), UAS)?;
    let callee = free_port()?;
    let gateway = Gateway::start("", USERS)?;
    register_phone(&gateway, CALLED, callee)?;
    let _phone = Phone::answering(callee, folder.path())?;
    let (kamailio, bridge) = (Kamailio::edge(callee)?, Kamailio::bridge(callee)?);
    let sides = [Side::of(&gateway)?, Side::of_kamailio(&kamailio)?, Side::of_kamailio(&bridge)?];
    let mut pages = Vec::new();
    for side in &sides {
        let open = |number| {
            let stream = side.dialer.dial_at(side.wss)?;
            Page::open(Box::new(stream), &format!("user{}", 1 + number), 1_000_000 + number)
        };
        pages.push((0..AT_ONCE).map(open).collect::<Outcome<Vec<Page>>>()?);
    }
    let identity = Identity::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)?;
    let [ours, peers @ ..] = &sides;
    let [our_pages, peers_pages @ ..] = pages.as_mut_slice() else { return Err("no pages".into()) };
    let mut next = 1;
    for at_once in [1, AT_ONCE as usize] {
        for (name, peer, pages) in
            PEERS.iter().zip(peers).zip(peers_pages.iter_mut()).map(|((n, s), p)| (n, s, p))
        {
            let what = format!("{MICROS} for a call from WSS, {at_once} at a time, beside {name}");
            compare(&what, [ours, peer], |at, _| {
                let pages = if at == 0 { &mut *our_pages } else { &mut *pages };
                let pages = pages.get_mut(..at_once).ok_or("no pages")?;
                let server = if at == 0 { "Crosspoint" } else { name };
                call_from(pages, &identity, &mut next).map_err(|e| format!("{server}: {e}").into())
            })?;
        }
    }
    Ok(())
}

/// Has browsers call at the same time, one call after the other each; gives how many calls there were.
fn call_from(pages: &mut [Page], identity: &Identity, next: &mut u32) -> Outcome<u32> {
    let each = CALLS / pages.len() as u32;
    std::thread::scope(|scope| {
        let mut browsers = Vec::new();
        for page in pages.iter_mut() {
            let numbers = *next..*next + each;
            *next = numbers.end;
            browsers.push(scope.spawn(move || {
                for number in numbers {
                    Browser::new(identity, number)
                        .map(|browser| browser.describe(identity, true))
                        .and_then(|offer| page.call(CALLED, number, &offer))
                        .map_err(|e| e.to_string())?;
                }
                Ok::<_, String>(())
            }));
        }
        let calls = each * browsers.len() as u32;
        for browser in browsers {
            browser.join().map_err(|_| "a browser panicked")??;
        }
        Ok(calls)
    })
}

struct Side<'s> {
    /// With all that it needs.
    servers: Vec<&'s Server>,
    udp: SocketAddr,
    ws: SocketAddr,
    wss: SocketAddr,
    dialer: Dialer,
}

impl<'s> Side<'s> {
    fn of(gateway: &'s Gateway) -> Outcome<Self> {
        Ok(Self {
            servers: vec![&gateway.server],
            udp: gateway.address("udp")?,
            ws: gateway.address("ws")?,
            wss: gateway.address("wss")?,
            dialer: Dialer::new(gateway)?,
        })
    }

    fn of_kamailio(kamailio: &'s Kamailio) -> Outcome<Self> {
        let servers = [Some(&kamailio.server), kamailio.rtpengine.as_ref()];
        Ok(Self {
            servers: servers.into_iter().flatten().collect(),
            udp: kamailio.udp,
            ws: kamailio.ws,
            wss: kamailio.wss,
            dialer: Dialer::trusting(&kamailio.folder.path().join("certificate.pem"))?,
        })
    }
}

/// Has both do the same in turns; `work` is given whose turn it is and the round, and gives how often it was done.
fn compare(
    what: &str,
    sides: [&Side<'_>; 2],
    mut work: impl FnMut(usize, u32) -> Outcome<u32>,
) -> Outcome<()> {
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS as u32 {
        for (at, (side, costs)) in sides.iter().zip(&mut costs).enumerate() {
            let spent = || side.servers.iter().map(|server| server.spent()).sum::<Duration>();
            let before = spent();
            let times = work(at, round)?;
            let spent = spent() - before;
            // The first round pays for what all share.
            if round > 0 {
                costs.push(spent.as_secs_f64() * 1e6 / f64::from(times));
            }
        }
    }
    let [ours, peer] = costs.map(median);
    row(&format!("{what} (less is better)"), &thousands(ours), &thousands(peer), Some(ours / peer));
    Ok(())
}

/// Has this thread run on the load's core as soon as it can: else it is told late what came in time, while
/// sipp is at work there. What it starts does not inherit that.
fn go_first() -> Outcome<()> {
    let link = fs::read_link("/proc/thread-self")?;
    let thread = link.file_name().and_then(|name| name.to_str()).ok_or("no thread")?.to_owned();
    let wishes: [(&str, &[&str]); 2] = [
        ("taskset", &["--cpu-list", "--pid", "1", &thread]),
        ("chrt", &["--reset-on-fork", "--fifo", "--pid", "1", &thread]),
    ];
    for (program, arguments) in wishes {
        let done = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
        if !done.success() {
            return Err(format!("{program} does not put the probes first: that takes root").into());
        }
    }
    Ok(())
}

/// How long we hold a call that is set up while others come and go that keep half of a core busy:
/// from its INVITE to ours, and from the 200 to ours.
pub(crate) fn delay() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("uas.xml"), UAS)?;
    let folder = folder.path();
    let [callee, caller, prober] = [free_port()?, free_port()?, free_port()?];
    let trunk =
        |name, port| format!("[[trunk]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\n");
    let trunks = trunk("load", caller) + &trunk("probe", prober);
    let gateway = &Gateway::start(&trunks, USERS)?;
    register_phone(gateway, "user0", callee)?;
    let _phone = Phone::answering(callee, folder)?;
    let port = gateway.address("udp")?.port();
    let called = free_port()?;
    register_phone(gateway, "user98", called)?;
    let phone = UdpSocket::bind(("127.0.0.1", called))?;
    phone.set_read_timeout(Some(PATIENCE))?;
    let trunk = Trunk::open(gateway, prober)?;
    let (rate, calls) = TRIAL;
    let cost = load(&gateway.server, port, caller, folder, (calls, rate, 0))? / f64::from(calls);
    let rate = (BUSY / cost) as u32;
    let mut held = std::thread::scope(|scope| -> Outcome<Vec<f64>> {
        let server = &gateway.server;
        let busy = scope.spawn(move || {
            // In bursts of 10 ms the last would wait for all the others.
            load_every(1, server, port, caller, folder, (rate * 12, rate, 0))
                .map_err(|e| e.to_string())
        });
        std::thread::sleep(Duration::from_secs(2));
        go_first()?;
        let mut held = Vec::new();
        for number in 0..PROBES {
            held.push(trunk.probe(1_000_000 + number, "user98", &phone)?.as_secs_f64() * 1e3);
            std::thread::sleep(Duration::from_millis(5));
        }
        busy.join().map_err(|_| "the load panicked")??;
        Ok(held)
    })?;
    held.sort_by(f64::total_cmp);
    let at = |share: usize| held.get(held.len() * share / 100).copied().unwrap_or(0.0);
    let rate = thousands(rate.into());
    for (which, share) in [("median", 50), ("99 in 100 at most", 99)] {
        let what = format!("ms we hold a call at half load, {rate} calls a second, {which}");
        row(&what, &format!("{:.2}", at(share)), "", None);
    }
    Ok(())
}

//! SIP calls per second of processor time: INVITE to BYE from one sipp to another, through the
//! gateway (a B2BUA that also reads, writes and binds media) and through Kamailio (a stateful
//! proxy that does not look at the media).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::kamailio::Kamailio;
use crate::mirror;
use crate::process::{Gateway, RELAYED, Server, free_port};
use crate::signaling::register_phone;
use crate::table::{median, row, thousands};

const ROUNDS: usize = 3;
const CALLS: u32 = 6000;
/// Calls a second; the more, the more messages wait for each turn.
const RATES: [u32; 3] = [400, 1000, 2000];
/// Calls that are up at a time while others come and go, and how many come for each.
const HELD: [(u32, u32); 5] =
    [(10, 4000), (100, 4000), (1000, 6000), (4000, 12_000), (10_000, 30_000)];
/// With media each takes four descriptors, of which many a host gives 20 000.
const MOST_WITH_MEDIA: u32 = 4000;
const HELD_RATE: u32 = 500;
/// Before any row: until as many finished calls are kept for their 32 s as ever will be. Otherwise
/// the first rows have little memory, and the later ones are dearer for that alone.
const HELD_WARM_UP: u32 = 40 * HELD_RATE;
/// Four for each of them. No system leaves so many, so they are up in a network of their own, where
/// sockets that ask for any port get one of the others.
const MANY_PORTS: &str = "rtp_ports = \"10000-53999\"";
const OTHER_PORTS: &str = "54000 65000";
/// Media of phones goes past us, as it does with a proxy.
pub(crate) const PAST_US: &str = "rtp_ports = \"10000-29999\"\nphones = \"direct\"";
/// The difference is small: many short rounds in turns.
const LADDER_ROUNDS: usize = 11;
const LADDER_CALLS: u32 = 2000;

pub(crate) fn run() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("uas.xml"), UAS)?;
    let (callee, caller) = (free_port()?, free_port()?);
    let gateways = [RELAYED, PAST_US].map(|media| between(media, caller, callee));
    let [relaying, past] = gateways;
    let (relaying, past) = (relaying?, past?);
    let _phone = Phone::answering(callee, folder.path())?;
    let kamailio = Kamailio::proxy(callee)?;
    let (mirror, bare) = mirror::start(callee, folder.path())?;
    let servers = [
        (&mirror, bare),
        (&past.server, past.address("udp")?.port()),
        (&relaying.server, relaying.address("udp")?.port()),
        (&kamailio.server, kamailio.udp.port()),
    ];
    for rate in RATES {
        let mut spent = [const { Vec::new() }; 4];
        let calls = CALLS.max(4 * rate);
        for _ in 0..ROUNDS {
            for ((server, port), spent) in servers.iter().zip(&mut spent) {
                spent.push(load(server, *port, caller, folder.path(), (calls, rate, 0))?);
            }
        }
        let [bare, past, relayed, peer] = spent.map(|spent| median(spent) * 1e6 / f64::from(calls));
        let what =
            format!("µs of processor time for a SIP call at {} a second", thousands(rate.into()));
        for (who, ours) in [
            ("the same datagrams passed on unread", bare),
            ("media past us", past),
            ("media through us", relayed),
        ] {
            let what = format!("{what}, {who}, beside Kamailio 5 (less is better)");
            row(&what, &thousands(ours), &thousands(peer), Some(ours / peer));
        }
    }
    Ok(())
}

/// A gateway between a caller, from whom calls come as from a trunk, and a phone that is signed in.
fn between(media: &str, caller: u16, callee: u16) -> Outcome<Gateway> {
    let way = if media == PAST_US { "direct" } else { "relay" };
    let trunk = format!(
        "[[trunk]]\nname = \"in\"\nhost = \"127.0.0.1\"\nport = {caller}\nmedia = \"{way}\"\n"
    );
    let gateway = Gateway::start_with(media, &trunk, 1)?;
    register_phone(&gateway, "user0", callee)?;
    Ok(gateway)
}

/// What a call costs while others are up. Begins this program again in a network of its own.
pub(crate) fn held() -> Outcome<()> {
    let inside = format!(
        "ip link set lo up && echo {OTHER_PORTS} >/proc/sys/net/ipv4/ip_local_port_range \
         && exec \"$0\" {HELD_INSIDE}"
    );
    let done = Command::new("unshare")
        .args(["--net", "sh", "-c", &inside])
        .arg(std::env::current_exe()?)
        .status()?;
    match done.success() {
        true => Ok(()),
        false => {
            Err("it went wrong in a network of its own, or without one: that takes root".into())
        }
    }
}

/// The name of what runs in that network.
pub(crate) const HELD_INSIDE: &str = "held-inside";

pub(crate) fn held_inside() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("uas.xml"), UAS)?;
    let (callee, caller) = (free_port()?, free_port()?);
    let gateways = [(PAST_US, "past"), (MANY_PORTS, "through")]
        .map(|(media, words)| Ok((media, words, between(media, caller, callee)?)));
    let gateways = gateways.into_iter().collect::<Outcome<Vec<_>>>()?;
    let _phone = Phone::answering(callee, folder.path())?;
    for (media, words, gateway) in &gateways {
        let port = gateway.address("udp")?.port();
        let warm_up = (HELD_WARM_UP, HELD_RATE, 0);
        load(&gateway.server, port, caller, folder.path(), warm_up)?;
        for (held, calls) in HELD {
            if *media == MANY_PORTS && held > MOST_WITH_MEDIA {
                continue;
            }
            let pause = 1000 * held / HELD_RATE;
            let wish = (calls, HELD_RATE, pause);
            let spent = load(&gateway.server, port, caller, folder.path(), wish)?;
            let what = format!(
                "µs of processor time for a SIP call at {HELD_RATE} a second while {} others are up, media {words} us",
                thousands(held.into())
            );
            row(&what, &thousands(spent * 1e6 / f64::from(calls)), "", None);
        }
    }
    Ok(())
}

/// What a call costs with everything kept that was said in it, beside the same gateway that keeps
/// nothing.
pub(crate) fn ladders() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("uas.xml"), UAS)?;
    let (callee, caller) = (free_port()?, free_port()?);
    let trunk = format!("[[trunk]]\nname = \"in\"\nhost = \"127.0.0.1\"\nport = {caller}\n");
    let mut gateways = Vec::new();
    for ladder in ["", "[ladder]\ncalls = 0\n"] {
        let gateway = Gateway::start(&format!("{trunk}{ladder}"), 1)?;
        register_phone(&gateway, "user0", callee)?;
        gateways.push(gateway);
    }
    let _phone = Phone::answering(callee, folder.path())?;
    let mut spent = [Vec::new(), Vec::new()];
    for _ in 0..LADDER_ROUNDS {
        for (gateway, spent) in gateways.iter().zip(&mut spent) {
            let port = gateway.address("udp")?.port();
            let wish = (LADDER_CALLS, RATES[0], 0);
            spent.push(load(&gateway.server, port, caller, folder.path(), wish)?);
        }
    }
    let [with, without] = spent.map(|spent| median(spent) * 1e6 / f64::from(LADDER_CALLS));
    let what = "µs of processor time for a SIP call with its ladder, beside one without";
    row(what, &thousands(with), &thousands(without), Some(with / without));
    Ok(())
}

/// Seconds of processor time that the server spent on all the calls.
pub(crate) fn load(
    server: &Server,
    port: u16,
    caller: u16,
    folder: &Path,
    wish: (u32, u32, u32),
) -> Outcome<f64> {
    load_every(10, server, port, caller, folder, wish)
}

/// The same with calls that are due sent every so many milliseconds.
pub(crate) fn load_every(
    millis: u32,
    server: &Server,
    port: u16,
    caller: u16,
    folder: &Path,
    (calls, rate, pause): (u32, u32, u32),
) -> Outcome<f64> {
    let talk =
        if pause == 0 { String::new() } else { format!("<pause milliseconds=\"{pause}\"/>") };
    fs::write(folder.join("uac.xml"), UAC.replace("@TALK", &talk))?;
    let before = server.spent();
    let output = Command::new("taskset")
        .args(["-c", "1", "sipp", "-sf", "uac.xml", "-s", "user0", "-i", "127.0.0.1", "-nostdin"])
        .args(["-p", &caller.to_string(), "-r", &rate.to_string(), "-m", &calls.to_string()])
        .args(["-l", "15000", "-timer_resol", &millis.to_string()])
        .args(["-timeout", "120", "-timeout_error", "-trace_err", "-error_file", "errors"])
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = fs::read_to_string(folder.join("errors")).unwrap_or_default();
        // What came too late is told at length before what was wrong.
        let wrong = said.split("\n'").find(|part| !part.contains("Dead call")).unwrap_or_default();
        return Err(format!("sipp lost calls at port {port}: {}\n{wrong}", output.status).into());
    }
    Ok((server.spent() - before).as_secs_f64())
}

/// sipp as the called phone.
pub(crate) struct Phone(std::process::Child);

impl Phone {
    pub(crate) fn answering(port: u16, folder: &Path) -> Outcome<Self> {
        let child = Command::new("taskset")
            .args(["-c", "1", "sipp", "-sf", "uas.xml", "-i", "127.0.0.1", "-nostdin"])
            .args(["-p", &port.to_string(), "-mp", &free_port()?.to_string()])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self(child))
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As sipp's own caller, but it keeps to the route that the proxy recorded.
const UAC: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="a call">
  <send retrans="500"><![CDATA[

INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:100@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:100@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000

  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[

ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:100@[local_ip]:[local_port]>;tag=[call_number]
[last_To:]
[routes]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

  ]]></send>
  @TALK
  <send retrans="500"><![CDATA[

BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:100@[local_ip]:[local_port]>;tag=[call_number]
[last_To:]
[routes]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

  ]]></send>
  <recv response="200"/>
</scenario>
"#;

/// As sipp's own phone, but it tells the route back.
pub(crate) const UAS: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="a phone">
  <recv request="INVITE"/>
  <send><![CDATA[

SIP/2.0 180 Ringing
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Length: 0

  ]]></send>
  <send retrans="500"><![CDATA[

SIP/2.0 200 OK
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000

  ]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[

SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

  ]]></send>
  <!-- A 200 that was lost is sent again for a BYE that is. -->
  <timewait milliseconds="2000"/>
</scenario>
"#;

//! SIP calls per second of processor time: INVITE to BYE from one sipp to another, through the
//! gateway (a B2BUA that also reads, writes and binds media) and through Kamailio (a stateful
//! proxy that does not look at the media).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::process::{Gateway, Server, await_line, free_port, text};
use crate::signaling::register_phone;
use crate::table::{median, row, thousands};

const ROUNDS: usize = 3;
const CALLS: u32 = 6000;
const RATE: u32 = 400;

pub(crate) fn run() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("uac.xml"), UAC)?;
    fs::write(folder.path().join("uas.xml"), UAS)?;
    let (callee, caller) = (free_port()?, free_port()?);
    let trunk = format!("[[trunk]]\nname = \"in\"\nhost = \"127.0.0.1\"\nport = {caller}\n");
    let gateway = Gateway::start(&trunk, 1)?;
    register_phone(&gateway, "user0", callee)?;
    let _phone = Phone::answering(callee, folder.path())?;
    let kamailio = Kamailio::start(callee)?;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..ROUNDS {
        let port = gateway.address("udp")?.port();
        ours.push(load(&gateway.server, port, caller, folder.path())?);
        theirs.push(load(&kamailio.server, kamailio.port, caller, folder.path())?);
    }
    let rates = [ours, theirs].map(|spent| f64::from(CALLS) / median(spent));
    row(
        "SIP calls per second and core, beside Kamailio 5",
        &thousands(rates[0]),
        &thousands(rates[1]),
        Some(rates[0] / rates[1]),
    );
    Ok(())
}

/// Seconds of processor time that the server spent on all the calls.
fn load(server: &Server, port: u16, caller: u16, folder: &Path) -> Outcome<f64> {
    let before = server.spent();
    let output = Command::new("taskset")
        .args(["-c", "1", "sipp", "-sf", "uac.xml", "-s", "user0", "-i", "127.0.0.1", "-nostdin"])
        .args(["-p", &caller.to_string(), "-r", &RATE.to_string(), "-m", &CALLS.to_string()])
        .args(["-timeout", "120", "-timeout_error", "-trace_err", "-error_file", "errors"])
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = fs::read_to_string(folder.join("errors")).unwrap_or_default();
        return Err(format!("sipp lost calls at port {port}: {}\n{said}", output.status).into());
    }
    Ok((server.spent() - before).as_secs_f64())
}

/// sipp as the called phone.
struct Phone(std::process::Child);

impl Phone {
    fn answering(port: u16, folder: &Path) -> Outcome<Self> {
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

struct Kamailio {
    server: Server,
    port: u16,
    _folder: TempDir,
}

impl Kamailio {
    fn start(callee: u16) -> Outcome<Self> {
        let port = free_port()?;
        let folder = tempfile::tempdir()?;
        let (file, log) = (folder.path().join("kamailio.cfg"), folder.path().join("log"));
        let config = KAMAILIO.replace("@PORT", &port.to_string());
        fs::write(&file, config.replace("@CALLEE", &callee.to_string()))?;
        let arguments = ["-DD", "-E", "-f", text(&file), "-m", "256", "-M", "16"];
        let arguments = [&arguments[..], &["-Y", text(folder.path())]].concat();
        let mut server = Server::start("kamailio", &arguments, &log)?;
        await_line(&mut server, &log, "bench is ready")?;
        Ok(Self { server, port, _folder: folder })
    }
}

const KAMAILIO: &str = r#"#!KAMAILIO
debug=0
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:@PORT
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "sl.so"
request_route {
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
  if (has_totag()) {
    if (loose_route()) t_relay();
    exit;
  }
  t_check_trans();
  if (is_method("INVITE")) record_route();
  $du = "sip:127.0.0.1:@CALLEE";
  t_relay();
}
event_route[tm:local-request] { return; }
event_route[core:worker-one-init] { xlog("L_ALERT", "bench is ready\n"); }
"#;

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
const UAS: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
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
</scenario>
"#;

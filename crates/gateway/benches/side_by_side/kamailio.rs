//! Kamailio as the peer: a stateful proxy with one worker, as its own documentation sets it up.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Outcome;
use crate::process::{PASSWORD, PATIENCE, Server, await_line, free_port, text};

/// One that runs, with where it listens.
pub(crate) struct Kamailio {
    pub(crate) server: Server,
    pub(crate) udp: SocketAddr,
    /// For WebSocket in clear and over TLS; only of an [`edge`](Self::edge).
    pub(crate) ws: SocketAddr,
    pub(crate) wss: SocketAddr,
    /// Of a [`bridge`](Self::bridge).
    pub(crate) rtpengine: Option<Server>,
    pub(crate) folder: TempDir,
}

impl Kamailio {
    /// Passes calls on to a phone, over UDP.
    pub(crate) fn proxy(callee: u16) -> Outcome<Self> {
        Self::start(PROXY, callee, None)
    }

    /// Registers whoever knows the password and passes calls on to a phone, over UDP, WS and WSS.
    pub(crate) fn edge(callee: u16) -> Outcome<Self> {
        Self::start(EDGE, callee, None)
    }

    /// The same with rtpengine, which makes RTP of browsers' media.
    pub(crate) fn bridge(callee: u16) -> Outcome<Self> {
        let ng = free_port()?;
        let with_media = [
            ("loadmodule \"websocket.so\"", LOADS_RTPENGINE),
            ("if (is_method(\"INVITE\")) record_route();", OFFERS),
            ("    if (loose_route()) t_relay();", FORGETS),
            ("event_route[tm:local-request]", ANSWERS),
        ];
        let config = with_media.iter().fold(EDGE.to_owned(), |config, (at, more)| {
            config.replace(at, &format!("{more}\n{at}"))
        });
        Self::start(&config.replace("@NG", &ng.to_string()), callee, Some(ng))
    }

    fn start(config: &str, callee: u16, ng: Option<u16>) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("certificate.pem"), made.cert.pem())?;
        fs::write(path("key.pem"), made.signing_key.serialize_pem())?;
        let [udp, ws, wss] = [free_port()?, free_port()?, free_port()?]
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let config = [
            ("@UDP", udp.port().to_string()),
            ("@WSS", wss.port().to_string()),
            ("@WS", ws.port().to_string()),
            ("@CALLEE", callee.to_string()),
            ("@PASSWORD", PASSWORD.to_owned()),
            ("@FOLDER", text(folder.path()).to_owned()),
        ]
        .iter()
        .fold(config.to_owned(), |config, (name, value)| config.replace(name, value));
        let rtpengine = ng.map(|ng| rtpengine(ng, folder.path())).transpose()?;
        let (file, log) = (path("kamailio.cfg"), path("log"));
        fs::write(&file, config)?;
        let arguments = ["-DD", "-E", "-f", text(&file), "-m", "512", "-M", "16"];
        let arguments = [&arguments[..], &["-Y", text(folder.path())]].concat();
        let mut server = Server::start("kamailio", &arguments, &log)?;
        await_line(&mut server, &log, "bench is ready")?;
        Ok(Self { server, udp, ws, wss, rtpengine, folder })
    }
}

/// In user space, as it relays where nothing is put into the kernel.
fn rtpengine(ng: u16, folder: &Path) -> Outcome<Server> {
    let log = folder.join("rtpengine.log");
    let arguments = [
        "--config-file=none",
        "--foreground",
        "--log-stderr",
        "--log-level=4",
        "--table=-1",
        "--interface=127.0.0.1",
        // It would take Kamailio's from it: both say SO_REUSEADDR. The kernel gives none of these away.
        "--port-min=10000",
        "--port-max=29999",
        "--num-threads=1",
        &format!("--listen-ng=127.0.0.1:{ng}"),
        &format!("--pidfile={}", text(&folder.join("rtpengine.pid"))),
    ];
    let server = Server::start("rtpengine", &arguments, &log)?;
    // Kamailio does without it for a minute where it does not answer at once.
    let asker = UdpSocket::bind("127.0.0.1:0")?;
    asker.set_read_timeout(Some(Duration::from_millis(100)))?;
    let start = Instant::now();
    loop {
        let sent = asker.send_to(b"1 d7:command4:pinge", ("127.0.0.1", ng));
        if sent.and_then(|_| asker.recv(&mut [0; 64])).is_ok() {
            return Ok(server);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("rtpengine is silent: {}", fs::read_to_string(&log)?).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

const LOADS_RTPENGINE: &str = r#"loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:@NG")"#;
const OFFERS: &str = r#"if (is_method("INVITE")) {
    rtpengine_offer("RTP/AVP ICE=remove rtcp-mux-demux");
    t_on_reply("ANSWER");
  }"#;
const FORGETS: &str = r#"    if (is_method("BYE")) rtpengine_delete();"#;
const ANSWERS: &str = r#"onreply_route[ANSWER] {
  if (has_body("application/sdp")) rtpengine_answer("UDP/TLS/RTP/SAVPF ICE=force");
}"#;

const PROXY: &str = r#"#!KAMAILIO
debug=0
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:@UDP
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

const EDGE: &str = r#"#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children=1
tcp_max_connections=20000
tcp_connection_lifetime=3600
tcp_accept_no_cl=yes
enable_tls=yes
auto_aliases=no
listen=udp:127.0.0.1:@UDP
listen=tcp:127.0.0.1:@WS
listen=tls:127.0.0.1:@WSS
loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "sl.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
loadmodule "nathelper.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "private_key", "@FOLDER/key.pem")
modparam("tls", "certificate", "@FOLDER/certificate.pem")
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_contacts", 0)
modparam("nathelper|registrar", "received_avp", "$avp(received)")
request_route {
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
  force_rport();
  if (has_totag()) {
    if (loose_route()) t_relay();
    exit;
  }
  t_check_trans();
  if (is_method("REGISTER|INVITE")) {
    if (!pv_auth_check("localhost", "@PASSWORD", "0", "0")) {
      auth_challenge("localhost", "0");
      exit;
    }
    consume_credentials();
  }
  if (is_method("REGISTER")) {
    if (proto == WS || proto == WSS) fix_nated_register();
    save("location");
    exit;
  }
  if (is_method("INVITE")) record_route();
  $du = "sip:127.0.0.1:@CALLEE";
  t_relay();
}
event_route[xhttp:request] {
  set_reply_close();
  set_reply_no_connect();
  if ($hdr(Upgrade) =~ "websocket" && $hdr(Connection) =~ "Upgrade") {
    if (ws_handle_handshake()) exit;
  }
  xhttp_reply("404", "Not Found", "", "");
}
event_route[tm:local-request] { return; }
event_route[core:worker-one-init] { xlog("L_ALERT", "bench is ready\n"); }
"#;

// Runs Kamailio: as a proxy between the gateway's trunk and one phone, in the way of every request, as the registrar of
// a provider, or with a media server of its own.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { freePort } from "./ports.mjs";
import { end, until } from "./wait.mjs";

// Debian puts it where only root's PATH leads.
const program = process.env.KAMAILIO ?? "/usr/sbin/kamailio";

export class Kamailio {
  /** A proxy on `port`: what comes from port `phone` goes to port `gateway`, all else to `phone`. */
  static start(ports) {
    return Kamailio.#run(proxy(ports));
  }

  /** A PBX on `port` whose users sign in through the gateway on port `gateway`, which may call without a password. */
  static pbx({ port, gateway, password }) {
    return Kamailio.#run(pbx({ port, gateway, password }));
  }

  /**
   * A proxy on `port` that is reached over TLS, with the files of its certificate and key; calls go to port `phone`. With
   * the file of an authority, `ca`, it wants a certificate of whom it speaks with; what comes from `phone` goes to the
   * gateway's TLS port, `gateway`. Phones reach it at its port `udp`.
   */
  static async secure({ port, phone, certificate, key, ca, gateway, udp }) {
    udp ??= await freePort();
    const kamailio = await Kamailio.#run(secure({ port, phone, certificate, key, ca, gateway, udp }));
    return Object.assign(kamailio, { udp });
  }

  /**
   * A collector of HEP on `port`, UDP and TCP, whose stock sipcapture module says in the log what it made of each packet: of
   * the SIP in it or, with `chunks`, of what is around that. It does not do both.
   */
  static async collector({ port, chunks = false }) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-kamailio-"));
    return Kamailio.#run(collector({ port, folder, chunks }), folder);
  }

  /**
   * The registrar and proxy of a provider on `port`, over UDP and TCP, and over TLS at the next port when `tls` has the files
   * of a certificate and its key. Whoever knows the password has an account. It makes no connection: clients are called
   * over the one that they opened.
   */
  static registrar({ port, password, tls }) {
    return Kamailio.#run(registrar({ port, password, tls }));
  }

  /**
   * A registrar and proxy for browsers (over TLS, with a certificate of a private authority) and phones without a
   * password, whose stock rtpengine module has media go through the ng server on port `ng`. A dead media server is looked
   * for again after `retest` seconds.
   */
  static async media({ ng, retest = 60 }) {
    const [port, wss] = [await freePort(), await freePort()];
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-kamailio-"));
    certify(folder);
    const kamailio = await Kamailio.#run(media({ port, wss, ng, retest, folder, control: join(folder, "control") }), folder);
    // What parties need to know of where they sign in.
    const ports = { udp: port };
    // Its workers are up before its control socket answers anything but "initializing".
    await until("kamailio answers commands", () => kamailio.#ask(["rtpengine.show", "all"]).status === 0);
    return Object.assign(kamailio, {
      domain: "127.0.0.1", host: "127.0.0.1", webSocketUrl: `wss://127.0.0.1:${wss}/`, port: (kind) => ports[kind],
    });
  }

  /** Has the script run a function of its rtpengine module with these flags; gives whether it succeeded. */
  async order(name, flags) {
    const socket = createSocket("udp4");
    await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
    const id = `order${(orders += 1)}.${process.pid}`;
    const request = [
      `OPTIONS sip:${name}@127.0.0.1:${this.port("udp")} SIP/2.0`, `Via: SIP/2.0/UDP 127.0.0.1:${socket.address().port};branch=z9hG4bK${id}`,
      "Max-Forwards: 5", "From: <sip:operator@127.0.0.1>;tag=operator", "To: <sip:script@127.0.0.1>", `Call-ID: ${id}`, "CSeq: 1 OPTIONS",
      `X-Flags: ${flags}`, "Content-Length: 0", "", "",
    ].join("\r\n");
    try {
      return await new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`kamailio does not answer ${name}`)), 20_000);
        socket.on("message", (bytes) => {
          clearTimeout(late);
          resolve(/^SIP\/2.0 200 /.test(bytes.toString()));
        });
        socket.send(request, this.port("udp"), "127.0.0.1");
      });
    } finally {
      socket.close();
    }
  }

  /** Runs a command of Kamailio's own over its control socket. */
  control(...command) {
    const run = this.#ask(command);
    if (run.status !== 0) throw new Error(`kamcmd ${command.join(" ")}: ${run.stderr}${run.stdout}`);
    return run.stdout;
  }

  #ask(command) {
    const args = ["-s", `unix:${join(this.folder, "control")}`, ...command];
    const run = spawnSync("kamcmd", args, { encoding: "utf8", env: { PATH: "/usr/sbin:/usr/bin:/bin" }, timeout: 5000 });
    // It exits with 0 when the server refuses.
    return run.stdout?.startsWith("error:") ? { ...run, status: 1 } : run;
  }

  static async #run(config, given) {
    const folder = given ?? await mkdtemp(join(tmpdir(), "crosspoint-kamailio-"));
    const file = join(folder, "kamailio.cfg");
    await writeFile(file, config);
    const kamailio = new Kamailio(folder);
    const args = ["-DD", "-E", "-f", file, "-Y", folder, "-P", join(folder, "pid"), "-m", "64", "-M", "8"];
    kamailio.process = spawn(program, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], detached: true });
    for (const stream of [kamailio.process.stdout, kamailio.process.stderr]) {
      createInterface({ input: stream }).on("line", (line) => kamailio.log.push(line));
    }
    kamailio.exited = new Promise((resolve) => kamailio.process.once("exit", resolve));
    await until("kamailio listens or exits", () =>
      kamailio.log.some((line) => line.includes("proxy is up")) || kamailio.process.exitCode !== null);
    if (kamailio.process.exitCode !== null) throw new Error(`kamailio does not start\n${kamailio.log.join("\n")}`);
    return kamailio;
  }

  constructor(folder) {
    Object.assign(this, { folder, log: [] });
  }

  /** Waits until the requests it passed on are these, in order, such as `gateway INVITE`: who sent it and what. */
  async passes(expected) {
    const seen = () => {
      // A repeat has the number of the first.
      const lines = new Set(this.log.flatMap((line) => /passes on (\w+ \w+ \d+)/.exec(line)?.[1] ?? []));
      return [...lines].map((line) => line.replace(/ \d+$/, ""));
    };
    await until("kamailio passes them on", () => seen().length >= expected.length).catch(() => {});
    assert.deepEqual(seen(), expected);
  }

  async stop() {
    await end(this.process, this.exited, { group: true });
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Of each packet of HEP what its chunks say, and of SIP in it what Kamailio's own parser reads. */
function collector({ port, folder, chunks }) {
  return `#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children=1
listen=udp:127.0.0.1:${port}
listen=tcp:127.0.0.1:${port}
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "db_text.so"
loadmodule "sipcapture.so"
# Nothing is stored.
modparam("sipcapture", "db_url", "text://${folder}")
modparam("sipcapture", "hep_capture_on", 1)
modparam("sipcapture", "insert_retries", 1)
modparam("sipcapture", "nonsip_hook", ${chunks ? 1 : 0})

event_route[core:worker-one-init] {
  xlog("L_ALERT", "proxy is up\\n");
}

event_route[sipcapture:request] {
  xlog("L_ALERT", "collected version=$hep(version) protocol=$hep(0x00b) agent=$hep(0x00c) call=$hep(0x011) from=$hep(0x003)\\n");
}

request_route {
  xlog("L_ALERT", "read request $rm $ci\\n");
  drop;
}

onreply_route {
  xlog("L_ALERT", "read response $rs $rm $ci\\n");
  drop;
}
`;
}

const proxy = ({ port, gateway, phone }) => `#!KAMAILIO
debug=0
log_stderror=yes
children=1
auto_aliases=no
disable_tcp=yes
listen=udp:127.0.0.1:${port}

loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "xlog.so"

event_route[core:worker-one-init] {
  xlog("L_ALERT", "proxy is up\\n");
}

request_route {
  if (!mf_process_maxfwd_header("10")) {
    sl_send_reply("483", "Too Many Hops");
    exit;
  }
  if (method == "OPTIONS" && uri == myself) {
    sl_send_reply("200", "Here");
    exit;
  }
  if ($sp == ${phone}) {
    xlog("L_ALERT", "passes on phone $rm $cs\\n");
  } else {
    xlog("L_ALERT", "passes on gateway $rm $cs\\n");
  }
  if (has_totag()) {
    if (!loose_route()) {
      if (method == "ACK" && t_check_trans()) t_relay();
      else if (method != "ACK") sl_send_reply("404", "No Route here");
      exit;
    }
    t_relay();
    exit;
  }
  if (method == "CANCEL") {
    if (t_check_trans()) t_relay();
    exit;
  }
  record_route();
  if ($sp == ${phone}) $du = "sip:127.0.0.1:${gateway}";
  else $du = "sip:127.0.0.1:${phone}";
  t_relay();
}
`;

const pbx = (options) => registrar(options)
  .replace('modparam("nathelper|registrar", "received_avp", "$avp(received)")', 'modparam("registrar", "use_path", 1)\nmodparam("registrar", "path_mode", 1)')
  .replace("    fix_nated_register();\n", "")
  .replace('  if (!pv_proxy_authenticate', `  if ($sp != ${options.gateway} && !pv_proxy_authenticate`);

const secure = ({ port, phone, certificate, key, ca, gateway, udp }) => `#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
enable_tls=yes
listen=tls:127.0.0.1:${port}
listen=udp:127.0.0.1:${udp}

loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "xlog.so"

modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "${certificate}")
modparam("tls", "private_key", "${key}")
${ca ? `modparam("tls", "ca_list", "${ca}")
modparam("tls", "verify_certificate", 1)
modparam("tls", "require_certificate", 1)` : ""}

event_route[core:worker-one-init] {
  xlog("L_ALERT", "proxy is up\\n");
}

request_route {
  if (!mf_process_maxfwd_header("10")) {
    sl_send_reply("483", "Too Many Hops");
    exit;
  }
  xlog("L_ALERT", "passes on $proto $rm $cs\\n");
  if (has_totag()) {
    if (loose_route() || (method == "ACK" && t_check_trans())) t_relay();
    else if (method != "ACK") sl_send_reply("404", "No Route here");
    exit;
  }
  if (method == "CANCEL") {
    if (t_check_trans()) t_relay();
    exit;
  }
  record_route();
  if ($sp == ${phone}) $du = "sip:127.0.0.1:${gateway ?? 0};transport=tls";
  else $du = "sip:127.0.0.1:${phone}";
  t_relay();
}
`;

const registrar = ({ port, password, tls }) => `#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
listen=udp:127.0.0.1:${port}
listen=tcp:127.0.0.1:${port}
${tls ? `enable_tls=yes
listen=tls:127.0.0.1:${port + 1}
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "${tls.certificate}")
modparam("tls", "private_key", "${tls.key}")` : ""}

loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "nathelper.so"
loadmodule "auth.so"

# As providers do: a client is called over the way that it signed in by.
modparam("nathelper|registrar", "received_avp", "$avp(received)")

event_route[core:worker-one-init] {
  xlog("L_ALERT", "proxy is up\\n");
}

request_route {
  if (!mf_process_maxfwd_header("10")) {
    sl_send_reply("483", "Too Many Hops");
    exit;
  }
  if (has_totag()) {
    if (loose_route() || (method == "ACK" && t_check_trans())) t_relay();
    else if (method != "ACK") sl_send_reply("404", "No Route here");
    exit;
  }
  if (method == "CANCEL") {
    if (t_check_trans()) t_relay();
    exit;
  }
  if (method == "REGISTER") {
    if (!pv_www_authenticate("$fd", "${password}", "0")) {
      www_challenge("$fd", "1");
      exit;
    }
    fix_nated_register();
    if (!save("location")) sl_reply_error();
    exit;
  }
  if (!pv_proxy_authenticate("$fd", "${password}", "0")) {
    proxy_challenge("$fd", "1");
    exit;
  }
  consume_credentials();
  record_route();
  if (!lookup("location")) {
    sl_send_reply("404", "Not Found");
    exit;
  }
  set_forward_no_connect();
  t_relay();
}
`;

let orders = 0;

/** A certificate for 127.0.0.1 of an authority that nobody knows, with its key. */
function certify(folder) {
  const openssl = (...args) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Private Authority");
  openssl("req", ...key.slice(0, 5), "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1");
  openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy", "-days", "2", "-out", "server.pem");
}

const media = ({ port, wss, ng, retest, folder, control }) => `#!KAMAILIO
debug=0
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
tcp_accept_no_cl=yes
listen=udp:127.0.0.1:${port}
enable_tls=yes
listen=tls:127.0.0.1:${wss}

loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "nathelper.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
loadmodule "ctl.so"
loadmodule "rtpengine.so"

modparam("nathelper|registrar", "received_avp", "$avp(received)")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "private_key", "${folder}/server.key")
modparam("tls", "certificate", "${folder}/server.pem")
modparam("ctl", "binrpc", "unix:${control}")
modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:${ng}")
modparam("rtpengine", "rtpengine_disable_tout", ${retest})
modparam("rtpengine", "rtpengine_tout_ms", 1000)

event_route[core:worker-one-init] {
  xlog("L_ALERT", "proxy is up\\n");
}

event_route[xhttp:request] {
  if ($hdr(Upgrade) =~ "websocket" && $hdr(Sec-WebSocket-Protocol) =~ "sip") {
    ws_handle_handshake();
    exit;
  }
  xhttp_reply("404", "Not Found", "", "");
}

request_route {
  if (!mf_process_maxfwd_header("10")) {
    sl_send_reply("483", "Too Many Hops");
    exit;
  }
  force_rport();
  if (method == "REGISTER") {
    fix_nated_register();
    if (!save("location")) sl_reply_error();
    exit;
  }
  if (method == "OPTIONS" && $hdr(X-Flags) != $null) {
    route(ORDER);
    exit;
  }
  if (method == "CANCEL") {
    if (t_check_trans()) {
      rtpengine_delete();
      t_relay();
    }
    exit;
  }
  if (proto == WSS) add_contact_alias();
  if (has_totag()) {
    if (!loose_route()) {
      if (method == "ACK" && t_check_trans()) t_relay();
      else if (method != "ACK") sl_send_reply("404", "No Route here");
      exit;
    }
    handle_ruri_alias();
    route(RELAY);
    exit;
  }
  record_route();
  if (!lookup("location")) {
    sl_send_reply("404", "Not Found");
    exit;
  }
  route(RELAY);
}

# What sites do at a customer's wish or by their own tools.
route[ORDER] {
  $var(done) = -1;
  switch ($rU) {
    case "start_recording": start_recording("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "stop_recording": stop_recording("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "play_media": play_media("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "stop_media": stop_media("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "play_dtmf": play_dtmf("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "block_dtmf": block_dtmf("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "unblock_dtmf": unblock_dtmf("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "block_media": block_media("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "unblock_media": unblock_media("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "start_forwarding": start_forwarding("$hdr(X-Flags)"); $var(done) = $rc; break;
    case "stop_forwarding": stop_forwarding("$hdr(X-Flags)"); $var(done) = $rc; break;
  }
  if ($var(done) > 0) sl_send_reply("200", "OK");
  else sl_send_reply("500", "Failed");
}

# The word for word flags of many a site: what the description goes to is a browser or a phone.
route[RELAY] {
  if (method == "INVITE" || method == "UPDATE" || method == "ACK" || method == "BYE") {
    if ($ru =~ "transport=ws" || $du =~ "transport=ws") {
      xlog("L_ALERT", "media towards a browser $rm\\n");
      rtpengine_manage("trust-address replace-origin replace-session-connection ICE=force DTLS=passive SDES-off UDP/TLS/RTP/SAVPF rtcp-mux-require generate-mid");
    } else {
      xlog("L_ALERT", "media towards a phone $rm\\n");
      rtpengine_manage("trust-address replace-origin replace-session-connection ICE=remove rtcp-mux-demux RTP/AVP");
    }
    t_on_reply("MEDIA");
  }
  if (method == "INVITE") t_on_failure("OVER");
  t_relay();
}

onreply_route[MEDIA] {
  if (proto == WSS) add_contact_alias();
  if (!has_body("application/sdp")) exit;
  # The request came from a browser: its answer goes there.
  if ($(hdr(Via)[-1]) =~ "WS" ) {
    rtpengine_manage("trust-address replace-origin replace-session-connection ICE=force DTLS=passive SDES-off UDP/TLS/RTP/SAVPF");
  } else {
    rtpengine_manage("trust-address replace-origin replace-session-connection ICE=remove RTP/AVP");
  }
}

failure_route[OVER] {
  rtpengine_delete();
}
`;

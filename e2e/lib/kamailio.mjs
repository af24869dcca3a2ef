// Runs Kamailio: as a proxy between the gateway's trunk and one phone, in the way of every request, or as the registrar
// of a provider.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { end, until } from "./wait.mjs";

// Debian puts it where only root's PATH leads.
const program = process.env.KAMAILIO ?? "/usr/sbin/kamailio";

export class Kamailio {
  /** A proxy on `port`: what comes from port `phone` goes to port `gateway`, all else to `phone`. */
  static start(ports) {
    return Kamailio.#run(proxy(ports));
  }

  /** The registrar and proxy of a provider on `port`, over UDP and TCP. Whoever knows the password has an account. */
  static registrar({ port, password }) {
    return Kamailio.#run(registrar({ port, password }));
  }

  static async #run(config) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-kamailio-"));
    const file = join(folder, "kamailio.cfg");
    await writeFile(file, config);
    const kamailio = new Kamailio(folder);
    const args = ["-DD", "-E", "-f", file, "-Y", folder, "-P", join(folder, "pid"), "-m", "16", "-M", "4"];
    kamailio.process = spawn(program, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
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
    await end(this.process, this.exited);
    await rm(this.folder, { recursive: true, force: true });
  }
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

const registrar = ({ port, password }) => `#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
listen=udp:127.0.0.1:${port}
listen=tcp:127.0.0.1:${port}

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
  t_relay();
}
`;

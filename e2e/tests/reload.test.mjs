// A hundred calls run while routes, users, trunks and certificates change under them, and end when the gateway is drained.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:tls";
import { after, before, test } from "node:test";
import { certificates } from "../lib/certificates.mjs";
import { binary } from "../lib/gateway.mjs";
import { operator } from "../lib/operator.mjs";
import { freePort } from "../lib/ports.mjs";
import { until, within } from "../lib/wait.mjs";
import { stage } from "../lib/world.mjs";

const CALLS = 100;
const TOKEN = "0123456789abcdef0123456789abcdef";
const [carrier, other] = [await freePort(), await freePort()];
const pem = certificates();

/** The part of the file that changes: a version of it. */
const version = (n, { port = carrier, trunk = "old" } = {}) => `
[admin]
token_file = "admin.token"

[tls]
certificate = "${n % 2 ? pem("ours.pem") : pem("other.pem")}"
key = "${n % 2 ? pem("ours.key") : pem("other.key")}"

[limits]
calls = ${CALLS + n - 1}

[numbers]
tone = "${n === 1 ? 601 : 610 + n}"

[[trunk]]
name = "carrier"
host = "127.0.0.1"
port = ${port}
max_calls = ${CALLS + n}

[[trunk]]
name = "${trunk}${n}"
host = "127.0.0.1"
port = ${other}
prefixes = ["7"]
options_interval = "30s"
`;

const it = stage({ withoutBrowser: true, config: "" });

/** Writes a version of the file and has it read. */
async function reload(text) {
  await writeFile(it.gateway.file, it.base + text);
  const { stdout, status } = spawnSync(binary, ["reload", "--json", "--config", it.gateway.file, "--data", it.gateway.data], { encoding: "utf8" });
  return { status, ...JSON.parse(stdout) };
}

/** The issuer of the certificate that a port shows to who comes now. */
function issuer(kind) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: it.gateway.port(kind), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().issuer.CN);
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

/** Sends a ping of RFC 5626 §4.4.1 and waits for its pong. */
async function pings(socket) {
  const pong = new Promise((resolve, reject) => socket.once("data", resolve).once("close", () => reject(new Error("the connection was closed"))));
  socket.write("\r\n\r\n");
  assert.equal(String(await within("a pong comes", 10_000, pong)), "\r\n");
}

const calls = () => it.gateway.metric("crosspoint_calls_active");

before(async () => {
  await it.setUp();
  it.base = await readFile(it.gateway.file, "utf8");
  await writeFile(`${it.gateway.data}/admin.token`, TOKEN);
  // The token of operators is among what a start reads.
  await writeFile(it.gateway.file, it.base + version(1));
  await it.gateway.stop();
  await it.gateway.run();
});
after(() => it.takeDown());

test("a hundred calls outlive every change of the configuration", it.telling(async () => {
  const { gateway } = it;
  const far = await it.sipp("uac_trunk_call", "alice", { user: "+49301234", local: carrier, echo: true, calls: CALLS, rate: 50, limit: 120, keys: { target: "601" } });
  await until("all calls are up", async () => (await gateway.metric("crosspoint_media_legs")) === CALLS && (await calls()) === CALLS);
  const old = connect({ host: "127.0.0.1", port: gateway.port("tls"), rejectUnauthorized: false });
  await new Promise((resolve) => old.once("secureConnect", resolve));
  // Who says nothing at all is cut off after half a minute.
  await pings(old);

  for (let n = 2; n <= 4; n++) {
    await writeFile(gateway.file, it.base + version(n));
    gateway.cli(["user", "add", `user${n}`, "--password-stdin"], `user${n}-secret`);
    const told = await reload(version(n));
    assert.equal(told.ok, true, JSON.stringify(told));
    assert.deepEqual(told.trunks, { added: [`old${n}`], changed: ["carrier"], removed: [`old${n - 1}`] });
    assert.deepEqual([told.changed, told.certificate, told.needs_restart], [["numbers", "limits"], true, []]);
    for (const kind of ["tls", "https"]) assert.equal(await issuer(kind), n % 2 ? "ours authority" : "other authority", kind);
    const explained = await operator(gateway, TOKEN, "GET", `/route?from=user${n}&to=${610 + n}`);
    assert.match(JSON.stringify(explained), /tone/);
    // A file with a mistake changes nothing, and says where it is.
    const bad = await reload(version(n + 1, { port: 99999 }));
    assert.deepEqual([bad.status, bad.ok, bad.errors[0].key], [2, false, "trunk[0].port"]);
    const line = (it.base + version(n + 1, { port: 99999 })).split("\n").indexOf("port = 99999") + 1;
    assert.equal(bad.errors[0].line, line);
    assert.equal(await issuer("tls"), n % 2 ? "ours authority" : "other authority");
    assert.equal(await calls(), CALLS);
  }
  // At the start there was no room for one more.
  const more = await it.sipp("uac_trunk_call", "alice", { user: "+49301235", local: other, echo: true, limit: 120, keys: { target: "614" } });
  await until("one more call is up", async () => (await calls()) === CALLS + 1);
  // The trunk of the running calls goes altogether, by a signal and by the interface of operators.
  await writeFile(gateway.file, it.base + version(6).replace(/\[\[trunk\]\]\nname = "carrier"[^[]*/, ""));
  gateway.process.kill("SIGHUP");
  await until("the trunk is leaving", async () => (await operator(gateway, TOKEN, "GET", "/trunks")).items.some((t) => t.name === "carrier" && t.leaving && t.calls === CALLS));
  const told = await operator(gateway, TOKEN, "POST", "/reload");
  assert.equal(told.status, 200, JSON.stringify(told));
  assert.equal(await calls(), CALLS + 1);

  // Sound goes both ways all the while: sipp sends back what it hears.
  const received = () => gateway.metric("crosspoint_media_packets_received_total");
  const before = await received();
  await until("a second of everybody's sound has passed", async () => (await received()) > before + CALLS * 50);
  assert.equal(await gateway.metric("crosspoint_media_silent_total"), 0);
  assert.equal(await calls(), CALLS + 1);
  assert.equal(old.destroyed, false, "connections stay with the certificate that they began with");
  await pings(old);
  old.destroy();

  // Drained, it takes no more calls; at the limit the last are ended in good order, and it goes.
  const { draining } = JSON.parse(gateway.cli(["drain", "--exit", "--limit", "1s", "--json"]));
  assert.equal(draining, true);
  await Promise.all([far.done(), more.done()]);
  assert.equal(await gateway.exited, 0);
  const records = gateway.records().filter((record) => record.to === "601");
  assert.equal(records.length, CALLS);
  assert.deepEqual([...new Set(records.map((record) => record.cause))], ["shutdown"]);
}));

// A real ACME server (Pebble) gives the gateway a certificate, after it has looked for the proof on our port.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { appendFileSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { after, test } from "node:test";
import { Gateway } from "../lib/gateway.mjs";
import { Pebble } from "../lib/pebble.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";

const open = [];
after(async () => {
  for (const thing of open.reverse()) await (thing.remove ?? thing.stop).call(thing);
});

/** Whose certificate is shown on a port to who asks for a name; who does not believe it gets an error. */
function shown(port, ca) {
  return new Promise((resolve, reject) => {
    const options = ca ? { ca } : { rejectUnauthorized: false };
    const socket = connect({ host: "127.0.0.1", port, servername: "sip.example.com", ...options }, () => {
      resolve(socket.getPeerCertificate());
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

test("a certificate of a real authority is got, shown and kept", async () => {
  const gateway = await Gateway.start();
  open.push(gateway);
  // One that nobody takes while the gateway starts anew.
  const port = await freePort();
  const pebble = await Pebble.start({ tlsPort: port });
  open.push(pebble);
  const config = `
[acme]
directory = "${pebble.directory}"
domains = ["sip.example.com", "gw.example.com"]
contact = ["admin@example.com"]
accept_terms = true
ca_file = "${pebble.pem("ours-ca.pem")}"
`;
  appendFileSync(gateway.file, config);
  gateway.more = ["--https", `127.0.0.1:${port}`];
  await gateway.stop();
  await gateway.run();
  const given = until("a certificate is given", async () => (await gateway.metric("crosspoint_acme_requests_total", { outcome: "given" })) === 1, { seconds: 30 });
  await given.catch((error) => {
    throw new Error(`${error.message}\n${gateway.log.slice(-10).join("\n")}\n${pebble.log.join("").slice(-3000)}`);
  });
  const root = await pebble.root();
  for (const kind of ["https", "tls"]) {
    const certificate = await shown(gateway.port(kind), root);
    assert.deepEqual(certificate.subjectaltname.split(", ").sort(), ["DNS:gw.example.com", "DNS:sip.example.com"]);
  }
  assert.equal(await gateway.metric("crosspoint_acme_requests_total", { outcome: "failed" }), 0);
  const folder = join(gateway.data, "acme");
  for (const name of ["account.pem", "certificate.pem", "key.pem"]) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  const kept = new X509Certificate(readFileSync(join(folder, "certificate.pem")));
  const expires = await gateway.metric("crosspoint_tls_certificate_expires_seconds");
  assert.equal(expires, Date.parse(kept.validTo) / 1000);
  // It is shown again after a restart and after a reload, and nobody is asked for another.
  await gateway.stop();
  await gateway.run();
  assert.equal((await shown(gateway.port("https"), root)).serialNumber, kept.serialNumber);
  assert.equal(JSON.parse(gateway.cli(["reload", "--json"])).certificate, false);
  assert.equal((await shown(gateway.port("tls"), root)).serialNumber, kept.serialNumber);
  assert.equal(await gateway.metric("crosspoint_acme_requests_total"), 0);
});

// Signatures of who calls, checked and made by a second implementation: node's own cryptography.
import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { after, before, test } from "node:test";
import { Authority } from "../lib/authority.mjs";
import { Gateway } from "../lib/gateway.mjs";
import { freePort } from "../lib/ports.mjs";
import { Sipp } from "../lib/sipp.mjs";

const CALLER = "+14045550100";
const users = { [CALLER]: { password: "caller-secret" } };
const carrier = await freePort();
const open = [];
let authority;
let gateway;

before(async () => {
  authority = await Authority.start();
  // The system's roots, for the gateway.
  process.env.SSL_CERT_FILE = authority.file("ca.pem");
  const config = `
[[trunk]]
name = "carrier"
host = "127.0.0.1"
port = ${carrier}

[stir]
key = "${authority.file("shaken.key")}"
certificate = "${authority.file("shaken.pem")}"
certificate_url = "${authority.url}"
verify = "report"
authorities = "${authority.file("ca.pem")}"
allow = ["127.0.0.0/8"]
`;
  gateway = await Gateway.start({ users, config });
});

after(async () => {
  for (const thing of open) await thing.stop();
  await gateway?.remove();
  await authority?.stop();
});

async function sipp(name, options) {
  const started = await Sipp.start(name, { port: gateway.port("udp"), ...options, keys: { domain: "[remote_ip]", hold: 100, ...options.keys } });
  open.push(started);
  return started;
}

test("a call over a trunk carries a signature that others can check", async () => {
  const far = await sipp("uas_answer", { local: carrier });
  const near = await sipp("uac_call", { user: CALLER, password: users[CALLER].password, keys: { target: "+4930123456" } });
  await near.done();
  await far.done();
  const invite = (await far.received()).find((message) => message.line.startsWith("INVITE"));
  const [token, ...parameters] = invite.header("Identity").split(";");
  assert.deepEqual(parameters, [`info=<${authority.url}>`, "alg=ES256", 'ppt="shaken"']);
  const [header, payload, signature] = token.split(".");
  const [head, body] = [header, payload].map((part) => JSON.parse(Buffer.from(part, "base64url")));
  assert.deepEqual(head, { alg: "ES256", ppt: "shaken", typ: "passport", x5u: authority.url });
  assert.deepEqual([body.attest, body.orig, body.dest], ["A", { tn: "14045550100" }, { tn: ["4930123456"] }]);
  const key = { key: createPublicKey(authority.shaken), dsaEncoding: "ieee-p1363" };
  const good = (text) => verify("sha256", Buffer.from(text), key, Buffer.from(signature, "base64url"));
  assert.ok(good(`${header}.${payload}`));
  assert.ok(!good(`${header}.${payload}x`));
  assert.equal(await gateway.metric("crosspoint_calls_signed_total", { outcome: "signed" }), 1);
});

test("what stands behind a caller is in the call's record", async () => {
  // The announcement hangs up by itself.
  const call = { orig: "14045550199", dest: "602" };
  const cases = [
    [{ ...call, attest: "B" }, /^partial \(provider 1234, origin elsewhere-1\)$/],
    [{ ...call, spoilt: true }, /^failed \(the signature is not of this certificate\)$/],
    [{ ...call, orig: "14045550100" }, /^failed \(the calling number is another than was signed\)$/],
    // Seconds are counted whole, and not at the same moment here and there.
    [{ ...call, age: 3605 }, /^failed \(it was signed 36\d\d s ago\)$/],
    [undefined, /^unsigned$/],
  ];
  for (const [claim, expected] of cases) {
    // Signed when the call begins: it does not hold for long.
    const more = claim ? `\nIdentity: ${await authority.identity(claim)}` : "";
    const far = await sipp("uac_trunk_call", { local: carrier, user: "+14045550199", keys: { target: "602", more } });
    await far.done();
    assert.match((await gateway.lastRecord()).caller_check, expected);
  }
  assert.equal(authority.fetched, 1, "the certificate is kept");
  assert.equal(await gateway.metric("crosspoint_callers_total", { signature: "proved" }), 1);
  assert.equal(await gateway.metric("crosspoint_callers_total", { signature: "failed" }), 3);
});

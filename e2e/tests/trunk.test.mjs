// Trunks: a carrier that asks for a password, and Kamailio as a proxy in the way of every request.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { afterEach, test } from "node:test";
import { Kamailio } from "../lib/kamailio.mjs";
import { freePort } from "../lib/ports.mjs";
import { BROWSER_TONE, world } from "../lib/world.mjs";

const [carrier, abroad, proxy] = [await freePort(), await freePort(), await freePort()];
process.env.CROSSPOINT_E2E_TRUNK_PASSWORD = "carrier-secret";

const it = world({
  config: `
[[trunk]]
name = "carrier"
host = "127.0.0.1"
port = ${carrier}
username = "gateway"
password_env = "CROSSPOINT_E2E_TRUNK_PASSWORD"
prefixes = ["0"]
texts = true
strip = 1
match = "^([1-9])([0-9]+)$"
replace = "49$1$2"
prepend = "+"

[[trunk]]
name = "abroad"
host = "127.0.0.1"
port = ${abroad}
match = "^00([0-9]+)$"
replace = "+$1"

[[trunk]]
name = "proxy"
host = "127.0.0.1"
port = ${proxy}
prefixes = ["7"]
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

/** A peer that calls or is called from `local`, such as a trunk's own port. */
function peer(name, local, { keys = {}, ...extra } = {}) {
  return it.sipp(name, "alice", { user: "+49301234", local, ...extra, keys: { target: "alice", ...keys } });
}

async function dial(number) {
  const alice = await it.browser("jssip", "alice");
  await alice.do("dial", number);
  return alice;
}

const invites = (sipp) => sipp.requests("INVITE");
const md5 = (...parts) => createHash("md5").update(parts.join(":")).digest("hex");

/** Whether the credentials of a request fit (RFC 7616 §3.4, MD5 with qop=auth). */
function fits(request, password) {
  const value = request.header("Proxy-Authorization");
  const field = (name) => new RegExp(`[ ,]${name}="?([^",]*)`).exec(value)[1];
  const ha1 = md5(field("username"), field("realm"), password);
  const ha2 = md5(request.line.split(" ")[0], field("uri"));
  return field("response") === md5(ha1, field("nonce"), field("nc"), field("cnonce"), field("qop"), ha2);
}

test("a call goes out over a trunk that asks for a password, with the number rewritten", async () => {
  const far = await peer("uas_digest", carrier, { echo: true });
  const alice = await dial("030123");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
  const [first, second] = await invites(far);
  for (const { line, header } of [first, second]) {
    assert.equal(line, `INVITE sip:+4930123@127.0.0.1:${carrier} SIP/2.0`);
    assert.match(header("To"), /^<sip:\+4930123@/);
    assert.match(header("From"), /^<sip:alice@/);
  }
  assert.equal(first.header("Proxy-Authorization"), undefined);
  assert.ok(fits(second, "carrier-secret"), second.header("Proxy-Authorization"));
  assert.ok(!fits(second, "another"));
  const record = await it.gateway.lastRecord();
  assert.equal(record.trunk, "carrier");
});

test("a browser writes over a trunk that asks for a password, and is written to", async () => {
  const far = await peer("uas_text", carrier);
  const alice = await it.browser("jssip", "alice");
  assert.equal(await alice.do("text", "030123", "Grüße"), 202);
  await far.done();
  const [first, second] = await far.requests("MESSAGE");
  assert.equal(first.line, `MESSAGE sip:+4930123@127.0.0.1:${carrier} SIP/2.0`);
  assert.equal(first.header("Proxy-Authorization"), undefined);
  assert.ok(fits(second, "carrier-secret"), second.header("Proxy-Authorization"));
  // The other trunks take no texts.
  await assert.rejects(alice.do("text", "00441234", "Hello"), /Not Found/);
  await (await peer("uac_text", carrier)).done();
  assert.deepEqual(await alice.event("text"), { from: "+49301234", body: "Servus" });
});

test("a trunk that refuses the password is asked no third time", async () => {
  const far = await peer("uas_digest_refused", carrier);
  const alice = await dial("030123");
  assert.equal((await alice.event("failed")).status, 403);
  await far.done();
  assert.equal((await invites(far)).length, 2);
});

test("a number that a trunk's pattern does not take goes to the next trunk", async () => {
  const far = await peer("uas_answer", abroad, { echo: true });
  const alice = await dial("00441234");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
  assert.deepEqual((await invites(far)).map((m) => m.line), [`INVITE sip:+441234@127.0.0.1:${abroad} SIP/2.0`]);
});

for (const [answered, told] of [[486, 486], [503, 502], [404, 404], [480, 480], [603, 603]]) {
  test(`a trunk's ${answered} comes to the browser as ${told}`, async () => {
    const far = await peer("uas_refuse", abroad, { keys: { status: answered } });
    const alice = await dial("00441234");
    assert.equal((await alice.event("failed")).status, told);
    await far.done();
  });
}

test("a call from a trunk's address is not asked for a password", async () => {
  const alice = await it.browser("jssip", "alice");
  const far = await peer("uac_trunk_call", carrier, { echo: true });
  assert.equal((await alice.event("incoming")).from, "+49301234");
  await alice.do("answer");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
});

test("a call from any other address is", async () => {
  const alice = await it.browser("jssip", "alice");
  const stranger = await peer("uac_trunk_refused", await freePort(), { keys: { status: 407 } });
  await stranger.done();
  assert.deepEqual(await alice.tab.evaluate(() => window.client.events), []);
});

test("a call from a trunk never leaves over a trunk", async () => {
  const far = await peer("uac_trunk_refused", carrier, { keys: { target: "00441234", status: 404 } });
  await far.done();
});

/** Kamailio between the trunk and a phone. */
async function proxied() {
  const phone = await freePort();
  const kamailio = it.keep(await Kamailio.start({ port: proxy, gateway: it.gateway.port("udp"), phone }));
  return { kamailio, phone };
}

/** A change whose end a BYE may outrun: the phone hangs up as soon as it has agreed. */
const changeBeforeBye = (client, change) => client.do(change).catch(() => {});

for (const [by, scenario] of [["browser", "uas_held"], ["phone", "uas_held_bye"]]) {
  test(`a call out through a proxy is held, resumed and ended by the ${by}, all on the proxy's route`, async () => {
    const { kamailio, phone } = await proxied();
    const far = await peer(scenario, phone, { echo: true });
    const alice = await dial("7123");
    await alice.event("confirmed");
    await alice.hears(BROWSER_TONE);
    await alice.do("hold");
    await alice.event("hold-local");
    if (by === "browser") {
      await alice.do("unhold");
      await alice.hears(BROWSER_TONE);
      await alice.do("hangUp");
    } else {
      await changeBeforeBye(alice, "unhold");
    }
    await alice.event("ended");
    await far.done();
    const ours = ["INVITE", "ACK", "INVITE", "ACK", "INVITE", "ACK"].map((method) => `gateway ${method}`);
    await kamailio.passes([...ours, by === "browser" ? "gateway BYE" : "phone BYE"]);
  });
}

test("a call out through a proxy that is given up while it rings is cancelled there", async () => {
  const { kamailio, phone } = await proxied();
  const far = await peer("uas_cancelled", phone);
  const alice = await dial("7123");
  await alice.event("progress");
  await alice.do("hangUp");
  await far.done();
  // The ACK of a refusal goes from hop to hop: it ends at the proxy.
  await kamailio.passes(["gateway INVITE", "gateway CANCEL"]);
});

test("a call in through a proxy is held by either side and ended by the phone on the proxy's route", async () => {
  const { kamailio, phone } = await proxied();
  const alice = await it.browser("jssip", "alice");
  const far = await peer("uac_trunk_hold", phone, { port: proxy, echo: true });
  await alice.event("incoming");
  await alice.do("answer");
  await alice.event("hold-remote");
  await alice.event("unhold-remote");
  await alice.hears(BROWSER_TONE);
  await changeBeforeBye(alice, "hold");
  await alice.event("ended");
  await far.done();
  const theirs = ["INVITE", "ACK", "INVITE", "ACK", "INVITE", "ACK"].map((method) => `phone ${method}`);
  await kamailio.passes([...theirs, "gateway INVITE", "gateway ACK", "phone BYE"]);
});

test("a call in through a proxy is ended by the browser on the proxy's route", async () => {
  const { kamailio, phone } = await proxied();
  const alice = await it.browser("jssip", "alice");
  const far = await peer("uac_trunk_call", phone, { port: proxy, echo: true });
  await alice.event("incoming");
  await alice.do("answer");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
  await kamailio.passes(["phone INVITE", "phone ACK", "gateway BYE"]);
});

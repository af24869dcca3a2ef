// A browser signs in at a PBX through the gateway: Kamailio asks for the password and keeps Contact and Path; a second Kamailio
// hears of the same user. Phones at either find the browser, and it finds them.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Kamailio } from "../lib/kamailio.mjs";
import { operator } from "../lib/operator.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS, world } from "../lib/world.mjs";

const [pbx, centre] = [await freePort(), await freePort()];
const TOKEN = "a-token-of-an-operator";
const [PASSWORD, CENTRE] = ["secret-of-the-pbx", "secret-of-the-centre"];
Object.assign(process.env, { CROSSPOINT_E2E_TOKEN: TOKEN, CROSSPOINT_E2E_CENTRE: CENTRE });

const it = world({
  config: `
[admin]
token_env = "CROSSPOINT_E2E_TOKEN"

[[trunk]]
name = "centre"
host = "127.0.0.1"
port = ${centre}
username = "gateway"
password_env = "CROSSPOINT_E2E_CENTRE"
prefixes = ["9"]

[[trunk]]
name = "pbx"
host = "127.0.0.1"
port = ${pbx}
forward_registrations = true
forward_domains = ["pbx.test"]
announce_to = "centre"
prefixes = ["1"]
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const registrations = () => operator(it.gateway, TOKEN, "GET", "/registrations");

async function hearEachOther(page, phone) {
  await page.hears(PHONE_TONE);
  await phone.hears(BROWSER_TONE);
}

test("a browser signs in at the PBX through us, calls go both ways, and a second server finds it too", it.telling(async () => {
  it.keep(await Kamailio.pbx({ port: pbx, gateway: it.gateway.port("udp"), password: PASSWORD }));
  it.keep(await Kamailio.registrar({ port: centre, password: CENTRE }));
  Object.assign(USERS, { erin: { password: PASSWORD }, dave: { password: PASSWORD }, frank: { password: CENTRE } });
  const phone = (user, port) => it.phone(user, { gateway: { domain: "127.0.0.1", port: () => port }, answer: "manual" });
  const [dave, frank] = [await phone("dave", pbx), await phone("frank", centre)];
  const erin = await it.browser("jssip", "erin", { domain: "pbx.test" });
  const listed = await until("the second server knows the user", async () => {
    const { items } = await registrations();
    return items[0]?.announced?.state === "registered" && items[0];
  });
  assert.equal(listed.user, "erin@pbx.test");
  assert.match(listed.path, /^<sip:fwd.*;lr>$/);
  assert.equal((await registrations()).webrtc_sessions, 1);

  // Out over the PBX.
  await erin.do("dial", "dave");
  const call = await dave.event("CALL_INCOMING");
  assert.match(call.peeruri, /sip:erin@/);
  dave.command("accept");
  await erin.event("confirmed");
  await hearEachOther(erin, dave);
  assert.equal((await registrations()).webrtc_calls, 1);
  await erin.do("hangUp");
  await dave.event("CALL_CLOSED");

  // In from the PBX, and from the second server.
  for (const [name, caller] of [["dave", dave], ["frank", frank]]) {
    caller.dial("erin");
    assert.equal((await erin.event("incoming")).from, name);
    await erin.do("answer");
    await hearEachOther(erin, caller);
    await erin.do("hangUp");
    await caller.event("CALL_CLOSED");
  }

  // Gone on all sides together.
  await erin.leave();
  await until("both servers have forgotten it", async () => (await registrations()).total === 0, { seconds: 45 });
  for (const caller of [dave, frank]) {
    caller.events.length = 0;
    caller.dial("erin");
    const { param } = await caller.event("CALL_CLOSED");
    assert.match(param ?? "", /404|480/, JSON.stringify(param));
  }
}));

test("a wrong password is the PBX's to refuse, and nothing stays", it.telling(async () => {
  it.keep(await Kamailio.pbx({ port: pbx, gateway: it.gateway.port("udp"), password: PASSWORD }));
  const client = it.keep(await it.chromium.client("jssip", it.gateway, "erin", "wrong", { domain: "pbx.test" }));
  assert.equal(await client.event("registration-failed"), 401);
  assert.equal((await registrations()).total, 0);
}));

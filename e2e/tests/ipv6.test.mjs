// Everything over IPv6: the page, its WebSocket, ICE, SIP over UDP and TCP, a trunk, and RTP.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { freePort } from "../lib/ports.mjs";
import { BROWSER_TONE, world } from "../lib/world.mjs";

const trunk = await freePort("::1");
const it = world({
  host: "::1",
  // The client runs in the gateway's own page, so no other origin has to be allowed.
  http: "",
  config: `
[[trunk]]
name = "carrier"
host = "::1"
port = ${trunk}
transport = "tcp"
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const browser = (user) => it.browser("jssip", user, { origin: it.gateway.origin });

test("the echo number gives back what the browser's microphone hears", async () => {
  const alice = await browser("alice");
  await alice.do("dial", "600");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await alice.event("ended");
});

for (const kind of ["udp", "tcp"]) {
  test(`a phone over ${kind} calls a browser that hears its own tone come back`, async () => {
    const alice = await browser("alice");
    const phone = await it.sipp("uac_call_until_bye", "bob", { kind, echo: true, keys: { target: "alice" } });
    await alice.event("incoming");
    await alice.do("answer");
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await phone.done();
    const answer = (await phone.received()).find((m) => m.line.startsWith("SIP/2.0 200"));
    assert.match(answer.text, /^c=IN IP6 ::1$/m);
  });
}

/** Calls a waiting sipp that sends the sound back, and gives the INVITE that it received. */
async function callAndHear(alice, number, phone) {
  await alice.do("dial", number);
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await phone.done();
  const [invite] = (await phone.received()).filter((m) => m.line.startsWith("INVITE"));
  assert.match(invite.text, /^c=IN IP6 ::1$/m);
  assert.match(invite.header("Contact"), /<sip:crosspoint@\[::1\]:\d+/);
  assert.match(invite.header("From"), /<sip:alice@\[::1\]>/);
  return invite;
}

test("a browser calls a phone over udp and hears its own tone come back", async () => {
  const alice = await browser("alice");
  const phone = await it.sipp("uas_answer", "phone1", { echo: true });
  await it.signIn("phone1", phone.port);
  await callAndHear(alice, "phone1", phone);
});

test("a browser calls out over a tcp trunk and hears its own tone come back", async () => {
  const alice = await browser("alice");
  const phone = await it.sipp("uas_answer", "alice", { kind: "tcp", local: trunk, echo: true });
  const invite = await callAndHear(alice, "0123", phone);
  assert.equal(invite.line, `INVITE sip:0123@[::1]:${trunk} SIP/2.0`);
});

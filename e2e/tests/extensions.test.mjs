// Reliable provisional responses (RFC 3262) and session intervals (RFC 4028), called and calling.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { BROWSER_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

test("a phone that demands reliable ringing gets it before the browser answers", async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await it.sipp("uac_reliable", "bob", { echo: true, keys: { target: "alice", level: "Require", status: 180 } });
  await alice.event("incoming");
  await phone.receives("SIP/2.0 180");
  // That of its PRACK: it could not tell it from the call's.
  await phone.receives("SIP/2.0 200");
  await alice.do("answer");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await phone.done();
});

test("a phone that knows reliable responses gets early media in one", async () => {
  // It answers long after the response has come again, and its PRACK with it: sipp takes a late answer to that for a mistake.
  const far = await it.sipp("uas_early_media", "phone1", { keys: { early: 3000 } });
  await it.signIn("phone1", far.port);
  const near = await it.sipp("uac_reliable_bye", "bob", { keys: { target: "phone1", level: "Supported", status: 183 } });
  await near.done();
  await far.done();
});

test("a browser hears the early media of a phone that sends it reliably, once acknowledged", async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await it.sipp("uas_reliable", "phone2", { echo: true, keys: { early: 3000 } });
  await it.signIn("phone2", phone.port);
  await alice.do("dial", "phone2");
  assert.equal(await alice.event("progress"), 183);
  await alice.hears(BROWSER_TONE);
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await phone.done();
});

test("a phone that insists on a longer session interval is called again with it", async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await it.sipp("uas_raises_interval", "phone3", { echo: true });
  await it.signIn("phone3", phone.port);
  await alice.do("dial", "phone3");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await phone.done();
  const invites = await phone.requests("INVITE");
  assert.deepEqual(invites.map((m) => m.header("Session-Expires")), ["1800", "3600"]);
  assert.equal(invites[1].header("Min-SE"), "3600");
});

test("a phone that asks for too short an interval hears which is the least", async () => {
  const phone = await it.sipp("uac_interval_refused", "bob", { keys: { target: "600", interval: 30 } });
  await phone.done();
  const refusal = (await phone.received()).find((m) => m.line.startsWith("SIP/2.0 422"));
  assert.equal(refusal.header("Min-SE"), "90");
});

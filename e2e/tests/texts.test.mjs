// Texts between browsers, kept for who is away; and a lamp that follows a user's calls.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

test("browsers write to each other", async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("sipjs", "bob");
  await alice.do("text", "bob", "Grüße");
  assert.deepEqual(await bob.event("text"), { from: "alice", body: "Grüße" });
  await bob.do("text", "1001", "Servus");
  assert.deepEqual(await alice.event("text"), { from: "bob", body: "Servus" });
});

test("a text waits for who is away", async () => {
  const alice = await it.browser("jssip", "alice");
  assert.equal(await alice.do("text", "carol", "Call me"), 202);
  assert.equal(await it.gateway.metric("crosspoint_texts_waiting"), 1);
  const carol = await it.browser("jssip", "carol");
  assert.deepEqual(await carol.event("text"), { from: "alice", body: "Call me" });
});

test("a lamp at a phone follows the calls of a browser", async () => {
  const bob = await it.browser("jssip", "bob");
  const alice = await it.browser("sipjs", "alice");
  const lamp = await it.sipp("uac_lamp", "carol", { keys: { target: "bob" } });
  // A NOTIFY that it has not answered would come again after the next one.
  const shows = (state) => until(`the lamp shows ${state}`, async () => (await lamp.requests("NOTIFY")).some(({ text }) => text.includes(state)));
  await shows("dialog-info");
  await alice.do("dial", "bob");
  await bob.event("incoming");
  await shows("early");
  await bob.do("answer");
  await alice.event("confirmed");
  await shows("confirmed");
  await bob.do("hangUp");
  await lamp.done();
});

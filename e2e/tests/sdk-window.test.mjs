// After the resume window there is nothing to come back to, and the far party knows.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Wire } from "../lib/wire.mjs";
import { BROWSER_TONE, world } from "../lib/world.mjs";

// Long enough for a page to be loaded again on a slow machine.
const it = world({ config: '\n[rtcengine]\nresume_window = "10s"\n' });
const AFTER_IT = { seconds: 30 };
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

async function talk() {
  const wire = it.keep(await Wire.start({ port: it.gateway.port("https") }));
  const alice = await it.browser("sdk", "alice", { url: wire.url() });
  const bob = await it.browser("jssip", "bob");
  await alice.do("dial", "bob");
  await bob.event("incoming");
  await bob.do("answer");
  await alice.hears(BROWSER_TONE);
  return { alice, bob, wire };
}

test("a page that stays away too long loses its call, and the far party hears BYE", async () => {
  const { alice, bob, wire } = await talk();
  wire.takeDown();
  await bob.event("ended", AFTER_IT);
  wire.restore();
  assert.deepEqual(await alice.event("ended"), { reason: "networkError", by: "remote" });
  // It is a client again, for calls to come.
  await alice.event("reconnected");
  await alice.registered();
  await bob.do("dial", "alice");
  await alice.event("incoming");
  await alice.do("answer");
  await alice.hears(BROWSER_TONE);
  await bob.do("hangUp");
  await alice.event("ended");
});

test("a tab that is closed in mid-call ends it after the window", async () => {
  const { alice, bob } = await talk();
  await alice.close();
  await bob.event("ended", AFTER_IT);
});

test("a page that is loaded again within the window keeps its call", async () => {
  const { alice, bob } = await talk();
  await alice.reload();
  await alice.do("restore");
  await alice.event("call-reconnected");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await bob.event("ended");
});

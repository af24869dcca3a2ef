// Browsers that may reach nothing but the gateway's TURN port.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const it = world({ config: '[turn]\nlisten = "127.0.0.1:0"\n' });
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const relayed = (to) => it.gateway.metric("crosspoint_turn_relayed_bytes_total", { to });

for (const over of ["udp", "tcp"]) {
  test(`a page that may only relay over ${over} talks to a phone`, async () => {
    const before = await relayed("peer");
    const phone = await it.phone("phone1", { answer: "auto" });
    const alice = await it.browser("sdk", "alice", { relayOver: over });
    await alice.do("dial", "phone1");
    await alice.event("confirmed");
    await alice.hears(PHONE_TONE);
    await phone.hears(BROWSER_TONE);
    assert.deepEqual(await alice.do("path"), { type: "relay", over });
    assert.ok((await relayed("peer")) > before);
    await alice.do("hangUp");
    await alice.event("ended");
  });
}

test("the preflight finds the relay", async () => {
  const alice = await it.browser("sdk", "alice");
  const { steps } = await alice.do("preflight");
  const relay = steps.find((step) => step.name === "relay");
  assert.equal(relay.verdict, "passed", relay.text);
});

test("nothing is left of relays when their pages are gone", async () => {
  const alice = await it.browser("sdk", "alice", { relayOver: "tcp" });
  await alice.do("dial", "600");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await alice.event("ended");
  await it.close();
  await until("no relay is left", async () => (await it.gateway.metric("crosspoint_turn_allocations")) === 0);
  await until("no connection is left", async () => (await it.gateway.metric("crosspoint_turn_connections")) === 0);
});

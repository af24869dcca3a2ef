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

const allocated = () => it.gateway.metric("crosspoint_turn_allocated_total");
const relayed = (to) => it.gateway.metric("crosspoint_turn_relayed_bytes_total", { to });

for (const over of ["udp", "tcp", "tls"]) {
  test(`a page that may only relay over ${over} talks to a phone`, async () => {
    const before = await relayed("peer");
    const handed = await it.gateway.metric("crosspoint_turn_handed_over_total");
    const phone = await it.phone("phone1", { answer: "auto" });
    const alice = await it.browser("sdk", "alice", { relayOver: over });
    await alice.do("dial", "phone1");
    await alice.event("confirmed");
    await alice.hears(PHONE_TONE);
    await phone.hears(BROWSER_TONE);
    assert.deepEqual(await alice.do("path"), { type: "relay", over });
    assert.ok((await relayed("peer")) > before);
    await until("sound is handed over without a socket between relay and media", async () =>
      (await it.gateway.metric("crosspoint_turn_handed_over_total")) > handed + 100);
    await alice.do("hangUp");
    await alice.event("ended");
  });
}

test("two pages that may only relay send their media to each other", async () => {
  const pages = await Promise.all(
    ["alice", "bob"].map((user) => it.browser("sdk", user, { relayOver: "udp", network: "webrtc" })),
  );
  const [alice, bob] = pages;
  // Relays of the pages before may still be there: they go when they expire.
  const before = await allocated();
  await alice.do("dial", "bob");
  await bob.event("incoming");
  // Alice has told of her relay before bob has a connection that could hear of it.
  await until("alice has a relay", async () => (await allocated()) > before);
  await bob.do("answer");
  await Promise.all(pages.map((page) => page.event("confirmed")));
  await Promise.all(pages.map((page) => page.hears(BROWSER_TONE)));
  for (const page of pages) assert.equal((await page.do("path")).type, "relay");
  await alice.do("hangUp");
  await bob.event("ended");
});

test("the preflight finds the relay", async () => {
  const alice = await it.browser("sdk", "alice");
  const { steps } = await alice.do("preflight");
  const relay = steps.find((step) => step.name === "relay");
  assert.equal(relay.verdict, "passed", relay.text);
});

test("nothing is left of relays when their pages are gone", async () => {
  const held = async () => Object.fromEntries(await Promise.all(
    ["allocations", "connections"].map(async (what) => [what, await it.gateway.metric(`crosspoint_turn_${what}`)]),
  ));
  await until("no connection of the pages before is left", async () => (await held()).connections === 0);
  // A page over UDP that is gone before it says so leaves its relay until that expires, or until what it says is read.
  const [before, had] = [await held(), await allocated()];
  const alice = await it.browser("sdk", "alice", { relayOver: "tcp" });
  await alice.do("dial", "600");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  assert.ok((await allocated()) > had, "allocations");
  assert.ok((await held()).connections > before.connections, "connections");
  await alice.do("hangUp");
  await alice.event("ended");
  await it.close();
  await until("its relay is gone", async () => (await held()).allocations <= before.allocations);
  await until("its connection is gone", async () => (await held()).connections <= before.connections);
});

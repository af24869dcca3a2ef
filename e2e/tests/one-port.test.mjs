// A browser whose network lets out nothing but one TCP port: a firewall in a namespace sees to it.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Browser } from "../lib/browser.mjs";
import { Gateway } from "../lib/gateway.mjs";
import { Network } from "../lib/network.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, USERS } from "../lib/world.mjs";

let network;
let gateway;
let chromium;
let client;

before(async () => {
  network = await Network.start();
  const { far, near } = network;
  const turn = `[turn]\nlisten = "${far.address}:0"\n`;
  gateway = await Gateway.start({ users: USERS, host: far.address, namespace: far, config: turn });
  network.allowOnly(gateway.port("https"));
  chromium = await Browser.start({ frequency: BROWSER_TONE, namespace: near });
});
after(async () => {
  await chromium?.stop();
  await gateway?.remove();
  network?.stop();
});
afterEach(async () => {
  await client?.leave();
  client = undefined;
  await gateway.idle();
});

/** The page comes from the gateway: nobody else is there. */
async function page(library, options) {
  client = await chromium.client(library, gateway, "alice", USERS.alice.password, { origin: gateway.origin, ...options });
  await client.registered();
  return client;
}

/** Calls the number that says back what it hears, for as long as consent has to be renewed. */
async function echoes(page, check) {
  await page.do("dial", "600");
  await page.event("confirmed");
  await page.hears(BROWSER_TONE);
  await check();
  await page.do("hangUp");
  await page.event("ended");
}

const metric = (name, labels) => gateway.metric(name, labels);

for (const library of ["sdk", "jssip"]) {
  test(`${library} signs in and calls over one TCP port, with media over ICE-TCP`, async () => {
    const [swallowed, validated] = [network.swallowed(), await metric("crosspoint_ice_tcp_validated_total")];
    const alice = await page(library, { relayOver: "nothing" });
    await echoes(alice, async () => {
      const over = library === "sdk" ? (await alice.do("path")).over : await alice.do("transport");
      assert.equal(over, "tcp");
      assert.ok((await metric("crosspoint_ice_tcp_connections")) > 0);
    });
    assert.ok((await metric("crosspoint_ice_tcp_validated_total")) > validated);
    assert.ok(network.swallowed() > swallowed, "UDP was tried, and the firewall took it");
  });
}

test("a SIP page asks for the relay, and calls over one TCP port with media over TURN and TLS", async () => {
  const alice = await page("jssip", { relay: true });
  await echoes(alice, async () => assert.equal(await alice.do("transport"), "tls"));
});

test("a page with both ways calls, whichever it prefers", async () => {
  const alice = await page("sdk");
  await echoes(alice, async () => {
    assert.match((await alice.do("path")).over, /^(tcp|tls)$/);
  });
});

test("a page that may only relay calls over one TCP port, with media over TURN and TLS", async () => {
  const before = await metric("crosspoint_turn_handed_over_total");
  const alice = await page("sdk", { relayOver: "tls" });
  await echoes(alice, async () => {
    assert.deepEqual(await alice.do("path"), { type: "relay", over: "tls" });
    const handed = async () => (await metric("crosspoint_turn_handed_over_total")) > before + 100;
    await until("sound is handed over without a socket between relay and media", handed);
  });
  assert.equal(await metric("crosspoint_turn_packets_dropped_total", { reason: "unsent" }), 0);
});

test("nothing is left of connections when their calls are over", async () => {
  await until("no connection for media is left", async () => (await metric("crosspoint_ice_tcp_connections")) === 0);
  await until("no relay is left", async () => (await metric("crosspoint_turn_allocations")) === 0);
  assert.equal(await metric("crosspoint_defects_total"), 0);
});

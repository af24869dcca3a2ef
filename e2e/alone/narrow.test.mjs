// Alone on the machine, so that nothing else delays packets: senders judge the way by that.
// Pictures over a narrow way, before us and behind us: the camera's encoder gives way, and the picture goes on.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Browser } from "../lib/browser.mjs";
import { Gateway } from "../lib/gateway.mjs";
import { Network } from "../lib/network.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, USERS } from "../lib/world.mjs";

const RED = [220, 30, 30];
/** In kbit/s: less than a small picture takes when it may. */
const NARROW = 250;

let network;
let gateway;
let chromium;
const pages = [];

before(async () => {
  network = await Network.start();
  const { far, near } = network;
  // Packets that pass the kernel by wait in no queue of its.
  const media = `io = "sockets"\naddresses = ["${far.address}"]\nlisten = "${far.address}"\nbrowser_listen = "${far.address}:0"\n`;
  gateway = await Gateway.start({ users: USERS, host: far.address, namespace: far, media });
  chromium = await Browser.start({ frequency: BROWSER_TONE, namespace: near });
});
after(async () => {
  await chromium?.stop();
  await gateway?.remove();
  network?.stop();
});
afterEach(async () => {
  for (const page of pages.splice(0)) await page.leave();
  for (const host of [network.far, network.near]) network.narrow(host, 0);
  await gateway.idle();
});

async function page(user) {
  const client = await chromium.client("sdk", gateway, user, USERS[user].password, { origin: gateway.origin });
  pages.push(client);
  await client.registered();
  return client;
}

async function sees(client) {
  const frames = (await client.do("seen"))?.frames ?? 0;
  await until("the picture goes on", async () => {
    const seen = await client.do("seen");
    return seen && seen.frames > frames + 5 && seen.colour.every((c, i) => Math.abs(c - RED[i]) < 80);
  }, { seconds: 30 });
}

for (const [where, host] of [["before", "near"], ["behind", "far"]]) {
  test(`a way that is narrow ${where} us makes the sender send less`, async (t) => {
    const [alice, bob] = [await page("alice"), await page("bob")];
    await alice.do("dial", "bob", { camera: RED, busy: true });
    await bob.event("incoming");
    await bob.do("answer");
    await Promise.all([alice.event("confirmed"), bob.event("confirmed")]);
    await sees(bob);
    const carries = async () => (await alice.do("figures")).carries / 1000;
    // On a machine that stands still estimates fall at first, and grow again by 8 % a second.
    const wide = await until("it sends what it likes", async () => {
      const now = await carries();
      return now > 1.6 * NARROW && now;
    }, { seconds: 90 });
    network.narrow(network[host], NARROW);
    const narrow = await until("it gives way", async () => {
      const now = await carries();
      return now < 1.2 * NARROW && now;
    }, { seconds: 40 });
    await sees(bob);
    if (where === "behind") {
      // With almost nothing left, pictures are lost that do not come again in time: a whole one is asked for.
      const asked = () => gateway.metric("crosspoint_media_key_frames_asked_total");
      const before = await asked();
      network.narrow(network[host], NARROW / 10);
      await until("a key frame is asked for", async () => (await asked()) > before, { seconds: 40 });
      network.narrow(network[host], NARROW);
      await sees(bob);
    }
    t.diagnostic(`${Math.round(wide)} kbit/s, then ${Math.round(narrow)} of ${NARROW}`);
    await bob.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await bob.event("ended");
    const record = await gateway.lastRecord();
    assert.equal(record.front_media.video.codec, "VP8");
    assert.ok(record.front_media.video.packets_received > 100 && record.back_media.video.packets_sent > 100);
    assert.ok(record.front_media.video.key_frames_asked > 0, JSON.stringify(record));
  });
}

// Browser to browser: the sound passes the gateway by, and the signalling is the gateway's.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const page = (user) => it.browser("sdk", user, { network: "webrtc" });
const bothHear = (a, b) => Promise.all([a.hears(BROWSER_TONE), b.hears(BROWSER_TONE)]);

async function talk() {
  const [alice, bob] = [await page("alice"), await page("bob")];
  await alice.do("dial", "bob");
  await bob.event("incoming");
  await bob.do("answer");
  await Promise.all([alice.event("confirmed"), bob.event("confirmed")]);
  await bothHear(alice, bob);
  assert.equal(await it.gateway.metric("crosspoint_media_legs"), 0);
  return { alice, bob };
}

test("two pages talk past the gateway, hold, send keys and hang up", async () => {
  const { alice, bob } = await talk();
  await alice.do("hold");
  await bob.event("hold-remote");
  await bob.hearsNothing();
  await alice.do("unhold");
  await bob.event("unhold-remote");
  await bothHear(alice, bob);
  await bob.do("digit", "4");
  assert.equal(await alice.event("dtmf"), "4");
  await bob.do("hangUp");
  await alice.event("ended");
});

test("both hold at once: both get their turn", async () => {
  const { alice, bob } = await talk();
  await Promise.all([alice.do("hold"), bob.do("hold")]);
  await Promise.all([alice.hearsNothing(), bob.hearsNothing()]);
  await Promise.all([alice.do("unhold"), bob.do("unhold")]);
  await bothHear(alice, bob);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("both show themselves at once, and one stops: both get their turn", async () => {
  const { alice, bob } = await talk();
  await Promise.all([alice.do("addVideo", [220, 30, 30]), bob.do("addVideo", [30, 40, 220])]);
  const shows = (client, channel) =>
    until(`${client.user} sees the other`, async () => {
      const seen = await client.do("seen");
      return seen && seen.frames > 5 && seen.colour[channel] > 150;
    }, { seconds: 20 });
  await Promise.all([shows(bob, 0), shows(alice, 2)]);
  await bob.do("removeVideo");
  await until("alice sees nothing any more", async () => !(await alice.do("pictures")).theirs);
  assert.deepEqual(await bob.do("pictures"), { ours: false, theirs: true, offered: false });
  assert.equal(await it.gateway.metric("crosspoint_media_legs"), 0);
  await bothHear(alice, bob);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("a page that is loaded again takes its call back", async () => {
  const { alice, bob } = await talk();
  await alice.reload();
  await alice.do("restore");
  await alice.event("call-reconnected");
  await bothHear(alice, bob);
  await bob.do("hangUp");
  await alice.event("ended");
});

test("on another network both begin ICE anew", async () => {
  const { alice, bob } = await talk();
  const before = await bob.do("ice");
  await alice.tab.evaluate(() => dispatchEvent(new Event("online")));
  await alice.event("reconnected");
  await until("ICE began anew", async () => (await bob.do("ice")) !== before);
  await bothHear(alice, bob);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("a call that is refused is refused", async () => {
  const [alice, bob] = [await page("alice"), await page("bob")];
  await alice.do("dial", "bob");
  await bob.event("incoming");
  await bob.do("reject");
  assert.equal((await alice.event("failed")).reason, "declined");
});

// Browser to browser through the gateway.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { BROWSER_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

async function talk(caller, called, target) {
  await caller.do("dial", target);
  await called.event("incoming");
  await called.do("answer");
  await Promise.all([caller.event("confirmed"), called.event("confirmed")]);
  await Promise.all([caller.hears(BROWSER_TONE), called.hears(BROWSER_TONE)]);
}

for (const [from, to] of [["jssip", "jssip"], ["jssip", "sipjs"], ["sipjs", "jssip"]]) {
  test(`${from} calls ${to}: both hear each other and either may hang up`, async () => {
    const alice = await it.browser(from, "alice");
    const bob = await it.browser(to, "bob");
    await talk(alice, bob, "1002");
    await bob.do("hangUp");
    await Promise.all([alice.event("ended"), bob.event("ended")]);
  });
}

test("hold silences the other side and resume brings the sound back", async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  await talk(alice, bob, "bob");
  await alice.do("hold");
  await alice.event("hold-local");
  await bob.event("hold-remote");
  await bob.hearsNothing();
  await alice.do("unhold");
  await bob.event("unhold-remote");
  await Promise.all([alice.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("a call that is cancelled stops ringing", async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  await alice.do("dial", "bob");
  await bob.event("incoming");
  await alice.do("hangUp");
  assert.equal((await bob.event("failed")).by, "remote");
});

for (const [name, status] of [["busy", 486], ["declined", 603]]) {
  test(`a call that is ${name} tells the caller ${status}`, async () => {
    const alice = await it.browser("jssip", "alice");
    const bob = await it.browser("jssip", "bob");
    await alice.do("dial", "bob");
    await bob.event("incoming");
    await bob.do("reject", status);
    assert.equal((await alice.event("failed")).status, status);
  });
}

test("all devices ring, the first answer wins, the others learn it", async () => {
  const alice = await it.browser("jssip", "alice");
  const [desk, pocket] = [await it.browser("jssip", "bob"), await it.browser("jssip", "bob")];
  await alice.do("dial", "bob");
  await Promise.all([desk.event("incoming"), pocket.event("incoming")]);
  await desk.do("answer");
  await desk.event("confirmed");
  const lost = await pocket.event("failed");
  assert.match(lost.reason ?? "", /elsewhere/);
  await alice.do("hangUp");
  await desk.event("ended");
});

test("an ICE restart keeps the call", async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  await talk(alice, bob, "bob");
  const ice = await alice.do("ice");
  await alice.do("iceRestart");
  assert.notEqual(await alice.do("ice"), ice);
  await Promise.all([alice.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("a blind transfer joins the party that remains", async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  const carol = await it.browser("jssip", "carol");
  await talk(alice, bob, "bob");
  await bob.do("refer", "carol");
  await carol.event("incoming");
  await carol.do("answer");
  await carol.event("confirmed");
  await bob.event("ended");
  await Promise.all([alice.hears(BROWSER_TONE), carol.hears(BROWSER_TONE)]);
  await carol.do("hangUp");
  await alice.event("ended");
});

test("a tab that is closed in mid-call ends the call for the other side", async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  await talk(alice, bob, "bob");
  await bob.close();
  await alice.event("ended", { seconds: 15 });
});

// One user, signed in everywhere: all ring, the first answer wins, and a call moves between devices.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { KINDS, party } from "../lib/party.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

for (const winner of KINDS) {
  test(`JsSIP, SDK and desk phone of one user all ring, and ${winner} answers`, async () => {
    const alice = await party(it, "sdk", "alice");
    const devices = {};
    for (const kind of KINDS) devices[kind] = await party(it, kind, "bob");
    await alice.dial("bob");
    await Promise.all(KINDS.map((kind) => devices[kind].rings()));
    await devices[winner].answer();
    await Promise.all([alice.up(), devices[winner].up()]);
    await Promise.all([alice.hears(devices[winner]), devices[winner].hears(alice)]);
    for (const kind of KINDS.filter((k) => k !== winner)) {
      const end = await devices[kind].failed();
      if (kind === "jssip") assert.match(end.reason ?? "", /elsewhere/);
      if (kind === "sdk") assert.equal(end.reason, "answeredElsewhere");
    }
    await devices[winner].hangUp();
    await alice.ended();
  });
}

/** The call that the SDK sees on another device of its user. */
function elsewhere(page) {
  return until("the page sees the call elsewhere", async () => (await page.state()).elsewhere[0]);
}

for (const kind of ["jssip", "phone"]) {
  test(`the SDK pulls a call from ${kind}, which gets it back by dialling`, async () => {
    const alice = await party(it, "phone", "alice");
    const [page, device] = [await party(it, "sdk", "bob"), await party(it, kind, "bob")];
    await device.dial("alice");
    await alice.rings();
    await alice.answer();
    await device.up();
    await device.hears(alice);
    const seen = await elsewhere(page.client);
    assert.equal(seen.device, kind === "phone" ? "phone" : "browser");
    await page.client.do("pull", seen.gcid);
    await Promise.all([page.up(), device.ended()]);
    await page.client.hears(PHONE_TONE);
    await alice.phone.hears(BROWSER_TONE);

    await device.dial("603");
    await Promise.all([device.up(), page.ended()]);
    await device.hears(alice);
    await device.hangUp();
    await alice.ended();
  });
}

test("what rings at the desk phone is answered at the page", async () => {
  const alice = await party(it, "jssip", "alice");
  const desk = await party(it, "phone", "bob");
  await alice.dial("bob");
  await desk.rings();
  // Signed in while it rings already, so that it does not ring here.
  const page = await party(it, "sdk", "bob");
  const seen = await elsewhere(page.client);
  await page.client.do("pull", seen.gcid);
  await Promise.all([page.up(), alice.up()]);
  await Promise.all([page.client.hears(BROWSER_TONE), alice.hears(page)]);
  await alice.hangUp();
  await page.ended();
});

// Calls that go elsewhere: sent on by a phone (302) or by a user's wish, and parked until somebody takes them up.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { party } from "../lib/party.mjs";
import { world } from "../lib/world.mjs";

const it = world({
  config: `
[[parking]]
name = "office"
orbit = "700"
slots = "701-705"
users = ["alice", "bob", "carol"]

[[forwarding]]
user = "phone2"
always = "1002"

[[forwarding]]
user = "bob"
busy = "carol"
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
  // Whoever rings on is not busy meanwhile.
  await it.gateway.noApps();
});

// Who parks, who waits, who takes it up.
for (const [by, waits, takes] of [["jssip", "phone", "sdk"], ["sdk", "jssip", "phone"]]) {
  const play = async () => {
    const alice = await party(it, by, "alice");
    const bob = await party(it, waits, "bob");
    const carol = await party(it, takes, "carol");
    await bob.dial("alice");
    await alice.rings();
    await alice.answer();
    await Promise.all([alice.up(), bob.up()]);
    await alice.transfer("700");
    await alice.ended();
    await carol.dial("701");
    await carol.up();
    await Promise.all([bob.hears(carol), carol.hears(bob)]);
    await bob.hangUp();
    await carol.ended();
    assert.deepEqual((await it.gateway.lastRecord()).parked, ["701 by alice, taken up by carol"]);
  };
  test(`${by} parks a ${waits}, and a ${takes} takes it up`, it.telling(play));
}

test("a phone sends a browser's call on to an app", it.telling(async () => {
  const alice = await party(it, "jssip", "alice");
  const bob = await party(it, "sdk", "bob");
  const phone = await it.sipp("uas_redirect", "phone1", { keys: { target: "bob" } });
  await it.signIn("phone1", phone.port);
  await alice.dial("phone1");
  await bob.rings();
  await phone.done();
  await bob.answer();
  await Promise.all([alice.up(), bob.up()]);
  await Promise.all([alice.hears(bob), bob.hears(alice)]);
  await alice.hangUp();
  await bob.ended();
  assert.deepEqual((await it.gateway.lastRecord()).diverted, ["phone1 deflection"]);
}));

test("an app's call goes where its users want it: always, and when busy", it.telling(async () => {
  const alice = await party(it, "sdk", "alice");
  const bob = await party(it, "phone", "bob");
  const carol = await party(it, "jssip", "carol");
  // To bob, who is not free, and on to carol.
  await alice.dial("phone2");
  await bob.rings();
  await bob.reject();
  await carol.rings();
  await carol.answer();
  await Promise.all([alice.up(), carol.up()]);
  await Promise.all([alice.hears(carol), carol.hears(alice)]);
  await carol.hangUp();
  await alice.ended();
  assert.deepEqual((await it.gateway.lastRecord()).diverted, ["phone2 unconditional", "bob busy"]);
}));

// Calls of the SDK over a reload, a lost socket and another network; and what the SDK measures.
import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { Air } from "../lib/air.mjs";
import { until } from "../lib/wait.mjs";
import { Wire } from "../lib/wire.mjs";
import { BROWSER_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

/** An SDK page behind a wire of its own. */
async function wired(user) {
  const wire = it.keep(await Wire.start({ port: it.gateway.port("https") }));
  return { client: await it.browser("sdk", user, { url: wire.url() }), wire };
}

async function talk(caller, called, target) {
  await caller.do("dial", target);
  await called.event("incoming");
  await called.do("answer");
  await Promise.all([caller.event("confirmed"), called.event("confirmed")]);
  await bothHear(caller, called);
}

const bothHear = (a, b) => Promise.all([a.hears(BROWSER_TONE), b.hears(BROWSER_TONE)]);

/** Loads the page again; gives the time until it was heard again, in ms. */
async function reload(client) {
  const begun = Date.now();
  await client.reload();
  await client.do("restore");
  await client.event("call-reconnected");
  await client.hears(BROWSER_TONE);
  return Date.now() - begun;
}

const silentEvents = ["ended", "failed", "hold-remote", "call-reconnecting"];

/** Whether this side noticed nothing but a short silence. */
async function noticedNothing(client) {
  const seen = await client.tab.evaluate(() => window.client.events.map((e) => e.name));
  assert.deepEqual(seen.filter((name) => silentEvents.includes(name)), []);
}

for (const [who, far] of [["caller", "sdk"], ["called", "sdk"], ["caller", "jssip"], ["called", "jssip"]]) {
  test(`the ${who}'s page is loaded again in a call with ${far}: the call lives`, async (t) => {
    const alice = await it.browser("sdk", "alice");
    const bob = await it.browser(far, "bob");
    if (who === "caller") await talk(alice, bob, "bob");
    else await talk(bob, alice, "alice");
    t.diagnostic(`sound again ${await reload(alice)} ms after the reload began`);
    await bob.hears(BROWSER_TONE);
    await noticedNothing(bob);
    // Twice: the leg that was taken over can be taken over.
    await reload(alice);
    await bothHear(alice, bob);
    await alice.do("hold");
    await bob.event("hold-remote");
    await bob.do("hangUp");
    await alice.event("ended");
  });
}

test("a phone sees nothing of a reload", async () => {
  const alice = await it.browser("sdk", "alice");
  const phone = await it.sipp("uas_answer", "phone1", { echo: true });
  await it.signIn("phone1", phone.port);
  await alice.do("dial", "phone1");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await reload(alice);
  await alice.do("hangUp");
  await phone.done();
  // What comes twice because its answer was slow is the same request.
  const seen = new Set((await phone.received()).map((m) => m.header("CSeq")));
  assert.deepEqual([...seen].map((number) => number.split(" ")[1]), ["INVITE", "ACK", "BYE"]);
});

test("what was held and muted before a reload is afterwards", async () => {
  const alice = await it.browser("sdk", "alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  await alice.do("mute");
  await alice.do("hold");
  await bob.event("hold-remote");
  await alice.reload();
  await alice.do("restore");
  await alice.event("call-reconnected");
  assert.deepEqual(await alice.do("held"), { held: true, muted: true });
  await bob.hearsNothing();
  await alice.do("unhold");
  await alice.do("unmute");
  await bothHear(alice, bob);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("a call that rings over a reload is answered", async () => {
  const alice = await it.browser("sdk", "alice");
  const bob = await it.browser("sdk", "bob");
  await bob.do("dial", "alice");
  await alice.event("incoming");
  await alice.reload();
  await alice.do("restore");
  await alice.event("incoming");
  await alice.do("answer");
  await Promise.all([alice.event("confirmed"), bob.event("confirmed")]);
  await bothHear(alice, bob);
  await bob.do("hangUp");
  await alice.event("ended");
});

test("a socket that is cut comes back, and the sound never went", async (t) => {
  const { client: alice, wire } = await wired("alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  const begun = Date.now();
  wire.cut();
  await alice.event("reconnecting");
  await alice.event("reconnected");
  t.diagnostic(`the socket was back after ${Date.now() - begun} ms`);
  await bothHear(alice, bob);
  await noticedNothing(bob);
  await noticedNothing(alice);
  await alice.do("hold");
  await bob.event("hold-remote");
  await alice.do("unhold");
  await bothHear(alice, bob);
  await bob.do("hangUp");
  await alice.event("ended");
});

test("what happened while there was no socket is caught up with", async () => {
  const { client: alice, wire } = await wired("alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  wire.takeDown();
  await alice.event("reconnecting");
  await bob.do("digit", "7");
  await bob.do("hangUp");
  wire.restore();
  await alice.event("reconnected");
  assert.equal(await alice.event("dtmf"), "7");
  assert.equal((await alice.event("ended")).reason, "normal");
});

test("a hang-up without a socket is told when there is one", async () => {
  const { client: alice, wire } = await wired("alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  wire.takeDown();
  await alice.event("reconnecting");
  await alice.do("hangUp");
  await alice.event("ended");
  wire.restore();
  await bob.event("ended");
});

test("an incoming call finds a client whose socket was cut", async () => {
  const { client: alice, wire } = await wired("alice");
  const bob = await it.browser("sdk", "bob");
  wire.takeDown();
  await alice.event("reconnecting");
  await bob.do("dial", "alice");
  wire.restore();
  await alice.event("incoming");
  await alice.do("answer");
  await bothHear(alice, bob);
  await bob.do("hangUp");
  await alice.event("ended");
});

test("another network: a new socket, an ICE restart, and the sound goes on", async () => {
  const alice = await it.browser("sdk", "alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  const before = await alice.do("ice");
  await alice.tab.evaluate(() => dispatchEvent(new Event("online")));
  await alice.event("reconnected");
  await until("ICE began anew", async () => (await alice.do("ice")) !== before);
  await bothHear(alice, bob);
  await noticedNothing(bob);
  await alice.do("hangUp");
  await bob.event("ended");
});

/** A call whose sound takes a way of the test's own. */
async function onAir() {
  const air = it.keep(await Air.start(it.gateway.port("media")));
  const alice = await it.browser("sdk", "alice", { mediaPort: air.port });
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  return { alice, bob, air };
}

test("sound that is interrupted is brought back by an ICE restart when packets pass again", async (t) => {
  const { alice, bob, air } = await onAir();
  const before = await alice.do("ice");
  air.isSilent = true;
  await alice.event("call-reconnecting", { seconds: 30 });
  await until("the page has begun ICE anew", async () => (await alice.do("ice")) !== before);
  const begun = Date.now();
  air.isSilent = false;
  await alice.event("call-reconnected", { seconds: 30 });
  t.diagnostic(`sound back ${Date.now() - begun} ms after packets passed again`);
  await bothHear(alice, bob);
  await noticedNothing(bob);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("packets that come from another address are the same call's", async () => {
  const { alice, bob, air } = await onAir();
  await air.move("127.0.0.2");
  await alice.tab.evaluate(() => dispatchEvent(new Event("online")));
  await alice.event("reconnected");
  await bob.do("play", 700);
  await alice.do("play", 800);
  await Promise.all([alice.hears(700), bob.hears(800)]);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("a duplicated tab leaves the call alone", async () => {
  const alice = await it.browser("sdk", "alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  const opening = alice.context.waitForEvent("page");
  // A page that another page opens gets a copy of its sessionStorage, as a duplicated tab does.
  await alice.tab.evaluate(() => void window.open(location.href));
  const twin = await opening;
  await twin.waitForFunction(() => window.client);
  await twin.evaluate(() => window.client.restore());
  assert.deepEqual(await twin.evaluate(() => window.client.state().calls), []);
  await bothHear(alice, bob);
  assert.equal((await alice.state()).up, true);
  await twin.close();
  await alice.do("hangUp");
  await bob.event("ended");
});

test("a tab that is closed without a call rings no more", async () => {
  const alice = await it.browser("sdk", "alice");
  const bob = await it.browser("sdk", "bob");
  // A page that is called before it goes has a call, and is waited for.
  const closed = bob.tab.waitForEvent("close");
  await bob.tab.close({ runBeforeUnload: true });
  await closed;
  await until("bob is gone", async () => {
    await alice.do("dial", "bob");
    return (await alice.event("failed")).reason === "unavailable";
  });
});

test("another sound is heard when the track is replaced", async () => {
  const alice = await it.browser("sdk", "alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob");
  await alice.do("play", 700);
  await bob.hears(700);
  await alice.do("hangUp");
  await bob.event("ended");
});

test("the preflight hears its own tone come back", async (t) => {
  const alice = await it.browser("sdk", "alice");
  const report = await alice.do("preflight");
  t.diagnostic(JSON.stringify(report));
  const verdicts = Object.fromEntries(report.steps.map((step) => [step.name, step.verdict]));
  assert.equal(verdicts.microphone, "passed");
  assert.equal(verdicts.relay, "skipped");
  assert.notEqual(verdicts.network, "failed");
  const sound = report.steps.find((step) => step.name === "sound");
  assert.equal(sound.figures.heard, 3);
  assert.ok(sound.figures.roundTripMs > 0);
});

describe("errors", () => {
  test("a wrong password is told apart from a gateway that is away", async () => {
    const wrong = await it.chromium.client("sdk", it.gateway, "alice", "nonsense").catch((error) => error);
    assert.match(wrong.message, /wrong user or password/);
  });

  for (const [target, reason] of [["999", "notFound"], ["carol", "unavailable"]]) {
    test(`a call to ${target} ends with ${reason}`, async () => {
      const alice = await it.browser("sdk", "alice");
      await alice.do("dial", target);
      assert.equal((await alice.event("failed")).reason, reason);
    });
  }
});

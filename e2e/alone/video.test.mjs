// Alone on the machine, so that nothing else delays packets: senders judge the way by that.
// Pictures through the gateway: between browsers, with a video phone, and with one that only hears.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const RED = [220, 30, 30];
const GREEN = [30, 200, 40];
const BLUE = [30, 40, 220];
const BLACK = [0, 0, 0];

/** Waits until the far camera's colour is seen, and new frames come. */
async function sees(client, colour) {
  const before = (await client.do("seen"))?.frames ?? 0;
  return until(
    `${client.user} sees ${colour}`,
    async () => {
      const seen = await client.do("seen");
      const is = seen && seen.frames > before + 5 && seen.colour.every((c, i) => Math.abs(c - colour[i]) < 70);
      return is ? seen : null;
    },
    { seconds: 20 },
  ).catch(async (error) => {
    throw new Error(`${error.message}: ${JSON.stringify([await client.do("seen"), await client.do("figures")])}`);
  });
}

async function talk(caller, called, target, { from, back }) {
  await caller.do("dial", target, from && { camera: from });
  await called.event("incoming");
  await called.do("answer", back && { camera: back });
  await Promise.all([caller.event("confirmed"), called.event("confirmed")]);
  await Promise.all([caller.hears(BROWSER_TONE), called.hears(BROWSER_TONE)]);
}

for (const codec of ["vp8", "h264"]) {
  test(`browsers see each other in ${codec}`, it.telling(async (t) => {
    const alice = await it.browser("jssip", "alice", { video: codec });
    // What he can take would be a limit as well: his estimate falls where the machine stands still.
    const bob = await it.browser("jssip", "bob", { estimates: false });
    if (!(await alice.do("canVideo", codec))) return t.skip(`this Chromium has no ${codec}`);
    await talk(alice, bob, "bob", { from: RED, back: BLUE });
    await Promise.all([sees(bob, RED), sees(alice, BLUE)]);
    const [a, b] = [await alice.do("figures"), await bob.do("figures")];
    for (const side of [a.in, a.out, b.in, b.out]) assert.equal(side.codec.toLowerCase(), `video/${codec}`);
    // Chromium begins with 300 kbit/s, and goes below when its packets' arrival is not told.
    const carries = async () => (await alice.do("figures")).carries;
    await until("the estimate of the way works", async () => (await carries()) > 500_000, { seconds: 30 })
      .catch(async (error) => { throw new Error(`${error.message}: it carries ${await carries()}`); });
    await alice.do("hangUp");
    await bob.event("ended");
  }));
}

test("video is added in mid-call from either side, taken away and added again", it.telling(async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  await talk(alice, bob, "bob", {});
  await alice.do("addVideo", RED);
  await sees(bob, RED);
  await bob.do("addVideo", BLUE);
  await sees(alice, BLUE);
  await alice.do("removeVideo");
  await until("the section is refused", async () => /m=video 0 /.test(await alice.do("remote")));
  await Promise.all([alice.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
  await bob.do("addVideo", GREEN);
  await sees(alice, GREEN);
  await alice.do("hangUp");
  await bob.event("ended");
}));

test("a browser that offers three layers shows one", it.telling(async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  await talk(alice, bob, "bob", {});
  await alice.do("addLayers", RED);
  assert.match(await alice.do("local"), /a=simulcast:send h;m;l/);
  assert.doesNotMatch(await alice.do("remote"), /a=(simulcast|rid)/);
  assert.equal((await sees(bob, RED)).width, 320, "the first layer, at its full size");
  assert.equal(await alice.do("layers"), 1);
  await alice.do("hangUp");
  await bob.event("ended");
}));

test("hold stops the picture, and resume brings it back", it.telling(async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("jssip", "bob");
  await talk(alice, bob, "bob", { from: RED, back: BLUE });
  await Promise.all([sees(bob, RED), sees(alice, BLUE)]);
  await alice.do("hold");
  await bob.event("hold-remote");
  const [sent] = [(await bob.do("figures")).out.sent];
  await bob.hearsNothing();
  const later = (await bob.do("figures")).out.sent;
  assert.ok(later - sent < 10, `a held camera goes on: ${sent} and ${later}`);
  await alice.do("unhold");
  await bob.event("unhold-remote");
  await Promise.all([sees(bob, RED), sees(alice, BLUE)]);
  await bob.do("hangUp");
  await alice.event("ended");
}));

test("a phone that only hears is called with video: the call has sound", it.telling(async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await it.phone("bob");
  await alice.do("dial", "bob", { camera: RED });
  await phone.event("CALL_INCOMING");
  phone.command("accept");
  await alice.event("confirmed");
  await Promise.all([alice.hears(PHONE_TONE), phone.hears(BROWSER_TONE)]);
  assert.match(await alice.do("remote"), /m=video 0 /);
  await alice.do("hangUp");
  await phone.event("CALL_CLOSED");
}));

for (const codec of ["vp8", "h264"]) {
  test(`a browser and baresip see each other in ${codec}`, it.telling(async (t) => {
    const alice = await it.browser("jssip", "alice", { video: codec });
    if (!(await alice.do("canVideo", codec))) return t.skip(`this Chromium has no ${codec}`);
    const phone = await it.phone("bob", { video: codec });
    await alice.do("dial", "bob", { camera: RED });
    await phone.event("CALL_INCOMING");
    phone.command("accept");
    await alice.event("confirmed");
    await Promise.all([alice.hears(PHONE_TONE), phone.hears(BROWSER_TONE)]);
    await until("the phone's pictures are decoded", async () => (await alice.do("figures")).in?.decoded > 20, { seconds: 20 });
    await phone.sees(RED);
    const { in: inbound } = await alice.do("figures");
    assert.equal(inbound.codec.toLowerCase(), `video/${codec}`);
    await alice.do("hangUp");
    await phone.event("CALL_CLOSED");
  }));
}

test("baresip calls a browser with video", it.telling(async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await it.phone("bob", { video: "vp8" });
  phone.dial("alice");
  await alice.event("incoming");
  await alice.do("answer", { camera: GREEN });
  await alice.event("confirmed");
  await Promise.all([alice.hears(PHONE_TONE), phone.hears(BROWSER_TONE)]);
  await until("the phone's pictures are decoded", async () => (await alice.do("figures")).in?.decoded > 20, { seconds: 20 });
  await phone.sees(GREEN);
  phone.command("hangup");
  await alice.event("ended");
}));

test("the SDK calls the SDK with pictures: blackened, held, taken away and added again", it.telling(async () => {
  const alice = await it.browser("sdk", "alice");
  const bob = await it.browser("sdk", "bob");
  await talk(alice, bob, "bob", { from: RED, back: BLUE });
  await Promise.all([sees(bob, RED), sees(alice, BLUE)]);
  await bob.do("muteVideo");
  await sees(alice, BLACK);
  await bob.do("unmuteVideo");
  await sees(alice, BLUE);
  await alice.do("hold");
  await bob.event("hold-remote");
  // It is told of the hold before it has answered it.
  await until("nothing is shown to bob on hold", async () => !(await bob.do("pictures")).theirs);
  await alice.do("unhold");
  await bob.event("unhold-remote");
  await Promise.all([sees(bob, RED), sees(alice, BLUE)]);
  await alice.do("removeVideo");
  await until("nothing is shown to bob", async () => !(await bob.do("pictures")).theirs);
  assert.deepEqual(await alice.do("pictures"), { ours: false, theirs: true, offered: false });
  await sees(alice, BLUE);
  await alice.do("addVideo", GREEN);
  await sees(bob, GREEN);
  await Promise.all([alice.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
  await alice.do("hangUp");
  await bob.event("ended");
}));

test("JsSIP calls the SDK with video; the SDK looks first and shows itself later", it.telling(async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.browser("sdk", "bob");
  await alice.do("dial", "bob", { camera: RED });
  await bob.event("incoming");
  assert.equal((await bob.do("pictures")).offered, true);
  await bob.do("answer");
  await Promise.all([alice.event("confirmed"), bob.event("confirmed")]);
  await sees(bob, RED);
  await bob.do("addVideo", BLUE);
  await sees(alice, BLUE);
  await alice.do("removeVideo");
  await until("both pictures are gone", async () => {
    const { ours, theirs } = await bob.do("pictures");
    return !ours && !theirs;
  });
  await alice.hears(BROWSER_TONE);
  await bob.do("hangUp");
  await alice.event("ended");
}));

test("the SDK and baresip see each other, and a phone that only hears is said to take no pictures", it.telling(async () => {
  const alice = await it.browser("sdk", "alice");
  const phone = await it.phone("bob", { video: "vp8" });
  await alice.do("dial", "bob", { camera: RED });
  await phone.event("CALL_INCOMING");
  phone.command("accept");
  await alice.event("confirmed");
  await Promise.all([alice.hears(PHONE_TONE), phone.hears(BROWSER_TONE)]);
  await until("the phone's pictures are decoded", async () => (await alice.do("figures")).in?.decoded > 20, { seconds: 20 });
  await phone.sees(RED);
  await alice.do("hangUp");
  await phone.event("CALL_CLOSED");
  const desk = await it.phone("carol");
  await alice.do("dial", "carol");
  await desk.event("CALL_INCOMING");
  desk.command("accept");
  await alice.event("confirmed");
  await Promise.all([alice.hears(PHONE_TONE), desk.hears(BROWSER_TONE)]);
  await assert.rejects(alice.do("addVideo", RED), /takes no pictures/);
  assert.equal((await alice.do("pictures")).ours, false);
  await Promise.all([alice.hears(PHONE_TONE), desk.hears(BROWSER_TONE)]);
  await alice.do("hangUp");
  await desk.event("CALL_CLOSED");
}));

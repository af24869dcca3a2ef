// Digits: as RTP events (RFC 4733) and by INFO, each way, between browsers and phones of both kinds.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const browser = (user, extra = {}) => it.browser("jssip", user, { digits: true, ...extra });

/** Alice's browser in a call with bob's baresip, which knows RTP events. */
async function talk({ browser: page, phone } = {}) {
  const alice = await browser("alice", page);
  const bob = await it.phone("bob", { answer: "auto", ...phone });
  await alice.do("dial", "bob");
  await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
  await alice.hears(PHONE_TONE);
  await bob.hears(BROWSER_TONE);
  return { alice, bob };
}

async function hangUp(alice, bob) {
  await alice.do("hangUp");
  await bob.event("CALL_CLOSED");
}

const pressed = (phone, key) =>
  until(`baresip hears ${key}`, () => phone.events.some((e) => e.type === "CALL_DTMF_START" && e.param === key));

async function seen(client, key) {
  const digit = await client.event("rtp-digit");
  assert.equal(digit.key, key);
  assert.ok(digit.ticks > 0);
}

const TRANSLATED = { browser: { codecs: ["opus", "telephone-event"] }, phone: { codecs: "pcma" } };

// The first passes packets on, the second makes each digit anew on another clock.
for (const [name, options, codec] of [["one codec", {}, "audio/PCMU"], ["translated codecs", TRANSLATED, "audio/opus"]]) {
  test(`keys travel as RTP events both ways with ${name}`, async () => {
    const { alice, bob } = await talk(options);
    assert.equal(await alice.do("codec"), codec);
    for (const key of "5#") {
      bob.command("sndcode", key);
      await seen(alice, key);
    }
    for (const key of "8*") {
      await alice.do("digit", key);
      await pressed(bob, key);
    }
    await alice.hears(PHONE_TONE);
    await hangUp(alice, bob);
  });

  test(`a browser's INFO becomes RTP events for a phone with ${name}`, async () => {
    const { alice, bob } = await talk(options);
    await alice.do("digitByInfo", "7");
    await pressed(bob, "7");
    await hangUp(alice, bob);
  });
}

test("a phone's INFO becomes RTP events for a browser", async () => {
  const alice = await browser("alice");
  const phone = await it.sipp("uac_dtmf_info", "bob", { echo: true, keys: { target: "alice" } });
  await alice.event("incoming");
  await alice.do("answer");
  await phone.accepted("INVITE");
  // The phone gives back what it hears.
  await alice.hears(BROWSER_TONE);
  await phone.nudge();
  await seen(alice, "5");
  await phone.accepted("INFO");
  await phone.nudge();
  await alice.event("ended");
  await phone.done();
});

/** A phone without RTP events, signed in, that waits for a call and one INFO. */
async function plainPhone(user, key) {
  const phone = await it.sipp("uas_info", user, { echo: true, keys: { key } });
  await it.signIn(user, phone.port);
  return phone;
}

for (const [user, how] of [["phone1", "digitByInfo"], ["phone2", "digit"]]) {
  test(`a browser's key (${how}) becomes INFO for a phone without RTP events`, async () => {
    const alice = await browser("alice");
    const phone = await plainPhone(user, "6");
    await alice.do("dial", user);
    await alice.event("confirmed");
    await alice.hears(BROWSER_TONE);
    await alice.do(how, "6");
    await phone.receives("INFO");
    await alice.do("hangUp");
    await phone.done();
  });
}

test("between two phones, RTP events become INFO where the other knows none", async () => {
  const bob = await it.phone("bob");
  const phone = await plainPhone("phone3", "3");
  bob.dial("phone3");
  await bob.event("CALL_ESTABLISHED");
  await bob.hears(PHONE_TONE);
  bob.command("sndcode", "3");
  await phone.receives("INFO");
  bob.command("hangup");
  await phone.done();
});

test("between two phones, INFO becomes RTP events", async () => {
  const bob = await it.phone("bob", { answer: "auto" });
  const phone = await it.sipp("uac_dtmf_info", "carol", { echo: true, keys: { target: "bob" } });
  await bob.event("CALL_ESTABLISHED");
  await phone.accepted("INVITE");
  await phone.nudge();
  await pressed(bob, "5");
  await phone.accepted("INFO");
  await phone.nudge();
  await bob.event("CALL_CLOSED");
  await phone.done();
});

for (const how of ["digit", "digitByInfo"]) {
  test(`a browser's key (${how}) reaches another browser as RTP events`, async () => {
    const [alice, bob] = [await browser("alice"), await browser("bob")];
    await alice.do("dial", "bob");
    await bob.event("incoming");
    await bob.do("answer");
    await Promise.all([alice.event("confirmed"), bob.event("confirmed")]);
    await Promise.all([alice.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
    await alice.do(how, "9");
    await seen(bob, "9");
    await alice.do("hangUp");
    await bob.event("ended");
  });
}

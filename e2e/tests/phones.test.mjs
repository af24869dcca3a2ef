// Browsers and SIP phones: sipp and baresip over UDP, TCP and TLS.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

for (const transport of ["udp", "tcp", "tls"]) {
  test(`baresip over ${transport} calls a browser: each hears the other's tone`, async () => {
    const alice = await it.browser("jssip", "alice");
    const bob = await it.phone("bob", { transport });
    bob.dial("alice");
    await alice.event("incoming");
    await alice.do("answer");
    await alice.event("confirmed");
    await alice.hears(PHONE_TONE);
    await bob.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await bob.event("CALL_CLOSED");
  });

  test(`a browser calls baresip over ${transport}: each hears the other's tone`, async () => {
    const alice = await it.browser("sipjs", "alice");
    const bob = await it.phone("bob", { transport, answer: "auto" });
    await alice.do("dial", "bob");
    await alice.event("confirmed");
    await alice.hears(PHONE_TONE);
    await bob.hears(BROWSER_TONE);
    bob.command("hangup");
    await alice.event("ended");
  });
}

for (const codec of ["pcma", "g722/16000/1"]) {
  test(`a browser that knows only opus reaches a phone that knows only ${codec}`, async () => {
    const alice = await it.browser("jssip", "alice", { codecs: ["opus"] });
    const bob = await it.phone("bob", { answer: "auto", codecs: codec });
    await alice.do("dial", "bob");
    await alice.event("confirmed");
    await alice.hears(PHONE_TONE);
    await bob.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await bob.event("CALL_CLOSED");
  });
}

test("a phone with SDES keys is called and heard", async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.phone("bob", { mediaenc: "srtp-mand" });
  bob.dial("alice");
  await alice.event("incoming");
  await alice.do("answer");
  await alice.event("confirmed");
  await alice.hears(PHONE_TONE);
  await bob.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await bob.event("CALL_CLOSED");
});

for (const kind of ["udp", "tcp"]) {
  test(`sipp over ${kind} calls a browser that hears its own tone come back`, async () => {
    const alice = await it.browser("jssip", "alice");
    const sipp = await it.sipp("uac_call_until_bye", "bob", { kind, echo: true, keys: { target: "alice" } });
    await alice.event("incoming");
    await alice.do("answer");
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await sipp.done();
  });
}

test("a late offer is answered and sound flows", async () => {
  const alice = await it.browser("jssip", "alice");
  const sipp = await it.sipp("uac_late_offer", "bob", { echo: true, keys: { target: "alice" } });
  await alice.event("incoming");
  await alice.do("answer");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await alice.event("ended");
  await sipp.done();
});

for (const scenario of ["uac_hold_resume", "uac_update"]) {
  test(`hold and resume by the phone (${scenario}) are answered by the rules`, async () => {
    const alice = await it.browser("jssip", "alice");
    const sipp = await it.sipp(scenario, "bob", { echo: true, keys: { target: "alice", hold: 1000 } });
    await alice.event("incoming");
    await alice.do("answer");
    await alice.event("hold-remote");
    await alice.event("unhold-remote");
    await alice.event("ended");
    await sipp.done();
  });
}

test("a phone that cancels stops the browser's ringing", async () => {
  const alice = await it.browser("jssip", "alice");
  const sipp = await it.sipp("uac_cancel", "bob", { keys: { target: "alice" } });
  await alice.event("incoming");
  assert.equal((await alice.event("failed")).by, "remote");
  await sipp.done();
});

for (const [status, name] of [[486, "busy"], [603, "declined"]]) {
  test(`a phone hears that the browser is ${name}`, async () => {
    const alice = await it.browser("jssip", "alice");
    const sipp = await it.sipp(`uac_refused_${status}`, "bob", { keys: { target: "alice" } });
    await alice.event("incoming");
    await alice.do("reject", status);
    await sipp.done();
  });
}

test("a wrong password at call time is refused again and again", async () => {
  const sipp = await it.sipp("uac_refused_407", "bob", { password: "nonsense", keys: { target: "600" } });
  await sipp.done();
});

let phones = 0;

/** A sipp phone, a user of its own, that is signed in and waits for one call. */
async function waiting(scenario, extra = {}) {
  const user = `phone${++phones}`;
  const phone = await it.sipp(scenario, user, extra);
  await it.signIn(user, phone.port, extra.kind);
  return Object.assign(phone, { user });
}

test("early media is heard before the answer, and the answer goes on with it", async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await waiting("uas_early_media", { echo: true, keys: { early: 3000 } });
  await alice.do("dial", phone.user);
  assert.equal(await alice.event("progress"), 183);
  await alice.hears(BROWSER_TONE);
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await phone.done();
});

for (const [scenario, status] of [["uas_busy", 486], ["uas_decline", 603]]) {
  test(`a browser hears ${status} from a phone (${scenario})`, async () => {
    const alice = await it.browser("jssip", "alice");
    const phone = await waiting(scenario);
    await alice.do("dial", phone.user);
    assert.equal((await alice.event("failed")).status, status);
    await phone.done();
  });
}

test("a browser that cancels stops the phone", async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await waiting("uas_cancelled");
  await alice.do("dial", phone.user);
  await alice.event("progress");
  await alice.do("hangUp");
  await phone.done();
});

test("a browser's hold reaches the phone and resume does too", async () => {
  const alice = await it.browser("jssip", "alice");
  const phone = await waiting("uas_held", { echo: true });
  await alice.do("dial", phone.user);
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hold");
  await alice.event("hold-local");
  await alice.do("unhold");
  await alice.event("unhold-local");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await phone.done();
});

test("a browser that dies in mid-call brings the phone a BYE within 15 s", async () => {
  const alice = await it.browser("jssip", "alice");
  const sipp = await it.sipp("uac_call_until_bye", "bob", { echo: true, limit: 30, keys: { target: "alice" } });
  await alice.event("incoming");
  await alice.do("answer");
  await alice.hears(BROWSER_TONE);
  const died = Date.now();
  await alice.close();
  await sipp.done();
  assert.ok(Date.now() - died < 15_000, `took ${Date.now() - died} ms`);
});

test("300 calls in a row leave nothing behind", async () => {
  const warm = await it.sipp("uac_call", "bob", { calls: 20, rate: 20, keys: { target: "600", hold: 100 } });
  await warm.done();
  await it.gateway.idle();
  const before = it.gateway.residentKiB();
  const sipp = await it.sipp("uac_call", "bob", { calls: 300, rate: 30, keys: { target: "600", hold: 200 } });
  await sipp.done();
  await it.gateway.idle();
  assert.equal(await it.gateway.metric("crosspoint_legs"), 0);
  const grown = it.gateway.residentKiB() - before;
  assert.ok(grown < 20_000, `grew by ${grown} KiB`);
});

test("every call has one record that says how it ended", async () => {
  const records = it.gateway.records();
  assert.ok(records.length >= 300);
  assert.equal(new Set(records.map((r) => r.gcid)).size, records.length);
  assert.ok(records.every((r) => r.cause && r.ended_by));
});

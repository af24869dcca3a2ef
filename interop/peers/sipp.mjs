// sipp, as a phone and as a trunk whose every message is written down in e2e/scenarios.
import assert from "node:assert/strict";
import { freePort } from "../../e2e/lib/ports.mjs";
import { until } from "../../e2e/lib/wait.mjs";
import { BROWSER_TONE } from "../../e2e/lib/world.mjs";
import { cannot, onStage, pagesHear } from "../play.mjs";
import { installed } from "../program.mjs";

let it;
let ports;
let phones = 0;

/** A scenario, a user of its own, that is signed in and waits for a call. */
async function waiting(name, extra = {}) {
  const user = `phone${++phones}`;
  const phone = await it.sipp(name, user, { echo: true, ...extra });
  await it.signIn(user, phone.port);
  return Object.assign(phone, { user });
}

/** A scenario at the trunk's port. */
const trunk = (name, local, { keys, ...extra } = {}) => it.sipp(name, "alice", { user: "71", local, echo: true, ...extra, keys: { target: "alice", ...keys } });

async function call(alice, target) {
  await alice.do("dial", target);
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
}

async function isCalled(alice) {
  await alice.event("incoming");
  await alice.do("answer");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
}

const plays = {
  async register() {
    await it.signIn("phone8", 5070);
    assert.equal(await it.gateway.metric("crosspoint_bindings"), 1);
    return "401 with digest, then 200; `crosspoint_bindings` is 1";
  },

  async called() {
    const [alice, phone] = [await it.page("alice"), await waiting("uas_answer")];
    await call(alice, phone.user);
    await alice.do("hangUp");
    await phone.done();
    return "a browser calls it and hears its own tone come back; INVITE, 180, 200, ACK, BYE, 200 in this order";
  },

  async calling() {
    const alice = await it.page("alice");
    const phone = await it.sipp("uac_call_until_bye", "phone1", { echo: true, keys: { target: "alice" } });
    await isCalled(alice);
    await alice.do("hangUp");
    await phone.done();
    return "it calls a browser (407 with digest), which hears its own tone come back and hangs up";
  },

  async hold() {
    const alice = await it.page("alice");
    const held = await waiting("uas_held");
    await call(alice, held.user);
    await alice.do("hold");
    await alice.event("hold-local");
    await alice.do("unhold");
    await alice.event("unhold-local");
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await held.done();
    const holds = await it.sipp("uac_hold_resume", "phone1", { echo: true, keys: { target: "alice", hold: 1000 } });
    await alice.event("incoming");
    await alice.do("answer");
    await alice.event("hold-remote");
    await alice.event("unhold-remote");
    await alice.event("ended");
    await holds.done();
    return "it is held with sendonly or inactive and resumed, its tone comes back; its own sendonly is answered by recvonly and told to the browser";
  },

  async "dtmf-rfc4733"() {
    const [alice, phone] = [await it.page("alice"), await waiting("uas_answer")];
    await call(alice, phone.user);
    await alice.do("digit", "8");
    assert.equal((await alice.event("rtp-digit")).key, "8");
    await alice.do("hangUp");
    await phone.done();
    return "8 from the browser reaches it as RTP events, which it sends back and the browser sees";
  },

  async "dtmf-info"() {
    const alice = await it.page("alice");
    const presses = await it.sipp("uac_dtmf_info", "phone1", { echo: true, keys: { target: "alice" } });
    await alice.event("incoming");
    await alice.do("answer");
    // Or the next call would be taken for answered already.
    await alice.event("confirmed");
    await presses.accepted("INVITE");
    await alice.hears(BROWSER_TONE);
    await presses.nudge();
    assert.equal((await alice.event("rtp-digit")).key, "5");
    await presses.accepted("INFO");
    await presses.nudge();
    await alice.event("ended");
    await presses.done();
    const plain = await waiting("uas_info", { keys: { key: "6" } });
    await call(alice, plain.user);
    await alice.do("digit", "6");
    await plain.receives("INFO");
    await alice.do("hangUp");
    await plain.done();
    return "its INFO is an RTP event at the browser; without telephone-event in its description it gets the browser's 6 by INFO";
  },

  async "blind-transfer"() {
    const [alice, carol] = [await it.page("alice"), await it.page("carol")];
    const refers = await waiting("uas_refers", { keys: { refer_to: "carol" } });
    await alice.do("dial", refers.user);
    await alice.event("confirmed");
    await carol.event("incoming");
    await carol.do("answer");
    await pagesHear(alice, carol);
    await refers.done();
    const told = (await refers.received()).filter((m) => m.line.startsWith("NOTIFY")).map((m) => m.text.trim().split("\n").at(-1));
    assert.equal(told.at(-1), "SIP/2.0 200 OK");
    const target = await waiting("uas_answer");
    await alice.do("refer", target.user);
    await alice.event("ended");
    await carol.hears(BROWSER_TONE);
    await carol.do("hangUp");
    await target.done();
    return "its REFER gets 202 and NOTIFY with 200, and two browsers hear each other; a browser's REFER brings the other to it";
  },

  async "attended-transfer"() {
    const [alice, carol] = [await it.page("alice"), await it.page("carol")];
    const asked = await waiting("uas_answer");
    await carol.do("dial", "alice");
    await isCalled(alice);
    await alice.do("hold");
    await call(alice, asked.user);
    await alice.do("join");
    await alice.event("ended");
    await carol.hears(BROWSER_TONE);
    await carol.do("hangUp");
    await asked.done();
    return "a browser joins another browser with it, which hears its own tone come back; a scenario is of one call: it cannot send Replaces itself";
  },

  async "early-media"() {
    const [alice, phone] = [await it.page("alice"), await waiting("uas_early_media", { keys: { early: 3000 } })];
    await alice.do("dial", phone.user);
    assert.equal(await alice.event("progress"), 183);
    await alice.hears(BROWSER_TONE);
    await alice.event("confirmed");
    await alice.do("hangUp");
    await phone.done();
    return "183 with a description: the browser hears its own tone come back before the 200";
  },

  async failover() {
    const alice = await it.page("alice");
    const first = await trunk("uas_answer", ports.first);
    const second = await trunk("uas_answer", ports.second);
    await call(alice, "71");
    await alice.do("hangUp");
    await first.done();
    // It has played its one call and is gone: nobody is at the first port now.
    await call(alice, "71");
    await alice.do("hangUp");
    await second.done();
    assert.equal(it.gateway.records()[0].trunk, "second");
    return "the first trunk answers, its program is gone, and the next call is heard at the second; the record names `second`";
  },

  async "session-refresh"() {
    const [alice, bob] = [await it.page("alice"), await it.page("bob")];
    const refreshed = await trunk("uas_is_refreshed", ports.first, { limit: 90 });
    const refreshes = await trunk("uac_refreshes", ports.second, { limit: 90, keys: { target: "bob" } });
    await Promise.all([call(alice, "71"), isCalled(bob)]);
    await until("we refresh at half of 90 s", async () => (await refreshed.received()).filter((m) => m.line.startsWith("INVITE")).length === 2, { seconds: 60 });
    await until("it refreshes", async () => (await refreshes.received()).filter((m) => /^CSeq: 2 UPDATE/m.test(m.text)).length === 1, { seconds: 60 });
    await Promise.all([alice.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
    await Promise.all([alice.do("hangUp"), bob.do("hangUp")]);
    await Promise.all([refreshed.done(), refreshes.done()]);
    return "where we refresh, a re-INVITE with `Session-Expires: 90;refresher=uac` comes after 45 s; where it does, its UPDATE gets 200 with the same; tones are heard on";
  },

  async "new-address"() {
    const alice = await it.page("alice");
    const moves = await trunk("uac_moves", ports.first, { keys: { hold: 2000 } });
    await isCalled(alice);
    await until("it has moved", async () => (await moves.received()).filter((m) => /^CSeq: 2 INVITE/m.test(m.text) && m.line.includes("200")).length === 1);
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await moves.done();
    return "a re-INVITE gives another port and another Contact: the tone comes back from there, and our BYE goes to the new Contact";
  },

  tls: cannot("Debian builds it without TLS"),
};

export const peer = {
  name: "sipp",
  role: "As a phone and as a trunk; every message it sends and may get is in `e2e/scenarios`.",
  missing: "Debian package `sip-tester` is not installed.",
  version: () => installed("sip-tester"),
  plays,
  async setUp() {
    ports = { first: await freePort(), second: await freePort() };
    const trunks = ["first", "second"].map((name) => `
[[trunk]]
name = "${name}"
host = "127.0.0.1"
port = ${ports[name]}
prefixes = ["71"]
failover_after = "1s"
`).join("");
    it = await onStage({ trunks });
    return it;
  },
};

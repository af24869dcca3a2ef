// Browsers on JsSIP and SIP.js that lose their WebSocket and come back: the call goes on, and the
// phone at its far end notices nothing.
import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { Wire } from "../lib/wire.mjs";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const WINDOW = 12;
const it = world({ config: `\n[rtcengine]\nresume_window = "${WINDOW}s"\n` });
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

/** A browser behind a wire of its own. */
async function wired(library, user, options = {}) {
  const wire = it.keep(await Wire.start({ port: it.gateway.port("https") }));
  const client = await it.browser(library, user, { url: wire.url(), ...options });
  return { client, wire };
}

/** Cuts the wire and waits until the page has signed in again. */
async function reconnect(client, wire) {
  wire.cut();
  await client.registered();
}

const pressed = (phone, key) =>
  until(`baresip hears ${key}`, () => phone.events.some((e) => e.type === "CALL_DTMF_START" && e.param === key));

/** The requests that a sipp phone received, ACK aside. A repeat is none: it has the number of the first. */
const asked = async (phone) => {
  const requests = (await phone.received()).filter((m) => !/^(SIP\/2\.0|ACK) /.test(m.line));
  return [...new Set(requests.map((m) => m.header("CSeq")))].map((number) => number.split(" ")[1]);
};

for (const library of ["jssip", "sipjs"]) {
  describe(library, () => {
    test("a call outlives its WebSocket, and the phone sees nothing but the BYE at its end", async () => {
      const { client: alice, wire } = await wired(library, "alice");
      const phone = await it.sipp("uac_call_until_bye", "bob", { echo: true, keys: { target: "alice" } });
      await alice.event("incoming");
      await alice.do("answer");
      await alice.hears(BROWSER_TONE);
      await reconnect(alice, wire);
      // Its own tone comes back: sound goes out and in.
      await alice.hears(BROWSER_TONE);
      // From another address: the media path is looked for anew.
      const ice = await alice.do("ice");
      wire.from = "127.0.0.2";
      await reconnect(alice, wire);
      await until("ICE begins again", async () => (await alice.do("ice")) !== ice);
      await alice.hears(BROWSER_TONE);
      assert.equal((await alice.state()).up, true);
      await alice.do("hangUp");
      await phone.done();
      assert.deepEqual(await asked(phone), ["BYE"]);
    });

    test("what the browser does goes over the new connection", async () => {
      const { client: alice, wire } = await wired(library, "alice");
      const bob = await it.phone("bob", { answer: "auto" });
      await alice.do("dial", "bob");
      await alice.hears(PHONE_TONE);
      await reconnect(alice, wire);
      await alice.hears(PHONE_TONE);
      await bob.hears(BROWSER_TONE);
      await alice.do("digit", "8");
      await pressed(bob, "8");
      await alice.do("digitByInfo", "7");
      await pressed(bob, "7");
      await alice.do("hold");
      await alice.do("unhold");
      await alice.hears(PHONE_TONE);
      await alice.do("hangUp");
      await bob.event("CALL_CLOSED");
    });

    test("what the phone does reaches the browser over the new connection", async () => {
      const { client: alice, wire } = await wired(library, "alice");
      const bob = await it.phone("bob");
      bob.dial("alice");
      await alice.event("incoming");
      await alice.do("answer");
      await alice.hears(PHONE_TONE);
      await reconnect(alice, wire);
      await alice.hears(PHONE_TONE);
      const [held, back] = library === "jssip" ? ["hold-remote", "unhold-remote"] : ["reinvited", "reinvited"];
      bob.command("hold");
      await alice.event(held);
      bob.command("resume");
      await alice.event(back);
      await alice.hears(PHONE_TONE);
      bob.command("hangup");
      await alice.event("ended");
    });

    test("a hang-up while the browser is away is heard when it is back", async () => {
      const { client: alice, wire } = await wired(library, "alice");
      const bob = await it.phone("bob", { answer: "auto" });
      await alice.do("dial", "bob");
      await alice.hears(PHONE_TONE);
      const bindings = () => it.gateway.metric("crosspoint_bindings");
      // Those of the test before may still be signing out.
      await until("only these two are signed in", async () => (await bindings()) === 2);
      wire.takeDown();
      await until("the gateway sees the loss", async () => (await bindings()) === 1);
      bob.command("hangup");
      await until("the call is over", async () => (await it.gateway.metric("crosspoint_calls_active")) === 0);
      assert.equal((await alice.state()).up, true);
      wire.restore();
      await alice.event("ended");
    });

    test("a call that rings at the browser can be answered after a reconnect", async () => {
      const { client: alice, wire } = await wired(library, "alice");
      const bob = await it.phone("bob");
      bob.dial("alice");
      await alice.event("incoming");
      // JsSIP tells of the call before it sends its 180. Were that lost with the wire, nobody
      // would know the dialog that is to be ended.
      await bob.event("CALL_RINGING");
      await reconnect(alice, wire);
      if (library === "jssip") {
        // JsSIP cannot answer what it rang for before: that is over, and it rings anew.
        assert.equal((await alice.event("ended")).by, "remote");
        await alice.event("incoming");
      }
      await alice.do("answer");
      await alice.event("confirmed");
      await alice.hears(PHONE_TONE);
      await bob.hears(BROWSER_TONE);
      bob.command("hangup");
      await alice.event("ended");
    });

    test("a browser that stays away loses its call after the window", async () => {
      const { client: alice, wire } = await wired(library, "alice");
      const phone = await it.sipp("uac_call_until_bye", "bob", { echo: true, keys: { target: "alice" } });
      await alice.event("incoming");
      await alice.do("answer");
      await alice.hears(BROWSER_TONE);
      const start = Date.now();
      wire.takeDown();
      await phone.done();
      const took = (Date.now() - start) / 1000;
      assert.ok(took >= WINDOW - 0.5, `${took} s`);
      assert.deepEqual(await asked(phone), ["BYE"]);
      const record = await it.gateway.lastRecord();
      assert.deepEqual([record.ended_by, record.cause], ["back", "signaling_lost"]);
      // Who comes later still is told.
      wire.restore();
      await alice.event("ended");
    });
  });
}

test("a call that rings at a JsSIP that goes by another name can be answered after a reconnect", async () => {
  const { client: alice, wire } = await wired("jssip", "alice", { agentName: "Some Phone 1.0" });
  const bob = await it.phone("bob");
  bob.dial("alice");
  await alice.event("incoming");
  await bob.event("CALL_RINGING");
  await reconnect(alice, wire);
  await alice.event("incoming");
  assert.equal((await alice.event("ended")).by, "remote");
  await alice.do("answer");
  await alice.event("confirmed");
  await alice.hears(PHONE_TONE);
  bob.command("hangup");
  await alice.event("ended");
});

test("a JsSIP caller that loses its WebSocket while it rings has left the call", async () => {
  const { client: alice, wire } = await wired("jssip", "alice");
  const bob = await it.phone("bob");
  await alice.do("dial", "bob");
  await bob.event("CALL_INCOMING");
  wire.cut();
  await alice.event("failed");
  await bob.event("CALL_CLOSED");
});

test("a SIP.js caller that loses its WebSocket while it rings gets its answer after it", async () => {
  const { client: alice, wire } = await wired("sipjs", "alice");
  const bob = await it.phone("bob");
  await alice.do("dial", "bob");
  await bob.event("CALL_INCOMING");
  await reconnect(alice, wire);
  bob.command("accept");
  await alice.event("confirmed");
  await alice.hears(PHONE_TONE);
  await bob.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await bob.event("CALL_CLOSED");
});

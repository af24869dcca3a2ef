// Calls of the gateway whose media is on other machines: `crosspoint media`, or the original rtpengine.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { Baresip } from "../lib/baresip.mjs";
import { Browser } from "../lib/browser.mjs";
import { Gateway, usualMedia } from "../lib/gateway.mjs";
import { operator } from "../lib/operator.mjs";
import { MediaServer, Rtpengine } from "../lib/media-server.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS } from "../lib/world.mjs";

const TOKEN = "an-operators-token-of-some-length";
const folder = mkdtempSync(join(tmpdir(), "crosspoint-operator-"));
writeFileSync(join(folder, "admin.token"), TOKEN);
after(() => rmSync(folder, { recursive: true }));
const OPERATED = `
[admin]
token_file = "${folder}/admin.token"
[recording]
folder = "${folder}/recordings"
consent_tone = "1s"
`;
/** Of what both sides hear while they are recorded, in Hz. */
const NOTICE_TONE = 1400;

/**
 * A play with a gateway on these media servers, a browser and a phone; whose failure tells what everybody saw.
 * `media` replaces the gateway's usual section. With `tellsAll`, servers are told at their start where digits go.
 */
const playing = (starts, play, { media, tellsAll } = {}) => async () => {
  const open = [];
  const keep = (thing) => (open.push(thing), thing);
  try {
    const servers = [];
    const dtmfLog = tellsAll ? await freePort() : undefined;
    if (dtmfLog) media = `${usualMedia("127.0.0.1")}dtmf_listen = "127.0.0.1:${dtmfLog}"\n`;
    for (const start of starts) servers.push(keep(await start({ dtmfLog })));
    const config = servers.map((s) => `\n[[media_server]]\naddress = "127.0.0.1:${s.port()}"\n`).join("") + OPERATED;
    const gateway = await Gateway.start({ users: USERS, config, media });
    open.push({ log: gateway.log, stop: () => gateway.remove() });
    const chromium = keep(await Browser.start({ frequency: BROWSER_TONE }));
    await until("the servers are healthy", async () =>
      (await gateway.metric("crosspoint_media_servers", { state: "healthy" })) === servers.length);
    const alice = keep(await chromium.client("jssip", gateway, "alice", USERS.alice.password));
    await alice.registered();
    const bob = keep(await Baresip.start({ gateway, user: "bob", password: USERS.bob.password, frequency: PHONE_TONE }));
    await bob.registered();
    const phone = async (user, frequency) => {
      const phone = keep(await Baresip.start({ gateway, user, password: USERS[user].password, frequency, answer: "auto" }));
      await phone.registered();
      return phone;
    };
    const app = async (user) => {
      const app = keep(await chromium.client("sdk", gateway, user, USERS[user].password));
      await app.registered();
      return app;
    };
    await play({ servers, gateway, alice, bob, phone, app });
  } catch (error) {
    error.message += `\n${open.map((o) => [o.log ?? ""].flat().slice(-25).join("\n")).join("\n")}`;
    throw error;
  } finally {
    for (const thing of open.reverse()) await (thing.leave ?? thing.stop).call(thing).catch(() => {});
  }
};

async function call({ alice, bob }) {
  await alice.do("dial", "bob");
  await bob.event("CALL_INCOMING");
  bob.command("accept");
  await alice.event("confirmed");
  await bob.event("CALL_ESTABLISHED");
  await bob.hears(BROWSER_TONE);
  await alice.hears(PHONE_TONE);
}

/** Waits until the server has relayed a second of a call, both ways. */
const flows = (server) => until("packets pass both ways", async () => {
  const { calls: [id] } = await server.ask({ command: "list" });
  if (!id) return false;
  const { totals } = await server.ask({ command: "query", "call-id": id });
  return totals.RTP.packets > 100;
});

const calls = async (server) => (await server.ask({ command: "list" })).calls.length;

/** Files of a recording that something was written into, wherever in the folder. */
const written = (at) => readdirSync(at, { recursive: true })
  // One may get its name while we look.
  .filter((name) => /\.(wav|pcap)$/.test(name) && statSync(join(at, name), { throwIfNoEntry: false })?.size > 2000);

const CAROL_TONE = 700;

const SERVERS = [
  ["crosspoint media", () => MediaServer.start({ config: `[recording]\nfolder = "${folder}/crosspoint media"\n` })],
  ["rtpengine", (more) => Rtpengine.start({ recordings: `${folder}/rtpengine`, ...more })],
];

for (const [name, start] of SERVERS) {
  describe(name, () => {
    test("carries the gateway's calls, both ways, and gives their figures", playing([start], async (it) => {
      await call(it);
      assert.equal(await calls(it.servers[0]), 1);
      assert.equal(await it.gateway.metric("crosspoint_media_legs"), 0, "our own media plane has nothing to do");
      const api = (...asked) => operator(it.gateway, TOKEN, ...asked);
      const { gcid } = (await api("GET", "/calls")).items[0];
      assert.equal((await api("POST", `/calls/${gcid}/dtmf`, { side: "called", digits: "5" })).status, 200);
      await until("the phone hears 5", () => it.bob.events.some((e) => e.type === "CALL_DTMF_START" && e.param === "5"));
      const record = (action) => api("POST", `/calls/${gcid}/recording`, { action });
      assert.deepEqual([(await record("start")).state, (await record("start")).status], ["running", 409]);
      // The other side says something all the while.
      await it.alice.hears(NOTICE_TONE);
      // rtpengine sends it as a source of its own beside the voice: baresip plays one after the other, packet by packet.
      if (name === "crosspoint media") await it.bob.hears(NOTICE_TONE, { window: 0.1 });
      await until("the server's reports make a grade", async () =>
        (await api("GET", "/calls")).items[0].legs.some(({ quality }) => quality?.mos > 4));
      assert.equal((await record("mask")).status, 409, "no server masks");
      assert.equal((await record("stop")).state, "stopped");
      await until("the recording is on the server's disk", () => written(join(folder, name)).length === 1);
      const play = await api("POST", `/calls/${gcid}/play`, { side: "caller", prompt: "none" });
      assert.notEqual(play.status, 200, "what passes elsewhere cannot be played into from here");
      assert.equal((await api("POST", `/calls/${gcid}/capture`, { action: "start" })).status, 409, "nor captured");
      await it.alice.do("hangUp");
      await it.bob.event("CALL_CLOSED");
      await until("the server has no call", async () => (await calls(it.servers[0])) === 0);
      // The server may have done it before the ladder has it.
      const ladder = await until("the ladder has the call's end", async () => {
        const ladder = await api("GET", `/calls/${gcid}/ladder`);
        return ladder.entries.some(({ direction, title }) => direction === "out" && title === "delete") && ladder;
      });
      const server = ladder.parties.find((party) => party.side === "media_server");
      assert.deepEqual([server?.protocol, server?.address], ["ng", `127.0.0.1:${it.servers[0].port()}`], JSON.stringify(ladder.parties));
      const said = ladder.entries.filter((entry) => entry.party === server.id);
      const titles = said.map((entry) => `${entry.direction} ${entry.title}`);
      for (const title of ["out offer + SDP", "in media server: ok + SDP", "out answer + SDP", "out play DTMF", "out start recording", "out delete"]) {
        assert.ok(titles.includes(title), `${title} of ${titles.join(", ")}`);
      }
      assert.doesNotMatch(JSON.stringify(said), /a=ice-pwd:[^*]/);
      it.bob.dial("alice");
      await it.alice.event("incoming");
      await it.alice.do("answer");
      await it.bob.event("CALL_ESTABLISHED");
      await flows(it.servers[0]);
      await it.alice.hears(PHONE_TONE);
      it.bob.command("hangup");
      await it.alice.event("ended");
      const records = await until("both calls are recorded", () => {
        const all = it.gateway.records();
        return all.length === 2 && all;
      });
      for (const record of records) assert.match(JSON.stringify(record), /"packets_received":[1-9]/);
    }));
  });
}

/** Media of phones goes from one to the other. */
const PAST_US = 'addresses = ["127.0.0.1"]\nlisten = "127.0.0.1"\nbrowser_listen = "127.0.0.1:0"\nphones = "direct"';

for (const [name, start] of SERVERS) {
  test(`a call of phones past us comes to ${name} when it is to be recorded`, playing([start], async (it) => {
    const carol = await it.phone("carol", CAROL_TONE);
    it.bob.dial("carol");
    await it.bob.event("CALL_ESTABLISHED");
    await Promise.all([it.bob.hears(CAROL_TONE), carol.hears(PHONE_TONE)]);
    assert.equal(await calls(it.servers[0]), 0, "the server has nothing to do");
    const api = (...asked) => operator(it.gateway, TOKEN, ...asked);
    const [{ gcid, media }] = (await api("GET", "/calls")).items;
    assert.equal(media, "direct");
    const before = written(join(folder, name)).length;
    assert.equal((await api("POST", `/calls/${gcid}/recording`, { action: "start" })).state, "running");
    await flows(it.servers[0]);
    await Promise.all([it.bob.hears(CAROL_TONE, { fresh: true }), carol.hears(PHONE_TONE, { fresh: true })]);
    assert.equal((await api("GET", "/calls")).items[0].media, "anchored");
    assert.equal(await it.gateway.metric("crosspoint_media_legs"), 0, "our own media plane has nothing to do");
    assert.equal((await api("POST", `/calls/${gcid}/recording`, { action: "stop" })).state, "stopped");
    await until("the recording is on the server's disk", () => written(join(folder, name)).length > before);
    it.bob.command("hangup");
    await carol.event("CALL_CLOSED");
    await until("the server has no call", async () => (await calls(it.servers[0])) === 0);
  }, { media: PAST_US }));
}

// An app tells of its addresses as it finds them, after its answer.
for (const [name, start] of SERVERS) {
  test(`a phone sends a browser on to an app over ${name}: both hear each other`, playing([start], async (it) => {
    const carol = await it.app("carol");
    await call(it);
    it.bob.command("transfer", `sip:carol@${it.bob.server}`);
    await carol.event("incoming");
    await carol.do("answer");
    await carol.event("confirmed");
    await it.bob.event("CALL_CLOSED");
    await Promise.all([it.alice.hears(BROWSER_TONE), carol.hears(BROWSER_TONE)]);
    const onServer = name === "crosspoint media";
    await until("one of them carries it", async () => (await calls(it.servers[0])) === (onServer ? 1 : 0));
    const ours = onServer ? 0 : 2;
    await until("our own media plane has the others", async () => (await it.gateway.metric("crosspoint_media_legs")) === ours);
    await carol.do("hangUp");
    await it.alice.event("ended");
    await it.alice.do("dial", "carol");
    await carol.event("incoming");
    await carol.do("answer");
    await it.alice.event("confirmed");
    assert.equal(await calls(it.servers[0]), 1);
    await Promise.all([it.alice.hears(BROWSER_TONE), carol.hears(BROWSER_TONE)]);
    await it.alice.do("hangUp");
    await carol.event("ended");
  }));
}

// Ours is told with each call where its digits go, rtpengine 10.5 at its start.
for (const [name, start] of SERVERS) {
  test(`a phone and an app press keys over ${name}: each is told what the other pressed`, playing([start], async (it) => {
    const carol = await it.app("carol");
    it.bob.dial("carol");
    await carol.event("incoming");
    await carol.do("answer");
    await it.bob.event("CALL_ESTABLISHED");
    await carol.hears(PHONE_TONE);
    assert.equal(await calls(it.servers[0]), 1);
    it.bob.command("sndcode", "7");
    assert.equal(await carol.event("dtmf"), "7");
    await carol.do("digit", "5");
    await until("the phone hears it", () => it.bob.events.some((e) => e.type === "CALL_DTMF_START" && e.param === "5"));
    // What the app pressed does not come back to it: the next that it is told of is the phone's.
    it.bob.command("sndcode", "9");
    assert.equal(await carol.event("dtmf"), "9");
    assert.equal(await it.gateway.metric("crosspoint_media_server_stray_digits_total"), 0);
    await carol.do("hangUp");
    await it.bob.event("CALL_CLOSED");
  }, { tellsAll: name === "rtpengine" }));
}

describe("a pool", () => {
  test("loses one server: its call ends with a cause, and new ones go to the other", playing([() => MediaServer.start(), () => MediaServer.start()], async (it) => {
    await call(it);
    const on = (await calls(it.servers[0])) === 1 ? 0 : 1;
    await it.servers[on].kill();
    await Promise.all([it.alice.event("ended"), it.bob.event("CALL_CLOSED")]);
    const [record] = await until("the call is recorded", () => {
      const all = it.gateway.records();
      return all.length === 1 && all;
    });
    assert.match(JSON.stringify(record), /media_lost/);
    await until("one server is gone", async () => (await it.gateway.metric("crosspoint_media_servers", { state: "gone" })) === 1);
    await call(it);
    assert.equal(await calls(it.servers[1 - on]), 1);
  }));

  // Two calls are two over there, on one server or on two: whoever is joined is offered a place beside us.
  test("has two calls whose far parties are joined: both hear each other", playing([() => MediaServer.start(), () => MediaServer.start()], async (it) => {
    const carol = await it.phone("carol", CAROL_TONE);
    await call(it);
    await it.alice.do("dial", "carol");
    await carol.event("CALL_ESTABLISHED");
    await it.alice.event("confirmed");
    await carol.hears(BROWSER_TONE);
    await it.alice.do("join");
    await it.alice.event("ended");
    await it.alice.event("ended");
    await Promise.all([it.bob.hears(CAROL_TONE), carol.hears(PHONE_TONE)]);
    await until("the servers have nothing left of it", async () => (await calls(it.servers[0])) + (await calls(it.servers[1])) === 0);
    await until("our own media plane has the two of them", async () => (await it.gateway.metric("crosspoint_media_legs")) === 2);
    it.bob.command("hangup");
    await carol.event("CALL_CLOSED");
    await until("the calls are recorded", () => it.gateway.records().length === 2);
  }));
});

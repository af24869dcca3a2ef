// A browser and a phone: their call recorded by rule and by an operator, prompts, music on hold, a service that speaks.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { bestToneShare, readWav, toneShare, writeTone } from "../lib/audio.mjs";
import { temporaryFolder } from "../lib/folder.mjs";
import { operator } from "../lib/operator.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const TOKEN = "an-operators-token-of-some-length";
const folder = temporaryFolder("recordings");
writeFileSync(join(folder, "admin.token"), TOKEN);
/** In Hz. */
const MUSIC = 600;
await writeTone(join(folder, "music.wav"), { frequency: MUSIC, seconds: 3, rate: 16000 });

/** In Hz. */
const AGENT_TONE = 800;
/** What the service heard last, half a second of it. */
let agentHeard = new Float64Array(0);

/** Signed samples of 16 bits, as the service's own words. */
function agentSays(n, count) {
  const sound = Buffer.alloc(2 * count);
  for (let i = 0; i < count; i++) sound.writeInt16LE(Math.round(12000 * Math.sin((2 * Math.PI * AGENT_TONE * (n * count + i)) / 16000)), 2 * i);
  return sound;
}

/** A service that hears the caller and speaks a tone of its own: RFC 6455 by hand, for messages of one frame. */
const service = createServer();
service.on("upgrade", (req, socket) => {
  const accept = createHash("sha1").update(req.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: crosspoint.media.v1\r\n\r\n`);
  let rest = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      if (rest.length < 6) return;
      const long = (rest[1] & 0x7f) === 126;
      const length = long ? rest.readUInt16BE(2) : rest[1] & 0x7f;
      const head = long ? 4 : 2;
      if (rest.length < head + 4 + length) return;
      const mask = rest.subarray(head, head + 4);
      const payload = Buffer.from(rest.subarray(head + 4, head + 4 + length)).map((b, i) => b ^ mask[i % 4]);
      if ((rest[0] & 15) === 2) {
        const count = (payload.length - 4) / 2;
        const samples = Float64Array.from({ length: count }, (_, i) => payload.readInt16LE(4 + 2 * i) / 32768);
        agentHeard = Float64Array.from([...agentHeard, ...samples].slice(-8000));
        const answer = Buffer.concat([payload.subarray(0, 4), agentSays(payload.readUInt16LE(2), count)]);
        const head = Buffer.from([0x82, 126, answer.length >> 8, answer.length & 255]);
        socket.write(Buffer.concat([head, answer]));
      }
      if ((rest[0] & 15) === 8) socket.end();
      rest = rest.subarray(head + 4 + length);
    }
  });
});
await new Promise((resolve) => service.listen(0, "127.0.0.1", resolve));
service.unref();
const url = `ws://127.0.0.1:${service.address().port}/`;

const it = world({
  config: `
[admin]
token_file = "${folder}/admin.token"
[recording]
folder = "${folder}/recordings"
users = ["bob"]
[sound]
music_on_hold = "${folder}/music.wav"
[stream]
allow = ["${url}"]
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const api = (...asked) => operator(it.gateway, TOKEN, ...asked);

const live = async () => (await api("GET", "/calls")).items[0];

/** The two sides of a recording. */
async function sides(name) {
  const { rate, samples } = await readWav(join(folder, "recordings", name));
  const side = (n) => ({ rate, samples: samples.filter((_, at) => at % 2 === n) });
  return [side(0), side(1)];
}

async function answeredCall(caller, called) {
  const phone = await it.phone(called, { answer: "auto" });
  const browser = await it.browser("jssip", caller);
  await browser.do("dial", called);
  await browser.event("confirmed");
  await Promise.all([browser.hears(PHONE_TONE), phone.hears(BROWSER_TONE)]);
  return { phone, browser };
}

const heardIn = (side, frequency) => bestToneShare(side, frequency).share > 0.7;

/** Waits until a tone stands clearly in one side of a file that is being written: 0 is left. */
const standsIn = (name, side, frequency) =>
  until(`${frequency} Hz stands in side ${side}`, async () => {
    // It may not have begun.
    const both = await sides(name).catch(() => null);
    return both && heardIn(both[side], frequency);
  });

test("a rule records the browser left and the phone right", async () => {
  const { browser } = await answeredCall("alice", "bob");
  const call = await live();
  assert.equal(call.recording.state, "running");
  await Promise.all([standsIn(call.recording.name, 0, BROWSER_TONE), standsIn(call.recording.name, 1, PHONE_TONE)]);
  await browser.do("hangUp");
  await browser.event("ended");
  const finished = await until("the recording is finished", async () => (await api("GET", "/recordings")).items.find((r) => r.gcid === call.gcid));
  assert.equal(finished.reason, "call_over");
  const [left, right] = await sides(finished.name);
  assert.ok(heardIn(left, BROWSER_TONE) && !heardIn(left, PHONE_TONE), "the browser is left");
  assert.ok(heardIn(right, PHONE_TONE) && !heardIn(right, BROWSER_TONE), "the phone is right");
});

test("an operator records, plays a tone to the browser and has a service speak to it", async () => {
  const { browser } = await answeredCall("alice", "carol");
  const { gcid, recording } = await live();
  assert.equal(recording, null);
  assert.equal((await api("POST", `/calls/${gcid}/recording`, { action: "start" })).state, "running");
  await api("POST", `/calls/${gcid}/play`, { side: "caller", tone: { frequency: 700, duration_ms: 60000 } });
  await browser.hears(700);
  await api("DELETE", `/calls/${gcid}/play?side=caller`);
  await browser.hears(PHONE_TONE);
  assert.equal((await api("POST", `/calls/${gcid}/stream`, { side: "caller", url })).state, "connecting");
  await browser.hears(AGENT_TONE);
  await until("the service hears the browser", () => toneShare(agentHeard, 16000, BROWSER_TONE).share > 0.7);
  await api("DELETE", `/calls/${gcid}/stream`);
  await browser.hears(PHONE_TONE);
  const running = (await live()).recording.name;
  await Promise.all([standsIn(running, 0, BROWSER_TONE), standsIn(running, 1, PHONE_TONE)]);
  const { name } = await api("POST", `/calls/${gcid}/recording`, { action: "stop" });
  await until("the recording is finished", async () => (await api("GET", "/recordings")).items.find((r) => r.name === name));
  const [left, right] = await sides(name);
  assert.ok(heardIn(left, BROWSER_TONE) && heardIn(right, PHONE_TONE));
  assert.ok(!heardIn(left, 700) && !heardIn(right, 700), "what we play is nobody's word");
  await browser.do("hangUp");
  await browser.event("ended");
});

test("a browser that is held hears music, and a killed gateway leaves what was said", async () => {
  const { phone, browser } = await answeredCall("carol", "bob");
  const { recording } = await live();
  phone.command("hold");
  await browser.hears(MUSIC);
  phone.command("resume");
  await browser.hears(PHONE_TONE);
  await Promise.all([standsIn(recording.name, 0, BROWSER_TONE), standsIn(recording.name, 1, PHONE_TONE)]);
  it.gateway.process.kill("SIGKILL");
  await it.gateway.exited;
  const [left, right] = await sides(recording.name);
  assert.ok(heardIn(left, BROWSER_TONE) && heardIn(right, PHONE_TONE), "the file plays");
  assert.ok(!heardIn(left, MUSIC) && !heardIn(right, MUSIC));
  // The call is gone with it: whoever comes next finds a gateway that knows of nothing but the file.
  await it.close();
  await it.gateway.run();
  const found = (await api("GET", "/recordings")).items.find((r) => r.name === recording.name);
  assert.equal(found.reason, "crashed");
  assert.equal((await api("DELETE", `/recordings/${recording.name}`)).status, 200);
});

test("a recording goes on over another device, music and a transfer", async () => {
  const OTHER_TONE = 620;
  const { phone, browser } = await answeredCall("alice", "bob");
  const other = await it.phone("carol", { answer: "auto", frequency: OTHER_TONE });
  const { gcid, recording } = await live();
  await standsIn(recording.name, 1, PHONE_TONE);
  phone.command("hold");
  await browser.hears(MUSIC);
  phone.command("resume");
  await browser.hears(PHONE_TONE);
  // The browser's owner goes on at another page, which takes the call's place.
  const second = await it.browser("jssip", "alice");
  await second.do("dial", "603");
  await second.event("confirmed");
  await second.hears(PHONE_TONE);
  phone.command("transfer", `sip:carol@${phone.server}`);
  await second.hears(OTHER_TONE);
  await other.hears(BROWSER_TONE);
  assert.equal((await live()).recording.state, "running");
  await standsIn(recording.name, 1, OTHER_TONE);
  await second.do("hangUp");
  await second.event("ended");
  const finished = await until("the recording is finished", async () => (await api("GET", "/recordings")).items.find((r) => r.gcid === gcid));
  const [left, right] = await sides(finished.name);
  assert.ok(heardIn(right, PHONE_TONE) && heardIn(right, OTHER_TONE), "both phones are right, one after the other");
  assert.ok(!heardIn(left, PHONE_TONE) && !heardIn(left, OTHER_TONE) && !heardIn(right, BROWSER_TONE));
  assert.ok(!heardIn(left, MUSIC) && !heardIn(right, MUSIC), "what we play is nobody's word");
  const half = left.samples.length / 2;
  for (const samples of [left.samples.subarray(0, half), left.samples.subarray(half)]) {
    assert.ok(heardIn({ rate: left.rate, samples }, BROWSER_TONE), "each of the caller's pages is left");
  }
});

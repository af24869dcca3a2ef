// A real Kamailio with its stock rtpengine module puts calls between browsers and phones through `crosspoint media`.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { createSocket } from "node:dgram";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bestToneShare, readWav, writeTone } from "../lib/audio.mjs";
import { Baresip } from "../lib/baresip.mjs";
import { Browser } from "../lib/browser.mjs";
import { Kamailio } from "../lib/kamailio.mjs";
import { MediaServer } from "../lib/media-server.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE } from "../lib/world.mjs";

let chromium, media, kamailio;
/** Where the media server keeps recordings and has prompts; and who hears of digits. */
const folder = mkdtempSync(join(tmpdir(), "crosspoint-media-files-"));
const PROMPT_TONE = 700;
const RED = [220, 30, 30];
mkdirSync(join(folder, "prompts"));
await writeTone(join(folder, "prompts", "hello.wav"), { frequency: PROMPT_TONE, seconds: 1, rate: 8000 });
const digits = [];
const listener = createSocket("udp4");
listener.on("message", (bytes) => digits.push(JSON.parse(bytes.toString())));
const open = [];
const keep = (thing) => (open.push(thing), thing);

before(async () => {
  chromium = await Browser.start({ frequency: BROWSER_TONE });
  await new Promise((resolve) => listener.bind(0, "127.0.0.1", resolve));
  media = await MediaServer.start({ config: `
[recording]
folder = "${folder}/recordings"
[sound]
prompts = "${folder}/prompts"
[ng]
dtmf_log = "127.0.0.1:${listener.address().port}"
` });
  kamailio = await Kamailio.media({ ng: media.port() });
});
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await (thing.leave ?? thing.stop).call(thing).catch(() => {});
});
after(async () => {
  await kamailio?.stop();
  await media?.stop();
  await chromium?.stop();
  listener.close();
  rmSync(folder, { recursive: true });
});

async function browser(user, at = kamailio, options = {}) {
  const client = keep(await chromium.client("jssip", at, user, "none", options));
  await client.registered();
  return client;
}

async function phone(user, extra = {}, at = kamailio) {
  const made = keep(await Baresip.start({ gateway: at, user, password: "none", frequency: PHONE_TONE, ...extra }));
  await made.registered();
  return made;
}

/** Ends what Kamailio has deleted, for which ports would stay for half a minute. */
async function clear() {
  const { calls } = await media.ask({ command: "list" });
  for (const call of calls) await media.ask({ command: "delete", "call-id": call, "delete delay": 0 });
  await media.idle();
}

/** A test's play, whose failure tells what everybody saw. */
const telling = (play) => async () => {
  try {
    await play();
  } catch (error) {
    error.message += `\n${media.log.slice(-20).join("\n")}\n${kamailio.log.slice(-30).join("\n")}\n${open.map((o) => [o.log].flat().slice(-30).join("\n")).join("\n")}`;
    throw error;
  }
};

describe("Kamailio's rtpengine module", () => {
  test("finds the media server by ping and lists it", telling(async () => {
    assert.match(kamailio.control("rtpengine.ping", "all"), /status: success/);
    assert.match(kamailio.control("rtpengine.show", "all"), /disabled: 0/);
  }));

  test("puts a browser's call to a phone through", telling(async () => {
    const [alice, bob] = [await browser("alice"), await phone("bob")];
    await alice.do("dial", "bob");
    await bob.event("CALL_INCOMING");
    bob.command("accept");
    await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
    await bob.hears(BROWSER_TONE);
    await alice.hears(PHONE_TONE);
    const { calls } = await media.ask({ command: "list" });
    assert.equal(calls.length, 1);
    const figures = await media.ask({ command: "query", "call-id": calls[0] });
    assert.equal(figures.result, "ok");
    assert.ok(figures.totals.RTP.packets > 0, JSON.stringify(figures.totals));
    await alice.do("hangUp");
    await bob.event("CALL_CLOSED");
    // Ports stay for the usual half minute, and go at once when told.
    await media.ask({ command: "delete", "call-id": calls[0], "delete delay": 0 });
    await media.idle();
  }));

  test("puts a phone's call to a browser through", telling(async () => {
    const [alice, bob] = [await browser("alice"), await phone("bob")];
    bob.dial("alice");
    await alice.event("incoming");
    await alice.do("answer");
    await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
    await bob.hears(BROWSER_TONE);
    await alice.hears(PHONE_TONE);
    bob.command("hangup");
    await alice.event("ended");
    await clear();
  }));

  test("holds and resumes from the browser", telling(async () => {
    const [alice, bob] = [await browser("alice"), await phone("bob")];
    await alice.do("dial", "bob");
    await bob.event("CALL_INCOMING");
    bob.command("accept");
    await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
    await alice.hears(PHONE_TONE);
    await bob.hears(BROWSER_TONE);
    await alice.do("hold");
    await alice.hearsNothing();
    await alice.do("unhold");
    await alice.hears(PHONE_TONE);
    await alice.do("hangUp");
    await bob.event("CALL_CLOSED");
    await clear();
  }));

  test("holds and resumes from the phone", telling(async () => {
    const [alice, bob] = [await browser("alice"), await phone("bob")];
    bob.dial("alice");
    await alice.event("incoming");
    await alice.do("answer");
    await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
    await alice.hears(PHONE_TONE);
    bob.command("hold");
    await alice.hearsNothing();
    bob.command("resume");
    await alice.hears(PHONE_TONE);
    bob.command("hangup");
    await alice.event("ended");
    await clear();
  }));

  test("records, plays prompts and digits, and holds back what its script says", telling(async () => {
    const [alice, bob] = [await browser("alice", kamailio, { digits: true }), await phone("bob")];
    await alice.do("dial", "bob");
    await bob.event("CALL_INCOMING");
    bob.command("accept");
    await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
    await bob.hears(BROWSER_TONE);
    await alice.hears(PHONE_TONE);
    const [id] = (await media.ask({ command: "list" })).calls;
    const parties = Object.values((await media.ask({ command: "query", "call-id": id })).tags);
    const isBrowser = (party) => party.medias[0].flags.includes("ICE");
    const [caller, called] = [parties.find(isBrowser).tag, parties.find((party) => !isBrowser(party)).tag];
    const order = async (name, flags = "") => assert.ok(await kamailio.order(name, `call-id=${id} ${flags}`.trim()), name);
    const pressed = (key) => until(`bob's phone hears ${key}`, () => bob.events.some((e) => e.type === "CALL_DTMF_START" && e.param === key));
    await order("start_recording");
    await order("play_media", `from-tag=${caller} file=${folder}/prompts/hello.wav repeat-times=1000`);
    await alice.hears(PROMPT_TONE);
    await order("stop_media", `from-tag=${caller}`);
    await alice.hears(PHONE_TONE);
    assert.ok(!(await kamailio.order("play_media", `call-id=${id} from-tag=${caller} file=/etc/passwd`)), "not from elsewhere");
    await order("play_dtmf", `from-tag=${caller} code=5`);
    await pressed("5");
    await order("block_dtmf");
    for (const key of [7, 1]) {
      bob.command("sndcode", `${key}`);
      await until("a blocked digit is told", () => digits.some((d) => d.event === key && d.callid === id && d.source_tag === called));
    }
    await order("unblock_dtmf");
    bob.command("sndcode", "8");
    // The end of the last may be repeated when nothing holds it back any more; the first is over.
    const seen = [];
    while (seen.at(-1) !== "8") seen.push((await alice.event("rtp-digit")).key);
    assert.ok(!seen.includes("7"), `${seen}`);
    await order("block_media");
    await alice.hearsNothing();
    await order("unblock_media");
    await alice.hears(PHONE_TONE);
    await order("stop_recording");
    const lines = await until("the recording is listed", () => {
      try {
        return readFileSync(join(folder, "recordings", "index.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
      } catch {
        return null;
      }
    });
    assert.deepEqual([lines.length, lines[0].gcid, lines[0].reason], [1, id, "stopped"]);
    const { rate, samples } = await readWav(join(folder, "recordings", lines[0].name));
    const side = (n) => bestToneShare({ rate, samples: samples.filter((_, at) => at % 2 === n) }, [BROWSER_TONE, PHONE_TONE][n]);
    for (const n of [0, 1]) assert.ok(side(n).share > 0.9, `channel ${n}: ${JSON.stringify(side(n))}`);
    await alice.do("hangUp");
    await bob.event("CALL_CLOSED");
    await clear();
  }));

  test("carries pictures between a browser and a phone", telling(async () => {
    const [alice, bob] = [await browser("alice", kamailio, { video: "vp8" }), await phone("bob", { video: "vp8" })];
    await alice.do("dial", "bob", { camera: RED });
    await bob.event("CALL_INCOMING");
    bob.command("accept");
    await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
    await alice.hears(PHONE_TONE);
    await until("the phone's pictures are decoded", async () => (await alice.do("figures")).in?.decoded > 20);
    await bob.sees(RED);
    await alice.do("hangUp");
    await bob.event("CALL_CLOSED");
    await clear();
  }));

  test("takes a media server up again that came after it", telling(async () => {
    const port = await freePort();
    const early = keep(await Kamailio.media({ ng: port, retest: 1 }));
    await until("it has found none", () => /disabled: 1/.test(early.control("rtpengine.show", "all")));
    keep(await MediaServer.start({ listen: `127.0.0.1:${port}` }));
    // It looks for a server that was away with the next call, once the time for that has come.
    await until("it may look again", () => {
      early.control("rtpengine.ping", "all");
      return /recheck_ticks: 0/.test(early.control("rtpengine.show", "all"));
    });
    const [alice, bob] = [await browser("alice", early), await phone("bob", {}, early)];
    await alice.do("dial", "bob");
    await bob.event("CALL_INCOMING");
    bob.command("accept");
    await Promise.all([alice.event("confirmed"), bob.event("CALL_ESTABLISHED")]);
    await bob.hears(BROWSER_TONE);
    await alice.hears(PHONE_TONE);
    assert.match(early.control("rtpengine.show", "all"), /disabled: 0/);
  }));
});

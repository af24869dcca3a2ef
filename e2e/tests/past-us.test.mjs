// Phones whose media goes past the gateway, from one to the other, until somebody needs it there.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { bestToneShare, readWav } from "../lib/audio.mjs";
import { temporaryFolder } from "../lib/folder.mjs";
import { operator } from "../lib/operator.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, world } from "../lib/world.mjs";

const TOKEN = "an-operators-token-of-some-length";
const folder = temporaryFolder("past-us");
writeFileSync(join(folder, "admin.token"), TOKEN);
/** In Hz, of the phone that calls. */
const CALLER_TONE = 700;

const it = world({
  media: 'addresses = ["127.0.0.1"]\nlisten = "127.0.0.1"\nbrowser_listen = "127.0.0.1:0"\nphones = "direct"',
  config: `
[admin]
token_file = "${folder}/admin.token"
[recording]
folder = "${folder}/recordings"
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const api = (...asked) => operator(it.gateway, TOKEN, ...asked);
const live = async () => (await api("GET", "/calls")).items[0];
const legs = () => it.gateway.metric("crosspoint_media_legs");

const comes = () => until("both legs of it are here", async () => (await legs()) === 2);

/** Bob in a call with carol, past us. */
async function talking() {
  const bob = await it.phone("bob", { frequency: CALLER_TONE });
  const carol = await it.phone("carol", { answer: "auto" });
  bob.dial("carol");
  await Promise.all([bob.event("CALL_ESTABLISHED"), carol.event("CALL_ESTABLISHED")]);
  await Promise.all([bob.hears(PHONE_TONE), carol.hears(CALLER_TONE)]);
  assert.equal((await live()).media, "direct");
  assert.equal(await legs(), 0, "nothing of it comes here");
  return { bob, carol };
}

const fresh = ({ bob, carol }) => Promise.all([bob.hears(PHONE_TONE, { fresh: true }), carol.hears(CALLER_TONE, { fresh: true })]);

test("phones hear each other, hold and go on, past us", it.telling(async () => {
  const both = await talking();
  // What baresip hears after a hold is in no recording of its own; its log says that it was answered.
  const answers = (n) => both.bob.says(new RegExp(`(got SDP answer[^]*){${n}}`));
  both.bob.command("hold");
  await answers(2);
  both.bob.command("resume");
  await answers(3);
  assert.equal(await legs(), 0);
  both.carol.command("hangup");
  await both.bob.event("CALL_CLOSED");
  const record = await it.gateway.lastRecord();
  assert.equal(record.cause, "normal");
}));

test("an operator records a call past us: it comes here, and both hear each other on", it.telling(async () => {
  const both = await talking();
  const { gcid } = await live();
  const { name, state } = await api("POST", `/calls/${gcid}/recording`, { action: "start" });
  assert.equal(state, "running");
  await until("both sides stand in the recording", async () => {
    const wav = await readWav(join(folder, "recordings", name)).catch(() => null);
    const side = (n) => ({ rate: wav.rate, samples: wav.samples.filter((_, at) => at % 2 === n) });
    return wav && bestToneShare(side(0), CALLER_TONE).share > 0.7 && bestToneShare(side(1), PHONE_TONE).share > 0.7;
  });
  await fresh(both);
  assert.equal((await live()).media, "anchored");
  await comes();
  both.bob.command("hangup");
  await both.carol.event("CALL_CLOSED");
}));

test("a phone sends who it talks to on to a browser", it.telling(async () => {
  const { bob, carol } = await talking();
  const alice = await it.browser("jssip", "alice");
  carol.command("transfer", `sip:alice@${carol.server}`);
  await alice.event("incoming");
  await alice.do("answer");
  await alice.event("confirmed");
  await alice.hears(CALLER_TONE);
  await bob.hears(BROWSER_TONE);
  await comes();
  bob.command("hangup");
  await alice.event("ended");
}));

test("a phone and a browser meet here", it.telling(async () => {
  const alice = await it.browser("jssip", "alice");
  const bob = await it.phone("bob", { frequency: CALLER_TONE });
  bob.dial("alice");
  await alice.event("incoming");
  await alice.do("answer");
  await alice.event("confirmed");
  await alice.hears(CALLER_TONE);
  await comes();
  bob.command("hangup");
  await alice.event("ended");
}));

// Alone on the machine, so that nothing else delays packets: a score says how late they were.
// What the SDK measures of a call.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

test("the quality of a call is reported, and it is good", async () => {
  const alice = await it.browser("sdk", "alice");
  await alice.do("dial", "600");
  await alice.hears(BROWSER_TONE);
  // A page on a busy machine begins with gaps; they are over.
  let report;
  const quality = await until("a report with all figures, and good ones", async () => {
    report = await alice.do("quality");
    const isWhole = report?.rtt !== undefined && report.bitrateIn > 0 && report.bitrateOut > 0 && report.levelOut > 0;
    return isWhole && report.mos > 3 && report;
  }, { seconds: 30 }).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(report)}`); });
  assert.ok(quality.mos > 3 && quality.mos <= 4.5, JSON.stringify(quality));
  assert.match(quality.codec, /opus|PCM|G722/i);
  assert.ok(quality.bitrateIn > 0 && quality.bitrateOut > 0 && quality.levelOut > 0);
  await alice.do("hangUp");
  await alice.event("ended");
});

// RTCP as Chromium sees it: our reports of what it sends, and our sender's reports of what it hears.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { until } from "../lib/wait.mjs";
import { PHONE_TONE, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

for (const [what, options] of [
  ["where sound passes through", { codecs: ["PCMU"] }],
  ["where sound is translated", { codecs: ["opus"] }],
]) {
  test(`a browser learns how it is heard ${what}`, async () => {
    const alice = await it.browser("jssip", "alice", options);
    await it.phone("bob", { answer: "auto" });
    await alice.do("dial", "bob");
    await alice.hears(PHONE_TONE);
    const { ours, theirs } = await until(
      "two reports of each kind, with a round trip",
      async () => {
        const reports = await alice.do("reports");
        const is = reports.ours?.roundTripTimeMeasurements >= 2 && reports.theirs?.reportsSent >= 2;
        return is && reports;
      },
      { seconds: 60 },
    );
    assert.ok(ours.roundTripTime >= 0 && ours.roundTripTime < 2, `${ours.roundTripTime} s`);
    assert.equal(typeof ours.fractionLost, "number");
    assert.ok(ours.packetsLost >= 0 && ours.packetsLost < 50, `${ours.packetsLost} lost`);
    assert.ok(ours.jitter >= 0 && ours.jitter < 1, `${ours.jitter} s of jitter`);
    assert.ok(theirs.packetsSent > 50 && theirs.bytesSent > 0);
    await alice.do("hangUp");
    await alice.event("ended");
    const record = await it.gateway.lastRecord();
    assert.equal(record.cause, "normal");
  });
}

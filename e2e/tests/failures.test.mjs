// Browsers that go without a word in mid-call: the phone hears of it within 15 s.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Browser } from "../lib/browser.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, USERS, world } from "../lib/world.mjs";

const it = world({ withoutBrowser: true });

/** A user in a browser of its own talks with a phone that waits for the end. */
async function talk(user, phoneUser) {
  const chromium = it.keep(await Browser.start({ frequency: BROWSER_TONE }));
  const client = await chromium.client("jssip", it.gateway, user, USERS[user].password);
  await client.registered();
  const phone = await it.sipp("uac_call_until_bye", phoneUser, { echo: true, limit: 50, keys: { target: user } });
  await client.event("incoming");
  await client.do("answer");
  await client.hears(BROWSER_TONE);
  return { chromium, phone };
}

async function endsWithin15s(phone, called) {
  const start = Date.now();
  await phone.done();
  const took = Date.now() - start;
  assert.ok(took < 15_000, `took ${took} ms`);
  const record = await until("the call has a record", () => it.gateway.records().find((r) => r.to === called));
  assert.deepEqual([record.ended_by, record.cause], ["gateway", "media_lost"]);
}

// The time is spent waiting, so both wait at once.
describe("the far end hears BYE", { concurrency: true }, () => {
  test("when a tab freezes in mid-call", it.telling(async () => {
    const { chromium, phone } = await talk("alice", "bob");
    await chromium.signal("renderer", "SIGSTOP");
    try {
      await endsWithin15s(phone, "alice");
    } finally {
      await chromium.signal("renderer", "SIGCONT");
    }
  }));

  test("when a browser is killed in mid-call", it.telling(async () => {
    const { chromium, phone } = await talk("carol", "phone1");
    await chromium.signal("browser", "SIGKILL");
    await endsWithin15s(phone, "carol");
  }));
});

test("afterwards nothing is left of these calls", async () => {
  await it.close();
  await it.gateway.idle();
});

// A browser alone with the gateway: built-in numbers, refusals, wrong passwords.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { BROWSER_TONE, USERS, world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

for (const library of ["jssip", "sipjs"]) {
  test(`${library}: the echo number gives back what the microphone hears`, async () => {
    const alice = await it.browser(library, "alice");
    await alice.do("dial", "600");
    await alice.event("confirmed");
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await alice.event("ended");
  });

  test(`${library}: the tone number plays 440 Hz`, async () => {
    const alice = await it.browser(library, "alice");
    await alice.do("dial", "601");
    await alice.event("confirmed");
    await alice.hears(440);
    await alice.do("hangUp");
    await alice.event("ended");
  });

  test(`${library}: a number that nobody has is not found`, async () => {
    const alice = await it.browser(library, "alice");
    await alice.do("dial", "999");
    assert.equal((await alice.event("failed")).status, 404);
  });

  test(`${library}: a user who is not signed in is unavailable`, async () => {
    const alice = await it.browser(library, "alice");
    await alice.do("dial", "bob");
    assert.equal((await alice.event("failed")).status, 480);
  });
}

test("the announcement plays and then the gateway hangs up", async () => {
  const alice = await it.browser("jssip", "alice");
  await alice.do("dial", "602");
  await alice.event("confirmed");
  const ended = await alice.event("ended");
  assert.equal(ended.by, "remote");
});

test("a wrong password is refused and the right one is not locked out", async () => {
  const wrong = it.keep(await it.chromium.client("jssip", it.gateway, "alice", "nonsense"));
  assert.equal(await wrong.event("registration-failed"), 401);
  const right = it.keep(await it.chromium.client("jssip", it.gateway, "alice", USERS.alice.password));
  await right.registered();
});

test("a browser that knows only opus hears the echo", async () => {
  const alice = await it.browser("jssip", "alice", { codecs: ["opus"] });
  await alice.do("dial", "600");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  assert.match(await alice.do("codec"), /opus/i);
  await alice.do("hangUp");
  await alice.event("ended");
});

// Attended transfer by real clients: the far sides may be a browser, an app or a desk phone.
import { afterEach, test } from "node:test";
import { party } from "../lib/party.mjs";
import { world } from "../lib/world.mjs";

const it = world();
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

// Who transfers, who waits meanwhile, and who is asked first.
const PAIRINGS = [
  ["jssip", "phone", "sdk"],
  ["sipjs", "sdk", "phone"],
  ["sdk", "phone", "jssip"],
];
for (const [by, held, asked] of PAIRINGS) {
  const play = async () => {
    const alice = await it.browser(by, "alice");
    const bob = await party(it, held, "bob");
    const carol = await party(it, asked, "carol");
    await bob.dial("alice");
    await alice.event("incoming");
    await alice.do("answer");
    await Promise.all([alice.event("confirmed"), bob.up()]);
    // What baresip hears after it was held is in no recording of its own.
    if (held !== "phone") await alice.do("hold");
    await alice.do("dial", "carol");
    await carol.rings();
    await carol.answer();
    await Promise.all([alice.event("confirmed"), carol.up()]);
    await alice.do("join");
    await alice.event("ended");
    await alice.event("ended");
    await Promise.all([bob.hears(carol), carol.hears(bob)]);
    await bob.hangUp();
    await carol.ended();
  };
  test(`${by} joins a ${held} that waits with a ${asked} that it asked`, it.telling(play));
}

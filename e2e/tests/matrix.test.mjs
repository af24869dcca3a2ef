// Everybody calls everybody: JsSIP over WSS, our SDK, a terminal of the call API and a desk phone, each with each other.
import { afterEach, test } from "node:test";
import { KINDS, TERMINAL, party } from "../lib/party.mjs";
import { KIND } from "../lib/served.mjs";
import { KNOWING_IT, giveNumbers } from "../lib/terminal.mjs";
import { USERS, world } from "../lib/world.mjs";

giveNumbers(USERS);

const it = world({ config: KNOWING_IT });
const ALL = [...KINDS, TERMINAL];
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
  await it.gateway.noApps();
});

async function pair(from, to) {
  return Promise.all([party(it, from, "alice"), party(it, to, "bob")]);
}

async function talk(alice, bob) {
  await alice.dial("bob");
  await Promise.all([alice.hearsRinging(), bob.rings()]);
  await bob.answer();
  await Promise.all([alice.up(), bob.up()]);
  await Promise.all([alice.hears(bob), bob.hears(alice)]);
}

async function holdAndResume(holder, held) {
  await holder.hold();
  await held.isHeld();
  await Promise.all([holder.hearsNothing(), held.hearsNothing()]);
  await holder.unhold();
  await held.isUnheld();
  await Promise.all([holder.hears(held), held.hears(holder)]);
}

// A browser sends keys where the other side takes RTP events. Whatever it takes is so with our own media; servers pass
// on what the other side says.
const presses = (one, other) => one !== TERMINAL && !(KIND && one === "jssip" && other === TERMINAL);

const story = (name, play) => test(name, it.telling(play));

for (const from of ALL) {
  for (const to of ALL) {
    const name = `${from} calls ${to}`;

    story(`${name}: answered, held, sent digits, ended by the caller`, async () => {
      const [alice, bob] = await pair(from, to);
      await talk(alice, bob);
      await holdAndResume(alice, bob);
      if (presses(from, to)) {
        await alice.press("5");
        await bob.hearsDigit("5");
      }
      await alice.hangUp();
      await bob.ended();
    });

    story(`${name}: held and sent digits by the called side, which ends it`, async () => {
      const [alice, bob] = await pair(from, to);
      await talk(alice, bob);
      await holdAndResume(bob, alice);
      if (presses(to, from)) {
        await bob.press("7");
        await alice.hearsDigit("7");
      }
      await bob.hangUp();
      await alice.ended();
    });

    story(`${name}: rejected, then cancelled`, async () => {
      const [alice, bob] = await pair(from, to);
      await alice.dial("bob");
      await bob.rings();
      await bob.reject();
      await alice.failed();
      await bob.failed();
      await alice.dial("bob");
      await bob.rings();
      await alice.hangUp();
      await bob.failed();
    });

    if (to !== TERMINAL) {
      story(`${name}: transferred by the called side${from === TERMINAL ? "" : " and by the caller"}`, async () => {
        const [alice, bob] = await pair(from, to);
        const carol = await party(it, KINDS[(KINDS.indexOf(to) + 1) % KINDS.length], "carol");
        await talk(alice, bob);
        await bob.transfer("carol");
        await carol.rings();
        await carol.answer();
        await carol.up();
        await bob.ended();
        await Promise.all([alice.hears(carol), carol.hears(alice)]);
        if (from !== TERMINAL) {
          // And back: who called may send the other away, too.
          await alice.transfer("bob");
          await bob.rings();
          await bob.answer();
          await bob.up();
          await alice.ended();
          await Promise.all([bob.hears(carol), carol.hears(bob)]);
        }
        await carol.hangUp();
        await (from === TERMINAL ? alice : bob).ended();
      });
    } else if (from !== TERMINAL) {
      story(`${name}: transferred by the caller to another terminal`, async () => {
        const [alice, bob] = await pair(from, to);
        const carol = await party(it, TERMINAL, "carol");
        await talk(alice, bob);
        await alice.transfer("carol");
        await carol.rings();
        await carol.answer();
        await alice.ended();
        await Promise.all([bob.hears(carol), carol.hears(bob)]);
        await carol.hangUp();
        await bob.ended();
      });
    }
  }
}

// The lock of call.change.*: collisions, refusals, silence.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Change } from "../src/change.js";
import { CrosspointError } from "../src/index.js";
import { Clock, settle } from "./fakes.js";

class Side {
  readonly said: string[] = [];
  readonly change: Change;
  readonly answers: string[] = [];
  offers = 0;
  rollbacks = 0;
  refuse = false;
  other: Side | undefined;

  constructor(readonly clock: Clock, caller: boolean, chance = 0.5) {
    this.change = new Change(
      {
        send: (action, fields = {}) => {
          this.said.push(action);
          const other = this.other;
          if (other) setImmediate(() => other.change.handle(action, fields));
        },
        offer: async () => `offer ${++this.offers}`,
        takeAnswer: async (sdp) => void this.answers.push(sdp),
        answer: async (sdp) => {
          if (this.refuse) throw new Error("cannot");
          return `answer to ${sdp}`;
        },
        rollback: async () => void this.rollbacks++,
        after: (ms, run) => clock.after(ms, run),
        random: () => chance,
      },
      caller,
    );
  }
}

/** Both ends of one call. */
function pair() {
  const clock = new Clock();
  const [caller, called] = [new Side(clock, true), new Side(clock, false)];
  caller.other = called;
  called.other = caller;
  return { clock, caller, called };
}

test("lock, offer and answer, in turn", async () => {
  const { caller, called } = pair();
  await caller.change.request();
  assert.deepEqual(caller.said, ["lock", "offer"]);
  assert.deepEqual(called.said, ["lock.ok", "answer"]);
  assert.deepEqual(caller.answers, ["answer to offer 1"]);
});

test("wishes that come while one is under way share the next offer", async () => {
  const { caller } = pair();
  const first = caller.change.request();
  const others = [caller.change.request(), caller.change.request()];
  await first;
  await Promise.all(others);
  // All three came before the lock was there.
  assert.equal(caller.offers, 1);
});

test("both ask at once: both step back, and both get their turn", async () => {
  const { clock, caller, called } = pair();
  const both = Promise.all([caller.change.request(), called.change.request()]);
  await settle();
  assert.deepEqual(caller.said, ["lock", "lock.reset"]);
  assert.deepEqual(called.said, ["lock", "lock.reset"]);
  await clock.pass(5_000);
  await both;
  assert.deepEqual(called.answers, ["answer to offer 1"]);
  assert.deepEqual(caller.answers, ["answer to offer 1"]);
});

test("after a collision who was called comes back first", async () => {
  for (const [caller, least, most] of [[true, 2_100, 4_000], [false, 0, 2_000]] as const) {
    for (const chance of [0, 1]) {
      const clock = new Clock();
      const side = new Side(clock, caller, chance);
      void side.change.request().catch(() => {});
      side.change.handle("lock", {});
      assert.deepEqual(side.said, ["lock", "lock.reset"]);
      assert.equal(await clock.next(), chance === 0 ? least : most);
      assert.equal(side.said.at(-1), "lock");
    }
  }
});

test("a lock that is refused again and again fails", async () => {
  const clock = new Clock();
  const side = new Side(clock, true);
  const refused = assert.rejects(side.change.request(), (error: CrosspointError) => error.code === "change-refused");
  for (let i = 0; i < 6; i++) {
    side.change.handle("lock.reset", {});
    await clock.pass(4_000);
  }
  await refused;
  assert.equal(side.said.filter((s) => s === "lock").length, 6);
});

test("an offer that is refused is taken back and made again, but not for ever", async () => {
  const clock = new Clock();
  const side = new Side(clock, true);
  const refused = assert.rejects(side.change.request(), (error: CrosspointError) => error.code === "change-refused");
  for (let i = 1; i <= 3; i++) {
    side.change.handle("lock.ok", {});
    await settle();
    side.change.handle("lock.reset", {});
    assert.equal(side.rollbacks, i);
    await clock.pass(4_000);
  }
  await refused;
  assert.equal(side.offers, 3);
  const next = side.change.request();
  side.change.handle("lock.ok", {});
  await settle();
  side.change.handle("answer", { sdp: "late" });
  await next;
});

test("an offer without a lock is refused", () => {
  const side = new Side(new Clock(), false);
  side.change.handle("offer", { sdp: "x" });
  assert.deepEqual(side.said, ["lock.reset"]);
});

test("an offer that cannot be used gives the lock back", async () => {
  const side = new Side(new Clock(), false);
  side.refuse = true;
  side.change.handle("lock", {});
  side.change.handle("offer", { sdp: "x" });
  await settle();
  assert.deepEqual(side.said, ["lock.ok", "lock.reset"]);
});

test("a lock that leads nowhere is given back after ten seconds", async () => {
  const clock = new Clock();
  const side = new Side(clock, false);
  side.change.handle("lock", {});
  assert.equal(await clock.next(), 10_000);
  assert.deepEqual(side.said, ["lock.ok", "lock.reset"]);
});

test("a far side that is silent about our offer makes it fail", async () => {
  const clock = new Clock();
  const side = new Side(clock, false);
  const failed = assert.rejects(side.change.request(), (error: CrosspointError) => error.code === "timeout");
  side.change.handle("lock.ok", {});
  await clock.pass(10_000);
  await failed;
  assert.equal(side.rollbacks, 1);
});

test("what a lost socket interrupted begins again on the next", async () => {
  const clock = new Clock();
  const side = new Side(clock, true);
  const changed = side.change.request();
  side.change.handle("lock.ok", {});
  await settle();
  side.change.suspend();
  assert.equal(side.rollbacks, 1);
  side.change.handle("answer", { sdp: "of before" });
  side.change.resume();
  assert.deepEqual(side.said, ["lock", "offer", "lock.reset", "lock"]);
  side.change.handle("lock.ok", {});
  await settle();
  side.change.handle("answer", { sdp: "now" });
  await changed;
  assert.deepEqual(side.answers, ["now"]);
});

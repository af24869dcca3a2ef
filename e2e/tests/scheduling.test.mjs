// The threads that `media.keep_awake` and `media.realtime` ask for, and none where nobody asked.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { Gateway, usualMedia } from "../lib/gateway.mjs";
import { until } from "../lib/wait.mjs";

/** SCHED_OTHER, SCHED_RR, SCHED_IDLE (sched(7)). */
const [ORDINARY, REAL_TIME, IDLE] = ["0", "2", "5"];

/** The scheduling classes of the threads of this name (proc_pid_stat(5), field 41). */
async function classes({ process }, name) {
  const folder = `/proc/${process.pid}/task`;
  const stats = await Promise.all((await readdir(folder)).map((task) => readFile(`${folder}/${task}/stat`, "utf8").catch(() => "")));
  return stats.filter((stat) => stat.includes(`(${name})`)).map((stat) => stat.split(") ").pop().split(" ")[38]);
}

/** On how many processors we may run, and so may what we start. */
async function cores() {
  const [, mask] = /^Cpus_allowed:\s*([0-9a-f,]+)$/m.exec(await readFile("/proc/self/status", "utf8"));
  const bits = [...mask.replaceAll(",", "")].map((digit) => Number.parseInt(digit, 16).toString(2));
  return bits.join("").replaceAll("0", "").length;
}

test("processors are kept awake where that is wanted", async () => {
  for (const [media, wanted] of [[undefined, 0], [`${usualMedia("127.0.0.1")}keep_awake = true\n`, await cores()]]) {
    const gateway = await Gateway.start({ media });
    try {
      await until(`${wanted} threads do that`, async () => {
        const found = await classes(gateway, "awake");
        return found.length === wanted && found.every((name) => name === IDLE);
      });
      // They start with the media threads, before the gateway says that it is ready.
      assert.equal((await classes(gateway, "awake")).length, wanted);
    } finally {
      await gateway.stop();
    }
  }
});

test("media threads go before all ordinary ones where that is wanted and allowed", async () => {
  for (const isWanted of [false, true]) {
    const gateway = await Gateway.start({ media: `${usualMedia("127.0.0.1")}realtime = ${isWanted}\n` });
    try {
      const { realtime } = JSON.parse(gateway.cli(["check", "--json"])).media_io;
      const isAllowed = realtime?.ok ?? false;
      const warnings = () => gateway.log.filter((line) => line.includes("despite media.realtime")).length;
      await until("they are what they are to be", async () => {
        const found = await classes(gateway, "media");
        return found.length > 0 && found.every((name) => name === (isAllowed ? REAL_TIME : ORDINARY)) && warnings() === (isWanted && !isAllowed ? found.length : 0);
      });
      // Nobody else is, and may keep packets waiting.
      for (const other of ["handshakes", "codecs-0"]) assert.deepEqual(new Set(await classes(gateway, other)), new Set([ORDINARY]), other);
      assert.equal(realtime !== null, isWanted);
    } finally {
      await gateway.stop();
    }
  }
});

// `media.keep_awake`: a thread behind everybody else on each processor, and none where nobody asked for it.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { Gateway, usualMedia } from "../lib/gateway.mjs";
import { until } from "../lib/wait.mjs";

/** SCHED_IDLE (sched(7)). */
const IDLE_CLASS = "5";

/** The scheduling classes of the threads that keep processors awake (proc_pid_stat(5), field 41). */
async function classes({ process }) {
  const folder = `/proc/${process.pid}/task`;
  const stats = await Promise.all((await readdir(folder)).map((task) => readFile(`${folder}/${task}/stat`, "utf8").catch(() => "")));
  return stats.filter((stat) => stat.includes("(awake)")).map((stat) => stat.split(") ").pop().split(" ")[38]);
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
        const found = await classes(gateway);
        return found.length === wanted && found.every((name) => name === IDLE_CLASS);
      });
      // They start with the media threads, before the gateway says that it is ready.
      assert.equal((await classes(gateway)).length, wanted);
    } finally {
      await gateway.stop();
    }
  }
});

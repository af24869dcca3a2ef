// A test file that stands still ends itself, and tells what stood still: a run without an end tells nobody anything.
import { spawnSync } from "node:child_process";

/** How long a file may go without a test beginning or ending, in seconds. The longest test takes 40 on a busy machine. */
const LIMIT = 180;
/** How long a program that is waited for may run, in milliseconds. */
export const PROGRAM_LIMIT = 30_000;

/** What each thread of a process, or of those that one started, waits for. */
export function threads(which, pid) {
  return spawnSync("ps", [which, String(pid), "-L", "-o", "pid,tid,comm,stat,wchan:24"], { encoding: "utf8", timeout: 5000 }).stdout;
}

// Only as a file of the test runner: other programs use these helpers too.
if (process.env.NODE_TEST_CONTEXT) {
  const { afterEach, beforeEach } = await import("node:test");
  watch(beforeEach, afterEach);
}

function watch(beforeEach, afterEach) {
  let last = { at: Date.now(), what: "the file began" };
  const note = (what) => (last = { at: Date.now(), what });
  beforeEach((context) => note(`"${context.name}" began`));
  afterEach((context) => note(`"${context.name}" ended`));

  setInterval(() => {
    if (Date.now() - last.at < LIMIT * 1000) return;
    const listed = threads("--ppid", process.pid);
    console.error(`nothing has happened for ${LIMIT} s since ${last.what}\nwaits for: ${process.getActiveResourcesInfo().join(", ")}\n${listed}`);
    for (const pid of new Set(listed.split("\n").slice(1).flatMap((line) => /^\s*(\d+)/.exec(line)?.[1] ?? []))) {
      // The list holds `ps` itself, which is gone.
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {}
    }
    process.exit(1);
  }, 1000).unref();
}

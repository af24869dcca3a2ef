// Waiting for a condition, with a limit and a reason; nothing here waits for time to pass.
import "./limits.mjs";

/** Polls until `probe` gives something truthy; fails with `what` and the last value. */
export async function until(what, probe, { seconds = 15 } = {}) {
  const limit = Date.now() + seconds * 1000;
  let last;
  for (let isOver = false; !isOver; ) {
    // One probe comes after the limit: we may have stood still ourselves.
    isOver = Date.now() >= limit;
    // A probe that began late still gets a moment: what it says is told.
    last = await within(what, Math.max(limit - Date.now(), 1000), probe());
    if (last) return last;
    if (!isOver) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never happened within ${seconds} s: ${what} (last: ${JSON.stringify(last)})`);
}

/** What is promised, unless it takes more than so many milliseconds: what is asked may be what stands still. */
export async function within(what, milliseconds, promised) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${Math.round(milliseconds / 1000)} s: ${what}`)), milliseconds);
  });
  try {
    return await Promise.race([promised, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Ends a program of ours, by force when it does not heed SIGTERM; `exited` resolves when it is gone. Gives whether it heeded; `stuck` may look at it before it is ended;
 * `group`: it leads a group of processes, which ends with it.
 */
export async function end(child, exited, { seconds = 3, stuck = () => {}, group = false } = {}) {
  if (child.exitCode === null) child.kill("SIGTERM");
  let heeded = true;
  const force = setTimeout(() => {
    heeded = false;
    stuck();
    if (group) process.kill(-child.pid, "SIGKILL");
    else child.kill("SIGKILL");
  }, seconds * 1000);
  await exited;
  clearTimeout(force);
  // What it started and left behind may hold its pipes, and we would wait for them for ever.
  child.stdout?.destroy();
  child.stderr?.destroy();
  return heeded;
}

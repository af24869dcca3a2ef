// Waiting for a condition, with a limit and a reason; nothing here waits for time to pass.

/** Polls until `probe` gives something truthy; fails with `what` and the last value. */
export async function until(what, probe, { seconds = 15 } = {}) {
  const limit = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < limit) {
    last = await probe();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never happened within ${seconds} s: ${what} (last: ${JSON.stringify(last)})`);
}

/** Ends a program of ours, by force when it does not heed SIGTERM; `exited` resolves when it is gone. */
export async function end(child, exited) {
  if (child.exitCode === null) child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), 3000);
  await exited;
  clearTimeout(force);
}

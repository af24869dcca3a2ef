// Routes: a second trunk when the first fails, a number for a group, and a refusal with its reasons.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { afterEach, test } from "node:test";
import { binary } from "../lib/gateway.mjs";
import { freePort } from "../lib/ports.mjs";
import { world } from "../lib/world.mjs";

const [cheap, good] = [await freePort(), await freePort()];
const it = world({
  withoutBrowser: true,
  config: `
[general]
country = "de"

[[trunk]]
name = "cheap"
host = "127.0.0.1"
port = ${cheap}
number_form = "plus"

[[trunk]]
name = "good"
host = "127.0.0.1"
port = ${good}
number_form = "national"

[[group]]
name = "sales"
members = ["bob", "carol"]

[[route]]
name = "direct number"
numbers = ["+4930700"]
to = ["group:sales"]

[[route]]
name = "dear"
prefixes = ["+49"]
price = 0.02
to = ["trunk:good"]

[[route]]
name = "world"
prefixes = ["+"]
price = 0.01
to = ["trunk:cheap"]
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

/** What route-test prints for a call of `from`, and its exit code. */
function routeTest(...args) {
  const { stdout, status } = spawnSync(binary, ["route-test", ...args, "--config", it.gateway.file, "--data", it.gateway.data], { encoding: "utf8" });
  return { text: stdout.trim(), status };
}

const invites = async (sipp) => (await sipp.requests("INVITE")).map((m) => m.line);
const peer = (name, local, extra = {}) => it.sipp(name, "alice", { user: "+49301234", local, ...extra });

test("the cheap trunk answers 503, and the call goes over the other in its own form", it.telling(async () => {
  const first = await peer("uas_refuse", cheap, { keys: { status: 503 } });
  const second = await peer("uas_answer", good, { echo: true });
  const alice = await it.phone("alice");
  alice.dial("030123456");
  await alice.event("CALL_ESTABLISHED");
  alice.command("hangup");
  await Promise.all([first.done(), second.done()]);
  assert.deepEqual(await invites(first), [`INVITE sip:+4930123456@127.0.0.1:${cheap} SIP/2.0`]);
  assert.deepEqual(await invites(second), [`INVITE sip:030123456@127.0.0.1:${good} SIP/2.0`]);
  const record = await it.gateway.lastRecord();
  assert.deepEqual([record.trunk, record.cause, record.attempts, record.refusal], ["good", "normal", 2, null]);
  assert.match(record.why, /network_failure: goes on, calls 030123456 over trunk good$/m);
}));

test("a trunk's busy is an answer: nobody else is asked", it.telling(async () => {
  const first = await peer("uas_refuse", cheap, { keys: { status: 486 } });
  const alice = await it.phone("alice");
  alice.dial("030123456");
  await alice.event("CALL_CLOSED");
  await first.done();
  const record = await it.gateway.lastRecord();
  assert.deepEqual([record.cause, record.attempts], ["busy", 1]);
}));

test("a direct number from a trunk rings a group, and whoever picks up has the call", it.telling(async () => {
  const bob = await it.phone("bob");
  const carol = await it.phone("carol");
  const caller = await peer("uac_trunk_call", good, { keys: { target: "030700" }, echo: true });
  await Promise.all([bob.event("CALL_INCOMING"), carol.event("CALL_INCOMING")]);
  carol.command("accept");
  await carol.event("CALL_ESTABLISHED");
  await bob.event("CALL_CLOSED");
  carol.command("hangup");
  await caller.done();
}));

test("a refused call's record says what route-test says", it.telling(async () => {
  const alice = await it.phone("alice");
  alice.dial("0025261234567");
  await alice.event("CALL_CLOSED");
  const record = await it.gateway.lastRecord();
  const told = routeTest("--from", "alice", "--to", "0025261234567");
  assert.deepEqual([record.cause, record.refusal, told.status], ["forbidden", "high_risk", 4]);
  assert.equal(record.why, told.text);
  assert.match(told.text, /^high risk: refused \(\+25261234567 begins with \+252/m);
  assert.ok((await it.gateway.metric("crosspoint_routing_refused_total", { reason: "high_risk" })) >= 1);
  // The same for a call that a trunk brings, and would have leave by the other.
  const stranger = await peer("uac_trunk_refused", cheap, { keys: { target: "030123456", status: 404 } });
  await stranger.done();
  const brought = await it.gateway.lastRecord();
  assert.equal(brought.refusal, "trunk_to_trunk");
  assert.equal(brought.why, routeTest("--trunk", "cheap", "--from", "+49301234", "--to", "030123456").text);
}));

test("a call for help takes the other trunk when the first fails", it.telling(async () => {
  const first = await peer("uas_refuse", cheap, { keys: { status: 486 } });
  const second = await peer("uas_answer", good, { echo: true });
  const alice = await it.phone("alice");
  alice.dial("112");
  await alice.event("CALL_ESTABLISHED");
  alice.command("hangup");
  await Promise.all([first.done(), second.done()]);
  assert.match((await invites(second))[0], /^INVITE sip:112@/);
}));

// Call records in a real PostgreSQL, and call events at a web server: none lost, none twice, whatever goes away meanwhile.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Gateway } from "../lib/gateway.mjs";
import { operator } from "../lib/operator.mjs";
import { Postgres } from "../lib/postgres.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { stage } from "../lib/world.mjs";

const TOKEN = "0123456789abcdef0123456789abcdef";
const SECRET = "a secret of more than sixteen characters";
const it = stage({ withoutBrowser: true });
const hook = { answers: [], messages: [] };

/** A web server that does with messages as it is told, 204 at the end. */
function listen() {
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk)).on("end", () => {
      const status = hook.answers.shift() ?? 204;
      hook.messages.push({ status, headers: request.headers, body });
      response.writeHead(status, status === 302 ? { location: "/elsewhere" } : {}).end();
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

before(async () => {
  it.server = await listen();
  it.postgres = await Postgres.start();
  const carrier = await freePort();
  const config = `
[admin]
token_env = "E2E_ADMIN_TOKEN"

[cdr]
url = "${it.postgres.url}"
password_env = "E2E_CDR_PASSWORD"

[[webhook]]
name = "crm"
url = "http://127.0.0.1:${it.server.address().port}/calls?from=crosspoint"
events = ["call_began", "call_answered", "call_ended"]
secret_env = "E2E_WEBHOOK_SECRET"

[[trunk]]
name = "carrier"
host = "127.0.0.1"
port = ${carrier}
`;
  Object.assign(process.env, { E2E_ADMIN_TOKEN: TOKEN, E2E_CDR_PASSWORD: it.postgres.password, E2E_WEBHOOK_SECRET: SECRET });
  it.gateway = await Gateway.start({ config });
  it.carrier = carrier;
});
after(async () => {
  await it.close();
  await it.gateway?.remove();
  await it.postgres?.stop();
  it.server?.close();
});

/** So many calls that nobody takes: each leaves a record. */
async function call(count) {
  const caller = await it.sipp("uac_trunk_refused", "alice", { user: "+49301234", password: "", local: it.carrier, calls: count, rate: 100, keys: { target: "+4930999", status: 404 } });
  await caller.done();
  await caller.stop();
}

/** Nothing until there is a table. */
const there = () => it.postgres.ask("SELECT count(*), count(DISTINCT gcid) FROM cdrs")?.[0];
const settled = (count) => until(`PostgreSQL has ${count} records`, () => there() === `${count}|${count}`);

test("records are in PostgreSQL, and wait while it is away", it.telling(async () => {
  const { gateway, postgres } = it;
  await call(30);
  // Whoever asks finds them as soon as they are written, wherever they are by then.
  await until("all are found", () => gateway.records().length === 30);
  await settled(30);
  assert.equal(gateway.records().length, 30);
  const listed = await operator(gateway, TOKEN, "GET", "/records?limit=10&party=%2B4930999");
  assert.equal(listed.items.length, 10);
  const [cause, started] = postgres.ask("SELECT cause, started_at FROM cdrs ORDER BY started_at DESC, gcid DESC LIMIT 1")[0].split("|");
  assert.deepEqual([listed.items[0].cause, String(listed.items[0].started_at)], [cause, started]);

  // Away: calls go on, and their records wait, over a crash of ours too.
  await postgres.pause();
  await call(40);
  await until("it is noticed", async () => (await gateway.metric("crosspoint_cdr_database_up")) === 0);
  await until("all wait", async () => (await gateway.metric("crosspoint_cdr_waiting")) === 40);
  assert.throws(() => gateway.records(), /PostgreSQL failed/);
  gateway.process.kill("SIGKILL");
  await gateway.exited;
  await gateway.run();
  await postgres.resume();
  await settled(70);
  await until("nothing waits", async () => (await gateway.metric("crosspoint_cdr_waiting")) === 0);

  // One that went there, and of which we did not hear so: it is there once.
  await call(5);
  await settled(75);
  const columns = postgres.ask("SELECT column_name FROM information_schema.columns WHERE table_name = 'cdrs'");
  for (const name of ["gcid", "why", "front_mos", "parked", "media"]) assert.ok(columns.includes(name), name);
}));

test("events reach a web server signed, in order, and again until it takes them", it.telling(async () => {
  await until("all is told", async () => (await it.gateway.metric("crosspoint_webhook_waiting")) === 0);
  hook.messages.length = 0;
  // Once it is in trouble; the second message is not wanted at all, and nobody goes where the third is sent.
  hook.answers = [503, 204, 400, 302];
  await call(1);
  const began = await until("a message comes again", () => hook.messages.length >= 3 && hook.messages);
  const [first, again, end] = began;
  assert.deepEqual([first.status, again.status], [503, 204]);
  assert.equal(first.headers["webhook-id"], again.headers["webhook-id"]);
  assert.deepEqual([JSON.parse(first.body).event, JSON.parse(end.body).event], ["call_began", "call_ended"]);
  assert.equal(JSON.parse(first.body).call.gcid, JSON.parse(end.body).call.gcid);
  for (const { headers, body } of began) {
    const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
    assert.equal(headers["webhook-signature"], `v1,${createHmac("sha256", SECRET).update(signed).digest("base64")}`);
  }
  await call(1);
  await until("both are given up", async () => (await it.gateway.metric("crosspoint_webhook_failed_total")) === 2);
  assert.ok(hook.messages.every(({ headers }) => headers["content-type"] === "application/json"));
  assert.ok((await it.gateway.metric("crosspoint_webhook_retries_total")) >= 1);
  await until("the end of the second call is told", async () => (await it.gateway.metric("crosspoint_webhook_waiting")) === 0 && hook.messages.length === 5);

  // Without the section nobody is told.
  const text = (await import("node:fs")).readFileSync(it.gateway.file, "utf8");
  await writeFile(it.gateway.file, text.replace(/\[\[webhook\]\][\s\S]*?(?=\[\[trunk\]\])/, ""));
  assert.deepEqual(JSON.parse(it.gateway.cli(["reload", "--json"])).changed, ["webhook"]);
  const count = hook.messages.length;
  await call(2);
  await until("both are recorded", () => it.gateway.records().length === 79);
  assert.equal(hook.messages.length, count);
}));

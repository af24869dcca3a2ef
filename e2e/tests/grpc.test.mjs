// The call API with clients nobody here wrote: stubs that gRPC's own compiler made, grpcio, and aiortc for the sound.
import assert from "node:assert/strict";
import { createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Agent, createServer, request } from "node:https";
import { after, afterEach, test } from "node:test";
import { Authority } from "../lib/authority.mjs";
import { KNOWING_IT, NUMBERS, SERVER_TOKEN, TERMINAL_TONE, Terminal, giveNumbers, speaksFor } from "../lib/terminal.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS, world } from "../lib/world.mjs";

giveNumbers(USERS);
const ALICE = NUMBERS.alice;

// An issuer that publishes its keys, and says what its other tokens are worth to whom it knows.
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const keys = JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "one", alg: "RS256" }] });
const authority = await Authority.start();
process.env.SSL_CERT_FILE = authority.file("ca.pem");
process.env.CROSSPOINT_E2E_INTROSPECTION = "what only we two know";
const opaque = { "an opaque token": { active: true, msisdn: ALICE, scope: "openid call.control.answer_and_initiate" }, "an old one": { active: false } };
const [key, cert] = await Promise.all(["web.key", "web.pem"].map((name) => readFile(authority.file(name))));
const issuer = createServer({ key, cert }, async (request, response) => {
  if (request.url === "/keys") return void response.end(keys);
  let form = "";
  for await (const chunk of request) form += chunk;
  // Written as a form's values are (RFC 6749 §2.3.1).
  const isKnown = request.headers.authorization === `Basic ${Buffer.from("crosspoint:what+only+we+two+know").toString("base64")}`;
  response.statusCode = isKnown ? 200 : 401;
  response.end(JSON.stringify(opaque[new URLSearchParams(form).get("token")] ?? { active: false }));
});
await new Promise((resolve) => issuer.listen(0, "127.0.0.1", resolve));
after(async () => {
  issuer.close();
  await authority.stop();
});

const SCOPE = "call.control.answer_and_initiate";

function signed(claims, { key = privateKey, alg = "RS256" } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const body = { iss: "https://id.example/", aud: "crosspoint", exp: now + 600, scope: SCOPE, ...claims };
  const text = `${part({ alg, kid: "one", typ: "JWT" })}.${part(body)}`;
  return `${text}.${alg === "none" ? "" : createSign("sha256").update(text).sign(key, "base64url")}`;
}

const it = world({
  config: `
[grpc]
issuer = "https://id.example/"
audience = "crosspoint"
keys = "https://localhost:${issuer.address().port}/keys"
introspection_url = "https://localhost:${issuer.address().port}/introspect"
introspection_client = "crosspoint"
introspection_secret_env = "CROSSPOINT_E2E_INTROSPECTION"
allow = ["127.0.0.0/8", "::1/128"]
clients = ["back-office"]

[ban]
exempt = ["127.0.0.1"]

${KNOWING_IT}`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const story = (name, play) => test(name, it.telling(play));
const bearer = (token, more = {}) => ({ authorization: `Bearer ${token}`, ...more });
const asAlice = () => speaksFor(ALICE);

/** A terminal of alice with an open stream. */
async function opened(method = "MultiPipe", metadata = asAlice()) {
  const terminal = it.keep(await Terminal.start(it.gateway));
  terminal.metadata = await terminal.open(method, metadata);
  return terminal;
}

/** In a call with bob's desk phone that the terminal began. */
async function talking(method) {
  const terminal = await opened(method);
  if (method === "Pipe") await terminal.event("idle");
  const phone = await it.phone("bob");
  const call = randomUUID();
  terminal.do("dial", { call, number: "bob" });
  await phone.event("CALL_INCOMING");
  await terminal.event("ringing");
  phone.command("accept");
  await terminal.event("answer");
  await Promise.all([terminal.hears(call, PHONE_TONE), phone.hears(TERMINAL_TONE)]);
  return { terminal, phone, call };
}

story("a terminal calls a desk phone, hears and is heard, and hangs up", async () => {
  const { terminal, phone, call } = await talking("MultiPipe");
  terminal.do("bye", { call });
  await phone.event("CALL_CLOSED");
});

story("a desk phone calls the terminal's number and hangs up", async () => {
  const terminal = await opened();
  const phone = await it.phone("bob");
  phone.dial(ALICE);
  const { call, number } = await terminal.event("offer");
  assert.equal(number, "bob");
  terminal.do("ringing");
  await phone.event("CALL_RINGING");
  terminal.do("answer");
  await Promise.all([terminal.hears(call, PHONE_TONE), phone.hears(TERMINAL_TONE)]);
  phone.command("hangup");
  assert.equal((await terminal.event("bye")).call, call);
});

for (const library of ["jssip", "sdk"]) {
  story(`a terminal and a ${library} page call each other`, async () => {
    const terminal = await opened();
    const bob = await it.browser(library, "bob");
    const call = randomUUID();
    terminal.do("dial", { call, number: "bob" });
    await bob.event("incoming");
    await bob.do("answer");
    await terminal.event("answer");
    await Promise.all([terminal.hears(call, BROWSER_TONE), bob.hears(TERMINAL_TONE)]);
    await bob.do("hangUp");
    await Promise.all([terminal.event("bye"), bob.event("ended")]);
    await bob.do("dial", ALICE);
    const offer = await terminal.event("offer");
    terminal.do("answer");
    await Promise.all([terminal.hears(offer.call, BROWSER_TONE), bob.hears(TERMINAL_TONE)]);
    terminal.do("bye", { call: offer.call });
    await bob.event("ended");
  });
}

story("a Pipe hears of a call elsewhere, takes it over, and has it go on at the desk phone", async () => {
  const desk = await it.phone("alice", { frequency: 550 });
  const bob = await it.phone("bob", { answer: "auto" });
  const terminal = await opened("Pipe");
  await terminal.event("idle");
  desk.dial("bob");
  assert.equal((await terminal.event("in_call")).number, "bob");
  await bob.hears(550);
  const call = "the id is nobody's business";
  terminal.do("dial", { call });
  await terminal.event("answer");
  await desk.event("CALL_CLOSED");
  await bob.hears(TERMINAL_TONE);
  terminal.do("push", { call });
  await desk.event("CALL_INCOMING");
  desk.command("accept");
  await terminal.event("in_call");
  bob.command("hangup");
  await terminal.event("idle");
  await desk.event("CALL_CLOSED");
});

story("a terminal whose process died comes back to its call", async () => {
  const { terminal, phone, call } = await talking("MultiPipe");
  const key = terminal.metadata["crosspoint-resume"];
  // It is there before the other is gone: beginning may take longer than a call waits for a terminal.
  const again = it.keep(await Terminal.start(it.gateway));
  terminal.process.kill("SIGKILL");
  await terminal.exited;
  const metadata = await again.open("MultiPipe", { ...asAlice(), "crosspoint-resume": key });
  assert.equal(metadata["crosspoint-resumed"], "1");
  // What may have been lost is said again; this one has no use for it.
  await again.event("answer");
  again.do("dial", { call });
  await again.event("answer");
  await again.hears(call, PHONE_TONE);
  again.do("bye", { call });
  await phone.event("CALL_CLOSED");
});

story("who cancels the stream hangs up", async () => {
  const { terminal, phone } = await talking("MultiPipe");
  terminal.do("cancel");
  await phone.event("CALL_CLOSED");
});

story("who has said all it had to is heard out", async () => {
  const { terminal, phone } = await talking("MultiPipe");
  terminal.do("half_close");
  phone.command("hangup");
  await terminal.event("bye");
  assert.equal((await terminal.event("closed")).code, "OK");
});

story("a page calls and is called by gRPC-Web", async () => {
  const page = await it.chromium.client("webterminal", it.gateway, "alice", "", { origin: it.gateway.origin, token: SERVER_TOKEN, number: ALICE });
  it.keep(page);
  await page.event("registered");
  const phone = await it.phone("bob");
  const out = await page.do("dial", "bob");
  await phone.event("CALL_INCOMING");
  phone.command("accept");
  await Promise.all([page.event("answer"), phone.event("CALL_ESTABLISHED")]);
  await Promise.all([page.hears(PHONE_TONE), phone.hears(BROWSER_TONE)]);
  await page.do("digit", out, "5");
  await until("the phone hears 5", () => phone.events.some((e) => e.type === "CALL_DTMF_START" && e.param === "5"));
  await page.do("hangUp", out);
  await phone.event("CALL_CLOSED");
  phone.dial(ALICE);
  const { call } = await page.event("offer");
  await page.do("answer");
  await phone.event("CALL_ESTABLISHED");
  await page.hears(PHONE_TONE);
  phone.command("hangup");
  assert.equal((await page.event("bye")).call, call);
});

story("tokens open what they are for and nothing else", async () => {
  const other = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const terminal = it.keep(await Terminal.start(it.gateway));
  const refused = [
    ["UNAUTHENTICATED", {}],
    ["UNAUTHENTICATED", bearer("nobody knows this one")],
    ["UNAUTHENTICATED", bearer("an old one")],
    ["UNAUTHENTICATED", bearer(signed({ msisdn: ALICE, exp: 1 }))],
    ["UNAUTHENTICATED", bearer(signed({ msisdn: ALICE, iss: "https://evil.example/" }))],
    ["UNAUTHENTICATED", bearer(signed({ msisdn: ALICE, aud: "another" }))],
    ["UNAUTHENTICATED", bearer(signed({ msisdn: ALICE }, { key: other }))],
    ["UNAUTHENTICATED", bearer(signed({ msisdn: ALICE }, { alg: "none" }))],
    ["PERMISSION_DENIED", bearer(signed({ msisdn: ALICE, scope: "something.else" }))],
    ["PERMISSION_DENIED", bearer(signed({ sub: "somebody" }), { "wg2-msisdn": ALICE })],
    ["PERMISSION_DENIED", bearer(SERVER_TOKEN, { "wg2-msisdn": "+4799999999" })],
    ["INVALID_ARGUMENT", bearer(SERVER_TOKEN)],
  ];
  for (const [code, metadata] of refused) {
    terminal.do("open", { method: "MultiPipe", metadata });
    assert.equal((await terminal.event("closed")).code, code, JSON.stringify(metadata));
  }
  const granted = [
    bearer(signed({ msisdn: ALICE })),
    bearer(signed({ msisdn: ALICE.slice(1) })),
    bearer(signed({ client_id: "back-office" }), { "wg2-msisdn": ALICE.slice(1) }),
    bearer((await session("alice")).token),
    bearer("an opaque token"),
  ];
  for (const metadata of granted) {
    await terminal.open("Pipe", metadata);
    await terminal.event("idle");
  }
});

story("who guesses tokens is banned, and who has an old one is not", async () => {
  const at = (localAddress, token) => asked({
    localAddress, path: "/wgtwo.webterminal.v0.WebTerminalService/MultiPipe", method: "POST", agent: new Agent(),
    headers: { ...bearer(token), "content-type": "application/grpc-web+proto", "x-grpc-web": "1" },
  }, Buffer.alloc(5));
  const banned = () => JSON.parse(it.gateway.cli(["ban", "list", "--json"])).map((ban) => ban.address);
  for (let n = 0; n < 60; n += 1) await at("127.0.0.6", signed({ msisdn: ALICE, exp: 1_700_000_000 + n }));
  let tries = 0;
  while (tries < 60 && (await at("127.0.0.5", `guess-${tries}`).then(() => true, () => false))) tries += 1;
  assert.ok(tries > 3 && tries < 60, `after ${tries} guesses`);
  await until("the guesser is listed", () => banned().includes("127.0.0.5"));
  assert.deepEqual(banned(), ["127.0.0.5"]);
});

story("a session that is ended takes its streams along, and no others", async () => {
  const [mine, another] = [await session("alice"), await session("alice")];
  const terminal = await opened("MultiPipe", bearer(mine.token));
  const other = await opened("Pipe", bearer(another.token));
  await other.event("idle");
  assert.equal((await asked({ path: `/api/rtcsessions/${mine.id}`, method: "DELETE", auth: login("alice") })).status, 204);
  const closed = await terminal.event("closed");
  assert.deepEqual([closed.code, closed.details], ["UNAUTHENTICATED", "the session was ended"]);
  const call = randomUUID();
  other.do("dial", { call, number: "600" });
  await other.event("answer");
  other.do("bye", { call });
  await other.event("idle");
});

const login = (user) => `${user}:${USERS[user].password}`;

/** What signing in gives. */
async function session(user) {
  const { text } = await asked({ path: "/api/rtcsessions", method: "POST", auth: login(user) }, "{}");
  const { id, rtc_browser_token: token } = JSON.parse(text);
  return { id, token };
}

function asked(options, body) {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    // On a connection of its own: one that was kept may end just when it is used again.
    const sent = request({ agent: false, host: it.gateway.host, port: it.gateway.port("https"), rejectUnauthorized: false, headers, ...options }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk)).on("end", () => resolve({ status: response.statusCode, text }));
    });
    sent.on("error", reject).end(body);
  });
}

story("the server describes itself to tools, and says that it is there", async () => {
  const terminal = await opened();
  terminal.do("reflect");
  const found = await terminal.event("reflected");
  assert.ok(found.services.includes("wgtwo.webterminal.v0.WebTerminalService"), found.services);
  assert.deepEqual(found.methods.sort(), ["MultiPipe", "Pipe"]);
  assert.deepEqual(found.fields, { offer: 1, answer: 2, ringing: 3, bye: 4, idle: 5, in_call: 6, error: 7, action: 9, call_id: 10 });
  terminal.do("health", { service: "wgtwo.webterminal.v0.WebTerminalService" });
  assert.equal((await terminal.event("health")).status, "SERVING");
});

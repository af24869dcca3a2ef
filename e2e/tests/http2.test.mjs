// The port of HTTPS speaks HTTP/2 as well: real clients, WebSockets within it (RFC 8441), and clients that mean harm.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import http2 from "node:http2";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { connect } from "node:tls";
import { temporaryFolder } from "../lib/folder.mjs";
import { until } from "../lib/wait.mjs";
import { world } from "../lib/world.mjs";

const TOKEN = "an-operators-token-of-some-length";
const folder = temporaryFolder("http2");
writeFileSync(join(folder, "admin.token"), TOKEN);
const it = world({ config: `\n[admin]\ntoken_file = "${folder}/admin.token"\n` });
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

/** A connection of Node's own client. */
function open() {
  const client = http2.connect(it.gateway.origin, { rejectUnauthorized: false });
  it.keep({ stop: async () => client.destroy() });
  client.on("error", () => {});
  return client;
}

/** One request; gives its status and its whole body. */
function ask(client, headers) {
  return new Promise((resolve, reject) => {
    const stream = client.request(headers);
    let [status, text] = [0, ""];
    stream.on("response", (head) => (status = head[":status"]));
    stream.on("data", (chunk) => (text += chunk));
    stream.on("end", () => resolve({ status, text })).on("error", reject);
    stream.end();
  });
}

const isWell = async () => assert.deepEqual(await ask(open(), { ":path": "/healthz" }), { status: 200, text: "ok\n" });

/** How many connections there were of this kind, asked by HTTP/2. */
async function served(as) {
  const { text } = await ask(open(), { ":path": "/metrics" });
  return Number(text.match(new RegExp(`crosspoint_port_connections_total{as="${as}"} (\\d+)`))[1]);
}

test("Node's client and curl get pages, refusals and events in one connection", async () => {
  const client = open();
  const all = await Promise.all(Array.from({ length: 50 }, () => ask(client, { ":path": "/readyz" })));
  assert.ok(all.every(({ status, text }) => status === 200 && text === "ready\n"));
  assert.equal((await ask(client, { ":path": "/api/v1/calls" })).status, 401);
  const foreign = { ":path": "/api/v1/calls", origin: "https://elsewhere.example", authorization: `Bearer ${TOKEN}` };
  assert.equal((await ask(client, { ...foreign, origin: it.gateway.origin })).status, 200, "a page of ours, by :authority");
  const events = client.request({ ":path": "/api/v1/events", authorization: `Bearer ${TOKEN}` });
  let told = "";
  events.setEncoding("utf8").on("data", (chunk) => (told += chunk));
  await until("the greeting", () => told.includes("event: hello"));
  const phone = await it.browser("jssip", "alice");
  await phone.do("dial", "600");
  await phone.event("confirmed");
  await until("the call is told", () => told.includes("event: call_answered"));
  await phone.do("hangUp");
  await until("its end is told", () => told.includes("event: call_ended"));
  const curl = spawnSync("curl", ["-sk", "--http2", "-w", "%{http_version}", `${it.gateway.origin}/healthz`], { encoding: "utf8" });
  assert.equal(curl.stdout, "ok\n2");
  const older = spawnSync("curl", ["-sk", "--http1.1", "-w", "%{http_version}", `${it.gateway.origin}/healthz`], { encoding: "utf8" });
  assert.equal(older.stdout, "ok\n1.1");
});

test("a WebSocket within HTTP/2 carries SIP", async () => {
  const client = open();
  await new Promise((resolve) => client.once("remoteSettings", resolve));
  assert.equal(client.remoteSettings.enableConnectProtocol, true);
  assert.equal(client.remoteSettings.maxConcurrentStreams, 64);
  const head = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":path": "/ws", "sec-websocket-version": "13" };
  const refused = await ask(client, { ...head, "sec-websocket-protocol": "chat" });
  assert.equal(refused.status, 400);
  const places = () => it.gateway.metric("crosspoint_connections");
  // The one that asks, and this client's; those that asked before may still be going.
  await until("only this client is connected", async () => (await places()) === 2);
  const socket = client.request({ ...head, "sec-websocket-protocol": "sip" });
  const response = await new Promise((resolve) => socket.once("response", resolve));
  assert.equal(response[":status"], 200);
  assert.equal(response["sec-websocket-protocol"], "sip");
  const host = it.gateway.domain;
  const message = [
    `OPTIONS sip:${host} SIP/2.0`, "Via: SIP/2.0/WSS a.invalid;branch=z9hG4bKh2", `From: <sip:a@${host}>;tag=1`, `To: <sip:${host}>`,
    "Call-ID: within-h2", "CSeq: 1 OPTIONS", "Max-Forwards: 70", "Content-Length: 0", "", "",
  ].join("\r\n");
  socket.write(frame(message));
  let told = "";
  socket.on("data", (chunk) => (told += chunk.toString("latin1")));
  await until("OPTIONS is answered", () => told.includes("SIP/2.0 200 "));
  const connections = () => it.gateway.metric("crosspoint_sip_connections", { transport: "wss" });
  // Those of pages that were here before may still be going.
  await until("this is the one WebSocket", async () => (await connections()) === 1);
  // Each counts among the connections of its address.
  await until("the WebSocket counts as one more", async () => (await places()) === 3);
  socket.close();
  await until("it is closed", async () => (await connections()) === 0);
});

/** A masked text frame of a client (RFC 6455 §5.2); the mask is zero. */
function frame(text) {
  const payload = Buffer.from(text);
  const head = Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]);
  return Buffer.concat([head, payload]);
}

test("Chromium loads our page by HTTP/2 and calls from it", async () => {
  const [before, older] = [await served("http2"), await served("http")];
  const page = it.keep(await it.chromium.client("jssip", it.gateway, "bob", "bob-secret", { origin: it.gateway.origin }));
  await page.registered();
  const version = await page.tab.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  assert.equal(version, "h2");
  assert.ok((await served("http2")) > before);
  assert.equal(await served("http"), older, "its WebSocket is within HTTP/2");
  await page.do("dial", "601");
  await page.event("confirmed");
  await page.hears(440);
  await page.do("hangUp");
  await page.event("ended");
});

/** Bare frames over TLS: what no library would send. Gives how much was written until the gateway had enough. */
function attack(write, most) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: it.gateway.host, port: it.gateway.port("https"), ALPNProtocols: ["h2"], rejectUnauthorized: false });
    let sent = 0;
    let over = false;
    const done = () => {
      over = true;
      socket.destroy();
      resolve(sent);
    };
    socket.on("close", done).on("error", done).resume();
    const push = (bytes) => {
      sent += bytes.length;
      return socket.write(bytes);
    };
    const go = () => {
      while (!over && sent < most) if (!write(push)) return socket.once("drain", go);
      if (!over) reject(new Error(`${sent} bytes were taken`));
    };
    socket.once("secureConnect", () => {
      assert.equal(socket.alpnProtocol, "h2");
      push(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), h2(4, 0, 0)]));
      go();
    });
  });
}

/** A frame of RFC 9113 §4.1. */
function h2(kind, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = kind;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** `GET /healthz` in HPACK, without Huffman: :method and :scheme by index. */
const REQUEST = Buffer.concat([Buffer.from([0x82, 0x87, 0x04, 8]), Buffer.from("/healthz"), Buffer.from([0x01, 1]), Buffer.from("a")]);
const MOST = 32 * 1024 * 1024;

test("streams that are reset as they are opened end the connection (CVE-2023-44487)", async () => {
  let stream = -1;
  await attack((push) => {
    stream += 2;
    return push(Buffer.concat([h2(1, 5, stream, REQUEST), h2(3, 0, stream, Buffer.from([0, 0, 0, 8]))]));
  }, MOST);
  await isWell();
});

test("a head without end ends the connection (CVE-2024-27316)", async () => {
  let isFirst = true;
  // A literal header without indexing, of 1000 bytes, in each.
  const header = Buffer.concat([Buffer.from([0x00, 1]), Buffer.from("x"), Buffer.from([0x7f, 0xe9, 0x06]), Buffer.alloc(1000, 97)]);
  await attack((push) => {
    const kind = isFirst ? 1 : 9;
    const payload = isFirst ? REQUEST : header;
    isFirst = false;
    return push(h2(kind, 0, 1, payload));
  }, MOST);
  await isWell();
});

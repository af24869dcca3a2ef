// The socket: opening, coming back, and each message once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CrosspointError } from "../src/index.js";
import { ACCOUNTS, FakePage, settle } from "./fakes.js";

test("opens the session with its token and connects the accounts", async () => {
  const page = new FakePage();
  const client = await page.connected();
  const open = page.said("session.open");
  assert.equal(open.session, "TOKEN");
  assert.deepEqual(open.body["credentials"], { userSession: "TOKEN" });
  assert.equal(open.body["received"], 0);
  assert.deepEqual(page.said("account.connect"), {
    method: "account.connect", from: "", to: "sip-connector:b2bua-account1", session: "TOKEN", body: { id: "account1" },
  });
  assert.equal(client.state, "connected");
  assert.equal(client.account("sip")?.state, "connected");
});

for (const [type, code] of [["invalidToken", "invalid-token"], ["expiredToken", "expired-token"], ["originDenied", "origin-denied"]]) {
  test(`a session that is refused with ${type} rejects with ${code}, and is not tried again`, async () => {
    const page = new FakePage();
    const connecting = page.client().connect();
    await settle();
    page.socket.onopen?.();
    page.socket.say("session.validated", { result: false, reason: { type } });
    await assert.rejects(connecting, (error: CrosspointError) => error.code === code);
    await page.clock.pass(60_000);
    assert.equal(page.sockets.length, 1);
  });
}

test("a gateway that never answers is unreachable", async () => {
  const page = new FakePage();
  const connecting = page.client().connect();
  const refused = assert.rejects(connecting, (error: CrosspointError) => error.code === "unreachable");
  await page.clock.pass(60_000);
  await refused;
  assert.equal(page.sockets.length, 4);
  assert.equal(page.storage.kept.size, 1, "another try may have more luck");
});

test("a lost socket comes back with growing delays and tells what was received", async () => {
  const page = new FakePage();
  const client = await page.connected();
  const events: unknown[] = [];
  client.on("reconnecting", (attempt, delay) => events.push([attempt, delay]));
  client.on("reconnected", () => events.push("back"));
  for (let i = 0; i < 6; i++) {
    page.socket.drop();
    await page.clock.pass(5_000);
  }
  // Half the ceiling and half of the rest: the fake's chance is 0.5.
  assert.deepEqual(events, [[1, 188], [2, 375], [3, 750], [4, 1500], [5, 3000], [6, 3750]]);
  assert.equal(client.state, "reconnecting");
  page.validate({ resumed: true });
  assert.equal(page.said("session.open").body["received"], 1);
  assert.equal(client.state, "connected");
  assert.equal(events.at(-1), "back");
});

test("a network that comes back is used at once", async () => {
  const page = new FakePage();
  await page.connected();
  page.socket.drop();
  for (let i = 0; i < 4; i++) {
    await page.clock.next();
    page.socket.drop();
  }
  const before = page.sockets.length;
  page.networkChanged();
  assert.equal(page.sockets.length, before + 1);
});

test("a page that wakes up asks whether its socket still lives", async () => {
  const page = new FakePage();
  await page.connected();
  page.wakes();
  assert.equal(page.words().at(-1), "session.open");
  await page.clock.pass(5_000);
  assert.equal(page.sockets.length, 2, "it did not");
  page.socket.drop();
  page.wakes();
  assert.equal(page.sockets.length, 3, "at once");
});

test("another network replaces a socket that still seems open", async () => {
  const page = new FakePage();
  await page.connected();
  const old = page.socket;
  page.networkChanged();
  assert.equal(old.closed, 1000);
  assert.notEqual(page.socket, old);
});

test("a message that comes again is handled once", async () => {
  const page = new FakePage();
  const client = await page.connected();
  const digits: string[] = [];
  client.on("incoming", (call) => call.on("dtmf", (digit) => digits.push(digit)));
  page.socket.say("call.start", { id: "leg", gcid: "call", account: "account1", sdp: "v=0", peer: { identifier: "sip:bob@x" } }, 2);
  page.socket.say("call.dtmf", { id: "leg", dtmf: "1" }, 3);
  page.socket.drop();
  await page.clock.pass(1_000);
  page.validate({ resumed: true, calls: [{ id: "leg", gcid: "call", account: "account1", direction: "incoming", state: "ringing", peer: {} }] });
  page.socket.say("call.dtmf", { id: "leg", dtmf: "1" }, 3);
  page.socket.say("call.dtmf", { id: "leg", dtmf: "2" }, 4);
  assert.deepEqual(digits, ["1", "2"]);
});

test("what is said without a socket is said when there is one", async () => {
  const page = new FakePage();
  const client = await page.connected();
  page.socket.drop();
  const call = client.account("sip")!.call("bob");
  await settle();
  await page.clock.pass(1_000);
  page.validate({ resumed: true });
  assert.equal(page.said("call.start").body["id"], call.id);
});

test("acknowledges now and then, so that the gateway need not keep everything", async () => {
  const page = new FakePage();
  await page.connected();
  for (let seq = 2; seq <= 70; seq++) page.socket.say("account.state", { id: "account1", state: "connected", reason: "" }, seq);
  const acks = page.socket.sent.filter((m) => m.method === "session.ack").map((m) => m.body["received"]);
  assert.deepEqual(acks, [32, 64]);
});

test("a socket that leads nowhere is found by asking, and left", async () => {
  const page = new FakePage();
  await page.connected();
  await page.clock.pass(25_000);
  assert.equal(page.words().filter((w) => w === "session.open").length, 2);
  page.socket.say("session.validated", { result: true, resumed: true, accounts: ACCOUNTS, calls: [] });
  await page.clock.pass(5_000);
  assert.equal(page.sockets.length, 1, "it answered");
  await page.clock.pass(30_000);
  assert.equal(page.sockets.length, 2, "it did not");
});

test("a client that another page took over does not fight for it", async () => {
  const page = new FakePage();
  const client = await page.connected();
  let closed: CrosspointError | undefined;
  client.on("closed", (error) => (closed = error));
  page.socket.drop(4409);
  await page.clock.pass(60_000);
  assert.equal(closed?.code, "closed");
  assert.equal(page.sockets.length, 1);
});

test("disconnecting ends the calls and closes the session, and leaves nothing to restore", async () => {
  const page = new FakePage();
  const client = await page.connected();
  client.account("sip")!.call("bob");
  await settle();
  client.disconnect();
  assert.deepEqual(page.words().slice(-2), ["call.end", "session.close"]);
  assert.equal(page.storage.kept.size, 0);
  assert.equal(client.state, "closed");
});

test("the relay of the gateway is used unless the page has its own, and renewed with each socket", async () => {
  const relay = (credential: string) => ({ urls: ["turn:gw.test:3478?transport=udp"], username: "17:a", credential });
  const page = new FakePage();
  const client = await page.connected();
  assert.deepEqual(client.iceServers, []);
  for (const credential of ["first", "second"]) {
    page.socket.drop();
    await page.clock.pass(5_000);
    page.validate({ resumed: true, iceServers: [relay(credential), { urls: 7 }, null, "turn:evil.test"] });
    assert.deepEqual(client.iceServers, [relay(credential)]);
  }
  const own = [{ urls: "stun:own.test" }];
  assert.deepEqual(page.client({ iceServers: own }).iceServers, own);
});

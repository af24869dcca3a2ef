// Calls over a lost socket, another network, and a reload.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, type CrosspointError } from "../src/index.js";
import { ANSWER, FakePage, settle } from "./fakes.js";

const info = (call: { id: string; gcid: string }, state = "active", direction = "outgoing") => ({
  id: call.id, gcid: call.gcid, account: "account1", direction, state, peer: { identifier: "sip:bob@x" }, since: 1_699_999_990,
});

async function active(page = new FakePage()) {
  const client = await page.connected();
  const call = client.account("sip")!.call("bob");
  await settle();
  page.socket.say("call.accept", { id: call.id, gcid: call.gcid, sdp: ANSWER }, 2);
  await settle();
  page.connection.ice("connected");
  return { page, client, call };
}

async function cut(page: FakePage): Promise<void> {
  page.socket.drop();
  await page.clock.pass(300);
}

test("a lost socket alone leaves the sound alone", async () => {
  const { page, call } = await active();
  await cut(page);
  assert.equal(call.state, "active");
  page.validate({ resumed: true, calls: [info(call)] });
  await settle();
  assert.ok(!page.words().includes("call.change.lock"));
  assert.ok(!page.words().includes("call.start"));
  assert.ok(page.words().includes("call.ack.accept"), "it may have gone with the socket");
});

test("on another network the sound is brought over by an ICE restart", async () => {
  const { page, call } = await active();
  page.networkChanged();
  page.validate({ resumed: true, calls: [info(call)] });
  assert.ok(page.said("call.change.lock"));
  page.socket.say("call.change.lock.ok", { id: call.id }, 3);
  await settle();
  assert.match(String(page.said("call.change.offer").body["sdp"]), /restart/);
});

test("sound that is interrupted for longer than a moment is brought back by an ICE restart", async () => {
  const { page, call } = await active();
  const events: string[] = [];
  call.on("reconnecting", () => events.push("reconnecting"));
  call.on("reconnected", () => events.push("reconnected"));
  page.connection.ice("disconnected");
  assert.deepEqual(events, ["reconnecting"]);
  assert.ok(!page.words().includes("call.change.lock"), "it may mend itself");
  await page.clock.pass(1_500);
  page.socket.say("call.change.lock.ok", { id: call.id }, 3);
  await settle();
  assert.match(String(page.said("call.change.offer").body["sdp"]), /restart/);
  page.socket.say("call.change.answer", { id: call.id, sdp: ANSWER }, 4);
  await settle();
  page.connection.ice("connected");
  assert.deepEqual(events, ["reconnecting", "reconnected"]);
  assert.equal(call.state, "active");
});

test("sound that is interrupted while there is no socket waits for one", async () => {
  const { page, call } = await active();
  page.socket.drop();
  page.connection.ice("failed");
  await page.clock.pass(300);
  page.validate({ resumed: true, calls: [info(call)] });
  assert.ok(page.said("call.change.lock"));
});

test("an ICE restart that the lost socket swallowed is made again", async () => {
  const { page, call } = await active();
  page.connection.ice("failed");
  await page.clock.pass(1);
  page.socket.say("call.change.lock.ok", { id: call.id }, 3);
  await settle();
  await cut(page);
  assert.equal(page.connection.signalingState, "stable", "the offer is taken back");
  page.validate({ resumed: true, calls: [info(call)] });
  page.socket.say("call.change.lock.ok", { id: call.id }, 4);
  await settle();
  assert.match(String(page.said("call.change.offer").body["sdp"]), /restart/);
});

test("a start that the lost socket swallowed is said again", async () => {
  const page = new FakePage();
  const client = await page.connected();
  const call = client.account("sip")!.call("bob");
  await settle();
  await cut(page);
  page.validate({ resumed: true });
  assert.equal(page.said("call.start").body["id"], call.id);
  assert.equal(call.state, "calling");
});

test("an accept that the lost socket swallowed is said again", async () => {
  const page = new FakePage();
  const client = await page.connected();
  page.socket.say("call.start", { id: "leg", gcid: "g", account: "account1", sdp: ANSWER, peer: {} }, 2);
  const call = client.calls[0]!;
  void call.accept();
  await settle();
  await cut(page);
  page.validate({ resumed: true, calls: [info(call, "ringing", "incoming")] });
  assert.ok(page.said("call.accept"));
  page.socket.say("call.ack.accept", { id: "leg" }, 3);
  assert.equal(call.state, "active");
});

test("an end that the lost socket swallowed is said again", async () => {
  const { page, call } = await active();
  page.socket.drop();
  call.hangup();
  await page.clock.pass(300);
  page.validate({ resumed: true, calls: [info(call)] });
  assert.equal(page.said("call.end").body["id"], call.id);
});

test("calls that the gateway gave up are over", async () => {
  const { page, client, call } = await active();
  await cut(page);
  page.validate({ resumed: false, calls: [] });
  assert.deepEqual(call.end, { reason: "networkError", by: "remote" });
  assert.equal(client.calls.length, 0);
  assert.ok(page.said("account.connect"), "the account begins anew");
});

test("an answer that was missed for good is had by taking the leg over", async () => {
  const page = new FakePage();
  const client = await page.connected();
  const call = client.account("sip")!.call("bob");
  await settle();
  page.socket.say("call.ringing", { id: call.id }, 2);
  const before = call.id;
  await cut(page);
  page.validate({ resumed: false, calls: [info(call)] });
  await settle();
  const start = page.said("call.start").body;
  assert.equal(start["replace"], true);
  assert.notEqual(call.id, before);
  page.socket.say("call.end", { id: before, reason: "replaced" }, 1);
  page.socket.say("call.accept", { id: call.id, sdp: ANSWER }, 2);
  await settle();
  page.connection.ice("connected");
  assert.equal(call.state, "active");
});

test("a reloaded page takes its call back, held and muted as it was", async () => {
  const { page, call } = await active();
  call.mute();
  const holding = call.hold();
  page.socket.say("call.change.lock.ok", { id: call.id }, 3);
  await settle();
  page.socket.say("call.change.answer", { id: call.id, sdp: ANSWER }, 4);
  await holding;
  const before = page.said("session.open").body["client"];

  const fresh = page.reload();
  const client = Client.restore({ platform: fresh.platform })!;
  const connecting = client.connect();
  await settle();
  fresh.validate({ resumed: true, calls: [info(call)] });
  await connecting;
  assert.equal(fresh.said("session.open").body["client"], before);
  assert.equal(fresh.said("session.open").body["received"], 4);
  const [back] = client.calls;
  assert.equal(back?.state, "reconnecting");
  assert.equal(back?.startedAt.getTime(), call.startedAt.getTime());
  assert.equal(back?.peer.identifier, "bob");
  assert.equal(back?.answeredAt?.getTime(), call.answeredAt?.getTime());
  await settle();
  const start = fresh.said("call.start").body;
  assert.equal(start["replace"], true);
  assert.equal(start["gcid"], call.gcid);
  assert.notEqual(start["id"], call.id);
  assert.match(String(start["sdp"]), /a=sendonly/);
  let reconnected = false;
  back?.on("reconnected", () => (reconnected = true));
  fresh.socket.say("call.end", { id: call.id, gcid: call.gcid, reason: "replaced" }, 5);
  fresh.socket.say("call.accept", { id: back?.id, gcid: call.gcid, sdp: ANSWER }, 6);
  await settle();
  assert.equal(back?.state, "reconnecting", "not before there is sound");
  fresh.connection.ice("connected");
  assert.ok(reconnected && back?.held && back.muted);
  assert.equal(fresh.connection.lines[0]?.sender.track?.enabled, false);
});

test("a call that rings over a reload can still be taken", async () => {
  const page = new FakePage();
  await page.connected();
  page.socket.say("call.start", { id: "leg", gcid: "g", account: "account1", sdp: ANSWER, peer: { identifier: "sip:bob@x" } }, 2);
  const fresh = page.reload();
  const client = fresh.client();
  let rings = 0;
  client.on("incoming", () => rings++);
  const connecting = client.connect();
  await settle();
  fresh.validate({ resumed: true, calls: [info({ id: "leg", gcid: "g" }, "ringing", "incoming")] });
  await connecting;
  assert.equal(rings, 1);
  void client.calls[0]!.accept();
  await settle();
  assert.equal(fresh.said("call.accept").body["id"], "leg");
  assert.equal(fresh.connection.remoteDescription?.sdp, ANSWER);
});

test("a page without calls says goodbye, and one with calls does not", async () => {
  const idle = new FakePage();
  await idle.connected();
  const fresh = idle.reload();
  assert.equal(idle.words().at(-1), "session.close");
  assert.ok(Client.restore({ platform: fresh.platform }), "it may come back all the same");
  const { page } = await active();
  page.reload();
  assert.ok(!page.words().includes("session.close"));
});

test("a call that ended during the reload is gone", async () => {
  const { page } = await active();
  const fresh = page.reload();
  const client = fresh.client();
  const connecting = client.connect();
  await settle();
  fresh.validate({ resumed: true, calls: [] });
  await connecting;
  assert.equal(client.calls.length, 0);
});

test("a duplicated tab is a client of its own and leaves the calls alone", async () => {
  const { page, call } = await active();
  const twin = new FakePage(page.storage.copy());
  const client = twin.client();
  const connecting = client.connect();
  await settle();
  twin.validate({ resumed: false, calls: [] });
  await connecting;
  assert.notEqual(twin.said("session.open").body["client"], page.said("session.open").body["client"]);
  assert.equal(twin.said("session.open").body["received"], 0);
  assert.equal(client.calls.length, 0);
  assert.equal(call.state, "active");
});

test("there is nothing to restore where there was no client", () => {
  assert.equal(Client.restore({ platform: new FakePage().platform }), undefined);
});

test("a stored state that makes no sense is no state", async () => {
  const page = new FakePage();
  page.storage.setItem("crosspoint.client", "{ not json");
  await page.connected();
});

test("a waiting change fails when the call ends", async () => {
  const { page, call } = await active();
  const failed = assert.rejects(call.hold(), (error: CrosspointError) => error.code === "call-ended" && error.reason === "normal");
  page.socket.say("call.end", { id: call.id, reason: "normal" }, 3);
  await failed;
});

// Calls: placed, taken, changed and ended.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Call, CrosspointError } from "../src/index.js";
import { ANSWER, FakePage, settle } from "./fakes.js";

const code = (wanted: string) => (error: unknown) => (error as CrosspointError).code === wanted;

async function placed(page = new FakePage()) {
  const client = await page.connected();
  const call = client.account("sip")!.call(" bob ");
  await settle();
  const leg = (fields: object = {}) => ({ id: call.id, gcid: call.gcid, ...fields });
  return { page, client, call, leg };
}

async function active(page = new FakePage()) {
  const world = await placed(page);
  page.socket.say("call.accept", world.leg({ sdp: ANSWER }), 2);
  await settle();
  page.connection.ice("connected");
  return world;
}

async function incoming(page = new FakePage()) {
  const client = await page.connected();
  const calls: Call[] = [];
  client.on("incoming", (call) => calls.push(call));
  page.socket.say("call.start", {
    id: "leg", gcid: "whole", account: "account1", trickle: false, sdp: ANSWER,
    peer: { identifier: "sip:bob@gateway.example", displayName: "Bob" },
  }, 2);
  const call = calls[0]!;
  return { page, client, call, leg: (fields: object = {}) => ({ id: "leg", gcid: "whole", ...fields }) };
}

test("a call is placed, rings, is answered and hung up", async () => {
  const { page, client, call, leg } = await placed();
  const start = page.said("call.start");
  assert.equal(start.to, "sip-connector:b2bua-account1");
  assert.equal(start.body["target"], "bob");
  assert.equal(start.body["trickle"], true);
  assert.equal(start.body["replace"], false);
  assert.match(String(start.body["sdp"]), /offer/);
  const states: string[] = [];
  call.on("state", (state) => states.push(state));
  page.socket.say("call.alive", leg(), 2);
  page.socket.say("call.ringing", leg(), 3);
  page.socket.say("call.accept", leg({ sdp: ANSWER }), 4);
  await call.whenActive();
  assert.ok(page.said("call.ack.accept"));
  call.hangup();
  assert.equal(page.said("call.end").body["reason"], "normal");
  assert.deepEqual(states, ["ringing", "active", "ended"]);
  assert.deepEqual(await call.whenEnded(), { reason: "normal", by: "local" });
  assert.equal(client.calls.length, 0);
  assert.ok(page.connection.closed);
  assert.ok(page.microphones[0]?.stopped, "the microphone is given back");
});

test("candidates go out as they come, and a complete description after the last", async () => {
  const { page, call } = await placed();
  const candidate = { candidate: "candidate:1 1 udp 1 192.0.2.9 9 typ host", sdpMid: "0", sdpMLineIndex: 0 };
  page.connection.onicecandidate?.({ candidate });
  page.connection.onicecandidate?.({ candidate: null });
  const said = page.said("call.candidate").body;
  assert.deepEqual(said, {
    id: call.id, gcid: call.gcid, account: "account1", candidate: { type: "WEBRTC_LEGACY", payload: JSON.stringify(candidate) },
  });
  assert.match(String(page.said("call.fullsdp").body["sdp"]), /offer/);
});

test("a caller's candidates are there when the call is taken, also after a reload", async () => {
  const line = (n: number) => `candidate:${n} 1 udp 1 192.0.2.${n} 9 typ relay`;
  const trickle = (n: number) => ({ candidate: { type: "WEBRTC_LEGACY", payload: line(n) } });
  const { page, call, leg } = await incoming();
  page.socket.say("call.candidate", leg(trickle(1)), 3);
  page.socket.say("call.fullsdp", leg({ sdp: `v=0\r\nm=audio 9 x 0\r\na=${line(2)}\r\n` }), 4);
  await settle();
  assert.equal(call.record().candidates?.length, 2);
  void call.accept();
  page.socket.say("call.candidate", leg(trickle(3)), 5);
  await settle();
  const heard = page.connection.candidates as { candidate: string }[];
  assert.deepEqual(heard.map((candidate) => candidate.candidate), [line(1), line(2), line(3)]);
});

test("candidates of an offer that was replaced are forgotten, and too many are not kept", async () => {
  const { page, call, leg } = await incoming();
  const say = (n: number) =>
    page.socket.say("call.candidate", leg({ candidate: { payload: `candidate:${n} 1 udp 1 192.0.2.1 ${n} typ host` } }), 3 + n);
  say(0);
  page.socket.say("call.start", leg({ account: "account1", sdp: `${ANSWER}a=new:1\r\n`, peer: { identifier: "sip:bob@x" } }), 4);
  assert.deepEqual(call.record().candidates, []);
  for (let n = 2; n < 300; n++) say(n);
  assert.equal(call.record().candidates?.length, 64);
});

test("the far side's candidates wait for its description", async () => {
  const { page, leg } = await placed();
  const line = "candidate:7 1 udp 1 192.0.2.7 9 typ host";
  page.socket.say("call.candidate", leg({ candidate: { type: "WEBRTC_LEGACY", payload: line } }), 2);
  await settle();
  assert.deepEqual(page.connection.candidates, []);
  page.socket.say("call.accept", leg({ sdp: "v=0\r\nm=audio 9 x 0\r\n", trickle: true }), 3);
  await settle();
  page.socket.say("call.candidate", leg({ candidate: { payload: { candidate: "candidate:8", sdpMid: "0" } } }), 4);
  page.socket.say("call.candidate", leg({ candidate: { payload: "" } }), 5);
  page.socket.say("call.fullsdp", leg({ sdp: ANSWER }), 6);
  await settle();
  assert.deepEqual(page.connection.candidates, [
    { candidate: line, sdpMLineIndex: 0 },
    { candidate: "candidate:8", sdpMid: "0" },
    { candidate: "candidate:1 1 udp 1 192.0.2.1 5000 typ host", sdpMLineIndex: 0 },
  ]);
});

test("sound before the answer is heard, and the answer goes on with it", async () => {
  const { page, call, leg } = await placed();
  let streams = 0;
  call.on("remotestream", () => streams++);
  page.socket.say("call.ringing", leg({ sdp: ANSWER }), 2);
  await settle();
  assert.equal(call.state, "ringing");
  assert.equal(page.connection.remoteDescription?.type, "pranswer");
  assert.equal(streams, 1);
  page.socket.say("call.accept", leg({ sdp: ANSWER }), 3);
  await call.whenActive();
  assert.equal(page.connection.remoteDescription?.type, "answer");
});

test("a call that is refused ends with the far side's reason", async () => {
  const { page, call, leg } = await placed();
  const answer = assert.rejects(call.whenActive(), (error: CrosspointError) => error.code === "call-ended" && error.reason === "busy");
  page.socket.say("call.end", leg({ reason: "busy" }), 2);
  await answer;
  assert.deepEqual(call.end, { reason: "busy", by: "remote" });
  assert.equal(page.said("call.ack.end").body["id"], call.id);
});

test("a call that is hung up before the answer is cancelled", async () => {
  const { page, call } = await placed();
  call.hangup();
  assert.equal(page.said("call.end").body["reason"], "canceled");
});

test("a call that is placed before its account is connected waits for it", async () => {
  const page = new FakePage();
  const client = page.client();
  const connecting = client.connect();
  await settle();
  page.validate();
  await connecting;
  const call = client.account("sip")!.call("bob");
  await settle();
  assert.ok(!page.words().includes("call.start"));
  page.socket.say("account.state", { id: "account1", state: "connecting", reason: "" }, 1);
  page.socket.say("account.state", { id: "account1", state: "connected", reason: "" }, 2);
  await settle();
  assert.equal(page.said("call.start").body["id"], call.id);
});

test("a call over an account that its network refuses ends as unavailable", async () => {
  const page = new FakePage();
  const client = await page.connected();
  page.socket.say("account.state", { id: "account1", state: "failed", reason: "unauthorized" }, 2);
  const call = client.account("sip")!.call("bob");
  await settle();
  page.socket.say("account.state", { id: "account1", state: "failed", reason: "unauthorized" }, 3);
  await settle();
  assert.deepEqual(call.end, { reason: "unavailable", by: "local" });
});

test("without a microphone the call ends, and says nothing to the gateway", async () => {
  const page = new FakePage();
  const client = await page.connected();
  page.microphoneFails = true;
  const call = client.account("sip")!.call("bob");
  await settle();
  assert.deepEqual(call.end, { reason: "mediaError", by: "local" });
  assert.ok(!page.words().includes("call.start"));
});

test("an incoming call rings, is accepted, and is active when the gateway says so", async () => {
  const { page, call, leg } = await incoming();
  assert.equal(call.peer.displayName, "Bob");
  assert.ok(page.said("call.ringing"));
  const accepting = call.accept();
  await settle();
  assert.equal(call.state, "connecting");
  assert.match(String(page.said("call.accept").body["sdp"]), /answer/);
  page.socket.say("call.ack.accept", leg(), 3);
  await accepting;
  assert.equal(call.state, "active");
});

for (const reason of ["declined", "busy"] as const) {
  test(`an incoming call is rejected: ${reason}`, async () => {
    const { page, call } = await incoming();
    call.reject(reason);
    assert.equal(page.said("call.end").body["reason"], reason);
    assert.throws(() => call.reject(), code("call-ended"));
  });
}

test("an incoming call whose microphone is refused rings on", async () => {
  const { page, call } = await incoming();
  page.microphoneFails = true;
  await assert.rejects(call.accept(), code("microphone"));
  assert.equal(call.state, "incoming");
  page.microphoneFails = false;
  void call.accept();
  await settle();
  assert.ok(page.said("call.accept"));
});

test("answered elsewhere stops the ringing", async () => {
  const { page, call, leg } = await incoming();
  page.socket.say("call.end", leg({ reason: "answeredElsewhere" }), 3);
  assert.deepEqual(call.end, { reason: "answeredElsewhere", by: "remote" });
});

test("hold locks, offers one way only, and is true when answered", async () => {
  const { page, call, leg } = await active();
  const holding = call.hold();
  assert.ok(page.said("call.change.lock"));
  page.socket.say("call.change.lock.ok", leg(), 3);
  await settle();
  assert.match(String(page.said("call.change.offer").body["sdp"]), /a=sendonly/);
  page.socket.say("call.change.answer", leg({ sdp: "m=audio 9 x 0\r\na=recvonly\r\n" }), 4);
  await holding;
  assert.ok(call.held);
  assert.equal(page.connection.lines[0]?.sender.track?.enabled, false, "nothing is sent to somebody on hold");
  const resuming = call.unhold();
  page.socket.say("call.change.lock.ok", leg(), 5);
  await settle();
  assert.match(String(page.said("call.change.offer").body["sdp"]), /a=sendrecv/);
  page.socket.say("call.change.answer", leg({ sdp: ANSWER }), 6);
  await resuming;
  assert.equal(page.connection.lines[0]?.sender.track?.enabled, true);
});

test("a hold that is refused leaves the call as it was", async () => {
  const { page, call, leg } = await active();
  const refused = assert.rejects(call.hold(), code("change-refused"));
  for (let seq = 3; seq < 9; seq += 2) {
    page.socket.say("call.change.lock.ok", leg(), seq);
    await settle();
    page.socket.say("call.change.lock.reset", leg(), seq + 1);
    await page.clock.pass(4_000);
  }
  await refused;
  assert.equal(call.held, false);
  assert.equal(page.connection.signalingState, "stable");
  assert.equal(page.connection.lines[0]?.sender.track?.enabled, true);
});

test("the far side's hold is answered and shown", async () => {
  const { page, call, leg } = await active();
  page.socket.say("call.change.lock", leg(), 3);
  assert.ok(page.said("call.change.lock.ok"));
  page.socket.say("call.change.offer", leg({ sdp: "m=audio 9 x 0\r\na=sendonly\r\n" }), 4);
  await settle();
  assert.match(String(page.said("call.change.answer").body["sdp"]), /answer/);
  assert.ok(call.heldByPeer);
});

test("mute silences this call's track and no other", async () => {
  const { page, client, call } = await active();
  client.account("sip")!.call("carol");
  await settle();
  assert.equal(page.microphones.length, 1, "one microphone for both");
  call.mute();
  const [first, second] = page.connections.map((c) => c.lines[0]?.sender.track);
  assert.equal(first?.enabled, false);
  assert.equal(second?.enabled, true);
  call.unmute();
  assert.equal(first?.enabled, true);
});

test("another microphone is taken in mid-call, muted as before", async () => {
  const { page, client, call } = await active();
  call.mute();
  await client.setMicrophone("usb");
  assert.deepEqual(page.microphones.map((m) => m.label), ["true", '{"deviceId":{"exact":"usb"}}']);
  const track = page.connection.lines[0]?.sender.track;
  assert.equal(track?.label, page.microphones[1]?.label);
  assert.equal(track?.enabled, false);
  assert.ok(page.microphones[0]?.stopped);
});

test("keys go out, and what is no key does not", async () => {
  const { page, call, leg } = await active();
  call.sendDtmf("1#a");
  assert.equal(page.said("call.dtmf").body["dtmf"], "1#A");
  assert.throws(() => call.sendDtmf("1x"), code("invalid-argument"));
  let heard = "";
  call.on("dtmf", (digits) => (heard = digits));
  page.socket.say("call.dtmf", leg({ dtmf: "9" }), 3);
  assert.equal(heard, "9");
});

test("what the gateway sees of both sides is told", async () => {
  const { page, call, leg } = await active();
  const heard: string[] = [];
  call.on("grade", ({ about, grade, mos }) => heard.push(`${about} ${grade} ${mos}`));
  page.socket.say("call.quality", leg({ about: "far", grade: "poor", mos: 2.5, loss: 0.1, lossOut: null, jitter: 4, roundTrip: null }), 3);
  page.socket.say("call.quality", leg({ about: "near", grade: "silent" }), 4);
  page.socket.say("call.quality", leg({ about: "beside", grade: "good" }), 5);
  page.socket.say("call.quality", leg({ about: "near", grade: "superb" }), 6);
  assert.deepEqual(heard, ["far poor 2.5", "near silent undefined"]);
  assert.equal(call.grades.near?.grade, "silent");
  assert.equal(call.grades.far?.lossOut, undefined);
});

test("a transfer reports its progress and ends the call", async () => {
  const { page, call, leg } = await active();
  const states: string[] = [];
  call.on("transfer", ({ state }) => states.push(state));
  const transferring = call.transfer("carol");
  assert.equal(page.said("call.transfer").body["target"], "carol");
  for (const [i, state] of ["trying", "ringing", "done"].entries()) {
    page.socket.say("call.transfer.progress", leg({ state, reason: "" }), 3 + i);
  }
  await transferring;
  page.socket.say("call.end", leg({ reason: "transferred" }), 6);
  assert.deepEqual(states, ["trying", "ringing", "done"]);
  assert.equal(call.end?.reason, "transferred");
});

test("a parked call says where it waits", async () => {
  const { page, call, leg } = await active();
  let slot: string | undefined;
  call.on("transfer", (progress) => (slot = progress.slot));
  const parking = call.transfer("700");
  page.socket.say("call.transfer.progress", leg({ state: "done", reason: "", slot: "701" }), 3);
  await parking;
  assert.equal(slot, "701");
});

test("the far side presses buttons", async () => {
  const { page, call, leg } = await active();
  const pressed: string[] = [];
  call.on("press", (button) => pressed.push(button));
  for (const [i, button] of ["hold", "talk", "eject"].entries()) page.socket.say("call.press", leg({ button }), 3 + i);
  assert.deepEqual(pressed, ["hold", "talk"]);
});

test("an incoming call tells its way and that it is to be answered, and is sent on", async () => {
  const page = new FakePage();
  const client = await page.connected();
  let call: Call | undefined;
  client.on("incoming", (came) => (call = came));
  const diverted = [{ identifier: "bob", reason: "busy" }, 7];
  page.socket.say("call.start", { id: "in-1", gcid: "g", account: "account1", sdp: ANSWER, peer: { identifier: "sip:carol@x" }, autoAnswer: true, diverted }, 2);
  assert.equal(call?.autoAnswer, true);
  assert.deepEqual(call?.diverted, [{ identifier: "bob", reason: "busy" }]);
  const sentOn = call!.transfer("dave");
  assert.equal(page.said("call.transfer").body["target"], "dave");
  page.socket.say("call.end", { id: "in-1", gcid: "g", reason: "transferred" }, 3);
  await sentOn;
  assert.equal(call?.end?.reason, "transferred");
});

test("a transfer to another call names it", async () => {
  const { page, client, call } = await active();
  const other = client.account("sip")!.call("carol");
  void call.transfer(other).catch(() => {});
  assert.equal(page.said("call.transfer").body["with"], other.id);
  assert.throws(() => call.transfer(call), (error: CrosspointError) => error.code === "invalid-argument");
});

test("a transfer that fails leaves the call", async () => {
  const { page, call, leg } = await active();
  const transferring = call.transfer("nobody");
  page.socket.say("call.transfer.progress", leg({ state: "failed", reason: "notFound" }), 3);
  await assert.rejects(transferring, (error: CrosspointError) => error.code === "transfer-failed" && error.reason === "notFound");
  assert.equal(call.state, "active");
});

test("a call on another device is listed and fetched", async () => {
  const page = new FakePage();
  const client = await page.connected();
  const account = client.account("sip")!;
  const elsewhere = { gcid: "far", peer: { identifier: "sip:bob@x" }, direction: "outgoing", state: "active", device: "phone", since: 1_700_000_000 };
  page.socket.say("account.calls", { id: "account1", calls: [elsewhere] }, 2);
  assert.equal(account.calls[0]?.device, "phone");
  assert.throws(() => account.pull("unknown"), code("invalid-argument"));
  const call = account.pull("far");
  await settle();
  const start = page.said("call.start").body;
  assert.equal(start["replace"], true);
  assert.equal(start["gcid"], "far");
  page.socket.say("call.accept", { id: call.id, gcid: "far", sdp: ANSWER }, 3);
  await settle();
  assert.equal(call.state, "active");
  assert.ok(page.said("call.ack.accept"));
});

test("an account writes, and is written to", async () => {
  const page = new FakePage();
  const account = (await page.connected()).account("sip")!;
  const texts: unknown[] = [];
  account.on("text", (text) => texts.push(text));
  page.socket.say("account.text", { id: "account1", peer: { identifier: "sip:bob@x" }, kind: "text/plain", text: "Lunch?" }, 2);
  assert.deepEqual(texts, [{ peer: { identifier: "sip:bob@x" }, kind: "text/plain", text: "Lunch?" }]);
  const sent = account.sendText(" bob ", "At one");
  const { target, text, ref } = page.said("account.text").body as Record<string, string>;
  assert.deepEqual([target, text], ["bob", "At one"]);
  page.socket.say("account.text.state", { id: "account1", ref, state: "accepted", reason: "" }, 3);
  await sent;
  const refused = account.sendText("nobody", "Hello?");
  page.socket.say("account.text.state", { id: "account1", ref: "2", state: "failed", reason: "notFound" }, 4);
  await assert.rejects(refused, code("text-failed"));
});

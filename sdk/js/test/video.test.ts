// Pictures in calls: shown, seen, added, taken away, refused, and brought back.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Call, CallOptions, CrosspointError } from "../src/index.js";
import { ANSWER, FakePage, settle, withVideo } from "./fakes.js";

const code = (wanted: string) => (error: unknown) => (error as CrosspointError).code === wanted;

async function placed(options: CallOptions = {}, page = new FakePage()) {
  const client = await page.connected();
  const call = client.account("sip")!.call("bob", options);
  await settle();
  return { page, client, call, ...speaking(page, call) };
}

function speaking(page: FakePage, call: Call) {
  const leg = (fields: object = {}) => ({ id: call.id, gcid: call.gcid, ...fields });
  let seq = 10;
  const say = async (action: string, fields: object = {}) => {
    page.socket.say(`call.${action}`, leg(fields), ++seq);
    await settle();
  };
  return { say };
}

async function active(options: CallOptions = {}, answer = ANSWER, page = new FakePage()) {
  const world = await placed(options, page);
  await world.say("accept", { sdp: answer });
  page.connection.ice("connected");
  return world;
}

async function incoming(sdp: string, page = new FakePage()) {
  const client = await page.connected();
  const calls: Call[] = [];
  client.on("incoming", (call) => calls.push(call));
  page.socket.say("call.start", { id: "leg", gcid: "whole", account: "account1", sdp, peer: { identifier: "sip:bob@x" } }, 2);
  const call = calls[0]!;
  return { page, client, call, ...speaking(page, call) };
}

/** The gateway grants our lock and answers our offer; gives the offer. */
async function agrees(world: { page: FakePage; say: (action: string, fields?: object) => Promise<void> }, answer: string) {
  await settle();
  await world.say("change.lock.ok");
  const offer = String(world.page.said("call.change.offer").body["sdp"]);
  await world.say("change.answer", { sdp: answer });
  return offer;
}

const line = (sdp: unknown) => /m=video (\d+) x 0\r\n(?:a=(\w+))?/.exec(String(sdp))?.slice(1);
const accepted = (page: FakePage) => page.said("call.accept").body["sdp"];

test("a call is placed with a picture, and shows the one that comes", async () => {
  const { page, call, say } = await placed({ video: true });
  assert.deepEqual(line(page.said("call.start").body["sdp"]), ["9", "sendrecv"]);
  assert.equal(call.localStream?.getVideoTracks().length, 1);
  const seen: unknown[] = [];
  call.on("remotevideo", (shown) => seen.push(shown));
  call.on("track", (track) => seen.push(track.kind));
  call.on("remotestream", () => seen.push("stream"));
  await say("accept", { sdp: withVideo() });
  assert.deepEqual(seen, ["stream", "audio", "video", true]);
  assert.equal(call.remoteVideo, true);
  assert.deepEqual(call.remoteStream?.getTracks().map((track) => track.kind), ["audio", "video"]);
  call.hangup();
  assert.equal(call.localStream, undefined);
  await settle();
  assert.ok(page.cameras.every((camera) => camera.stopped), "the camera is given back");
});

test("a far side without pictures leaves the sound, and the camera goes off", async () => {
  const { page, call } = await active({ video: true }, withVideo("inactive", 0));
  assert.equal(call.state, "active");
  assert.equal(call.localStream, undefined);
  assert.ok(page.cameras[0]?.stopped);
  assert.equal(call.record().video, undefined);
});

test("an offered picture is seen, without one of our own, with one, or not at all", async () => {
  for (const [video, expected] of [[undefined, "recvonly"], [true, "sendrecv"], ["receive", "recvonly"]] as const) {
    const { page, call } = await incoming(withVideo());
    assert.equal(call.offersVideo, true);
    void call.accept(video === undefined ? {} : { video });
    await settle();
    assert.deepEqual(line(accepted(page)), ["9", expected]);
    assert.equal(call.remoteVideo, true);
    assert.equal(call.localStream !== undefined, video === true);
  }
  const { page, call } = await incoming(withVideo());
  void call.accept({ video: false });
  await settle();
  assert.equal(line(accepted(page))?.[0], "0");
  assert.deepEqual([call.remoteVideo, call.remoteStream?.getVideoTracks().length], [false, 0]);
  assert.equal(call.record().video, "refuse");
});

test("a picture for a caller who asked for none is added when the call is active", async () => {
  const world = await incoming(ANSWER);
  const { page, call, say } = world;
  assert.equal(call.offersVideo, false);
  const accepting = call.accept({ video: true });
  await settle();
  assert.equal(page.cameras.length, 0);
  await say("ack.accept");
  await accepting;
  assert.deepEqual(line(await agrees(world, withVideo("recvonly"))), ["9", "sendrecv"]);
  assert.equal(call.localStream?.getVideoTracks().length, 1);
  assert.equal(call.remoteVideo, false);
});

test("without a camera the call still rings", async () => {
  const page = new FakePage();
  page.cameraFails = true;
  const { call } = await incoming(withVideo(), page);
  await assert.rejects(call.accept({ video: true }), code("camera"));
  assert.equal(call.state, "incoming");
  assert.ok(page.microphones.every((microphone) => microphone.stopped));
});

test("a picture is added, exchanged without a word, and taken away", async () => {
  const world = await active();
  const { page, call } = world;
  const own: (string | undefined)[] = [];
  call.on("localstream", (stream) => own.push(stream?.getVideoTracks()[0]?.label));
  const adding = call.addVideo();
  assert.deepEqual(line(await agrees(world, withVideo())), ["9", "sendrecv"]);
  await adding;
  assert.equal(call.remoteVideo, true);
  const said = page.words().length;
  await call.addVideo({ facingMode: "environment" });
  assert.equal(page.words().length, said, "another picture needs no agreement");
  assert.deepEqual(own, ["true", '{"facingMode":"environment"}']);
  assert.ok(page.cameras[0]?.stopped, "the first camera is off");

  const removing = call.removeVideo();
  await settle();
  assert.ok(page.cameras.every((camera) => camera.stopped), "before anybody has agreed");
  assert.equal(own.at(-1), undefined);
  assert.deepEqual(line(await agrees(world, withVideo("sendonly"))), ["9", "recvonly"], "the far side's picture stays");
  await removing;
  assert.equal(call.remoteVideo, true);
});

test("when nobody shows anything, the line goes", async () => {
  const world = await active({ video: true }, withVideo("recvonly"));
  const removing = world.call.removeVideo();
  assert.equal(line(await agrees(world, withVideo("inactive", 0)))?.[0], "0");
  await removing;
});

test("a far side that takes no pictures is said, and the call goes on", async () => {
  const world = await active();
  const adding = assert.rejects(world.call.addVideo(), code("change-refused"));
  await agrees(world, withVideo("inactive", 0));
  await adding;
  assert.equal(world.call.state, "active");
  assert.equal(world.call.localStream, undefined);
  assert.ok(world.page.cameras.every((camera) => camera.stopped));
  // Nor is it asked again by the next change.
  const holding = world.call.hold();
  assert.doesNotMatch(await agrees(world, withVideo("inactive", 0)), /m=video 9/);
  await holding;
});

test("the far side adds its picture, and takes it away", async () => {
  const world = await active();
  const { page, call, say } = world;
  const seen: boolean[] = [];
  call.on("remotevideo", (shown) => seen.push(shown));
  const offers = async (sdp: string) => {
    await say("change.lock");
    await say("change.offer", { sdp });
    return line(page.said("call.change.answer").body["sdp"]);
  };
  assert.deepEqual(await offers(withVideo()), ["9", "recvonly"]);
  assert.deepEqual(await offers(withVideo("inactive", 0)), ["0", undefined]);
  assert.deepEqual(seen, [true, false]);
  assert.equal(call.remoteStream?.getVideoTracks().length, 0);
});

test("an offer of the far side between ours and its answer leaves one line for pictures", async () => {
  const world = await active();
  const { page, call, say } = world;
  const adding = call.addVideo();
  await settle();
  await say("change.lock.ok");
  assert.match(String(page.said("call.change.offer").body["sdp"]), /m=video 9/);
  // Refused, because the far side is about to offer pictures itself.
  await say("change.lock.reset");
  await say("change.lock");
  await say("change.offer", { sdp: withVideo() });
  const answer = String(page.said("call.change.answer").body["sdp"]);
  assert.equal(answer.match(/m=video 9/g)?.length, 1);
  assert.deepEqual(line(answer), ["9", "sendrecv"], "what was to be added is in the answer");
  await page.clock.pass(5_000);
  const offer = await agrees(world, withVideo());
  assert.equal(offer.match(/m=video 9/g)?.length, 1);
  await adding;
});

test("hold hides both pictures, and resuming brings them back", async () => {
  const world = await active({ video: true }, withVideo());
  const { page, call } = world;
  const track = () => call.localStream?.getVideoTracks()[0];
  const holding = call.hold();
  assert.equal(track()?.enabled, false);
  assert.deepEqual(line(await agrees(world, withVideo("inactive"))), ["9", "inactive"]);
  await holding;
  assert.equal(call.remoteVideo, false);
  const resuming = call.unhold();
  assert.deepEqual(line(await agrees(world, withVideo())), ["9", "sendrecv"]);
  await resuming;
  assert.deepEqual([call.remoteVideo, track()?.enabled], [true, true]);
  const said = page.words().length;
  call.muteVideo();
  assert.deepEqual([call.videoMuted, track()?.enabled], [true, false]);
  call.unmuteVideo();
  assert.deepEqual([track()?.enabled, page.words().length], [true, said]);
});

test("another camera is shown in the calls that run", async () => {
  const { client, call } = await active({ video: true }, withVideo());
  const before = call.localStream;
  await client.setCamera("cam-2");
  await settle();
  assert.notEqual(call.localStream, before);
  assert.equal(call.localStream?.getVideoTracks()[0]?.label, '{"deviceId":{"exact":"cam-2"}}');
});

async function reloaded(page: FakePage, call: Call, prepare = (_: FakePage) => {}) {
  const after = page.reload();
  prepare(after);
  const client = after.client();
  const connecting = client.connect();
  await settle();
  after.validate({ resumed: true, calls: [{ id: call.id, gcid: call.gcid, account: "account1", direction: "outgoing", state: "active", peer: { identifier: "sip:bob@x" } }] });
  await connecting;
  await settle();
  return { page: after, call: client.calls[0]! };
}

test("after a reload the pictures come back: ours, the far side's, and a blackened one", async () => {
  const { page, call } = await active({ video: true }, withVideo());
  call.muteVideo();
  const both = await reloaded(page, call);
  assert.deepEqual(line(both.page.said("call.start").body["sdp"]), ["9", "sendrecv"]);
  assert.deepEqual([both.call.videoMuted, both.call.localStream?.getVideoTracks()[0]?.enabled], [true, false]);

  const seeing = await active({ video: "receive" }, withVideo("sendonly"));
  const seen = await reloaded(seeing.page, seeing.call);
  assert.deepEqual(line(seen.page.said("call.start").body["sdp"]), ["9", "recvonly"]);

  const heard = await active();
  const sound = await reloaded(heard.page, heard.call);
  assert.equal(line(sound.page.said("call.start").body["sdp"]), undefined);
});

test("a call whose camera is gone after a reload comes back without", async () => {
  const { page, call } = await active({ video: true }, withVideo());
  const back = await reloaded(page, call, (after) => (after.cameraFails = true));
  assert.deepEqual(line(back.page.said("call.start").body["sdp"]), ["9", "recvonly"]);
  assert.equal(back.call.localStream, undefined);
});

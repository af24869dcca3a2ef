// Figures out of getStats, the E-model's score, and the tone detector.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readStats, score } from "../src/quality.js";
import { candidatesIn, holdsUs, readCandidate } from "../src/sdp.js";
import { toneShare } from "../src/tone.js";

const stats = (received: number, lost: number, bytes: number) =>
  new Map<string, unknown>(
    [
      { id: "in", type: "inbound-rtp", kind: "audio", packetsReceived: received, packetsLost: lost, bytesReceived: bytes, jitter: 0.004, jitterBufferDelay: received * 0.8, jitterBufferEmittedCount: received * 20, codecId: "c", audioLevel: 0.3 },
      { id: "out", type: "outbound-rtp", kind: "audio", bytesSent: bytes },
      { id: "rin", type: "remote-inbound-rtp", kind: "audio", roundTripTime: 0.05, fractionLost: 0.02 },
      { id: "src", type: "media-source", kind: "audio", audioLevel: 0.5 },
      { id: "c", type: "codec", mimeType: "audio/opus" },
      { id: "t", type: "transport", selectedCandidatePairId: "p" },
      { id: "q", type: "candidate-pair", nominated: true, localCandidateId: "other" },
      { id: "p", type: "candidate-pair", currentRoundTripTime: 0.03, localCandidateId: "l" },
      { id: "l", type: "local-candidate", candidateType: "srflx" },
    ].map((entry) => [entry.id, entry]),
  );

test("a report speaks of the interval, not of the whole call", () => {
  const first = readStats(stats(1000, 500, 100_000), 0, undefined);
  const { quality } = readStats(stats(1240, 510, 130_000), 5_000, first.counters);
  assert.equal(quality.lossIn, 4);
  assert.equal(quality.lossOut, 2);
  assert.equal(quality.bitrateIn, 48);
  assert.equal(quality.jitter, 4);
  assert.equal(quality.rtt, 50);
  assert.equal(Math.round(quality.buffer ?? 0), 40);
  assert.equal(quality.codec, "opus");
  assert.equal(quality.path, "srflx");
  assert.deepEqual([quality.levelIn, quality.levelOut], [0.3, 0.5]);
  assert.ok(quality.mos !== undefined && quality.mos > 3.5 && quality.mos < 4.3, String(quality.mos));
});

test("pictures have figures of their own", () => {
  const pictures = (frames: number) =>
    new Map<string, unknown>([
      ...stats(frames, 0, frames),
      ["vin", { id: "vin", type: "inbound-rtp", kind: "video", packetsReceived: frames, packetsLost: frames / 10, bytesReceived: 100 * frames, frameWidth: 640, frameHeight: 480, framesPerSecond: 24, codecId: "vc" }],
      ["vout", { id: "vout", type: "outbound-rtp", kind: "video", bytesSent: 50 * frames, qualityLimitationReason: "bandwidth" }],
      ["vc", { id: "vc", type: "codec", mimeType: "video/VP8" }],
    ]);
  const first = readStats(pictures(1000), 0, undefined);
  const { video, codec } = readStats(pictures(2000), 1000, first.counters).quality;
  assert.equal(codec, "opus", "sound is still sound");
  assert.deepEqual(video?.in, { codec: "VP8", width: 640, height: 480, framesPerSecond: 24, bitrate: 800 });
  assert.deepEqual([video?.out.bitrate, video?.limitedBy, Math.round(video?.lossIn ?? 0)], [400, "bandwidth", 9]);
  assert.equal(readStats(stats(1, 0, 1), 0, undefined).quality.video, undefined);
});

test("what is not known is undefined", () => {
  const { quality } = readStats(new Map(), 0, undefined);
  const { at, ...figures } = quality;
  assert.deepEqual([...new Set(Object.values(figures))], [undefined]);
  assert.equal(at.getTime(), 0);
});

test("the score falls with loss and delay, and stays on its scale", () => {
  const clean = score({ loss: 0, delay: 20, codec: "PCMU" });
  assert.ok(clean > 4.3 && clean <= 4.5, String(clean));
  assert.ok(score({ loss: 5, delay: 20, codec: "PCMU" }) < clean);
  assert.ok(score({ loss: 0, delay: 400, codec: "PCMU" }) < 3.7);
  assert.equal(score({ loss: 100, delay: 3000, codec: undefined }), 1);
});

test("a tone is found in noise, and not elsewhere", () => {
  const samples = Float32Array.from({ length: 2048 }, (_, i) => 0.2 * Math.sin((2 * Math.PI * 1000 * i) / 48_000) + 0.02 * ((i * 7919) % 13 / 13 - 0.5));
  assert.ok(toneShare(samples, 48_000, 1000) > 0.9);
  assert.ok(toneShare(samples, 48_000, 1400) < 0.1);
  assert.equal(toneShare(new Float32Array(2048), 48_000, 1000), 0);
});

test("hold is read off the audio line, else off the whole", () => {
  assert.equal(holdsUs("v=0\r\na=sendonly\r\nm=audio 1 x\r\na=sendrecv\r\n"), false);
  assert.equal(holdsUs("v=0\r\na=inactive\r\nm=audio 1 x\r\n"), true);
  assert.equal(holdsUs("v=0\r\nm=video 1 x\r\na=sendonly\r\nm=audio 1 x\r\n"), false);
  assert.equal(holdsUs("v=0\r\nm=audio 1 x\r\na=recvonly\r\n"), false);
});

test("candidates are read in every form that they come in", () => {
  const line = "candidate:1 1 udp 1 192.0.2.1 9 typ host";
  assert.deepEqual(readCandidate(line), { candidate: line, sdpMLineIndex: 0 });
  assert.deepEqual(readCandidate(`a=${line}`), { candidate: line, sdpMLineIndex: 0 });
  assert.deepEqual(readCandidate(JSON.stringify({ candidate: line, sdpMid: "0" })), { candidate: line, sdpMid: "0" });
  assert.deepEqual(readCandidate({ candidate: line }), { candidate: line });
  for (const nothing of ["", "{", null, undefined, 7, { candidate: "" }, {}]) assert.equal(readCandidate(nothing), null);
  assert.deepEqual(candidatesIn(`v=0\r\nm=audio 1 x\r\na=${line}\r\nm=video 1 x\r\na=${line}\r\n`), [
    { candidate: line, sdpMLineIndex: 0 },
    { candidate: line, sdpMLineIndex: 1 },
  ]);
});

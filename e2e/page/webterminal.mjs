// A test client of the call API in a page: gRPC-Web by `fetch`, without any library.
// A page cannot speak and listen on one stream, so it listens on one and says each thing on a stream of its own.
import { events, heard, listen, note, take } from "./ear.mjs";

const SERVICE = "/wgtwo.webterminal.v0.WebTerminalService/MultiPipe";
/** Field numbers of the schema. */
const KINDS = { 1: "offer", 2: "answer", 3: "ringing", 4: "bye", 5: "idle", 6: "inCall", 7: "error" };

const text = new TextEncoder();
const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]);
const field = (number, bytes) => [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes];
const string = (number, value) => field(number, text.encode(value));
const framed = (bytes) => new Uint8Array([0, bytes.length >>> 24, bytes.length >>> 16, bytes.length >>> 8, bytes.length, ...bytes].map((b) => b & 255));

/** The fields of a message whose fields are strings, messages or small numbers. */
function fields(bytes) {
  const found = {};
  let at = 0;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = number();
    if ((key & 7) === 0) found[key >>> 3] = number();
    else {
      const length = number();
      found[key >>> 3] = bytes.subarray(at, (at += length));
    }
  }
  return found;
}
const read = (bytes) => (bytes ? new TextDecoder().decode(bytes) : "");

const calls = new Map();
/** The streams that calls of ours began on: while one is open it is a place that rings. */
const streams = new Map();
let options;
let offered;

function request(message, signal) {
  return fetch(new URL(SERVICE, options.origin), {
    method: "POST",
    headers: { authorization: `Bearer ${options.token}`, "content-type": "application/grpc-web+proto", "x-grpc-web": "1", "wg2-msisdn": options.number },
    body: framed(message),
    signal,
  });
}

/** Says something on a stream of its own. */
async function say(call, kind, inner) {
  const stream = new AbortController();
  const response = await request([...field(kind, inner), ...string(10, call)], stream.signal);
  if (!response.ok) throw new Error(`${response.status}`);
  // Who ends a stream knows of it.
  return { stream, ended: follow(response).catch(() => {}) };
}

function over(call) {
  calls.get(call)?.close();
  streams.get(call)?.abort();
  calls.delete(call);
  streams.delete(call);
}

async function hear(call, kind, inner) {
  const body = fields(inner);
  if (kind === "offer") offered = { call, sdp: read(body[1]) };
  if (kind === "answer") await calls.get(call)?.setRemoteDescription({ type: "answer", sdp: read(body[1]) });
  if (kind === "bye") over(call);
  note(kind, { call, number: body[2] && read(fields(body[2])[1]) });
}

/** Takes apart what comes, whatever pieces it comes in. */
async function follow(response) {
  const reader = response.body.getReader();
  let waiting = new Uint8Array();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting = new Uint8Array([...waiting, ...value]);
    while (waiting.length >= 5) {
      const length = new DataView(waiting.buffer, waiting.byteOffset).getUint32(1);
      if (waiting.length < 5 + length) break;
      const [flags, bytes] = [waiting[0], waiting.slice(5, 5 + length)];
      waiting = waiting.slice(5 + length);
      if (flags & 128) {
        note("closed", read(bytes).trim());
        continue;
      }
      const message = fields(bytes);
      for (const [number, kind] of Object.entries(KINDS)) {
        if (message[number]) await hear(read(message[10]), kind, message[number]);
      }
    }
  }
}

async function connection() {
  const peer = new RTCPeerConnection();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of stream.getTracks()) peer.addTrack(track, stream);
  peer.addEventListener("track", ({ streams }) => listen(streams[0]));
  return peer;
}

/** The description with every candidate in it. */
async function described(peer) {
  if (peer.iceGatheringState !== "complete") {
    await new Promise((resolve) => peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && resolve()));
  }
  return peer.localDescription.sdp;
}

window.client = {
  events,
  take,
  heard,
  async start({ token, number }) {
    options = { origin: location.origin, token, number };
    const response = await request([]);
    if (!response.ok) throw new Error(`${response.status}`);
    note("registered");
    follow(response).catch((error) => note("broken", String(error)));
  },
  async dial(number) {
    const call = crypto.randomUUID();
    const peer = await connection();
    calls.set(call, peer);
    await peer.setLocalDescription(await peer.createOffer());
    const offer = [...string(1, await described(peer)), ...field(2, string(1, number))];
    // The call is this stream's: it is told here how it goes.
    streams.set(call, (await say(call, 1, offer)).stream);
    return call;
  },
  async answer() {
    const peer = await connection();
    calls.set(offered.call, peer);
    await peer.setRemoteDescription({ type: "offer", sdp: offered.sdp });
    await peer.setLocalDescription(await peer.createAnswer());
    await (await say(offered.call, 2, string(1, await described(peer)))).ended;
    return offered.call;
  },
  digit(call, key) {
    calls.get(call).getSenders()[0].dtmf.insertDTMF(key);
  },
  async hangUp(call) {
    await (await say(call, 4, [])).ended;
    over(call);
  },
  async stop() {},
};

// What a test client shares: the event list, and an ear that finds the tone it hears.

export const events = [];

export function note(name, detail) {
  events.push({ name, detail: detail ?? true });
}

/** Takes the first event with this name. */
export function take(name) {
  const at = events.findIndex((e) => e.name === name);
  return at < 0 ? null : events.splice(at, 1)[0].detail;
}

let player = null;
let analyser = null;
let context = null;

/** Listens to a remote stream. Chromium feeds Web Audio only while an element plays it too. */
export function listen(stream) {
  player ??= Object.assign(new Audio(), { autoplay: true });
  player.srcObject = stream;
  context ??= new AudioContext();
  analyser = context.createAnalyser();
  analyser.fftSize = 8192;
  analyser.smoothingTimeConstant = 0;
  context.createMediaStreamSource(stream).connect(analyser);
}

/** The loudest frequency heard now, in Hz, and its level in dBFS. */
export function heard() {
  if (!analyser) return null;
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  let best = 0;
  for (let i = 1; i < bins.length; i++) if (bins[i] > bins[best]) best = i;
  const level = Number.isFinite(bins[best]) ? bins[best] : -200;
  return { frequency: (best * context.sampleRate) / analyser.fftSize, level };
}

/**
 * Notes every digit that arrives as RTP events (RFC 4733) as `rtp-digit`, with its key and length. Frames
 * are read where a page could decrypt them itself, and go on unchanged.
 */
export function watchDigits() {
  let last = null;
  const read = (frame, controller) => {
    controller.enqueue(frame);
    const { mimeType, rtpTimestamp } = frame.getMetadata();
    const [event, flags, high, low] = new Uint8Array(frame.data);
    const isEnd = (flags & 0x80) !== 0;
    if (!/telephone-event/i.test(mimeType) || !isEnd || rtpTimestamp === last) return;
    last = rtpTimestamp;
    note("rtp-digit", { key: "0123456789*#ABCD"[event], ticks: (high << 8) | low });
  };
  // The standard's RTCRtpScriptTransform sees no frames of a receiver in Chromium 156.
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(options) {
      super({ ...options, encodedInsertableStreams: true });
      this.addEventListener("track", ({ receiver }) => {
        const { readable, writable } = receiver.createEncodedStreams();
        readable.pipeThrough(new TransformStream({ transform: read })).pipeTo(writable);
      });
    }

    addTrack(...args) {
      const sender = super.addTrack(...args);
      const { readable, writable } = sender.createEncodedStreams();
      readable.pipeTo(writable);
      return sender;
    }
  };
}

/** Only these codecs are offered and answered, as a browser without the others would. */
export function restrictCodecs(names) {
  const capabilities = RTCRtpSender.getCapabilities("audio").codecs;
  const kept = capabilities.filter((c) => names.includes(c.mimeType.split("/")[1].toLowerCase()));
  const create = RTCPeerConnection.prototype.createOffer;
  const answer = RTCPeerConnection.prototype.createAnswer;
  const restrict = (connection) => {
    for (const transceiver of connection.getTransceivers()) transceiver.setCodecPreferences(kept);
  };
  RTCPeerConnection.prototype.createOffer = function (...args) {
    restrict(this);
    return create.apply(this, args);
  };
  RTCPeerConnection.prototype.createAnswer = function (...args) {
    restrict(this);
    return answer.apply(this, args);
  };
}

export async function inboundCodec(connection) {
  const report = await connection.getStats();
  for (const entry of report.values()) {
    if (entry.type === "inbound-rtp" && entry.codecId) return report.get(entry.codecId).mimeType;
  }
  return null;
}

/** Sends this page's packets to a relay that stands for the gateway, and tells the gateway of no other way to it. */
export function sendMediaTo(port) {
  const page = RTCPeerConnection.prototype;
  const set = page.setRemoteDescription;
  page.setRemoteDescription = function ({ type, sdp }) {
    return set.call(this, { type, sdp: sdp?.replace(/^(a=candidate:\S+ \d \S+ \d+ \S+) \d+/gm, `$1 ${port}`) });
  };
  const local = Object.getOwnPropertyDescriptor(page, "localDescription").get;
  Object.defineProperty(page, "localDescription", {
    get() {
      const description = local.call(this);
      return description && { type: description.type, sdp: description.sdp.replace(/^a=candidate:.*\r\n/gm, "") };
    },
  });
  const candidates = Object.getOwnPropertyDescriptor(page, "onicecandidate");
  Object.defineProperty(page, "onicecandidate", {
    ...candidates,
    set(handler) {
      candidates.set.call(this, (event) => event.candidate === null && handler(event));
    },
  });
}

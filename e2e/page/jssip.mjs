// A test client on JsSIP.
import * as JsSIP from "jssip";
import { camera, figures, keepEstimates, restrictVideo, seen, watch as look } from "./eye.mjs";
import { events, heard, inboundCodec, listen, note, restrictCodecs, take, watchDigits } from "./ear.mjs";
import { localCandidate } from "./path.mjs";

const OPTIONS = { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };
let agent;
let call;
/** Every call, oldest first. */
const calls = [];

function follow(session) {
  call = session;
  calls.push(session);
  const watch = (connection) =>
    connection.addEventListener("track", (event) =>
      event.track.kind === "video" ? look(event.track) : listen(event.streams[0] ?? new MediaStream([event.track])));
  if (session.connection) watch(session.connection);
  session.on("peerconnection", (event) => watch(event.peerconnection));
  session.on("icecandidate", (event) => event.ready());
  session.on("progress", (event) => note("progress", event.response?.status_code ?? 180));
  session.on("accepted", () => note("accepted"));
  session.on("confirmed", () => note("confirmed"));
  session.on("ended", (event) => note("ended", { by: event.originator, cause: event.cause }));
  session.on("failed", (event) =>
    note("failed", { by: event.originator, cause: event.cause, status: event.message?.status_code ?? null, reason: event.message?.getHeader?.("Reason") ?? null }));
  session.on("hold", (event) => note(`hold-${event.originator}`));
  session.on("unhold", (event) => note(`unhold-${event.originator}`));
  session.on("newDTMF", (event) => event.originator === "remote" && note("dtmf", event.dtmf.tone));
}

/** JsSIP reports a hold when it begins; a test goes on when the other side has agreed. */
function changed(start) {
  return new Promise((resolve, reject) => {
    call.once("ended", () => reject(new Error("the call ended before the change was agreed")));
    if (!start(resolve)) reject(new Error("JsSIP is not ready for a new offer"));
  });
}

/** How to call or answer: with a camera that shows a colour, or with sound only. */
async function options(wanted) {
  if (!wanted?.camera) return OPTIONS;
  const mediaStream = await navigator.mediaDevices.getUserMedia({ audio: true });
  mediaStream.addTrack(camera(wanted.camera));
  return { ...OPTIONS, mediaConstraints: { audio: true, video: true }, mediaStream };
}

/** Which ICE session the call is in: a restart begins another. */
const iceOf = (connection) => /a=ice-ufrag:(\S+)/.exec(connection.localDescription.sdp)[1];

window.client = {
  /** What the gateway's reports say of what we send, and of what it sends. */
  async reports() {
    const stats = [...(await call.connection.getStats()).values()];
    const one = (type) => stats.find((s) => s.type === type && s.kind === "audio");
    return { ours: one("remote-inbound-rtp"), theirs: one("remote-outbound-rtp") };
  },
  /** The transport that the packets of this call take. */
  async transport() {
    const local = await localCandidate(call.connection);
    return local?.relayProtocol ?? local?.protocol;
  },
  events,
  take,
  heard,
  state: () => ({ registered: agent?.isRegistered() ?? false, up: call?.isEstablished() ?? false }),
  async start({ url, user, password, domain, codecs, digits, agentName, relay, video, estimates = true }) {
    if (relay) {
      const headers = { authorization: `Basic ${btoa(`${user}:${password}`)}` };
      const answer = await fetch(new URL("/api/ice-servers", url.replace("ws", "http")), { headers, credentials: "omit" });
      Object.assign(OPTIONS.pcConfig, { iceServers: (await answer.json()).iceServers, iceTransportPolicy: "relay" });
    }
    if (video) restrictVideo(video);
    if (!estimates) keepEstimates();
    if (codecs) restrictCodecs(codecs);
    if (digits) watchDigits();
    agent = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(url)],
      uri: `sip:${user}@${domain}`,
      password,
      register_expires: 120,
      user_agent: agentName,
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 2,
    });
    agent.on("registered", () => note("registered"));
    agent.on("registrationFailed", (e) => note("registration-failed", e.response?.status_code ?? e.cause));
    agent.on("newRTCSession", (event) => {
      if (event.originator !== "remote") return;
      follow(event.session);
      note("incoming", { from: event.session.remote_identity.uri.user });
    });
    agent.on("newMessage", (event) => event.originator === "remote" && note("text", { from: event.message.remote_identity.uri.user, body: event.request.body }));
    agent.start();
  },
  text: (target, body) => new Promise((resolve, reject) => {
    const eventHandlers = { succeeded: (e) => resolve(e.response.status_code), failed: (e) => reject(new Error(e.cause)) };
    agent.sendMessage(target, body, { eventHandlers });
  }),
  dial: async (target, wanted) => follow(agent.call(target, await options(wanted))),
  answer: async (wanted) => call.answer(await options(wanted)),
  reject: (status) => call.terminate({ status_code: status }),
  hangUp: () => call.terminate(),
  hold: () => changed((done) => call.hold({}, done)),
  unhold: () => changed((done) => call.unhold({}, done)),
  digit: (key) => call.sendDTMF(key, { transportType: "RFC2833" }),
  digitByInfo: (key) => call.sendDTMF(key, { transportType: "INFO" }),
  refer: (target) => call.refer(target, {}),
  /** Joins the far sides of the last two calls. */
  join() {
    const [first, second] = calls.slice(-2);
    first.refer(second.remote_identity.uri, { replaces: second });
  },
  iceRestart: () => changed((done) => call.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, done)),
  seen,
  figures: () => figures(call.connection),
  canVideo: (name) => RTCRtpSender.getCapabilities("video").codecs.some((c) => c.mimeType.toLowerCase() === `video/${name}`),
  remote: () => call.connection.remoteDescription.sdp,
  addVideo(colour) {
    call.connection.addTrack(camera(colour), new MediaStream());
    return changed((done) => call.renegotiate({}, done));
  },
  /** Three sizes of one picture, for whoever takes several. */
  addLayers(colour) {
    const sendEncodings = [{ rid: "h" }, { rid: "m", scaleResolutionDownBy: 2 }, { rid: "l", scaleResolutionDownBy: 4 }];
    call.connection.addTransceiver(camera(colour), { sendEncodings });
    return changed((done) => call.renegotiate({}, done));
  },
  layers: async () => [...(await call.connection.getStats()).values()].filter((s) => s.type === "outbound-rtp" && s.kind === "video" && s.active).length,
  local: () => call.connection.localDescription.sdp,
  removeVideo() {
    for (const transceiver of call.connection.getTransceivers()) {
      if (transceiver.receiver.track.kind === "video") transceiver.stop();
    }
    return changed((done) => call.renegotiate({}, done));
  },
  codec: () => inboundCodec(call.connection),
  ice: () => iceOf(call.connection),
  stop: () => agent.stop(),
};

// A test client on JsSIP.
import * as JsSIP from "jssip";
import { events, heard, inboundCodec, listen, note, restrictCodecs, take, watchDigits } from "./ear.mjs";

const OPTIONS = { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };
let agent;
let call;

function follow(session) {
  call = session;
  const watch = (connection) =>
    connection.addEventListener("track", (event) => listen(event.streams[0] ?? new MediaStream([event.track])));
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

/** Which ICE session the call is in: a restart begins another. */
const iceOf = (connection) => /a=ice-ufrag:(\S+)/.exec(connection.localDescription.sdp)[1];

window.client = {
  events,
  take,
  heard,
  state: () => ({ registered: agent?.isRegistered() ?? false, up: call?.isEstablished() ?? false }),
  start({ url, user, password, domain, codecs, digits, agentName }) {
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
    agent.start();
  },
  dial: (target) => follow(agent.call(target, OPTIONS)),
  answer: () => call.answer(OPTIONS),
  reject: (status) => call.terminate({ status_code: status }),
  hangUp: () => call.terminate(),
  hold: () => changed((done) => call.hold({}, done)),
  unhold: () => changed((done) => call.unhold({}, done)),
  digit: (key) => call.sendDTMF(key, { transportType: "RFC2833" }),
  digitByInfo: (key) => call.sendDTMF(key, { transportType: "INFO" }),
  refer: (target) => call.refer(target, {}),
  iceRestart: () => call.renegotiate({ rtcOfferConstraints: { iceRestart: true } }),
  codec: () => inboundCodec(call.connection),
  ice: () => iceOf(call.connection),
  stop: () => agent.stop(),
};

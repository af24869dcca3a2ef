// A test client on our own SDK.
import { Client, preflight } from "../../sdk/js/src/index.ts";
import { camera, figures, seen, watch as look } from "./eye.mjs";
import { events, heard, inboundCodec, listen, note, sendMediaTo, take } from "./ear.mjs";
import { localCandidate } from "./path.mjs";

let client;
let call;
/** Every call, oldest first. */
const all = [];

function follow(next) {
  call = next;
  all.push(next);
  if (call.remoteStream) listen(call.remoteStream);
  call.on("remotestream", listen);
  call.on("track", (track) => track.kind === "video" && look(track));
  call.on("state", (state) => {
    if (state === "ringing") note("progress", 180);
    if (state === "active") note("confirmed");
  });
  let heldByPeer = call.heldByPeer;
  call.on("changed", () => {
    if (call.heldByPeer === heldByPeer) return;
    heldByPeer = call.heldByPeer;
    note(heldByPeer ? "hold-remote" : "unhold-remote");
  });
  call.on("dtmf", (digits) => [...digits].forEach((digit) => note("dtmf", digit)));
  call.on("reconnecting", () => note("call-reconnecting"));
  call.on("reconnected", () => note("call-reconnected"));
  call.on("transfer", (progress) => note("transfer", progress));
  call.on("ended", (end) => {
    const name = call.answeredAt ? "ended" : "failed";
    note(name, end);
  });
}

function watch() {
  client.on("incoming", (incoming) => {
    follow(incoming);
    note("incoming", { from: incoming.peer.identifier.replace(/^sip:|@.*$/g, "") });
  });
  client.on("call", (other) => {
    if (other !== call && other.direction === "outgoing") follow(other);
    else if (other !== call && other.state !== "incoming") follow(other);
  });
  client.on("reconnecting", () => note("reconnecting"));
  client.on("reconnected", () => note("reconnected"));
  client.on("closed", (error) => note("closed", error?.message ?? null));
}

async function connected() {
  await client.connect();
  const account = client.account(window.network ?? "sip");
  const known = () => account.state === "connected" && note("registered");
  account.on("state", (state) => note("account", state));
  account.on("calls", (calls) => note("calls", calls));
  if (account.state === "connected") known();
  else account.on("state", known);
}

/** How to call or answer: with a camera that shows a colour, or with sound only. */
const options = (wanted) => (wanted?.camera ? { video: camera(wanted.camera, { busy: wanted.busy }) } : {});

/** Leaves of each TURN server only the way `over`: `udp`, `tcp` or `tls`; `nothing` leaves no relay. */
function useRelay(over) {
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor({ iceServers = [], ...rest } = {}) {
      const end = over === "tls" ? /^turns:.*=tcp$/ : new RegExp(`^turn:.*=${over}$`);
      const only = ({ urls, ...server }) => ({ ...server, urls: [urls].flat().filter((url) => end.test(url)) });
      super({ ...rest, iceServers: iceServers.map(only).filter(({ urls }) => urls.length > 0) });
    }
  };
}

window.client = {
  events,
  take,
  heard,
  state: () => ({
    registered: client?.account(window.network ?? "sip")?.state === "connected",
    up: call?.state === "active",
    calls: client?.calls.map((c) => ({ state: c.state, gcid: c.gcid, direction: c.direction })) ?? [],
    elsewhere: client?.account(window.network ?? "sip")?.calls ?? [],
  }),
  async start({ url, user, password, network, token, mediaPort, relayOver }) {
    if (relayOver) useRelay(relayOver);
    if (mediaPort) sendMediaTo(mediaPort);
    window.network = network;
    if (network) sessionStorage.setItem("network", network);
    // Who provisions sessions hands the page a token instead of a password.
    client = token
      ? new Client({ url: new URL("/rtc/api", url).href, token })
      : await Client.signIn({
          baseUrl: new URL("/", url.replace("ws", "http")).href,
          user,
          password,
          iceTransportPolicy: relayOver && relayOver !== "nothing" ? "relay" : "all",
        });
    watch();
    await connected();
  },
  /** After the page was loaded again. */
  async restore() {
    window.network = sessionStorage.getItem("network") ?? undefined;
    client = Client.restore();
    if (!client) return note("nothing-kept");
    watch();
    await connected();
  },
  dial: (target, wanted) => void client.account(window.network ?? "sip").call(target, options(wanted)),
  answer: (wanted) => call.accept(options(wanted)),
  seen,
  figures: () => figures(call.connection),
  remote: () => call.connection.remoteDescription.sdp,
  addVideo: (colour) => call.addVideo(camera(colour)),
  removeVideo: () => call.removeVideo(),
  muteVideo: () => call.muteVideo(),
  unmuteVideo: () => call.unmuteVideo(),
  pictures: () => ({ ours: call.localStream !== undefined, theirs: call.remoteVideo, offered: call.offersVideo }),
  reject: (status) => call.reject(status === 486 ? "busy" : "declined"),
  hangUp: () => call.hangup(),
  hold: () => call.hold(),
  unhold: () => call.unhold(),
  mute: () => call.mute(),
  unmute: () => call.unmute(),
  digit: (key) => call.sendDtmf(key),
  /** Joins the far sides of the last two calls. */
  join() {
    const [first, second] = all.slice(-2);
    void first.transfer(second).catch((error) => note("transfer-failed", error.message));
  },
  // A transfer that works ends this call; one that fails is told of by its event.
  refer: (target) => void call.transfer(target).catch((error) => note("transfer-failed", error.message)),
  pull: (gcid) => void client.account(window.network ?? "sip").pull(gcid),
  codec: () => inboundCodec(call.connection),
  quality: () => call.quality ?? null,
  preflight: () => preflight(client, { account: window.network ?? "sip" }),
  /** What the far side hears from now on. */
  async play(frequency) {
    const context = new AudioContext();
    const tone = new OscillatorNode(context, { frequency });
    const out = new MediaStreamAudioDestinationNode(context);
    tone.connect(out);
    tone.start();
    await call.replaceTrack(out.stream.getAudioTracks()[0]);
  },
  /** Which ICE session the call is in: an ICE restart begins another. */
  ice: () => /a=ice-ufrag:(\S+)/.exec(call.connection.localDescription.sdp)[1],
  /** How the packets travel: the type of our candidate and how it reaches its relay. */
  async path() {
    const local = await localCandidate(call.connection);
    return { type: local?.candidateType, over: local?.relayProtocol ?? local?.protocol };
  },
  held: () => ({ held: call.held, muted: call.muted }),
  stop: () => client.disconnect(),
};

// A test client on SIP.js.
import { Inviter, Messager, Registerer, RegistererState, SessionState, UserAgent, Web } from "sip.js";
import { events, heard, inboundCodec, listen, note, restrictCodecs, take, watchDigits } from "./ear.mjs";

let agent;
let registerer;
let call;
/** Every call, oldest first. */
const calls = [];

const MEDIA = { sessionDescriptionHandlerOptions: { constraints: { audio: true, video: false } } };

function follow(session) {
  call = session;
  calls.push(session);
  session.delegate = {
    onSessionDescriptionHandler: (handler) =>
      handler.peerConnection.addEventListener("track", (event) =>
        listen(event.streams[0] ?? new MediaStream([event.track]))),
    onInfo: (info) => {
      const digit = /Signal=\s*(.)/i.exec(info.request.body ?? "");
      if (digit) note("dtmf", digit[1]);
      info.accept();
    },
    onBye: () => note("bye"),
    onCancel: () => note("cancelled"),
    onInvite: () => note("reinvited"),
  };
  session.stateChange.addListener((state) => {
    if (state === SessionState.Established) note("confirmed");
    if (state === SessionState.Terminated) note("ended");
  });
}

/** SIP.js reports a re-INVITE when it is sent; a test goes on when the other side has agreed. */
function changed(sessionDescriptionHandlerModifiers) {
  return new Promise((resolve, reject) => {
    const requestDelegate = {
      onAccept: () => resolve(),
      onReject: (response) => reject(new Error(`refused with ${response.message.statusCode}`)),
    };
    call.invite({ sessionDescriptionHandlerModifiers, requestDelegate }).catch(reject);
  });
}

/** Which ICE session the call is in: a restart begins another. */
const iceOf = (connection) => /a=ice-ufrag:(\S+)/.exec(connection.localDescription.sdp)[1];

window.client = {
  events,
  take,
  heard,
  state: () => ({ registered: registerer?.state === RegistererState.Registered, up: call?.state === SessionState.Established }),
  async start({ url, user, password, domain, codecs, digits }) {
    const register = () =>
      registerer.register({
        requestDelegate: {
          onAccept: () => note("registered"),
          onReject: (response) => note("registration-failed", response.message.statusCode),
        },
      });
    if (codecs) restrictCodecs(codecs);
    if (digits) watchDigits();
    agent = new UserAgent({
      uri: UserAgent.makeURI(`sip:${user}@${domain}`),
      authorizationUsername: user,
      authorizationPassword: password,
      transportOptions: { server: url },
      sessionDescriptionHandlerFactoryOptions: { iceGatheringTimeout: 500, peerConnectionConfiguration: { iceServers: [] } },
      logBuiltinEnabled: false,
      reconnectionAttempts: 30,
      reconnectionDelay: 1,
      delegate: {
        // Signing in again after a reconnect is the page's own business with this library.
        onConnect: () => registerer && register(),
        onMessage: (message) => {
          note("text", { from: message.request.from.uri.user, body: message.request.body });
          message.accept();
        },
        onInvite: (invitation) => {
          follow(invitation);
          note("incoming", { from: invitation.remoteIdentity.uri.user });
        },
      },
    });
    await agent.start();
    registerer = new Registerer(agent, { expires: 120 });
    await register();
  },
  text(target, body) {
    const uri = UserAgent.makeURI(`sip:${target}@${agent.configuration.uri.host}`);
    return new Messager(agent, uri, body).message();
  },
  async dial(target) {
    const uri = UserAgent.makeURI(`sip:${target}@${agent.configuration.uri.host}`);
    const inviter = new Inviter(agent, uri, MEDIA);
    follow(inviter);
    await inviter.invite({
      requestDelegate: {
        onProgress: (response) => note("progress", response.message.statusCode),
        onReject: (response) => note("failed", { status: response.message.statusCode }),
      },
    });
  },
  answer: () => call.accept(MEDIA),
  reject: (status) => call.reject({ statusCode: status }),
  hangUp() {
    if (call.state === SessionState.Established) return call.bye();
    return call.cancel ? call.cancel() : call.reject();
  },
  hold: () => changed([Web.holdModifier]),
  unhold: () => changed([]),
  digit: (key) => call.sessionDescriptionHandler.sendDtmf(key),
  digitByInfo: (key) =>
    call.info({
      requestOptions: {
        body: { contentDisposition: "render", contentType: "application/dtmf-relay", content: `Signal=${key}\r\nDuration=160` },
      },
    }),
  refer: (target) => call.refer(UserAgent.makeURI(`sip:${target}@${agent.configuration.uri.host}`)),
  /** Joins the far sides of the last two calls. */
  join() {
    const [first, second] = calls.slice(-2);
    return first.refer(second);
  },
  codec: () => inboundCodec(call.sessionDescriptionHandler.peerConnection),
  ice: () => iceOf(call.sessionDescriptionHandler.peerConnection),
  stop: () => agent.stop(),
};

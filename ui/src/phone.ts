// One user agent and at most one call, over SIP on a WebSocket (JsSIP).
import * as JsSIP from "jssip";
import type { RTCSession } from "jssip/lib/RTCSession";

export type Registration = "offline" | "connecting" | "registered" | "failed";
export type Stage = "incoming" | "calling" | "ringing" | "up";

export interface CallView {
  stage: Stage;
  party: string;
  stateText: string;
  muted: boolean;
  held: boolean;
  answeredAt?: number;
}

export interface Quality {
  lossPercent: number;
  jitterMs: number;
  roundTripMs?: number;
  codec?: string;
}

export interface PhoneEvents {
  registration(state: Registration, reason?: string): void;
  call(view: CallView | null): void;
  quality(quality: Quality): void;
  notice(text: string): void;
  remote(stream: MediaStream): void;
}

/** What the gateway tells a phone about itself. */
interface PhoneConfig {
  domain: string;
  ws_path: string;
}

// Our media sits on a public address or the LAN: no STUN server is needed, and waiting for
// candidate gathering would only delay the call.
const CALL_OPTIONS = {
  mediaConstraints: { audio: true, video: false },
  pcConfig: { iceServers: [] },
};

export class Phone {
  view: CallView | null = null;
  #events: PhoneEvents;
  #agent: JsSIP.UA | null = null;
  #call: RTCSession | null = null;
  #poll: ReturnType<typeof setInterval> | undefined;
  #lastCounts = { received: 0, lost: 0 };

  constructor(events: PhoneEvents) {
    this.#events = events;
  }

  async signIn(user: string, password: string): Promise<void> {
    this.signOut();
    this.#events.registration("connecting");
    const config = await this.#loadConfig();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new JsSIP.WebSocketInterface(`${scheme}://${location.host}${config.ws_path}`);
    const agent = new JsSIP.UA({
      sockets: [socket],
      uri: `sip:${user}@${config.domain}`,
      password,
      register_expires: 120,
      session_timers: true,
      user_agent: "Crosspoint web phone",
    });
    this.#agent = agent;
    agent.on("registered", () => this.#events.registration("registered"));
    agent.on("unregistered", () => this.#events.registration("offline"));
    agent.on("registrationFailed", (event: { cause?: string; response?: { status_code: number } }) => {
      const wrong = event.response?.status_code === 401 || event.response?.status_code === 403;
      this.#events.registration("failed", wrong ? "Wrong user or password." : `Refused: ${event.cause ?? "no answer"}.`);
      if (wrong) agent.stop();
    });
    agent.on("disconnected", () => this.#events.registration("connecting"));
    agent.on("newRTCSession", (event: { originator: string; session: RTCSession }) => {
      if (event.originator === "remote") this.#incoming(event.session);
    });
    agent.start();
  }

  signOut(): void {
    this.#agent?.stop();
    this.#agent = null;
    this.#events.registration("offline");
  }

  dial(target: string): void {
    if (!this.#agent || this.#call || target === "") return;
    try {
      this.#follow(this.#agent.call(target, CALL_OPTIONS), target, "calling");
    } catch {
      this.#events.notice(`"${target}" cannot be called.`);
    }
  }

  answer(): void {
    this.#call?.answer(CALL_OPTIONS);
  }

  hangUp(): void {
    const call = this.#call;
    if (!call || call.isEnded()) return;
    if (this.view?.stage === "incoming") call.terminate({ status_code: 603 });
    else call.terminate();
  }

  toggleMute(): void {
    const call = this.#call;
    if (!call) return;
    if (call.isMuted().audio) call.unmute({ audio: true });
    else call.mute({ audio: true });
    this.#show({ muted: call.isMuted().audio ?? false });
  }

  toggleHold(): void {
    const call = this.#call;
    if (!call) return;
    if (call.isOnHold().local) call.unhold();
    else call.hold();
  }

  sendDigit(key: string): void {
    this.#call?.sendDTMF(key, { transportType: JsSIP.C.DTMF_TRANSPORT.RFC2833 } as object);
  }

  async #loadConfig(): Promise<PhoneConfig> {
    const fallback = { domain: location.hostname, ws_path: "/ws" };
    try {
      const response = await fetch("/api/v1/phone-config");
      return response.ok ? { ...fallback, ...((await response.json()) as Partial<PhoneConfig>) } : fallback;
    } catch {
      return fallback;
    }
  }

  #incoming(call: RTCSession): void {
    if (this.#call) {
      call.terminate({ status_code: 486 });
      return;
    }
    const identity = call.remote_identity;
    this.#follow(call, identity.display_name || identity.uri.user || "Unknown caller", "incoming");
  }

  #follow(call: RTCSession, party: string, stage: Stage): void {
    this.#call = call;
    this.#events.notice("");
    this.view = { stage, party, stateText: "calling…", muted: false, held: false };
    this.#events.call(this.view);
    call.on("progress", () => this.#show(stage === "incoming" ? {} : { stage: "ringing", stateText: "ringing…" }));
    call.on("accepted", () => this.#up());
    call.on("confirmed", () => this.#up());
    call.on("hold", () => this.#showHold());
    call.on("unhold", () => this.#showHold());
    call.on("peerconnection", (event: { peerconnection: RTCPeerConnection }) => this.#watch(event.peerconnection));
    // An outgoing call has its connection before we can listen for the event above.
    if (call.connection) this.#watch(call.connection);
    call.on("icecandidate", (event: { candidate: RTCIceCandidate; ready: () => void }) => event.ready());
    call.on("ended", (event: { cause?: string }) => this.#over(event.cause));
    call.on("failed", (event: { cause?: string }) => this.#over(event.cause));
  }

  #up(): void {
    if (!this.view || this.view.stage === "up") return;
    this.#show({ stage: "up", stateText: "connected", answeredAt: Date.now() });
    this.#lastCounts = { received: 0, lost: 0 };
    this.#poll = setInterval(() => void this.#measure(), 1000);
  }

  #showHold(): void {
    const state = this.#call?.isOnHold();
    const text = state?.local ? "on hold" : state?.remote ? "held by the other side" : "connected";
    this.#show({ held: state?.local ?? false, stateText: text });
  }

  #watch(connection: RTCPeerConnection): void {
    connection.addEventListener("track", (event) => {
      this.#events.remote(event.streams[0] ?? new MediaStream([event.track]));
    });
  }

  #show(change: Partial<CallView>): void {
    if (!this.view) return;
    this.view = { ...this.view, ...change };
    this.#events.call(this.view);
  }

  #over(cause: string | undefined): void {
    clearInterval(this.#poll);
    this.#call = null;
    this.view = null;
    this.#events.call(null);
    const quiet = cause === undefined || cause === "Terminated" || cause === "Canceled";
    this.#events.notice(quiet ? "" : `Call over: ${cause}.`);
  }

  async #measure(): Promise<void> {
    const connection = this.#call?.connection;
    if (!connection) return;
    const report = await connection.getStats();
    let inbound: RTCInboundRtpStreamStats | undefined;
    let roundTrip: number | undefined;
    for (const entry of report.values()) {
      if (entry.type === "inbound-rtp" && entry.kind === "audio") inbound = entry;
      if (entry.type === "candidate-pair" && entry.nominated) roundTrip = entry.currentRoundTripTime;
      if (entry.type === "remote-inbound-rtp" && entry.roundTripTime !== undefined) roundTrip = entry.roundTripTime;
    }
    if (!inbound) return;
    const received = inbound.packetsReceived ?? 0;
    const lost = inbound.packetsLost ?? 0;
    const lostNow = Math.max(0, lost - this.#lastCounts.lost);
    const total = Math.max(0, received - this.#lastCounts.received) + lostNow;
    this.#lastCounts = { received, lost };
    const codec = inbound.codecId === undefined ? undefined : report.get(inbound.codecId)?.mimeType;
    this.#events.quality({
      lossPercent: total === 0 ? 0 : (100 * lostNow) / total,
      jitterMs: (inbound.jitter ?? 0) * 1000,
      roundTripMs: roundTrip === undefined ? undefined : roundTrip * 1000,
      codec: typeof codec === "string" ? codec.replace("audio/", "") : undefined,
    });
  }
}

// A browser made of plain objects, with a clock that moves when told, and a gateway that the test speaks for.
import type { Unsubscribe } from "../src/emitter.js";
import type { Platform, Socket, Storage } from "../src/platform.js";
import { Client, type ClientOptions } from "../src/index.js";

export type Message = { method: string; to: string; session: string; body: Record<string, unknown> };

/** Lets everything that needs no time happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

export class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly sent: Message[] = [];
  closed: number | undefined;

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Message);
  }

  close(code = 1005): void {
    this.closed = code;
  }

  /** The gateway or the network closes it. */
  drop(code = 1006): void {
    this.onclose?.({ code, reason: "" });
  }

  say(method: string, body: object = {}, seq?: number): void {
    this.onmessage?.({ data: JSON.stringify({ method, from: "core", to: "browser:c1", body, ...(seq ? { seq } : {}) }) });
  }
}

export class FakeTrack {
  enabled = true;
  stopped = false;
  onended: (() => void) | null = null;
  constructor(readonly label: string, readonly kind = "audio") {}
  clone(): FakeTrack {
    return new FakeTrack(this.label, this.kind);
  }
  stop(): void {
    this.stopped = true;
  }
}

export class FakeStream {
  constructor(readonly tracks: FakeTrack[]) {}
  getTracks = () => [...this.tracks];
  getVideoTracks = () => this.tracks.filter((track) => track.kind === "video");
  addTrack = (track: FakeTrack) => void (this.tracks.includes(track) || this.tracks.push(track));
  removeTrack = (track: FakeTrack) => void this.tracks.splice(this.tracks.indexOf(track) >>> 0, 1);
}

class Line {
  mid: string | null = null;
  currentDirection: string | null = null;
  /** What the far side does, by its description that is not answered yet. */
  remote = "inactive";
  heard = false;
  readonly sender: { track: FakeTrack | null; replaceTrack(track: FakeTrack | null): Promise<void> };
  readonly receiver: { track: FakeTrack };

  constructor(readonly kind: string, track: FakeTrack | null, public direction: string) {
    this.sender = { track, replaceTrack: async (next) => void (this.sender.track = next) };
    this.receiver = { track: new FakeTrack("remote", kind) };
  }

  stop(): void {
    this.direction = "stopped";
  }
}

const sends = (direction: string) => direction === "sendrecv" || direction === "sendonly";
const receives = (direction: string) => direction === "sendrecv" || direction === "recvonly";

/** What is left of a direction of ours when the far side has this one. */
function agreed(ours: string, theirs: string): string {
  const [out, back] = [sends(ours) && receives(theirs), receives(ours) && sends(theirs)];
  return out && back ? "sendrecv" : out ? "sendonly" : back ? "recvonly" : "inactive";
}

/** As much of an RTCPeerConnection as signalling sees: the states of RFC 8829, lines, and descriptions that say what they are. */
export class FakeConnection {
  onicecandidate: ((event: { candidate: unknown }) => void) | null = null;
  oniceconnectionstatechange: (() => void) | null = null;
  ontrack: ((event: { streams: unknown[]; track: unknown }) => void) | null = null;
  signalingState = "stable";
  iceConnectionState = "new";
  iceGatheringState = "new";
  localDescription: { type: string; sdp: string } | null = null;
  remoteDescription: { type: string; sdp: string } | null = null;
  readonly candidates: unknown[] = [];
  readonly lines: Line[] = [];
  closed = false;
  /** The next description from the far side is refused. */
  refuse = false;
  #made = 0;
  #fresh: Line[] = [];

  getTransceivers(): Line[] {
    return this.lines;
  }

  addTransceiver(what: FakeTrack | string, { direction }: { direction: string }): void {
    const track = typeof what === "string" ? null : what;
    this.lines.push(new Line(track?.kind ?? String(what), track, direction));
  }

  addTrack(track: FakeTrack): void {
    const line = this.lines.find((l) => l.kind === track.kind);
    if (line) line.sender.track = track;
    else this.lines.push(new Line(track.kind, track, "sendrecv"));
  }

  async createOffer({ iceRestart = false } = {}): Promise<{ type: string; sdp: string }> {
    return { type: "offer", sdp: this.#sdp(iceRestart ? "offer restart" : "offer") };
  }

  async createAnswer(): Promise<{ type: string; sdp: string }> {
    return { type: "answer", sdp: this.#sdp("answer") };
  }

  #sdp(what: string): string {
    this.#made += 1;
    const section = (line: Line) =>
      line.direction === "stopped" ? `m=${line.kind} 0 x 0\r\n` : `m=${line.kind} 9 x 0\r\na=${line.direction}\r\n`;
    // A line that was stopped before it was ever described is not described.
    const described = this.lines.filter((line) => line.mid !== null || line.direction !== "stopped");
    return `s=${what} ${this.#made}\r\n${described.map(section).join("")}`;
  }

  async setLocalDescription(description: { type: string; sdp?: string }): Promise<void> {
    if (this.closed) throw new Error("closed");
    if (description.type === "rollback") {
      this.signalingState = "stable";
      for (const line of this.#fresh.splice(0)) line.mid = null;
      return;
    }
    const from = description.type === "offer" ? "stable" : "have-remote-offer";
    if (this.signalingState !== from) throw new Error(`${description.type} in ${this.signalingState}`);
    this.localDescription = { type: description.type, sdp: description.sdp ?? "" };
    this.signalingState = description.type === "offer" ? "have-local-offer" : "stable";
    this.#fresh = this.lines.filter((line) => line.mid === null && line.direction !== "stopped");
    this.#fresh.forEach((line) => (line.mid = String(this.lines.indexOf(line))));
    if (description.type === "answer") for (const line of this.lines) this.#settle(line);
  }

  async setRemoteDescription(description: { type: string; sdp?: string }): Promise<void> {
    if (this.closed) throw new Error("closed");
    if (this.refuse) throw new Error("refused");
    if (description.type === "rollback") {
      this.signalingState = "stable";
      return;
    }
    const from = description.type === "offer" ? ["stable"] : ["have-local-offer", "have-remote-pranswer"];
    if (!from.includes(this.signalingState)) throw new Error(`${description.type} in ${this.signalingState}`);
    const sdp = description.sdp ?? "";
    this.remoteDescription = { type: description.type, sdp };
    this.signalingState = { offer: "have-remote-offer", pranswer: "have-remote-pranswer" }[description.type] ?? "stable";
    const sections = sdp.split(/^(?=m=)/m).slice(1);
    for (const kind of ["audio", "video"]) {
      const section = sections.filter((s) => s.startsWith(`m=${kind} `)).at(-1);
      let line = this.lines.find((l) => l.kind === kind && l.mid !== null && l.currentDirection !== "stopped");
      const isRefused = !section || section.startsWith(`m=${kind} 0 `);
      if (!line && isRefused) continue;
      if (!line) {
        line = new Line(kind, null, "recvonly");
        line.mid = String(this.lines.length);
        this.lines.push(line);
      }
      if (isRefused) line.direction = line.currentDirection = "stopped";
      line.remote = /^a=(sendrecv|sendonly|recvonly|inactive)/m.exec(section ?? "")?.[1] ?? "sendrecv";
      if (description.type !== "offer") this.#settle(line);
      const heard = sends(line.remote) && !isRefused;
      if (heard && !line.heard) this.ontrack?.({ streams: [], track: line.receiver.track });
      line.heard = heard;
    }
  }

  #settle(line: Line): void {
    if (line.mid === null) return;
    line.currentDirection = line.direction === "stopped" ? "stopped" : agreed(line.direction, line.remote);
  }

  async addIceCandidate(candidate: unknown): Promise<void> {
    this.candidates.push(candidate);
  }

  async getStats(): Promise<Map<string, unknown>> {
    return new Map();
  }

  ice(state: string): void {
    this.iceConnectionState = state;
    this.oniceconnectionstatechange?.();
  }

  close(): void {
    this.closed = true;
    this.signalingState = "closed";
  }
}

/** A clock that moves when told. */
export class Clock {
  now = 1_700_000_000_000;
  #timers: { at: number; run: () => void }[] = [];

  after(ms: number, run: () => void): Unsubscribe {
    const timer = { at: this.now + ms, run };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((t) => t !== timer));
  }

  /** Moves on by `ms`, with everything that falls due on the way. */
  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settle();
      const [next] = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      this.now = next.at;
      next.run();
    }
    this.now = end;
    await settle();
  }

  /** Moves on to the next thing that is due, and tells how long that took. */
  async next(): Promise<number> {
    await settle();
    const at = Math.min(...this.#timers.map((t) => t.at));
    const took = at - this.now;
    await this.pass(took);
    return took;
  }
}

export class FakeStorage implements Storage {
  readonly kept = new Map<string, string>();
  getItem = (key: string) => this.kept.get(key) ?? null;
  setItem = (key: string, value: string) => void this.kept.set(key, value);
  removeItem = (key: string) => void this.kept.delete(key);

  copy(): FakeStorage {
    const copy = new FakeStorage();
    for (const [key, value] of this.kept) copy.kept.set(key, value);
    return copy;
  }
}

/** Names that live pages hold. */
export const locks = new Set<string>();

export class FakePage {
  readonly clock: Clock;
  readonly sockets: FakeSocket[] = [];
  readonly connections: FakeConnection[] = [];
  readonly microphones: FakeTrack[] = [];
  readonly held: string[] = [];
  readonly cameras: FakeTrack[] = [];
  microphoneFails = false;
  cameraFails = false;
  networkChanged: () => void = () => {};
  wakes: () => void = () => {};
  leaves: () => void = () => {};
  readonly platform: Platform;

  constructor(readonly storage = new FakeStorage(), clock = new Clock()) {
    this.clock = clock;
    this.platform = {
      now: () => clock.now,
      random: () => 0.5,
      uuid: () => `id-${++ids}`,
      after: (ms, run) => clock.after(ms, run),
      socket: () => {
        const socket = new FakeSocket();
        this.sockets.push(socket);
        return socket;
      },
      connection: () => {
        const connection = new FakeConnection();
        this.connections.push(connection);
        return connection as unknown as RTCPeerConnection;
      },
      microphone: async (constraints) => {
        if (this.microphoneFails) throw new Error("NotAllowedError");
        const track = new FakeTrack(JSON.stringify(constraints));
        this.microphones.push(track);
        return track as unknown as MediaStreamTrack;
      },
      camera: async (constraints) => {
        if (this.cameraFails) throw new Error("NotFoundError");
        const track = new FakeTrack(JSON.stringify(constraints), "video");
        this.cameras.push(track);
        return track as unknown as MediaStreamTrack;
      },
      stream: (tracks) => new FakeStream([...(tracks as unknown as FakeTrack[])]) as unknown as MediaStream,
      claim: async (name) => {
        if (locks.has(name)) return false;
        locks.add(name);
        this.held.push(name);
        return true;
      },
      onNetworkChange: (listener) => {
        this.networkChanged = listener;
        return () => {};
      },
      onWake: (listener) => {
        this.wakes = listener;
        return () => {};
      },
      onLeave: (listener) => {
        this.leaves = listener;
        return () => {};
      },
      storage,
    };
  }

  client(options: Partial<ClientOptions> = {}): Client {
    return new Client({ url: "wss://gateway.example/rtc/api", token: "TOKEN", platform: this.platform, ...options });
  }

  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("there is no socket");
    return socket;
  }

  get connection(): FakeConnection {
    const connection = this.connections.at(-1);
    if (!connection) throw new Error("there is no connection");
    return connection;
  }

  /** The newest message with this method on the newest socket. */
  said(method: string): Message {
    const found = this.socket.sent.filter((m) => m.method === method).at(-1);
    if (!found) throw new Error(`no ${method} in ${this.socket.sent.map((m) => m.method).join(" ")}`);
    return found;
  }

  /** All methods on the newest socket, in order. */
  words(): string[] {
    return this.socket.sent.map((m) => m.method);
  }

  /** The gateway answers the newest socket. */
  validate(body: { resumed?: boolean; calls?: object[]; iceServers?: unknown } = {}): void {
    this.socket.onopen?.();
    const known = body.resumed || (body.calls ?? []).length > 0;
    const accounts = { account1: { ...ACCOUNTS.account1, state: known ? "connected" : "disconnected" } };
    this.socket.say("session.validated", { result: true, resumed: false, accounts, calls: [], ...body });
  }

  /** A client in an open session whose accounts are connected. */
  async connected(options: Partial<ClientOptions> = {}): Promise<Client> {
    const client = this.client(options);
    const connecting = client.connect();
    await settle();
    this.validate();
    await connecting;
    this.socket.say("account.state", { id: "account1", state: "connected", reason: "" }, 1);
    return client;
  }

  /** The document goes, as at a reload; gives a page on the same storage. */
  reload(): FakePage {
    this.leaves();
    for (const name of this.held.splice(0)) locks.delete(name);
    for (const socket of this.sockets) socket.onmessage = socket.onclose = null;
    return new FakePage(this.storage.copy(), this.clock);
  }
}

let ids = 0;

export const ACCOUNTS = {
  account1: { identifier: "sip:alice@gateway.example", target: "sip-connector:b2bua-account1", network: { tag: "sip" }, state: "disconnected" },
};

export const ANSWER = "v=0\r\nm=audio 9 x 0\r\na=sendrecv\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";

/** A description with a line for pictures. */
export const withVideo = (direction = "sendrecv", port = 9) => `${ANSWER}m=video ${port} x 0\r\na=${direction}\r\n`;

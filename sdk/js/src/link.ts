// The socket to the gateway: opens the session on it, brings it back when it is lost, and hands each message on once.
import type { Unsubscribe } from "./emitter.js";
import { CrosspointError, type ErrorCode } from "./errors.js";
import type { Platform, Socket } from "./platform.js";
import type { Envelope, Fields, Validated } from "./wire.js";

/** What a link tells. @internal */
export interface LinkEvents {
  /** What to open the session with. */
  hello(): { token: string; client: string };
  /** The session is open on a new socket; missed messages follow. */
  validated(body: Validated): void;
  message(method: string, body: Fields): void;
  /** `received` has grown. */
  progress(): void;
  reconnecting(attempt: number, delay: number): void;
  /** For good. */
  closed(error: CrosspointError | undefined): void;
}

type State =
  | { name: "idle" }
  | { name: "opening"; socket: Socket; stop: Unsubscribe }
  | { name: "open"; socket: Socket; stop: Unsubscribe; probing: boolean }
  | { name: "waiting"; stop: Unsubscribe }
  | { name: "closed" };

/** @internal */
export class Link {
  /** The highest `seq` that was handled. */
  received = 0;
  readonly #platform: Platform;
  readonly #url: string;
  readonly #events: LinkEvents;
  #state: State = { name: "idle" };
  #attempt = 0;
  #acknowledged = 0;
  #outbox: Envelope[] = [];

  constructor(platform: Platform, url: string, events: LinkEvents) {
    this.#platform = platform;
    this.#url = url;
    this.#events = events;
  }

  get isOpen(): boolean {
    return this.#state.name === "open";
  }

  /** Opens a socket, at once. */
  open(): void {
    if (this.#state.name === "idle" || this.#state.name === "waiting") this.#dial();
  }

  /** Sends a message, or keeps it until there is a socket. */
  send(method: string, to: string, body: Fields): void {
    const envelope = { method, from: "", to, session: this.#events.hello().token, body };
    if (this.#state.name === "open") this.#state.socket.send(JSON.stringify(envelope));
    else if (this.#state.name !== "closed" && this.#outbox.length < OUTBOX_MAX) this.#outbox.push(envelope);
  }

  /** Finds out soon whether the socket still leads anywhere. */
  probe(): void {
    if (this.#state.name !== "open" || this.#state.probing) return;
    // An open session answers a second opening, and changes nothing by it.
    this.#sendOpen(this.#state.socket);
    this.#state.stop();
    this.#state.probing = true;
    this.#state.stop = this.#platform.after(PROBE_PATIENCE, () => this.#lost());
  }

  /** Time may have stood still: looks after the socket now. */
  wake(): void {
    this.#attempt = 0;
    if (this.#state.name === "waiting") this.open();
    else this.probe();
  }

  /** Leaves the socket for a new one: the network under it is another. */
  renew(): void {
    switch (this.#state.name) {
      case "open":
      case "opening":
        this.#attempt = 0;
        this.#lost();
        this.open();
        break;
      case "waiting":
        this.#attempt = 0;
        this.open();
        break;
      case "idle":
      case "closed":
        break;
    }
  }

  /** The page goes: nobody need wait for it. */
  farewell(): void {
    if (this.#state.name === "open") this.send("session.close", "", {});
    this.#leave();
  }

  /** Ends the session, if there is a socket to say so, and the link. */
  close(): void {
    this.send("session.close", "", {});
    this.#end(undefined);
  }

  #dial(): void {
    this.#leave();
    const socket = this.#platform.socket(this.#url);
    socket.onopen = () => this.#sendOpen(socket);
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = (event) => this.#socketClosed(event.code);
    const stop = this.#platform.after(OPEN_PATIENCE, () => this.#lost());
    this.#state = { name: "opening", socket, stop };
  }

  #sendOpen(socket: Socket): void {
    const { token, client } = this.#events.hello();
    const body = { credentials: { userSession: token }, client, received: this.received };
    socket.send(JSON.stringify({ method: "session.open", from: "", to: "", session: token, body }));
  }

  #take(data: unknown): void {
    const message = parse(data);
    if (!message) return;
    this.#idleAgain();
    if (message.method === "session.validated") {
      this.#validated((message.body ?? {}) as unknown as Validated);
      return;
    }
    if (message.seq !== undefined) {
      // Sent again by a gateway that did not know that it had come.
      if (message.seq <= this.received) return;
      this.received = message.seq;
    }
    this.#events.message(message.method, message.body ?? {});
    this.#events.progress();
    if (this.received - this.#acknowledged >= ACK_EVERY) this.#acknowledge();
  }

  #validated(body: Validated): void {
    if (this.#state.name === "open") return;
    if (this.#state.name !== "opening") return;
    if (!body.result) {
      const type = body.reason?.type ?? "invalidToken";
      if (type === "internalError") this.#lost();
      else this.#end(new CrosspointError(REFUSALS[type] ?? "invalid-token", body.reason?.message ?? `the gateway refused the session: ${type}`));
      return;
    }
    this.#state.stop();
    this.#state = { ...this.#state, name: "open", probing: false };
    this.#idleAgain();
    this.#attempt = 0;
    // What is not a continuation is numbered as the gateway likes.
    if (!body.resumed) this.received = 0;
    this.#acknowledged = this.received;
    const waiting = this.#outbox;
    this.#outbox = [];
    this.#events.validated(body);
    for (const envelope of waiting) this.send(envelope.method, envelope.to as string, envelope.body ?? {});
  }

  /** Something came: the socket is alive, and is asked again when it has been silent for long. */
  #idleAgain(): void {
    if (this.#state.name !== "open") return;
    this.#state.stop();
    this.#state.probing = false;
    this.#state.stop = this.#platform.after(PROBE_EVERY, () => this.probe());
  }

  #acknowledge(): void {
    this.#acknowledged = this.received;
    this.send("session.ack", "", { received: this.received });
  }

  #socketClosed(code: number): void {
    if (code === CLOSE_NORMAL && this.#state.name === "open") this.#end(undefined);
    else if (code === CLOSE_REPLACED) this.#end(new CrosspointError("closed", "another page took this client over"));
    else if (code === CLOSE_REFUSED) this.#end(new CrosspointError("invalid-token", "the gateway refused the session"));
    else this.#lost();
  }

  #lost(): void {
    if (this.#state.name === "closed" || this.#state.name === "idle") return;
    this.#leave();
    const ceiling = Math.min(BACKOFF_FIRST * 2 ** this.#attempt, BACKOFF_MAX);
    // Spread, so that all the pages that one gateway lost do not come back in one instant.
    const delay = Math.round(ceiling * (0.5 + 0.5 * this.#platform.random()));
    this.#attempt += 1;
    this.#state = { name: "waiting", stop: this.#platform.after(delay, () => this.open()) };
    this.#events.reconnecting(this.#attempt, delay);
  }

  #end(error: CrosspointError | undefined): void {
    if (this.#state.name === "closed") return;
    this.#leave();
    this.#state = { name: "closed" };
    this.#outbox = [];
    this.#events.closed(error);
  }

  #leave(): void {
    const state = this.#state;
    this.#state = { name: "idle" };
    if ("stop" in state) state.stop();
    if (!("socket" in state)) return;
    state.socket.onopen = state.socket.onmessage = state.socket.onclose = null;
    state.socket.close(CLOSE_NORMAL);
  }
}

function parse(data: unknown): Envelope | undefined {
  if (typeof data !== "string") return undefined;
  try {
    const message = JSON.parse(data) as Envelope | null;
    return typeof message?.method === "string" ? message : undefined;
  } catch {
    return undefined;
  }
}

const REFUSALS: Record<string, ErrorCode> = {
  invalidToken: "invalid-token",
  expiredToken: "expired-token",
  originDenied: "origin-denied",
};

const CLOSE_NORMAL = 1000;
const CLOSE_REFUSED = 4401;
const CLOSE_REPLACED = 4409;

const OUTBOX_MAX = 256;
const ACK_EVERY = 32;

// In milliseconds.
const BACKOFF_FIRST = 250;
const BACKOFF_MAX = 5_000;
const OPEN_PATIENCE = 8_000;
const PROBE_EVERY = 25_000;
const PROBE_PATIENCE = 4_000;

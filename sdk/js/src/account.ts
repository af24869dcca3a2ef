// One account of the session: a way to be called, and to call.
import type { Call, CallOptions } from "./call.js";
import { Emitter } from "./emitter.js";
import { CrosspointError } from "./errors.js";
import { peerOf, text, type AccountInfo, type AccountReason, type AccountState, type Direction, type ElsewhereCall, type Fields, type Peer } from "./wire.js";

/** A text from somebody, outside of any call. */
export interface Text {
  readonly peer: Peer;
  /** A media type, `text/plain` most of the time. */
  readonly kind: string;
  readonly text: string;
}

/** What an account reports. */
export interface AccountEvents {
  state: [state: AccountState, reason: AccountReason];
  /** Somebody calls this account. */
  incoming: [call: Call];
  /** Somebody writes. */
  text: [text: Text];
  /** The user's calls on other devices are others: {@link Account.calls}. */
  calls: [calls: readonly ElsewhereCall[]];
}

/** @internal */
export interface AccountHost {
  send(method: string, to: string, body: Fields): void;
  place(account: Account, target: string, options: CallOptions): Call;
  takeOver(account: Account, elsewhere: ElsewhereCall, options: CallOptions): Call;
}

/** One account of the session, on one network. It is connected with the client unless told otherwise. */
export class Account extends Emitter<AccountEvents> {
  /** Its name in the session. */
  readonly id: string;
  /** Whether it can be used. */
  state: AccountState = "disconnected";
  /** Why it is in this state, where there is something to say. */
  reason: AccountReason = "";
  /** The user's calls on other devices, which {@link Account.pull} can fetch. */
  calls: readonly ElsewhereCall[] = [];
  /** @internal */
  target = "";

  readonly #host: AccountHost;
  #identifier = "";
  #network = "";
  #wanted = false;
  readonly #sent = new Map<string, { resolve(): void; reject(error: Error): void }>();
  #texts = 0;

  /** @internal */
  constructor(host: AccountHost, id: string) {
    super();
    this.#host = host;
    this.id = id;
  }

  /** Its address, such as `sip:alice@example.org`. */
  get identifier(): string {
    return this.#identifier;
  }

  /** The tag of its network, such as `sip`. */
  get network(): string {
    return this.#network;
  }

  /** Makes the account reachable. Rejects with `account-failed` when its network refuses. */
  connect(): Promise<void> {
    this.#wanted = true;
    if (this.state === "connected") return Promise.resolve();
    if (this.state !== "connecting") this.#ask();
    return new Promise((resolve, reject) => {
      const stop = this.on("state", (state, reason) => {
        if (state === "connecting") return;
        stop();
        if (state === "connected") resolve();
        else reject(new CrosspointError("account-failed", `${this.#identifier || this.id} cannot be connected: ${reason || state}`, { reason }));
      });
    });
  }

  /** Makes the account unreachable. Its calls go on. */
  disconnect(): void {
    this.#wanted = false;
    this.#host.send("account.disconnect", this.target, { id: this.id });
  }

  /**
   * Places a call: a number, a user's name or an address. The call is there at once, so that nothing it reports is
   * missed; `await call.whenActive()` waits for the answer.
   */
  call(target: string, options: CallOptions = {}): Call {
    const wanted = target.trim();
    if (wanted === "" || wanted.length > 256) throw new CrosspointError("invalid-argument", "there is nobody to call");
    return this.#host.place(this, wanted, options);
  }

  /**
   * Writes to a user. Resolves when the gateway has delivered the text, or keeps it for who is away; rejects with
   * `text-failed` when it does neither. Only for accounts that are users of the gateway's.
   */
  sendText(target: string, text: string, kind = "text/plain"): Promise<void> {
    const wanted = target.trim();
    if (wanted === "" || wanted.length > 256) throw new CrosspointError("invalid-argument", "there is nobody to write to");
    if (this.#sent.size >= TEXTS_MAX) throw new CrosspointError("invalid-state", "too many texts wait for their answers");
    const ref = String(++this.#texts);
    return new Promise((resolve, reject) => {
      this.#sent.set(ref, { resolve, reject });
      this.#host.send("account.text", this.target, { id: this.id, ref, target: wanted, text, kind });
    });
  }

  /** Fetches a call that the user has on another device; the far side notices nothing. */
  pull(gcid: string, options: CallOptions = {}): Call {
    const elsewhere = this.calls.find((call) => call.gcid === gcid);
    if (!elsewhere) throw new CrosspointError("invalid-argument", "there is no such call on another device");
    return this.#host.takeOver(this, elsewhere, options);
  }

  /** @internal */
  update(info: AccountInfo): void {
    this.#identifier = info.identifier;
    this.#network = info.network.tag;
    this.target = info.target;
    const state = info.state ?? "disconnected";
    if (state !== this.state) this.#enter(state, "");
    // Of a session that the gateway has begun anew.
    if (this.#wanted && state === "disconnected") this.#ask();
  }

  /** @internal */
  handle(action: string, body: Fields): void {
    if (action === "state") {
      this.#enter(text(body, "state") as AccountState, text(body, "reason") as AccountReason);
    } else if (action === "text") {
      this.emit("text", { peer: peerOf(body["peer"]), kind: text(body, "kind"), text: text(body, "text") });
    } else if (action === "text.state") {
      const ref = text(body, "ref");
      const waiting = this.#sent.get(ref);
      this.#sent.delete(ref);
      const reason = text(body, "reason");
      if (text(body, "state") === "accepted") waiting?.resolve();
      else waiting?.reject(new CrosspointError("text-failed", `the text was refused: ${reason}`, { reason }));
    } else if (action === "calls") {
      const list = Array.isArray(body["calls"]) ? (body["calls"] as Fields[]) : [];
      this.calls = list.map((call) => ({
        gcid: text(call, "gcid"),
        peer: peerOf(call["peer"]),
        direction: text(call, "direction") as Direction,
        state: text(call, "state"),
        device: text(call, "device"),
        since: new Date(1000 * (typeof call["since"] === "number" ? call["since"] : 0)),
      }));
      this.emit("calls", this.calls);
    }
  }

  /** @internal */
  rings(call: Call): void {
    this.emit("incoming", call);
  }

  #ask(): void {
    this.state = "connecting";
    this.#host.send("account.connect", this.target, { id: this.id });
  }

  #enter(state: AccountState, reason: AccountReason): void {
    this.state = state;
    this.reason = reason;
    this.emit("state", state, reason);
  }
}

const TEXTS_MAX = 100;

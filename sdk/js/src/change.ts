// Changing the media of a running call: `call.change.*`. One side at a time holds the lock, offers, and is answered.
import type { Unsubscribe } from "./emitter.js";
import { CrosspointError } from "./errors.js";
import { text, type Fields } from "./wire.js";

/** What a change needs of its call. @internal */
export interface ChangeHost {
  send(action: "lock" | "lock.ok" | "lock.reset" | "offer" | "answer", fields?: Fields): void;
  /** Describes what we want now. */
  offer(): Promise<string>;
  takeAnswer(sdp: string): Promise<void>;
  /** Takes the far side's offer and gives our answer. */
  answer(sdp: string): Promise<string>;
  /** Takes an offer of ours back. */
  rollback(): Promise<void>;
  after(ms: number, run: () => void): Unsubscribe;
  random(): number;
}

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/**
 * - `idle`: nothing goes on.
 * - `retrying`: we collided, and ask again later.
 * - `asked`: our lock is out.
 * - `offering`: the lock is ours, our offer is being made or is out.
 * - `granted`: the lock is the far side's, its offer is awaited.
 * - `answering`: its offer is being answered.
 */
type Phase = "idle" | "retrying" | "asked" | "offering" | "granted" | "answering";

/** @internal */
export class Change {
  readonly #host: ChangeHost;
  readonly #caller: boolean;
  #phase: Phase = "idle";
  #stopTimer: Unsubscribe = () => {};
  /** Set anew with every phase: what finishes late sees that it is not awaited any more. */
  #turn = 0;
  #wanted: Waiter[] = [];
  #offered: Waiter[] = [];
  #tries = 0;
  #refusals = 0;
  #suspended = false;

  /** `caller`: whether this side placed the call. It waits longer after a collision. */
  constructor(host: ChangeHost, caller: boolean) {
    this.#host = host;
    this.#caller = caller;
  }

  /** Offers anew. Resolves when an offer made from now on is answered; several wishes share one. */
  request(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#wanted.push({ resolve, reject });
      this.#next();
    });
  }

  handle(action: string, body: Fields): void {
    switch (action) {
      case "lock":
        return this.#locked();
      case "lock.ok":
        return this.#granted();
      case "lock.reset":
        return this.#reset();
      case "offer":
        return void this.#offer(text(body, "sdp"));
      case "answer":
        return void this.#answer(text(body, "sdp"));
    }
  }

  /** The socket is gone, and with it, maybe, what we said last: begin again when there is another. */
  suspend(): void {
    this.#suspended = true;
    if (this.#phase === "offering") void this.#host.rollback().catch(() => {});
    this.#wanted.unshift(...this.#offered.splice(0));
    this.#enter("idle");
  }

  resume(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#tries = 0;
    if (this.#wanted.length === 0) return;
    // The gateway may still keep a lock of ours.
    this.#host.send("lock.reset");
    this.#next();
  }

  end(error: Error): void {
    this.#enter("idle");
    this.#suspended = true;
    for (const waiter of [...this.#offered.splice(0), ...this.#wanted.splice(0)]) waiter.reject(error);
  }

  #locked(): void {
    switch (this.#phase) {
      case "idle":
      case "retrying":
      case "granted":
        this.#enter("granted", LOCK_MS, () => this.#giveUp());
        this.#host.send("lock.ok");
        break;
      case "asked":
        // Glare: both forget their lock, and come back at different times.
        this.#host.send("lock.reset");
        this.#retry();
        break;
      case "offering":
      case "answering":
        this.#host.send("lock.reset");
        break;
    }
  }

  #granted(): void {
    switch (this.#phase) {
      case "asked":
        void this.#makeOffer();
        break;
      case "idle":
      case "retrying":
        // An answer to a lock that we have taken back.
        this.#host.send("lock.reset");
        break;
      case "offering":
      case "granted":
      case "answering":
        break;
    }
  }

  #reset(): void {
    switch (this.#phase) {
      case "asked":
        this.#retry();
        break;
      case "offering":
        this.#refused();
        break;
      case "granted":
      case "answering":
        this.#enter("idle");
        this.#next();
        break;
      case "idle":
      case "retrying":
        break;
    }
  }

  async #makeOffer(): Promise<void> {
    this.#offered = this.#wanted.splice(0);
    const turn = this.#enter("offering", LOCK_MS, () => this.#giveUp());
    try {
      const sdp = await this.#host.offer();
      if (turn === this.#turn) this.#host.send("offer", { sdp, trickle: true });
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#host.send("lock.reset");
      this.#refuse(asError(error));
    }
  }

  async #answer(sdp: string): Promise<void> {
    if (this.#phase !== "offering") return;
    // Still offering: a lock that comes meanwhile is refused.
    const turn = this.#enter("offering");
    try {
      await this.#host.takeAnswer(sdp);
    } catch (error) {
      if (turn === this.#turn) this.#refuse(asError(error));
      return;
    }
    if (turn !== this.#turn) return;
    this.#tries = 0;
    this.#refusals = 0;
    this.#enter("idle");
    for (const waiter of this.#offered.splice(0)) waiter.resolve();
    this.#next();
  }

  async #offer(sdp: string): Promise<void> {
    if (this.#phase !== "granted") {
      this.#host.send("lock.reset");
      return;
    }
    const turn = this.#enter("answering");
    try {
      const answer = await this.#host.answer(sdp);
      if (turn === this.#turn) this.#host.send("answer", { sdp: answer, trickle: true });
    } catch {
      if (turn === this.#turn) this.#host.send("lock.reset");
    }
    if (turn !== this.#turn) return;
    this.#enter("idle");
    this.#next();
  }

  /** Ours or the far side's, this lock led nowhere. */
  #giveUp(): void {
    this.#host.send("lock.reset");
    if (this.#phase === "asked") {
      this.#retry();
    } else if (this.#phase === "offering") {
      this.#refuse(new CrosspointError("timeout", "the far side did not answer the change"));
    } else {
      this.#enter("idle");
      this.#next();
    }
  }

  /** It may be in the middle of a change of its own, so one refusal is not the last word. */
  #refused(): void {
    this.#refusals += 1;
    if (this.#refusals >= REFUSALS_MAX) {
      this.#refuse(new CrosspointError("change-refused", "the far side refused the change"));
      return;
    }
    void this.#host.rollback().catch(() => {});
    this.#wanted.unshift(...this.#offered.splice(0));
    this.#retry();
  }

  #refuse(error: Error): void {
    this.#refusals = 0;
    void this.#host.rollback().catch(() => {});
    this.#enter("idle");
    for (const waiter of this.#offered.splice(0)) waiter.reject(error);
    this.#next();
  }

  #retry(): void {
    this.#tries += 1;
    if (this.#tries >= TRIES_MAX) {
      this.#tries = 0;
      this.#enter("idle");
      const error = new CrosspointError("change-refused", "the far side is busy with changes of its own");
      for (const waiter of this.#wanted.splice(0)) waiter.reject(error);
      return;
    }
    const [least, spread] = this.#caller ? CALLER_RETRY : CALLED_RETRY;
    this.#enter("retrying", least + spread * this.#host.random(), () => {
      this.#enter("idle");
      this.#next();
    });
  }

  #next(): void {
    if (this.#phase !== "idle" || this.#suspended || this.#wanted.length === 0) return;
    this.#enter("asked", LOCK_MS, () => this.#giveUp());
    this.#host.send("lock");
  }

  #enter(phase: Phase, ms?: number, run?: () => void): number {
    this.#stopTimer();
    this.#stopTimer = ms !== undefined && run ? this.#host.after(ms, run) : () => {};
    this.#phase = phase;
    return ++this.#turn;
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** A lock without progress for this long is given back. */
const LOCK_MS = 10_000;
/** How often a lock is asked for before the change fails. */
const TRIES_MAX = 6;
/** How often an offer is refused before the change fails. */
const REFUSALS_MAX = 3;
/** After a collision: the least wait, and what chance adds to it. */
const CALLER_RETRY = [2_100, 1_900] as const;
const CALLED_RETRY = [0, 2_000] as const;

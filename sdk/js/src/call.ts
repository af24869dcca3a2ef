// One call: its signalling, its media, and how it comes back after a loss.
import type { Account } from "./account.js";
import { Change } from "./change.js";
import { Emitter, type Unsubscribe } from "./emitter.js";
import { CrosspointError } from "./errors.js";
import { Media } from "./media.js";
import type { AudioSource, Microphone, Tap } from "./microphone.js";
import type { Platform } from "./platform.js";
import { watchQuality, type QualityReport } from "./quality.js";
import { readCandidate } from "./sdp.js";
import { text, type CallInfo, type Direction, type EndReason, type Fields, type Peer } from "./wire.js";

/**
 * - `calling`: placed, nobody rings yet.
 * - `ringing`: it rings over there. There may be sound already.
 * - `incoming`: it rings here; {@link Call.accept} or {@link Call.reject}.
 * - `connecting`: accepted or fetched here, the gateway has not confirmed it yet.
 * - `active`: both talk.
 * - `reconnecting`: sound is interrupted and is being brought back.
 * - `ended`: for good.
 */
export type CallState = "calling" | "ringing" | "incoming" | "connecting" | "active" | "reconnecting" | "ended";

/** How a call ended. */
export interface Ended {
  readonly reason: EndReason | (string & {});
  /** Who ended it: this side, or the far side and all between. */
  readonly by: "local" | "remote";
}

/** How a transfer goes on. */
export interface TransferProgress {
  readonly state: "trying" | "ringing" | "done" | "failed";
  readonly reason: string;
}

/** What a call reports. */
export interface CallEvents {
  /** The state is another. */
  state: [state: CallState, before: CallState];
  /** Something that a display shows is another: state, hold, mute, peer. */
  changed: [];
  /** The far side's sound, also before the answer. Comes again when the call was brought back. */
  remotestream: [stream: MediaStream];
  /** Every five seconds of an active call (see {@link ClientOptions.qualityInterval}). */
  quality: [report: QualityReport];
  /** The far side pressed keys. */
  dtmf: [digits: string];
  transfer: [progress: TransferProgress];
  /** Sound is interrupted and is being brought back. */
  reconnecting: [];
  /** Sound is back. */
  reconnected: [];
  ended: [ended: Ended];
}

/** How to place or take a call. */
export interface CallOptions {
  /** What the far side hears; the client's microphone unless told otherwise. */
  audio?: AudioSource;
}

/** What is kept of a call over a reload. @internal */
export interface CallRecord {
  id: string;
  gcid: string;
  account: string;
  direction: Direction;
  state: CallState;
  peer: Peer;
  started: number;
  answered?: number | undefined;
  muted: boolean;
  held: boolean;
  offer?: string | undefined;
}

/** What a call needs of its client. @internal */
export interface CallHost {
  readonly platform: Platform;
  readonly microphone: Microphone;
  readonly configuration: RTCConfiguration;
  readonly qualityInterval: number;
  readonly isOpen: boolean;
  send(method: string, to: string, body: Fields): void;
  /** The socket may lead nowhere: find out. */
  probe(): void;
  save(): void;
  renamed(call: Call, before: string): void;
  ended(call: Call): void;
}

/**
 * One call. {@link Account.call} places one, the client's `incoming` event brings one.
 *
 * It survives a lost socket, another network and a reload of the page without help; `reconnecting` and
 * `reconnected` tell when its sound is interrupted.
 */
export class Call extends Emitter<CallEvents> {
  /** The account that it belongs to. */
  readonly account: Account;
  readonly direction: Direction;
  /** Names the whole call, the same on both sides and over any takeover. */
  readonly gcid: string;
  /** When it began to ring or was placed. */
  readonly startedAt: Date;
  /** When it was answered. */
  answeredAt: Date | undefined;
  /** The other party. */
  peer: Peer;
  /** Whether this side has put it on hold. */
  held = false;
  /** Whether the far side has. */
  heldByPeer = false;
  /** Whether the microphone is silenced. */
  muted = false;
  /** The far side's sound, once there is any. */
  remoteStream: MediaStream | undefined;
  /** The last quality report. */
  quality: QualityReport | undefined;
  /** How it ended, once it has. */
  end: Ended | undefined;
  /** @internal */
  id: string;

  readonly #host: CallHost;
  #state: CallState;
  #offer: string | undefined;
  #alive = false;
  /** Whether the far side has answered the start of this leg. */
  #agreed = false;
  #audio: AudioSource = true;
  #tap: Tap | undefined;
  #media: Media | undefined;
  #change: Change | undefined;
  #iceRestart = false;
  #stopRestart: Unsubscribe = () => {};
  #stopQuality: Unsubscribe | undefined;
  #transfer: { resolve(): void; reject(error: Error): void } | undefined;
  /** The start or accept that was sent, to send it again when the socket may have swallowed it. */
  #said: { method: string; body: Fields } | undefined;

  /** @internal */
  constructor(host: CallHost, account: Account, record: CallRecord) {
    super();
    this.#host = host;
    this.account = account;
    this.id = record.id;
    this.gcid = record.gcid;
    this.direction = record.direction;
    this.peer = record.peer;
    this.startedAt = new Date(record.started);
    this.answeredAt = record.answered === undefined ? undefined : new Date(record.answered);
    this.muted = record.muted;
    this.held = record.held;
    this.#state = record.state;
    this.#offer = record.offer;
  }

  get state(): CallState {
    return this.#state;
  }

  /** The connection under the call, for what this library has no word for. It changes when the call is brought back. */
  get connection(): RTCPeerConnection | undefined {
    return this.#media?.connection;
  }

  /** Takes an incoming call. Resolves when it is active. After `microphone` it still rings and can be taken again. */
  async accept(options: CallOptions = {}): Promise<void> {
    this.#require("accept", "incoming");
    this.#audio = options.audio ?? true;
    this.#enter("connecting");
    try {
      await this.#openMedia(false);
    } catch (error) {
      if (this.#is("connecting")) this.#enter("incoming");
      throw error;
    }
    let sdp: string;
    try {
      sdp = await this.#use().answer(this.#offer ?? "");
    } catch (error) {
      if (!this.#is("ended")) this.#say("end", { reason: "notAcceptable" });
      this.#finish("mediaError", "local");
      throw new CrosspointError("call-ended", "the browser cannot take this call", { reason: "mediaError", cause: error });
    }
    this.#sayAgain("accept", { sdp, trickle: true });
    await this.whenActive();
  }

  /** Refuses an incoming call: `declined` everywhere, or `busy` on this device only. */
  reject(reason: "declined" | "busy" = "declined"): void {
    this.#require("reject", "incoming");
    this.#say("end", { reason });
    this.#finish(reason, "local");
  }

  /** Ends the call, whatever its state. */
  hangup(): void {
    switch (this.#state) {
      case "incoming":
        return this.reject();
      case "calling":
      case "ringing":
        this.#say("end", { reason: "canceled" });
        return this.#finish("canceled", "local");
      case "connecting":
      case "active":
      case "reconnecting":
        this.#say("end", { reason: "normal" });
        return this.#finish("normal", "local");
      case "ended":
        return;
    }
  }

  /** Puts the far side on hold. Resolves when it has agreed. */
  hold(): Promise<void> {
    return this.#hold(true);
  }

  /** Takes the far side off hold. */
  unhold(): Promise<void> {
    return this.#hold(false);
  }

  /** Silences the microphone, for this call only. */
  mute(): void {
    this.#mute(true);
  }

  /** Gives the microphone back. */
  unmute(): void {
    this.#mute(false);
  }

  /** Presses keys: up to 32 of `0-9 * # A-D`. */
  sendDtmf(digits: string): void {
    this.#require("send digits", "active", "reconnecting", "ringing");
    if (!/^[0-9*#A-D]{1,32}$/i.test(digits)) throw new CrosspointError("invalid-argument", `"${digits}" are no keys`);
    this.#say("dtmf", { dtmf: digits.toUpperCase() });
  }

  /** Sends the far side to another number (blind). Resolves when it has arrived there; this call then ends. */
  transfer(target: string): Promise<void> {
    this.#require("transfer", "active", "reconnecting");
    if (target.trim() === "") throw new CrosspointError("invalid-argument", "there is nobody to transfer to");
    if (this.#transfer) throw new CrosspointError("invalid-state", "a transfer is under way");
    return new Promise((resolve, reject) => {
      this.#transfer = { resolve, reject };
      this.#say("transfer", { target: target.trim() });
    });
  }

  /** Plays another sound to the far side, for this call only. */
  async replaceTrack(audio: AudioSource): Promise<void> {
    if (this.#is("ended")) throw this.#over();
    this.#audio = audio;
    if (!this.#media) return;
    const before = this.#tap;
    const tap = await this.#host.microphone.tap(audio, (track) => this.#moved(track));
    if (this.#is("ended")) return tap.release();
    this.#tap = tap;
    this.#sound();
    await this.#use().use(tap.track);
    before?.release();
  }

  /**
   * Plays the call's sound in an audio element, also after it was brought back. Without an element it makes one.
   * @returns a function that stops it.
   */
  attach(element: HTMLAudioElement = new Audio()): Unsubscribe {
    element.autoplay = true;
    const play = (stream: MediaStream | undefined) => {
      if (stream && element.srcObject !== stream) element.srcObject = stream;
    };
    play(this.remoteStream);
    const stop = this.on("remotestream", play);
    const detach = () => {
      stop();
      element.srcObject = null;
    };
    this.once("ended", detach);
    return detach;
  }

  /** Resolves when the call is active, rejects with `call-ended` when it ends before. */
  whenActive(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): boolean => {
        if (this.#is("active")) resolve();
        else if (this.#is("ended")) reject(this.#over());
        else return false;
        return true;
      };
      if (look()) return;
      const stop = this.on("state", () => {
        if (look()) stop();
      });
    });
  }

  /** Resolves when the call has ended. */
  whenEnded(): Promise<Ended> {
    return this.end ? Promise.resolve(this.end) : new Promise((resolve) => this.once("ended", resolve));
  }

  /** Places the call. @internal */
  async start(options: CallOptions, target: string): Promise<void> {
    this.#audio = options.audio ?? true;
    await this.#send(target, false);
  }

  /** Takes over the leg that another page, or this one before its reload, has in this call. @internal */
  async takeOver(options: CallOptions = {}): Promise<void> {
    this.#audio = options.audio ?? this.#audio;
    await this.#send("", true);
  }

  async #send(target: string, replace: boolean): Promise<void> {
    try {
      // A call that is placed while its account is still on the way waits for it.
      const connected = this.account.connect();
      connected.catch(() => {});
      await this.#openMedia(true);
      const sdp = await this.#use().offer();
      await connected;
      if (this.#is("ended")) return;
      this.#sayAgain("start", { target, sdp, trickle: true, replace });
    } catch (error) {
      if (this.#is("ended")) return;
      const unavailable = error instanceof CrosspointError && error.code === "account-failed";
      this.#finish(unavailable ? "unavailable" : "mediaError", "local");
    }
  }

  /** A message of this leg. @internal */
  handle(action: string, body: Fields): void {
    if (this.#is("ended")) return;
    this.#alive = true;
    if (action.startsWith("change.")) return this.#change?.handle(action.slice("change.".length), body);
    switch (action) {
      case "start":
        // Offered again: the description may be a new one.
        if (this.#is("incoming")) this.#offer = text(body, "sdp") || this.#offer;
        return;
      case "ringing":
        return this.#ringing(text(body, "sdp"));
      case "accept":
        return void this.#accepted(text(body, "sdp"));
      case "ack.accept":
        return this.#acknowledged();
      case "candidate": {
        const candidate = readCandidate((body["candidate"] as Fields | undefined)?.["payload"]);
        if (candidate) this.#media?.addCandidate(candidate);
        return;
      }
      case "fullsdp":
        return this.#media?.addCandidatesOf(text(body, "sdp"));
      case "dtmf":
        return this.emit("dtmf", text(body, "dtmf"));
      case "transfer.progress":
        return this.#transferred({ state: text(body, "state") as TransferProgress["state"], reason: text(body, "reason") });
      case "end":
        return this.#finish(text(body, "reason") || "normal", "remote");
    }
  }

  /** @internal */
  linkLost(): void {
    this.#change?.suspend();
  }

  /** There is a socket again; `info` is what the gateway knows of this call. @internal */
  linkBack(info: CallInfo | undefined, resumed: boolean, networkChanged: boolean): void {
    if (!info) {
      if (this.direction === "outgoing" && !this.#alive) this.#repeat();
      else if (!resumed) this.#finish("networkError", "remote");
      return;
    }
    switch (this.#state) {
      case "calling":
      case "ringing":
        if (!resumed && info.state === "active") void this.#retake();
        break;
      case "connecting":
        if (!resumed && info.state === "active" && this.#said?.method === "accept") this.#activate();
        else this.#repeat();
        break;
      case "active":
      case "reconnecting":
        this.#backInCall(networkChanged);
        break;
      case "incoming":
      case "ended":
        break;
    }
  }

  #backInCall(networkChanged: boolean): void {
    if (this.#said?.method === "start" && !this.#agreed) return this.#repeat();
    // The gateway ends a call whose acknowledgement it misses; ours may have gone with the socket.
    if (this.#said?.method === "start") this.#say("ack.accept");
    this.#change?.resume();
    if (networkChanged || !this.#iceIsUp) this.#restart();
  }

  /** @internal */
  record(): CallRecord {
    return {
      id: this.id,
      gcid: this.gcid,
      account: this.account.id,
      direction: this.direction,
      state: this.#state,
      peer: this.peer,
      started: this.startedAt.getTime(),
      answered: this.answeredAt?.getTime(),
      muted: this.muted,
      held: this.held,
      offer: this.#is("incoming") ? this.#offer : undefined,
    };
  }

  /** The client is gone for good. @internal */
  abandon(): void {
    this.#finish("networkError", "local");
  }

  // What the far side says.

  #ringing(sdp: string): void {
    if (this.#is("calling")) this.#enter("ringing");
    if (sdp && (this.#is("calling") || this.#is("ringing"))) {
      this.#media?.takeAnswer(sdp, "pranswer").catch(() => {});
    }
  }

  async #accepted(sdp: string): Promise<void> {
    if (this.#said?.method !== "start") return;
    const media = this.#media;
    // Said again, because our acknowledgement was not heard.
    if (this.#agreed) return this.#say("ack.accept");
    try {
      await media?.takeAnswer(sdp);
    } catch {
      if (this.#is("ended")) return;
      this.#say("end", { reason: "mediaError" });
      return this.#finish("mediaError", "local");
    }
    if (this.#is("ended") || media !== this.#media) return;
    this.#agreed = true;
    this.#say("ack.accept");
    // A call that comes back is back when there is sound.
    if (!this.#is("reconnecting") || this.#iceIsUp) this.#activate();
  }

  #acknowledged(): void {
    if (this.#is("connecting")) this.#activate();
  }

  #activate(): void {
    this.answeredAt ??= new Date(this.#host.platform.now());
    const back = this.#is("reconnecting");
    this.#enter("active");
    if (back) this.emit("reconnected");
    if (!this.#media) return;
    this.#stopQuality?.();
    this.#stopQuality = watchQuality(this.#host.platform, this.#media.connection, this.#host.qualityInterval, (report) => {
      this.quality = report;
      this.emit("quality", report);
    });
  }

  #transferred(progress: TransferProgress): void {
    this.emit("transfer", progress);
    const waiting = this.#transfer;
    if (progress.state === "done") {
      this.#transfer = undefined;
      waiting?.resolve();
    } else if (progress.state === "failed") {
      this.#transfer = undefined;
      waiting?.reject(new CrosspointError("transfer-failed", "the transfer was refused", { reason: progress.reason }));
    }
  }

  // Media.

  async #openMedia(caller: boolean): Promise<void> {
    const tap = await this.#host.microphone.tap(this.#audio, (track) => this.#moved(track));
    if (this.#is("ended")) {
      tap.release();
      throw this.#over();
    }
    this.#tap?.release();
    this.#tap = tap;
    this.#agreed = false;
    this.#sound();
    this.#media = new Media(this.#host.platform, this.#host.configuration, tap.track, this.held, {
      candidate: (candidate) => this.#candidate(candidate),
      ice: (state) => this.#ice(state),
      remote: (stream) => {
        this.remoteStream = stream;
        this.emit("remotestream", stream);
      },
      heldByPeer: (held) => {
        if (held === this.heldByPeer) return;
        this.heldByPeer = held;
        this.emit("changed");
      },
    });
    this.#change = new Change(this.#changeHost(), caller);
    if (!this.#host.isOpen) this.#change.suspend();
  }

  #changeHost(): ConstructorParameters<typeof Change>[0] {
    const { platform } = this.#host;
    return {
      send: (action, fields) => this.#say(`change.${action}`, fields),
      offer: () => this.#use().offer({ iceRestart: this.#iceRestart }),
      takeAnswer: (sdp) => this.#use().takeAnswer(sdp),
      answer: (sdp) => this.#use().answer(sdp),
      rollback: () => this.#use().rollback(),
      after: (ms, run) => platform.after(ms, run),
      random: () => platform.random(),
    };
  }

  #candidate(candidate: RTCIceCandidate | null): void {
    if (!candidate) return this.#say("fullsdp", { sdp: this.#media?.local ?? "" });
    if (candidate.candidate === "") return;
    this.#say("candidate", { candidate: { type: "WEBRTC_LEGACY", payload: JSON.stringify(candidate) } });
  }

  #ice(state: RTCIceConnectionState): void {
    switch (state) {
      case "connected":
      case "completed":
        this.#stopRestart();
        if (this.#is("reconnecting") && (this.#agreed || this.#said?.method !== "start")) this.#activate();
        break;
      case "disconnected":
        this.#interrupted(ICE_PATIENCE);
        break;
      case "failed":
        this.#interrupted(0);
        break;
      case "new":
      case "checking":
      case "closed":
        break;
    }
  }

  get #iceIsUp(): boolean {
    const state = this.connection?.iceConnectionState;
    return state === "connected" || state === "completed";
  }

  #interrupted(patience: number): void {
    if (!this.#is("active") && !this.#is("reconnecting")) return;
    if (this.#is("active")) {
      this.#enter("reconnecting");
      this.emit("reconnecting");
    }
    // What cuts the sound off may have cut the socket off too.
    this.#host.probe();
    this.#stopRestart();
    this.#stopRestart = this.#host.platform.after(patience, () => this.#restart());
  }

  #restart(): void {
    this.#stopRestart();
    // Without a socket: when there is one again.
    if (!this.#host.isOpen || !this.#change || this.#iceRestart) return;
    this.#iceRestart = true;
    const media = this.#media;
    this.#change
      .request()
      .finally(() => (this.#iceRestart = false))
      .catch(() => {
        if (this.#is("reconnecting") && media === this.#media) this.#interrupted(RESTART_AGAIN);
      });
  }

  /** What was said on the way to this state is lost: begin the leg anew. */
  async #retake(): Promise<void> {
    const before = this.id;
    this.id = this.#host.platform.uuid();
    this.#host.renamed(this, before);
    this.#closeMedia();
    this.#enter("reconnecting");
    this.emit("reconnecting");
    await this.takeOver().catch(() => {});
  }

  #closeMedia(): void {
    this.#stopRestart();
    this.#stopQuality?.();
    this.#change?.end(this.#over());
    this.#change = undefined;
    this.#media?.close();
    this.#media = undefined;
    this.#tap?.release();
    this.#tap = undefined;
    this.#iceRestart = false;
  }

  #moved(track: MediaStreamTrack): void {
    this.#sound();
    void this.#media?.use(track).catch(() => {});
  }

  #sound(): void {
    if (this.#tap) this.#tap.track.enabled = !this.muted && !this.held;
  }

  #mute(muted: boolean): void {
    if (this.muted === muted) return;
    this.muted = muted;
    this.#sound();
    this.#host.save();
    this.emit("changed");
  }

  async #hold(held: boolean): Promise<void> {
    this.#require(held ? "hold" : "unhold", "active", "reconnecting");
    if (this.held === held || !this.#change) return;
    const set = (value: boolean) => {
      this.held = value;
      this.#media?.hold(value);
      this.#sound();
      this.#host.save();
      this.emit("changed");
    };
    set(held);
    try {
      await this.#change.request();
    } catch (error) {
      if (!this.#is("ended")) set(!held);
      throw error;
    }
  }

  // Words.

  #say(action: string, fields: Fields = {}): void {
    const body = { id: this.id, gcid: this.gcid, account: this.account.id, ...fields };
    this.#host.send(`call.${action}`, this.account.target, body);
  }

  #sayAgain(method: string, body: Fields): void {
    this.#said = { method, body };
    this.#say(method, body);
  }

  #repeat(): void {
    if (!this.#said) return;
    this.#say(this.#said.method, this.#said.body);
    // Candidates that went with the lost socket are all in this one.
    if (this.connection?.iceGatheringState === "complete") this.#say("fullsdp", { sdp: this.#media?.local ?? "" });
  }

  #use(): Media {
    if (!this.#media) throw this.#over();
    return this.#media;
  }

  #is(state: CallState): boolean {
    return this.#state === state;
  }

  #require(what: string, ...states: CallState[]): void {
    if (this.#is("ended") && !states.includes("ended")) throw this.#over();
    if (!states.includes(this.#state)) {
      throw new CrosspointError("invalid-state", `cannot ${what} while the call is ${this.#state}`);
    }
  }

  #over(): CrosspointError {
    const reason = this.end?.reason ?? "normal";
    return new CrosspointError("call-ended", `the call has ended: ${reason}`, { reason });
  }

  #enter(state: CallState): void {
    const before = this.#state;
    if (before === state) return;
    this.#state = state;
    this.#host.save();
    this.emit("state", state, before);
    this.emit("changed");
  }

  #finish(reason: string, by: Ended["by"]): void {
    if (this.end) return;
    this.end = { reason, by };
    this.#closeMedia();
    const waiting = this.#transfer;
    this.#transfer = undefined;
    if (reason === "transferred") waiting?.resolve();
    else waiting?.reject(new CrosspointError("transfer-failed", "the call ended first", { reason }));
    this.#host.ended(this);
    this.#enter("ended");
    this.emit("ended", this.end);
  }
}

/** A disconnection this short mends itself, in ms. */
const ICE_PATIENCE = 1_500;
/** Between two attempts to bring the sound back, in ms. */
const RESTART_AGAIN = 3_000;
